//! How long to look before sleeping.
//!
//! A few polls with the processor's pause, then yields: on a machine with as many workers as cores
//! the one we wait for may need this very core, and a yield gives it away. Spinning without them
//! cost 100 us after each idle spell when both sides landed on one core.

/// Polls with a pause only: the answer to a tiny piece comes within them.
const PAUSES: u32 = 200;
/// Polls with a yield: about 20 us where nobody else wants the core.
const YIELDS: u32 = 40;

/// One spell of looking.
#[derive(Debug)]
pub(crate) struct Spin {
    polls: u32,
}

impl Spin {
    pub(crate) fn new() -> Self {
        Spin { polls: 0 }
    }

    /// Passes a moment; false once it is time to sleep.
    #[must_use]
    pub(crate) fn turn(&mut self) -> bool {
        self.polls += 1;
        if self.polls <= PAUSES {
            std::hint::spin_loop();
        } else if self.polls <= PAUSES + YIELDS {
            std::thread::yield_now();
        } else {
            return false;
        }
        true
    }
}
