//! How the system treats the processes of a pool.
//!
//! Invariant: what makes no sense is refused by `build`, before any process is started.

use crate::error::{Error, ErrorKind};
use crate::pool::builder::PoolBuilder;

/// What Linux knows, from the most favoured processes to those that everything else goes before.
const NICENESS: std::ops::RangeInclusive<i32> = -20..=19;

/// The settings, as they were given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Processes {
    niceness: Option<i32>,
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
}
