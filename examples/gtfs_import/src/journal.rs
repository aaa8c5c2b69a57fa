//! The journal: which pieces are in the database, so that a later run does not read them again.
//!
//! It never tells more than the database has, because a piece is confirmed after its commit. The database counts its pieces too, which
//! shows a journal that belongs to another database.

use crate::database::{Found, VERSION, is_same};
use crate::feed::Feed;
use crate::options::Options;
use crate::problem::{Problem, Result};
use crate::target::Target;
use multicore::journal::{Journal, read};
use multicore::{Pool, Task};
use std::fmt::Write;
use std::io::ErrorKind::NotFound;
use std::path::Path;

const NAME: &str = "gtfs_import";

/// Looks at the journal before anything is changed. One of another import is refused.
pub fn check(options: &Options, feed: &Feed, found: &Found) -> Result<()> {
    let path = options.journal.as_path();
    if let Target::File(database) = &options.database
        && is_same(path.metadata(), database.metadata())
    {
        return Err(Problem::new("the journal and the database are one file; name another one for --journal"));
    }
    match path.symlink_metadata() {
        Err(error) if error.kind() == NotFound => return Ok(()),
        _ => {}
    }
    let version = version(feed);
    for record in read(path).map_err(Problem::new)? {
        let record = record.map_err(Problem::new)?;
        if record.name() != NAME || record.version() != version {
            return Err(refused(path, format_args!("it has other pieces than those of {:?}", feed.path)));
        }
        if *found == Found::Nothing {
            return Err(refused(path, "it has pieces, and the database is not there"));
        }
    }
    Ok(())
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Problem {
    Problem::new(format_args!("{path:?} is not the journal of this import: {why}; remove it, or name another one"))
}

/// Opens the journal as the import will, so that a journal that cannot be used is refused before the database has tables.
pub fn probe(pool: &Pool, options: &Options, feed: &Feed) -> Result<()> {
    // The drop unlocks it.
    task(pool, options, feed).map(drop)
}

/// A task whose pieces go on from the journal.
pub fn task(pool: &Pool, options: &Options, feed: &Feed) -> Result<Task<Vec<u8>>> {
    let task = pool.try_task().map_err(Problem::new)?.name(NAME).version(version(feed));
    task.journal(Journal::at(&options.journal).confirmed(true)).map_err(Problem::new)
}

/// An error if the journal has more pieces than the database.
pub fn check_resumed(options: &Options, resumed: usize, committed: usize) -> Result<()> {
    if resumed <= committed {
        return Ok(());
    }
    let why = format!("it has {resumed} pieces of a file of which {committed} are in {:?}", options.database);
    Err(refused(&options.journal, why))
}

/// What the pieces of a feed depend on besides their place in it.
fn version(feed: &Feed) -> String {
    let mut files = String::new();
    for file in &feed.files {
        // Writing to a `String` cannot fail.
        let _ = writeln!(files, "{} {} {}", file.table.file, file.layout.bytes, file.layout.crc32);
    }
    format!("{VERSION}, feed {:08x}", crc32fast::hash(files.as_bytes()))
}
