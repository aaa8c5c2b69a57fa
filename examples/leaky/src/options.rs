//! The command line.

use crate::problem::{Problem, Result};
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::PathBuf;

pub const HELP: &str = "\
Runs pieces that leak, allocate and compute in worker processes: without limits of memory, with workers that are
replaced after some pieces, and with limits for the memory of each worker. Prints the pool's statistics after each
run, draws the memory of every worker over time, and tells which functions leak.

Usage: leaky [OPTIONS]

  --pieces N          pieces in each run, of which a fifth leaks; default: 100000
  --workers N         worker processes; default: 2, so that each leaks enough to be seen
  --output FILE       where the chart goes, as SVG; default: leaky.svg in the current folder
  --hog               in the run with limits, one more piece takes 1 GiB and is killed
  --help              print this

Exit code: 0 if all results were right; 1 if not, or on any other error; 2 for a wrong option.
";

const DEFAULT_PIECES: usize = 100_000;
/// Above this their list alone takes hundreds of megabytes.
const MAX_PIECES: usize = 10_000_000;
const DEFAULT_WORKERS: usize = 2;
/// As many as a pool may have.
const MAX_WORKERS: usize = 4096;
const DEFAULT_OUTPUT: &str = "leaky.svg";

/// The options of this program.
#[derive(Debug, PartialEq)]
pub struct Options {
    pub pieces: usize,
    pub workers: usize,
    pub output: PathBuf,
    pub hog: bool,
}

impl Options {
    /// Parses the arguments after the program's name. `None`: print the help.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>> {
        let mut arguments = arguments.into_iter();
        let (mut pieces, mut workers, mut output, mut hog) = (None, None, None, None);
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            let (name, mut value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (text, None),
            };
            let mut given = || {
                let value = value.take().or_else(|| arguments.next());
                value.ok_or_else(|| Problem::new(format_args!("{name} needs a value after it; see --help")))
            };
            match name {
                "--pieces" => set(&mut pieces, name, count(name, &given()?, 1..=MAX_PIECES)?)?,
                "--workers" => set(&mut workers, name, count(name, &given()?, 1..=MAX_WORKERS)?)?,
                "--output" => set(&mut output, name, path(name, given()?)?)?,
                "--hog" | "--help" | "-h" if value.is_some() => {
                    return Err(Problem::new(format_args!("{name} takes no value; see --help")));
                }
                "--hog" => set(&mut hog, name, true)?,
                "--help" | "-h" => return Ok(None),
                _ => return Err(Problem::new(format_args!("there is no option {argument:?}; see --help"))),
            }
        }
        Ok(Some(Options {
            pieces: pieces.unwrap_or(DEFAULT_PIECES),
            workers: workers.unwrap_or(DEFAULT_WORKERS),
            output: output.unwrap_or_else(|| PathBuf::from(DEFAULT_OUTPUT)),
            hog: hog.unwrap_or(false),
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

fn path(name: &str, value: OsString) -> Result<PathBuf> {
    if value.is_empty() {
        Err(Problem::new(format_args!("{name} takes the path of a file, not an empty text")))
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
        let plain = || Options { pieces: 100_000, workers: 2, output: "leaky.svg".into(), hog: false };
        for (line, expected) in [
            ("", plain()),
            ("--pieces 20000", Options { pieces: 20_000, ..plain() }),
            ("--workers=3 --hog", Options { workers: 3, hog: true, ..plain() }),
            ("--hog --output a=b --pieces=1", Options { pieces: 1, output: "a=b".into(), hog: true, ..plain() }),
            ("--output=a=b", Options { output: "a=b".into(), ..plain() }),
        ] {
            assert_eq!(parse(line).unwrap().unwrap(), expected, "{line}");
        }
        for line in ["--help", "--workers 2 --help", "-h"] {
            assert_eq!(parse(line).unwrap(), None, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_the_way_to_mend_it() {
        for (line, message) in [
            ("--peaces 3", "there is no option \"--peaces\"; see --help"),
            ("leaky.svg", "there is no option \"leaky.svg\"; see --help"),
            ("--pieces", "--pieces needs a value after it; see --help"),
            ("--pieces 0", "--pieces takes a whole number from 1 to 10000000, not \"0\""),
            ("--pieces=many", "--pieces takes a whole number from 1 to 10000000, not \"many\""),
            ("--pieces 10000001", "--pieces takes a whole number from 1 to 10000000, not \"10000001\""),
            ("--workers -1", "--workers takes a whole number from 1 to 4096, not \"-1\""),
            ("--workers 4097", "--workers takes a whole number from 1 to 4096, not \"4097\""),
            ("--pieces 1 --pieces 2", "--pieces is given twice; give it once"),
            ("--hog --hog", "--hog is given twice; give it once"),
            ("--hog=yes", "--hog takes no value; see --help"),
            ("--output=", "--output takes the path of a file, not an empty text"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), message, "{line}");
        }
    }
}
