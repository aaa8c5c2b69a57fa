//! The output of the JSON lines: always a sum, and with `--output` also a file that gets its name at the end.

use crate::leftovers::Temporary;
use crate::problem::{Problem, Result};
use crate::sum::Sum;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 256 << 10;

/// The file of `--output` while it has a temporary name, in the folder of its final name.
pub struct OutputFile {
    target: PathBuf,
    file: BufWriter<File>,
    temporary: Temporary,
}

impl OutputFile {
    pub fn create(target: &Path) -> Result<OutputFile> {
        let failed = |why: &dyn std::fmt::Display| Problem::with_path("write", target, why);
        // A rename onto a link would replace the link by a file, and a rename onto /dev/null would replace the device.
        let target = match target.canonicalize() {
            Ok(target) if target.is_file() => target,
            Ok(_) => {
                return Err(failed(&"it exists and is no file; name a file, or omit --output to keep none"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => target.to_owned(),
            Err(error) => return Err(failed(&error)),
        };
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let (file, temporary) = Temporary::file_in(folder)?;
        Ok(OutputFile { file: BufWriter::with_capacity(BUFFER_BYTES, file), temporary, target })
    }

    /// Gives the complete file its final name, in one step.
    pub fn finish(self) -> Result<()> {
        let failed = |error: io::Error| Problem::with_path("write", &self.target, error);
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        // The bytes reach the disk before the rename: after a power cut there is the old file or the new one, never a part.
        file.sync_data().map_err(failed)?;
        drop(file);
        self.temporary.rename(&self.target).map_err(failed)
    }
}

/// Receives the lines of one run.
pub struct Sink<'output> {
    sum: Sum,
    file: Option<&'output mut OutputFile>,
    bar: ProgressBar,
}

impl<'output> Sink<'output> {
    /// `run` and `rows` are for the progress bar, which is shown only at a terminal.
    pub fn new(run: &'static str, rows: u64, file: Option<&'output mut OutputFile>) -> Sink<'output> {
        Sink { sum: Sum::new(), file, bar: progress_bar(run, rows) }
    }

    /// Writes what is left, and returns the sum of all lines.
    pub fn finish(self) -> Result<Sum> {
        self.bar.finish_and_clear();
        if let Some(output) = self.file {
            output.file.flush().map_err(|error| Problem::with_path("write", &output.target, error))?;
        }
        Ok(self.sum)
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sum.add(bytes);
        if let Some(output) = &mut self.file {
            output.file.write_all(bytes)?;
        }
        // Counting lines takes some time, so it is done only if the bar is visible.
        if !self.bar.is_hidden() {
            self.bar.inc(bytes.iter().filter(|byte| **byte == b'\n').count() as u64);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |output| output.file.flush())
    }
}

/// A bar on stderr, hidden if stderr is no terminal.
pub fn progress_bar(what: &'static str, rows: u64) -> ProgressBar {
    let bar = ProgressBar::new(rows).with_prefix(what);
    match ProgressStyle::with_template("{prefix:>8} {wide_bar} {human_pos} of {human_len} rows, {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_has_its_name_only_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("rows.json");
        for text in ["first\n", "second\n"] {
            let before = fs::read_to_string(&target).ok();
            let mut file = OutputFile::create(&target).unwrap();
            let mut sink = Sink::new("test", 1, Some(&mut file));
            sink.write_all(text.as_bytes()).unwrap();
            assert_eq!(sink.finish().unwrap().bytes(), text.len() as u64);
            assert_eq!(fs::read_to_string(&target).ok(), before);
            file.finish().unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), text);
            assert_eq!(names(folder.path()), ["rows.json"]);
        }
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("rows.json");
        fs::write(&target, "old").unwrap();
        let mut file = OutputFile::create(&target).unwrap();
        Sink::new("test", 1, Some(&mut file)).write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        assert_eq!(names(folder.path()), ["rows.json"]);
    }

    #[test]
    fn what_is_no_file_is_neither_replaced_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        let message = OutputFile::create(folder.path()).err().unwrap().to_string();
        assert!(message.contains("no file") && !message.contains('\n'), "{message}");
        let message = OutputFile::create(&folder.path().join("missing/rows.json")).err().unwrap().to_string();
        assert!(message.starts_with("cannot make a temporary file in"), "{message}");
        assert!(names(folder.path()).is_empty());
    }
}
