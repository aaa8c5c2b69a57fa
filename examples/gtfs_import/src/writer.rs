//! The only process that writes the database: copies the rows of pieces into their table, some pieces in a transaction.
//!
//! Invariant: pieces are added in file order, and are told as written only once they are committed. A row's number is that of its
//! record, so what an earlier run wrote is written again as it was.

use crate::feed::FeedFile;
use crate::piece::{UNKNOWN_DISTANCE, present};
use crate::problem::Result;
use crate::schema::{DISTANCE, SHAPES};
use rusqlite::{Connection, params};
use std::time::{Duration, Instant};

/// The most pieces in a transaction. Each is attached as a database of its own, and SQLite attaches ten at most. With eight, the
/// wait for the disk at a commit is short beside the writing.
const PIECES_PER_COMMIT: usize = 8;

/// Measures how long the writer waits for pieces.
pub struct Clock {
    begin: Instant,
    waited: Duration,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { begin: Instant::now(), waited: Duration::ZERO }
    }

    /// Calls what gives the next piece.
    pub fn wait<T>(&mut self, next: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let piece = next();
        self.waited += begin.elapsed();
        piece
    }

    /// The share of the time so far in which the writer did not wait.
    pub fn busy(&self) -> f64 {
        let all = self.begin.elapsed().as_secs_f64();
        if all > 0.0 { 1.0 - self.waited.as_secs_f64() / all } else { 0.0 }
    }
}

/// Writes the pieces of one file.
pub struct Writer<'run> {
    database: &'run mut Connection,
    file: &'run FeedFile,
    /// The numbers of the pieces in the open transaction.
    open: Vec<usize>,
}

/// Makes room for the pieces of a transaction.
pub fn attach(database: &Connection) -> Result<()> {
    for slot in 0..PIECES_PER_COMMIT {
        database.execute("ATTACH ':memory:' AS ?1", [slot_name(slot)])?;
    }
    Ok(())
}

pub fn detach(database: &Connection) -> Result<()> {
    for slot in 0..PIECES_PER_COMMIT {
        database.execute("DETACH ?1", [slot_name(slot)])?;
    }
    Ok(())
}

fn slot_name(slot: usize) -> String {
    format!("piece{slot}")
}

impl<'run> Writer<'run> {
    pub fn new(database: &'run mut Connection, file: &'run FeedFile) -> Writer<'run> {
        Writer { database, file, open: Vec::new() }
    }

    /// Adds the next piece. Gives the pieces that were committed, if it filled a transaction.
    pub fn add(&mut self, number: usize, rows: &[u8]) -> Result<Vec<usize>> {
        let slot = slot_name(self.open.len());
        // A piece cannot replace one that the open transaction has read, so each has a slot of its own.
        self.database.deserialize_read_exact(slot.as_str(), rows, rows.len(), true)?;
        if self.open.is_empty() {
            self.database.execute_batch("BEGIN")?;
        }
        self.database.execute(&copy_records(self.file, &slot), [])?;
        self.database.execute(&copy_rejected(&slot), [self.file.table.file])?;
        self.open.push(number);
        if self.open.len() == PIECES_PER_COMMIT { self.commit() } else { Ok(Vec::new()) }
    }

    /// Commits what was added. Gives these pieces.
    pub fn commit(&mut self) -> Result<Vec<usize>> {
        if let Some(last) = self.open.last() {
            let update = "UPDATE import_files SET committed = max(committed, ?2) WHERE file = ?1";
            self.database.execute(update, params![self.file.table.file, last + 1])?;
            self.database.execute_batch("COMMIT")?;
        }
        Ok(std::mem::take(&mut self.open))
    }
}

fn copy_records(file: &FeedFile, slot: &str) -> String {
    let mut names: String = present(file.table, &file.columns).map(|name| format!(", {name}")).collect();
    let mut values = names.clone();
    if file.table.name == SHAPES && !file.layout.header.iter().any(|name| name == DISTANCE) {
        names += &format!(", {DISTANCE}");
        values += &format!(", {UNKNOWN_DISTANCE:e}");
    }
    let table = file.table.name;
    format!("INSERT OR REPLACE INTO main.{table} (rowid{names}) SELECT rowid{values} FROM {slot}.records")
}

fn copy_rejected(slot: &str) -> String {
    format!(
        "INSERT OR REPLACE INTO main.import_rejected SELECT ?1, \"row\", line, \"column\", value, reason FROM {slot}.rejected"
    )
}
