//! Temporary files and folders, which are removed however the program ends, except by SIGKILL.
//!
//! Invariant: every file and folder of this program with a temporary name is in `LEFTOVERS`. They are made, removed and renamed
//! under its lock, so Ctrl-C never finds a file that exists and is not in the list.

use crate::problem::{Problem, Result};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

static LEFTOVERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The exit code of a program that Ctrl-C ended: 128 plus the number of the signal.
const INTERRUPTED: i32 = 130;

/// While this is held, no temporary file is made or removed.
pub fn hold() -> MutexGuard<'static, Vec<PathBuf>> {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on Ctrl-C, or a request to end, removes the temporary files and ends the program with exit code 130.
pub fn remove_on_interrupt() -> Result<()> {
    let handler = || {
        // This lock is never released. The main thread, whose files are removed here, waits for it before it prints anything.
        let leftovers = hold();
        for path in leftovers.iter() {
            remove(path);
        }
        std::process::exit(INTERRUPTED);
    };
    ctrlc::set_handler(handler).map_err(|error| Problem::new(format_args!("cannot listen for Ctrl-C: {error}")))
}

/// A file or folder that is removed by the drop.
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

    /// A file that has the permissions of any new file after it is renamed, not the narrow ones of a temporary file.
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

    /// Gives it its final name. If this fails, the file is removed.
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
        // A renamed file is no longer in the list, and its old name may belong to another file by now.
        if let Some(place) = leftovers.iter().position(|path| *path == self.path) {
            remove(&self.path);
            leftovers.swap_remove(place);
        }
    }
}

/// Removes a file, or a folder into which the main thread may still be writing files. A file that appears during the removal
/// makes it fail and start again; once the folder is gone no file can appear. If it fails in the end, it reports nothing, since
/// the program is ending.
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
