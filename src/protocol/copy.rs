//! Large copies into and out of memory that another process may be writing at the same time.
//!
//! `rep movsb` in assembly is opaque to the compiler: it cannot take the copy for a data race, nor
//! read a byte twice, as it may with `copy_nonoverlapping`. On the processors of the last decade it
//! is also the fastest plain copy.

#![allow(unsafe_code)]

use crate::protocol::sync::AtomicU64;
use core::arch::asm;

/// Copies `bytes` to the beginning of `words`.
pub(crate) fn to_shared(words: &[AtomicU64], bytes: &[u8]) {
    assert!(bytes.len() <= size_of_val(words));
    // SAFETY: the source is a live slice; the target is at least as long (asserted), and atomics
    // may be written through a shared reference.
    unsafe { move_bytes(words.as_ptr().cast_mut().cast(), bytes.as_ptr(), bytes.len()) }
}

/// Appends the first `length` bytes of `words` to `bytes`.
pub(crate) fn append_from_shared(words: &[AtomicU64], length: usize, bytes: &mut Vec<u8>) {
    assert!(length <= size_of_val(words));
    bytes.reserve(length);
    let start = bytes.len();
    // SAFETY: `reserve` made room for `length` bytes behind `start`, which nobody else can see; the
    // source is at least as long (asserted).
    unsafe { move_bytes(bytes.as_mut_ptr().add(start), words.as_ptr().cast(), length) }
    // SAFETY: the bytes up to here were initialised before, the rest just now.
    unsafe { bytes.set_len(start + length) }
}

/// # Safety
/// `to` must be valid for writing and `from` for reading `length` bytes, and they must not overlap.
unsafe fn move_bytes(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
}
