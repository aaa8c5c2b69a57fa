//! The command line.

use crate::problem::{Problem, Result};
use crate::records::{MAX_COUNT, RECORDS_A_PIECE};
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::time::Duration;

pub const HELP: &str = "\
Serves a list of records as JSON, made by worker processes (/records), by rayon (/rayon, and /rayon-collected, which sends nothing
before all is made) or by one thread (/serial), and what the pool of workers does (/stats). `load` measures that.

Usage: axum_server [--port N] [--workers N] [--max-waiting N]
       axum_server load [OPTIONS]

  --port N            listen on this port of 127.0.0.1; 0: on any that is free, which is printed. Default: 3000
  --workers N         worker processes, and threads of rayon; default: the CPUs that this process may use
  --max-waiting N     while more pieces than this wait for a worker, a request for /records is answered with 503; a list has a piece
                      for each 1000 records, and the pieces that wait for a slow client to read count, too. Default: 2000

A list takes ?count=N, by default 50000 and at most 200000; and unreadable=N names a record that cannot be read, to see how an
error ends.
Ctrl-C ends the server in order: answers that are being sent get 5 s.

load starts a server of its own on a free port, and compares each answer byte by byte with the list that one thread makes:

  --route NAME        records, rayon, rayon-collected or serial; default: records
  --compare           all four by turns, in the reverse order in each second round; gives the medians of the rounds
  --connections N     connections that stay open, each with one request at a time; default: 4
  --count N           records in a list; default: 50000, at most 200000
  --seconds N         the length of a round; default: 3
  --rounds N          default: 5 with --compare, else 1
  --workers N         of the server; default: the CPUs that this process may use
  --kill-workers MS   meanwhile, kill a worker at random each MS milliseconds
  --leave             meanwhile, as many clients again each read 64 KiB of an answer and leave; then the pool must come to rest

Exit code: 0 if all answers were right; 1 on an error, or if one was not; 2 if the command line is wrong.
";

/// What the program is to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    Help,
    Serve(ServeOptions),
    Load(LoadOptions),
}

#[derive(Debug, Clone, PartialEq)]
pub struct ServeOptions {
    pub port: u16,
    pub workers: Option<usize>,
    pub max_waiting: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Measured by turns.
    pub routes: Vec<&'static str>,
    pub connections: usize,
    pub count: usize,
    pub round: Duration,
    pub rounds: usize,
    pub workers: Option<usize>,
    pub kill_each: Option<Duration>,
    pub leave: bool,
}

const DEFAULT_MAX_WAITING: usize = 2000;

/// Many lists that nobody reads leave the gate open.
const _: () = assert!(MAX_COUNT.div_ceil(RECORDS_A_PIECE) * 10 <= DEFAULT_MAX_WAITING);

const ROUTES: [&str; 4] = ["records", "rayon", "rayon-collected", "serial"];

impl Command {
    /// Parses the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command> {
        let mut arguments = arguments.into_iter().peekable();
        let is_load = arguments.next_if(|first| first == "load").is_some();
        let mut given = Given::default();
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (text, None),
            };
            if matches!(name, "--help" | "-h") && value.is_none() {
                return Ok(Command::Help);
            }
            let is_known = if is_load { given.take_load(name) } else { given.take_serve(name) };
            let Some(option) = is_known else {
                let of = if is_load { "load has" } else { "there is" };
                return Err(Problem::new(format_args!("{of} no option {argument:?}; see --help")));
            };
            let needs_value = !matches!(option, Taken::Flag(_));
            let value = value.or_else(|| if needs_value { arguments.next() } else { None });
            option.set(name, value)?;
        }
        if given.compare && given.route.is_some() {
            return Err(Problem::new("--compare measures all routes and --route only one; give one of the two"));
        }
        Ok(if is_load { Command::Load(given.load()) } else { Command::Serve(given.serve()) })
    }
}

/// The options as they were given.
#[derive(Default)]
struct Given {
    port: Option<usize>,
    workers: Option<usize>,
    max_waiting: Option<usize>,
    route: Option<usize>,
    compare: bool,
    connections: Option<usize>,
    count: Option<usize>,
    seconds: Option<usize>,
    rounds: Option<usize>,
    kill_ms: Option<usize>,
    leave: bool,
}

/// Where the value of an option goes.
enum Taken<'a> {
    Flag(&'a mut bool),
    Number(&'a mut Option<usize>, RangeInclusive<usize>),
    /// A number of [`ROUTES`].
    Route(&'a mut Option<usize>),
}

impl Given {
    fn take_serve(&mut self, name: &str) -> Option<Taken<'_>> {
        Some(match name {
            "--port" => Taken::Number(&mut self.port, 0..=65535),
            "--workers" => Taken::Number(&mut self.workers, 1..=4096),
            "--max-waiting" => Taken::Number(&mut self.max_waiting, 0..=1_000_000_000),
            _ => return None,
        })
    }

    fn take_load(&mut self, name: &str) -> Option<Taken<'_>> {
        Some(match name {
            "--route" => Taken::Route(&mut self.route),
            "--compare" => Taken::Flag(&mut self.compare),
            "--connections" => Taken::Number(&mut self.connections, 1..=1000),
            "--count" => Taken::Number(&mut self.count, 0..=MAX_COUNT),
            "--seconds" => Taken::Number(&mut self.seconds, 1..=3600),
            "--rounds" => Taken::Number(&mut self.rounds, 1..=1000),
            "--workers" => Taken::Number(&mut self.workers, 1..=4096),
            "--kill-workers" => Taken::Number(&mut self.kill_ms, 1..=60_000),
            "--leave" => Taken::Flag(&mut self.leave),
            _ => return None,
        })
    }

    fn serve(self) -> ServeOptions {
        let port = self.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(3000);
        ServeOptions { port, workers: self.workers, max_waiting: self.max_waiting.unwrap_or(DEFAULT_MAX_WAITING) }
    }

    fn load(self) -> LoadOptions {
        let one = ROUTES[self.route.unwrap_or(0)];
        LoadOptions {
            routes: if self.compare { ROUTES.to_vec() } else { vec![one] },
            connections: self.connections.unwrap_or(4),
            count: self.count.unwrap_or(50_000),
            round: Duration::from_secs(self.seconds.unwrap_or(3) as u64),
            rounds: self.rounds.unwrap_or(if self.compare { 5 } else { 1 }),
            workers: self.workers,
            kill_each: self.kill_ms.map(|ms| Duration::from_millis(ms as u64)),
            leave: self.leave,
        }
    }
}

impl Taken<'_> {
    fn set(self, name: &str, value: Option<OsString>) -> Result<()> {
        let value = match (&self, value) {
            (Taken::Flag(_), Some(_)) => return Err(Problem::new(format_args!("{name} takes no value; see --help"))),
            (Taken::Flag(_), None) => OsString::new(),
            (_, Some(value)) => value,
            (_, None) => return Err(Problem::new(format_args!("{name} needs a value after it; see --help"))),
        };
        let is_first = match self {
            Taken::Flag(flag) => !std::mem::replace(flag, true),
            Taken::Number(place, allowed) => place.replace(number(name, &value, allowed)?).is_none(),
            Taken::Route(place) => place.replace(route(name, &value)?).is_none(),
        };
        if is_first { Ok(()) } else { Err(Problem::new(format_args!("{name} is given twice; give it once"))) }
    }
}

fn number(name: &str, value: &OsStr, allowed: RangeInclusive<usize>) -> Result<usize> {
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| allowed.contains(number));
    let (least, most) = allowed.into_inner();
    number
        .ok_or_else(|| Problem::new(format_args!("{name} takes a whole number from {least} to {most}, not {value:?}")))
}

fn route(name: &str, value: &OsStr) -> Result<usize> {
    let route = ROUTES.iter().position(|&route| value == route);
    route.ok_or_else(|| {
        Problem::new(format_args!("{name} takes records, rayon, rayon-collected or serial, not {value:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command> {
        Command::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_are_read_with_and_without_an_equals_sign() {
        let serve = ServeOptions { port: 3000, workers: None, max_waiting: 2000 };
        let load = LoadOptions {
            routes: vec!["records"],
            connections: 4,
            count: 50_000,
            round: Duration::from_secs(3),
            rounds: 1,
            workers: None,
            kill_each: None,
            leave: false,
        };
        let compare = LoadOptions { routes: ROUTES.to_vec(), rounds: 5, ..load.clone() };
        for (line, expected) in [
            ("", Command::Serve(serve.clone())),
            ("--port=0 --workers 3", Command::Serve(ServeOptions { port: 0, workers: Some(3), ..serve.clone() })),
            ("--max-waiting 0", Command::Serve(ServeOptions { max_waiting: 0, ..serve })),
            ("load", Command::Load(load.clone())),
            ("load --compare", Command::Load(compare)),
            ("load --route rayon", Command::Load(LoadOptions { routes: vec!["rayon"], ..load.clone() })),
            (
                "load --leave --kill-workers=100",
                Command::Load(LoadOptions { leave: true, kill_each: Some(Duration::from_millis(100)), ..load }),
            ),
            ("--help", Command::Help),
            ("load -h", Command::Help),
        ] {
            assert_eq!(parse(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_the_way_to_mend_it() {
        for (line, expected) in [
            ("--prot 1", "there is no option \"--prot\"; see --help"),
            ("--compare", "there is no option \"--compare\"; see --help"),
            ("load --port 1", "load has no option \"--port\"; see --help"),
            ("serve", "there is no option \"serve\"; see --help"),
            ("--port", "--port needs a value after it; see --help"),
            ("--port 65536", "--port takes a whole number from 0 to 65535, not \"65536\""),
            ("--port 1 --port 2", "--port is given twice; give it once"),
            ("load --leave=1", "--leave takes no value; see --help"),
            ("load --route x", "--route takes records, rayon, rayon-collected or serial, not \"x\""),
            ("load --compare --route rayon", "--compare measures all routes and --route only one; give one of the two"),
            ("load --count 200001", "--count takes a whole number from 0 to 200000, not \"200001\""),
        ] {
            assert_eq!(parse(line).unwrap_err(), Problem::new(expected), "{line}");
        }
    }
}
