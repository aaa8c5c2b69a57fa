//! Measures `multicore` against the bare floor of each job and against other pools.
//!
//! A [`Job`] is a piece of work, and its subjects are ways to do it. `cargo run --release -p multicore_benches` does all jobs,
//! the subjects of each in turn, and prints one table. `cargo bench -p multicore_benches` gives each subject to criterion, for
//! a closer look at one of them.
//!
//! Every pool has two workers ([`WORKERS`]) on every machine, so that tables can be compared.

pub mod child;
pub mod floor;
pub mod job;
pub mod table;

use criterion::{Criterion, Throughput};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The number of workers, threads or processes of every subject.
pub const WORKERS: usize = 2;

static LARGE: AtomicBool = AtomicBool::new(false);

/// Some jobs are done at their largest size from now on; it takes minutes and gigabytes.
pub fn make_large() {
    LARGE.store(true, Ordering::Relaxed);
}

/// True if jobs that have several sizes are done at the largest.
#[must_use]
pub fn is_large() -> bool {
    LARGE.load(Ordering::Relaxed)
}

/// The library or technique with which a subject does its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// This crate.
    Multicore,
    /// Only processes and memory.
    Floor,
    /// One thread, which runs the pieces one after the other.
    Serial,
    /// rayon's pool of threads, which steal work from each other.
    Rayon,
    /// tokio's threads for what blocks.
    Tokio,
    /// Threads that get work through crossbeam's channels.
    Crossbeam,
    /// Processes that get work through ipc-channel's channels.
    IpcChannel,
    /// procspawn's pool of processes.
    Procspawn,
    /// `xargs -P`.
    Xargs,
    /// GNU parallel.
    Parallel,
}

impl Who {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Who; 10] = [
        Who::Multicore,
        Who::Floor,
        Who::Serial,
        Who::Rayon,
        Who::Tokio,
        Who::Crossbeam,
        Who::IpcChannel,
        Who::Procspawn,
        Who::Xargs,
        Who::Parallel,
    ];

    /// The head of the column in the table.
    pub fn name(self) -> &'static str {
        match self {
            Who::Multicore => "multicore",
            Who::Floor => "floor",
            Who::Serial => "serial",
            Who::Rayon => "rayon",
            Who::Tokio => "tokio",
            Who::Crossbeam => "crossbeam",
            Who::IpcChannel => "ipc-channel",
            Who::Procspawn => "procspawn",
            Who::Xargs => "xargs",
            Who::Parallel => "parallel",
        }
    }
}

/// A way to do a job.
pub struct Subject {
    /// The library or technique.
    pub who: Who,
    /// Distinguishes several subjects of the same library; may be empty.
    pub how: &'static str,
    /// Does the job the given number of times and returns the total, in the job's unit.
    pub run: Box<dyn FnMut(u64) -> f64>,
}

/// The unit of a job's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// Seconds for one repetition.
    Seconds,
    /// Seconds for this number of pieces; shown as pieces a second.
    Pieces(u64),
    /// A count, shown unchanged.
    Count,
}

/// The goal of `multicore` in a job.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At most this number of times the figure of that subject.
    Times(f64, Who, &'static str),
    /// At most this figure, in the job's unit.
    AtMost(f64),
}

/// A piece of work, and the ways to do it.
pub struct Job {
    /// The name of the job.
    pub name: &'static str,
    /// The unit of its figures.
    pub unit: Unit,
    /// The number of repetitions in one turn of a subject.
    pub iterations: u64,
    /// The number of turns of each subject.
    pub rounds: usize,
    /// The ways to do it; `multicore` is the first.
    pub subjects: Vec<Subject>,
    /// The goals.
    pub targets: Vec<Target>,
}

impl Job {
    /// A job without subjects.
    #[must_use]
    pub fn new(name: &'static str, unit: Unit, iterations: u64, rounds: usize) -> Self {
        Job { name, unit, iterations, rounds, subjects: Vec::new(), targets: Vec::new() }
    }

    /// Adds a way to do it that measures itself: it gets the number of repetitions and returns the total.
    #[must_use]
    pub fn subject(mut self, who: Who, how: &'static str, run: impl FnMut(u64) -> f64 + 'static) -> Self {
        self.subjects.push(Subject { who, how, run: Box::new(run) });
        self
    }

    /// Adds a way to do it that is timed as a whole.
    #[must_use]
    pub fn timed<T>(self, who: Who, how: &'static str, mut once: impl FnMut() -> T + 'static) -> Self {
        self.subject(who, how, move |iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                std::hint::black_box(once());
            }
            start.elapsed().as_secs_f64()
        })
    }

    /// Adds a goal.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }
}

/// Must be called first in `main`: a process that was started to play a part plays it here.
pub fn start() {
    procspawn::init();
    child::play();
}

/// The `main` of a bench: gives each subject of these jobs to criterion. Counts, which criterion cannot measure, are printed.
pub fn bench(jobs: fn() -> Vec<Job>) {
    start();
    let mut criterion = Criterion::default().configure_from_args();
    for job in jobs() {
        if job.unit == Unit::Count {
            table::print(&[table::measure(job, 1)]);
            continue;
        }
        let mut group = criterion.benchmark_group(job.name);
        if let Unit::Pieces(pieces) = job.unit {
            group.throughput(Throughput::Elements(pieces));
        }
        if job.iterations < 100 {
            group.sample_size(10);
        }
        for mut subject in job.subjects {
            let name = format!("{} {}", subject.who.name(), subject.how);
            group.bench_function(name.trim(), |bencher| {
                bencher.iter_custom(|iterations| Duration::from_secs_f64((subject.run)(iterations)));
            });
        }
    }
    criterion.final_summary();
}
