//! Which pieces are sampled: after such a piece its worker tells by how much its memory has grown.
//!
//! A sample has a price (20 to 80 us, and more where much freed memory lies between what is used), so pieces are chosen by the time
//! that they take, and no more than one part in [`SHARE`] of that time goes into samples. The distance is random: functions that run in strict turn are told apart only if the numbers of their pieces between samples differ.

/// A pool tells this many functions apart, less one: the last number stands for all others.
pub(crate) const FUNCTIONS: usize = 33;

/// The number of all functions that came after the others.
pub(crate) const OTHERS: u8 = FUNCTIONS as u8 - 1;

/// The least work between two samples of a worker, on average.
const INTERVAL_NS: u64 = 100_000;

/// One part in 192 of the time, in the end: samples and limits together may cost 2 %.
const SHARE: u64 = 192;

/// At first every other moment: a verdict takes some 25 samples, and so a leak in 100,000 pieces of 200 ns each is found.
const FIRST_SHARE: u64 = 2;

/// A worker's word for the price of a sample counts up to this: more would end the sampling of this worker.
const MAX_PRICE_NS: u64 = 100_000_000;

/// Each time this price makes the first samples one part rarer: where much is free between what is used, a sample takes
/// milliseconds, and dense ones would take a tenth of the first second.
const DENSE_PRICE_NS: u64 = 10_000;

/// The assumed price of a sample before the first has told: that of one where little is free between what is used.
const FIRST_PRICE_NS: u64 = 20_000;

/// A new worker's samples are assumed to cost no more than this, whatever others have told: little of its memory is freed yet.
const MAX_NEW_PRICE_NS: u64 = 100_000;

/// The first sample of a worker prepares the others, and costs this many times as much (260 us were measured, and 60 us).
const FIRST_PRICES: u64 = 5;

/// Where workers are replaced all the time and much is known, one new worker in this many is sampled from its first piece on: some
/// must be, or workers that live for a few milliseconds would tell nothing. All take their first sample as soon as their time
/// pays for it.
const SAMPLED_AT_ONCE: u64 = 4;

/// Such a worker samples as one that has taken this number: its growth shows from the second sample on, which must come before its life is over.
const TAKEN_AT_ONCE: u32 = SHARE as u32 / 4;

/// The assumed cost of a piece of a function of which nothing is known. With the 150 us that the scheduler assumes of
/// a new task, nearly each piece of a program that runs one at a time was sampled.
pub(crate) const UNKNOWN_COST_NS: u32 = 80;

/// What the samples of other workers have told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Experience {
    /// How many samples each worker took, on average.
    pub(crate) taken: u32,
    pub(crate) price_ns: u64,
}

impl Default for Experience {
    fn default() -> Self {
        Experience { taken: 0, price_ns: FIRST_PRICE_NS }
    }
}

/// How a new worker begins.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Beginning {
    /// The first piece of each function is sampled, and later ones as if this number of samples had come before.
    AtOnce { taken: u32 },
    /// The first sample comes after this work.
    After { interval_ns: u64 },
}

impl Experience {
    /// With one more sample, of that price.
    pub(crate) fn learn_price(&mut self, told_ns: u64) {
        self.price_ns = learn_price(self.price_ns, told_ns);
    }

    /// The price of a new worker's samples.
    #[must_use]
    pub(crate) fn new_price_ns(self) -> u64 {
        self.price_ns.min(MAX_NEW_PRICE_NS)
    }

    /// How a new worker begins.
    pub(crate) fn begin(self, random: u64) -> Beginning {
        if u64::from(self.taken) < SHARE || random.is_multiple_of(SAMPLED_AT_ONCE) {
            return Beginning::AtOnce { taken: self.taken.min(TAKEN_AT_ONCE) };
        }
        Beginning::After { interval_ns: interval_ns(self.new_price_ns() * FIRST_PRICES, self.taken, random) }
    }
}

/// The work until the next sample. `price_ns` is what a sample costs, by the worker's word: that makes samples rarer, and never
/// more frequent. `taken` samples came before it: the first ones come soon after each other, and the distance grows until
/// they cost their share.
#[must_use]
pub(crate) fn interval_ns(price_ns: u64, taken: u32, random: u64) -> u64 {
    let price_ns = price_ns.min(MAX_PRICE_NS);
    let share = u64::from(taken).max(price_ns / DENSE_PRICE_NS).clamp(FIRST_SHARE, SHARE);
    let mean_ns = (price_ns * share).max(INTERVAL_NS);
    mean_ns / 2 + random % mean_ns
}

/// The price to assume from now on; 0 is told of a sample that says nothing of the next one. A single one that is far higher says little: page faults, an interrupt. But where hundreds of
/// thousands of free blocks lie between what is used, each sample takes 10 ms, and that must be known after a few.
#[must_use]
pub(crate) fn learn_price(price_ns: u64, told_ns: u64) -> u64 {
    if told_ns == 0 {
        return price_ns;
    }
    (3 * price_ns + told_ns.min(8 * price_ns + FIRST_PRICE_NS).min(MAX_PRICE_NS)) / 4
}

/// The cost of a function's pieces to assume from now on, after some took `measured_ns` each. As `pace::learn`, but what is
/// long is not cut: of pieces of 20 ms each one can be sampled.
#[must_use]
pub(crate) fn learn_cost(cost_ns: u32, measured_ns: u64) -> u32 {
    u32::try_from(measured_ns).unwrap_or(u32::MAX).max(cost_ns / 2).max(UNKNOWN_COST_NS)
}

/// The next number of a sequence that looks random (xorshift64); `state` is never 0.
#[must_use]
pub(crate) fn next_random(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_take_little_of_the_time() {
        // The price, the samples before; the least and the most work until the next one.
        for (price_ns, taken, least_ns, most_ns) in [
            (0, 1_000, 50_000, 149_999),
            (520, 1_000, 50_000, 149_999),
            (20_000, 0, 50_000, 149_999),
            (60_000, 0, 180_000, 539_999),
            (60_000, 6, 180_000, 539_999),
            (1_000_000, 0, 50_000_000, 149_999_999),
            (60_000, 100, 3_000_000, 8_999_999),
            (60_000, 192, 5_760_000, 17_279_999),
            (60_000, u32::MAX, 5_760_000, 17_279_999),
            (u64::MAX, u32::MAX, 9_600_000_000, 28_799_999_999),
        ] {
            let interval_ns = |random| interval_ns(price_ns, taken, random);
            let mean_ns = least_ns * 2;
            let found = [0, mean_ns - 1, mean_ns].map(interval_ns);
            assert_eq!(found, [least_ns, most_ns, least_ns], "{price_ns}, {taken}");
        }
    }

    #[test]
    fn the_price_follows_what_is_told_and_has_a_bound() {
        for (price_ns, told_ns, expected) in [
            (0, 4_000, 1_000),
            (4_000, 0, 4_000),
            (4_000, 1, 3_000),
            (8_000, 8_000, 8_000),
            (8_000, 84_000, 27_000),
            (8_000, 5_000_000, 27_000),
        ] {
            assert_eq!(learn_price(price_ns, told_ns), expected, "{price_ns}, then {told_ns}");
        }
        let after = (0..7).fold(FIRST_PRICE_NS, |price_ns, _| learn_price(price_ns, 10_000_000));
        assert!(after > 6_000_000, "{after}");
        let worst = (0..1_000).fold(0, |price_ns, _| learn_price(price_ns, u64::MAX));
        assert!((MAX_PRICE_NS - 4..=MAX_PRICE_NS).contains(&worst), "{worst}");
    }

    #[test]
    fn a_new_worker_pays_for_its_first_sample_by_its_time_where_much_is_known() {
        use Beginning::{After, AtOnce};
        let at_once = |taken| AtOnce { taken };
        // The samples before, their price in us, a random number; the beginning.
        for (taken, price_us, random, expected) in [
            (0, 20, 1, at_once(0)),
            (47, 20, 1, at_once(47)),
            (191, 50, 1, at_once(48)),
            (192, 50, 4, at_once(48)),
            // 50 us, 5 times, 192 times: 48 ms.
            (192, 50, 48_000_001, After { interval_ns: 24_000_001 }),
            (192, 50, 48_000_000 - 1, After { interval_ns: 72_000_000 - 1 }),
            (u32::MAX, 100, 96_000_000 * 3 + 1, After { interval_ns: 48_000_001 }),
            (u32::MAX, 100_000, 96_000_000 * 3 + 1, After { interval_ns: 48_000_001 }),
            (192, 0, 100_001, After { interval_ns: 50_001 }),
        ] {
            let experience = Experience { taken, price_ns: price_us * 1_000 };
            assert_eq!(experience.begin(random), expected, "{experience:?}, {random}");
        }
        let mut experience = Experience::default();
        experience.learn_price(40_000);
        assert_eq!((experience.price_ns, experience.new_price_ns()), (25_000, 25_000));
    }

    #[test]
    fn long_pieces_are_known_as_long() {
        for (cost_ns, measured_ns, expected) in [
            (UNKNOWN_COST_NS, 20_000_000, 20_000_000),
            (20_000_000, 1_000, 10_000_000),
            (100, 0, UNKNOWN_COST_NS),
            (100, u64::MAX, u32::MAX),
        ] {
            assert_eq!(learn_cost(cost_ns, measured_ns), expected, "{cost_ns}, then {measured_ns}");
        }
    }

    #[test]
    fn the_random_numbers_do_not_repeat_soon() {
        let (mut state, mut seen) = (1, std::collections::BTreeSet::new());
        for _ in 0..1_000 {
            state = next_random(state);
            assert!(state != 0 && seen.insert(state));
        }
    }
}
