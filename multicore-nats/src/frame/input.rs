//! Fields of a frame, read from the front, and what is wrong where one cannot be read.
//!
//! Invariant: no byte beyond the frame is touched, and each length is compared with what is left before it is used.

use std::fmt;

/// No frame is longer than this.
pub const MAX_BYTES: usize = 1 << 20;

/// What is written is shorter than [`MAX_BYTES`] by this: a server counts the headers of a message, such as its id, with it, and refuses more than 1 MiB
/// unless it is told otherwise.
pub const HEADER_ROOM: usize = 4096;

/// The longest frame that is written.
pub const MAX_WRITTEN_BYTES: usize = MAX_BYTES - HEADER_ROOM;

/// The longest name of a host, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The frame that was to be read: its first four bytes.
    pub frame: &'static str,
    /// The place, in bytes from the beginning of the frame.
    pub at: usize,
    /// What is wrong there.
    pub what: Wrong,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// It is longer than [`MAX_BYTES`].
    TooLong(usize),
    /// It begins with other bytes.
    Magic,
    /// It ends before a field does.
    Cut {
        /// The bytes that the field takes.
        needed: u64,
        /// The bytes that are left.
        left: usize,
    },
    /// Bytes follow its end.
    Trailing(usize),
    /// A field has a value that means nothing.
    Value(u8),
    /// A name is no UTF-8.
    Text,
    /// A name is longer than [`MAX_NAME_BYTES`].
    Name(u32),
    /// A chunk has no piece.
    Empty,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { frame, at, what } = self;
        write!(f, "this is no frame {frame}: at byte {at}, ")?;
        match what {
            Wrong::TooLong(bytes) => write!(f, "it has {bytes} bytes, and at most {MAX_BYTES} are read"),
            Wrong::Magic => write!(f, "it begins with other bytes"),
            Wrong::Cut { needed, left } => write!(f, "a field takes {needed} bytes, and {left} are left"),
            Wrong::Trailing(bytes) => write!(f, "{bytes} bytes follow its end"),
            Wrong::Value(value) => write!(f, "the value {value} means nothing"),
            Wrong::Text => write!(f, "a name is no UTF-8"),
            Wrong::Name(bytes) => write!(f, "a name has {bytes} bytes, and at most {MAX_NAME_BYTES} are read"),
            Wrong::Empty => write!(f, "a chunk has no piece"),
        }
    }
}

impl std::error::Error for Fault {}

/// A frame, from the front.
#[derive(Debug, Clone)]
pub(super) struct Input<'a> {
    pub(super) frame: &'static str,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Input<'a> {
    /// The frame behind its first four bytes.
    pub(super) fn open(frame: &'static str, bytes: &'a [u8]) -> Result<Input<'a>, Fault> {
        let mut input = Input { frame, bytes, at: 0 };
        if bytes.len() > MAX_BYTES {
            return Err(input.fault(Wrong::TooLong(bytes.len())));
        }
        if input.take(4)? != frame.as_bytes() {
            return Err(Fault { frame, at: 0, what: Wrong::Magic });
        }
        Ok(input)
    }

    pub(super) fn fault(&self, what: Wrong) -> Fault {
        Fault { frame: self.frame, at: self.at, what }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Refuses what is longer than what is left. The length is not trusted, so it is compared before it is converted.
    fn check(&self, needed: u64) -> Result<(), Fault> {
        match needed <= self.left() as u64 {
            true => Ok(()),
            false => Err(self.fault(Wrong::Cut { needed, left: self.left() })),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        self.check(length as u64)?;
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        Ok(self.take(N)?.try_into().expect("N bytes"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes behind their length.
    pub(super) fn block(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u32()?;
        self.check(u64::from(length))?;
        self.take(length as usize)
    }

    pub(super) fn name(&mut self) -> Result<&'a str, Fault> {
        let before = self.clone();
        let length = self.u32()?;
        if length as usize > MAX_NAME_BYTES {
            return Err(before.fault(Wrong::Name(length)));
        }
        let text = self.clone();
        std::str::from_utf8(self.take(length as usize)?).map_err(|_| text.fault(Wrong::Text))
    }

    /// A count of items that take `least` bytes each, at least.
    pub(super) fn count(&mut self, least: u64) -> Result<u32, Fault> {
        let count = self.u32()?;
        self.check(u64::from(count) * least)?;
        Ok(count)
    }

    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.fault(Wrong::Trailing(left))),
        }
    }
}

/// The longest beginning of a name that fits, cut between two characters.
#[must_use]
pub fn short_name(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

pub(super) fn put_name(to: &mut Vec<u8>, name: &str) {
    let name = short_name(name);
    to.extend_from_slice(&(name.len() as u32).to_le_bytes());
    to.extend_from_slice(name.as_bytes());
}
