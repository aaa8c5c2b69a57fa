//! What the writer does with the state that it shares with its task.

use super::{Order, Recorder, State, Unsynced};
use crate::backend::{Counts, Finished, Settled};
use crate::error::{Error, ErrorKind};
use crate::journal::format::{Ended, Key};
use std::sync::Arc;
use std::time::Instant;

impl Recorder {
    /// Waits for something to do.
    pub(in crate::journal) fn await_order(&self, unsynced: Unsynced) -> Order {
        let mut state = self.state.lock();
        loop {
            match state.next_order(unsynced, self.inner.runs_in_caller(), Instant::now()) {
                Order::Wait(Some(until)) => _ = self.writer.wait_until(&mut state, until),
                Order::Wait(None) => self.writer.wait(&mut state),
                order => return order,
            }
        }
    }

    /// The writer has come back from the inner backend.
    pub(in crate::journal) fn has_taken(&self) {
        self.state.lock().is_taking = false;
    }

    /// The writer has the outcomes of these pieces: their numbers in the task, and their keys.
    pub(in crate::journal) fn come(&self, finished: &[Finished]) -> Vec<(usize, Key)> {
        let mut state = self.state.lock();
        state.open -= finished.len();
        // Those of a task without a pool were counted when they came.
        if !self.inner.runs_in_caller() {
            state.unsettled += finished.len();
            state.unsettled_bytes += finished.iter().map(|finished| finished.settled.bytes()).sum::<usize>();
        }
        let mut of_handed = |finished: &Finished| {
            let handed = state.handed.get_mut(finished.number)?;
            handed.has_ended = true;
            Some((handed.number, handed.key))
        };
        let ended = finished.iter().map(|finished| of_handed(finished).expect("a piece ends once")).collect();
        while state.handed.pop_if(|handed| handed.has_ended).is_some() {}
        ended
    }

    /// The callers may have these outcomes. Those that are done and wait to be confirmed have what is to be recorded then.
    pub(in crate::journal) fn settle(&self, outcomes: Vec<(usize, Settled)>, unconfirmed: Vec<(usize, Ended)>) {
        if outcomes.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.pieces.failure().is_some() {
            return;
        }
        state.unsettled -= outcomes.len();
        state.unconfirmed.extend(unconfirmed);
        for (number, settled) in outcomes {
            state.unsettled_bytes -= settled.bytes();
            if state.is_task_open {
                state.pieces.settle(number, settled);
            } else {
                // Nobody takes it, but a confirmer asks how the piece has ended.
                state.pieces.note_end(number, &settled);
            }
        }
        if state.is_satisfied() {
            self.wake_callers(state);
        }
    }

    /// The error of a piece whose result, of this length, the journal does not take.
    pub(in crate::journal) fn piece_error(&self, number: usize, message: String, attempts: u32, bytes: usize) -> Error {
        let mut state = self.state.lock();
        state.unsettled_bytes -= bytes;
        let error = Error::new(ErrorKind::Journal, message);
        match state.pieces.label(number) {
            Some(label) => error.with_piece(label, attempts),
            None => error,
        }
    }

    /// All that had ended when the flush was asked for is recorded.
    pub(in crate::journal) fn has_flushed(&self, flush: u64) {
        self.state.lock().flushes_done = flush;
        self.callers.notify_all();
    }

    /// Nothing is recorded any more: all that has no outcome has failed, and what runs is killed.
    pub(in crate::journal) fn fail(&self, error: &Error) {
        let mut state = self.state.lock();
        state.pieces.fail(Arc::from(error.to_string()));
        (state.unsettled, state.unsettled_bytes) = (0, 0);
        state.confirmations.clear();
        state.unconfirmed.clear();
        self.wake_callers(state);
        self.inner.cancel(self.key);
    }

    /// What holds the file open is let go of; then it is unlocked.
    pub(in crate::journal) fn let_files_go(&self) {
        self.files.lock().clear();
    }

    /// The file is unlocked.
    pub(in crate::journal) fn is_over(&self) {
        let retried = self.inner.counts(self.key).retried;
        self.inner.close(self.key, false);
        let mut state = self.state.lock();
        state.is_over = true;
        if let Some(last) = state.last.take() {
            last.note(Counts { retried, ..state.pieces.counts() });
        }
        // A canceller may hold the rest for longer.
        let State { pieces, index, identities, handed, inbox, confirmations, unconfirmed, .. } = &mut *state;
        let rest = (std::mem::take(pieces), std::mem::take(index), identities.take(), std::mem::take(handed));
        let more = (std::mem::take(inbox), std::mem::take(confirmations), std::mem::take(unconfirmed));
        self.wake_callers(state);
        drop((rest, more));
    }
}
