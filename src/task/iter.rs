//! The results of a task one by one: in `run` order, or as they come.

use crate::backend::{Outcomes, ReadOrder};
use crate::codec::value::Value;
use crate::error::Error;
use crate::task::Task;
use std::iter::FusedIterator;

impl<R: Value> Task<R> {
    /// The results in `run` order, each as soon as it and those before it are there.
    ///
    /// While it is read, pieces beyond 64 MiB of unread results wait as arguments:
    /// [`max_unread`](Self::max_unread).
    pub fn iter(mut self) -> Iter<R> {
        self.bound_unread();
        let pieces = self.len();
        Iter { task: self, batch: Outcomes::Many(Vec::new()).into_iter(), next: 0, pieces }
    }

    /// The results as pieces finish, each with its piece's number; bounded as [`iter`](Self::iter).
    pub fn iter_completed(mut self) -> IterCompleted<R> {
        self.bound_unread();
        let pieces = self.len();
        IterCompleted { task: self, taken: 0, pieces }
    }
}

/// The results of a task in `run` order; made by [`Task::iter`].
#[derive(Debug)]
pub struct Iter<R> {
    task: Task<R>,
    /// Outcomes that were taken and not read.
    batch: <Outcomes as IntoIterator>::IntoIter,
    next: usize,
    pieces: usize,
}

impl<R: Value> Iterator for Iter<R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.pieces {
            return None;
        }
        let settled = match self.batch.next() {
            Some(settled) => settled,
            None => {
                self.batch = self.task.take_in_order(self.next, ReadOrder::Next, None)?.into_iter();
                self.batch.next()?
            }
        };
        self.next += 1;
        Some(self.task.decode(self.next - 1, settled))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.pieces - self.next, Some(self.pieces - self.next))
    }
}

impl<R: Value> ExactSizeIterator for Iter<R> {}

impl<R: Value> FusedIterator for Iter<R> {}

/// The results of a task as its pieces finish; made by [`Task::iter_completed`].
#[derive(Debug)]
pub struct IterCompleted<R> {
    task: Task<R>,
    taken: usize,
    pieces: usize,
}

impl<R: Value> Iterator for IterCompleted<R> {
    type Item = (usize, Result<R, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.taken == self.pieces {
            return None;
        }
        let (number, settled) = self.task.take_finished(self.taken)?;
        self.taken += 1;
        Some((number, self.task.decode(number, settled)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.pieces - self.taken, Some(self.pieces - self.taken))
    }
}

impl<R: Value> ExactSizeIterator for IterCompleted<R> {}

impl<R: Value> FusedIterator for IterCompleted<R> {}
