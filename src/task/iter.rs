//! The results of a task one by one: in `run` order, or as they come.

use crate::backend::waking::Until;
use crate::backend::{Outcomes, ReadOrder};
use crate::codec::value::Value;
use crate::error::Error;
use crate::task::Task;
use std::iter::FusedIterator;
use std::task::Poll;

impl<R> Task<R> {
    /// Waits for the piece that finishes first of those not taken yet, and gives its number and result. `None` if all that
    /// was handed out was taken.
    ///
    /// The task stays: more pieces may be handed out at any time, also after a `None`, and what is collected afterwards in
    /// another way is the rest, in `run` order and with the same numbers. From the first call on the task is bounded as by
    /// [`iter`](Self::iter). Pieces that were taken leave no memory, but for those with a journal and a thousand or so before
    /// each that was not taken. Pieces that are [`AlreadyDone`](crate::ErrorKind::AlreadyDone) are left out. Quick pieces come several
    /// together, as with [`iter`](Self::iter).
    ///
    /// ```
    /// /// The parts of a job, if it is too large for one piece.
    /// fn split(start: u64, end: u64) -> Vec<(u64, u64)> {
    ///     let middle = start.midpoint(end);
    ///     if end - start > 10 { vec![(start, middle), (middle, end)] } else { vec![] }
    /// }
    ///
    /// let mut task = multicore::Task::<Vec<(u64, u64)>>::new_or_inline();
    /// task.run(split, 0, 40);
    /// while let Some((_, parts)) = task.next_completed() {
    ///     task.run_all(split, parts?);
    /// }
    /// assert_eq!(task.len(), 7);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// The result is the error of its piece, if that has failed. The others go on.
    pub fn next_completed(&mut self) -> Option<(usize, Result<R, Error>)>
    where
        R: Value,
    {
        match self.next_completed_until(Until::Outcome) {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }

    /// The same. Pending if there is none until then.
    pub(super) fn next_completed_until(&mut self, until: Until<'_>) -> Poll<Option<(usize, Result<R, Error>)>>
    where
        R: Value,
    {
        if let Some(next) = self.next_kept() {
            return Poll::Ready(Some(next));
        }
        self.bound_unread();
        if self.left_to_finish() == 0 {
            return Poll::Ready(None);
        }
        let Some((number, settled)) = self.take_finished(until) else { return Poll::Pending };
        Poll::Ready(Some((number, self.decode(number, settled))))
    }

    /// The results in `run` order, each as soon as it and those before it are there.
    ///
    /// While it is read, pieces beyond 64 MiB of unread results wait as arguments:
    /// [`max_unread`](Self::max_unread).
    ///
    /// A caller that waits alone for quick pieces, below about 40 us each, is woken for several of them together, and at the latest after
    /// 5 ms.
    ///
    /// ```
    /// let task = multicore::Task::<u32>::new_or_inline();
    /// task.try_call_all(|text: String| text.parse::<u32>(), ["7", "eight", "9"].map(String::from));
    /// let mut sum = 0;
    /// for (number, result) in task.iter().enumerate() {
    ///     match result {
    ///         Ok(value) => sum += value,
    ///         Err(error) => eprintln!("number {number} is left out: {error}"),
    ///     }
    /// }
    /// assert_eq!(sum, 16);
    /// ```
    ///
    /// # Errors
    /// An item is the error of its piece, if that has failed. The others go on.
    pub fn iter(mut self) -> Iter<R>
    where
        R: Value,
    {
        self.bound_unread();
        let left = self.left();
        Iter { task: self, batch: Outcomes::Many(Vec::new()).into_iter(), next: 0, left }
    }

    /// The results as pieces finish, each with its piece's number; bounded as [`iter`](Self::iter). With
    /// [`next_completed`](Self::next_completed) more pieces can be handed out meanwhile. Quick pieces come several together, as with
    /// [`iter`](Self::iter).
    ///
    /// ```
    /// let task = multicore::Task::<usize>::new_or_inline();
    /// task.call_all(|n: usize| n * n, 0..5);
    /// let mut squares = [0; 5];
    /// for (number, square) in task.iter_completed() {
    ///     squares[number] = square?;
    /// }
    /// assert_eq!(squares, [0, 1, 4, 9, 16]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`iter`](Self::iter).
    pub fn iter_completed(mut self) -> IterCompleted<R>
    where
        R: Value,
    {
        self.bound_unread();
        IterCompleted { task: self }
    }
}

/// The results of a task in `run` order; made by [`Task::iter`].
#[derive(Debug)]
pub struct Iter<R> {
    task: Task<R>,
    /// Outcomes that were taken and not read.
    batch: <Outcomes as IntoIterator>::IntoIter,
    next: usize,
    /// How many are left to be given.
    left: usize,
}

impl<R: Value> Iter<R> {
    /// The next result. Pending if it is not there until then.
    #[inline]
    pub(super) fn next_until(&mut self, until: Until<'_>) -> Poll<Option<Result<R, Error>>> {
        if self.left == 0 {
            self.task.end_progress();
            return Poll::Ready(None);
        }
        let settled = match self.batch.next() {
            Some(settled) => settled,
            None => {
                self.next = self.task.next_from(self.next);
                let taken = self.task.take_in_order(self.next, ReadOrder::Next, until);
                self.batch = taken.unwrap_or(Outcomes::Many(Vec::new())).into_iter();
                let Some(settled) = self.batch.next() else { return Poll::Pending };
                settled
            }
        };
        self.next += 1;
        self.left -= 1;
        Poll::Ready(Some(self.task.decode(self.next - 1, settled)))
    }
}

impl<R: Value> Iterator for Iter<R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_until(Until::Outcome) {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<R: Value> ExactSizeIterator for Iter<R> {}

impl<R: Value> FusedIterator for Iter<R> {}

/// The results of a task as its pieces finish; made by [`Task::iter_completed`].
#[derive(Debug)]
pub struct IterCompleted<R> {
    task: Task<R>,
}

impl<R: Value> IterCompleted<R> {
    /// The next outcome. Pending if there is none until then.
    #[inline]
    pub(super) fn next_until(&mut self, until: Until<'_>) -> Poll<Option<(usize, Result<R, Error>)>> {
        let next = self.task.next_completed_until(until);
        if matches!(next, Poll::Ready(None)) {
            self.task.end_progress();
        }
        next
    }
}

impl<R: Value> Iterator for IterCompleted<R> {
    type Item = (usize, Result<R, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_until(Until::Outcome) {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.task.left_to_finish(), Some(self.task.left_to_finish()))
    }
}

impl<R: Value> ExactSizeIterator for IterCompleted<R> {}

impl<R: Value> FusedIterator for IterCompleted<R> {}
