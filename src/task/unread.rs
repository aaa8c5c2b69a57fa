//! Ends of a task that read no result, or join them.

use crate::backend::waking::Until;
use crate::backend::{Outcomes, ReadOrder, Settled, inline};
use crate::codec::value::Value;
use crate::error::Error;
use crate::task::Task;

impl<R> Task<R> {
    /// Waits for all pieces and decodes no result: for pieces that are run for what they do.
    ///
    /// ```
    /// let folder = std::env::temp_dir();
    /// let task = multicore::Task::<()>::new_or_inline();
    /// task.try_call_all(|path| std::fs::metadata::<std::path::PathBuf>(path).map(drop), [folder]);
    /// task.wait()?;
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get): the error of the failed piece with the lowest number; what has not begun then never begins.
    pub fn wait(self) -> Result<(), Error>
    where
        R: Value,
    {
        self.read_all(|_, outcomes| {
            outcomes.into_iter().try_for_each(|settled| match settled {
                Settled::Done(_) => Ok(()),
                Settled::Failed(error) => Err(error),
            })
        })
    }

    /// Leaves the task to run to its end: pieces that wait begin, and each result is dropped as it comes, so the task keeps no more and
    /// more memory. That a piece has failed is told by
    /// [`Stats::pieces_failed`](crate::Stats::pieces_failed) alone, and why is told nowhere: let the function itself tell what somebody must know.
    ///
    /// It lasts no longer than its pool and the program: what has not ended when [`Pool`](crate::Pool) is dropped, or `main` returns, ends
    /// there. A [`Canceller`](crate::Canceller) still ends it. A callback of [`progress`](Self::progress) is called a last time now; a
    /// [`watch`](Self::watch) follows it to its end. Without a
    /// pool the pieces run before this returns. With a journal what ends is recorded, and the file stays locked until then.
    ///
    /// ```
    /// let task = multicore::Task::<()>::new_or_inline();
    /// task.call(|line: String| eprintln!("{line}"), "nobody waits for this".to_string());
    /// task.detach();
    /// ```
    pub fn detach(mut self)
    where
        R: Value,
    {
        if self.backend.runs_in_caller() {
            // Nobody wants their errors either.
            let _ = self.read_all(|_, _| Ok(()));
            return;
        }
        self.end_progress();
        if let Some(watched) = self.cells.get_mut().watched.take() {
            self.backend.keep_last(self.key, watched.last());
        }
        let (none, its_key) = inline::open(None);
        let (backend, key) = (std::mem::replace(&mut self.backend, none), std::mem::replace(&mut self.key, its_key));
        backend.detach(key);
    }

    /// Gives all outcomes that were not taken to `read`, in order and some at a time, with the number of the first.
    fn read_all(&self, mut read: impl FnMut(usize, Outcomes) -> Result<(), Error>) -> Result<(), Error>
    where
        R: Value,
    {
        let (mut next, mut done) = (0, 0);
        let left = self.left();
        while done < left {
            next = self.next_from(next);
            let Some(batch) = self.take_in_order(next, ReadOrder::All, Until::Outcome) else {
                return Err(self.unfinished(done));
            };
            let count = batch.len();
            read(next, batch)?;
            (next, done) = (next + count, done + count);
        }
        Ok(())
    }
}

impl<T: Value> Task<Vec<T>> {
    /// Waits for all pieces and joins their lists in `run` order: [`get`](Self::get) for pieces that give several values each.
    ///
    /// ```
    /// let task = multicore::Task::<Vec<u64>>::new_or_inline();
    /// task.run_all(|start: u64, end: u64| (start..end).filter(|n| n % 7 == 0).collect(), [(0, 10), (10, 20)]);
    /// assert_eq!(task.get_flat()?, [0, 7, 14]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_flat(self) -> Result<Vec<T>, Error> {
        let (mut all, mut lists) = (Vec::new(), Vec::new());
        self.read_all(|first, outcomes| {
            let read = self.decode_all(first, outcomes, &mut lists);
            lists.drain(..).for_each(|list| all.extend(list));
            read
        })?;
        Ok(all)
    }
}
