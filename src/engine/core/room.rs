//! Callers of `run` that wait because too much waits in the pool's queue.
//!
//! Invariant: a caller waits only while a worker can take some of what waits. Whatever may change that wakes it.

use super::{Core, Phase};

impl Core {
    /// True if `run` may add a piece: no more than allowed waits, or nobody could take any of it. What waits may be barred by
    /// unread results or by the gate, or there is no worker.
    pub(crate) fn has_room_in_queue(&self) -> bool {
        !self.work.queue.is_full()
            || !matches!(self.phase, Phase::Open)
            || self.work.ready.is_empty()
            || self.is_gate_closed()
            || !self.seats.has_process() && !self.expects_worker()
    }

    /// True if a worker comes that can take some of it: one rests, and is called when a piece waits, or is about to be started. While none could be
    /// started for some reason, nobody waits for that.
    fn expects_worker(&self) -> bool {
        self.seats.any_rests() || self.shortage.is_none() && self.seats.any_comes()
    }

    /// After pieces ceased to wait: callers that wait for room look again.
    #[inline]
    pub(super) fn wake_for_room(&mut self) {
        if self.work.queue.take_room_again() {
            self.wake_all();
        }
    }

    /// A caller of `run` begins or ceases to wait for that.
    pub(crate) fn waits_for_room(&mut self, begins: bool) {
        self.work.queue.is_awaited(begins);
    }
}
