//! Temporary files and folders that do not outlive the program, however it is ended short of
//! SIGKILL.
//!
//! Invariant: whatever of ours lies on the disk under a temporary name stands in `LEFTOVERS`.
//! Making, removing and renaming happen under its lock, so a Ctrl-C finds no moment in which a file
//! is there and not in the list.

use crate::problem::{Problem, Result};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

static LEFTOVERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The exit code of a program that Ctrl-C ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Nothing temporary comes or goes while this is held.
pub fn hold() -> MutexGuard<'static, Vec<PathBuf>> {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on Ctrl-C, and a request to end, removes what is temporary and ends the program with
/// exit code 130.
pub fn remove_on_interrupt() -> Result<()> {
    let handler = || {
        // Never given back: the main thread, which may see its files vanish, waits for it before it
        // says a word.
        let leftovers = hold();
        for path in leftovers.iter() {
            remove(path);
        }
        std::process::exit(INTERRUPTED);
    };
    ctrlc::set_handler(handler).map_err(|error| Problem::new(format_args!("cannot listen for Ctrl-C: {error}")))
}

/// A file or folder that is removed when this is dropped.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    pub fn folder_in(parent: &Path) -> Result<Temporary> {
        let mut leftovers = hold();
        let folder = tempfile::Builder::new().prefix(".gtfs_json-").tempdir_in(parent);
        let folder = folder.map_err(|error| Problem::with_path("make a temporary folder in", parent, error))?;
        let path = folder.keep();
        leftovers.push(path.clone());
        Ok(Temporary { path })
    }

    /// A file that, once renamed, has the rights of any new file and not the narrow ones of a
    /// temporary one.
    pub fn file_in(parent: &Path) -> Result<(File, Temporary)> {
        let mut leftovers = hold();
        let mut builder = tempfile::Builder::new();
        builder.prefix(".gtfs_json-");
        #[cfg(unix)]
        builder.permissions(<fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
        let failed = |error: &dyn std::fmt::Display| Problem::with_path("make a temporary file in", parent, error);
        let file = builder.tempfile_in(parent).map_err(|error| failed(&error))?;
        let (file, path) = file.keep().map_err(|error| failed(&error))?;
        leftovers.push(path.clone());
        Ok((file, Temporary { path }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name for good. Where that fails it is removed as ever.
    pub fn rename(self, name: &Path) -> std::io::Result<()> {
        let mut leftovers = hold();
        let renamed = fs::rename(&self.path, name);
        if renamed.is_ok() {
            leftovers.retain(|path| *path != self.path);
        }
        drop(leftovers);
        renamed
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut leftovers = hold();
        // A renamed one is no longer in the list, and its old name may be another's by now.
        if let Some(place) = leftovers.iter().position(|path| *path == self.path) {
            remove(&self.path);
            leftovers.swap_remove(place);
        }
    }
}

/// Removes a file, or a folder that the main thread may still be writing files into: one that
/// appears behind the removal's back makes it fail and start again, and once the folder is gone
/// none can appear. It gives up in silence: nobody is left to tell.
fn remove(path: &Path) {
    for _attempt in 0..100 {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_leaves_the_disk_and_the_list_when_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Temporary::folder_in(parent.path()).unwrap();
        fs::write(folder.path().join("a"), "a").unwrap();
        let (_, file) = Temporary::file_in(parent.path()).unwrap();
        let paths = [folder.path().to_owned(), file.path().to_owned()];
        assert!(paths.iter().all(|path| path.exists() && hold().contains(path)));
        drop((folder, file));
        assert!(paths.iter().all(|path| !path.exists() && !hold().contains(path)));
    }

    #[test]
    fn a_renamed_temporary_stays_and_one_that_cannot_be_renamed_goes() {
        let parent = tempfile::tempdir().unwrap();
        let name = parent.path().join("name");
        let (_, file) = Temporary::file_in(parent.path()).unwrap();
        file.rename(&name).unwrap();
        assert!(name.exists() && !hold().contains(&name));
        let (_, file) = Temporary::file_in(parent.path()).unwrap();
        file.rename(&parent.path().join("no/such/folder")).unwrap_err();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
