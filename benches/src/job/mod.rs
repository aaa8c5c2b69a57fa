//! The jobs, by subject.

pub mod awaited;
pub mod commands;
pub mod faults;
pub mod gate;
pub mod idle;
pub mod journal;
pub mod lock;
pub mod logs;
pub mod map;
pub mod memory;
pub mod payload;
pub mod round_trip;
pub mod scaling;
pub mod serializer;
pub mod shared;
pub mod start;
pub mod throughput;
pub mod workers;

use crate::{Job, WORKERS};

/// A function that makes the jobs of one kind.
pub type Jobs = fn() -> Vec<Job>;

/// All jobs, by the names of their benches.
pub const ALL: [(&str, Jobs); 18] = [
    ("round_trip", round_trip::jobs),
    ("throughput", throughput::jobs),
    ("payload", payload::jobs),
    ("serializer", serializer::jobs),
    ("scaling", scaling::jobs),
    ("start", start::jobs),
    ("idle", idle::jobs),
    ("gate", gate::jobs),
    ("faults", faults::jobs),
    ("journal", journal::jobs),
    ("lock", lock::jobs),
    ("map", map::jobs),
    ("awaited", awaited::jobs),
    ("shared", shared::jobs),
    ("logs", logs::jobs),
    ("memory", memory::jobs),
    ("workers", workers::jobs),
    ("commands", commands::jobs),
];

/// The piece of the tiny jobs.
pub(crate) fn add(a: u64, b: u64) -> u64 {
    a + b
}

pub(crate) fn pool() -> multicore::Pool {
    multicore::Pool::builder().workers(WORKERS).build().expect("a pool runs here")
}

pub(crate) fn rayon_pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build().expect("threads can be made")
}

pub(crate) fn procspawn_pool() -> procspawn::Pool {
    procspawn::Pool::new(WORKERS).expect("processes can be made")
}
