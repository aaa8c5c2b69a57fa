//! What a task has done and what that took, for the figures of all tasks of its name.
//!
//! | figure | from                                                                                          |
//! |--------|-----------------------------------------------------------------------------------------------|
//! | pieces | those with an outcome, but for those that failed because the task or the pool was ended       |
//! | busy   | the times between the replies of each worker, as the pace is learnt from them (`collect.rs`)   |
//! | waited | pieces that wait, times the time between two moments at which a worker was fed with some of them |
//!
//! Invariant: no clock is read here. `waits_since_ns` is 0 unless pieces of a named task wait, so other tasks cost a comparison.

use super::TaskState;
use crate::engine::core::names::Totals;

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spent {
    busy_ns: u64,
    waited_ns: u64,
    /// What waits now has waited since then, and what it waited before is counted.
    waits_since_ns: u64,
    /// The pieces that failed because the task or the pool was ended.
    failed_with_task: usize,
}

impl TaskState {
    #[inline]
    pub(crate) fn is_named(&self) -> bool {
        self.settings.name.is_some()
    }

    /// Workers ran its pieces for this time.
    #[inline]
    pub(crate) fn add_busy(&mut self, busy_ns: u64) {
        self.spent.busy_ns = self.spent.busy_ns.saturating_add(busy_ns);
    }

    /// True if pieces of it began to wait since its waiting pieces were counted.
    pub(crate) fn begins_to_wait(&self) -> bool {
        self.spent.waits_since_ns == 0 && self.waits()
    }

    pub(crate) fn waits_from(&mut self, now_ns: u64) {
        self.spent.waits_since_ns = now_ns;
    }

    /// True if what waits is to be counted.
    #[inline]
    pub(crate) fn counts_waiting(&self) -> bool {
        self.spent.waits_since_ns != 0
    }

    /// Some of what waits is given to a worker next, or fails.
    pub(crate) fn count_waiting(&mut self, now_ns: u64) {
        self.spent.waited_ns = self.spent.waited_ns.saturating_add(self.waiting_until_ns(now_ns));
        self.spent.waits_since_ns = self.spent.waits_since_ns.max(now_ns);
    }

    /// What waits and is counted since some moment has waited for this time, all together.
    fn waiting_until_ns(&self, now_ns: u64) -> u64 {
        match self.spent.waits_since_ns {
            0 => 0,
            since_ns => now_ns.saturating_sub(since_ns).saturating_mul(self.waiting.len() as u64),
        }
    }

    /// Some of what waited was given to a worker.
    #[inline]
    pub(crate) fn note_given(&mut self) {
        if !self.waits() {
            self.spent.waits_since_ns = 0;
        }
    }

    /// Pieces fail because the task or the pool was ended.
    pub(crate) fn fail_with_task(&mut self, pieces: usize) {
        self.spent.failed_with_task += pieces;
    }

    /// What it has done by now.
    pub(crate) fn totals(&self, now_ns: u64) -> Totals {
        let Spent { busy_ns, waited_ns, failed_with_task, .. } = self.spent;
        Totals {
            pieces: self.done.saturating_sub(failed_with_task) as u64,
            failed: self.failures().saturating_sub(failed_with_task) as u64,
            retried: self.retried as u64,
            busy_ns,
            waited_ns: waited_ns.saturating_add(self.waiting_until_ns(now_ns)),
            bytes: self.counts().bytes,
        }
    }
}
