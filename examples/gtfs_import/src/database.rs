//! The database: its tables, what it tells of its import, and how it is opened.
//!
//! | table             | what                                                                                       |
//! |-------------------|--------------------------------------------------------------------------------------------|
//! | those of GTFS     | the rows, numbered by `rowid` as the records of their file                                  |
//! | `import_state`    | the program, the version of its tables, and whether the import is finished                 |
//! | `import_files`    | the files of the feed, by which it is recognised, and how many of their pieces are there   |
//! | `import_rejected` | each row that was rejected, and why                                                        |
//!
//! Invariant: a piece's rows, its rejected rows and its place in `import_files` are committed together, pieces in file order.

use crate::feed::{Feed, FeedFile};
use crate::problem::{Problem, Result};
use crate::schema::{Column, Key, Kind, TABLES, Table};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PROGRAM: &str = "gtfs_import";
/// Changes with the tables, and with where files are cut.
pub const VERSION: i64 = 2;

/// What lies at the path of the database.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// An import of this feed that was begun.
    Begun,
    Finished,
}

/// Looks at the database without a change to it. What is not of an import of this feed is refused.
pub fn inspect(path: &Path, feed: &Feed) -> Result<Found> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(Problem::with_path("read the database", path, error)),
        Ok(kind) if !kind.is_file() => return Err(Problem::with_path("read the database", path, "it is no file")),
        Ok(_) => {}
    }
    match look(path, feed, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        // It was killed while its journal mode was changed. Only one who may write can undo that, as everyone does who opens it.
        Err(Look::Failed(error)) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {
            look(path, feed, OpenFlags::SQLITE_OPEN_READ_WRITE)
        }
        looked => looked,
    }
    .map_err(|problem| match problem {
        Look::Refused(problem) => problem,
        Look::Failed(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            refused(path, "it is no SQLite database")
        }
        Look::Failed(error) => Problem::with_path("read the database", path, error),
    })
}

/// Why a look gave nothing.
enum Look {
    Refused(Problem),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Look {
    fn from(error: rusqlite::Error) -> Look {
        Look::Failed(error)
    }
}

fn look(path: &Path, feed: &Feed, access: OpenFlags) -> std::result::Result<Found, Look> {
    let database = open(path, access).map_err(Look::Refused)?;
    let refused = |why: &dyn std::fmt::Display| Err(Look::Refused(refused(path, why)));
    let count = |condition: &str| {
        let query = format!("SELECT count(*) FROM sqlite_master {condition}");
        database.query_row(&query, [], |row| row.get::<_, i64>(0))
    };
    if count("")? == 0 {
        return Ok(Found::Nothing);
    }
    if count("WHERE name IN ('import_state', 'import_files')")? != 2 {
        return refused(&"it was not made by this program");
    }
    if state(&database, "program")?.as_deref() != Some(PROGRAM)
        || state(&database, "version")? != Some(VERSION.to_string())
    {
        return refused(&"it was made by another version of this program");
    }
    if let Some(file) = other_file(&database, feed)? {
        return refused(&format_args!("it has another feed than {:?}: {file} differs", feed.path));
    }
    Ok(if state(&database, "finished")?.is_some() { Found::Finished } else { Found::Begun })
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Problem {
    Problem::new(format_args!("{path:?} is not the database of this import: {why}; name another one"))
}

fn state(database: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    database.query_row("SELECT value FROM import_state WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// The name of a file that is another one than at the import's begin.
fn other_file(database: &Connection, feed: &Feed) -> rusqlite::Result<Option<&'static str>> {
    let mut query = database.prepare("SELECT bytes, crc32 FROM import_files WHERE file = ?1")?;
    for table in &TABLES {
        let known: Option<(u64, u32)> =
            query.query_row([table.file], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let now = feed.files.iter().find(|file| file.table.name == table.name);
        if known != now.map(|file| (file.layout.bytes, file.layout.crc32)) {
            return Ok(Some(table.file));
        }
    }
    Ok(None)
}

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
    let failed = |error: io::Error| Problem::with_path("open the database", path, error);
    let deadline = Instant::now() + PATIENCE;
    loop {
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
                return Ok(Lock { file, path: path.to_owned(), is_new });
            }
            Ok(()) | Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(()) | Err(Errno::WOULDBLOCK) => {
                let why = "another import writes it at the moment; wait for its end";
                return Err(Problem::with_path("import into", path, why));
            }
            Err(error) => return Err(Problem::with_path("lock the database", path, error)),
        }
    }
}

impl Lock {
    /// Removes the file if this made it and nothing was written to it.
    pub fn undo(self) {
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

/// Opens a database. It stays in use by one thread.
pub fn open(path: &Path, access: OpenFlags) -> Result<Connection> {
    // This SQLite takes a path that begins with `file:` for a URI, and an absolute one begins with `/`.
    let absolute = std::path::absolute(path).map_err(|error| Problem::with_path("open the database", path, error))?;
    let database = Connection::open_with_flags(absolute, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| Problem::with_path("open the database", path, error))?;
    database.busy_timeout(Duration::from_secs(10))?;
    Ok(database)
}

/// Opens the database for the only process that writes it, and makes its tables if they are not there.
pub fn open_to_write(path: &Path, feed: &Feed) -> Result<Connection> {
    let mut database = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // Pages of 16 KiB: a commit writes fewer of them. In a log, workers read while this process writes; it is copied into the
    // database about each 16 MiB. FULL: a commit is on the disk before its pieces are confirmed; with NORMAL, a power cut could
    // take the last ones. References are checked by the workers. The cache, of 16 MiB, also bounds the memory of a sort.
    database.execute_batch(
        "PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 1024; PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF; PRAGMA cache_size = -16384;",
    )?;
    let transaction = database.transaction()?;
    if transaction.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))? == 0 {
        make_tables(&transaction, feed)?;
    }
    transaction.commit()?;
    Ok(database)
}

fn make_tables(database: &Connection, feed: &Feed) -> rusqlite::Result<()> {
    for table in &TABLES {
        database.execute_batch(&definition(table))?;
    }
    database.execute_batch(
        "CREATE TABLE import_state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE import_files (file TEXT PRIMARY KEY, bytes INTEGER, crc32 INTEGER, \"rows\" INTEGER,
             pieces INTEGER, committed INTEGER, finished INTEGER) WITHOUT ROWID;
         CREATE TABLE import_rejected (file TEXT, \"row\" INTEGER, line INTEGER, \"column\" TEXT, value TEXT, reason TEXT,
             PRIMARY KEY (file, \"row\")) WITHOUT ROWID;",
    )?;
    let mut state = database.prepare("INSERT INTO import_state VALUES (?1, ?2)")?;
    state.execute(params!["program", PROGRAM])?;
    state.execute(params!["version", VERSION.to_string()])?;
    let mut files = database.prepare("INSERT INTO import_files VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)")?;
    for FeedFile { table, layout, .. } in &feed.files {
        files.execute(params![table.file, layout.bytes, layout.crc32, layout.rows, layout.spans.len()])?;
    }
    Ok(())
}

fn definition(table: &Table) -> String {
    let columns =
        table.columns.iter().map(|column| format!("{} {}{}", column.name, sql_type(column), reference(column)));
    format!("CREATE TABLE {} ({})", table.name, columns.collect::<Vec<_>>().join(", "))
}

fn sql_type(column: &Column) -> &'static str {
    match column.kind {
        Kind::Text | Kind::Date => "TEXT",
        Kind::Integer | Kind::Time => "INTEGER",
        Kind::Real => "REAL",
    }
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

/// How many of a file's pieces are in the database, and whether its table is finished.
pub fn progress(database: &Connection, file: &FeedFile) -> Result<(usize, bool)> {
    let query = "SELECT committed, finished FROM import_files WHERE file = ?1";
    Ok(database.query_row(query, [file.table.file], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// Marks the import as finished. Then the database becomes a single file.
pub fn finish(database: &Connection, lock: &Lock) -> Result<()> {
    database.execute("INSERT OR REPLACE INTO import_state VALUES ('finished', '1')", [])?;
    become_single_file(database, lock)
}

/// Brings the log into the database, and removes it, unless somebody else reads the database: then it is done at the next start.
pub fn become_single_file(database: &Connection, lock: &Lock) -> Result<()> {
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
