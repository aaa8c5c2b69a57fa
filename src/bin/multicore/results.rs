//! `--results DIR`: what each job has printed stays in `DIR/1/INPUT/stdout`, `stderr` and `seq`, as GNU parallel has it.
//!
//! A worker puts the files aside in `DIR/1/.recorded/` before its job is recorded; the runner, which knows the input, moves them to
//! their place. A run that is killed between the two has them aside, and the run that skips the job moves them.
//!
//! Invariant: a job that is recorded has its files, in one of the two places. They need no sync for that: a power cut counts only
//! with `--sync`.

use crate::report::Report;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const NAMES: [&str; 2] = ["stdout", "stderr"];

/// A file's name has at most 255 bytes.
const MAX_NAME_BYTES: usize = 200;

/// In a worker: copies what a job has printed, under the start and the parcel of its report.
pub fn put_aside(folder: &Path, report: &Report, files: &[File; 2]) -> io::Result<()> {
    let aside = aside(folder, report);
    fs::create_dir_all(&aside).map_err(|error| named(&aside, &error))?;
    for (name, mut source) in NAMES.into_iter().zip(files) {
        let copied = File::create(aside.join(name)).and_then(|mut file| {
            source.rewind()?;
            io::copy(&mut source, &mut file)
        });
        copied.map_err(|error| named(&aside, &error))?;
    }
    Ok(())
}

/// In the runner: moves the files of a job that has ended to their place.
pub fn keep(folder: &Path, number: u64, input: &[u8], report: &Report) -> io::Result<()> {
    let (aside, place) = (aside(folder, report), place(folder, number, input));
    let keep = || {
        fs::create_dir_all(&place)?;
        for name in NAMES {
            match fs::rename(aside.join(name), place.join(name)) {
                // It has printed nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => File::create(place.join(name)).map(drop)?,
                moved => moved?,
            }
        }
        // The last one takes the folder of those put aside away.
        let _ = fs::remove_dir(&aside).and_then(|()| aside.parent().map_or(Ok(()), fs::remove_dir));
        fs::write(place.join("seq"), number.to_string())
    };
    keep().map_err(|error| named(&place, &error))
}

/// In the runner: the same for a job that an earlier run has recorded, if that run did not come to it.
pub fn keep_missing(folder: &Path, number: u64, input: &[u8], report: &Report) -> io::Result<()> {
    let has_nothing = (report.stdout_bytes, report.stderr_bytes) == (0, 0);
    match aside(folder, report).exists() || (has_nothing && !place(folder, number, input).exists()) {
        true => keep(folder, number, input, report),
        false => Ok(()),
    }
}

/// One for each job, also for jobs of other runs.
fn aside(folder: &Path, report: &Report) -> PathBuf {
    folder.join("1").join(".recorded").join(format!("{}-{}", report.started_us, report.parcel))
}

fn place(folder: &Path, number: u64, input: &[u8]) -> PathBuf {
    folder.join("1").join(OsStr::from_bytes(&folder_name(input, number)))
}

fn named(folder: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot keep results in {}: {error}", folder.display()))
}

/// An input as the name of a folder: one component, that leads nowhere else.
fn folder_name(input: &[u8], number: u64) -> Vec<u8> {
    let mut name = Vec::with_capacity(input.len());
    for &byte in input {
        match byte {
            b'\\' => name.extend_from_slice(br"\\"),
            b'/' => name.extend_from_slice(br"\_"),
            b'\t' => name.extend_from_slice(br"\t"),
            _ => name.push(byte),
        }
    }
    if input == b"." || input == b".." || input == b".recorded" {
        name.insert(0, b'\\');
    }
    if name.len() > MAX_NAME_BYTES {
        name.truncate(MAX_NAME_BYTES);
        name.extend_from_slice(format!("-{number}").as_bytes());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::folder_name;

    #[test]
    fn an_input_names_one_folder_below() {
        for (input, name) in [
            ("a/b", r"a\_b"),
            ("x y", "x y"),
            (r"a\b", r"a\\b"),
            ("..", r"\.."),
            (".", r"\."),
            ("a\tb", r"a\tb"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8(folder_name(input.as_bytes(), 7)).unwrap(), name);
        }
        assert_eq!(folder_name(&[b'x'; 300], 7).len(), 202);
    }
}
