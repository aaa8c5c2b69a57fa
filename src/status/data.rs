//! What is seen of a pool from outside. Only data.

use crate::engine::wire::status::State;
use crate::stats::Replaced;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What a pool does, as its process told it last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Which of the pools that its process has made it is, from 1. One that could not be started has a number too, and a child that was forked goes
    /// on with its parent's numbers.
    pub pool: u32,
    /// Whether it lives.
    pub phase: PoolPhase,
    /// Its workers, by their numbers.
    pub workers: Vec<WorkerStatus>,
}

/// The life of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PoolPhase {
    /// It takes tasks.
    Open,
    /// It has ended by itself: nothing can run any more.
    Failed,
    /// Its owner ends it: what runs comes to its end.
    Closing,
    /// It has ended.
    Closed,
}

/// What a worker does, as its process told it last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The worker's number, from 0: as in [`WorkerStats`](crate::WorkerStats).
    pub worker: usize,
    /// What it does.
    pub doing: Doing,
    /// Its process id, as its program knows it; `None` while it is being started.
    pub pid: Option<u32>,
    /// The piece that it runs, or is to run next: the oldest that it holds.
    pub piece: Option<PieceStatus>,
    /// Pieces that it holds: that one, and those that were given to it in advance. What is given to it or taken back while it is at work is told
    /// with its next answer.
    pub pieces_held: u32,
    /// Pieces that this process has answered.
    pub pieces_done: u64,
    /// How long this has been so. Of a worker that holds pieces: since its program read an answer of it last, or gave it the first of them. Of
    /// any other: since it does what it does.
    pub age: Duration,
    /// Its anonymous memory, in bytes, with what it shares with its fork server. `None` where the system does not tell.
    pub memory: Option<u64>,
    /// The number of workers that were here before it.
    pub restarts: u32,
    /// Why the last of them was replaced, if there was one.
    pub last_replaced: Option<Replaced>,
    /// How the last of them died, as a short text, if it did and the cause is known.
    pub cause: Option<String>,
    /// True if its program was at writing this and did not go on for 10 ms, as where it was stopped then. All else here is what was read last,
    /// or, where nothing was, may mix what was with what is.
    pub is_torn: bool,
}

/// A piece that a worker runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PieceStatus {
    /// Its number in its task, from 0.
    pub number: u64,
    /// The name of its function, without control characters, and cut after 1000; `None` where the program has no symbols.
    pub function: Option<String>,
    /// Where its function begins in the program's code, as a distance from the crate's entry there.
    pub offset: i32,
    /// True if its program has seen that it has begun. It looks for that only where it matters.
    pub has_begun: bool,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Doing {
    /// It is being started.
    Starting,
    /// It waits for pieces.
    Idle,
    /// It holds pieces, and runs the oldest.
    Busy,
    /// It has not begun what it was given in time.
    Late,
    /// It gets no more pieces, and ends.
    Leaving,
    /// It has ended because it was idle, and is started again when pieces wait.
    Resting,
    /// It has ended, and how is yet to be told.
    Lost,
    /// There is none: it is to be started.
    Vacant,
}

impl Doing {
    /// `None` where there is no worker to speak of.
    pub(super) fn of(state: State) -> Option<Doing> {
        match state {
            State::Unused => None,
            State::Starting => Some(Doing::Starting),
            State::Idle => Some(Doing::Idle),
            State::Busy => Some(Doing::Busy),
            State::Late => Some(Doing::Late),
            State::Leaving => Some(Doing::Leaving),
            State::Resting => Some(Doing::Resting),
            State::Lost => Some(Doing::Lost),
            State::Vacant => Some(Doing::Vacant),
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Doing::Starting => "starting",
            Doing::Idle => "idle",
            Doing::Busy => "busy",
            Doing::Late => "late",
            Doing::Leaving => "leaving",
            Doing::Resting => "resting",
            Doing::Lost => "lost",
            Doing::Vacant => "vacant",
        })
    }
}

impl fmt::Display for PoolPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PoolPhase::Open => "open",
            PoolPhase::Failed => "failed",
            PoolPhase::Closing => "closing",
            PoolPhase::Closed => "closed",
        })
    }
}
