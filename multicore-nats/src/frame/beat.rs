//! A host that is there. Every agent says so each 5 s, and when it first hears of a job.
//!
//! | offset | bytes | the beat of a host                                              |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 4     | `MCH1`                                                          |
//! | 4      | 4     | the length `m` of the host's name, at most 255                  |
//! | 8      | `m`   | the host's name                                                 |
//! | 8 + m  | 4     | its workers                                                     |
//! | 12 + m | 4     | those that are busy                                             |
//! | 16 + m | 32    | its build                                                       |

use super::input::{Fault, Input, put_name};
use crate::identity::Build;
use bytes::Bytes;

const MAGIC: &str = "MCH1";

/// The beat of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat<'a> {
    /// The host's name; what is written is cut at 255 bytes.
    pub name: &'a str,
    /// Its workers.
    pub workers: u32,
    /// Those that are busy.
    pub busy: u32,
    /// What it serves.
    pub build: Build,
}

impl<'a> Beat<'a> {
    /// Reads a beat.
    ///
    /// # Errors
    /// If the bytes are not exactly one beat.
    pub fn read(bytes: &'a [u8]) -> Result<Beat<'a>, Fault> {
        let mut input = Input::open(MAGIC, bytes)?;
        let (name, workers, busy) = (input.name()?, input.u32()?, input.u32()?);
        let beat = Beat { name, workers, busy, build: Build(input.array()?) };
        input.end()?;
        Ok(beat)
    }

    /// Writes the beat.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut frame = Vec::with_capacity(48 + self.name.len());
        frame.extend_from_slice(MAGIC.as_bytes());
        put_name(&mut frame, self.name);
        frame.extend_from_slice(&self.workers.to_le_bytes());
        frame.extend_from_slice(&self.busy.to_le_bytes());
        frame.extend_from_slice(&self.build.0);
        frame.into()
    }
}
