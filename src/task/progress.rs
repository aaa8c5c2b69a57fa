//! How far a task has come, told to its owner while it runs.
//!
//! | thread               | does                                                                                     |
//! |----------------------|------------------------------------------------------------------------------------------|
//! | `multicore-progress` | asks the backend ten times a second, and calls the callback where there is something new |
//! | the task's owner     | ends it, and waits for its last call; without a pool it makes the calls itself            |
//!
//! Invariant: the callback runs on one of these threads at a time, never with a lock of the pool, and its last call has the final counts.

use crate::backend::{Backend, Counts, TaskKey};
use crate::sys::process;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// People see a tenth of a second, and a look takes some microseconds.
const EACH: Duration = Duration::from_millis(100);

/// Where nothing has changed, the time has.
const QUIET_EACH: Duration = Duration::from_secs(1);

/// How far a task has come: what the callback of [`Task::progress`](crate::Task::progress) gets, and
/// [`Watch::progress`](crate::Watch::progress) gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    counts: Counts,
    elapsed: Duration,
}

impl Progress {
    pub(super) fn of(counts: Counts, elapsed: Duration) -> Progress {
        Progress { counts, elapsed }
    }

    /// The pieces that were handed out so far.
    #[must_use]
    pub fn total(&self) -> usize {
        self.counts.total
    }

    /// Those that are done. They include [`resumed`](Self::resumed) ones, and not [`failed`](Self::failed) ones.
    #[must_use]
    pub fn done(&self) -> usize {
        self.counts.done
    }

    /// Those that have ended in an error.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.counts.failed
    }

    /// Those that workers run at this moment.
    #[must_use]
    pub fn running(&self) -> usize {
        self.counts.running
    }

    /// How many times a piece was started again because its worker was lost.
    #[must_use]
    pub fn retried(&self) -> usize {
        self.counts.retried
    }

    /// The pieces that had their result from an earlier run, by a journal.
    #[must_use]
    pub fn resumed(&self) -> usize {
        self.counts.resumed
    }

    /// The bytes of the results that have come.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.counts.bytes
    }

    /// The time since the callback was set, or since the task's first [`watch`](crate::Task::watch) was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The pieces a second that have ended, without those of an earlier run; 0 before the first one.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let ended = (self.counts.done + self.counts.failed).saturating_sub(self.counts.resumed);
        if self.elapsed.is_zero() { 0.0 } else { ended as f64 / self.elapsed.as_secs_f64() }
    }

    /// The time until all that was handed out has ended, at the rate so far; `None` before the first piece has ended.
    #[must_use]
    pub fn eta(&self) -> Option<Duration> {
        let left = self.counts.total.saturating_sub(self.counts.done + self.counts.failed);
        if left == 0 {
            return Some(Duration::ZERO);
        }
        let rate = self.rate();
        // A time beyond what a duration holds is as good as unknown.
        if rate > 0.0 { Duration::try_from_secs_f64(left as f64 / rate).ok() } else { None }
    }
}

type Callback = Box<dyn FnMut(&Progress) + Send>;

/// The callback, and when it was called.
struct Calls {
    /// `None` once it has panicked: it is not called any more.
    callback: Option<Callback>,
    began: Instant,
    last: Option<(Counts, Instant)>,
}

impl Calls {
    /// Calls it if there is something new, or if this `is_last`.
    fn call(&mut self, counts: Counts, is_last: bool) {
        let now = Instant::now();
        let is_new = self.last.is_none_or(|(before, at)| {
            let wait = if before == counts { QUIET_EACH } else { EACH };
            now.duration_since(at) >= wait
        });
        let Some(callback) = self.callback.as_mut().filter(|_| is_new || is_last) else { return };
        self.last = Some((counts, now));
        let progress = Progress { counts, elapsed: now.duration_since(self.began) };
        if catch_unwind(AssertUnwindSafe(|| callback(&progress))).is_err() {
            self.callback = None;
        }
    }
}

/// What the thread and the task's owner share.
struct Shared {
    backend: Mutex<Arc<dyn Backend>>,
    key: TaskKey,
    calls: Mutex<Calls>,
    /// The final counts, once the task has ended.
    end: Mutex<Option<Counts>>,
    ended: Condvar,
}

/// The calls of one task.
pub(super) struct Reporter {
    shared: Arc<Shared>,
    /// `None` where the owner makes the calls, and once it has ended.
    thread: Option<JoinHandle<()>>,
    runs_in_caller: bool,
    /// A child that is forked has no such thread.
    process: process::Number,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl Reporter {
    pub(super) fn new(backend: Arc<dyn Backend>, key: TaskKey, callback: Callback) -> Reporter {
        let runs_in_caller = backend.runs_in_caller();
        let calls = Calls { callback: Some(callback), began: Instant::now(), last: None };
        let shared = Arc::new(Shared {
            backend: Mutex::new(backend),
            key,
            calls: Mutex::new(calls),
            end: Mutex::new(None),
            ended: Condvar::new(),
        });
        let thread = if runs_in_caller { None } else { start(Arc::clone(&shared)) };
        Reporter { shared, thread, runs_in_caller, process: process::number() }
    }

    /// The task has another backend from here on.
    #[cfg(feature = "journal")]
    pub(super) fn follow(&self, backend: &Arc<dyn Backend>) {
        *self.shared.backend.lock() = Arc::clone(backend);
    }

    /// A piece has run on this thread.
    pub(super) fn piece_ended(&self) {
        if self.runs_in_caller {
            let counts = self.shared.counts();
            self.shared.calls.lock().call(counts, false);
        }
    }

    /// The task has ended: makes the last call, and waits for it.
    pub(super) fn end(&mut self) {
        if !process::is_current(self.process) {
            return;
        }
        if let Some(thread) = self.thread.take() {
            *self.shared.end.lock() = Some(self.shared.counts());
            self.shared.ended.notify_one();
            // It catches what the callback panics with.
            let _ = thread.join();
        } else if self.shared.end.lock().is_none() {
            let counts = self.shared.counts();
            *self.shared.end.lock() = Some(counts);
            self.shared.calls.lock().call(counts, true);
        }
    }
}

impl Shared {
    fn counts(&self) -> Counts {
        let backend = Arc::clone(&self.backend.lock());
        backend.counts(self.key)
    }
}

/// `None` where no thread can be made: then the owner makes the last call, and no other comes.
fn start(shared: Arc<Shared>) -> Option<JoinHandle<()>> {
    let run = move || {
        let mut end = shared.end.lock();
        let last = loop {
            if let Some(counts) = *end {
                break counts;
            }
            if shared.ended.wait_for(&mut end, EACH).timed_out() {
                drop(end);
                let counts = shared.counts();
                if counts.total > 0 {
                    shared.calls.lock().call(counts, false);
                }
                end = shared.end.lock();
            }
        };
        drop(end);
        shared.calls.lock().call(last, true);
        // It may hold what its owner waits for.
        shared.calls.lock().callback = None;
    };
    std::thread::Builder::new().name("multicore-progress".to_string()).spawn(run).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_leave_earlier_runs_out() {
        let none = Counts::default();
        // total, done, failed, resumed, seconds; rate and time left.
        for ((total, done, failed, resumed, seconds), rate, eta) in [
            ((0, 0, 0, 0, 0), 0.0, Some(0)),
            ((10, 0, 0, 0, 5), 0.0, None),
            ((10, 5, 0, 0, 0), 0.0, None),
            ((10, 4, 1, 0, 5), 1.0, Some(5)),
            ((100, 60, 0, 50, 5), 2.0, Some(20)),
            ((100, 50, 0, 50, 5), 0.0, None),
            ((100, 99, 1, 50, 5), 10.0, Some(0)),
        ] {
            let counts = Counts { total, done, failed, resumed, ..none };
            let told = Progress::of(counts, Duration::from_secs(seconds));
            assert_eq!((told.rate(), told.eta()), (rate, eta.map(Duration::from_secs)), "{told:?}");
        }
    }

    #[test]
    fn what_has_not_changed_is_told_once_a_second_and_a_panic_ends_it() {
        let made = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&made);
        let callback = Box::new(move |progress: &Progress| {
            noted.lock().push(progress.done());
            assert!(progress.done() < 7, "no more");
        });
        let mut calls = Calls { callback: Some(callback), began: Instant::now(), last: None };
        let counts = |done| Counts { total: 9, done, ..Counts::default() };
        calls.call(counts(1), false);
        calls.call(counts(1), false);
        // Too soon.
        calls.call(counts(2), false);
        let ago = |calls: &mut Calls, time| calls.last = calls.last.map(|(counts, at)| (counts, at - time));
        ago(&mut calls, EACH);
        calls.call(counts(1), false);
        calls.call(counts(3), false);
        ago(&mut calls, QUIET_EACH);
        calls.call(counts(3), false);
        calls.call(counts(3), true);
        for done in [7, 4] {
            calls.call(counts(done), true);
        }
        assert_eq!(*made.lock(), [1, 3, 3, 3, 7]);
    }
}
