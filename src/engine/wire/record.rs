//! The kinds of records in the two rings, their flags and their payloads.
//!
//! Invariant: each kind has one meaning in each direction. `engine/link` and the worker are the only ones that write and
//! read records.
//!
//! *out* (the work; `sequence` is the piece's number within its worker):
//!
//! | kind    | flags                | payload                                          |
//! |---------|----------------------|--------------------------------------------------|
//! | `PIECE` | format, `LOW_WATER`, `LIMITED` | the call, then the arguments                     |
//! | `BEGIN` | as of `PIECE`        | the call, the length of all arguments, their first chunk |
//! | `CHUNK` | 0                    | the next chunk of the arguments                  |
//! | `LEAVE` | 0                    | none: no more work comes, and the worker ends    |
//!
//! *back* (the replies; `sequence` repeats the piece's):
//!
//! | kind    | flags      | payload                                                    |
//! |---------|------------|------------------------------------------------------------|
//! | `REPLY` | an outcome | the result, or the reason why there is none                |
//! | `BEGIN` | an outcome | the length of all of that, its first chunk                 |
//! | `CHUNK` | 0          | the next chunk of it                                       |

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

/// The bits of a piece's flags that state its format.
pub(crate) const FORMAT_MASK: u8 = 3;

/// The flag of a piece that has a time limit: the worker writes when it began.
pub(crate) const LIMITED: u8 = 1 << 3;

/// Separates a panic's message from its backtrace.
pub(crate) const BACKTRACE: &str = "\0backtrace\0";

/// The outcome of a piece, which tells what its reply's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Result = 0,
    Panicked = 1,
    DecodeFailed = 2,
    EncodeFailed = 3,
    /// Not of a piece: the worker could not start, for the reason in the payload. Sequence 0.
    StartFailed = 4,
}

impl Outcome {
    /// The outcome in a reply's flags; `None` if no worker writes such flags.
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
