//! The command line.

use crate::problem::{Problem, Result};
use crate::target::{Target, is_server};
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::PathBuf;

pub const HELP: &str = "\
Imports a whole GTFS feed into a database, of SQLite or PostgreSQL. Worker processes read the feed's files in pieces; this process writes
them, in file order. If it is killed, start it again: it goes on where it stopped, to the identical rows, and to the identical file.

Usage: gtfs_import FEED DB [OPTIONS]

  FEED                a folder, or a .zip
  DB                  the database: a file of SQLite, made if it is not there; or, if this program was built with its feature
                      `postgres`, a database of a PostgreSQL server that is there: postgres://USER@HOST:PORT/DATABASE,
                      postgres://USER@/DATABASE?host=FOLDER for a socket, or host=... dbname=...

  --journal FILE      which pieces are in the database; default: DB with .journal after it; for PostgreSQL, the database's name with
                      .journal after it, in the current folder
  --workers N         worker processes; default: the CPUs that this process may use
  --serial            read the pieces in this process, one after the other: without workers, and without a journal, as the
                      database tells what it has
  --strict            exit with 1 if rows were rejected
  --verify            at the end, count all rows against the feed, and check all references
  --help              print this

Left out, and told: files that this program has no table for, as those of fares in their second version, areas, networks, booking
rules and location groups; optional files without a header. Rejected, and told: rows that name what is not there, so also trips
that name shapes in a feed without shapes.txt. A distance along a shape that the feed has is kept in the feed's unit.

PostgreSQL: the tables are made in the connection's schema, which must be empty at the begin. Another schema than the server's default
is named in the URL: ?options=-csearch_path%3DNAME. Rows are numbered in a column `rowid`. A password belongs in PGPASSWORD: other users
can see a command line. The connection has no TLS. Each worker has a connection, too. Also rejected: texts with a zero byte, and
keys of more than 2600 bytes.

Exit code: 0 if the feed is in the database; 1 on an error, if --verify found something, or for --strict; 130 after
Ctrl-C.
";

/// As many as a pool may have.
const MAX_WORKERS: usize = 4096;

/// The options of a run.
#[derive(Debug, PartialEq)]
pub struct Options {
    pub feed: PathBuf,
    pub database: Target,
    pub journal: PathBuf,
    pub workers: Option<usize>,
    pub serial: bool,
    pub strict: bool,
    pub verify: bool,
}

impl Options {
    /// Parses the arguments after the program's name. `None`: print the help.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>> {
        let mut arguments = arguments.into_iter();
        let (mut journal, mut workers, mut serial, mut strict, mut verify) = (None::<PathBuf>, None, None, None, None);
        let mut paths = Vec::new();
        let mut only_paths_follow = false;
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            if only_paths_follow || !argument.as_encoded_bytes().starts_with(b"-") {
                paths.push(path("a feed and a database", argument)?);
                continue;
            }
            let (name, mut value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (text, None),
            };
            let mut given = || {
                let value = value.take().or_else(|| arguments.next());
                value.ok_or_else(|| Problem::new(format_args!("{name} needs a value after it; see --help")))
            };
            match name {
                "--" => only_paths_follow = true,
                "--journal" => set(&mut journal, name, path(name, given()?)?.into())?,
                "--workers" => set(&mut workers, name, count(name, &given()?, 1..=MAX_WORKERS)?)?,
                "--serial" | "--strict" | "--verify" | "--help" | "-h" if value.is_some() => {
                    return Err(Problem::new(format_args!("{name} takes no value; see --help")));
                }
                "--serial" => set(&mut serial, name, true)?,
                "--strict" => set(&mut strict, name, true)?,
                "--verify" => set(&mut verify, name, true)?,
                "--help" | "-h" => return Ok(None),
                _ => return Err(Problem::new(format_args!("there is no option {argument:?}; see --help"))),
            }
        }
        let [feed, database] = <[OsString; 2]>::try_from(paths).map_err(|paths| match paths.get(2) {
            None if paths.is_empty() => Problem::new("name a feed and a database: gtfs_import FEED DB; see --help"),
            None => Problem::new("name a database after the feed: gtfs_import FEED DB; see --help"),
            // It may have a password.
            Some(url) if is_server(url) => Problem::new("a URL is one too many; name one feed and one database"),
            Some(more) => Problem::new(format_args!("{more:?} is one too many; name one feed and one database")),
        })?;
        let (feed, database) = (PathBuf::from(feed), Target::parse(database)?);
        let journal = journal.unwrap_or_else(|| database.journal());
        if database == Target::File(journal.clone()) {
            return Err(Problem::new("the journal and the database are one file; name another one for --journal"));
        }
        Ok(Some(Options {
            journal,
            feed,
            database,
            workers,
            serial: serial.is_some(),
            strict: strict.is_some(),
            verify: verify.is_some(),
        }))
    }
}

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::new(format_args!("{name} is given twice; give it once"))),
    }
}

fn count(name: &str, value: &OsStr, allowed: RangeInclusive<usize>) -> Result<usize> {
    let count = value.to_str().and_then(|text| text.parse().ok()).filter(|count| allowed.contains(count));
    let (least, most) = allowed.into_inner();
    count.ok_or_else(|| Problem::new(format_args!("{name} takes a whole number from {least} to {most}, not {value:?}")))
}

fn path(name: &str, value: OsString) -> Result<OsString> {
    if value.is_empty() {
        Err(Problem::new(format_args!("an empty text is given as path; name {name}")))
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    fn file(path: &str) -> Target {
        Target::File(path.into())
    }

    #[test]
    fn options_are_read_in_any_order_and_with_or_without_an_equals_sign() {
        let plain = || Options {
            feed: "f.zip".into(),
            database: file("d.db"),
            journal: "d.db.journal".into(),
            workers: None,
            serial: false,
            strict: false,
            verify: false,
        };
        for (line, expected) in [
            ("f.zip d.db", plain()),
            ("f.zip --workers 3 d.db", Options { workers: Some(3), ..plain() }),
            ("--journal=a=b f.zip d.db", Options { journal: "a=b".into(), ..plain() }),
            ("f.zip d.db --serial", Options { serial: true, ..plain() }),
            ("--verify f.zip d.db --strict", Options { strict: true, verify: true, ..plain() }),
            ("--strict -- f.zip d.db", Options { strict: true, ..plain() }),
            (
                "-- --f -d",
                Options { feed: "--f".into(), database: file("-d"), journal: "-d.journal".into(), ..plain() },
            ),
        ] {
            assert_eq!(parse(line).unwrap().unwrap(), expected, "{line}");
        }
        for line in ["--help", "f.zip --help", "-h"] {
            assert_eq!(parse(line).unwrap(), None, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_the_way_to_mend_it() {
        for (line, message) in [
            ("", "name a feed and a database: gtfs_import FEED DB; see --help"),
            ("f.zip", "name a database after the feed: gtfs_import FEED DB; see --help"),
            ("f.zip d.db e.db", "\"e.db\" is one too many; name one feed and one database"),
            ("f.zip d.db --wokers 3", "there is no option \"--wokers\"; see --help"),
            ("f.zip d.db postgres://u:secret@h/d", "a URL is one too many; name one feed and one database"),
            ("f.zip d.db --workers", "--workers needs a value after it; see --help"),
            ("f.zip d.db --workers 0", "--workers takes a whole number from 1 to 4096, not \"0\""),
            ("f.zip d.db --workers=many", "--workers takes a whole number from 1 to 4096, not \"many\""),
            ("f.zip d.db --strict --strict", "--strict is given twice; give it once"),
            ("f.zip d.db --strict=yes", "--strict takes no value; see --help"),
            ("f.zip d.db --journal d.db", "the journal and the database are one file; name another one for --journal"),
            ("f.zip d.db --journal=", "an empty text is given as path; name --journal"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), message, "{line}");
        }
    }
}
