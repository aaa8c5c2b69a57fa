//! Starts of pieces that were lost, and whether a piece starts again.
//!
//! Invariant: a piece is started at most once more than its task has `retries`.

use super::TaskState;
use crate::engine::policy::restart::{self, Loss};
use crate::engine::unpark::Wake;
use crate::engine::wire::record::Outcome;
use crate::error::{Error, PieceLabel};

impl TaskState {
    /// True if a piece of it whose start was lost may start again.
    #[inline]
    pub(crate) fn may_run_again(&self) -> bool {
        self.settings.retries > 0
    }

    /// True if a piece of it that panics, or returns an error, may start again.
    pub(crate) fn retries_answers(&self) -> bool {
        (self.settings.retry_panics || self.settings.retry_failures) && self.may_run_again()
    }

    /// True if this answer counts as a start that was lost.
    pub(crate) fn retries_after(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Panicked => self.settings.retry_panics,
            Outcome::Failed => self.settings.retry_failures,
            _ => false,
        }
    }

    /// The number of starts of a piece, with the present one.
    pub(crate) fn attempts(&self, number: usize) -> u32 {
        self.lost_starts.get(&number).copied().unwrap_or(0).saturating_add(1)
    }

    /// True if a piece starts again whose start is lost now.
    #[cfg(feature = "tracing")]
    pub(crate) fn starts_again(&self, number: usize) -> bool {
        let retries = if self.is_cancelled { 0 } else { self.settings.retries };
        self.is_open(number) && matches!(restart::after_loss(self.attempts(number), retries), Loss::Again { .. })
    }

    /// A worker was killed because it did not begin this piece. True if that is taken for a start that was lost.
    #[must_use]
    pub(crate) fn counts_as_start(&mut self, number: usize) -> bool {
        let times = self.not_begun.entry(number).or_default();
        *times += 1;
        restart::counts_as_start(*times)
    }

    /// A start of a piece was lost. `Ok` with the pause after which it may start again; else it fails with
    /// what `error` makes of the number of attempts.
    pub(crate) fn lose_start(
        &mut self,
        number: usize,
        error: impl FnOnce(PieceLabel, u32) -> Error,
    ) -> Result<u64, Wake> {
        let attempts = self.attempts(number);
        if !self.is_open(number) {
            return Err(Wake::NOBODY);
        }
        let retries = if self.is_cancelled { 0 } else { self.settings.retries };
        match restart::after_loss(attempts, retries) {
            Loss::Again { pause_ns } => {
                self.lost_starts.insert(number, attempts);
                self.retried += 1;
                Ok(pause_ns)
            }
            Loss::Fails => {
                let error = error(self.label(number), attempts);
                Err(self.settle_failed(number, error))
            }
        }
    }
}
