//! A table of which each piece reads the records that begin in its range of bytes.
//!
//! A line is a record, so a piece finds the first record of its range by itself: it is what follows the first line end from the byte before the
//! range on. A line end inside quotes would break that, and is refused by the piece that reads the line: its quotes are not in pairs.
//!
//! Invariant: each record belongs to exactly one of the ranges that cover the file, and all pieces read the same version of the file.

use crate::problem::{Problem, Result};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The longest line that is accepted: a file without line ends must not fill the memory.
const LONGEST_LINE_BYTES: u64 = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file as it was when its caller asked for it. It travels to the workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Absolute: workers have the directory that the program had when its pool started.
    path: OsString,
    version: Version,
    /// The first byte after the line with the names of the columns.
    records_start: u64,
}

/// What changes when another file is put there, or this one is written to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Version {
    fn of(data: &Metadata) -> Version {
        let modified = (data.mtime(), data.mtime_nsec());
        Version { device: data.dev(), inode: data.ino(), bytes: data.size(), modified }
    }
}

impl Table {
    /// Looks at a file: its size, and where its records begin.
    pub fn open(path: &Path) -> Result<Table> {
        let path = std::path::absolute(path).map_err(|error| Problem::system("find", path, &error))?;
        let file = File::open(&path).map_err(|error| Problem::system("open", &path, &error))?;
        let version = version_of(&file, &path)?;
        let mut header = Vec::new();
        read_line(&mut BufReader::new(file), &mut header, &path)?;
        let records_start = header.len() as u64;
        Ok(Table { path: path.into(), version, records_start })
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.path)
    }

    /// The number of bytes of the records. Ranges are counted from the first of them.
    pub fn len(&self) -> usize {
        usize::try_from(self.version.bytes.saturating_sub(self.records_start)).unwrap_or(usize::MAX)
    }

    /// The line with the names of the columns, and the records that begin at byte `start` or later, and before byte `end`.
    pub fn read(&self, start: usize, end: usize) -> Result<(Vec<u8>, Records)> {
        let path = self.path();
        let problem = |error| Problem::system("read", &path, &error);
        let mut file = File::open(&path).map_err(|error| Problem::system("open", &path, &error))?;
        if version_of(&file, &path)? != self.version {
            return Err(Problem::in_file(&path, "the file was changed while it was read; read it once more"));
        }
        let mut header = vec![0; self.records_start as usize];
        file.read_exact(&mut header).map_err(problem)?;
        if header.starts_with(BYTE_ORDER_MARK) {
            header.drain(..BYTE_ORDER_MARK.len());
        }
        let (mut start, end) = (self.records_start + start as u64, self.records_start + end as u64);
        // The header ends with a line end: so the byte before the first record is one, too.
        file.seek(SeekFrom::Start(start - 1)).map_err(problem)?;
        let mut file = BufReader::with_capacity(64 << 10, file);
        let mut before = Vec::new();
        read_line(&mut file, &mut before, &path)?;
        start += before.len() as u64 - 1;
        let mut bytes = Vec::new();
        if start < end {
            bytes.reserve_exact((end - start) as usize + 1024);
            (&mut file).take(end - start).read_to_end(&mut bytes).map_err(problem)?;
            if !bytes.ends_with(b"\n") {
                read_line(&mut file, &mut bytes, &path)?;
            }
        }
        Ok((header, Records { bytes, start }))
    }

    /// A problem with the record at byte `offset` of the file. The file is read up to there, which only a broken record needs.
    pub fn problem(&self, offset: u64, what: impl std::fmt::Display) -> Problem {
        let path = self.path();
        match line_at(&path, offset) {
            Ok(line) => Problem::in_file(&path, format_args!("line {line}: {what}")),
            Err(_) => Problem::in_file(&path, format_args!("byte {offset}: {what}")),
        }
    }
}

/// The records of a range, as they stand in the file.
pub struct Records {
    pub bytes: Vec<u8>,
    /// Where they begin in the file.
    pub start: u64,
}

impl Records {
    /// Where a line begins whose quotation marks are not in pairs.
    pub fn line_with_open_quotes(&self) -> Option<u64> {
        // Most tables have no quotes at all, and cost only this search.
        if !self.bytes.contains(&b'"') {
            return None;
        }
        let mut offset = self.start;
        for line in self.bytes.split_inclusive(|&byte| byte == b'\n') {
            if line.iter().filter(|&&byte| byte == b'"').count() % 2 == 1 {
                return Some(offset);
            }
            offset += line.len() as u64;
        }
        None
    }
}

fn version_of(file: &File, path: &Path) -> Result<Version> {
    let data = file.metadata().map_err(|error| Problem::system("read", path, &error))?;
    if !data.is_file() {
        return Err(Problem::in_file(path, "this is no regular file, of which parts could be read"));
    }
    Ok(Version::of(&data))
}

/// Reads up to the next line end, or to the end of the file.
fn read_line(file: &mut BufReader<File>, line: &mut Vec<u8>, path: &Path) -> Result<()> {
    let read = file.take(LONGEST_LINE_BYTES).read_until(b'\n', line);
    let read = read.map_err(|error| Problem::system("read", path, &error))?;
    if read as u64 == LONGEST_LINE_BYTES && !line.ends_with(b"\n") {
        return Err(Problem::in_file(path, "a line is longer than 1 MiB; is this a table?"));
    }
    Ok(())
}

/// The number, counted from 1, of the line that byte `offset` is in.
fn line_at(path: &Path, offset: u64) -> std::io::Result<usize> {
    let mut before = BufReader::new(File::open(path)?).take(offset);
    let mut lines = 1;
    loop {
        let buffer = before.fill_buf()?;
        if buffer.is_empty() {
            return Ok(lines);
        }
        lines += buffer.iter().filter(|&&byte| byte == b'\n').count();
        let read = buffer.len();
        before.consume(read);
    }
}
