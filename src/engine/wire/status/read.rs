//! A pool's status as those read it who look from outside: their half of the layout.
//!
//! Invariant: nothing in the file is believed before it was compared with the file's length.

use super::{
    Content, MAGIC, OF_ANCHOR, OF_NAMESPACE, OF_NUMBER, OF_OWNER, OF_PHASE, OF_ROOM, OF_ROW_BYTES, OF_ROWS_AT, OF_USED,
    OF_VERSION, Owner, Phase, ROW_BYTES, ROWS_AT, State, Status, Told, VERSION, why,
};
use crate::error::Cause;
use crate::protocol::sync::Relaxed;
use crate::stats::Replaced;
use crate::sys::descriptors::Descriptor;
use crate::sys::memory;
use std::io;

/// Eight times the room of the largest pool: a status that tells more is none.
pub(crate) const MOST_ROOM: usize = 1 << 16;

/// Why a file is no status that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotReadable {
    /// It is none, or is not sealed.
    Foreign,
    /// It is of this version.
    Version(u64),
}

impl State {
    pub(crate) fn of(code: u64) -> Option<State> {
        use State::{Busy, Idle, Late, Leaving, Lost, Resting, Starting, Unused, Vacant};
        let all = [Unused, Starting, Idle, Busy, Late, Leaving, Resting, Lost, Vacant];
        all.into_iter().find(|state| *state as u64 == code)
    }
}

impl Phase {
    fn of(code: u64) -> Option<Phase> {
        let all = [Phase::Open, Phase::Failed, Phase::Closing, Phase::Closed];
        all.into_iter().find(|phase| *phase as u64 == code)
    }
}

pub(crate) fn why_of(code: u64) -> Option<Replaced> {
    use Replaced::{Age, Asked, Died, Idle, MemoryHigh, MemoryMax, Pieces};
    [Pieces, Age, Asked, MemoryHigh, MemoryMax, Died, Idle].into_iter().find(|last| why(Some(*last)) == code)
}

pub(crate) fn cause_of(code: u64, number: i32) -> Option<Cause> {
    match code {
        1 => Some(Cause::Signal(number)),
        2 => Some(Cause::Exit(number)),
        3 => Some(Cause::StackOverflow),
        4 => Some(Cause::AllocationFailed),
        5 => Some(Cause::OomKilled),
        6 => Some(Cause::Protocol),
        7 => Some(Cause::ForkServerLost),
        _ => None,
    }
}

impl Told {
    /// `None` for a state that this version does not know.
    pub(crate) fn of(content: &Content) -> Option<Told> {
        let [first, processes, call, piece, held, at_ns, done] = *content;
        let byte = |shift: u32| first >> shift & 0xff;
        Some(Told {
            state: State::of(byte(0))?,
            has_begun: byte(8) == 1,
            why: why_of(byte(16)),
            cause: cause_of(byte(24), (first >> 32) as u32 as i32),
            pid: processes as u32,
            before: (processes >> 32) as u32,
            call,
            piece,
            held: held as u32,
            at_ns,
            done,
        })
    }
}

impl Status {
    /// That of a process, mapped for reading, and what it says of its owner.
    pub(crate) fn open(file: &Descriptor) -> io::Result<Result<(Status, Owner), NotReadable>> {
        let Some(bytes) = memory::sealed_length(file)? else { return Ok(Err(NotReadable::Foreign)) };
        if bytes < ROWS_AT {
            return Ok(Err(NotReadable::Foreign));
        }
        let mut status = Status { mapping: memory::map_read_only(file, bytes)?, room: 0 };
        let get = |word: usize| status.word(word).load(Relaxed);
        if get(0) != MAGIC {
            return Ok(Err(NotReadable::Foreign));
        }
        if get(OF_VERSION) != VERSION {
            return Ok(Err(NotReadable::Version(get(OF_VERSION))));
        }
        let room = get(OF_ROOM) as usize;
        let is_laid_out = get(OF_ROW_BYTES) == ROW_BYTES as u64 && get(OF_ROWS_AT) == ROWS_AT as u64;
        if !is_laid_out || room > MOST_ROOM || ROWS_AT + room * ROW_BYTES > bytes {
            return Ok(Err(NotReadable::Foreign));
        }
        let (pid, namespace) = (get(OF_OWNER) as u32, get(OF_NAMESPACE));
        let owner = Owner { pid, namespace, anchor: get(OF_ANCHOR), number: get(OF_NUMBER) as u32 };
        status.room = room;
        Ok(Ok((status, owner)))
    }

    /// How the pool is, and how many rows are in use.
    pub(crate) fn told_pool(&self) -> (Phase, usize) {
        let phase = Phase::of(self.word(OF_PHASE).load(Relaxed)).unwrap_or(Phase::Open);
        (phase, (self.word(OF_USED).load(Relaxed) as usize).min(self.room))
    }
}
