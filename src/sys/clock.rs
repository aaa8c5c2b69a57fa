//! The monotonic clock, in nanoseconds: setting the machine's clock changes no wait.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since a fixed moment in the past, which is the same for all processes.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
