//! What follows from the memory that workers use: nothing, a successor, a replacement, or a kill; and when to look again.
//!
//! | tier   | where                                 | what                                                        |
//! |--------|---------------------------------------|-------------------------------------------------------------|
//! | `high` | after a piece ([`judge_worker`]), and in a check for the sum of all | the worker is replaced in order |
//! | `max`  | in checks of the supervisor ([`Checks`]), in mid-piece too | after some in a row the worker is killed |

/// A successor is ordered when the worker, at its growth so far, reaches its limit in this many times the length of a start. It must
/// have grown by half of what it may.
const AHEAD: u128 = 2;

/// A worker lives at least this many times the length of its start before it is replaced for its memory: then starts take a
/// tenth of the time at most. One that has grown by half of its limit has used its time well.
const LIVES_STARTS: u64 = 10;

/// The quickest growth that counts: 4 bytes in a nanosecond. A program that touches new memory makes 2.5 with small pages
/// and 15 with large ones.
const BYTES_A_NS: u64 = 4;

/// A check costs some microseconds for each worker, so one in 2 ms takes at most a hundredth of a core for four of them.
const LEAST_NS: u64 = 2_000_000;

/// A worker that is far below its limit is checked four times a second.
const MOST_NS: u64 = 250_000_000;

/// Once a limit is exceeded the next check follows after this: another reading, before much is added.
const SECOND_NS: u64 = 5_000_000;

/// What is known of a worker's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkerMemory {
    pub(crate) bytes: u64,
    /// When it was ready.
    pub(crate) at_start: u64,
    /// How long it has been ready.
    pub(crate) lived_ns: u64,
    /// How long it took to become ready.
    pub(crate) start_ns: u64,
}

/// What follows for a worker after a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    GoesOn,
    /// It is above its limit, but has lived too short for another to take its place already.
    TooYoung,
    /// It reaches its limit soon.
    DueSoon,
    /// It is above its limit, in bytes.
    Due(u64),
}

/// The limit of a worker in bytes. One that was above it when it was ready is replaced at twice the size that it had then.
#[must_use]
pub(crate) fn high_of(limit: u64, at_start: u64) -> u64 {
    if at_start > limit { at_start.saturating_mul(2) } else { limit }
}

/// The verdict on a worker by its own limit.
pub(crate) fn judge_worker(memory: &WorkerMemory, limit: u64) -> Verdict {
    let WorkerMemory { bytes, at_start, lived_ns, start_ns } = *memory;
    let limit_bytes = high_of(limit, at_start);
    if bytes > limit_bytes {
        return if may_be_replaced(memory, limit_bytes) { Verdict::Due(limit_bytes) } else { Verdict::TooYoung };
    }
    let grown = bytes.saturating_sub(at_start);
    let left_ns = u128::from(limit_bytes - bytes) * u128::from(lived_ns);
    // Then it must have lived for long enough.
    let ahead_ns = start_ns.saturating_mul(AHEAD as u64);
    let then = WorkerMemory { bytes: limit_bytes, lived_ns: lived_ns.saturating_add(ahead_ns), ..*memory };
    // A worker's first pieces take much for good, in almost no time: that tells nothing of the pieces after them.
    let has_half = grown >= (limit_bytes - at_start.min(limit_bytes)).div_ceil(2);
    // left / grown <= AHEAD * start, without a division.
    if grown > 0
        && has_half
        && left_ns <= (u128::from(start_ns) * u128::from(grown)).saturating_mul(AHEAD)
        && may_be_replaced(&then, limit_bytes)
    {
        return Verdict::DueSoon;
    }
    Verdict::GoesOn
}

/// True if a worker has lived for long enough to be replaced for its memory, or has grown by half of this limit.
#[must_use]
pub(crate) fn may_be_replaced(memory: &WorkerMemory, limit_bytes: u64) -> bool {
    let WorkerMemory { bytes, at_start, lived_ns, start_ns } = *memory;
    lived_ns >= start_ns.saturating_mul(LIVES_STARTS) || bytes.saturating_sub(at_start) >= limit_bytes / 2
}

/// Another worker has what this one had when it was ready, so the replacement gives back what it has grown by. That must be worth a
/// start: 1 MiB is what a worker's first pieces take for good.
const LEAST_GAIN: u64 = 1 << 20;

/// … and this part of what it had: with a hundredth, workers that are large from their start would be replaced all the time.
const GAIN_DIVISOR: u64 = 8;

/// What is gained if a worker is replaced, if that is worth it.
#[must_use]
pub(crate) fn gain_of(bytes: u64, at_start: u64) -> Option<u64> {
    let grown = bytes.saturating_sub(at_start);
    (grown >= LEAST_GAIN.max(at_start / GAIN_DIVISOR)).then_some(grown)
}

/// True if an idle worker, which gains `idle`, is replaced before the largest one, which gains `largest`: the idle one goes without a
/// wait. With a tenth as much, the large one would stay while its neighbours are replaced again and again.
#[must_use]
pub(crate) fn goes_first(idle: u64, largest: u64) -> bool {
    idle >= largest / 2
}

/// When to check again what is below its limit by this number of bytes.
#[must_use]
pub(crate) fn next_check_ns(headroom: u64) -> u64 {
    (headroom / BYTES_A_NS).clamp(LEAST_NS, MOST_NS)
}

/// The scheduler reads a worker's memory after a piece at most once in this time: it takes 1 us, under the lock.
pub(crate) const READ_EACH_NS: u64 = 100_000;

/// Far below its limit a worker is read once in 2 ms: more often, the readings of two busy workers took 1 % of two cores.
const READ_FAR_NS: u64 = 2_000_000;

/// When to read a worker again, after a piece, that is below its `high` by this number of bytes.
#[must_use]
pub(crate) fn next_reading_ns(headroom: u64) -> u64 {
    (headroom / BYTES_A_NS).clamp(READ_EACH_NS, READ_FAR_NS)
}

/// Checks in a row that found a limit exceeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Checks(u32);

/// What follows from a check of a `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum CheckVerdict {
    /// Check again after this time.
    Again {
        after_ns: u64,
    },
    Kill,
}

impl Checks {
    /// Counts a check that found this number of bytes, of `max` allowed. `needed` in a row have the worker killed.
    pub(crate) fn count(&mut self, bytes: u64, max: u64, needed: u32) -> CheckVerdict {
        if bytes <= max {
            self.0 = 0;
            return CheckVerdict::Again { after_ns: next_check_ns(max - bytes) };
        }
        self.0 += 1;
        if self.0 >= needed {
            self.0 = 0;
            return CheckVerdict::Kill;
        }
        CheckVerdict::Again { after_ns: SECOND_NS }
    }
}

/// How many pieces that each leave this much behind fit into that room.
#[must_use]
pub(crate) fn pieces_left(room_bytes: u64, growth_per_piece: f64) -> u64 {
    // A float that is too large for the type becomes the largest number, and one that is none becomes 0.
    if growth_per_piece > 0.0 { (room_bytes as f64 / growth_per_piece) as u64 } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;
    const MS: u64 = 1_000_000;

    #[test]
    fn a_worker_is_replaced_above_its_limit_and_its_successor_is_ordered_before() {
        use Verdict::{Due, DueSoon, GoesOn, TooYoung};
        // Memory now and at the start in MB, how long it lives in ms, the limit in MB; the verdict, if a start takes 2 ms.
        for (now, at_start, lived_ms, limit, expected) in [
            (10, 10, 1_000, 100, GoesOn),
            (5, 10, 1_000, 100, GoesOn),
            (100, 10, 1_000, 100, DueSoon),
            (101, 10, 1_000, 100, Due(100 * MB)),
            // It grows by 1 MB in 1 ms: 4 ms before the limit the successor is ordered.
            (95, 10, 85, 100, GoesOn),
            (96, 10, 86, 100, DueSoon),
            (105, 10, 95, 110, GoesOn),
            (106, 10, 96, 110, DueSoon),
            (111, 10, 101, 110, Due(110 * MB)),
            // Ten starts are 20 ms. It has grown by less than half of the limit.
            (101, 60, 19, 100, TooYoung),
            (101, 60, 20, 100, Due(100 * MB)),
            (101, 51, 5, 100, Due(100 * MB)),
            // A successor would take its place before that.
            (99, 60, 15, 100, GoesOn),
            (99, 60, 16, 100, DueSoon),
            (99, 50, 5, 100, DueSoon),
            // Its first piece took much, at once.
            (100, 60, 1, 150, GoesOn),
            (104, 60, 1, 150, GoesOn),
            (105, 60, 1, 150, DueSoon),
            (200, 150, 1, 100, GoesOn),
            (225, 150, 1, 100, DueSoon),
            // It was above its limit when it was ready.
            (150, 150, 1_000, 100, GoesOn),
            (299, 150, 1_000_000, 100, GoesOn),
            (301, 150, 1_000_000, 100, Due(300 * MB)),
        ] {
            let memory =
                WorkerMemory { bytes: now * MB, at_start: at_start * MB, lived_ns: lived_ms * MS, start_ns: 2 * MS };
            assert_eq!(judge_worker(&memory, limit * MB), expected, "{memory:?}, {limit} MB");
        }
        let most = WorkerMemory { bytes: u64::MAX, at_start: 0, lived_ns: u64::MAX, start_ns: u64::MAX };
        assert_eq!(judge_worker(&most, u64::MAX), DueSoon);
    }

    #[test]
    fn a_worker_is_replaced_for_all_if_that_gives_enough_back() {
        // In KB: what it has, what it had; the gain.
        for (bytes, at_start, gain) in [
            (5_000, 5_000, None),
            (4_000, 5_000, None),
            (6_000, 5_000, None),
            (6_100, 5_000, Some(1_100)),
            (112_000, 100_000, None),
            (112_500, 100_000, Some(12_500)),
        ] {
            assert_eq!(gain_of(bytes * 1_000, at_start * 1_000), gain.map(|gain| gain * 1_000), "{bytes}, {at_start}");
        }
        assert!(goes_first(50, 100) && goes_first(100, 100) && !goes_first(49, 100));
    }

    #[test]
    fn the_next_check_comes_before_the_limit_can_be_reached() {
        for (headroom, expected_ms) in [(0, 2), (7 * MB, 2), (40 * MB, 10), (1_000 * MB, 250), (u64::MAX, 250)] {
            assert_eq!(next_check_ns(headroom), expected_ms * MS, "{headroom}");
        }
    }

    #[test]
    fn a_worker_is_killed_after_checks_in_a_row_above_its_limit() {
        use CheckVerdict::{Again, Kill};
        let again = |ms: u64| Again { after_ns: ms * MS };
        // The checks that are needed; what they find of 100 MB; the verdicts.
        let rows: [(u32, &[(u64, CheckVerdict)]); 4] = [
            (1, &[(100, again(2)), (101, Kill)]),
            (2, &[(101, again(5)), (101, Kill), (101, again(5)), (900, Kill)]),
            (2, &[(101, again(5)), (60, again(10)), (101, again(5)), (101, Kill)]),
            (3, &[(101, again(5)), (200, again(5)), (101, Kill)]),
        ];
        for (needed, found) in rows {
            let mut checks = Checks::default();
            for &(mb, expected) in found {
                assert_eq!(checks.count(mb * MB, 100 * MB, needed), expected, "{needed} checks, {found:?}");
            }
        }
    }

    #[test]
    fn a_worker_is_read_the_more_often_the_less_is_left() {
        for (headroom, expected) in [
            (0, READ_EACH_NS),
            (400_000, READ_EACH_NS),
            (4_000_000, 1_000_000),
            (8_000_000, READ_FAR_NS),
            (u64::MAX, READ_FAR_NS),
        ] {
            assert_eq!(next_reading_ns(headroom), expected, "{headroom}");
        }
    }

    #[test]
    fn pieces_are_left_until_the_room_is_full() {
        for (room_bytes, growth, expected) in [
            (0, 1008.0, 0),
            (1007, 1008.0, 0),
            (24_192_000, 1008.0, 24_000),
            (1000, 0.5, 2000),
            (u64::MAX, f64::MIN_POSITIVE, u64::MAX),
            (1000, 0.0, u64::MAX),
            (1000, f64::NAN, u64::MAX),
        ] {
            assert_eq!(pieces_left(room_bytes, growth), expected, "{room_bytes} by {growth}");
        }
    }
}
