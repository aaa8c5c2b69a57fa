//! Which pieces of a task its caller has taken, in whatever order.
//!
//! It takes a bit for each piece from the lowest one on that nobody has taken: a caller that takes pieces as they finish
//! usually lacks only the last few.
//!
//! Invariant: all pieces below `64 * full` are taken, and the first word is not full. No piece counts twice.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Taken {
    /// How many were taken.
    count: usize,
    /// The full words before `words`.
    full: usize,
    /// A bit for each piece: it was taken.
    words: VecDeque<u64>,
}

impl Taken {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Notes a piece that was taken.
    pub(super) fn add(&mut self, number: usize) {
        // One below has been taken before.
        let Some(index) = (number / 64).checked_sub(self.full) else { return };
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let (word, bit) = (&mut self.words[index], 1 << (number % 64));
        self.count += usize::from(*word & bit == 0);
        *word |= bit;
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.full += 1;
        }
    }

    /// The same for some pieces in a row.
    pub(super) fn add_many(&mut self, mut first: usize, count: usize) {
        let end = first + count;
        while first < end {
            if first == 64 * self.full && first + 64 <= end && self.words.front().is_none_or(|&word| word == 0) {
                // A full word of which none was taken: most of them, where pieces are taken in order.
                self.words.pop_front();
                (self.full, self.count, first) = (self.full + 1, self.count + 64, first + 64);
            } else {
                self.add(first);
                first += 1;
            }
        }
    }

    /// The lowest piece from this one on that was not taken.
    pub(super) fn next_from(&self, number: usize) -> usize {
        let number = number.max(64 * self.full);
        let from = number / 64 - self.full;
        // Bits below the first one count as taken.
        let mut below = (1_u64 << (number % 64)) - 1;
        for (index, word) in self.words.iter().enumerate().skip(from) {
            let free = !(word | below);
            if free != 0 {
                return 64 * (self.full + index) + free.trailing_zeros() as usize;
            }
            below = 0;
        }
        number.max(64 * (self.full + self.words.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_was_taken_is_passed_over() {
        // What was taken; then for some pieces the next one that was not.
        for (taken, expected) in [
            (&[][..], &[(0, 0), (5, 5), (64, 64), (1000, 1000)][..]),
            (&[0], &[(0, 1), (1, 1)]),
            (&[1, 2, 2], &[(0, 0), (1, 3), (2, 3), (3, 3)]),
            (&[63, 64], &[(0, 0), (63, 65), (64, 65), (65, 65)]),
            (&[200], &[(0, 0), (199, 199), (200, 201), (255, 255), (256, 256)]),
        ] {
            let mut set = Taken::default();
            taken.iter().for_each(|&number| set.add(number));
            for &(from, next) in expected {
                assert_eq!(set.next_from(from), next, "{taken:?}, from {from}");
            }
            assert_eq!(set.count(), taken.iter().collect::<BTreeSet<_>>().len(), "{taken:?}");
        }
    }

    #[test]
    fn pieces_in_a_row_count_as_one_by_one() {
        for before in [&[][..], &[3], &[64], &[130, 200]] {
            for (first, count) in [(0, 0), (0, 64), (0, 63), (0, 300), (1, 64), (60, 200), (128, 128)] {
                let (mut set, mut other) = (Taken::default(), Taken::default());
                for set in [&mut set, &mut other] {
                    before.iter().for_each(|&number| set.add(number));
                    (0..first).for_each(|number| set.add(number));
                }
                set.add_many(first, count);
                (first..first + count).for_each(|number| other.add(number));
                assert_eq!(set.count(), other.count(), "{before:?}, {first}, {count}");
                assert!((0..600).all(|number| set.next_from(number) == other.next_from(number)));
            }
        }
    }

    #[test]
    fn pieces_taken_in_any_order_leave_the_others_and_little_memory() {
        const PIECES: usize = 1000;
        // A prime step visits all pieces.
        let mut set = Taken::default();
        let mut left: BTreeSet<usize> = (0..=PIECES).collect();
        for number in (0..PIECES).map(|step| step * 617 % PIECES) {
            set.add(number);
            left.remove(&number);
            for from in [0, number / 2, number] {
                assert_eq!(Some(&set.next_from(from)), left.range(from..).next(), "{number}, from {from}");
            }
        }
        assert_eq!((set.count(), set.words.len()), (PIECES, 1));
        set.add(3);
        assert_eq!((set.count(), set.next_from(0)), (PIECES, PIECES), "it was taken before");
    }
}
