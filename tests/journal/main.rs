//! Tasks whose pieces are recorded in a journal: what runs again, what is given again, and what survives.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod confirmed;
mod faults;
mod killed;
mod refused;
mod resumed;

use multicore::journal::{self, Journal, Outcome};
use multicore::{Error, ErrorKind, Pool, Task};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use support::{Marks, mark};

/// A folder for a journal, and the marks of the pieces that run.
struct Place {
    folder: tempfile::TempDir,
    marks: Marks,
    seen: Cell<usize>,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap(), marks: Marks::new(), seen: Cell::new(0) }
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("test.journal")
    }

    /// Which pieces have run since the last question.
    fn ran(&self) -> Vec<u64> {
        let lines = self.marks.lines();
        let new = &lines[self.seen.replace(lines.len())..];
        let mut numbers: Vec<u64> = new.iter().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Hands these pieces out in a task with a journal.
    fn task(&self, pool: &Pool, journal: impl Into<Journal>, numbers: impl IntoIterator<Item = u64>) -> Task<u64> {
        let task = journalled::<u64>(pool, journal);
        numbers.into_iter().for_each(|number| task.try_run(piece, self.marks.path(), number));
        task
    }
}

/// A pool, and one whose tasks run without it: a journal is the same for both.
fn pools() -> [Pool; 2] {
    [support::pool(2), support::busy_pool()]
}

fn new_task<R: multicore::Value>(pool: &Pool) -> Task<R> {
    pool.task_or_inline::<R>().name("test")
}

fn journalled<R: multicore::Value>(pool: &Pool, journal: impl Into<Journal>) -> Task<R> {
    new_task(pool).journal(journal).unwrap()
}

/// A piece that marks that it ran. It fails for numbers that end with 3, and panics for those that end with 7.
fn piece(marks: String, number: u64) -> Result<u64, String> {
    mark(&marks, number);
    match number % 10 {
        3 => Err(format!("{number} is refused")),
        7 => panic!("{number} is unlucky"),
        _ => Ok(number * 2),
    }
}

/// What a piece gives, or the kind of its error.
fn outcome_of(result: Result<u64, Error>) -> Result<u64, ErrorKind> {
    result.map_err(|error| error.kind())
}

fn expected(number: u64) -> Result<u64, ErrorKind> {
    match number % 10 {
        3 => Err(ErrorKind::Failed),
        7 => Err(ErrorKind::Panicked),
        _ => Ok(number * 2),
    }
}

/// How many outcomes of each kind are in a journal.
fn recorded(path: &Path) -> (usize, usize) {
    let all: Vec<Outcome> = journal::read(path).unwrap().map(|record| record.unwrap().outcome()).collect();
    let done = all.iter().filter(|outcome| **outcome == Outcome::Done).count();
    (done, all.len() - done)
}
