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

/// From this size on large pages pay off: they spare a page fault for each 4 KiB.
const LARGE_BYTES: usize = 4 * 1024 * 1024;
const LARGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Asks for large pages under the spare room of a buffer, where the system leaves that to programs. Only
/// the time depends on the answer.
pub(crate) fn prefer_large_pages(buffer: &mut Vec<u8>) {
    let room = buffer.spare_capacity_mut();
    if room.len() < LARGE_BYTES {
        return;
    }
    let before = room.as_ptr().align_offset(LARGE_PAGE_BYTES).min(room.len());
    let whole = (room.len() - before) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
    raw::advise_large_pages(&mut room[before..before + whole]);
}
