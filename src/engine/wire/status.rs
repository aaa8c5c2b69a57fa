//! The status of a pool: a memfd in which its process tells what its workers do, for those who look from outside.
//!
//! | offset | words | what                                             | written                |
//! |--------|-------|--------------------------------------------------|------------------------|
//! | 0      | 1     | [`MAGIC`]                                        | before anybody sees it |
//! | 8      | 1     | [`VERSION`]: what follows is of this version     | likewise |
//! | 16     | 4     | bytes of a row, where the rows begin, how many there is room for, and 0 | likewise |
//! | 48     | 1     | the owner's process, as it knows itself          | likewise |
//! | 56     | 1     | the address of the crate's entry in that process: offsets of functions count from there | likewise |
//! | 64     | 1     | which of the process's pools it is, from 1        | likewise |
//! | 72     | 1     | the pool's [`Phase`]                              | in its supervisor's turns |
//! | 80     | 1     | the number of rows in use                         | likewise |
//! | 88     | 1     | the owner's namespace of processes, 0 if unknown  | before anybody sees it |
//! | 128    | 8 each | a row for each seat                              | by `protocol/seqlock.rs`, under the pool's lock |
//!
//! A row is a line of the cache: the sequence, and seven words of content.
//!
//! | word | bits 0 to 7 | 8 to 15        | 16 to 23          | 24 to 31 | 32 to 63 |
//! |------|-------------|----------------|-------------------|----------|----------|
//! | 1    | [`State`]   | 1: its piece was seen to have begun | why the worker before was replaced ([`why`]) | the cause of its death ([`cause`]) | that cause's number |
//! | 2    | process (0 to 31)  | | | | the workers before this one |
//! | 3    | the function, as it travels (`Call::to_word`); 0 for none | | | | |
//! | 4    | the number of the piece in its task | | | | |
//! | 5    | pieces that it holds (0 to 31) | | | | |
//! | 6    | since when this is so: the monotonic clock, in nanoseconds (`core/status.rs`) | | | | |
//! | 7    | pieces that it has answered | | | | |
//!
//! The memory is sealed against another length and other writers once it is mapped. So a reader, also one that has more rights, cannot
//! be killed by a shorter file.
//!
//! Invariant: there are numbers alone, and what they say of a piece is no more than its place in its task and its function.

use super::pair;
use crate::error::Cause;
use crate::protocol::seqlock::Row;
use crate::protocol::sync::{AtomicU64, Relaxed};
use crate::stats::Replaced;
use crate::sys::descriptors::Descriptor;
use crate::sys::memory::{self, Writers};
use memmap2::MmapRaw;
use std::io;

/// The name that /proc/PID/fd shows.
pub(crate) const NAME: &str = "multicore-status";

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"mcstatus");
pub(crate) const VERSION: u64 = 1;

/// A pool has room for this many workers, however few it was built with.
pub(crate) const LEAST_ROOM: usize = 256;

/// The words of a row's content.
pub(crate) const CONTENT: usize = 7;
pub(crate) type Content = [u64; CONTENT];

const WORD: usize = 8;
const ROW_BYTES: usize = WORD * (1 + CONTENT);
const ROWS_AT: usize = 128;

/// The words of the header.
const OF_VERSION: usize = 1;
const OF_ROW_BYTES: usize = 2;
const OF_ROWS_AT: usize = 3;
const OF_ROOM: usize = 4;
const OF_OWNER: usize = 6;
const OF_ANCHOR: usize = 7;
const OF_NUMBER: usize = 8;
const OF_PHASE: usize = 9;
const OF_USED: usize = 10;
const OF_NAMESPACE: usize = 11;
const HEADER: usize = ROWS_AT / WORD;

const _: () = assert!(ROW_BYTES == 64 && ROWS_AT.is_multiple_of(ROW_BYTES));
const _: () = assert!(OF_NAMESPACE < HEADER && OF_NUMBER * WORD == 64 && OF_PHASE * WORD == 72);

/// What a seat's worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// The seat is none of the pool's workers now.
    Unused = 0,
    Starting = 1,
    Idle = 2,
    Busy = 3,
    /// It has not begun what it was given in time.
    Late = 4,
    Leaving = 5,
    /// It has ended because it was idle, and comes again when pieces wait.
    Resting = 6,
    /// It has ended, and its cause is yet to be told.
    Lost = 7,
    /// It is yet to be started.
    Vacant = 8,
}

/// The life of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Open = 0,
    /// It has ended by itself.
    Failed = 1,
    /// Its owner ends it.
    Closing = 2,
    Closed = 3,
}

/// Why a worker was replaced, as a number: 0 for none.
pub(crate) fn why(last: Option<Replaced>) -> u64 {
    match last {
        None => 0,
        Some(Replaced::Pieces) => 1,
        Some(Replaced::Age) => 2,
        Some(Replaced::Asked) => 3,
        Some(Replaced::MemoryHigh) => 4,
        Some(Replaced::MemoryMax) => 5,
        Some(Replaced::Died) => 6,
        Some(Replaced::Idle) => 7,
    }
}

/// A cause of death as two numbers; 0 for one that is not known.
pub(crate) fn cause(cause: Cause) -> (u64, i32) {
    match cause {
        Cause::Signal(number) => (1, number),
        Cause::Exit(code) => (2, code),
        Cause::StackOverflow => (3, 0),
        Cause::AllocationFailed => (4, 0),
        Cause::OomKilled => (5, 0),
        Cause::Protocol => (6, 0),
        Cause::ForkServerLost => (7, 0),
        Cause::Unknown => (0, 0),
    }
}

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) state: State,
    pub(crate) has_begun: bool,
    pub(crate) why: Option<Replaced>,
    pub(crate) cause: Option<Cause>,
    /// 0 while it is not known.
    pub(crate) pid: u32,
    /// The workers before this one.
    pub(crate) before: u32,
    /// The call, as it travels; 0 for none.
    pub(crate) call: u64,
    pub(crate) piece: u64,
    pub(crate) held: u32,
    pub(crate) at_ns: u64,
    pub(crate) done: u64,
}

impl Told {
    #[cfg(test)]
    pub(crate) fn content(&self) -> Content {
        self.content_after(self.former())
    }

    /// What the first word says of the worker before.
    pub(crate) fn former(&self) -> u64 {
        let (code, number) = self.cause.map_or((0, 0), cause);
        why(self.why) << 16 | code << 24 | u64::from(number as u32) << 32
    }

    /// With the first word's part of the worker before, which changes less often than the rest.
    #[inline]
    pub(crate) fn content_after(&self, former: u64) -> Content {
        [
            self.state as u64 | u64::from(self.has_begun) << 8 | former,
            u64::from(self.pid) | u64::from(self.before) << 32,
            self.call,
            self.piece,
            u64::from(self.held),
            self.at_ns,
            self.done,
        ]
    }
}

/// How many rows a pool needs that was built with this many workers: one for each that it may be resized to, and one for the seat beyond.
pub(crate) fn rows(workers: usize) -> usize {
    LEAST_ROOM.max(2 * workers) + 1
}

/// What the header says of the pool's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// As it knows itself.
    pub(crate) pid: u32,
    /// Its namespace of processes; 0 if that is not known.
    pub(crate) namespace: u64,
    /// The address of the crate's entry in it.
    pub(crate) anchor: u64,
    /// Which of its pools it is.
    pub(crate) number: u32,
}

/// A status in memory: the owner's own mapping, or a reader's, which is read-only.
#[derive(Debug)]
pub(crate) struct Status {
    mapping: MmapRaw,
    room: usize,
}

impl Status {
    /// A new one, and its descriptor, which keeps it where others find it.
    pub(crate) fn create(rows: usize, owner: Owner) -> io::Result<(Status, Descriptor)> {
        let bytes = ROWS_AT + rows * ROW_BYTES;
        let (file, mapping) = memory::create(NAME, bytes, bytes, Writers::Maker)?;
        let status = Status { mapping, room: rows };
        let set = |word: usize, value: u64| status.word(word).store(value, Relaxed);
        for (word, value) in [(OF_ROW_BYTES, ROW_BYTES), (OF_ROWS_AT, ROWS_AT), (OF_ROOM, rows)] {
            set(word, value as u64);
        }
        for (word, value) in [
            (OF_OWNER, u64::from(owner.pid)),
            (OF_ANCHOR, owner.anchor),
            (OF_NUMBER, u64::from(owner.number)),
            (OF_NAMESPACE, owner.namespace),
            (OF_VERSION, VERSION),
            // Last: a file without it is none yet.
            (0, MAGIC),
        ] {
            set(word, value);
        }
        Ok((status, file))
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        &pair::words(&self.mapping, 0, HEADER)[word]
    }

    /// The row of a seat, if there is room for it.
    #[inline]
    pub(crate) fn row(&self, seat: usize) -> Option<Row<'_, CONTENT>> {
        if seat >= self.room {
            return None;
        }
        let words = pair::words(&self.mapping, ROWS_AT + seat * ROW_BYTES, 1 + CONTENT);
        let (sequence, content) = words.split_first()?;
        Some(Row { sequence, content: content.try_into().ok()? })
    }

    /// Tells how the pool is, and how many rows are in use.
    pub(crate) fn tell_pool(&self, phase: Phase, used: usize) {
        // Each is a word of its own.
        self.word(OF_PHASE).store(phase as u64, Relaxed);
        self.word(OF_USED).store(used.min(self.room) as u64, Relaxed);
    }
}

#[cfg(any(test, feature = "status"))]
pub(crate) mod read;

#[cfg(test)]
mod tests;
