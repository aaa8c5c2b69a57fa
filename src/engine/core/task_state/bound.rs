//! How much of a task's results may be unread before its pieces wait.
//!
//! Invariant: the piece that a caller waits for never waits for that.

use super::TaskState;
use crate::backend::Reader;

/// The pieces of a bounded task that run before the size of any result is known: at 1/16 of the limit
/// each, they fill it.
const HELD_UNKNOWN: usize = 16;

impl TaskState {
    /// True if the piece that waits first must go on waiting, because too much is unread. The piece that the
    /// caller waits for never must.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let Some(most) = self.settings.max_unread_bytes else { return false };
        let next = self.waiting.front().map(|piece| piece.number);
        // What workers hold will be unread too: as much as a piece gave on average, and before the first
        // result an equal part of the limit.
        let (held, unread_bytes) = (self.held(), self.unread_bytes());
        let has_nothing = held == 0 && unread_bytes == 0;
        // Where a reader is told of, the thread that waits here only hands on.
        let awaited = match (self.reader, &self.waiter) {
            (Some(reader), _) => reader.is_awaited.then_some(self.first_unread),
            (None, Some((want, _))) => Some(want.piece().unwrap_or(self.first_unread)),
            (None, None) => None,
        };
        if awaited.is_some_and(|piece| has_nothing || next == Some(piece)) {
            return false;
        }
        let each = self.result_bytes.checked_div(self.results).unwrap_or((most / HELD_UNKNOWN).max(1));
        unread_bytes + held * each >= most
    }

    /// The number of its pieces that workers hold, or that start again later.
    pub(crate) fn held(&self) -> usize {
        self.pieces.len() - self.done - self.waiting.len()
    }

    /// The bytes of the results that the caller has not taken, or has and nobody has read.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.result_bytes - self.taken_bytes + self.open_bytes() + self.reader.map_or(0, |reader| reader.unread_bytes)
    }

    /// What its reader has now.
    pub(crate) fn set_reader(&mut self, reader: Reader) {
        if self.reader.is_none_or(|known| known.turn < reader.turn) {
            self.reader = Some(reader);
        }
    }
}
