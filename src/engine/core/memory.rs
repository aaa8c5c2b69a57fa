//! Watches the memory of workers: who is replaced or killed for it, and when to look again.
//!
//! | when                                  | by                                             | looks at                    |
//! |---------------------------------------|------------------------------------------------|-----------------------------|
//! | a worker is ready, and before its first piece if there are limits | the supervisor, without the lock | its size at the start |
//! | it has answered something             | the thread that collects, once in 100 us, under the lock | its `high`        |
//! | [`Core::limits_due_ns`]               | the supervisor, without the lock               | its `max`, and both limits of all |
//!
//! Checks go on while a worker holds pieces, once more after that, and then stop: a pool at rest wakes nobody.
//!
//! Invariant: while a worker holds pieces and there are limits that need checks, one is due.

use super::gate::Gate;
use super::roster::Set;
use super::seat::WorkerHandle;
use super::worker_memory::{Crossing, FilesOf};
use super::{Core, Phase};
use crate::backend::MemoryLimits;
use crate::engine::policy::memory::{self, CheckVerdict, Checks, Verdict};
use crate::engine::policy::patience::SPAWN_DEADLINE_NS;
use crate::engine::policy::recycle::Reason;
use crate::error::PieceLabel;
use crate::failpoint::failpoint;
use crate::stats::memory::MemoryAction;
use crate::sys::clock;
use crate::sys::descriptors::Descriptor;
use crate::sys::usage::{Private, Usage};
use crossbeam_channel::Sender;
use std::sync::Arc;

/// A worker whose files must be opened.
#[derive(Debug)]
pub(crate) struct Unmeasured {
    pub(crate) seat: usize,
    pub(crate) generation: u32,
    pub(crate) pidfd: Arc<Descriptor>,
    /// It will be read under the lock too.
    pub(crate) is_judged: bool,
}

/// A worker whose memory is to be read without the lock.
#[derive(Debug)]
pub(crate) struct MemoryQuestion {
    pub(crate) seat: usize,
    pub(crate) generation: u32,
    pub(crate) files: Arc<Usage>,
    /// Where its own part must be known exactly.
    pub(crate) exactly: Option<Arc<Descriptor>>,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct MemoryAnswer {
    pub(crate) seat: usize,
    pub(crate) generation: u32,
    /// What it has, swapped memory included.
    pub(crate) all: u64,
    /// If that was asked for: its own part, if the system tells, and how long the reading took.
    pub(crate) exactly: Option<(Option<Private>, u64)>,
}

/// What was done, for the user's function.
#[derive(Debug)]
pub(crate) struct MemoryNews {
    pub(crate) action: MemoryAction,
    pub(crate) worker: usize,
    pub(crate) pid: u32,
    pub(crate) piece: Option<PieceLabel>,
    pub(crate) bytes: u64,
    pub(crate) limit: u64,
    pub(crate) at_start: u64,
}

#[derive(Debug, Default)]
pub(super) struct Watched {
    limits: MemoryLimits,
    /// Who tells the user; none after the pool's end.
    news: Option<Sender<MemoryNews>>,
    /// What the fork server has: all workers share it.
    server_bytes: u64,
    /// The next check. `None` while no worker holds pieces.
    due_ns: Option<u64>,
    /// How long after work begins the first check follows: what the last one found, and new workers.
    after_ns: u64,
    /// A check found no worker at work: the next one is the last.
    is_last: bool,
    checks: Checks,
    /// All together are above their limits.
    high_crossing: Crossing,
    max_crossing: Crossing,
    has_told_large: bool,
    pub(super) gate: Gate,
}

impl Watched {
    pub(super) fn new(limits: MemoryLimits, news: Option<Sender<MemoryNews>>) -> Self {
        Watched {
            limits,
            news,
            after_ns: memory::next_check_ns(u64::MAX),
            gate: Gate::new(limits.min_available),
            ..Watched::default()
        }
    }

    /// Workers are judged after each piece.
    #[inline]
    pub(super) fn judges(&self) -> bool {
        self.limits.worker_high.is_some()
    }

    /// Something was given out: true if a check must be ordered.
    #[inline]
    pub(super) fn must_begin(&self) -> bool {
        self.due_ns.is_none() && self.limits.need_checks()
    }

    pub(super) fn limits(&self) -> &MemoryLimits {
        &self.limits
    }

    pub(super) fn news(&self) -> Option<&Sender<MemoryNews>> {
        self.news.as_ref()
    }

    /// Nobody is told any more.
    pub(super) fn end_news(&mut self) {
        self.news = None;
    }
}

impl Core {
    // A worker is ready.

    /// The workers that are ready and were never measured. One that is not ready in time gets its pieces all the same: it may be stopped,
    /// and is only judged while it holds some.
    pub(crate) fn unmeasured(&mut self) -> Vec<Unmeasured> {
        let (mut from, mut found, is_judged) = (0, Vec::new(), self.watched.judges());
        let mut given_up = false;
        while let Some(seat) = self.seats.sorted().next(Set::Unsettled, from) {
            from = seat + 1;
            let Some(it) = self.seats.get_mut(seat) else { continue };
            let generation = it.generation();
            let Some(worker) = it.worker_mut() else { continue };
            if worker.memory.is_awaited() && !worker.became_ready() {
                let due_ns = worker.made_ns() + SPAWN_DEADLINE_NS;
                if clock::now_ns() >= due_ns {
                    worker.memory.await_no_more();
                    given_up = true;
                } else {
                    self.alarm.wake_by(due_ns);
                }
            }
            if worker.memory.is_unopened()
                && worker.became_ready()
                && let Some(pidfd) = worker.pidfd().cloned()
            {
                found.push(Unmeasured { seat, generation, pidfd, is_judged });
            }
        }
        if given_up {
            self.owe_dispatch();
        }
        found
    }

    /// A worker was measured for the first time, and its fork server; `None` if the system does not tell.
    pub(crate) fn measured(&mut self, seat: usize, generation: u32, first: Option<(FilesOf, u64)>, server: u64) {
        let is_executed = matches!(self.start, crate::stats::WorkerStart::Executed);
        self.watched.server_bytes = server;
        let shared = if is_executed { 0 } else { server };
        let Some(worker) = self.seats.worker_of(seat, generation) else { return };
        let was_awaited = worker.memory.is_awaited();
        worker.memory.open(first, shared, clock::now_ns());
        let at_start = worker.memory.at_start();
        if was_awaited {
            self.owe_dispatch();
        }
        if let Some(max) = self.watched.limits.worker_max {
            self.check_in(memory::next_check_ns(max.bytes(at_start).saturating_sub(at_start)));
        }
        self.watched.gate.saw(at_start);
        let MemoryLimits { worker_high, worker_max, .. } = self.watched.limits;
        let limits = [worker_high, worker_max].into_iter().flatten().map(|limit| limit.bytes(at_start));
        if let Some(limit) = limits.filter(|&limit| at_start > limit).min()
            && !std::mem::replace(&mut self.watched.has_told_large, true)
        {
            self.tell(seat, MemoryAction::BornLarge, at_start, limit);
        }
    }

    /// A worker without a pidfd: nothing of its memory can be read.
    pub(super) fn cannot_be_measured(&mut self, seat: usize, generation: u32) {
        self.measured(seat, generation, None, self.watched.server_bytes);
    }

    // After a piece.

    /// A worker has answered something: it may be above its `high`.
    pub(super) fn judge_memory(&mut self, seat: usize, now_ns: u64) {
        let (Some(limit), Some(worker)) = (self.watched.limits.worker_high, self.seats.worker_mut(seat)) else {
            return;
        };
        if worker.memory.read_now(now_ns) {
            self.judge_memory_now(seat, limit, now_ns);
        }
    }

    fn judge_memory_now(&mut self, seat: usize, limit: crate::backend::MemoryLimit, now_ns: u64) {
        let Some(worker) = self.seats.worker_mut(seat) else { return };
        let view = worker.memory.view(worker.start_ns(), now_ns);
        let limit = limit.bytes(view.at_start);
        let headroom = memory::high_of(limit, view.at_start).saturating_sub(view.bytes);
        worker.memory.read_again_at(now_ns + memory::next_reading_ns(headroom));
        let verdict = memory::judge_worker(&view, limit);
        let is_above = matches!(verdict, Verdict::Due(_) | Verdict::TooYoung);
        let tells = worker.memory.high_crossing().is_new(is_above, matches!(verdict, Verdict::Due(_)));
        match verdict {
            Verdict::Due(limit) if self.watched.limits.only_reports => {
                if tells {
                    self.tell(seat, MemoryAction::WouldRecycle, view.bytes, limit);
                }
            }
            Verdict::Due(limit) => self.replace_for_memory(seat, view.bytes, limit),
            Verdict::DueSoon if !self.watched.limits.only_reports => self.due_soon(seat, Reason::MemoryHigh),
            Verdict::DueSoon | Verdict::TooYoung => {}
            Verdict::GoesOn => {
                if worker.memory.needs_exact(memory::high_of(limit, view.at_start), now_ns) {
                    // Only the supervisor may read that.
                    self.check_memory_by(now_ns);
                }
            }
        }
    }

    /// A worker is too large: it gets no more unless its successor would be long in coming, and is replaced once it has ended its
    /// piece.
    pub(super) fn replace_for_memory(&mut self, seat: usize, bytes: u64, limit: u64) {
        if !self.become_due(seat, Reason::MemoryHigh) {
            return;
        }
        self.tell(seat, MemoryAction::Recycled, bytes, limit);
        if self.successor_may_come() {
            self.stop_giving(seat);
        }
        self.replace_due();
    }

    /// A worker is replaced a little before it reaches its `high`, since its successor is ready.
    pub(super) fn tell_replaced_early(&self, seat: usize) {
        if let (Some(limit), Some(worker)) = (self.watched.limits.worker_high, self.seats.worker(seat)) {
            let at_start = worker.memory.at_start();
            let limit = memory::high_of(limit.bytes(at_start), at_start);
            self.tell(seat, MemoryAction::Recycled, worker.memory.least(), limit);
        }
    }

    // Checks.

    /// When the supervisor must see to limits: the memory of workers, what is available, or a successor that is not ready.
    pub(crate) fn limits_due_ns(&mut self) -> Option<u64> {
        self.watched.due_ns.into_iter().chain(self.successor_due_ns()).chain(self.gate_due_ns()).min()
    }

    /// Something was given out while no check was due.
    pub(super) fn begin_checks(&mut self) {
        self.watched.is_last = false;
        self.check_memory_by(clock::now_ns() + self.watched.after_ns);
    }

    /// A check follows that long after work begins, or from now if it has.
    fn check_in(&mut self, after_ns: u64) {
        self.watched.after_ns = self.watched.after_ns.min(after_ns);
        if self.watched.due_ns.is_some() {
            self.check_memory_by(clock::now_ns() + after_ns);
        }
    }

    fn check_memory_by(&mut self, moment_ns: u64) {
        let due_ns = self.watched.due_ns.map_or(moment_ns, |due_ns| due_ns.min(moment_ns));
        self.watched.due_ns = Some(due_ns);
        self.alarm.wake_by(due_ns);
    }

    /// What is to be read for a check, if one is due now.
    pub(crate) fn memory_questions(&mut self) -> Option<Vec<MemoryQuestion>> {
        let now_ns = clock::now_ns();
        if self.watched.due_ns.is_none_or(|due_ns| due_ns > now_ns) {
            return None;
        }
        let MemoryLimits { worker_high, worker_max, .. } = self.watched.limits;
        let is_sum_unclear = self.is_sum_unclear();
        let mut questions = Vec::new();
        for seat in 0..self.seats.len() {
            let Some(it) = self.seats.get_mut(seat) else { continue };
            let generation = it.generation();
            let Some(worker) = it.worker().filter(|worker| !worker.was_killed() && worker.end().is_none()) else {
                continue;
            };
            let Some(files) = worker.memory.files().map(Arc::clone) else { continue };
            let at_start = worker.memory.at_start();
            let needs = |limit| worker.memory.needs_exact(limit, now_ns);
            let is_unclear = worker_high.is_some_and(|limit| needs(memory::high_of(limit.bytes(at_start), at_start)))
                || worker_max.is_some_and(|limit| needs(limit.bytes(at_start)))
                || is_sum_unclear && needs(worker.memory.least());
            let exactly = worker.pidfd().filter(|_| is_unclear).cloned();
            questions.push(MemoryQuestion { seat, generation, files, exactly });
        }
        Some(questions)
    }

    /// What was read for a check.
    pub(crate) fn check_memory(&mut self, answers: &[MemoryAnswer]) {
        if !matches!(self.phase, Phase::Open) {
            self.watched.due_ns = None;
            return;
        }
        let now_ns = clock::now_ns();
        for answer in answers {
            let Some(worker) = self.seats.worker_of(answer.seat, answer.generation) else { continue };
            worker.memory.read(answer.all);
            match answer.exactly {
                Some((Some(private), took_ns)) => worker.memory.read_exactly(private, took_ns, now_ns),
                Some((None, _)) => worker.memory.cannot_read_exactly(now_ns),
                None => {}
            }
            self.watched.gate.saw(worker.memory.least());
        }
        let mut after_ns = u64::MAX;
        for answer in answers {
            after_ns = after_ns.min(self.check_worker(answer.seat, answer.generation, now_ns));
        }
        after_ns = after_ns.min(self.check_all(now_ns));
        failpoint!("parent-memory-checked");
        self.end_check(after_ns);
    }

    /// After a check: the next one, if pieces run, or ran until now.
    fn end_check(&mut self, after_ns: u64) {
        let after_ns = after_ns.min(memory::next_check_ns(u64::MAX));
        self.watched.after_ns = after_ns;
        let is_at_work = self.seats.sorted().busy_workers() > 0;
        let goes_on = is_at_work || !std::mem::replace(&mut self.watched.is_last, true);
        self.watched.is_last &= !is_at_work;
        self.watched.due_ns = None;
        if goes_on && self.watched.limits.need_checks() {
            self.check_memory_by(clock::now_ns() + after_ns);
        }
    }

    /// Checks one worker. Gives the time until the next check.
    fn check_worker(&mut self, seat: usize, generation: u32, now_ns: u64) -> u64 {
        let MemoryLimits { worker_high, worker_max, checks, only_reports, .. } = self.watched.limits;
        let Some(worker) = self.seats.worker_of(seat, generation).filter(|worker| !worker.was_killed()) else {
            return u64::MAX;
        };
        let mut after_ns = u64::MAX;
        let (bytes, at_start) = (worker.memory.least(), worker.memory.at_start());
        if let Some(max) = worker_max.map(|limit| limit.bytes(at_start)) {
            let verdict = worker.memory.checks().count(bytes, max, checks);
            let tells = worker.memory.max_crossing().is_new(bytes > max, verdict == CheckVerdict::Kill);
            match verdict {
                CheckVerdict::Again { after_ns: next_ns } => after_ns = next_ns,
                CheckVerdict::Kill if only_reports => {
                    if tells {
                        self.tell(seat, MemoryAction::WouldKill, bytes, max);
                    }
                    after_ns = memory::next_check_ns(u64::MAX);
                }
                CheckVerdict::Kill => {
                    self.kill_for_memory(seat, bytes, max);
                    return after_ns;
                }
            }
        }
        if let Some(high) = worker_high {
            self.judge_memory_now(seat, high, now_ns);
        }
        after_ns
    }

    /// Checks all workers together. Gives the time until the next check.
    fn check_all(&mut self, now_ns: u64) -> u64 {
        let MemoryLimits { high, max, checks, only_reports, .. } = self.watched.limits;
        if high.is_none() && max.is_none() {
            return u64::MAX;
        }
        let sum = self.sum_of_memory();
        let mut after_ns = u64::MAX;
        if let Some(max) = max {
            let verdict = self.watched.checks.count(sum, max, checks);
            let tells = self.watched.max_crossing.is_new(sum > max, verdict == CheckVerdict::Kill);
            after_ns = match verdict {
                CheckVerdict::Again { after_ns } => after_ns,
                CheckVerdict::Kill => {
                    match self.largest(|_, _| true) {
                        Some(seat) if !only_reports => self.kill_for_memory(seat, sum, max),
                        Some(seat) if tells => self.tell(seat, MemoryAction::WouldKill, sum, max),
                        _ => {}
                    }
                    memory::next_check_ns(0)
                }
            };
        }
        let Some(high) = high else { return after_ns };
        let largest = if sum > high { self.to_be_replaced(high, now_ns) } else { None };
        let tells = self.watched.high_crossing.is_new(sum > high, largest.is_some());
        match largest {
            Some(seat) if only_reports && tells => self.tell(seat, MemoryAction::WouldRecycle, sum, high),
            Some(seat) if !only_reports && self.become_due(seat, Reason::MemoryHigh) => {
                self.tell(seat, MemoryAction::Recycled, sum, high);
                self.replace_due();
            }
            _ => {}
        }
        after_ns.min(memory::next_check_ns(high.saturating_sub(sum)))
    }

    /// All together are above their `high`: the worker that is to be replaced. None while another one is, unless those have long
    /// pieces: then their successor takes the place of the first that ends one.
    fn to_be_replaced(&self, high: u64, now_ns: u64) -> Option<usize> {
        if self.is_recycling() && !self.recycling.awaits_end() {
            return None;
        }
        let gain = |worker: &WorkerHandle| memory::gain_of(worker.memory.least(), worker.memory.at_start());
        let may_go = |seat: usize, worker: &WorkerHandle| {
            seat != self.seats.beyond()
                && !self.seats.is_surplus(seat)
                && worker.life.due().is_none()
                && gain(worker).is_some()
                && memory::may_be_replaced(&worker.memory.view(worker.start_ns(), now_ns), high)
        };
        let largest = self.largest(may_go)?;
        // An idle one is replaced without a wait.
        let idle = self.largest(|seat, worker| worker.link.is_idle() && may_go(seat, worker));
        let gain_of = |seat| self.seats.worker(seat).and_then(gain).unwrap_or(0);
        idle.filter(|&idle| memory::goes_first(gain_of(idle), gain_of(largest))).or(Some(largest))
    }

    /// The memory of all workers: what they share counts once. One that was killed counts no more.
    pub(super) fn sum_of_memory(&self) -> u64 {
        let live = self.seats.workers().filter(|worker| !worker.was_killed() && worker.end().is_none());
        live.fold(self.watched.server_bytes, |sum, worker| sum.saturating_add(worker.memory.least()))
    }

    /// True if only exact readings tell whether all together are above a limit.
    fn is_sum_unclear(&self) -> bool {
        let MemoryLimits { high, max, .. } = self.watched.limits;
        let least = self.sum_of_memory();
        let most = self.seats.workers().fold(self.watched.server_bytes, |sum, it| sum.saturating_add(it.memory.all()));
        [high, max].into_iter().flatten().any(|limit| least <= limit && most > limit)
    }

    /// The largest worker that lives and stays, of those that may be taken.
    fn largest(&self, may_be: impl Fn(usize, &WorkerHandle) -> bool) -> Option<usize> {
        let stays = |worker: &WorkerHandle| {
            !worker.was_killed()
                && worker.end().is_none()
                && worker.duty() != crate::engine::policy::patience::Duty::Leaves
                && worker.memory.files().is_some()
        };
        let workers = self.seats.iter().filter_map(|(seat, it)| Some((seat, it.worker()?)));
        let candidates = workers.filter(|&(seat, worker)| stays(worker) && may_be(seat, worker));
        candidates.max_by_key(|(_, worker)| worker.memory.least()).map(|(seat, _)| seat)
    }

    /// Kills a worker that is too large, in mid-piece too, and no piece that it has not begun with it.
    fn kill_for_memory(&mut self, seat: usize, bytes: u64, limit: u64) {
        self.revoke_all(seat);
        self.collect_rest_from(seat);
        self.tell(seat, MemoryAction::Killed, bytes, limit);
        if let Some(worker) = self.seats.worker_mut(seat) {
            let kill_by = worker.kill_for_memory(bytes, limit);
            self.see_to_kill(seat, kill_by);
            failpoint!("parent-memory-killed");
        }
    }

    fn tell(&self, seat: usize, action: MemoryAction, bytes: u64, limit: u64) {
        let (Some(news), Some(worker)) = (&self.watched.news, self.seats.worker(seat)) else { return };
        let runs = worker.link.oldest_piece();
        let piece = runs.and_then(|(task, number)| self.work.tasks.get(task).map(|task| task.label(number)));
        let (pid, at_start) = (worker.pid().unwrap_or(0), worker.memory.at_start());
        // Its thread ends only with the pool.
        let _ = news.send(MemoryNews { action, worker: seat, pid, piece, bytes, limit, at_start });
    }
}
