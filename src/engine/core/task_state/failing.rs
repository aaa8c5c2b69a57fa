//! Many pieces of a task fail at once, for a reason that they share.
//!
//! Invariant: no error is made for a piece before somebody reads it.

use super::{State, TaskState};
use crate::engine::core::reason::Reason;
use crate::engine::core::trash::Trash;
use crate::engine::piece::WaitingPiece;
use crate::engine::unpark::{Wake, Wakes};
use std::sync::Arc;

impl TaskState {
    /// Its index in `reasons`.
    pub(super) fn add_reason(&mut self, reason: &Arc<Reason>) -> u32 {
        if self.reasons.last().is_none_or(|last| !Arc::ptr_eq(last, reason)) {
            self.reasons.push(Arc::clone(reason));
        }
        self.reasons.len() as u32 - 1
    }

    /// Fails up to `most` of the pieces that wait; those that workers hold are left alone. Gives how many.
    pub(crate) fn fail_waiting(
        &mut self,
        reason: &Arc<Reason>,
        most: usize,
        wakes: &mut Wakes,
        trash: &mut Trash,
    ) -> usize {
        let mut failed = 0;
        while failed < most
            && let Some(piece) = self.pop_waiting()
        {
            wakes.add(self.fail_one(piece, reason, trash));
            failed += 1;
        }
        failed
    }

    /// Fails a piece that waited elsewhere.
    pub(crate) fn fail_one(&mut self, piece: WaitingPiece, reason: &Arc<Reason>, trash: &mut Trash) -> Wake {
        let index = self.add_reason(reason);
        trash.add_arguments(piece.arguments);
        let done = self.done;
        let wake = self.settle_as(piece.number, State::FailedFor(index));
        if !reason.is_failure() {
            self.fail_with_task(self.done - done);
        }
        self.drop_released(trash);
        wake
    }

    /// Fails every piece that has no outcome, however many there are.
    pub(crate) fn end(&mut self, reason: &Arc<Reason>, wakes: &mut Wakes, trash: &mut Trash) {
        self.drop_waiting(trash);
        if self.ended.is_some() {
            self.end_last(reason, wakes);
        } else if self.done < self.pieces.len() {
            self.end_open(reason, wakes);
        }
        self.drop_released(trash);
    }

    /// Fails what ran on after its end.
    fn end_last(&mut self, reason: &Arc<Reason>, wakes: &mut Wakes) {
        for number in std::mem::take(&mut self.last) {
            let index = self.add_reason(reason);
            if let Some(state) = self.pieces.get_mut(number) {
                *state = State::FailedFor(index);
                self.release(number);
                self.fail_with_task(1);
                wakes.add(self.count_settled(number));
            }
        }
    }

    /// Nothing waits any more.
    pub(super) fn drop_waiting(&mut self, trash: &mut Trash) {
        trash.add_waiting(std::mem::take(&mut self.waiting));
        self.argument_bytes = 0;
    }

    /// Every piece that has no outcome fails, but for those in `last`.
    pub(super) fn end_open(&mut self, reason: &Arc<Reason>, wakes: &mut Wakes) {
        self.ended = Some(self.add_reason(reason));
        self.settles_late = true;
        self.release_ended();
        let done = self.pieces.len() - self.last.len();
        self.fail_with_task(done - self.done);
        self.done = done;
        if let Some(finished) = &mut self.finished {
            finished.scan = self.first_unread..self.pieces.len();
        }
        wakes.add(self.wake_waiter());
    }
}
