//! How pieces of one chunk ended.
//!
//! | offset | bytes | a frame of results                                              |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 4     | `MCR1`                                                          |
//! | 4      | 16    | the job's id                                                    |
//! | 20     | 16    | the chunk's id                                                  |
//! | 36     | 4     | the number of the delivery that these come from, from 1 on      |
//! | 40     | 1     | 1 if this is the last frame of that delivery, else 0            |
//! | 41     | 8     | how long the host has worked on the chunk so far, in ns         |
//! | 49     | 4     | the length `m` of the host's name, at most 255                  |
//! | 53     | `m`   | the host's name                                                 |
//! | 53 + m | 4     | the number of pieces `n`                                        |
//! | 57 + m |       | `n` pieces                                                      |
//!
//! | offset | bytes | a piece                                                         |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 4     | its number in the job                                           |
//! | 4      | 1     | 0: a value, 1: an error, 2: an object that has the value        |
//! | 5      | 4     | the length `k` of what follows                                  |
//! | 9      | `k`   | the value, the error, or [`Object`]                             |
//!
//! | offset | bytes | an object that has a value                                      |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 8     | the length of the value                                         |
//! | 8      | 32    | the SHA-256 of the value                                        |
//!
//! A last frame after which pieces of its chunk have no outcome says that the host gave them up: they were delivered too often. A frame with no piece that
//! is not the last one says only that this host has begun: a chunk that was delivered before may kill hosts, and so its hosts are known.

use super::input::{Fault, Input, Wrong, put_name};
use crate::identity::{ChunkId, JobId};
use bytes::Bytes;

const MAGIC: &str = "MCR1";

/// The most that stands before the pieces.
pub const MAX_HEAD_BYTES: usize = 57 + super::input::MAX_NAME_BYTES;

/// What a piece takes beside its value.
pub const PIECE_BYTES: usize = 9;

/// How one piece ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The bytes are its value.
    Value = 0,
    /// The bytes are its error.
    Error = 1,
    /// The bytes are an [`Object`] that has the value.
    Object = 2,
}

/// One piece of a frame of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its number in the job.
    pub piece: u32,
    /// What the bytes are.
    pub status: Status,
    /// The value, the error or the object.
    pub bytes: &'a [u8],
}

/// A value that lies in the object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256.
    pub digest: [u8; 32],
}

impl Object {
    /// Its bytes in a frame.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..].copy_from_slice(&self.digest);
        bytes
    }

    /// Reads it; `None` if the bytes are not exactly one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Object> {
        let bytes: &[u8; 40] = bytes.try_into().ok()?;
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
        Some(Object { length, digest: bytes[8..].try_into().expect("32 bytes") })
    }
}

/// What stands at the head of a frame of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The job.
    pub job: JobId,
    /// The chunk.
    pub chunk: ChunkId,
    /// The number of the delivery, from 1 on.
    pub delivery: u32,
    /// No frame of this delivery follows.
    pub last: bool,
    /// How long the host has worked on the chunk so far.
    pub busy_ns: u64,
    /// The host's name; what is written is cut at 255 bytes.
    pub host: &'a str,
}

/// A frame of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Results<'a> {
    /// What stands before the pieces.
    pub head: Head<'a>,
    count: u32,
    pieces: &'a [u8],
}

impl<'a> Results<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// If the bytes are not exactly one frame of results.
    pub fn read(bytes: &'a [u8]) -> Result<Results<'a>, Fault> {
        let mut input = Input::open(MAGIC, bytes)?;
        let (job, chunk, delivery) = (JobId(input.array()?), ChunkId(input.array()?), input.u32()?);
        let before = input.clone();
        let last = match input.u8()? {
            0 => false,
            1 => true,
            other => return Err(before.fault(Wrong::Value(other))),
        };
        let head = Head { job, chunk, delivery, last, busy_ns: input.u64()?, host: input.name()? };
        let count = input.count(PIECE_BYTES as u64)?;
        let pieces = &bytes[input.at..];
        for _ in 0..count {
            answer(&mut input)?;
        }
        input.end()?;
        Ok(Results { head, count, pieces })
    }

    /// The number of pieces; 0 says that the host has begun, or has given up.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The pieces, in the order of the frame.
    pub fn answers(&self) -> impl Iterator<Item = Answer<'a>> + use<'a> {
        let mut input = Input { frame: MAGIC, bytes: self.pieces, at: 0 };
        (0..self.count).map(move |_| answer(&mut input).expect("it was read before"))
    }

    /// Writes a frame of these pieces.
    pub fn write<'b>(head: &Head<'_>, answers: impl Iterator<Item = Answer<'b>>) -> Bytes {
        let mut frame = Vec::with_capacity(MAX_HEAD_BYTES);
        frame.extend_from_slice(MAGIC.as_bytes());
        frame.extend_from_slice(&head.job.0);
        frame.extend_from_slice(&head.chunk.0);
        frame.extend_from_slice(&head.delivery.to_le_bytes());
        frame.push(u8::from(head.last));
        frame.extend_from_slice(&head.busy_ns.to_le_bytes());
        put_name(&mut frame, head.host);
        let place = frame.len();
        frame.extend_from_slice(&[0; 4]);
        let mut count = 0u32;
        for answer in answers {
            count += 1;
            frame.extend_from_slice(&answer.piece.to_le_bytes());
            frame.push(answer.status as u8);
            frame.extend_from_slice(&(answer.bytes.len() as u32).to_le_bytes());
            frame.extend_from_slice(answer.bytes);
        }
        frame[place..place + 4].copy_from_slice(&count.to_le_bytes());
        frame.into()
    }
}

fn answer<'a>(input: &mut Input<'a>) -> Result<Answer<'a>, Fault> {
    let piece = input.u32()?;
    let before = input.clone();
    let status = match input.u8()? {
        0 => Status::Value,
        1 => Status::Error,
        2 => Status::Object,
        other => return Err(before.fault(Wrong::Value(other))),
    };
    Ok(Answer { piece, status, bytes: input.block()? })
}
