//! The one seam for atomics: the shipping code and the loom models are compiled from the same
//! sources, and only this file knows which of the two it is.

#[cfg(loom)]
pub(crate) use self::model::AtomicU32;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, fence};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, fence};

pub(crate) use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

#[cfg(loom)]
mod model {
    use core::sync::atomic::Ordering;
    use loom::sync::atomic;

    /// loom's, but a store is made as a swap. A swap takes its place right behind what it read, so
    /// whatever else is stored after that comes after the swap too. loom (0.7) does not know this
    /// of stores: it would let a worker's second announcement be older than the parent's answer to
    /// its first, and report a wake-up as lost that cannot be.
    #[derive(Debug)]
    pub(crate) struct AtomicU32(atomic::AtomicU32);

    impl AtomicU32 {
        pub(crate) fn new(value: u32) -> Self {
            AtomicU32(atomic::AtomicU32::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> u32 {
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: u32, order: Ordering) {
            self.0.swap(value, order);
        }

        pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
            self.0.swap(value, order)
        }

        pub(crate) fn compare_exchange(
            &self,
            seen: u32,
            value: u32,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u32, u32> {
            self.0.compare_exchange(seen, value, success, failure)
        }
    }
}
