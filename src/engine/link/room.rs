//! Whether a worker's ring has room for the next piece.
//!
//! A worker that holds nothing can have a full ring: what was taken back from it lies there until it has passed that. A piece
//! that waits for this room is held by nobody, so no reply would tell that it can be given.
//!
//! Invariant: while `lack` is set the worker counts as busy. So it is asked to signal, which it does whenever it passes
//! something, and it is looked at. Only the parent touches these words.

use super::Link;
use crate::engine::wire::pair::CHUNK_BYTES;

/// A worker whose ring had no room for a piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lack {
    /// How far it had read.
    consumed: u64,
    /// Since when it is seen so.
    since_ns: Option<u64>,
}

impl Link {
    /// The words that the newest piece takes in a ring, or the first chunk of its arguments if they stream.
    pub(crate) fn newest_words(&self) -> u64 {
        const FIRST_CHUNK: u64 = CHUNK_BYTES as u64 / 8 + 3;
        self.ledger.newest().map_or(0, |piece| (piece.end - piece.position).min(FIRST_CHUNK))
    }

    /// True if its ring has room for this many words.
    pub(crate) fn has_room(&mut self, words: u64) -> bool {
        if self.free_words() <= words {
            self.learn_consumed();
        }
        self.free_words() > words
    }

    fn free_words(&self) -> u64 {
        self.pair.out_ring().len() as u64 - (self.work.tail() - self.work.consumed())
    }

    /// A piece found no room.
    #[cold]
    pub(crate) fn note_lack(&mut self) {
        self.lack.get_or_insert(Lack { consumed: self.work.consumed(), since_ns: None });
    }

    /// The same, for what was tried just now: how far it had read before does not count.
    pub(super) fn note_new_lack(&mut self) {
        self.lack = Some(Lack { consumed: self.work.consumed(), since_ns: None });
    }

    /// True if a piece found no room, and it has read nothing since.
    #[inline]
    pub(crate) fn lacks_room(&self) -> bool {
        self.lack.is_some()
    }

    /// True if it has read on since a piece found no room.
    #[cold]
    pub(crate) fn has_read_on(&mut self) -> bool {
        self.learn_consumed();
        self.lack.take_if(|lack| lack.consumed < self.work.consumed()).is_some()
    }

    /// Since when a worker that holds nothing has had no room.
    pub(super) fn lacks_since_ns(&mut self, now_ns: u64) -> Option<u64> {
        self.lack.as_mut().map(|lack| *lack.since_ns.get_or_insert(now_ns))
    }
}
