//! The outcomes of a task's pieces go to its caller: in `run` order, or as they finish.
//!
//! Invariant: a piece is taken once. Each call looks at no more than [`BLOCK`] pieces, since the scheduler's lock is
//! held meanwhile.

use super::{Finished, NextFinished, State, TaskState};
use crate::backend::Settled;
use crate::engine::core::blocks::{BLOCK, BlockQueue};

impl TaskState {
    /// Takes a piece's outcome, if it has one.
    pub(crate) fn take(&mut self, number: usize) -> Option<Settled> {
        let state = self.pieces.get_mut(number)?;
        let outcome = match std::mem::replace(state, State::Taken) {
            State::Done(bytes) => {
                self.taken_bytes += bytes.len();
                Settled::Done(bytes)
            }
            State::Failed(error) => Settled::Failed(error),
            State::FailedFor(reason) => self.failed_for(number, reason),
            unchanged => match (&unchanged, self.ended) {
                (State::Open, Some(reason)) => self.failed_for(number, reason),
                _ => {
                    *state = unchanged;
                    return None;
                }
            },
        };
        self.move_first_unread();
        Some(outcome)
    }

    /// A piece's own error for a reason that it shares with others.
    fn failed_for(&self, number: usize, reason: u32) -> Settled {
        Settled::Failed(self.reasons[reason as usize].error(self.label(number)))
    }

    /// Takes the outcomes that are there from piece `next` on, up to the first one that is missing or the end of a block,
    /// `pieces` of them, or this many `bytes`. `None` if the first one is missing.
    pub(crate) fn take_many(&mut self, next: usize, pieces: usize, mut bytes: usize) -> Option<Vec<Settled>> {
        let states = self.pieces.part_from_mut(next);
        if !matches!(states.first()?, State::Done(_) | State::Failed(_)) {
            return self.take_shared(next, pieces);
        }
        let mut taken = Vec::with_capacity(states.len().min(pieces));
        let mut taken_bytes = 0;
        for state in states.iter_mut().take(pieces) {
            let settled = match std::mem::replace(state, State::Taken) {
                State::Done(reply) => {
                    taken_bytes += reply.len();
                    bytes = bytes.saturating_sub(reply.len());
                    Settled::Done(reply)
                }
                State::Failed(error) => Settled::Failed(error),
                unchanged => {
                    *state = unchanged;
                    break;
                }
            };
            taken.push(settled);
            if bytes == 0 {
                break;
            }
        }
        self.taken_bytes += taken_bytes;
        self.move_first_unread();
        Some(taken)
    }

    /// The same from a piece on that may have failed for a shared reason.
    #[cold]
    fn take_shared(&mut self, next: usize, pieces: usize) -> Option<Vec<Settled>> {
        let mut taken = vec![self.take(next)?];
        while taken.len() < pieces
            && let Some(settled) = self.take(next + taken.len())
        {
            taken.push(settled);
        }
        Some(taken)
    }

    fn move_first_unread(&mut self) {
        let rest = self.pieces.part_from(self.first_unread);
        self.first_unread += rest.iter().take_while(|state| matches!(state, State::Taken)).count();
    }

    /// Takes the piece that finished first of those not taken.
    pub(crate) fn take_finished(&mut self) -> Option<NextFinished> {
        let all = 0..self.pieces.len();
        self.finished.get_or_insert_with(|| Finished { queue: BlockQueue::default(), scan: all });
        // What finished before somebody asked comes first. Of a task that has ended that comes last: it is the rest.
        let (first, second) = if self.ended.is_some() {
            (self.take_queued(), Self::take_scanned as fn(&mut Self) -> _)
        } else {
            (self.take_scanned(), Self::take_queued as fn(&mut Self) -> _)
        };
        first.or_else(|| second(self))
    }

    fn take_queued(&mut self) -> Option<NextFinished> {
        let number = self.finished.as_mut()?.queue.pop_front()?;
        Some(self.take(number).map_or(NextFinished::LookAgain, |settled| NextFinished::Piece(number, settled)))
    }

    fn take_scanned(&mut self) -> Option<NextFinished> {
        for _ in 0..BLOCK {
            let number = self.finished.as_mut()?.scan.next()?;
            if let Some(settled) = self.take(number) {
                return Some(NextFinished::Piece(number, settled));
            }
        }
        Some(NextFinished::LookAgain)
    }
}
