//! Where a command's program lies, looked up once for all jobs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a shell looks in where PATH is not set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The program that a shell would execute for that word.
///
/// # Errors
/// What a shell would say.
pub fn find(word: &OsStr) -> Result<Vec<u8>, &'static str> {
    if word.is_empty() {
        return Err("command not found");
    }
    if word.as_bytes().contains(&b'/') {
        return check(Path::new(word)).map(|()| word.as_bytes().to_vec());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut refusal = "command not found";
    for folder in std::env::split_paths(&path) {
        // An empty part is the current folder.
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let program = folder.join(word);
        match check(&program) {
            Ok(()) => return Ok(program.into_os_string().into_vec()),
            Err(reason) if fs::metadata(&program).is_ok_and(|file| file.is_file()) => refusal = reason,
            Err(_) => {}
        }
    }
    Err(refusal)
}

fn check(program: &Path) -> Result<(), &'static str> {
    match fs::metadata(program) {
        Err(_) => Err("command not found"),
        Ok(file) if file.is_dir() => Err("it is a directory"),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => Err("it is not executable"),
        Ok(_) => Ok(()),
    }
}
