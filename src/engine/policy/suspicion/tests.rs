//! Workers are played: their functions change a heap's level, and samples tell its growth after intervals of random length.

use super::*;
use crate::engine::policy::growth::Sample;

const MB: i64 = 1_000_000;

/// What a function does to the heap of its worker with each piece.
#[derive(Debug, Clone, Copy)]
enum Memory {
    /// It frees all that it takes.
    Frees,
    Leaks(i64),
    /// It holds up to this much, at random, until its next piece.
    Holds(u64),
    /// It leaks as many bytes, in its pieces from a number to another.
    LeaksBetween(u64, u64, i64),
    /// What it keeps grows as the logarithm of its pieces.
    KeepsLogarithm(f64),
    /// For each piece of another function since its own last one it takes this many bytes; below 0 it frees them.
    TakesAfter(usize, i64),
}

use Memory::{Frees, Holds, KeepsLogarithm, Leaks, LeaksBetween, TakesAfter};

/// A small generator of random numbers (xorshift): a seed determines the whole test.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

#[derive(Debug, Clone, Copy)]
enum Turns {
    Random,
    /// One after the other.
    Strict,
}

/// What is played.
#[derive(Debug, Clone, Copy)]
struct Play<'a> {
    /// With each how often it runs, relative to the others.
    functions: &'a [(u64, Memory)],
    turns: Turns,
    workers: usize,
    /// Samples of all workers.
    samples: u64,
    /// The mean number of pieces in an interval: each has from 1 to twice that, all equally likely.
    interval: u64,
    seed: u64,
}

impl Play<'_> {
    const DEFAULT: Play<'static> =
        Play { functions: &[], turns: Turns::Random, workers: 2, samples: 1_000, interval: 50, seed: 1 };
}

#[derive(Clone)]
struct Worker {
    counts: [u32; FUNCTIONS],
    level: i64,
    level_at_sample: i64,
    ran: u64,
    is_first: bool,
    /// Pieces until the next sample.
    left: u64,
    held: [i64; FUNCTIONS],
    made: [i64; FUNCTIONS],
}

impl Worker {
    fn with(pieces: u64) -> Worker {
        Worker {
            counts: [0; FUNCTIONS],
            level: 0,
            level_at_sample: 0,
            ran: 0,
            is_first: false,
            left: pieces,
            held: [0; FUNCTIONS],
            made: [0; FUNCTIONS],
        }
    }

    /// Runs the piece with this number of one of its functions.
    fn run(&mut self, memory: Memory, function: usize, number: u64, random: &mut Random) {
        self.counts[function] += 1;
        self.is_first |= self.ran & 1 << function == 0;
        self.ran |= 1 << function;
        self.made[function] += 1;
        self.level += match memory {
            Frees => 0,
            Leaks(bytes) => bytes,
            Holds(most) => {
                let holds = random.below(most + 1) as i64;
                holds - std::mem::replace(&mut self.held[function], holds)
            }
            LeaksBetween(from, to, bytes) => bytes * i64::from((from..to).contains(&number)),
            KeepsLogarithm(bytes) => (bytes / (number + 1) as f64) as i64,
            TakesAfter(other, bytes) => bytes * std::mem::take(&mut self.made[other]),
        };
    }
}

/// Plays, and gives the verdicts and the pieces of each function.
fn play(play: &Play) -> ([Verdict; FUNCTIONS], [u64; FUNCTIONS]) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ play.seed);
    let mut workers: Vec<Worker> =
        (0..play.workers).map(|_| Worker::with(1 + random.below(2 * play.interval))).collect();
    let mut growth = Growth::default();
    let mut pieces = [0; FUNCTIONS];
    let mut given = 0;
    let mut samples = 0;
    let weights: u64 = play.functions.iter().map(|(weight, _)| weight).sum();
    while samples < play.samples {
        let mut place = match play.turns {
            Turns::Random => random.below(weights),
            Turns::Strict => given / play.workers as u64 % weights,
        };
        let of_weight = |(weight, _): &(u64, Memory)| {
            let is_it = place < *weight;
            place = place.saturating_sub(*weight);
            is_it
        };
        let function = play.functions.iter().position(of_weight).unwrap();
        let worker = &mut workers[given as usize % play.workers];
        worker.run(play.functions[function].1, function, pieces[function], &mut random);
        given += 1;
        pieces[function] += 1;
        worker.left -= 1;
        if worker.left == 0 {
            growth.add(&Sample {
                counts: &worker.counts,
                growth: worker.level - worker.level_at_sample,
                measured: function,
                is_first: worker.is_first,
                ran: worker.ran,
            });
            worker.counts = [0; FUNCTIONS];
            worker.level_at_sample = worker.level;
            worker.is_first = false;
            worker.left = 1 + random.below(2 * play.interval);
            samples += 1;
        }
    }
    (judge(&growth, &pieces), pieces)
}

fn suspects(verdicts: &[Verdict]) -> Vec<usize> {
    (0..verdicts.len()).filter(|&function| verdicts[function].is_suspect).collect()
}

/// Checks that the first function is found to leak this many bytes, within a part, and that it alone is a suspect; and that the others
/// are within four errors of nothing.
fn check_leak(what: &str, own: &Play, truth: f64, within: f64) {
    for seed in 1..=5 {
        let (verdicts, _) = play(&Play { seed, ..*own });
        let found = verdicts[0].estimate.unwrap();
        let detail = format!("{what}, seed {seed}: {:?}", &verdicts[..own.functions.len()]);
        assert!((found.growth - truth).abs() <= within * truth, "{detail}");
        assert_eq!(suspects(&verdicts), [0], "{detail}");
        for other in verdicts[1..own.functions.len()].iter().map(|verdict| verdict.estimate.unwrap()) {
            assert!(other.growth.abs() <= 4.0 * other.error + 1e-6, "{detail}");
        }
    }
}

/// Checks who is a suspect.
fn check_suspects(what: &str, own: &Play, expected: &[usize]) {
    for seed in 1..=5 {
        let (verdicts, _) = play(&Play { seed, ..*own });
        assert_eq!(suspects(&verdicts), expected, "{what}, seed {seed}: {:?}", &verdicts[..own.functions.len()]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "many pieces")]
fn one_leak_among_five_functions_is_found() {
    let mixed = |leak, held| [(1, Leaks(leak)), (1, Frees), (1, Holds(held)), (1, Frees), (1, Holds(held / 10))];
    let play = Play { interval: 50, ..Play::DEFAULT };
    check_leak("100,000 pieces", &Play { functions: &mixed(1_008, 4_000), interval: 100, ..play }, 1_008.0, 0.1);
    check_leak("50,000 pieces, 112 bytes", &Play { functions: &mixed(112, 400), ..play }, 112.0, 0.1);
    check_leak("fewer samples", &Play { functions: &mixed(50_000, 100_000), samples: 100, ..play }, 50_000.0, 0.1);
    check_leak("held 400 kB", &Play { functions: &mixed(100_000, 400_000), ..play }, 100_000.0, 0.1);
    // What is held moves each sample by 160 kB, so a smaller leak takes more samples, and more pieces in each.
    let hidden = mixed(5_000, 400_000);
    check_leak("5 kB beside 400", &Play { functions: &hidden, samples: 5_000, interval: 200, ..play }, 5_000.0, 0.3);
    // 100 leaking pieces of 50,000.
    let seldom = [(1, Leaks(3 * MB)), (500, Holds(100_000))];
    check_leak("3 MB in 100 pieces", &Play { functions: &seldom, ..play }, 3e6, 0.01);
}

#[test]
#[cfg_attr(miri, ignore = "many pieces")]
fn functions_in_strict_turn_are_told_apart() {
    let turns = Play { turns: Turns::Strict, interval: 10, samples: 2_000, ..Play::DEFAULT };
    check_leak("two", &Play { functions: &[(1, Leaks(1_008)), (1, Holds(256))], ..turns }, 1_008.0, 0.02);
    check_leak("three", &Play { functions: &[(1, Leaks(1_008)), (1, Frees), (1, Holds(256))], ..turns }, 1_008.0, 0.02);
}

#[test]
#[cfg_attr(miri, ignore = "many pieces")]
fn a_leak_is_a_suspect_only_while_it_goes_on() {
    let play = Play { samples: 1_000, interval: 10, ..Play::DEFAULT };
    // It has about 10,500 pieces.
    for (what, from, to, expected) in [
        ("steady", 0, u64::MAX, &[0][..]),
        ("from the middle on", 5_000, u64::MAX, &[0]),
        ("near the end", 9_500, u64::MAX, &[0]),
        ("a cache that is full after a fifth", 0, 2_000, &[]),
        ("a cache that is full after half", 0, 5_000, &[]),
        // In the later half it still grew, by more than three errors, though slower.
        ("a cache that is full after 0.6", 0, 6_000, &[]),
        ("a cache that was full just now", 0, 9_500, &[0]),
    ] {
        check_suspects(what, &Play { functions: &[(1, LeaksBetween(from, to, 10_000))], ..play }, expected);
    }
    // Each has about 3,500 pieces.
    for (what, from, to, expected) in [
        ("from the middle on, beside others", 1_750, u64::MAX, &[0][..]),
        ("a cache that is full after half, beside others", 0, 1_750, &[]),
        ("a cache that was full just now, beside others", 0, 3_200, &[0]),
    ] {
        let functions = [(1, LeaksBetween(from, to, 10_000)), (1, Frees), (1, Holds(10_000))];
        check_suspects(what, &Play { functions: &functions, ..play }, expected);
    }
    let slower = [(1, KeepsLogarithm(2e7)), (1, Frees)];
    check_suspects("a cache that grows as the logarithm", &Play { functions: &slower, ..play }, &[]);
}

#[test]
#[cfg_attr(miri, ignore = "many pieces")]
fn a_small_cache_is_none_after_its_first_looks() {
    // It takes 1 MB with each of 16 pieces, of about 45. With 16 samples a span, it would be one.
    let cache = [(1, LeaksBetween(0, 16, MB))];
    check_suspects(
        "30 samples",
        &Play { functions: &cache, samples: 30, interval: 1, workers: 1, ..Play::DEFAULT },
        &[],
    );
}

#[test]
#[cfg_attr(miri, ignore = "many pieces")]
fn one_that_makes_what_another_frees_is_none() {
    let pair = [(1, Leaks(10_000)), (1, TakesAfter(0, -10_000)), (3, Frees)];
    check_suspects("a pair", &Play { functions: &pair, ..Play::DEFAULT }, &[]);
    let leaking = [(1, Leaks(10_000)), (1, TakesAfter(0, -4_000)), (3, Frees)];
    check_suspects("one that frees less than half", &Play { functions: &leaking, ..Play::DEFAULT }, &[0]);
}

#[test]
#[cfg_attr(miri, ignore = "many pieces")]
fn a_table_that_grows_once_is_none() {
    for at in [3_000, 6_000, 9_900] {
        let table = [(1, LeaksBetween(at, at + 1, 1_000 * MB)), (1, Holds(100))];
        check_suspects("a table", &Play { functions: &table, interval: 10, ..Play::DEFAULT }, &[]);
    }
}

#[test]
fn noise_is_none() {
    let samples = if cfg!(miri) { 50 } else { 1_000 };
    let held = [(1, Holds(4_000_000)), (1, Holds(400_000)), (1, Frees)];
    check_suspects("held memory", &Play { functions: &held, samples, ..Play::DEFAULT }, &[]);
    check_suspects("nothing", &Play { functions: &[(1, Frees), (3, Frees)], samples, ..Play::DEFAULT }, &[]);
}

/// One function that grows by this much in each of as many samples, by a piece each.
fn steady(samples: u64, bytes: i64) -> Growth {
    let mut growth = Growth::default();
    let mut counts = [0; FUNCTIONS];
    counts[0] = 1;
    for _ in 0..samples {
        growth.add(&Sample { counts: &counts, growth: bytes, measured: 0, is_first: false, ran: 1 });
    }
    growth
}

fn pieces(of_first: u64) -> [u64; FUNCTIONS] {
    std::array::from_fn(|function| if function == 0 { of_first } else { 0 })
}

#[test]
fn a_suspect_has_grown_by_a_mebibyte_in_enough_looks() {
    // Samples, bytes each; pieces; whether it is a suspect.
    for (samples, bytes, of_first, expected) in [
        (20, MB, 20, false),
        (21, MB, 21, true),
        (100, 10_000, 100, false),
        (100, 10_000, 104, false),
        (100, 10_000, 105, true),
        (100, 10_486, 100, true),
        (100, -MB, 100, false),
        (100, 0, u64::MAX, false),
        // Half of the leak must be in samples.
        (100, 100_000, 200, true),
        (100, 100_000, 201, false),
        (100, 100_000, 0, false),
    ] {
        let verdict = judge(&steady(samples, bytes), &pieces(of_first))[0];
        assert_eq!(verdict.is_suspect, expected, "{samples} samples at {bytes} bytes, {of_first} pieces: {verdict:?}");
        assert_eq!(verdict.measured, samples);
        let estimate = verdict.estimate.unwrap();
        let rounding = 1e-6 * bytes.abs() as f64;
        assert!((estimate.growth - bytes as f64).abs() <= rounding && estimate.error <= rounding, "{estimate:?}");
    }
    let nothing = Verdict { measured: 0, estimate: None, is_suspect: false };
    assert_eq!(judge(&Growth::default(), &[u64::MAX; FUNCTIONS]), [nothing; FUNCTIONS]);
}

#[test]
fn functions_that_always_run_together_are_none() {
    let mut growth = Growth::default();
    for sample in 0..100 {
        let mut counts = [0; FUNCTIONS];
        counts[..2].fill(1 + sample % 5);
        counts[2] = sample % 3;
        growth.add(&Sample {
            counts: &counts,
            growth: i64::from(counts[0]) * MB,
            measured: 0,
            is_first: false,
            ran: 7,
        });
    }
    let verdicts = judge(&growth, &[1_000; FUNCTIONS]);
    assert!(suspects(&verdicts).is_empty(), "{verdicts:?}");
    assert_eq!(verdicts[0].estimate.or(verdicts[1].estimate), None);
    assert!(verdicts[2].estimate.is_some());
}

#[test]
fn each_function_has_its_own_later_half() {
    // The first one leaks, and runs in the first eighth of all samples. Then the second one fills a cache, in 350 samples of 875.
    let mut growth = Growth::default();
    for sample in 0..1_000_u32 {
        let mut counts = [0; FUNCTIONS];
        let function = usize::from(sample >= 125);
        counts[function] = 1 + sample % 5;
        let bytes = if sample < 475 { i64::from(counts[function]) * MB } else { 0 };
        growth.add(&Sample { counts: &counts, growth: bytes, measured: function, is_first: false, ran: 3 });
    }
    let verdicts = judge(&growth, &[100; FUNCTIONS]);
    assert_eq!(suspects(&verdicts), [0], "{:?}", &verdicts[..2]);
}

#[test]
fn one_that_cannot_be_told_in_its_later_half_is_none() {
    // From the middle on the two always run together.
    let mut growth = Growth::default();
    for sample in 0..128_u32 {
        let mut counts = [0; FUNCTIONS];
        counts[0] = 1 + sample % 5;
        counts[1] = if sample < 64 { sample % 3 } else { counts[0] };
        let bytes = i64::from(counts[0]) * MB;
        growth.add(&Sample { counts: &counts, growth: bytes, measured: 0, is_first: false, ran: 3 });
    }
    let verdicts = judge(&growth, &[100; FUNCTIONS]);
    assert!(verdicts[0].estimate.is_some_and(|estimate| is_leak(&estimate, 100, 200 * MB)), "{:?}", verdicts[0]);
    assert!(suspects(&verdicts).is_empty(), "{:?}", &verdicts[..2]);
}

#[test]
fn errors_sizes_heaps_and_rates_decide() {
    let estimate = |growth, error| Estimate { growth, error };
    for (growth, error, expected) in [
        (3.0, 1.0, false),
        (3.1, 1.0, true),
        (1.0, 0.0, true),
        (0.0, 0.0, false),
        (-9.0, 1.0, false),
        (-1.0, 0.0, false),
    ] {
        assert_eq!(is_sure(&estimate(growth, error)), expected, "{growth} with an error of {error}");
    }
    // Growth and error, pieces, heaps; whether it leaks.
    for (growth, error, pieces, heaps, expected) in [
        (2_000.0, 100.0, 1_000, 2_000_000, true),
        (2_000.0, 700.0, 1_000, 2_000_000, false),
        (2_000.0, 100.0, 524, 2_000_000, false),
        (2_000.0, 100.0, 525, 2_000_000, true),
        (2_000.0, 100.0, 1_000, 1_000_000, true),
        (2_000.0, 100.0, 1_000, 999_999, false),
        (2_000.0, 100.0, 1_000, -2_000_000, false),
        (f64::MAX, 0.0, u64::MAX, i64::MAX, false),
    ] {
        let leaks = is_leak(&estimate(growth, error), pieces, heaps);
        assert_eq!(leaks, expected, "{growth} ± {error} in {pieces} pieces, heaps grew by {heaps}");
    }
    for (later, error, expected) in
        [(100.0, 1.0, true), (50.0, 1.0, true), (49.0, 1.0, false), (90.0, 30.0, false), (900.0, 30.0, true)]
    {
        assert_eq!(goes_on(&estimate(100.0, 1.0), &estimate(later, error)), expected, "later {later} ± {error}");
    }
}
