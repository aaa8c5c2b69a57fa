//! The compiler, called without cargo on a small source, with the library that cargo has built for this test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that this test is linked with: the newest one beside it that is no newer. (A test of coverage makes another one later.)
fn library(own: &Path, folder: &Path) -> PathBuf {
    let changed = |path: &Path| path.metadata().unwrap().modified().unwrap();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libmulticore-") && name.ends_with(".rlib")
    };
    let newest = files.filter(|path| is_ours(path) && changed(path) <= changed(own)).max_by_key(|path| changed(path));
    newest.expect("cargo has built the library")
}

/// The compiler on a file, whose output goes into this folder.
pub fn compiler(file: &Path, folder: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let built = own.parent().unwrap();
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "-A", "warnings", "--out-dir"]).arg(folder);
    command.arg("--extern").arg(format!("multicore={}", library(&own, built).display()));
    command.arg("-L").arg(format!("dependency={}", built.display())).arg(file);
    command
}
