//! A pool's figures at one moment. Only data, which the engine fills in; `table` makes its text.

pub(crate) mod functions;
pub(crate) mod memory;
mod table;
pub(crate) mod tasks;
pub(crate) mod timeline;

use functions::{FunctionStats, Suspect};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use tasks::TaskStats;

/// The state of a pool and what it has done so far. Its `Display` is a table of the workers, a table of the ten functions that
/// matter most for their memory, one of the ten names of tasks that kept workers busy longest, and two lines of counts; [the guide](crate::guide::memory) shows one.
///
/// ```no_run
/// # fn main() -> Result<(), multicore::Error> {
/// println!("{}", multicore::Pool::global()?.stats());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// One entry for each worker, by its number.
    pub workers: Vec<WorkerStats>,
    /// Tasks that are open: neither collected nor dropped yet.
    pub tasks: usize,
    /// Pieces that were not given to a worker yet.
    pub pieces_waiting: usize,
    /// The bytes of what pieces of this pool [share](crate::Shared) and somebody still has: one copy for all workers.
    pub shared_bytes: u64,
    /// Pieces that workers have answered since the pool was made.
    pub pieces_done: u64,
    /// Pieces that have failed by themselves since the pool was made: the function panicked or returned an error, arguments or result could not be
    /// read or sent, the worker was lost or overran, or no worker could be started. One that is run again counts once it has failed for good.
    /// Not those that ended with their task: cancelled, dropped, past its deadline or refused. Of a [detached](crate::Task::detach) task this
    /// is all that is told.
    pub pieces_failed: u64,
    /// Workers that died without being asked to end since the pool was made.
    pub workers_lost: u64,
    /// Workers that were replaced in order since the pool was made: after their number of pieces, at their age, because of
    /// their memory, or because the program asked for it.
    pub workers_recycled: u64,
    /// Workers that were killed because they, or all together, had more memory than a `memory_max` allows, or that ended
    /// because they were refused more than their [`worker_data_limit`](crate::PoolBuilder::worker_data_limit).
    pub workers_over_limit: u64,
    /// Workers that have ended because they were idle: [`idle_timeout`](crate::PoolBuilder::idle_timeout). They were neither lost nor recycled.
    pub workers_idle_ended: u64,
    /// The memory of all workers, in bytes: what each has for itself, and once what they share with their fork server.
    /// `None` where the system does not tell.
    pub memory: Option<u64>,
    /// The limit of that above which the largest worker is replaced, in bytes.
    pub memory_high: Option<u64>,
    /// The limit of that above which the largest worker is killed, in bytes.
    pub memory_max: Option<u64>,
    /// The memory that the machine, and the control groups of this process, can still give, in bytes.
    pub memory_available: Option<u64>,
    /// The functions that ran in workers, in the order in which their first pieces were handed out.
    pub functions: Vec<FunctionStats>,
    /// What tasks with a [name](crate::Task::name) have done: an entry for each name, in their order, at most 256, and one for all others.
    pub by_name: Vec<TaskStats>,
    /// What could not be measured in this pool, and why, as short texts.
    pub unmeasured: Vec<String>,
    /// How workers are started.
    pub start: WorkerStart,
    /// How long the last start of a worker took, from the order until it was ready for pieces: `preload` included where
    /// workers are executed, and `on_worker_start`. `None` before the first.
    pub start_time: Option<Duration>,
}

/// How a pool starts its workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WorkerStart {
    /// By a fork of the fork server: they share the memory that `preload` filled.
    #[default]
    Forked,
    /// By an exec of the program, each for itself: a library made threads while it was loaded, and a process with
    /// threads cannot be forked safely. Each worker runs `preload` and has its memory for itself.
    Executed,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WorkerState {
    /// It is being started, and gets no pieces yet; or its place is empty, and is about to be filled.
    #[default]
    Starting,
    /// It waits for pieces.
    Idle,
    /// It runs a piece.
    Running,
    /// It was asked to end, and runs [`on_worker_exit`](crate::PoolBuilder::on_worker_exit).
    Leaving,
    /// It was idle for the pool's [`idle_timeout`](crate::PoolBuilder::idle_timeout) and has ended: it is started again when pieces wait.
    Ended,
}

/// Why a worker took the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Replaced {
    /// The other had done its number of pieces: [`max_pieces_per_worker`](crate::PoolBuilder::max_pieces_per_worker).
    Pieces,
    /// It had lived long enough: [`max_worker_age`](crate::PoolBuilder::max_worker_age).
    Age,
    /// The program asked for it: [`Pool::recycle`](crate::Pool::recycle) or
    /// [`Pool::renew_workers`](crate::Pool::renew_workers). Or its rights or streams had changed.
    Asked,
    /// The other had more memory than a `memory_high` allows.
    MemoryHigh,
    /// The other was killed because it had more memory than a `memory_max` allows, or ended because it was refused more than its
    /// [`worker_data_limit`](crate::PoolBuilder::worker_data_limit).
    MemoryMax,
    /// The other had died.
    Died,
    /// The other had been idle for the pool's [`idle_timeout`](crate::PoolBuilder::idle_timeout).
    Idle,
}

/// One worker's figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// The worker's number, from 0.
    pub worker: usize,
    /// Its process id; `None` while it is being started.
    pub pid: Option<u32>,
    /// Pieces that it holds: the one that it runs, and those that were given to it in advance.
    pub pieces_held: usize,
    /// Pieces that this process has answered.
    pub pieces_done: u64,
    /// The number of processes that this worker has had, the current one included.
    pub generation: u32,
    /// What it does.
    pub state: WorkerState,
    /// The function of the piece that it runs.
    pub function: Option<String>,
    /// How long ago it was started; `None` while its place is empty.
    pub age: Option<Duration>,
    /// The memory that it has for itself, in bytes: what it has written or allocated, with what its allocator keeps. Swapped
    /// memory counts. `None` where the system does not tell.
    pub memory: Option<u64>,
    /// The same when it was ready.
    pub memory_at_start: Option<u64>,
    /// The most that it is known to have had: while it ran a measured piece, or when its memory was read.
    pub memory_peak: Option<u64>,
    /// Why the process before this one was replaced, if there was one.
    pub last_replaced: Option<Replaced>,
}

impl Stats {
    /// The functions that leak, as far as the figures tell, and how many of their pieces are left until a limit of memory is
    /// reached; the one that has leaked most comes first.
    ///
    /// A function is among them if its growth a piece is more than three times its standard error, known from at least 20
    /// measurements more than there are functions; if it has grown by 1 MiB in all, and in the later half of its measurements
    /// too; and if the heaps of the workers that ran it have grown by at least half of that. So a cache that stops growing is
    /// not, nor a function whose blocks another one frees.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), multicore::Error> {
    /// for suspect in multicore::Pool::global()?.stats().suspects() {
    ///     eprintln!("{} leaks {:.0} bytes a piece", suspect.function, suspect.growth_per_piece);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn suspects(&self) -> Vec<Suspect> {
        functions::suspects(&self.functions)
    }
}

impl fmt::Display for WorkerStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkerStart::Forked => "forked",
            WorkerStart::Executed => "executed",
        })
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            WorkerState::Starting => "starting",
            WorkerState::Idle => "idle",
            WorkerState::Running => "running",
            WorkerState::Leaving => "leaving",
            WorkerState::Ended => "ended",
        })
    }
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Replaced::Pieces => "pieces",
            Replaced::Age => "age",
            Replaced::Asked => "asked",
            Replaced::MemoryHigh => "memory high",
            Replaced::MemoryMax => "memory max",
            Replaced::Died => "died",
            Replaced::Idle => "idle",
        })
    }
}
