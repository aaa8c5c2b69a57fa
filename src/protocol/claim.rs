//! Which side gets a piece that was given to a worker: the worker, which claims it, or the parent, which revokes it. One
//! compare-and-swap on the piece's state word decides.
//!
//! A pair has [`SLOTS`] state words in *back*. Piece `sequence` uses word `sequence % SLOTS`, which still holds the final
//! state of piece `sequence - SLOTS`. Neither side resets a word, so the cache line usually stays with the worker's core.
//!
//! | from                        | to        | written by | when                                              |
//! |-----------------------------|-----------|------------|---------------------------------------------------|
//! | any state of an older piece | `Claimed` | worker     | before it reads the arguments and runs the piece  |
//! | any state of an older piece | `Revoked` | parent     | another worker is idle, or the task was dropped   |
//!
//! Invariant: a piece's word changes at most once for this piece, so exactly one side gets the piece. If the worker dies,
//! a piece that is `Claimed` and has no reply is lost; all other pieces that the worker held never began.

use crate::protocol::sync::{AcqRel, Acquire, AtomicU32};

/// The number of pieces that can be on their way to a worker. `engine/link` counts all pieces that the worker has not
/// passed yet, the revoked ones included, so that no two of them share a word.
///
/// 2048 words are two pages, twice the most pieces of look-ahead. A tenth would be used up by tiny pieces; ten times
/// would be 20 pages, which each new worker pays for, and more lines in the caches.
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

/// The worker takes the piece; false if the parent has revoked it.
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
    // Acquire, and AcqRel (decide-piece): the side that loses sees what the winner did before it won.
    let seen = word.load(Acquire);
    seen != lost && word.compare_exchange(seen, won, AcqRel, Acquire).is_ok()
}

/// True if the worker has claimed the piece. Final once the worker is dead.
#[must_use]
pub(crate) fn is_claimed(states: &[AtomicU32], sequence: u32) -> bool {
    // Acquire (decide-piece): seeing the claim means seeing what the worker did before it.
    word(states, sequence).load(Acquire) == claimed(sequence)
}

#[cfg(test)]
mod tests;
