//! What a dead worker leaves: the piece that it ran is lost, starts again later or fails, and the others go to other workers.
//!
//! Invariant: a piece whose worker lives on (nobody can kill it) does not start again.

use super::Core;
#[cfg(feature = "tracing")]
use super::outgoing::TracedPiece;
use super::seat::{Measured, WorkerHandle};
use super::timeline::Ran;
use super::work::Work;
use super::worker_memory::TooLarge;
use crate::backend::TaskKey;
use crate::codec::bytes::Arguments;
use crate::engine::piece::{Lost, Returned, WaitingPiece};
use crate::error::{Cause, Error, ErrorKind};
use crate::stats::memory::mebibytes;
use crate::stats::timeline::Ended;
use crate::sys::clock;
use std::time::Duration;

impl Core {
    /// The piece that a dead worker ran is lost; what it had not begun goes to others.
    pub(super) fn return_pieces_of(&mut self, seat: usize, worker: &mut WorkerHandle, cause: Cause) {
        if let Some((key, bytes)) = worker.link.take_open() {
            if let Some(task) = self.work.tasks.get_mut(key) {
                task.keeps_open(-(bytes.len() as isize));
            }
            self.work.trash.add_all([bytes]);
        }
        let (lost, rest) = worker.link.leftovers(cause == Cause::Protocol);
        let mut rest = rest.into_iter();
        if let Some(piece) = lost {
            let since_ns = match worker.measured {
                Some(Measured::FromIdle(since_ns, _) | Measured::FromReply(since_ns)) => Some(since_ns),
                None => None,
            };
            if let (Some(since_ns), Some(task)) = (since_ns, self.work.tasks.get_mut(piece.task)) {
                task.add_busy(clock::now_ns().saturating_sub(since_ns));
            }
            let how = match () {
                () if worker.overran(piece.sequence) => How::Overran,
                () if worker.too_large.is_some() => How::TooLarge,
                // It was taken back before the kill, and only the worker can have changed that.
                () if worker.did_not_begin() => How::Hid,
                () => How::Died,
            };
            let Lost { task, number, arguments, noted, started_ns, .. } = piece;
            if let (Some(started_ns), Some(task)) = (started_ns, self.work.tasks.get_mut(task)) {
                task.note_time(number, clock::now_ns().saturating_sub(started_ns));
            }
            if let Work { timeline: Some(timeline), tasks, .. } = &mut self.work {
                let (pid, task, ended) = (worker.pid(), tasks.get(task), Ended::Lost(cause));
                timeline.ran(Ran { seat, pid, task, number, began_ns: started_ns, took_ns: None, ended });
            }
            self.lose(seat, worker, (task, number, arguments), (how, noted), cause);
        } else if worker.did_not_begin()
            && let Some(piece) = rest.next()
        {
            self.not_begun(seat, worker, piece, cause);
        }
        for piece in rest {
            // One that a worker marked as begun out of turn was left to it when the task was stopped.
            if let Some(task) = self.work.tasks.get_mut(piece.task) {
                self.wakes.add(task.fail_if_stopped(piece.number));
                task.drop_released(&mut self.work.trash);
            }
            self.work.take_back(piece);
        }
    }

    /// A worker was killed because it did not begin this piece: another gets it, unless that has happened before.
    fn not_begun(&mut self, seat: usize, worker: &WorkerHandle, piece: Returned, cause: Cause) {
        let Some(task) = self.work.tasks.get_mut(piece.task) else { return };
        if !task.counts_as_start(piece.number) {
            return self.work.take_back(piece);
        }
        let again = task.may_run_again();
        let Returned { task, number, arguments } = piece;
        self.lose(seat, worker, (task, number, again.then_some(arguments)), (How::NotBegun, None), cause);
    }

    /// A piece lost its worker: it starts again later, if its arguments are there, or fails.
    fn lose(
        &mut self,
        seat: usize,
        worker: &WorkerHandle,
        (key, number, arguments): (TaskKey, usize, Option<Arguments>),
        (how, noted): (How, Option<u64>),
        cause: Cause,
    ) {
        let Some(task) = self.work.tasks.get_mut(key) else { return };
        let failures = task.failures();
        let limit = task.settings().limit_ns.map(|limit| Duration::from_nanos(limit.get()));
        let pid = worker.pid();
        #[cfg(feature = "tracing")]
        {
            let again = arguments.is_some() && worker.given_up().is_none() && task.starts_again(number);
            let piece = TracedPiece { task, number, seat, pid };
            self.work.outgoing.piece_lost(piece, (task.attempts(number), again), how.cause(limit, cause));
        }
        let error = |label, attempts| {
            let error = match worker.given_up() {
                Some(reason) => How::given_up(limit.filter(|_| how == How::Overran), reason),
                None if how == How::TooLarge => too_large(seat, worker, cause),
                None => how.error(limit),
            };
            error.with_cause(cause).with_piece(label, attempts).with_worker(seat, pid).with_note(noted)
        };
        // One that lives on must not run twice at a time.
        let wake = match arguments.filter(|_| worker.given_up().is_none()) {
            Some(arguments) => match task.lose_start(number, error) {
                Ok(pause_ns) => {
                    let due_ns = clock::now_ns() + pause_ns;
                    self.delayed.push(due_ns, key, WaitingPiece { number, arguments });
                    self.alarm.wake_by(due_ns);
                    return;
                }
                Err(wake) => wake,
            },
            None => {
                let error = error(task.label(number), task.attempts(number));
                task.settle_failed(number, error)
            }
        };
        self.counts.pieces_failed += (task.failures() - failures) as u64;
        task.drop_released(&mut self.work.trash);
        self.wakes.add(wake);
    }
}

/// How a piece lost its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Died,
    Overran,
    /// It, or all workers together, had too much memory, or asked for too much.
    TooLarge,
    /// It was killed because it did not begin the piece, and it was not the first one.
    NotBegun,
    /// It was killed because it did not begin the piece, and the damage that it did to the piece's word tells that it ran it.
    Hid,
}

impl How {
    /// The cause, as a subscriber of `tracing` is told it.
    #[cfg(feature = "tracing")]
    fn cause(self, limit: Option<Duration>, cause: Cause) -> String {
        match (self, limit) {
            (How::Overran, Some(limit)) => format!("it ran longer than its limit of {limit:?}"),
            (How::TooLarge, _) => "its worker had too much memory".to_string(),
            _ => cause.to_string(),
        }
    }

    /// The error of a piece whose worker lives on; with the limit that it ran over.
    fn given_up(limit: Option<Duration>, reason: &str) -> Error {
        match limit {
            Some(limit) => {
                let message =
                    format!("ran longer than its limit of {limit:?}, and its worker could not be killed: {reason}");
                Error::new(ErrorKind::TimedOut, message)
            }
            None => {
                let message = format!("was given up, since its worker could not be killed: {reason}");
                Error::new(ErrorKind::System, message)
            }
        }
    }

    /// The error of a piece with this time limit.
    fn error(self, limit: Option<Duration>) -> Error {
        const NOT_BEGUN: &str = "more than one worker did not begin it, or ran it and hid that, and was killed";
        const HID: &str = "its worker ran it and hid that, and was killed";
        let no_end =
            |limit, why| Error::new(ErrorKind::TimedOut, format!("has no end within its limit of {limit:?}: {why}"));
        match (self, limit) {
            (How::Overran, Some(limit)) => {
                Error::new(ErrorKind::TimedOut, format!("ran longer than its limit of {limit:?}, and was killed"))
            }
            (How::NotBegun, Some(limit)) => no_end(limit, NOT_BEGUN),
            (How::Hid, Some(limit)) => no_end(limit, HID),
            (How::NotBegun, None) => Error::new(ErrorKind::WorkerLost, NOT_BEGUN),
            (How::Hid, None) => Error::new(ErrorKind::WorkerLost, HID),
            (How::Died | How::TooLarge, _) | (How::Overran, None) => Error::new(ErrorKind::WorkerLost, String::new()),
        }
    }
}

/// The error of a piece whose worker ended because of its memory.
fn too_large(seat: usize, worker: &WorkerHandle, cause: Cause) -> Error {
    let pid = worker.pid().map_or(String::new(), |pid| format!(" (pid {pid})"));
    let message = match worker.too_large {
        Some(TooLarge::Killed { bytes, limit }) => {
            format!("was killed with its worker {seat}{pid}: {}, limit {}", mebibytes(bytes), mebibytes(limit))
        }
        Some(TooLarge::Refused { limit }) => {
            let end = if cause == Cause::AllocationFailed { String::new() } else { format!(", and was {cause}") };
            let had = match worker.memory.told() {
                None => String::new(),
                Some((None, at_start)) => format!("; it had {} at its start", mebibytes(at_start)),
                Some((Some(last), at_start)) => {
                    format!("; it had {} at the last look, {} at its start", mebibytes(last), mebibytes(at_start))
                }
            };
            let limit = mebibytes(limit);
            format!("was ended with its worker {seat}{pid}: it asked for more than its data limit of {limit}{end}{had}")
        }
        None => String::new(),
    };
    Error::new(ErrorKind::MemoryLimit, message)
}
