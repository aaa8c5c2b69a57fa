//! The one seam for atomics: the shipped code and the loom models are compiled from the same sources. Only this file
//! distinguishes the two.

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

    /// loom's `AtomicU32`, with each store made as a swap. In the order of modifications a swap follows directly
    /// after the value that it read, so every later store comes after the swap. loom (0.7) does not guarantee this for
    /// plain stores: it would order a worker's second announcement before the parent's answer to the first one,
    /// and report a lost wake-up that cannot occur.
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
