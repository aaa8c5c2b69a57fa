//! Buffers for results that stream: memory that was used before is used again.
//!
//! A fresh buffer costs more in page faults than the copy into it.
//!
//! Invariant: at most [`Buffers::MAX_BUFFERS`] are kept, all empty, each with a capacity within [`Buffers::KEPT_BYTES`].
//! All workers of a pool share them, under the pool's lock.

use crate::engine::wire::pair::CHUNK_BYTES;
use crate::engine::wire::result_limit::ResultLimit;
use crate::sys::allocator;

/// The most memory that is reserved because a worker announced a result of that length: 1 GiB. Reserved memory is not
/// touched before the bytes come, so a false length costs addresses only. Longer results grow with their bytes: each time
/// all of it may have to be copied, with the pool's lock held.
const BELIEVED_BYTES: usize = 1 << 30;

#[derive(Debug, Default)]
pub(crate) struct Buffers {
    buffers: Vec<Vec<u8>>,
    limit: ResultLimit,
}

impl Buffers {
    /// With 4 MiB each, 32 MiB are kept at most.
    const MAX_BUFFERS: usize = 8;
    /// A result of at most one chunk does not stream, and needs no buffer of these. A larger buffer than 4 MiB would keep too
    /// much memory.
    const KEPT_BYTES: std::ops::RangeInclusive<usize> = CHUNK_BYTES..=4 * 1024 * 1024;

    /// A buffer of up to four times the length is used. A result keeps its buffer until its reader drops it, so a
    /// larger one would hold too much memory for it; with no room to spare most kept buffers would fit nothing.
    const MAX_OVERSIZE: usize = 4;

    pub(crate) fn new(limit: ResultLimit) -> Self {
        Buffers { buffers: Vec::new(), limit }
    }

    /// True if a result may have this length.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        self.limit.allows(bytes)
    }

    /// An empty buffer for a value of this announced length; with room for at most [`BELIEVED_BYTES`] if it is new.
    pub(super) fn take(&mut self, bytes: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| buffer.capacity() >= bytes && buffer.capacity() / Self::MAX_OVERSIZE <= bytes;
        // The last one returned is most likely still in the cache.
        if let Some(index) = self.buffers.iter().rposition(fits) {
            return self.buffers.remove(index);
        }
        let mut buffer = Vec::new();
        // If there is no memory, it grows as bytes come.
        let _ = buffer.try_reserve_exact(bytes.min(BELIEVED_BYTES));
        allocator::prefer_large_pages(&mut buffer);
        buffer
    }

    /// An empty buffer for a result of unknown length: the one that was used last.
    pub(super) fn take_any(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_else(|| Vec::with_capacity(4 * CHUNK_BYTES))
    }

    /// Takes a buffer back. Returns the buffer if it is not kept, for the caller to drop outside the lock, and true if
    /// there was none before.
    pub(crate) fn put(&mut self, mut buffer: Vec<u8>) -> (Option<Vec<u8>>, bool) {
        if self.buffers.len() >= Self::MAX_BUFFERS || !Self::KEPT_BYTES.contains(&buffer.capacity()) {
            return (Some(buffer), false);
        }
        let first = self.buffers.is_empty();
        buffer.clear();
        self.buffers.push(buffer);
        (None, first)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Removes them all; the caller frees their memory.
    pub(crate) fn clear(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_sizes_are_kept() {
        for (capacity, is_kept) in [
            (0, false),
            (CHUNK_BYTES - 1, false),
            (CHUNK_BYTES, true),
            (4 * 1024 * 1024, true),
            (4 * 1024 * 1024 + 1, false),
        ] {
            let mut buffers = Buffers::default();
            let (back, first) = buffers.put(Vec::with_capacity(capacity));
            assert_eq!((back.is_none(), first, !buffers.is_empty()), (is_kept, is_kept, is_kept), "{capacity}");
        }
    }

    #[test]
    fn no_more_than_eight_are_kept() {
        let mut buffers = Buffers::default();
        for number in 0..10 {
            let (back, first) = buffers.put(vec![1; CHUNK_BYTES]);
            assert_eq!((back.is_none(), first), (number < 8, number == 0), "{number}");
        }
        assert_eq!(buffers.clear().len(), 8);
        assert!(buffers.is_empty());
    }

    #[test]
    fn a_kept_buffer_is_used_again_if_it_fits() {
        // The buffer is four chunks long: neither too short nor more than four times too long.
        let kept_bytes = 4 * CHUNK_BYTES;
        for (wanted, is_used) in
            [(kept_bytes + 1, false), (kept_bytes, true), (kept_bytes / 4, true), (kept_bytes / 4 - 1, false)]
        {
            let mut buffers = Buffers::default();
            let _ = buffers.put(vec![1; kept_bytes]);
            let taken = buffers.take(wanted);
            assert!(taken.is_empty() && taken.capacity() >= wanted);
            assert_eq!(buffers.is_empty(), is_used, "{wanted}");
        }
    }

    #[test]
    fn a_length_is_believed_up_to_a_limit() {
        for (announced, capacity) in [(BELIEVED_BYTES - 1, BELIEVED_BYTES - 1), (usize::MAX, BELIEVED_BYTES)] {
            assert_eq!(Buffers::default().take(announced).capacity(), capacity);
        }
    }
}
