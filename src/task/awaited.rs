//! A task that is awaited: its futures, without a runtime, a thread or a crate for them.
//!
//! Invariant: a poll runs no piece of a pool and waits for nothing; without a pool it runs one piece and wakes itself.

use super::Task;
use crate::backend::waking::Until;
use crate::backend::{Outcomes, ReadOrder};
use crate::codec::value::Value;
use crate::error::Error;
use crate::sys::clock;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// Awaiting a task is [`get`](Self::get) without a thread that waits.
///
/// No runtime is needed: the thread that collects a result wakes the future that waits for it. It runs under tokio, smol, or any other executor.
/// Pieces start to run as they are handed out, before the first poll. Dropping the future is dropping the task: what has not begun never
/// begins, and what runs ends unread, or is killed with [`kill_on_drop`](Self::kill_on_drop). Dropping the future of a journalled task waits
/// until what has ended is recorded.
///
/// Handing out pieces never waits for a worker either, but where [`max_queued_bytes`](crate::PoolBuilder::max_queued_bytes) is set. The first
/// task of a program starts the global pool, which takes a millisecond or two: call [`Pool::global`](crate::Pool::global) before. Without
/// a pool, each poll runs one piece on the thread that polls.
///
/// ```
/// fn sum(start: u64, end: u64) -> u64 {
///     (start..end).sum()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), multicore::Error> {
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(sum, 0, 500);
/// task.run(sum, 500, 1000);
/// assert_eq!(task.await?.iter().sum::<u64>(), 499_500);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`get`](Self::get).
///
/// # Panics
/// A poll after the one that gave the result panics.
impl<R: Value> IntoFuture for Task<R> {
    type Output = Result<Vec<R>, Error>;
    type IntoFuture = Get<R>;

    fn into_future(self) -> Get<R> {
        Get { collected: Collected::new(self) }
    }
}

impl<R> Task<R> {
    /// [`get_each`](Self::get_each) as a future: every piece's own outcome, in `run` order. Else as
    /// [awaiting the task](#impl-IntoFuture-for-Task<R>).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let task = multicore::Task::<u32>::new_or_inline();
    /// task.try_call_all(|text: String| text.parse::<u32>(), ["7".to_string(), "seven".to_string()]);
    /// let results = task.get_each_async().await;
    /// assert!(matches!(results[..], [Ok(7), Err(_)]));
    /// # }
    /// ```
    ///
    /// # Panics
    /// A poll after the one that gave the results panics.
    pub fn get_each_async(self) -> impl Future<Output = Vec<Result<R, Error>>> + Send + Unpin + use<R>
    where
        R: Value,
    {
        GetEach { collected: Collected::new(self) }
    }
}

impl<R> Task<R> {
    /// Whether dropping the task kills what runs, too, as [`cancel`](Self::cancel) does. Default: false, what runs ends unread.
    ///
    /// It holds for the task and for each future, stream, iterator, [`Map`](crate::Map) and [`Reader`](crate::Reader) that is made of it; a
    /// method that returns early because of an error drops the task as well. So a request whose client has gone, or a
    /// `timeout` of the executor, ends its pieces at once, which no thread pool can do. [`detach`](Self::detach) is no drop. Without a pool
    /// nothing runs when a task is dropped. It may be set at any time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fn endless(_: u64) -> u64 {
    ///     loop {
    ///         std::thread::sleep(Duration::from_secs(1));
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// if let Some(task) = multicore::Task::<u64>::new() {
    ///     let task = task.kill_on_drop(true);
    ///     task.call(endless, 1);
    ///     let result = tokio::time::timeout(Duration::from_millis(20), task.into_future()).await;
    ///     // The worker that ran it is gone, and another one takes its place.
    ///     assert!(result.is_err());
    /// }
    /// # }
    /// # use std::future::IntoFuture;
    /// ```
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kills_on_drop = kill;
        self
    }

    /// When the task ends, however it is collected: awaited, as a stream, by an iterator, by [`get`](Self::get). A piece that is not done by
    /// then ends in [`TimedOut`](crate::ErrorKind::TimedOut); what has not begun never begins, what runs is killed with its worker, and pieces
    /// that are handed out later fail at once. What was done before counts. Default: none. It may be set at any time.
    ///
    /// A [`timeout`](Self::timeout) is for each piece, from its start; this is for all of the task. With a journal, a piece that it has ended runs
    /// again in a later run. Without a pool it acts between two pieces: one that runs comes to its end.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// fn nap(milliseconds: u64) -> u64 {
    ///     std::thread::sleep(Duration::from_millis(milliseconds));
    ///     milliseconds
    /// }
    ///
    /// let task = multicore::Task::<u64>::new_or_inline().deadline(Instant::now() + Duration::from_millis(300));
    /// task.call_all(nap, [1; 10_000]);
    /// let results = task.get_each();
    /// assert_eq!(results[9_999].as_ref().unwrap_err().kind(), multicore::ErrorKind::TimedOut);
    /// ```
    pub fn deadline(mut self, deadline: Instant) -> Self {
        let left = deadline.saturating_duration_since(Instant::now()).as_nanos();
        // What no clock reaches is no deadline.
        let deadline_ns = u64::try_from(left).ok().and_then(|left_ns| clock::now_ns().checked_add(left_ns));
        self.configure(|settings| settings.deadline_ns = deadline_ns);
        self
    }

    /// Without a pool, a poll has done its part: the next one goes on.
    fn yields_after_take(&self, context: &Context<'_>) -> bool {
        let runs_in_caller = self.backend.runs_in_caller();
        if runs_in_caller {
            context.waker().wake_by_ref();
        }
        runs_in_caller
    }
}

/// A task whose outcomes are collected by polls, all of them.
struct Collected<R, T> {
    /// `None` once all was given.
    task: Option<Task<R>>,
    taken: Vec<T>,
    next: usize,
    left: usize,
}

impl<R: Value, T> Collected<R, T> {
    fn new(task: Task<R>) -> Self {
        let left = task.left();
        Collected { task: Some(task), taken: Vec::with_capacity(left), next: 0, left }
    }

    /// Takes all that is there, by `keep`, which gets the number of the first piece. The task is dropped at the end.
    fn poll(
        &mut self,
        context: &Context<'_>,
        mut keep: impl FnMut(&Task<R>, usize, Outcomes, &mut Vec<T>) -> Result<(), Error>,
    ) -> Poll<Result<Vec<T>, Error>> {
        let task = self.task.as_ref().expect("a future that has given its result is not polled again");
        let outcome = loop {
            if self.taken.len() == self.left {
                break Ok(());
            }
            self.next = task.next_from(self.next);
            let until = Until::Woken(context.waker());
            let Some(batch) = task.take_in_order(self.next, ReadOrder::All, until) else { return Poll::Pending };
            let before = self.taken.len();
            if let Err(error) = keep(task, self.next, batch, &mut self.taken) {
                break Err(error);
            }
            self.next += self.taken.len() - before;
            if self.taken.len() < self.left && task.yields_after_take(context) {
                return Poll::Pending;
            }
        };
        self.task = None;
        Poll::Ready(outcome.map(|()| std::mem::take(&mut self.taken)))
    }
}

/// The results of a task, all of them in the end; made by awaiting it.
#[must_use = "a task that is dropped at once runs nothing"]
pub struct Get<R> {
    collected: Collected<R, R>,
}

// Nothing in it is pinned.
impl<R> Unpin for Get<R> {}

impl<R: Value> Future for Get<R> {
    type Output = Result<Vec<R>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().collected.poll(context, |task, first, batch, taken| task.decode_all(first, batch, taken))
    }
}

impl<R> fmt::Debug for Get<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("task", &self.collected.task).finish_non_exhaustive()
    }
}

#[must_use = "a task that is dropped at once runs nothing"]
struct GetEach<R> {
    collected: Collected<R, Result<R, Error>>,
}

impl<R> Unpin for GetEach<R> {}

impl<R: Value> Future for GetEach<R> {
    type Output = Vec<Result<R, Error>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let each = self.get_mut().collected.poll(context, |task, first, batch, taken| {
            taken.extend(task.decode_each(first, batch));
            Ok(())
        });
        each.map(Result::unwrap_or_default)
    }
}
