//! Words that stand for types, names, and what is made of them.
//!
//! Invariant: equal words mean equal things, but for an accident of one in 2^60 for each pair. Equal things may have
//! different words, since the compiler keeps several copies of a constant. So only words that the same machine code has
//! made are compared: those of a call of `append` with those of earlier ones, or two records.

use crate::codec::proof::known::COUNT;
use std::any::TypeId;
use std::hash::{Hash, Hasher};

/// A word that stands for a string constant: its address and its length. Two strings with the same word are the same;
/// one string may have several words, if the compiler keeps several copies.
#[inline(always)]
pub(super) fn word(name: &str) -> u64 {
    const LENGTH: u64 = 0x9e37_79b9_7f4a_7c15;
    (name.as_ptr().addr() as u64).wrapping_add(LENGTH.wrapping_mul(name.len() as u64))
}

/// Mixes two words. A chain of these stands for the words in their order.
#[inline(always)]
pub(super) fn mix(left: u64, right: u64) -> u64 {
    const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;
    (left.rotate_left(29) ^ right).wrapping_mul(FACTOR)
}

/// The word of a shape below a root, as it is looked up. Its last bits are those of a known one.
#[inline(always)]
pub(super) fn below(root: u64, shape: u64) -> u64 {
    let wide = u128::from(root ^ shape) * 0xa076_1d64_78bd_642f;
    (wide as u64 ^ (wide >> 64) as u64) | COUNT
}

/// The word of a root's type.
#[inline(always)]
pub(super) fn root<T: 'static>() -> u64 {
    /// Takes over what a `TypeId` gives, which is a hash already.
    struct Word(u64);

    impl Hasher for Word {
        fn write(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                self.0 = mix(self.0, u64::from(byte));
            }
        }

        fn write_u64(&mut self, word: u64) {
            self.0 = mix(self.0, word);
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    let mut word = Word(0);
    TypeId::of::<T>().hash(&mut word);
    word.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_what_they_stand_for() {
        let text = "abcabc";
        assert_eq!(word(&text[1..3]), word(&text[1..3]));
        assert_ne!(word(&text[..2]), word(&text[..3]));
        assert_ne!(mix(mix(1, 2), 3), mix(mix(1, 3), 2));
        assert_eq!(root::<u64>(), root::<u64>());
        assert_ne!(root::<u64>(), root::<i64>());
        assert_ne!(below(root::<u64>(), 1), below(root::<i64>(), 1));
    }
}
