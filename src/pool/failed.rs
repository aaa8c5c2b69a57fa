//! The memory of a failed start: what it said, and for how long it counts.

use crate::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A failure counts for 1 ms at first. Where another try finds the same, the pause doubles, up to a minute: a lack of
/// processes or memory may be over soon, and a program that asks for each of its tasks must not pay for it each time.
const FIRST_PAUSE_NS: u64 = 1_000_000;
const LONGEST_PAUSE_NS: u64 = 60_000_000_000;

/// The pause is at least 10 times as long as the start took to fail, so that callers spend at most a tenth of their time
/// on starts that fail slowly.
const PAUSES_A_START: u64 = 10;

/// Holds for good.
const FOR_GOOD: u64 = u64::MAX;

/// What is remembered of failed starts.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// Until when the failure counts, [`FOR_GOOD`], or 0: there was none.
    until_ns: AtomicU64,
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    error: Error,
    pause_ns: u64,
}

impl Failed {
    /// True while a failure counts. `now_ns` is asked only if that depends on it.
    #[inline]
    pub(super) fn holds(&self, now_ns: impl FnOnce() -> u64) -> bool {
        // Relaxed: the error itself is read under its lock.
        match self.until_ns.load(Ordering::Relaxed) {
            0 => false,
            FOR_GOOD => true,
            until_ns => now_ns() < until_ns,
        }
    }

    /// The error of the last start, while it counts.
    pub(super) fn check(&self, now_ns: u64) -> Result<(), Error> {
        if !self.holds(|| now_ns) {
            return Ok(());
        }
        match &*self.lock() {
            Some(last) => Err(last.error.duplicate()),
            None => Ok(()),
        }
    }

    /// Remembers a start that failed. This is the one place where a reason that holds for good is first known; it comes
    /// here once in a process.
    pub(super) fn remember(&self, error: &Error, began_ns: u64, now_ns: u64) {
        let mut last = self.lock();
        let former_ns = last.as_ref().map(|last| last.pause_ns);
        let pause_ns = pause_ns(former_ns, now_ns.saturating_sub(began_ns));
        let until_ns = if error.is_for_good() { FOR_GOOD } else { now_ns + pause_ns };
        *last = Some(Last { error: error.duplicate(), pause_ns });
        self.until_ns.store(until_ns, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a failure counts, after the pause `former_ns` of the one before; the start took `took_ns` to fail.
fn pause_ns(former_ns: Option<u64>, took_ns: u64) -> u64 {
    let grown_ns = former_ns.map_or(FIRST_PAUSE_NS, |former_ns| former_ns.saturating_mul(2));
    grown_ns.max(took_ns.saturating_mul(PAUSES_A_START)).min(LONGEST_PAUSE_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_pause_grows_to_a_minute_and_is_long_after_a_slow_failure() {
        const MS: u64 = 1_000_000;
        for (former_ms, took_ms, pause_ms) in [
            (None, 0, 1),
            (Some(1), 0, 2),
            (Some(2), 0, 4),
            (Some(40_000), 0, 60_000),
            (Some(60_000), 0, 60_000),
            (None, 3, 30),
            (Some(20), 3, 40),
            (None, 2_000, 20_000),
            (None, 10_000, 60_000),
            (Some(u64::MAX / MS), u64::MAX / MS, 60_000),
        ] {
            let pause = pause_ns(former_ms.map(|ms: u64| ms * MS), took_ms * MS);
            assert_eq!(pause, pause_ms * MS, "{former_ms:?} {took_ms}");
        }
    }

    #[test]
    fn a_failure_counts_until_its_pause_is_over_or_for_good() {
        let failed = Failed::default();
        assert!(!failed.holds(|| 5) && failed.check(5).is_ok());
        failed.remember(&Error::new(ErrorKind::System, "no process"), 5, 5);
        let until_ns = 5 + FIRST_PAUSE_NS;
        assert!(failed.holds(|| until_ns - 1) && !failed.holds(|| until_ns));
        assert_eq!(failed.check(until_ns - 1).unwrap_err().to_string(), "no process");
        assert!(failed.check(until_ns).is_ok());
        failed.remember(&Error::new(ErrorKind::System, "no memory"), until_ns, until_ns);
        assert!(failed.holds(|| until_ns + 2 * FIRST_PAUSE_NS - 1) && !failed.holds(|| until_ns + 2 * FIRST_PAUSE_NS));
        failed.remember(&Error::new(ErrorKind::Unsupported, "a shared library").for_good(), 0, 0);
        assert!(failed.holds(|| unreachable!("the time has no effect")));
        assert_eq!(failed.check(u64::MAX).unwrap_err().to_string(), "a shared library");
    }
}
