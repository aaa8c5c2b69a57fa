//! How tasks and pools end: cancelled, closed, failed, shut down.
//!
//! An end concerns any number of pieces, so it comes in steps, with the lock given away between them ([`Hold`]): what
//! begins it says at once that nothing begins any more, and a [`Sweep`] or the steps of [`Core::stop_task`] do the rest.
//!
//! [`Hold`]: crate::engine::policy::hold::Hold

use super::dispatch;
use super::queue::Waiting;
use super::reason::Reason;
use super::roster::Set;
use super::seats::Seats;
use super::task_state::TaskState;
use super::{Core, Phase, ServerLink};
use crate::backend::{Stop, TaskKey, TaskSettings};
use crate::engine::policy::restart::RETRY_NS;
use crate::engine::unpark::Wake;
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::failpoint::failpoint;
use crate::sys::clock;
use crate::sys::descriptors::Descriptor;
use std::sync::Arc;

/// What is left of a task that was closed.
#[derive(Debug)]
pub(crate) struct Closed {
    /// To be dropped without the lock.
    pub(crate) rest: Option<Box<TaskState>>,
    /// Workers may hold pieces of it: [`Core::stop_task`] follows.
    pub(crate) is_held: bool,
}

/// An end of many tasks, on its way through the pool.
#[derive(Debug)]
pub(crate) struct Sweep {
    reason: Arc<Reason>,
    /// All that is open fails; else only what waits.
    all: bool,
    /// Workers lose what they have not begun.
    revokes: bool,
    stage: Stage,
}

/// How far a sweep has come.
#[derive(Debug)]
enum Stage {
    /// The pieces that would start again later.
    Delayed,
    /// The workers, from this seat on.
    Seats(usize),
    /// The tasks, from this slot on.
    Tasks(usize),
    Over,
}

impl Sweep {
    fn new(reason: Arc<Reason>, all: bool, revokes: bool) -> Sweep {
        Sweep { reason, all, revokes, stage: Stage::Delayed }
    }
}

impl Core {
    // A task ends.

    /// Cancels a task that its owner still holds: all of it that has no outcome fails. True if workers may hold pieces of
    /// it: [`stop_task`](Self::stop_task) follows.
    pub(crate) fn cancel_task(&mut self, key: TaskKey) -> bool {
        self.end_task(key, &Reason::cancelled())
    }

    /// The same for another reason.
    pub(super) fn end_task(&mut self, key: TaskKey, reason: &Arc<Reason>) -> bool {
        let Core { work, wakes, .. } = self;
        let Some(task) = work.tasks.get_mut(key) else { return false };
        let (is_held, before) = (task.held() > 0, task.queued());
        if task.counts_waiting() {
            task.count_waiting(clock::now_ns());
        }
        task.cancel();
        task.end(reason, wakes, &mut work.trash);
        work.queue.changed(before, task.queued());
        work.ready.remove(key);
        self.wake_for_room();
        is_held
    }

    /// Stops a task that its owner still holds: nothing of it begins any more. Gives the reason for which its pieces fail: with it,
    /// [`list_begun`](Self::list_begun) and [`end_stopped`](Self::end_stopped) follow. `None` if there is no such task.
    #[must_use]
    pub(crate) fn begin_stop(&mut self, key: TaskKey, why: Stop) -> Option<Arc<Reason>> {
        let task = self.work.tasks.get_mut(key)?;
        let (before, reason) = (task.queued(), Reason::of_stop(why));
        if task.counts_waiting() {
            task.count_waiting(clock::now_ns());
        }
        task.stop(&reason, &mut self.work.trash);
        self.work.queue.changed(before, task.queued());
        self.work.ready.remove(key);
        self.wake_for_room();
        Some(reason)
    }

    /// Takes the pieces of a task that was stopped back from the workers that have not begun them, from this seat on, and
    /// lists the others. Gives the seat with which to go on in the next hold of the lock.
    #[must_use]
    pub(crate) fn list_begun(&mut self, key: TaskKey, mut from: usize, begun: &mut Vec<usize>) -> Option<usize> {
        while let Some(seat) = self.seats.sorted().next(Set::Busy, from) {
            if self.hold.is_spent() {
                return Some(seat);
            }
            from = seat + 1;
            if self.revoke_task_on(seat, key)
                && let Some(worker) = self.seats.worker(seat)
            {
                // They are known to have begun, so nothing takes them back any more.
                begun.extend(worker.link.pieces_of(key));
            }
        }
        None
    }

    /// What was not listed fails, and the workers that idle get other work.
    pub(crate) fn end_stopped(&mut self, key: TaskKey, begun: Vec<usize>, reason: &Arc<Reason>) {
        if let Some(task) = self.work.tasks.get_mut(key) {
            task.end_but(begun, reason, &mut self.wakes);
            task.drop_released(&mut self.work.trash);
        }
        self.replace_due();
        self.dispatch();
        // A piece that was taken back may be the one whose reply was to be signalled.
        self.keep_attention();
    }

    /// Ends a task: what has not begun never begins.
    #[inline(always)]
    pub(crate) fn close_task(&mut self, key: TaskKey) -> Closed {
        let Some(task) = self.work.tasks.get(key) else { return Closed { rest: None, is_held: false } };
        // Of a task that is over, none of its pieces is anywhere any more, unless it was cancelled.
        let is_held = task.held() > 0;
        if let Some(name) = &task.settings().name {
            self.work.names.add(name, task.totals(clock::now_ns()));
        }
        let (amount, deadline_ns) = (task.queued(), task.settings().deadline_ns);
        if task.done() < task.len() || self.work.ready.contains(key) {
            failpoint!("parent-task-closed");
            self.work.ready.remove(key);
        }
        self.work.queue.changed(amount, Waiting::default());
        self.wake_for_room();
        self.unregister(key);
        self.forget_deadline(key, deadline_ns);
        Closed { rest: self.work.tasks.close(key), is_held }
    }

    /// Takes the pieces of a task that has ended back from the workers, from this seat on; with `kill`, what runs is
    /// killed. Gives the seat with which to go on in the next hold of the lock.
    #[must_use]
    pub(crate) fn stop_task(&mut self, key: TaskKey, kill: bool, mut from: usize) -> Option<usize> {
        while let Some(seat) = self.seats.sorted().next(Set::Busy, from) {
            if self.hold.is_spent() {
                return Some(seat);
            }
            from = seat + 1;
            if self.revoke_task_on(seat, key) && kill {
                self.kill_running(seat, key);
            }
        }
        if self.holds_back {
            // A worker may be held back with what nobody wants any more.
            self.collect();
        }
        // Workers that are due may hold nothing any more.
        self.replace_due();
        self.dispatch();
        // A piece that was taken back may be the one whose reply was to be signalled.
        self.keep_attention();
        None
    }

    /// Takes the pieces of a task back that a worker has not begun. True if it holds others of it.
    fn revoke_task_on(&mut self, seat: usize, key: TaskKey) -> bool {
        let Some(worker) = self.seats.worker_mut(seat) else { return false };
        // A look at a piece is far less than what a piece costs, but there are a thousand in a worker.
        self.hold.spend_pieces(1 + worker.link.in_flight() / 16);
        if !worker.link.holds_piece_of(key) {
            return false;
        }
        worker.link.revoke_task(key);
        self.work.trash.add_all(worker.link.take_unwanted());
        let holds_others = worker.link.holds_piece_of(key);
        self.tell_seat(seat);
        holds_others
    }

    /// Kills a worker if it runs a piece of this task, and no other piece with it: the rest is revoked
    /// before, so it can begin none, and what it has answered by then was not running.
    fn kill_running(&mut self, seat: usize, key: TaskKey) {
        self.revoke_all(seat);
        self.collect_rest_from(seat);
        if let Some(worker) = self.seats.worker_mut(seat).filter(|worker| worker.link.holds_piece_of(key)) {
            let kill_by = worker.kill();
            self.see_to_kill(seat, kill_by);
        }
    }

    /// Takes everything back that a worker has not begun.
    pub(super) fn revoke_all(&mut self, seat: usize) {
        let Core { seats, work, hold, .. } = self;
        if let Some(worker) = seats.worker_mut(seat) {
            hold.spend_pieces(dispatch::revoke_all(worker, work));
        }
        self.tell_seat(seat);
    }

    /// The same for all pieces but the oldest.
    pub(super) fn revoke_younger(&mut self, seat: usize) {
        let Core { seats, work, hold, .. } = self;
        if let Some(worker) = seats.worker_mut(seat) {
            let younger = worker.link.in_flight().saturating_sub(1);
            hold.spend_pieces(dispatch::revoke_newest(worker, work, younger));
        }
    }

    /// Begins with what `revocations` lists; the supervisor goes on with it.
    pub(super) fn begin_revoking(&mut self) {
        if self.revoke_on() {
            self.alarm.wake_now();
        }
    }

    /// Workers that retire lose what they have not begun, and dead ones all but the oldest piece, as far as one hold of the
    /// lock allows. True if there is more to do.
    #[must_use]
    pub(crate) fn revoke_on(&mut self) -> bool {
        let mut any = false;
        while !self.hold.is_spent()
            && let Some((seat, generation)) = self.revocations.pop_front()
        {
            any = true;
            match self.seats.worker_of(seat, generation).map(|worker| worker.end().is_some()) {
                Some(true) => self.revoke_younger(seat),
                Some(false) => self.revoke_all(seat),
                None => {}
            }
        }
        if any && self.dispatch() {
            self.keep_attention();
        }
        !self.revocations.is_empty()
    }

    /// A worker that may live on is about to be reaped: it must not begin what goes to others.
    pub(super) fn withdraw_all(&mut self, seat: usize) {
        self.revoke_younger(seat);
        if let Some(worker) = self.seats.worker_mut(seat) {
            // False: it has begun the oldest, which is lost then.
            let _ = worker.link.withdraw_oldest();
        }
    }

    // Many tasks end.

    /// The pool ends by itself: every open piece fails, and nothing can be run any more.
    pub(crate) fn fail(&mut self, error: Error) {
        self.begin_sweep(Sweep::new(Reason::pool_failed(&error), true, false));
        self.phase.fail(error);
        self.lane.use_seat(None);
        self.wake_all();
    }

    /// The host has closed the descriptors of the pool: it ends, and what would close their numbers is never dropped.
    pub(crate) fn lose_descriptors(&mut self) {
        self.fail(Error::new(
            ErrorKind::System,
            "the pool ended: this program has closed descriptors that are the pool's",
        ));
        let workers = self.seats.len() - 1;
        let lost = (std::mem::replace(&mut self.seats, Seats::new(workers, 0)), std::mem::take(&mut self.reserve));
        std::mem::forget((lost, std::mem::replace(&mut self.server, ServerLink::Ended)));
        std::mem::forget((std::mem::take(&mut self.reaped), self.epolls.clone()));
    }

    /// The pool's owner ends it. With `kill`, what runs ends too; else it may come to its end. The owner carries out
    /// the [`sweep`](Self::sweep).
    pub(crate) fn close(&mut self, kill: bool) {
        if !self.phase.close(kill) {
            return;
        }
        failpoint!("parent-pool-closed");
        self.watched.end_news();
        self.lane.use_seat(None);
        self.begin_sweep(Sweep::new(Reason::shut_down(), kill, true));
        self.wake_all();
        self.tell_status();
    }

    /// What waits fails, and the pool goes on.
    pub(super) fn fail_all_waiting(&mut self, reason: Arc<Reason>) {
        // One that is under way takes along what was added behind it, or leaves it to the next. The supervisor comes here
        // in each of its turns while there is no worker, and sweeps then: an alarm would make the turns follow at once.
        if self.sweeps.is_empty() {
            self.sweeps.push_back(Sweep::new(reason, false, false));
        }
    }

    /// The supervisor goes on with it, if nobody else does.
    fn begin_sweep(&mut self, sweep: Sweep) {
        self.sweeps.push_back(sweep);
        self.alarm.wake_now();
    }

    /// Goes on with the ends that are under way, as far as one hold of the lock allows. True if there is more to do.
    #[must_use]
    pub(crate) fn sweep(&mut self) -> bool {
        let has_more = self.sweep_all();
        self.wake_for_room();
        has_more
    }

    fn sweep_all(&mut self) -> bool {
        while let Some(mut sweep) = self.sweeps.pop_front() {
            while !self.hold.is_spent() && !matches!(sweep.stage, Stage::Over) {
                sweep.stage = self.sweep_on(&sweep);
            }
            if !matches!(sweep.stage, Stage::Over) {
                self.sweeps.push_front(sweep);
                return true;
            }
        }
        false
    }

    /// One step of a sweep. Gives the next.
    fn sweep_on(&mut self, sweep: &Sweep) -> Stage {
        let Core { work, wakes, hold, delayed, seats, counts, .. } = self;
        let count = |failed: usize| if sweep.reason.is_failure() { failed as u64 } else { 0 };
        match sweep.stage {
            Stage::Delayed => {
                let pieces = delayed.take_due(u64::MAX, hold.pieces_left());
                if pieces.is_empty() {
                    return if sweep.revokes { Stage::Seats(0) } else { Stage::Tasks(0) };
                }
                hold.spend_pieces(pieces.len());
                counts.pieces_failed += count(pieces.len());
                for (key, piece) in pieces {
                    wakes.add(work.fail_one(key, piece, &sweep.reason));
                }
                Stage::Delayed
            }
            Stage::Seats(from) => match seats.sorted().next(Set::Busy, from) {
                None => Stage::Tasks(0),
                Some(seat) => {
                    hold.spend_pieces(1);
                    self.revoke_all(seat);
                    Stage::Seats(seat + 1)
                }
            },
            Stage::Tasks(slot) if slot >= work.tasks.slots() => Stage::Over,
            Stage::Tasks(slot) => {
                hold.spend_pieces(1);
                let Some((key, task)) = work.tasks.in_slot(slot) else { return Stage::Tasks(slot + 1) };
                let before = task.queued();
                if sweep.all {
                    task.end(&sweep.reason, wakes, &mut work.trash);
                    work.queue.changed(before, task.queued());
                } else {
                    let failed = task.fail_waiting(&sweep.reason, hold.pieces_left(), wakes, &mut work.trash);
                    hold.spend_pieces(failed);
                    counts.pieces_failed += count(failed);
                    work.queue.changed(before, task.queued());
                    if task.waits() {
                        return Stage::Tasks(slot);
                    }
                }
                work.ready.remove(key);
                Stage::Tasks(slot + 1)
            }
            Stage::Over => Stage::Over,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed(_))
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// True if the pool has come to its end, and only its processes are left to be ended.
    pub(crate) fn is_over(&mut self) -> bool {
        match self.phase {
            Phase::Open | Phase::Failed(_) => false,
            Phase::Closing => self.dismiss() || self.server.is_absent(),
            Phase::Closed => true,
        }
    }

    /// While the pool closes: dismisses the workers that have nothing left to do. True once all are gone.
    pub(crate) fn dismiss(&mut self) -> bool {
        let mut are_gone = true;
        let now_ns = clock::now_ns();
        for seat in 0..self.seats.len() {
            let Some(worker) = self.seats.worker_mut(seat) else { continue };
            are_gone = false;
            if worker.link.is_idle() && !worker.dismiss(now_ns) {
                // It has not read yet what was taken back, and does not signal when it has.
                self.alarm.wake_by(now_ns + RETRY_NS);
            }
        }
        are_gone
    }

    /// After the pool was closed: dismisses the workers that have nothing left to do, and gives their pidfds.
    #[must_use]
    pub(crate) fn dismiss_idle(&mut self) -> Vec<Arc<Descriptor>> {
        let now_ns = clock::now_ns();
        let idle = self.seats.workers_mut().filter(|worker| worker.link.is_idle());
        let leaving = idle.filter_map(|worker| {
            let _ = worker.dismiss(now_ns);
            worker.pidfd().cloned()
        });
        leaving.collect()
    }

    /// Every waiter has something to look at.
    pub(super) fn wake_all(&mut self) {
        let Core { waiters, wakes, .. } = self;
        for waiter in waiters.iter() {
            wakes.add(Wake::of(&waiter.unparker));
        }
    }
}

/// The error of a piece that is handed out after its task was cancelled, or after its deadline.
pub(super) fn ended(settings: &TaskSettings, label: PieceLabel) -> Error {
    let is_late = settings.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= clock::now_ns());
    let reason = if is_late { Reason::past_deadline() } else { Reason::cancelled() };
    reason.error(label, 0)
}
