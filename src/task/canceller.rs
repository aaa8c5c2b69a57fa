//! The handle that cancels or stops a task from another thread.

use crate::backend::{Backend, Stop, TaskKey};
use std::fmt;
use std::sync::Arc;

/// Cancels or stops a task whose owner waits for it; made by [`Task::canceller`](crate::Task::canceller).
/// [`cancel`](Self::cancel) kills what runs, [`stop`](Self::stop) lets it end, and [`abandon`](Self::abandon) does not wait for it.
///
/// ```
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(|a: u64, b: u64| a + b, 1, 2);
/// task.canceller().cancel();
/// // What was done by then counts; here nothing may have been.
/// if let Err(error) = task.get() {
///     assert_eq!(error.kind(), multicore::ErrorKind::Cancelled);
/// }
/// ```
#[derive(Clone)]
pub struct Canceller {
    backend: Arc<dyn Backend>,
    key: TaskKey,
}

impl Canceller {
    pub(super) fn new(backend: Arc<dyn Backend>, key: TaskKey) -> Self {
        Canceller { backend, key }
    }

    /// Cancels the task. Pieces that have not begun never begin, and those that run are killed with
    /// their workers: every piece without an outcome ends in
    /// [`Cancelled`](crate::ErrorKind::Cancelled), and so does every piece that is handed out later.
    /// Without a pool, the piece that runs comes to its end. A task that has ended is not touched.
    pub fn cancel(&self) {
        self.backend.cancel(self.key);
    }

    /// Abandons the task, as if its owner dropped it: every piece without an outcome ends in
    /// [`Cancelled`](crate::ErrorKind::Cancelled) at once, so the owner waits no longer. Pieces that have not begun never begin; those that
    /// run come to their end and nobody reads what they give. No worker is killed. Without a pool, the piece that runs comes to its
    /// end. A task that has ended is not touched.
    ///
    /// ```
    /// let task = multicore::Task::<u64>::new_or_inline();
    /// task.run(|a: u64, b: u64| a + b, 1, 2);
    /// let canceller = task.canceller();
    /// // In a server whose client has gone, say.
    /// canceller.abandon();
    /// if let Err(error) = task.get() {
    ///     assert_eq!(error.kind(), multicore::ErrorKind::Cancelled);
    /// }
    /// ```
    pub fn abandon(&self) {
        self.backend.abandon(self.key);
    }

    /// Stops the task in order. Pieces that have not begun never begin and end in [`Cancelled`](crate::ErrorKind::Cancelled),
    /// and so does every piece that is handed out later; those that run come to their end, and their results are collected.
    /// A piece that is lost is not run again: it ends with what it was lost by. The thread that waits for the task has all
    /// outcomes when the last running piece has ended. A task that has ended is not touched.
    ///
    /// ```
    /// let task = multicore::Task::<u64>::new_or_inline();
    /// task.run(|a: u64, b: u64| a + b, 1, 2);
    /// let canceller = task.canceller();
    /// // In a handler of SIGTERM, say: what runs is not lost.
    /// canceller.stop();
    /// for result in task.get_each() {
    ///     match result {
    ///         Ok(sum) => assert_eq!(sum, 3),
    ///         Err(error) => assert_eq!(error.kind(), multicore::ErrorKind::Cancelled),
    ///     }
    /// }
    /// ```
    pub fn stop(&self) {
        self.backend.stop(self.key, Stop::Cancelled);
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}
