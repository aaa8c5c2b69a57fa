//! A task without a pool: its pieces run in the caller, one by one, when somebody asks for them.
//!
//! Arguments and results pass the codec here too, so that what fails with a pool fails without.

use crate::codec::bytes::{Arguments, Reply};
use crate::codec::call::{Call, Fault, drop_payload, panic_text};
use crate::codec::{Encoded, Format};
use crate::engine::Settled;
use crate::error::{Error, ErrorKind, PieceLabel};
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Waiting {
    call: Call,
    format: Format,
    arguments: Arguments,
}

#[derive(Debug)]
struct Piece {
    address: usize,
    location: &'static Location<'static>,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Settled(Settled),
    Taken,
}

/// The pieces of such a task.
#[derive(Debug, Default)]
pub(crate) struct Inline {
    name: Option<Arc<str>>,
    pieces: Vec<Piece>,
    waiting: VecDeque<(usize, Waiting)>,
    done: usize,
    result: Vec<u8>,
    pub(crate) terms: Terms,
    pub(crate) cancelled: Arc<AtomicBool>,
}

/// How pieces are run, as far as that can be kept here: between pieces.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) retry_panics: bool,
}

impl Inline {
    pub(crate) fn set_name(&mut self, name: Arc<str>) {
        self.name = Some(name);
    }

    pub(crate) fn add(
        &mut self,
        call: Call,
        location: &'static Location<'static>,
        format: Format,
        arguments: Arguments,
    ) {
        self.waiting.push_back((self.pieces.len(), Waiting { call, format, arguments }));
        self.pieces.push(Piece { address: call.address(), location, state: State::Waiting });
    }

    pub(crate) fn add_failed(
        &mut self,
        call: Call,
        location: &'static Location<'static>,
        error: impl FnOnce(PieceLabel) -> Error,
    ) {
        let number = self.pieces.len();
        self.pieces.push(Piece { address: call.address(), location, state: State::Waiting });
        self.pieces[number].state = State::Settled(Settled::Failed(error(self.label(number))));
        self.done += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn done(&self) -> usize {
        self.done
    }

    pub(crate) fn label(&self, number: usize) -> PieceLabel {
        let Piece { address, location, .. } = self.pieces[number];
        PieceLabel { number, name: self.name.clone(), address, location }
    }

    /// Runs the next piece, if there is one.
    pub(crate) fn run_one(&mut self) {
        let Some((number, mut waiting)) = self.waiting.pop_front() else { return };
        let failed = |kind, message: String, attempts| {
            Settled::Failed(Error::new(kind, message).with_piece(self.label(number), attempts))
        };
        let settled = if self.cancelled.load(Ordering::Relaxed) {
            failed(ErrorKind::Cancelled, "was cancelled".to_string(), 0)
        } else {
            let mut attempts = 1;
            loop {
                // Only who may start again needs its arguments once more.
                let arguments = match attempts <= self.terms.retries {
                    true => waiting.arguments.as_slice().to_vec(),
                    false => std::mem::replace(&mut waiting.arguments, Arguments::Heap(Vec::new())).into_vec(),
                };
                match attempt(&waiting, arguments, self.terms.timeout, &mut self.result) {
                    Ok(result) => break Settled::Done(result),
                    Err((kind, message)) => {
                        let again = match kind {
                            ErrorKind::TimedOut => true,
                            ErrorKind::Panicked => self.terms.retry_panics,
                            _ => false,
                        };
                        if !again || attempts > self.terms.retries || self.cancelled.load(Ordering::Relaxed) {
                            let error = Error::new(kind, message);
                            break Settled::Failed(error.with_piece(self.label(number), attempts));
                        }
                        attempts += 1;
                    }
                }
            }
        };
        self.pieces[number].state = State::Settled(settled);
        self.done += 1;
    }

    /// Takes a piece's outcome; runs what comes before it, and it, if need be.
    pub(crate) fn take(&mut self, number: usize) -> Option<Settled> {
        while self.waiting.front().is_some_and(|(next, _)| *next <= number) {
            self.run_one();
        }
        let piece = self.pieces.get_mut(number)?;
        match std::mem::replace(&mut piece.state, State::Taken) {
            State::Settled(settled) => Some(settled),
            _ => None,
        }
    }
}

/// Runs a piece once. A limit that has passed is seen when the piece has ended.
fn attempt(
    waiting: &Waiting,
    mut arguments: Vec<u8>,
    timeout: Option<Duration>,
    result: &mut Vec<u8>,
) -> Result<Reply, (ErrorKind, String)> {
    result.clear();
    let start = Instant::now();
    let answer =
        panic::catch_unwind(AssertUnwindSafe(|| waiting.call.run(waiting.format, &mut arguments, &mut *result)));
    if let Some(limit) = timeout.filter(|&limit| start.elapsed() > limit) {
        return Err((ErrorKind::TimedOut, format!("ran longer than its limit of {limit:?}")));
    }
    match answer {
        Ok(Ok(Encoded::Own(bytes))) => Ok(Reply::Heap(bytes)),
        Ok(Ok(Encoded::InBuffer)) => Ok(Reply::copy_of(result)),
        Ok(Err(fault @ Fault::Encode(_))) => Err((ErrorKind::Encode, fault.to_string())),
        Ok(Err(fault @ Fault::Decode(_))) => Err((ErrorKind::Decode, fault.to_string())),
        Err(payload) => {
            let text = panic_text(&*payload).to_string();
            drop_payload(payload);
            Err((ErrorKind::Panicked, text))
        }
    }
}
