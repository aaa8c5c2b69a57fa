//! Prepared workers: what the next workers need, made before they can be ordered.
//!
//! Invariant: what is here was given to no process. After a first death one prepared worker stands ready
//! beyond those that are due: more deaths are likely then, and preparing a worker takes longer than
//! everything else until it runs.

use super::seat::Prepared;
use crate::engine::policy::restart::RETRY_NS;

#[derive(Debug, Default)]
pub(crate) struct Reserve {
    prepared: Vec<Prepared>,
    /// A spare that could not be made is tried again at this time.
    spare_after_ns: u64,
}

/// What is to be prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub(crate) struct Missing {
    /// Workers for seats that are due.
    pub(crate) due: usize,
    /// The one that stands ready.
    pub(crate) spare: bool,
}

impl Reserve {
    pub(crate) fn add(&mut self, prepared: impl IntoIterator<Item = Prepared>) {
        self.prepared.extend(prepared);
    }

    pub(crate) fn take(&mut self) -> Option<Prepared> {
        self.prepared.pop()
    }

    /// What is missing for this many due seats.
    pub(crate) fn missing(&self, due: usize, wants_spare: bool, now_ns: u64) -> Missing {
        let ready = self.prepared.len();
        Missing { due: due.saturating_sub(ready), spare: wants_spare && ready <= due && now_ns >= self.spare_after_ns }
    }

    /// The spare could not be made. Gives the time of the next attempt.
    #[must_use]
    pub(crate) fn spare_failed(&mut self, now_ns: u64) -> u64 {
        self.spare_after_ns = now_ns + RETRY_NS;
        self.spare_after_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wire::pair::Pair;

    #[test]
    fn due_seats_are_served_first_and_one_worker_stands_ready_after_a_death() {
        let missing = |due, spare| Missing { due, spare };
        for (ready, due, wants_spare, expected) in [
            (0, 0, false, missing(0, false)),
            (0, 2, false, missing(2, false)),
            (1, 2, true, missing(1, true)),
            (2, 2, true, missing(0, true)),
            (3, 2, true, missing(0, false)),
            (1, 0, true, missing(0, false)),
            (1, 0, false, missing(0, false)),
        ] {
            let mut reserve = Reserve::default();
            reserve.add((0..ready).map(|_| Prepared::create(Pair::create().unwrap()).unwrap()));
            assert_eq!(reserve.missing(due, wants_spare, 0), expected, "{ready} ready, {due} due");
        }
    }

    #[test]
    fn a_spare_that_cannot_be_made_is_tried_again_later_and_delays_no_seat() {
        let mut reserve = Reserve::default();
        assert_eq!(reserve.spare_failed(5), 5 + RETRY_NS);
        assert_eq!(reserve.missing(1, true, 4 + RETRY_NS), Missing { due: 1, spare: false });
        assert_eq!(reserve.missing(1, true, 5 + RETRY_NS), Missing { due: 1, spare: true });
    }
}
