//! The logs of a pool's workers, as the scheduler keeps them: which are noisy, and which tasks wait for the program's logger.
//!
//! Invariant: each task with a piece that is held is in `waiting`, once, and `Outbox::awaited` is set while there is one.

use super::outgoing::Outgoing;
use super::task_state::TaskState;
use crate::backend::TaskKey;
use crate::engine::link::{Link, LogsRead};
use crate::engine::outbox::{Lane, PATIENCE_NS};
use crate::sys::clock;
use std::collections::BTreeSet;
use std::sync::Arc;

/// No level: some workers do not know the level.
const NOT_TOLD: u32 = u32::MAX;

/// The logs of a pool's workers.
#[derive(Debug, Default)]
pub(super) struct CoreLogs {
    /// The level that the workers were told.
    pub(super) level: u32,
    /// The seats of those that are noisy.
    pub(super) noisy: BTreeSet<usize>,
    pub(super) next_ns: u64,
    /// By seat: a worker goes on in the lane of the one before it.
    lanes: Vec<Arc<Lane>>,
    /// The tasks that have pieces which are held.
    pub(super) waiting: Vec<TaskKey>,
    /// Until then a piece is held at most that was held just now.
    pub(super) due_ns: Option<u64>,
}

impl Outgoing {
    /// Adds what was read of a worker's log.
    pub(super) fn add_logs(&mut self, read: LogsRead) {
        let added = self.way.add(&read.lane, read.records, read.lost);
        self.note(added);
    }

    /// Tells the errors of a detached task's pieces, which nobody takes.
    pub(super) fn tell_unseen(&mut self, task: &mut TaskState) {
        let (errors, others) = task.take_unseen();
        if !errors.is_empty() {
            let added = self.way.tell_failed(errors, others);
            self.note(added);
        }
    }
}

impl CoreLogs {
    /// What comes next of this piece comes after what was logged.
    pub(super) fn hold(
        &mut self,
        (key, piece): (TaskKey, usize),
        task: Option<&mut TaskState>,
        lane: &Arc<Lane>,
        outgoing: &Outgoing,
    ) {
        let (Some(mark), Some(task)) = (lane.mark(), task) else { return };
        let until_ns = clock::now_ns().saturating_add(PATIENCE_NS);
        if task.await_logs(piece, mark, until_ns) {
            self.waiting.push(key);
        }
        self.due_ns.get_or_insert(until_ns);
        outgoing.way.await_delivery();
    }

    /// A worker gets a seat.
    pub(super) fn begin(&mut self, link: &mut Link, seat: usize) {
        while self.lanes.len() <= seat {
            self.lanes.push(Lane::new(self.lanes.len()));
        }
        link.log_into(Arc::clone(&self.lanes[seat]));
        link.tell_log_level(level());
        // It may change before the worker has its seat: so all are told before the next piece.
        self.level = NOT_TOLD;
    }

    /// The logger gets no more: nobody waits for it.
    pub(super) fn give_up(&mut self) {
        self.lanes.iter().for_each(|lane| lane.give_up());
    }
}

/// The level of the program's logger, as workers are told.
pub(super) fn level() -> u32 {
    log::max_level() as u32
}
