//! A worker as the parent sees it: the pieces that it holds, what it is given, what it answers.
//!
//! The parent believes nothing that a worker wrote. Positions, sequence numbers and generations are the parent's own; what the
//! worker says is checked in `reading` (replies), `progress` (times) and `learn_consumed` (how far it has read).
//!
//! Invariant: each piece given is answered, or revoked, or left over at the worker's death, and only one of these;
//! `ledger` lists those to which none of this has happened yet. The pair's words are shared with the worker as
//! `pair.rs` lists them; everything else is the parent's, under the pool's lock.

mod buffers;
mod claims;
mod holes;
mod ledger;
#[cfg(feature = "log")]
mod logs;
mod open;
mod progress;
mod reading;
mod room;
mod samples;
mod signals;
mod stream;
mod tables;

pub(crate) use buffers::Buffers;
#[cfg(feature = "log")]
pub(crate) use logs::LogsRead;
pub(crate) use open::Read;
pub(crate) use reading::{Arrivals, Left};
pub(crate) use samples::Told;
pub(crate) use tables::Provided;

use crate::backend::TaskKey;
use crate::codec::Format;
use crate::codec::bytes::{ARGUMENT_INLINE_BYTES, Arguments, Reply};
use crate::engine::piece::{Function, Given, Lost, Returned, Terms};
use crate::engine::wire::pair::{CHUNK_BYTES, Pair};
use crate::engine::wire::record::{self, Outcome};
use crate::error::Cause;
use crate::failpoint::failpoint;
use crate::protocol::claim;
use crate::protocol::ring::{Consumer, Full, Header, Producer, Violation};
use crate::protocol::sleep::{self, Interest, LOW_WATER};
use crate::protocol::sync::Relaxed;
use crate::protocol::told;
use crate::sys::clock;
use crate::sys::event::Event;
use crate::sys::spin;
use crate::sys::{fault, futex};
use claims::Held;
use holes::Holes;
use ledger::{InFlight, Ledger};
use open::OpenResult;
use progress::{Limits, Sightings};
use reading::Incoming;
use room::Lack;
use samples::Samples;
use signals::Signals;
use stream::Outgoing;
use tables::SentTables;

/// The piece that a reply answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) task: TaskKey,
    pub(crate) number: usize,
}

/// What a worker said.
#[derive(Debug)]
pub(crate) enum Arrival {
    Reply {
        piece: Answered,
        outcome: Outcome,
        bytes: Reply,
        /// The arguments, if the piece panicked and may run again.
        again: Option<Box<Arguments>>,
        /// How long it ran, by the worker's word; 0 if it is not timed.
        took_ns: u64,
        /// When it began, by the worker's word, if it is timed and that is known.
        began_ns: Option<u64>,
    },
    StartFailed(String),
}

/// The parent's side of one worker.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) caller_event: Event,
    pub(crate) supervisor_event: Event,
    pair: Pair,
    work: Producer,
    replies: Consumer,
    ledger: Ledger,
    limits: Limits,
    sightings: Sightings,
    next_sequence: u32,
    holes: Holes,
    /// A piece found no room, and it has read nothing since.
    lack: Option<Lack>,
    outgoing: Outgoing,
    incoming: Incoming,
    open: OpenResult,
    /// The position in *back* up to which the worker was told that the parent has read.
    told_head: u64,
    signals: Signals,
    samples: Samples,
    tables: SentTables,
    #[cfg(feature = "log")]
    log: logs::LogReader,
    /// It was seen to be ready, or has signalled.
    was_ready: bool,
    /// A state word was seen that neither side writes.
    is_damaged: bool,
    /// What was copied since somebody asked.
    copied: usize,
}

impl Link {
    /// A worker that is about to be forked.
    pub(crate) fn new(pair: Pair) -> std::io::Result<Link> {
        let worker = Link {
            caller_event: Event::new()?,
            supervisor_event: Event::new()?,
            pair,
            work: Producer::new(),
            replies: Consumer::new(),
            ledger: Ledger::default(),
            limits: Limits::default(),
            sightings: Sightings::default(),
            next_sequence: 1,
            holes: Holes::default(),
            lack: None,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            open: OpenResult::default(),
            told_head: 0,
            signals: Signals::new(),
            samples: Samples::off(),
            tables: SentTables::new()?,
            #[cfg(feature = "log")]
            log: logs::LogReader::new(),
            was_ready: false,
            is_damaged: false,
            copied: 0,
        };
        Ok(worker)
    }

    /// The number of pieces that it holds.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.ledger.len()
    }

    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.ledger.is_empty()
    }

    /// The task of the newest piece that it holds.
    pub(crate) fn newest_task(&self) -> Option<TaskKey> {
        self.ledger.newest().map(|piece| piece.task)
    }

    /// The estimated time for all pieces that it holds.
    #[inline]
    pub(crate) fn backlog_ns(&self) -> u64 {
        self.ledger.backlog_ns()
    }

    /// True if it holds a piece after which it will signal at low water.
    #[inline]
    pub(crate) fn has_flagged(&self) -> bool {
        self.ledger.flagged() > 0
    }

    pub(crate) fn holds_piece_of(&self, task: TaskKey) -> bool {
        self.ledger.iter().any(|piece| piece.task == task)
    }

    /// The pieces of a task that it holds.
    pub(crate) fn pieces_of(&self, task: TaskKey) -> impl Iterator<Item = usize> {
        self.ledger.iter().filter(move |piece| piece.task == task).map(|piece| piece.number)
    }

    /// The oldest piece that it holds.
    pub(crate) fn oldest_piece(&self) -> Option<(TaskKey, usize)> {
        self.ledger.oldest().map(|piece| (piece.task, piece.number))
    }

    /// True if this is the oldest piece that it holds.
    pub(crate) fn runs(&self, sequence: u32) -> bool {
        self.ledger.oldest().is_some_and(|oldest| oldest.sequence == sequence)
    }

    /// The sequence number of the next piece that it is given.
    #[inline]
    pub(crate) fn next_sequence(&self) -> u32 {
        self.next_sequence
    }

    /// How long a piece took, by the worker's word: it tells that of the first one after it was woken.
    pub(crate) fn told_cost_ns(&self, sequence: u32) -> Option<u64> {
        told::told_cost(self.pair.first_cost(), sequence)
    }

    /// When it became ready, as the worker wrote, if it is.
    pub(crate) fn ready_ns(&self) -> u64 {
        self.pair.ready_ns().load(Relaxed)
    }

    /// What the dead worker left word of, if that explains such an end.
    pub(crate) fn explain(&self, cause: Cause) -> Option<Cause> {
        match (self.pair.note().load(Relaxed), cause) {
            (fault::STACK_OVERFLOW, Cause::Signal(_) | Cause::Unknown) => Some(Cause::StackOverflow),
            (fault::ALLOCATION_FAILED, Cause::Signal(_) | Cause::Unknown) => Some(Cause::AllocationFailed),
            _ => None,
        }
    }

    /// True if the dead worker left word that it got no memory, and that explains such an end.
    pub(crate) fn lacked_memory(&self, cause: Cause) -> bool {
        let is_explained = matches!(cause, Cause::Signal(_) | Cause::Unknown | Cause::AllocationFailed);
        is_explained && [fault::ALLOCATION_FAILED, fault::MEMORY_REFUSED].contains(&self.pair.note().load(Relaxed))
    }

    /// Writes a piece into the ring, visible after [`publish`](Self::publish); returns it if there is no room.
    #[inline]
    pub(crate) fn give(&mut self, piece: Given, low_water: bool) -> Result<(), Given> {
        let Given { task, number, call, format, terms, ref arguments } = piece;
        if arguments.len() > CHUNK_BYTES {
            return self.give_stream(piece, low_water);
        }
        if self.give_record(task, number, (call, format, terms), arguments.as_slice(), low_water) {
            Ok(())
        } else {
            Err(piece)
        }
    }

    /// Writes the first chunk of a piece whose arguments stream.
    #[cold]
    fn give_stream(&mut self, piece: Given, low_water: bool) -> Result<(), Given> {
        if self.is_streaming_out() || !self.has_slot() {
            return Err(piece);
        }
        // The arguments of one piece only are kept until it is claimed.
        self.pump();
        if !self.outgoing.is_free() {
            return Err(piece);
        }
        let Given { task, number, call, format, terms, arguments } = piece;
        let bytes = arguments.into_vec();
        let (sequence, is_sampled) = (self.next_sequence, self.samples.choose(terms.function));
        let kind = if is_sampled { record::SAMPLED_BEGIN } else { record::BEGIN };
        let header = Header { kind, flags: flags_of(format, terms, low_water), sequence };
        let lead = [call, bytes.len() as u64];
        let Some(position) = self.push(header, &lead, &bytes[..CHUNK_BYTES]) else {
            self.samples.not_given(is_sampled, terms.function.number);
            return Err(Given { task, number, call, format, terms, arguments: Arguments::Heap(bytes) });
        };
        self.given(task, number, terms, position, low_water, (true, is_sampled));
        self.outgoing.start(sequence, bytes, CHUNK_BYTES);
        Ok(())
    }

    /// Writes pieces of one call whose arguments lie one behind the other, from `start` on, and end at `ends`; they
    /// are visible after [`publish`](Self::publish). Stops where there is no room, or work for `most_ns`. Gives how
    /// many were written. With `ends_batch` the worker signals after the last one. `call` is the call's word, its
    /// format and its terms.
    #[inline(always)]
    pub(crate) fn give_records(
        &mut self,
        task: TaskKey,
        first: usize,
        call: (u64, Format, Terms),
        (arguments, mut start, ends): (&[u8], usize, &[usize]),
        ends_batch: bool,
        most_ns: u64,
    ) -> usize {
        if self.is_streaming_out() {
            return 0;
        }
        let mut given = 0;
        for &end in ends {
            let is_last = ends_batch && given + 1 == ends.len();
            if self.backlog_ns() >= most_ns
                || !self.give_one(task, first + given, call, &arguments[start..end], is_last)
            {
                break;
            }
            given += 1;
            start = end;
        }
        given
    }

    /// Writes a piece whose arguments fit into one record. False if they do not, or there is no room.
    #[inline]
    fn give_record(
        &mut self,
        task: TaskKey,
        number: usize,
        call: (u64, Format, Terms),
        arguments: &[u8],
        low_water: bool,
    ) -> bool {
        !self.is_streaming_out() && self.give_one(task, number, call, arguments, low_water)
    }

    /// The same while no value streams to the worker.
    #[inline(always)]
    fn give_one(
        &mut self,
        task: TaskKey,
        number: usize,
        (call, format, terms): (u64, Format, Terms),
        arguments: &[u8],
        low_water: bool,
    ) -> bool {
        if arguments.len() > CHUNK_BYTES || !self.has_slot() {
            return false;
        }
        let (sequence, is_sampled) = (self.next_sequence, self.samples.choose(terms.function));
        let kind = if is_sampled { record::SAMPLED } else { record::PIECE };
        let header = Header { kind, flags: flags_of(format, terms, low_water), sequence };
        // The first attempt is inlined, since it nearly always succeeds: it then knows that `lead` is one word.
        let position = match self.work.push(self.pair.out_ring(), header, &[call], arguments) {
            Ok(position) => Some(position),
            Err(Full) => self.push(header, &[call], arguments),
        };
        match position {
            Some(position) => self.given(task, number, terms, position, low_water, (false, is_sampled)),
            None => self.samples.not_given(is_sampled, terms.function.number),
        }
        position.is_some()
    }

    /// Notes a piece that was written. Inlined so that the piece is built in its final place.
    #[inline(always)]
    fn given(
        &mut self,
        task: TaskKey,
        number: usize,
        terms: Terms,
        position: u64,
        low_water: bool,
        (streams, is_sampled): (bool, bool),
    ) {
        let Terms { cost_ns, function: Function { number: function, .. }, limit_ns, may_run_again, is_timed } = terms;
        let (sequence, end) = (self.next_sequence, self.work.tail());
        self.next_sequence = if sequence == claim::LAST_SEQUENCE { 1 } else { sequence + 1 };
        if let Some(limit_ns) = limit_ns {
            if self.ledger.is_empty() {
                self.limits.clear();
            }
            self.limits.add(sequence, limit_ns.get());
        }
        let (is_limited, held) = (limit_ns.is_some(), Held::Given);
        self.ledger.add(InFlight {
            task,
            number,
            sequence,
            cost_ns,
            position,
            end,
            low_water,
            streams,
            is_limited,
            may_run_again,
            is_timed,
            is_sampled,
            function,
            held,
        });
    }

    /// True if the next piece's state word is not in use any more.
    #[inline(always)]
    fn has_slot(&mut self) -> bool {
        self.ledger.len() + self.holes.count() < claim::SLOTS || self.finds_slot()
    }

    #[cold]
    fn finds_slot(&mut self) -> bool {
        self.learn_consumed();
        self.holes.consumed_to(self.work.consumed());
        self.ledger.len() + self.holes.count() < claim::SLOTS
    }

    /// Makes what was given visible to the worker, and wakes it if it sleeps.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.work.publish(self.pair.out_ring()) {
            failpoint!("parent-records-published");
            self.wake();
            failpoint!("parent-worker-woken");
        }
    }

    fn wake(&mut self) {
        if sleep::worker_sleeps(self.pair.worker_sleep()) {
            futex::wake(self.pair.worker_sleep());
            self.signals.allow_one();
            spin::after_wake_up();
        }
    }

    /// Writes a record; if there is no room, checks once how far the worker has read. Returns its position.
    #[cold]
    fn push(&mut self, header: Header, lead: &[u64], bytes: &[u8]) -> Option<u64> {
        for _ in 0..2 {
            if let Ok(position) = self.work.push(self.pair.out_ring(), header, lead, bytes) {
                return Some(position);
            }
            self.learn_consumed();
        }
        None
    }

    /// Accepts the worker's word on how far it has read, but not past a piece whose arguments may have to be read back
    /// from the ring.
    fn learn_consumed(&mut self) {
        let told = told::told_head(self.pair.out_head());
        let unanswered = self.ledger.iter().find(|piece| !piece.streams).map(|piece| piece.position);
        let bound = unanswered.unwrap_or(self.work.tail()).min(self.work.tail());
        self.work.consumed_to(told.min(bound));
    }

    /// Tells the worker that no more work comes. False if there is no room for that now.
    #[must_use]
    pub(crate) fn dismiss(&mut self) -> bool {
        let header = Header { kind: record::LEAVE, flags: 0, sequence: 0 };
        let has_room = self.push(header, &[], &[]).is_some();
        if has_room {
            self.publish();
        }
        has_room
    }

    /// Revokes the newest piece, if the worker has not begun it.
    pub(crate) fn revoke_newest(&mut self) -> Option<Returned> {
        // A record that is not published cannot be read back.
        self.publish();
        let newest = self.ledger.newest_mut()?;
        if !newest.revoke(self.pair.states()) {
            self.is_damaged |= newest.look(self.pair.states());
            // A worker takes its pieces in order, so the claim of this one comes after that of the oldest.
            self.is_damaged |= !self.sees_claim();
            return None;
        }
        failpoint!("parent-piece-revoked");
        let piece = self.ledger.remove_newest()?;
        self.samples.not_given(piece.is_sampled, piece.function);
        self.holes.add(piece.end);
        Some(self.returned(&piece))
    }

    /// Revokes every piece of a task that the worker has not begun.
    pub(crate) fn revoke_task(&mut self, task: TaskKey) {
        let states = self.pair.states();
        let (holes, outgoing, is_damaged) = (&mut self.holes, &mut self.outgoing, &mut self.is_damaged);
        let samples = &mut self.samples;
        self.ledger.remove_if(|piece| {
            if piece.task != task {
                return false;
            }
            let gone = piece.revoke(states);
            if gone {
                samples.not_given(piece.is_sampled, piece.function);
                holes.add(piece.end);
                outgoing.forget(piece.sequence);
            } else {
                *is_damaged |= piece.look(states);
            }
            gone
        });
    }

    fn returned(&mut self, piece: &InFlight) -> Returned {
        let InFlight { task, number, .. } = *piece;
        Returned { task, number, arguments: self.arguments_of(piece) }
    }

    /// The arguments of a piece that is not answered, and has not begun or may run again.
    #[cold]
    fn arguments_of(&mut self, piece: &InFlight) -> Arguments {
        if let Some(bytes) = self.outgoing.take(piece.sequence) {
            return Arguments::Heap(bytes);
        }
        if piece.streams {
            return Arguments::Heap(self.outgoing.take_kept());
        }
        let words = self.pair.out_ring();
        // The parent wrote it, nobody else can write there, and it is not consumed: it reads as it was written.
        let record = Consumer::record_at(words, piece.position).ok().flatten().expect("a record of our own is whole");
        let mut inline = [0; ARGUMENT_INLINE_BYTES];
        match record.copy_to(words, 1, &mut inline) {
            Some(length) => Arguments::Inline { length: length as u8, bytes: inline },
            None => {
                let mut bytes = Vec::new();
                record.append_to(words, 1, &mut bytes);
                Arguments::Heap(bytes)
            }
        }
    }

    /// After the worker's death and the last [`collect`](Self::collect): the piece that had begun, if any, and
    /// those that had not, in order.
    ///
    /// With `distrusted`, the oldest counts as begun whatever its state word says: otherwise a piece that damages its worker
    /// and the state word too would be given to one worker after another for ever.
    pub(crate) fn leftovers(&mut self, distrusted: bool) -> (Option<Lost>, Vec<Returned>) {
        // A record that is not published cannot be read back.
        self.publish();
        // A worker takes its pieces in order, one at a time: only the oldest can have begun, whatever the state
        // words of the others say.
        let has_begun = self.sees_claim() || distrusted;
        let lost = self.ledger.oldest().copied().filter(|_| has_begun);
        let mut rest = self.ledger.remove_all();
        rest.drain(..usize::from(lost.is_some()));
        let lost = lost.map(|piece| Lost {
            task: piece.task,
            number: piece.number,
            sequence: piece.sequence,
            arguments: piece.may_run_again.then(|| self.arguments_of(&piece)),
            noted: told::told_note(self.pair.noted(), self.pair.noted_in(), piece.sequence),
            started_ns: self.started_ns(&piece),
        });
        let rest = rest.iter().map(|piece| self.returned(piece)).collect();
        (lost, rest)
    }

    /// When a piece that is timed began, if the worker's last word is about it.
    fn started_ns(&self, piece: &InFlight) -> Option<u64> {
        let told_ns = || told::told_start(self.pair.started_ns(), self.pair.started(), piece.sequence);
        if piece.is_timed { told_ns() } else { None }
    }

    /// When a piece that is timed and took this time began, if the worker's last word is about that piece or the next one.
    #[cold]
    pub(super) fn began_ns(&self, piece: &InFlight, took_ns: u64) -> Option<u64> {
        let told_ns = |sequence| told::told_start(self.pair.started_ns(), self.pair.started(), sequence);
        let next = if piece.sequence == claim::LAST_SEQUENCE { 1 } else { piece.sequence + 1 };
        told_ns(piece.sequence).or_else(|| told_ns(next).map(|next_ns| next_ns.saturating_sub(took_ns)))
    }

    /// Asks the worker for signals; see [`Signals::announce`]. True if the parent must look at the replies once more.
    #[inline]
    #[must_use]
    pub(crate) fn announce(&mut self, interest: Interest, renew: bool) -> bool {
        self.signals.announce(self.pair.interest(), interest, renew)
    }

    /// The worker has sent a signal, as only one that is ready does. Unasked ones are allowed, but not a flood of them.
    pub(crate) fn signalled(&mut self) -> Result<(), Violation> {
        self.was_ready = true;
        self.signals.received(clock::now_ns)
    }

    /// True if the worker has read everything that was written for it, by its own word or because it has answered all.
    pub(crate) fn has_read_all(&self) -> Result<bool, Violation> {
        // Relaxed: a hint.
        let (told, tail) = (self.pair.out_head().load(Relaxed), self.work.tail());
        if told > tail { Err(Violation) } else { Ok(told.max(self.work.consumed()) == tail) }
    }
}

#[inline(always)]
fn flags_of(format: Format, terms: Terms, low_water: bool) -> u8 {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let of_time = flag(terms.limit_ns.is_some(), record::LIMITED) | flag(terms.is_timed, record::TIMED);
    format.to_bits() | flag(low_water, LOW_WATER) | of_time
}

#[cfg(test)]
mod tests;
