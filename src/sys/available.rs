//! The memory that this process can still get, read at most ten times a second, for all pools of the process.
//!
//! | word        | high half                                | low half                                        |
//! |-------------|------------------------------------------|-------------------------------------------------|
//! | `reading`   | when it was made, in milliseconds        | what was available, in units of 4 KiB           |
//! | `set_aside` | that of the reading for which it counts  | what was promised since, in the same units      |
//!
//! Two words and no lock: a process can be forked while another thread reads, and the child goes on with what it finds.
//!
//! Invariant: what is set aside counts for one reading. The next one shows what was taken of it.

use super::{clock, machine};
use crate::protocol::sync::{AtomicU64, Relaxed};

/// A reading is used for this time.
const FRESH_MS: u32 = 100;

const UNIT_BYTES: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) bytes: u64,
    moment_ms: u32,
}

#[derive(Debug)]
struct Available {
    reading: AtomicU64,
    set_aside: AtomicU64,
}

static OF_PROCESS: Available = Available { reading: AtomicU64::new(0), set_aside: AtomicU64::new(0) };

/// What is available, at most 100 ms old. `None` where the system does not tell.
pub(crate) fn current() -> Option<Reading> {
    let now_ms = (clock::now_ns() / 1_000_000) as u32;
    OF_PROCESS.current(now_ms, machine::available_bytes)
}

/// Sets memory aside, unless less than `least` was left since that reading: then what was. May be called under the scheduler's
/// lock.
pub(crate) fn set_aside(reading: Reading, bytes: u64, least: u64) -> Result<(), u64> {
    OF_PROCESS.set_aside(reading, bytes, least)
}

/// Both halves of a word. 0 stands for no reading.
fn halves(word: u64) -> (u32, u64) {
    ((word >> 32) as u32, word & u64::from(u32::MAX))
}

fn word(moment_ms: u32, units: u64) -> u64 {
    u64::from(moment_ms) << 32 | units.min(u64::from(u32::MAX))
}

impl Available {
    fn current(&self, now_ms: u32, read: impl FnOnce() -> Option<u64>) -> Option<Reading> {
        // Relaxed, here and below: each word is all that there is to see.
        let before = self.reading.load(Relaxed);
        let reading = |word| {
            let (moment_ms, units) = halves(word);
            Reading { bytes: units * UNIT_BYTES, moment_ms }
        };
        if before != 0 && now_ms.wrapping_sub(halves(before).0) < FRESH_MS {
            return Some(reading(before));
        }
        // Nothing is available: that is not the same as no reading.
        let new = word(now_ms, (read()? / UNIT_BYTES).max(1));
        // Of threads that read at once the first one's counts, with what was set aside for it.
        match self.reading.compare_exchange(before, new, Relaxed, Relaxed) {
            Ok(_) => Some(reading(new)),
            Err(others) => Some(reading(others)),
        }
    }

    fn set_aside(&self, reading: Reading, bytes: u64, least: u64) -> Result<(), u64> {
        let mut before = self.set_aside.load(Relaxed);
        loop {
            let (moment_ms, units) = halves(before);
            let units = if moment_ms == reading.moment_ms { units } else { 0 };
            let left = reading.bytes.saturating_sub(units * UNIT_BYTES);
            if left < least {
                return Err(left);
            }
            let after = word(reading.moment_ms, units + bytes.div_ceil(UNIT_BYTES));
            match self.set_aside.compare_exchange(before, after, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(others) => before = others,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn nothing_read() -> Available {
        Available { reading: AtomicU64::new(0), set_aside: AtomicU64::new(0) }
    }

    #[test]
    fn a_reading_is_used_for_a_tenth_of_a_second() {
        let available = nothing_read();
        // When it is asked for, in milliseconds, and what the system would tell, in MiB; what is told.
        for (now_ms, tells, expected) in [
            (5, Some(700), Some(700)),
            (104, Some(600), Some(700)),
            (105, None, None),
            (105, Some(600), Some(600)),
            // The milliseconds begin anew.
            (u32::MAX - 9, Some(500), Some(500)),
            (80, Some(400), Some(500)),
            (90, Some(400), Some(400)),
            (190, Some(u64::MAX / MIB), Some(u64::from(u32::MAX) * 4096 / MIB)),
        ] {
            let reading = available.current(now_ms, || tells.map(|mib| mib * MIB));
            assert_eq!(reading.map(|reading| reading.bytes / MIB), expected, "{now_ms}");
        }
        let none = available.current(400, || Some(0)).unwrap();
        assert!(none.bytes <= 4096 && available.current(401, || unreachable!("it was read")) == Some(none));
    }

    #[test]
    fn of_many_at_once_some_get_what_was_read_and_the_others_wait_for_the_next_reading() {
        let available = nothing_read();
        let first = available.current(1, || Some(1_000 * MIB)).unwrap();
        // Each takes 60 MiB, and 900 are to be left before.
        for (number, expected) in [Ok(()), Ok(()), Err(880 * MIB), Err(880 * MIB)].into_iter().enumerate() {
            assert_eq!(available.set_aside(first, 60 * MIB, 900 * MIB), expected, "task {number}");
        }
        assert_eq!(available.set_aside(first, 60 * MIB, 800 * MIB), Ok(()), "another pool may ask for less");
        let next = available.current(101, || Some(950 * MIB)).unwrap();
        assert_eq!(available.set_aside(next, 60 * MIB, 900 * MIB), Ok(()));
        assert_eq!(available.set_aside(next, 60 * MIB, 900 * MIB), Err(890 * MIB));
        assert_eq!(available.set_aside(next, u64::MAX, 0), Ok(()));
        assert_eq!(available.set_aside(next, 1, 1), Err(0));
    }

    #[test]
    fn threads_that_read_at_once_share_one_reading() {
        let available = nothing_read();
        let passed = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let reading = available.current(7, || Some(100 * MIB)).unwrap();
                    let is_in = available.set_aside(reading, 40 * MIB, 50 * MIB).is_ok();
                    passed.fetch_add(u32::from(is_in), std::sync::atomic::Ordering::Relaxed);
                });
            }
        });
        assert_eq!(passed.into_inner(), 2);
    }
}
