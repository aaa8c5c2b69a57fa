//! Makes a journal new: the newest outcome of each piece, and nothing else.
//!
//! | step | what                                                       | what is there if this process dies after it |
//! |------|------------------------------------------------------------|----------------------------------------------|
//! | 1    | the journal is locked, read, and a new file made beside it | the journal, and a file `….compacting` that the next compaction takes away |
//! | 2    | the new file is written and synced                         | the same                                     |
//! | 3    | it takes the journal's place, and the folder is synced     | the new journal                              |
//!
//! Invariant: at each moment the path leads to a whole journal with all outcomes.

use super::file::{refused, unusable};
use super::format::{Ended, FileId, Key, Kind, Run};
use super::log::{self, Fault, Log};
use super::scan::Found;
use crate::error::Error;
use crate::sys::record_file::RecordFile;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What the new file's name ends with before it takes the place of the old one.
const SUFFIX: &str = ".compacting";

/// What a compaction has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    outcomes: u64,
    dropped: u64,
    bytes_before: u64,
    bytes_after: u64,
}

impl Compacted {
    /// The outcomes that are in the file now: one for each piece.
    #[must_use]
    pub fn outcomes(&self) -> u64 {
        self.outcomes
    }

    /// The outcomes that were left out, because a newer one of the same piece is there.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The length of the file before, in bytes.
    #[must_use]
    pub fn bytes_before(&self) -> u64 {
        self.bytes_before
    }

    /// The length of the file now, in bytes.
    #[must_use]
    pub fn bytes_after(&self) -> u64 {
        self.bytes_after
    }
}

/// Writes a journal anew with the newest outcome of each piece. Until that is on the disk, the old one stays; then it is replaced in one
/// step.
///
/// # Errors
/// [`Journal`](crate::ErrorKind::Journal) if it cannot be opened, is held by a task, is damaged, or if there is no room for the new one: then
/// the old one stays. If only the folder could not be synced, the new one is there already.
pub fn compact(path: impl AsRef<Path>) -> Result<Compacted, Error> {
    rewrite(path.as_ref(), false)
}

/// As [`compact`], and leaves out what is damaged: the pieces whose outcomes stood there are run again.
///
/// # Errors
/// As [`compact`], but for the damage. A file whose first 32 bytes are damaged cannot be repaired.
pub fn repair(path: impl AsRef<Path>) -> Result<Compacted, Error> {
    rewrite(path.as_ref(), true)
}

fn rewrite(path: &Path, repair: bool) -> Result<Compacted, Error> {
    let old = RecordFile::open_existing(path).map_err(|refusal| refused(path, refusal))?;
    remove_left_over(&old);
    let new = old.new_beside(SUFFIX).map_err(|refusal| refused(&beside(path), refusal))?;
    let rewritten = copy_newest(&old, new, repair).and_then(|(compacted, mut new)| {
        new.replace(&old)?;
        Ok(compacted)
    });
    rewritten.map_err(|fault| {
        // If that fails, the next attempt does it.
        remove_left_over(&old);
        unusable(path, fault)
    })
}

/// Takes away what a compaction left that died. Another file of that name stays, and is in the way.
fn remove_left_over(journal: &RecordFile) {
    if let Ok(file) = journal.open_beside_to_read(SUFFIX)
        && log::id_of(&file).is_ok()
    {
        let _ = journal.remove_beside(SUFFIX);
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(SUFFIX);
    name.into()
}

/// What is kept of a file.
#[derive(Debug, Default)]
struct Newest {
    runs: HashMap<u32, Found>,
    outcomes: HashMap<Key, Found>,
    /// Outcomes in the file that can be read, older ones included.
    count: u64,
    /// An outcome that cannot be read, though its sums are right.
    unreadable: Option<u64>,
}

impl Newest {
    fn add(&mut self, found: &Found, body: &[u8]) {
        match found.head.kind {
            Kind::Run => _ = self.runs.insert(found.head.run, *found),
            Kind::Synced => {}
            kind => match Ended::decode(kind, body) {
                Some(ended) => {
                    self.count += 1;
                    self.outcomes.insert(ended.key, *found);
                }
                None => _ = self.unreadable.get_or_insert(found.offset),
            },
        }
    }
}

fn copy_newest(old: &RecordFile, new: RecordFile, repair: bool) -> Result<(Compacted, RecordFile), Fault> {
    let mut newest = Newest::default();
    if let Some(id) = log::id_of(old)? {
        log::read_all(old, id, repair, |found, body| newest.add(found, body))?;
    }
    if let Some(offset) = newest.unreadable.filter(|_| !repair) {
        return Err(Fault::Corrupt { offset });
    }
    let mut log = Log::open(new, FileId::random()?, false, |_, _| {})?;
    write_newest(old, &newest, &mut log)?;
    let new = log.into_storage();
    new.sync()?;
    let outcomes = newest.outcomes.len() as u64;
    let dropped = newest.count - outcomes;
    let (bytes_before, bytes_after) = (old.length()?, new.length()?);
    Ok((Compacted { outcomes, dropped, bytes_before, bytes_after }, new))
}

/// Copies what is kept in the order of the file, each outcome behind its run. Runs get new numbers.
fn write_newest(old: &RecordFile, newest: &Newest, log: &mut Log<RecordFile>) -> Result<(), Fault> {
    let mut outcomes: Vec<&Found> = newest.outcomes.values().collect();
    outcomes.sort_unstable_by_key(|found| found.offset);
    let mut last = None;
    for found in outcomes {
        let run = found.head.run;
        if last != Some(run) {
            if last.replace(run).is_some() {
                log.next_run()?;
            }
            // Where a repair has lost it, it names nobody.
            let names = newest.runs.get(&run).map(|run| log::read_body(old, run)).transpose()?;
            log.append(Kind::Run, &[&names.unwrap_or_else(|| Run::default().encode())])?;
        }
        log.append(found.head.kind, &[&log::read_body(old, found)?])?;
    }
    log.close()
}
