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
//! Invariant: `kept` is of the oldest piece, and its bytes come behind what was handed over before. `total` counts all of them, and is
//! within the limit of results. While there is one, `Incoming` is blocked: nothing else answers that piece. Each part but the last has at least one byte, so the parts of a result are bounded by that limit.

use super::reading::{MAX_RECORDS_A_LOOK, outcome_of, took_ns};
use super::{Arrival, Arrivals, Buffers, Held, InFlight, Link};
use crate::backend::TaskKey;
use crate::codec::bytes::Reply;
use crate::engine::policy::hold::PIECE_COST;
use crate::engine::policy::patience::Progress;
use crate::engine::wire::pair::{BACK_RING_BYTES, CHUNK_BYTES};
use crate::engine::wire::record::{self, Outcome};
use crate::failpoint::failpoint;
use crate::protocol::claim;
use crate::protocol::ring::{Record, Violation};
use crate::protocol::told;
use crate::sys::clock;

/// A worker that sees this much of its ring unread has no room for another window, or soon has none.
const BLOCKED_BYTES: usize = BACK_RING_BYTES - 2 * CHUNK_BYTES;

/// A buffer that is this many times longer than its result is exchanged: the result may be kept for long.
const MAX_OVERSIZE: usize = 4;

/// The open result of the oldest piece.
#[derive(Debug, Default)]
pub(super) struct OpenResult {
    /// Its task, its number, and what is here. `None` while there is none.
    kept: Option<(TaskKey, usize, Vec<u8>)>,
    total: usize,
    held: HeldBack,
    /// Since when pieces of other tasks wait while it is held back, and what says that this is still one wait.
    others_wait: Option<(u64, u64)>,
}

/// For how long a piece that is limited was held back.
#[derive(Debug, Default)]
struct HeldBack {
    sequence: u32,
    ns: u64,
    /// It is so now, since then.
    since_ns: Option<u64>,
}

impl OpenResult {
    /// True if this record is of an open result.
    #[inline]
    pub(super) fn takes(&self, record: &Record) -> bool {
        match record.header.kind {
            record::OPEN => true,
            record::CHUNK | record::END => self.kept.is_some(),
            _ => false,
        }
    }

    /// How long this piece was held back. `None` if it is so now.
    pub(super) fn held_ns(&self, sequence: u32) -> Option<u64> {
        match self.held {
            HeldBack { sequence: held, ns, since_ns } if held == sequence => since_ns.is_none().then_some(ns),
            _ => Some(0),
        }
    }
}

/// True if a piece is complete where pieces up to `ended` are: numbers begin anew behind the last one.
fn is_ended(sequence: u32, ended: u32) -> bool {
    ended != 0 && ended.wrapping_sub(sequence) & claim::LAST_SEQUENCE < claim::LAST_SEQUENCE / 2
}

impl Link {
    /// What is here of the oldest piece's open result, with its task and number.
    pub(crate) fn open_bytes(&mut self) -> Option<(TaskKey, usize, &mut Vec<u8>)> {
        self.open.kept.as_mut().map(|(task, number, bytes)| (*task, *number, bytes))
    }

    /// The bytes in the ring that its worker has told of; of all that lies there.
    pub(crate) fn told_bytes(&self) -> usize {
        self.told_from(self.replies.head())
    }

    /// True if the worker has no room, as far as it knows, or soon has none.
    pub(crate) fn is_blocked(&self) -> bool {
        self.told_from(self.told_head) >= BLOCKED_BYTES
    }

    fn told_from(&self, position: u64) -> usize {
        let words = told::told_tail(self.pair.back_tail()).saturating_sub(position);
        usize::try_from(words).map_or(BACK_RING_BYTES, |words| words.saturating_mul(8)).min(BACK_RING_BYTES)
    }

    /// Notes the pieces that are complete in the ring, by the worker's word. True if there are more of them than before: it has
    /// time for others.
    #[must_use]
    pub(crate) fn note_ended(&mut self) -> bool {
        let (before_ns, ended) = (self.ledger.backlog_ns(), told::told_ended(self.pair.ended()));
        self.ledger.cost_nothing(|sequence| is_ended(sequence, ended));
        self.ledger.backlog_ns() != before_ns
    }

    /// The pieces that it has begun, or begins next: those whose results lie complete in the ring, and the one behind them.
    pub(crate) fn begun_pieces(&self) -> impl Iterator<Item = (TaskKey, usize)> {
        self.begun().map(|piece| (piece.task, piece.number))
    }

    fn begun(&self) -> impl Iterator<Item = &InFlight> {
        let ended = told::told_ended(self.pair.ended());
        let mut is_next = true;
        self.ledger.iter().take_while(move |piece| std::mem::replace(&mut is_next, is_ended(piece.sequence, ended)))
    }

    /// Since when pieces of other tasks wait, if they do so now: `wait` is the same number as long as it is one wait.
    pub(crate) fn others_wait_since_ns(&mut self, wait: Option<u64>) -> Option<u64> {
        let known = self.open.others_wait.filter(|(_, known)| Some(*known) == wait);
        self.open.others_wait = wait.map(|wait| known.unwrap_or_else(|| (clock::now_ns(), wait)));
        self.open.others_wait.map(|(since_ns, _)| since_ns)
    }

    /// True if it holds pieces of other tasks.
    pub(crate) fn holds_piece_of_others(&self, task: TaskKey) -> bool {
        self.ledger.iter().any(|piece| piece.task != task)
    }

    /// The worker is held back: the time of the piece that it runs stands still.
    pub(crate) fn hold(&mut self) {
        let Some(runs) = self.begun().last().filter(|runs| runs.is_limited).map(|runs| runs.sequence) else { return };
        let held = &mut self.open.held;
        if held.sequence != runs {
            *held = HeldBack { sequence: runs, ns: 0, since_ns: None };
        }
        held.since_ns.get_or_insert_with(clock::now_ns);
    }

    /// It is held back no more. Gives when the time of its oldest piece ends, if it went on just now.
    #[must_use]
    pub(crate) fn resume(&mut self) -> Option<u64> {
        self.open.others_wait = None;
        let (held, now_ns) = (&mut self.open.held, clock::now_ns);
        let since_ns = held.since_ns.take()?;
        let now_ns = now_ns();
        held.ns += now_ns.saturating_sub(since_ns);
        match self.progress(now_ns) {
            Ok(Some(Progress::Runs { until_ns, .. })) => Some(until_ns),
            // The thread that runs the timers next acts on it.
            _ => None,
        }
    }

    /// What is here of a piece that is lost, with its task.
    pub(crate) fn take_open(&mut self) -> Option<(TaskKey, Vec<u8>)> {
        self.incoming.release();
        self.open.kept.take().map(|(task, _, bytes)| (task, bytes))
    }

    /// Reads parts of the oldest piece's open result, until that ends, about `most_bytes` were read, or the ring is read up
    /// to `end`. What is read is kept, or forgotten.
    pub(crate) fn collect_open(
        &mut self,
        (most_bytes, end, keeps): (usize, u64, bool),
        buffers: &mut Buffers,
        arrivals: &mut impl Arrivals,
    ) -> Result<Read, Violation> {
        let (mut records, mut bytes) = (0, 0);
        let mut read = Read::default();
        while !read.is_complete
            && records < MAX_RECORDS_A_LOOK
            && bytes < most_bytes
            && self.replies.head() < end
            && let Some(record) = self.replies.peek(self.pair.back_ring())?
            && self.open.takes(&record)
        {
            failpoint!("parent-part-seen");
            #[cfg(feature = "log")]
            let Some(record) = self.after_logs(&record, arrivals, &mut bytes)? else {
                // The look goes on with what was logged.
                read.any = true;
                break;
            };
            let arrival = self.read_part(&record, buffers, arrivals)?;
            if !keeps && let Some((task, _, kept)) = &mut self.open.kept {
                arrivals.keeps(*task, -(kept.len() as isize));
                kept.clear();
            }
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
    ) -> Result<Option<Arrival>, Violation> {
        let words = self.pair.back_ring();
        let oldest = self.ledger.oldest_mut().ok_or(Violation)?;
        let (task, number, sequence, is_timed) = (oldest.task, oldest.number, oldest.sequence, oldest.is_timed);
        if record.header.sequence != sequence || self.outgoing.is_sending_to(sequence) || self.samples.is_due() {
            return Err(Violation);
        }
        let (kind, lead) = (record.header.kind, usize::from(is_timed));
        let part = record.payload_bytes.checked_sub(8 * lead).ok_or(Violation)?;
        let outcome = if kind == record::END { outcome_of(record.header.flags)? } else { Outcome::Result };
        let took_ns = if kind == record::END { took_ns(record, words, 0, is_timed)? } else { 0 };
        let before = if kind == record::OPEN { 0 } else { self.open.total };
        let total = before.checked_add(part).ok_or(Violation)?;
        if part > CHUNK_BYTES
            || part == 0 && kind != record::END
            || outcome == Outcome::Result && !buffers.allows(total)
            || (kind == record::OPEN) != self.open.kept.is_none()
        {
            return Err(Violation);
        }
        if kind == record::OPEN {
            // Whatever its state word says: parts of it may be handed on.
            oldest.held = Held::Begun;
            self.open.kept = Some((task, number, buffers.take_any()));
            self.incoming.block();
        }
        self.open.total = total;
        let Some((_, _, bytes)) = &mut self.open.kept else { return Err(Violation) };
        let before = bytes.len();
        if outcome == Outcome::Result {
            bytes.try_reserve(part).map_err(|_| Violation)?;
            record.append_to(words, lead, bytes);
            self.incoming.prepare_pages(bytes, before);
        }
        if kind != record::END {
            arrivals.keeps(task, part as isize);
            return Ok(None);
        }
        let Some((_, bytes)) = self.take_open() else { return Err(Violation) };
        arrivals.keeps(task, -(before as isize));
        let bytes = if outcome == Outcome::Result {
            self.fitted(bytes, buffers)
        } else {
            self.outgoing.discard(bytes);
            let mut text = Vec::new();
            record.append_to(self.pair.back_ring(), lead, &mut text);
            Reply::Heap(text)
        };
        self.answered(outcome, bytes, took_ns).map(Some)
    }

    /// A result without much unused memory. What is copied is little: a quarter of a kept buffer at most.
    fn fitted(&mut self, bytes: Vec<u8>, buffers: &mut Buffers) -> Reply {
        if bytes.len() >= bytes.capacity() / MAX_OVERSIZE {
            return Reply::Heap(bytes);
        }
        let reply = Reply::copy_of(&bytes);
        if let (Some(unwanted), _) = buffers.put(bytes) {
            self.outgoing.discard(unwanted);
        }
        reply
    }
}

/// What a look at an open result has read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Read {
    pub(crate) any: bool,
    /// Its piece has its answer.
    pub(crate) is_complete: bool,
}
