//! The one place that reads what a worker wrote into *back*'s ring, and checks all of it.
//!
//! Positions, sequence numbers and generations are the parent's own. A reply counts only for the oldest piece that
//! the worker holds, a length only within what the ring can carry. Payloads are copied once and decoded later by their
//! owner. Anything else is a [`Violation`], and costs that worker only.
//!
//! Invariant: `Incoming` holds at most one reply that streams, with at most the bytes that it announced; its piece is
//! the oldest. The ring's words are written by the worker; `back_head` in *out* is written here alone.

use super::buffers::Buffers;
use super::{Answered, Arrival, Link};
use crate::backend::TaskKey;
use crate::codec::bytes::{REPLY_INLINE_BYTES, Reply};
use crate::engine::wire::record::{self, Outcome};
use crate::failpoint::failpoint;
use crate::protocol::ring::{Header, Record, Violation};
use crate::protocol::sync::{AtomicU64, Release};

/// The most records that one look reads, since the lock is held meanwhile: 512 tiny replies take about 30 us.
pub(crate) const MAX_RECORDS_A_LOOK: usize = 512;

/// The most bytes that one look reads, for the same reason: half of *back*'s ring.
const MAX_BYTES_A_LOOK: usize = 512 * 1024;

/// A reply that streams from the worker.
#[derive(Debug, Default)]
pub(super) struct Incoming(Option<Partial>);

#[derive(Debug)]
struct Partial {
    total: usize,
    bytes: Vec<u8>,
    outcome: Outcome,
}

impl Incoming {
    #[inline]
    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Reads the first or a later part. Returns the value once it is complete.
    #[cold]
    fn read(
        &mut self,
        record: &Record,
        words: &[AtomicU64],
        buffers: &mut Buffers,
    ) -> Result<Option<(Outcome, Reply)>, Violation> {
        let partial = match (record.header.kind, self.0.take()) {
            (record::BEGIN, None) => {
                let outcome = outcome_of(record.header.flags)?;
                let total = record.word(words, 0).and_then(|total| usize::try_from(total).ok()).ok_or(Violation)?;
                if !buffers.allows(total) {
                    return Err(Violation);
                }
                let mut partial = Partial { total, bytes: buffers.take(total), outcome };
                record.append_to(words, 1, &mut partial.bytes);
                partial
            }
            (record::CHUNK, Some(mut partial)) => {
                if record.payload_bytes == 0 {
                    return Err(Violation);
                }
                partial.make_room(record.payload_bytes)?;
                record.append_to(words, 0, &mut partial.bytes);
                partial
            }
            _ => return Err(Violation),
        };
        match partial.bytes.len().cmp(&partial.total) {
            std::cmp::Ordering::Less => {
                self.0 = Some(partial);
                Ok(None)
            }
            std::cmp::Ordering::Equal => Ok(Some((partial.outcome, Reply::Heap(partial.bytes)))),
            std::cmp::Ordering::Greater => Err(Violation),
        }
    }
}

impl Partial {
    /// Makes room for the next chunk: at most as much again as has come, so that no announced length alone reserves
    /// memory.
    fn make_room(&mut self, chunk_bytes: usize) -> Result<(), Violation> {
        let have = self.bytes.len();
        if have + chunk_bytes > self.total {
            return Err(Violation);
        }
        if self.bytes.capacity() < have + chunk_bytes {
            let more = have.max(chunk_bytes).min(self.total - have);
            self.bytes.try_reserve_exact(more).map_err(|_| Violation)?;
        }
        Ok(())
    }
}

/// The outcome of a piece, from a record's flags.
#[inline]
fn outcome_of(flags: u8) -> Result<Outcome, Violation> {
    match Outcome::from_flags(flags) {
        None | Some(Outcome::StartFailed) => Err(Violation),
        Some(outcome) => Ok(outcome),
    }
}

/// The payload of a reply that is one record.
#[inline(always)]
fn whole_reply(record: &Record, words: &[AtomicU64]) -> Reply {
    let mut inline = [0; REPLY_INLINE_BYTES];
    match record.copy_to(words, 0, &mut inline) {
        Some(length) => Reply::Inline { length: length as u8, bytes: inline },
        None => {
            let mut bytes = Vec::with_capacity(record.payload_bytes);
            record.append_to(words, 0, &mut bytes);
            Reply::Heap(bytes)
        }
    }
}

/// Where the arrivals of one look go.
pub(crate) trait Arrivals {
    /// A piece has its result: what most replies are.
    fn result(&mut self, task: TaskKey, number: usize, bytes: Reply);

    /// Any other arrival, or a result that streamed.
    fn other(&mut self, arrival: Arrival);
}

impl<F: FnMut(Arrival)> Arrivals for F {
    fn result(&mut self, task: TaskKey, number: usize, bytes: Reply) {
        let piece = Answered { task, number };
        self(Arrival::Reply { piece, outcome: Outcome::Result, bytes, again: None });
    }

    fn other(&mut self, arrival: Arrival) {
        self(arrival);
    }
}

impl Link {
    /// Reads what the worker wrote since the last look, at most [`MAX_RECORDS_A_LOOK`] records. True if there may be
    /// more.
    pub(crate) fn collect(&mut self, buffers: &mut Buffers, arrivals: &mut impl Arrivals) -> Result<bool, Violation> {
        let mut more = true;
        let (mut records, mut bytes) = (0, 0);
        while records < MAX_RECORDS_A_LOOK && bytes < MAX_BYTES_A_LOOK {
            let Some(record) = self.replies.peek(self.pair.back_ring())? else {
                more = false;
                break;
            };
            records += 1;
            bytes += record.payload_bytes;
            failpoint!("parent-reply-seen");
            let plain = self.read_plain(&record);
            let other = if plain.is_none() { self.read(&record, buffers)? } else { None };
            self.replies.pass(&record);
            failpoint!("parent-reply-read");
            self.tell_head();
            if let Some((piece, reply)) = plain {
                arrivals.result(piece.task, piece.number, reply);
            } else if let Some(arrival) = other {
                arrivals.other(arrival);
            }
        }
        self.pump();
        Ok(more)
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
            && self.incoming.is_none();
        if !is_plain {
            return None;
        }
        let piece = Answered { task: oldest.task, number: oldest.number };
        // An answer means that the worker has read the arguments.
        self.work.consumed_to(oldest.end);
        self.ledger.drop_oldest();
        Some((piece, whole_reply(record, self.pair.back_ring())))
    }

    /// True if a look would find something.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.replies.is_ready(self.pair.back_ring())
    }

    /// Reads one record, and checks all of it.
    #[inline(never)]
    fn read(&mut self, record: &Record, buffers: &mut Buffers) -> Result<Option<Arrival>, Violation> {
        let Header { kind, flags, sequence } = record.header;
        if kind == record::REPLY && flags == Outcome::StartFailed as u8 && !self.is_ready() {
            return Ok(Some(self.start_failure(record)));
        }
        let oldest = self.ledger.oldest().ok_or(Violation)?;
        // A piece whose arguments are still on their way cannot have an answer.
        if oldest.sequence != sequence || self.outgoing.is_sending_to(sequence) {
            return Err(Violation);
        }
        let words = self.pair.back_ring();
        let (outcome, bytes) = if kind == record::REPLY && self.incoming.is_none() {
            (outcome_of(flags)?, whole_reply(record, words))
        } else {
            match self.incoming.read(record, words, buffers)? {
                Some(whole) => whole,
                None => return Ok(None),
            }
        };
        let Some(piece) = self.ledger.remove_oldest() else { return Err(Violation) };
        // A panic is an answer too, but the task's settings may have the piece run again.
        let runs_again = outcome == Outcome::Panicked && piece.may_run_again;
        let again = if runs_again { Some(Box::new(self.arguments_of(&piece))) } else { None };
        if piece.streams {
            self.outgoing.forget(sequence);
            self.outgoing.forget_kept();
        }
        // An answer means that the worker has read the arguments.
        self.work.consumed_to(piece.end);
        let piece = Answered { task: piece.task, number: piece.number };
        Ok(Some(Arrival::Reply { piece, outcome, bytes, again }))
    }

    #[cold]
    fn start_failure(&self, record: &Record) -> Arrival {
        let mut bytes = Vec::new();
        record.append_to(self.pair.back_ring(), 0, &mut bytes);
        Arrival::StartFailed(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Tells the worker how far the parent has read, once a quarter of the ring was read since the last time: each
    /// time moves a cache line. Wakes the worker if it waits for room.
    #[inline(always)]
    fn tell_head(&mut self) {
        let head = self.replies.head();
        if head - self.told_head >= self.pair.back_ring().len() as u64 / 4 {
            self.told_head = head;
            // Release (tell-back-head): we have read what lies before.
            self.pair.back_head().store(head, Release);
            failpoint!("parent-head-told");
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_the_bytes_that_came() {
        // The announced length, the bytes that came, the next chunk; the room then, if the chunk may come.
        for (total, have, chunk, room) in [
            (100, 10, 1, Some(20)),
            (100, 10, 30, Some(40)),
            (100, 60, 10, Some(100)),
            (100, 60, 40, Some(100)),
            (100, 60, 41, None),
            (1 << 60, 10, 20, Some(30)),
        ] {
            let mut bytes = Vec::new();
            bytes.reserve_exact(have);
            bytes.resize(have, 1);
            let mut partial = Partial { total, bytes, outcome: Outcome::Result };
            let capacity = partial.make_room(chunk).ok().map(|()| partial.bytes.capacity());
            assert_eq!(capacity, room, "{have} of {total}, then {chunk}");
        }
    }

    #[test]
    fn only_outcomes_of_pieces_are_outcomes() {
        for flags in 0..=255 {
            let outcome = outcome_of(flags).ok();
            assert_eq!(outcome.map(|outcome| outcome as u8), (flags < 4).then_some(flags), "{flags}");
        }
    }
}
