//! The program `multicore`, as people and scripts call it.

#[path = "../run/process.rs"]
mod process;

mod commands;
mod ends;
mod journals;
mod output;
mod pages;
mod tables;

use process::{Outcome, Run};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Reports that something was not tested. It writes directly to stderr, since the harness captures printed output.
fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// A folder in which a test's programs run. At its end there is no file of the runner's.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().expect("a folder can be made") };
        fs::create_dir(place.path("temporary")).expect("a folder can be made");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file can be written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_string).collect()
    }

    /// `multicore run` with these arguments.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_multicore"));
        command.arg("run").args(arguments);
        self.settle(&mut command);
        command
    }

    /// A line for the shell, in which `$M` is the program.
    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line);
        self.settle(&mut command);
        command
    }

    fn settle(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).env("TMPDIR", self.path("temporary"));
        command.env("M", env!("CARGO_BIN_EXE_multicore"));
    }

    #[track_caller]
    fn start(&self, arguments: &[&str]) -> Run {
        Run::start(self.command(arguments))
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).finish()
    }

    #[track_caller]
    fn run_shell(&self, line: &str) -> Outcome {
        process::run(self.shell(line))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(names(&self.path("temporary")), Vec::<String>::new(), "files are left");
        }
    }
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The exit code, what was printed, and the beginning of the last line of standard error.
#[track_caller]
fn assert_ended(outcome: &Outcome, code: i32, stdout: &str, summary: &str) {
    assert_eq!(outcome.stdout, stdout, "{outcome:?}");
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with(summary), "{outcome:?} should end with {summary:?}");
    assert_eq!(outcome.status.code(), Some(code), "{outcome:?}");
}

/// Refused: one line on standard error, nothing else, 255.
#[track_caller]
fn assert_refused(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.status.code(), Some(255), "{outcome:?}");
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains(words), "{outcome:?} should contain {words:?}");
}

/// The lines in order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}
