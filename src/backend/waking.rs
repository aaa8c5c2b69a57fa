//! How long a caller waits for an outcome, and the waker of one that does not wait.
//!
//! Invariant: no panic of a waker comes out of here. The thread that wakes, or drops what nobody needs any more, may be the pool's
//! own, or the caller of another task.

use crate::codec::call::drop_payload;
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;
use std::time::Instant;

/// How long a caller waits for an outcome.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until<'a> {
    /// As long as it takes.
    Outcome,
    /// Not beyond this moment.
    Deadline(Instant),
    /// It does not wait: this waker is woken once there may be an outcome.
    Woken(&'a Waker),
}

impl<'a> Until<'a> {
    pub(crate) fn at(deadline: Option<Instant>) -> Self {
        deadline.map_or(Until::Outcome, Until::Deadline)
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        if let Until::Deadline(deadline) = self { Some(deadline) } else { None }
    }

    pub(crate) fn waker(self) -> Option<&'a Waker> {
        if let Until::Woken(waker) = self { Some(waker) } else { None }
    }
}

/// A waker that is kept until it is woken or not needed. Each of its calls is user code, so none is made under a lock.
#[derive(Debug)]
pub(crate) struct KeptWaker(Option<Waker>);

impl KeptWaker {
    /// A clone of it. A panic of the clone goes to the caller, whose waker it is.
    pub(crate) fn of(waker: &Waker) -> Self {
        KeptWaker(Some(waker.clone()))
    }

    pub(crate) fn wake(mut self) {
        if let Some(waker) = self.0.take() {
            contain(|| waker.wake());
        }
    }
}

impl Drop for KeptWaker {
    fn drop(&mut self) {
        if let Some(waker) = self.0.take() {
            contain(|| drop(waker));
        }
    }
}

fn contain(act: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(act)) {
        drop_payload(payload);
    }
}
