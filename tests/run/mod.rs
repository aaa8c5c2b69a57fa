//! Builds the programs of `tests/programs` and runs them.
//!
//! Cargo builds them in the target directory of the test itself, so that common dependencies are built once and kept
//! between runs.

// Each test program uses only a part of this file.
#![allow(dead_code)]

mod process;

pub use process::*;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub const MUSL: &str = "x86_64-unknown-linux-musl";

/// Reports that something was not tested. It writes directly to stderr, since the harness captures printed output.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("cargo puts this directory into the target directory")
}

/// Runs cargo in `directory` and returns the files that it built, by the names of their targets.
fn cargo(directory: &Path, arguments: &[&str], after: &[&str]) -> Result<HashMap<String, PathBuf>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args(arguments).arg("--message-format=json-render-diagnostics").arg("--target-dir").arg(target_dir());
    let output = command.args(after).current_dir(directory).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("cargo {arguments:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut built = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let Some(name) = message["target"]["name"].as_str() else { continue };
        let file = message["executable"].as_str().or_else(|| {
            let mut files = message["filenames"].as_array()?.iter().filter_map(|file| file.as_str());
            files.find(|file| file.ends_with(".so"))
        });
        if let Some(file) = file {
            built.insert(name.to_string(), PathBuf::from(file));
        }
    }
    Ok(built)
}

/// Builds with cargo in the workspace: `build -p …`.
#[track_caller]
pub fn build(arguments: &[&str]) -> HashMap<String, PathBuf> {
    let arguments: Vec<&str> = ["build"].iter().chain(arguments).copied().collect();
    cargo(root(), &arguments, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Builds the workspace in another directory, only from packages that are downloaded already.
#[track_caller]
pub fn build_elsewhere(directory: &Path) -> HashMap<String, PathBuf> {
    cargo(directory, &["build", "--offline"], &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Builds one program of `tests/programs` with arguments for the compiler.
pub fn build_with(program: &str, rustc: &[&str]) -> Result<PathBuf, String> {
    let rustc: Vec<&str> = ["--"].iter().chain(rustc).copied().collect();
    let mut built = cargo(root(), &["rustc", "-p", "multicore_programs", "--bin", program], &rustc)?;
    built.remove(program).ok_or_else(|| "cargo named no program".to_string())
}

/// Builds the library with arguments for the compiler.
#[allow(dead_code)] // Most programs need it as it is.
pub fn build_library_with(rustc: &[&str]) -> Result<(), String> {
    let rustc: Vec<&str> = ["--"].iter().chain(rustc).copied().collect();
    cargo(root(), &["rustc", "-p", "multicore", "--lib"], &rustc).map(drop)
}

/// The programs that need no special build.
#[rustfmt::skip]
const PLAIN: &[&str] = &[
    "answers",
    "closer",
    "forks",
    "host",
    "image",
    "late",
    "leaver",
    "limited",
    "looked",
    "niceness",
    "preloaded",
    "printer",
    "prologue",
    "rights",
    "threaded",
    "unit",
    "waits",
];

/// Those of them that also run on musl: all would take a minute to build.
const ON_MUSL: [&str; 4] = ["answers", "late", "printer", "prologue"];

fn arguments(programs: &'static [&str]) -> Vec<&'static str> {
    ["-p", "multicore_programs"].into_iter().chain(programs.iter().flat_map(|name| ["--bin", name])).collect()
}

/// One of the plain programs of `tests/programs`.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| build(&arguments(PLAIN)))[name].clone()
}

/// The same program of [`ON_MUSL`], fully static. `None`, and a message, if the target is not installed.
#[track_caller]
pub fn musl_program(name: &str) -> Option<PathBuf> {
    static BUILT: OnceLock<Option<HashMap<String, PathBuf>>> = OnceLock::new();
    let build = || {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let libraries = Command::new(rustc).args(["--print", "target-libdir", "--target", MUSL]).output().ok()?;
        let libraries = String::from_utf8(libraries.stdout).ok()?;
        fs::read_dir(libraries.trim()).ok()?.next()?.ok()?;
        let arguments: Vec<&str> = arguments(&ON_MUSL).into_iter().chain(["--target", MUSL]).collect();
        Some(build(&arguments))
    };
    let built = BUILT.get_or_init(build).as_ref();
    if built.is_none() {
        skipped(&format!("{name} on musl"), "the target is not installed; `rustup target add` installs it");
    }
    built.map(|built| built[name].clone())
}
