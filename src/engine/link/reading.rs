//! The one place that reads what a worker wrote into *back*'s ring, and checks all of it.
//!
//! Positions, sequence numbers and generations are the parent's own. A reply counts only for the oldest piece that
//! the worker holds, a length only within what the ring can carry. Payloads are copied once and decoded later by their
//! owner. Anything else is a [`Violation`], and costs that worker only.
//!
//! What may repeat, and what bounds it: replies are no more than the pieces that the worker holds. The parts of a reply that
//! streams are full ones ([`CHUNK_BYTES`]) but for the last, so no more than its length allows. A sample follows the reply to a piece that is
//! sampled, and nothing else. A failed start is the first
//! thing in the ring or nothing. So a worker that lets its ring stand full of records keeps the parent busy for as many
//! records as the parent itself has asked for, and not longer.
//!
//! Invariant: `Incoming` holds at most one reply that streams, with at most the bytes that it announced; its piece is
//! the oldest. The ring's words are written by the worker; `back_head` in *out* is written here alone.

use super::buffers::Buffers;
#[cfg(feature = "log")]
use super::logs::LogsRead;
use super::samples::Told;
use super::{Answered, Arrival, Link};
use crate::backend::TaskKey;
use crate::codec::bytes::{REPLY_INLINE_BYTES, Reply};
#[cfg(feature = "log")]
use crate::engine::outbox::Lane;
use crate::engine::policy::hold::PIECE_COST;
use crate::engine::wire::pair::{CHUNK_BYTES, READY};
use crate::engine::wire::record::{self, Outcome};
use crate::failpoint::failpoint;
use crate::protocol::ring::{Header, Record, Violation};
use crate::protocol::sync::{Acquire, AtomicU64};
use crate::protocol::told;
use crate::sys::allocator::Pages;
#[cfg(feature = "log")]
use std::sync::Arc;

/// The most records that one look reads, since the lock is held meanwhile: 512 tiny replies take about 30 us.
pub(super) const MAX_RECORDS_A_LOOK: usize = 512;

/// The most bytes that one look reads, for the same reason: a quarter of *back*'s ring takes about as long.
const MAX_BYTES_A_LOOK: usize = 256 * 1024;

/// A reply that streams from the worker.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    partial: Option<Partial>,
    /// The pages that it needs next.
    pages: Option<Pages>,
}

#[derive(Debug)]
struct Partial {
    total: usize,
    bytes: Vec<u8>,
    outcome: Outcome,
    took_ns: u64,
}

/// A whole reply.
struct Whole {
    outcome: Outcome,
    bytes: Reply,
    /// How long the piece ran, by the worker's word; 0 if it is not timed.
    took_ns: u64,
}

impl Incoming {
    /// An open result comes: nothing else answers its piece.
    pub(super) fn block(&mut self) {
        self.partial = Some(Partial { total: 0, bytes: Vec::new(), outcome: Outcome::Result, took_ns: 0 });
    }

    pub(super) fn release(&mut self) {
        self.partial = None;
    }

    /// The pages that this buffer needs next, which has grown from `before` bytes.
    pub(super) fn prepare_pages(&mut self, buffer: &Vec<u8>, before: usize) {
        self.pages = Pages::ahead(buffer, before).or(self.pages.take());
    }

    #[inline]
    fn is_none(&self) -> bool {
        self.partial.is_none()
    }

    /// Reads the first or a later part. Returns the value once it is complete.
    #[cold]
    fn read(
        &mut self,
        record: &Record,
        words: &[AtomicU64],
        is_timed: bool,
        buffers: &mut Buffers,
    ) -> Result<Option<Whole>, Violation> {
        let partial = match (record.header.kind, self.partial.take()) {
            (record::BEGIN, None) => {
                let outcome = outcome_of(record.header.flags)?;
                let total = record.word(words, 0).and_then(|total| usize::try_from(total).ok()).ok_or(Violation)?;
                let lead = 1 + usize::from(is_timed);
                let first = record.payload_bytes.checked_sub(8 * lead).ok_or(Violation)?;
                let took_ns = took_ns(record, words, 1, is_timed)?;
                // A shorter value is no value that streams.
                if total <= CHUNK_BYTES || !is_part(total, 0, first) || !buffers.allows(total) {
                    return Err(Violation);
                }
                let mut partial = Partial { total, bytes: buffers.take(total), outcome, took_ns };
                record.append_to(words, lead, &mut partial.bytes);
                self.pages = Pages::ahead(&partial.bytes, 0);
                partial
            }
            (record::CHUNK, Some(mut partial)) => {
                if !is_part(partial.total, partial.bytes.len(), record.payload_bytes) {
                    return Err(Violation);
                }
                partial.make_room(record.payload_bytes)?;
                let before = partial.bytes.len();
                record.append_to(words, 0, &mut partial.bytes);
                self.pages = Pages::ahead(&partial.bytes, before).or(self.pages);
                partial
            }
            _ => return Err(Violation),
        };
        if partial.bytes.len() < partial.total {
            self.partial = Some(partial);
            return Ok(None);
        }
        let Partial { outcome, bytes, took_ns, .. } = partial;
        Ok(Some(Whole { outcome, bytes: Reply::Heap(bytes), took_ns }))
    }
}

/// How long a piece ran: this word of its reply, if it is timed.
pub(super) fn took_ns(record: &Record, words: &[AtomicU64], n: usize, is_timed: bool) -> Result<u64, Violation> {
    if is_timed { record.word(words, n).ok_or(Violation) } else { Ok(0) }
}

/// True if a value of `total` bytes, of which `have` have come, has a next part of this length. A worker that may cut its
/// value into parts of a few bytes could keep the parent at it for ever.
fn is_part(total: usize, have: usize, part: usize) -> bool {
    part > 0 && part == (total - have).min(CHUNK_BYTES)
}

impl Partial {
    /// Makes room for the next chunk: at most as much again as has come, so that no announced length alone reserves
    /// memory.
    fn make_room(&mut self, chunk_bytes: usize) -> Result<(), Violation> {
        let have = self.bytes.len();
        if self.bytes.capacity() < have + chunk_bytes {
            let more = have.max(chunk_bytes).min(self.total - have);
            self.bytes.try_reserve_exact(more).map_err(|_| Violation)?;
        }
        Ok(())
    }
}

/// The outcome of a piece, from a record's flags.
#[inline]
pub(super) fn outcome_of(flags: u8) -> Result<Outcome, Violation> {
    match Outcome::from_flags(flags) {
        None | Some(Outcome::StartFailed) => Err(Violation),
        Some(outcome) => Ok(outcome),
    }
}

/// The payload of a reply that is one record, after its first `lead` words.
#[inline(always)]
fn whole_reply(record: &Record, words: &[AtomicU64], lead: usize) -> Reply {
    let mut inline = [0; REPLY_INLINE_BYTES];
    match record.copy_to(words, lead, &mut inline) {
        Some(length) => Reply::Inline { length: length as u8, bytes: inline },
        None => {
            let mut bytes = Vec::with_capacity(record.payload_bytes);
            record.append_to(words, lead, &mut bytes);
            Reply::Heap(bytes)
        }
    }
}

/// What a look has left in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Left {
    Nothing,
    /// There may be more.
    Part,
    /// The next record is of an open result: [`Link::collect_open`] reads it.
    Open,
}

/// Where the arrivals of one look go.
pub(crate) trait Arrivals {
    /// A piece has its result: what most replies are.
    fn result(&mut self, task: TaskKey, number: usize, bytes: Reply);

    /// Any other arrival, or a result that streamed.
    fn other(&mut self, arrival: Arrival);

    /// A sample of what the worker's memory does.
    fn sample(&mut self, told: &Told<'_>);

    /// The worker has logged something that comes before what it says next of this piece.
    #[cfg(feature = "log")]
    fn logged(&mut self, _piece: Option<(TaskKey, usize)>, _lane: &Arc<Lane>, _read: Option<LogsRead>) {}

    /// The link has this many more bytes of open results of a task, or fewer.
    fn keeps(&mut self, _: TaskKey, _by: isize) {}
}

impl<F: FnMut(Arrival)> Arrivals for F {
    fn result(&mut self, task: TaskKey, number: usize, bytes: Reply) {
        let piece = Answered { task, number };
        self(Arrival::Reply { piece, outcome: Outcome::Result, bytes, again: None, took_ns: 0, began_ns: None });
    }

    fn other(&mut self, arrival: Arrival) {
        self(arrival);
    }

    fn sample(&mut self, _: &Told<'_>) {}
}

impl Link {
    /// Reads what the worker wrote since the last look, at most [`MAX_RECORDS_A_LOOK`] records, but no open results.
    #[inline]
    pub(crate) fn collect(&mut self, buffers: &mut Buffers, arrivals: &mut impl Arrivals) -> Result<Left, Violation> {
        let mut left = Left::Part;
        let (mut records, mut bytes) = (0, 0);
        while records < MAX_RECORDS_A_LOOK && bytes < MAX_BYTES_A_LOOK {
            let Some(record) = self.replies.peek(self.pair.back_ring())? else {
                left = Left::Nothing;
                break;
            };
            failpoint!("parent-reply-seen");
            let plain = self.read_plain(&record);
            let other = match plain {
                Some(_) => None,
                None if self.open.takes(&record) => {
                    left = Left::Open;
                    break;
                }
                None if record.header.kind == record::SAMPLE => {
                    self.read_sample(&record, |told| arrivals.sample(told))?;
                    None
                }
                None => {
                    #[cfg(feature = "log")]
                    let Some(record) = self.after_logs(&record, arrivals, &mut bytes)? else {
                        break;
                    };
                    self.read(&record, buffers)?
                }
            };
            records += 1;
            bytes += record.payload_bytes;
            self.replies.pass(&record);
            failpoint!("parent-reply-read");
            self.tell_head();
            if let Some((piece, reply)) = plain {
                arrivals.result(piece.task, piece.number, reply);
            } else if let Some(arrival) = other {
                arrivals.other(arrival);
            }
        }
        self.copied += bytes + records * PIECE_COST;
        let has_room = self.pump();
        Ok(if has_room && left == Left::Nothing { Left::Part } else { left })
    }

    /// Reads a result in one record, of a piece whose arguments were in one record: what nearly all records are, and
    /// all that must be checked of them. `None`: it is something else, or a violation.
    #[inline(always)]
    fn read_plain(&mut self, record: &Record) -> Option<(Answered, Reply)> {
        let Header { kind, flags, sequence } = record.header;
        let oldest = self.ledger.oldest()?;
        let is_plain = kind == record::REPLY
            && flags == Outcome::Result as u8
            && oldest.sequence == sequence
            && !oldest.streams
            && !oldest.is_sampled
            && !oldest.is_timed
            && self.incoming.is_none()
            && !self.samples.is_due();
        if !is_plain {
            return None;
        }
        let piece = Answered { task: oldest.task, number: oldest.number };
        // An answer means that the worker has read the arguments.
        self.work.consumed_to(oldest.end);
        self.samples.answered(oldest.function);
        self.ledger.drop_oldest();
        Some((piece, whole_reply(record, self.pair.back_ring(), 0)))
    }

    /// The pages that a result which streams needs next: to be allocated without the lock.
    #[inline]
    pub(crate) fn take_pages(&mut self) -> Option<Pages> {
        self.incoming.pages.take()
    }

    /// The position in *back* up to which the parent has read.
    pub(crate) fn has_read(&self) -> u64 {
        self.replies.head()
    }

    /// The position in *back* that lies one ring further: an honest worker has written nothing beyond it.
    pub(crate) fn end_of_ring(&self) -> u64 {
        self.replies.head() + self.pair.back_ring().len() as u64
    }

    /// True if a look would find something.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.replies.is_ready(self.pair.back_ring())
    }

    /// True if a look would find something, or could send more of what streams, or may find room in its ring.
    #[inline]
    pub(crate) fn is_worth_a_look(&self) -> bool {
        self.has_news() || !self.outgoing.is_free() || self.lacks_room()
    }

    /// The bytes that were copied since the last question, and [`PIECE_COST`] for each record that was read.
    #[inline]
    pub(crate) fn take_copied(&mut self) -> usize {
        std::mem::take(&mut self.copied)
    }

    /// Reads one record, and checks all of it.
    #[inline(never)]
    fn read(&mut self, record: &Record, buffers: &mut Buffers) -> Result<Option<Arrival>, Violation> {
        let Header { kind, flags, sequence } = record.header;
        // Before any other reply comes the sample that is due.
        if self.samples.is_due() {
            return Err(Violation);
        }
        if kind == record::REPLY && flags == Outcome::StartFailed as u8 {
            return self.start_failure(record).map(Some);
        }
        let oldest = self.ledger.oldest().ok_or(Violation)?;
        // A piece whose arguments are still on their way cannot have an answer.
        if oldest.sequence != sequence || self.outgoing.is_sending_to(sequence) {
            return Err(Violation);
        }
        let words = self.pair.back_ring();
        let is_timed = oldest.is_timed;
        let Whole { outcome, bytes, took_ns } = if kind == record::REPLY && self.incoming.is_none() {
            let (outcome, took_ns) = (outcome_of(flags)?, took_ns(record, words, 0, is_timed)?);
            Whole { outcome, bytes: whole_reply(record, words, usize::from(is_timed)), took_ns }
        } else {
            match self.incoming.read(record, words, is_timed, buffers)? {
                Some(whole) => whole,
                None => return Ok(None),
            }
        };
        self.answered(outcome, bytes, took_ns).map(Some)
    }

    /// The oldest piece has its answer.
    pub(super) fn answered(&mut self, outcome: Outcome, bytes: Reply, took_ns: u64) -> Result<Arrival, Violation> {
        let Some(piece) = self.ledger.remove_oldest() else { return Err(Violation) };
        // These are answers too, but the task's settings may have the piece run again.
        let runs_again = matches!(outcome, Outcome::Panicked | Outcome::Failed) && piece.may_run_again;
        let again = if runs_again { Some(Box::new(self.arguments_of(&piece))) } else { None };
        if piece.streams {
            self.outgoing.forget(piece.sequence);
            self.outgoing.forget_kept();
        }
        // An answer means that the worker has read the arguments.
        self.work.consumed_to(piece.end);
        self.samples.answered(piece.function);
        if piece.is_sampled {
            self.samples.expect(piece.sequence);
        }
        let began_ns = if piece.is_timed { self.began_ns(&piece, took_ns) } else { None };
        let piece = Answered { task: piece.task, number: piece.number };
        Ok(Arrival::Reply { piece, outcome, bytes, again, took_ns, began_ns })
    }

    /// A worker whose start failed says so and ends. So that is the first record of its ring, and it has begun nothing.
    #[cold]
    fn start_failure(&mut self, record: &Record) -> Result<Arrival, Violation> {
        let is_first = self.replies.head() == 0;
        if !is_first || self.is_ready() || self.sees_claim() {
            return Err(Violation);
        }
        let mut bytes = Vec::new();
        record.append_to(self.pair.back_ring(), 0, &mut bytes);
        Ok(Arrival::StartFailed(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// True once `on_worker_start` has returned. What was seen once stays: the word lies where the worker can write.
    pub(crate) fn is_ready(&mut self) -> bool {
        // Acquire (worker-ready).
        self.was_ready = self.was_ready || self.pair.stage().load(Acquire) == READY;
        self.was_ready
    }

    /// Tells the worker how far the parent has read, once a quarter of the ring was read since the last time: each
    /// time moves a cache line. Wakes the worker if it waits for room.
    #[inline(always)]
    pub(super) fn tell_head(&mut self) {
        let head = self.replies.head();
        if head - self.told_head >= self.pair.back_ring().len() as u64 / 4 {
            self.tell_head_now();
        }
    }

    pub(super) fn tell_head_now(&mut self) {
        self.told_head = self.replies.head();
        told::tell_head(self.pair.back_head(), self.told_head);
        failpoint!("parent-head-told");
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_the_bytes_that_came() {
        // The announced length, the bytes that came, the next chunk; the room then.
        for (total, have, chunk, room) in
            [(100, 10, 1, 20), (100, 10, 30, 40), (100, 60, 10, 100), (100, 60, 40, 100), (1 << 60, 10, 20, 30)]
        {
            let mut bytes = Vec::new();
            bytes.reserve_exact(have);
            bytes.resize(have, 1);
            let mut partial = Partial { total, bytes, outcome: Outcome::Result, took_ns: 0 };
            partial.make_room(chunk).unwrap();
            assert_eq!(partial.bytes.capacity(), room, "{have} of {total}, then {chunk}");
        }
    }

    #[test]
    fn only_the_last_part_is_shorter_than_the_others() {
        const FULL: usize = CHUNK_BYTES;
        // The announced length, the bytes that came, the next part, whether it is one.
        for (total, have, part, expected) in [
            (FULL + 9, 0, FULL, true),
            (FULL + 9, 0, FULL - 1, false),
            (FULL + 9, 0, FULL + 1, false),
            (FULL + 9, 0, FULL + 9, false),
            (FULL + 9, FULL, 9, true),
            (FULL + 9, FULL, 8, false),
            (FULL + 9, FULL, 10, false),
            (3 * FULL, FULL, 8, false),
            (3 * FULL, 2 * FULL, FULL, true),
            (3 * FULL, 3 * FULL, 0, false),
            (usize::MAX, FULL, FULL, true),
        ] {
            assert_eq!(is_part(total, have, part), expected, "{have} of {total}, then {part}");
        }
    }

    #[test]
    fn only_outcomes_of_pieces_are_outcomes() {
        for flags in 0..=255 {
            let outcome = outcome_of(flags).ok();
            assert_eq!(outcome.map(|outcome| outcome as u8), (flags < 6).then_some(flags), "{flags}");
        }
    }
}
