//! The logs of a pool's workers, as the scheduler keeps them: which are noisy, and which tasks wait for the program's logger.
//!
//! Invariant: each task with awaited records is in `waiting`, and `Logs::awaited` is set while there is one.

use super::task_state::TaskState;
use crate::backend::TaskKey;
use crate::engine::link::{Link, LogsRead};
use crate::engine::logs::{Lane, Logs, PATIENCE_NS};
use crate::sys::clock;
use std::collections::BTreeSet;
use std::sync::Arc;

/// No level: some workers do not know the level.
const NOT_TOLD: u32 = u32::MAX;

/// The logs of a pool's workers.
#[derive(Debug, Default)]
pub(super) struct CoreLogs {
    pub(super) way: Arc<Logs>,
    /// The level that the workers were told.
    pub(super) level: u32,
    /// The seats of those that are noisy.
    pub(super) noisy: BTreeSet<usize>,
    pub(super) next_ns: u64,
    /// The tasks that may await records.
    pub(super) waiting: Vec<TaskKey>,
    /// The supervisor is to start the thread.
    pub(super) needs_thread: bool,
}

impl CoreLogs {
    /// Adds what was read.
    pub(super) fn add(&mut self, read: LogsRead) {
        self.needs_thread |= self.way.add(&read.lane, read.records, read.lost);
    }

    /// Tells the errors of a detached task's pieces, which nobody takes.
    pub(super) fn tell_unseen(&mut self, task: &mut TaskState) {
        let (errors, others) = task.take_unseen();
        if !errors.is_empty() {
            self.needs_thread |= self.way.tell_failed(errors, others);
        }
    }

    /// What comes next of this task comes after what was logged.
    pub(super) fn await_by(&mut self, key: TaskKey, task: Option<&mut TaskState>, lane: &Arc<Lane>) {
        let (Some(mark), Some(task)) = (lane.mark(), task) else { return };
        task.await_logs(mark, clock::now_ns().saturating_add(PATIENCE_NS));
        if !self.waiting.contains(&key) {
            self.waiting.push(key);
        }
        self.way.await_delivery();
    }
}

/// The level of the program's logger, as workers are told.
pub(super) fn level() -> u32 {
    log::max_level() as u32
}

/// A worker gets a seat.
pub(super) fn begin_log(link: &mut Link, seat: usize, logs: &mut CoreLogs) {
    link.log_into(Lane::new(seat));
    link.tell_log_level(level());
    // It may change before the worker has its seat: so all are told before the next piece.
    logs.level = NOT_TOLD;
}
