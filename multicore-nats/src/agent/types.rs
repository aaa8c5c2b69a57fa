//! What an agent is told, what it wants done, and its times.

use crate::frame::Limits;
use crate::identity::{Build, Namespace};
use crate::transport::Request;
use bytes::Bytes;

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// The chunks that an agent holds: one that runs, and one that its workers begin while the last pieces of the first run.
pub const MOST_HELD: usize = 2;

/// The server keeps a pull for this time, in ns.
pub const PULL_NS: u64 = 2 * SECOND_NS;

/// A pull of which nothing was heard for this time is given up: its answer, or the request itself, was lost.
pub const PULL_LOST_NS: u64 = 4 * SECOND_NS;

/// How often a host says that it is there.
pub const BEAT_NS: u64 = 5 * SECOND_NS;

/// What could not be done is tried again after this time.
pub(super) const RETRY_NS: u64 = SECOND_NS;

/// A value that is longer lies in the object store.
pub const INLINE_BYTES: usize = 256 << 10;

/// An error that is longer is cut. Errors are sentences; one of this length is somebody's data.
pub const MAX_ERROR_BYTES: usize = 64 << 10;

/// What an agent is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose jobs it serves.
    pub namespace: Namespace,
    /// What it serves.
    pub build: Build,
    /// Its host's name.
    pub name: String,
    /// The workers of its pool.
    pub workers: u32,
    /// After a stop, how long what runs may take to come to its end, in ns.
    pub drain_ns: u64,
    /// Random: two agents of one name do not take each other's frames for their own.
    pub incarnation: u64,
}

/// A chunk that is held, as its runner knows it. The same chunk delivered again has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holding(pub u64);

/// How a piece ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It gave this value.
    Value(Bytes),
    /// It failed: the error, encoded.
    Error(Bytes),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The server is asked.
    Ask(Request),
    /// A piece is to run. [`Agent::ended`](super::Agent::ended) tells how it ended.
    Run {
        /// The chunk.
        chunk: Holding,
        /// The piece's number.
        piece: u32,
        /// Its function's id.
        function: u64,
        /// What holds for it.
        limits: Limits,
        /// Its arguments.
        bytes: Bytes,
    },
    /// The pieces of this chunk need not run any more, and those that run are killed. They are not told of again.
    Kill {
        /// The chunk.
        chunk: Holding,
    },
    /// A line for people.
    Notice(String),
    /// The stop is done: nothing is held.
    Stopped,
}

/// What an agent has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Chunks that were acknowledged.
    pub chunks: u64,
    /// Pieces whose outcomes were sent.
    pub pieces: u64,
    /// Messages that were no frames.
    pub garbage: u64,
    /// Chunks that were given up.
    pub given_up: u64,
    /// Chunks that were dropped, because their job was cancelled or has no master.
    pub dropped: u64,
}
