//! The command line.

use crate::problem::{Problem, Result};
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

pub const HELP: &str = "\
Joins each row of a GTFS feed's stop_times.txt with its trip, route and stop, and writes it as one JSON object a
line: in a pool of worker processes, then serially, several times in turns. Prints the median time of each and
whether all outputs are the same.

Usage: gtfs_json [FEED] [OPTIONS]

  FEED                a folder or a .zip; default: a feed that is made and kept in the target folder

  --workers N         worker processes; default: the CPUs that this process may use
  --pieces N          ranges into which the file is cut; default: 4 for each worker, and more if a range would
                      be longer than 256 KiB
  --output FILE       write the lines to FILE, which appears at the end; default: keep only their length and hash
  --max-load PERCENT  run inline if the machine's load is above this percentage of its cores, such as 85.5;
                      default: no limit
  --rounds N          timed rounds after the first, which is not timed; default: 3
  --make-rows N       without FEED: make a feed of N stop times; default: 3000000
  --help              print this

Exit code: 0 if both outputs are the same; 1 if not, or on any error; 130 after Ctrl-C.
";

const DEFAULT_MADE_ROWS: u64 = 3_000_000;
/// Enough for a median, and the whole run still takes some seconds.
const DEFAULT_ROUNDS: usize = 3;

/// The options of a run.
#[derive(Debug, PartialEq)]
pub struct Options {
    pub feed: FeedChoice,
    pub workers: Option<usize>,
    pub pieces: Option<usize>,
    pub output: Option<PathBuf>,
    pub max_load_percent: Option<f64>,
    pub rounds: usize,
}

#[derive(Debug, PartialEq)]
pub enum FeedChoice {
    Given(PathBuf),
    Made { rows: u64 },
}

impl Options {
    /// Parses the arguments after the program's name. `None`: print the help.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>> {
        let mut arguments = arguments.into_iter();
        let mut feed = None;
        let mut made_rows = None;
        let mut rounds = None;
        let mut options = Options {
            feed: FeedChoice::Made { rows: DEFAULT_MADE_ROWS },
            workers: None,
            pieces: None,
            output: None,
            max_load_percent: None,
            rounds: DEFAULT_ROUNDS,
        };
        let mut only_feed_follows = false;
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            if only_feed_follows || text == "-" || !argument.as_encoded_bytes().starts_with(b"-") {
                if let Some(first) = feed.replace(PathBuf::from(&argument)) {
                    return Err(wrong(format_args!("two feeds are named, {first:?} and {argument:?}; name one")));
                }
                continue;
            }
            if text == "--" {
                only_feed_follows = true;
                continue;
            }
            let (name, mut value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (text, None),
            };
            let mut value = || {
                let value = value.take().or_else(|| arguments.next());
                value.ok_or_else(|| wrong(format_args!("{name} needs a value after it; see --help")))
            };
            match name {
                "--help" | "-h" => return Ok(None),
                "--workers" => set(&mut options.workers, name, count(name, &value()?)?)?,
                "--pieces" => set(&mut options.pieces, name, count(name, &value()?)?)?,
                "--output" => set(&mut options.output, name, path(name, value()?)?)?,
                "--max-load" => set(&mut options.max_load_percent, name, percent(name, &value()?)?)?,
                "--rounds" => set(&mut rounds, name, count(name, &value()?)?)?,
                "--make-rows" => set(&mut made_rows, name, count(name, &value()?)? as u64)?,
                _ => {
                    return Err(wrong(format_args!("there is no option {argument:?}; see --help")));
                }
            }
        }
        options.rounds = rounds.unwrap_or(DEFAULT_ROUNDS);
        options.feed = match (feed, made_rows) {
            (Some(_), Some(_)) => {
                return Err(wrong("--make-rows is for a run without FEED; leave one of them out"));
            }
            (Some(feed), None) => FeedChoice::Given(feed),
            (None, rows) => FeedChoice::Made { rows: rows.unwrap_or(DEFAULT_MADE_ROWS) },
        };
        Ok(Some(options))
    }
}

fn wrong(what: impl std::fmt::Display) -> Problem {
    Problem::new(what)
}

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(wrong(format_args!("{name} is given twice; give it once"))),
    }
}

fn number<N: FromStr>(value: &OsString) -> Option<N> {
    value.to_str()?.parse().ok()
}

fn count(name: &str, value: &OsString) -> Result<usize> {
    number(value)
        .filter(|count| *count > 0)
        .ok_or_else(|| wrong(format_args!("{name} takes a whole number from 1 up, not {value:?}")))
}

fn percent(name: &str, value: &OsString) -> Result<f64> {
    let percent = number(value).filter(|percent: &f64| percent.is_finite() && *percent >= 0.0);
    percent.ok_or_else(|| {
        wrong(format_args!("{name} takes percent as a number from 0 up, such as 85 or 85.5, not {value:?}"))
    })
}

fn path(name: &str, value: OsString) -> Result<PathBuf> {
    if value.is_empty() {
        Err(wrong(format_args!("{name} takes the path of a file, not an empty text")))
    } else {
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_are_read_in_any_order_and_with_or_without_an_equals_sign() {
        let plain = || parse("").unwrap().unwrap();
        let given = |feed: &str| FeedChoice::Given(feed.into());
        let rows = [
            ("", plain()),
            ("feed.zip", Options { feed: given("feed.zip"), ..plain() }),
            ("--workers 3 feed", Options { feed: given("feed"), workers: Some(3), ..plain() }),
            ("feed --workers=3", Options { feed: given("feed"), workers: Some(3), ..plain() }),
            (
                "--pieces 9 --output a=b --max-load 85.5",
                Options { pieces: Some(9), output: Some("a=b".into()), max_load_percent: Some(85.5), ..plain() },
            ),
            (
                "--output=a=b --max-load=0",
                Options { output: Some("a=b".into()), max_load_percent: Some(0.0), ..plain() },
            ),
            ("--make-rows 5000000", Options { feed: FeedChoice::Made { rows: 5_000_000 }, ..plain() }),
            ("--rounds 1", Options { rounds: 1, ..plain() }),
            ("-- --feed", Options { feed: given("--feed"), ..plain() }),
        ];
        for (line, expected) in rows {
            assert_eq!(parse(line).unwrap().unwrap(), expected, "{line}");
        }
        for line in ["--help", "feed --workers 2 --help", "-h"] {
            assert_eq!(parse(line).unwrap(), None, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_the_way_to_mend_it() {
        let rows = [
            ("--wokers 3", "there is no option \"--wokers\"; see --help"),
            ("-w", "there is no option \"-w\"; see --help"),
            ("--workers", "--workers needs a value after it; see --help"),
            ("--workers 0", "--workers takes a whole number from 1 up, not \"0\""),
            ("--workers=two", "--workers takes a whole number from 1 up, not \"two\""),
            ("--pieces -1", "--pieces takes a whole number from 1 up, not \"-1\""),
            ("--pieces 99999999999999999999", "--pieces takes a whole number from 1 up, not \"99999999999999999999\""),
            ("--rounds 0", "--rounds takes a whole number from 1 up, not \"0\""),
            ("--pieces 1 --pieces 2", "--pieces is given twice; give it once"),
            ("--max-load x", "--max-load takes percent as a number from 0 up, such as 85 or 85.5, not \"x\""),
            ("--max-load NaN", "--max-load takes percent as a number from 0 up, such as 85 or 85.5, not \"NaN\""),
            ("--max-load -1", "--max-load takes percent as a number from 0 up, such as 85 or 85.5, not \"-1\""),
            ("--output=", "--output takes the path of a file, not an empty text"),
            ("a b", "two feeds are named, \"a\" and \"b\"; name one"),
            ("a --make-rows 5", "--make-rows is for a run without FEED; leave one of them out"),
        ];
        for (line, message) in rows {
            assert_eq!(parse(line).unwrap_err().to_string(), message, "{line}");
        }
    }
}
