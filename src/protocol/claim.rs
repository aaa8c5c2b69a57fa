//! Who gets a piece that a worker holds and has not begun: the worker that claims it, or the parent
//! that calls it back. One compare-and-swap on the piece's state word decides.
//!
//! A pair has [`SLOTS`] state words in *back*; piece `sequence` uses word `sequence % SLOTS`, which
//! still holds what the piece [`SLOTS`] before it came to. No side resets a word, so in the common
//! case the line stays with the worker.
//!
//! | from                      | to            | who    | when                                          |
//! |---------------------------|---------------|--------|-----------------------------------------------|
//! | anything of an older piece | `Claimed`     | worker | it is about to read the arguments and run     |
//! | anything of an older piece | `Revoked`  | parent | another worker is idle, or the task was dropped |
//!
//! Invariant: a piece's word changes at most once, so exactly one side gets the piece. If the worker
//! dies, `Claimed` without a reply is the piece it took with it; whatever else it held never began.

use crate::protocol::sync::{AcqRel, Acquire, AtomicU32};

/// How many pieces can be on their way to a worker. `handle.rs` counts them, so that no two pieces
/// that the worker has not stepped over, those called back among them, share a word.
pub(crate) const SLOTS: usize = 2048;

/// The state word of piece `sequence`.
fn word(states: &[AtomicU32], sequence: u32) -> &AtomicU32 {
    &states[sequence as usize % states.len()]
}

const fn claimed(sequence: u32) -> u32 {
    sequence << 1
}

const fn revoked(sequence: u32) -> u32 {
    sequence << 1 | 1
}

/// The worker takes the piece; false if it was called back before.
#[must_use]
pub(crate) fn claim(states: &[AtomicU32], sequence: u32) -> bool {
    decide(word(states, sequence), revoked(sequence), claimed(sequence))
}

/// The parent takes the piece back; false if the worker has claimed it.
#[must_use]
pub(crate) fn revoke(states: &[AtomicU32], sequence: u32) -> bool {
    decide(word(states, sequence), claimed(sequence), revoked(sequence))
}

fn decide(word: &AtomicU32, lost: u32, won: u32) -> bool {
    // Acquire and AcqRel (decide-piece): whoever loses sees what the winner did before.
    let seen = word.load(Acquire);
    seen != lost && word.compare_exchange(seen, won, AcqRel, Acquire).is_ok()
}

/// True if the worker has claimed the piece. Final once the worker is dead.
#[must_use]
pub(crate) fn is_claimed(states: &[AtomicU32], sequence: u32) -> bool {
    // Acquire (decide-piece).
    word(states, sequence).load(Acquire) == claimed(sequence)
}

#[cfg(test)]
mod tests;
