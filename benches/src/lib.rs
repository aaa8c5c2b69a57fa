//! What `multicore` is measured against: the bare floor of each job, and other pools that do it.
//!
//! A [`Job`] is one thing to be done; its subjects are ways of doing it. `cargo run --release -p
//! multicore_benches` does all jobs, the subjects of each in turn, and prints one table; `cargo
//! bench -p multicore_benches` gives each subject to criterion, for a closer look at one.
//!
//! Every pool has two workers ([`WORKERS`]), whatever the machine has, so that tables compare.

pub mod child;
pub mod floor;
pub mod job;
pub mod table;

use criterion::{Criterion, Throughput};
use std::time::{Duration, Instant};

/// Workers, threads or processes of every subject.
pub const WORKERS: usize = 2;

/// Whose way of doing a job it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The crate that is measured.
    Multicore,
    /// The same with nothing but processes and memory.
    Floor,
    /// One thread, one after the other.
    Serial,
    /// A pool of threads that steal from each other.
    Rayon,
    /// Threads fed through crossbeam's channels.
    Crossbeam,
    /// Processes fed through ipc-channel's channels.
    IpcChannel,
    /// procspawn's pool of processes.
    Procspawn,
}

impl Who {
    /// In the order of the table's columns.
    pub const ALL: [Who; 7] =
        [Who::Multicore, Who::Floor, Who::Serial, Who::Rayon, Who::Crossbeam, Who::IpcChannel, Who::Procspawn];

    /// The head of its column.
    pub fn name(self) -> &'static str {
        match self {
            Who::Multicore => "multicore",
            Who::Floor => "floor",
            Who::Serial => "serial",
            Who::Rayon => "rayon",
            Who::Crossbeam => "crossbeam",
            Who::IpcChannel => "ipc-channel",
            Who::Procspawn => "procspawn",
        }
    }
}

/// A way of doing a job.
pub struct Subject {
    /// Whose it is.
    pub who: Who,
    /// Which of several; may be empty.
    pub how: &'static str,
    /// Does the job so many times and says what that took in all, in the job's unit.
    pub run: Box<dyn FnMut(u64) -> f64>,
}

/// What a job's figures are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// Seconds for doing it once.
    Seconds,
    /// So many pieces are done in these seconds; told as pieces a second.
    Pieces(u64),
    /// A count, told as it is.
    Count,
}

/// What `multicore` is to reach.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At most this many times what that subject takes.
    Times(f64, Who, &'static str),
    /// At most this much, in the job's unit.
    AtMost(f64),
}

/// One thing to be done, and the ways of doing it.
pub struct Job {
    /// What is done.
    pub name: &'static str,
    /// What its figures are.
    pub unit: Unit,
    /// How often it is done in one turn of a subject.
    pub iterations: u64,
    /// How many turns each subject has.
    pub rounds: usize,
    /// The ways of doing it; `multicore`'s first.
    pub subjects: Vec<Subject>,
    /// What is to be reached.
    pub targets: Vec<Target>,
}

impl Job {
    /// A job without subjects.
    #[must_use]
    pub fn new(name: &'static str, unit: Unit, iterations: u64, rounds: usize) -> Self {
        Job { name, unit, iterations, rounds, subjects: Vec::new(), targets: Vec::new() }
    }

    /// Adds a way of doing it, which says itself what so many times took.
    #[must_use]
    pub fn subject(mut self, who: Who, how: &'static str, run: impl FnMut(u64) -> f64 + 'static) -> Self {
        self.subjects.push(Subject { who, how, run: Box::new(run) });
        self
    }

    /// Adds a way of doing it that is timed as a whole.
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

    /// Adds what is to be reached.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }
}

/// To be called first in `main`: a process that was started to play a part plays it here.
pub fn start() {
    procspawn::init();
    child::play();
}

/// The `main` of a bench: gives each subject of some jobs to criterion. Counts, which criterion has
/// no measure for, are printed.
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
