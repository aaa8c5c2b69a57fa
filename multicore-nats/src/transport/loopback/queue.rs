//! The durable pull consumer of a build: who has which message of W, until when, and how often it was delivered.
//!
//! A message is waiting (never delivered, or its lease has passed, or it was given back) or handed out. It leaves the stream by an ack or a term, which count
//! whichever delivery they belong to, as with JetStream. `max_deliver` is -1: it is delivered until then.

use super::client::ClientId;
use crate::transport::Token;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// As many messages may be handed out at once.
const MAX_ACK_PENDING: usize = 65_536;

/// A request for one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) client: ClientId,
    pub(super) token: Token,
    pub(super) expires: u64,
}

/// A build's consumer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) lease_ns: u64,
    pub(super) deliveries: u32,
    pub(super) waiting: VecDeque<Waiting>,
    /// Handed out, with the end of the lease.
    out: BTreeMap<u64, u64>,
    again: BTreeSet<u64>,
    counts: BTreeMap<u64, u32>,
    next: u64,
}

impl Queue {
    /// Takes the next message of those that are there: one that was delivered before comes first.
    pub(super) fn take(&mut self, now: u64, there: impl Fn(u64) -> Option<u64>) -> Option<(u64, u32)> {
        let sequence = match self.again.pop_first() {
            Some(sequence) => sequence,
            None if self.out.len() >= MAX_ACK_PENDING => return None,
            None => {
                let sequence = there(self.next)?;
                self.next = sequence + 1;
                sequence
            }
        };
        self.out.insert(sequence, now + self.lease_ns);
        let count = self.counts.entry(sequence).or_insert(0);
        *count += 1;
        Some((sequence, *count))
    }

    /// Messages whose lease has passed wait again.
    pub(super) fn expire(&mut self, now: u64) {
        let over: Vec<u64> = self.out.iter().filter(|(_, end)| **end <= now).map(|(sequence, _)| *sequence).collect();
        over.into_iter().for_each(|sequence| self.give_back(sequence));
    }

    pub(super) fn give_back(&mut self, sequence: u64) {
        if self.out.remove(&sequence).is_some() {
            self.again.insert(sequence);
        }
    }

    pub(super) fn progress(&mut self, now: u64, sequence: u64) {
        if let Some(end) = self.out.get_mut(&sequence) {
            *end = now + self.lease_ns;
        }
    }

    /// The message has left the stream.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.out.remove(&sequence);
        self.again.remove(&sequence);
        self.counts.remove(&sequence);
    }

    /// All messages that this knows of.
    pub(super) fn known(&self) -> Vec<u64> {
        self.out.keys().chain(&self.again).copied().collect()
    }

    /// When something happens next without a request.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.out.values().copied().chain(self.waiting.iter().map(|pull| pull.expires)).min()
    }
}
