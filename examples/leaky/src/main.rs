//! A leak in C code, in a pool of worker processes: without limits of memory, with workers that are replaced, and with both
//! tiers of limits.
//!
//! Three functions run in 100,000 pieces, mixed at random. One calls a C function that leaks 1,000 bytes, one allocates and
//! frees, and one computes. After each run the results are checked, and the pool's statistics are printed. The chart shows
//! the memory of each worker process over time. At the end the pool tells which function leaks.
//!
//! ```text
//! cargo run --release -p leaky
//! ```
//!
//! A module uses only those that stand before it here: `problem`, `random`, `text`, `native`; `pieces`, which run in the
//! workers; `mix`, `options`, `output`, `samples`; `run`; and `chart`.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod chart;
mod mix;
mod native;
mod options;
mod output;
mod pieces;
mod problem;
mod random;
mod run;
mod samples;
mod text;

use mix::{Function, Piece};
use options::{HELP, Options};
use problem::{Problem, Result};
use run::{Outcome, Plan};
use text::{grouped, sentence};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("leaky: {problem}");
            return ExitCode::from(2);
        }
    };
    let ended = match options {
        Some(options) => run_all(&options),
        None => say(HELP).map(|()| ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|problem| {
        eprintln!("leaky: {problem}");
        ExitCode::FAILURE
    })
}

fn run_all(options: &Options) -> Result<ExitCode> {
    output::check(&options.output)?;
    let pieces = mix::mix(options.pieces);
    let (expected, serial_time) = serially(&pieces);
    say(&format!(
        "{} pieces: {} leak 1,000 bytes each, {} allocate and free, {} compute\n\
         one after the other in this process, without the leak: {:.2} s\n",
        grouped(pieces.len() as u64),
        grouped(mix::count(&pieces, Function::Render) as u64),
        grouped(mix::count(&pieces, Function::Parse) as u64),
        grouped(mix::count(&pieces, Function::Digest) as u64),
        serial_time.as_secs_f64(),
    ))?;
    let mut outcomes = Vec::new();
    for plan in Plan::ALL {
        let outcome = run::run(plan, options, &pieces)?;
        say(&report(&outcome, expected))?;
        outcomes.push(outcome);
    }
    output::write(&options.output, &chart::draw(&outcomes)?)?;
    say(&format!("\nmemory of each worker over time: {}\n", options.output.display()))?;
    say(&outcomes.iter().map(suspects).collect::<String>())?;
    let are_right = outcomes.iter().all(|outcome| outcome.sum == expected);
    Ok(if are_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sum of what the pieces must give, without carry, and how long it took to compute that.
fn serially(pieces: &[Piece]) -> (u64, Duration) {
    let begin = Instant::now();
    let sum = pieces.iter().fold(0, |sum: u64, piece| sum.wrapping_add(piece.expected()));
    (sum, begin.elapsed())
}

/// What a run has done, as text.
fn report(outcome: &Outcome, expected: u64) -> String {
    let results = match outcome.sum {
        sum if sum == expected => "all results are right".to_string(),
        sum => format!("THE RESULTS ARE WRONG: their sum is {sum}, not {expected}"),
    };
    let (title, time) = (outcome.plan.title(), outcome.time.as_secs_f64());
    let hog = outcome.hog.as_ref().map_or(String::new(), |hog| format!("{}\n", hog.sentence));
    format!("\n== {title}\n{time:.2} s; {results}\n{}\n{hog}", outcome.stats)
}

/// Which functions leak, as the pool of this run saw it.
fn suspects(outcome: &Outcome) -> String {
    let suspects = outcome.stats.suspects();
    let told = match suspects.is_empty() {
        true => "no function is known to leak\n".to_string(),
        false => suspects.iter().map(|suspect| sentence(suspect) + "\n").collect(),
    };
    format!("\n== {}: what leaks\n{told}", outcome.plan.name())
}

/// Prints to stdout. If stdout is closed, this is an error and not a panic.
fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Problem::new(format_args!("cannot write to stdout: {error}")))
}
