//! A worker: a forked process that claims pieces, runs them and replies, until it is told to leave
//! or killed.
//!
//! The steps of a piece, in their order: read the header, claim (`claim.rs`), copy the arguments, step
//! over the record, decode, call, encode, write the reply, publish it, signal the thread that listens
//! (`sleep.rs`); after a piece that is sampled, its sample. If the worker is killed between any two steps, the parent has either a whole reply or
//! none; a claim without a reply is the piece that was lost.
//!
//! Invariant: it writes only its own *back*, and nothing there that the parent relies on.

use super::calls::ParentCalls;
use super::notes;
use super::output::Output;
use super::panics::describe_panic;
use super::replies::Replies;
use super::sampler::Sampler;
use super::tables::WorkerTables;
use crate::codec::call::{Call, Fault, drop_payload};
use crate::codec::error::{CodecError, too_large};
use crate::codec::sink::{Outlet, Place, Window};
use crate::codec::tables::table::TableId;
use crate::codec::{Encoded, Format};
use crate::engine::wire::pair::Pair;
use crate::engine::wire::record::{self, Outcome};
use crate::engine::wire::result_limit::ResultLimit;
use crate::failpoint::failpoint;
use crate::protocol::claim;
use crate::protocol::ring::{Consumer, Header, Record};
use crate::protocol::sleep::{self, LOW_WATER, Listening};
use crate::protocol::told;
use crate::sys::event::Event;
use crate::sys::spin::{self, Spin};
use crate::sys::{allocator, clock, fault, futex, process};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A buffer that grew beyond 64 KiB is freed after the piece. Values up to this length travel as one record
/// (`CHUNK_BYTES`), and most do; with a tenth they would be allocated anew for each piece. Longer values stream,
/// and their copies cost more than an allocation.
const KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// A worker that has been idle for 300 ms gives freed memory back to the system. A task that uses memory gives
/// its workers work many times in that time, and each return costs page faults at the next big value; after
/// 3 s it would lie unused too long.
const QUIET: Duration = Duration::from_millis(300);

static SERVES: AtomicBool = AtomicBool::new(false);

/// Marks this process as a fork server, and with it every worker forked from it.
pub(crate) fn mark_process() {
    SERVES.store(true, Ordering::Relaxed);
}

/// True in a fork server and in a worker.
pub(crate) fn is_worker() -> bool {
    SERVES.load(Ordering::Relaxed)
}

/// A worker's side of its pair.
pub(crate) struct Worker {
    pair: &'static Pair,
    work: Consumer,
    /// What it says; also by the sink of the piece that runs.
    replies: Rc<RefCell<Replies>>,
    /// The same for a sink.
    outlet: Rc<dyn Outlet>,
    calls: ParentCalls,
    output: Output,
    sampler: Sampler,
    tables: WorkerTables,
    result_limit: ResultLimit,
    /// This process: a piece may fork, and return twice.
    process: process::Number,
    arguments: Vec<u8>,
    result: Vec<u8>,
    /// It was woken, and has begun nothing since. What it begins then is measured: that is little beside a wake-up.
    was_woken: bool,
    /// A big value was handled since freed memory was last given back.
    grew: bool,
}

impl Worker {
    /// A worker that has read and written nothing yet. `events` wake the caller and the supervisor.
    pub(crate) fn new(
        pair: &'static Pair,
        events: (Event, Arc<Event>),
        (calls, tables): (ParentCalls, WorkerTables),
        result_limit: ResultLimit,
    ) -> Self {
        let replies = Rc::new(RefCell::new(Replies::new(pair, events, result_limit)));
        Worker {
            pair,
            work: Consumer::new(),
            outlet: Rc::clone(&replies) as Rc<dyn Outlet>,
            replies,
            calls,
            output: Output::new(),
            sampler: Sampler::default(),
            tables,
            result_limit,
            process: process::number(),
            was_woken: false,
            arguments: Vec::new(),
            result: Vec::new(),
            grew: false,
        }
    }

    /// Writes out what `on_worker_start` has printed.
    pub(crate) fn flush_output(&mut self) {
        self.output.flush();
    }

    /// Runs pieces until the parent tells it to leave.
    pub(crate) fn work(&mut self) {
        notes::begin_notes(self.pair);
        loop {
            let record = self.next_record();
            failpoint!("worker-record-seen");
            let Header { kind, flags, sequence } = record.header;
            match kind {
                record::PIECE | record::BEGIN => {
                    self.piece(&record, flags, sequence);
                }
                record::SAMPLED | record::SAMPLED_BEGIN => self.sampled_piece(&record, flags, sequence),
                record::FORGET => self.forget(&record),
                // A part of a piece that was revoked while its arguments were on their way.
                record::CHUNK => self.pass(&record),
                // `LEAVE`: the parent runs our own image and writes no other kind. It sees that what takes time now is
                // `on_worker_exit`.
                _ => return self.pass(&record),
            }
        }
    }

    /// The same, and then tells what memory it has taken.
    fn sampled_piece(&mut self, record: &Record, flags: u8, sequence: u32) {
        self.sampler.begin();
        if !self.piece(record, flags, sequence) {
            return;
        }
        let (flags, sample) = self.sampler.sample();
        // Without a signal: the parent reads it with the next reply.
        let header = Header { kind: record::SAMPLE, flags, sequence };
        self.replies.borrow_mut().push(header, &sample.to_words(), &[]);
        failpoint!("worker-sampled");
    }

    /// Runs a piece and replies. False if the parent has revoked it.
    fn piece(&mut self, record: &Record, flags: u8, sequence: u32) -> bool {
        let words = self.pair.out_ring();
        if !claim::claim(self.pair.states(), sequence) {
            failpoint!("worker-hole-seen");
            self.pass(record);
            return false;
        }
        failpoint!("worker-claimed");
        if flags & (record::LIMITED | record::TIMED) != 0 {
            told::tell_start(self.pair.started_ns(), self.pair.started(), sequence, clock::now_ns());
            failpoint!("worker-start-told");
        }
        let Some(call) = self.calls.of_piece(self.pair, record) else {
            // The parent writes no such record, so code of the user's has overwritten memory of this process.
            process::exit_now(1)
        };
        let format = Format::from_bits(flags & record::FORMAT_MASK).unwrap_or_default();
        self.arguments.clear();
        if matches!(record.header.kind, record::PIECE | record::SAMPLED) {
            record.append_to(words, 1, &mut self.arguments);
            failpoint!("worker-arguments-copied");
            // The parent is not told: it learns that from the reply.
            self.work.pass(record);
        } else {
            self.receive(record);
        }
        #[cfg(feature = "log")]
        super::logger::follow_level(self.pair);
        let (was_woken, is_timed) = (std::mem::take(&mut self.was_woken), flags & record::TIMED != 0);
        let began_ns = if was_woken || is_timed { clock::now_ns() } else { 0 };
        self.replies.borrow_mut().begin(sequence, is_timed);
        let (outcome, own, last) = self.run_within_limit(call, format);
        let took_ns = if was_woken || is_timed { clock::now_ns().saturating_sub(began_ns) } else { 0 };
        if was_woken {
            told::tell_cost(self.pair.first_cost(), sequence, took_ns);
        }
        let notable = flags & LOW_WATER != 0 || outcome != Outcome::Result;
        if let Some(last) = last {
            self.replies.borrow_mut().reply_written(last, is_timed.then_some(took_ns).as_slice(), notable);
            self.keep(own.unwrap_or_default());
            return true;
        }
        let result = match own {
            Some(bytes) => bytes,
            None => std::mem::take(&mut self.result),
        };
        let took_ns = is_timed.then_some(took_ns);
        self.replies.borrow_mut().reply((sequence, outcome), took_ns.as_slice(), &result, notable);
        self.keep(result);
        true
    }

    /// As [`run`](Self::run), but a result that is longer than the pool allows becomes an error.
    fn run_within_limit(&mut self, call: Call, format: Format) -> (Outcome, Option<Vec<u8>>, Option<Window>) {
        let (outcome, own, last) = self.run(call, format);
        let bytes = own.as_ref().unwrap_or(&self.result).len();
        if outcome != Outcome::Result || self.result_limit.allows(bytes) {
            return (outcome, own, last);
        }
        let most = self.result_limit.most_bytes();
        (Outcome::EncodeFailed, Some(too_large(bytes, most).into_bytes()), None)
    }

    /// Keeps the buffers for the next piece, unless they have grown beyond [`KEPT_BUFFER_BYTES`].
    fn keep(&mut self, mut result: Vec<u8>) {
        self.grew |= result.capacity().max(self.arguments.capacity()) > KEPT_BUFFER_BYTES;
        if self.arguments.capacity() > KEPT_BUFFER_BYTES {
            self.arguments = Vec::new();
        }
        if result.capacity() <= KEPT_BUFFER_BYTES {
            result.clear();
            self.result = result;
        }
    }

    /// Reads arguments that stream in, while the parent is still writing them.
    fn receive(&mut self, first: &Record) {
        let words = self.pair.out_ring();
        let total = first.word(words, 1).unwrap_or_default() as usize;
        self.arguments.reserve_exact(total);
        allocator::prefer_large_pages(&mut self.arguments);
        first.append_to(words, 2, &mut self.arguments);
        self.pass(first);
        while self.arguments.len() < total {
            let chunk = self.next_record();
            failpoint!("worker-chunk-seen");
            chunk.append_to(words, 0, &mut self.arguments);
            self.pass(&chunk);
        }
    }

    /// Steps over a record and tells the parent, which may wait for room.
    fn pass(&mut self, record: &Record) {
        self.work.pass(record);
        told::tell_head(self.pair.out_head(), self.work.head());
        failpoint!("worker-head-told");
        self.replies.borrow_mut().signal(true);
    }

    /// Calls the function. Its result is in the vector that is returned, in `self.result`, or, up to the window that is
    /// returned, with the parent.
    fn run(&mut self, call: Call, format: Format) -> (Outcome, Option<Vec<u8>>, Option<Window>) {
        let (arguments, result) = (&mut self.arguments, &mut self.result);
        result.clear();
        fault::forget_refusals();
        let mut place = Place { buffer: result, outlet: Some(&self.outlet), last: None, limit: None };
        let answer = panic::catch_unwind(AssertUnwindSafe(|| call.run(format, arguments, &mut place)));
        let last = place.last;
        if !process::is_current(self.process) {
            // The piece forked, and this is the child: the worker itself replies.
            process::exit_now(0);
        }
        self.output.flush();
        failpoint!("worker-called");
        let fault = match answer {
            Ok(Ok(Encoded::InBuffer)) => return (Outcome::Result, None, last),
            Ok(Ok(Encoded::Own(bytes))) => return (Outcome::Result, Some(bytes), None),
            Ok(Err(fault)) => Ok(fault),
            Err(payload) => Err(payload),
        };
        let is_too_long = self.replies.borrow_mut().forget_window();
        let fault = match fault {
            Ok(fault) => fault,
            // An `unwrap` of the sink's error.
            Err(payload) if is_too_long => {
                drop_payload(payload);
                Fault::TooLong { most: self.result_limit.most_bytes() }
            }
            Err(payload) => {
                return (Outcome::Panicked, Some(self.with_note(describe_panic(payload, Some(call.address())))), None);
            }
        };
        let outcome = match fault {
            Fault::Decode(CodecError::NotReceived(_)) => Outcome::SystemFailed,
            Fault::Decode(_) => Outcome::DecodeFailed,
            Fault::Encode(_) | Fault::TooLong { .. } => Outcome::EncodeFailed,
            Fault::Failed(_) => Outcome::Failed,
        };
        let text = match fault {
            Fault::Decode(CodecError::NotReceived(why)) => why,
            other => other.to_string(),
        };
        (outcome, Some(self.with_note(text)), None)
    }

    /// Lets go of a table, or only receives what was sent.
    fn forget(&mut self, record: &Record) {
        let word = |index| record.word(self.pair.out_ring(), index);
        match (word(0), word(1)) {
            (Some(first), Some(second)) => self.tables.forget(TableId::from_words([first, second])),
            _ => self.tables.receive(),
        }
        self.pass(record);
    }

    /// The text of an error, with what the piece has noted. This worker may run its next piece before the text is read.
    fn with_note(&self, mut text: String) -> Vec<u8> {
        if let Some(noted) = told::told_note(self.pair.noted(), self.pair.noted_in(), notes::piece()) {
            text += record::NOTE;
            text += &noted.to_string();
        }
        text.into_bytes()
    }

    /// Tells the parent that this worker is ready. The first piece can write over the word for that before anybody has read
    /// it, and then nobody could tell this worker from one that is being started, which may take any time. The signal stays.
    pub(crate) fn tell_ready(&self) {
        self.replies.borrow().wake(Listening::Supervisor);
    }

    /// Says why the worker could not be made ready.
    pub(crate) fn start_failed(&self, reason: &str) {
        self.replies.borrow_mut().start_failed(reason);
    }

    /// The record at the head of the work; sleeps until there is one.
    fn next_record(&mut self) -> Record {
        let mut spin = Spin::new();
        loop {
            match self.work.peek(self.pair.out_ring()) {
                Ok(Some(record)) => return record,
                Ok(None) => {}
                // The parent, which runs our own image, writes nothing invalid: a piece has overwritten
                // memory of this process.
                Err(_) => process::exit_now(1),
            }
            if !spin.turn() {
                self.sleep_until_work();
                spin = Spin::new();
            }
        }
    }

    /// Sleeps until the parent wakes this worker. After [`QUIET`] it gives freed memory back. A thread of a piece that was
    /// cancelled while it allocated keeps the allocator's lock, and holds that up for ever: the parent then sees a worker
    /// that does not begin.
    fn sleep_until_work(&mut self) {
        let word = self.pair.worker_sleep();
        let has_work = || {
            failpoint!("worker-sleep-announced");
            self.work.is_ready(self.pair.out_ring())
        };
        let quiet = self.grew.then_some(QUIET);
        let mut stays_quiet = false;
        sleep::sleep_unless(word, has_work, || stays_quiet = !futex::wait(word, sleep::SLEEPING, quiet));
        if stays_quiet {
            self.grew = false;
            allocator::give_memory_back();
        }
        self.was_woken = true;
        failpoint!("worker-awake");
        spin::after_wake_up();
    }
}
