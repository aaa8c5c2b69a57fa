//! A check of the rule that no call which can sleep is made under the scheduler's lock.
//!
//! In test builds each thread counts the scheduler's locks that it holds, and every function of
//! `sys` that can sleep or take long asserts that the count is zero. Other builds contain none of it.
//!
//! Not checked, and allowed under the lock:
//!
//! - what the allocator does by itself (mmap, munmap, brk) when memory grows or a buffer is freed,
//! - madvise for the buffer of a large reply (`advise_large_pages`),
//! - the close of a descriptor,
//! - the read of a worker's memory in its statm file (`Usage::bytes_at_once`). The kernel sums up counters of the worker's
//!   memory: it takes no lock that a page fault or a mapping of the worker holds, and its buffer is there since the first
//!   read. It would wait for another thread that reads the same file at this moment, so then it is not made. And if the worker
//!   has died and its last hold on its memory ends within the fraction of a microsecond that the read takes, this thread frees
//!   that memory (0.1 s a GiB).
//!
//! Not checked here either: the drop of a mapping, since `memmap2` makes the call (munmap); `Pair` checks its own.
//!
//! Only the unit tests check the rule: their program is host, fork server and worker at once. The programs in `tests/`
//! link a build of the library without the check.

#[cfg(test)]
thread_local! {
    /// The scheduler's locks that this thread holds.
    static HELD: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// This thread has taken the scheduler's lock.
pub(crate) fn lock_taken() {
    #[cfg(test)]
    HELD.with(|held| held.set(held.get() + 1));
}

/// This thread has released the scheduler's lock.
pub(crate) fn lock_released() {
    #[cfg(test)]
    HELD.with(|held| held.set(held.get().checked_sub(1).expect("the lock was taken before it is released")));
}

/// Stands at the top of each function that can sleep or take long.
///
/// # Panics
/// In test builds, if this thread holds the scheduler's lock.
#[track_caller]
pub(crate) fn assert_may_sleep() {
    // A thread that unwinds already reports the first failure; a second panic would hide it.
    #[cfg(test)]
    if !std::thread::panicking() {
        assert_eq!(HELD.with(std::cell::Cell::get), 0, "a call that can sleep under the scheduler's lock");
    }
}

/// The lock is held as long as this value lives.
#[derive(Debug)]
pub(crate) struct LockHeld(std::marker::PhantomData<*const ()>);

impl LockHeld {
    /// For the thread that has just taken the lock.
    pub(crate) fn new() -> Self {
        lock_taken();
        LockHeld(std::marker::PhantomData)
    }
}

impl Drop for LockHeld {
    fn drop(&mut self) {
        lock_released();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn a_call_that_can_sleep_panics_under_the_lock_only() {
        assert_may_sleep();
        let held = LockHeld::new();
        catch_unwind(assert_may_sleep).unwrap_err();
        // Another thread does not hold it.
        std::thread::spawn(assert_may_sleep).join().unwrap();
        drop(held);
        assert_may_sleep();
    }

    #[test]
    fn two_locks_are_both_counted() {
        let (one, other) = (LockHeld::new(), LockHeld::new());
        drop(one);
        catch_unwind(assert_may_sleep).unwrap_err();
        drop(other);
        assert_may_sleep();
    }

    #[cfg(all(target_os = "linux", not(any(miri, loom))))]
    #[test]
    fn only_a_wait_that_can_sleep_is_refused() {
        use crate::sys::{descriptors, event, machine, memory, process};
        use std::os::fd::AsFd;
        use std::time::Duration;
        let event = event::Event::new().unwrap();
        let pidfd = process::own_pidfd().unwrap();
        let _held = LockHeld::new();
        assert!(!descriptors::wait_readable(&[event.as_fd()], Some(Duration::ZERO)));
        assert!(!process::has_ended(&pidfd, Duration::ZERO));
        event.try_signal();
        assert!(descriptors::wait_readable(&[event.as_fd()], Some(Duration::ZERO)));
        catch_unwind(|| process::has_ended(&pidfd, Duration::from_nanos(1))).unwrap_err();
        catch_unwind(|| memory::file_of("multicore-test", b"")).unwrap_err();
        catch_unwind(machine::load_average).unwrap_err();
    }
}
