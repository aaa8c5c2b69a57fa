//! What the tasks of a pool have done, by their names.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What all tasks of one [name](crate::Task::name) have done in a pool: those that are open and those that have ended.
///
/// Only tasks with a name are told; one without costs nothing for this. A pool tells 256 names apart; all others are one entry, whose name
/// is `others`. So name tasks by what they do, and not by a number. Counts only grow while fewer than some thousand tasks are open at a time; a scrape
/// may miss a task that ends in the same moment, and the next one has it.
///
/// The times are made of what the pool knows anyway, without a look at the clock for each piece:
///
/// ```
/// # fn main() -> Result<(), multicore::Error> {
/// # if multicore::Pool::global().is_err() { return Ok(()) }
/// let pool = multicore::Pool::global()?;
/// let task = pool.task_or_inline::<u64>().name("squares");
/// task.call_all(|n: u64| n * n, 0..1000);
/// task.get()?;
/// for task in pool.stats().by_name {
///     println!("{}: {} pieces, busy for {:?}", task.name, task.pieces, task.busy);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskStats {
    /// The name.
    pub name: String,
    /// Pieces that have an outcome of their own, failed ones among them. Not those that ended with their task: cancelled, dropped, or past
    /// its deadline.
    pub pieces: u64,
    /// Those of them that have failed.
    pub failed: u64,
    /// How many times a piece was started again because its worker was lost, or because its answer counts so.
    pub retried: u64,
    /// How long workers have run them: the times between the replies of each worker, shared out by count where several tasks have replies in one
    /// look. A worker that was woken for several pieces counts from the moment they were given, some 50 us early at most
    /// while a core is free. A long piece counts once it has ended, and until somebody looks at its worker: at
    /// once where a caller waits for it. What a lost worker ran counts until its death was noticed.
    pub busy: Duration,
    /// How long they have waited for a worker in this program, all together: two pieces that wait for a second count as two. It counts from the end of
    /// the call that handed them out, at the moments at which workers are given some of the task's pieces: one that is
    /// added while others wait counts from the last such moment. Not what a worker was given ahead, which is 300 us of work or one piece, and not the pauses before another
    /// start. What waits because too much is unread counts too.
    pub waited: Duration,
    /// The bytes of their results.
    pub bytes: u64,
}
