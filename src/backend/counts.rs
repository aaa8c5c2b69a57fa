//! How far a task has come, also for those who ask after its end.
//!
//! Invariant: the last counts are noted once, before the backend forgets the task. So who finds that the backend does not know the task any more
//! finds them here.

use std::sync::OnceLock;
use std::time::Instant;

/// How far a task has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) total: usize,
    pub(crate) done: usize,
    pub(crate) failed: usize,
    pub(crate) running: usize,
    /// Starts of pieces that were started before.
    pub(crate) retried: usize,
    /// Had an outcome from an earlier run.
    pub(crate) resumed: usize,
    /// Of the results.
    pub(crate) bytes: u64,
}

/// Where the last counts of a task are noted.
#[derive(Debug, Default)]
pub(crate) struct Last(OnceLock<(Counts, Instant)>);

impl Last {
    /// The task ends now. It has one end, so nobody waits for another thread here.
    pub(crate) fn note(&self, counts: Counts) {
        // What still runs is nobody's any more.
        let _ = self.0.set((Counts { running: 0, ..counts }, Instant::now()));
    }

    /// The counts, and when they were noted; `None` while the task goes on.
    pub(crate) fn get(&self) -> Option<(Counts, Instant)> {
        self.0.get().copied()
    }
}
