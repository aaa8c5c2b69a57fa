//! Starts of programs and workers, and deaths.

use super::{add, pool, procspawn_pool};
use crate::child::{self, Part};
use crate::floor::process::{self, ShortLived};
use crate::{Job, Target, Unit, Who};
use multicore::{Pool, Task};
use std::hint::black_box;
use std::time::Instant;

/// Calls `once` the given number of times and returns that number times the median.
fn median(iterations: u64, mut once: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..iterations).map(|_| once()).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2] * iterations as f64
}

fn pool_of(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool runs here")
}

fn first(task: &Task<u64>) {
    task.run(add, black_box(1), black_box(2));
}

/// A piece that ends its own process.
fn die(_: u64, _: u64) -> u64 {
    let me = rustix::process::getpid();
    let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    0
}

/// The time from the moment that `build` returns, while the worker is being forked, to the worker's first result.
fn new_worker() -> f64 {
    let pool = pool_of(1);
    let start = Instant::now();
    let task = pool.try_task::<u64>().expect("the pool is open");
    first(&task);
    task.get().expect("an addition cannot fail");
    start.elapsed().as_secs_f64()
}

/// The same in a program with a heap of 1 GiB and some threads.
fn with_big_heap(measure: impl Fn() -> f64) -> f64 {
    let heap = vec![1_u8; 1 << 30];
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let stopped = stopped.clone();
            std::thread::spawn(move || stopped.recv())
        })
        .collect();
    let seconds = measure();
    drop(stop);
    for thread in threads {
        let _ = thread.join();
    }
    drop(black_box(heap));
    seconds
}

/// The seconds until a death is reported, and until the next result.
fn death(pool: &Pool) -> (f64, f64) {
    let task = pool.try_task::<u64>().expect("the pool is open");
    let start = Instant::now();
    task.run(die, 1, 2);
    assert!(task.get().is_err());
    let reported = start.elapsed().as_secs_f64();
    let task = pool.try_task::<u64>().expect("the pool is open");
    first(&task);
    task.get().expect("an addition cannot fail");
    (reported, start.elapsed().as_secs_f64())
}

fn procspawn_death(pool: &procspawn::Pool) -> (f64, f64) {
    let start = Instant::now();
    let lost = procspawn::spawn!(in pool, (1 => a, 2 => b) || die(a, b)).join();
    assert!(lost.is_err());
    let reported = start.elapsed().as_secs_f64();
    procspawn::spawn!(in pool, (1 => a, 2 => b) || add(a, b)).join().expect("an addition cannot fail");
    (reported, start.elapsed().as_secs_f64())
}

/// Starts of programs, starts of workers, and deaths.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let started = |part: Part| move |iterations| median(iterations, || child::time(part));
    let start = Job::new("process start to first result", Unit::Seconds, 10, 15)
        .subject(Who::Multicore, "", started(Part::Multicore))
        .subject(Who::Floor, "bare exec", started(Part::Nothing))
        .subject(Who::Rayon, "", started(Part::Rayon))
        .subject(Who::Procspawn, "", started(Part::Procspawn))
        .target(Target::Times(2.2, Who::Floor, "bare exec"));
    let worker = Job::new("a new worker to its first result", Unit::Seconds, 10, 15)
        .subject(Who::Multicore, "", |iterations| median(iterations, new_worker))
        .subject(Who::Floor, "bare fork", |iterations| median(iterations, process::fork))
        .target(Target::AtMost(200e-6));
    let heavy = Job::new("the same, beside 1 GiB of heap and 8 threads", Unit::Seconds, 1, 3)
        .subject(Who::Multicore, "", |_| with_big_heap(|| median(10, new_worker) / 10.0))
        .subject(Who::Floor, "bare fork", |_| with_big_heap(|| median(3, process::fork) / 3.0))
        .target(Target::AtMost(200e-6));
    let mut jobs = vec![start, worker, heavy];
    type Pick = fn((f64, f64)) -> f64;
    let reported: Pick = |(reported, _)| reported;
    let next: Pick = |(_, next)| next;
    for (name, pick, workers, limit) in [
        ("death told", reported, 2, 0.3e-3),
        ("death and next result", next, 2, 0.6e-3),
        ("death and next result, one worker", next, 1, 0.6e-3),
    ] {
        let ours = if workers == 2 { pool() } else { pool_of(workers) };
        let theirs =
            if workers == 2 { procspawn_pool() } else { procspawn::Pool::new(workers).expect("processes can be made") };
        let mut process = ShortLived::default();
        let job = Job::new(name, Unit::Seconds, 20, 15)
            .subject(Who::Multicore, "", move |iterations| median(iterations, || pick(death(&ours))))
            .subject(Who::Floor, "bare pidfd", move |iterations| median(iterations, || pick(process.die())))
            .subject(Who::Procspawn, "", move |iterations| median(iterations, || pick(procspawn_death(&theirs))));
        jobs.push(job.target(Target::AtMost(limit)));
    }
    jobs
}
