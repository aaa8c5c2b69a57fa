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
//!
//! A worker whose memory is damaged can write anything here. The parent knows which values a word can have: the final
//! state of the piece before, or that of this piece. Any other is [`Standing::Damaged`], and no piece is taken back by it.

use crate::protocol::sync::{AcqRel, Acquire, AtomicU32};

/// The number of pieces that can be on their way to a worker. `engine/link` counts all pieces that the worker has not
/// passed yet, the revoked ones included, so that no two of them share a word.
///
/// 2048 words are two pages, twice the most pieces of look-ahead. A tenth would be used up by tiny pieces; ten times
/// would be 20 pages, which each new worker pays for, and more lines in the caches.
pub(crate) const SLOTS: usize = 2048;

/// The greatest sequence number; 1 follows. 31 bits, because the state word uses one bit itself.
pub(crate) const LAST_SEQUENCE: u32 = u32::MAX >> 1;

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

/// The parent takes the piece back; false if the worker has claimed it, or damaged its word.
#[must_use]
pub(crate) fn revoke(states: &[AtomicU32], sequence: u32) -> bool {
    standing(states, sequence) == Standing::Undecided
        && decide(word(states, sequence), claimed(sequence), revoked(sequence))
}

fn decide(word: &AtomicU32, lost: u32, won: u32) -> bool {
    // Acquire, and AcqRel (decide-piece): the side that loses sees what the winner did before it won.
    let seen = word.load(Acquire);
    seen != lost && word.compare_exchange(seen, won, AcqRel, Acquire).is_ok()
}

/// Which side has a piece, by its state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Neither: the word holds the final state of the piece before, or 0 if there was none.
    Undecided,
    /// The worker has begun it.
    Claimed,
    /// The parent has taken it back.
    Revoked,
    /// No side writes such a word.
    Damaged,
}

/// What a piece's word says. Final once the worker is dead.
#[must_use]
pub(crate) fn standing(states: &[AtomicU32], sequence: u32) -> Standing {
    // Acquire (decide-piece): seeing the claim means seeing what the worker did before it.
    let seen = word(states, sequence).load(Acquire);
    if seen == claimed(sequence) {
        Standing::Claimed
    } else if seen == revoked(sequence) {
        Standing::Revoked
    } else if is_before(seen, sequence, states.len() as u32) {
        Standing::Undecided
    } else {
        Standing::Damaged
    }
}

/// True if `seen` is what the piece before left in the word of piece `sequence`.
fn is_before(seen: u32, sequence: u32, slots: u32) -> bool {
    if sequence > slots {
        return seen >> 1 == sequence - slots;
    }
    // The first piece of its word, or the first one after the numbers began anew at 1.
    let slot = sequence % slots;
    let last = LAST_SEQUENCE - (LAST_SEQUENCE - slot) % slots;
    seen == 0 || seen >> 1 == last
}

#[cfg(test)]
mod tests;
