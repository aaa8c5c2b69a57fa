//! Seats that are not to be filled now: that beyond the set, while no worker is replaced (`core/recycle.rs`), and those whose worker has
//! ended because it was idle (`core/idle.rs`), and those that have left the set (`core/resize.rs`).

use super::{Seat, SeatState, WorkerHandle};
use crate::engine::policy::patience::Duty;

impl WorkerHandle {
    /// Somebody looks whether it has something to do. Since when it has nothing, as far as is known; `None` if it has something, or starts, or
    /// is to end for another reason.
    pub(crate) fn idle_since_ns(&mut self, now_ns: u64) -> Option<u64> {
        let is_idle = self.duty == Duty::Works
            && self.link.is_idle()
            && !self.was_killed()
            && self.end().is_none()
            && self.has_process()
            && self.life.due().is_none()
            && self.became_ready();
        self.idleness.see(is_idle, self.pieces_done, now_ns)
    }

    /// It is dismissed because it has had nothing to do. False if there is no room for the word now.
    #[must_use]
    pub(crate) fn dismiss_unneeded(&mut self, now_ns: u64) -> bool {
        let is_dismissed = self.dismiss(now_ns);
        self.idleness.is_unneeded = is_dismissed;
        is_dismissed
    }

    /// True if it was dismissed because it had nothing to do.
    pub(crate) fn is_unneeded(&self) -> bool {
        self.idleness.is_unneeded
    }
}

impl Seat {
    pub(crate) fn is_spare(&self) -> bool {
        matches!(self.state, SeatState::Spare)
    }

    /// If it is spare: it is to be filled.
    pub(crate) fn order_successor(&mut self) {
        if self.is_spare() {
            self.state = SeatState::Vacant { retry_ns: 0 };
        }
    }

    /// If it is vacant: it is not to be filled now.
    pub(crate) fn leave_empty(&mut self) {
        if matches!(self.state, SeatState::Vacant { .. }) {
            self.state = SeatState::Spare;
        }
    }

    /// If it is vacant: it is not to be filled before it is called.
    pub(crate) fn rest(&mut self) {
        if matches!(self.state, SeatState::Vacant { .. }) {
            self.state = SeatState::Resting;
        }
    }

    /// If it rests: it is to be filled.
    pub(crate) fn call(&mut self) {
        if self.rests() {
            self.state = SeatState::Vacant { retry_ns: 0 };
        }
    }

    /// True if it is filled only once it is called.
    pub(crate) fn rests(&self) -> bool {
        matches!(self.state, SeatState::Resting)
    }

    /// True if the pool has fewer workers than it had when this seat was one of the set.
    pub(crate) fn is_surplus(&self) -> bool {
        self.is_surplus
    }

    /// It leaves the set: it is filled no more. A worker in it is yet to retire.
    pub(crate) fn leave_set(&mut self) {
        self.is_surplus = true;
        self.call();
        self.leave_empty();
    }

    /// It is one of the set again. If its worker is still to leave, it is filled after that.
    pub(crate) fn join_set(&mut self) {
        self.is_surplus = false;
        self.order_successor();
    }
}
