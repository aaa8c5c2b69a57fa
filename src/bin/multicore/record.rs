//! Where a run is recorded: its journal and its job log.

use crate::arguments::Run;
use crate::joblog::JobLog;
use multicore::journal::{self, Durability, Journal};
use multicore::{Error, Task};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// The name of the runner's tasks in a journal.
pub const TASK: &str = "multicore run";

#[derive(Debug)]
pub struct Plan {
    journal: Option<PathBuf>,
    joblog: Option<PathBuf>,
    /// False: what an earlier run has recorded is forgotten.
    goes_on: bool,
    failed_again: bool,
    syncs: bool,
    version: String,
}

impl Plan {
    /// # Errors
    /// A line for people, if options are missing.
    pub fn of(options: &Run) -> Result<Plan, String> {
        let is_resumed = options.resume || options.resume_failed;
        let journal = options.journal.clone().or_else(|| options.joblog.clone().map(journal_of));
        if journal.is_none() && is_resumed {
            return Err("--resume needs --joblog FILE or --journal FILE, which tell what has run".to_string());
        }
        Ok(Plan {
            goes_on: options.journal.is_some() || is_resumed,
            failed_again: options.resume_failed || !options.resume,
            syncs: options.sync,
            joblog: options.joblog.clone(),
            version: options.version_key.clone().unwrap_or_default(),
            journal,
        })
    }

    /// Refuses what is no job log, before the journal is touched.
    pub fn check_joblog(&self) -> Result<(), String> {
        let Some(path) = &self.joblog else { return Ok(()) };
        JobLog::check(path).map_err(|error| format!("cannot write the job log {}: {error}", path.display()))
    }

    /// Opens the job log. After the journal: only who holds that may write here.
    pub fn open_joblog(&self) -> Result<Option<JobLog>, String> {
        let Some(path) = &self.joblog else { return Ok(None) };
        let log = JobLog::open(path, self.goes_on);
        log.map(Some).map_err(|error| format!("cannot write the job log {}: {error}", path.display()))
    }

    /// The task, with its journal if there is one. A journal that is begun anew is taken away first, if no run has it.
    pub fn record(&self, task: Task<String>) -> Result<Task<String>, Error> {
        let task = task.name(TASK).version(&self.version);
        let Some(path) = &self.journal else { return Ok(task) };
        if !self.goes_on && fs::symlink_metadata(path).is_ok() {
            // That fails if it is no journal, or if a run has it; damage does not count.
            journal::repair(path)?;
            // If that fails, the task tells why it cannot have the journal, or goes on with nothing that counts.
            let _ = fs::remove_file(path);
        }
        let durability = if self.syncs { Durability::Each } else { Durability::None };
        task.journal(Journal::at(path).durability(durability).resume_failed(self.failed_again))
    }
}

/// An error in the words of the program, where the library names a function.
pub fn in_words(error: &Error) -> String {
    error.to_string().replace("`journal::repair`", "`multicore journal repair FILE`")
}

fn journal_of(joblog: PathBuf) -> PathBuf {
    let mut name = OsString::from(joblog);
    name.push(".journal");
    name.into()
}
