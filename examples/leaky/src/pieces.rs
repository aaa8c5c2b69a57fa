//! The functions that run in workers. Each takes some microseconds and gives a number that shows whether it did its work.

use crate::native;
use crate::random::Random;
use std::hint::black_box;

/// What `parse` allocates as one block.
const BUFFER_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;
/// What it parses: four small blocks a row.
const ROWS: usize = 50;
/// What `digest` computes: about 10 us.
const DIGEST_STEPS: usize = 5_000;
/// What `hog` asks for: far more than a worker may have.
const HOG_BYTES: usize = 1 << 30;

/// Draws a label, by a C function that leaks 1,000 bytes.
pub fn render(seed: u64) -> u64 {
    native::render_label(seed)
}

/// What `render` must give, in Rust: the C function would leak in the calling process, too.
pub fn rendered(seed: u64) -> u64 {
    let mut label: Vec<u8> = (0..1000).map(|at: u64| at.wrapping_add(seed) as u8).collect();
    let mut checksum = seed;
    for _stroke in 0..4 {
        for byte in &mut label {
            checksum = mixed(checksum, *byte);
            *byte = (checksum >> 32) as u8;
        }
    }
    checksum
}

/// Parses a table into fields: takes 1 MiB and some 200 small blocks, and frees all of them.
pub fn parse(seed: u64) -> u64 {
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER_BYTES);
    for page in buffer.spare_capacity_mut().chunks_mut(PAGE_BYTES) {
        page[0].write(0);
    }
    write_table(&mut buffer, seed);
    let text = String::from_utf8_lossy(black_box(&buffer));
    let rows: Vec<Vec<String>> = text.lines().map(|line| line.split(',').map(str::to_string).collect()).collect();
    black_box(&rows).iter().flatten().flat_map(|field| field.bytes()).fold(seed, mixed)
}

/// Rows of three fields, of digits.
fn write_table(buffer: &mut Vec<u8>, seed: u64) {
    let mut random = Random::new(seed);
    for _row in 0..ROWS {
        let mut digits = random.number();
        for (length, end) in [(4, b','), (9, b','), (6, b'\n')] {
            for _digit in 0..length {
                buffer.push(b'0' + (digits % 10) as u8);
                digits /= 10;
            }
            buffer.push(end);
        }
    }
}

/// Only computes.
pub fn digest(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    (0..DIGEST_STEPS).fold(seed, |sum, _| sum.rotate_left(5) ^ random.number())
}

/// Takes 1 GiB, page by page.
pub fn hog(seed: u64) -> u64 {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    while blocks.len() * BUFFER_BYTES < HOG_BYTES {
        blocks.push(black_box(vec![seed as u8 | 1; BUFFER_BYTES]));
    }
    blocks.len() as u64
}

/// A step of the FNV-1a hash.
fn mixed(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [u64; 5] = [0, 1, 255, 99_999, u64::MAX];

    #[test]
    fn the_c_function_and_its_copy_in_rust_give_the_same() {
        for seed in SEEDS {
            assert_eq!(render(seed), rendered(seed), "{seed}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_results_and_others_give_others() {
        for function in [rendered, parse, digest] {
            let results = SEEDS.map(function);
            assert_eq!(results, SEEDS.map(function));
            let mut different = results.to_vec();
            different.sort_unstable();
            different.dedup();
            assert_eq!(different.len(), SEEDS.len(), "{results:?}");
        }
    }

    #[test]
    fn a_table_has_three_fields_in_each_row() {
        let mut table = Vec::new();
        write_table(&mut table, 7);
        let text = String::from_utf8(table).unwrap();
        assert_eq!(text.lines().count(), ROWS);
        for line in text.lines() {
            let lengths: Vec<usize> = line.split(',').map(str::len).collect();
            assert_eq!(lengths, [4, 9, 6], "{line}");
        }
    }
}
