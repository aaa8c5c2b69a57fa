//! A function over the items of an iterator, each as a piece: lazy, in order, and bounded.

use super::Task;
use super::feeder::Feeder;
use crate::backend::waking::Until;
use crate::backend::{Finished, Settled, Site};
use crate::codec::call::Call;
use crate::codec::value::Value;
use crate::error::Error;
use std::iter::FusedIterator;
use std::panic::Location;

impl<R> Task<R> {
    /// Runs `function` on each item, and gives the results in the order of the items, each as soon as it and those before it are there.
    ///
    /// It is lazy, as a `map` is: no item is taken before the first [`next`](Iterator::next), and then only within `next`, on the thread that
    /// calls it. What is taken ahead is 600 us of work for all workers, by the cost that is learnt as results come: at least 2 items
    /// a worker, and at most 65,536 in all. The arguments and the results that are ahead stay below [`max_unread`](Self::max_unread)
    /// (64 MiB by default); an item that is larger goes alone. So `items` may be without end, and memory stays bounded; there is no chunk
    /// size to choose. Quick pieces come several together, as with [`iter`](Self::iter). Without a pool, `next` runs one piece.
    ///
    /// All settings of the task hold. Pieces that it has already come first. An error is an item: `collect` into a `Result` ends at the first
    /// one, and dropping the iterator is dropping the task.
    ///
    /// ```
    /// let task = multicore::Task::<usize>::new_or_inline().retries(2);
    /// let lines = ["four", "seven", "eleven"].into_iter().map(String::from);
    /// let lengths: Vec<usize> = task.map(|line: String| line.len(), lines).collect::<Result<_, _>>()?;
    /// assert_eq!(lengths, [4, 5, 6]);
    ///
    /// // The numbers end nowhere; no more of them are taken than are soon asked for.
    /// let task = multicore::Task::<u64>::new_or_inline();
    /// let first = task.map(|n: u64| n * n, 0..).map_while(Result::ok).find(|square| *square > 1000);
    /// assert_eq!(first, Some(1024));
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// An item is the error of its piece, if that has failed. The others go on.
    ///
    /// # Panics
    /// A panic of `items` comes out of `next`. What was handed out before is not lost: the next `next` goes on.
    #[track_caller]
    pub fn map<A: Value, I: IntoIterator<Item = A>>(self, function: fn(A) -> R, items: I) -> Map<I::IntoIter, R>
    where
        R: Value,
    {
        let site = Site { call: Call::of_argument(function), location: Location::caller() };
        Map::new(self, site, items)
    }

    /// Runs a `function` that may fail on each item: [`map`](Self::map) for functions as [`try_call`](Self::try_call) takes.
    ///
    /// ```
    /// let task = multicore::Task::<u32>::new_or_inline();
    /// let words = ["7", "eight", "9"].map(String::from);
    /// let numbers: Vec<_> = task.try_map(|word: String| word.parse::<u32>(), words).collect();
    /// assert!(matches!(numbers[..], [Ok(7), Err(_), Ok(9)]));
    /// assert_eq!(numbers[1].as_ref().unwrap_err().piece(), Some(1));
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map); an `Err` of the function is [`Failed`](crate::ErrorKind::Failed).
    ///
    /// # Panics
    /// As [`map`](Self::map).
    #[track_caller]
    pub fn try_map<A: Value, E, I>(self, function: fn(A) -> Result<R, E>, items: I) -> Map<I::IntoIter, R>
    where
        R: Value,
        I: IntoIterator<Item = A>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let site = Site { call: Call::of_fallible_argument(function), location: Location::caller() };
        Map::new(self, site, items)
    }
}

/// The results of a function over the items of an iterator, in their order; made by [`Task::map`].
#[derive(Debug)]
#[must_use = "nothing runs before the first `next`"]
pub struct Map<I, R> {
    task: Task<R>,
    feeder: Feeder<I>,
    /// Results that were taken with others and not given.
    results: std::vec::IntoIter<Result<R, Error>>,
    /// The number behind the last of them.
    end: usize,
}

impl<I, R: Value> Map<I, R> {
    fn new(mut task: Task<R>, site: Site, items: impl IntoIterator<IntoIter = I>) -> Self {
        task.bound_unread();
        Map { task, feeder: Feeder::new(site, items.into_iter()), results: Vec::new().into_iter(), end: 0 }
    }

    /// The results as they come, each with the number of its piece: that of its item, unless the task had pieces before. One piece that
    /// takes long holds up no other.
    ///
    /// ```
    /// let mut sum = 0;
    /// for (number, square) in multicore::map(|n: usize| n * n, 0..100).unordered() {
    ///     assert_eq!(square?, number * number);
    ///     sum += number;
    /// }
    /// assert_eq!(sum, 4950);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Task::map`].
    ///
    /// # Panics
    /// As [`Task::map`].
    pub fn unordered(self) -> MapUnordered<I, R> {
        MapUnordered { map: self, finished: Vec::new().into_iter() }
    }
}

impl<I: Iterator, R: Value> Map<I, R>
where
    I::Item: Value,
{
    /// Hands more pieces out, and waits for the next result. Others that are there are taken with it.
    fn take_next(&mut self) -> Option<Result<R, Error>> {
        let Map { task, feeder, results, end } = self;
        feeder.feed(task, task.left());
        let Some((first, outcomes)) = task.take_row() else {
            task.end_progress();
            return None;
        };
        feeder.read(first, outcomes.len());
        *end = first + outcomes.len();
        *results = task.decode_each(first, outcomes).into_iter();
        results.next()
    }
}

impl<I: Iterator, R: Value> Iterator for Map<I, R>
where
    I::Item: Value,
{
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.results.next().or_else(|| self.take_next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.feeder.size_hint(self.results.len() + self.task.left())
    }
}

impl<I: Iterator, R: Value> FusedIterator for Map<I, R> where I::Item: Value {}

/// The results of a function over the items of an iterator, as they come; made by [`Map::unordered`].
#[derive(Debug)]
#[must_use = "nothing runs before the first `next`"]
pub struct MapUnordered<I, R> {
    map: Map<I, R>,
    /// Outcomes that were taken and not given.
    finished: std::vec::IntoIter<Finished>,
}

impl<I: Iterator, R: Value> MapUnordered<I, R>
where
    I::Item: Value,
{
    /// What has finished, if it is more than nothing; else the one that finishes first.
    fn take_next(&mut self) -> Option<(usize, Settled)> {
        let Map { task, feeder, .. } = &mut self.map;
        feeder.feed(task, task.left_to_finish());
        // Those that an earlier run has done are left out: they may have been all that was handed out.
        while task.left_to_finish() == 0 {
            if feeder.has_ended() {
                return None;
            }
            feeder.feed(task, 0);
        }
        self.finished = task.take_all_finished().into_iter();
        match self.finished.next() {
            Some(Finished { number, settled, .. }) => Some(task.takes(number, settled)),
            None => task.take_finished(Until::Outcome),
        }
    }
}

impl<I: Iterator, R: Value> Iterator for MapUnordered<I, R>
where
    I::Item: Value,
{
    type Item = (usize, Result<R, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        let Map { task, results, end, .. } = &mut self.map;
        let next = match self.finished.next() {
            Some(Finished { number, settled, .. }) => Some(task.takes(number, settled)),
            None => {
                // What was taken before it became unordered.
                if let Some(result) = results.next() {
                    return Some((*end - results.len() - 1, result));
                }
                if let Some(kept) = task.next_kept() {
                    return Some(kept);
                }
                self.take_next()
            }
        };
        let Some((number, settled)) = next else {
            self.map.task.end_progress();
            return None;
        };
        self.map.feeder.read(number, 1);
        Some((number, self.map.task.decode(number, settled)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let Map { task, feeder, results, .. } = &self.map;
        feeder.size_hint(results.len() + task.left_to_finish())
    }
}

impl<I: Iterator, R: Value> FusedIterator for MapUnordered<I, R> where I::Item: Value {}
