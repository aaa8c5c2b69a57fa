//! A journal as a user names it: its path, and how a task uses it.

use super::earlier::Counting;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When what is recorded is on the disk.
///
/// Every level survives the death of the program, however it dies: what a piece gave is written to its file before anyone gets it. They
/// differ in what a power cut, or a crash of the system, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Every outcome is on the disk before it is given: a sync (fdatasync, some milliseconds) for each piece, or for those that finish
    /// while the one before is under way.
    Each,
    /// One sync for all outcomes of this time, and at least one for each MiB; until then they wait. Nothing is lost that was
    /// given. The default, with 100 ms.
    ///
    /// A caller that hands out a piece for each one that it gets waits for a group each time; unless nothing else is under way, when
    /// the sync comes at once. Let it hand out more pieces ahead, or use another level.
    Group(Duration),
    /// No sync. A power cut may take the outcomes of the last half a minute or so, and their pieces are run again. Until a later run has opened the
    /// file, which syncs it, damage at its end passes for such a cut too.
    None,
}

impl Default for Durability {
    fn default() -> Self {
        Durability::Group(Duration::from_millis(100))
    }
}

/// A journal's file and how a task uses it, for [`Task::journal`](crate::Task::journal). A path alone does where the defaults are right.
///
/// ```
/// use multicore::journal::{Durability, Journal};
/// use multicore::Task;
///
/// # fn main() -> Result<(), multicore::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("squares.journal");
/// let run = || -> Result<(Vec<u64>, usize), multicore::Error> {
///     let task = Task::<u64>::new_or_inline().name("squares").version("1");
///     let task = task.journal(Journal::at(&path).durability(Durability::Each))?;
///     task.run_all(|n: u64, _: ()| n * n, (0..10).map(|n| (n, ())));
///     let resumed = task.resumed();
///     Ok((task.get()?, resumed))
/// };
/// let (first, again) = (run()?, run()?);
/// assert_eq!(first.0, again.0);
/// // The second time no piece ran.
/// assert_eq!((first.1, again.1), (0, 10));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it does nothing until a task is given it"]
pub struct Journal {
    pub(super) path: PathBuf,
    pub(super) also: Vec<PathBuf>,
    pub(super) durability: Durability,
    pub(super) results: bool,
    pub(super) resume_failed: bool,
    pub(super) confirmed: bool,
    pub(super) repair: bool,
    pub(super) any_types: bool,
}

impl Journal {
    /// The journal in this file. It is made if it is not there, in a folder that is.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Journal {
            path: path.into(),
            also: Vec::new(),
            durability: Durability::default(),
            results: true,
            resume_failed: true,
            confirmed: false,
            repair: false,
            any_types: false,
        }
    }

    /// When what is recorded is on the disk. Default: [`Durability::Group`] of 100 ms.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Whether results are recorded, and given again by a later run. Default: true. With false, a piece that an earlier run has
    /// recorded as done ends in [`AlreadyDone`](crate::ErrorKind::AlreadyDone), unless its result has no bytes, as `()`.
    pub fn results(mut self, results: bool) -> Self {
        self.results = results;
        self
    }

    /// Whether pieces that have failed in an earlier run are run again. Default: true. With false they end in what was recorded: the same
    /// kind, message and number of attempts.
    pub fn resume_failed(mut self, resume: bool) -> Self {
        self.resume_failed = resume;
        self
    }

    /// Whether a piece counts as done only when the caller [confirms](super::Confirmer) it. Default: false. It is for a caller that writes results
    /// elsewhere, a database for example: commit, then confirm. A piece whose result was committed and not confirmed is run again, so
    /// writing it twice must do no harm. With true, results are not recorded, as with [`results`](Self::results).
    pub fn confirmed(mut self, confirmed: bool) -> Self {
        self.confirmed = confirmed;
        self
    }

    /// Whether damage is left out: the pieces whose outcomes stood there are run again. Default: false, and a damaged journal is an error
    /// that says where. [`repair`](super::repair()) mends the file itself.
    pub fn repair(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// Whether outcomes count that were recorded under the same name and version with another type of result, as the compiler names it. Default:
    /// false, and that is an error. It is for a type that was renamed and not changed; with any other, results are decoded to wrong values.
    pub fn any_types(mut self, any: bool) -> Self {
        self.any_types = any;
        self
    }

    /// Counts the outcomes of another journal too, which is only read: so the shares of a run that was split over machines are put together.
    /// May be called for several, up to 255. Equal pieces of two shares would meet: let the share be an argument.
    pub fn also(mut self, path: impl Into<PathBuf>) -> Self {
        self.also.push(path.into());
        self
    }

    /// Which recorded outcomes count.
    pub(super) fn counting(&self) -> Counting {
        let Journal { results, resume_failed, confirmed, .. } = *self;
        Counting { results: results && !confirmed, confirmed, resume_failed }
    }
}

impl From<&str> for Journal {
    fn from(path: &str) -> Self {
        Journal::at(path)
    }
}

impl From<String> for Journal {
    fn from(path: String) -> Self {
        Journal::at(path)
    }
}

impl From<&Path> for Journal {
    fn from(path: &Path) -> Self {
        Journal::at(path)
    }
}

impl From<PathBuf> for Journal {
    fn from(path: PathBuf) -> Self {
        Journal::at(path)
    }
}

impl From<&PathBuf> for Journal {
    fn from(path: &PathBuf) -> Self {
        Journal::at(path)
    }
}
