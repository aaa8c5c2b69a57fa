//! The source of the feed: a folder, a zip that is unpacked for the time of the run, or a feed that this program makes.

use crate::feed::TABLES;
use crate::leftovers::Temporary;
use crate::made;
use crate::options::FeedChoice;
use crate::problem::{Problem, Result};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use zip::ZipArchive;
use zip::result::ZipError;

/// A feed as a folder.
#[derive(Debug)]
pub struct Source {
    folder: PathBuf,
    /// Removes the unpacked files at the end of the run.
    _unpacked: Option<Temporary>,
}

impl Source {
    pub fn open(choice: &FeedChoice) -> Result<Source> {
        let path = match choice {
            FeedChoice::Given(path) => path.clone(),
            FeedChoice::Made { rows } => made::feed(*rows)?,
        };
        let failed = |error| Problem::with_path("read the feed", &path, error);
        let kind = fs::metadata(&path).map_err(failed)?;
        if !kind.is_dir() {
            let unpacked = unpack(&path)?;
            return Ok(Source { folder: unpacked.path().to_owned(), _unpacked: Some(unpacked) });
        }
        for name in TABLES {
            match fs::metadata(path.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(missing(&path, name));
                }
                Err(error) => return Err(Problem::with_path("read", &path.join(name), error)),
                Ok(_) => {}
            }
        }
        // An absolute path means the same in every worker.
        Ok(Source { folder: std::path::absolute(&path).map_err(failed)?, _unpacked: None })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Unpacks only the tables that the join reads, to a temporary folder.
fn unpack(path: &Path) -> Result<Temporary> {
    let failed = |error: &dyn Error| Problem::with_path("read", path, chain(error));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
        let why = format!("it is neither a folder nor a whole zip ({})", chain(&error));
        Problem::with_path("read the feed", path, why)
    })?;
    let folder = Temporary::folder_in(&std::env::temp_dir())?;
    for name in TABLES {
        let mut entry = match archive.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Err(missing(path, name)),
            Err(error) => return Err(failed(&error)),
        };
        let table = folder.path().join(name);
        let mut file = File::create_new(&table).map_err(|error| Problem::with_path("write", &table, error))?;
        // This reads to the end of the entry, where the `zip` crate compares the checksum.
        io::copy(&mut entry, &mut file)
            .map_err(|error| Problem::new(format_args!("cannot unpack {name} of {path:?}: {}", chain(&error))))?;
    }
    Ok(folder)
}

fn missing(feed: &Path, name: &str) -> Problem {
    Problem::new(format_args!("{feed:?} has no {name} at its top level; a GTFS feed has {}", TABLES.join(", ")))
}

/// An error with its causes. The `zip` crate's own text for a failed read does not name the cause.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    fn zip_of(names: &[&str]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for name in names {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(format!("text of {name}, {}", "x".repeat(1000)).as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn open(path: &Path) -> Result<Source> {
        Source::open(&FeedChoice::Given(path.to_owned()))
    }

    #[test]
    fn a_zip_is_unpacked_for_as_long_as_its_source_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.zip");
        fs::write(
            &path,
            zip_of(&["shapes.txt", "stops.txt", "routes.txt", "trips.txt", "stop_times.txt", "../evil.txt"]),
        )
        .unwrap();
        let source = open(&path).unwrap();
        let unpacked = source.folder().to_owned();
        assert_eq!(fs::read_dir(&unpacked).unwrap().count(), 4, "only what is needed");
        assert!(fs::read_to_string(unpacked.join("stop_times.txt")).unwrap().starts_with("text of stop_times.txt"));
        drop(source);
        assert!(!unpacked.exists());
    }

    #[test]
    fn a_feed_that_cannot_be_read_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let whole = zip_of(&TABLES);
        let mut flipped = whole.clone();
        flipped[60] ^= 0x55;
        let rows: [(&str, Vec<u8>, &str); 6] = [
            ("torn.zip", whole[..whole.len() - 30].to_vec(), "neither a folder nor a whole zip"),
            ("short.zip", whole[..10].to_vec(), "neither a folder nor a whole zip"),
            ("empty.zip", Vec::new(), "neither a folder nor a whole zip"),
            ("flipped.zip", flipped, "cannot unpack stop_times.txt"),
            ("table.txt", b"a,b\n1,2\n".to_vec(), "neither a folder nor a whole zip"),
            (
                "without.zip",
                zip_of(&["stops.txt", "routes.txt", "trips.txt"]),
                "has no stop_times.txt at its top level",
            ),
        ];
        for (name, bytes, part) in rows {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let message = open(&path).unwrap_err().to_string();
            assert!(message.contains(part) && !message.contains('\n'), "{name}: {message}");
        }
        let message = open(&folder.path().join("nothing")).unwrap_err().to_string();
        assert!(message.starts_with("cannot read the feed"), "{message}");
        let message = open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("has no stop_times.txt"), "{message}");
    }
}
