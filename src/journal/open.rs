//! Opens a journal for a task: locks it, reads what earlier runs have left, and begins a run.
//!
//! | step | what                                                                                | if it is not so                  |
//! |------|-------------------------------------------------------------------------------------|----------------------------------|
//! | 1    | the file is this user's own, and nobody else holds it                                 | an error; of a dead holder's processes the end is awaited |
//! | 2    | it is read, and a torn tail is cut off                                                | an error; nothing was changed    |
//! | 3    | the run before has left no process, so that none of its pieces runs beside ours        | their end is awaited, then an error |
//! | 4    | its pieces gave the same type                                                          | an error                         |
//! | 5    | a record says who writes from here on                                                  | an error                         |
//!
//! Invariant: no piece was handed out when any of this fails.

use super::earlier::{Files, Index};
use super::file::{fault_of, refused, unusable};
use super::format::{FileId, Run};
use super::log::{self, Fault, Log};
use super::recorder::{Names, Recorder};
use super::settings::Journal;
use super::storage::Storage;
use super::writer;
use crate::backend::{Backend, TaskKey, TaskSettings};
use crate::error::{Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::sys::left_over;
use crate::sys::record_file::{self, RecordFile, Refusal};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The processes of a program that was killed end within some milliseconds. One that does not within this time hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most journals beside the task's own whose outcomes count.
const MAX_ALSO: usize = 255;

/// The backend of a task whose pieces are recorded.
pub(crate) fn open(
    journal: &Journal,
    backend: (Arc<dyn Backend>, TaskKey),
    names: Names,
    settings: TaskSettings,
) -> Result<Arc<Recorder>, Error> {
    if journal.also.len() > MAX_ALSO {
        let message =
            format!("{} other journals are to count, and 255 can: compact them into fewer", journal.also.len());
        return Err(Error::new(ErrorKind::Config, message));
    }
    let path = &journal.path;
    let file = Arc::new(lock(path)?);
    let (mut index, mut files) = (Index::default(), Files::new());
    let others = journal.also.iter().map(|other| read_other(other, journal.repair, &mut index));
    let others = others.collect::<Result<Vec<_>, Error>>()?;
    let fault = |fault| unusable(path, fault);
    let storage: Box<dyn Storage + Send> = Box::new(Arc::clone(&file));
    let new_id = FileId::random().map_err(|error| fault(error.into()))?;
    let mut log = Log::open(storage, new_id, journal.repair, |found, body| index.add(0, found, body)).map_err(fault)?;
    if let Some(pid) = index.last_pid() {
        await_end_of(path, pid)?;
    }
    if let Some(other) = index.other_types(&names.name, &names.version, &names.types).filter(|_| !journal.any_types) {
        let Names { name, version, types } = &names;
        let what = format!(
            "has outcomes of {name:?}, version {version:?}, whose type was {other}, and the task gives {types}: set .version() to another one"
        );
        return Err(fault_of(path, &what));
    }
    files.add(Box::new(file), log.id(), path.display().to_string());
    for (file, id, name) in others {
        files.add(Box::new(file), id, name);
    }
    failpoint!("journal-opened");
    log.begin_run(&this_run(&names)).map_err(fault)?;
    failpoint!("journal-run-begun");
    let earlier = (index, files, journal.counting());
    let recorder = Recorder::new(backend, path.clone(), journal.durability, earlier, names, settings);
    let recorder = Arc::new(recorder);
    writer::start(log, &recorder)
        .map_err(|error| Error::system("cannot start the thread that writes a journal", error))?;
    Ok(recorder)
}

/// Locks a journal. One that a living process holds is refused at once.
fn lock(path: &Path) -> Result<RecordFile, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let refusal = match RecordFile::open(path) {
            Ok(file) => return Ok(file),
            Err(refusal) => refusal,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match refusal {
            // A compaction has put the new one in its place.
            Refusal::Replaced if !left.is_zero() => {}
            Refusal::Held => await_holder(path, left)?,
            refusal => return Err(refused(path, refusal)),
        }
    }
}

/// Waits for the end of the processes that a dead holder has left: children that it forked have a copy of its descriptor. An error if the
/// holder lives, or they do not end.
fn await_holder(path: &Path, within: Duration) -> Result<(), Error> {
    let held = |by: &str| fault_of(path, &format!("is held by {by}: wait until that has ended, or give another path"));
    // It may be gone in this moment.
    let Ok(file) = RecordFile::open_to_read(path) else { return Err(refused(path, Refusal::Held)) };
    if record_file::is_locked_here(file.identity()) {
        return Err(fault_of(path, HELD_HERE));
    }
    // Another process may have our number, in another namespace.
    if let Some(pid) = last_pid(&file).filter(|&pid| pid != std::process::id()) {
        if left_over::is_alive(pid) {
            return Err(held(&format!("pid {pid}")));
        }
        let left = left_over::await_ends(within, || left_over::holders_of(file.identity()));
        if !left.is_empty() {
            return Err(held(&format!("processes of pid {pid}, which has died: {}", listed(&left))));
        }
    }
    if within.is_zero() {
        return Err(held("another process, which cannot be seen from here"));
    }
    // It lets go at this moment, or cannot be seen. No call waits for such a lock until a time.
    std::thread::sleep(within.min(Duration::from_millis(10)));
    Ok(())
}

/// The process that wrote to a journal last.
fn last_pid(file: &RecordFile) -> Option<u32> {
    let id = log::id_of(file).ok()??;
    Some(log::last_run(file, id).ok()??.pid)
}

fn listed(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

const HELD_HERE: &str = "is held by this process: another task has it, or one that was dropped still runs pieces";

/// Waits until nothing is left of the run before: its workers end by themselves, but a moment after their parent was killed.
fn await_end_of(path: &Path, pid: u32) -> Result<(), Error> {
    if pid == std::process::id() || left_over::is_alive(pid) {
        return Ok(());
    }
    let left = left_over::await_end(pid, PATIENCE);
    if left.is_empty() {
        return Ok(());
    }
    let what = format!(
        "was held by pid {pid}, which has died, but its processes still run: {}. End them, so that no piece runs twice at a time",
        listed(&left)
    );
    Err(fault_of(path, &what))
}

type Other = (RecordFile, FileId, String);

/// Reads the outcomes of another journal, which gets the next number.
fn read_other(path: &Path, repair: bool, index: &mut Index) -> Result<Other, Error> {
    let number = index.next_file();
    let file = RecordFile::open_to_read(path).map_err(|refusal| refused(path, refusal))?;
    let mut read = || -> Result<FileId, Fault> {
        let Some(id) = log::id_of(&file)? else { return Ok(FileId([0; 16])) };
        log::read_all(&file, id, repair, |found, body| index.add(number, found, body))?;
        Ok(id)
    };
    let id = read().map_err(|fault| unusable(path, fault))?;
    Ok((file, id, path.display().to_string()))
}

fn this_run(names: &Names) -> Run {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Run {
        pid: std::process::id(),
        began_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        name: names.name.to_string(),
        version: names.version.clone(),
        types: names.types.clone(),
        crate_version: env!("CARGO_PKG_VERSION").to_string(),
    }
}
