//! The same work with only processes and memory: the floor, the time that no pool can beat.
//!
//! There are no checks, no errors and no scheduling: a floor may do less than a pool must.

#![allow(unsafe_code)]

pub mod copies;
pub mod exchange;
pub mod forked;
pub mod process;
pub mod rings;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Memory that forked children share with this process.
pub(crate) struct Shared(MmapRaw);

impl Shared {
    /// Makes memory that is zeroed and whose pages are present.
    pub(crate) fn new(bytes: usize) -> Self {
        let fd = rustix::fs::memfd_create("floor", MemfdFlags::CLOEXEC).expect("a memfd can be made");
        rustix::fs::ftruncate(&fd, bytes as u64).expect("it can be sized");
        let shared = Shared(MmapOptions::new().len(bytes).map_raw(&fd).expect("it can be mapped"));
        // SAFETY: the mapping has this length and is writable, and no other process has it yet.
        unsafe { shared.0.as_mut_ptr().write_bytes(0, bytes) };
        shared
    }

    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.0.len());
        self.0.as_mut_ptr().wrapping_add(offset)
    }

    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.0.len());
        // SAFETY: the word is in the mapping and aligned (asserted), and is used only through atomics.
        unsafe { &*self.0.as_ptr().add(offset).cast() }
    }

    pub(crate) fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.0.len());
        // SAFETY: as in `word`.
        unsafe { &*self.0.as_ptr().add(offset).cast() }
    }
}

impl Shared {
    /// A word to wait for at this offset. The next cache line holds whether a process sleeps on it.
    pub(crate) fn signal(&self, offset: usize) -> Signal32<'_> {
        Signal32 { word: self.word32(offset), sleeps: self.word32(offset + 128) }
    }
}

/// A forked process. Its drop kills it.
pub(crate) struct Child(Pid);

impl Child {
    /// Runs `body` in a copy of this process, which then exits.
    pub(crate) fn fork(body: impl FnOnce()) -> Self {
        // SAFETY: glibc makes its allocator usable in the child, and `body` uses no other lock that another thread could
        // have held.
        match unsafe { libc::fork() } {
            0 => {
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                body();
                // SAFETY: it ends the child without running its exit handlers.
                unsafe { libc::_exit(0) }
            }
            pid => Child(Pid::from_raw(pid).expect("a process can be forked")),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.0
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.0, Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.0), rustix::process::WaitOptions::empty());
    }
}

/// How a floor waits.
#[derive(Clone, Copy)]
pub enum Waiting {
    /// First pauses, then some microseconds of yields, then the futex.
    Spinning,
    /// Only the futex.
    Futex,
}

/// A word that one process changes and another one waits for, and whether the latter sleeps.
pub(crate) struct Signal32<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) sleeps: &'a AtomicU32,
}

impl Signal32<'_> {
    pub(crate) fn set(&self, value: u32) {
        self.word.store(value, Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst) == 1 {
            let _ = rustix::thread::futex::wake(self.word, rustix::thread::futex::Flags::empty(), 1);
        }
    }

    /// Waits until the word is no longer `old`, and returns it.
    pub(crate) fn wait(&self, old: u32, waiting: Waiting) -> u32 {
        let mut polls = 0;
        loop {
            let seen = self.word.load(Ordering::Acquire);
            if seen != old {
                return seen;
            }
            polls += 1;
            match waiting {
                Waiting::Spinning if polls < 200 => std::hint::spin_loop(),
                Waiting::Spinning if polls < 220 => std::thread::yield_now(),
                _ => {
                    self.sleeps.store(1, Ordering::SeqCst);
                    if self.word.load(Ordering::SeqCst) == old {
                        let flags = rustix::thread::futex::Flags::empty();
                        let _ = rustix::thread::futex::wait(self.word, flags, old, None);
                    }
                    self.sleeps.store(0, Ordering::Relaxed);
                }
            }
        }
    }
}
