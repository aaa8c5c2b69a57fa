//! The kinds of records in the two rings, their flags and their payloads.
//!
//! Invariant: each kind has one meaning in each direction. `engine/link` and the worker are the only ones that write and
//! read records.
//!
//! *out* (the work; `sequence` is the piece's number within its worker):
//!
//! | kind    | flags                | payload                                          |
//! |---------|----------------------|--------------------------------------------------|
//! | `PIECE` | format, `LOW_WATER`, `LIMITED`, `TIMED` | the call, then the arguments            |
//! | `BEGIN` | as of `PIECE`        | the call, the length of all arguments, their first chunk |
//! | `CHUNK` | 0                    | the next chunk of the arguments                  |
//! | `SAMPLED`, `SAMPLED_BEGIN` | as of `PIECE` | as of `PIECE` and `BEGIN`: a sample is to follow the reply |
//! | `FORGET` | 0                   | the number of a table, or none: what was sent is to be received, and the table forgotten |
//! | `LEAVE` | 0                    | none: no more work comes, and the worker ends    |
//!
//! *back* (the replies; `sequence` repeats the piece's):
//!
//! | kind    | flags      | payload                                                    |
//! |---------|------------|------------------------------------------------------------|
//! | `REPLY` | an outcome | the result, or the reason why there is none; of a piece that is timed, how long it ran before that |
//! | `BEGIN` | an outcome | the length of all of that, how long a piece ran that is timed, its first chunk |
//! | `CHUNK` | 0          | the next chunk of it                                       |
//! | `OPEN`  | 0          | the first part of a result that is written while its piece runs; its length is not known |
//! | `CHUNK` | 0          | after `OPEN`: the next part, of any length but 0           |
//! | `END`   | an outcome | after `OPEN`: the last part, which may be empty; with another outcome the reason, and the parts before count no more |
//! | `SAMPLE` | `OF_HEAP` or `OF_RESIDENT`, `HAS_PEAK` | a [`Sample`]: the next record after the reply to a piece that is sampled, and nowhere else |
//!
//! The log's ring (with the feature `log`; `sequence` is that of the piece that runs, or 0 before the first one):
//!
//! | kind    | flags      | payload                                                    |
//! |---------|------------|------------------------------------------------------------|
//! | `LOG`   | its level, 1 to 5 | a `Lead` (`log.rs`), then target, module, file and text     |
//!
//! A `REPLY`, `BEGIN`, `OPEN`, `CHUNK` or `END` has the flag `LOGGED` if records of the log lie before it that no other one told of.
//!
//! Of a piece that is timed, each part of an open result has a word before it. That of the `END` tells how long the piece ran.

/// A piece with its arguments.
pub(crate) const PIECE: u8 = 1;
/// A value that streams, in either direction.
pub(crate) const BEGIN: u8 = 2;
/// A further chunk of it.
pub(crate) const CHUNK: u8 = 3;
/// No more work comes.
pub(crate) const LEAVE: u8 = 4;
/// A piece's outcome.
pub(crate) const REPLY: u8 = 5;

/// A piece with its arguments, after whose reply a sample follows.
pub(crate) const SAMPLED: u8 = 6;
/// The same of a piece whose arguments stream.
pub(crate) const SAMPLED_BEGIN: u8 = 7;
/// What the worker's memory does: a [`Sample`].
pub(crate) const SAMPLE: u8 = 8;

/// The first part of an open result: one that is written while its piece runs.
pub(crate) const OPEN: u8 = 9;
/// Its last part.
pub(crate) const END: u8 = 10;

/// What nobody in the parent shares any more.
pub(crate) const FORGET: u8 = 11;

/// A record of the log, in the log's ring.
#[cfg(feature = "log")]
pub(crate) const LOG: u8 = 12;

/// With the feature `log`: the flag of a reply, or of a part of a result, that tells of records in the log's ring.
#[cfg(feature = "log")]
pub(crate) const LOGGED: u8 = 1 << 3;

/// The flag of a sample whose growth is that of the heap.
pub(crate) const OF_HEAP: u8 = 1;
/// The flag of a sample whose growth is that of the resident memory, since its allocator does not tell of the heap.
pub(crate) const OF_RESIDENT: u8 = 1 << 1;
/// The flag of a sample that has a peak.
pub(crate) const HAS_PEAK: u8 = 1 << 2;

/// What a worker tells of its memory after a piece that is sampled. It may lie, so it serves statistics alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The bytes by which its memory has grown since its last sample; 0 in its first one.
    pub(crate) growth: i64,
    /// The most anonymous memory that it had while it ran the piece, in bytes, if [`HAS_PEAK`].
    pub(crate) peak: u64,
    /// What the sample has cost.
    pub(crate) cost_ns: u64,
}

impl Sample {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn to_words(self) -> [u64; 3] {
        [self.growth.cast_unsigned(), self.peak, self.cost_ns]
    }

    pub(crate) fn from_words([growth, peak, cost_ns]: [u64; 3]) -> Sample {
        Sample { growth: growth.cast_signed(), peak, cost_ns }
    }
}

/// The bits of a piece's flags that state its format.
pub(crate) const FORMAT_MASK: u8 = 3;

/// The flag of a piece that has a time limit: the worker writes when it began.
pub(crate) const LIMITED: u8 = 1 << 3;

/// The flag of a piece that is timed: the worker writes when it began, and its reply tells how long it ran, in nanoseconds.
pub(crate) const TIMED: u8 = 1 << 4;

/// Separates a panic's message from its backtrace.
pub(crate) const BACKTRACE: &str = "\0backtrace\0";

/// Separates the text of an error from what the piece has noted, which is at the end.
pub(crate) const NOTE: &str = "\0noted\0";

/// The outcome of a piece, which tells what its reply's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Result = 0,
    Panicked = 1,
    DecodeFailed = 2,
    EncodeFailed = 3,
    /// The piece's function returned an error.
    Failed = 4,
    /// The system refused the worker what the piece needs.
    SystemFailed = 5,
    /// Not of a piece: the worker could not start, for the reason in the payload. Sequence 0.
    StartFailed = 6,
}

impl Outcome {
    /// The outcome in a reply's flags; `None` if no worker writes such flags.
    pub(crate) fn from_flags(flags: u8) -> Option<Self> {
        Some(match flags {
            0 => Outcome::Result,
            1 => Outcome::Panicked,
            2 => Outcome::DecodeFailed,
            3 => Outcome::EncodeFailed,
            4 => Outcome::Failed,
            5 => Outcome::SystemFailed,
            6 => Outcome::StartFailed,
            _ => return None,
        })
    }
}
