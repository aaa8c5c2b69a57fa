//! Records of the log that come before a task's outcomes.
//!
//! Invariant: a worker has one mark at most here: its last one.

use super::TaskState;
use crate::engine::logs::Mark;
use crate::engine::unpark::Wake;
use crate::error::Error;

/// What the program's logger is to have before the caller gets anything.
#[derive(Debug)]
pub(super) struct AwaitedLogs {
    mark: Mark,
    /// Then it is awaited no more.
    until_ns: u64,
}

/// Of the errors that nobody takes, as many are told one by one between two looks; a program may lose thousands at once.
const MOST_UNSEEN: usize = 16;

/// The errors of a detached task's pieces, until they are told.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    errors: Vec<Error>,
    /// Those beyond [`MOST_UNSEEN`].
    others: usize,
}

impl Unseen {
    pub(super) fn add(&mut self, error: Error) {
        if self.errors.len() < MOST_UNSEEN {
            self.errors.push(error);
        } else {
            self.others += 1;
        }
    }
}

impl TaskState {
    /// The errors that nobody takes, and how many more there were.
    pub(crate) fn take_unseen(&mut self) -> (Vec<Error>, usize) {
        let Unseen { errors, others } = std::mem::take(&mut self.unseen);
        (errors, others)
    }

    /// What comes next of this task's pieces comes after these records, but not later than that.
    pub(crate) fn await_logs(&mut self, mark: Mark, until_ns: u64) {
        let awaited = AwaitedLogs { mark, until_ns };
        match self.logs.iter_mut().find(|other| other.mark.is_of_same_worker(&awaited.mark)) {
            Some(other) => *other = awaited,
            None => self.logs.push(awaited),
        }
    }

    /// Until when records are awaited; `None` if the logger has had them all, or has taken too long.
    pub(crate) fn logs_due_ns(&mut self, now_ns: impl FnOnce() -> u64) -> Option<u64> {
        if self.logs.is_empty() {
            return None;
        }
        let now_ns = now_ns();
        self.logs.retain(|awaited| awaited.until_ns > now_ns && !awaited.mark.is_delivered());
        self.logs.iter().map(|awaited| awaited.until_ns).min()
    }

    /// Nothing is awaited any more.
    pub(crate) fn await_no_logs(&mut self) {
        self.logs.clear();
    }

    /// The logger has had what was awaited: wakes the caller that may have waited for that.
    pub(crate) fn logs_were_told(&mut self) -> Wake {
        self.wake_waiter()
    }
}
