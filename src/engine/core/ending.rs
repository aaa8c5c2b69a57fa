//! How tasks and pools end: cancelled, closed, failed, shut down.

use super::dispatch;
use super::seat::Seats;
use super::task_state::TaskState;
use super::{Core, Phase, ServerLink};
use crate::backend::TaskKey;
use crate::engine::unpark::Wake;
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::failpoint::failpoint;
use crate::sys::clock;
use crate::sys::descriptors::Descriptor;
use std::sync::Arc;

impl Core {
    /// Cancels a task that its owner still holds: what has not begun never begins, what runs is killed, and
    /// all of it fails.
    pub(crate) fn cancel_task(&mut self, key: TaskKey) {
        let Some(task) = self.work.tasks.get_mut(key) else { return };
        task.cancel();
        task.fail_open(&mut self.wakes, cancelled);
        self.stop_task(key, true);
    }

    /// Ends a task: what has not begun never begins; with `kill`, what runs is killed. Gives what is left of
    /// it, to be dropped without the lock.
    pub(crate) fn close_task(&mut self, key: TaskKey, kill: bool) -> Option<Box<TaskState>> {
        let task = self.work.tasks.get(key)?;
        // None of its pieces is anywhere any more.
        let was_over = task.done() == task.len() && !self.work.ready.contains(key);
        let rest = self.work.tasks.close(key);
        if !was_over {
            failpoint!("parent-task-closed");
            self.stop_task(key, kill);
        }
        rest
    }

    /// Takes a task's pieces back from workers, and with `kill` ends what runs too.
    fn stop_task(&mut self, key: TaskKey, kill: bool) {
        self.work.ready.remove(key);
        self.delayed.forget(key);
        for seat in 0..self.seats.len() {
            let Some(worker) = self.seats.worker_mut(seat) else { continue };
            if worker.link.holds_piece_of(key) {
                worker.link.revoke_task(key);
                if kill && worker.link.holds_piece_of(key) {
                    self.kill_running(seat, key);
                }
            }
        }
        if self.dispatch() {
            self.keep_attention();
        }
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
        let Core { seats, work, .. } = self;
        if let Some(worker) = seats.worker_mut(seat) {
            dispatch::revoke_all(worker, work);
        }
    }

    /// The same for all pieces but the oldest.
    pub(super) fn revoke_younger(&mut self, seat: usize) {
        let Core { seats, work, .. } = self;
        if let Some(worker) = seats.worker_mut(seat) {
            let younger = worker.link.in_flight().saturating_sub(1);
            dispatch::revoke_newest(worker, work, younger);
        }
    }

    /// The pool ends by itself: every open piece fails, and nothing can be run any more.
    pub(crate) fn fail(&mut self, error: Error) {
        let Core { work, wakes, delayed, .. } = self;
        let (kind, cause, message) = (error.kind(), error.cause(), error.to_string());
        for task in work.tasks.iter_mut() {
            task.fail_open(wakes, |label| {
                let error = Error::new(kind, format!("never ended: {message}")).with_piece(label, 0);
                match cause {
                    Some(cause) => error.with_cause(cause),
                    None => error,
                }
            });
        }
        work.ready.clear();
        drop(delayed.take_all());
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
        let seats = self.seats.len();
        let lost = (std::mem::replace(&mut self.seats, Seats::new(seats)), std::mem::take(&mut self.reserve));
        std::mem::forget((lost, std::mem::replace(&mut self.server, ServerLink::Ended)));
        std::mem::forget((std::mem::take(&mut self.reaped), self.epolls.clone()));
    }

    /// The pool's owner ends it. With `kill`, what runs ends too; else it may come to its end.
    pub(crate) fn close(&mut self, kill: bool) {
        if !self.phase.close(kill) {
            return;
        }
        failpoint!("parent-pool-closed");
        self.lane.use_seat(None);
        for (key, piece) in self.delayed.take_all() {
            self.work.take_back_waiting(key, piece);
        }
        for seat in 0..self.seats.len() {
            self.revoke_all(seat);
        }
        let Core { work, wakes, .. } = self;
        work.ready.clear();
        for task in work.tasks.iter_mut() {
            if kill { task.fail_open(wakes, shut_down) } else { task.fail_waiting(wakes, shut_down) }
        }
        self.wake_all();
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
        for worker in self.seats.workers_mut() {
            are_gone = false;
            if worker.link.is_idle() {
                worker.dismiss(now_ns);
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
            worker.dismiss(now_ns);
            worker.pidfd().cloned()
        });
        leaving.collect()
    }

    /// Every waiter has something to look at.
    fn wake_all(&mut self) {
        let Core { waiters, wakes, .. } = self;
        for waiter in waiters.iter() {
            wakes.add(Wake::of(&waiter.unparker));
        }
    }
}

/// The error of a piece whose task was cancelled.
pub(super) fn cancelled(label: PieceLabel) -> Error {
    Error::new(ErrorKind::Cancelled, "was cancelled").with_piece(label, 0)
}

/// The error of a piece whose pool has ended.
pub(super) fn shut_down(label: PieceLabel) -> Error {
    Error::new(ErrorKind::Cancelled, "was cancelled: its pool was shut down").with_piece(label, 0)
}
