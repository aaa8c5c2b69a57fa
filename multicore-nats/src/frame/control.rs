//! A word of a master to all agents that may hold chunks of its job.
//!
//! | offset | bytes | a master's word                                                 |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 4     | `MCC1`                                                          |
//! | 4      | 16    | the job's id                                                    |
//! | 20     | 1     | 0: its master is there, 1: it is cancelled, 2: its master has ended it |

use super::input::{Fault, Input, Wrong};
use crate::identity::JobId;
use bytes::Bytes;

const MAGIC: &str = "MCC1";

/// What a master says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// It is there. An agent that hears nothing for a minute drops the job.
    Beat = 0,
    /// The job is cancelled: what has not begun never begins, and what runs is killed.
    Cancel = 1,
    /// The same to agents, said by the job's own master. Masters ignore it: one that begins the same name anew may still hear it.
    End = 2,
}

/// A word of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// The job.
    pub job: JobId,
    /// What is said of it.
    pub word: Word,
}

impl Control {
    /// Reads a word.
    ///
    /// # Errors
    /// If the bytes are not exactly one.
    pub fn read(bytes: &[u8]) -> Result<Control, Fault> {
        let mut input = Input::open(MAGIC, bytes)?;
        let job = JobId(input.array()?);
        let before = input.clone();
        let word = match input.u8()? {
            0 => Word::Beat,
            1 => Word::Cancel,
            2 => Word::End,
            other => return Err(before.fault(Wrong::Value(other))),
        };
        input.end()?;
        Ok(Control { job, word })
    }

    /// Writes the word.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let mut frame = Vec::with_capacity(21);
        frame.extend_from_slice(MAGIC.as_bytes());
        frame.extend_from_slice(&self.job.0);
        frame.push(self.word as u8);
        frame.into()
    }
}
