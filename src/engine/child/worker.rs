//! A worker: a forked process that claims pieces, runs them and replies, until it is told to leave
//! or killed.
//!
//! For each piece, in this order: read the header, claim (`claim.rs`), copy the arguments, step
//! over the record, decode, call, encode, write the reply, publish it, signal whoever listens
//! (`sleep.rs`). Killed between any two steps it leaves the parent with either a whole reply or
//! none; a claim without a reply is the piece that was lost.
//!
//! Invariant: it writes only its own *back*, and nothing there that the parent relies on.

use super::entry;
use crate::codec::call::{Call, Fault, drop_payload, panic_text};
use crate::codec::{Encoded, Format};
use crate::engine::wire::message::{Hook, Settings};
use crate::engine::wire::pair::{CHUNK_BYTES, Pair, READY};
use crate::engine::wire::record::{self, Outcome};
use crate::engine::wire::result_limit::ResultLimit;
use crate::failpoint::failpoint;
use crate::protocol::claim;
use crate::protocol::ring::{Consumer, Header, Producer, Record};
use crate::protocol::sleep::{self, LOW_WATER, Listener, Listening};
use crate::protocol::sync::{Acquire, Relaxed, Release};
use crate::sys::event::Event;
use crate::sys::spin::{self, Spin};
use crate::sys::{clock, fault, futex, memory, process};
use rustix::fd::OwnedFd;
use rustix::process::Pid;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a fresh worker is given by the fork server.
pub(crate) struct Start {
    pub(crate) worker: u32,
    pub(crate) out: OwnedFd,
    pub(crate) back: OwnedFd,
    pub(crate) caller: OwnedFd,
    pub(crate) supervisor: OwnedFd,
    pub(crate) settings: Settings,
    pub(crate) server: Pid,
}

/// A panic's text is cut at this length.
const MAX_PANIC_BYTES: usize = 8 * 1024;

/// And its backtrace at this.
const MAX_TRACE_BYTES: usize = 32 * 1024;

/// A buffer that grew beyond this is given back after the piece.
const KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// Freed memory goes back to the system after this much quiet.
const QUIET: Duration = Duration::from_millis(300);

static SERVES: AtomicBool = AtomicBool::new(false);

/// Marks this process as a fork server, and with it every worker forked from it.
pub(crate) fn enter() {
    SERVES.store(true, Ordering::Relaxed);
}

/// True in a fork server and in a worker.
pub(crate) fn is_worker() -> bool {
    SERVES.load(Ordering::Relaxed)
}

/// The first thing in a new worker.
pub(crate) fn main(start: Start) -> ! {
    failpoint!("worker-forked");
    // The group is what is killed with the worker.
    let _ = rustix::process::setpgid(None, None);
    failpoint!("worker-group-made");
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    failpoint!("worker-bound");
    // The fork server may have died before that was set.
    if rustix::process::getppid() != Some(start.server) {
        process::exit_now(1);
    }
    process::name_thread(&format!("multicore-{}", start.worker));
    process::prefer_for_oom_kill();
    if !start.settings.core_files {
        process::leave_no_core_file();
    }
    process::children_heed_terminal();
    process::keep_memory(usize::try_from(start.settings.warm_memory_bytes).unwrap_or(usize::MAX));
    let Ok(pair) = Pair::open(&start.out, &start.back) else { process::exit_now(1) };
    drop((start.out, start.back));
    failpoint!("worker-mapped");
    // It lives as long as the process, and the fault handler needs it to.
    let pair: &'static Pair = Box::leak(Box::new(pair));
    fault::watch_stack(pair.note());
    install_panic_hook();
    // The first question makes this process the one that it is asked about later.
    let _ = process::is_this_process();
    let mut worker = Worker {
        pair,
        work: Consumer::new(),
        replies: Producer::new(),
        listener: Listener::new(),
        caller: Event::from_fd(start.caller),
        supervisor: Event::from_fd(start.supervisor),
        base: entry::address(),
        bound: ResultLimit::new(start.settings.max_result_bytes),
        arguments: Vec::new(),
        result: Vec::new(),
        grew: false,
    };
    if let Err(reason) = prepare(&start.settings) {
        worker.reply(0, Outcome::StartFailed, reason.as_bytes(), true);
        flush();
        process::exit_now(1);
    }
    failpoint!("worker-started");
    // Release (worker-ready): nothing is read through it, the parent only counts.
    pair.stage().store(READY, Release);
    failpoint!("worker-ready");
    worker.work();
    failpoint!("worker-leaving");
    if let Some(hook) = &start.settings.on_worker_exit {
        // Nobody is left to be told of a failure.
        let _ = run_hook(hook);
    }
    flush();
    failpoint!("worker-left");
    process::exit_now(0)
}

/// What must have succeeded before a worker is ready.
fn prepare(settings: &Settings) -> Result<(), String> {
    if settings.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privileges cannot be had: {error}"))?;
    }
    match &settings.on_worker_start {
        Some(hook) => run_hook(hook).map_err(|reason| format!("on_worker_start failed: {reason}")),
        None => Ok(()),
    }
}

struct Worker {
    pair: &'static Pair,
    work: Consumer,
    replies: Producer,
    listener: Listener,
    caller: Event,
    supervisor: Event,
    base: usize,
    bound: ResultLimit,
    arguments: Vec<u8>,
    result: Vec<u8>,
    /// A big value was handled since memory was last given back.
    grew: bool,
}

impl Worker {
    /// Runs pieces until told to leave.
    fn work(&mut self) {
        loop {
            let record = self.next_record();
            failpoint!("worker-record-seen");
            let Header { kind, flags, sequence } = record.header;
            match kind {
                record::PIECE | record::BEGIN => self.piece(&record, flags, sequence),
                // Of a piece that was called back while its arguments were on their way.
                record::CHUNK => self.pass(&record),
                // `LEAVE`, and whatever else: the parent is of our own image and writes nothing
                // else.
                _ => return,
            }
        }
    }

    fn piece(&mut self, record: &Record, flags: u8, sequence: u32) {
        let words = self.pair.out_ring();
        if !claim::claim(self.pair.states(), sequence) {
            failpoint!("worker-hole-seen");
            self.pass(record);
            return;
        }
        failpoint!("worker-claimed");
        if flags & record::LIMITED != 0 {
            self.pair.started_ns().store(clock::now_ns(), Relaxed);
            // Release (tell-started): the time is that of this piece.
            self.pair.started().store(sequence, Release);
            failpoint!("worker-start-told");
        }
        let word = record.word(words, 0).unwrap_or_default();
        // SAFETY: the parent is of our own image and made the word from a `Call` of its own,
        // relative to the same symbol; nobody else can write this memory.
        #[allow(unsafe_code)]
        let call = unsafe { Call::from_word(word, self.base) };
        let format = Format::from_bits(flags & record::FORMAT_MASK).unwrap_or_default();
        self.arguments.clear();
        if record.header.kind == record::PIECE {
            record.append_to(words, 1, &mut self.arguments);
            failpoint!("worker-arguments-copied");
            // Not told: the reply says as much.
            self.work.pass(record);
        } else {
            self.receive(record);
        }
        let (mut outcome, mut own) = self.run(call, format);
        let bytes = own.as_ref().unwrap_or(&self.result).len();
        if outcome == Outcome::Result && !self.bound.allows(bytes) {
            let most = self.bound.most_bytes();
            let message = format!(
                "its result takes {bytes} bytes, and this pool allows {most}: return less, or set max_result_bytes"
            );
            (outcome, own) = (Outcome::EncodeFailed, Some(message.into_bytes()));
        }
        let notable = flags & LOW_WATER != 0 || outcome != Outcome::Result;
        let result = match own {
            Some(bytes) => bytes,
            None => std::mem::take(&mut self.result),
        };
        self.reply(sequence, outcome, &result, notable);
        self.keep(result);
    }

    /// Keeps buffers for the next piece, unless they have grown too far.
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
        memory::expect_much(&mut self.arguments);
        first.append_to(words, 2, &mut self.arguments);
        self.pass(first);
        while self.arguments.len() < total {
            let chunk = self.next_record();
            failpoint!("worker-chunk-seen");
            chunk.append_to(words, 0, &mut self.arguments);
            self.pass(&chunk);
        }
    }

    /// Steps over a record and lets the parent know: it may be waiting for room.
    fn pass(&mut self, record: &Record) {
        self.work.pass(record);
        // Release (tell-out-head): we have read what lies before.
        self.pair.out_head().store(self.work.head(), Release);
        failpoint!("worker-head-told");
        self.signal(true);
    }

    /// Calls the function; what it gave lies in the vector that is returned, or in `self.result`.
    fn run(&mut self, call: Call, format: Format) -> (Outcome, Option<Vec<u8>>) {
        let (arguments, result) = (&mut self.arguments, &mut self.result);
        result.clear();
        let answer = panic::catch_unwind(AssertUnwindSafe(|| call.run(format, arguments, result)));
        if !process::is_this_process() {
            // The piece forked, and this is the copy: the original replies.
            process::exit_now(0);
        }
        // What it printed shall be seen even if the next piece kills the process.
        let _ = std::io::stdout().flush();
        failpoint!("worker-called");
        match answer {
            Ok(Ok(Encoded::InBuffer)) => (Outcome::Result, None),
            Ok(Ok(Encoded::Own(bytes))) => (Outcome::Result, Some(bytes)),
            Ok(Err(fault)) => {
                let outcome = match fault {
                    Fault::Decode(_) => Outcome::DecodeFailed,
                    Fault::Encode(_) => Outcome::EncodeFailed,
                };
                (outcome, Some(fault.to_string().into_bytes()))
            }
            Err(payload) => (Outcome::Panicked, Some(describe_panic(payload).into_bytes())),
        }
    }

    fn reply(&mut self, sequence: u32, outcome: Outcome, bytes: &[u8], notable: bool) {
        let header = |kind| Header { kind, flags: outcome as u8, sequence };
        if bytes.len() <= CHUNK_BYTES {
            self.push(header(record::REPLY), &[], bytes);
            failpoint!("worker-reply-published");
            self.signal(notable);
            failpoint!("worker-replied");
            return;
        }
        let (first, rest) = bytes.split_at(CHUNK_BYTES);
        self.push(header(record::BEGIN), &[bytes.len() as u64], first);
        failpoint!("worker-reply-begun");
        self.signal(true);
        for chunk in rest.chunks(CHUNK_BYTES) {
            self.push(header(record::CHUNK), &[], chunk);
            failpoint!("worker-chunk-published");
            self.signal(true);
        }
    }

    /// Writes and publishes a record, waiting for room if need be.
    fn push(&mut self, header: Header, lead: &[u64], bytes: &[u8]) {
        while self.replies.push(self.pair.back_ring(), header, lead, bytes).is_err() {
            self.wait_for_room();
        }
        failpoint!("worker-reply-written");
        self.replies.publish(self.pair.back_ring());
    }

    fn signal(&mut self, notable: bool) {
        if let Some(whom) = self.listener.after_reply(self.pair.interest(), notable) {
            self.wake(whom);
            spin::after_wake_up();
        }
    }

    fn wake(&self, whom: Listening) {
        let event = match whom {
            Listening::Caller => &self.caller,
            Listening::Supervisor => &self.supervisor,
        };
        if !event.try_signal() {
            // A piece has wrecked this process. Its end wakes whoever waits, with what was replied so far.
            process::exit_now(1);
        }
    }

    /// The record at the head of the work; sleeps until there is one.
    fn next_record(&mut self) -> Record {
        let mut spin = Spin::new();
        loop {
            match self.work.peek(self.pair.out_ring()) {
                Ok(Some(record)) => return record,
                Ok(None) => {}
                // Not by the parent, which is of our own image: this process has been wrecked.
                Err(_) => process::exit_now(1),
            }
            if !spin.turn() {
                self.sleep_until_work();
                spin = Spin::new();
            }
        }
    }

    fn sleep_until_work(&mut self) {
        process::flush_c_streams();
        let word = self.pair.worker_sleep();
        sleep::announce_sleep(word);
        failpoint!("worker-sleep-announced");
        if !self.work.is_ready(self.pair.out_ring()) {
            let woken = futex::wait(word, sleep::SLEEPING, self.grew.then_some(QUIET));
            if !woken {
                self.grew = false;
                process::give_memory_back();
            }
        }
        sleep::announce_awake(word);
        failpoint!("worker-awake");
        spin::after_wake_up();
    }

    /// Sleeps until the parent has read some replies.
    fn wait_for_room(&mut self) {
        let told = |worker: &Self| {
            // Acquire (tell-back-head): the parent has read what lies before.
            let head = worker.pair.back_head().load(Acquire);
            (head > worker.replies.consumed()).then_some(head)
        };
        let mut spin = Spin::new();
        let head = loop {
            if let Some(head) = told(self) {
                break head;
            }
            if !spin.turn() {
                let word = self.pair.worker_sleep();
                sleep::announce_sleep(word);
                if told(self).is_none() {
                    let whom = self.listener.when_blocked(self.pair.interest());
                    failpoint!("worker-without-room");
                    self.wake(whom);
                    futex::wait(word, sleep::SLEEPING, None);
                }
                sleep::announce_awake(word);
                spin = Spin::new();
            }
        };
        self.replies.consumed_to(head);
    }
}

fn flush() {
    let _ = std::io::stdout().flush();
    process::flush_c_streams();
}

/// Runs a hook in this process; a panic's or a codec's words if it fails.
pub(crate) fn run_hook(hook: &Hook) -> Result<(), String> {
    // SAFETY: the settings came from the parent, which is of our own image, through a socket that
    // the marker proved to be its own.
    #[allow(unsafe_code)]
    let call = unsafe { Call::from_word(hook.call, entry::address()) };
    let (mut value, mut result) = (hook.value.clone(), Vec::new());
    match panic::catch_unwind(AssertUnwindSafe(|| call.run(Format::Bincode, &mut value, &mut result))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(fault)) => Err(format!("it {fault}")),
        Err(payload) => Err(describe_panic(payload)),
    }
}

/// What the last panic of the first thread said, and where: the place with the bracket behind it, and a
/// backtrace if there is one.
static LAST_PANIC: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Keeps a panic of the first thread silent, to be told in the piece's error. Where it ends the
/// process, and in threads that a piece made, the former hook speaks.
pub(crate) fn install_panic_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    let former = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let first = rustix::thread::gettid() == rustix::process::getpid();
        if !first || cfg!(panic = "abort") {
            return former(info);
        }
        let text = cut(panic_text(info.payload()), MAX_PANIC_BYTES).to_string();
        let mut place = info.location().map(ToString::to_string).unwrap_or_default();
        // Where RUST_BACKTRACE or RUST_LIB_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => cut(&format!("{}{backtrace}", record::BACKTRACE), MAX_TRACE_BYTES).to_string(),
            _ => String::new(),
        };
        place.push(')');
        place.push_str(&trace);
        if let Ok(mut last) = LAST_PANIC.try_lock() {
            *last = Some((text, place));
        }
    }));
}

/// The panic's words, with its place if the hook saw this very panic; drops the payload, which may
/// panic in turn.
fn describe_panic(payload: Box<dyn std::any::Any + Send>) -> String {
    let text = cut(panic_text(&*payload), MAX_PANIC_BYTES).to_string();
    let seen = LAST_PANIC.try_lock().ok().and_then(|mut last| last.take());
    drop_payload(payload);
    match seen {
        Some((seen, place)) if seen == text && !place.starts_with(')') => format!("{text} (at {place}"),
        _ => text,
    }
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
