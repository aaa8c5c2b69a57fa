//! A piece on its way between a task and a worker.

use crate::backend::TaskKey;
use crate::codec::Format;
use crate::codec::bytes::Arguments;
use std::num::NonZeroU64;

/// A piece that no worker holds.
#[derive(Debug)]
pub(crate) struct WaitingPiece {
    pub(crate) number: usize,
    pub(crate) arguments: Arguments,
}

/// A piece on its way to a worker.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) task: TaskKey,
    pub(crate) number: usize,
    /// The call, in the form that travels.
    pub(crate) call: u64,
    pub(crate) format: Format,
    pub(crate) terms: Terms,
    pub(crate) arguments: Arguments,
}

/// The function that a piece calls, as samples tell it apart, and what a piece of it is assumed to cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    pub(crate) number: u8,
    pub(crate) cost_ns: u32,
}

#[cfg(test)]
impl Function {
    /// Not told apart.
    pub(crate) const UNKNOWN: Function = Function { number: crate::engine::policy::sampling::OTHERS, cost_ns: 80 };
}

/// The terms of a piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// The estimated time that it runs.
    pub(crate) cost_ns: u32,
    pub(crate) function: Function,
    /// Its time limit.
    pub(crate) limit_ns: Option<NonZeroU64>,
    /// Its arguments must stay readable until it is answered, since it may run again.
    pub(crate) may_run_again: bool,
    /// Its reply tells how long it ran.
    pub(crate) is_timed: bool,
}

/// A piece that was revoked, or left over, before it began.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) task: TaskKey,
    pub(crate) number: usize,
    pub(crate) arguments: Arguments,
}

/// A piece that had begun when its worker died.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) task: TaskKey,
    pub(crate) number: usize,
    pub(crate) sequence: u32,
    /// Present if it may run again.
    pub(crate) arguments: Option<Arguments>,
    /// What it noted last, by its worker's word.
    pub(crate) noted: Option<u64>,
    /// When it began, if it was timed and its worker has told that.
    pub(crate) started_ns: Option<u64>,
}
