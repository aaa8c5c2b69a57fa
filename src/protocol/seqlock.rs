//! A row of words that one thread writes, and that others read whole, without a lock and without a word of their own.
//!
//! | word       | written by | read by | meaning                                                       |
//! |------------|------------|---------|---------------------------------------------------------------|
//! | `sequence` | writer     | readers | even: the content is whole; odd: the writer is at it           |
//! | content    | writer     | readers | between two values of `sequence`                               |
//!
//! The writer makes `sequence` odd, writes the content, and makes `sequence` the next even number. A reader reads `sequence`, the content, and
//! `sequence` again: it has one content if both were the same even number. Readers may have no right to write, so the writer never knows of them.
//!
//! | the writer stops for ever … | a reader sees                                                              |
//! |-----------------------------|----------------------------------------------------------------------------|
//! | before `sequence` is odd    | the former content, whole                                                   |
//! | while `sequence` is odd     | `Read::Torn` each time: each word is whole, some are of the former content |
//! | after it is even            | the new content, whole                                                      |
//!
//! A writer that goes on after another one stopped in the middle writes the row anew, and it is whole again.
//!
//! Invariant: a content that is given as whole was written as such, by one write.

#[cfg(any(test, feature = "status"))]
use crate::protocol::sync::Acquire;
use crate::protocol::sync::{AtomicU64, Relaxed, Release, fence};

/// A row in memory that both sides see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a, const N: usize> {
    pub(crate) sequence: &'a AtomicU64,
    pub(crate) content: &'a [AtomicU64; N],
}

/// What a reader found.
#[cfg(any(test, feature = "status"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Read<const N: usize> {
    Whole([u64; N]),
    /// The writer was at it: words of two contents.
    Torn([u64; N]),
}

/// Writes a row. There is one writer at a time: it holds a lock that all writers take.
#[inline]
pub(crate) fn write<const N: usize>(row: Row<'_, N>, content: &[u64; N]) {
    // Relaxed: only writers change it, and the lock orders them. It is odd if another one stopped in the middle.
    let odd = row.sequence.load(Relaxed) | 1;
    row.sequence.store(odd, Relaxed);
    // Release (begin-row): who sees a word of the new content sees that it was begun.
    fence(Release);
    for (word, value) in row.content.iter().zip(content) {
        word.store(*value, Relaxed);
    }
    // Release (end-row): who sees the even number sees all words.
    row.sequence.store(odd.wrapping_add(1), Release);
}

/// Reads a row once.
#[cfg(any(test, feature = "status"))]
pub(crate) fn read<const N: usize>(row: Row<'_, N>) -> Read<N> {
    // Acquire (end-row): the words are those of this number, or newer.
    let before = row.sequence.load(Acquire);
    let content = std::array::from_fn(|index| row.content[index].load(Relaxed));
    // Acquire (begin-row): if one of them is newer, the number has changed.
    fence(Acquire);
    let after = row.sequence.load(Relaxed);
    if before == after && before.is_multiple_of(2) { Read::Whole(content) } else { Read::Torn(content) }
}

#[cfg(test)]
mod tests;
