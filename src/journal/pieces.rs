//! A journalled task's pieces as their caller sees them.
//!
//! | state      | meaning                                                              |
//! |------------|----------------------------------------------------------------------|
//! | `Open`     | it waits, runs, or its record is not on the disk yet                 |
//! | `Recorded` | an earlier run has recorded it: its outcome is read when it is taken |
//! | `Done`     | its result may be taken                                              |
//! | `Failed`   | its error may be taken                                               |
//! | `Taken`    | with the caller; the others of this name say what it was             |
//!
//! Once the journal has failed, every piece that is `Open` has failed by that.
//!
//! Invariant: a piece is taken once, and each of them in `finished` has an outcome, or had one.

use super::earlier::Entry;
use crate::backend::numbered::Numbered;
use crate::backend::{Counts, Settled, Site};
use crate::codec::bytes::Reply;
use crate::error::{Error, ErrorKind, PieceLabel};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
enum State {
    Open,
    Recorded(Entry),
    Done(Reply),
    Failed(Error),
    Taken,
    TakenFailed,
    /// It was recorded by an earlier run.
    TakenRecorded,
}

const _: () = assert!(size_of::<State>() == size_of::<Reply>());

/// An outcome that was taken.
#[derive(Debug)]
pub(super) enum Outcome {
    Settled(Settled),
    /// It is to be read.
    Recorded(Entry),
}

/// Whether a piece may be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Unknown,
    /// It has no outcome yet.
    Open,
    Failed,
    Done,
    /// It was done in an earlier run.
    Earlier,
}

/// The standing of a piece takes two bits.
const PAST_IN_WORD: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Those from the first one on that was not taken, and …
    states: Numbered<State>,
    /// … how those before have ended, 32 in a word: [`Standing`] is asked for as long as the task is open.
    past: Vec<u64>,

    /// Each with the first piece that is of it.
    sites: Vec<(usize, Site)>,
    name: Option<Arc<str>>,
    /// The order in which outcomes came. Those that are only known to be done already are not among them.
    finished: VecDeque<usize>,
    already_done: usize,
    /// Once the journal has failed: all before are not `Open`.
    looked_at: usize,
    done: usize,
    failed: usize,
    resumed: usize,
    unread_bytes: usize,
    /// Of all results that came in this run.
    bytes: u64,
    failure: Option<Arc<str>>,
}

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// How many have an outcome, or had one.
    pub(super) fn done(&self) -> usize {
        if self.failure.is_some() { self.len() } else { self.done }
    }

    /// How many an earlier run had recorded.
    pub(super) fn resumed(&self) -> usize {
        self.resumed
    }

    /// How far the task has come, but for what runs.
    pub(super) fn counts(&self) -> Counts {
        let (total, bytes) = (self.len(), self.bytes);
        let ended = self.done();
        let failed = ended - self.done + self.failed;
        Counts { total, done: ended - failed, failed, resumed: self.resumed, bytes, ..Counts::default() }
    }

    /// How many are only known to be done already.
    pub(super) fn already_done(&self) -> usize {
        self.already_done
    }

    pub(super) fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    pub(super) fn set_name(&mut self, name: Option<Arc<str>>) {
        self.name = name;
    }

    /// Nobody takes anything any more: gives the results that nobody took, to be dropped. How pieces have ended stays known.
    pub(super) fn let_go(&mut self) -> Vec<Reply> {
        let done = self.states.iter_mut().filter(|state| matches!(state, State::Done(_)));
        let replies = done.map(|state| match std::mem::replace(state, State::Taken) {
            State::Done(reply) => reply,
            _ => Reply::copy_of(&[]),
        });
        replies.filter(|reply| matches!(reply, Reply::Heap(_))).collect()
    }

    // Pieces that come.

    fn add(&mut self, site: Site, state: State) -> usize {
        if self.sites.last().is_none_or(|(_, last)| !last.is_same(&site)) {
            self.sites.push((self.len(), site));
        }
        self.states.push(state);
        self.len() - 1
    }

    pub(super) fn add_open(&mut self, site: Site) -> usize {
        self.add(site, State::Open)
    }

    /// `has_outcome` is false for a piece of which nothing is left but that it is done.
    pub(super) fn add_recorded(&mut self, site: Site, entry: Entry, has_outcome: bool) {
        self.failed += usize::from(entry.is_failed());
        let number = self.add(site, State::Recorded(entry));
        self.resumed += 1;
        self.done += 1;
        if has_outcome {
            self.finished.push_back(number);
        } else {
            self.already_done += 1;
        }
    }

    pub(super) fn add_failed(&mut self, site: Site, kind: ErrorKind, message: String) {
        let number = self.add(site, State::Open);
        let error = Error::new(kind, message).with_piece(self.label(number).expect("it was added"), 0);
        self.settle(number, Settled::Failed(error));
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

    /// A piece has its outcome.
    pub(super) fn settle(&mut self, number: usize, settled: Settled) {
        if self.failure.is_some() {
            return;
        }
        let Some(state @ State::Open) = self.states.get_mut(number) else { return };
        self.unread_bytes += settled.bytes();
        self.bytes += settled.bytes() as u64;
        *state = match settled {
            Settled::Done(reply) => State::Done(reply),
            Settled::Failed(error) => {
                self.failed += 1;
                State::Failed(error)
            }
        };
        self.done += 1;
        self.finished.push_back(number);
    }

    /// A piece has ended of which nobody wants the outcome.
    pub(super) fn note_end(&mut self, number: usize, settled: &Settled) {
        if let Some(state @ State::Open) = self.states.get_mut(number) {
            let has_failed = matches!(settled, Settled::Failed(_));
            *state = if has_failed { State::TakenFailed } else { State::Taken };
            self.done += 1;
            self.failed += usize::from(has_failed);
            self.bytes += settled.bytes() as u64;
        }
    }

    /// Nothing is recorded any more: what has no outcome fails.
    pub(super) fn fail(&mut self, failure: Arc<str>) {
        self.failure.get_or_insert(failure);
    }

    pub(super) fn failure(&self) -> Option<&Arc<str>> {
        self.failure.as_ref()
    }

    pub(super) fn standing(&self, number: usize) -> Standing {
        match self.states.get(number) {
            None if number < self.states.first() => self.past_standing(number),
            None => Standing::Unknown,
            Some(State::Open) => Standing::Open,
            Some(State::Failed(_) | State::TakenFailed) => Standing::Failed,
            Some(State::Recorded(entry)) if entry.is_failed() => Standing::Failed,
            Some(State::Done(_) | State::Taken) => Standing::Done,
            Some(State::Recorded(_) | State::TakenRecorded) => Standing::Earlier,
        }
    }

    /// True if this piece may be taken.
    pub(super) fn is_ready(&self, number: usize) -> bool {
        match self.states.get(number) {
            Some(State::Open) => self.failure.is_some(),
            Some(State::Recorded(_) | State::Done(_) | State::Failed(_)) => true,
            Some(State::Taken | State::TakenFailed | State::TakenRecorded) | None => false,
        }
    }

    /// Takes the outcome of a piece, if it has one.
    pub(super) fn take(&mut self, number: usize) -> Option<Outcome> {
        if !self.is_ready(number) {
            return None;
        }
        let state = self.states.get_mut(number)?;
        let (outcome, taken) = match std::mem::replace(state, State::Taken) {
            State::Recorded(entry) if entry.is_failed() => (Outcome::Recorded(entry), State::TakenFailed),
            State::Recorded(entry) => (Outcome::Recorded(entry), State::TakenRecorded),
            State::Done(reply) => {
                self.unread_bytes -= reply.len();
                (Outcome::Settled(Settled::Done(reply)), State::Taken)
            }
            State::Failed(error) => (Outcome::Settled(Settled::Failed(error)), State::TakenFailed),
            State::Open | State::Taken | State::TakenFailed | State::TakenRecorded => {
                let message =
                    format!("has no outcome that is recorded: {}", self.failure.as_deref().unwrap_or_default());
                let error = Error::new(ErrorKind::Journal, message);
                let label = self.label(number).expect("it is there");
                (Outcome::Settled(Settled::Failed(error.with_piece(label, 0))), State::TakenFailed)
            }
        };
        if let Some(state) = self.states.get_mut(number) {
            *state = taken;
        }
        self.pass_taken();
        Some(outcome)
    }

    /// Of the first pieces that were taken only their standing is kept.
    fn pass_taken(&mut self) {
        let is_taken = |state: &State| matches!(state, State::Taken | State::TakenFailed | State::TakenRecorded);
        loop {
            let number = self.states.first();
            let Some(state) = self.states.pop_if(is_taken) else { return };
            let bits = match state {
                State::TakenFailed => 1,
                State::TakenRecorded => 2,
                _ => 0,
            };
            if number.is_multiple_of(PAST_IN_WORD) {
                self.past.push(0);
            }
            if let Some(word) = self.past.last_mut() {
                *word |= bits << (2 * (number % PAST_IN_WORD));
            }
        }
    }

    fn past_standing(&self, number: usize) -> Standing {
        match self.past[number / PAST_IN_WORD] >> (2 * (number % PAST_IN_WORD)) & 3 {
            0 => Standing::Done,
            1 => Standing::Failed,
            _ => Standing::Earlier,
        }
    }

    /// Takes those that have an outcome from piece `next` on, up to the first one that has none, this number of them, or this
    /// many bytes.
    pub(super) fn take_many(&mut self, next: usize, pieces: usize, bytes: usize) -> Vec<Outcome> {
        let (mut taken, mut taken_bytes) = (Vec::new(), 0);
        while taken.len() < pieces
            && taken_bytes < bytes
            && let Some(outcome) = self.take(next + taken.len())
        {
            taken_bytes += match &outcome {
                Outcome::Settled(settled) => settled.bytes(),
                // It is read next.
                Outcome::Recorded(entry) => entry.most_bytes(),
            };
            taken.push(outcome);
        }
        taken
    }

    /// The piece whose outcome came first of those not taken.
    pub(super) fn first_finished(&mut self) -> Option<usize> {
        while let Some(&number) = self.finished.front() {
            if self.is_ready(number) {
                return Some(number);
            }
            self.finished.pop_front();
        }
        self.failure.as_ref()?;
        self.looked_at = self.looked_at.max(self.states.first());
        while self.states.get(self.looked_at).is_some_and(|state| !matches!(state, State::Open)) {
            self.looked_at += 1;
        }
        (self.looked_at < self.len()).then_some(self.looked_at)
    }
}

#[cfg(test)]
mod tests;
