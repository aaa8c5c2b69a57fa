//! Pieces of real work: integer arithmetic without memory.

use super::{pool, procspawn_pool, rayon_pool};
use crate::{Job, Target, Unit, Who};
use rayon::prelude::*;
use std::sync::OnceLock;
use std::time::Instant;

/// Steps of a random number generator.
pub(super) fn work(steps: u64, seed: u64) -> u64 {
    let mut state = seed | 1;
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// The number of steps that take one millisecond on this machine when nothing else runs.
pub(super) fn steps_a_millisecond() -> u64 {
    static STEPS: OnceLock<u64> = OnceLock::new();
    *STEPS.get_or_init(|| {
        let sample = || {
            let start = Instant::now();
            std::hint::black_box(work(1_000_000, start.elapsed().as_nanos() as u64));
            start.elapsed().as_secs_f64()
        };
        let best = (0..20).map(|_| sample()).fold(f64::INFINITY, f64::min);
        (1_000_000.0 / best / 1e3) as u64
    })
}

fn job(name: &'static str, pieces: Vec<(u64, u64)>) -> Job {
    let (ours, threads, processes) = (pool(), rayon_pool(), procspawn_pool());
    let [a, b, c, d] = [(); 4].map(|()| pieces.clone());
    let multicore = move || {
        let task = ours.try_task::<u64>().expect("the pool is open");
        for &(steps, seed) in &a {
            task.run(work, steps, seed);
        }
        task.get().expect("integers cannot fail")
    };
    let serial = move || b.iter().map(|&(steps, seed)| work(steps, seed)).collect::<Vec<_>>();
    let rayon = move || -> Vec<u64> {
        threads.install(|| c.par_iter().with_max_len(1).map(|&(steps, seed)| work(steps, seed)).collect())
    };
    let procspawn = move || -> Vec<u64> {
        let spawn = |&(steps, seed)| procspawn::spawn!(in processes, (steps => a, seed => b) || work(a, b));
        let handles: Vec<_> = d.iter().map(spawn).collect();
        handles.into_iter().map(|handle| handle.join().expect("integers cannot fail")).collect()
    };
    Job::new(name, Unit::Seconds, 1, 5)
        .timed(Who::Multicore, "", multicore)
        .timed(Who::Serial, "", serial)
        .timed(Who::Rayon, "", rayon)
        .timed(Who::Procspawn, "", procspawn)
        .target(Target::Times(1.0 / 1.95, Who::Serial, ""))
        .target(Target::Times(1.0 / 0.99, Who::Rayon, ""))
}

/// Even pieces and uneven ones.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let millisecond = steps_a_millisecond();
    let even = (0..1_000).map(|seed| (millisecond, seed)).collect();
    let uneven = (0..400).map(|seed| {
        // 0.1 to 20 ms, in no pattern.
        let noise = work(10, seed * 7919 + 1) % 200;
        (millisecond / 10 * (1 + noise), seed)
    });
    let uneven = uneven.collect();
    vec![job("1,000 pieces of 1 ms", even), job("400 pieces of 0.1 to 20 ms", uneven)]
}
