//! A worker as the parent sees it: its pair, the pieces that it holds, the replies that come.
//!
//! This is the one module that reads what a worker wrote, and it believes none of it. Positions,
//! numbers and generations are the parent's own; a reply counts only for the oldest piece that the
//! worker holds, a length only within what the ring can carry; payloads are copied once and decoded
//! later by their owner. Whatever does not fit is a [`Violation`], and costs that worker only.
//!
//! Invariant: `in_flight` lists, in the order of their sequence numbers, exactly the pieces that
//! this worker was given and that were neither answered nor called back.

use crate::codec::Format;
use crate::codec::bytes::{Arguments, REPLY_INLINE_BYTES, Reply};
use crate::engine::core::task_state::TaskKey;
use crate::engine::wire::pair::{CHUNK_BYTES, Made, Pair, READY};
use crate::engine::wire::record::{self, Outcome};
use crate::engine::wire::result_limit::{self, ResultLimit};
use crate::error::Cause;
use crate::failpoint::failpoint;
use crate::protocol::claim;
use crate::protocol::ring::{Consumer, Header, Producer, Record, Violation};
use crate::protocol::sleep::{self, Announcer, Interest, LOW_WATER};
use crate::protocol::sync::{Acquire, Relaxed, Release};
use crate::sys::clock;
use crate::sys::event::Event;
use crate::sys::spin;
use crate::sys::{fault, futex, memory, process};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::num::NonZeroU64;

/// How much one look takes at the most, so that no lock is held for long.
pub(crate) const MAX_RECORDS_A_LOOK: usize = 512;
const MAX_BYTES_A_LOOK: usize = 512 * 1024;

/// Room for so much is made on the word of a worker that a value will be that long: it is not
/// touched before the bytes come, so a lie costs addresses only.
const BELIEVED_BYTES: usize = result_limit::ALWAYS_ALLOWED_BYTES;

/// A worker that wakes this process so often in a second, uncalled for, does it on purpose.
const FLOOD: u32 = 10_000;
const FLOOD_NS: u64 = 1_000_000_000;

/// How much work a worker is given ahead.
pub(crate) const LOOK_AHEAD_NS: u64 = 300_000;

/// The most pieces of look-ahead, however tiny they are.
pub(crate) const MAX_LOOK_AHEAD: usize = 1024;

/// A piece on its way to a worker.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) task: TaskKey,
    pub(crate) number: usize,
    /// The call, in the form that travels.
    pub(crate) call: u64,
    pub(crate) format: Format,
    pub(crate) terms: Terms,
    pub(crate) arguments: Arguments,
}

/// On what terms a piece is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How long it is thought to run.
    pub(crate) cost_ns: u32,
    /// How long it may run.
    pub(crate) limit_ns: Option<NonZeroU64>,
    /// Its arguments must be there until it is answered: it may have to run again.
    pub(crate) may_run_again: bool,
}

/// A piece that a worker holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) task: TaskKey,
    pub(crate) number: usize,
    sequence: u32,
    cost_ns: u32,
    /// Where its record begins in *out*.
    position: u64,
    /// Where it ends; for one that streams, so far.
    end: u64,
    low_water: bool,
    streams: bool,
    /// How long it may run stands in `limits`.
    is_limited: bool,
    /// Its arguments must be there until it is answered.
    may_run_again: bool,
    /// It was seen to be claimed, and its arguments were let go: whatever the worker writes later,
    /// it is not taken back.
    begun: bool,
}

/// A piece that came back without having begun.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) task: TaskKey,
    pub(crate) number: usize,
    pub(crate) arguments: Arguments,
}

/// A piece that its worker took with it.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) task: TaskKey,
    pub(crate) number: usize,
    pub(crate) sequence: u32,
    /// If it may run again.
    pub(crate) arguments: Option<Arguments>,
}

/// How a worker's oldest piece stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Progress {
    /// Not begun, at least since this moment.
    Waits { since_ns: u64, limit_ns: Option<u64> },
    /// Begun, and limited.
    Runs { sequence: u32, until_ns: u64 },
}

/// What a worker said.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// With the arguments once more if it panicked and may run again.
    Reply {
        piece: InFlight,
        outcome: Outcome,
        bytes: Reply,
        again: Option<Box<Arguments>>,
    },
    StartFailed(String),
}

/// Arguments that stream to the worker. Kept until it has claimed the piece: before that the piece
/// may have to go to another.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    sequence: u32,
}

/// A reply that streams from the worker.
#[derive(Debug)]
struct Incoming {
    total: usize,
    bytes: Vec<u8>,
    outcome: Outcome,
}

/// The parent's side of one worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) number: usize,
    pub(crate) pid: Option<u32>,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) caller_event: Event,
    pub(crate) supervisor_event: Event,
    pair: Pair,
    work: Producer,
    replies: Consumer,
    announcer: Announcer,
    in_flight: VecDeque<InFlight>,
    /// How long those pieces in flight may run that are limited; and some that have gone.
    limits: VecDeque<(u32, u64)>,
    /// What the pieces in flight are thought to take.
    backlog_ns: u64,
    /// Pieces in flight that carry [`LOW_WATER`].
    flagged: usize,
    next_sequence: u32,
    /// Pieces called back that the worker may not have stepped over yet: their state words are
    /// still in use.
    holes: usize,
    holes_end: u64,
    outgoing: Option<Outgoing>,
    /// The arguments that streamed to the piece that runs, if it may have to run again.
    kept: Option<Vec<u8>>,
    incoming: Option<Incoming>,
    told_head: u64,
    /// Signals that it may still send: one for each thing that it was asked to tell, and for each time
    /// that it was woken.
    signals_left: u64,
    /// Those that it sent beyond that, and since when.
    uncalled: u32,
    uncalled_since_ns: u64,
    /// When a piece was first seen to wait, and when one is known to have begun.
    seen_waiting: Option<(u32, u64)>,
    seen_started: Option<(u32, u64)>,
    /// It did not begin what it was given: it gets nothing more until it does.
    pub(crate) suspect: bool,
    /// When replies came last, or when an idle worker was given work.
    pub(crate) busy_since_ns: u64,
    pub(crate) pieces_done: u64,
    pub(crate) leaving: bool,
    /// It was to be killed; perhaps before its process was known.
    doomed: bool,
    /// The fork server was asked to do it.
    pub(crate) kill_ordered: bool,
    pub(crate) made_ns: u64,
    /// The descriptors of *out* and *back*, until somebody has seen to it that their pages are there.
    pub(crate) memory: Option<(OwnedFd, OwnedFd)>,
}

impl WorkerHandle {
    /// A worker that is about to be forked.
    pub(crate) fn create(number: usize, (pair, out, back): Made) -> std::io::Result<WorkerHandle> {
        let worker = WorkerHandle {
            number,
            pid: None,
            pidfd: None,
            caller_event: Event::new()?,
            supervisor_event: Event::new()?,
            pair,
            work: Producer::new(),
            replies: Consumer::new(),
            announcer: Announcer::new(),
            in_flight: VecDeque::new(),
            limits: VecDeque::new(),
            backlog_ns: 0,
            flagged: 0,
            next_sequence: 1,
            holes: 0,
            holes_end: 0,
            outgoing: None,
            kept: None,
            incoming: None,
            told_head: 0,
            signals_left: 0,
            uncalled: 0,
            uncalled_since_ns: 0,
            seen_waiting: None,
            seen_started: None,
            suspect: false,
            busy_since_ns: 0,
            pieces_done: 0,
            leaving: false,
            doomed: false,
            kill_ordered: false,
            made_ns: clock::now_ns(),
            memory: Some((out, back)),
        };
        Ok(worker)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The task whose piece it was given last, of those that it holds.
    pub(crate) fn newest_task(&self) -> Option<TaskKey> {
        self.in_flight.back().map(|piece| piece.task)
    }

    /// How long the pieces that it holds are thought to take.
    pub(crate) fn backlog_ns(&self) -> u64 {
        self.backlog_ns
    }

    /// True if it will be through with what it holds soon enough that it need not tell of each piece.
    pub(crate) fn is_quick(&self) -> bool {
        self.backlog_ns < LOOK_AHEAD_NS / 8 * self.in_flight.len() as u64
    }

    /// True if the worker has little left to do and can take more.
    pub(crate) fn is_hungry(&self) -> bool {
        self.backlog_ns <= LOOK_AHEAD_NS / 2
            && self.in_flight.len() <= MAX_LOOK_AHEAD / 2
            && !self.is_streaming_out()
            && !self.leaving
            && !self.suspect
    }

    /// True while arguments are still on their way.
    pub(crate) fn is_streaming_out(&self) -> bool {
        self.outgoing.as_ref().is_some_and(|outgoing| outgoing.sent < outgoing.bytes.len())
    }

    /// True if the worker holds a piece after which it will tell.
    pub(crate) fn has_flagged(&self) -> bool {
        self.flagged > 0
    }

    /// The tasks whose pieces it holds.
    pub(crate) fn holds_piece_of(&self, task: TaskKey) -> bool {
        self.in_flight.iter().any(|piece| piece.task == task)
    }

    /// True once `on_worker_start` has returned.
    pub(crate) fn is_ready(&self) -> bool {
        // Acquire (worker-ready).
        self.pair.stage().load(Acquire) == READY
    }

    /// What the dead worker left word of, if that explains such an end.
    pub(crate) fn explain(&self, cause: Cause) -> Option<Cause> {
        match (self.pair.note().load(Relaxed), cause) {
            (fault::STACK_OVERFLOW, Cause::Signal(_) | Cause::Unknown) => Some(Cause::StackOverflow),
            (fault::ALLOCATION_FAILED, Cause::Signal(_) | Cause::Unknown) => Some(Cause::AllocationFailed),
            _ => None,
        }
    }

    /// True if we killed it.
    pub(crate) fn was_killed(&self) -> bool {
        self.doomed
    }

    /// Puts a piece into the ring, not yet to be seen; gives it back if there is no room.
    pub(crate) fn give(&mut self, piece: Given, low_water: bool) -> Result<(), Given> {
        if self.is_streaming_out() || self.leaving || !self.has_slot() {
            return Err(piece);
        }
        let streams = piece.arguments.len() > CHUNK_BYTES;
        if streams {
            // Only one piece's arguments are kept until it is claimed.
            self.pump();
            if self.outgoing.is_some() {
                return Err(piece);
            }
        }
        let Given { task, number, call, format, terms, arguments } = piece;
        if !streams {
            let given = self.give_record(task, number, (call, format, terms), arguments.as_slice(), low_water);
            return if given { Ok(()) } else { Err(Given { task, number, call, format, terms, arguments }) };
        }
        let bytes = arguments.into_vec();
        let sequence = self.next_sequence;
        let header = Header { kind: record::BEGIN, flags: flags_of(format, terms, low_water), sequence };
        let lead = [call, bytes.len() as u64];
        let Some(position) = self.push(|work, words| work.push(words, header, &lead, &bytes[..CHUNK_BYTES])) else {
            return Err(Given { task, number, call, format, terms, arguments: Arguments::Heap(bytes) });
        };
        self.took(task, number, terms, position, low_water, true);
        self.outgoing = Some(Outgoing { bytes, sent: CHUNK_BYTES, sequence });
        Ok(())
    }

    /// Puts a piece into the ring, not yet to be seen, whose arguments fit into one record. False if
    /// there is no room. A call is its word, its format and its terms.
    #[must_use]
    pub(crate) fn give_record(
        &mut self,
        task: TaskKey,
        number: usize,
        (call, format, terms): (u64, Format, Terms),
        arguments: &[u8],
        low_water: bool,
    ) -> bool {
        if self.is_streaming_out() || self.leaving || arguments.len() > CHUNK_BYTES || !self.has_slot() {
            return false;
        }
        let sequence = self.next_sequence;
        let flags = flags_of(format, terms, low_water);
        let header = Header { kind: record::PIECE, flags, sequence };
        let Some(position) = self.push(|work, words| work.push(words, header, &[call], arguments)) else {
            return false;
        };
        self.took(task, number, terms, position, low_water, false);
        true
    }

    /// Notes a piece that was written. It is made where it is to stay: copied about, it costs more than
    /// all else here.
    #[inline(always)]
    fn took(&mut self, task: TaskKey, number: usize, terms: Terms, position: u64, low_water: bool, streams: bool) {
        let Terms { cost_ns, limit_ns, may_run_again } = terms;
        let (sequence, end) = (self.next_sequence, self.work.tail());
        // 31 bits: the state word keeps one for itself.
        self.next_sequence = if sequence == u32::MAX >> 1 { 1 } else { sequence + 1 };
        self.backlog_ns += u64::from(cost_ns);
        self.flagged += usize::from(low_water);
        if let Some(limit_ns) = limit_ns {
            if self.in_flight.is_empty() {
                self.limits.clear();
            }
            self.limits.push_back((sequence, limit_ns.get()));
        }
        let (is_limited, begun) = (limit_ns.is_some(), false);
        self.in_flight.push_back(InFlight {
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
            begun,
        });
    }

    /// True if the next piece's state word is not in use any more.
    fn has_slot(&mut self) -> bool {
        if self.in_flight.len() + self.holes < claim::SLOTS {
            return true;
        }
        self.learn_consumed();
        if self.work.consumed() >= self.holes_end {
            self.holes = 0;
        }
        self.in_flight.len() + self.holes < claim::SLOTS
    }

    /// Shows the worker what was given, and wakes it if it sleeps.
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
            self.signals_left += 1;
            spin::after_wake_up();
        }
    }

    /// Sends more of what streams, as far as there is room.
    pub(crate) fn pump(&mut self) {
        let Some(mut outgoing) = self.outgoing.take() else { return };
        while outgoing.sent < outgoing.bytes.len() {
            let chunk = &outgoing.bytes[outgoing.sent..];
            let chunk = &chunk[..chunk.len().min(CHUNK_BYTES)];
            let header = Header { kind: record::CHUNK, flags: 0, sequence: outgoing.sequence };
            if self.push(|work, words| work.push(words, header, &[], chunk)).is_none() {
                break;
            }
            outgoing.sent += chunk.len();
            failpoint!("parent-chunk-written");
            // Only now: once all is sent, what lies behind belongs to other pieces.
            if let Some(piece) = self.in_flight.iter_mut().find(|piece| piece.sequence == outgoing.sequence) {
                piece.end = self.work.tail();
            }
            self.publish();
        }
        let sent = outgoing.sent == outgoing.bytes.len();
        match self.in_flight.front_mut() {
            // Only the oldest can have begun, whatever the state words say.
            Some(front)
                if sent
                    && front.sequence == outgoing.sequence
                    && claim::is_claimed(self.pair.states(), outgoing.sequence) =>
            {
                front.begun = true;
                self.kept = front.may_run_again.then_some(outgoing.bytes);
            }
            _ => self.outgoing = Some(outgoing),
        }
    }

    /// Pushes, and if there is no room looks once how far the worker has come.
    fn push(
        &mut self,
        push: impl Fn(&mut Producer, &[crate::protocol::sync::AtomicU64]) -> Result<u64, crate::protocol::ring::Full>,
    ) -> Option<u64> {
        if let Ok(position) = push(&mut self.work, self.pair.out_ring()) {
            return Some(position);
        }
        self.learn_consumed();
        push(&mut self.work, self.pair.out_ring()).ok()
    }

    /// Believes the worker's word on how far it has read, but never past a piece that may still
    /// have to be read back from the ring.
    fn learn_consumed(&mut self) {
        // Acquire (tell-out-head): the worker has read what lies before.
        let told = self.pair.out_head().load(Acquire);
        let unanswered = self.in_flight.iter().find(|piece| !piece.streams).map(|piece| piece.position);
        let bound = unanswered.unwrap_or(self.work.tail()).min(self.work.tail());
        self.work.consumed_to(told.min(bound));
    }

    /// Tells the worker that no more work comes.
    pub(crate) fn dismiss(&mut self) {
        if !self.leaving
            && self
                .push(|work, words| work.push(words, Header { kind: record::LEAVE, flags: 0, sequence: 0 }, &[], &[]))
                .is_some()
        {
            self.leaving = true;
            self.publish();
        }
    }

    /// Takes what the worker has said since the last look. True if there may be more.
    pub(crate) fn collect(&mut self, spare: &mut Spare, mut arrived: impl FnMut(Arrival)) -> Result<bool, Violation> {
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
            let arrival = self.read(&record, spare)?;
            self.replies.pass(&record);
            failpoint!("parent-reply-read");
            self.tell_head();
            if let Some(arrival) = arrival {
                arrived(arrival);
            }
        }
        self.pump();
        Ok(more)
    }

    /// True if a look would find something.
    pub(crate) fn has_news(&self) -> bool {
        self.replies.is_ready(self.pair.back_ring())
    }

    /// Reads one record, checking all of it.
    fn read(&mut self, record: &Record, spare: &mut Spare) -> Result<Option<Arrival>, Violation> {
        let Header { kind, flags, sequence } = record.header;
        if kind == record::REPLY && flags == Outcome::StartFailed as u8 && !self.is_ready() {
            let mut bytes = Vec::new();
            record.append_to(self.pair.back_ring(), 0, &mut bytes);
            return Ok(Some(Arrival::StartFailed(String::from_utf8_lossy(&bytes).into_owned())));
        }
        let piece = self.in_flight.front().ok_or(Violation)?;
        // A piece whose arguments are still on their way cannot have an answer.
        let is_on_its_way = self.is_streaming_out() && self.outgoing.as_ref().is_some_and(|it| it.sequence == sequence);
        if piece.sequence != sequence || is_on_its_way {
            return Err(Violation);
        }
        let outcome_of = |flags| match Outcome::from_flags(flags) {
            None | Some(Outcome::StartFailed) => Err(Violation),
            Some(outcome) => Ok(outcome),
        };
        let words = self.pair.back_ring();
        let (outcome, bytes) = match (kind, self.incoming.take()) {
            (record::REPLY, None) => {
                let outcome = outcome_of(flags)?;
                let mut inline = [0; REPLY_INLINE_BYTES];
                let bytes = match record.copy_to(words, 0, &mut inline) {
                    Some(length) => Reply::Inline { length: length as u8, bytes: inline },
                    None => {
                        let mut bytes = Vec::with_capacity(record.payload_bytes);
                        record.append_to(words, 0, &mut bytes);
                        Reply::Heap(bytes)
                    }
                };
                (outcome, bytes)
            }
            (record::BEGIN, None) => {
                let outcome = outcome_of(flags)?;
                let total = record.word(words, 0).and_then(|total| usize::try_from(total).ok()).ok_or(Violation)?;
                if !spare.bound.allows(total) {
                    return Err(Violation);
                }
                let mut incoming = Incoming { total, bytes: spare.take(total), outcome };
                record.append_to(words, 1, &mut incoming.bytes);
                match incoming.whole()? {
                    Ok(whole) => whole,
                    Err(incoming) => {
                        self.incoming = Some(incoming);
                        return Ok(None);
                    }
                }
            }
            (record::CHUNK, Some(mut incoming)) => {
                if record.payload_bytes == 0 {
                    return Err(Violation);
                }
                incoming.make_room(record.payload_bytes)?;
                record.append_to(words, 0, &mut incoming.bytes);
                match incoming.whole()? {
                    Ok(whole) => whole,
                    Err(incoming) => {
                        self.incoming = Some(incoming);
                        return Ok(None);
                    }
                }
            }
            _ => return Err(Violation),
        };
        let Some(piece) = self.in_flight.pop_front() else { return Err(Violation) };
        self.flagged -= usize::from(piece.low_water);
        self.backlog_ns -= u64::from(piece.cost_ns);
        // A panic is an answer too, and may be one that does not count.
        let again = (outcome == Outcome::Panicked && piece.may_run_again).then(|| Box::new(self.arguments_of(&piece)));
        if self.outgoing.as_ref().is_some_and(|outgoing| outgoing.sequence == piece.sequence) {
            self.outgoing = None;
        }
        if piece.streams {
            self.kept = None;
        }
        // An answer means that the arguments were read.
        self.work.consumed_to(piece.end);
        self.pieces_done += 1;
        Ok(Some(Arrival::Reply { piece, outcome, bytes, again }))
    }

    /// Lets the worker know how far its replies were read, once it is worth a cache line, and wakes
    /// it if it waits for that.
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

    /// Takes the newest piece back, if the worker has not begun it.
    pub(crate) fn revoke_newest(&mut self) -> Option<Returned> {
        // What is not published cannot be read back.
        self.publish();
        let piece = *self.in_flight.back()?;
        if piece.begun || !claim::revoke(self.pair.states(), piece.sequence) {
            return None;
        }
        failpoint!("parent-piece-revoked");
        self.in_flight.pop_back();
        self.flagged -= usize::from(piece.low_water);
        self.backlog_ns -= u64::from(piece.cost_ns);
        self.holes += 1;
        self.holes_end = self.holes_end.max(piece.end);
        Some(self.returned(&piece))
    }

    /// Takes back every piece of a task that the worker has not begun.
    pub(crate) fn revoke_task(&mut self, task: TaskKey) {
        let states = self.pair.states();
        let (flagged, backlog_ns, outgoing) = (&mut self.flagged, &mut self.backlog_ns, &mut self.outgoing);
        let (holes, holes_end) = (&mut self.holes, &mut self.holes_end);
        self.in_flight.retain(|piece| {
            let gone = piece.task == task && !piece.begun && claim::revoke(states, piece.sequence);
            if gone {
                *flagged -= usize::from(piece.low_water);
                *backlog_ns -= u64::from(piece.cost_ns);
                *holes += 1;
                *holes_end = piece.end.max(*holes_end);
                outgoing.take_if(|outgoing| outgoing.sequence == piece.sequence);
            }
            !gone
        });
    }

    fn returned(&mut self, piece: &InFlight) -> Returned {
        let InFlight { task, number, .. } = *piece;
        Returned { task, number, arguments: self.arguments_of(piece) }
    }

    /// The arguments of a piece that is not answered, and has not begun or may run again.
    fn arguments_of(&mut self, piece: &InFlight) -> Arguments {
        if let Some(outgoing) = self.outgoing.take_if(|outgoing| outgoing.sequence == piece.sequence) {
            // What is in the ring already the worker steps over.
            return Arguments::Heap(outgoing.bytes);
        }
        if piece.streams {
            return Arguments::Heap(self.kept.take().unwrap_or_default());
        }
        let words = self.pair.out_ring();
        // We wrote it, nobody else can, and it is not consumed: it reads as we wrote it.
        let record = Consumer::record_at(words, piece.position).ok().flatten().expect("a record of our own is whole");
        let mut bytes = Vec::new();
        record.append_to(words, 1, &mut bytes);
        Arguments::Heap(bytes)
    }

    /// After its death, and after the last [`collect`](Self::collect): the piece that it took with
    /// it, if any, and those that it never began, in order.
    ///
    /// With `distrusted`, the oldest counts as begun whatever its state word says: a piece that
    /// wrecks its worker, the word included, would else go round for ever.
    pub(crate) fn leftovers(&mut self, distrusted: bool) -> (Option<Lost>, Vec<Returned>) {
        // What is not published cannot be read back.
        self.publish();
        let front = self.in_flight.front().copied();
        // It works in order, one at a time: only the oldest can have begun, whatever the others'
        // state words say.
        let lost =
            front.filter(|piece| distrusted || piece.begun || claim::is_claimed(self.pair.states(), piece.sequence));
        let mut rest = std::mem::take(&mut self.in_flight);
        rest.drain(..usize::from(lost.is_some()));
        let lost = lost.map(|piece| Lost {
            task: piece.task,
            number: piece.number,
            sequence: piece.sequence,
            arguments: piece.may_run_again.then(|| self.arguments_of(&piece)),
        });
        let rest = rest.iter().map(|piece| self.returned(piece)).collect();
        self.flagged = 0;
        self.backlog_ns = 0;
        (lost, rest)
    }

    /// What the parent wants to be told; see `sleep.rs`. What was announced before and may have been
    /// used up is announced again only with `renew`. True if the parent must look once more.
    #[must_use]
    pub(crate) fn announce(&mut self, interest: Interest, renew: bool) -> bool {
        if self.announcer.interest() == interest && (!renew || interest == Interest::Nothing) {
            return false;
        }
        self.announcer.announce(self.pair.interest(), interest);
        self.signals_left += 1;
        interest != Interest::Nothing
    }

    /// It has woken somebody. An honest one may do so without being asked, when a handler of signals
    /// interrupts its sleep for instance, but not for ever.
    pub(crate) fn signalled(&mut self) -> Result<(), Violation> {
        if let Some(left) = self.signals_left.checked_sub(1) {
            self.signals_left = left;
            return Ok(());
        }
        if self.uncalled == 0 {
            self.uncalled_since_ns = clock::now_ns();
        }
        self.uncalled += 1;
        if self.uncalled < FLOOD {
            return Ok(());
        }
        self.uncalled = 0;
        if clock::now_ns() - self.uncalled_since_ns < FLOOD_NS { Err(Violation) } else { Ok(()) }
    }

    /// How its oldest piece stands, as far as can be told at this moment.
    pub(crate) fn progress(&mut self, now_ns: u64) -> Option<Progress> {
        let front = self.in_flight.front()?;
        let limit_ns = if front.is_limited {
            let own = self.limits.iter().position(|(sequence, _)| *sequence == front.sequence)?;
            self.limits.drain(..own);
            self.limits.front().map(|(_, limit_ns)| *limit_ns)
        } else {
            None
        };
        if !front.begun && !claim::is_claimed(self.pair.states(), front.sequence) {
            let since = match self.seen_waiting {
                Some((sequence, since)) if sequence == front.sequence => since,
                _ => now_ns,
            };
            self.seen_waiting = Some((front.sequence, since));
            return Some(Progress::Waits { since_ns: since, limit_ns });
        }
        let limit_ns = limit_ns?;
        // The first word counts: a later one would move the limit. One that cannot be true counts as
        // now.
        let start_ns = match self.seen_started {
            Some((sequence, start_ns)) if sequence == front.sequence => start_ns,
            _ => {
                // Acquire (tell-started).
                let told = self.pair.started().load(Acquire) == front.sequence;
                let start_ns = if told { self.pair.started_ns().load(Relaxed).min(now_ns) } else { now_ns };
                self.seen_started = Some((front.sequence, start_ns));
                start_ns
            }
        };
        Some(Progress::Runs { sequence: front.sequence, until_ns: start_ns.saturating_add(limit_ns) })
    }

    /// True if this is the oldest piece that it holds.
    pub(crate) fn runs(&self, sequence: u32) -> bool {
        self.in_flight.front().is_some_and(|front| front.sequence == sequence)
    }

    /// True if the worker has read all that was written for it.
    pub(crate) fn has_read_all(&self) -> bool {
        // Relaxed: a hint.
        self.pair.out_head().load(Relaxed) >= self.work.tail()
    }

    /// Kills it, as soon as it is known; its death will be told like any other.
    pub(crate) fn kill(&mut self) {
        self.doomed = true;
        if let Some(pidfd) = &self.pidfd {
            process::kill(pidfd);
        }
    }

    /// True, once, if only the fork server can kill it.
    pub(crate) fn wants_kill_by_server(&mut self) -> bool {
        self.doomed && self.pid.is_some() && self.pidfd.is_none() && !std::mem::replace(&mut self.kill_ordered, true)
    }

    /// True if it is stopped, as by SIGSTOP, as far as can be told.
    pub(crate) fn is_stopped(&self) -> bool {
        self.pid.is_some_and(process::is_stopped)
    }

    /// The fork server has told of its process.
    pub(crate) fn is_born(&mut self, pid: u32, pidfd: Option<OwnedFd>) {
        (self.pid, self.pidfd) = (Some(pid), pidfd);
        if self.doomed {
            self.kill();
        }
    }
}

/// Buffers whose memory is warm: a fresh one costs more in page faults than the copy into it.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    buffers: Vec<Vec<u8>>,
    bound: ResultLimit,
}

impl Spare {
    pub(crate) fn new(bound: ResultLimit) -> Self {
        Spare { buffers: Vec::new(), bound }
    }

    /// So many are kept.
    const MAX_BUFFERS: usize = 8;
    /// Only such sizes are worth keeping, and not too much to keep.
    const KEPT_BYTES: std::ops::RangeInclusive<usize> = CHUNK_BYTES..=4 * 1024 * 1024;

    /// An empty buffer with room for a value that is said to be this long, if that is no more than
    /// may be believed.
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| buffer.capacity() >= bytes && buffer.capacity() / 4 <= bytes;
        // The one that came back last is warmest.
        if let Some(index) = self.buffers.iter().rposition(fits) {
            return self.buffers.remove(index);
        }
        let mut buffer = Vec::new();
        // If there is none, it grows with what comes.
        let _ = buffer.try_reserve_exact(bytes.min(BELIEVED_BYTES));
        memory::expect_much(&mut buffer);
        buffer
    }

    /// Takes a buffer back, if it is worth keeping; else gives it to be dropped elsewhere. True
    /// beside it if there was none before.
    pub(crate) fn put(&mut self, mut buffer: Vec<u8>) -> (Option<Vec<u8>>, bool) {
        if self.buffers.len() >= Self::MAX_BUFFERS || !Self::KEPT_BYTES.contains(&buffer.capacity()) {
            return (Some(buffer), false);
        }
        let first = self.buffers.is_empty();
        buffer.clear();
        self.buffers.push(buffer);
        (None, first)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Forgets them all: their memory is to go back.
    pub(crate) fn clear(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.buffers)
    }
}

fn flags_of(format: Format, terms: Terms, low_water: bool) -> u8 {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    format.to_bits() | flag(low_water, LOW_WATER) | flag(terms.limit_ns.is_some(), record::LIMITED)
}

impl Incoming {
    /// Room for the next chunk: at most twice the bytes that came, so that no length's word is
    /// taken for memory.
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

    /// The value, once all of it is there.
    fn whole(self) -> Result<Result<(Outcome, Reply), Incoming>, Violation> {
        match self.bytes.len().cmp(&self.total) {
            std::cmp::Ordering::Less => Ok(Err(self)),
            std::cmp::Ordering::Equal => Ok(Ok((self.outcome, Reply::Heap(self.bytes)))),
            std::cmp::Ordering::Greater => Err(Violation),
        }
    }
}

#[cfg(test)]
mod tests;
