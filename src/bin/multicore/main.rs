//! The program `multicore`: runs commands by a pool of processes, reads journals, and shows what the pools of other programs do.
//!
//! It uses the crate's public interface alone, as its first user.

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("the program needs worker processes: Linux, on x86-64 or 64-bit Arm; build without the feature `cli`");

mod address;
mod arguments;
mod bar;
mod children;
mod descriptors;
mod ending;
mod gate;
mod generate;
mod halt;
mod inputs;
mod interrupt;
mod job;
mod joblog;
mod journal;
mod look;
mod output;
mod parcels;
mod program;
mod quote;
mod record;
mod report;
mod results;
mod run;
mod set_up;
mod shell;
mod stats;
mod summary;
mod svg;
mod tell;
mod template;
mod top;
mod trace;
mod values;

use crate::arguments::{Action, Cli};
use crate::tell::tell;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

/// The command line, the journal or the system does not allow it.
const REFUSED: u8 = 255;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // If nobody reads it, nobody misses it.
            let _ = std::io::stdout().write_all(arguments::help(&error).as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse("multicore", &arguments::one_line(&error)),
    };
    let mut stdout = std::io::stdout();
    match cli.action {
        Action::Run(options) => match set_up::run(*options) {
            // The inputs' thread may wait for ever.
            Ok(code) => std::process::exit(i32::from(code)),
            Err(refusal) => refuse("multicore run", &refusal),
        },
        Action::Journal { action } => match journal::run(action) {
            Ok(code) => ExitCode::from(code),
            Err(refusal) => refuse("multicore journal", &refusal),
        },
        Action::Top { pid, once } => done("multicore top", top::run(pid, once)),
        Action::Stats { pid, json } => done("multicore stats", stats::run(pid, json)),
        Action::Svg { trace, output } => done("multicore svg", svg::run(&trace, output.as_deref())),
        Action::Completions { shell } => {
            match generate::completions(shell, &mut stdout).and_then(|()| stdout.flush()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => refuse("multicore", &format!("cannot print the completions: {error}")),
            }
        }
        Action::Man { page } => done("multicore", generate::manual_page(&page, &mut stdout)),
    }
}

fn done(who: &str, result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => refuse(who, &refusal),
    }
}

fn refuse(who: &str, what: &str) -> ExitCode {
    tell!("{who}: {}", what.replace('\n', " "));
    ExitCode::from(REFUSED)
}
