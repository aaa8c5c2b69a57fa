//! A task is stopped: nothing of it begins any more, and what workers have begun comes to its end.
//!
//! What workers have begun is known only when all of them were looked at, and each that has begun nothing has lost its
//! pieces of the task. Until then every piece stays open, and outcomes that come count.
//!
//! Invariant: between [`TaskState::stop`] and [`TaskState::end_but`] no piece of it is given to a worker, since none waits and
//! none comes back.

use super::{State, TaskState};
use crate::backend::Settled;
use crate::codec::bytes::Reply;
use crate::engine::core::blocks::BLOCK;
use crate::engine::core::reason::Reason;
use crate::engine::core::trash::Trash;
use crate::engine::unpark::{Wake, Wakes};
use std::sync::Arc;

impl TaskState {
    /// Nothing of it begins any more. [`end_but`](Self::end_but) follows.
    pub(crate) fn stop(&mut self, reason: &Arc<Reason>, trash: &mut Trash) {
        self.cancel();
        // For pieces that come back from dead workers.
        self.add_reason(reason);
        self.drop_waiting(trash);
    }

    /// Every piece that has no outcome fails, but for those that workers have `begun`.
    pub(crate) fn end_but(&mut self, begun: Vec<usize>, reason: &Arc<Reason>, wakes: &mut Wakes) {
        if self.ended.is_some() {
            return;
        }
        // Some have an outcome by now.
        self.last = begun.into_iter().filter(|&number| self.is_open(number)).collect();
        self.end_open(reason, wakes);
    }

    /// A piece came back from a worker that has died. If its task was stopped, it begins nowhere else.
    pub(crate) fn fail_if_stopped(&mut self, number: usize) -> Wake {
        if !self.is_cancelled || !self.is_open(number) {
            return Wake::NOBODY;
        }
        let reason = self.reasons.last().map_or_else(Reason::cancelled, Arc::clone);
        let index = self.add_reason(&reason);
        self.fail_with_task(1);
        self.settle_as(number, State::FailedFor(index))
    }

    /// A result that came after the end of its task, or after its owner, or of a task that shares something. Of an ended task it counts if
    /// its piece was to come to its end.
    #[cold]
    pub(super) fn settle_late(&mut self, number: usize, bytes: Reply, trash: &mut Trash) -> Wake {
        let wake = self.settle_result_late(number, bytes, trash);
        self.drop_released(trash);
        wake
    }

    fn settle_result_late(&mut self, number: usize, bytes: Reply, trash: &mut Trash) -> Wake {
        if !self.is_open(number) {
            trash.add_reply(bytes);
            return Wake::NOBODY;
        }
        self.results += 1;
        self.result_bytes += bytes.len();
        if !self.is_detached {
            return self.settle_as(number, State::Done(bytes));
        }
        self.taken_bytes += bytes.len();
        trash.add_reply(bytes);
        self.settle_as(number, State::Done(Reply::copy_of(&[])))
    }

    /// Nobody takes its outcomes any more. False if that was known.
    #[must_use]
    pub(crate) fn detach(&mut self) -> bool {
        let is_new = !self.is_detached;
        (self.is_detached, self.settles_late) = (true, true);
        self.finished = None;
        self.settings.max_unread_bytes = None;
        self.update_direct();
        is_new
    }

    /// An outcome that nobody takes: what has failed is to be told.
    pub(super) fn note_unseen(&mut self, outcome: Option<Settled>) {
        #[cfg(feature = "log")]
        if let Some(Settled::Failed(error)) = outcome {
            self.unseen.add(error);
        }
        #[cfg(not(feature = "log"))]
        drop(outcome);
    }

    /// Drops the outcomes that some pieces have, from this one on. Gives the one with which to go on.
    pub(crate) fn drop_settled(&mut self, from: usize, trash: &mut Trash) -> Option<usize> {
        let from = self.pieces.next_there(from.max(self.first_unread));
        let end = self.pieces.len().min(from + BLOCK);
        for number in from..end {
            match self.take(number) {
                Some(Settled::Done(reply)) => trash.add_reply(reply),
                failed => self.note_unseen(failed),
            }
        }
        (end < self.pieces.len()).then_some(end)
    }
}
