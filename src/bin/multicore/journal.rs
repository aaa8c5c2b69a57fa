//! `multicore journal`: what a journal has, for people and for other programs.

use crate::arguments::JournalAction;
use crate::record;
use crate::report::Report;
use multicore::journal::{self, Compacted, Outcome, Record};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// It is damaged.
const DAMAGED: u8 = 1;

/// Does it, and gives the exit code.
///
/// # Errors
/// A line for people: the file cannot be read, or is no journal.
pub fn run(action: JournalAction) -> Result<u8, String> {
    match action {
        JournalAction::Show { file, json } => show(&file, json),
        JournalAction::Check { file } => check(&file),
        JournalAction::Compact { file } => rewritten(&file, journal::compact(&file)),
        JournalAction::Repair { file } => rewritten(&file, journal::repair(&file)),
    }
}

fn show(path: &Path, as_json: bool) -> Result<u8, String> {
    let reader = journal::read(path).map_err(|error| record::in_words(&error))?;
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    if !as_json {
        let header = format!("{:<20}  {:<8}  {:>10}  {:>5}  {}", "finished (UTC)", "outcome", "took", "tries", "what");
        writeln!(stdout, "{header}").or_else(unless_nobody_reads)?;
    }
    for record in reader {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                stdout.flush().or_else(unless_nobody_reads)?;
                return Err(record::in_words(&error));
            }
        };
        let line = if as_json { object(&record).to_string() } else { row(&record) };
        if let Err(error) = writeln!(stdout, "{line}") {
            return unless_nobody_reads(error).map(|()| 0);
        }
    }
    stdout.flush().or_else(unless_nobody_reads)?;
    Ok(0)
}

fn print(line: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{line}").or_else(unless_nobody_reads)
}

/// A reader that has seen enough is no error.
fn unless_nobody_reads(error: io::Error) -> Result<(), String> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(format!("cannot print the records: {error}")) }
}

fn check(path: &Path) -> Result<u8, String> {
    let mut reader = journal::read(path).map_err(|error| record::in_words(&error))?;
    let (mut done, mut failed) = (0_u64, 0_u64);
    for record in &mut reader {
        match record {
            Ok(record) if record.outcome() == Outcome::Done => done += 1,
            Ok(_) => failed += 1,
            Err(error) => {
                print(&format!(
                    "{}: damaged behind {done} done and {failed} failed: {}",
                    path.display(),
                    record::in_words(&error)
                ))?;
                return Ok(DAMAGED);
            }
        }
    }
    match reader.torn_tail() {
        None => print(&format!("{}: sound: {done} done, {failed} failed", path.display()))?,
        Some(tail) => print(&format!(
            "{}: sound: {done} done, {failed} failed; a crash, or a run that writes just now, has left {} bytes at byte {} that are no whole record, and the next run cuts them",
            path.display(),
            tail.end - tail.start,
            tail.start
        ))?,
    }
    Ok(0)
}

fn rewritten(path: &Path, compacted: Result<Compacted, multicore::Error>) -> Result<u8, String> {
    let compacted = compacted.map_err(|error| record::in_words(&error))?;
    let (outcomes, dropped) = (compacted.outcomes(), compacted.dropped());
    let (before, after) = (compacted.bytes_before(), compacted.bytes_after());
    print(&format!(
        "{}: {outcomes} outcomes stay, {dropped} older ones are gone; {before} bytes before, {after} now",
        path.display()
    ))?;
    Ok(0)
}

/// The report of a record that the runner made.
fn report(record: &Record) -> Option<Report> {
    if record.name() != record::TASK {
        return None;
    }
    let text = record.message().or_else(|| std::str::from_utf8(record.result()?).ok())?;
    Report::parse(text)
}

fn row(record: &Record) -> String {
    let (took, what) = match report(record) {
        Some(report) => {
            let how = match (report.exit, report.signal) {
                _ if report.is_success() => String::new(),
                _ if report.is_timed_out() => "timed out: ".to_string(),
                (exit, 0) => format!("exit code {exit}: "),
                (_, signal) => format!("signal {signal}: "),
            };
            (Duration::from_micros(report.took_us), format!("{how}{}", report.command))
        }
        None => {
            let why = record.message().unwrap_or_default().replace('\n', " ");
            let kind = record.kind().map(|kind| format!(" {kind:?}: {why}")).unwrap_or_default();
            let version = Some(record.version()).filter(|version| !version.is_empty());
            let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
            (record.took(), format!("{}{version} {}{kind}", record.name(), hexadecimal(record.key())))
        }
    };
    let (finished, outcome) = (date(record.finished()), record.outcome().to_string());
    let took = format!("{:.3} s", took.as_secs_f64());
    format!("{finished:<20}  {outcome:<8}  {took:>10}  {:>5}  {}", record.attempts(), what.trim_end())
}

fn object(record: &Record) -> Value {
    let seconds = record.finished().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut object = json!({
        "name": record.name(),
        "version": record.version(),
        "key": hexadecimal(record.key()),
        "outcome": record.outcome().to_string(),
        "attempts": record.attempts(),
        "kind": record.kind().map(|kind| format!("{kind:?}")),
        "message": record.message(),
        "finished": seconds.as_secs_f64(),
        "took": record.took().as_secs_f64(),
        "start": record.range().start,
        "end": record.range().end,
    });
    if let Some(report) = report(record) {
        object["exit"] = report.exit.into();
        object["signal"] = report.signal.into();
        object["started"] = (report.started_us as f64 / 1e6).into();
        object["took"] = (report.took_us as f64 / 1e6).into();
        object["command"] = report.command.into();
    }
    object
}

fn hexadecimal(key: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(key))
}

/// `2026-11-27 05:41:29`, by the civil calendar that begins its years in March.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86400, seconds % 86400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::date;
    use std::time::{Duration, SystemTime};

    #[test]
    fn dates_follow_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_795_758_089, "2026-11-27 05:41:29"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
