//! The values of options: numbers of jobs, times, sizes, loads.

use std::time::Duration;

/// The most jobs at a time: a pool has no more workers.
const MAX_JOBS: usize = 4096;

/// `-j`: `4`, `+2` and `-1` (more and fewer than there are CPUs), `50%` of them.
pub fn jobs(text: &str) -> Result<usize, String> {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let number = |digits: &str| {
        digits.parse::<usize>().map_err(|_| format!("give a number of jobs, such as {cpus}, +1, -1 or 50%"))
    };
    let jobs = match (text.strip_prefix('+'), text.strip_prefix('-'), text.strip_suffix('%')) {
        (Some(more), ..) => cpus.saturating_add(number(more)?),
        (_, Some(fewer), _) => cpus.saturating_sub(number(fewer)?).max(1),
        (.., Some(percent)) => {
            (cpus.saturating_mul(number(percent)?) / 100).max(usize::from(!percent.trim_matches('0').is_empty()))
        }
        _ => number(text)?,
    };
    match jobs {
        0 => Err("no job could run; give 1 or more, or leave it out for one for each CPU".to_string()),
        1..=MAX_JOBS => Ok(jobs),
        _ => Err(format!("give at most {MAX_JOBS}")),
    }
}

/// The number of a process.
pub fn process(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("give the number of a process, such as 4711".to_string()),
    }
}

pub fn clusters(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("there would be nothing to run; give 1 or more".to_string()),
        Ok(count) => Ok(count),
        Err(_) => Err("give a whole number of clusters".to_string()),
    }
}

/// Seconds, or a number with `s`, `m`, `h` or `d`.
pub fn time(text: &str) -> Result<Duration, String> {
    let (number, unit_seconds) = match text.char_indices().next_back() {
        Some((end, 's')) => (&text[..end], 1.0),
        Some((end, 'm')) => (&text[..end], 60.0),
        Some((end, 'h')) => (&text[..end], 3600.0),
        Some((end, 'd')) => (&text[..end], 86400.0),
        _ => (text, 1.0),
    };
    let seconds = plain_number(number).map(|number| number * unit_seconds);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "give seconds, or a number with s, m, h or d, such as 1.5 or 10m".to_string())
}

/// A limit: more than no time.
pub fn limit(text: &str) -> Result<Duration, String> {
    let limit = time(text)?;
    if limit.is_zero() { Err("no job ends in no time; give more, or leave it out".to_string()) } else { Ok(limit) }
}

/// Bytes, or a number with `k`, `M`, `G` or `T` (powers of 1024; small letters are powers of 1000, as GNU parallel has it).
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((end, unit)) if unit.is_ascii_alphabetic() => (&text[..end], Some(unit)),
        _ => (text, None),
    };
    let power = match unit.map(|unit| unit.to_ascii_lowercase()) {
        None => Some(0),
        Some('k') => Some(1),
        Some('m') => Some(2),
        Some('g') => Some(3),
        Some('t') => Some(4),
        Some(_) => None,
    };
    let base: f64 = if unit.is_some_and(|unit| unit.is_ascii_lowercase()) { 1000.0 } else { 1024.0 };
    match (plain_number(number), power) {
        (Some(number), Some(power)) => Ok((number * base.powi(power)) as u64),
        _ => Err("give bytes, or a number with K, M, G or T, such as 500M".to_string()),
    }
}

/// `--load`: processes that want to run, or a percentage of the CPUs.
pub fn load(text: &str) -> Result<f64, String> {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get()) as f64;
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, cpus / 100.0));
    plain_number(number)
        .map(|number| number * unit)
        .ok_or_else(|| "give a load such as 4, or 80% of the CPUs".to_string())
}

/// A number without a sign, an exponent, or the words that floats have.
fn plain_number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests;
