//! Records of the log that come before a piece's outcome, or before the next part of its result.
//!
//! A piece whose worker has logged something is *held*: its caller gets nothing of it until the logger has had those records, and not for longer than a second.
//! Other pieces are not.
//!
//! Invariant: `order` has the number of each held piece, and may have others; their times follow each other.

use super::TaskState;
use crate::engine::outbox::Mark;
use crate::engine::unpark::Wake;
use crate::error::Error;
use std::collections::{BTreeMap, VecDeque};

/// What the program's logger is to have before the caller gets anything of a piece.
#[derive(Debug)]
struct Awaited {
    mark: Mark,
    /// Then it is awaited no more.
    until_ns: u64,
}

impl Awaited {
    fn is_over(&self, now_ns: u64) -> bool {
        self.until_ns <= now_ns || self.mark.is_delivered()
    }
}

/// The pieces that are held.
#[derive(Debug, Default)]
pub(super) struct Held {
    pieces: BTreeMap<usize, Awaited>,
    order: VecDeque<usize>,
    /// The caller was given nothing because of that, and is to be woken.
    has_refused: bool,
    /// Its task is among those that wait.
    is_listed: bool,
}

impl Held {
    /// False if it is as a new one.
    #[inline]
    pub(super) fn was_used(&self) -> bool {
        !self.order.is_empty() | !self.pieces.is_empty() | self.has_refused | self.is_listed
    }
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
    /// False if it is as a new one.
    #[inline]
    pub(super) fn was_used(&self) -> bool {
        !self.errors.is_empty() | (self.others > 0)
    }

    pub(super) fn add(&mut self, error: Error) {
        if self.errors.len() < MOST_UNSEEN {
            self.errors.push(error);
        } else {
            self.others = self.others.saturating_add(1);
        }
    }
}

impl TaskState {
    /// The errors that nobody takes, and how many more there were.
    pub(crate) fn take_unseen(&mut self) -> (Vec<Error>, usize) {
        let Unseen { errors, others } = std::mem::take(&mut self.unseen);
        (errors, others)
    }

    /// What comes next of a piece comes after these records, but not later than that. True if the task is to be listed among those that
    /// wait.
    #[must_use]
    pub(crate) fn await_logs(&mut self, piece: usize, mark: Mark, until_ns: u64) -> bool {
        match self.held.pieces.get_mut(&piece) {
            // The time counts from the first of them: a piece that goes on to log and to write is given on all the same.
            Some(held) if !held.mark.is_delivered() => held.mark = mark,
            _ => {
                self.held.pieces.insert(piece, Awaited { mark, until_ns });
                self.held.order.push_back(piece);
            }
        }
        !std::mem::replace(&mut self.held.is_listed, true)
    }

    /// How many pieces from this one on may be given: those before the first one that is held.
    #[inline]
    pub(crate) fn pieces_not_held(&mut self, from: usize, now_ns: impl FnOnce() -> u64) -> usize {
        if self.held.pieces.is_empty() { usize::MAX } else { self.count_not_held(from, now_ns()) }
    }

    #[cold]
    fn count_not_held(&mut self, from: usize, now_ns: u64) -> usize {
        self.forget_held(now_ns);
        let first = self.held.pieces.range(from..).find(|(_, held)| !held.is_over(now_ns));
        let count = first.map_or(usize::MAX, |(&number, _)| number - from);
        self.held.has_refused |= count == 0;
        count
    }

    /// Pieces whose records were told, or have taken too long, are held no more. Those behind the first other one may stay for a while.
    fn forget_held(&mut self, now_ns: u64) {
        let Held { pieces, order, .. } = &mut self.held;
        while let Some(number) = order.front() {
            if pieces.get(number).is_some_and(|held| !held.is_over(now_ns)) {
                break;
            }
            pieces.remove(number);
            order.pop_front();
        }
    }

    /// Until when the first held piece is held; `None` if none is, and the task leaves the list of those that wait.
    pub(crate) fn held_until_ns(&mut self, now_ns: u64) -> Option<u64> {
        self.forget_held(now_ns);
        let first = self.held.order.front().and_then(|first| self.held.pieces.get(first));
        self.held.is_listed = first.is_some();
        first.map(|held| held.until_ns)
    }

    /// Nothing is held any more.
    pub(crate) fn hold_no_piece(&mut self) {
        self.held.pieces.clear();
    }

    /// The logger has had something: wakes the caller that was given nothing, so that it looks again.
    pub(crate) fn logs_were_told(&mut self) -> Wake {
        if std::mem::take(&mut self.held.has_refused) { self.wake_waiter() } else { Wake::NOBODY }
    }
}
