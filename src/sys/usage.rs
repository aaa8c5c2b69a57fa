//! The memory that another process uses, as the kernel counts it: a worker can say nothing about it.
//!
//! What counts is anonymous memory: what a process has written or allocated, freed memory that its allocator keeps included.
//! The rings, shared memory and the text of programs and libraries are left out.
//!
//! | reading                       | cost                    | what it gives |
//! |-------------------------------|-------------------------|---|
//! | [`Usage::bytes_at_once`]      | 1 us                    | with all that it shares with the process that it was forked from |
//! | [`Usage::swapped_bytes`]      | 7 us                    | likewise; a system call only where the machine had swap when it was opened |
//! | [`Private::read`]             | 60 us, and 15 ms a GiB  | its own alone |

use super::descriptors::{Descriptor, above_standard_streams};
use super::may_sleep::assert_may_sleep;
use super::meminfo::MemoryInfo;
use super::proc;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

/// True if the machine has swap.
pub(crate) fn machine_swaps() -> bool {
    MemoryInfo::read().is_some_and(|machine| machine.swap_bytes > 0)
}

/// The files of one process. They stay those of that process when its number is given to another one.
#[derive(Debug)]
pub(crate) struct Usage {
    statm: Descriptor,
    /// Only where the machine has swap.
    status: Option<Descriptor>,
    /// A thread reads them. The kernel has others wait that read the same open file, so these wait here, or go without.
    reading: Mutex<()>,
}

impl Usage {
    /// Opens the files of a pidfd's process; `swaps`: the machine has swap. `None` if it has ended, or where /proc is missing
    /// or hides it.
    pub(crate) fn open(pidfd: impl AsFd, swaps: bool) -> Option<Usage> {
        assert_may_sleep();
        let usage = of_process(pidfd, |number| {
            let open = |name| above_standard_streams(File::open(format!("/proc/{number}/{name}")).ok()?.into()).ok();
            let status = if swaps { Some(open("status")?) } else { None };
            Some(Usage { statm: open("statm")?, status, reading: Mutex::new(()) })
        })?;
        // The kernel makes a buffer at the first read, so a later one need not.
        usage.anonymous_bytes().and(usage.swapped_bytes()).map(|_| usage)
    }

    /// Its anonymous memory, swapped or resident. `None` once it has ended.
    pub(crate) fn bytes(&self) -> Option<u64> {
        assert_may_sleep();
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        Some(self.anonymous_bytes()? + self.swapped_bytes().unwrap_or(0))
    }

    /// Its anonymous memory that is resident. `None` once it has ended, and while another thread reads.
    ///
    /// May be called under the scheduler's lock: see `may_sleep.rs`.
    pub(crate) fn bytes_at_once(&self) -> Option<u64> {
        let _reading = self.reading.try_lock().ok()?;
        self.anonymous_bytes()
    }

    /// Its anonymous memory that is resident. `None` once it has ended.
    fn anonymous_bytes(&self) -> Option<u64> {
        // The host may have closed the number, and opened a file under it that makes a read wait.
        if !self.statm.is_ours() {
            return None;
        }
        anonymous_pages(proc::text_of(&self.statm, &mut [0; 128])?)?.checked_mul(rustix::param::page_size() as u64)
    }

    /// Its anonymous memory that is swapped out; 0 where the machine had no swap at first. `None` once it has ended.
    pub(crate) fn swapped_bytes(&self) -> Option<u64> {
        assert_may_sleep();
        match &self.status {
            None => Some(0),
            Some(status) if status.is_ours() => proc::bytes_in(proc::text_of(status, &mut [0; 4096])?, "VmSwap:"),
            Some(_) => None,
        }
    }
}

/// The file that tells what memory this process has: for a worker, of itself.
#[derive(Debug)]
pub(crate) struct OwnUsage {
    statm: Descriptor,
}

/// What is resident.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    pub(crate) anonymous_bytes: u64,
    /// Of files and of shared memory.
    pub(crate) other_bytes: u64,
}

impl OwnUsage {
    /// A child that is forked must open its own. `None` where /proc does not show this process.
    pub(crate) fn open() -> Option<OwnUsage> {
        assert_may_sleep();
        let statm = above_standard_streams(File::open("/proc/self/statm").ok()?.into()).ok()?;
        let usage = OwnUsage { statm };
        usage.read().map(|_| usage)
    }

    /// What is resident now. It takes 1 us, and allocates nothing.
    pub(crate) fn read(&self) -> Option<Resident> {
        assert_may_sleep();
        // A piece may have closed the number, and opened another file under it.
        if !self.statm.is_ours() {
            return None;
        }
        let (resident, of_files) = resident_pages(proc::text_of(&self.statm, &mut [0; 128])?)?;
        let page_bytes = rustix::param::page_size() as u64;
        let bytes = |pages: u64| pages.checked_mul(page_bytes);
        Some(Resident {
            anonymous_bytes: bytes(resident.saturating_sub(of_files))?,
            other_bytes: bytes(of_files.min(resident))?,
        })
    }
}

/// The anonymous pages in the text of a `statm` file: the second number counts all that are resident, the third those of
/// files and of shared memory. `None` for a process that has no memory: it has ended, and is not reaped.
fn anonymous_pages(text: &str) -> Option<u64> {
    let (resident, of_files) = resident_pages(text)?;
    (resident > 0).then(|| resident.saturating_sub(of_files))
}

/// The anonymous memory that is resident of the process with this number in /proc, with what it shares. `None` once it has ended.
#[cfg(feature = "status")]
pub(super) fn anonymous_bytes_of(number: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{number}/statm")).ok()?;
    anonymous_pages(&text)?.checked_mul(rustix::param::page_size() as u64)
}

/// The pages that are resident, and how many of them are of files and of shared memory.
fn resident_pages(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The anonymous memory of a process that it shares with no other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Private {
    pub(crate) resident_bytes: u64,
    /// With what it shares: the kernel does not tell the two apart.
    pub(crate) swapped_bytes: u64,
}

impl Private {
    /// The kernel walks all its pages, and meanwhile the process can map no memory, or the reading waits for it to do so.
    /// `None` once the process has ended, and where this process may not look into it.
    pub(crate) fn read(pidfd: impl AsFd) -> Option<Private> {
        assert_may_sleep();
        let text = of_process(pidfd, |number| std::fs::read_to_string(format!("/proc/{number}/smaps_rollup")).ok())?;
        private_in(&text)
    }
}

/// The private memory in the text of a `smaps_rollup` file.
///
/// The kernel has no such sum. It counts dirty pages of this process alone, but those of files and shared memory too. And
/// it counts anonymous pages, once all of them, and once each divided by the number of processes that have it (`Pss_Anon`). A page
/// that is shared counts at most half there, so the sum lies between what both counts together allow.
fn private_in(text: &str) -> Option<Private> {
    let bytes = |name| proc::bytes_in(text, name);
    let (all, most) = (bytes("Anonymous:")?, bytes("Pss_Anon:")?);
    let least = (2 * most).saturating_sub(all);
    let resident_bytes = bytes("Private_Dirty:")?.clamp(least.min(most), most);
    Some(Private { resident_bytes, swapped_bytes: bytes("Swap:").unwrap_or(0) })
}

/// What `read` finds out about the number of a pidfd's process, if the number was that process's all the time.
fn of_process<T>(pidfd: impl AsFd, read: impl FnOnce(u32) -> Option<T>) -> Option<T> {
    let number = proc::number_of(&pidfd)?;
    let found = read(number)?;
    (proc::number_of(&pidfd) == Some(number)).then_some(found)
}

#[cfg(test)]
mod tests;
