//! The settings of a task. Those of one way to use it, such as `deadline`, stand in the file of that.
//!
//! Invariant: one that would hold for some pieces and not for others is refused after the first piece (`task/refusal.rs`).

use super::Task;
use super::progress::{Progress, Reporter};
use super::refusal::Refusal;
use crate::backend::priority::Priority;
use crate::codec::Format;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

impl<R> Task<R> {
    /// How messages and statistics name this task's pieces. Default: the function's name in the
    /// executable. It may be set at any time; a journal needs it before `journal`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        let name: Arc<str> = Arc::from(name.into());
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            span.name(&name);
        }
        self.configure(|settings| settings.name = Some(name));
        self
    }

    /// How long each piece may run, counted from its start in the worker. A piece that runs longer is killed
    /// at once with its worker, whatever it does, and with all that it started; it ends in
    /// [`TimedOut`](crate::ErrorKind::TimedOut), and no other piece notices. Default, and with
    /// [`Duration::MAX`]: no limit. With [`Duration::ZERO`] no piece begins. Before the first `run`.
    ///
    /// All that passes from the start of the piece counts, also the time that it waits for a lock which another piece holds: give that wait
    /// a shorter limit of its own.
    ///
    /// Without a pool, a piece that ran too long ends in the same error once it has ended.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fn nap(milliseconds: u64, _: ()) -> u64 {
    ///     std::thread::sleep(Duration::from_millis(milliseconds));
    ///     milliseconds
    /// }
    ///
    /// let task = multicore::Task::<u64>::new_or_inline().timeout(Duration::from_millis(50));
    /// task.run(nap, 1, ());
    /// task.run(nap, 400, ());
    /// let results = task.get_each();
    /// assert_eq!(results[1].as_ref().unwrap_err().kind(), multicore::ErrorKind::TimedOut);
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        // A limit that no clock can reach is no limit.
        let limit_ns = u64::try_from(limit.as_nanos()).ok().filter(|&limit_ns| limit_ns <= u64::MAX / 2);
        if self.is_in_time("timeout") {
            self.refusal = (limit_ns == Some(0)).then_some(Refusal::NoTime);
            self.configure(|settings| settings.limit_ns = limit_ns.and_then(NonZeroU64::new));
        }
        self
    }

    /// How many times a piece is run again after its worker died, or was killed because the piece ran too
    /// long: after a short pause that grows, in another worker. Default: 0. The error at the end tells the
    /// last cause and the number of [`attempts`](crate::Error::attempts). Before the first `run`.
    ///
    /// A piece that was lost may have done its work before it could report it: running it twice must do no
    /// harm.
    pub fn retries(mut self, retries: u32) -> Self {
        self.set("retries", |settings| settings.retries = retries);
        self
    }

    /// Whether a panic counts as a lost worker for [`retries`](Self::retries). Default: false, a panic is
    /// an answer. Before the first `run`.
    pub fn retry_panics(mut self, retry: bool) -> Self {
        self.set("retry_panics", |settings| settings.retry_panics = retry);
        self
    }

    /// Whether an error that the function returns, as with [`try_run`](Self::try_run), counts as a lost worker for
    /// [`retries`](Self::retries). Default: false, an `Err` is an answer. True is for errors that pass, such as "database is
    /// locked": the piece runs again after the same pause. Before the first `run`.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static TRIES: AtomicU32 = AtomicU32::new(0);
    ///
    /// fn insert(row: u64) -> Result<u64, &'static str> {
    ///     if TRIES.fetch_add(1, Ordering::Relaxed) == 0 { Err("database is locked") } else { Ok(row) }
    /// }
    ///
    /// let task = multicore::Task::<u64>::new_or_inline().retries(8).retry_failures(true);
    /// task.try_call(insert, 7);
    /// assert_eq!(task.get()?, [7]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    pub fn retry_failures(mut self, retry: bool) -> Self {
        self.set("retry_failures", |settings| settings.retry_failures = retry);
        self
    }

    /// Which task of a pool goes first where pieces of several wait for a worker. Default: [`Priority::Normal`]. Before the first `run`.
    ///
    /// - [`High`](Priority::High) goes before all others, [`Low`](Priority::Low) after them; tasks of one priority take turns.
    /// - Everything goes on: of 16 pieces that begin, `Low` has one, and `Normal` one at least, while any of theirs waits.
    /// - What a worker holds already is neither interrupted nor overtaken: the piece that runs, and what was given to the worker in advance,
    ///   0.3 ms of work or one more piece. So a piece with priority begins, at the latest, after the two that its worker has.
    ///
    /// It changes the order alone: with a free worker for each piece, nothing. Where no other work waits, a `Low` task has all workers;
    /// [`PoolBuilder::nice`](crate::PoolBuilder::nice) is for what other programs need. Pieces without a pool run in their own order.
    ///
    /// ```
    /// use multicore::{Pool, Priority};
    ///
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = Pool::builder().workers(2).build()?;
    /// let thumbnails = pool.try_task::<u64>()?.priority(Priority::Low);
    /// thumbnails.call_all(|number: u64| number * 2, 0..1000);
    /// // Somebody waits for this one: it goes before those that wait.
    /// let page = pool.try_task::<u64>()?.priority(Priority::High);
    /// page.call(|number: u64| number + 1, 1);
    /// assert_eq!(page.get()?, [2]);
    /// assert_eq!(thumbnails.get()?.len(), 1000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn priority(mut self, priority: Priority) -> Self {
        self.set("priority", |settings| settings.priority = priority);
        self
    }

    /// How arguments and results travel. Default: [`Format::Bincode`]. Before the first `run`.
    pub fn format(mut self, format: Format) -> Self {
        self.set("format", |settings| settings.format = format);
        self
    }

    /// Bounds the results that wait to be read, in bytes: beyond them, further pieces wait as
    /// arguments. Default: 64 MiB while the task is read by [`iter`](Self::iter),
    /// [`iter_completed`](Self::iter_completed), [`next`](Self::next), [`next_completed`](Self::next_completed),
    /// [`map`](Self::map) or [`write_to`](Self::write_to), else none. It bounds the task from the start:
    /// [`completed`](Self::completed) stands still until somebody collects. 0 runs one piece at a time, when it is asked for. Before the
    /// first `run`.
    ///
    /// ```
    /// let task = multicore::Task::<Vec<u8>>::new_or_inline().max_unread(8 << 20);
    /// task.call_all(|number: u8| vec![number; 1 << 20], 0..40);
    /// let mut bytes = 0;
    /// // However slow this loop is, no more than 8 MiB or so of results wait for it.
    /// for block in task.iter() {
    ///     bytes += block?.len();
    /// }
    /// assert_eq!(bytes, 40 << 20);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    pub fn max_unread(mut self, bytes: usize) -> Self {
        self.set("max_unread", |settings| settings.max_unread_bytes = Some(bytes));
        self
    }

    /// Calls `callback` with the task's [`Progress`] while pieces run: on a thread of its own, at most ten times a second, and once more
    /// with the final counts before the collecting method returns (an iterator makes this call at its end, or when it is dropped). Without a pool the
    /// calls come between pieces, on the thread that runs them. Default: none. It may be set at any time, and a later callback replaces an
    /// earlier one.
    ///
    /// A callback that panics is not called again, and the task goes on. One that takes long holds up only the last call, for which the task waits.
    ///
    /// ```
    /// let task = multicore::Task::<u64>::new_or_inline().progress(|progress| {
    ///     eprintln!("{} of {}, {:.0} a second", progress.done(), progress.total(), progress.rate());
    /// });
    /// task.run_all(|a: u64, b: u64| a * b, (0..100).map(|a| (a, 2)));
    /// assert_eq!(task.get().unwrap().len(), 100);
    /// ```
    pub fn progress(mut self, callback: impl FnMut(&Progress) + Send + 'static) -> Self {
        // The one before makes its last call first.
        self.end_progress();
        let reporter = Reporter::new(Arc::clone(&self.backend), self.key, Box::new(callback));
        self.reporter = Some(Box::new(reporter));
        self
    }
}
