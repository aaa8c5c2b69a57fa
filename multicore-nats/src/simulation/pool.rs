//! The pool of a host: workers that play pieces, in the order in which these came.

use crate::agent::{Holding, Outcome};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A piece that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The number of its host's agent.
    pub host: usize,
    /// Its number.
    pub piece: u32,
    /// Its function.
    pub function: u64,
    /// Its arguments.
    pub bytes: Bytes,
}

/// How a piece plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Play {
    /// How long it takes.
    pub takes_ns: u64,
    /// What it ends in.
    pub ends: Ends,
}

/// What a piece ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// An outcome.
    Outcome(Outcome),
    /// The agent of its host is killed.
    KillsHost,
}

impl Play {
    /// Gives its arguments after this time.
    #[must_use]
    pub fn echo(started: &Started, takes_ns: u64) -> Play {
        Play { takes_ns, ends: Ends::Outcome(Outcome::Value(started.bytes.clone())) }
    }
}

type Place = (Holding, u32);

/// The workers of a host, and what waits for them.
#[derive(Debug)]
pub struct Pool {
    workers: u32,
    waiting: VecDeque<(Place, u64, Bytes)>,
    running: BTreeMap<Place, (u64, Ends)>,
}

impl Pool {
    pub(super) fn new(workers: u32) -> Pool {
        Pool { workers, waiting: VecDeque::new(), running: BTreeMap::new() }
    }

    pub(super) fn workers(&self) -> u32 {
        self.workers
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.running.clear();
    }

    pub(super) fn add(&mut self, place: Place, function: u64, bytes: Bytes) {
        self.waiting.push_back((place, function, bytes));
    }

    pub(super) fn kill(&mut self, chunk: Holding) {
        self.waiting.retain(|((other, _), ..)| *other != chunk);
        self.running.retain(|(other, _), _| *other != chunk);
    }

    pub(super) fn next_start(&mut self) -> Option<(Holding, u32, u64, Bytes)> {
        if self.running.len() >= self.workers as usize {
            return None;
        }
        let ((chunk, piece), function, bytes) = self.waiting.pop_front()?;
        Some((chunk, piece, function, bytes))
    }

    pub(super) fn begin(&mut self, now: u64, place: Place, play: Play) {
        self.running.insert(place, (now + play.takes_ns, play.ends));
    }

    pub(super) fn ended(&mut self, now: u64) -> Option<(Holding, u32, Ends)> {
        let over = self.running.iter().filter(|(_, (end, _))| *end <= now).min_by_key(|(_, (end, _))| *end);
        let place = over.map(|(place, _)| *place)?;
        let (_, ends) = self.running.remove(&place)?;
        Some((place.0, place.1, ends))
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.running.values().map(|(end, _)| *end).min()
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = Holding> {
        self.waiting.iter().map(|((chunk, _), ..)| *chunk).chain(self.running.keys().map(|(chunk, _)| *chunk))
    }
}
