//! The caller of a task that waits, or that has left a waker.
//!
//! Invariant: a task has one of them at most. A waker leaves the task when it is to be woken, so it is woken once, and no waker
//! is cloned or dropped here: the scheduler's lock is held.

use super::{State, TaskState, Urgency, Want};
use crate::engine::unpark::{Registered, Sleeper, Unparker, Wake};
use std::sync::Arc;

impl Want {
    /// The piece that it is.
    pub(super) fn piece(self) -> Option<usize> {
        match self {
            Want::InOrder(wanted) | Want::All(wanted) | Want::Piece(wanted) | Want::Part(wanted) => Some(wanted),
            Want::Any | Want::Room => None,
        }
    }

    /// How soon a caller must know of it.
    pub(crate) fn urgency(self) -> Urgency {
        match self {
            Want::InOrder(_) | Want::All(_) => Urgency::Last,
            Want::Piece(_) | Want::Any => Urgency::Soon,
            Want::Part(_) | Want::Room => Urgency::Each,
        }
    }

    #[inline]
    pub(super) fn includes(self, number: usize) -> bool {
        match self {
            Want::InOrder(wanted) | Want::Piece(wanted) | Want::Part(wanted) => wanted == number,
            Want::Any => true,
            Want::All(_) | Want::Room => false,
        }
    }
}

impl TaskState {
    /// A caller waits for that.
    pub(crate) fn wait(&mut self, want: Want, unparker: &Arc<Unparker>) {
        debug_assert!(!self.has_waker(), "it was taken before");
        self.waiter = Some((want, Sleeper::Thread(Arc::clone(unparker))));
    }

    /// No caller waits any more.
    pub(crate) fn wait_no_more(&mut self) {
        if !self.has_waker() {
            self.waiter = None;
        }
    }

    /// A caller wants that, and has left its waker. The one before was taken.
    pub(crate) fn register(&mut self, want: Want, registered: Registered) {
        self.waiter = Some((want, Sleeper::Waker(registered)));
    }

    /// The waker that is kept.
    #[must_use]
    pub(crate) fn take_waker(&mut self) -> Option<Registered> {
        match self.waiter.take_if(|(_, sleeper)| matches!(sleeper, Sleeper::Waker(_))) {
            Some((_, Sleeper::Waker(registered))) => Some(registered),
            _ => None,
        }
    }

    fn has_waker(&self) -> bool {
        matches!(self.waiter, Some((_, Sleeper::Waker(_))))
    }

    /// Wakes the caller, if there is one that sleeps or has left a waker.
    pub(super) fn wake_waiter(&mut self) -> Wake {
        match &self.waiter {
            None => Wake::NOBODY,
            Some((_, Sleeper::Thread(unparker))) => Wake::of(unparker),
            Some((_, Sleeper::Waker(_))) => Wake(self.take_waker().map(Sleeper::Waker)),
        }
    }

    /// True if this piece, which has an outcome now, leaves something to do for a caller that wants all: it is the last one, it has
    /// failed, or it may be followed by one that has.
    pub(super) fn is_last_of(&self, want: Want, number: usize) -> bool {
        let Want::All(next) = want else { return false };
        let has_failures = self.done > self.results;
        let has_failed = || has_failures && !matches!(self.pieces.get(number), Some(State::Done(_)));
        self.done == self.pieces.len() || has_failed() || (has_failures && number == next)
    }

    /// What a caller is woken for that leaves a waker and wants that. Beyond a limit of unread results, pieces wait until it takes some.
    pub(crate) fn refined(&self, want: Want) -> Want {
        match want {
            Want::InOrder(next) if self.settings.max_unread_bytes.is_none() => Want::All(next),
            want => want,
        }
    }
}
