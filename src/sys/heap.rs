//! What this process has allocated, and the most memory that it had at once: how a worker measures a piece.
//!
//! Only glibc's malloc tells what is allocated. It counts the blocks that a thread keeps for its next allocations too, and a
//! piece takes some of them or leaves some there. So a look fills these places first: then they are the same each time.

use super::descriptors::{Descriptor, above_standard_streams};
use super::may_sleep::assert_may_sleep;
use super::proc;
use super::raw;
use std::fs::{File, OpenOptions};
use std::hint::black_box;

/// The sizes of which glibc keeps freed blocks for each thread: 24, 40, 56 … 1032 bytes.
const CACHED_SIZES: usize = 64;
const SMALLEST_BYTES: usize = 24;
const STEP_BYTES: usize = 16;
/// More blocks of a size than it keeps: 7, by default.
const MANY: usize = 64;

/// The heap of this process, whose allocator is glibc's malloc.
#[derive(Debug)]
pub(crate) struct Heap {
    /// How many freed blocks of each size a thread keeps.
    kept: usize,
}

/// What was allocated at one moment, modulo 2^32.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocated(u32);

impl Allocated {
    /// How much more is allocated now than before, up to 2 GiB; less if it is negative. A block counts with its head: one of
    /// 100 bytes as 112.
    pub(crate) fn growth_since(self, before: Allocated) -> i64 {
        i64::from(self.0.wrapping_sub(before.0).cast_signed())
    }
}

impl Heap {
    /// `None` if the blocks of this program are not glibc's: it has another C library or global allocator. No other thread
    /// may allocate much meanwhile.
    pub(crate) fn probe() -> Option<Heap> {
        // No thread keeps blocks of this size.
        const PROBE_BYTES: usize = 1_234_567;
        let before = allocated()?;
        let probe = black_box(Vec::<u8>::with_capacity(PROBE_BYTES));
        let growth = allocated()?.growth_since(before);
        drop(probe);
        let is_told = (PROBE_BYTES as i64..PROBE_BYTES as i64 + 100_000).contains(&growth);
        let heap = Heap { kept: kept_blocks().filter(|_| is_told)? };
        // The first fill cuts up free memory, and some blocks become longer than was asked for; the next ones use them.
        heap.look();
        Some(heap)
    }

    /// What is allocated now. It takes 5 us where the 240 KB of these blocks are in the processor's cache and 30 to 60 us where they
    /// are not, and 7 to 17 us more for each 1,000 free blocks between others.
    pub(crate) fn look(&self) -> Allocated {
        for size in 0..CACHED_SIZES {
            drop(take(self.kept, SMALLEST_BYTES + size * STEP_BYTES));
        }
        allocated().expect("it was told before")
    }
}

fn allocated() -> Option<Allocated> {
    raw::allocated_bytes().map(Allocated)
}

/// Takes some blocks of a size.
fn take(blocks: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    // A worker that has reached its limit of memory gets no more, and goes on.
    if taken.try_reserve_exact(blocks).is_ok() {
        for _ in 0..blocks {
            let mut block = Vec::new();
            if block.try_reserve_exact(bytes).is_ok() {
                taken.push(black_box(block));
            }
        }
    }
    taken
}

/// How many freed blocks of a size a thread keeps. Versions differ, and it can be set (GLIBC_TUNABLES).
fn kept_blocks() -> Option<usize> {
    const BYTES: usize = SMALLEST_BYTES + (CACHED_SIZES - 1) * STEP_BYTES;
    let mut blocks = take(MANY, BYTES);
    let before = allocated()?;
    blocks.clear();
    let freed = -allocated()?.growth_since(before);
    Some(MANY.saturating_sub(usize::try_from(freed).ok()? / BYTES))
}

/// The most memory that this process had at once.
#[derive(Debug)]
pub(crate) struct Peak {
    /// Written to, it makes the kernel count anew.
    clear: Descriptor,
    /// Where the quicker call tells of an earlier program, which had more when its process executed this one.
    status: Option<Descriptor>,
}

impl Peak {
    /// Counts from now on, in this process alone: a child that is forked must open its own. `None` where /proc does not allow
    /// it.
    pub(crate) fn open() -> Option<Peak> {
        assert_may_sleep();
        let keep = |file: File| above_standard_streams(file.into()).ok();
        let clear = keep(OpenOptions::new().write(true).open("/proc/self/clear_refs").ok()?)?;
        let status = keep(File::open("/proc/self/status").ok()?)?;
        let mut peak = Peak { clear, status: Some(status) };
        // The two differ by what happens between them.
        const SLACK_BYTES: u64 = 1 << 20;
        if peak.count_anew() && raw::peak_resident_bytes() <= peak.bytes()? + SLACK_BYTES {
            peak.status = None;
        }
        peak.count_anew().then_some(peak)
    }

    /// What was before counts no more; false if that fails. It takes 0.5 us.
    pub(crate) fn count_anew(&self) -> bool {
        assert_may_sleep();
        // A piece may have closed the number, and opened another file under it.
        self.clear.is_ours() && rustix::io::pwrite(&self.clear, b"5", 0).is_ok()
    }

    /// The most that was resident, files and shared memory included. It takes 0.5 us; 7 us in a worker that was executed by
    /// a larger process.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match &self.status {
            None => Some(raw::peak_resident_bytes()),
            Some(status) if status.is_ours() => proc::bytes_in(proc::text_of(status, &mut [0; 4096])?, "VmHWM:"),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// Runs a test in a process of its own, in which nothing else allocates, with a variable in its environment.
    #[track_caller]
    fn alone(name: &str, (variable, value): (&str, &str), test: impl FnOnce()) {
        const INNER: &str = "MULTICORE_TEST_ALONE";
        if std::env::var_os(INNER).is_some() {
            // The first thread allocates too, until it waits for this one.
            let own = crate::sys::process::own_pidfd().unwrap();
            while proc::look(&own).is_none_or(|(state, _)| state != proc::State::Sleeps) {
                std::thread::yield_now();
            }
            return test();
        }
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("sys::heap::tests::{name}"), "--nocapture", "--test-threads=1"]);
        let output = command.env(INNER, "1").env(variable, value).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let is_done = output.status.success() && told.contains("1 passed");
        assert!(is_done, "{value}: {told}{}", String::from_utf8_lossy(&output.stderr));
    }

    /// glibc reads its settings when a program starts.
    const SETTINGS: &str = "GLIBC_TUNABLES";

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_is_not_freed_is_found_and_nothing_else() {
        alone("what_is_not_freed_is_found_and_nothing_else", (SETTINGS, ""), || {
            let heap = Heap::probe().unwrap();
            let growth = |work: &mut dyn FnMut()| {
                let before = heap.look();
                work();
                heap.look().growth_since(before)
            };
            let mut kept = Vec::with_capacity(20_000);
            assert_eq!(growth(&mut || ()), 0);
            assert_eq!(growth(&mut || kept.extend(take(1, 100))), 112, "one block");
            let many = growth(&mut || kept.extend(take(10_000, 100)));
            assert!(many.abs_diff(1_120_000) < 22_400, "{many}");
            assert_eq!(growth(&mut || drop(take(10_000, 100))), 0, "they are freed");
            // A thread keeps some of these.
            let some = |size| drop(take(3, SMALLEST_BYTES + size * STEP_BYTES));
            assert_eq!(growth(&mut || (0..CACHED_SIZES).for_each(some)), 0, "few of each size");
            assert_eq!(growth(&mut || kept.truncate(1)), -many, "they are freed later");
            let large = growth(&mut || kept.extend(take(1, 40 << 20)));
            assert!((40 << 20..41 << 20).contains(&large), "{large}");
        });
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn as_many_blocks_are_kept_as_the_allocator_is_told() {
        for kept in ["0", "3", "16"] {
            let setting = format!("glibc.malloc.tcache_count={kept}");
            alone("as_many_blocks_are_kept_as_the_allocator_is_told", (SETTINGS, &setting), || {
                let heap = Heap::probe().unwrap();
                let setting = std::env::var(SETTINGS).unwrap();
                assert_eq!(setting.rsplit_once('=').unwrap().1.parse(), Ok(heap.kept));
                let before = heap.look();
                drop(take(2, 100));
                assert_eq!(heap.look().growth_since(before), 0);
            });
        }
    }

    #[test]
    #[cfg(not(target_env = "gnu"))]
    fn another_allocator_does_not_tell() {
        assert!(Heap::probe().is_none());
    }

    #[test]
    fn differences_wrap_around() {
        for (before, after, growth) in [
            (0, 5, 5),
            (5, 0, -5),
            (u32::MAX, 1, 2),
            (1, u32::MAX, -2),
            (0, 1 << 31, -(1 << 31)),
            (7, 7 + (1 << 31) - 1, (1 << 31) - 1),
        ] {
            assert_eq!(Allocated(after).growth_since(Allocated(before)), growth, "{before} {after}");
        }
    }

    #[test]
    fn the_peak_is_that_of_each_time_it_is_counted() {
        // A process that is executed tells the peak of the one that executed it.
        let large = black_box(vec![1_u8; 100 * MB as usize]);
        alone("the_peak_is_that_of_each_time_it_is_counted", (SETTINGS, ""), || {
            drop(large);
            let peak = Peak::open().unwrap();
            let before = peak.bytes().unwrap();
            assert!(before < 90 * MB, "{before}");
            drop(black_box(vec![1_u8; 8 * MB as usize]));
            let growth = peak.bytes().unwrap() - before;
            assert!(growth.abs_diff(8 * MB) < MB, "{growth}");
            assert!(peak.count_anew());
            let after = peak.bytes().unwrap();
            assert!(after.abs_diff(before) < MB, "{before} {after}");
            // The quicker call tells at least what the other process had.
            let peak = Peak { status: None, ..peak };
            let other = peak.bytes().unwrap();
            drop(black_box(vec![1_u8; (other + 50 * MB) as usize]));
            let most = peak.bytes().unwrap();
            assert!(most.abs_diff(before + other + 50 * MB) < MB, "{before} {other} {most}");
        });
    }
}
