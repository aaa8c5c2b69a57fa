//! The protocols between processes and between threads.
//!
//! Invariant: nothing here calls or imports the system (`sys`, libc, rustix), so that loom and miri can run the
//! protocols on the heap. They compile on every platform.

pub(crate) mod claim;
pub(crate) mod copy;
pub(crate) mod lead;
pub(crate) mod ring;
pub(crate) mod seqlock;
pub(crate) mod sleep;
pub(crate) mod sync;
pub(crate) mod told;
