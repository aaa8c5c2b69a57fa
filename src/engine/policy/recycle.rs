//! When a worker is replaced, and when its successor is ordered.
//!
//! A successor is ordered ahead, so that it is ready when it is needed. Of workers that were started together each is replaced a
//! little earlier than the limit says, by a share of its own: otherwise all would be replaced at once, again and again.

/// A worker is replaced up to a tenth earlier than its limit says. With a hundredth, workers that do a piece each
/// millisecond would still be replaced in one burst; with a half, their starts would cost up to twice as much.
const EARLIER_DIVISOR: u64 = 10;

/// A successor is ordered when its predecessor has this many times the length of a start to live. Once would be too late in
/// half of all cases; with ten times it would hold its memory for nothing.
const AHEAD: u64 = 2;

/// The first pause after a successor that could not be started. It doubles with each failure.
const FIRST_PAUSE_NS: u64 = 1_000_000;

/// The longest such pause. What keeps workers from starting is seldom over sooner, and the old workers go on meanwhile.
const MAX_PAUSE_NS: u64 = 10_000_000_000;

/// A successor that is not ready after this time hangs. What `on_worker_start` loads seldom takes a minute.
const START_NS: u64 = 60_000_000_000;

/// Where it does, it takes as long in each worker; ten times that is a busy machine at most.
const STARTS: u64 = 10;

/// A worker that has too much memory gets no more while its successor starts, but for no longer than this: one that is stopped, or
/// waits for something, would hold up its pieces as long as it does.
const WAIT_NS: u64 = 1_000_000_000;

/// How long pieces wait for a successor, if its predecessor took `start_ns` to start.
#[must_use]
pub(crate) fn wait_limit_ns(start_ns: u64) -> u64 {
    start_ns.saturating_mul(AHEAD).max(WAIT_NS)
}

/// How long a successor may take until it is ready, if its predecessor took `start_ns`.
#[must_use]
pub(crate) fn start_limit_ns(start_ns: u64) -> u64 {
    start_ns.saturating_mul(STARTS).max(START_NS)
}

/// Why a worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Pieces,
    Age,
    /// It, or all workers together, have too much memory.
    MemoryHigh,
    Asked,
}

/// The settings: how long a worker may live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LifeLimits {
    /// The most pieces of a worker.
    pub(crate) pieces: Option<u64>,
    pub(crate) age_ns: Option<u64>,
}

impl LifeLimits {
    #[must_use]
    pub(crate) fn any(&self) -> bool {
        self.pieces.is_some() || self.age_ns.is_some()
    }

    /// True if a worker may have used up its pieces soon: it is looked at more often then.
    #[inline]
    #[must_use]
    pub(crate) fn ends_soon(&self, pieces: u64) -> bool {
        self.pieces.is_some_and(|most| pieces >= most - most / 4)
    }

    /// The limits of one worker, by its share of the tenth, from 0 to `u32::MAX`.
    #[must_use]
    pub(crate) fn of_worker(&self, share: u32) -> LifeLimits {
        let earlier = |limit: u64| {
            // Below 2^60 / 10 * 2^32, so it needs more than 64 bits.
            let by = (u128::from(limit / EARLIER_DIVISOR) * u128::from(share)) >> 32;
            limit - by as u64
        };
        LifeLimits { pieces: self.pieces.map(earlier), age_ns: self.age_ns.map(earlier) }
    }
}

/// What is known of a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// The pieces that it has answered.
    pub(crate) pieces: u64,
    /// How long it has lived.
    pub(crate) age_ns: u64,
    /// How long a worker takes to start.
    pub(crate) start_ns: u64,
}

/// What follows for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    GoesOn,
    /// Its successor is to be ordered: it will be due when that is ready.
    DueSoon(Reason),
    Due(Reason),
}

/// The verdict on a worker, by its own limits.
pub(crate) fn judge(life: &Life, limits: &LifeLimits) -> Verdict {
    let Life { pieces, age_ns, start_ns } = *life;
    let ahead_ns = start_ns.saturating_mul(AHEAD);
    let mut verdict = Verdict::GoesOn;
    if let Some(most) = limits.pieces {
        if pieces >= most {
            return Verdict::Due(Reason::Pieces);
        }
        // At its pace so far.
        let left_ns = u128::from(most - pieces) * u128::from(age_ns) / u128::from(pieces.max(1));
        if left_ns <= u128::from(ahead_ns) {
            verdict = Verdict::DueSoon(Reason::Pieces);
        }
    }
    if let Some(most_ns) = limits.age_ns {
        if age_ns >= most_ns {
            return Verdict::Due(Reason::Age);
        }
        if most_ns - age_ns <= ahead_ns {
            verdict = Verdict::DueSoon(Reason::Age);
        }
    }
    verdict
}

/// How long to wait after this many successors in a row that could not be started.
#[must_use]
pub(crate) fn pause_ns(failures: u32) -> u64 {
    // 1 ms doubled 14 times is more than 10 s; the limit keeps the shift from overflowing.
    (FIRST_PAUSE_NS << failures.saturating_sub(1).min(14)).min(MAX_PAUSE_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_worker_is_due_at_its_limit_and_its_successor_is_ordered_two_starts_before() {
        use Verdict::{Due, DueSoon, GoesOn};
        let limits = |pieces, age_ms: Option<u64>| LifeLimits { pieces, age_ns: age_ms.map(|ms| ms * MS) };
        // Pieces, age in ms; the limits; the verdict, if a start takes 5 ms.
        for (pieces, age_ms, limits, expected) in [
            (1_000, 1_000, LifeLimits::default(), GoesOn),
            (89, 89, limits(Some(100), None), GoesOn),
            (90, 90, limits(Some(100), None), DueSoon(Reason::Pieces)),
            (100, 90, limits(Some(100), None), Due(Reason::Pieces)),
            (101, 90, limits(Some(100), None), Due(Reason::Pieces)),
            // Its pieces take ten times as long, so 10 ms are one piece.
            (98, 980, limits(Some(100), None), GoesOn),
            (99, 990, limits(Some(100), None), DueSoon(Reason::Pieces)),
            // It has answered none: nothing is known of its pace, but they take at least as long as it has lived.
            (0, 5, limits(Some(1), None), DueSoon(Reason::Pieces)),
            (0, 50, limits(Some(1), None), GoesOn),
            (0, 89, limits(None, Some(100)), GoesOn),
            (0, 90, limits(None, Some(100)), DueSoon(Reason::Age)),
            (7, 100, limits(None, Some(100)), Due(Reason::Age)),
            (90, 10, limits(Some(100), Some(1_000)), DueSoon(Reason::Pieces)),
            (90, 2_000, limits(Some(100), Some(1_000)), Due(Reason::Age)),
            (u64::MAX - 1, u64::MAX / MS, limits(Some(u64::MAX), None), DueSoon(Reason::Pieces)),
        ] {
            let life = Life { pieces, age_ns: age_ms * MS, start_ns: 5 * MS };
            assert_eq!(judge(&life, &limits), expected, "{life:?}, {limits:?}");
        }
    }

    #[test]
    fn a_worker_is_replaced_up_to_a_tenth_earlier_and_never_later() {
        let limits = LifeLimits { pieces: Some(100), age_ns: Some(1_000) };
        for (share, pieces, age_ns) in [(0, 100, 1_000), (1 << 31, 95, 950), (u32::MAX, 91, 901)] {
            let own = limits.of_worker(share);
            assert_eq!(own, LifeLimits { pieces: Some(pieces), age_ns: Some(age_ns) }, "{share}");
        }
        let few = LifeLimits { pieces: Some(9), age_ns: None };
        assert_eq!(few.of_worker(u32::MAX), few, "a tenth of 9 is no piece");
        let many = LifeLimits { pieces: Some(u64::MAX), age_ns: None };
        assert!(many.of_worker(u32::MAX).pieces.is_some_and(|pieces| pieces >= u64::MAX / 10 * 9));
    }

    #[test]
    fn a_successor_may_take_a_minute_or_ten_times_as_long_as_its_predecessor() {
        for (start_s, limit_s) in [(0, 60), (6, 60), (7, 70), (600, 6_000)] {
            assert_eq!(start_limit_ns(start_s * 1_000 * MS), limit_s * 1_000 * MS, "{start_s}");
        }
        assert_eq!(start_limit_ns(u64::MAX), u64::MAX);
        for (start_ms, wait_ms) in [(0, 1_000), (500, 1_000), (501, 1_002), (9_000, 18_000)] {
            assert_eq!(wait_limit_ns(start_ms * MS), wait_ms * MS, "{start_ms}");
        }
    }

    #[test]
    fn successors_that_cannot_be_started_are_tried_after_growing_pauses() {
        for (failures, expected_ms) in [(1, 1), (2, 2), (3, 4), (14, 8_192), (15, 10_000), (u32::MAX, 10_000)] {
            assert_eq!(pause_ns(failures), expected_ms * MS, "{failures}");
        }
    }
}
