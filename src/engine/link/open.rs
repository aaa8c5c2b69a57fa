//! Results that their pieces write while they run: any number of parts, whose total length nobody knows before the end.
//!
//! They are read apart from all else ([`Link::collect_open`]), since they may have to wait in the ring: for their turn, or for
//! room. What comes behind them in the ring waits with them.
//!
//! | word        | written by | meaning                                                                          |
//! |-------------|------------|----------------------------------------------------------------------------------|
//! | `back_tail` | worker     | parts up to there are worth a look; a forged one brings its own parts earlier or later |
//! | `ended`     | worker     | the pieces up to this one are complete in the ring; a forged one brings its worker more pieces, which it holds as it could hold others |
//!
//! Invariant: `bytes` are of the oldest piece, and come behind what was handed over before. `total` counts all of them, and is
//! within the limit of results. Each part but the last has at least one byte, so the parts of a result are bounded by that limit.

use super::claims::Held;
use super::reading::{MAX_RECORDS_A_LOOK, outcome_of, took_ns};
use super::{Arrivals, Buffers, Link};
use crate::backend::TaskKey;
use crate::codec::bytes::Reply;
use crate::engine::policy::hold::PIECE_COST;
use crate::engine::wire::pair::{BACK_RING_BYTES, CHUNK_BYTES};
use crate::engine::wire::record::{self, Outcome};
use crate::failpoint::failpoint;
use crate::protocol::ring::{Record, Violation};
use crate::protocol::told;
use crate::sys::clock;

/// A worker whose ring holds this much has no room for another window, or soon has none.
pub(crate) const BLOCKED_BYTES: usize = BACK_RING_BYTES - 2 * CHUNK_BYTES;

/// The open result of the oldest piece.
#[derive(Debug, Default)]
pub(super) struct OpenResult {
    /// `None` while there is none.
    bytes: Option<Vec<u8>>,
    total: usize,
    /// The piece whose time stood still, for how long, and since when it does so again.
    held: Option<(u32, u64, Option<u64>)>,
    /// Since when pieces of other tasks wait while it is held back.
    others_wait_since_ns: Option<u64>,
}

impl OpenResult {
    /// True if this record is of an open result.
    #[inline]
    pub(super) fn takes(&self, record: &Record) -> bool {
        match record.header.kind {
            record::OPEN => true,
            record::CHUNK | record::END => self.bytes.is_some(),
            _ => false,
        }
    }

    /// How long this piece was held back. `None` if it is so now.
    pub(super) fn held_ns(&self, sequence: u32) -> Option<u64> {
        match self.held {
            Some((held, ns, since_ns)) if held == sequence => since_ns.is_none().then_some(ns),
            _ => Some(0),
        }
    }
}

impl Link {
    /// The bytes of the oldest piece's open result that are here.
    pub(crate) fn open_bytes(&mut self) -> Option<&mut Vec<u8>> {
        self.open.bytes.as_mut()
    }

    /// The parts that its worker has told of and that lie in the ring, in bytes; all that follows them counts too.
    pub(crate) fn told_bytes(&self) -> usize {
        let told = told::told_tail(self.pair.back_tail()).saturating_sub(self.replies.head());
        usize::try_from(told).map_or(BACK_RING_BYTES, |words| words.saturating_mul(8)).min(BACK_RING_BYTES)
    }

    /// Notes the pieces that are complete in the ring, by the worker's word: it has time for others. Gives the task and number of
    /// each, and of the one that it runs now, but for the oldest.
    pub(crate) fn pieces_behind(&mut self) -> impl Iterator<Item = (TaskKey, usize)> {
        let ended = self.ledger.note_ended(told::told_ended(self.pair.ended()));
        self.ledger.iter().take(ended + 1).skip(1).map(|piece| (piece.task, piece.number))
    }

    /// The pieces that it has begun, or may have: those whose results lie in the ring, and the one that runs.
    pub(crate) fn begun_pieces(&self) -> impl Iterator<Item = (TaskKey, usize)> {
        let ended = told::told_ended(self.pair.ended());
        let count = self.ledger.iter().position(|piece| piece.sequence == ended).map_or(0, |last| last + 1);
        self.ledger.iter().take(count + 1).map(|piece| (piece.task, piece.number))
    }

    /// Since when pieces of other tasks wait, if they do so now.
    pub(crate) fn others_wait_since_ns(&mut self, any: bool) -> Option<u64> {
        let since_ns = &mut self.open.others_wait_since_ns;
        *since_ns = if any { Some(since_ns.unwrap_or_else(clock::now_ns)) } else { None };
        *since_ns
    }

    /// True if it holds pieces of other tasks.
    pub(crate) fn holds_piece_of_others(&self, task: TaskKey) -> bool {
        self.ledger.iter().any(|piece| piece.task != task)
    }

    /// Tells the worker how far its ring was read, although that is little: no more is read for a while.
    pub(crate) fn tell_all_read(&mut self) {
        if self.told_head != self.replies.head() {
            self.tell_head_now();
        }
    }

    /// The worker is held back: the time of its oldest piece stands still.
    pub(crate) fn hold(&mut self) {
        let Some(oldest) = self.ledger.oldest().filter(|oldest| oldest.is_limited) else { return };
        let held_ns = match self.open.held {
            Some((sequence, _, Some(_))) if sequence == oldest.sequence => return,
            Some((sequence, held_ns, None)) if sequence == oldest.sequence => held_ns,
            _ => 0,
        };
        self.open.held = Some((oldest.sequence, held_ns, Some(clock::now_ns())));
    }

    /// It is held back no more. True if its time goes on.
    #[must_use]
    pub(crate) fn resume(&mut self) -> bool {
        let Some((sequence, held_ns, Some(since_ns))) = self.open.held else { return false };
        self.open.held = Some((sequence, held_ns + clock::now_ns().saturating_sub(since_ns), None));
        true
    }

    /// What is here of a piece that is lost, with its task.
    pub(crate) fn take_open(&mut self) -> Option<(TaskKey, Vec<u8>)> {
        let bytes = self.open.bytes.take()?;
        Some((self.ledger.oldest()?.task, bytes))
    }

    /// Reads parts of the oldest piece's open result, until that ends or about `most_bytes` were read.
    pub(crate) fn collect_open(
        &mut self,
        most_bytes: usize,
        buffers: &mut Buffers,
        arrivals: &mut impl Arrivals,
    ) -> Result<Read, Violation> {
        let (mut records, mut bytes) = (0, 0);
        let mut read = Read::default();
        while !read.is_complete && records < MAX_RECORDS_A_LOOK && bytes < most_bytes {
            let Some(record) = self.replies.peek(self.pair.back_ring())? else { break };
            failpoint!("parent-part-seen");
            let arrival = self.read_part(&record, buffers, arrivals)?;
            records += 1;
            bytes += record.payload_bytes;
            self.replies.pass(&record);
            failpoint!("parent-part-read");
            self.tell_head();
            read.any = true;
            if let Some(arrival) = arrival {
                read.is_complete = true;
                arrivals.other(arrival);
            }
        }
        self.copied += bytes + records * PIECE_COST;
        Ok(read)
    }

    /// Reads one part, and checks all of it.
    fn read_part(
        &mut self,
        record: &Record,
        buffers: &mut Buffers,
        arrivals: &mut impl Arrivals,
    ) -> Result<Option<super::Arrival>, Violation> {
        let words = self.pair.back_ring();
        let oldest = self.ledger.oldest().ok_or(Violation)?;
        let (task, sequence, is_timed) = (oldest.task, oldest.sequence, oldest.is_timed);
        if record.header.sequence != sequence || self.outgoing.is_sending_to(sequence) || self.samples.is_due() {
            return Err(Violation);
        }
        let lead = usize::from(is_timed);
        let part = record.payload_bytes.checked_sub(8 * lead).ok_or(Violation)?;
        let mut open = match (record.header.kind, self.open.bytes.take()) {
            (record::OPEN, None) => {
                self.open.total = 0;
                if let Some(oldest) = self.ledger.oldest_mut() {
                    // Whatever its state word says: parts of it may be handed on.
                    oldest.held = Held::Begun;
                }
                buffers.take_any()
            }
            (record::CHUNK | record::END, Some(bytes)) => bytes,
            _ => return Err(Violation),
        };
        let is_end = record.header.kind == record::END;
        let outcome = if is_end { outcome_of(record.header.flags)? } else { Outcome::Result };
        if outcome != Outcome::Result {
            arrivals.keeps(task, -(open.len() as isize));
            self.outgoing.discard(open);
            let mut text = Vec::new();
            record.append_to(words, lead, &mut text);
            let took_ns = took_ns(record, words, 0, is_timed)?;
            return self.answered(outcome, Reply::Heap(text), took_ns).map(Some);
        }
        self.open.total = self.open.total.checked_add(part).ok_or(Violation)?;
        if part == 0 && !is_end || part > CHUNK_BYTES || !buffers.allows(self.open.total) {
            return Err(Violation);
        }
        if open.try_reserve(part).is_err() {
            return Err(Violation);
        }
        record.append_to(words, lead, &mut open);
        if is_end {
            arrivals.keeps(task, -((open.len() - part) as isize));
            let took_ns = took_ns(record, words, 0, is_timed)?;
            return self.answered(outcome, Reply::Heap(open), took_ns).map(Some);
        }
        arrivals.keeps(task, part as isize);
        self.open.bytes = Some(open);
        Ok(None)
    }
}

/// What a look at an open result has read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Read {
    pub(crate) any: bool,
    /// Its piece has its answer.
    pub(crate) is_complete: bool,
}
