//! A job that survives: a whole GTFS feed into a database, in parallel, and after any kill to the identical rows.
//!
//! This process cuts the files of the feed into pieces of whole records. Workers read the pieces: they convert the values, reject
//! what is wrong, and look up in the database, which each has opened once, whether the rows that a row names are there. This process
//! alone writes: some pieces in a transaction, in file order, each row under the number of its record. After each commit
//! it confirms the pieces to the journal, so a later run reads them no more; a piece that was committed and not yet confirmed is confirmed
//! then, because the database counts its pieces in the same transactions.
//!
//! ```text
//! cargo run --release -p gtfs_import -- feed.zip feed.db
//! cargo run --release -p gtfs_import --features postgres -- feed.zip postgres://user@host/database
//! ```
//!
//! The database is a file of SQLite, which is the same one after each import of a feed, byte for byte. With the feature `postgres`, which
//! adds 43 crates, it may be PostgreSQL's: there the tables have the same rows. The connection has no TLS.
//!
//! - Tables and columns are those of GTFS. `rowid` is the record's number in its file, in PostgreSQL as a column. Times are seconds since the start of the service
//!   day, empty values are NULL, and `shape_dist_traveled` of shapes is in metres along the shape, filled in where the feed has none.
//!   Distances that the feed has stay in the feed's own unit, and those of the points behind them go on from there in metres.
//! - A row is rejected, told and counted if a number, time or date is none, if it is no UTF-8, if its key was there before, or
//!   if it names a row that is not there; a row that names a rejected one is rejected, too. A feed that names shapes and has no
//!   `shapes.txt` so loses these trips. Of two rows with one key, the first that is not rejected for another reason stays.
//! - An optional file without a header, and `translations.txt` in its older format, is told and left out. So are all files that
//!   are no table here: those of fares in their second version, areas, networks, booking rules and location groups.
//! - A feed to measure with is made by `cargo run --release --example gtfs_json -- --make-rows 3000000`, in `target/gtfs-3000000`.
//!
//! How the feed gets to the workers: its files are opened, and those of a zip unpacked to files without a name, before the pool
//! starts, and the workers get the descriptors (`PoolBuilder::pass_descriptors`). They open them anew by `/proc/self/fd`, because a
//! descriptor that is passed has one position for all, and this needs none of the names that somebody could change meanwhile.
//!
//! A module uses only those that stand before it here: `problem`; `schema`, `values`, `records`, `scan`; `unpack`, `feed`;
//! `shapes`, `target`; `database`, `keys`; `piece`, which does the workers' part; `writer`, `finish`; and around it `options`, `progress`,
//! `journal`, `import` and `report`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

mod database;
mod feed;
mod finish;
mod import;
mod journal;
mod keys;
mod options;
mod piece;
mod problem;
mod progress;
mod records;
mod report;
mod scan;
mod schema;
mod shapes;
mod target;
mod unpack;
mod values;
mod writer;

use database::{Database, Found};
use feed::Feed;
use import::Readers;
use options::{HELP, Options};
use problem::{Problem, Result};

/// The exit code of a program that Ctrl-C ended: 128 plus the number of the signal.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    run().unwrap_or_else(|problem| {
        tell(&format!("gtfs_import: {problem}"));
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let Some(options) = Options::parse(std::env::args_os().skip(1))? else {
        say(HELP)?;
        return Ok(ExitCode::SUCCESS);
    };
    let begin = Instant::now();
    end_on_interrupt()?;
    let feed = Feed::open(&options.feed)?;
    let (mut database, busy) = import(&options, &feed)?;
    let rejected = report::rejected(&mut *database, tell)?;
    let findings = if options.verify { report::verify(&mut *database, &feed)? } else { Vec::new() };
    for finding in &findings {
        tell(&format!("gtfs_import: {finding}"));
    }
    if options.verify && findings.is_empty() {
        say("verified: all rows are there, and all that they refer to\n")?;
    }
    let imported = feed.rows() - rejected;
    let (seconds, percent) = (begin.elapsed().as_secs_f64(), 100.0 * busy);
    say(&format!("{rejected} rejected\n{imported} rows in {seconds:.1} s, writer busy {percent:.0} %\n"))?;
    let is_well = findings.is_empty() && !(options.strict && rejected > 0);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Imports the feed, or what is left of that. Gives the database, and the share of the time in which the writer was busy.
///
/// All that can be refused is looked at before the first change to the database.
fn import(options: &Options, feed: &Feed) -> Result<(Box<dyn Database>, f64)> {
    let mut locked = database::lock(&options.database)?;
    let found = locked.inspect(feed)?;
    journal::check(options, feed, &found)?;
    if found == Found::Finished {
        let database = locked.open_finished()?;
        say("the database has this feed already\n")?;
        return Ok((database, 0.0));
    }
    for note in &feed.notes {
        tell(&format!("gtfs_import: {note}"));
    }
    let readers = Readers::start(options, feed)?;
    let mut database = locked.open(feed)?;
    let busy = import::import(options, feed, readers, &mut *database)?;
    Ok((database, busy))
}

/// From now on Ctrl-C, or a request to end, ends the program with exit code 130. It ends it anywhere, as a kill would.
fn end_on_interrupt() -> Result<()> {
    let handler = || {
        tell("gtfs_import: interrupted; the same command goes on from here");
        std::process::exit(INTERRUPTED);
    };
    ctrlc::set_handler(handler).map_err(|error| Problem::new(format_args!("cannot listen for Ctrl-C: {error}")))
}

/// Prints a line to stderr. If stderr is closed, nobody is there to be told, and the import goes on.
fn tell(line: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints to stdout. If stdout is closed, this is an error and not a panic.
fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Problem::new(format_args!("cannot write to stdout: {error}")))
}
