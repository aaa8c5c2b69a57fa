//! A pool's figures at one moment. Only data: the engine fills it in.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of a pool and what it has done so far. Its `Display` is a table.
///
/// ```no_run
/// # fn main() -> Result<(), multicore::Error> {
/// println!("{}", multicore::Pool::global()?.stats());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>6}  {:>8}  {:>6}  {:>12}  {:>10}", "worker", "pid", "held", "done", "generation")?;
        for worker in &self.workers {
            let pid = worker.pid.map_or("-".to_string(), |pid| pid.to_string());
            let WorkerStats { worker, pieces_held, pieces_done, generation, .. } = worker;
            writeln!(f, "{worker:>6}  {pid:>8}  {pieces_held:>6}  {pieces_done:>12}  {generation:>10}")?;
        }
        let Stats { tasks, pieces_waiting, pieces_done, workers_lost, .. } = self;
        write!(f, "{tasks} tasks, {pieces_waiting} pieces waiting, {pieces_done} done, {workers_lost} workers lost")
    }
}
