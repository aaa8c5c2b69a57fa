//! Lost pieces that start again after a pause.
//!
//! Invariant: a piece that is here has no outcome, waits nowhere else, and is held by no worker. `next_ns` is
//! the least of their moments.

use crate::backend::TaskKey;
use crate::engine::piece::WaitingPiece;

#[derive(Debug, Default)]
pub(crate) struct Delayed {
    pieces: Vec<(u64, TaskKey, WaitingPiece)>,
    /// The least of their moments: each look at a worker asks for it.
    next_ns: Option<u64>,
}

impl Delayed {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Keeps a piece until a moment.
    pub(crate) fn push(&mut self, due_ns: u64, key: TaskKey, piece: WaitingPiece) {
        self.pieces.push((due_ns, key, piece));
        self.next_ns = self.next_ns.into_iter().chain([due_ns]).min();
    }

    /// The next moment at which a piece may start again.
    #[inline]
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    fn find_next(&mut self) {
        self.next_ns = self.pieces.iter().map(|(due_ns, ..)| *due_ns).min();
    }

    /// Takes the pieces that may start again now.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Vec<(TaskKey, WaitingPiece)> {
        let due = self.pieces.extract_if(.., |(due_ns, ..)| *due_ns <= now_ns);
        let due = due.map(|(_, key, piece)| (key, piece)).collect();
        self.find_next();
        due
    }

    /// Takes all pieces: none of them starts again by itself.
    pub(crate) fn take_all(&mut self) -> Vec<(TaskKey, WaitingPiece)> {
        self.take_due(u64::MAX)
    }

    /// Forgets the pieces of a task.
    pub(crate) fn forget(&mut self, key: TaskKey) {
        self.pieces.retain(|(_, delayed, _)| *delayed != key);
        self.find_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::bytes::Arguments;

    #[test]
    fn pieces_come_back_when_they_are_due() {
        let mut delayed = Delayed::default();
        let keys = [0, 1].map(|index| TaskKey { index, generation: 0 });
        for (number, due_ns) in [30, 10, 20].into_iter().enumerate() {
            delayed.push(due_ns, keys[number % 2], WaitingPiece { number, arguments: Arguments::copy_of(&[]) });
        }
        assert_eq!(delayed.next_ns(), Some(10));
        let numbers =
            |pieces: Vec<(TaskKey, WaitingPiece)>| pieces.iter().map(|(_, piece)| piece.number).collect::<Vec<_>>();
        assert_eq!(numbers(delayed.take_due(9)), [0; 0]);
        assert_eq!(numbers(delayed.take_due(20)), [1, 2]);
        assert_eq!(delayed.next_ns(), Some(30));
        delayed.forget(keys[1]);
        assert!(!delayed.is_empty() && delayed.next_ns() == Some(30));
        delayed.forget(keys[0]);
        assert!(delayed.is_empty() && delayed.take_all().is_empty() && delayed.next_ns().is_none());
    }
}
