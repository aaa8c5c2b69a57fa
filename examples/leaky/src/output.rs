//! The file of the chart.

use crate::problem::{Problem, Result};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

/// Whether the file can be written, before the work begins. Nothing is changed: a file that is there stays as it is, and
/// none is left behind where there was none.
pub fn check(path: &Path) -> Result<()> {
    let checked = match fs::metadata(path) {
        // A pipe or a device is opened only once: its reader takes the end of the first time for the end of the chart.
        Ok(found) if !found.is_file() && !found.is_dir() => Ok(()),
        Ok(_) => File::options().append(true).open(path).map(drop),
        Err(error) if error.kind() == ErrorKind::NotFound => File::create_new(path).and_then(|_| fs::remove_file(path)),
        Err(error) => Err(error),
    };
    checked.map_err(|error| cannot_write(path, &error))
}

pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format_args!("cannot write {path:?}: {error}; name another file with --output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_changes_nothing_and_finds_what_cannot_be_written() {
        let folder = std::env::temp_dir().join(format!("leaky-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("chart.svg");
        check(&file).unwrap();
        assert!(!file.exists());
        write(&file, "old").unwrap();
        check(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        for path in [folder.clone(), folder.join("none/chart.svg"), file.join("chart.svg")] {
            let text = check(&path).unwrap_err().to_string();
            assert!(text.starts_with(&format!("cannot write {path:?}: ")), "{text}");
            assert!(text.ends_with("; name another file with --output") && !text.contains('\n'), "{text}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
