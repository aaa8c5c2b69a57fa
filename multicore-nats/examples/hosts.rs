//! Work over many hosts, from the command line: what the crate's tests and measurements use.
//!
//! `MULTICORE_HOSTS=127.0.0.1 cargo run --release -p multicore-nats --example hosts -- run --job NAME --work nap:10 --pieces 600`, and beside it the same program
//! with `MULTICORE_AGENT=1` on each host.

use multicore::{Error, Task, remote};
use multicore_nats::{Hosts, HostsBuilder};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: hosts run --job NAME --work WORK --pieces N [--lease S] [--deliveries N] [--timeout S] [--give-up S]
       hosts local --work WORK --pieces N
       hosts functions
       hosts cancel --job NAME
WORK is noop, nap:MS, log:MS, abort:K, panic:K, killhost:K or bytes:N. MULTICORE_HOSTS has the server; with MULTICORE_AGENT=1 this program is an agent.";

/// At most so many failures are shown.
const MOST_SHOWN: usize = 20;

// What pieces do. Each gives its number.

fn noop(piece: u64, _: u64) -> u64 {
    piece
}

fn nap(piece: u64, milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    piece
}

/// Leaves a line in the file `$HOSTS_LOG`, then naps.
fn log(piece: u64, milliseconds: u64) -> Result<u64, String> {
    let path = std::env::var("HOSTS_LOG").map_err(|_| "HOSTS_LOG is not set where the agent runs")?;
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    let mut file = file.map_err(|error| format!("{path}: {error}"))?;
    file.write_all(format!("{piece}\n").as_bytes()).map_err(|error| format!("{path}: {error}"))?;
    Ok(nap(piece, milliseconds))
}

fn abort(piece: u64, which: u64) -> u64 {
    if piece == which {
        std::process::abort();
    }
    piece
}

fn panic(piece: u64, which: u64) -> u64 {
    assert_ne!(piece, which, "piece {which} panics");
    piece
}

/// Kills the process whose number is in the file `$HOSTS_PID_FILE`, its agent.
fn kill_host(piece: u64, which: u64) -> Result<u64, String> {
    if piece == which {
        let path = std::env::var("HOSTS_PID_FILE").map_err(|_| "HOSTS_PID_FILE is not set where the agent runs")?;
        let number = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let killed = std::process::Command::new("kill").args(["-KILL", number.trim()]).status();
        if !killed.map_err(|error| format!("kill: {error}"))?.success() {
            return Err(format!("kill has not ended the process of {path}"));
        }
        // Its own end is on the way.
        std::thread::sleep(Duration::from_secs(3600));
    }
    Ok(piece)
}

/// This number of bytes, of which the first eight are the piece's number.
fn bytes(piece: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![piece as u8; length.max(8) as usize];
    bytes[..8].copy_from_slice(&piece.to_le_bytes());
    bytes
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Noop,
    Nap(u64),
    Log(u64),
    Abort(u64),
    Panic(u64),
    KillHost(u64),
    Bytes(u64),
}

impl Work {
    fn parse(text: &str) -> Result<Work, String> {
        let unknown = || format!("{text:?} is no work; `hosts help` has all");
        if text == "noop" {
            return Ok(Work::Noop);
        }
        let (name, number) = text.split_once(':').ok_or_else(unknown)?;
        let number = number.parse().map_err(|_| unknown())?;
        Ok(match name {
            "nap" => Work::Nap(number),
            "log" => Work::Log(number),
            "abort" => Work::Abort(number),
            "panic" => Work::Panic(number),
            "killhost" => Work::KillHost(number),
            "bytes" => Work::Bytes(number),
            _ => return Err(unknown()),
        })
    }

    fn hand_out(self, task: &Task<u64>, pieces: u64) {
        let pairs = |number: u64| (0..pieces).map(move |piece| (piece, number));
        match self {
            Work::Noop => task.run_all(remote!(noop), pairs(0)),
            Work::Nap(number) => task.run_all(remote!(nap), pairs(number)),
            Work::Log(number) => pairs(number).for_each(|(piece, number)| task.try_run(remote!(log), piece, number)),
            Work::Abort(number) => task.run_all(remote!(abort), pairs(number)),
            Work::Panic(number) => task.run_all(remote!(panic), pairs(number)),
            Work::KillHost(number) => {
                pairs(number).for_each(|(piece, number)| task.try_run(remote!(kill_host), piece, number));
            }
            Work::Bytes(_) => unreachable!("its results are no numbers"),
        }
    }
}

/// How the pieces of a run have ended.
#[derive(Debug, Default)]
struct Ends {
    right: u64,
    failed: u64,
    /// Pieces that gave another value.
    wrong: u64,
    errors: Vec<(usize, Error)>,
}

impl Ends {
    fn note(&mut self, piece: usize, result: Result<bool, Error>) {
        match result {
            Ok(true) => self.right += 1,
            Ok(false) => self.wrong += 1,
            Err(error) => {
                self.failed += 1;
                if self.errors.len() < MOST_SHOWN {
                    self.errors.push((piece, error));
                }
            }
        }
    }
}

/// Runs `work` by tasks that `task` and `bytes_task` make, and waits for it.
fn collect<T, B>(work: Work, pieces: u64, task: T, bytes_task: B) -> Result<Ends, Error>
where
    T: FnOnce() -> Result<Task<u64>, Error>,
    B: FnOnce() -> Result<Task<Vec<u8>>, Error>,
{
    let mut ends = Ends::default();
    if let Work::Bytes(length) = work {
        let task = bytes_task()?;
        task.run_all(remote!(bytes), (0..pieces).map(|piece| (piece, length)));
        for (piece, result) in task.iter().enumerate() {
            ends.note(piece, result.map(|found| found == bytes(piece as u64, length)));
        }
    } else {
        let task = task()?;
        work.hand_out(&task, pieces);
        for (piece, result) in task.get_each().into_iter().enumerate() {
            ends.note(piece, result.map(|found| found == piece as u64));
        }
    }
    Ok(ends)
}

/// The options of the command line.
#[derive(Debug, Default)]
struct Options {
    job: Option<String>,
    work: Option<Work>,
    pieces: Option<u64>,
    lease: Option<Duration>,
    deliveries: Option<u32>,
    timeout: Option<Duration>,
    give_up: Option<Duration>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options::default();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} takes a value; `hosts help` has all"))?;
            let bad = || format!("{value:?} is no value of {name}; `hosts help` has all");
            let seconds = || {
                let seconds: f64 = value.parse().map_err(|_| bad())?;
                Duration::try_from_secs_f64(seconds).map_err(|_| bad())
            };
            match &name[..] {
                "--job" => options.job = Some(value),
                "--work" => options.work = Some(Work::parse(&value)?),
                "--pieces" => options.pieces = Some(value.parse().map_err(|_| bad())?),
                "--lease" => options.lease = Some(seconds()?),
                "--deliveries" => options.deliveries = Some(value.parse().map_err(|_| bad())?),
                "--timeout" => options.timeout = Some(seconds()?),
                "--give-up" => options.give_up = Some(seconds()?),
                _ => return Err(format!("there is no option {name}; `hosts help` has all")),
            }
        }
        Ok(options)
    }

    fn job(&self) -> Result<&str, String> {
        self.job.as_deref().ok_or_else(|| "--job is missing; `hosts help` has all".to_string())
    }

    fn work(&self) -> Result<(Work, u64), String> {
        let missing = |name: &str| format!("{name} is missing; `hosts help` has all");
        Ok((self.work.ok_or_else(|| missing("--work"))?, self.pieces.ok_or_else(|| missing("--pieces"))?))
    }

    fn connect(&self) -> Result<Hosts, String> {
        let builder = Hosts::builder_from_env().map_err(|error| error.to_string())?;
        let builder = self.lease.into_iter().fold(builder, HostsBuilder::lease);
        let builder = self.deliveries.into_iter().fold(builder, HostsBuilder::deliveries);
        let builder = self.give_up.into_iter().fold(builder, HostsBuilder::give_up);
        builder.connect().map_err(|error| error.to_string())
    }
}

/// The last lines, and the exit code.
fn report(
    ends: &Ends,
    pieces: u64,
    seconds: f64,
    (hosts, redelivered, duplicates, found): (usize, u64, u64, u64),
) -> ExitCode {
    for (piece, error) in &ends.errors {
        println!("piece {piece}: {error}");
    }
    let rate = pieces as f64 / seconds.max(f64::EPSILON);
    println!(
        "right={} failed={} pieces={pieces} seconds={seconds:.3} rate={rate:.0} hosts={hosts} redelivered={redelivered} duplicates={duplicates} found={found}",
        ends.right, ends.failed
    );
    match ends {
        Ends { wrong: 1.., .. } => {
            eprintln!("hosts: {} pieces gave another value than their own", ends.wrong);
            ExitCode::from(1)
        }
        Ends { failed: 1.., .. } => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let (name, (work, pieces)) = (options.job()?, options.work()?);
    let hosts = options.connect()?;
    let job = hosts.job(name);
    let limited = |timeout: Option<Duration>| timeout.unwrap_or(Duration::MAX);
    let (start, counts) = (Instant::now(), std::cell::RefCell::new(None));
    let ends = collect(
        work,
        pieces,
        || {
            let (task, known) = job.try_task_with_counts()?;
            counts.replace(Some(known));
            Ok(task.timeout(limited(options.timeout)))
        },
        || {
            let (task, known) = job.try_task_with_counts()?;
            counts.replace(Some(known));
            Ok(task.timeout(limited(options.timeout)))
        },
    );
    let ends = ends.map_err(|error| error.to_string())?;
    let seconds = start.elapsed().as_secs_f64();
    let (counted, served) = counts.take().map(|counts| counts.get()).unwrap_or_default();
    Ok(report(&ends, pieces, seconds, (served, counted.redelivered, counted.duplicates, counted.found)))
}

fn local(options: &Options) -> Result<ExitCode, String> {
    let (work, pieces) = options.work()?;
    // The pool starts before the clock does, as agents have theirs.
    Task::<u64>::try_new()
        .and_then(|task| {
            task.run(noop, 0, 0);
            task.wait()
        })
        .map_err(|error| error.to_string())?;
    let start = Instant::now();
    let ends = collect(work, pieces, Task::try_new, Task::try_new).map_err(|error| error.to_string())?;
    Ok(report(&ends, pieces, start.elapsed().as_secs_f64(), (0, 0, 0, 0)))
}

fn functions() -> Result<ExitCode, String> {
    for function in multicore::remote::functions().map_err(|error| error.to_string())? {
        println!("{:016x} {function}", function.id());
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let done = Options::parse(arguments).and_then(|options| match &command[..] {
        "run" => run(&options),
        "local" => local(&options),
        "functions" => functions(),
        "cancel" => {
            options.connect()?.job(options.job()?).cancel().map_err(|error| error.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        "help" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(format!("{command:?} is no command; `hosts help` has all")),
    });
    done.unwrap_or_else(|why| {
        eprintln!("hosts: {why}");
        ExitCode::from(1)
    })
}
