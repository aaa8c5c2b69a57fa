//! A chunk of pieces that one host runs.
//!
//! | offset | bytes | a frame of work                                                 |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 4     | `MCW1`                                                          |
//! | 4      | 16    | the job's id                                                    |
//! | 20     | 16    | the chunk's id                                                  |
//! | 36     | 8     | the time limit of a piece in ns, 0 for none                     |
//! | 44     | 4     | how often a lost piece is run again                             |
//! | 48     | 1     | flags: bit 0 panics are run again, bits 1 and 2 the format, bit 3 failures are run again |
//! | 49     | 4     | the number of pieces `n`, at least 1                            |
//! | 53     |       | `n` pieces                                                      |
//!
//! | offset | bytes | a piece                                                         |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 4     | its number in the job                                           |
//! | 4      | 8     | its function's id                                               |
//! | 12     | 4     | the length `m` of its arguments                                 |
//! | 16     | `m`   | its arguments                                                   |

use super::input::{Fault, Input, Wrong};
use crate::identity::{ChunkId, JobId};
use bytes::Bytes;

const MAGIC: &str = "MCW1";

/// What stands before the pieces.
pub const HEAD_BYTES: usize = 53;

/// What a piece takes beside its arguments.
pub const PIECE_BYTES: usize = 16;

const RETRY_PANICS: u8 = 1;
const FORMAT_SHIFT: u8 = 1;
const FORMAT: u8 = 3 << FORMAT_SHIFT;
const RETRY_FAILURES: u8 = 1 << 3;

/// What holds for each piece of a chunk: the settings of its task, which the host's pool obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How long a piece may run, in ns; 0 for no limit.
    pub timeout_ns: u64,
    /// How often a piece is run again whose worker was lost.
    pub retries: u32,
    /// A piece that panicked is run again.
    pub retry_panics: bool,
    /// A piece that gave an error is run again.
    pub retry_failures: bool,
    /// The number of the format, 0 to 3.
    pub format: u8,
}

impl Limits {
    pub(crate) fn flags(self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.retry_panics, RETRY_PANICS)
            | flag(self.retry_failures, RETRY_FAILURES)
            | self.format << FORMAT_SHIFT & FORMAT
    }
}

/// One piece of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given<'a> {
    /// Its number in the job.
    pub piece: u32,
    /// Its function's id.
    pub function: u64,
    /// Its arguments, encoded.
    pub bytes: &'a [u8],
}

/// A frame of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work<'a> {
    /// The job.
    pub job: JobId,
    /// The chunk.
    pub chunk: ChunkId,
    /// What holds for each piece.
    pub limits: Limits,
    count: u32,
    pieces: &'a [u8],
}

impl<'a> Work<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// If the bytes are not exactly one frame of work.
    pub fn read(bytes: &'a [u8]) -> Result<Work<'a>, Fault> {
        let mut input = Input::open(MAGIC, bytes)?;
        let (job, chunk) = (JobId(input.array()?), ChunkId(input.array()?));
        let (timeout_ns, retries) = (input.u64()?, input.u32()?);
        let before = input.clone();
        let flags = input.u8()?;
        if flags & !(RETRY_PANICS | FORMAT | RETRY_FAILURES) != 0 {
            return Err(before.fault(Wrong::Value(flags)));
        }
        let limits = Limits {
            timeout_ns,
            retries,
            retry_panics: flags & RETRY_PANICS != 0,
            retry_failures: flags & RETRY_FAILURES != 0,
            format: (flags & FORMAT) >> FORMAT_SHIFT,
        };
        let before = input.clone();
        let count = input.count(PIECE_BYTES as u64)?;
        if count == 0 {
            return Err(before.fault(Wrong::Empty));
        }
        let pieces = &bytes[input.at..];
        for _ in 0..count {
            piece(&mut input)?;
        }
        input.end()?;
        Ok(Work { job, chunk, limits, count, pieces })
    }

    /// The number of pieces, at least 1.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The pieces, in the order of the frame.
    pub fn pieces(&self) -> impl Iterator<Item = Given<'a>> + use<'a> {
        let mut input = Input { frame: MAGIC, bytes: self.pieces, at: 0 };
        (0..self.count).map(move |_| piece(&mut input).expect("it was read before"))
    }

    /// Writes a frame of these pieces.
    pub fn write<'b>(job: JobId, chunk: ChunkId, limits: Limits, pieces: impl Iterator<Item = Given<'b>>) -> Bytes {
        let mut frame = Vec::with_capacity(HEAD_BYTES);
        frame.extend_from_slice(MAGIC.as_bytes());
        frame.extend_from_slice(&job.0);
        frame.extend_from_slice(&chunk.0);
        frame.extend_from_slice(&limits.timeout_ns.to_le_bytes());
        frame.extend_from_slice(&limits.retries.to_le_bytes());
        frame.push(limits.flags());
        frame.extend_from_slice(&[0; 4]);
        let mut count = 0u32;
        for given in pieces {
            count += 1;
            frame.extend_from_slice(&given.piece.to_le_bytes());
            frame.extend_from_slice(&given.function.to_le_bytes());
            frame.extend_from_slice(&(given.bytes.len() as u32).to_le_bytes());
            frame.extend_from_slice(given.bytes);
        }
        frame[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&count.to_le_bytes());
        frame.into()
    }
}

fn piece<'a>(input: &mut Input<'a>) -> Result<Given<'a>, Fault> {
    Ok(Given { piece: input.u32()?, function: input.u64()?, bytes: input.block()? })
}
