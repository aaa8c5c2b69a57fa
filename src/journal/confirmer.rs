//! The handle by which a caller says that it has kept what a piece gave.

use super::recorder::Recorder;
use crate::error::{Error, ErrorKind};
use std::fmt;
use std::sync::Arc;

/// Confirms pieces of a task whose journal is [`confirmed`](super::Journal::confirmed); made by [`Task::confirmer`](crate::Task::confirmer).
///
/// The caller writes results to a place of its own, and confirms a piece when that has lasted: after the commit of its transaction. A later
/// run does not run it again. Between commit and confirmation the program may die: so writing what a piece gave twice must do no harm.
///
/// While a confirmer lives, the journal stays locked.
///
/// ```
/// use multicore::journal::Journal;
/// use multicore::{ErrorKind, Task};
///
/// # fn main() -> Result<(), multicore::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("import.journal");
/// let import = |fails: bool| -> Result<usize, multicore::Error> {
///     let task = Task::<u64>::new_or_inline().name("import");
///     let task = task.journal(Journal::at(&path).confirmed(true))?;
///     let confirmer = task.confirmer();
///     task.run_all(|n: u64, _: ()| n + 1, (0..4).map(|n| (n, ())));
///     let mut rows = 0;
///     for (piece, result) in task.iter_completed() {
///         let _row = result?;
///         // Here it is committed.
///         rows += 1;
///         if fails && rows == 3 {
///             break;
///         }
///         confirmer.confirm(piece)?;
///     }
///     Ok(rows)
/// };
/// import(true)?;
/// // The third one was committed and not confirmed: it comes again, and so does the one behind it.
/// assert_eq!(import(false)?, 2);
/// # Ok(())
/// # }
/// ```
pub struct Confirmer {
    /// `None` if nothing is to be confirmed.
    recorder: Option<Arc<Recorder>>,
}

impl Confirmer {
    /// For a task that has this journal, if any.
    pub(crate) fn new(recorder: Option<&Arc<Recorder>>) -> Confirmer {
        let recorder = recorder.filter(|recorder| recorder.counting.confirmed).cloned();
        if let Some(recorder) = &recorder {
            recorder.hold();
        }
        Confirmer { recorder }
    }

    /// Has it recorded that a piece is done. It does not wait for the disk: that is told by a later call, or by the drop of the last handle, which
    /// waits. A piece that is confirmed already, here or in an earlier run, may be confirmed again.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if there is no such piece, if it has failed or is not done, or if the task has no journal that is
    /// [confirmed](super::Journal::confirmed). [`Journal`](ErrorKind::Journal) if the journal could not be written before.
    pub fn confirm(&self, piece: usize) -> Result<(), Error> {
        match &self.recorder {
            Some(recorder) => recorder.confirm(piece),
            None => {
                let message = format!(
                    "piece {piece} cannot be confirmed: its task has no journal with confirmed(true), where the caller says what is done"
                );
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }
}

impl Clone for Confirmer {
    fn clone(&self) -> Self {
        Confirmer::new(self.recorder.as_ref())
    }
}

impl Drop for Confirmer {
    fn drop(&mut self) {
        if let Some(recorder) = &self.recorder {
            recorder.release();
        }
    }
}

impl fmt::Debug for Confirmer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmer").finish_non_exhaustive()
    }
}
