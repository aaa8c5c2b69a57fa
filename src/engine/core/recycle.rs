//! Replaces workers that are due, each after its piece and once its successor is ready.
//!
//! One seat lies beyond the set ([`Seats::beyond`]):
//!
//! | it is                     | what happens next                                                                        |
//! |---------------------------|------------------------------------------------------------------------------------------|
//! | spare                     | a worker is due, or soon: it is to be filled                                             |
//! | to be filled, or starting | the successor is ready. Or it dies or cannot be started: spare, and another attempt after a pause |
//! | a successor that is ready | workers that are due lose what they have not begun and get no more; the first of them that holds no piece is dismissed, and its seat lies beyond from then on |
//! | a worker that leaves      | its end: spare                                                                           |
//!
//! So a long piece delays only its own worker's end, and a successor that dies in its start harms nobody. A worker that has answered
//! all that it may be given leaves whether its successor is ready or not; without one its seat is filled as after a death.
//!
//! Invariant: at most as many workers as the set has get pieces, since that beyond gets none.
//!
//! [`Seats::beyond`]: super::seats::Seats::beyond

use super::seat::WorkerHandle;
use super::{Core, Phase};
use crate::engine::policy::patience::Duty;
use crate::engine::policy::recycle::{self, LifeLimits, Reason, Verdict};
use crate::engine::policy::restart::RETRY_NS;
use crate::failpoint::failpoint;
use crate::stats::Replaced;
use crate::sys::clock;

/// Shares of workers that are started one after the other lie far apart: the golden ratio of 2^32.
const SHARE_STEP: u32 = 0x9e37_79b9;

#[derive(Debug, Default)]
pub(super) struct Recycling {
    limits: LifeLimits,
    /// The workers that are due: seat and generation.
    due: Vec<(usize, u32)>,
    /// A worker that is due soon: seat, generation and why.
    soon: Option<(usize, u32, Reason)>,
    /// A successor is ready for workers that hold pieces.
    awaits_end: bool,
    /// The share of the worker that was ordered last.
    share: u32,
    /// Successors in a row that could not be started.
    failures: u32,
    retry_ns: u64,
}

impl Recycling {
    pub(super) fn new(limits: LifeLimits) -> Self {
        Recycling { limits, ..Recycling::default() }
    }

    /// Workers have limits, so they are judged.
    #[inline]
    pub(super) fn judges(&self) -> bool {
        self.limits.any()
    }

    /// There is something to do about the seat beyond the set.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.soon.is_some() || !self.due.is_empty()
    }

    /// Somebody must hear of the end of a piece.
    #[inline]
    pub(super) fn awaits_end(&self) -> bool {
        self.awaits_end
    }

    /// The limits of the next worker, and those of all.
    pub(super) fn next_limits(&mut self) -> (LifeLimits, LifeLimits) {
        self.share = self.share.wrapping_add(SHARE_STEP);
        (self.limits.of_worker(self.share), self.limits)
    }
}

impl Core {
    /// Every worker that there is now is replaced, one after the other.
    pub(crate) fn recycle(&mut self) {
        for seat in 0..self.seats.len() {
            let _ = self.become_due(seat, Reason::Asked);
        }
        self.replace_due();
        if self.dispatch() {
            self.keep_attention();
        }
    }

    /// A worker has answered something, and its judgement is due.
    #[cold]
    pub(super) fn judge(&mut self, seat: usize, now_ns: u64) {
        if self.recycling.judges() {
            self.judge_life(seat, now_ns);
        }
        if self.watched.judges() {
            self.judge_memory(seat, now_ns);
        }
    }

    fn judge_life(&mut self, seat: usize, now_ns: u64) {
        let Some(worker) = self.seats.worker_mut(seat) else { return };
        match worker.judge_life(now_ns) {
            Verdict::GoesOn => {}
            Verdict::DueSoon(reason) => self.due_soon(seat, reason),
            Verdict::Due(reason) => _ = self.become_due(seat, reason),
        }
    }

    /// The same for all workers that hold pieces.
    pub(super) fn judge_busy(&mut self) {
        let busy: Vec<usize> = self.seats.sorted().iter(super::Set::Busy).collect();
        let now_ns = clock::now_ns();
        busy.into_iter().for_each(|seat| self.judge_life(seat, now_ns));
        self.replace_due();
    }

    /// A worker is to be replaced. False if that was known, or it leaves already.
    pub(super) fn become_due(&mut self, seat: usize, reason: Reason) -> bool {
        if self.seats.is_surplus(seat) {
            // It leaves, and nobody comes in its place.
            return false;
        }
        let Some(it) = self.seats.get_mut(seat) else { return false };
        let generation = it.generation();
        let is_new = it.worker_mut().is_some_and(|worker| {
            let is_new = worker.life.due().is_none() && worker.duty() != Duty::Leaves;
            if is_new {
                worker.life.become_due(reason);
            }
            is_new
        });
        if is_new {
            self.recycling.due.push((seat, generation));
        }
        is_new
    }

    /// Its successor will be needed soon.
    pub(super) fn due_soon(&mut self, seat: usize, reason: Reason) {
        if let Some(it) = self.seats.get_mut(seat).filter(|it| !it.is_surplus())
            && it.worker().is_some_and(|worker| worker.life.due().is_none())
        {
            self.recycling.soon = Some((seat, it.generation(), reason));
        }
    }

    /// A worker that is due loses what it has not begun, and gets no more until it is known that no successor comes.
    pub(super) fn stop_giving(&mut self, seat: usize) {
        if self.seats.worker_mut(seat).is_some_and(|worker| !worker.life.await_its_end(true)) {
            self.revoke_all(seat);
            self.lane.leave_seat(seat);
            self.owe_dispatch();
        }
    }

    /// There may be something to give out. The thread that finds that may never look.
    pub(super) fn owe_dispatch(&mut self) {
        self.owes_dispatch = true;
        self.alarm.wake_now();
    }

    fn is_idle(&self, seat: usize) -> bool {
        self.seats.worker(seat).is_some_and(|worker| worker.link.is_idle())
    }

    /// A successor is on its way, or can be ordered once the last predecessor has gone: that has 2 s for it.
    pub(super) fn successor_may_come(&self) -> bool {
        !self.seats.is_spare(self.seats.beyond()) || clock::now_ns() >= self.recycling.retry_ns
    }

    /// A worker is being replaced, or is about to be.
    pub(super) fn is_recycling(&self) -> bool {
        !self.recycling.due.is_empty() || !self.seats.is_spare(self.seats.beyond())
    }

    /// These seats have left the set: no successor comes for their workers, and one that was on its way for them alone leaves.
    pub(super) fn forget_due(&mut self, gone: &[usize]) {
        let Recycling { due, soon, awaits_end, .. } = &mut self.recycling;
        due.retain(|(seat, _)| !gone.contains(seat));
        *awaits_end &= !due.is_empty();
        *soon = soon.filter(|(seat, ..)| !gone.contains(seat));
        let beyond = self.seats.beyond();
        if self.recycling.is_active() || self.seats.is_spare(beyond) {
            return;
        }
        match self.seats.worker(beyond).map(WorkerHandle::duty) {
            None => self.beyond_is_empty(beyond, false),
            Some(Duty::Leaves) => {}
            Some(_) => {
                self.retire(beyond);
            }
        }
    }

    /// Takes the next step for workers that are due.
    #[inline]
    pub(crate) fn replace_due(&mut self) {
        if self.recycling.is_active() && matches!(self.phase, Phase::Open) {
            self.take_next_step();
        }
    }

    fn take_next_step(&mut self) {
        let Core { seats, recycling, .. } = self;
        // All that are due are asked at each look, so none is touched.
        let is_there = |seat, generation| {
            let worker = seats.see_worker_of(seat, generation);
            worker.is_some_and(|worker| worker.duty() != Duty::Leaves && !worker.was_killed() && worker.end().is_none())
        };
        recycling.due.retain(|&(seat, generation)| is_there(seat, generation));
        recycling.soon = recycling.soon.filter(|&(seat, generation, _)| is_there(seat, generation));
        recycling.awaits_end = false;
        for index in (0..self.recycling.due.len()).rev() {
            let (seat, _) = self.recycling.due[index];
            if self.seats.worker(seat).is_some_and(|worker| worker.link.is_idle() && worker.pieces_left() == 0) {
                self.end_used_up(seat);
            }
        }
        let beyond = self.seats.beyond();
        let Some(seat) = self.seats.get_mut(beyond) else { return };
        if seat.is_spare() {
            return self.order_successor();
        }
        let Some(worker) = seat.worker_mut() else { return };
        if worker.duty() != Duty::Works || worker.was_killed() || worker.end().is_some() {
            return;
        }
        if worker.became_ready() {
            self.recycling.failures = 0;
            failpoint!("parent-successor-ready");
            self.use_successor();
        } else if let Some((wait_ns, start_ns)) = self.successor_limits_ns() {
            self.judge_start(wait_ns, start_ns);
        }
    }

    /// A successor is not ready, and may take until these moments.
    fn judge_start(&mut self, wait_ns: u64, start_ns: u64) {
        let (beyond, now_ns) = (self.seats.beyond(), clock::now_ns());
        if wait_ns <= now_ns && self.is_awaited() {
            self.due_go_on(false);
        }
        if start_ns <= now_ns
            && let Some(worker) = self.seats.worker_mut(beyond)
        {
            // It hangs in its start: another attempt may not.
            let kill_by = worker.kill();
            self.see_to_kill(beyond, kill_by);
        }
    }

    /// Workers that are due get nothing, since a successor comes.
    fn is_awaited(&self) -> bool {
        let mut due = self.recycling.due.iter().filter_map(|&(seat, _)| self.seats.worker(seat));
        due.any(|worker| worker.life.is_awaited())
    }

    /// When somebody must act if a successor that is being started is not ready by then.
    pub(crate) fn successor_due_ns(&mut self) -> Option<u64> {
        let (wait_ns, start_ns) = self.successor_limits_ns()?;
        Some(if self.is_awaited() { wait_ns } else { start_ns })
    }

    /// Until when pieces wait for a successor that is being started, and until when it must be ready.
    fn successor_limits_ns(&mut self) -> Option<(u64, u64)> {
        if !self.recycling.is_active() {
            return None;
        }
        let started =
            self.recycling.due.iter().map(|&(seat, _)| seat).chain(self.recycling.soon.map(|(seat, ..)| seat));
        let start_ns = started.filter_map(|seat| Some(self.seats.worker(seat)?.start_ns())).max().unwrap_or(0);
        let beyond = self.seats.beyond();
        let worker = self.seats.worker_mut(beyond)?;
        let starts = worker.duty() == Duty::Works && !worker.was_killed() && !worker.became_ready();
        let after = |limit_ns| worker.made_ns().saturating_add(limit_ns);
        starts.then(|| (after(recycle::wait_limit_ns(start_ns)), after(recycle::start_limit_ns(start_ns))))
    }

    /// Has the seat beyond the set filled, unless the last attempt failed a moment ago.
    fn order_successor(&mut self) {
        let Recycling { retry_ns, .. } = self.recycling;
        if !self.recycling.is_active() || !self.server.is_connected() {
            return;
        }
        if clock::now_ns() < retry_ns {
            return self.alarm.wake_by(retry_ns);
        }
        let beyond = self.seats.beyond();
        if let Some(seat) = self.seats.get_mut(beyond) {
            seat.order_successor();
            failpoint!("parent-successor-ordered");
            // It prepares what a worker needs.
            self.alarm.wake_now();
        }
    }

    /// A successor is ready: of the workers that are due, one that holds no piece goes. If all hold some, they get no more.
    fn use_successor(&mut self) {
        if let Some(&(seat, _)) = self.recycling.due.iter().find(|&&(seat, _)| self.is_idle(seat)) {
            return self.replace(seat);
        }
        if let (Some((seat, _, reason)), true) = (self.recycling.soon, self.recycling.due.is_empty()) {
            // If no piece comes, its successor would stay beside it. It goes a little early instead.
            if self.is_idle(seat) && self.work.ready.is_empty() {
                if self.become_due(seat, reason) && reason == Reason::MemoryHigh {
                    self.tell_replaced_early(seat);
                }
                return self.replace(seat);
            }
        }
        self.recycling.awaits_end = true;
        for index in 0..self.recycling.due.len() {
            if self.hold.is_spent() {
                // The supervisor goes on with it.
                return self.alarm.wake_now();
            }
            let (seat, _) = self.recycling.due[index];
            self.stop_giving(seat);
            if self.is_idle(seat) {
                // It had begun nothing, so no end of a piece follows.
                return self.replace(seat);
            }
        }
    }

    /// A worker that holds no piece is dismissed, and that beyond the set takes its place.
    fn replace(&mut self, seat: usize) {
        let reason = self.seats.worker(seat).and_then(|worker| worker.life.due());
        if !self.dismiss_due(seat) {
            return;
        }
        self.seats.move_beyond(seat, reason.map_or(Replaced::Asked, replaced_for));
        self.due_go_on(true);
    }

    /// Those that are due go on until a successor is ready. With `but_next`, one that has too much memory gets nothing still: the
    /// next successor is for it.
    fn due_go_on(&mut self, but_next: bool) {
        self.recycling.awaits_end = false;
        let mut keeps = but_next;
        for index in 0..self.recycling.due.len() {
            let (other, generation) = self.recycling.due[index];
            if let Some(worker) = self.seats.worker_of(other, generation) {
                if keeps && worker.life.is_awaited() && worker.life.due() == Some(Reason::MemoryHigh) {
                    keeps = false;
                } else {
                    worker.life.await_its_end(false);
                }
            }
        }
        self.owe_dispatch();
    }

    /// False if it could not be told.
    fn dismiss_due(&mut self, seat: usize) -> bool {
        let now_ns = clock::now_ns();
        self.lane.leave_seat(seat);
        let Some(worker) = self.seats.worker_mut(seat) else { return false };
        if !worker.dismiss(now_ns) {
            // It has not read yet what was taken back, and does not signal when it has.
            self.alarm.wake_by(now_ns + RETRY_NS);
            return false;
        }
        failpoint!("parent-predecessor-dismissed");
        self.recycling.due.retain(|&(other, _)| other != seat);
        true
    }

    /// A worker has answered all pieces that it may be given: it goes, and the worker beyond the set takes its place.
    fn end_used_up(&mut self, seat: usize) {
        let beyond = self.seats.beyond();
        let Some(it) = self.seats.get_mut(beyond) else { return };
        if it.is_spare() {
            it.order_successor();
            self.alarm.wake_now();
        } else if it.worker().is_some_and(|worker| worker.duty() == Duty::Leaves) {
            // The one before it has not gone yet. The seat of this one is filled when it is empty.
            let _ = self.dismiss_due(seat);
            return;
        }
        self.replace(seat);
    }

    /// The worker in the seat beyond the set is gone. `is_loss`: it was a successor.
    pub(super) fn beyond_is_empty(&mut self, seat: usize, is_loss: bool) {
        if let Some(seat) = self.seats.get_mut(seat) {
            seat.leave_empty();
        }
        // A worker that is due soon is judged again.
        self.recycling.soon = None;
        if is_loss {
            let recycling = &mut self.recycling;
            recycling.failures = recycling.failures.saturating_add(1);
            recycling.retry_ns = clock::now_ns() + recycle::pause_ns(recycling.failures);
            self.due_go_on(false);
        }
        self.replace_due();
    }

    /// What a successor needs could not be made, or it could not be ordered.
    pub(super) fn no_successor(&mut self) {
        let beyond = self.seats.beyond();
        if self.seats.get_mut(beyond).is_some_and(|seat| seat.vacant_until_ns().is_some()) {
            self.beyond_is_empty(beyond, true);
        }
    }

    /// A worker of the set is gone, and its seat is to be filled: a successor that was ordered for another takes its place. False
    /// if there is none.
    #[must_use]
    pub(super) fn use_successor_for(&mut self, seat: usize, why: Replaced) -> bool {
        let beyond = self.seats.beyond();
        let Some(it) = self.seats.get_mut(beyond) else { return false };
        let comes = match it.worker() {
            Some(worker) => worker.duty() == Duty::Works && !worker.was_killed() && worker.end().is_none(),
            None => !it.is_spare(),
        };
        if comes {
            self.seats.move_beyond(seat, why);
            self.due_go_on(false);
            if let Some(seat) = self.seats.get_mut(seat) {
                seat.leave_empty();
            }
        }
        comes
    }
}

/// How a pool's figures name it.
pub(super) fn replaced_for(reason: Reason) -> Replaced {
    match reason {
        Reason::Pieces => Replaced::Pieces,
        Reason::Age => Replaced::Age,
        Reason::MemoryHigh => Replaced::MemoryHigh,
        Reason::Asked => Replaced::Asked,
    }
}
