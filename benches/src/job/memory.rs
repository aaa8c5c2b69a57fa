//! What it costs to keep memory bounded, and how well it is kept.

use super::{add, pool};
use crate::{Job, Target, Unit, WORKERS, Who, is_large};
use multicore::{Memory, Pool, PoolBuilder};
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const MB: u64 = 1_000_000;

/// What pieces keep.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn limited(set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(WORKERS)).build().expect("a pool runs here")
}

/// A pool with every limit, of which none is reached.
fn with_all_limits() -> Pool {
    limited(|it| {
        it.memory_max(Memory::percent(90.0))
            .worker_memory_high(Memory::growth(4_000 * MB))
            .worker_memory_max(Memory::growth(5_000 * MB))
            .max_pieces_per_worker(u64::MAX)
            .max_worker_age(Duration::from_secs(86_400))
    })
}

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// Anonymous resident bytes of a process.
fn anonymous_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: Vec<u64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    pages.get(1).zip(pages.get(2)).map_or(0, |(all, of_files)| all.saturating_sub(*of_files) * 4096)
}

/// Keeps this number of MB and computes; gives what its process has then.
fn leak_and_compute(mb: u64, milliseconds: u64) -> u64 {
    if mb > 0 {
        KEPT.lock().expect("no piece panics").push(vec![1; (mb * MB) as usize]);
    }
    spin(Duration::from_millis(milliseconds));
    anonymous_bytes(std::process::id())
}

/// The seconds that the pieces take, and the most that a worker had.
fn leaking(pool: &Pool, mb: u64) -> (f64, u64) {
    let start = Instant::now();
    let task = pool.try_task::<u64>().expect("the pool is open");
    task.run_all(leak_and_compute, (0..300).map(|_| (mb, 20)));
    let most = task.get().expect("no piece is lost").into_iter().max().unwrap_or(0);
    (start.elapsed().as_secs_f64(), most)
}

/// A pool without limits whose workers are ready and have kept nothing yet.
fn pool_of_new_workers() -> Pool {
    let pool = pool();
    let task = pool.try_task::<u64>().expect("the pool is open");
    task.run_all(leak_and_compute, (0..20).map(|_| (0, 1)));
    drop(task.get().expect("no piece is lost"));
    pool
}

fn leaks() -> Vec<Job> {
    let pool = Rc::new(limited(|it| it.worker_memory_high(Memory::growth(100 * MB))));
    let at_start = {
        let pool = Rc::clone(&pool);
        move || pool.stats().workers.iter().filter_map(|worker| worker.memory_at_start).max().unwrap_or(0)
    };
    // What the kernel takes for new pages alone, whatever a pool does: no limit, and each turn begins with small workers.
    let unlimited = |_| leaking(&pool_of_new_workers(), 3).0;
    let most = Rc::new(RefCell::new(0));
    let (told, ours, theirs) = (Rc::clone(&most), Rc::clone(&pool), pool);
    vec![
        Job::new("300 pieces of 20 ms, growth limited to 100 MB", Unit::Seconds, 1, 3)
            .subject(Who::Multicore, "3 MB leak in each", move |_| {
                let (seconds, bytes) = leaking(&ours, 3);
                told.replace_with(|most| bytes.max(*most));
                seconds
            })
            .subject(Who::Multicore, "3 MB leak in each, no limit", unlimited)
            .subject(Who::Multicore, "no leak", move |_| leaking(&theirs, 0).0)
            .target(Target::Times(1.0 / 0.95, Who::Multicore, "no leak")),
        Job::new("MB that the largest of those workers had above its start", Unit::Count, 1, 1)
            .subject(Who::Multicore, "", move |_| most.borrow().saturating_sub(at_start()) as f64 / MB as f64)
            .target(Target::AtMost(109.0)),
    ]
}

fn recycling() -> Job {
    let run = |pool: Pool| {
        move |_| {
            let start = Instant::now();
            let task = pool.try_task::<u64>().expect("the pool is open");
            task.run_all(leak_and_compute, (0..2_000).map(|_| (0, 1)));
            drop(task.get().expect("no piece is lost"));
            start.elapsed().as_secs_f64()
        }
    };
    Job::new("2,000 pieces of 1 ms", Unit::Seconds, 1, 15)
        .subject(Who::Multicore, "workers of 100 pieces", run(limited(|it| it.max_pieces_per_worker(100))))
        .subject(Who::Multicore, "workers that stay", run(pool()))
        .target(Target::Times(1.0 / 0.97, Who::Multicore, "workers that stay"))
}

/// Touches 1 GB at full speed.
fn touch(bytes: u64, _: u64) -> u64 {
    let block = vec![0_u8; bytes as usize];
    let mut block = black_box(block);
    // Small pages, as by default.
    block.fill(1);
    black_box(block).len() as u64
}

fn hard() -> Job {
    Job::new("MB that a worker had, of 300, before it was killed", Unit::Count, 1, 11)
        .subject(Who::Multicore, "", |_| {
            let pool = limited(|it| it.worker_memory_max(Memory::bytes(300 * MB)));
            let task = pool.try_task::<u64>().expect("the pool is open");
            let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
            std::thread::scope(|scope| {
                let mut pids = Vec::new();
                while pids.len() < WORKERS {
                    pids = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
                }
                let (is_over, most) = (&is_over, &most);
                scope.spawn(move || {
                    while !is_over.load(Relaxed) {
                        pids.iter().for_each(|&pid| _ = most.fetch_max(anonymous_bytes(pid), Relaxed));
                        std::thread::sleep(Duration::from_micros(500));
                    }
                });
                task.run(touch, 1_000 * MB, 0);
                let error = task.get().expect_err("it is killed");
                assert_eq!(error.kind(), multicore::ErrorKind::MemoryLimit, "{error}");
                is_over.store(true, Relaxed);
            });
            most.into_inner() as f64 / MB as f64
        })
        .target(Target::AtMost(330.0))
}

/// A pool that neither samples pieces nor has limits.
fn bare() -> Pool {
    limited(|it| it.samples(false))
}

/// The cost of samples, and of limits that are never reached.
fn watched() -> Vec<Job> {
    let trip = |pool: Pool| {
        move || {
            let task = pool.try_task::<u64>().expect("the pool is open");
            task.run(add, black_box(1), black_box(2));
            task.get().expect("an addition cannot fail")[0]
        }
    };
    let many = |pool: Pool, by_run: bool, (count, microseconds): (u64, u64)| {
        move || {
            let task = pool.try_task::<u64>().expect("the pool is open");
            let piece = |number, microseconds| {
                spin(Duration::from_micros(microseconds));
                number
            };
            match (microseconds, by_run) {
                (0, true) => (0..count).for_each(|number| task.run(add, number, 1)),
                (0, false) => task.run_all(add, (0..count).map(|number| (number, 1))),
                _ => task.run_all(piece, (0..count).map(|number| (number, microseconds))),
            }
            task.get().expect("no piece fails").len()
        }
    };
    let all = |job: Job| job.target(Target::Times(1.02, Who::Multicore, "neither"));
    let pair = |name, by_run, work: (u64, u64)| {
        all(Job::new(name, Unit::Pieces(work.0), 1, 41)
            .timed(Who::Multicore, "samples and all limits", many(with_all_limits(), by_run, work))
            .timed(Who::Multicore, "samples", many(pool(), by_run, work))
            .timed(Who::Multicore, "neither", many(bare(), by_run, work)))
    };
    vec![
        all(Job::new("round trip", Unit::Seconds, 10_000, 41)
            .timed(Who::Multicore, "samples and all limits", trip(with_all_limits()))
            .timed(Who::Multicore, "samples", trip(pool()))
            .timed(Who::Multicore, "neither", trip(bare()))),
        pair("100,000 tiny pieces by `run`", true, (100_000, 0)),
        pair("100,000 tiny pieces by `run_all`", false, (100_000, 0)),
        pair("5,000 pieces of 15 us", false, (5_000, 15)),
    ]
}

/// Leaks this number of bytes, and computes.
fn leak_bytes(bytes: usize) -> u64 {
    std::mem::forget(black_box(vec![1_u8; bytes]));
    spin(Duration::from_micros(5));
    0
}

/// Allocates a block and many small ones, and frees them.
fn allocate(bytes: usize) -> u64 {
    let small: Vec<Vec<u8>> = (0..20).map(|number| vec![1; 100 + 8 * number]).collect();
    black_box((vec![0_u8; bytes], small)).1.len() as u64
}

/// Computes.
fn compute(microseconds: usize) -> u64 {
    spin(Duration::from_micros(microseconds as u64));
    0
}

/// How well a leak is told. `leaking` of 100,000 mixed pieces leak this number of bytes.
fn naming(name: &'static str, (bytes, leaking): (usize, u64), target: f64) -> Job {
    Job::new(name, Unit::Count, 1, 5)
        .subject(Who::Multicore, "", move |_| {
            let pool = pool();
            let task = pool.try_task::<u64>().expect("the pool is open");
            let mut random = 88_172_645_463_325_252_u64;
            for _ in 0..100_000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                match random % 100_000 {
                    number if number < leaking => task.call(leak_bytes, bytes),
                    number if number % 2 == 0 => task.call(allocate, 1 << 20),
                    _ => task.call(compute, 10),
                }
            }
            drop(task.get().expect("no piece fails"));
            let suspects = pool.stats().suspects();
            let told = match &suspects[..] {
                [only] if only.function.contains("leak_bytes") => only.growth_per_piece,
                // Nobody, or an innocent one.
                _ => return 100.0,
            };
            // What glibc adds to a block: a head, and up to 16 in all. Large ones are whole pages.
            let truth =
                if bytes < 100_000 { (bytes + 8).next_multiple_of(16) } else { (bytes + 16).next_multiple_of(4096) };
            (told / truth as f64 - 1.0).abs() * 100.0
        })
        .target(Target::AtMost(target))
}

/// What this program keeps.
fn parent() -> Vec<Job> {
    let own = || anonymous_bytes(std::process::id()) as f64 / MB as f64;
    let millions = if is_large() { 10 } else { 2 };
    let many =
        Job::new("MB more in the program after ten million pieces (`--large`) than after one", Unit::Count, 1, 1)
            .subject(Who::Multicore, "", move |_| {
                let pool = pool();
                let mut after_first = 0.0;
                for million in 0..millions {
                    let task = pool.try_task::<u64>().expect("the pool is open");
                    task.run_all(add, (0..1_000_000).map(|number| (number, 1)));
                    drop(task.get().expect("an addition cannot fail"));
                    if million == 0 {
                        after_first = own();
                    }
                }
                own() - after_first
            })
            .target(Target::AtMost(20.0));
    let results = if is_large() { 1024 } else { 256 };
    let dropped =
        Job::new("MB more 1 s after 1 GiB of results (`--large`) was dropped, workers included", Unit::Count, 1, 1)
            .subject(Who::Multicore, "", move |_| {
                let pool = pool();
                let all = |pool: &Pool| {
                    let pids = pool.stats().workers.into_iter().filter_map(|worker| worker.pid);
                    own() + pids.map(anonymous_bytes).sum::<u64>() as f64 / MB as f64
                };
                let before = all(&pool);
                let task = pool.try_task::<Vec<u8>>().expect("the pool is open");
                (0..results).for_each(|_| task.call(|bytes: usize| vec![1_u8; bytes], 1 << 20));
                while task.completed() < results {
                    std::thread::sleep(Duration::from_millis(1));
                }
                drop(task);
                std::thread::sleep(Duration::from_secs(1));
                all(&pool) - before
            })
            .target(Target::AtMost(64.0));
    vec![many, dropped]
}

/// Leaks and who is named for them, recycling, limits, and what is left in the program.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let naming = [
        naming(
            "% by which the growth of a leak of 1,000 bytes is off, in 20,000 of 100,000 pieces",
            (1_000, 20_000),
            10.0,
        ),
        naming("% by which the growth of a leak of 3 MB is off, in 100 of 100,000 pieces", (3_000_000, 100), 1.0),
    ];
    leaks().into_iter().chain([recycling(), hard()]).chain(naming).chain(watched()).chain(parent()).collect()
}
