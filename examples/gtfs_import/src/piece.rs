//! The work of a piece: reads a part of a file, and gives its rows as the writer can hand them to the database.

use crate::database::{self, Database, Format, Rejected, Sink};
use crate::keys::Keys;
use crate::problem::{Problem, Result};
use crate::records::{Fault, Record, lines_in};
use crate::scan::{Span, read_span};
use crate::schema::{AREAS, Column, DISTANCE, SHAPES, STOP_TIMES, TABLES, Table};
use crate::shapes::UNKNOWN_DISTANCE;
use crate::target::Target;
use crate::values::{self, Value};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;

/// The most characters of a rejected value that are kept.
const KEPT_CHARACTERS: usize = 100;

/// What a worker needs to know once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    pub target: Target,
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

/// Reads a piece, and gives its rows as the writer takes them.
pub fn read(piece: Piece) -> Result<Vec<u8>> {
    WORKER.with_borrow_mut(|worker| match worker {
        Some(Ok(worker)) => worker.read(&piece),
        Some(Err(problem)) => Err(problem.clone()),
        None => Err(Problem::new("a worker was not set up")),
    })
}

struct Worker {
    setup: Setup,
    database: Box<dyn Database>,
    /// Those to which the table of the last piece refers, by table and column. They are read with the table's first piece: what it refers to
    /// is complete then.
    keys: Vec<((&'static str, &'static str), Keys)>,
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
        let database = database::open_to_read(&setup.target)?;
        Ok(Worker { setup, database, keys: Vec::new(), text: Vec::new() })
    }

    fn read(&mut self, piece: &Piece) -> Result<Vec<u8>> {
        let table = &TABLES[piece.table];
        let source = self.setup.files.iter().find(|source| source.table == piece.table);
        let source = source.ok_or_else(|| Problem::new(format_args!("a worker does not know {}", table.file)))?;
        // The file may have no name any more; this opens it all the same, and at a position of its own.
        let file = File::open(format!("/proc/self/fd/{}", source.descriptor))
            .map_err(|error| Problem::new(format_args!("cannot open {} anew: {error}", table.file)))?;
        read_span(&file, &piece.span, &mut self.text, table.file)?;
        self.keys.retain(|(key, _)| references(table).any(|other| other == *key));
        for key in references(table) {
            if self.place(&key).is_none() {
                self.keys.push((key, Keys::load(&mut *self.database, key.0, key.1)?));
            }
        }
        let known = |place: &usize| {
            let column = &table.columns[*place];
            Known { column, keys: column.refers.iter().filter_map(|key| self.place(key)).collect() }
        };
        let format = Format::of(&self.setup.target);
        let columns = source.columns.iter().map(|place| place.as_ref().map(known)).collect::<Vec<_>>();
        let mut rows = Rows { table, format, database: &mut *self.database, columns: &columns, keys: &mut self.keys };
        format.pack(table, &source.columns, &mut |sink| rows.fill(sink, &self.text, piece))
    }

    /// The place of the values of a table's column.
    fn place(&self, key: &(&str, &str)) -> Option<usize> {
        self.keys.iter().position(|(other, _)| other == key)
    }
}

/// What the columns of a table refer to, besides the table itself.
fn references(table: &'static Table) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.columns.iter().flat_map(|column| column.refers).copied().filter(|(other, _)| *other != table.name)
}

/// Turns records into rows.
struct Rows<'worker> {
    table: &'static Table,
    format: Format,
    database: &'worker mut dyn Database,
    /// Those of the file, where the table has them.
    columns: &'worker [Option<Known>],
    keys: &'worker mut [((&'static str, &'static str), Keys)],
}

/// A column of the file that the table has.
struct Known {
    column: &'static Column,
    /// The places of the values to which it refers. Without any, it refers to nothing, or to its own table, which is not whole yet.
    keys: Vec<usize>,
}

impl Rows<'_> {
    fn fill(&mut self, sink: &mut dyn Sink, text: &[u8], piece: &Piece) -> Result<()> {
        let mut record = Record::default();
        let (mut at, mut row, mut line) = (0, piece.span.row, piece.span.line);
        while at < text.len() {
            let end = record.read(text, at).at;
            if !record.is_blank() {
                match self.values(&record, &text[at..end])? {
                    Ok(values) => sink.keep(row, &values)?,
                    Err(Rejection { column, value, reason }) => {
                        let value = value.map(|value| value.chars().take(KEPT_CHARACTERS).collect::<String>());
                        let (value, reason) = (value.as_deref(), reason.as_str());
                        sink.reject(&Rejected { row, line, column, value, reason })?;
                    }
                }
                row += 1;
            }
            line += lines_in(&text[at..end]);
            at = end;
        }
        Ok(())
    }

    /// The values of a row.
    fn values<'text>(
        &mut self,
        record: &'text Record<'text>,
        text: &[u8],
    ) -> Result<std::result::Result<Vec<Value<'text>>, Rejection<'text>>> {
        if let Some(reason) = self.refuses(record, text) {
            return Ok(Err(Rejection::row(reason)));
        }
        let mut values = Vec::with_capacity(self.columns.len());
        let mut names_place = self.table.name != STOP_TIMES;
        let columns = self.columns;
        for (number, known) in columns.iter().enumerate() {
            let Some(known) = known else { continue };
            // A short row lacks the last ones.
            let text = record.values.get(number).map_or("", |value| as_text(value));
            let value = match self.value(known, text)? {
                Ok(value) => value,
                Err(rejection) => return Ok(Err(rejection)),
            };
            names_place = names_place || value != Value::Null && is_place(known.column);
            values.push(value);
        }
        Ok(match names_place {
            true => Ok(values),
            false => Err(Rejection { column: Some("stop_id"), value: None, reason: "is empty".to_owned() }),
        })
    }

    /// Why a record as a whole is rejected.
    fn refuses(&self, record: &Record<'_>, text: &[u8]) -> Option<String> {
        let Ok(text) = std::str::from_utf8(text) else {
            return Some("the text is no UTF-8".to_owned());
        };
        if record.fault.is_some_and(|fault| fault == Fault::TextAfterQuote) {
            return Some("text follows a closing quotation mark".to_owned());
        }
        if record.values.iter().skip(self.columns.len()).any(|value| !value.is_empty()) {
            let (values, columns) = (record.values.len(), self.columns.len());
            return Some(format!("there are more values than columns: {values}, not {columns}"));
        }
        if let Some(reason) = self.format.refuses(text) {
            return Some(reason.to_owned());
        }
        let most = self.format.max_key_bytes();
        if text.len() > most {
            let key = self.table.key.columns();
            let of_key = self
                .columns
                .iter()
                .zip(&record.values)
                .filter(|(column, _)| column.as_ref().is_some_and(|known| key.contains(&known.column.name)));
            let bytes: usize = of_key.map(|(_, value)| value.len()).sum();
            if bytes > most {
                return Some(format!("{} has {bytes} bytes, and the database's index {most} at most", key.join(", ")));
            }
        }
        None
    }

    fn value<'text>(
        &mut self,
        known: &Known,
        text: &'text str,
    ) -> Result<std::result::Result<Value<'text>, Rejection<'text>>> {
        let column = known.column;
        if text.is_empty() {
            return Ok(match (self.table.name, column.name) {
                _ if column.is_filled => Err(Rejection::value(column, None, "is empty")),
                (SHAPES, DISTANCE) => Ok(Value::Real(UNKNOWN_DISTANCE)),
                _ => Ok(Value::Null),
            });
        }
        let value = match values::value(column.kind, text) {
            Ok(value) => value,
            Err(reason) => return Ok(Err(Rejection::value(column, Some(text), reason))),
        };
        let mut is_there = known.keys.is_empty();
        for place in &known.keys {
            is_there = is_there || self.keys[*place].1.contains(self.database, text)?;
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
