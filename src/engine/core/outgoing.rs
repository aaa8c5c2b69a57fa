//! What is on its way to the program's logger and its subscriber of `tracing`, as the scheduler adds to it.
//!
//! Invariant: the thread that calls them is woken, and the supervisor is told to start it, once for what came in one hold of the lock.

#![cfg(any(feature = "log", feature = "tracing"))]

#[cfg(feature = "tracing")]
use super::task_state::TaskState;
#[cfg(feature = "tracing")]
use crate::backend::traced::{self, Event, What};
use crate::engine::outbox::{Added, Outbox};
#[cfg(feature = "tracing")]
use crate::stats::timeline::Ended;
use std::sync::Arc;

/// What is on its way.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(super) way: Arc<Outbox>,
    /// The thread sleeps, and is to be woken once the lock is released.
    pub(super) wakes_thread: bool,
    /// The supervisor is to start the thread.
    pub(super) needs_thread: bool,
}

/// A piece of a task whose subscriber hears of it, and the worker that had it.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy)]
pub(super) struct TracedPiece<'a> {
    pub(super) task: &'a TaskState,
    pub(super) number: usize,
    pub(super) seat: usize,
    pub(super) pid: Option<u32>,
}

impl Outgoing {
    /// Something was added.
    pub(super) fn note(&mut self, added: Added) {
        self.needs_thread |= added == Added::NeedsThread;
        self.wakes_thread |= added != Added::Nothing;
    }

    /// A worker has answered a piece.
    #[cfg(feature = "tracing")]
    pub(super) fn piece_done(&mut self, piece: TracedPiece<'_>, busy_ns: u64, ended: Ended) {
        let TracedPiece { task, number, .. } = piece;
        if task.settings().traced.hears_of_pieces {
            let (attempts, outcome) = (task.attempts(number), ended.text());
            self.add(piece, || What::PieceDone { piece: number, attempts, busy_ns, outcome });
        }
    }

    /// A piece was lost with its worker. `again`: it starts again.
    #[cfg(feature = "tracing")]
    pub(super) fn piece_lost(&mut self, piece: TracedPiece<'_>, (attempts, again): (u32, bool), cause: String) {
        if piece.task.settings().traced.hears_of_losses && traced::hears_of_losses() && piece.task.is_open(piece.number)
        {
            self.add(piece, || What::PieceLost { piece: piece.number, attempts, again, cause });
        }
    }

    #[cfg(feature = "tracing")]
    fn add(&mut self, piece: TracedPiece<'_>, what: impl FnOnce() -> What) {
        let TracedPiece { task, seat, pid, .. } = piece;
        // Taken only if it is added, so that it is freed on the thread.
        let event = || Event { span: task.settings().traced.span(), worker: Some(seat), pid, what: what() };
        let added = self.way.add_event(event);
        self.note(added);
    }

    /// Something has happened to the worker in a seat.
    #[cfg(feature = "tracing")]
    pub(super) fn worker(&mut self, seat: usize, pid: Option<u32>, what: What) {
        let added = self.way.add_event(|| Event { span: None, worker: Some(seat), pid, what });
        self.note(added);
    }
}
