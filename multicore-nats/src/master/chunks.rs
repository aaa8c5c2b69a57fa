//! The chunks that a master has given out.
//!
//! Invariant: an open chunk is in `unsent`, or waits for the answer to a publish, or the server should have it.

use crate::identity::{ChunkId, Span};
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unsent,
    Sending,
    Sent,
}

/// A chunk of which the last frame has not come.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) span: Span,
    state: State,
    /// The number of this publication. The server does not store an id again, so each has another one.
    pub(super) publication: u64,
    /// Hosts that have begun with it after it was delivered before.
    pub(super) hosts: BTreeSet<String>,
}

/// All chunks.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    open: BTreeMap<ChunkId, Open>,
    /// To be published: from a time on, in the order of their pieces.
    unsent: BTreeSet<(u64, u32, ChunkId)>,
    sent: usize,
    publications: u64,
    /// The pieces of every chunk that was given out, or was found to be of this job; and true if this master gave it out.
    given: HashMap<ChunkId, (Span, bool)>,
}

impl Chunks {
    /// The number of open chunks.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// The number of chunks that the server should have.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// A new chunk, to be published.
    pub(super) fn give(&mut self, chunk: ChunkId, span: Span, now: u64) {
        self.close(chunk);
        self.publications += 1;
        let (publication, hosts) = (self.publications, BTreeSet::new());
        self.open.insert(chunk, Open { span, state: State::Unsent, publication, hosts });
        self.unsent.insert((now, span.first, chunk));
        self.given.insert(chunk, (span, true));
    }

    /// Another master gave this chunk out.
    pub(super) fn find(&mut self, chunk: ChunkId, span: Span) {
        self.given.entry(chunk).or_insert((span, false));
    }

    pub(super) fn pieces_of(&self, chunk: ChunkId) -> Option<(Span, bool)> {
        self.given.get(&chunk).copied()
    }

    /// A chunk that is to be published at this time.
    pub(super) fn take_due(&mut self, now: u64) -> Option<(ChunkId, &Open)> {
        let (_, _, chunk) = self.unsent.first().filter(|(at, ..)| *at <= now).copied()?;
        self.unsent.pop_first();
        let open = self.open.get_mut(&chunk).expect("what is unsent is open");
        open.state = State::Sending;
        Some((chunk, open))
    }

    /// The stream has the chunk.
    pub(super) fn stored(&mut self, chunk: ChunkId) {
        if let Some(open) = self.open.get_mut(&chunk).filter(|open| open.state == State::Sending) {
            open.state = State::Sent;
            self.sent += 1;
        }
    }

    /// The chunk was not stored, or nobody knows: it is published again under the same id.
    pub(super) fn failed(&mut self, chunk: ChunkId, again_at: u64) {
        if let Some(open) = self.open.get_mut(&chunk).filter(|open| open.state == State::Sending) {
            open.state = State::Unsent;
            self.unsent.insert((again_at, open.span.first, chunk));
        }
    }

    /// The server has lost what it had, perhaps: all that it should have is published anew.
    pub(super) fn publish_again(&mut self, now: u64) {
        for (chunk, open) in self.open.iter_mut().filter(|(_, open)| open.state == State::Sent) {
            self.publications += 1;
            (open.state, open.publication) = (State::Unsent, self.publications);
            self.unsent.insert((now, open.span.first, *chunk));
        }
        self.sent = 0;
    }

    /// A host has begun with a chunk that was delivered before.
    pub(super) fn begun(&mut self, chunk: ChunkId, host: &str) {
        if let Some(open) = self.open.get_mut(&chunk) {
            open.hosts.insert(host.into());
        }
    }

    /// Nothing further is awaited of this chunk.
    pub(super) fn close(&mut self, chunk: ChunkId) -> Option<Open> {
        let open = self.open.remove(&chunk)?;
        match open.state {
            State::Sent => self.sent -= 1,
            State::Unsent => self.unsent.retain(|(.., unsent)| *unsent != chunk),
            State::Sending => {}
        }
        Some(open)
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = (ChunkId, Span)> {
        self.open.iter().map(|(chunk, open)| (*chunk, open.span))
    }

    pub(super) fn next_at(&self) -> u64 {
        self.unsent.first().map_or(u64::MAX, |(at, ..)| *at)
    }
}
