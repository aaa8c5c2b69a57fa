//! Lost pieces that start again after a pause.
//!
//! Invariant: a piece that is here waits nowhere else, and is held by no worker. It may have failed meanwhile, or its task
//! may have ended: it then comes out like the others, and nobody takes it. So nobody has to look for it here.

use crate::backend::TaskKey;
use crate::engine::piece::WaitingPiece;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Delayed {
    /// By their moments, and in the order in which they came.
    pieces: BTreeMap<(u64, u64), (TaskKey, WaitingPiece)>,
    /// Pieces that ever came.
    came: u64,
}

impl Delayed {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Keeps a piece until a moment.
    pub(crate) fn push(&mut self, due_ns: u64, key: TaskKey, piece: WaitingPiece) {
        self.came += 1;
        self.pieces.insert((due_ns, self.came), (key, piece));
    }

    /// The next moment at which a piece may start again.
    #[inline]
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.pieces.first_key_value().map(|((due_ns, _), _)| *due_ns)
    }

    /// Takes up to `most` of the pieces that may start again now.
    pub(crate) fn take_due(&mut self, now_ns: u64, most: usize) -> Vec<(TaskKey, WaitingPiece)> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(first) = self.pieces.first_entry()
            && first.key().0 <= now_ns
        {
            due.push(first.remove());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::bytes::Arguments;

    #[test]
    fn pieces_come_back_when_they_are_due() {
        let mut delayed = Delayed::default();
        let key = TaskKey { index: 0, generation: 1 };
        for (number, due_ns) in [30, 10, 20, 10].into_iter().enumerate() {
            delayed.push(due_ns, key, WaitingPiece { number, arguments: Arguments::copy_of(&[]) });
        }
        for (now_ns, most, expected, next_ns) in
            [(9, 9, &[][..], Some(10)), (20, 1, &[1], Some(10)), (20, 9, &[3, 2], Some(30)), (u64::MAX, 9, &[0], None)]
        {
            let due = delayed.take_due(now_ns, most);
            assert_eq!(due.iter().map(|(_, piece)| piece.number).collect::<Vec<_>>(), expected, "{now_ns}");
            assert_eq!((delayed.next_ns(), delayed.is_empty()), (next_ns, next_ns.is_none()));
        }
    }
}
