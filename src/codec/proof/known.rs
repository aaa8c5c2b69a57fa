//! The shapes that are proven, in this process.
//!
//! | word      | written by                           | read by               | meaning                                      |
//! |-----------|--------------------------------------|-----------------------|----------------------------------------------|
//! | each slot | any thread that has proven a shape   | all that encode       | a shape with its number of proofs, or 0      |
//!
//! The last two bits are the number of proofs. A shape is known after [`PROOFS`] of them: a half that converts values may
//! convert one back and another one not.
//!
//! A shape is looked for in the four slots of its set. A slot is one word, so a reader sees a shape whole or not at all;
//! Relaxed is enough, because a shape that is not seen is proven once more. If two threads take the same slot, one shape
//! is lost, and proven once more too.
//!
//! Invariant: nothing is allocated and nothing grows. If a program has more shapes than slots, they displace each other.

// Not through the seam of `protocol`, since no protocol is built on it: loom's atomics cannot stand in a static.
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// 16,384 slots, enough for a program with hundreds of types, take 128 KiB, of which only pages with a proven shape are
/// touched.
const SETS: usize = 4096;
const SLOTS: usize = 4;

static KNOWN: [[AtomicU64; SLOTS]; SETS] = [const { [const { AtomicU64::new(0) }; SLOTS] }; SETS];

fn set_of(shape: u64) -> &'static [AtomicU64; SLOTS] {
    &KNOWN[(shape >> 32) as usize % SETS]
}

/// How many proofs make a shape known.
const PROOFS: u64 = 3;

/// The bits of a slot that are the number of proofs. They are set in each word that `words.rs` gives for a shape.
pub(super) const COUNT: u64 = 3;

/// True if the shape is proven.
#[inline]
pub(super) fn is_known(shape: u64) -> bool {
    let set = set_of(shape);
    set[0].load(Relaxed) == shape || is_in_rest(set, shape)
}

#[inline(never)]
fn is_in_rest(set: &[AtomicU64; SLOTS], shape: u64) -> bool {
    set[1..].iter().any(|slot| slot.load(Relaxed) == shape)
}

/// Adds a proof to those of the shape.
pub(super) fn add_proof(shape: u64) {
    let set = set_of(shape);
    let slots = set.each_ref().map(|slot| slot.load(Relaxed));
    let own = slots.iter().position(|&slot| slot | COUNT == shape && slot != 0);
    // If it has no slot and none is free, the shape itself chooses one.
    let slot = own.or_else(|| slots.iter().position(|&slot| slot == 0)).unwrap_or((shape >> 2) as usize % SLOTS);
    let earlier = own.map_or(0, |own| slots[own] & COUNT);
    set[slot].store(shape & !COUNT | (earlier + 1).min(PROOFS), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_known_after_enough_proofs_and_others_displace_it() {
        // A set that no other test is likely to use, with numbers that no other test has.
        let shape = |number: u64| 1 << 63 | 77 << 32 | number << 2 | COUNT;
        for number in 1..=100 {
            for _ in 1..PROOFS {
                add_proof(shape(number));
                assert!(!is_known(shape(number)));
            }
            add_proof(shape(number));
            assert!(is_known(shape(number)));
            add_proof(shape(number));
            assert!(is_known(shape(number)));
        }
        assert!((1..=100).filter(|&number| is_known(shape(number))).count() <= SLOTS);
    }
}
