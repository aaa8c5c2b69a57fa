//! Copies between the words of a ring, which another process may be writing at the same time, and private bytes.
//!
//! Invariant: each word of the shared memory is read or written once, and only as an atomic or by an instruction that the
//! compiler cannot see into. So no byte is read twice, and whatever the peer does, the result is only wrong bytes. (What a producer
//! writes in place, into a [`Window`], is written as often as it likes, and never read by it.)

#![allow(unsafe_code)]

use crate::protocol::sync::{AtomicU64, Relaxed};

/// From 256 bytes on, one `rep movsb` is faster than a loop over words: its start costs some tens of cycles, about as
/// many as the loop needs for these 32 words. A tenth would pay the start for small values, ten times would copy
/// values of some KiB word by word.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
const LARGE_BYTES: usize = 256;

/// Copies `bytes` to the beginning of `words`.
#[inline(always)]
pub(super) fn into_words(words: &[AtomicU64], bytes: &[u8]) {
    let word = |chunk: &[u8; 8]| u64::from_le_bytes(*chunk);
    // The arguments of most tiny pieces: two numbers, or one. A loop would cost more than the copy.
    match (words, bytes.as_chunks()) {
        ([first, second], ([one, two], [])) => {
            first.store(word(one), Relaxed);
            second.store(word(two), Relaxed);
        }
        ([first], ([one], [])) => first.store(word(one), Relaxed),
        _ => many_into_words(words, bytes),
    }
}

fn many_into_words(words: &[AtomicU64], bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    if bytes.len() >= LARGE_BYTES {
        return large::into_words(words, bytes);
    }
    // Whole words first: a copy whose length the compiler knows needs no call.
    let (whole, rest) = bytes.as_chunks();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*chunk), Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_le_bytes(last), Relaxed);
    }
}

/// A part of a ring that its producer has reserved, and fills: nobody else touches its words before they are published.
///
/// Invariant: `used <= most`, and `most` bytes fit into the words. So a write needs one comparison: sinks make one for
/// each word of a text.
pub(crate) struct Window<'ring> {
    words: &'ring [AtomicU64],
    used: usize,
    most: usize,
}

impl<'ring> Window<'ring> {
    /// Nothing fits into it.
    pub(crate) const NONE: Self = Window { words: &[], used: 0, most: 0 };

    /// An empty window for up to `most` bytes.
    pub(crate) fn new(words: &'ring [AtomicU64], most: usize) -> Self {
        assert!(most <= size_of_val(words));
        Window { words, used: 0, most }
    }

    /// The bytes that were written into it.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The bytes that still fit.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.most - self.used
    }

    /// The words that it lies in.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn words(&self) -> &'ring [AtomicU64] {
        self.words
    }

    /// Lets no more than `most` bytes into it.
    pub(crate) fn limit(&mut self, most: usize) {
        self.most = self.most.min(most).max(self.used);
    }

    /// Writes all of it, or, if it does not fit, nothing. False then.
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        #[cfg(not(any(loom, miri)))]
        {
            // SAFETY: `used <= most`, and `most` bytes lie in the slice (the invariant), whose words may be written through a
            // shared reference.
            let target = unsafe { self.words.as_ptr().cast_mut().cast::<u8>().add(self.used) };
            // SAFETY: the target has room for all of it (compared above), and a private slice does not overlap with a ring. The
            // reserved words are read by nobody before the Release (publish-record) that follows this: no other access is concurrent.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) }
        }
        // miri's model of weak memory has no word that is written by both kinds of stores.
        #[cfg(any(loom, miri))]
        for (index, &byte) in bytes.iter().enumerate() {
            let (word, shift) = (&self.words[(self.used + index) / 8], (self.used + index) % 8 * 8);
            word.store(word.load(Relaxed) & !(0xff << shift) | u64::from(byte) << shift, Relaxed);
        }
        self.used += bytes.len();
        true
    }
}

/// Copies the beginning of `words` to `bytes`, as much as fits there.
#[inline(always)]
pub(super) fn from_words(words: &[AtomicU64], bytes: &mut [u8]) {
    // The result of most tiny pieces: one number.
    match (words, bytes.as_chunks_mut()) {
        ([word], ([one], [])) => *one = word.load(Relaxed).to_le_bytes(),
        _ => many_from_words(words, bytes),
    }
}

fn many_from_words(words: &[AtomicU64], bytes: &mut [u8]) {
    let (whole, rest) = bytes.as_chunks_mut();
    let count = whole.len();
    for (word, chunk) in words.iter().zip(whole) {
        *chunk = word.load(Relaxed).to_le_bytes();
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&words[count].load(Relaxed).to_le_bytes()[..rest.len()]);
    }
}

/// Appends the first `length` bytes of `words` to `bytes`.
pub(super) fn append_from_words(words: &[AtomicU64], length: usize, bytes: &mut Vec<u8>) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    if length >= LARGE_BYTES {
        return large::append_from_words(words, length, bytes);
    }
    bytes.reserve(length);
    let whole = length / 8;
    for word in &words[..whole] {
        bytes.extend_from_slice(&word.load(Relaxed).to_le_bytes());
    }
    if !length.is_multiple_of(8) {
        bytes.extend_from_slice(&words[whole].load(Relaxed).to_le_bytes()[..length % 8]);
    }
}

/// Copies of many bytes, by `rep movsb`.
///
/// In assembly it is opaque to the compiler: the compiler cannot treat the copy as a data race and cannot read a byte
/// twice, as it may with `copy_nonoverlapping`. On the processors of the last decade it is also the fastest plain copy.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
mod large {
    use super::AtomicU64;
    use core::arch::asm;

    pub(super) fn into_words(words: &[AtomicU64], bytes: &[u8]) {
        assert!(bytes.len() <= size_of_val(words));
        // SAFETY: the source is a live slice. The target is at least as long (asserted above), and atomics may be
        // written through a shared reference. Shared memory and a private slice do not overlap.
        unsafe { move_bytes(words.as_ptr().cast_mut().cast(), bytes.as_ptr(), bytes.len()) }
    }

    pub(super) fn append_from_words(words: &[AtomicU64], length: usize, bytes: &mut Vec<u8>) {
        assert!(length <= size_of_val(words));
        bytes.reserve(length);
        let start = bytes.len();
        // SAFETY: `reserve` made room for `length` bytes after the first `start`, so the sum lies within the allocation.
        let target = unsafe { bytes.as_mut_ptr().add(start) };
        // SAFETY: the target has room for `length` bytes, which belong to `bytes` alone, so the two do not overlap. The
        // source is at least as long (asserted above).
        unsafe { move_bytes(target, words.as_ptr().cast(), length) }
        // SAFETY: the first `start` bytes were initialised before, the next `length` by the copy above.
        unsafe { bytes.set_len(start + length) }
    }

    /// # Safety
    /// `to` must be valid for writing and `from` for reading `length` bytes, and they must not overlap.
    unsafe fn move_bytes(to: *mut u8, from: *const u8, length: usize) {
        // SAFETY: the caller guarantees both ranges. The ABI guarantees that the direction flag is clear.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags)
            );
        }
    }
}
