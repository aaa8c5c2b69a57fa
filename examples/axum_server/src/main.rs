//! A server that lists records as JSON, streamed while worker processes make it, and a program that loads it.
//!
//! ```text
//! cargo run --release -p axum_server
//! curl 'http://127.0.0.1:3000/records?count=50000'
//! cargo run --release -p axum_server -- load --compare
//! ```
//!
//! | route              | the list is made                                                                    |
//! |--------------------|-------------------------------------------------------------------------------------|
//! | `/records`         | by pieces of `multicore`, which write into the memory that server and workers share |
//! | `/rayon`           | by rayon's threads, and sent while they work                                        |
//! | `/rayon-collected` | by a parallel iterator of rayon's; all of it is made before the first byte is sent  |
//! | `/serial`          | by one thread of tokio's for blocking work                                          |
//! | `/stats`           | what the pool does, as JSON                                                         |
//!
//! What the first route has and the others lack: a client that leaves ends its work in the middle of a piece; a crash in a piece, or a worker
//! that is killed, fails no request; one that comes while too many pieces wait is refused at once with 503; and a slow client holds up a
//! part of its list, and not all of it in memory.
//!
//! A module uses only those that stand before it here: `problem`; `records`, which has the pieces; `options`; `answers`; `serve`; and `load`,
//! which knows the server by its routes alone.

use std::io::Write;
use std::process::ExitCode;

mod answers;
mod load;
mod options;
mod problem;
mod records;
mod serve;

use options::{Command, HELP};
use problem::{Problem, Result};

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(problem) => {
            tell(&problem);
            return ExitCode::from(2);
        }
    };
    let ended = match &command {
        Command::Help => say(HELP).map(|()| ExitCode::SUCCESS),
        Command::Serve(options) => serve::serve(options).map(|()| ExitCode::SUCCESS),
        Command::Load(options) => load::load(options),
    };
    ended.unwrap_or_else(|problem| {
        tell(&problem);
        ExitCode::FAILURE
    })
}

/// Prints a line to stderr. If stderr is closed, nobody is there to be told, and the server goes on.
fn tell(what: &dyn std::fmt::Display) {
    let _closed = writeln!(std::io::stderr().lock(), "axum_server: {what}");
}

/// Prints to stdout. If stdout is closed, this is an error and not a panic.
fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let said = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    said.map_err(|error| Problem::new(format_args!("cannot write to stdout: {error}")))
}
