//! A database of a PostgreSQL server: the tables lie in the connection's schema, the first of its `search_path` that is there.
//!
//! Rows are sent as the input of COPY, in its binary format, so that the writer only hands them to the server. Each row is numbered
//! in a column `rowid`, which is the primary key. There are no foreign keys: they would be checked once more, row by row.
//!
//! A lock of the session keeps other imports out. The server holds it until it notices the end of a killed import. A second writer
//! that gets past it, for example by a pooler of connections, changes nothing all the same: see `Writer::commit`.
//!
//! The connection has no TLS.

use super::{Database, Each, Fill, Found, Locked, Rejected, Sink, make_tables, recognise, sql_type, within};
use crate::feed::{Feed, FeedFile};
use crate::problem::{Problem, Result, chain};
use crate::schema::{DISTANCE, TABLES, Table, present};
use crate::shapes::{Point, Shapes};
use crate::target::Server;
use crate::values::Value;
use ::postgres::error::SqlState;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::types::private::BytesMut;
use ::postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{Client, Error, NoTls, Row, Statement};
use std::collections::HashMap;
use std::error::Error as _;
use std::io::Write;
use std::time::Duration;

/// How long a lock is waited for: the server ends what a killed import has begun, and looks for its end each half second.
const PATIENCE: Duration = Duration::from_secs(5);
/// The upper half of a lock's number: `gtfs`. The lower half is the schema's.
const LOCK: i64 = 0x6774_6673 << 32;

/// A connection.
pub struct Postgres {
    client: Client,
    /// Each statement that has parameters is prepared once.
    prepared: HashMap<String, Statement>,
    /// What is told of the database.
    name: String,
}

/// Connects, and locks the schema.
pub fn lock(server: &Server) -> Result<Postgres> {
    let mut opened = connect(server)?;
    let query = "SELECT CASE WHEN pg_try_advisory_lock($1 | current_schema()::regnamespace::oid::bigint) THEN 1::bigint ELSE 0 END";
    let mut try_lock = || Ok((&mut opened as &mut dyn Database).number(query, &[Value::Integer(LOCK)])? == 1);
    match within(PATIENCE, &mut try_lock)? {
        true => Ok(opened),
        false => Err(Problem::new(format_args!(
            "cannot import into {}: another import writes it at the moment; wait for its end",
            opened.name
        ))),
    }
}

/// Connects for a process that only reads.
pub fn open_to_read(server: &Server) -> Result<Postgres> {
    let mut opened = connect(server)?;
    opened.run("SET default_transaction_read_only = on")?;
    Ok(opened)
}

fn connect(server: &Server) -> Result<Postgres> {
    let failed = |why: &str, advice: &str| Problem::new(format_args!("cannot use {server:?}: {why}; {advice}"));
    let client = server.config()?.connect(NoTls).map_err(|error| {
        let advice =
            if is_lost(&error) { "is the server there?" } else { "is the URL right? a password may be in PGPASSWORD" };
        Problem::new(format_args!("cannot connect to {server:?}: {}; {advice}", text(&error)))
    })?;
    let mut opened = Postgres { client, prepared: HashMap::new(), name: format!("{server:?}") };
    let mut ask = |query| (&mut opened as &mut dyn Database).text(query, &[]);
    let encoding = ask("SELECT current_setting('server_encoding')")?.unwrap_or_default();
    if encoding != "UTF8" {
        return Err(failed(&format!("its encoding is {encoding}"), "make a database WITH ENCODING 'UTF8'"));
    }
    let Some(schema) = ask("SELECT current_schema()::text")? else {
        let why = "no schema of its search_path is there";
        return Err(failed(why, "CREATE SCHEMA, or name another one in the URL: ?options=-csearch_path%3DNAME"));
    };
    opened.name = format!("schema {schema:?} of {server:?}");
    // The schema stays the same one whatever is made meanwhile. A commit is on the disk before its pieces are confirmed. A server
    // of version 14 or later looks during long statements, too, whether this process is alive.
    opened.run(
        "SELECT set_config('search_path', quote_ident(current_schema()), false);
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
         SELECT set_config(name, '500', false) FROM pg_settings WHERE name = 'client_connection_check_interval';
         SET client_min_messages = warning",
    )?;
    Ok(opened)
}

impl Locked for Postgres {
    fn inspect(&mut self, feed: &Feed) -> Result<Found> {
        let name = self.name.clone();
        let refused = |why: String| {
            let advice = "name another database, or an empty schema of it: ?options=-csearch_path%3DNAME";
            Problem::new(format_args!("{name} is not the database of this import: {why}; {advice}"))
        };
        let database: &mut dyn Database = self;
        let mut count = |condition: &str| {
            let own = "relnamespace = current_schema()::regnamespace";
            database.number(&format!("SELECT count(*) FROM pg_class WHERE {own} {condition}"), &[])
        };
        match (count("")?, count("AND relname IN ('import_state', 'import_files')")?) {
            (0, _) => Ok(Found::Nothing),
            (_, 2) => recognise(database, feed, refused),
            _ => Err(refused("it has tables that are not of this program".to_owned())),
        }
    }

    fn open(mut self: Box<Self>, feed: &Feed) -> Result<Box<dyn Database>> {
        self.run("BEGIN")?;
        let database: &mut dyn Database = &mut *self;
        let is_there = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace";
        if database.number(is_there, &[])? == 0 {
            make_tables(&mut *self, &definitions(), feed)?;
        }
        self.run("COMMIT")?;
        Ok(self)
    }

    fn open_finished(self: Box<Self>) -> Result<Box<dyn Database>> {
        Ok(self)
    }
}

fn definitions() -> String {
    let mut all: String = TABLES.iter().map(definition).collect();
    all += "CREATE TABLE import_state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
         CREATE TABLE import_files (file TEXT PRIMARY KEY, bytes BIGINT, crc32 BIGINT, \"rows\" BIGINT,
             pieces BIGINT, committed BIGINT, finished BIGINT);
         CREATE TABLE import_rejected (file TEXT, \"row\" BIGINT, line BIGINT, \"column\" TEXT, value TEXT, reason TEXT,
             PRIMARY KEY (file, \"row\"));";
    all
}

fn definition(table: &Table) -> String {
    let columns = table
        .columns
        .iter()
        .map(|column| format!(", {} {}", column.name, sql_type(column.kind, "BIGINT", "DOUBLE PRECISION")));
    format!("CREATE TABLE {} (rowid BIGINT PRIMARY KEY{});", table.name, columns.collect::<String>())
}

impl Postgres {
    fn prepare(&mut self, query: &str) -> Result<Statement> {
        if let Some(statement) = self.prepared.get(query) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(query).map_err(|error| failed(&self.name, &error))?;
        self.prepared.insert(query.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Hands the input of COPY to the server.
    fn copy_in(&mut self, statement: &str, input: &[u8]) -> Result<()> {
        let copied = self.client.copy_in(statement).map_err(Copied::Failed).and_then(|mut copy| {
            copy.write_all(input).map_err(Copied::Broken)?;
            copy.finish().map_err(Copied::Failed)
        });
        match copied {
            Ok(_rows) => Ok(()),
            Err(Copied::Failed(error)) => Err(failed(&self.name, &error)),
            Err(Copied::Broken(error)) => match error.get_ref().and_then(|error| error.downcast_ref()) {
                Some(error) => Err(failed(&self.name, error)),
                None => Err(Problem::new(format_args!("{}: {error}", self.name))),
            },
        }
    }
}

/// Why a COPY gave nothing.
enum Copied {
    Failed(Error),
    Broken(std::io::Error),
}

const COPY_REJECTED: &str =
    "COPY import_rejected (file, \"row\", line, \"column\", value, reason) FROM STDIN (FORMAT binary)";
/// How many points of shapes are read, and then written, at once.
const POINTS: usize = 10_000;

impl Database for Postgres {
    fn run(&mut self, statements: &str) -> Result<()> {
        self.client.batch_execute(statements).map_err(|error| failed(&self.name, &error))
    }

    fn change(&mut self, statement: &str, values: &[Value<'_>]) -> Result<u64> {
        let statement = self.prepare(statement)?;
        let values: Vec<_> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.client.execute(&statement, &values).map_err(|error| failed(&self.name, &error))
    }

    fn visit(&mut self, query: &str, values: &[Value<'_>], each: &mut Each<'_>) -> Result<()> {
        let statement = self.prepare(query)?;
        let failed = |error: &Error| failed(&self.name, error);
        let mut rows = self.client.query_raw(&statement, values).map_err(|error| failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| failed(&error))? {
            each(&row_values(&row).map_err(|error| failed(&error))?)?;
        }
        Ok(())
    }

    fn make_unique(&mut self, definition: &str) -> Result<bool> {
        self.run("SAVEPOINT before_key")?;
        match self.client.batch_execute(definition) {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                self.run("ROLLBACK TO SAVEPOINT before_key").map(|()| false)
            }
            Err(error) => Err(failed(&self.name, &error)),
        }
    }

    fn serial_key(&self) -> &'static str {
        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    }

    fn copy(&mut self, file: &FeedFile, _place: usize, rows: &[u8]) -> Result<()> {
        let (records, rejected) = unpack(rows).ok_or_else(|| Problem::new("a piece came back broken"))?;
        let table = file.table;
        let names: String = present(table, &file.columns).map(|column| format!(", {}", column.name)).collect();
        self.copy_in(&format!("COPY {} (rowid{names}) FROM STDIN (FORMAT binary)", table.name), records)?;
        if rejected.len() > EMPTY_BYTES { self.copy_in(COPY_REJECTED, rejected) } else { Ok(()) }
    }

    fn reject(&mut self, file: &str, rows: &[Rejected<'_>]) -> Result<()> {
        let mut input = Input::begin(Vec::new());
        for rejected in rows {
            input.add_rejected(file, rejected);
        }
        self.copy_in(COPY_REJECTED, &input.end())
    }

    fn fill_distances(&mut self) -> Result<()> {
        self.run(&format!(
            "DECLARE points NO SCROLL CURSOR FOR SELECT rowid, shape_id, shape_pt_lat, shape_pt_lon, {DISTANCE}
                 FROM shapes ORDER BY shape_id, shape_pt_sequence"
        ))?;
        let (mut shapes, mut is_whole) = (Shapes::default(), false);
        while !is_whole {
            let (mut numbers, mut metres) = (Vec::new(), Vec::new());
            let mut write = |row, filled| {
                numbers.push(row);
                metres.push(filled);
                Ok::<_, Problem>(())
            };
            is_whole = true;
            self.visit(&format!("FETCH {POINTS} FROM points"), &[], &mut |row| {
                is_whole = false;
                let [Value::Integer(number), Value::Text(shape), Value::Real(latitude), Value::Real(longitude), metres] =
                    *row
                else {
                    return Err(Problem::new("a point of a shape has no place"));
                };
                let metres = if let Value::Real(metres) = metres { Some(metres) } else { None };
                shapes.add(shape, Point::new(number, latitude, longitude, metres), &mut write)
            })?;
            if is_whole {
                shapes.end(&mut write)?;
            }
            let update = self.prepare(&format!(
                "UPDATE shapes SET {DISTANCE} = filled.metres FROM unnest($1::bigint[], $2::float8[]) AS filled (number, metres)
                     WHERE shapes.rowid = filled.number"
            ))?;
            self.client.execute(&update, &[&numbers, &metres]).map_err(|error| failed(&self.name, &error))?;
        }
        self.run("CLOSE points")
    }

    fn broken_references(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) if *kind == Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
            Value::Integer(number) => number.to_sql(kind, out),
            Value::Real(number) => number.to_sql(kind, out),
            Value::Text(text) => text.to_sql(kind, out),
        }
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn row_values(row: &Row) -> std::result::Result<Vec<Value<'_>>, Error> {
    let value = |(place, column): (usize, &::postgres::Column)| match *column.type_() {
        Type::INT8 => Ok(row.try_get::<_, Option<i64>>(place)?.map_or(Value::Null, Value::Integer)),
        Type::INT4 => Ok(row.try_get::<_, Option<i32>>(place)?.map_or(Value::Null, |n| Value::Integer(n.into()))),
        Type::FLOAT8 => Ok(row.try_get::<_, Option<f64>>(place)?.map_or(Value::Null, Value::Real)),
        _ => Ok(Value::text(row.try_get(place)?)),
    };
    row.columns().iter().enumerate().map(value).collect()
}

/// What the server says, or that it is gone, with the place.
fn failed(name: &str, error: &Error) -> Problem {
    let text = text(error);
    Problem::new(match is_lost(error) {
        true => {
            format!(
                "the connection to {name} was lost: {text}; start the same command again, and it goes on from there"
            )
        }
        false => format!("{name}: {text}"),
    })
}

/// The connection broke, or the server ends it, which it tells by the class 57P.
fn is_lost(error: &Error) -> bool {
    let is_broken = error.source().is_some_and(|cause| cause.is::<std::io::Error>());
    is_broken || error.is_closed() || error.code().is_some_and(|code| code.code().starts_with("57P"))
}

/// What went wrong, in one line.
fn text(error: &Error) -> String {
    let text = match error.as_db_error() {
        Some(error) => {
            let more = [error.detail(), error.hint()].into_iter().flatten();
            std::iter::once(error.message()).chain(more).collect::<Vec<_>>().join("; ")
        }
        None => chain(error),
    };
    text.replace('\n', " ")
}

/// What begins the input of a COPY: its name, no flags, and no more of a header.
const BEGIN: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What ends it: a row of minus one column.
const END: [u8; 2] = (-1_i16).to_be_bytes();
/// The length of an input without rows.
const EMPTY_BYTES: usize = BEGIN.len() + END.len();

/// The input of a COPY.
struct Input(Vec<u8>);

impl Input {
    /// Begins an input behind what is there.
    fn begin(mut before: Vec<u8>) -> Input {
        before.extend_from_slice(BEGIN);
        Input(before)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&END);
        self.0
    }

    /// Begins a row of some columns. A table has far fewer than 32,768.
    fn begin_row(&mut self, columns: usize) {
        self.0.extend_from_slice(&(columns as i16).to_be_bytes());
    }

    fn add(&mut self, value: &Value<'_>) {
        match value {
            Value::Null => self.0.extend_from_slice(&(-1_i32).to_be_bytes()),
            Value::Integer(number) => self.add_bytes(&number.to_be_bytes()),
            Value::Real(number) => self.add_bytes(&number.to_be_bytes()),
            Value::Text(text) => self.add_bytes(text.as_bytes()),
        }
    }

    /// A value is a part of a record, which has 1 MiB at most.
    fn add_bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn add_rejected(&mut self, file: &str, rejected: &Rejected<'_>) {
        self.begin_row(6);
        for value in [
            Value::Text(file),
            Value::number(rejected.row),
            Value::number(rejected.line),
            Value::text(rejected.column),
            Value::text(rejected.value),
            Value::Text(rejected.reason),
        ] {
            self.add(&value);
        }
    }
}

/// Gives the rows that `fill` adds: the length of the first input in eight bytes, the input of the records, and that of the rejected rows.
pub fn pack(file: &'static str, fill: &mut Fill<'_>) -> Result<Vec<u8>> {
    let mut packed = Packed { file, records: Input::begin(vec![0; LENGTH_BYTES]), rejected: Input::begin(Vec::new()) };
    fill(&mut packed)?;
    let (mut bytes, rejected) = (packed.records.end(), packed.rejected.end());
    let length = (bytes.len() - LENGTH_BYTES) as u64;
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&rejected);
    Ok(bytes)
}

const LENGTH_BYTES: usize = 8;

/// The inputs of the records and of the rejected rows.
fn unpack(rows: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, inputs) = rows.split_first_chunk::<LENGTH_BYTES>()?;
    inputs.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// The rows of a piece.
struct Packed {
    file: &'static str,
    records: Input,
    rejected: Input,
}

impl Sink for Packed {
    fn keep(&mut self, row: u64, values: &[Value<'_>]) -> Result<()> {
        self.records.begin_row(values.len() + 1);
        self.records.add(&Value::number(row));
        values.iter().for_each(|value| self.records.add(value));
        Ok(())
    }

    fn reject(&mut self, rejected: &Rejected<'_>) -> Result<()> {
        self.rejected.add_rejected(self.file, rejected);
        Ok(())
    }
}
