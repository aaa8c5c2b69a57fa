//! A file's records, in parts: by worker processes, or in this process where there are none.

use crate::problem::{Problem, Result};
use crate::render::{SEPARATOR, piece};
use crate::table::Table;
use multicore::{Error, ErrorKind, Iter, Pool, Ranges, Sink, Task};
use std::path::Path;

/// The most bytes of a piece: about a millisecond of work. What is not longer than this is read in this process.
const PIECE_BYTES: usize = 64 << 10;
/// The least bytes of a piece: with less, sending it costs more than reading it.
const LEAST_PIECE_BYTES: usize = 16 << 10;

/// All records of a file as one JSON array. With `in_parallel` it is made by the workers of the global pool, if a pool can run here.
///
/// The outcome is the same without workers, also for a broken file, but for the words around the sentence that says what is wrong with it.
///
/// # Errors
/// The file cannot be read, has a broken record, or was changed meanwhile.
pub fn dump(path: &Path, in_parallel: bool) -> Result<Vec<u8>> {
    let table = Table::open(path)?;
    let ranges = ranges(&table);
    // The memory is not touched before it is written to.
    let mut json = Vec::with_capacity(table.len().saturating_mul(4) + 4);
    json.push(b'[');
    match task(&table, &ranges, in_parallel) {
        Some(task) => {
            if let Err(error) = task.write_to(&mut json) {
                if is_by_the_records(error.kind()) {
                    return Err(Problem::of_piece(&error));
                }
                // The pool was ended, or no worker could be had.
                json.truncate(1);
                piece(&table, 0, table.len(), &mut json)?;
            }
        }
        None => ranges.into_iter().try_for_each(|(start, end)| piece(&table, start, end, &mut json))?,
    }
    if json.len() > 1 {
        json.truncate(json.len() - SEPARATOR.len());
    }
    json.push(b']');
    Ok(json)
}

/// The same array in parts, each as soon as it and those before it are ready.
///
/// # Errors
/// The file cannot be opened. What is wrong with a part is the error of that part.
pub fn parts(path: &Path) -> Result<Parts> {
    let table = Table::open(path)?;
    let ranges = ranges(&table);
    let results = task(&table, &ranges, true).map(Task::iter);
    Ok(Parts { table, ranges, results, state: State::Before })
}

fn ranges(table: &Table) -> Ranges {
    multicore::ranges(table.len()).with_min_len(LEAST_PIECE_BYTES).with_max_len(PIECE_BYTES)
}

/// The pieces, handed out to workers; nothing if this process does the work.
fn task(table: &Table, ranges: &Ranges, in_parallel: bool) -> Option<Task<Vec<u8>>> {
    if !in_parallel || table.len() <= PIECE_BYTES {
        return None;
    }
    let task = Task::new()?.name("fastjson::piece").retries(1);
    for (start, end) in ranges.clone() {
        task.run_into(work, (table.clone(), start), end);
    }
    Some(task)
}

fn work(from: (Table, usize), end: usize, sink: &mut Sink) -> Result<()> {
    piece(&from.0, from.1, end, sink)
}

/// Whether the records themselves are to blame, so that this process must not try them once more.
fn is_by_the_records(kind: ErrorKind) -> bool {
    use ErrorKind::{Encode, Failed, MemoryLimit, Panicked, TimedOut, WorkerLost};
    matches!(kind, Failed | Panicked | WorkerLost | TimedOut | MemoryLimit | Encode)
}

/// A JSON array in parts: see [`parts`]. All parts in a row are the array.
pub struct Parts {
    table: Table,
    /// Those that have not been given.
    ranges: Ranges,
    /// Nothing if this process does the work.
    results: Option<Iter<Vec<u8>>>,
    state: State,
}

enum State {
    Before,
    /// The last part ended with a record.
    Inside,
    Ended,
}

impl Iterator for Parts {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if matches!(self.state, State::Ended) {
                return None;
            }
            let Some((start, end)) = self.ranges.next() else {
                let last: &[u8] = if matches!(self.state, State::Before) { b"[]" } else { b"]" };
                self.state = State::Ended;
                return Some(Ok(last.to_vec()));
            };
            match self.records(start, end) {
                // A range between two line ends has no record.
                Ok(records) if records.is_empty() => {}
                Ok(mut records) => {
                    records.truncate(records.len() - SEPARATOR.len());
                    let mut part = if matches!(self.state, State::Before) { b"[".to_vec() } else { SEPARATOR.to_vec() };
                    self.state = State::Inside;
                    part.append(&mut records);
                    return Some(Ok(part));
                }
                Err(problem) => {
                    self.state = State::Ended;
                    self.results = None;
                    return Some(Err(problem));
                }
            }
        }
    }
}

impl Parts {
    /// The records of the next range.
    fn records(&mut self, start: usize, end: usize) -> Result<Vec<u8>> {
        match self.results.as_mut().and_then(Iter::next) {
            Some(Ok(records)) => return Ok(records),
            Some(Err(error)) if is_by_the_records(error.kind()) => return Err(Problem::of_piece(&error)),
            // No worker could be had, or there is no pool.
            Some(Err(_)) | None => {}
        }
        let mut records = Vec::new();
        piece(&self.table, start, end, &mut records)?;
        Ok(records)
    }
}

/// The number of worker processes that files are read by: 0 where no pool can run.
pub fn workers() -> usize {
    Pool::global().map_or(0, Pool::workers)
}

/// Why no pool can run here, as a sentence; nothing if one can.
pub fn why_no_pool() -> Option<String> {
    Task::<Vec<u8>>::try_new().err().map(|error: Error| error.to_string())
}
