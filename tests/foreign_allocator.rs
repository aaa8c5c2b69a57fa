//! A program with a global allocator of its own, which does not tell what is allocated: then the resident memory of the workers is all
//! that tells of leaks.
#![cfg(target_os = "linux")]

mod support;

use multicore::{Pool, Stats};
use support::{DEADLINE, Random, assert_well, task, watchdog};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn leak(number: u64, bytes: u64) -> u64 {
    std::mem::forget(vec![1_u8; bytes as usize]);
    number
}

/// Takes some memory, and frees it.
fn take(number: u64, bytes: u64) -> u64 {
    std::hint::black_box(vec![1_u8; bytes as usize]);
    number
}

fn compute(number: u64, turns: u64) -> u64 {
    (0..turns % 500).fold(number, |sum, turn| std::hint::black_box(sum ^ turn) ^ turn)
}

/// The figures after some leaks of this number of bytes among 6,000 other pieces.
fn after_leaks(pool: &Pool, leaks: u64, bytes: u64) -> Stats {
    let mut random = Random::seeded();
    let task = task::<u64>(pool);
    let mut left = leaks;
    for number in 0..3_000 {
        if random.below(3_000 - number) < left {
            task.run(leak, number, bytes);
            left -= 1;
        }
        task.run(take, number, random.below(400_000));
        task.run(compute, number, random.next());
    }
    task.get_timeout(DEADLINE).unwrap();
    pool.stats()
}

#[test]
fn leaks_of_hundreds_of_megabytes_are_found_by_resident_memory_and_nobody_else_is_named() {
    let _watch = watchdog();
    // How many leak how much, and whether that can be told.
    for (leaks, bytes, is_found) in [(100, 3_000_000, true), (0, 0, false), (1_000, 100, false)] {
        let pool = Pool::builder().workers(2).build().expect("a pool can run here");
        let stats = after_leaks(&pool, leaks, bytes);
        let suspects = stats.suspects();
        if is_found {
            let [suspect] = &suspects[..] else { panic!("one leaks, and not {suspects:?}:\n{stats}") };
            assert!(suspect.function.contains("leak"), "{suspect:?}");
            let error = (suspect.growth_per_piece - bytes as f64).abs();
            assert!(error < 0.15 * bytes as f64, "{suspect:?}:\n{stats}");
        } else {
            assert_eq!(suspects, [], "{leaks} of {bytes}:\n{stats}");
        }
        let why = "the heap (the allocator is not glibc's malloc: growth is that of resident memory)";
        assert_eq!(stats.unmeasured, [why], "{stats}");
        let count: u64 = stats.functions.iter().map(|function| function.pieces).sum();
        assert_eq!(count, 6_000 + leaks, "{stats}");
        assert!(stats.functions.iter().all(|function| function.measured > 0), "{stats}");
        assert_well(pool);
    }
}
