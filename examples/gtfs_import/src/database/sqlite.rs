//! A database of SQLite: one file, which after each import of a feed is the same one, byte for byte.
//!
//! Rows are sent as a small database, which is made in memory. Its tables are `records`, with the row numbers and the values of the
//! file's columns, and `rejected`. So the writer only copies rows from one table to another. For a million stop times that takes
//! it 0.7 to 0.8 s, where it takes 1.2 to 1.3 s to bind values one by one, and 0.75 to 0.95 s with 20 rows in a statement,
//! without decoding them. It costs the workers 0.8 to 0.9 s, beside the writer.

use super::{
    Database, Each, Fill, Found, Locked, PIECES_PER_COMMIT, Rejected, Sink, make_tables, recognise, sql_type, within,
};
use crate::feed::{Feed, FeedFile};
use crate::problem::{Problem, Result};
use crate::schema::{Column, DISTANCE, Key, SHAPES, TABLES, Table, present};
use crate::shapes::{Point, Shapes, UNKNOWN_DISTANCE};
use crate::values::Value;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, Statement, ToSql, params, params_from_iter};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a lock is waited for: the processes of an import that was killed end a moment after it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps other imports from a database for as long as this lives, however the program ends.
///
/// It must outlive the connections: a close of any descriptor of the file would take SQLite's own locks from it.
#[must_use]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// True if the file was not there before.
    is_new: bool,
}

/// Locks a database, and makes an empty file if there is none.
pub fn lock(path: &Path) -> Result<Lock> {
    let mut lock = None;
    if within(PATIENCE, || {
        lock = try_lock(path)?;
        Ok(lock.is_some())
    })? && let Some(lock) = lock
    {
        return Ok(lock);
    }
    Err(Problem::with_path("import into", path, "another import writes it at the moment; wait for its end"))
}

/// Locks a database, unless another import has it.
fn try_lock(path: &Path) -> Result<Option<Lock>> {
    let failed = |error: io::Error| Problem::with_path("open the database", path, error);
    // What is no file is refused by `inspect` too, but to open some of these would have an effect.
    if fs::metadata(path).is_ok_and(|kind| !kind.is_file()) {
        return Err(Problem::with_path("open the database", path, "it is no file"));
    }
    let made = File::options().read(true).write(true).create_new(true).open(path);
    let (file, is_new) = match made {
        Ok(file) => (file, true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
            (file.map_err(failed)?, false)
        }
        Err(error) => return Err(failed(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Another import that was refused may have removed it meanwhile.
        Ok(()) if is_same(file.metadata(), fs::metadata(path)) => {
            Ok(Some(Lock { file, path: path.to_owned(), is_new }))
        }
        Ok(()) | Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(Problem::with_path("lock the database", path, error)),
    }
}

impl Drop for Lock {
    /// Removes the file if this made it and nothing was written to it.
    fn drop(&mut self) {
        if self.is_new && self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            // The problem that led here is the one to tell.
            let _left = fs::remove_file(&self.path);
        }
    }
}

/// True if both are there and one file.
pub fn is_same(one: io::Result<Metadata>, other: io::Result<Metadata>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

impl Locked for Lock {
    fn inspect(&mut self, feed: &Feed) -> Result<Found> {
        let path = self.path.as_path();
        let refused = |why: String| {
            Problem::new(format_args!("{path:?} is not the database of this import: {why}; name another one"))
        };
        let looked = match look(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
            // It was killed while its journal mode was changed. Only one who may write can undo that, as everyone does who opens it.
            Err(Look::Failed(error)) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {
                look(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            }
            looked => looked,
        };
        let (database, all, own) = looked.map_err(|problem| match problem {
            Look::Refused(problem) => problem,
            Look::Failed(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                refused("it is no SQLite database".to_owned())
            }
            Look::Failed(error) => Problem::with_path("read the database", path, error),
        })?;
        match (all, own) {
            (0, _) => Ok(Found::Nothing),
            (_, 2) => recognise(&mut Sqlite { database, lock: None }, feed, refused),
            _ => Err(refused("it was not made by this program".to_owned())),
        }
    }

    fn open(self: Box<Self>, feed: &Feed) -> Result<Box<dyn Database>> {
        let database = open(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        // Pages of 16 KiB: a commit writes fewer of them. In a log, workers read while this process writes; it is copied into the
        // database about each 16 MiB. FULL: a commit is on the disk before its pieces are confirmed; with NORMAL, a power cut could
        // take the last ones. References are checked by the workers. The cache, of 16 MiB, also bounds the memory of a sort.
        database.execute_batch(
            "PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 1024; PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = OFF; PRAGMA cache_size = -16384;",
        )?;
        let mut opened = Sqlite { database, lock: Some(*self) };
        opened.run("BEGIN")?;
        if opened.database.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))? == 0 {
            make_tables(&mut opened, &definitions(), feed)?;
        }
        opened.run("COMMIT")?;
        for place in 0..PIECES_PER_COMMIT {
            opened.database.execute("ATTACH ':memory:' AS ?1", [slot(place)])?;
        }
        Ok(Box::new(opened))
    }

    fn open_finished(self: Box<Self>) -> Result<Box<dyn Database>> {
        let database = open(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        become_single_file(&database, &self)?;
        Ok(Box::new(Sqlite { database, lock: Some(*self) }))
    }
}

/// Why a look gave nothing.
enum Look {
    Refused(Problem),
    Failed(rusqlite::Error),
}

/// Opens a database, and counts what is in it and what of that are this program's tables.
fn look(path: &Path, access: OpenFlags) -> std::result::Result<(Connection, i64, i64), Look> {
    let database = open(path, access).map_err(Look::Refused)?;
    let count = |condition: &str| {
        let query = format!("SELECT count(*) FROM sqlite_master {condition}");
        database.query_row(&query, [], |row| row.get(0)).map_err(Look::Failed)
    };
    let (all, own) = (count("")?, count("WHERE name IN ('import_state', 'import_files')")?);
    Ok((database, all, own))
}

/// Opens a database. It stays in use by one thread.
fn open(path: &Path, access: OpenFlags) -> Result<Connection> {
    let failed = |error: &dyn std::fmt::Display| Problem::with_path("open the database", path, error);
    // This SQLite takes a path that begins with `file:` for a URI, and an absolute one begins with `/`.
    let absolute = std::path::absolute(path).map_err(|error| failed(&error))?;
    let database = Connection::open_with_flags(absolute, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| failed(&error))?;
    database.busy_timeout(Duration::from_secs(10))?;
    Ok(database)
}

pub fn open_to_read(path: &Path) -> Result<Sqlite> {
    Ok(Sqlite { database: open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?, lock: None })
}

fn definitions() -> String {
    let mut all: String = TABLES.iter().map(definition).collect();
    all += "CREATE TABLE import_state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE import_files (file TEXT PRIMARY KEY, bytes INTEGER, crc32 INTEGER, \"rows\" INTEGER,
             pieces INTEGER, committed INTEGER, finished INTEGER) WITHOUT ROWID;
         CREATE TABLE import_rejected (file TEXT, \"row\" INTEGER, line INTEGER, \"column\" TEXT, value TEXT, reason TEXT,
             PRIMARY KEY (file, \"row\")) WITHOUT ROWID;";
    all
}

fn definition(table: &Table) -> String {
    let columns = table
        .columns
        .iter()
        .map(|column| format!("{} {}{}", column.name, sql_type(column.kind, "INTEGER", "REAL"), reference(column)));
    format!("CREATE TABLE {} ({});", table.name, columns.collect::<Vec<_>>().join(", "))
}

fn reference(column: &Column) -> String {
    match column.refers {
        [(table, key)] if is_unique(table, key) => format!(" REFERENCES {table}({key})"),
        // SQL knows no reference to either of two tables, and none to a part of a key.
        _ => String::new(),
    }
}

fn is_unique(table: &str, key: &str) -> bool {
    crate::schema::table(table).is_some_and(|table| matches!(table.key, Key::Columns(columns) if columns == [key]))
}

/// A connection. The lock comes behind it, as it must outlive it.
pub struct Sqlite {
    database: Connection,
    /// None for a process that only reads.
    lock: Option<Lock>,
}

impl Database for Sqlite {
    fn run(&mut self, statements: &str) -> Result<()> {
        Ok(self.database.execute_batch(statements)?)
    }

    fn change(&mut self, statement: &str, values: &[Value<'_>]) -> Result<u64> {
        Ok(self.database.prepare_cached(statement)?.execute(params_from_iter(values))? as u64)
    }

    fn visit(&mut self, query: &str, values: &[Value<'_>], each: &mut Each<'_>) -> Result<()> {
        let mut query = self.database.prepare_cached(query)?;
        let columns = query.column_count();
        let mut rows = query.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let values: Result<Vec<_>> = (0..columns).map(|column| value(row.get_ref(column)?)).collect();
            each(&values?)?;
        }
        Ok(())
    }

    fn make_unique(&mut self, definition: &str) -> Result<bool> {
        match self.database.execute(definition, []) {
            Ok(_) => Ok(true),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn serial_key(&self) -> &'static str {
        "INTEGER PRIMARY KEY"
    }

    fn copy(&mut self, file: &FeedFile, place: usize, rows: &[u8]) -> Result<()> {
        let slot = slot(place);
        // A piece cannot replace one that the open transaction has read, so each has a slot of its own.
        self.database.deserialize_read_exact(slot.as_str(), rows, rows.len(), true)?;
        self.database.execute(&copy_records(file, &slot), [])?;
        let copy_rejected = format!(
            "INSERT INTO main.import_rejected SELECT ?1, \"row\", line, \"column\", value, reason FROM {slot}.rejected"
        );
        self.database.execute(&copy_rejected, [file.table.file])?;
        Ok(())
    }

    fn reject(&mut self, file: &str, rows: &[Rejected<'_>]) -> Result<()> {
        let mut insert = self.database.prepare_cached("INSERT INTO import_rejected VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for Rejected { row, line, column, value, reason } in rows {
            insert.execute(params![file, row, line, column, value, reason])?;
        }
        Ok(())
    }

    fn fill_distances(&mut self) -> Result<()> {
        let mut query = self.database.prepare(&format!(
            "SELECT rowid, shape_id, shape_pt_lat, shape_pt_lon, {DISTANCE} FROM shapes ORDER BY shape_id, shape_pt_sequence"
        ))?;
        let mut update = self.database.prepare(&format!("UPDATE shapes SET {DISTANCE} = ?2 WHERE rowid = ?1"))?;
        let mut write = |row, metres| update.execute(params![row, metres]).map(drop);
        let mut shapes = Shapes::default();
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get_ref(1)?.as_str().map_err(Problem::new)?;
            let point = Point::new(row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?);
            shapes.add(id, point, &mut write)?;
        }
        Ok(shapes.end(&mut write)?)
    }

    fn broken_references(&mut self) -> Result<Vec<(String, String)>> {
        let mut broken = self.database.prepare("SELECT DISTINCT \"table\", parent FROM pragma_foreign_key_check")?;
        let rows = broken.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn end(&mut self) -> Result<()> {
        for place in 0..PIECES_PER_COMMIT {
            self.database.execute("DETACH ?1", [slot(place)])?;
        }
        match &self.lock {
            Some(lock) => become_single_file(&self.database, lock),
            None => Ok(()),
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn value(value: ValueRef<'_>) -> Result<Value<'_>> {
    Ok(match value {
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(_) => Value::Text(value.as_str().map_err(Problem::new)?),
    })
}

/// The name of a piece of the open transaction.
fn slot(place: usize) -> String {
    format!("piece{place}")
}

fn copy_records(file: &FeedFile, slot: &str) -> String {
    let mut names: String = present(file.table, &file.columns).map(|column| format!(", {}", column.name)).collect();
    let mut values = names.clone();
    if file.table.name == SHAPES && !file.layout.header.iter().any(|name| name == DISTANCE) {
        names += &format!(", {DISTANCE}");
        values += &format!(", {UNKNOWN_DISTANCE:e}");
    }
    let table = file.table.name;
    format!("INSERT INTO main.{table} (rowid{names}) SELECT rowid{values} FROM {slot}.records")
}

/// Gives the rows that `fill` adds as a database.
pub fn pack(table: &'static Table, columns: &[Option<usize>], fill: &mut Fill<'_>) -> Result<Vec<u8>> {
    let names: Vec<_> = present(table, columns).map(|column| column.name).collect();
    let places = vec!["?"; names.len() + 1].join(", ");
    let small = Connection::open_in_memory()?;
    small.execute_batch(&format!(
        "PRAGMA journal_mode = OFF; BEGIN; CREATE TABLE records ({});
         CREATE TABLE rejected (\"row\" INTEGER PRIMARY KEY, line, \"column\", value, reason);",
        names.join(", ")
    ))?;
    let row = std::iter::once("rowid").chain(names).collect::<Vec<_>>().join(", ");
    fill(&mut Small {
        keep: small.prepare(&format!("INSERT INTO records ({row}) VALUES ({places})"))?,
        reject: small.prepare("INSERT INTO rejected VALUES (?1, ?2, ?3, ?4, ?5)")?,
    })?;
    small.execute_batch("COMMIT")?;
    Ok(small.serialize(MAIN_DB)?.to_vec())
}

/// The database of a piece.
struct Small<'small> {
    keep: Statement<'small>,
    reject: Statement<'small>,
}

impl Sink for Small<'_> {
    fn keep(&mut self, row: u64, values: &[Value<'_>]) -> Result<()> {
        self.keep.raw_bind_parameter(1, row)?;
        for (parameter, value) in (2..).zip(values) {
            self.keep.raw_bind_parameter(parameter, value)?;
        }
        self.keep.raw_execute()?;
        Ok(())
    }

    fn reject(&mut self, rejected: &Rejected<'_>) -> Result<()> {
        let Rejected { row, line, column, value, reason } = rejected;
        self.reject.execute(params![row, line, column, value, reason])?;
        Ok(())
    }
}

/// Brings the log into the database, and removes it, unless somebody else reads the database: then it is done at the next start.
fn become_single_file(database: &Connection, lock: &Lock) -> Result<()> {
    let mode = database.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0));
    match mode {
        Ok(mode) if mode == "delete" => settle_counters(database, lock),
        Ok(_) => Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Where the file's header has the number of changes to the file, and where it has this number again.
const COUNTER_PLACES: [u64; 2] = [24, 92];
/// What stands there when an import has ended.
const COUNTER: [u8; 4] = 1_u32.to_be_bytes();

/// Gives the file's counter of changes the value that it has after each import. SQLite adds one at each start that goes on after a
/// kill, and so it alone would differ from the file of an import that was never killed.
fn settle_counters(database: &Connection, lock: &Lock) -> Result<()> {
    let is_settled = |place: &u64| {
        let mut counter = [0; 4];
        lock.file.read_exact_at(&mut counter, *place).is_ok() && counter == COUNTER
    };
    if COUNTER_PLACES.iter().all(is_settled) {
        return Ok(());
    }
    // In a transaction that changes nothing, nobody else reads or writes the file.
    match database.execute_batch("BEGIN EXCLUSIVE") {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return Ok(()),
        begun => begun?,
    }
    let written = COUNTER_PLACES.iter().try_for_each(|place| lock.file.write_all_at(&COUNTER, *place));
    let written = written.and_then(|()| lock.file.sync_data());
    database.execute_batch("ROLLBACK")?;
    written.map_err(|error| Problem::with_path("write the database", &lock.path, error))
}
