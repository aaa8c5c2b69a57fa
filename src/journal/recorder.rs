//! What a journalled task, its confirmers and the writer of its journal share. It is a backend that holds another one.
//!
//! | thread        | does                                                                      | sleeps in            |
//! |---------------|---------------------------------------------------------------------------|----------------------|
//! | the caller    | hands pieces out: those that an earlier run has recorded have their outcome at once, the others go to the inner backend | `callers`, for an outcome; or it leaves its waker |
//! | the writer    | takes outcomes from the inner backend, records, syncs, and then settles   | the inner backend, for an outcome; `writer`, for anything else |
//! | of a confirmer| leaves what is to be confirmed                                            | never, but in its drop |
//!
//! Pieces of a task without a pool run on the thread of the caller that wants an outcome; it leaves theirs in `inbox`.
//!
//! Invariants: an outcome that a journal keeps is settled only when it is as durable as the task asked for. The lock is never held
//! while anything is written, nor while the inner backend is called. The file is locked until the task and the last confirmer are
//! gone and all that they began has ended.

mod backend;
mod writing;

use super::earlier::{Counting, Files, Index};
use super::format::{Ended, Key};
use super::identity::Identities;
use super::pieces::{Outcome, Pieces, Standing};
use super::settings::Durability;
use crate::backend::counts::Last;
use crate::backend::numbered::Numbered;
use crate::backend::waking::KeptWaker;
use crate::backend::{Backend, Finished, Reader, Settled, TaskKey, TaskSettings};
use crate::codec::call::Call;
use crate::error::{Error, ErrorKind};
use crate::sys::process;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Once this many bytes wait to be synced, a sync comes at once.
pub(super) const MAX_UNSYNCED_BYTES: usize = 1024 * 1024;

/// While a sync is under way, this much of results may pile up behind it; then pieces wait. It is the bound of a task that is read
/// piece by piece.
pub(super) const MAX_PILED_BYTES: usize = 64 * 1024 * 1024;

/// What a record takes beside the result.
const RECORD_BYTES: usize = 64;

#[derive(Debug)]
pub(crate) struct Recorder {
    pub(super) inner: Arc<dyn Backend>,
    pub(super) key: TaskKey,
    pub(super) path: PathBuf,
    pub(super) durability: Durability,
    files: Mutex<Files>,
    pub(super) counting: Counting,
    names: Names,
    /// In a child that was forked from it, all here is a copy.
    owner: process::Number,
    state: Mutex<State>,
    callers: Condvar,
    writer: Condvar,
}

/// What the task is known by.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) name: Arc<str>,
    pub(crate) version: String,
    /// The type of its results, and their binary format if it is not the usual one.
    pub(crate) types: String,
}

/// A piece that was handed to the inner backend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handed {
    pub(super) number: usize,
    pub(super) key: Key,
    /// The writer has its outcome.
    has_ended: bool,
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Piece(usize),
    Any,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) pieces: Pieces,
    /// What earlier runs have left.
    index: Index,
    settings: TaskSettings,
    /// Why no further piece is taken: the task was called otherwise after its journal was opened.
    misuse: Option<String>,
    identities: Option<Identities>,
    /// The one function of all pieces.
    call: Option<Call>,
    /// By their number in the inner backend, in which they are in order too. The first ones go once the writer has them.
    handed: Numbered<Handed>,
    /// Those of them whose outcome the writer does not have.
    open: usize,
    /// The first of them that no caller has begun; of a task without a pool.
    next_inline: usize,
    inbox: Vec<Finished>,
    /// The results that came and are not settled, and their bytes.
    unsettled: usize,
    unsettled_bytes: usize,
    /// To be recorded as confirmed.
    confirmations: Vec<Ended>,
    /// Done, and not confirmed.
    pub(super) unconfirmed: HashMap<usize, Ended>,
    /// The task, and each confirmer.
    holders: usize,
    is_task_open: bool,
    want: Option<Want>,
    /// Of a caller that does not wait for that.
    waker: Option<KeptWaker>,
    /// What the inner backend was told of the reader.
    told: Reader,
    is_interrupted: bool,
    /// The writer waits in the inner backend.
    is_taking: bool,
    flushes_wanted: u64,
    flushes_done: u64,
    is_over: bool,
    /// Where the last counts are noted, if the task is detached and watched.
    last: Option<Arc<Last>>,
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Order {
    Confirm(Vec<Ended>),
    Record(Vec<Finished>),
    /// Records and syncs all that has ended.
    Flush(u64),
    Sync,
    /// Takes an outcome from the inner backend, until this time, and tells it before of the reader, if there is something to tell.
    Take(Option<Reader>, Option<Instant>),
    End,
    /// Nothing, until somebody or this time comes.
    Wait(Option<Instant>),
}

/// What was written and is not synced.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unsynced {
    pub(super) bytes: usize,
    /// When it is to be synced; `None` if there is nothing.
    pub(super) due: Option<Instant>,
}

impl State {
    fn new(settings: TaskSettings, index: Index) -> State {
        let mut pieces = Pieces::default();
        pieces.set_name(settings.name.clone());
        State {
            pieces,
            index,
            settings,
            misuse: None,
            identities: None,
            call: None,
            handed: Numbered::default(),
            open: 0,
            next_inline: 0,
            inbox: Vec::new(),
            unsettled: 0,
            unsettled_bytes: 0,
            confirmations: Vec::new(),
            unconfirmed: HashMap::new(),
            holders: 1,
            is_task_open: true,
            want: None,
            waker: None,
            told: Reader::default(),
            is_interrupted: false,
            is_taking: false,
            flushes_wanted: 0,
            flushes_done: 0,
            is_over: false,
            last: None,
        }
    }

    /// What the writer does next.
    fn next_order(&mut self, unsynced: Unsynced, runs_in_caller: bool, now: Instant) -> Order {
        // First: what goes on coming must not put it off.
        if unsynced.due.is_some_and(|due| due <= now || unsynced.bytes >= MAX_UNSYNCED_BYTES) {
            return Order::Sync;
        }
        if !self.confirmations.is_empty() {
            return Order::Confirm(std::mem::take(&mut self.confirmations));
        }
        if !self.inbox.is_empty() {
            return Order::Record(std::mem::take(&mut self.inbox));
        }
        if self.flushes_done < self.flushes_wanted {
            return Order::Flush(self.flushes_wanted);
        }
        let nothing_else_comes = self.open == 0 || runs_in_caller || self.is_full();
        let is_hurried = self.want.is_some() || self.holders == 0;
        if unsynced.due.is_some() && nothing_else_comes && is_hurried {
            return Order::Sync;
        }
        if self.open > 0 && !runs_in_caller {
            self.is_taking = true;
            return Order::Take(self.reader_to_tell(), unsynced.due);
        }
        if self.holders == 0 && self.open == 0 && unsynced.due.is_none() {
            Order::End
        } else {
            Order::Wait(unsynced.due)
        }
    }

    /// What the inner backend does not know yet of the reader, where that matters: it lets no more pieces begin than fit.
    fn reader_to_tell(&mut self) -> Option<Reader> {
        self.settings.max_unread_bytes?;
        let reads = self.is_task_open && self.pieces.failure().is_none();
        let reader = match reads {
            true => (self.pieces.unread_bytes() + self.unsettled_bytes, self.want.is_some()),
            // Nobody reads what comes, and so nobody waits for it to be read.
            false => (0, true),
        };
        if (self.told.unread_bytes, self.told.is_awaited) == reader {
            return None;
        }
        let (unread_bytes, is_awaited) = reader;
        self.told = Reader { unread_bytes, is_awaited, turn: self.told.turn + 1 };
        Some(self.told)
    }

    /// True if no more results are to come than a caller waits for.
    fn is_full(&self) -> bool {
        let most = self.settings.max_unread_bytes.unwrap_or(usize::MAX);
        self.pieces.unread_bytes() + self.unsettled_bytes >= most
    }

    /// True if a caller that runs the pieces itself runs another one before it waits for an outcome.
    fn runs_another(&self, want: Want) -> bool {
        if self.next_inline == self.handed.len() {
            return false;
        }
        let has_begun = match want {
            Want::Piece(number) => self.handed.get(self.next_inline).is_some_and(|next| next.number > number),
            Want::Any => self.unsettled > 0,
        };
        // A record of nothing takes some bytes too.
        let unsynced_bytes = self.unsettled_bytes + self.unsettled * RECORD_BYTES;
        !has_begun || (!self.is_full() && unsynced_bytes < MAX_UNSYNCED_BYTES)
    }

    fn is_satisfied(&mut self) -> bool {
        self.is_over
            || match self.want {
                Some(Want::Piece(number)) => self.pieces.is_ready(number),
                Some(Want::Any) => self.pieces.first_finished().is_some(),
                None => false,
            }
    }
}

impl Recorder {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        (inner, key): (Arc<dyn Backend>, TaskKey),
        path: PathBuf,
        durability: Durability,
        (index, files, counting): (Index, Files, Counting),
        names: Names,
        settings: TaskSettings,
    ) -> Recorder {
        let recorder = Recorder {
            inner,
            key,
            path,
            durability,
            files: Mutex::new(files),
            counting,
            names,
            owner: process::number(),
            state: Mutex::new(State::new(settings.clone(), index)),
            callers: Condvar::new(),
            writer: Condvar::new(),
        };
        recorder.configure_inner(settings);
        recorder
    }

    /// False in a child that was forked from the process that opened the journal: all here is a copy then, and the lock may be held by a thread
    /// that is not there.
    fn is_ours(&self) -> bool {
        process::is_current(self.owner)
    }

    fn foreign() -> Error {
        let message = "the journal belongs to a process that this one was forked from: open another one here";
        Error::new(ErrorKind::Unsupported, message)
    }

    fn configure_inner(&self, settings: TaskSettings) {
        let most = settings.max_unread_bytes.unwrap_or(MAX_PILED_BYTES).min(MAX_PILED_BYTES);
        let is_bounded = settings.max_unread_bytes.is_some();
        self.inner.configure(self.key, TaskSettings { max_unread_bytes: Some(most), is_timed: true, ..settings });
        if is_bounded {
            // From here on the writer tells of each change.
            self.inner.tell_reader(self.key, Reader::default());
        }
    }

    /// The task is called otherwise than when its journal was opened: pieces that come have failed.
    pub(crate) fn refuse_pieces(&self, why: &str) {
        if self.is_ours() {
            self.state.lock().misuse = Some(why.to_string());
        }
    }

    /// What was taken, with what an earlier run has recorded read from its file.
    fn settled(&self, number: usize, outcome: Outcome) -> Settled {
        let entry = match outcome {
            Outcome::Settled(settled) => return settled,
            Outcome::Recorded(entry) => entry,
        };
        let label = self.state.lock().pieces.label(number).expect("it was taken");
        self.files.lock().read(entry, label, self.counting)
    }

    /// The reader has taken something, or waits: lets the inner backend know where that lets a piece begin.
    fn tell_reader(&self, mut state: MutexGuard<'_, State>) {
        let reader = if self.inner.runs_in_caller() { None } else { state.reader_to_tell() };
        drop(state);
        if let Some(reader) = reader {
            self.inner.tell_reader(self.key, reader);
        }
    }

    /// Wakes the caller, wherever it is.
    fn wake_callers(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        self.callers.notify_all();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the writer, wherever it sleeps.
    fn wake_writer(&self, state: MutexGuard<'_, State>) {
        let is_taking = state.is_taking;
        drop(state);
        self.writer.notify_one();
        if is_taking {
            self.inner.interrupt(self.key);
        }
    }

    // Confirmers.

    /// There is another confirmer.
    pub(super) fn hold(&self) {
        if self.is_ours() {
            self.state.lock().holders += 1;
        }
    }

    /// A holder goes. The last one waits until all that has ended is as durable as was asked for; and until the file is unlocked,
    /// unless pieces still run.
    pub(super) fn release(&self) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.state.lock();
        state.holders -= 1;
        if state.holders > 0 {
            return;
        }
        state.flushes_wanted += 1;
        let wanted = state.flushes_wanted;
        self.wake_writer(state);
        let mut state = self.state.lock();
        while !state.is_over && (state.flushes_done < wanted || state.open == 0) {
            self.callers.wait(&mut state);
        }
    }

    /// The caller has kept what this piece gave.
    pub(super) fn confirm(&self, number: usize) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Recorder::foreign());
        }
        let mut state = self.state.lock();
        if let Some(failure) = state.pieces.failure() {
            return Err(Error::new(ErrorKind::Journal, &failure[..]));
        }
        if let Some(ended) = state.unconfirmed.remove(&number) {
            state.confirmations.push(ended);
            self.wake_writer(state);
            return Ok(());
        }
        let why = match state.pieces.standing(number) {
            Standing::Done | Standing::Earlier => return Ok(()),
            Standing::Unknown => format!("the task has {} pieces", state.pieces.len()),
            Standing::Open => "it is not done".to_string(),
            Standing::Failed => "it has failed".to_string(),
        };
        Err(Error::new(ErrorKind::Config, format!("piece {number} cannot be confirmed: {why}")))
    }
}

#[cfg(test)]
mod tests;
