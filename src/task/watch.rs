//! The handle that tells other threads how far a task has come, also after its end.
//!
//! | thread                  | does, in this order                                                           |
//! |-------------------------|-------------------------------------------------------------------------------|
//! | the task's owner        | asks the backend for the last counts, notes them, lets go of the backend, closes the task |
//! | the backend             | notes them itself for a task whose owner has detached it, before it forgets the task |
//! | one with a [`Watch`]    | asks the backend, then looks for noted counts; if there are any, these count |
//!
//! Invariant: nobody gets the counts of a task that its backend has forgotten. They would be zeros.

use super::Task;
use crate::backend::counts::Last;
use crate::backend::{Backend, Counts, TaskKey};
use crate::codec::value::Value;
use crate::sys::process;
use crate::task::progress::Progress;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Tells how far a task has come, from any thread; made by [`Task::watch`].
///
/// ```
/// let task = multicore::Task::<u64>::new_or_inline();
/// let watch = task.watch();
/// task.run_all(|a: u64, b: u64| a + b, (0..100).map(|a| (a, 1)));
/// // Another thread asks while this one waits.
/// let asker = std::thread::spawn(move || {
///     let progress = watch.progress();
///     eprintln!("{} of {}", progress.done(), progress.total());
///     watch
/// });
/// assert_eq!(task.get().unwrap().len(), 100);
/// // The task is gone; its last counts are not.
/// assert_eq!(asker.join().unwrap().progress().done(), 100);
/// ```
#[derive(Clone)]
pub struct Watch {
    watched: Arc<Watched>,
}

impl Watch {
    /// How far the task has come. It runs no piece and waits for none.
    ///
    /// Once the task was collected, cancelled or dropped: how far it had come then. What had no outcome at that moment has none in these
    /// counts either, and nothing runs; a task that is cancelled by [`cancel`](Task::cancel) or [`get_timeout`](Task::get_timeout) has an outcome for each piece.
    /// A task that was [detached](Task::detach) is followed to its end. [`Progress::elapsed`] is the time since the first watch
    /// of the task was made, up to its end; take the watch before the first `run`, so that [`Progress::rate`] is right. In a process that was forked
    /// from the task's while the task was open, all counts are 0.
    ///
    /// Without a pool it counts what the task's owner has run so far; see [`Task::new_or_inline`].
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.watched.progress()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// What the watches of one task share with it.
pub(super) struct Watched {
    /// `None` once the task has ended: a watch keeps no memory of it.
    backend: Mutex<Option<Arc<dyn Backend>>>,
    key: TaskKey,
    began: Instant,
    last: Arc<Last>,
    /// A child that is forked has a copy, whose lock may be held by a thread that is not there.
    process: process::Number,
}

impl Watched {
    fn new(backend: Arc<dyn Backend>, key: TaskKey) -> Watched {
        let (backend, last) = (Mutex::new(Some(backend)), Arc::default());
        Watched { backend, key, began: Instant::now(), last, process: process::number() }
    }

    /// The task has another backend from here on.
    #[cfg(feature = "journal")]
    pub(super) fn follow(&self, backend: &Arc<dyn Backend>) {
        *self.backend.lock() = Some(Arc::clone(backend));
    }

    /// Where the last counts of a task are noted that its owner leaves to its backend.
    pub(super) fn last(&self) -> Arc<Last> {
        Arc::clone(&self.last)
    }

    /// The owner closes the task next.
    pub(super) fn end(&self) {
        if !process::is_current(self.process) {
            return;
        }
        let backend = self.backend.lock().clone();
        if let Some(backend) = backend {
            self.last.note(backend.counts(self.key));
            self.let_go();
        }
    }

    fn let_go(&self) {
        let backend = self.backend.lock().take();
        drop(backend);
    }

    fn progress(&self) -> Progress {
        let is_current = process::is_current(self.process);
        if self.last.get().is_some() && is_current {
            self.let_go();
        }
        let backend = if is_current { self.backend.lock().clone() } else { None };
        let counts = backend.map_or(Counts::default(), |backend| backend.counts(self.key));
        // The backend may have forgotten the task before it was asked.
        let (counts, at) = self.last.get().unwrap_or_else(|| (counts, Instant::now()));
        Progress::of(counts, at.saturating_duration_since(self.began))
    }
}

impl<R> Task<R> {
    /// A handle that tells other threads how far the task has come, while this one waits for it or reads it, and after its end. All handles
    /// of a task tell the same. For calls that come by themselves see [`progress`](Self::progress).
    #[must_use]
    pub fn watch(&self) -> Watch
    where
        R: Value,
    {
        let mut cells = self.cells.borrow_mut();
        let watched = cells.watched.get_or_insert_with(|| Arc::new(Watched::new(Arc::clone(&self.backend), self.key)));
        Watch { watched: Arc::clone(watched) }
    }

    /// The task is closed next: notes its last counts for those who watch it.
    pub(super) fn end_watch(&mut self) {
        if let Some(watched) = self.cells.get_mut().watched.take() {
            watched.end();
        }
    }
}
