//! What pieces log, on its way to the program's logger.

use crate::{Job, Target, Unit, Who};
use log::{LevelFilter, Log, Metadata, Record};
use multicore::Pool;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The records of one turn.
const RECORDS: u64 = 100_000;

/// The records of a piece.
const EACH: u64 = 100;

/// Counts the records, and those that come out of order.
struct Counts {
    next: AtomicU64,
    came: AtomicU64,
    wrong: AtomicU64,
}

static COUNTS: Counts = Counts { next: AtomicU64::new(0), came: AtomicU64::new(0), wrong: AtomicU64::new(0) };

impl Log for Counts {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // A warning that others were dropped has no number at its end.
        if let Some(number) = record.args().to_string().rsplit(' ').next().and_then(|number| number.parse::<u64>().ok())
        {
            self.came.fetch_add(1, Relaxed);
            self.wrong.fetch_add(u64::from(number < self.next.swap(number + 1, Relaxed)), Relaxed);
        }
    }

    fn flush(&self) {}
}

impl Counts {
    fn begin(&self) {
        self.next.store(0, Relaxed);
        self.came.store(0, Relaxed);
    }
}

/// Writes records, and takes as many microseconds for each.
fn logs((first, end): (u64, u64), each_us: u64) -> u64 {
    let start = Instant::now();
    for number in first..end {
        log::info!("the row with this number was imported: {number}");
        while start.elapsed() < Duration::from_micros((number + 1 - first) * each_us) {
            std::hint::spin_loop();
        }
    }
    end - first
}

/// All of them through one worker.
fn run(pool: &Pool, level: LevelFilter, each_us: u64) {
    log::set_max_level(level);
    COUNTS.begin();
    let pieces = (0..RECORDS / EACH).map(|piece| ((piece * EACH, (piece + 1) * EACH), each_us));
    let task = pool.try_task::<u64>().expect("the pool is open");
    task.run_all(logs, pieces);
    task.wait().expect("no piece fails");
    log::set_max_level(LevelFilter::Off);
}

fn one_worker() -> Pool {
    Pool::builder().workers(1).build().expect("a pool runs here")
}

/// How many of them are lost.
fn lost() -> Job {
    let pool = one_worker();
    Job::new("records lost or in another order, of 100,000 that a worker logs in a second", Unit::Count, 1, 5)
        .subject(Who::Multicore, "", move |_| {
            run(&pool, LevelFilter::Info, 1_000_000 / RECORDS);
            (RECORDS - COUNTS.came.load(Relaxed) + COUNTS.wrong.swap(0, Relaxed)) as f64
        })
        .target(Target::AtMost(0.0))
}

/// What a record costs that nobody wants, and one that is delivered or dropped.
fn cost() -> Job {
    let (off, on) = (one_worker(), one_worker());
    Job::new("100,000 calls of `info!` in a worker, per second", Unit::Pieces(RECORDS), 1, 9)
        .timed(Who::Multicore, "level off", move || run(&off, LevelFilter::Off, 0))
        .timed(Who::Multicore, "on", move || run(&on, LevelFilter::Info, 0))
        .timed(Who::Serial, "", || {
            log::set_max_level(LevelFilter::Info);
            COUNTS.begin();
            logs((0, RECORDS), 0);
            log::set_max_level(LevelFilter::Off);
        })
}

/// Each of them.
#[must_use]
pub fn jobs() -> Vec<Job> {
    // No other job logs anything, so the second set of jobs finds this logger.
    let _ = log::set_logger(&COUNTS);
    vec![lost(), cost()]
}
