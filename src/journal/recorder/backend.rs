//! The recorder as its task knows it: a backend.

use super::{Handed, Recorder, State, Want};
use crate::backend::counts::Last;
use crate::backend::waking::{KeptWaker, Until};
use crate::backend::{
    Backend, Counts, Feeding, Finished, Outcomes, ReadOrder, Settled, Site, Stop, TaskKey, TaskSettings, Wanted,
};
use crate::codec::bytes::Handed as Arguments;
use crate::codec::tables::table::{self, Tables};
use crate::error::{ErrorKind, PieceLabel};
use crate::failpoint::failpoint;
use crate::journal::earlier::Entry;
use crate::journal::format::Key;
use crate::journal::identity::Identities;
use crate::journal::pieces::Outcome;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::time::Instant;

/// At most 256 outcomes, or 64 KiB, are taken under one lock.
const BATCH_PIECES: usize = 256;
const BATCH_BYTES: usize = 64 * 1024;

/// A task without a pool runs up to this number of pieces before one sync for all of them.
const RUN_AHEAD: usize = 64;

impl Recorder {
    /// What a new piece is: known from an earlier run, or new, with its key.
    fn look_up(&self, state: &mut State, arguments: &[u8]) -> Result<Entry, Key> {
        let (names, format) = (&self.names, state.settings.format);
        let identities = state.identities.get_or_insert_with(|| Identities::new(&names.name, &names.version, format));
        let key = identities.next(arguments);
        state.index.find(&key, self.counting).ok_or(key)
    }

    /// Notes a piece that no earlier run has recorded. True if it goes to the inner backend.
    fn add_new(&self, state: &mut State, site: Site, key: Key) -> bool {
        let number = state.pieces.add_open(site);
        if state.pieces.failure().is_some() {
            return false;
        }
        state.handed.push(Handed { number, key, has_ended: false });
        state.open += 1;
        true
    }

    /// Why a piece of this site is refused, if it is. A journal keeps the pieces of one function: their keys do not tell which one it was.
    fn refusal(state: &mut State, site: &Site) -> Option<String> {
        if let Some(why) = &state.misuse {
            return Some(format!("never began: {why}"));
        }
        let is_the_first = *state.call.get_or_insert(site.call) == site.call;
        let why = "never began: a journal keeps the pieces of one function, and this is the task's second one";
        (!is_the_first).then(|| why.to_string())
    }

    /// Wakes the writer if it waits for pieces.
    fn pieces_added(&self, state: MutexGuard<'_, State>) {
        let is_taking = state.is_taking;
        drop(state);
        if !is_taking {
            self.writer.notify_one();
        }
    }

    /// Runs the next piece, on this thread. False if there is none.
    fn run_one<'a>(&'a self, mut state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
        if state.next_inline == state.handed.len() {
            return (state, false);
        }
        let number = state.next_inline;
        state.next_inline += 1;
        drop(state);
        let finished = self.inner.take_finished(self.key, Wanted::Piece(number), Until::Outcome);
        let mut state = self.state.lock();
        if let Some(finished) = finished {
            state.unsettled += 1;
            state.unsettled_bytes += finished.settled.bytes();
            state.inbox.push(finished);
        } else {
            // The piece before has ended the task.
            state.open -= 1;
        }
        self.writer.notify_one();
        (state, true)
    }

    /// Waits until `take` gives something; a caller without a pool runs pieces meanwhile, and only one if it does not wait.
    fn wait<T>(&self, want: Want, until: Until<'_>, mut take: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let runs_in_caller = self.inner.runs_in_caller();
        let (mut waker, mut has_run) = (until.waker().map(KeptWaker::of), false);
        let mut state = self.state.lock();
        loop {
            if let Some(value) = take(&mut state) {
                state.want = None;
                let unneeded = state.waker.take();
                self.tell_reader(state);
                drop(unneeded);
                return Some(value);
            }
            let is_late = until.deadline().is_some_and(|deadline| deadline <= Instant::now());
            if is_late || state.is_over || std::mem::take(&mut state.is_interrupted) {
                state.want = None;
                return None;
            }
            if runs_in_caller && state.runs_another(want) {
                if has_run && let Some(waker) = waker {
                    drop(state);
                    waker.wake();
                    return None;
                }
                (state, _) = self.run_one(state);
                has_run = true;
                continue;
            }
            if state.want.replace(want).is_none() {
                // A sync is due at once, or a piece may begin that waits because too much is unread.
                self.writer.notify_one();
                self.tell_reader(state);
                state = self.state.lock();
                continue;
            }
            if waker.is_some() {
                // The look above was the last one before the lock is released.
                let earlier = std::mem::replace(&mut state.waker, waker.take());
                drop(state);
                drop(earlier);
                return None;
            }
            match until.deadline() {
                Some(deadline) => _ = self.callers.wait_until(&mut state, deadline),
                None => self.callers.wait(&mut state),
            }
        }
    }

    /// Takes a piece that has an outcome.
    fn take_ready(state: &mut State, wanted: Wanted) -> Option<(usize, Outcome)> {
        let number = match wanted {
            Wanted::First { .. } => state.pieces.first_finished()?,
            Wanted::Piece(number) => number,
        };
        Some((number, state.pieces.take(number)?))
    }

    /// The task has no owner any more, who would take outcomes. False if it had none.
    fn let_go(&self) -> bool {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.is_task_open) {
            return false;
        }
        // What nobody has begun, nobody will.
        if self.inner.runs_in_caller() {
            state.open -= state.handed.len() - state.next_inline;
            state.next_inline = state.handed.len();
        }
        let rest = (state.pieces.let_go(), state.waker.take());
        drop(state);
        drop(rest);
        true
    }

    fn finished(&self, (number, outcome): (usize, Outcome)) -> Finished {
        let settled = self.settled(number, outcome);
        // Who wraps this one is told no more.
        Finished { number, settled, attempts: 0, took_ns: 0 }
    }
}

impl Backend for Recorder {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn runs_in_caller(&self) -> bool {
        self.inner.runs_in_caller()
    }

    fn is_elsewhere(&self) -> bool {
        self.inner.is_elsewhere()
    }

    fn configure(&self, _: TaskKey, settings: TaskSettings) {
        if self.is_ours() {
            let mut state = self.state.lock();
            if settings.name.as_ref() != Some(&self.names.name) {
                let why = "its task was named after its journal was opened, which knows pieces by the name: set .name() before .journal()";
                state.misuse = Some(why.to_string());
            }
            state.pieces.set_name(settings.name.clone());
            state.settings = settings.clone();
            drop(state);
            self.configure_inner(settings);
        }
    }

    fn add_piece(&self, _: TaskKey, site: Site, arguments: Arguments<'_>) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.state.lock();
        if let Some(why) = Recorder::refusal(&mut state, &site) {
            return state.pieces.add_failed(site, ErrorKind::Config, why);
        }
        match self.look_up(&mut state, arguments.as_slice()) {
            Ok(entry) => state.pieces.add_recorded(site, entry, entry.has_outcome(self.counting)),
            Err(key) => {
                if self.add_new(&mut state, site, key) {
                    self.pieces_added(state);
                    self.inner.add_piece(self.key, site, arguments);
                }
            }
        }
    }

    /// It is known by what it shares, not by the numbers that stand for that: these are others in each run.
    fn add_sharing_piece(&self, _: TaskKey, site: Site, arguments: Vec<u8>, tables: Tables) {
        if !self.is_ours() {
            return;
        }
        let content = table::content_of(&arguments, &tables);
        let mut state = self.state.lock();
        if let Some(why) = Recorder::refusal(&mut state, &site) {
            return state.pieces.add_failed(site, ErrorKind::Config, why);
        }
        match self.look_up(&mut state, &content) {
            Ok(entry) => state.pieces.add_recorded(site, entry, entry.has_outcome(self.counting)),
            Err(key) => {
                if self.add_new(&mut state, site, key) {
                    self.pieces_added(state);
                    self.inner.add_sharing_piece(self.key, site, arguments, tables);
                }
            }
        }
    }

    fn add_pieces(&self, _: TaskKey, site: Site, arguments: &[u8], ends: &[usize]) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.state.lock();
        if let Some(why) = Recorder::refusal(&mut state, &site) {
            return ends.iter().for_each(|_| state.pieces.add_failed(site, ErrorKind::Config, why.clone()));
        }
        // The new ones, one behind the other.
        let (mut new, mut new_ends, mut start) = (Vec::new(), Vec::new(), 0);
        for &end in ends {
            let own = &arguments[start..end];
            start = end;
            match self.look_up(&mut state, own) {
                Ok(entry) => state.pieces.add_recorded(site, entry, entry.has_outcome(self.counting)),
                Err(key) => {
                    if self.add_new(&mut state, site, key) {
                        new.extend_from_slice(own);
                        new_ends.push(new.len());
                    }
                }
            }
        }
        if !new_ends.is_empty() {
            self.pieces_added(state);
            self.inner.add_pieces(self.key, site, &new, &new_ends);
        }
    }

    fn add_failed(&self, _: TaskKey, site: Site, kind: ErrorKind, message: String) {
        if self.is_ours() {
            self.state.lock().pieces.add_failed(site, kind, message);
        }
    }

    fn completed(&self, _: TaskKey) -> usize {
        if !self.is_ours() {
            return 0;
        }
        let mut state = self.state.lock();
        if self.inner.runs_in_caller() {
            (state, _) = self.run_one(state);
        }
        state.pieces.done()
    }

    fn resumed(&self, _: TaskKey) -> usize {
        if self.is_ours() { self.state.lock().pieces.resumed() } else { 0 }
    }

    fn already_done(&self, _: TaskKey) -> usize {
        if self.is_ours() { self.state.lock().pieces.already_done() } else { 0 }
    }

    fn counts(&self, _: TaskKey) -> Counts {
        if !self.is_ours() {
            return Counts::default();
        }
        let Counts { running, retried, .. } = self.inner.counts(self.key);
        Counts { running, retried, ..self.state.lock().pieces.counts() }
    }

    /// What waits for its record, or for a sync, is no work that workers have.
    fn feeding(&self, _: TaskKey) -> Feeding {
        let inner = self.inner.feeding(self.key);
        if !self.is_ours() {
            return inner;
        }
        let state = self.state.lock();
        let most = if self.inner.runs_in_caller() { RUN_AHEAD } else { inner.pieces };
        let unread_bytes = inner.unread_bytes + state.unsettled_bytes + state.pieces.unread_bytes();
        Feeding { pieces: most + state.unsettled, unread_bytes }
    }

    fn label(&self, _: TaskKey, number: usize) -> Option<PieceLabel> {
        if self.is_ours() { self.state.lock().pieces.label(number) } else { None }
    }

    fn take_in_order(&self, _: TaskKey, next: usize, _: ReadOrder, until: Until<'_>) -> Option<Outcomes> {
        if !self.is_ours() {
            return Some(Outcomes::One(Settled::Failed(Recorder::foreign())));
        }
        let taken = self.wait(Want::Piece(next), until, |state| {
            let taken = state.pieces.take_many(next, BATCH_PIECES, BATCH_BYTES);
            (!taken.is_empty()).then_some(taken)
        })?;
        let settled = taken.into_iter().enumerate().map(|(index, outcome)| self.settled(next + index, outcome));
        Some(Outcomes::Many(settled.collect()))
    }

    fn take_finished(&self, _: TaskKey, wanted: Wanted, until: Until<'_>) -> Option<Finished> {
        if !self.is_ours() {
            let (number, settled) = (wanted.number(), Settled::Failed(Recorder::foreign()));
            return Some(Finished { number, settled, attempts: 0, took_ns: 0 });
        }
        let want = match wanted {
            Wanted::First { .. } => Want::Any,
            Wanted::Piece(number) => Want::Piece(number),
        };
        let taken = self.wait(want, until, |state| Recorder::take_ready(state, wanted))?;
        Some(self.finished(taken))
    }

    fn take_all_finished(&self, _: TaskKey) -> (Vec<Finished>, bool) {
        if !self.is_ours() {
            return Default::default();
        }
        let mut state = self.state.lock();
        let any = Wanted::First { lowest: 0 };
        let next = || Recorder::take_ready(&mut state, any);
        let taken: Vec<_> = std::iter::from_fn(next).take(BATCH_PIECES).collect();
        self.tell_reader(state);
        let has_more = taken.len() == BATCH_PIECES;
        (taken.into_iter().map(|taken| self.finished(taken)).collect(), has_more)
    }

    fn interrupt(&self, _: TaskKey) {
        if self.is_ours() {
            let mut state = self.state.lock();
            state.is_interrupted = true;
            self.wake_callers(state);
        }
    }

    fn reuse(&self, buffer: Vec<u8>) {
        self.inner.reuse(buffer);
    }

    fn cancel(&self, _: TaskKey) {
        if self.is_ours() {
            self.inner.cancel(self.key);
        }
    }

    fn abandon(&self, _: TaskKey) {
        if self.is_ours() {
            self.inner.abandon(self.key);
        }
    }

    fn stop(&self, _: TaskKey, why: Stop) {
        if self.is_ours() {
            self.inner.stop(self.key, why);
        }
    }

    fn keep_last(&self, _: TaskKey, last: Arc<Last>) {
        if self.is_ours() {
            self.state.lock().last = Some(last);
        }
    }

    fn detach(&self, _: TaskKey) {
        if self.is_ours() && self.let_go() {
            // The writer hears that nobody reads, and goes on until all has ended.
            self.release();
        }
    }

    fn close(&self, _: TaskKey, kill: bool) {
        if !self.is_ours() {
            return;
        }
        if !self.let_go() {
            return;
        }
        failpoint!("journal-task-closed");
        if kill {
            self.inner.cancel(self.key);
        } else {
            self.inner.stop(self.key, Stop::Cancelled);
        }
        self.release();
    }
}
