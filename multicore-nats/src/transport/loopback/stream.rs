//! A stream of a server in memory: messages by sequence, ids that were seen, and limits.

use crate::transport::Failure;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A message with an id that was seen within this time is not stored again.
const DUPLICATES_NS: u64 = 120_000_000_000;

/// A stored message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) payload: Bytes,
    pub(super) stored_ns: u64,
    id: String,
}

/// True if the subject has the parts of the pattern, in which `*` stands for any part, and `>` at the end for all that follow.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('>') {
        return subject.starts_with(prefix) && subject.len() > prefix.len();
    }
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(part), Some(other)) if part == "*" || part == other => {}
            _ => return false,
        }
    }
}

/// What a stream has.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    pub(super) created: u64,
    pub(super) messages: BTreeMap<u64, Message>,
    last: u64,
    ids: BTreeMap<String, (u64, u64)>,
    /// Only the last message of a subject is kept.
    last_only: bool,
    /// More messages are refused.
    pub(super) most: Option<usize>,
}

impl StreamState {
    pub(super) fn new(created: u64, last_only: bool, most: Option<usize>) -> StreamState {
        StreamState { created, last_only, most, ..StreamState::default() }
    }

    /// Stores a message. A sequence that is expected is compared before the ids are, as servers do for one that was stored before too.
    pub(super) fn publish(
        &mut self,
        now: u64,
        subject: String,
        payload: Bytes,
        id: String,
        expected: Option<u64>,
    ) -> Result<u64, Failure> {
        self.ids.retain(|_, (_, seen)| now.saturating_sub(*seen) < DUPLICATES_NS);
        if let Some(&(sequence, _)) = self.ids.get(&id) {
            return Ok(sequence);
        }
        let last = self.last_of(&subject).map_or(0, |(sequence, _)| sequence);
        if expected.is_some_and(|expected| expected != last) {
            return Err(Failure::WrongSequence);
        }
        if self.most.is_some_and(|most| self.messages.len() >= most) {
            return Err(Failure::Full);
        }
        if self.last_only {
            self.messages.remove(&last);
        }
        self.last += 1;
        if !id.is_empty() {
            self.ids.insert(id.clone(), (self.last, now));
        }
        self.messages.insert(self.last, Message { subject, payload, stored_ns: now, id });
        Ok(self.last)
    }

    pub(super) fn last_of(&self, subject: &str) -> Option<(u64, &Message)> {
        self.messages.iter().rev().find(|(_, message)| message.subject == subject).map(|(at, message)| (*at, message))
    }

    pub(super) fn count(&self, subject: &str) -> u64 {
        self.messages.values().filter(|message| message.subject == subject).count() as u64
    }

    /// Removes a subject's messages. Their ids stay: a server forgets them only with time.
    pub(super) fn purge(&mut self, pattern: &str) {
        self.messages.retain(|_, message| !matches(pattern, &message.subject));
    }

    /// The first message of a subject from a sequence on.
    pub(super) fn next(&self, from: u64, subject: &str) -> Option<(u64, &Message)> {
        let mut rest = self.messages.range(from..);
        rest.find(|(_, message)| message.subject == subject).map(|(at, message)| (*at, message))
    }

    /// A server that starts knows only the ids of what it has stored.
    pub(super) fn restart(&mut self) {
        let stored = self.messages.iter().filter(|(_, message)| !message.id.is_empty());
        self.ids = stored.map(|(at, message)| (message.id.clone(), (*at, message.stored_ns))).collect();
    }
}
