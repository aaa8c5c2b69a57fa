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
use super::work::Work;
use crate::backend::TaskKey;
use crate::sys::clock;

/// How often a noisy log is read. With a tenth, the supervisor would wake up 500 times a second for it; with ten times, a worker that writes
/// 100,000 records a second would fill its ring in between.
const EACH_NS: u64 = 20_000_000;

/// What was read of a worker's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Nothing,
    All,
    /// The lock was held for long enough.
    Part,
}

impl Core {
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
        let read = self.take_logs_of(seat);
        if read == Read::Nothing {
            return;
        }
        let is_new = self.logs.noisy.insert(seat);
        if read == Read::Part {
            self.logs.next_ns = 0;
        } else if is_new && self.logs.noisy.len() == 1 {
            self.logs.next_ns = clock::now_ns() + EACH_NS;
        }
        if is_new || read == Read::Part {
            self.alarm.wake_by(self.logs.next_ns);
        }
    }

    /// Takes what a worker has logged, as far as one hold of the lock allows.
    fn take_logs_of(&mut self, seat: usize) -> Read {
        let mut read = Read::Nothing;
        loop {
            match self.take_some_logs_of(seat) {
                None => return read,
                Some(false) => return Read::All,
                Some(true) if self.hold.is_spent() => return Read::Part,
                Some(true) => read = Read::All,
            }
        }
    }

    /// Takes some of it. `None` if there is nothing; else whether there may be more.
    fn take_some_logs_of(&mut self, seat: usize) -> Option<bool> {
        let worker = self.seats.worker_mut(seat).filter(|worker| !worker.is_distrusted())?;
        let read = worker.link.take_logs();
        self.hold.spend(worker.link.take_copied());
        match read {
            Ok(read) => {
                let read = read?;
                let has_more = read.has_more;
                self.work.outgoing.add_logs(read);
                self.act_on_logs();
                Some(has_more)
            }
            Err(_) => {
                let kill_by = worker.distrust();
                self.see_to_kill(seat, kill_by);
                None
            }
        }
    }

    /// The supervisor starts the thread, if it is needed, and is awake when the first piece has been held for long enough.
    #[inline]
    pub(super) fn act_on_logs(&mut self) {
        self.act_on_outgoing();
        if let Some(due_ns) = self.logs.due_ns.take() {
            self.alarm.wake_by(due_ns);
        }
    }

    /// A worker has ended: its last records come before the error of the piece that it ran.
    pub(super) fn take_last_logs_of(&mut self, seat: usize) {
        // No more than its ring holds: it writes no more.
        while self.take_some_logs_of(seat) == Some(true) {}
        let Some(link) = self.seats.worker(seat).map(|worker| &worker.link) else { return };
        if let (Some(lane), Some(piece)) = (link.lane().cloned(), link.oldest_piece()) {
            let Work { tasks, outgoing, .. } = &mut self.work;
            self.logs.hold(piece, tasks.get_mut(piece.0), &lane, outgoing);
            self.act_on_logs();
        }
        self.logs.noisy.remove(&seat);
    }

    /// The pool has ended: takes what one worker has logged last, and gives the seat of the next one.
    pub(crate) fn take_rest_of_logs(&mut self, seat: usize) -> Option<usize> {
        match self.take_logs_of(seat) {
            Read::Part => Some(seat),
            _ => (seat + 1 < self.seats.len()).then_some(seat + 1),
        }
    }

    /// The logger gets no more: all that waited for it goes on.
    pub(crate) fn give_up_logs(&mut self) {
        self.logs.give_up();
        self.logs_were_told();
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
            let mut from = 0;
            while let Some(&seat) = self.logs.noisy.range(from..).next() {
                from = seat + 1;
                match self.take_logs_of(seat) {
                    Read::All => {}
                    // The rest, and other seats, in the next hold of the lock.
                    Read::Part => self.logs.next_ns = 0,
                    Read::Nothing if self.is_quiet_no_more(seat) => {}
                    Read::Nothing => _ = self.logs.noisy.remove(&seat),
                }
                if self.hold.is_spent() {
                    self.logs.next_ns = 0;
                    break;
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
        self.take_logs_of(seat) != Read::Nothing
    }

    /// Wakes the callers that were given nothing because the logger had not had what came before. Gives when the first piece that is still held has
    /// been held for long enough.
    pub(crate) fn logs_were_told(&mut self) -> Option<u64> {
        if self.logs.waiting.is_empty() {
            return None;
        }
        // First, so that what is delivered after the look below is told.
        self.work.outgoing.way.await_delivery();
        let now_ns = clock::now_ns();
        let mut next_ns = None;
        let Core { logs, work, wakes, .. } = self;
        logs.waiting.retain(|&key| {
            let Some(task) = work.tasks.get_mut(key) else { return false };
            let due_ns = task.held_until_ns(now_ns);
            wakes.add(task.logs_were_told());
            next_ns = next_ns.into_iter().chain(due_ns).min();
            due_ns.is_some()
        });
        if let Some(next_ns) = next_ns {
            self.alarm.wake_by(next_ns);
        }
        next_ns
    }

    /// How many pieces of a task its caller may have now, from this one on.
    #[inline]
    pub(super) fn may_give_by_logs(&mut self, key: TaskKey, from: usize) -> Option<usize> {
        if self.logs.waiting.is_empty() { Some(usize::MAX) } else { self.count_by_logs(key, from) }
    }

    #[cold]
    fn count_by_logs(&mut self, key: TaskKey, from: usize) -> Option<usize> {
        let task = self.work.tasks.get_mut(key)?;
        if self.work.outgoing.way.is_own_thread() {
            // The logger itself collects.
            task.hold_no_piece();
        }
        Some(task.pieces_not_held(from, clock::now_ns)).filter(|&count| count > 0)
    }
}
