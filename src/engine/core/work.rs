//! The tasks of a pool, and which of them wait for their turn.
//!
//! Invariant: a task that has waiting pieces which may run is in `ready`. A bounded task with too much
//! unread leaves it, and comes back when a reader takes something.

use super::functions::Functions;
use super::names::Names;
#[cfg(any(feature = "log", feature = "tracing"))]
use super::outgoing::Outgoing;
use super::queue::Queue;
use super::ready_queue::ReadyQueue;
use super::reason::Reason;
use super::status::Told;
use super::tasks::Tasks;
use super::timeline::Timeline;
use super::trash::Trash;
use crate::backend::TaskKey;
use crate::engine::piece::{Returned, WaitingPiece};
use crate::engine::policy::pace::TASKS_SUMMED;
use crate::engine::unpark::Wake;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) tasks: Tasks,
    pub(crate) ready: ReadyQueue,
    /// What nobody needs any more of the pieces that were here.
    pub(crate) trash: Trash,
    pub(crate) queue: Queue,
    pub(crate) functions: Functions,
    /// What tasks have done that have ended.
    pub(crate) names: Names,
    /// What pieces did, if somebody asked for that.
    pub(crate) timeline: Option<Box<Timeline>>,
    /// What those are told who look from outside; `None` only before the pool has started.
    pub(crate) status: Option<Box<Told>>,
    /// Pieces that can go to no worker, since the host has closed what they share. They fail before the lock is released.
    pub(crate) unsendable: Vec<(TaskKey, WaitingPiece)>,
    /// What the program's logger and its subscriber of `tracing` are to hear.
    #[cfg(any(feature = "log", feature = "tracing"))]
    pub(crate) outgoing: Outgoing,
}

impl Work {
    /// Lists a task if it has waiting pieces.
    pub(crate) fn offer(&mut self, key: TaskKey) {
        if let Some(task) = self.tasks.get(key).filter(|task| task.waits()) {
            self.ready.push_last(key, task.settings().priority);
        }
    }

    /// Lists a bounded task that has room now: its results were shorter than expected.
    pub(crate) fn offer_unless_full(&mut self, key: TaskKey) {
        if let Some(task) = self.tasks.get(key).filter(|task| task.waits() && !task.is_full()) {
            self.ready.push_last(key, task.settings().priority);
        }
    }

    /// A piece that had not begun waits again; one of a task that has ended is forgotten.
    pub(crate) fn take_back(&mut self, piece: Returned) {
        self.take_back_waiting(piece.task, WaitingPiece { number: piece.number, arguments: piece.arguments });
    }

    /// The same for a piece that waited elsewhere.
    pub(crate) fn take_back_waiting(&mut self, key: TaskKey, piece: WaitingPiece) {
        let unwanted = match self.tasks.get_mut(key) {
            Some(task) => {
                let before = task.queued();
                let unwanted = task.take_back(piece);
                self.queue.changed(before, task.queued());
                unwanted
            }
            None => Some(piece),
        };
        match unwanted {
            Some(piece) => self.trash.add_arguments(piece.arguments),
            None => self.offer(key),
        }
    }

    /// A piece that waited elsewhere fails.
    pub(crate) fn fail_one(&mut self, key: TaskKey, piece: WaitingPiece, reason: &Arc<Reason>) -> Wake {
        match self.tasks.get_mut(key) {
            Some(task) => task.fail_one(piece, reason, &mut self.trash),
            None => {
                self.trash.add_arguments(piece.arguments);
                Wake::NOBODY
            }
        }
    }

    /// The pieces that wait in the tasks whose turns come first.
    pub(crate) fn waiting_pieces(&self) -> usize {
        self.ready.iter().take(TASKS_SUMMED).filter_map(|key| self.tasks.get(key)).map(|task| task.waiting()).sum()
    }

    /// The work that waits in the tasks whose turns come first.
    pub(crate) fn waiting_ns(&self) -> u64 {
        let tasks = self.ready.iter().take(TASKS_SUMMED).filter_map(|key| self.tasks.get(key));
        tasks.map(|task| task.waiting_ns()).sum()
    }
}
