//! Pieces whose arguments and results are bytes: what a host runs for others.
//!
//! Invariant: this process decodes nothing of them. A worker does.

use crate::backend::remote::Settings;
use crate::backend::waking::Until;
use crate::backend::{Backend, Finished, Settled, Site, TaskKey, TaskSettings, Wanted};
use crate::codec::bytes::Handed;
use crate::codec::function::Function;
use crate::error::Error;
use crate::pool::Pool;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Pieces of a pool whose arguments and results are bytes; made by [`Pool::encoded_task`]. Dropping it is dropping a task.
#[must_use = "a task that is dropped at once runs nothing"]
pub struct EncodedTask {
    backend: Arc<dyn Backend>,
    key: TaskKey,
    pieces: usize,
    taken: usize,
    /// Outcomes that were taken with others and not given.
    kept: std::vec::IntoIter<Finished>,
}

/// How a piece has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its encoded result, or its error.
    pub result: Result<Vec<u8>, Error>,
    /// How many times it was started.
    pub attempts: u32,
    /// How long it ran the last time; zero if that is not known.
    pub took: Duration,
}

impl Pool {
    /// A task of this pool whose pieces come encoded. No limit of the machine's [load](crate::PoolBuilder::max_load_average) or
    /// [memory](crate::PoolBuilder::min_available_memory) refuses it: a host is there for this work, and makes the load itself.
    ///
    /// # Errors
    /// As [`try_task`](Self::try_task), but for these limits.
    pub fn encoded_task(&self, settings: &Settings) -> Result<EncodedTask, Error> {
        let (backend, key) = self.open_task_anyhow()?;
        let limit_ns = settings.timeout.and_then(|limit| u64::try_from(limit.as_nanos()).ok());
        let settings = TaskSettings {
            name: settings.name.clone(),
            format: settings.format,
            limit_ns: limit_ns.and_then(NonZeroU64::new),
            retries: settings.retries,
            retry_panics: settings.retry_panics,
            retry_failures: settings.retry_failures,
            is_timed: true,
            ..TaskSettings::default()
        };
        backend.configure(key, settings);
        Ok(EncodedTask { backend, key, pieces: 0, taken: 0, kept: Vec::new().into_iter() })
    }
}

impl EncodedTask {
    /// Hands out a piece, and gives its number. Never waits.
    #[track_caller]
    pub fn run(&mut self, function: &'static Function, arguments: Vec<u8>) -> usize {
        let site = Site { call: function.call(), location: Location::caller() };
        self.backend.add_piece(self.key, site, Handed::Own(arguments));
        self.pieces += 1;
        self.pieces - 1
    }

    /// Hands out pieces of one function, which share what one costs. Their arguments lie one behind the other in `arguments`, each up to its entry in
    /// `ends`. Gives the number of the first.
    ///
    /// # Panics
    /// If the ends are not in order, or one lies beyond the arguments.
    #[track_caller]
    pub fn run_all(&mut self, function: &'static Function, arguments: &[u8], ends: &[usize]) -> usize {
        let is_in_order = ends.is_sorted() && ends.last().is_none_or(|end| *end <= arguments.len());
        assert!(is_in_order, "each piece ends behind the one before, and within the arguments");
        let site = Site { call: function.call(), location: Location::caller() };
        if !ends.is_empty() {
            self.backend.add_pieces(self.key, site, arguments, ends);
        }
        self.pieces += ends.len();
        self.pieces - ends.len()
    }

    /// How many pieces were handed out and have not been given back.
    #[must_use]
    pub fn left(&self) -> usize {
        self.pieces - self.taken
    }

    /// Waits for the piece that ends first of those not given. `None` if there is none.
    // An iterator ends at a `None`; this one may go on.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<(usize, Ended)> {
        self.take(Until::Outcome)
    }

    /// The same for a future: nothing waits, and the waker is woken once a piece may have ended.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Ended)>> {
        match self.take(Until::Woken(context.waker())) {
            None if self.left() > 0 => Poll::Pending,
            taken => Poll::Ready(taken),
        }
    }

    fn take(&mut self, until: Until<'_>) -> Option<(usize, Ended)> {
        if self.left() == 0 {
            return None;
        }
        if self.kept.len() == 0 {
            self.kept = self.backend.take_all_finished(self.key).0.into_iter();
        }
        // The lowest that it may be: the backend knows which those are.
        let wanted = Wanted::First { lowest: 0 };
        let next = self.kept.next().or_else(|| self.backend.take_finished(self.key, wanted, until));
        let Finished { number, settled, attempts, took_ns } = next?;
        self.taken += 1;
        let result = match settled {
            Settled::Done(reply) => Ok(reply.into_vec()),
            Settled::Failed(error) => Err(error),
        };
        Some((number, Ended { result, attempts, took: Duration::from_nanos(took_ns) }))
    }

    /// Ends it: what has not begun never begins, and what runs is killed with its worker.
    pub fn cancel(self) {
        self.backend.close(self.key, true);
    }
}

impl Drop for EncodedTask {
    fn drop(&mut self) {
        self.backend.close(self.key, false);
    }
}

impl fmt::Debug for EncodedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EncodedTask { pieces, taken, .. } = self;
        f.debug_struct("EncodedTask").field("pieces", pieces).field("taken", taken).finish_non_exhaustive()
    }
}
