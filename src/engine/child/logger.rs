//! The logger of a worker, where its program has set none: it writes records into the log's ring.
//!
//! A record never waits: one that finds no room is counted. The supervisor is signalled as the parent has asked (`sleep.rs`), and when a
//! quarter of the ring is unread, but not again before the parent has read as much.
//!
//! Invariant: nothing that can wait, and no code of the user's, runs with the writer locked. A child that a piece forks writes nothing: it has no *back*.

use super::notes;
use crate::engine::wire::log::{Lead, MAX_BYTES, MAX_NAME_BYTES, MAX_TEXT_BYTES, cut};
use crate::engine::wire::pair::{LOG_RING_BYTES, Pair};
use crate::engine::wire::record;
use crate::protocol::ring::{Header, Producer};
use crate::protocol::sleep::Listener;
use crate::protocol::sync::Relaxed as WordRelaxed;
use crate::protocol::told;
use crate::sys::event::Event;
use crate::sys::process;
use crate::sys::raw::Published;
use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A quarter of the ring: the parent has time to read it before the rest is full.
const PRESSING_WORDS: u64 = LOG_RING_BYTES as u64 / 8 / 4;

static WRITER: Published<LogWriter> = Published::new();

/// Records were written since a reply last told so.
static LOGGED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// What a record is made in. A `Display` that logs finds none, and makes its own.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

struct WorkerLogger;

struct LogWriter {
    pair: &'static Pair,
    supervisor: Arc<Event>,
    process: process::Number,
    ring: Mutex<Ring>,
}

struct Ring {
    producer: Producer,
    listener: Listener,
    /// How far the parent had read when it was last signalled that the ring fills; it never reads backwards.
    pressed_at: Option<u64>,
    lost: u64,
}

/// Sets the worker's logger, unless the program has set one for its workers.
pub(super) fn begin(pair: &'static Pair, supervisor: Arc<Event>) {
    if log::set_logger(&WorkerLogger).is_err() {
        return;
    }
    let ring = Ring { producer: Producer::new(), listener: Listener::new(), pressed_at: None, lost: 0 };
    let process = process::number();
    WRITER.publish(None, LogWriter { pair, supervisor, process, ring: Mutex::new(ring) });
    follow_level(pair);
}

/// Takes the level of the program's logger for the next piece.
#[inline]
pub(super) fn follow_level(pair: &Pair) {
    let level = pair.log_level().load(WordRelaxed);
    if level != log::max_level() as u32 && WRITER.get().is_some() {
        let of_number = |number| LevelFilter::iter().nth(number as usize).unwrap_or(LevelFilter::Off);
        log::set_max_level(of_number(level));
    }
}

/// The flag of a reply: whether records were written since another reply told so.
#[inline]
pub(super) fn take_logged() -> u8 {
    // Acquire: a thread's records are published before the reply that tells of them.
    if LOGGED.load(Ordering::Acquire) && LOGGED.swap(false, Ordering::Acquire) { record::LOGGED } else { 0 }
}

impl Log for WorkerLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata())
            && let Some(writer) = WRITER.get()
            && process::is_current(writer.process)
        {
            let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
            buffer.clear();
            let lead = compose(record, &mut buffer);
            writer.write(record.level(), lead, buffer.as_bytes());
            let _ = BUFFER.try_with(|own| own.set(buffer));
        }
    }

    fn flush(&self) {}
}

/// Appends target, module, file and text.
fn compose(record: &Record<'_>, buffer: &mut String) -> Lead {
    buffer.reserve(MAX_BYTES);
    let mut name = |text: &str| {
        let text = cut(text, MAX_NAME_BYTES);
        buffer.push_str(text);
        text.len()
    };
    let target = name(record.target());
    let (module, file) = (record.module_path().map(&mut name), record.file().map(&mut name));
    let mut text = Text { most: buffer.len() + MAX_TEXT_BYTES, buffer };
    // Too long a text ends in an error, and so does a `Display` that fails: what there is counts.
    let _ = text.write_fmt(*record.args());
    let _ = record.key_values().visit(&mut text);
    Lead { line: record.line(), target, module, file }
}

/// The text of a record, cut where it is too long.
struct Text<'a> {
    buffer: &'a mut String,
    most: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = cut(text, self.most - self.buffer.len());
        self.buffer.push_str(fits);
        if fits.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl<'kvs> log::kv::VisitSource<'kvs> for Text<'_> {
    fn visit_pair(&mut self, key: log::kv::Key<'kvs>, value: log::kv::Value<'kvs>) -> Result<(), log::kv::Error> {
        Ok(write!(self, " {key}={value}")?)
    }
}

impl LogWriter {
    fn write(&self, level: Level, lead: Lead, bytes: &[u8]) {
        let header = Header { kind: record::LOG, flags: level as u8, sequence: notes::piece() };
        let must_signal = {
            let mut ring = self.ring.lock();
            let read = told::told_head(self.pair.log_head());
            ring.producer.consumed_to(read);
            if ring.producer.push(self.pair.log_ring(), header, &lead.to_words(), bytes).is_ok() {
                ring.producer.publish(self.pair.log_ring());
            } else {
                ring.lost += 1;
                self.pair.log_lost().store(ring.lost, WordRelaxed);
            }
            let presses = ring.producer.tail() - ring.producer.consumed() > PRESSING_WORDS;
            let is_new = presses && ring.pressed_at.is_none_or(|before| read - before >= PRESSING_WORDS);
            if is_new {
                ring.pressed_at = Some(read);
            }
            ring.listener.after_reply(self.pair.log_interest(), true).is_some() || is_new
        };
        // Release: see `take_logged`.
        LOGGED.store(true, Ordering::Release);
        if must_signal {
            // If a piece has closed it, the parent reads the records with the next reply, or once this process ends.
            let _ = self.supervisor.try_signal();
        }
    }
}
