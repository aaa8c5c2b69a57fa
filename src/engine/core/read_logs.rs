//! Records of the log: when they are read from the workers, and which tasks wait until the program's logger has had them.
//!
//! | a worker's log   | it signals                              | is read                                                        |
//! |------------------|-----------------------------------------|----------------------------------------------------------------|
//! | quiet            | the next record                         | at that signal; it is *noisy* then                             |
//! | noisy            | only that its ring fills                | each [`EACH_NS`]; if nothing came, it is asked to signal, read once more, and quiet |
//! | either           | by a flag of a reply, or of a part      | before that counts                                             |
//! | its worker ended |                                         | before its pieces are returned                                 |
//!
//! Invariant: a noisy log is read again within [`EACH_NS`].

use super::Core;
use super::logs::level;
use crate::backend::TaskKey;
use crate::engine::link::LogsRead;
use crate::engine::logs::Logs;
use crate::sys::clock;
use std::sync::Arc;

/// How often a noisy log is read. With a tenth, the supervisor would wake up 500 times a second for it; with ten times, a worker that writes
/// 100,000 records a second would fill its ring in between.
const EACH_NS: u64 = 20_000_000;

impl Core {
    /// What is on its way to the logger.
    pub(crate) fn logs(&self) -> &Arc<Logs> {
        &self.logs.way
    }

    /// Workers take the level for what they begin from now on.
    #[inline]
    pub(super) fn follow_log_level(&mut self) {
        if level() != self.logs.level {
            self.tell_log_level();
        }
    }

    #[cold]
    fn tell_log_level(&mut self) {
        self.logs.level = level();
        let level = self.logs.level;
        self.seats.workers_mut().for_each(|worker| worker.link.tell_log_level(level));
    }

    /// A worker has signalled: reads its log.
    pub(super) fn read_log_of(&mut self, seat: usize) {
        if self.take_logs_of(seat) && self.logs.noisy.insert(seat) {
            if self.logs.noisy.len() == 1 {
                self.logs.next_ns = clock::now_ns() + EACH_NS;
            }
            self.alarm.wake_by(self.logs.next_ns);
        }
    }

    /// Takes what a worker has logged. True if that was anything.
    fn take_logs_of(&mut self, seat: usize) -> bool {
        let Some(worker) = self.seats.worker_mut(seat).filter(|worker| !worker.is_distrusted()) else { return false };
        let read = worker.link.take_logs();
        self.hold.spend(worker.link.take_copied());
        match read {
            Ok(None) => false,
            Ok(Some(read)) => {
                self.add_logs(read);
                true
            }
            Err(_) => {
                let kill_by = worker.distrust();
                self.see_to_kill(seat, kill_by);
                false
            }
        }
    }

    fn add_logs(&mut self, read: LogsRead) {
        self.logs.add(read);
        self.want_log_thread();
    }

    /// The supervisor starts the thread, if it is needed.
    #[inline]
    pub(super) fn want_log_thread(&mut self) {
        if std::mem::take(&mut self.logs.needs_thread) {
            self.alarm.wake_now();
        }
    }

    /// A worker has ended: its last records come before the error of the piece that it ran.
    pub(super) fn take_last_logs_of(&mut self, seat: usize) {
        self.take_logs_of(seat);
        let Some(link) = self.seats.worker(seat).map(|worker| &worker.link) else { return };
        if let (Some(lane), Some((key, _))) = (link.lane().cloned(), link.oldest_piece()) {
            self.logs.await_by(key, self.work.tasks.get_mut(key), &lane);
        }
        self.logs.noisy.remove(&seat);
    }

    /// The pool has ended: takes what one worker has logged last, and gives the seat of the next one.
    pub(crate) fn take_rest_of_logs(&mut self, seat: usize) -> Option<usize> {
        self.take_logs_of(seat);
        (seat + 1 < self.seats.len()).then_some(seat + 1)
    }

    /// The supervisor reads noisy logs, and tells tasks of what they wait for no more. Gives when it must do so again.
    pub(crate) fn see_to_logs(&mut self) -> Option<u64> {
        let tasks_due_ns = self.logs_were_told();
        if self.logs.noisy.is_empty() {
            return tasks_due_ns;
        }
        let now_ns = clock::now_ns();
        if now_ns >= self.logs.next_ns {
            self.logs.next_ns = now_ns + EACH_NS;
            for seat in std::mem::take(&mut self.logs.noisy) {
                if self.take_logs_of(seat) || self.is_quiet_no_more(seat) {
                    self.logs.noisy.insert(seat);
                }
            }
        }
        let next_ns = (!self.logs.noisy.is_empty()).then_some(self.logs.next_ns);
        tasks_due_ns.into_iter().chain(next_ns).min()
    }

    /// A log has nothing new: it is quiet, unless a record comes before its worker knows that it must signal that.
    fn is_quiet_no_more(&mut self, seat: usize) -> bool {
        if let Some(worker) = self.seats.worker_mut(seat) {
            worker.link.ask_for_logs();
        }
        self.take_logs_of(seat)
    }

    /// Wakes the callers of tasks that wait for records no more. Gives when the first other one has waited for long enough.
    pub(crate) fn logs_were_told(&mut self) -> Option<u64> {
        if self.logs.waiting.is_empty() {
            return None;
        }
        // First, so that what is delivered after the look below is told.
        self.logs.way.await_delivery();
        let mut next_ns = None;
        let Core { logs, work, wakes, .. } = self;
        logs.waiting.retain(|&key| {
            let Some(task) = work.tasks.get_mut(key) else { return false };
            let Some(due_ns) = task.logs_due_ns(clock::now_ns) else {
                wakes.add(task.logs_were_told());
                return false;
            };
            next_ns = next_ns.into_iter().chain([due_ns]).min();
            true
        });
        if let Some(next_ns) = next_ns {
            self.alarm.wake_by(next_ns);
        }
        next_ns
    }

    /// True if the logger has had what comes before a task's next outcome, or has taken too long.
    #[inline]
    pub(crate) fn has_told_logs(&mut self, key: TaskKey) -> bool {
        self.logs.waiting.is_empty() || self.has_told_logs_of(key)
    }

    #[cold]
    fn has_told_logs_of(&mut self, key: TaskKey) -> bool {
        let Some(task) = self.work.tasks.get_mut(key) else { return true };
        let Some(due_ns) = task.logs_due_ns(clock::now_ns) else { return true };
        if self.logs.way.is_own_thread() {
            // The logger itself collects.
            task.await_no_logs();
            return true;
        }
        self.alarm.wake_by(due_ns);
        false
    }
}
