//! The requests of a master that have no answer yet.

use crate::identity::ChunkId;
use crate::transport::Token;
use std::collections::BTreeMap;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Step,
    Record,
    Chunk(ChunkId),
    Reader,
    Count,
    Drain,
    Fetch(u32),
    End,
}

impl Purpose {
    fn kind(self) -> usize {
        match self {
            Purpose::Step => 0,
            Purpose::Record => 1,
            Purpose::Chunk(_) => 2,
            Purpose::Reader => 3,
            Purpose::Count => 4,
            Purpose::Drain => 5,
            Purpose::Fetch(_) => 6,
            Purpose::End => 7,
        }
    }
}

/// Open requests, and their number for each purpose: thousands of chunks may be on their way while a step is looked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    open: BTreeMap<Token, Purpose>,
    counts: [usize; 8],
}

impl Asked {
    pub(super) fn add(&mut self, token: Token, purpose: Purpose) {
        self.counts[purpose.kind()] += 1;
        self.open.insert(token, purpose);
    }

    pub(super) fn answered(&mut self, token: Token) -> Option<Purpose> {
        let purpose = self.open.remove(&token)?;
        self.counts[purpose.kind()] -= 1;
        Some(purpose)
    }

    /// True if a request of this kind has no answer yet.
    pub(super) fn awaits(&self, purpose: Purpose) -> bool {
        self.counts[purpose.kind()] > 0
    }

    pub(super) fn awaits_step(&self) -> bool {
        self.awaits(Purpose::Step) || self.awaits(Purpose::Reader)
    }

    /// Answers to steps that were asked before count no more.
    pub(super) fn forget_steps(&mut self) {
        self.open.retain(|_, purpose| !matches!(purpose, Purpose::Step | Purpose::Reader));
        (self.counts[Purpose::Step.kind()], self.counts[Purpose::Reader.kind()]) = (0, 0);
    }
}
