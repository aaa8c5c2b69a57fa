//! A named job: what a master that comes later must know of it.
//!
//! | offset | bytes | the record of a job                                             |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 4     | `MCJ1`                                                          |
//! | 4      | 32    | the job's key: chunks get their ids by it                       |
//! | 36     | 8     | the number of pieces `n` that may have been published           |
//! | 44     | 32    | the digest of the first `n` pieces and of what runs them        |
//! | 76     | 16    | the id of the master that wrote this, random                    |
//! | 92     | 8     | when it wrote this, in ns since 1970; for people                |
//!
//! Who reads this compares no clocks of two hosts: the age of a record comes from the server.

use super::input::{Fault, Input};
use crate::identity::JobKey;
use bytes::Bytes;

const MAGIC: &str = "MCJ1";

/// The record of a named job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The job's key.
    pub key: JobKey,
    /// No piece from this number on was ever published.
    pub pieces: u64,
    /// What the pieces below that number are.
    pub digest: [u8; 32],
    /// The master that wrote this.
    pub master: [u8; 16],
    /// When it wrote this, in ns since 1970.
    pub beat_ns: u64,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// If the bytes are not exactly one record.
    pub fn read(bytes: &[u8]) -> Result<Record, Fault> {
        let mut input = Input::open(MAGIC, bytes)?;
        let record = Record {
            key: JobKey(input.array()?),
            pieces: input.u64()?,
            digest: input.array()?,
            master: input.array()?,
            beat_ns: input.u64()?,
        };
        input.end()?;
        Ok(record)
    }

    /// Writes the record.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut frame = Vec::with_capacity(100);
        frame.extend_from_slice(MAGIC.as_bytes());
        frame.extend_from_slice(&self.key.0);
        frame.extend_from_slice(&self.pieces.to_le_bytes());
        frame.extend_from_slice(&self.digest);
        frame.extend_from_slice(&self.master);
        frame.extend_from_slice(&self.beat_ns.to_le_bytes());
        frame.into()
    }
}
