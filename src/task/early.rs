//! What a caller has taken of a task before it collects the rest.
//!
//! Invariant: the outcomes that are kept here are those of the lowest pieces that the caller does not have, in a row.

use super::taken::Taken;
use crate::backend::{Outcomes, Settled};

/// Outcomes in a row.
pub(super) type Row = <Outcomes as IntoIterator>::IntoIter;

#[derive(Default)]
pub(super) struct Early {
    pub(super) taken: Taken,
    /// Outcomes that the backend has given and the caller has not asked for yet: one call gives some.
    kept: Option<Row>,
    /// How many of those that were taken are only known to be done in an earlier run.
    pub(super) already_done: usize,
}

impl Early {
    /// The next of the outcomes that are kept.
    #[inline]
    pub(super) fn next_kept(&mut self) -> Option<Settled> {
        let next = self.kept.as_mut()?.next();
        if next.is_none() {
            self.kept = None;
        }
        next
    }

    pub(super) fn keep(&mut self, outcomes: Row) {
        self.kept = Some(outcomes);
    }

    /// All outcomes that are kept, if there is one.
    pub(super) fn take_kept(&mut self) -> Option<Outcomes> {
        let kept: Vec<_> = self.kept.take()?.collect();
        (!kept.is_empty()).then_some(Outcomes::Many(kept))
    }
}
