//! What earlier runs have recorded: where the newest outcome of each piece stands, and how it is read again.
//!
//! An entry has 24 bytes and an outcome is read from its file when its caller asks for it, so ten million outcomes take some 400 MB,
//! and their results no memory.
//!
//! Invariant: an outcome that is given was checked by its sums when it was read, whatever has become of the file since.

use super::format::{self, Ended, FileId, HEAD_BYTES, Head, How, Key, Kind, OUTCOME_BYTES, Run, TAIL_BYTES};
use super::log::Fault;
use super::scan::Found;
use super::storage::Source;
use crate::backend::Settled;
use crate::codec::bytes::Reply;
use crate::error::{Error, ErrorKind, PieceLabel};
use std::collections::HashMap;
use std::fmt;
use std::io;

/// What is read at once: records are short, and a run asks for them in about the order in which they were written.
const WINDOW_BYTES: usize = 64 * 1024;

/// A message is read up to this length.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Where an outcome stands, and what it is, in one word.
///
/// | bits  | what                                       |
/// |-------|--------------------------------------------|
/// | 0-47  | the offset of its record                   |
/// | 48-55 | the number of its file                     |
/// | 56-59 | what it is                                 |
/// | 60-63 | about how long its result is: two bits of the length each |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Done, and its result stands in the record.
    Result = 0,
    /// Done, and its result has no bytes.
    Empty = 1,
    /// Done, and its result was not kept.
    NoResult = 2,
    /// Done, and its caller has confirmed that.
    Confirmed = 3,
    /// The same of one whose result has no bytes.
    ConfirmedEmpty = 4,
    Failed = 5,
}

impl Entry {
    fn new(file: u8, offset: u64, what: What, bytes: usize) -> Entry {
        let class = u64::from((usize::BITS - bytes.leading_zeros()).div_ceil(2)).min(15);
        Entry(offset & ((1 << 48) - 1) | u64::from(file) << 48 | (what as u64) << 56 | class << 60)
    }

    /// Its result, or its message, is no longer than this.
    pub(super) fn most_bytes(self) -> usize {
        (1 << (2 * (self.0 >> 60))) - 1
    }

    fn offset(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }

    fn file(self) -> usize {
        (self.0 >> 48) as usize & 0xff
    }

    fn what(self) -> What {
        match self.0 >> 56 & 15 {
            0 => What::Result,
            1 => What::Empty,
            2 => What::NoResult,
            3 => What::Confirmed,
            4 => What::ConfirmedEmpty,
            _ => What::Failed,
        }
    }

    pub(super) fn is_failed(self) -> bool {
        self.what() == What::Failed
    }

    /// False if nothing is known of the piece but that it is done.
    pub(super) fn has_outcome(self, counting: Counting) -> bool {
        match self.what() {
            What::Result => counting.results,
            What::Empty | What::ConfirmedEmpty | What::Failed => true,
            What::NoResult | What::Confirmed => false,
        }
    }
}

/// Which recorded outcomes count for a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counting {
    /// Results were recorded, and are given again.
    pub(super) results: bool,
    /// Only what the caller has confirmed is done.
    pub(super) confirmed: bool,
    /// What has failed is run again.
    pub(super) resume_failed: bool,
}

/// The newest outcome of each piece, by its key.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: HashMap<Key, Entry>,
    runs: HashMap<(u8, u32), Run>,
    /// How many other journals count.
    others: u8,
    /// The pid of the last run of the journal itself.
    last_pid: Option<u32>,
}

impl Index {
    /// Notes a record of the file with this number. The journal itself is read last, and has the number 0.
    pub(super) fn add(&mut self, file: u8, found: &Found, body: &[u8]) {
        let kind = found.head.kind;
        if kind == Kind::Run {
            if let Some(run) = Run::decode(body) {
                if file == 0 {
                    self.last_pid = Some(run.pid);
                }
                self.runs.insert((file, found.head.run), run);
            }
            return;
        }
        // One that cannot be read, as that of a later version of the crate, is as good as none: its piece is run again.
        let Some(ended) = kind.is_outcome().then(|| Ended::decode(kind, body)).flatten() else { return };
        let what = match (kind, ended.how) {
            (_, How::Failed(_)) => What::Failed,
            (Kind::Confirmed, How::Result) => What::ConfirmedEmpty,
            (Kind::Confirmed, _) => What::Confirmed,
            (_, How::Result) if found.head.body_bytes == OUTCOME_BYTES => What::Empty,
            (_, How::Result) => What::Result,
            (_, How::NoResult) => What::NoResult,
        };
        let entry = Entry::new(file, found.offset, what, found.head.body_bytes.saturating_sub(OUTCOME_BYTES));
        let before = self.entries.insert(ended.key, entry);
        // What another journal has done counts, though it has failed here.
        if let Some(before) = before
            && what == What::Failed
            && before.what() != What::Failed
            && before.file() != usize::from(file)
        {
            self.entries.insert(ended.key, before);
        }
    }

    /// The number of the next other journal.
    pub(super) fn next_file(&mut self) -> u8 {
        self.others += 1;
        self.others
    }

    pub(super) fn last_pid(&self) -> Option<u32> {
        self.last_pid
    }

    /// The types of a run of this task, if they are others than these.
    pub(super) fn other_types(&self, name: &str, version: &str, types: &str) -> Option<&str> {
        let mut runs = self.runs.values();
        let other = runs.find(|run| run.name == name && run.version == version && run.types != types)?;
        Some(&other.types)
    }

    /// What counts as the outcome of a piece.
    pub(super) fn find(&self, key: &Key, counting: Counting) -> Option<Entry> {
        let entry = *self.entries.get(key)?;
        let counts = match entry.what() {
            What::Failed => !counting.resume_failed,
            What::Confirmed | What::ConfirmedEmpty => true,
            What::Result | What::Empty | What::NoResult => !counting.confirmed,
        };
        counts.then_some(entry)
    }
}

/// The files of earlier outcomes.
pub(super) struct Files(Vec<File>);

struct File {
    source: Box<dyn Source + Send>,
    id: FileId,
    name: String,
    window: Vec<u8>,
    window_offset: u64,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|file| &file.name)).finish()
    }
}

impl Files {
    pub(super) fn new() -> Files {
        Files(Vec::new())
    }

    /// Closes all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds the file with the next number. `name` is what errors call it.
    pub(super) fn add(&mut self, source: Box<dyn Source + Send>, id: FileId, name: String) {
        self.0.push(File { source, id, name, window: Vec::new(), window_offset: 0 });
    }

    /// Reads an outcome.
    pub(super) fn read(&mut self, entry: Entry, label: PieceLabel, counting: Counting) -> Settled {
        if !entry.has_outcome(counting) {
            let message = "was done in an earlier run, and its result was not kept";
            return Settled::Failed(Error::new(ErrorKind::AlreadyDone, message).with_piece(label, 0));
        }
        if matches!(entry.what(), What::Empty | What::ConfirmedEmpty) {
            return Settled::Done(Reply::copy_of(&[]));
        }
        let file = &mut self.0[entry.file()];
        match file.outcome(entry.offset()) {
            Ok((Ended { how: How::Failed(kind), attempts, .. }, message)) => {
                let message = &message[..message.len().min(MAX_MESSAGE_BYTES)];
                let message = String::from_utf8_lossy(message).into_owned();
                Settled::Failed(Error::new(kind, message).with_piece(label, attempts))
            }
            Ok((_, result)) => Settled::Done(match result.len() {
                0..=64 => Reply::copy_of(result),
                _ => Reply::Heap(result.to_vec()),
            }),
            Err(fault) => {
                let message = format!("has an outcome that cannot be read again: {}", unreadable(&file.name, fault));
                Settled::Failed(Error::new(ErrorKind::Journal, message).with_piece(label, 0))
            }
        }
    }
}

fn unreadable(name: &str, fault: Fault) -> String {
    match fault {
        Fault::Corrupt { offset } => format!("the journal {name} has changed at byte {offset} since it was opened"),
        Fault::System(error) => format!("the journal {name}: {error}"),
        other => format!("the journal {name}: {other:?}"),
    }
}

impl File {
    /// The outcome whose record stands there, and its result or message.
    fn outcome(&mut self, offset: u64) -> Result<(Ended, &[u8]), Fault> {
        let id = self.id;
        let corrupt = Fault::Corrupt { offset };
        let Some(head) = Head::decode(self.bytes(offset, HEAD_BYTES)?, id) else { return Err(corrupt) };
        let record = self.bytes(offset, HEAD_BYTES + head.body_bytes + TAIL_BYTES)?;
        let Some(body) = format::body_of(record, id) else { return Err(corrupt) };
        let Some(ended) = Ended::decode(head.kind, body) else { return Err(corrupt) };
        Ok((ended, &body[OUTCOME_BYTES..]))
    }

    /// This number of bytes from this place on.
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = self.window_offset + self.window.len() as u64;
        if offset < self.window_offset || offset + length as u64 > end {
            self.fill(offset, length)?;
        }
        let from = (offset - self.window_offset) as usize;
        self.window.get(from..from + length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// A place soon after the last one gets a whole window: more of its kind follow.
    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        let reach = self.window_offset + (self.window.len().max(WINDOW_BYTES) + WINDOW_BYTES) as u64;
        let goes_on = (self.window_offset..=reach).contains(&offset);
        let wanted = if goes_on { length.max(WINDOW_BYTES) } else { length.max(1024) };
        if self.window.capacity() > WINDOW_BYTES {
            self.window = Vec::new();
        }
        self.window.clear();
        self.window.resize(wanted, 0);
        let mut read = 0;
        while read < wanted {
            match self.source.read_at(offset + read as u64, &mut self.window[read..])? {
                0 => break,
                more => read += more,
            }
        }
        self.window.truncate(read);
        self.window_offset = offset;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
