//! What a run has done, as its last line and its exit code.

use crate::report::Report;
use std::fmt;
use std::time::Duration;

/// The most skipped commands that are named.
const NAMED: u64 = 10;

/// Above this the exit code tells no more.
const MAX_FAILED: u64 = 101;

pub const INTERRUPTED: u8 = 130;

#[derive(Debug, Default)]
pub struct Summary {
    pub done: u64,
    pub skipped: u64,
    pub failed: u64,
    slowest: Option<(Duration, u64)>,
    peak_kib: u64,
}

impl Summary {
    /// A job has run.
    pub fn count(&mut self, number: u64, report: &Report) {
        if report.is_success() {
            self.done += 1;
        } else {
            self.failed += 1;
        }
        let took = Duration::from_micros(report.took_us);
        if self.slowest.is_none_or(|(slowest, _)| took > slowest) {
            self.slowest = Some((took, number));
        }
        self.peak_kib = self.peak_kib.max(report.peak_kib);
    }

    /// A recorded command was left out. Gives what to print about it.
    #[must_use]
    pub fn skip(&mut self, command: &[u8]) -> Option<String> {
        self.skipped += 1;
        (self.skipped <= NAMED).then(|| format!(" ==> Skipping {}", String::from_utf8_lossy(command)))
    }

    /// What to print about the skipped commands that were not named.
    pub fn more_skipped(&self) -> Option<String> {
        (self.skipped > NAMED).then(|| format!(" ==> Skipping {} more", self.skipped - NAMED))
    }

    pub fn exit_code(&self) -> u8 {
        self.failed.min(MAX_FAILED) as u8
    }

    pub fn line(&self, elapsed: Duration) -> String {
        format!("{self} in {:.1} s{}", elapsed.as_secs_f64(), self.of_jobs())
    }

    /// What only jobs that have run can tell.
    fn of_jobs(&self) -> String {
        let Some((slowest, number)) = self.slowest else { return String::new() };
        let peak = self.peak_kib.div_ceil(1024);
        format!("; slowest {:.2} s ({number}); peak {peak} MB", slowest.as_secs_f64())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} done, {} skipped, {} failed", self.done, self.skipped, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;
    use crate::report::Report;
    use std::time::Duration;

    fn ran(exit: i32, took_us: u64) -> Report {
        Report { exit, took_us, peak_kib: 12_000, ..Report::default() }
    }

    #[test]
    fn the_last_line_has_the_counts_and_the_slowest_job() {
        let mut summary = Summary::default();
        assert_eq!(summary.line(Duration::from_millis(40)), "0 done, 0 skipped, 0 failed in 0.0 s");
        summary.count(1, &ran(0, 10_000));
        summary.count(2, &ran(0, 310_000));
        summary.count(3, &ran(4, 20_000));
        assert_eq!(summary.skip(b"x"), Some(" ==> Skipping x".to_string()));
        let line = "2 done, 1 skipped, 1 failed in 3.2 s; slowest 0.31 s (2); peak 12 MB";
        assert_eq!(summary.line(Duration::from_millis(3210)), line);
    }

    #[test]
    fn ten_skipped_commands_are_named_and_the_rest_is_counted() {
        let mut summary = Summary::default();
        assert!((0..10).all(|_| summary.skip(b"a").is_some()));
        assert_eq!(summary.more_skipped(), None);
        assert!((0..90).all(|_| summary.skip(b"a").is_none()));
        assert_eq!(summary.more_skipped().unwrap(), " ==> Skipping 90 more");
        assert_eq!(summary.exit_code(), 0);
    }

    #[test]
    fn the_exit_code_counts_to_a_hundred() {
        for (failed, code) in [(0, 0), (1, 1), (100, 100), (101, 101), (5000, 101)] {
            assert_eq!(Summary { failed, ..Summary::default() }.exit_code(), code);
        }
    }
}
