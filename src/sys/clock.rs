//! The monotonic clock, in nanoseconds: a clock set back or forward changes no wait.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some moment in the past.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
