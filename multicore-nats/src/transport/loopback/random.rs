//! Numbers that only look random: the same seed gives the same ones.

/// A stream of numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from `low` on, below `high`; `low` if there is none.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        match high > low {
            true => low + self.number() % (high - low),
            false => low,
        }
    }

    /// True in this number of a million cases.
    pub fn happens(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.number() % 1_000_000 < u64::from(per_million)
    }

    /// 16 random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.number() as u8)
    }
}
