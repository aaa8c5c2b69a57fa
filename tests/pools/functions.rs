//! What a pool tells of its functions: which of them leaks and how much a piece, and that it names nobody else.
//!
//! The counts and peaks of functions and workers are in `figures.rs`, other allocators in `foreign_allocator.rs`.

use crate::support::{self, DEADLINE, Random, assert_well, task, wait_for, watchdog};
use multicore::{FunctionStats, Memory, Pool, PoolBuilder, Stats, Suspect};
use std::sync::{LazyLock, Mutex};

const MIB: u64 = 1 << 20;

fn pool(workers: usize, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(workers)).build().expect("a pool can run here")
}

/// What the allocator adds to a block of the sizes of these tests, the rounding included.
const HEAD: f64 = 8.0;

fn leak_1000(number: u64, _: u64) -> u64 {
    std::mem::forget(vec![1_u8; 1_000]);
    number
}

fn leak_3_mb(number: u64, _: u64) -> u64 {
    std::mem::forget(vec![1_u8; 3_000_000]);
    number
}

/// All is freed again, and where the next block lies is another place each time.
fn use_some(number: u64, bytes: u64) -> u64 {
    std::hint::black_box(vec![1_u8; bytes as usize]);
    number
}

fn use_many(number: u64, bytes: u64) -> u64 {
    let blocks: Vec<Vec<u8>> = (0..bytes % 200).map(|size| Vec::with_capacity(16 + size as usize * 7)).collect();
    std::hint::black_box(blocks);
    number
}

fn compute(number: u64, turns: u64) -> u64 {
    (0..turns % 500).fold(number, |sum, turn| std::hint::black_box(sum ^ turn) ^ turn)
}

type Function = fn(u64, u64) -> u64;

/// Each function with the number of its pieces.
type Mix = [(Function, u64)];

/// Runs these pieces one after the other in random turns, each with a random number, and waits for all.
fn run_mixed(pool: &Pool, mix: &Mix) {
    let mut random = Random::seeded();
    let mut left: Vec<u64> = mix.iter().map(|&(_, pieces)| pieces).collect();
    let task = task::<u64>(pool);
    let mut sum: u64 = left.iter().sum();
    while sum > 0 {
        let mut place = random.below(sum);
        let chosen = left.iter().position(|&pieces| {
            let is_here = place < pieces;
            place = place.saturating_sub(pieces);
            is_here
        });
        let chosen = chosen.unwrap();
        left[chosen] -= 1;
        sum -= 1;
        task.run(mix[chosen].0, sum, random.below(400_000));
    }
    task.get_timeout(DEADLINE).unwrap();
}

#[track_caller]
fn function<'a>(stats: &'a Stats, name: &str) -> &'a FunctionStats {
    let found = stats.functions.iter().find(|function| function.function.contains(name));
    found.unwrap_or_else(|| panic!("{name} is not among the functions:\n{stats}"))
}

/// The samples of all functions.
fn samples(stats: &Stats) -> u64 {
    stats.functions.iter().map(|function| function.measured).sum()
}

/// The one function that leaks has this name, and grows by this number of bytes, within this part of it.
#[track_caller]
fn check_suspect(stats: &Stats, name: &str, growth: f64, within: f64) -> Suspect {
    let suspects = stats.suspects();
    let [suspect] = &suspects[..] else { panic!("{name} alone leaks, and not {suspects:?}:\n{stats}") };
    assert!(suspect.function.contains(name), "{name} leaks, and not {suspect:?}:\n{stats}");
    let error = (suspect.growth_per_piece - growth).abs();
    assert!(error <= within * growth, "{growth} leak, not {suspect:?}:\n{stats}");
    suspect.clone()
}

#[test]
fn a_leak_of_1000_bytes_in_a_fifth_of_mixed_pieces_is_named_alone() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let each = 20_000;
    let mix: [Function; 5] = [leak_1000, use_some, use_many, compute, support::add];
    run_mixed(&pool, &mix.map(|function| (function, each)));
    let stats = pool.stats();
    let suspect = check_suspect(&stats, "leak_1000", 1_000.0 + HEAD, 0.1);
    // `run_mixed` hands all of them out at one place.
    assert!(stats.functions.iter().all(|function| function.location == suspect.location), "{stats:?}");
    assert!(suspect.location.starts_with(concat!(file!(), ":")), "{suspect:?}");
    assert_eq!(suspect.pieces_left, None, "there is no limit");
    for name in ["leak_1000", "use_some", "use_many", "compute", "add"] {
        assert_eq!(function(&stats, name).pieces, each, "{stats}");
    }
    assert_eq!((stats.functions.len(), stats.pieces_done), (5, 5 * each));
    assert_well(pool);
}

#[test]
fn a_leak_in_trivial_pieces_is_named() {
    let _watch = watchdog();
    for by_run in [false, true] {
        let pool = pool(2, |it| it);
        let leaky = task::<u64>(&pool);
        let others = task::<u64>(&pool);
        let line = match by_run {
            false => {
                others.run_all(support::add, (0..80_000).map(|number| (number, 1)));
                leaky.run_all(leak_1000, (0..20_000).map(|number| (number, 1)));
                line!() - 1
            }
            true => {
                for number in 0..20_000 {
                    (0..4).for_each(|_| others.run(support::add, number, 1));
                    leaky.run(leak_1000, number, 1);
                }
                line!() - 2
            }
        };
        assert_eq!(leaky.get_timeout(DEADLINE).unwrap().len(), 20_000);
        assert_eq!(others.get_timeout(DEADLINE).unwrap().len(), 80_000);
        let stats = pool.stats();
        let suspect = check_suspect(&stats, "leak_1000", 1_000.0 + HEAD, 0.1);
        assert_eq!(suspect.location, format!("{}:{line}", file!()), "by run: {by_run}");
        let counts = ["leak_1000", "add"].map(|name| function(&stats, name).pieces);
        assert_eq!(counts, [20_000, 80_000], "by run: {by_run}");
        assert_well(pool);
    }
}

#[test]
fn a_leak_of_3_mb_in_few_pieces_is_named_alone() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    run_mixed(&pool, &[(leak_3_mb, 100), (use_some, 2_000), (use_many, 2_000), (compute, 2_000)]);
    check_suspect(&pool.stats(), "leak_3_mb", 3_000_000.0, 0.01);
    assert_well(pool);
}

/// What is made and not taken yet.
static MADE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn make(number: u64, _: u64) -> u64 {
    MADE.lock().unwrap().push(vec![1; 2_000]);
    number
}

fn take(number: u64, _: u64) -> u64 {
    MADE.lock().unwrap().pop();
    number
}

static CACHE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Keeps what it makes until it has 6 MB in each worker: a fifth of its calls.
fn look_up(number: u64, _: u64) -> u64 {
    let mut cache = CACHE.lock().unwrap();
    if cache.len() < 3_000 {
        cache.push(vec![1; 2_000]);
    }
    number
}

/// A table of 50 MB that a function makes in its first call, and keeps.
fn table<const NUMBER: usize>(number: u64, _: u64) -> u64 {
    static TABLES: [LazyLock<Vec<u8>>; 2] = [const { LazyLock::new(|| vec![1; 50_000_000]) }; 2];
    number + u64::from(TABLES[NUMBER][number as usize % 50_000_000])
}

#[test]
fn nobody_is_named_where_nothing_leaks() {
    let _watch = watchdog();
    let cases: [(&str, &Mix); 4] = [
        ("blocks of all sizes", &[(use_some, 10_000), (use_many, 10_000), (compute, 10_000)]),
        ("a cache that stops growing", &[(look_up, 30_000), (compute, 30_000)]),
        ("one makes what the other frees", &[(make, 20_000), (take, 20_000), (use_some, 2_000)]),
        ("tables that first calls make", &[(table::<0>, 10_000), (table::<1>, 10_000), (use_many, 10_000)]),
    ];
    for (name, mix) in cases {
        let pool = pool(2, |it| it);
        run_mixed(&pool, mix);
        let stats = pool.stats();
        assert!(samples(&stats) >= 25, "{name} are enough to judge:\n{stats}");
        assert_eq!(stats.suspects(), [], "{name}:\n{stats}");
        assert_well(pool);
    }
}

/// It is the heaps that say that it is no leak.
#[test]
fn what_another_function_frees_is_told_as_growth_and_not_as_a_leak() {
    let _watch = watchdog();
    let pool = pool(1, |it| it);
    // Enough that there always is one to take.
    run_mixed(&pool, &[(make, 1_000)]);
    run_mixed(&pool, &[(make, 20_000), (take, 20_000)]);
    let stats = pool.stats();
    for (name, expected) in [("make", 2_000.0 + HEAD), ("take", -2_000.0 - HEAD)] {
        let found = function(&stats, name).growth_per_piece;
        assert!((found - expected).abs() <= 200.0, "{name} {found}:\n{stats}");
    }
    assert_eq!(stats.suspects(), []);
    assert_well(pool);
}

/// Leaks, and takes arguments that do not fit into one record.
fn leak_beside(number: u64, text: String) -> u64 {
    std::mem::forget(vec![1_u8; 10_000]);
    number + text.len() as u64
}

#[test]
fn pieces_whose_arguments_stream_are_measured() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let task = task::<u64>(&pool);
    let mut random = Random::seeded();
    for number in 0..1_000 {
        task.run(leak_beside, number, "a".repeat(70_000 + random.below(100_000) as usize));
        task.run(compute, number, random.next());
    }
    task.get_timeout(DEADLINE).unwrap();
    let stats = pool.stats();
    check_suspect(&stats, "leak_beside", 10_000.0 + HEAD, 0.1);
    let leaky = function(&stats, "leak_beside");
    assert!(leaky.pieces == 1_000 && leaky.measured >= 25, "{stats}");
    assert_well(pool);
}

/// Closures have no name of their own: where they are handed out tells which one it is.
#[test]
fn pieces_that_panic_and_closures_are_measured() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let task = task::<u64>(&pool);
    let leak_and_panic = |number: u64, _: u64| -> u64 {
        std::mem::forget(vec![1_u8; 10_000]);
        panic!("piece {number} has leaked")
    };
    let use_and_panic = |number: u64, bytes: u64| -> u64 {
        std::hint::black_box(vec![1_u8; bytes as usize]);
        panic!("piece {number} has not leaked")
    };
    let mut random = Random::seeded();
    let first_line = line!() + 2;
    for number in 0..1_000 {
        task.run(leak_and_panic, number, 0);
        task.run(use_and_panic, number, random.below(20_000));
        task.run(use_some, number, random.below(20_000));
    }
    let results = task.get_each();
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 2_000);
    let stats = pool.stats();
    let suspect = check_suspect(&stats, "{closure", 10_000.0 + HEAD, 0.1);
    assert_eq!(suspect.location, format!("{}:{first_line}", file!()));
    for (line, function) in (first_line..).zip(&stats.functions) {
        assert_eq!(function.location, format!("{}:{line}", file!()));
        assert!(function.pieces == 1_000 && function.measured >= 5, "{stats}");
    }
    assert_well(pool);
}

/// Pieces of a task that runs one piece count as long until their function is known.
#[test]
fn a_leak_in_tasks_of_one_piece_each_is_named() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let once = |function: Function, number| {
        let task = task::<u64>(&pool);
        task.run(function, number, 200);
        task.get_timeout(DEADLINE).unwrap()
    };
    for number in 0..10_000 {
        once(leak_1000, number);
        once(compute, number);
    }
    let stats = pool.stats();
    check_suspect(&stats, "leak_1000", 1_000.0 + HEAD, 0.1);
    assert_eq!(["leak_1000", "compute"].map(|name| function(&stats, name).pieces), [10_000; 2]);
    assert!(samples(&stats) < 2_000, "few are measured, since that takes longer than they do:\n{stats}");
    assert_well(pool);
}

fn leak_100_kb(number: u64, _: u64) -> u64 {
    std::mem::forget(vec![1_u8; 100_000]);
    number
}

/// What is left until the nearest limit, as a person would work it out.
#[test]
fn the_pieces_that_are_left_are_those_that_fit_below_the_nearest_limit() {
    let _watch = watchdog();
    type Left = fn(&Stats) -> Option<u64>;
    /// The worker that has grown most, below its start and this number of bytes; each may grow as much.
    fn left_of_each(stats: &Stats, bytes: u64) -> Option<u64> {
        let grown = stats.workers.iter().map(|it| it.memory.unwrap() - it.memory_at_start.unwrap()).max()?;
        Some((bytes - grown) * stats.workers.len() as u64)
    }
    type Set = fn(PoolBuilder) -> PoolBuilder;
    let cases: [(&str, Set, Left); 5] = [
        ("none", |it| it, |_| None),
        ("replaced", |it| it.worker_memory_high(Memory::growth(300 * MIB)), |it| left_of_each(it, 300 * MIB)),
        // Workers are replaced at 70/85 of the limit at which they are killed.
        ("killed", |it| it.worker_memory_max(Memory::growth(340 * MIB)), |it| left_of_each(it, 280 * MIB)),
        ("all", |it| it.memory_max(Memory::bytes(850 * MIB)), |it| Some(700 * MIB - it.memory.unwrap())),
        (
            "both",
            |it| it.memory_high(Memory::bytes(400 * MIB)).worker_memory_high(Memory::growth(900 * MIB)),
            |it| Some(400 * MIB - it.memory.unwrap()),
        ),
    ];
    for (name, set, left) in cases {
        let pool = pool(2, set);
        wait_for("both are measured", || pool.stats().workers.iter().all(|it| it.memory_at_start.is_some()));
        run_mixed(&pool, &[(leak_100_kb, 600), (compute, 3_000)]);
        let stats = pool.stats();
        let suspect = check_suspect(&stats, "leak_100_kb", 100_000.0 + HEAD, 0.1);
        let expected = left(&stats).map(|bytes| bytes / 100_000);
        match (suspect.pieces_left, expected) {
            (Some(found), Some(expected)) => {
                assert!(found.abs_diff(expected) <= expected / 5, "{name}: {expected}, not {found}:\n{stats}");
            }
            (found, expected) => assert_eq!(found, expected, "{name}:\n{stats}"),
        }
        assert_well(pool);
    }
}

#[test]
fn figures_that_went_through_json_are_the_same() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.memory_max(Memory::bytes(8 << 30)));
    run_mixed(&pool, &[(leak_100_kb, 300), (compute, 1_000)]);
    let once = task::<u64>(&pool);
    once.run(use_some, 1, 1);
    once.get_timeout(DEADLINE).unwrap();
    let stats = pool.stats();
    check_suspect(&stats, "leak_100_kb", 100_000.0 + HEAD, 0.1);
    let unknown = function(&stats, "use_some");
    assert_eq!((unknown.growth_per_piece, unknown.growth_error), (0.0, f64::MAX));
    let text = serde_json::to_string(&stats).unwrap();
    let decoded: Stats = serde_json::from_str(&text).unwrap();
    assert_eq!(decoded, stats);
    assert_eq!(decoded.suspects(), stats.suspects());
    assert!(decoded.suspects()[0].pieces_left.is_some(), "{text}");
    assert_eq!(decoded.to_string(), stats.to_string());
    assert_well(pool);
}
