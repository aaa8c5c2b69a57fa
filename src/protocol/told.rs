//! Words by which one side tells the other how far it has come.
//!
//! | words                     | in     | written by | read by | meaning                                                 |
//! |---------------------------|--------|------------|---------|---------------------------------------------------------|
//! | `back_head`               | *out*  | parent     | worker  | the position up to which the parent has read *back*'s ring |
//! | `out_head`                | *back* | worker     | parent  | the position up to which the worker has read *out*'s ring |
//! | `started_ns`, `started`   | *back* | worker     | parent  | when the worker began a piece, and which               |
//! | `first_cost`              | *back* | worker     | parent  | how long the first piece took after the worker was woken, and which that was |
//! | `back_tail`               | *back* | worker     | parent  | a hint: up to which position parts of open results are worth a look |
//! | `ended`                   | *back* | worker     | parent  | a hint: the last piece whose open result is complete  |
//! | `noted`, `noted_in`       | *back* | worker     | parent  | the last number that a piece has noted, and which piece |
//!
//! Who is told a head may write over what lies before it; so all reads of that must come before. Who is told of a start
//! reads the time that belongs to it, or that of a later piece, and then the earlier one is answered already.
//!
//! Invariant: what one side did before it told, the other side sees after it was told.

use crate::protocol::sync::{Acquire, AtomicU32, AtomicU64, Relaxed, Release};

/// Tells the producer that its consumer has read everything before `head`.
#[inline(always)]
pub(crate) fn tell_head(word: &AtomicU64, head: u64) {
    // Release (tell-head): we have read what lies before.
    word.store(head, Release);
}

/// How far the consumer has read, by its own word.
#[inline]
pub(crate) fn told_head(word: &AtomicU64) -> u64 {
    // Acquire (tell-head): the consumer has read what lies before.
    word.load(Acquire)
}

/// The worker tells when it began a piece.
pub(crate) fn tell_start(started_ns: &AtomicU64, started: &AtomicU32, sequence: u32, now_ns: u64) {
    started_ns.store(now_ns, Relaxed);
    // Release (tell-start): the time is that of this piece.
    started.store(sequence, Release);
}

/// When the worker began a piece, if its last word is about that piece.
pub(crate) fn told_start(started_ns: &AtomicU64, started: &AtomicU32, sequence: u32) -> Option<u64> {
    // Acquire (tell-start): the time was written before.
    (started.load(Acquire) == sequence).then(|| started_ns.load(Relaxed))
}

/// The worker tells how long a piece took. It does so before its reply, which is published with Release.
pub(crate) fn tell_cost(word: &AtomicU64, sequence: u32, cost_ns: u64) {
    let cost_ns = u32::try_from(cost_ns).unwrap_or(u32::MAX);
    word.store(u64::from(sequence) << 32 | u64::from(cost_ns), Relaxed);
}

/// How long a piece took, in nanoseconds, if the worker's last word is about that piece.
pub(crate) fn told_cost(word: &AtomicU64, sequence: u32) -> Option<u64> {
    let told = word.load(Relaxed);
    (told >> 32 == u64::from(sequence)).then_some(told & u64::from(u32::MAX))
}

/// The worker tells that an open result is worth a look up to this position. A hint: the records themselves are published by
/// their headers.
pub(crate) fn tell_tail(word: &AtomicU64, tail: u64) {
    word.store(tail, Relaxed);
}

/// Up to which position open results are worth a look, by the worker's word.
pub(crate) fn told_tail(word: &AtomicU64) -> u64 {
    word.load(Relaxed)
}

/// The worker tells that the open result of this piece, and all before it, are complete. A hint, too.
pub(crate) fn tell_ended(word: &AtomicU32, sequence: u32) {
    word.store(sequence, Relaxed);
}

/// The last piece whose open result is complete, by the worker's word.
pub(crate) fn told_ended(word: &AtomicU32) -> u32 {
    word.load(Relaxed)
}

/// The worker tells what a piece has noted. The word of the piece need not change for its next notes.
#[inline]
pub(crate) fn tell_note(noted: &AtomicU64, noted_in: &AtomicU64, sequence: u32, number: u64) {
    noted.store(number, Relaxed);
    // Release (tell-note): the number is that of this piece.
    noted_in.store(u64::from(sequence) + 1, Release);
}

/// What a piece has noted, if the worker's last word is about it. Of a worker that runs on it may be what a later piece notes.
pub(crate) fn told_note(noted: &AtomicU64, noted_in: &AtomicU64, sequence: u32) -> Option<u64> {
    // Acquire (tell-note): the number was written before.
    (noted_in.load(Acquire) == u64::from(sequence) + 1).then(|| noted.load(Relaxed))
}

#[cfg(test)]
mod tests;
