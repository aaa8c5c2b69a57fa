//! A pool's figures as text for people: the `Display` of [`Stats`].
//!
//! | part                     | when                         |
//! |--------------------------|------------------------------|
//! | the table of workers     | always                       |
//! | the table of functions   | if functions ran             |
//! | the table of names       | if tasks have names          |
//! | tasks, pieces and starts | always, one line             |
//! | memory and counts        | always, one line, the last   |
//!
//! Invariant: a line is one line, and a column one column, whatever stands in the figures. Names come from the program, so what
//! they contain is cut and cleaned; what is not known is `-` in a table, and is left out of a sentence.

use super::functions::FunctionStats;
use super::memory::with_commas;
use super::tasks::TaskStats;
use super::{Stats, WorkerStats};
use std::cmp::Reverse;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// The most functions that are shown. A pool tells 32 apart; those of whose pieces there are fewest seldom matter.
const MAX_FUNCTIONS: usize = 10;

/// The most names of tasks that are shown.
const MAX_NAMES: usize = 10;

/// The most characters of a function's name, and of the place where its first piece was handed out: with both, a line of the
/// table of functions still has less than 200.
const MAX_NAME: usize = 60;
const MAX_LOCATION: usize = 40;

const UNKNOWN: &str = "-";

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_workers(f, &self.workers)?;
        if !self.functions.is_empty() {
            write_functions(f, &self.functions)?;
        }
        if !self.by_name.is_empty() {
            write_names(f, &self.by_name)?;
        }
        write_work(f, self)?;
        write_memory(f, self)
    }
}

// The tables.

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

/// The columns of a table: on which side their cells stand, and their least widths. A column is as wide as its widest cell; where
/// figures grow while the pool works, a least width keeps the table from moving with each digit.
type Columns<const N: usize> = [(Align, usize); N];

const WORKER_COLUMNS: Columns<10> = [
    (Align::Right, 0),
    (Align::Right, 6),
    (Align::Left, 0),
    (Align::Left, 0),
    (Align::Right, 7),
    (Align::Right, 0),
    (Align::Right, 9),
    (Align::Right, 0),
    (Align::Right, 0),
    (Align::Left, 0),
];

const FUNCTION_COLUMNS: Columns<6> =
    [(Align::Left, 0), (Align::Right, 9), (Align::Right, 0), (Align::Right, 0), (Align::Right, 14), (Align::Left, 0)];

const NAME_COLUMNS: Columns<7> = [
    (Align::Left, 0),
    (Align::Right, 9),
    (Align::Right, 0),
    (Align::Right, 0),
    (Align::Right, 9),
    (Align::Right, 9),
    (Align::Right, 9),
];

/// Writes rows of which the first is the head, each as a line that ends in no space.
fn write_rows<const N: usize>(f: &mut fmt::Formatter<'_>, columns: &Columns<N>, rows: &[[String; N]]) -> fmt::Result {
    let mut widths = columns.map(|(_, least)| least);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::new();
        for (number, ((cell, width), (align, _))) in row.iter().zip(widths).zip(columns).enumerate() {
            line += if number == 0 { "" } else { "  " };
            match align {
                Align::Left => write!(line, "{cell:<width$}")?,
                Align::Right => write!(line, "{cell:>width$}")?,
            }
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

fn write_workers(f: &mut fmt::Formatter<'_>, workers: &[WorkerStats]) -> fmt::Result {
    let head = ["worker", "pid", "state", "function", "done", "age", "memory", "at start", "peak", "replaced"];
    let rows: Vec<_> = std::iter::once(head.map(str::to_string)).chain(workers.iter().map(worker_row)).collect();
    write_rows(f, &WORKER_COLUMNS, &rows)
}

fn worker_row(stats: &WorkerStats) -> [String; 10] {
    let replaced = |why| format!("{} ({why})", with_commas(stats.generation.saturating_sub(1)));
    [
        stats.worker.to_string(),
        known(stats.pid, |pid| pid.to_string()),
        stats.state.to_string(),
        known(stats.function.as_ref(), |name| shortened(name, MAX_NAME)),
        with_commas(stats.pieces_done),
        known(stats.age, |age| format!("{} s", with_commas(format_args!("{:.1}", age.as_secs_f64())))),
        known(stats.memory, amount),
        known(stats.memory_at_start, amount),
        known(stats.memory_peak, amount),
        known(stats.last_replaced, replaced),
    ]
}

/// Those that grow come first, then those with the most pieces.
fn write_functions(f: &mut fmt::Formatter<'_>, functions: &[FunctionStats]) -> fmt::Result {
    let mut shown: Vec<_> = functions.iter().collect();
    shown.sort_by_key(|function| (!function.grows, Reverse(function.pieces)));
    shown.truncate(MAX_FUNCTIONS);
    let head = format!("function ({} of {})", shown.len(), functions.len());
    let head = [&head, "pieces", "measured", "growth a piece", "largest peak", ""];
    // The errors are aligned on their left, so that the amounts before them end in one column.
    let errors = shown.iter().filter(|function| function.is_known()).map(|function| whole(function.growth_error).len());
    let error_width = errors.max().unwrap_or(0).max(3);
    let rows = shown.into_iter().map(|function| function_row(function, error_width));
    let rows: Vec<_> = std::iter::once(head.map(str::to_string)).chain(rows).collect();
    write_rows(f, &FUNCTION_COLUMNS, &rows)
}

fn function_row(stats: &FunctionStats, error_width: usize) -> [String; 6] {
    let mut name = shortened(&stats.function, MAX_NAME);
    if !stats.location.is_empty() {
        name += &format!(" ({})", shortened(&stats.location, MAX_LOCATION));
    }
    let growth = stats.is_known().then(|| {
        let (growth, error) = (whole(stats.growth_per_piece), whole(stats.growth_error));
        format!("{growth} B ± {error:<error_width$}")
    });
    let note = match (stats.grows, stats.pieces_left) {
        (false, _) => String::new(),
        (true, None) => " <- grows".to_string(),
        (true, Some(left)) => format!(" <- grows: {} left", counted(left, "piece")),
    };
    [
        name,
        with_commas(stats.pieces),
        with_commas(stats.measured),
        known(growth, |growth| growth),
        known(stats.largest_peak, amount),
        note,
    ]
}

/// Those come first that kept workers busy longest.
fn write_names(f: &mut fmt::Formatter<'_>, tasks: &[TaskStats]) -> fmt::Result {
    let mut shown: Vec<_> = tasks.iter().collect();
    shown.sort_by_key(|task| Reverse(task.busy));
    shown.truncate(MAX_NAMES);
    let head = format!("task ({} of {})", shown.len(), tasks.len());
    let head = [&head, "pieces", "failed", "retried", "busy", "waited", "results"];
    let rows: Vec<_> = std::iter::once(head.map(str::to_string)).chain(shown.into_iter().map(name_row)).collect();
    write_rows(f, &NAME_COLUMNS, &rows)
}

fn name_row(stats: &TaskStats) -> [String; 7] {
    let seconds = |time: Duration| format!("{} s", with_commas(format_args!("{:.1}", time.as_secs_f64())));
    [
        shortened(&stats.name, MAX_NAME),
        with_commas(stats.pieces),
        with_commas(stats.failed),
        with_commas(stats.retried),
        seconds(stats.busy),
        seconds(stats.waited),
        amount(stats.bytes),
    ]
}

// The sentences.

fn write_work(f: &mut fmt::Formatter<'_>, stats: &Stats) -> fmt::Result {
    let Stats { tasks, pieces_waiting, pieces_done, pieces_failed, start, start_time, .. } = stats;
    let (tasks, waiting) = (counted(*tasks as u64, "task"), counted(*pieces_waiting as u64, "piece"));
    write!(f, "{tasks}, {waiting} waiting, {} done", with_commas(pieces_done))?;
    if *pieces_failed > 0 {
        write!(f, ", {} failed", with_commas(pieces_failed))?;
    }
    write!(f, "; workers are {start}")?;
    match start_time {
        Some(time) => {
            writeln!(f, ", in {} ms", with_commas(format_args!("{:.1}", time.as_secs_f64() * 1000.0)))
        }
        None => writeln!(f),
    }
}

fn write_memory(f: &mut fmt::Formatter<'_>, stats: &Stats) -> fmt::Result {
    if let Some(bytes) = stats.memory {
        write!(f, "{}; ", memory_and_limits(bytes, stats))?;
    }
    if let Some(bytes) = stats.memory_available {
        write!(f, "{} available; ", amount(bytes))?;
    }
    let Stats { workers_recycled, workers_over_limit, workers_lost, workers_idle_ended, unmeasured, .. } = stats;
    let [recycled, over_limit, lost] = [workers_recycled, workers_over_limit, workers_lost].map(with_commas);
    write!(f, "{recycled} recycled, {over_limit} over limit, {lost} lost")?;
    if *workers_idle_ended > 0 {
        write!(f, ", {} ended idle", with_commas(workers_idle_ended))?;
    }
    match unmeasured.is_empty() {
        true => Ok(()),
        false => write!(f, "; not measured: {}", unmeasured.join(", ")),
    }
}

/// As `90.1 MiB of 700 (high), 850 (max)`: a limit has no unit of its own if it is that of the amount before it.
fn memory_and_limits(bytes: u64, stats: &Stats) -> String {
    let mut text = amount(bytes);
    let (_, mut unit) = scaled(bytes);
    let limits = [(stats.memory_high, "high"), (stats.memory_max, "max")];
    let limits = limits.into_iter().filter_map(|(limit, name)| Some((limit?, name)));
    for (number, (limit, name)) in limits.enumerate() {
        let (value, own) = scaled(limit);
        text += if number == 0 { " of " } else { ", " };
        text += value.strip_suffix(".0").unwrap_or(&value);
        if own != unit {
            text += &format!(" {own}");
            unit = own;
        }
        text += &format!(" ({name})");
    }
    text
}

// Cells.

fn known<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_string(), text)
}

fn amount(bytes: u64) -> String {
    let (value, unit) = scaled(bytes);
    format!("{value} {unit}")
}

/// MiB, or GiB from 1,024 of them on, with a tenth.
fn scaled(bytes: u64) -> (String, &'static str) {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    // What would be rounded to 1,024.0 MiB is 1.0 GiB.
    let (value, unit) = if mebibytes < 1023.95 { (mebibytes, "MiB") } else { (mebibytes / 1024.0, "GiB") };
    (with_commas(format_args!("{value:.1}")), unit)
}

/// A number without its fraction. The cast saturates, makes 0 of what is no number, and has no negative zero.
fn whole(value: f64) -> String {
    with_commas(value.round() as i64)
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", with_commas(count), if count == 1 { "" } else { "s" })
}

/// A name on one line, without its beginning if it is too long: the end tells functions and files apart.
fn shortened(name: &str, most: usize) -> String {
    let clean = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
    let length = name.chars().count();
    if length <= most {
        return name.chars().map(clean).collect();
    }
    let end = name.chars().skip(length - (most - 1)).map(clean);
    std::iter::once('…').chain(end).collect()
}

#[cfg(test)]
mod tests;
