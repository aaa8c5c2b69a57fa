//! The results of a task one by one, while more pieces are handed out.

use crate::backend::waking::Until;
use crate::backend::{Outcomes, ReadOrder};
use crate::codec::value::Value;
use crate::error::{Error, ErrorKind};
use crate::task::Task;

impl<R> Task<R> {
    /// Waits for the lowest piece that was not taken, and gives its result: each call the next one in `run` order. `None` if all that was
    /// handed out was taken.
    ///
    /// The task stays: more pieces may be handed out at any time, and after a `None` it is `Some` again. Which method took the
    /// others makes no difference: [`next_completed`](Self::next_completed) may be called in between, and what collects the task
    /// afterwards gives the rest. From the first call on the task is bounded as by [`iter`](Self::iter), and what was taken leaves no
    /// memory but in a journal. Quick pieces come several together, as with [`iter`](Self::iter).
    ///
    /// ```
    /// /// A page of a site that is 100 pages long: it names the one that comes next.
    /// fn fetch(page: u64) -> Option<u64> {
    ///     (page < 100).then_some(page + 1)
    /// }
    ///
    /// let mut task = multicore::Task::<Option<u64>>::new_or_inline();
    /// task.call(fetch, 1);
    /// while let Some(page) = task.next() {
    ///     if let Some(next) = page? {
    ///         task.call(fetch, next);
    ///     }
    /// }
    /// assert_eq!(task.len(), 100);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// The item is the error of its piece, if that has failed. The others go on.
    // An iterator ends at a `None`; this one may go on.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<R, Error>>
    where
        R: Value,
    {
        self.next_in_order().map(|(_, result)| result)
    }

    /// The same, with the number of its piece.
    fn next_in_order(&mut self) -> Option<(usize, Result<R, Error>)>
    where
        R: Value,
    {
        if let Some(next) = self.next_kept() {
            return Some(next);
        }
        if self.left() == 0 {
            return None;
        }
        self.bound_unread();
        let outcomes = self.take_in_order(self.next_from(0), ReadOrder::Next, Until::Outcome)?.into_iter();
        self.early().keep(outcomes);
        self.next_kept()
    }

    /// Takes the next outcome in order, and those behind it that are there. Gives the number of the first one.
    pub(super) fn take_row(&mut self) -> Option<(usize, Outcomes)>
    where
        R: Value,
    {
        if self.left() == 0 {
            return None;
        }
        let first = self.next_from(0);
        let outcomes = self.take_in_order(first, ReadOrder::Next, Until::Outcome)?;
        self.early().taken.add_many(first, outcomes.len());
        Some((first, outcomes))
    }

    /// The next of the outcomes that the backend has given with others before.
    #[inline]
    pub(super) fn next_kept(&mut self) -> Option<(usize, Result<R, Error>)>
    where
        R: Value,
    {
        let early = self.cells.get_mut().early.as_mut()?;
        let settled = early.next_kept()?;
        let number = early.taken.next_from(0);
        early.taken.add(number);
        let result = self.decode(number, settled);
        if let Err(error) = &result {
            self.early().already_done += usize::from(error.kind() == ErrorKind::AlreadyDone);
        }
        Some((number, result))
    }
}
