//! A pair: the two shared memories between the parent and one worker.
//!
//! | memory | offset | what           | written by     | protocol    |
//! |--------|--------|----------------|----------------|-------------|
//! | *out*  | 0      | `interest`     | parent         | `sleep.rs`  |
//! | *out*  | 64     | `back_head`    | parent         | the position up to which the parent has read *back*'s ring |
//! | *out*  | 128    | `log_interest` | parent         | `sleep.rs`: whether a record of the log is to be signalled |
//! | *out*  | 192    | `log_head`     | parent         | the position up to which the parent has read the log's ring |
//! | *out*  | 256    | `log_level`    | parent         | the most verbose level of the program's logger: 0 for none, 5 for traces |
//! | *out*  | 4096   | ring           | parent         | `ring.rs`: the work |
//! | *back* | 0      | `worker_sleep` | worker, parent | `sleep.rs`  |
//! | *back* | 64     | `out_head`     | worker         | the position up to which the worker has read *out*'s ring |
//! | *back* | 128    | `note`         | worker         | a cause of its death, as a constant of `sys/fault.rs` |
//! | *back* | 192    | `stage`        | worker         | 0, then [`READY`], which a signal tells too |
//! | *back* | 200    | `ready_ns`     | worker         | the time when it became ready, before `stage` |
//! | *back* | 256    | `started_ns`   | worker         | the time when it began the piece below |
//! | *back* | 264    | `started`      | worker         | the sequence number of the last piece with a time limit that it began |
//! | *back* | 320    | `first_cost`   | worker         | how long the first piece took after a wake-up (`told.rs`) |
//! | *back* | 384    | `back_tail`    | worker         | a hint: the position up to which open results are worth a look (`told.rs`) |
//! | *back* | 392    | `ended`        | worker         | a hint: the sequence number of the last piece whose open result is complete |
//! | *back* | 448    | `noted`        | worker         | the last number that a piece has noted (`told.rs`) |
//! | *back* | 456    | `noted_in`     | worker         | the piece that noted it: its sequence number and 1, or 0 |
//! | *back* | 512    | `log_lost`     | worker         | how many records of the log found no room |
//! | *back* | 4096   | states         | worker, parent | `claim.rs`  |
//! | *back* | 12288  | ring           | worker         | `ring.rs`: the replies |
//! | *back* | + 1 MiB | the log's ring | worker        | `ring.rs`: what pieces log, with the feature `log` |
//!
//! Words that only the parent writes lie in *out*, which the worker maps read-only: it cannot forge
//! them. Each word has its own cache line; `stage` and `ready_ns` share one, and `started_ns` and `started`, `back_tail` and
//! `ended`, and `noted` and `noted_in`.
//!
//! The log has a ring of its own, so that a reply that is left in its ring holds up no record. Its pages are made when they are written.
//!
//! Invariant: a pair belongs to one worker for life, and its memory is never used for another.

#![allow(unsafe_code)]

use crate::protocol::claim;
use crate::protocol::sync::{AtomicU32, AtomicU64};
use crate::sys::descriptors::Descriptor;
use crate::sys::may_sleep::assert_may_sleep;
use crate::sys::memory::{self, Writers};
use memmap2::{Advice, MmapRaw};
use std::io;

/// The length of *out*'s ring: four chunks, so that both sides can copy at the same time.
pub(crate) const OUT_RING_BYTES: usize = 256 * 1024;

/// The length of *back*'s ring: a result of up to nearly 1 MiB fits, so that the worker can continue
/// while the parent waits for a core.
pub(crate) const BACK_RING_BYTES: usize = 1024 * 1024;

/// The length of the log's ring: half of what *back* has for replies.
#[cfg(feature = "log")]
pub(crate) const LOG_RING_BYTES: usize = BACK_RING_BYTES / 2;

/// The most bytes of a value that one record carries. A longer value streams in chunks of this length,
/// so that both sides copy at the same time. Four fit into *out*; with a tenth, a value costs ten times the headers.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// The part of *back*'s ring with pages at the fork: room for first replies. [`Pair::allocate`] adds the rest.
/// Pages take 60 to 80 us a MiB, so 16 KiB take 1 us; ten times as much would add 10 us to each start.
const FIRST_BYTES: usize = 16 * 1024;

/// `stage` once `on_worker_start` has returned; 0 before.
pub(crate) const READY: u32 = 1;

const INTEREST: usize = 0;
const BACK_HEAD: usize = 64;
#[cfg(feature = "log")]
const LOG_INTEREST: usize = 128;
#[cfg(feature = "log")]
const LOG_HEAD: usize = 192;
#[cfg(feature = "log")]
const LOG_LEVEL: usize = 256;
const OUT_RING: usize = 4096;
const OUT_BYTES: usize = OUT_RING + OUT_RING_BYTES;

const WORKER_SLEEP: usize = 0;
const OUT_HEAD: usize = 64;
const NOTE: usize = 128;
const STAGE: usize = 192;
const READY_NS: usize = 200;
const STARTED_NS: usize = 256;
const STARTED: usize = 264;
const FIRST_COST: usize = 320;
const BACK_TAIL: usize = 384;
const ENDED: usize = 392;
const NOTED: usize = 448;
const NOTED_IN: usize = 456;
#[cfg(feature = "log")]
const LOG_LOST: usize = 512;
const STATES: usize = 4096;
const BACK_RING: usize = STATES + claim::SLOTS * 4;
/// What is allocated for all workers that run.
const USED_BYTES: usize = BACK_RING + BACK_RING_BYTES;
#[cfg(feature = "log")]
const BACK_BYTES: usize = USED_BYTES + LOG_RING_BYTES;
#[cfg(not(feature = "log"))]
const BACK_BYTES: usize = USED_BYTES;

const _: () = assert!(OUT_RING.is_multiple_of(8) && OUT_BYTES == OUT_RING + OUT_RING_BYTES);
const _: () = assert!(BACK_RING.is_multiple_of(8) && BACK_BYTES >= BACK_RING + BACK_RING_BYTES);
#[cfg(feature = "log")]
const _: () = assert!(LOG_RING_BYTES.is_power_of_two() && USED_BYTES.is_multiple_of(64));
const _: () =
    assert!(BACK_RING.is_multiple_of(64) && OUT_RING_BYTES.is_power_of_two() && BACK_RING_BYTES.is_power_of_two());

/// The two memories of a pair, mapped.
#[derive(Debug)]
pub(crate) struct Pair {
    out: MmapRaw,
    back: MmapRaw,
}

/// A new pair with the descriptors of *out* and *back*.
pub(crate) type Made = (Pair, Descriptor, Descriptor);

impl Pair {
    /// Makes a pair, and returns the descriptors for the worker.
    pub(crate) fn create() -> io::Result<Made> {
        let (out_fd, out) = memory::create("multicore-out", OUT_BYTES, OUT_BYTES, Writers::Maker)?;
        let (back_fd, back) = memory::create("multicore-back", BACK_BYTES, BACK_RING + FIRST_BYTES, Writers::All)?;
        Ok((Pair::new(out, back), out_fd, back_fd))
    }

    /// The only place that makes a pair: both mappings have the lengths that all accessors rely on.
    fn new(out: MmapRaw, back: MmapRaw) -> Pair {
        assert!(out.len() == OUT_BYTES && back.len() == BACK_BYTES);
        Pair { out, back }
    }

    /// Allocates the pages of *back* that every worker uses. That takes longer than everything else for a new worker, and the
    /// worker can begin without it: it touches the pages before the parent does.
    pub(crate) fn allocate(back: &Descriptor) -> io::Result<()> {
        Ok(memory::allocate(back, USED_BYTES)?)
    }

    /// Maps a pair in its worker.
    pub(crate) fn open(out: &Descriptor, back: &Descriptor) -> io::Result<Pair> {
        let back = memory::map(back, BACK_BYTES)?;
        // A child that a piece forks should not write a result that the worker still writes. A sandbox may refuse the
        // advice; then only such a child, if it writes into its parent's `Sink`, differs: the piece's result is wrong.
        let _ = back.advise(Advice::DontFork);
        Ok(Pair::new(memory::map_read_only(out, OUT_BYTES)?, back))
    }

    pub(crate) fn interest(&self) -> &AtomicU32 {
        word32(&self.out, INTEREST)
    }

    pub(crate) fn back_head(&self) -> &AtomicU64 {
        &words(&self.out, BACK_HEAD, 1)[0]
    }

    /// An array, so that the compiler knows the length and no index needs a check.
    #[inline(always)]
    pub(crate) fn out_ring(&self) -> &[AtomicU64; OUT_RING_BYTES / 8] {
        // SAFETY: `OUT_RING` and the ring's bytes end with the mapping, whose length `new` checked. A mapping begins at
        // a page and the offset is a multiple of 8, so the words are aligned. They are used through atomics alone; a
        // read-only mapping is only loaded from.
        unsafe { &*self.out.as_ptr().add(OUT_RING).cast() }
    }

    pub(crate) fn worker_sleep(&self) -> &AtomicU32 {
        word32(&self.back, WORKER_SLEEP)
    }

    pub(crate) fn out_head(&self) -> &AtomicU64 {
        &words(&self.back, OUT_HEAD, 1)[0]
    }

    pub(crate) fn note(&self) -> &AtomicU32 {
        word32(&self.back, NOTE)
    }

    pub(crate) fn stage(&self) -> &AtomicU32 {
        word32(&self.back, STAGE)
    }

    /// The time when the worker became ready, by the same clock as below.
    pub(crate) fn ready_ns(&self) -> &AtomicU64 {
        &words(&self.back, READY_NS, 1)[0]
    }

    /// The time when the worker began a piece with a time limit, by the clock that all processes share.
    pub(crate) fn started_ns(&self) -> &AtomicU64 {
        &words(&self.back, STARTED_NS, 1)[0]
    }

    /// The sequence number of that piece. Written after the time, and read before it.
    pub(crate) fn started(&self) -> &AtomicU32 {
        word32(&self.back, STARTED)
    }

    /// The sequence number of the first piece after the worker was woken, and how long that took.
    pub(crate) fn first_cost(&self) -> &AtomicU64 {
        &words(&self.back, FIRST_COST, 1)[0]
    }

    pub(crate) fn back_tail(&self) -> &AtomicU64 {
        &words(&self.back, BACK_TAIL, 1)[0]
    }

    pub(crate) fn ended(&self) -> &AtomicU32 {
        word32(&self.back, ENDED)
    }

    pub(crate) fn noted(&self) -> &AtomicU64 {
        &words(&self.back, NOTED, 1)[0]
    }

    pub(crate) fn noted_in(&self) -> &AtomicU64 {
        &words(&self.back, NOTED_IN, 1)[0]
    }

    #[cfg(feature = "log")]
    pub(crate) fn log_interest(&self) -> &AtomicU32 {
        word32(&self.out, LOG_INTEREST)
    }

    #[cfg(feature = "log")]
    pub(crate) fn log_head(&self) -> &AtomicU64 {
        &words(&self.out, LOG_HEAD, 1)[0]
    }

    #[cfg(feature = "log")]
    pub(crate) fn log_level(&self) -> &AtomicU32 {
        word32(&self.out, LOG_LEVEL)
    }

    #[cfg(feature = "log")]
    pub(crate) fn log_lost(&self) -> &AtomicU64 {
        &words(&self.back, LOG_LOST, 1)[0]
    }

    #[cfg(feature = "log")]
    pub(crate) fn log_ring(&self) -> &[AtomicU64] {
        words(&self.back, USED_BYTES, LOG_RING_BYTES / 8)
    }

    pub(crate) fn states(&self) -> &[AtomicU32] {
        assert!(STATES + claim::SLOTS * 4 <= self.back.len());
        // SAFETY: inside the mapping (asserted), aligned (the offset is a multiple of 4096), and
        // shared memory that both sides use through atomics alone.
        unsafe { std::slice::from_raw_parts(self.back.as_ptr().add(STATES).cast(), claim::SLOTS) }
    }

    #[inline(always)]
    pub(crate) fn back_ring(&self) -> &[AtomicU64; BACK_RING_BYTES / 8] {
        // SAFETY: as in `out_ring`, for `BACK_RING` and the mapping of *back*.
        unsafe { &*self.back.as_ptr().add(BACK_RING).cast() }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // The mappings are unmapped next.
        assert_may_sleep();
    }
}

fn word32(memory: &MmapRaw, offset: usize) -> &AtomicU32 {
    assert!(offset.is_multiple_of(4) && offset + 4 <= memory.len());
    // SAFETY: inside the mapping and aligned (asserted; a mapping begins at a page), and used
    // through atomics alone. A read-only mapping is only loaded from.
    unsafe { &*memory.as_ptr().add(offset).cast::<AtomicU32>() }
}

pub(super) fn words(memory: &MmapRaw, offset: usize, count: usize) -> &[AtomicU64] {
    assert!(offset.is_multiple_of(8) && offset + count * 8 <= memory.len());
    // SAFETY: as in `word32`.
    unsafe { std::slice::from_raw_parts(memory.as_ptr().add(offset).cast(), count) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sync::Relaxed;
    use rustix::fd::AsFd;
    use rustix::io::Errno;

    #[test]
    fn both_sides_see_the_same_words() {
        let (parent, out, back) = Pair::create().unwrap();
        let worker = Pair::open(&out, &back).unwrap();
        parent.interest().store(1, Relaxed);
        parent.back_head().store(2, Relaxed);
        parent.out_ring()[OUT_RING_BYTES / 8 - 1].store(3, Relaxed);
        worker.worker_sleep().store(4, Relaxed);
        worker.out_head().store(5, Relaxed);
        worker.note().store(6, Relaxed);
        worker.stage().store(7, Relaxed);
        worker.first_cost().store(10, Relaxed);
        worker.back_tail().store(11, Relaxed);
        worker.ended().store(12, Relaxed);
        worker.noted().store(13, Relaxed);
        worker.noted_in().store(14, Relaxed);
        worker.states()[claim::SLOTS - 1].store(8, Relaxed);
        worker.back_ring()[0].store(9, Relaxed);
        assert_eq!(worker.interest().load(Relaxed), 1);
        assert_eq!(worker.back_head().load(Relaxed), 2);
        assert_eq!(worker.out_ring()[OUT_RING_BYTES / 8 - 1].load(Relaxed), 3);
        assert_eq!(parent.worker_sleep().load(Relaxed), 4);
        assert_eq!(parent.out_head().load(Relaxed), 5);
        assert_eq!(parent.note().load(Relaxed), 6);
        assert_eq!(parent.stage().load(Relaxed), 7);
        assert_eq!(parent.first_cost().load(Relaxed), 10);
        assert_eq!(parent.back_tail().load(Relaxed), 11);
        assert_eq!(parent.ended().load(Relaxed), 12);
        assert_eq!((parent.noted().load(Relaxed), parent.noted_in().load(Relaxed)), (13, 14));
        assert_eq!(parent.states()[claim::SLOTS - 1].load(Relaxed), 8);
        assert_eq!(parent.back_ring()[0].load(Relaxed), 9);
    }

    #[test]
    fn what_is_handed_out_cannot_be_resized_nor_mapped_for_writing() {
        let (_pair, out, back) = Pair::create().unwrap();
        for fd in [&out, &back] {
            assert_eq!(rustix::fs::ftruncate(fd, 0), Err(Errno::PERM));
            assert_eq!(rustix::fs::ftruncate(fd, 1 << 20), Err(Errno::PERM));
            let seals = rustix::fs::SealFlags::WRITE;
            assert_eq!(rustix::fs::fcntl_add_seals(fd, seals), Err(Errno::PERM));
        }
        assert!(memory::map(out.as_fd(), OUT_BYTES).is_err());
        assert!(rustix::io::pwrite(&out, b"forged", 0).is_err());
        assert!(memory::map(back.as_fd(), BACK_BYTES).is_ok());
    }
}
