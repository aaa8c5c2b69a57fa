//! How long a result may be. The worker looks before it sends, so that an honest piece gets an error
//! that says so; the parent looks before it believes, since a worker's word is only a word.

use crate::sys::machine;
use std::sync::OnceLock;

/// Up to this length nobody looks.
pub(crate) const ALWAYS_ALLOWED_BYTES: usize = 64 * 1024 * 1024;

/// The setting, `None` for what the machine allows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResultLimit(Option<u64>);

impl ResultLimit {
    pub(crate) fn new(most_bytes: Option<u64>) -> Self {
        ResultLimit(most_bytes)
    }

    pub(crate) fn allows(self, bytes: usize) -> bool {
        match self.0 {
            Some(most) => bytes as u64 <= most,
            None => bytes <= ALWAYS_ALLOWED_BYTES || bytes as u64 <= half_of_memory(),
        }
    }

    pub(crate) fn most_bytes(self) -> u64 {
        self.0.unwrap_or_else(half_of_memory)
    }
}

/// Half of the memory that this process can have; read once, since that takes some files.
fn half_of_memory() -> u64 {
    static HALF: OnceLock<u64> = OnceLock::new();
    *HALF.get_or_init(|| match machine::memory_bytes() {
        Some(memory) => (memory / 2).max(ALWAYS_ALLOWED_BYTES as u64),
        None => u64::MAX,
    })
}
