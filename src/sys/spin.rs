//! How long to look before sleeping.
//!
//! A few polls with the processor's pause, then yields: on a machine with as many workers as cores
//! the one we wait for may need this very core, and a yield gives it away. Spinning without them
//! cost 100 us after each idle spell when both sides landed on one core.
//!
//! Pauses are lost time if the other side stands on this very core: the kernel often puts a thread
//! that is woken where its waker runs. Nobody tells, but a yield does, by how long it takes. So a
//! spell begins with one after a wake-up, and for as long as yields find somebody.
//!
//! Where other programs want the cores, each yield costs one of them's whole turn, some milliseconds:
//! forty of them made a wait of a few microseconds take a tenth of a second. So one yield that takes
//! long ends the spell, and the spells after it sleep at once.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Polls with a pause only: the answer to a tiny piece comes within them.
const PAUSES: u32 = 200;
/// Polls with a yield: about 20 us where nobody else wants the core.
const YIELDS: u32 = 40;

/// A yield that takes longer gave the core to somebody with more to do than we wait for.
const LONG_YIELD: Duration = Duration::from_micros(200);
/// So many spells then do without yields.
const CROWDED_SPELLS: u32 = 50;

/// A yield that takes no longer found nobody else.
const LONELY_YIELD: Duration = Duration::from_nanos(1_200);

/// Spells that are still to do without.
static CROWDED: AtomicU32 = AtomicU32::new(0);

/// The other side may stand on this core. A guess: nothing depends on it but time.
static NEAR: AtomicBool = AtomicBool::new(false);

/// One of the two sides was asleep and is awake now: nobody knows where.
pub(crate) fn after_wake_up() {
    NEAR.store(true, Relaxed);
}

/// One spell of looking.
#[derive(Debug)]
pub(crate) struct Spin {
    polls: u32,
}

impl Spin {
    pub(crate) fn new() -> Self {
        Spin { polls: 0 }
    }

    /// Passes a moment that costs nobody anything; false once it is time for more.
    #[must_use]
    pub(crate) fn pause(&mut self) -> bool {
        if self.polls >= PAUSES / 2 || NEAR.load(Relaxed) {
            return false;
        }
        self.polls += 1;
        std::hint::spin_loop();
        true
    }

    /// Passes a moment; false once it is time to sleep.
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
            // Two threads that count down at once are one spell off; nothing depends on it.
            CROWDED.store(crowded - 1, Relaxed);
            return false;
        }
        if self.polls > PAUSES + YIELDS {
            return false;
        }
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
