//! Whether pieces may begin, by the memory that is still available.
//!
//! ```text
//! Open ── less than the limit ──► Closed
//!   ▲                                │
//!   └─── the limit and a tenth ──────┘
//! ```
//!
//! While it is closed, one piece runs at a time: so a pool never stands still.

/// A reading takes 8 to 60 us, so ten in a second cost nothing that anybody notices. Memory can be filled at 2.5 GB/s, so
/// with one in a second a program would find out too late.
pub(crate) const READ_EACH_NS: u64 = 100_000_000;

/// A reading counts for twice that time, so that nothing stands still while the next one is on its way.
const COUNTS_FOR_NS: u64 = 2 * READ_EACH_NS;

/// What a worker takes of which nothing is known: about what a new one has.
const NEW_WORKER_BYTES: u64 = 1024 * 1024;

/// What the last reading made of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Level {
    #[default]
    Open,
    Closed,
}

impl Level {
    /// The level after a reading.
    #[must_use]
    pub(crate) fn after(self, available: u64, limit: u64) -> Level {
        match self {
            Level::Open if available < limit => Level::Closed,
            Level::Closed if available >= opens_at(limit) => Level::Open,
            level => level,
        }
    }
}

/// From this on it opens again: a tenth above the limit, so that it does not open and close with each piece.
#[must_use]
pub(crate) fn opens_at(limit: u64) -> u64 {
    limit.saturating_add(limit / 10)
}

/// How many pieces may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Begins {
    All,
    /// No other runs.
    One,
    Nothing,
}

/// How many pieces may begin, if the last reading is so old, and pieces run or not. `None`: there was no reading.
pub(crate) fn begins(level: Level, age_ns: Option<u64>, runs_any: bool) -> Begins {
    match (level, age_ns) {
        (Level::Open, Some(..COUNTS_FOR_NS)) => Begins::All,
        _ if runs_any => Begins::Nothing,
        _ => Begins::One,
    }
}

/// What a task may take that is given out now, by the most that a worker was seen to have.
#[must_use]
pub(crate) fn expected_bytes(largest: u64) -> u64 {
    if largest == 0 { NEW_WORKER_BYTES } else { largest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_below_the_limit_and_opens_a_tenth_above() {
        use Level::{Closed, Open};
        let mut level = Level::default();
        // What is available, of a limit of 100; the level then.
        for (number, (available, expected)) in [
            (100, Open),
            (99, Closed),
            (100, Closed),
            (109, Closed),
            (110, Open),
            (100, Open),
            (0, Closed),
            (500, Open),
        ]
        .into_iter()
        .enumerate()
        {
            level = level.after(available, 100);
            assert_eq!(level, expected, "reading {number}");
        }
        assert_eq!(Closed.after(u64::MAX - 1, u64::MAX), Closed);
        assert_eq!(opens_at(u64::MAX), u64::MAX);
    }

    #[test]
    fn without_a_fresh_reading_or_memory_one_piece_runs_at_a_time() {
        use Begins::{All, Nothing, One};
        const MS: u64 = 1_000_000;
        for (level, age_ms, runs_any, expected) in [
            (Level::Open, Some(0), true, All),
            (Level::Open, Some(199), true, All),
            (Level::Open, Some(199), false, All),
            (Level::Open, Some(200), true, Nothing),
            (Level::Open, Some(200), false, One),
            (Level::Open, None, true, Nothing),
            (Level::Open, None, false, One),
            (Level::Closed, Some(0), true, Nothing),
            (Level::Closed, Some(0), false, One),
            (Level::Closed, None, false, One),
        ] {
            let found = begins(level, age_ms.map(|age| age * MS), runs_any);
            assert_eq!(found, expected, "{level:?}, {age_ms:?} ms, {runs_any}");
        }
    }

    #[test]
    fn a_task_is_expected_to_take_what_the_largest_worker_had() {
        assert_eq!((expected_bytes(0), expected_bytes(7)), (1 << 20, 7));
    }
}
