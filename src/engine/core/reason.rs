//! Why many pieces fail at once: one reason, which becomes an error of its own for each piece when that is taken.
//!
//! An error has 200 bytes. Those of a cancelled task of 10,000,000 pieces once took two gigabytes and nineteen seconds,
//! and most were never read.

use crate::backend::{PAST_DEADLINE, Stop};
use crate::error::{Cause, Error, ErrorKind, PieceLabel};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Reason {
    kind: ErrorKind,
    cause: Option<Cause>,
    message: String,
    /// It is about the task: the piece is to begin in a later run, whatever was lost of it.
    is_of_task: bool,
}

impl Reason {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Arc<Reason> {
        Arc::new(Reason { kind, cause: None, message: message.into(), is_of_task: false })
    }

    /// The task was cancelled.
    pub(crate) fn cancelled() -> Arc<Reason> {
        Reason::new(ErrorKind::Cancelled, "was cancelled")
    }

    /// The task was stopped.
    pub(crate) fn of_stop(why: Stop) -> Arc<Reason> {
        match why {
            Stop::Cancelled => Reason::cancelled(),
            Stop::Config(message) => Reason::new(ErrorKind::Config, message),
        }
    }

    /// The deadline of the task has passed.
    pub(crate) fn past_deadline() -> Arc<Reason> {
        let message = PAST_DEADLINE.to_string();
        Arc::new(Reason { kind: ErrorKind::TimedOut, cause: None, message, is_of_task: true })
    }

    /// The pool was shut down.
    pub(crate) fn shut_down() -> Arc<Reason> {
        Reason::new(ErrorKind::Cancelled, "was cancelled: its pool was shut down")
    }

    /// The pool ended by itself, with this error.
    pub(crate) fn pool_failed(error: &Error) -> Arc<Reason> {
        let message = format!("never ended: {error}");
        Arc::new(Reason { kind: error.kind(), cause: error.cause(), message, is_of_task: false })
    }

    /// True if its pieces have failed by themselves: nobody has ended them.
    pub(crate) fn is_failure(&self) -> bool {
        self.kind == ErrorKind::System
    }

    /// The error of one piece, of which this many starts were lost.
    pub(crate) fn error(&self, label: PieceLabel, attempts: u32) -> Error {
        let attempts = if self.is_of_task { 0 } else { attempts };
        let error = Error::new(self.kind, self.message.clone()).with_piece(label, attempts);
        match self.cause {
            Some(cause) => error.with_cause(cause),
            None => error,
        }
    }
}
