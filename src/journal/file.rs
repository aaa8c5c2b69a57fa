//! A journal's file, opened by its path, and what is wrong with one as an error that says how to mend it.

use super::format::{FORMAT, HeaderFault};
use super::log::Fault;
use super::storage::{Source, Storage};
use crate::error::{Error, ErrorKind};
use crate::sys::record_file::{RecordFile, Refusal};
use std::io;
use std::path::Path;
use std::sync::Arc;

impl Source for RecordFile {
    fn length(&self) -> io::Result<u64> {
        RecordFile::length(self)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        RecordFile::read_at(self, offset, buffer)
    }
}

impl Source for Arc<RecordFile> {
    fn length(&self) -> io::Result<u64> {
        RecordFile::length(self)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        RecordFile::read_at(self, offset, buffer)
    }
}

impl Storage for Arc<RecordFile> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        RecordFile::write_at(self, offset, bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        RecordFile::truncate(self, length)
    }

    fn sync(&mut self) -> io::Result<()> {
        RecordFile::sync(self)
    }

    fn check_place(&self) -> io::Result<()> {
        RecordFile::check_place(self)
    }
}

impl Storage for RecordFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        RecordFile::write_at(self, offset, bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        RecordFile::truncate(self, length)
    }

    fn sync(&mut self) -> io::Result<()> {
        RecordFile::sync(self)
    }

    fn check_place(&self) -> io::Result<()> {
        RecordFile::check_place(self)
    }
}

/// A journal that is not opened.
pub(super) fn refused(path: &Path, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Held => fault_of(path, "is held by another task or process: wait until that has ended"),
        Refusal::Replaced => fault_of(path, "was replaced in this moment: try again"),
        Refusal::Unfit(why) => fault_of(path, &format!("is refused: {why}")),
        Refusal::System(error) => fault_of(path, &format!("cannot be opened: {error}")),
    }
}

/// A journal that cannot be used.
pub(super) fn unusable(path: &Path, fault: Fault) -> Error {
    let what = match fault {
        Fault::System(error) => format!("cannot be read or written: {error}"),
        Fault::Header(HeaderFault::Foreign) => "is no journal, and is left as it is: give another path".to_string(),
        Fault::Header(HeaderFault::Damaged) => {
            "is damaged in its first 32 bytes, so nothing of it can be trusted".to_string()
        }
        Fault::Header(HeaderFault::Format(other)) => {
            format!("has format {other}, and this version of the crate has format {FORMAT}")
        }
        Fault::Corrupt { offset } => format!(
            "is corrupt at byte {offset}: what was on the disk there has changed. `journal::repair` leaves that out and keeps the rest"
        ),
        Fault::TooManyRuns => "has had 16 million runs: `journal::compact` makes it new".to_string(),
        Fault::TooLong { bytes } => format!("takes no record of {bytes} bytes: its limit is 1 GiB"),
    };
    fault_of(path, &what)
}

pub(super) fn fault_of(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Journal, format!("the journal {} {what}", path.display()))
}
