//! Holes: revoked pieces whose records the worker may not have stepped over yet.
//!
//! Invariant: while `count` is not 0, the state word of each of the last `count` revoked pieces may still be in use, and
//! the last of their records ends at `end`. The parent counts holes together with the pieces in flight, so that no two
//! of them share a state word. Only the parent touches these words.

#[derive(Debug, Default)]
pub(super) struct Holes {
    count: usize,
    end: u64,
}

impl Holes {
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A piece was revoked whose records end at `end`.
    pub(super) fn add(&mut self, end: u64) {
        self.count += 1;
        self.end = self.end.max(end);
    }

    /// The worker has read everything before `position`.
    pub(super) fn consumed_to(&mut self, position: u64) {
        if position >= self.end {
            self.count = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_last_until_the_last_of_them_is_passed() {
        // The ends of the holes, how far the worker has read, how many are left.
        for (ends, position, left) in [
            (&[][..], 0, 0),
            (&[5], 0, 1),
            (&[5], 4, 1),
            (&[5], 5, 0),
            (&[5, 9], 5, 2),
            (&[9, 5], 5, 2),
            (&[9, 5], 8, 2),
            (&[9, 5], 9, 0),
            (&[9, 5], u64::MAX, 0),
        ] {
            let mut holes = Holes::default();
            for &end in ends {
                holes.add(end);
            }
            assert_eq!(holes.count(), ends.len());
            holes.consumed_to(position);
            assert_eq!(holes.count(), left, "{ends:?}, {position}");
        }
    }
}
