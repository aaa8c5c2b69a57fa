//! The monotonic clock, in nanoseconds: setting the machine's clock changes no wait.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since a fixed moment in the past, which is the same for all processes.
pub(crate) fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// The same as it was at the last tick of the kernel, some milliseconds ago: that is read in a tenth of the time.
pub(crate) fn coarse_ns() -> u64 {
    read(ClockId::MonotonicCoarse)
}

/// The processor time that this thread has used: it stands still while others have the core. A system call.
pub(crate) fn used_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
