//! The allocator of this process, and how memory comes to it and goes.

use super::may_sleep::assert_may_sleep;
use super::raw::{self, SingleThreaded};

/// A block takes a little more than its own size: a sixteenth more is kept for headers and rounding up.
const OVERHEAD_DIVISOR: usize = 16;

/// Tells the allocator to keep freed memory up to `bytes`, big blocks too.
pub(crate) fn keep_memory(proof: &SingleThreaded, bytes: usize) {
    raw::keep_freed_memory(proof, bytes.saturating_add(bytes / OVERHEAD_DIVISOR));
}

/// Gives freed memory back to the system.
pub(crate) fn give_memory_back() {
    assert_may_sleep();
    raw::give_freed_memory_back();
}

/// glibc keeps up to this at the end of the heap of a thread, and has no call that gives it back.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// glibc takes blocks of this size from a heap, whatever its thresholds.
const HEAP_BLOCK_BYTES: usize = 96 * 1024;

/// The same after this number of bytes was freed, with what lies at the end of this thread's own heap. It takes 60 ms a GiB.
pub(crate) fn give_much_memory_back(bytes: usize) {
    if !cfg!(target_env = "gnu") {
        return;
    }
    // What lies at the end is taken last, after all else that is free.
    let mut blocks = Vec::new();
    for _ in 0..bytes.saturating_add(KEPT_BYTES) / HEAP_BLOCK_BYTES {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(HEAP_BLOCK_BYTES).is_err() {
            break;
        }
        raw::discard(block.spare_capacity_mut());
        blocks.push(block);
    }
    drop(blocks);
    give_memory_back();
}

/// From this size on large pages pay off: they spare a page fault for each 4 KiB.
const LARGE_BYTES: usize = 4 * 1024 * 1024;
const LARGE_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// A multiple of the system's page, of 4 to 64 KiB.
const SMALL_PAGE_BYTES: usize = 64 * 1024;

/// Asks for large pages under the spare room of a buffer, where the system leaves that to programs. Only
/// the time depends on the answer. The first bytes get small pages: to clear a large one takes 0.2 ms and more, and who
/// writes the first bytes may hold a lock.
pub(crate) fn prefer_large_pages(buffer: &mut Vec<u8>) {
    let room = buffer.spare_capacity_mut();
    if room.len() < LARGE_BYTES {
        return;
    }
    let before = (room.as_ptr().align_offset(LARGE_PAGE_BYTES) + LARGE_PAGE_BYTES).min(room.len());
    let whole = (room.len() - before) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
    raw::advise_large_pages(&mut room[before..before + whole]);
}

/// Pages of a buffer that is being filled, to be allocated before its next bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pages {
    address: usize,
    bytes: usize,
}

impl Pages {
    /// Those that a buffer needs next, after it grew from `before` bytes: twice [`LARGE_PAGE_BYTES`] at first, and then as
    /// much again each time that as much was filled. So there is always that much time to allocate them. None for a buffer of up
    /// to [`LARGE_BYTES`], which may have been used before.
    pub(crate) fn ahead(buffer: &Vec<u8>, before: usize) -> Option<Pages> {
        if buffer.capacity() <= LARGE_BYTES {
            return None;
        }
        let step = |bytes: usize| bytes / LARGE_PAGE_BYTES;
        let start = match before {
            0 => buffer.len(),
            _ if step(before) == step(buffer.len()) => return None,
            _ => (step(buffer.len()) + 1) * LARGE_PAGE_BYTES,
        };
        let end = ((step(buffer.len()) + 2) * LARGE_PAGE_BYTES).min(buffer.capacity());
        let (first, last) = (buffer.as_ptr().addr() + start, buffer.as_ptr().addr() + end);
        let (first, last) = (first.next_multiple_of(SMALL_PAGE_BYTES), last / SMALL_PAGE_BYTES * SMALL_PAGE_BYTES);
        (first < last).then(|| Pages { address: first, bytes: last - first })
    }

    /// Allocates them. If the buffer is gone by now, other memory of this process may get pages, or none; no content changes.
    pub(crate) fn allocate(self) {
        assert_may_sleep();
        raw::allocate_pages(self.address, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_allocated_one_step_ahead_and_within_the_buffer() {
        const STEP: usize = LARGE_PAGE_BYTES;
        let mut buffer = vec![7; 5 * STEP];
        buffer.shrink_to_fit();
        let start = buffer.as_ptr().addr();
        // The bytes before, and now; the range, but for the rounding to pages.
        for (before, now, expected) in [
            (0, 100, Some((100, 2 * STEP))),
            (100, STEP - 1, None),
            (STEP - 1, STEP, Some((2 * STEP, 3 * STEP))),
            (STEP, STEP + 9, None),
            (STEP, 2 * STEP + 5, Some((3 * STEP, 4 * STEP))),
            (3 * STEP - 5, 3 * STEP, Some((4 * STEP, 5 * STEP))),
            (4 * STEP - 5, 4 * STEP, None),
            (0, 5 * STEP, None),
        ] {
            buffer.truncate(0);
            buffer.resize(now, 7);
            let pages = Pages::ahead(&buffer, before);
            assert_eq!(pages.is_some(), expected.is_some(), "{before}, {now}");
            if let (Some(Pages { address, bytes }), Some((from, to))) = (pages, expected) {
                assert!((start + from..start + from + SMALL_PAGE_BYTES).contains(&address), "{before}, {now}");
                assert!(
                    (start + to - SMALL_PAGE_BYTES + 1..=start + to).contains(&(address + bytes)),
                    "{before}, {now}"
                );
            }
        }
        assert_eq!(Pages::ahead(&vec![7; 2 * STEP], 0), None, "it may have its pages");
        // What is there stays as it is, and memory that is gone is left alone.
        let pages = Pages { address: start.next_multiple_of(SMALL_PAGE_BYTES), bytes: STEP };
        pages.allocate();
        assert!(buffer.iter().all(|&byte| byte == 7));
        Pages { address: SMALL_PAGE_BYTES, bytes: SMALL_PAGE_BYTES }.allocate();
    }
}
