//! How a worker's oldest piece stands: it waits, or it runs under a time limit.
//!
//! Invariants: `Limits` holds the limit of each limited piece in flight, in the order of their sequence numbers, and
//! perhaps some of pieces that are gone, before those; only the parent touches it. `Sightings` keeps the first time that was
//! seen for a piece: later words of the worker do not move its limit. `started` and `started_ns` in *back* are
//! written by the worker and read here; a time in the future counts as now.

use super::Link;
use crate::engine::policy::patience::Progress;
use crate::protocol::ring::Violation;
use crate::protocol::told;
use std::collections::VecDeque;

/// The time limits of pieces in flight, by sequence number.
#[derive(Debug, Default)]
pub(super) struct Limits(VecDeque<(u32, u64)>);

impl Limits {
    pub(super) fn add(&mut self, sequence: u32, limit_ns: u64) {
        self.0.push_back((sequence, limit_ns));
    }

    /// Forgets all: no piece is in flight.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The limit of the oldest piece in flight. Forgets the limits of those before it.
    fn of_oldest(&mut self, sequence: u32) -> Option<u64> {
        let own = self.0.iter().position(|(number, _)| *number == sequence)?;
        self.0.drain(..own);
        self.0.front().map(|(_, limit_ns)| *limit_ns)
    }
}

/// When a piece was first seen to wait, and when one is known to have begun, by sequence number.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    waiting: Option<(u32, u64)>,
    started: Option<(u32, u64)>,
}

impl Sightings {
    /// The time since when the piece is seen to wait; `now_ns` if this is the first sight.
    fn waits(&mut self, sequence: u32, now_ns: u64) -> u64 {
        first(&mut self.waiting, sequence, || now_ns)
    }

    /// The time when the piece began. `told_ns` gives the worker's word on it, and is asked once.
    fn started(&mut self, sequence: u32, now_ns: u64, told_ns: impl FnOnce() -> Option<u64>) -> u64 {
        first(&mut self.started, sequence, || told_ns().unwrap_or(now_ns).min(now_ns))
    }
}

fn first(seen: &mut Option<(u32, u64)>, sequence: u32, time_ns: impl FnOnce() -> u64) -> u64 {
    match *seen {
        Some((number, time_ns)) if number == sequence => time_ns,
        _ => seen.insert((sequence, time_ns())).1,
    }
}

impl Link {
    /// How its oldest piece stands, as far as the parent can tell now. `None` if it holds none, and has room for
    /// more.
    pub(crate) fn progress(&mut self, now_ns: u64) -> Result<Option<Progress>, Violation> {
        let has_begun = self.sees_claim();
        if self.is_damaged {
            return Err(Violation);
        }
        let Some(oldest) = self.ledger.oldest() else {
            // What waits for room in its ring waits for it.
            return Ok(self.lacks_since_ns(now_ns).map(|since_ns| Progress::Waits { since_ns, limit_ns: None }));
        };
        let limit_ns = if oldest.is_limited { self.limits.of_oldest(oldest.sequence) } else { None };
        if !has_begun {
            let since_ns = self.sightings.waits(oldest.sequence, now_ns);
            return Ok(Some(Progress::Waits { since_ns, limit_ns }));
        }
        let Some(limit_ns) = limit_ns else {
            return Ok(Some(Progress::Runs { sequence: oldest.sequence, until_ns: u64::MAX }));
        };
        let pair = &self.pair;
        let start_ns = self
            .sightings
            .started(oldest.sequence, now_ns, || told::told_start(pair.started_ns(), pair.started(), oldest.sequence));
        let until_ns = match self.open.held_ns(oldest.sequence) {
            Some(held_ns) => start_ns.saturating_add(limit_ns).saturating_add(held_ns),
            // Its time stands still.
            None => u64::MAX,
        };
        Ok(Some(Progress::Runs { sequence: oldest.sequence, until_ns }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_for_the_oldest_and_those_before_are_forgotten() {
        // The oldest piece, its limit, how many limits are kept.
        for (oldest, limit_ns, kept) in [(1, Some(10), 3), (4, Some(40), 2), (2, Some(20), 1), (3, None, 3)] {
            let mut limits = Limits::default();
            // Numbers wrap: 2 follows 4 here.
            for (sequence, limit_ns) in [(1, 10), (4, 40), (2, 20)] {
                limits.add(sequence, limit_ns);
            }
            assert_eq!(limits.of_oldest(oldest), limit_ns, "{oldest}");
            assert_eq!(limits.0.len(), kept, "{oldest}");
            limits.clear();
            assert_eq!(limits.of_oldest(oldest), None);
        }
    }

    #[test]
    fn the_first_sight_of_a_piece_counts() {
        let mut sightings = Sightings::default();
        for (sequence, now_ns, since_ns) in [(1, 5, 5), (1, 9, 5), (2, 10, 10), (2, 11, 10), (1, 12, 12)] {
            assert_eq!(sightings.waits(sequence, now_ns), since_ns, "{sequence} at {now_ns}");
        }
        for (sequence, now_ns, told_ns, start_ns) in [
            (1, 50, Some(40), 40),
            (1, 60, Some(59), 40),
            (1, 60, None, 40),
            // It has said nothing: it begins now, and a later word changes nothing.
            (2, 70, None, 70),
            (2, 80, Some(60), 70),
            // A time in the future.
            (3, 90, Some(u64::MAX), 90),
        ] {
            assert_eq!(sightings.started(sequence, now_ns, || told_ns), start_ns, "{sequence} at {now_ns}");
        }
    }
}
