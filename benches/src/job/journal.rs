//! Tasks whose pieces are recorded, beside the same ones without a journal.

use super::scaling::{steps_a_millisecond, work};
use super::{add, pool};
use crate::{Job, Target, Unit, Who};
use multicore::Task;
use multicore::journal::Journal;
use std::path::PathBuf;

const PIECES: u64 = 100_000;

/// What a subject holds: a pool, and a folder for its journal, which is removed with it.
struct Place {
    pool: multicore::Pool,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { pool: pool(), folder: tempfile::tempdir().expect("a folder can be made") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bench.journal")
    }

    fn task(&self) -> Task<u64> {
        self.pool.try_task::<u64>().expect("the pool is open").name("bench")
    }

    fn journalled(&self) -> Task<u64> {
        self.task().journal(Journal::at(self.path())).expect("the journal is ours")
    }

    /// The next task begins anew.
    fn forget(&self) {
        std::fs::remove_file(self.path()).expect("the journal is there");
    }
}

fn add_all(task: Task<u64>) -> u64 {
    task.run_all(add, (0..PIECES).map(|number| (number, 1)));
    task.get().expect("an addition cannot fail").iter().sum()
}

fn milliseconds() -> Job {
    let steps = steps_a_millisecond();
    let pieces = move || (0..1_000).map(move |seed| (steps, seed));
    let (with, without) = (Place::new(), Place::new());
    let journalled = move || {
        let task = with.journalled();
        task.run_all(work, pieces());
        let results = task.get().expect("integers cannot fail");
        with.forget();
        results
    };
    let plain = move || {
        let task = without.task();
        task.run_all(work, pieces());
        task.get().expect("integers cannot fail")
    };
    Job::new("1,000 pieces of 1 ms, journalled", Unit::Seconds, 1, 9)
        .timed(Who::Multicore, "", journalled)
        .timed(Who::Multicore, "no journal", plain)
        .target(Target::Times(1.0 / 0.95, Who::Multicore, "no journal"))
}

/// A journal that is written, and one that has it all.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let first = Place::new();
    let write = move || {
        let sum = add_all(first.journalled());
        first.forget();
        sum
    };
    let again = Place::new();
    add_all(again.journalled());
    let resume = move || add_all(again.journalled());
    vec![
        milliseconds(),
        Job::new("100,000 no-ops, recorded", Unit::Pieces(PIECES), 1, 9).timed(Who::Multicore, "", write),
        Job::new("100,000 no-ops, resumed", Unit::Pieces(PIECES), 1, 9)
            .timed(Who::Multicore, "", resume)
            .target(Target::AtMost(PIECES as f64 / 500e3)),
    ]
}
