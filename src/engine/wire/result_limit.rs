//! The limit of a result's length.
//!
//! The worker checks it before it sends, so that the piece gets an error that says so. The parent checks it again before it
//! reserves memory, since a worker may announce any length.
//!
//! Invariant: results up to [`ALWAYS_ALLOWED_BYTES`] are allowed unless the settings say less.

use crate::sys::machine;
use std::sync::atomic::{AtomicU64, Ordering};

/// Without a setting, a result of up to 64 MiB is allowed, without a look at the machine's memory: that takes reading some
/// files.
pub(crate) const ALWAYS_ALLOWED_BYTES: usize = 64 * 1024 * 1024;

/// The most bytes of a result; `None` for half of the memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResultLimit(Option<u64>);

impl ResultLimit {
    pub(crate) fn new(most_bytes: Option<u64>) -> Self {
        ResultLimit(most_bytes)
    }

    /// Reads what [`allows`](Self::allows) may need: before the scheduler's lock exists, or without it.
    pub(crate) fn read_memory() {
        let _ = half_of_memory();
    }

    /// True if a result may have this length.
    pub(crate) fn allows(self, bytes: usize) -> bool {
        match self.0 {
            Some(most) => bytes as u64 <= most,
            None => bytes <= ALWAYS_ALLOWED_BYTES || bytes as u64 <= half_of_memory(),
        }
    }

    /// How many bytes may follow this number of them. Without a setting the machine is asked only for long results.
    pub(crate) fn allows_more(self, bytes: u64) -> u64 {
        match self.0 {
            Some(most) => most.saturating_sub(bytes),
            None if bytes < ALWAYS_ALLOWED_BYTES as u64 => ALWAYS_ALLOWED_BYTES as u64 - bytes,
            None => half_of_memory().saturating_sub(bytes),
        }
    }

    /// The limit as a number, for messages.
    pub(crate) fn most_bytes(self) -> u64 {
        self.0.unwrap_or_else(half_of_memory)
    }
}

/// Half of the memory that this process can have; read once, since that takes some files.
fn half_of_memory() -> u64 {
    /// 0: not read yet. No lock: a process can be forked while another thread reads.
    static HALF: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the number is all that there is to see, and each thread would read the same.
    match HALF.load(Ordering::Relaxed) {
        0 => {
            let half = machine::memory_bytes().map_or(u64::MAX, |memory| (memory / 2).max(ALWAYS_ALLOWED_BYTES as u64));
            HALF.store(half, Ordering::Relaxed);
            half
        }
        half => half,
    }
}
