//! A pool's timeline, as its user asks for it.

use crate::pool::Pool;
use crate::pool::builder::PoolBuilder;
use crate::stats::timeline::Timeline;

impl PoolBuilder {
    /// Keeps the last `events` of what workers do, for [`Pool::timeline`]: each start of a piece that has come to an end, and that a worker was started or lost. Default, and
    /// with 0: none, and no piece is timed.
    ///
    /// An event takes up to 100 bytes of this program's memory, which is reserved at once and used as events come: a million of them 100 MB.
    /// [`Pool::timeline`] makes a copy, which takes as much again while it is there.
    /// Beyond `events` the oldest are overwritten. Each piece is timed, which costs some looks at the clock: so this is for finding out, and
    /// not for tiny pieces in production.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("pool.json");
    /// let pool = multicore::Pool::builder().workers(2).timeline(100_000).build()?;
    /// let task = pool.try_task::<usize>()?;
    /// task.call_all(|word: String| word.len(), ["four".to_string(), "seven".to_string()]);
    /// task.get()?;
    /// let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    /// pool.timeline().write_chrome(&mut file)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeline(mut self, events: usize) -> Self {
        self.timeline = events;
        self
    }
}

impl Pool {
    /// What its workers have run by now, and when: the events that [`PoolBuilder::timeline`] asks for, else none.
    ///
    /// A piece counts once its reply was read, so what runs is not there. Its duration is the worker's word. Its start is exact where the reply
    /// was read before the worker had begun two more pieces; of quick pieces in a row, those before lie one behind the other, each up to the next one.
    /// A piece that was started again has an event for each start. One whose task was dropped before it ended is named `?`. In a process that was forked from the pool's it is empty.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.workers.timeline()
    }
}
