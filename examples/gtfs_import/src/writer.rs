//! The only process that writes the database: copies the rows of pieces into their table, some pieces in a transaction.
//!
//! Invariant: pieces are added in file order, from the first on that the database lacks, and are told as written only once they are committed.

use crate::database::{Database, PIECES_PER_COMMIT};
use crate::feed::FeedFile;
use crate::problem::{Problem, Result};
use crate::values::Value;
use std::time::{Duration, Instant};

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
    database: &'run mut dyn Database,
    file: &'run FeedFile,
    /// The numbers of the pieces in the open transaction.
    open: Vec<usize>,
}

impl<'run> Writer<'run> {
    pub fn new(database: &'run mut dyn Database, file: &'run FeedFile) -> Writer<'run> {
        Writer { database, file, open: Vec::new() }
    }

    /// Adds the next piece. Gives the pieces that were committed, if it filled a transaction.
    pub fn add(&mut self, number: usize, rows: &[u8]) -> Result<Vec<usize>> {
        if self.open.is_empty() {
            self.database.run("BEGIN")?;
        }
        self.database.copy(self.file, self.open.len(), rows)?;
        self.open.push(number);
        if self.open.len() == PIECES_PER_COMMIT { self.commit() } else { Ok(Vec::new()) }
    }

    /// Commits what was added. Gives these pieces.
    ///
    /// The rows are there exactly if the database counts their pieces, and it counts each once: if it has another number of them than
    /// before this transaction, nothing is committed.
    pub fn commit(&mut self) -> Result<Vec<usize>> {
        if let (Some(&first), Some(&last)) = (self.open.first(), self.open.last()) {
            let file = self.file.table.file;
            let numbers = [Value::number(last as u64 + 1), Value::Text(file), Value::number(first as u64)];
            let update = "UPDATE import_files SET committed = $1 WHERE file = $2 AND committed = $3";
            if self.database.change(update, &numbers)? != 1 {
                return Err(Problem::new(format_args!(
                    "{file}: another program has changed the database meanwhile; start the same command again"
                )));
            }
            self.database.run("COMMIT")?;
        }
        Ok(std::mem::take(&mut self.open))
    }
}
