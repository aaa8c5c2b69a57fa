//! A pool as its user holds it.

pub(crate) mod builder;
mod environment;
mod failed;
mod gate;
pub(crate) mod global;
pub(crate) mod memory;
mod processes;
pub(crate) mod ranges;
mod timeline;

use self::gate::load::Gate;
use self::ranges::Ranges;
use crate::backend::{Backend, PoolSettings, TaskKey, Workers, inline};
use crate::codec::state::StateType;
use crate::codec::value::Value;
use crate::error::Error;
use crate::stats::Stats;
use crate::task::Task;
use crate::task::map::Map;
use std::sync::Arc;

/// Pieces for each worker in [`ranges`](crate::ranges()): enough that an uneven one does not matter.
const PIECES_A_WORKER: usize = 4;

/// A number of worker processes, which stays as it is unless [`resize`](Pool::resize) changes it.
///
/// Most programs need none of their own: [`Task::new`] uses the global pool. A pool of its own has
/// its own settings and workers. Dropping it kills what runs; [`shutdown`](Pool::shutdown) lets
/// running pieces end. Either returns when no process of the pool is left.
///
/// ```
/// # fn main() -> Result<(), multicore::Error> {
/// let pool = multicore::Pool::builder().workers(2).build()?;
/// let task = pool.try_task::<u64>()?;
/// for (start, end) in pool.ranges(1000) {
///     task.run(|start, end| (start..end).sum::<usize>() as u64, start, end);
/// }
/// assert_eq!(task.get()?.iter().sum::<u64>(), 499_500);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pool {
    workers: Arc<dyn Workers>,
    gate: Option<Gate>,
    /// It has a limit of what must be available.
    leaves_memory: bool,
    /// What its workers make for pieces that ask.
    state: Option<StateType>,
    /// It holds for tasks without workers, too.
    max_result_bytes: Option<u64>,
    /// Set by `shutdown`: dropping the pool then has nothing to kill.
    ended: bool,
}

impl Pool {
    fn new(workers: Arc<dyn Workers>, gate: Option<Gate>, settings: &PoolSettings, state: Option<StateType>) -> Self {
        let leaves_memory = settings.memory.min_available.is_some();
        Pool { workers, gate, leaves_memory, state, max_result_bytes: settings.max_result_bytes, ended: false }
    }

    /// A task of this pool. `None` while a limit that you set says that the machine is busy, and once the pool has ended:
    /// [`try_task`](Self::try_task) says which.
    #[must_use]
    pub fn task<R: Value>(&self) -> Option<Task<R>> {
        self.try_task().ok()
    }

    /// A task of this pool.
    ///
    /// # Errors
    /// [`Busy`](crate::ErrorKind::Busy) while the machine's load is at or above the pool's limit, less
    /// memory is available than its [`min_available_memory`](builder::PoolBuilder::min_available_memory), or more pieces wait than its
    /// [`max_pieces_waiting`](builder::PoolBuilder::max_pieces_waiting);
    /// [`Cancelled`](crate::ErrorKind::Cancelled) once the pool has been shut down, or the error that
    /// ended it.
    pub fn try_task<R: Value>(&self) -> Result<Task<R>, Error> {
        let (backend, key) = self.open_task()?;
        Ok(Task::opened(backend, key).with_state(self.state))
    }

    /// Opens a task, if nothing forbids it now.
    #[inline]
    pub(crate) fn open_task(&self) -> Result<(Arc<dyn Backend>, TaskKey), Error> {
        if let Some(gate) = &self.gate {
            // First, or a busy machine would hide that the pool is another process's.
            self.workers.check_process()?;
            gate.check()?;
        }
        if self.leaves_memory {
            self.workers.check_memory()?;
        }
        self.open_task_anyhow()
    }

    /// Opens a task, however busy the machine is.
    #[inline]
    pub(crate) fn open_task_anyhow(&self) -> Result<(Arc<dyn Backend>, TaskKey), Error> {
        let key = self.workers.open_task()?;
        Ok((Arc::clone(&self.workers) as _, key))
    }

    /// A task of this pool, or one whose pieces run in this process where
    /// [`task`](Pool::task) gives `None`.
    pub fn task_or_inline<R: Value>(&self) -> Task<R> {
        self.task().unwrap_or_else(|| inline_task(self.max_result_bytes))
    }

    /// Runs `function` on each item, and gives the results in the order of the items: [`Task::map`] of
    /// [`task_or_inline`](Self::task_or_inline).
    ///
    /// ```
    /// let pool = multicore::Pool::builder().workers(2).build()?;
    /// let lengths = pool.map(|word: String| word.len(), ["a", "word"].map(String::from));
    /// assert_eq!(lengths.sum::<Result<usize, _>>()?, 5);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Task::map`].
    ///
    /// # Panics
    /// As [`Task::map`].
    #[track_caller]
    pub fn map<A: Value, R: Value, I: IntoIterator<Item = A>>(
        &self,
        function: fn(A) -> R,
        items: I,
    ) -> Map<I::IntoIter, R> {
        self.task_or_inline().map(function, items)
    }

    /// How many workers it is set to have.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.workers()
    }

    /// Sets how many workers the pool has. Returns at once: [`workers`](Self::workers) and [`ranges`](Self::ranges) give the new number then, and so does
    /// [`multicore::ranges`](crate::ranges()) for the global pool.
    ///
    /// - A pool that grows starts the others as when it was made: pieces that wait go to them.
    /// - A pool that shrinks asks the workers with the highest numbers to leave. What such a worker runs comes to its end, what it has not begun goes to
    ///   others, and it runs its [`on_worker_exit`](builder::PoolBuilder::on_worker_exit), for which it has two seconds. It is neither lost nor recycled.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = multicore::Pool::builder().workers(2).build()?;
    /// let task = pool.try_task::<u64>()?;
    /// task.call_all(|number: u64| number * number, 0..100);
    /// // The evening's load.
    /// pool.resize(4)?;
    /// assert_eq!((pool.workers(), pool.ranges(1000).len()), (4, 16));
    /// assert_eq!(task.get()?.len(), 100);
    /// pool.resize(1)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for 0, and for more than the larger of 256 and twice the workers that the pool was built with;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) in a process that was forked from the pool's; [`Cancelled`](crate::ErrorKind::Cancelled) once the pool
    /// has been shut down, or the error that ended it.
    pub fn resize(&self, workers: usize) -> Result<(), Error> {
        self.workers.resize(workers)
    }

    /// Cuts `0..len` into pieces, 4 for each of its workers unless told otherwise.
    pub fn ranges(&self, len: usize) -> Ranges {
        Ranges::new(len, self.workers() * PIECES_A_WORKER)
    }

    /// What it is doing now and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.workers.stats()
    }

    /// Replaces each worker as soon as it is idle; pieces handed out from now on run in new workers.
    ///
    /// A new worker has the rights (users, groups, capabilities) and the standard output and error that this program has
    /// when the worker is started. Call this after the program has changed them, for instance given up root. Without it,
    /// workers that were started before the change are replaced when the pool notices, at the latest when it starts the
    /// next worker. A worker that is replaced runs its [`on_worker_exit`](builder::PoolBuilder::on_worker_exit), for
    /// which it has two seconds, and does not count as lost.
    pub fn renew_workers(&self) {
        self.workers.renew_workers();
    }

    /// Replaces every worker that there is now, one after the other: memory that it has leaked goes back to the system.
    /// Returns at once.
    ///
    /// Each goes on until its successor is ready, so the pool has all its workers meanwhile, and one process more. What it
    /// runs comes to its end; what it has not begun goes to others; and it runs its
    /// [`on_worker_exit`](builder::PoolBuilder::on_worker_exit). It does not count as lost, but in
    /// [`Stats::workers_recycled`]. In a process that was forked from the pool's this does nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = multicore::Pool::builder().workers(2).build()?;
    /// pool.recycle();
    /// # Ok(())
    /// # }
    /// ```
    pub fn recycle(&self) {
        self.workers.recycle();
    }

    /// Ends the pool: running pieces come to their end, workers run their
    /// [`on_worker_exit`](builder::PoolBuilder::on_worker_exit), and what has not begun ends in
    /// [`Cancelled`](crate::ErrorKind::Cancelled). Returns when no process of the pool is left.
    pub fn shutdown(mut self) {
        self.ended = true;
        self.workers.shut_down(false);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.ended {
            self.workers.shut_down(true);
        }
    }
}

/// A task without a pool.
fn inline_task<R>(max_result_bytes: Option<u64>) -> Task<R> {
    let (backend, key) = inline::open(max_result_bytes);
    Task::opened(backend, key)
}
