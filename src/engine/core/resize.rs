//! A pool gets another number of workers.
//!
//! | the number | what happens                                                                                            |
//! |------------|---------------------------------------------------------------------------------------------------------|
//! | grows      | seats that have left the set join it again, then new ones are added; the supervisor fills them              |
//! | shrinks    | the highest seats of the set leave it: what their workers have not begun is taken back, and they retire       |
//!
//! A seat that has left stays where it is, without a worker in the end: its number is in messages that are under way. The seat beyond the set
//! is none of it, so a worker that is being replaced counts once, with its successor.
//!
//! Invariant: the set has as many seats as the pool is to have workers, and no seat that has left it is filled.

use super::Core;
use super::seat::Seat;
use crate::error::Error;
use crate::failpoint::failpoint;

impl Core {
    /// The pool has this many workers from now on, at least one.
    pub(crate) fn resize(&mut self, workers: usize) -> Result<(), Error> {
        if let Some(error) = self.phase.error() {
            return Err(error);
        }
        let set = self.seats.set();
        match set.get(workers..) {
            Some([]) => {}
            Some(surplus) => self.shrink_by(surplus),
            None => self.grow_by(workers - set.len()),
        }
        Ok(())
    }

    fn grow_by(&mut self, mut missing: usize) {
        for seat in 0..self.seats.len() {
            if missing > 0
                && let Some(seat) = self.seats.get_mut(seat).filter(|seat| seat.is_surplus())
            {
                seat.join_set();
                missing -= 1;
            }
        }
        (0..missing).for_each(|_| self.seats.add());
        // It prepares what workers need, and orders them.
        self.alarm.wake_now();
    }

    fn shrink_by(&mut self, surplus: &[usize]) {
        for &seat in surplus {
            if let Some(seat) = self.seats.get_mut(seat) {
                seat.leave_set();
            }
            self.retire(seat);
            failpoint!("parent-resize-retired");
        }
        self.forget_due(surplus);
        self.end_shortage_if_all_are_filled();
        self.finish_retiring();
        // What came back goes to those that are left.
        if self.dispatch() {
            self.keep_attention();
        }
    }

    /// The worker of this seat is gone. True if nobody comes in its place, since the seat has left the set.
    #[must_use]
    pub(super) fn is_not_filled(&mut self, seat: usize) -> bool {
        let Some(seat) = self.seats.get_mut(seat).filter(|seat| seat.is_surplus()) else { return false };
        seat.leave_empty();
        self.end_shortage_if_all_are_filled();
        true
    }

    /// Where no worker is to be started, none is missing: a failure of before says nothing of the next start.
    pub(super) fn end_shortage_if_all_are_filled(&mut self) {
        let is_vacant = |(_, seat): &(usize, &Seat)| seat.vacant_until_ns().is_some();
        if !self.seats.unsettled().any(|seat| is_vacant(&seat)) {
            self.shortage.end();
        }
    }
}
