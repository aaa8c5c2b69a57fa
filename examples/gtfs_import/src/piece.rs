//! The work of a piece: reads a part of a file, and gives its rows as a small database.
//!
//! The small database is made in memory and sent as it is. Its tables are `records`, with the row numbers and the values of the
//! file's columns, and `rejected`. So the writer only copies rows from one table to another, and there is no format for rows on the way.
//! For a million stop times that takes the writer 0.7 to 0.8 s, where it takes 1.2 to 1.3 s to bind values one by one, and 0.75 to 0.95 s
//! with 20 rows in a statement, without decoding them. It costs the workers 0.8 to 0.9 s, beside the writer.

use crate::database;
use crate::keys::Keys;
use crate::problem::{Problem, Result};
use crate::records::{Fault, Record, lines_in};
use crate::scan::{Span, read_span};
use crate::schema::{AREAS, Column, DISTANCE, SHAPES, STOP_TIMES, TABLES, Table};
use crate::values;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, MAIN_DB, OpenFlags, Statement, params};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

/// In place of a shape's distance that the feed lacks, until `finish` knows it. It takes as much room as what will replace it, so
/// the row is then overwritten where it lies.
pub const UNKNOWN_DISTANCE: f64 = -1e300;
/// The most characters of a rejected value that are kept.
const KEPT_CHARACTERS: usize = 100;

/// What a worker needs to know once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    pub database: OsString,
    pub files: Vec<Source>,
}

/// A file of the feed, as a worker gets it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// The number of its table.
    pub table: usize,
    pub descriptor: i32,
    pub columns: Vec<Option<usize>>,
}

/// A part of a file. Nothing in it differs from one run to the next: a journal recognises a piece by it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Piece {
    /// The number of its table.
    pub table: usize,
    pub span: Span,
}

thread_local! {
    /// A worker runs its pieces on one thread.
    static WORKER: RefCell<Option<Result<Worker>>> = const { RefCell::new(None) };
}

/// Runs once in each worker.
pub fn start(setup: Setup) {
    // A failure is told by the first piece: it has a caller.
    WORKER.set(Some(Worker::start(setup)));
}

/// Ends what `start` began: the database cannot become a single file while others have it open.
pub fn end() {
    WORKER.set(None);
}

/// Reads a piece, and gives its rows as a database.
pub fn read(piece: Piece) -> Result<Vec<u8>> {
    WORKER.with_borrow_mut(|worker| match worker {
        Some(Ok(worker)) => worker.read(&piece),
        Some(Err(problem)) => Err(problem.clone()),
        None => Err(Problem::new("a worker was not set up")),
    })
}

struct Worker {
    setup: Setup,
    database: Connection,
    /// Those to which the table of the last piece refers, by table and column. They are read with the table's first piece: what it refers to
    /// is complete then.
    keys: HashMap<(&'static str, &'static str), Keys>,
    text: Vec<u8>,
}

/// Why a row is rejected.
struct Rejection<'text> {
    column: Option<&'static str>,
    value: Option<Cow<'text, str>>,
    reason: String,
}

impl<'text> Rejection<'text> {
    fn row(reason: impl Into<String>) -> Rejection<'text> {
        Rejection { column: None, value: None, reason: reason.into() }
    }

    fn value(column: &Column, value: Option<&'text str>, reason: impl Into<String>) -> Rejection<'text> {
        Rejection { column: Some(column.name), value: value.map(Cow::Borrowed), reason: reason.into() }
    }
}

impl Worker {
    fn start(setup: Setup) -> Result<Worker> {
        let database = database::open(Path::new(&setup.database), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Worker { setup, database, keys: HashMap::new(), text: Vec::new() })
    }

    fn read(&mut self, piece: &Piece) -> Result<Vec<u8>> {
        let table = &TABLES[piece.table];
        let source = self.setup.files.iter().find(|source| source.table == piece.table);
        let source = source.ok_or_else(|| Problem::new(format_args!("a worker does not know {}", table.file)))?;
        // The file may have no name any more; this opens it all the same, and at a position of its own.
        let file = File::open(format!("/proc/self/fd/{}", source.descriptor))
            .map_err(|error| Problem::new(format_args!("cannot open {} anew: {error}", table.file)))?;
        read_span(&file, &piece.span, &mut self.text, table.file)?;
        self.keys.retain(|key, _| references(table).any(|other| other == *key));
        for (other, column) in references(table) {
            if !self.keys.contains_key(&(other, column)) {
                self.keys.insert((other, column), Keys::load(&self.database, other, column)?);
            }
        }
        let rows = Rows::new(table, &source.columns, &self.database, &self.keys);
        let small = Connection::open_in_memory()?;
        small.execute_batch(&format!(
            "PRAGMA journal_mode = OFF; BEGIN; CREATE TABLE records ({});
             CREATE TABLE rejected (\"row\" INTEGER PRIMARY KEY, line, \"column\", value, reason);",
            present(table, &source.columns).collect::<Vec<_>>().join(", ")
        ))?;
        rows.fill(&small, &self.text, piece)?;
        small.execute_batch("COMMIT")?;
        Ok(small.serialize(MAIN_DB)?.to_vec())
    }
}

/// The columns of a table that its file has, in the file's order.
pub fn present<'columns>(
    table: &'static Table,
    columns: &'columns [Option<usize>],
) -> impl Iterator<Item = &'static str> + 'columns {
    columns.iter().flatten().map(|column| table.columns[*column].name)
}

/// What the columns of a table refer to, besides the table itself.
fn references(table: &'static Table) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.columns.iter().flat_map(|column| column.refers).copied().filter(|(other, _)| *other != table.name)
}

/// Turns records into rows.
struct Rows<'worker> {
    table: &'static Table,
    database: &'worker Connection,
    /// Those of the file.
    columns: Vec<Option<Known<'worker>>>,
}

/// A column of the file that the table has.
struct Known<'worker> {
    column: &'static Column,
    /// The values to which it refers. Without any, it refers to nothing, or to its own table, which is not whole yet.
    keys: Vec<&'worker Keys>,
}

impl<'worker> Rows<'worker> {
    fn new(
        table: &'static Table,
        columns: &[Option<usize>],
        database: &'worker Connection,
        keys: &'worker HashMap<(&'static str, &'static str), Keys>,
    ) -> Rows<'worker> {
        let known = |place: &usize| {
            let column = &table.columns[*place];
            Known { column, keys: column.refers.iter().filter_map(|key| keys.get(key)).collect() }
        };
        Rows { table, database, columns: columns.iter().map(|place| place.as_ref().map(known)).collect() }
    }

    fn fill(&self, small: &Connection, text: &[u8], piece: &Piece) -> Result<()> {
        let places = vec!["?"; self.columns.iter().flatten().count() + 1].join(", ");
        let names: String = self.columns.iter().flatten().map(|known| format!(", {}", known.column.name)).collect();
        let mut insert = small.prepare(&format!("INSERT INTO records (rowid{names}) VALUES ({places})"))?;
        let mut reject = small.prepare("INSERT INTO rejected VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut record = Record::default();
        let (mut at, mut row, mut line) = (0, piece.span.row, piece.span.line);
        while at < text.len() {
            let end = record.read(text, at).at;
            if !record.is_blank() {
                match self.bind(&record, &text[at..end], row, &mut insert)? {
                    Ok(()) => drop(insert.raw_execute()?),
                    Err(Rejection { column, value, reason }) => {
                        let value = value.map(|value| value.chars().take(KEPT_CHARACTERS).collect::<String>());
                        reject.execute(params![row, line, column, value, reason])?;
                    }
                }
                row += 1;
            }
            line += lines_in(&text[at..end]);
            at = end;
        }
        Ok(())
    }

    /// Binds a row's number and values.
    fn bind<'text>(
        &self,
        record: &'text Record<'text>,
        text: &[u8],
        row: u64,
        insert: &mut Statement<'_>,
    ) -> Result<std::result::Result<(), Rejection<'text>>> {
        if std::str::from_utf8(text).is_err() {
            return Ok(Err(Rejection::row("the text is no UTF-8")));
        }
        if record.fault.is_some_and(|fault| fault == Fault::TextAfterQuote) {
            return Ok(Err(Rejection::row("text follows a closing quotation mark")));
        }
        if record.values.iter().skip(self.columns.len()).any(|value| !value.is_empty()) {
            let (values, columns) = (record.values.len(), self.columns.len());
            return Ok(Err(Rejection::row(format!("there are more values than columns: {values}, not {columns}"))));
        }
        insert.raw_bind_parameter(1, row)?;
        let mut parameter = 1;
        let mut names_place = self.table.name != STOP_TIMES;
        for (number, known) in self.columns.iter().enumerate() {
            let Some(known) = known else { continue };
            // A short row lacks the last ones.
            let text = record.values.get(number).map_or("", |value| as_text(value));
            let value = match self.value(known, text)? {
                Ok(value) => value,
                Err(rejection) => return Ok(Err(rejection)),
            };
            names_place = names_place || value != ValueRef::Null && is_place(known.column);
            parameter += 1;
            insert.raw_bind_parameter(parameter, ToSqlOutput::Borrowed(value))?;
        }
        Ok(match names_place {
            true => Ok(()),
            false => Err(Rejection { column: Some("stop_id"), value: None, reason: "is empty".to_owned() }),
        })
    }

    fn value<'text>(
        &self,
        known: &Known<'_>,
        text: &'text str,
    ) -> Result<std::result::Result<ValueRef<'text>, Rejection<'text>>> {
        let column = known.column;
        if text.is_empty() {
            return Ok(match (self.table.name, column.name) {
                _ if column.is_filled => Err(Rejection::value(column, None, "is empty")),
                (SHAPES, DISTANCE) => Ok(ValueRef::Real(UNKNOWN_DISTANCE)),
                _ => Ok(ValueRef::Null),
            });
        }
        let value = match values::value(column.kind, text) {
            Ok(value) => value,
            Err(reason) => return Ok(Err(Rejection::value(column, Some(text), reason))),
        };
        let mut is_there = known.keys.is_empty();
        for keys in &known.keys {
            is_there = is_there || keys.contains(self.database, text)?;
        }
        Ok(match is_there {
            true => Ok(value),
            false => Err(Rejection::value(column, Some(text), not_there(column.refers))),
        })
    }
}

/// True for the columns of `stop_times` that tell where a trip stops.
fn is_place(column: &Column) -> bool {
    column.name == "stop_id" || AREAS.contains(&column.name)
}

/// The reason for a value that names what is not there.
pub fn not_there(refers: &[(&str, &str)]) -> String {
    let files: Vec<_> = refers.iter().map(|(table, _)| format!("{table}.txt")).collect();
    match &files[..] {
        [file] => format!("is not in {file}"),
        files => format!("is neither in {}", files.join(" nor in ")),
    }
}

/// The whole record was found to be UTF-8, and a value is cut out at ASCII characters.
fn as_text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}
