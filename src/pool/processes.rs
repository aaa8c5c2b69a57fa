//! How the system treats the processes of a pool.
//!
//! Invariant: what makes no sense is refused by `build`, before any process is started.

use crate::error::{Error, ErrorKind};
use crate::pool::builder::PoolBuilder;
use std::time::Duration;

/// What Linux knows, from the most favoured processes to those that everything else goes before.
const NICENESS: std::ops::RangeInclusive<i32> = -20..=19;

/// The settings, as they were given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Processes {
    niceness: Option<i32>,
    idle_timeout: Option<Duration>,
}

impl Processes {
    pub(super) fn niceness(self) -> Result<Option<i32>, Error> {
        match self.niceness {
            Some(niceness) if !NICENESS.contains(&niceness) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "a niceness of {niceness} makes no sense: give -20 to 19, or leave nice out for that of this program"
                ),
            )),
            niceness => Ok(niceness),
        }
    }

    pub(super) fn idle_timeout_ns(self) -> Result<Option<u64>, Error> {
        match self.idle_timeout {
            Some(Duration::ZERO) => Err(Error::new(
                ErrorKind::Config,
                "workers that end once they have been idle for 0 s make no sense: leave idle_timeout out, or give more",
            )),
            // What no clock can reach is no limit.
            timeout => Ok(timeout.and_then(|it| u64::try_from(it.as_nanos()).ok()).filter(|&ns| ns <= u64::MAX / 2)),
        }
    }
}

impl PoolBuilder {
    /// The niceness of each worker and of what it starts, from -20 to 19: with 19, workers run where nothing else wants the processors.
    /// Default: that of the thread which makes the pool, at that moment.
    ///
    /// It is the number itself, as `ps` shows it, not a difference to that of this program. A higher one than this program has is
    /// always allowed. A lower one needs CAP_SYS_NICE, or a limit that allows it (RLIMIT_NICE, setrlimit(2)): else `build` fails with
    /// [`System`](ErrorKind::System). It is the same in every later worker, also after this program has given up such rights. The fork server keeps this program's, so that
    /// it notices deaths at once. Where the kernel gives each session its share (autogroup, sched(7)), the niceness counts among the processes
    /// of one session. Other numbers are refused.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// // Work that must not slow down what this machine also does.
    /// let pool = multicore::Pool::builder().workers(2).nice(19).build()?;
    /// let task = pool.try_task::<usize>()?;
    /// task.run(|a: usize, b: usize| a + b, 1, 2);
    /// assert_eq!(task.get()?, [3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn nice(mut self, niceness: i32) -> Self {
        self.processes.niceness = Some(niceness);
        self
    }

    /// How long a worker may be idle; then it ends, and its memory goes back to the system. Default: it waits for ever. Zero is refused.
    ///
    /// It ends in order: [`on_worker_exit`](Self::on_worker_exit) runs, for which it has two seconds. The fork server stays, with what
    /// [`preload`](Self::preload) has loaded, and when pieces wait again it forks as many workers as there is work for, each in about a millisecond and the time
    /// of [`on_worker_start`](Self::on_worker_start). A piece that comes while all workers are ending waits for the first of them. What a worker keeps from
    /// piece to piece, such as a connection, ends with it.
    ///
    /// [`Pool::workers`](crate::Pool::workers) stays the same. Such an end is neither a loss nor a replacement: it counts in [`Stats::workers_idle_ended`], and the worker is
    /// [`Ended`](crate::WorkerState::Ended) meanwhile. A worker may be idle for up to a quarter longer. Once all have ended, nothing of the pool wakes
    /// by itself.
    ///
    /// [`Stats::workers_idle_ended`]: crate::Stats::workers_idle_ended
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = multicore::Pool::builder().workers(2).idle_timeout(Duration::from_secs(60)).build()?;
    /// let task = pool.try_task::<usize>()?;
    /// task.run(|a: usize, b: usize| a + b, 1, 2);
    /// assert_eq!(task.get()?, [3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.processes.idle_timeout = Some(timeout);
        self
    }
}
