//! What a worker's pieces log: read from a ring of its own, checked, and put into the worker's lane.
//!
//! The worker signals a record if it was asked to since it last did, and when a quarter of the ring is unread; it never waits for room. The parent reads
//! all when it is signalled, then looks from time to time without being signalled, and asks anew once it finds nothing
//! (`core/logs.rs`). A reply that tells of records has them read before it counts, so their piece still has its number.
//!
//! Invariant: one look reads no more than [`MOST_BYTES`], since the pool's lock is held. The words of the ring are written by the worker, `log_interest`, `log_head`
//! and `log_level` here alone.

use super::{Arrivals, Link};
use crate::engine::logs::LogRecord;
use crate::engine::outbox::Lane;
use crate::engine::policy::hold::PIECE_COST;
use crate::engine::wire::log::{Lead, MAX_BYTES};
use crate::engine::wire::pair::LOG_RING_BYTES;
use crate::engine::wire::record;
use crate::protocol::ring::{Consumer, Record, Violation};
use crate::protocol::sleep::{Announcer, Interest, Listening};
use crate::protocol::sync::Relaxed;
use crate::protocol::told;
use std::sync::Arc;

/// The most that one look reads, each record with [`PIECE_COST`]: 128 short ones, or 8 of the longest. It takes some 20 us.
const MOST_BYTES: usize = 64 * 1024;

/// A worker signals that a quarter of its ring is unread, and again when the parent has read as much. So half of that is no less than an honest one needs.
const SIGNAL_WORDS: u64 = LOG_RING_BYTES as u64 / 8 / 8;

/// The parent's side of a worker's log.
#[derive(Debug)]
pub(super) struct LogReader {
    ring: Consumer,
    announcer: Announcer,
    /// `None` before the worker has a seat.
    lane: Option<Arc<Lane>>,
    /// What the worker had lost at the last look.
    lost: u64,
    /// Where it was last allowed one more signal.
    allowed_at: u64,
    /// While records are read that come before a reply: the position up to which they can lie.
    reply_until: Option<u64>,
}

impl LogReader {
    pub(super) fn new() -> Self {
        LogReader {
            ring: Consumer::new(),
            announcer: Announcer::new(),
            lane: None,
            lost: 0,
            allowed_at: 0,
            reply_until: None,
        }
    }
}

/// What a look at a log has read.
#[derive(Debug)]
pub(crate) struct LogsRead {
    pub(crate) lane: Arc<Lane>,
    pub(crate) records: Vec<LogRecord>,
    /// What the worker found no room for since the last look.
    pub(crate) lost: u64,
    /// How much was read, with what each record costs.
    pub(crate) bytes: usize,
    /// There may be more.
    pub(crate) has_more: bool,
}

impl Link {
    /// The worker gets a seat: what it logs goes into a lane.
    pub(crate) fn log_into(&mut self, lane: Arc<Lane>) {
        self.log.lane = Some(lane);
        self.ask_for_logs();
    }

    /// Asks to be signalled of the next record. What has come until now must be looked for once more.
    pub(crate) fn ask_for_logs(&mut self) {
        self.log.announcer.announce(self.pair.log_interest(), Interest::NextReply(Listening::Supervisor));
        self.signals.allow_one();
    }

    /// The level that holds for the next piece.
    pub(crate) fn tell_log_level(&self, level: u32) {
        // Relaxed: the publication of the piece comes after it.
        self.pair.log_level().store(level, Relaxed);
    }

    /// Takes some of the records that are here: no more than one look may read. `None` if there are none.
    pub(crate) fn take_logs(&mut self) -> Result<Option<LogsRead>, Violation> {
        let told = self.pair.log_lost().load(Relaxed);
        if !self.log.ring.is_ready(self.pair.log_ring()) && told == self.log.lost {
            return Ok(None);
        }
        let Some(lane) = self.log.lane.clone() else { return Ok(None) };
        let begin = self.log.ring.head();
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < MOST_BYTES
            && let Some(record) = self.log.ring.peek(self.pair.log_ring())?
        {
            let read = self.read_log(&record)?;
            bytes += record.payload_bytes + PIECE_COST;
            records.push(read);
            self.log.ring.pass(&record);
        }
        let lost = told.saturating_sub(std::mem::replace(&mut self.log.lost, told));
        let head = self.log.ring.head();
        if head != begin {
            told::tell_head(self.pair.log_head(), head);
            self.copied += bytes;
            if head - self.log.allowed_at >= SIGNAL_WORDS {
                // It may have signalled that its ring fills.
                self.log.allowed_at = head;
                self.signals.allow_one();
            }
        }
        let has_more = bytes >= MOST_BYTES;
        Ok((!records.is_empty() || lost > 0).then_some(LogsRead { lane, records, lost, bytes, has_more }))
    }

    /// Reads one record, and checks all of it.
    fn read_log(&self, record: &Record) -> Result<LogRecord, Violation> {
        let words = self.pair.log_ring();
        let level = match record.header.flags {
            1 => log::Level::Error,
            2 => log::Level::Warn,
            3 => log::Level::Info,
            4 => log::Level::Debug,
            5 => log::Level::Trace,
            _ => return Err(Violation),
        };
        if record.header.kind != record::LOG || record.payload_bytes > MAX_BYTES {
            return Err(Violation);
        }
        let word = |n| record.word(words, n).ok_or(Violation);
        let lead = [word(0)?, word(1)?];
        let mut bytes = Vec::with_capacity(record.payload_bytes - 16);
        record.append_to(words, 2, &mut bytes);
        let lead = Lead::from_words(lead, bytes.len()).ok_or(Violation)?;
        // One that has an answer is not there any more.
        let piece = self.ledger.of_sequence(record.header.sequence).map(|piece| piece.number);
        Ok(LogRecord { level, lead, piece, bytes })
    }

    /// Where its records go.
    pub(crate) fn lane(&self) -> Option<&Arc<Lane>> {
        self.log.lane.as_ref()
    }

    /// A reply, or a part of a result: if it tells of records, these come first. `None` if they were not all read: then it is looked at again. `bytes`
    /// counts what was read.
    #[inline]
    pub(super) fn after_logs(
        &mut self,
        record: &Record,
        arrivals: &mut impl Arrivals,
        bytes: &mut usize,
    ) -> Result<Option<Record>, Violation> {
        let mut record = *record;
        if record.header.flags & record::LOGGED != 0 {
            record.header.flags &= !record::LOGGED;
            // What came before it is not more than the ring holds. Threads of the piece may go on to write.
            let end = self.log.ring.head() + self.pair.log_ring().len() as u64;
            let end = *self.log.reply_until.get_or_insert(end);
            let read = self.take_logs()?;
            *bytes += read.as_ref().map_or(0, |read| read.bytes);
            let has_more = read.as_ref().is_some_and(|read| read.has_more) && self.log.ring.head() < end;
            let piece = self.oldest_piece();
            if let Some(lane) = &self.log.lane {
                arrivals.logged(piece, lane, read);
            }
            if has_more {
                return Ok(None);
            }
            self.log.reply_until = None;
        }
        Ok(Some(record))
    }
}
