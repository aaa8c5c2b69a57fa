//! A task whose pieces are recorded in a journal.

use super::Task;
use crate::backend::Backend;
use crate::codec::{self, value::Value};
use crate::error::{Error, ErrorKind};
use crate::journal::{self, Confirmer, Journal, Names, Recorder};
use std::sync::Arc;

/// What a task knows of its journal.
#[derive(Default)]
pub(super) struct Journalled {
    version: String,
    recorder: Option<Arc<Recorder>>,
}

impl<R> Task<R> {
    /// The version of what the pieces do, for a [journal](Self::journal): a piece that was recorded under another version is run again. Default:
    /// empty. Before [`journal`](Self::journal): after it, pieces end in [`Config`](ErrorKind::Config).
    pub fn version(mut self, version: impl Into<String>) -> Self
    where
        R: Value,
    {
        self.journalled.version = version.into();
        if let Some(recorder) = &self.journalled.recorder {
            recorder.refuse_pieces(
                "its task got a version after its journal was opened, which knows pieces by it: set .version() before .journal()",
            );
        }
        self
    }

    /// Records how each piece ends in a journal, and does not run again what an earlier run has recorded there as done. The task needs a
    /// [`name`](Self::name), and all its pieces call one function. Before the first `run`.
    ///
    /// The journal is opened, locked and read now. An outcome is recorded before anyone gets it, and is as durable as
    /// [`Journal::durability`] says; [`completed`](Self::completed) counts recorded pieces. A piece that was recorded before has its outcome at
    /// once and reaches no worker. Errors by the task itself (`Cancelled`, `Encode`, `Config`, `Unsupported`, `Journal`) are not recorded.
    ///
    /// The file is unlocked by the drop of the task, its iterator and its [confirmers](Self::confirmer), which waits until it is written.
    /// If pieces still run then, as when a task is dropped, they are recorded as they end, and until then the file stays
    /// locked. [`Canceller::stop`](crate::Canceller::stop) ends a run in order.
    ///
    /// It takes some 40 to 60 bytes of memory for each recorded outcome of earlier runs (400 MB for ten million), and 100 for each piece of this one, until the task
    /// ends. Recorded results stay in the file until they are asked for. A thread writes the file.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("lengths.journal");
    /// let task = multicore::Task::<usize>::new_or_inline().name("lengths").journal(&path)?;
    /// task.call(|text: String| text.len(), "four".to_string());
    /// assert_eq!(task.get()?, [4]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the task has no name, or has pieces or a journal already. [`Journal`](ErrorKind::Journal) if the file cannot be opened, is
    /// held by another task or process, is no journal, is damaged, or has outcomes of the same name and version with results of another type, or from a build with
    /// the other binary format (`bincode`, `postcard`).
    pub fn journal(mut self, journal: impl Into<Journal>) -> Result<Self, Error>
    where
        R: Value,
    {
        let config = |message| Err(Error::new(ErrorKind::Config, message));
        let Some(name) = self.settings.name.clone() else {
            return config(
                "a task with a journal needs a name, by which its pieces are known again: set .name() before .journal()",
            );
        };
        if !self.is_empty() {
            return config("the task has pieces that its journal would not know: set .journal() before the first run");
        }
        if self.journalled.recorder.is_some() {
            return config("the task has a journal: Journal::also counts the outcomes of another one too");
        }
        let version = self.journalled.version.clone();
        let names = Names { name, version, types: codec::recorded_type::<R>() };
        let backend = (Arc::clone(&self.backend), self.key);
        let recorder = journal::open(&journal.into(), backend, names, self.settings.clone())?;
        self.backend = Arc::clone(&recorder) as Arc<dyn Backend>;
        if let Some(reporter) = &self.reporter {
            reporter.follow(&self.backend);
        }
        if let Some(watched) = &self.cells.get_mut().watched {
            watched.follow(&self.backend);
        }
        self.journalled.recorder = Some(recorder);
        Ok(self)
    }

    /// A handle by which the caller says which pieces are done, where the journal is [confirmed](Journal::confirmed).
    #[must_use]
    pub fn confirmer(&self) -> Confirmer
    where
        R: Value,
    {
        Confirmer::new(self.journalled.recorder.as_ref())
    }

    /// How many pieces had their outcome from an earlier run when they were handed out.
    #[must_use]
    pub fn resumed(&self) -> usize
    where
        R: Value,
    {
        self.backend.resumed(self.key)
    }
}
