//! A function over an iterator, whose items are taken as the results are read.

use super::{add, pool, rayon_pool};
use crate::{Job, Target, Unit, WORKERS, Who, is_large};
use multicore::{Pool, Task};
use rayon::prelude::*;
use std::time::Instant;

const TINY: u64 = 1_000_000;
const SMALL: u64 = 200_000;

/// The rounds of a piece of 2 to 3 us.
const ROUNDS: u64 = 1800;

fn nothing(number: u64) -> u64 {
    number
}

/// Some rounds of a generator of numbers.
fn some(seed: u64) -> u64 {
    (0..ROUNDS).fold(seed, |it, _| (it ^ (it >> 12)).wrapping_mul(0x2545_f491_4f6c_dd1d))
}

fn task(pool: &Pool) -> Task<u64> {
    pool.try_task().expect("the pool is open")
}

fn sum(results: impl Iterator<Item = Result<u64, multicore::Error>>) -> u64 {
    results.map(|result| result.expect("no piece fails")).fold(0, u64::wrapping_add)
}

/// Bytes of this process that are resident.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn tiny() -> Job {
    let (first, second, third, fourth) = (pool(), pool(), pool(), pool());
    let threads = rayon_pool();
    Job::new("1 million pieces of nothing by `map`", Unit::Pieces(TINY), 1, 9)
        .timed(Who::Multicore, "", move || sum(task(&first).map(nothing, 0..TINY)))
        .timed(Who::Multicore, "unordered", move || {
            sum(task(&second).map(nothing, 0..TINY).unordered().map(|(_, result)| result))
        })
        .timed(Who::Multicore, "run_all", move || {
            let task = task(&third);
            task.run_all(add, (0..TINY).map(|number| (number, 0)));
            task.get().expect("no piece fails").iter().sum::<u64>()
        })
        .timed(Who::Multicore, "next", move || {
            let mut task = task(&fourth);
            task.call_all(nothing, 0..TINY);
            sum(std::iter::from_fn(|| task.next()))
        })
        .timed(Who::Rayon, "par_bridge", move || threads.install(|| (0..TINY).par_bridge().map(nothing).sum::<u64>()))
        .target(Target::Times(1.0, Who::Multicore, "run_all"))
}

fn small() -> Job {
    let (first, second) = (pool(), pool());
    let threads = rayon_pool();
    Job::new("200,000 pieces of 2 to 3 us by `map`", Unit::Pieces(SMALL), 1, 9)
        .timed(Who::Multicore, "", move || sum(task(&first).map(some, 0..SMALL)))
        .timed(Who::Multicore, "unordered", move || {
            sum(task(&second).map(some, 0..SMALL).unordered().map(|(_, result)| result))
        })
        .timed(Who::Serial, "", || sum((0..SMALL).map(|number| Ok(some(number)))))
        .timed(Who::Rayon, "par_bridge", move || {
            threads.install(|| (0..SMALL).par_bridge().map(some).reduce(|| 0, u64::wrapping_add))
        })
        .target(Target::Times(0.7, Who::Rayon, "par_bridge"))
}

/// Seconds of processor time that these processes and this one had, to 10 ms.
fn cpu_seconds(workers: &[u32]) -> f64 {
    let ticks = |process: &str| {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
    };
    let all = workers.iter().map(|pid| ticks(&pid.to_string())).sum::<u64>() + ticks("self");
    all as f64 / 100.0
}

/// What it takes of all processors, which says more than the time where other programs want them too.
fn small_cpu() -> Job {
    let pool = pool();
    let _ = sum(task(&pool).map(some, 0..1000));
    let workers: Vec<u32> = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
    let threads = rayon_pool();
    let measured = |iterations: u64, workers: &[u32], once: &dyn Fn() -> u64| {
        let before = cpu_seconds(workers);
        (0..iterations).for_each(|_| _ = std::hint::black_box(once()));
        cpu_seconds(workers) - before
    };
    Job::new("processor time of 200,000 pieces of 2 to 3 us by `map`", Unit::Seconds, 2, 7)
        .subject(Who::Multicore, "", move |iterations| {
            measured(iterations, &workers, &|| sum(task(&pool).map(some, 0..SMALL)))
        })
        .subject(Who::Serial, "", move |iterations| {
            measured(iterations, &[], &|| sum((0..SMALL).map(|number| Ok(some(number)))))
        })
        .subject(Who::Rayon, "par_bridge", move |iterations| {
            measured(iterations, &[], &|| {
                threads.install(|| (0..SMALL).par_bridge().map(some).reduce(|| 0, u64::wrapping_add))
            })
        })
        .target(Target::Times(1.0, Who::Rayon, "par_bridge"))
}

/// How much memory many pieces take that are made one by one, in MB.
fn long() -> Job {
    let pool = pool();
    Job::new("MB for 10 million pieces by `map` (`--large`: 100 million)", Unit::Count, 1, 1)
        .subject(Who::Multicore, "", move |_| {
            let count = if is_large() { 100_000_000 } else { 10_000_000 };
            let mut most = 0;
            let mut results = task(&pool).map(nothing, 0..count);
            // What the first ones take is taken once.
            let warm = (2 * 65_536 * WORKERS) as u64;
            let mut sum =
                (0..warm).map(|_| results.next().expect("more are left").expect("no piece fails")).sum::<u64>();
            let (before, start) = (resident_bytes(), Instant::now());
            for (number, result) in results.enumerate() {
                sum += result.expect("no piece fails");
                if number % 100_000 == 0 {
                    most = most.max(resident_bytes());
                }
            }
            assert_eq!(sum, count * (count - 1) / 2);
            eprintln!("{:.1} million a second", (count - warm) as f64 / start.elapsed().as_secs_f64() / 1e6);
            most.saturating_sub(before) as f64 / 1e6
        })
        .target(Target::AtMost(8.0))
}

/// Each of them.
#[must_use]
pub fn jobs() -> Vec<Job> {
    vec![tiny(), small(), small_cpu(), long()]
}
