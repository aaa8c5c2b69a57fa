//! A short wait before sleeping: first pauses, then yields.
//!
//! A spell of waiting makes a few polls with the processor's pause, then yields. On a machine with as many
//! workers as cores the process that we wait for may need this very core, and a yield gives it away.
//! Spinning without yields cost 100 us after each idle time when both sides ran on one core.
//!
//! Pauses are lost time if the other side runs on this very core: the kernel often puts a thread
//! that is woken on the core of its waker. Nothing tells that directly, but the duration of a yield does. So
//! the first spell after a wake-up begins with a yield, and so do the next spells as long as yields find
//! another thread on this core.
//!
//! Where other programs want the cores, each yield costs the whole turn of one of them, some milliseconds:
//! forty yields made a wait of a few microseconds take a tenth of a second. So one yield that takes
//! long ends the spell, and the next 50 spells sleep without yields.

use super::may_sleep::assert_may_sleep;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Polls with a pause: the reply to a tiny piece comes within them.
const PAUSES: u32 = 200;
/// Polls with a yield: they take about 20 us if no other thread wants the core.
const YIELDS: u32 = 40;

/// A yield above 200 us gave the core to more than a tiny piece (microseconds): another program (milliseconds).
const LONG_YIELD: Duration = Duration::from_micros(200);
/// The spells without yields after a long one. With 5, a turn is lost more often; with 500, spells stay slow longer.
const CROWDED_SPELLS: u32 = 50;

/// A yield within 1.2 us found no other thread on this core: 40 take 20 us. A switch there and back takes longer.
const LONELY_YIELD: Duration = Duration::from_nanos(1_200);

/// How many more spells make no yields.
static CROWDED: AtomicU32 = AtomicU32::new(0);

/// The other side may run on this core. A guess: only time depends on it.
static NEAR: AtomicBool = AtomicBool::new(false);

/// One of the two sides was asleep and is awake now, on an unknown core.
pub(crate) fn after_wake_up() {
    NEAR.store(true, Relaxed);
}

/// One spell of waiting.
#[derive(Debug)]
pub(crate) struct Spin {
    polls: u32,
}

impl Spin {
    pub(crate) fn new() -> Self {
        Spin { polls: 0 }
    }

    /// True if the other side may run on this core.
    pub(crate) fn is_near() -> bool {
        NEAR.load(Relaxed)
    }

    /// Waits for one pause; false once the spell should go on with [`turn`](Self::turn).
    #[must_use]
    pub(crate) fn pause(&mut self) -> bool {
        // The other half of the pauses follows in `turn`, once the caller is entered as a waiter.
        if self.polls >= PAUSES / 2 || NEAR.load(Relaxed) {
            return false;
        }
        self.polls += 1;
        std::hint::spin_loop();
        true
    }

    /// Waits for one pause or one yield; false once it is time to sleep.
    #[must_use]
    pub(crate) fn turn(&mut self) -> bool {
        self.polls += 1;
        let crowded = CROWDED.load(Relaxed);
        let near = self.polls == 1 && crowded == 0 && NEAR.load(Relaxed);
        if self.polls <= PAUSES && !near {
            std::hint::spin_loop();
            return true;
        }
        if crowded > 0 {
            // Two threads that count down at the same time may lose one step; that does no harm.
            CROWDED.store(crowded - 1, Relaxed);
            return false;
        }
        if self.polls > PAUSES + YIELDS {
            return false;
        }
        assert_may_sleep();
        let before = Instant::now();
        std::thread::yield_now();
        let taken = before.elapsed();
        if taken > LONG_YIELD {
            CROWDED.store(CROWDED_SPELLS, Relaxed);
        }
        if near == (taken <= LONELY_YIELD) {
            NEAR.store(!near, Relaxed);
        }
        true
    }
}
