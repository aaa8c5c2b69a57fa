//! The table of jobs that GNU parallel writes and reads: `--joblog`.
//!
//! ```text
//! Seq Host Starttime JobRuntime Send Receive Exitval Signal Command      (between tabs)
//! ```
//!
//! Invariant: a row stands here only if the journal has the job. The reverse is mended when a run is resumed: a row that the
//! journal has and this file lacks is added, and a last line that a crash has torn is cut.

use crate::report::Report;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

#[derive(Debug)]
pub struct JobLog {
    file: File,
    /// How many rows of each job were there, by all but their numbers, and belong to no skipped job yet.
    rows: HashMap<Vec<u8>, usize>,
}

impl JobLog {
    /// An error if what is there is no table, or cannot be read and written. What is not there is one to come.
    pub fn check(path: &Path) -> io::Result<()> {
        let mut beginning = Vec::new();
        // A named pipe would be waited for.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = match OpenOptions::new().read(true).append(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return check_folder(path),
            file => file?,
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        file.take(HEADER.len() as u64).read_to_end(&mut beginning)?;
        check_header(&beginning)
    }

    /// Begins a new table, or goes on with the one that is there.
    pub fn open(path: &Path, goes_on: bool) -> io::Result<JobLog> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        check_header(&text)?;
        let whole = if goes_on { whole } else { 0 };
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        if whole == 0 {
            file.write_all(HEADER.as_bytes())?;
        }
        Ok(JobLog { file, rows: rows(&text[..whole]) })
    }

    /// Adds the row of a job that has ended now.
    pub fn add(&mut self, number: u64, report: &Report, command: &[u8]) -> io::Result<()> {
        self.file.write_all(&row(number, report, command))
    }

    /// Adds the row of a job that an earlier run has recorded, if that run did not come to it.
    pub fn add_missing(&mut self, number: u64, report: &Report, command: &[u8]) -> io::Result<()> {
        let row = row(number, report, command);
        let key = row.splitn(2, |&byte| byte == b'\t').nth(1).unwrap_or_default();
        match self.rows.get_mut(key.trim_ascii_end()) {
            Some(left) if *left > 0 => *left -= 1,
            _ => self.file.write_all(&row)?,
        }
        Ok(())
    }

    /// The same for a job whose record does not tell what its row has: any row of its command counts.
    pub fn add_unknown(&mut self, number: u64, report: &Report, command: &[u8]) -> io::Result<()> {
        let end = [b"\t", one_line(command).trim_ascii_end()].concat();
        match self.rows.iter_mut().find(|(row, left)| **left > 0 && row.ends_with(&end)) {
            Some((_, left)) => *left -= 1,
            None => self.add(number, report, command)?,
        }
        Ok(())
    }
}

/// An error if no file can be made there.
fn check_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?)
}

/// A header that a crash has torn is one.
fn check_header(text: &[u8]) -> io::Result<()> {
    if text.starts_with(HEADER.as_bytes()) || HEADER.as_bytes().starts_with(text) {
        return Ok(());
    }
    let message = "it is no job log: its first line is not that of GNU parallel's";
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

fn rows(text: &[u8]) -> HashMap<Vec<u8>, usize> {
    let mut rows = HashMap::new();
    for line in text.split(|&byte| byte == b'\n').skip(1) {
        if let Some(key) = line.splitn(2, |&byte| byte == b'\t').nth(1) {
            *rows.entry(key.trim_ascii_end().to_vec()).or_default() += 1;
        }
    }
    rows
}

fn row(number: u64, report: &Report, command: &[u8]) -> Vec<u8> {
    let (started, took) = (report.started_us as f64 / 1e6, report.took_us as f64 / 1e6);
    let Report { stdout_bytes, exit, signal, .. } = report;
    let mut row = format!("{number}\t:\t{started:.3}\t{took:10.3}\t0\t{stdout_bytes}\t{exit}\t{signal}\t").into_bytes();
    row.extend_from_slice(&one_line(command));
    row.push(b'\n');
    row
}

/// A row is a line. GNU parallel puts a zero byte in place of a line's end, and makes a line's end of that when it reads it.
fn one_line(command: &[u8]) -> Vec<u8> {
    command.iter().map(|&byte| if byte == b'\n' { 0 } else { byte }).collect()
}

#[cfg(test)]
mod tests;
