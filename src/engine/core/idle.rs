//! Workers that have had nothing to do for a while end, and come again when pieces wait.
//!
//! | step          | by                                                                                         |
//! |---------------|--------------------------------------------------------------------------------------------|
//! | seen idle     | [`Core::end_idle`], in turns of the supervisor: four in the time that a worker may be idle   |
//! | dismissed     | the same, under the lock: a piece that comes later finds a worker that leaves, and gets another |
//! | at its end    | `Core::reap`: its seat rests. It is no loss                                                  |
//! | called        | `call` in `core/calling.rs`, when pieces wait and no worker could take them; `call_one`, when they wait in a worker |
//! | filled        | by the supervisor, as after a death; a prepared worker stands ready (`Reserve`)              |
//!
//! Invariant: a seat rests only while no piece waits that its worker could have, or the supervisor has been woken for it. While all
//! rest, nothing wakes.

use super::{Core, Phase};
use crate::engine::policy::restart::RETRY_NS;
use crate::failpoint::failpoint;
use crate::sys::clock;

/// The looks in the time that a worker may be idle: it ends at most a quarter of that later. One look would let it be idle for twice
/// that time; with sixteen the supervisor would wake for nothing most of the time.
const LOOKS: u64 = 4;

/// Looks are no more frequent than this, however short that time is.
const LEAST_LOOK_NS: u64 = 1_000_000;

/// The setting, and when it is looked at next.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// How long a worker may have nothing to do; most pools let it wait for ever.
    timeout_ns: Option<u64>,
    look_ns: u64,
}

#[cfg(test)]
impl Idle {
    /// As if the time of the next look had come.
    pub(super) fn look_now(&mut self) {
        self.look_ns = 0;
    }
}

impl Core {
    /// Workers end that have had nothing to do for this time.
    pub(crate) fn end_idle_after(&mut self, timeout_ns: Option<u64>) {
        self.idle.timeout_ns = timeout_ns;
    }

    /// Dismisses the workers that have had nothing to do for long enough. Gives the moment of the next look; `None` if there is no worker that
    /// could be idle then.
    #[must_use]
    pub(crate) fn end_idle(&mut self) -> Option<u64> {
        let timeout_ns = self.idle.timeout_ns.filter(|_| matches!(self.phase, Phase::Open))?;
        let now_ns = clock::now_ns();
        let beyond = self.seats.beyond();
        if now_ns >= self.idle.look_ns {
            // A successor is on its way to one of them, which goes for another reason.
            let may_end = !self.recycling.is_active()
                && self.seats.is_spare(beyond)
                && (self.work.ready.is_empty() || self.is_gate_closed());
            for seat in (0..self.seats.len()).filter(|&seat| seat != beyond) {
                let Some(worker) = self.seats.worker_mut(seat) else { continue };
                let is_over = worker.idle_since_ns(now_ns).is_some_and(|since_ns| since_ns + timeout_ns <= now_ns);
                if is_over && may_end {
                    self.dismiss_unneeded(seat, now_ns);
                }
            }
            self.idle.look_ns = now_ns.saturating_add((timeout_ns / LOOKS).max(LEAST_LOOK_NS));
        }
        // One that is ordered later is ordered by the supervisor, which asks again then.
        self.seats.workers().any(|worker| !worker.is_unneeded()).then_some(self.idle.look_ns)
    }

    fn dismiss_unneeded(&mut self, seat: usize, now_ns: u64) {
        self.lane.leave_seat(seat);
        let Some(worker) = self.seats.worker_mut(seat) else { return };
        if !worker.dismiss_unneeded(now_ns) {
            // It has not read yet what was taken back, and does not signal when it has.
            self.alarm.wake_by(now_ns + RETRY_NS);
        }
        failpoint!("parent-idle-dismissed");
    }

    /// True if a worker would be started for pieces that wait: one is prepared ahead, since that takes longer than all else.
    pub(super) fn expects_starts(&self) -> bool {
        self.idle.timeout_ns.is_some() && self.seats.any_rests()
    }
}
