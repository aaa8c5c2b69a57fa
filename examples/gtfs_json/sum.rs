//! Length and hash of a stream of bytes, to compare two outputs without keeping them.
//!
//! The hash is not meant for storage or for hostile data. It has to be fast, since in the parallel run one process hashes the
//! output of all workers. It has four lanes of eight bytes each, so that four multiplications run at the same time. Each step
//! is one to one in the state, so the states of two streams that differ in one word never become equal by the words after it.
//!
//! Invariant: the result depends on the bytes only, not on how they were divided into writes.

const BLOCK_BYTES: usize = 32;
/// The factors are odd, so that multiplication by them is one to one.
const FACTORS: [u64; 4] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

/// The sum of a stream so far.
#[derive(Debug, Clone)]
pub struct Sum {
    lanes: [u64; 4],
    /// The last bytes, which do not fill a block yet.
    rest: [u8; BLOCK_BYTES],
    bytes: u64,
}

impl Sum {
    pub fn new() -> Sum {
        Sum { lanes: FACTORS, rest: [0; BLOCK_BYTES], bytes: 0 }
    }

    pub fn add(&mut self, mut bytes: &[u8]) {
        let filled = (self.bytes % BLOCK_BYTES as u64) as usize;
        self.bytes += bytes.len() as u64;
        if filled > 0 {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - filled));
            self.rest[filled..filled + now.len()].copy_from_slice(now);
            if filled + now.len() < BLOCK_BYTES {
                return;
            }
            mix(&mut self.lanes, &self.rest);
            bytes = later;
        }
        // A local copy, so that the lanes stay in registers.
        let mut lanes = self.lanes;
        let mut blocks = bytes.chunks_exact(BLOCK_BYTES);
        for block in &mut blocks {
            mix(&mut lanes, block);
        }
        self.lanes = lanes;
        let rest = blocks.remainder();
        self.rest[..rest.len()].copy_from_slice(rest);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn hash(&self) -> u64 {
        let filled = (self.bytes % BLOCK_BYTES as u64) as usize;
        let mut last = [0; BLOCK_BYTES];
        last[..filled].copy_from_slice(&self.rest[..filled]);
        let mut lanes = self.lanes;
        mix(&mut lanes, &last);
        // The length distinguishes padding zeroes of the last block from zeroes in the stream.
        lanes.into_iter().fold(self.bytes, |hash, lane| step(hash, lane, FACTORS[0])) ^ (self.bytes >> 32)
    }
}

impl PartialEq for Sum {
    fn eq(&self, other: &Sum) -> bool {
        (self.bytes(), self.hash()) == (other.bytes(), other.hash())
    }
}

#[inline]
fn mix(lanes: &mut [u64; 4], block: &[u8]) {
    for (lane, (word, factor)) in lanes.iter_mut().zip(block.chunks_exact(8).zip(FACTORS)) {
        *lane = step(*lane, word_of(word), factor);
    }
}

/// One to one in `state` for any `word`, and in `word` for any `state`.
#[inline]
fn step(state: u64, word: u64, factor: u64) -> u64 {
    (state ^ word).wrapping_mul(factor).rotate_left(29)
}

#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// The hash of a short text, for a table in memory.
#[inline]
pub fn hash_of(text: &str) -> u64 {
    let mut words = text.as_bytes().chunks_exact(8);
    let hash = words.by_ref().fold(text.len() as u64, |hash, word| step(hash, word_of(word), FACTORS[0]));
    let rest = words.remainder();
    // Two reads that overlap. When the rest was copied into eight bytes and read back at once, the read had to wait for the
    // copy, which took a tenth of the time of the whole job.
    let last = match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        (Some(first), Some(last)) => u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32,
        _ => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    // A table uses the lowest bits, and the highest bits depend on every byte.
    step(hash, last, FACTORS[0]).wrapping_mul(FACTORS[1]) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(chunks: &[&[u8]]) -> Sum {
        let mut sum = Sum::new();
        chunks.iter().for_each(|chunk| sum.add(chunk));
        sum
    }

    #[test]
    fn the_way_a_stream_is_divided_changes_nothing() {
        let bytes: Vec<u8> = (0..200).collect();
        for length in [0, 1, 31, 32, 33, 64, 199, 200] {
            let whole = sum_of(&[&bytes[..length]]);
            assert_eq!(whole.bytes(), length as u64);
            for first in 0..=length {
                for second in [first, (first + 1).min(length), (first + 40).min(length)] {
                    let parts = [&bytes[..first], &bytes[first..second], &bytes[second..length]];
                    assert_eq!(sum_of(&parts), whole, "length {length}, cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn one_changed_bit_one_zero_more_and_a_swap_are_each_noticed() {
        let bytes: Vec<u8> = (0..77).collect();
        let original = sum_of(&[&bytes]);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sum_of(&[&changed]), original, "bit {bit}");
        }
        assert_ne!(sum_of(&[&bytes, &[0]]).hash(), original.hash());
        assert_ne!(sum_of(&[&bytes[32..64], &bytes[..32], &bytes[64..]]), original);
        assert_ne!(sum_of(&[&bytes[8..16], &bytes[..8], &bytes[16..]]), original);
    }
}
