//! The kinds of records in the two rings, and what their payloads begin with.
//!
//! Out (the work; `sequence` is the piece's number within its worker):
//!
//! | kind    | flags                | payload                                          |
//! |---------|----------------------|--------------------------------------------------|
//! | `PIECE` | format, `LOW_WATER`, `LIMITED` | the call, then the arguments                     |
//! | `BEGIN` | format, `LOW_WATER`  | the call, the arguments' length in all; chunks follow |
//! | `CHUNK` | 0                    | some more of the arguments                       |
//! | `LEAVE` | 0                    | nothing: no more work comes, the worker shall end |
//!
//! Back (the replies; `sequence` repeats the piece's):
//!
//! | kind    | flags      | payload                                                    |
//! |---------|------------|------------------------------------------------------------|
//! | `REPLY` | an outcome | the result, or why there is none                           |
//! | `BEGIN` | an outcome | its length in all; chunks follow                           |
//! | `CHUNK` | 0          | some more of it                                            |

/// A piece with its arguments.
pub(crate) const PIECE: u8 = 1;
/// A value that streams, in either direction.
pub(crate) const BEGIN: u8 = 2;
/// A part of it.
pub(crate) const CHUNK: u8 = 3;
/// No more work comes.
pub(crate) const LEAVE: u8 = 4;
/// A piece's outcome.
pub(crate) const REPLY: u8 = 5;

/// The bits of a piece's flags that state its format.
pub(crate) const FORMAT_MASK: u8 = 3;

/// The flag of a piece that has a time limit: the worker says when it began.
pub(crate) const LIMITED: u8 = 1 << 3;

/// Stands between a panic's words and its backtrace.
pub(crate) const BACKTRACE: &str = "\0backtrace\0";

/// What a reply's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Result = 0,
    Panicked = 1,
    DecodeFailed = 2,
    EncodeFailed = 3,
    /// Not of a piece: the worker could not be made ready, and why. Sequence 0.
    StartFailed = 4,
}

impl Outcome {
    /// Reads a reply's flags; `None` for what no worker writes.
    pub(crate) fn from_flags(flags: u8) -> Option<Self> {
        Some(match flags {
            0 => Outcome::Result,
            1 => Outcome::Panicked,
            2 => Outcome::DecodeFailed,
            3 => Outcome::EncodeFailed,
            4 => Outcome::StartFailed,
            _ => return None,
        })
    }
}
