//! How long a worker may live, and whether it is to be replaced (`core/recycle.rs`).
//!
//! Invariant: a worker is never given more pieces than its pool's limit, whatever its own, which is a little lower.

use crate::engine::policy::pace::TINY_NS;
use crate::engine::policy::recycle::{self, LifeLimits, Reason, Verdict};
use crate::sys::clock;

/// A tiny piece must not cost more because workers have limits, and no life ends by a tenth of a millisecond.
const JUDGED_EACH_NS: u64 = 100_000;

#[derive(Debug)]
pub(crate) struct Life {
    limits: LifeLimits,
    /// It gets no more pieces than this, whether its successor is ready or not.
    most_pieces: u64,
    /// When it was judged last.
    judged_ns: u64,
    due: Option<Reason>,
    /// Its successor is ready, and takes its place once it holds no piece: it gets no more.
    is_awaited: bool,
}

impl Life {
    /// The life of a worker with limits of its own.
    pub(crate) fn new((limits, of_all): (LifeLimits, LifeLimits)) -> Self {
        let most_pieces = of_all.pieces.unwrap_or(u64::MAX);
        Life { limits, most_pieces, judged_ns: 0, due: None, is_awaited: false }
    }

    /// The pieces that it may be given yet, if it was given this number.
    #[inline]
    pub(crate) fn pieces_left(&self, given: u64) -> u64 {
        self.most_pieces.saturating_sub(given)
    }

    /// Why it is to be replaced, if it is.
    pub(crate) fn due(&self) -> Option<Reason> {
        self.due
    }

    /// It is to be replaced. The first reason counts.
    pub(crate) fn become_due(&mut self, reason: Reason) {
        self.due.get_or_insert(reason);
    }

    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Whether its successor waits for it. Gives whether it did before.
    pub(crate) fn await_its_end(&mut self, is_awaited: bool) -> bool {
        std::mem::replace(&mut self.is_awaited, is_awaited)
    }

    /// True if it has lived long enough, and nobody has noticed.
    #[inline]
    pub(crate) fn is_overdue(&self, age_ns: u64) -> bool {
        self.due.is_none() && self.limits.age_ns.is_some_and(|most_ns| age_ns >= most_ns)
    }

    /// It has answered something, the last of it about at this cost, by what was learnt; at this time, if that is known. The time,
    /// if it is to be judged now.
    #[inline]
    pub(crate) fn judgement_due_ns(&mut self, pieces: u64, known_ns: Option<u64>, cost_ns: u32) -> Option<u64> {
        let now_ns = match known_ns {
            Some(now_ns) => now_ns,
            // A look at the clock costs 2 % of a round trip.
            None if cost_ns <= TINY_NS && self.passes(pieces) => return None,
            None => clock::coarse_ns(),
        };
        self.needs_judgement(pieces, now_ns).then_some(now_ns)
    }

    /// Whether it is to be judged now, after it has answered something: once in [`JUDGED_EACH_NS`], and each time if its pieces
    /// may be used up soon.
    #[inline]
    fn needs_judgement(&mut self, pieces: u64, now_ns: u64) -> bool {
        let is_new = now_ns >= self.judged_ns + JUDGED_EACH_NS;
        if is_new {
            self.judged_ns = now_ns;
        }
        self.due.is_none() && (is_new || self.limits.ends_soon(pieces))
    }

    /// A tiny piece was answered alone, and nobody knows the time. True if it is not worth a look at the clock: that of each
    /// eighth piece is enough.
    #[inline]
    fn passes(&self, pieces: u64) -> bool {
        !pieces.is_multiple_of(8) && !self.limits.ends_soon(pieces)
    }

    pub(crate) fn judge(&self, life: &recycle::Life) -> Verdict {
        recycle::judge(life, &self.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_judged_now_and_then_and_often_towards_its_end() {
        let limits = LifeLimits { pieces: Some(100), age_ns: None };
        let mut life = Life::new((limits, limits));
        // The pieces that it has answered, the time in tenths of a ms, whether it is judged.
        for (pieces, tenths, expected) in
            [(1, 5, true), (2, 5, false), (74, 5, false), (75, 5, true), (76, 5, true), (3, 6, true), (3, 6, false)]
        {
            assert_eq!(life.needs_judgement(pieces, tenths * 100_000), expected, "{pieces} pieces, at {tenths}");
        }
        for (pieces, expected) in [(1, true), (7, true), (8, false), (9, true), (74, true), (75, false), (80, false)] {
            assert_eq!(life.passes(pieces), expected, "{pieces} pieces");
        }
        life.become_due(Reason::Asked);
        life.become_due(Reason::Pieces);
        assert!(!life.needs_judgement(99, 700_000) && life.due() == Some(Reason::Asked));
    }

    #[test]
    fn the_pool_has_one_most_and_the_worker_a_lower_one() {
        let all = LifeLimits { pieces: Some(100), age_ns: Some(1_000) };
        let mut life = Life::new((all.of_worker(u32::MAX), all));
        assert_eq!([0, 91, 100, 101].map(|given| life.pieces_left(given)), [100, 9, 0, 0]);
        assert!(!life.is_overdue(900) && life.is_overdue(901));
        life.become_due(Reason::Pieces);
        assert!(!life.is_overdue(901), "somebody has noticed");
        let none = Life::new(Default::default());
        assert!(none.pieces_left(u64::MAX / 2) > 0 && !none.is_overdue(u64::MAX));
    }
}
