//! The pieces of a task whose engine runs them elsewhere.
//!
//! | state     | meaning                                                           |
//! |-----------|-------------------------------------------------------------------|
//! | `Waiting` | nobody has drawn it; its arguments are in `waiting`                |
//! | `Drawn`   | the engine has it                                                 |
//! | `Done`    | its result may be taken                                           |
//! | `Failed`  | its error may be taken                                            |
//! | `Ended`   | it has failed with others, for one reason; its error is made when it is taken |
//! | `Taken`   | with the caller, or with nobody                                   |
//!
//! Invariants: a piece leaves `Waiting` in the order of the numbers. It gets one outcome, and that is taken once. `drawn` is the number
//! of those that are `Drawn`, `unread_bytes` the length of the results that are `Done`.

use crate::backend::numbered::Numbered;
use crate::backend::{Counts, Finished, Settled, Site};
use crate::codec::bytes::{Arguments, Reply};
use crate::codec::function::Function;
use crate::error::{Error, ErrorKind, PieceLabel};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
enum State {
    Waiting,
    Drawn,
    Done(Reply),
    Failed(Error),
    Ended(Arc<Why>),
    Taken,
}

/// Why many pieces have failed at once.
#[derive(Debug)]
pub(super) struct Why {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
}

#[derive(Debug)]
struct Piece {
    state: State,
    attempts: u32,
    took_ns: u64,
}

/// What an engine draws.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: usize,
    pub(super) function: &'static Function,
    pub(super) arguments: Arguments,
}

/// How a piece has ended, and how it came to that.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) settled: Settled,
    pub(super) attempts: u32,
    pub(super) took_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Those from the first one on that was not taken.
    pieces: Numbered<Piece>,
    /// Each with the first piece that is of it.
    sites: Vec<(usize, Site)>,
    pub(super) name: Option<Arc<str>>,
    waiting: VecDeque<Waiting>,
    /// Those with an outcome, in the order in which they came.
    finished: VecDeque<usize>,
    drawn: usize,
    done: usize,
    failed: usize,
    /// Of all results.
    bytes: u64,
    unread_bytes: usize,
}

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// How many have an outcome, or had one.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// The engine has this number of them.
    pub(super) fn drawn(&self) -> usize {
        self.drawn
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    /// Of the results so far, if there were any.
    pub(super) fn average_bytes(&self) -> Option<usize> {
        let average = self.bytes.checked_div((self.done - self.failed) as u64)?;
        Some(usize::try_from(average).unwrap_or(usize::MAX))
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            total: self.len(),
            done: self.done - self.failed,
            failed: self.failed,
            bytes: self.bytes,
            ..Counts::default()
        }
    }

    // Pieces that come.

    fn add_state(&mut self, site: Site, state: State) -> usize {
        if self.sites.last().is_none_or(|(_, last)| !last.is_same(&site)) {
            self.sites.push((self.len(), site));
        }
        self.pieces.push(Piece { state, attempts: 0, took_ns: 0 });
        self.len() - 1
    }

    pub(super) fn add(&mut self, site: Site, function: &'static Function, arguments: Arguments) {
        let number = self.add_state(site, State::Waiting);
        self.waiting.push_back(Waiting { number, function, arguments });
    }

    pub(super) fn add_ended(&mut self, site: Site, why: Arc<Why>) {
        let number = self.add_state(site, State::Ended(why));
        self.note_end(number, true);
    }

    pub(super) fn label(&self, number: usize) -> Option<PieceLabel> {
        if number >= self.len() {
            return None;
        }
        let index = self.sites.partition_point(|(first, _)| *first <= number);
        let Site { call, location } = self.sites[index - 1].1;
        Some(PieceLabel { number, name: self.name.clone(), address: call.address(), location })
    }

    // Outcomes.

    /// Gives the next piece to `take`, and true if it takes it.
    pub(super) fn draw_next(&mut self, take: impl FnOnce(&Waiting) -> bool) -> bool {
        if !self.waiting.front().is_some_and(take) {
            return false;
        }
        if let Some(waiting) = self.waiting.pop_front()
            && let Some(piece) = self.pieces.get_mut(waiting.number)
        {
            piece.state = State::Drawn;
            self.drawn += 1;
        }
        true
    }

    fn note_end(&mut self, number: usize, has_failed: bool) {
        self.done += 1;
        self.failed += usize::from(has_failed);
        self.finished.push_back(number);
    }

    /// True if the engine has this piece and owes its outcome.
    pub(super) fn is_drawn(&self, number: usize) -> bool {
        self.pieces.get(number).is_some_and(|piece| matches!(piece.state, State::Drawn))
    }

    /// A piece that the engine has ended.
    pub(super) fn settle(&mut self, number: usize, ended: Ended) {
        let Some(piece) = self.pieces.get_mut(number) else { return };
        if !matches!(piece.state, State::Drawn) {
            return;
        }
        let bytes = ended.settled.bytes();
        (piece.attempts, piece.took_ns) = (ended.attempts, ended.took_ns);
        let has_failed = matches!(ended.settled, Settled::Failed(_));
        piece.state = match ended.settled {
            Settled::Done(reply) => State::Done(reply),
            Settled::Failed(error) => State::Failed(error),
        };
        self.drawn -= 1;
        self.bytes += bytes as u64;
        self.unread_bytes += bytes;
        self.note_end(number, has_failed);
    }

    /// What nobody has drawn never begins. Gives what it was to begin with, to be dropped.
    pub(super) fn end_waiting(&mut self, why: &Arc<Why>) -> VecDeque<Waiting> {
        let ended = std::mem::take(&mut self.waiting);
        for waiting in &ended {
            if let Some(piece) = self.pieces.get_mut(waiting.number) {
                piece.state = State::Ended(Arc::clone(why));
                self.note_end(waiting.number, true);
            }
        }
        ended
    }

    /// The engine has not begun with a piece, and never will.
    pub(super) fn end_drawn(&mut self, number: usize, why: &Arc<Why>) {
        if let Some(piece) = self.pieces.get_mut(number)
            && matches!(piece.state, State::Drawn)
        {
            piece.state = State::Ended(Arc::clone(why));
            self.drawn -= 1;
            self.note_end(number, true);
        }
    }

    /// All that has no outcome fails.
    pub(super) fn end_all(&mut self, why: &Arc<Why>) -> VecDeque<Waiting> {
        for number in self.pieces.first()..self.pieces.len() {
            if self.drawn == 0 {
                break;
            }
            self.end_drawn(number, why);
        }
        self.end_waiting(why)
    }

    /// Nobody takes anything any more, but what goes on is counted.
    pub(super) fn take_all(&mut self) {
        while self.take_first().is_some() {}
    }

    pub(super) fn is_ready(&self, number: usize) -> bool {
        let state = self.pieces.get(number).map(|piece| &piece.state);
        matches!(state, Some(State::Done(_) | State::Failed(_) | State::Ended(_)))
    }

    /// Takes the outcome of a piece, if it has one.
    pub(super) fn take(&mut self, number: usize) -> Option<Finished> {
        if !self.is_ready(number) {
            return None;
        }
        let piece = self.pieces.get_mut(number)?;
        let (attempts, took_ns) = (piece.attempts, piece.took_ns);
        let settled = match std::mem::replace(&mut piece.state, State::Taken) {
            State::Done(reply) => Settled::Done(reply),
            State::Failed(error) => Settled::Failed(error.with_piece(self.label(number)?, attempts)),
            State::Ended(why) => {
                Settled::Failed(Error::new(why.kind, why.message.clone()).with_piece(self.label(number)?, 0))
            }
            State::Waiting | State::Drawn | State::Taken => return None,
        };
        self.unread_bytes -= settled.bytes();
        while self.pieces.pop_if(|piece| matches!(piece.state, State::Taken)).is_some() {}
        while self.finished.front().is_some_and(|&number| !self.is_ready(number)) {
            self.finished.pop_front();
        }
        Some(Finished { number, settled, attempts, took_ns })
    }

    /// True if an outcome may be taken: what was taken out of its turn is never in front.
    pub(super) fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Takes the outcome that came first of those not taken.
    pub(super) fn take_first(&mut self) -> Option<Finished> {
        loop {
            let number = *self.finished.front()?;
            match self.take(number) {
                Some(taken) => return Some(taken),
                None => _ = self.finished.pop_front(),
            }
        }
    }
}
