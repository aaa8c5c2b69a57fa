//! The journal as its writer sees it: what was recorded before, then one record behind the other.
//!
//! | state       | what was written since the last sync                     | what ends it                    |
//! |-------------|----------------------------------------------------------|---------------------------------|
//! | between groups | nothing                                               | [`append`](Log::append): a record that tells how far all is on the disk, then the first one |
//! | in a group  | at least one record                                      | [`sync`](Log::sync)             |
//! | failed      | anything                                                 | nothing: the first error is final. After a failed sync the kernel forgets what it could not write, and a second one would succeed |
//!
//! Invariant: all before `synced` is on the disk, all before `end` was written whole, and `end` is the end of the file unless a
//! write has failed.

use super::format::{self, FileId, HEAD_BYTES, HEADER_BYTES, Head, HeaderFault, Kind, MARK, MAX_RUN, Run};
use super::scan::{Damage, Found, Next, Scanner};
use super::storage::{self, Source, Storage};
use std::io;

/// What is read of a record's body to recover: an outcome without its result, or a run's names.
pub(super) const BEGINNING_BYTES: usize = 64 * 1024;

/// A buffer that grew beyond this is freed once it was written.
const KEPT_BYTES: usize = 1024 * 1024;

/// Why a journal cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    System(io::Error),
    Header(HeaderFault),
    /// A record that was on the disk does not check.
    Corrupt {
        offset: u64,
    },
    /// There is no number for another run.
    TooManyRuns,
    /// A record has more bytes than the format allows.
    TooLong {
        bytes: usize,
    },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::System(error)
    }
}

#[derive(Debug)]
pub(super) struct Log<S> {
    storage: S,
    id: FileId,
    end: u64,
    synced: u64,
    run: u32,
    is_in_group: bool,
    has_failed: bool,
    /// What was put and is to be written at once.
    bytes: Vec<u8>,
}

/// The id of a file, if it is more than begun.
pub(super) fn id_of(storage: &impl Source) -> Result<Option<FileId>, Fault> {
    let length = storage.length()?;
    let mut header = [0; HEADER_BYTES];
    let bytes = &mut header[..length.min(HEADER_BYTES as u64) as usize];
    storage::read_exact_at(storage, 0, bytes)?;
    if length <= HEADER_BYTES as u64 && format::is_begun(bytes) {
        return Ok(None);
    }
    if bytes.len() < HEADER_BYTES {
        return Err(Fault::Header(HeaderFault::Foreign));
    }
    FileId::of_header(&header).map(Some).map_err(Fault::Header)
}

/// Reads all records of a file with this id, and gives where the last one ends. With `repair` what is corrupt is left out.
pub(super) fn read_all<S: Source>(
    storage: &S,
    id: FileId,
    repair: bool,
    mut on_record: impl FnMut(&Found, &[u8]),
) -> Result<u64, Fault> {
    let mut scanner = Scanner::new(storage, id)?;
    let mut end = HEADER_BYTES as u64;
    loop {
        match scanner.next()? {
            Next::End => return Ok(end),
            Next::Record(found) => {
                on_record(&found, scanner.beginning(&found, BEGINNING_BYTES)?);
                end = found.end();
            }
            Next::Bad { offset } => match scanner.judge(offset)? {
                Damage::TornTail => return Ok(end),
                Damage::Corrupt { goes_on } if repair => scanner.go_to(goes_on),
                Damage::Corrupt { .. } => return Err(Fault::Corrupt { offset }),
            },
        }
    }
}

/// The run that began last. It is looked for from the end on: a journal may be long, and who is refused should know it at once.
pub(super) fn last_run(storage: &impl Source, id: FileId) -> io::Result<Option<Run>> {
    let mut end = storage.length()?;
    let mut window = Vec::new();
    while end > HEADER_BYTES as u64 {
        let start = end.saturating_sub(BEGINNING_BYTES as u64).max(HEADER_BYTES as u64);
        // A head may reach into the part that was searched before.
        let length = (end - start) as usize + HEAD_BYTES;
        window.resize(length.min((storage.length()? - start) as usize), 0);
        storage::read_exact_at(storage, start, &mut window)?;
        let heads = window.windows(HEAD_BYTES).enumerate().rev();
        for (at, head) in heads.filter(|(_, head)| head.starts_with(&MARK)) {
            let Some(head) = Head::decode(head, id).filter(|head| head.kind == Kind::Run) else { continue };
            let mut record = vec![0; (head.record_bytes() as usize).min(2 * BEGINNING_BYTES)];
            let read = storage::read_exact_at(storage, start + at as u64, &mut record);
            let run = read.ok().and_then(|()| format::body_of(&record, id)).and_then(Run::decode);
            if run.is_some() {
                return Ok(run);
            }
        }
        end = start;
    }
    Ok(None)
}

impl<S: Storage> Log<S> {
    /// Reads what was recorded, cuts a torn tail off, and begins a run. `new_id` is that of a file that is empty.
    pub(super) fn open(
        mut storage: S,
        new_id: FileId,
        repair: bool,
        mut on_record: impl FnMut(&Found, &[u8]),
    ) -> Result<Log<S>, Fault> {
        let (id, is_new) = match id_of(&storage)? {
            Some(id) => (id, false),
            None => (new_id, true),
        };
        let (mut run, mut end) = (0, HEADER_BYTES as u64);
        if is_new {
            storage.truncate(0)?;
            storage.write_at(0, &id.header())?;
        } else {
            end = read_all(&storage, id, repair, |found, body| {
                run = run.max(found.head.run);
                on_record(found, body);
            })?;
            if end < storage.length()? {
                storage.truncate(end)?;
            }
        }
        if run == MAX_RUN {
            return Err(Fault::TooManyRuns);
        }
        // What the run before wrote may still be in memory alone.
        storage.sync()?;
        let bytes = Vec::new();
        Ok(Log { storage, id, end, synced: end, run: run + 1, is_in_group: false, has_failed: false, bytes })
    }

    /// Writes who writes from here on.
    pub(super) fn begin_run(&mut self, run: &Run) -> Result<(), Fault> {
        self.append(Kind::Run, &[&run.encode()]).map(drop)
    }

    /// Writes a record. Gives where it begins.
    pub(super) fn append(&mut self, kind: Kind, body: &[&[u8]]) -> Result<u64, Fault> {
        let offset = self.put(kind, body)?;
        self.write()?;
        Ok(offset)
    }

    /// Adds a record to what [`write`](Self::write) writes, and gives where it will begin. One that is too long is refused,
    /// and others may follow.
    pub(super) fn put(&mut self, kind: Kind, body: &[&[u8]]) -> Result<u64, Fault> {
        if !self.is_in_group {
            self.mark_synced();
            self.is_in_group = true;
        }
        let offset = self.end + self.bytes.len() as u64;
        match format::append(&mut self.bytes, self.id, (kind, self.run), body) {
            Some(()) => Ok(offset),
            None => Err(Fault::TooLong { bytes: body.iter().map(|part| part.len()).sum() }),
        }
    }

    /// An error, the last one, if the path leads to another file by now, or to none.
    pub(super) fn check_place(&mut self) -> Result<(), Fault> {
        self.check(|log| log.storage.check_place())
    }

    /// The bytes that were put and not written.
    pub(super) fn put_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All that was written is on the disk when this returns. If that fails, what may be lost is cut off, as far as that can be done: later it would
    /// look as if it were on the disk.
    pub(super) fn sync(&mut self) -> Result<(), Fault> {
        self.write()?;
        self.check(|log| {
            if !log.is_in_group {
                return Ok(());
            }
            // What lies elsewhere by now, or nowhere, is not where anyone looks for it.
            let synced = log.storage.check_place().and_then(|()| log.storage.sync());
            if synced.is_err() {
                let _ = log.storage.truncate(log.synced);
            }
            synced
        })?;
        (self.synced, self.is_in_group) = (self.end, false);
        Ok(())
    }

    /// Syncs, and writes that this was done: damage is told from a torn tail by that.
    pub(super) fn close(&mut self) -> Result<(), Fault> {
        self.sync()?;
        self.mark_synced();
        self.write()?;
        self.is_in_group = true;
        Ok(())
    }

    /// What is written from here on belongs to another run.
    pub(super) fn next_run(&mut self) -> Result<(), Fault> {
        if self.run == MAX_RUN {
            return Err(Fault::TooManyRuns);
        }
        self.run += 1;
        Ok(())
    }

    pub(super) fn id(&self) -> FileId {
        self.id
    }

    pub(super) fn into_storage(self) -> S {
        self.storage
    }

    fn mark_synced(&mut self) {
        let synced = self.synced.to_le_bytes();
        format::append(&mut self.bytes, self.id, (Kind::Synced, self.run), &[&synced]).expect("it is short");
    }

    /// Writes what was put.
    pub(super) fn write(&mut self) -> Result<(), Fault> {
        let mut bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.check(|log| log.storage.write_at(log.end, &bytes))?;
        }
        self.end += bytes.len() as u64;
        bytes.clear();
        if bytes.capacity() <= KEPT_BYTES {
            self.bytes = bytes;
        }
        Ok(())
    }

    fn check(&mut self, act: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), Fault> {
        if self.has_failed {
            return Err(Fault::System(io::Error::other("an earlier write failed, and none follows")));
        }
        let done = act(self);
        self.has_failed = done.is_err();
        Ok(done?)
    }
}

/// Reads a record's body. That is as much as its file has there.
pub(super) fn read_body(storage: &impl Source, found: &Found) -> Result<Vec<u8>, Fault> {
    let mut body = vec![0; found.head.body_bytes];
    storage::read_exact_at(storage, found.body_offset(), &mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests;
