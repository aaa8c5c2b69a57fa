//! x
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

mod database;
mod feed;
mod finish;
mod import;
mod options;
mod piece;
mod problem;
mod progress;
mod records;
mod report;
mod scan;
mod schema;
mod shapes;
mod unpack;
mod values;
mod writer;

use database::Found;
use feed::Feed;
use options::{HELP, Options};
use problem::{Problem, Result};
use rusqlite::OpenFlags;

/// The exit code of a program that Ctrl-C ended: 128 plus the number of the signal.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    run().unwrap_or_else(|problem| {
        eprintln!("gtfs_import: {problem}");
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
    let found = database::inspect(&options.database, &feed)?;
    for note in &feed.notes {
        eprintln!("gtfs_import: {note}");
    }
    let (database, busy) = if found == Found::Finished {
        let database = database::open(&options.database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        database::become_single_file(&database)?;
        say("the database has this feed already\n")?;
        (database, 0.0)
    } else {
        let mut database = database::open_to_write(&options.database, &feed)?;
        let busy = import::import(&options, &feed, &mut database)?;
        (database, busy)
    };
    let rejected = report::rejected(&database, |row| eprintln!("gtfs_import: {row}"))?;
    let findings = if options.verify { report::verify(&database, &feed)? } else { Vec::new() };
    for finding in &findings {
        eprintln!("gtfs_import: {finding}");
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

/// From now on Ctrl-C, or a request to end, ends the program with exit code 130. It ends it anywhere, as a kill would.
fn end_on_interrupt() -> Result<()> {
    let handler = || {
        eprintln!("gtfs_import: interrupted; the same command goes on from here");
        std::process::exit(INTERRUPTED);
    };
    ctrlc::set_handler(handler).map_err(|error| Problem::new(format_args!("cannot listen for Ctrl-C: {error}")))
}

/// Prints to stdout. If stdout is closed, this is an error and not a panic.
fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Problem::new(format_args!("cannot write to stdout: {error}")))
}
