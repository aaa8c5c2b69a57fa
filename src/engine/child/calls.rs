//! The functions that the parent asks for: made of the words that it wrote.
//!
//! Invariant: a word becomes a call only here, and only if it comes from the parent: out of the settings, or
//! out of *out*, which the parent alone can write.

#![allow(unsafe_code)]

use crate::codec::call::Call;
use crate::engine::wire::message::Hook;
use crate::engine::wire::pair::Pair;
use crate::protocol::ring::Record;

/// Proof that the parent of this process runs the same image, with the address that its words start from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParentCalls {
    base: usize,
}

impl ParentCalls {
    /// # Safety
    /// The settings and the pairs of this process must come from a parent that runs the same image.
    /// `base` must be the address of the symbol that the parent makes its words from.
    pub(crate) unsafe fn new(base: usize) -> Self {
        ParentCalls { base }
    }

    /// The function of a hook in the settings.
    pub(crate) fn of_hook(self, hook: &Hook) -> Call {
        // SAFETY: the settings come from the parent, whose image is ours (`new`), and the parent made the word
        // from a `Call`.
        unsafe { Call::from_word(hook.call, self.base) }
    }

    /// The function of a piece: the first word of its record. `None` for a record without words, which no
    /// parent writes.
    pub(crate) fn of_piece(self, pair: &Pair, record: &Record) -> Option<Call> {
        let word = record.word(pair.out_ring(), 0)?;
        // SAFETY: only the parent can write *out*. Its image is ours (`new`), and it begins each piece with a
        // word that it made from a `Call`.
        Some(unsafe { Call::from_word(word, self.base) })
    }
}
