//! Unpacks the files of a feed from a zip, to temporary files without a name: so nothing is left, however the program ends.

use crate::problem::{Problem, Result, chain};
use crate::schema::TABLES;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use zip::ZipArchive;

/// The files of a folder of an archive: name, and number of the entry.
type Folder = Vec<(String, usize)>;

/// The files of a feed.
pub struct Found {
    /// Those that this program knows, by name, open.
    pub known: Vec<(String, File)>,
    /// The names of all others.
    pub others: Vec<String>,
}

pub fn unpack(path: &Path) -> Result<Found> {
    let failed = |error: &dyn std::error::Error| Problem::with_path("read the feed", path, chain(error));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
        let why = format!("it is neither a folder nor a whole zip ({})", chain(&error));
        Problem::with_path("read the feed", path, why)
    })?;
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for (name, number) in feed_folder(path, &archive)? {
        if !is_known(&name) {
            others.push(name);
            continue;
        }
        let why = |error: &dyn std::error::Error| {
            Problem::new(format_args!("cannot unpack {name} of {path:?}: {}", chain(error)))
        };
        let mut entry = archive.by_index(number).map_err(|error| why(&error))?;
        let mut file = tempfile::tempfile()
            .map_err(|error| Problem::with_path("make a temporary file in", &std::env::temp_dir(), error))?;
        // This reads to the end of the entry, where the `zip` crate compares the checksum.
        io::copy(&mut entry, &mut file).map_err(|error| why(&error))?;
        files.push((name, file));
    }
    Ok(Found { known: files, others })
}

fn is_known(name: &str) -> bool {
    TABLES.iter().any(|table| table.file == name)
}

/// The folder of the archive that has the feed: the one with most of its files. Archivers of macOS add a second one with
/// notes on each file, under the same names.
fn feed_folder<R>(path: &Path, archive: &ZipArchive<R>) -> Result<Folder>
where
    R: io::Read + io::Seek,
{
    let mut folders: BTreeMap<&str, Folder> = BTreeMap::new();
    for (number, name) in (0..archive.len()).filter_map(|number| Some((number, archive.name_for_index(number)?))) {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        if !file.is_empty() && !name.split('/').any(|part| part == "__MACOSX") {
            folders.entry(folder).or_default().push((file.to_owned(), number));
        }
    }
    let known = |files: &Folder| files.iter().filter(|(name, _)| is_known(name)).count();
    let most = folders.values().map(known).max().unwrap_or(0);
    let mut best = folders.iter().filter(|(_, files)| known(files) == most);
    match (best.next(), best.next()) {
        _ if most == 0 => Ok(Folder::new()),
        (Some((first, _)), Some((second, _))) => Err(Problem::with_path(
            "choose a feed of",
            path,
            format_args!("its folders {first:?} and {second:?} both look like one; unpack it and name the folder"),
        )),
        (Some((_, files)), _) => Ok(files.clone()),
        (None, _) => Ok(Folder::new()),
    }
}
