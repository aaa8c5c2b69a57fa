//! How one job ended, as one line of text: the result of its piece, or the message of its error. The journal keeps that line, so
//! `multicore journal show` needs no other source, and neither does a row of the job log that is written later.
//!
//! ```text
//! exit 3, signal 0, started 1764222089.123456, took 0.004120, wrote 12 + 0 bytes, peak 1840 KiB, parcel 0: grep x a.txt
//! ```

use std::fmt;

/// The most bytes of a command that the line keeps, since each is in the journal. It is for people only.
const MAX_COMMAND_BYTES: usize = 1024;

/// What GNU parallel's job log has for a job that ran too long.
const TIMED_OUT: (i32, i32) = (-1, 15);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub exit: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// Since 1970.
    pub started_us: u64,
    pub took_us: u64,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// The most memory that a process of this worker's jobs has used so far.
    pub peak_kib: u64,
    /// The parcel with what the job has printed, or 0.
    pub parcel: u64,
    pub command: String,
}

impl Report {
    /// True if the job ended as a job should.
    pub fn is_success(&self) -> bool {
        self.exit == 0 && self.signal == 0
    }

    pub fn set_timed_out(&mut self) {
        (self.exit, self.signal) = TIMED_OUT;
    }

    pub fn is_timed_out(&self) -> bool {
        (self.exit, self.signal) == TIMED_OUT
    }

    pub fn parse(line: &str) -> Option<Report> {
        let (numbers, command) = line.split_once(": ")?;
        let mut fields = numbers.split(", ");
        let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix(' ');
        let exit = field("exit")?.parse().ok()?;
        let signal = field("signal")?.parse().ok()?;
        let started_us = microseconds(field("started")?)?;
        let took_us = microseconds(field("took")?)?;
        let (stdout_bytes, stderr_bytes) = field("wrote")?.strip_suffix(" bytes")?.split_once(" + ")?;
        let peak_kib = field("peak")?.strip_suffix(" KiB")?.parse().ok()?;
        let parcel = field("parcel")?.parse().ok()?;
        Some(Report {
            exit,
            signal,
            started_us,
            took_us,
            stdout_bytes: stdout_bytes.parse().ok()?,
            stderr_bytes: stderr_bytes.parse().ok()?,
            peak_kib,
            parcel,
            command: command.to_string(),
        })
    }

    /// Cuts and flattens what the line keeps of a command.
    pub fn shown(command: &str) -> String {
        let mut end = command.len().min(MAX_COMMAND_BYTES);
        while !command.is_char_boundary(end) {
            end -= 1;
        }
        command[..end].replace(['\n', '\r'], " ")
    }
}

fn microseconds(seconds: &str) -> Option<u64> {
    let (whole, part) = seconds.split_once('.').filter(|(_, part)| part.len() == 6)?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part.parse().ok()?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { exit, signal, stdout_bytes, stderr_bytes, peak_kib, parcel, command, .. } = self;
        let (started, took) = (Seconds(self.started_us), Seconds(self.took_us));
        write!(
            f,
            "exit {exit}, signal {signal}, started {started}, took {took}, wrote {stdout_bytes} + {stderr_bytes} bytes, "
        )?;
        write!(f, "peak {peak_kib} KiB, parcel {parcel}: {command}")
    }
}

/// A job that failed is an error of its piece.
impl std::error::Error for Report {}

struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests;
