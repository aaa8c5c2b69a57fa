//! The database: its tables, what it tells of its import, and what a database of either kind can do.
//!
//! | table             | what                                                                                       |
//! |-------------------|--------------------------------------------------------------------------------------------|
//! | those of GTFS     | the rows, numbered by `rowid` as the records of their file                                  |
//! | `import_state`    | the program, the version of its tables, and whether the import is finished                 |
//! | `import_files`    | the files of the feed, by which it is recognised, and how many of their pieces are there   |
//! | `import_rejected` | each row that was rejected, and why                                                        |
//!
//! What differs between SQLite and PostgreSQL stands in `sqlite` and `postgres`. The statements elsewhere are read by both: their parameters are
//! `$1`, `$2`, each first named in this order.
//!
//! Invariant: a piece's rows, its rejected rows and its place in `import_files` are committed together, pieces in file order.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use crate::feed::{Feed, FeedFile};
use crate::problem::{Problem, Result};
use crate::schema::{Kind, TABLES, Table};
use crate::target::Target;
use crate::values::Value;
use std::time::Duration;

pub use sqlite::is_same;

const PROGRAM: &str = "gtfs_import";
/// Changes with the tables, and with where files are cut.
pub const VERSION: i64 = 3;
/// The most pieces in a transaction. SQLite attaches each as a database of its own, and ten at most. With eight, the wait for the disk at
/// a commit is short beside the writing.
pub const PIECES_PER_COMMIT: usize = 8;

/// What is at the place of the database.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// An import of this feed that was begun.
    Begun,
    Finished,
}

/// A place that no other import writes while this lives, however the program ends.
pub trait Locked {
    /// Looks at the database without a change to it. What is not of an import of this feed is refused.
    fn inspect(&mut self, feed: &Feed) -> Result<Found>;
    /// Opens the database for the only process that writes it, and makes its tables if they are not there.
    fn open(self: Box<Self>, feed: &Feed) -> Result<Box<dyn Database>>;
    /// Opens the database of an import that is finished.
    fn open_finished(self: Box<Self>) -> Result<Box<dyn Database>>;
}

/// Locks the place of a database.
pub fn lock(target: &Target) -> Result<Box<dyn Locked>> {
    Ok(match target {
        Target::File(path) => Box::new(sqlite::lock(path)?),
        #[cfg(feature = "postgres")]
        Target::Server(server) => Box::new(postgres::lock(server)?),
    })
}

/// Opens a database for a process that only reads it.
pub fn open_to_read(target: &Target) -> Result<Box<dyn Database>> {
    Ok(match target {
        Target::File(path) => Box::new(sqlite::open_to_read(path)?),
        #[cfg(feature = "postgres")]
        Target::Server(server) => Box::new(postgres::open_to_read(server)?),
    })
}

/// An open database. One thread uses it. If a call fails, the program ends, and with it an open transaction.
pub trait Database {
    /// Runs statements that have no parameters and give no rows.
    fn run(&mut self, statements: &str) -> Result<()>;
    /// Runs a statement, and gives the number of rows that it changed.
    fn change(&mut self, statement: &str, values: &[Value<'_>]) -> Result<u64>;
    /// Calls `each` with each row that a query finds.
    fn visit(&mut self, query: &str, values: &[Value<'_>], each: &mut Each<'_>) -> Result<()>;
    /// Makes a unique index. False if there are equal keys: then nothing is changed.
    fn make_unique(&mut self, definition: &str) -> Result<bool>;
    /// The type of a key of numbers that the database gives out, in rising order.
    fn serial_key(&self) -> &'static str;
    /// Adds the rows of a piece, as `Format::pack` has made them. `place` is the number of the piece in the open transaction.
    fn copy(&mut self, file: &FeedFile, place: usize, rows: &[u8]) -> Result<()>;
    /// Adds rows of a file to those that are rejected.
    fn reject(&mut self, file: &str, rows: &[Rejected<'_>]) -> Result<()>;
    /// Fills in the distances that the feed lacks, shape by shape.
    fn fill_distances(&mut self) -> Result<()>;
    /// What the database itself finds wrong with references: a table, and the one to which it refers.
    fn broken_references(&mut self) -> Result<Vec<(String, String)>>;
    /// Does what is left to do when the import is finished.
    fn end(&mut self) -> Result<()>;
}

/// What is called with a row.
pub type Each<'run> = dyn FnMut(&[Value<'_>]) -> Result<()> + 'run;

impl dyn Database + '_ {
    /// The number that a query finds.
    pub fn number(&mut self, query: &str, values: &[Value<'_>]) -> Result<u64> {
        let mut number = None;
        self.visit(query, values, &mut |row| {
            number = row.first().and_then(Value::as_number);
            Ok(())
        })?;
        number.ok_or_else(|| Problem::new(format_args!("the database gives no number for {query}")))
    }

    /// The text that a query finds.
    pub fn text(&mut self, query: &str, values: &[Value<'_>]) -> Result<Option<String>> {
        let mut text = None;
        self.visit(query, values, &mut |row| {
            text = row.first().and_then(Value::as_text).map(str::to_owned);
            Ok(())
        })?;
        Ok(text)
    }
}

/// A row that is rejected, and why.
#[derive(Debug, Clone, Copy)]
pub struct Rejected<'text> {
    pub row: u64,
    pub line: u64,
    pub column: Option<&'text str>,
    pub value: Option<&'text str>,
    pub reason: &'text str,
}

/// Where a worker puts the rows of a piece.
pub trait Sink {
    /// Adds a row: its number, and the values of the file's columns.
    fn keep(&mut self, row: u64, values: &[Value<'_>]) -> Result<()>;
    fn reject(&mut self, rejected: &Rejected<'_>) -> Result<()>;
}

/// What adds the rows of a piece.
pub type Fill<'run> = dyn FnMut(&mut dyn Sink) -> Result<()> + 'run;

/// How rows are sent from a worker to the writer: so that the writer only hands them on.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// A database in memory.
    Sqlite,
    /// The input of PostgreSQL's COPY.
    #[cfg(feature = "postgres")]
    Copy,
}

impl Format {
    pub fn of(target: &Target) -> Format {
        match target {
            Target::File(_) => Format::Sqlite,
            #[cfg(feature = "postgres")]
            Target::Server(_) => Format::Copy,
        }
    }

    /// Gives the rows that `fill` adds, those of a file with some columns of a table.
    pub fn pack(self, table: &'static Table, columns: &[Option<usize>], fill: &mut Fill<'_>) -> Result<Vec<u8>> {
        match self {
            Format::Sqlite => sqlite::pack(table, columns, fill),
            #[cfg(feature = "postgres")]
            Format::Copy => postgres::pack(table.file, fill),
        }
    }

    /// Why the database cannot hold a record's text.
    pub fn refuses(self, _text: &str) -> Option<&'static str> {
        match self {
            Format::Sqlite => None,
            #[cfg(feature = "postgres")]
            Format::Copy => _text.contains('\0').then_some("the text has a zero byte, which PostgreSQL cannot hold"),
        }
    }

    /// The most bytes that the texts of a key have.
    pub fn max_key_bytes(self) -> usize {
        match self {
            Format::Sqlite => usize::MAX,
            // An entry of an index is at most 2704 bytes, with what stands around up to six texts.
            #[cfg(feature = "postgres")]
            Format::Copy => 2600,
        }
    }
}

/// The database is of this feed's import, or refused. `refused` makes the sentence from the reason.
fn recognise(database: &mut dyn Database, feed: &Feed, refused: impl Fn(String) -> Problem) -> Result<Found> {
    let mut state = |key| database.text("SELECT value FROM import_state WHERE key = $1", &[Value::Text(key)]);
    if state("program")?.as_deref() != Some(PROGRAM) || state("version")? != Some(VERSION.to_string()) {
        return Err(refused("it was made by another version of this program".to_owned()));
    }
    let is_finished = state("finished")?.is_some();
    if let Some(file) = other_file(database, feed)? {
        return Err(refused(format!("it has another feed than {:?}: {file} differs", feed.path)));
    }
    Ok(if is_finished { Found::Finished } else { Found::Begun })
}

/// The name of a file that is another one than at the import's begin.
fn other_file(database: &mut dyn Database, feed: &Feed) -> Result<Option<&'static str>> {
    for table in &TABLES {
        let mut known = None;
        let query = "SELECT bytes, crc32 FROM import_files WHERE file = $1";
        database.visit(query, &[Value::Text(table.file)], &mut |row| {
            known = Some([row[0].as_number(), row[1].as_number()]);
            Ok(())
        })?;
        let now = feed.files.iter().find(|file| file.table.name == table.name);
        if known != now.map(|file| [Some(file.layout.bytes), Some(u64::from(file.layout.crc32))]) {
            return Ok(Some(table.file));
        }
    }
    Ok(None)
}

/// Makes the tables by their definitions, and says in them what is imported. The caller has begun a transaction.
fn make_tables(database: &mut dyn Database, definitions: &str, feed: &Feed) -> Result<()> {
    database.run(definitions)?;
    let mut set_state = |key, value| database.change(SET_STATE, &[Value::Text(key), Value::Text(value)]);
    set_state("program", PROGRAM)?;
    set_state("version", &VERSION.to_string())?;
    for FeedFile { table, layout, .. } in &feed.files {
        let numbers = [layout.bytes, u64::from(layout.crc32), layout.rows, layout.spans.len() as u64];
        let values: Vec<_> =
            std::iter::once(Value::Text(table.file)).chain(numbers.into_iter().map(Value::number)).collect();
        database.change("INSERT INTO import_files VALUES ($1, $2, $3, $4, $5, 0, 0)", &values)?;
    }
    Ok(())
}

const SET_STATE: &str = "INSERT INTO import_state VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";

/// How many of a file's pieces are in the database, and whether its table is finished.
pub fn progress(database: &mut dyn Database, file: &FeedFile) -> Result<(usize, bool)> {
    let mut number = |query| database.number(query, &[Value::Text(file.table.file)]);
    let committed = number("SELECT committed FROM import_files WHERE file = $1")?;
    Ok((committed as usize, number("SELECT finished FROM import_files WHERE file = $1")? != 0))
}

/// Marks the import as finished.
pub fn finish(database: &mut dyn Database) -> Result<()> {
    database.change(SET_STATE, &[Value::Text("finished"), Value::Text("1")])?;
    database.end()
}

/// The type of a column, in a database that calls those of numbers by these names.
fn sql_type(kind: Kind, integer: &'static str, real: &'static str) -> &'static str {
    match kind {
        Kind::Text | Kind::Date => "TEXT",
        Kind::Integer | Kind::Time => integer,
        Kind::Real => real,
    }
}

/// The condition is a fact or becomes one within the time.
fn within(patience: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = std::time::Instant::now() + patience;
    while !is_so()? {
        if std::time::Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(true)
}
