//! The protocols between processes and between threads. They know no system, so that loom and miri
//! can run them on the heap.

pub(crate) mod claim;
#[cfg(target_arch = "x86_64")]
pub(crate) mod copy;
pub(crate) mod lead;
pub(crate) mod ring;
pub(crate) mod sleep;
pub(crate) mod sync;
