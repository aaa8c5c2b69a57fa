//! A pool's figures at one moment. Only data: the engine fills it in.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The state of a pool and what it has done so far. Its `Display` is a table.
///
/// ```no_run
/// # fn main() -> Result<(), multicore::Error> {
/// println!("{}", multicore::Pool::global()?.stats());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// One entry for each worker, by its number.
    pub workers: Vec<WorkerStats>,
    /// Tasks that are open: neither collected nor dropped yet.
    pub tasks: usize,
    /// Pieces that were not given to a worker yet.
    pub pieces_waiting: usize,
    /// Pieces that workers have answered since the pool was made.
    pub pieces_done: u64,
    /// Workers that died without being asked to end since the pool was made.
    pub workers_lost: u64,
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
}

impl fmt::Display for WorkerStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkerStart::Forked => "forked",
            WorkerStart::Executed => "executed",
        })
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>6}  {:>8}  {:>6}  {:>12}  {:>10}", "worker", "pid", "held", "done", "generation")?;
        for worker in &self.workers {
            let pid = worker.pid.map_or("-".to_string(), |pid| pid.to_string());
            let WorkerStats { worker, pieces_held, pieces_done, generation, .. } = worker;
            writeln!(f, "{worker:>6}  {pid:>8}  {pieces_held:>6}  {pieces_done:>12}  {generation:>10}")?;
        }
        let Stats { tasks, pieces_waiting, pieces_done, workers_lost, start, start_time, .. } = self;
        write!(f, "{tasks} tasks, {pieces_waiting} pieces waiting, {pieces_done} done, {workers_lost} workers lost")?;
        match start_time {
            Some(time) => write!(f, "; workers are {start}, in {:.1} ms", time.as_secs_f64() * 1000.0),
            None => write!(f, "; workers are {start}"),
        }
    }
}
