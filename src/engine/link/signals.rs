//! Signals of a worker: what the parent asks it to report, and how many signals it may send for that.
//!
//! Invariant: an honest worker signals each thread that listens at most once for each request and once for each time that it was woken;
//! `allowed` counts those that it has not sent yet. Signals beyond that are `unexpected`: [`FLOOD`] of them within
//! [`FLOOD_NS`] are a violation. The word `interest` in *out* is written here alone and read by the worker.

use crate::protocol::ring::Violation;
use crate::protocol::sleep::{Announcer, Interest};
use crate::protocol::sync::AtomicU32;

/// The number of unexpected signals within [`FLOOD_NS`] that is a violation. An honest worker may send a few: a timer that
/// interrupts its sleep 1,000 times a second makes it send 5,000 in this time. On a busy machine the parent notices some
/// thousand a second of those that never cease; with 1 s in place of 5 it did not always come to 10,000.
pub(super) const FLOOD: u32 = 10_000;
pub(super) const FLOOD_NS: u64 = 5_000_000_000;

#[derive(Debug)]
pub(super) struct Signals {
    announcer: Announcer,
    allowed: u64,
    unexpected: u32,
    /// The time of the first of those.
    unexpected_since_ns: u64,
}

impl Signals {
    pub(super) fn new() -> Self {
        Signals { announcer: Announcer::new(), allowed: 0, unexpected: 0, unexpected_since_ns: 0 }
    }

    /// Writes what the parent asks to be told of; see `sleep.rs`. The same interest is announced again only with
    /// `renew`, since the worker may have used it up. True if the parent must look at the replies once more.
    #[inline]
    #[must_use]
    pub(super) fn announce(&mut self, word: &AtomicU32, interest: Interest, renew: bool) -> bool {
        if self.announcer.interest() == interest && (!renew || interest == Interest::Nothing) {
            return false;
        }
        self.announcer.announce(word, interest);
        self.allowed += interest.signals().max(1);
        interest != Interest::Nothing
    }

    /// The worker was woken: if it is blocked again, it signals once more.
    pub(super) fn allow_one(&mut self) {
        self.allowed += self.announcer.interest().signals().max(1);
    }

    /// The worker has sent a signal. `now_ns` is asked for only when the signal was unexpected.
    pub(super) fn received(&mut self, now_ns: impl Fn() -> u64) -> Result<(), Violation> {
        if let Some(left) = self.allowed.checked_sub(1) {
            self.allowed = left;
            return Ok(());
        }
        if self.unexpected == 0 {
            self.unexpected_since_ns = now_ns();
        }
        self.unexpected += 1;
        if self.unexpected < FLOOD {
            return Ok(());
        }
        self.unexpected = 0;
        if now_ns() - self.unexpected_since_ns < FLOOD_NS { Err(Violation) } else { Ok(()) }
    }

    /// The unexpected signals so far came this much earlier.
    #[cfg(test)]
    pub(super) fn make_older(&mut self, by_ns: u64) {
        self.unexpected_since_ns = self.unexpected_since_ns.saturating_sub(by_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sleep::Listening;

    #[test]
    fn only_a_flood_of_signals_ends_the_trust() {
        // Signals that were allowed, signals that come, nanoseconds between the first and the last: a violation?
        for (allowed, sent, duration_ns, is_violation) in [
            (0, FLOOD - 1, 0, false),
            (0, FLOOD, 0, true),
            (0, FLOOD, FLOOD_NS - 1, true),
            (0, FLOOD, FLOOD_NS, false),
            (1, FLOOD, 0, false),
            (1, FLOOD + 1, 0, true),
            (3 * FLOOD, 3 * FLOOD, 0, false),
            (3 * FLOOD, 4 * FLOOD - 1, 0, false),
            (3 * FLOOD, 4 * FLOOD, 0, true),
        ] {
            let mut signals = Signals::new();
            for _ in 0..allowed {
                signals.allow_one();
            }
            for number in 1..sent {
                assert_eq!(signals.received(|| 7), Ok(()), "{number} of {sent}, {allowed} allowed");
            }
            let last = signals.received(|| 7 + duration_ns);
            assert_eq!(last.is_err(), is_violation, "{allowed}, {sent}, {duration_ns}");
        }
    }

    #[test]
    fn an_interest_is_announced_once_unless_renewed() {
        let (word, mut signals) = (AtomicU32::new(0), Signals::new());
        let next = Interest::NextReply(Listening::Caller);
        let low = Interest::LowWater(Listening::Supervisor);
        // The interest, whether renewed, whether the word is written, whether the parent must look.
        for (interest, renew, writes, looks) in [
            (Interest::Nothing, false, false, false),
            (Interest::Nothing, true, false, false),
            (next, false, true, true),
            (next, false, false, false),
            (next, true, true, true),
            (low, false, true, true),
            (Interest::NextReply(Listening::Both), false, true, true),
            (Interest::Nothing, false, true, false),
            (Interest::Nothing, true, false, false),
        ] {
            let (before, allowed) = (word.load(crate::protocol::sync::Relaxed), signals.allowed);
            assert_eq!(signals.announce(&word, interest, renew), looks, "{interest:?}, {renew}");
            assert_eq!(word.load(crate::protocol::sync::Relaxed) != before, writes, "{interest:?}, {renew}");
            let more = if writes { interest.signals().max(1) } else { 0 };
            assert_eq!(signals.allowed - allowed, more, "{interest:?}, {renew}");
        }
    }
}
