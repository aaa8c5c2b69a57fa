//! What workers have logged, on its way to the program's logger.
//!
//! ```text
//! worker ─ LOG ─► the log's ring ─ Link::take_logs, under the pool's lock ─► Lane ─ the thread `multicore-log` ─► log::logger()
//! ```
//!
//! The program's logger is user code, so neither a caller that leads nor the supervisor calls it. A piece's result waits for the
//! records before it: a [`Mark`] of the lane, for at most [`PATIENCE_NS`].
//!
//! | word              | written by                       | meaning                                                     |
//! |-------------------|----------------------------------|-------------------------------------------------------------|
//! | `Lane::delivered` | the thread                       | the records that the logger has had                         |
//! | `Logs::awaited`   | who waits for a mark sets it, the thread clears it | somebody is to be told of what was delivered |
//!
//! No wake-up is lost: who waits sets `awaited` and then reads `delivered`, the thread adds to `delivered` and then reads `awaited`, all of
//! them sequentially consistent. Both orders of locks end here: a lane's and the list's are held for moments, and nothing is locked or called
//! meanwhile.
//!
//! Invariant: the records of one worker come in the order in which they were written; those that lie in its lane have at most
//! [`LANE_BYTES`] bytes, and what was dropped is told. A lane belongs to a seat, so that the workers that sit there one after the other have one.

use crate::codec::call::drop_payload;
use crate::engine::wire::log::{Lead, Parts};
use crate::error::Error;
use crate::sys::process;
use crate::sys::signals::BlockedSignals;
use parking_lot::{Condvar, Mutex};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// A result waits for the records before it for at most a second: a logger that hangs holds up nobody for longer.
pub(crate) const PATIENCE_NS: u64 = 1_000_000_000;

/// The most bytes of records of one worker that wait for the logger.
const LANE_BYTES: usize = 1024 * 1024;

/// The target of what this crate itself tells.
const OWN_TARGET: &str = "multicore";

/// What a record takes beside its bytes, about.
const RECORD_BYTES: usize = 128;

/// Records for which an empty lane keeps memory.
const KEPT_RECORDS: usize = 128;

/// Records of one worker that are delivered in a row, while others have some.
const TURN: usize = 64;

/// A turn ends after this time, and who waits is told: a logger that takes milliseconds for a record would else hold up the results of all workers
/// by 64 of them.
const TURN_TIME: Duration = Duration::from_millis(1);

/// At the end of its pool the thread gets this time for what is left.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the logger is to have.
#[derive(Debug)]
enum Entry {
    OfWorker(LogRecord),
    /// A piece of a detached task has failed. Its text is made where it is told: the name of its function may have to be read from a file.
    Failed(Error),
    /// As many more of them.
    OthersFailed(usize),
}

impl Entry {
    fn cost(&self) -> usize {
        RECORD_BYTES
            + match self {
                Entry::OfWorker(record) => record.bytes.len(),
                Entry::Failed(error) => error.text_bytes(),
                Entry::OthersFailed(_) => 0,
            }
    }

    fn deliver(&self, worker: Option<usize>) {
        match self {
            Entry::OfWorker(record) => deliver_record(worker, record),
            Entry::Failed(error) => {
                warn(format_args!("a piece of a detached task has failed, and nobody waits for it: {error}"), &[]);
            }
            Entry::OthersFailed(count) => warn(format_args!("{count} more pieces of a detached task have failed"), &[]),
        }
    }
}

/// A record as a worker wrote it. Only its lead was checked.
#[derive(Debug)]
pub(crate) struct LogRecord {
    pub(crate) level: log::Level,
    pub(crate) lead: Lead,
    /// The number of the piece that ran, in its task, if it had no answer when the record was read.
    pub(crate) piece: Option<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The records of one worker that wait for the logger.
#[derive(Debug)]
pub(crate) struct Lane {
    /// `None`: what this process itself has to tell.
    worker: Option<usize>,
    waiting: Mutex<Waiting>,
    delivered: AtomicU64,
    /// The logger gets no more of it.
    is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Entry>,
    bytes: usize,
    /// All that ever came here.
    came: u64,
    /// What was dropped and is to be told.
    dropped: u64,
    /// It is in the list.
    is_listed: bool,
}

/// The records of a worker up to a moment.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    lane: Arc<Lane>,
    came: u64,
}

impl Mark {
    pub(crate) fn is_delivered(&self) -> bool {
        self.lane.delivered.load(SeqCst) >= self.came || self.lane.is_over.load(SeqCst)
    }
}

/// What is on its way in one pool.
#[derive(Debug)]
pub(crate) struct Logs {
    own: Arc<Lane>,
    list: Mutex<List>,
    wake: Condvar,
    /// The thread has ended.
    ended: Condvar,
    awaited: AtomicBool,
}

#[derive(Debug, Default)]
struct List {
    lanes: VecDeque<Arc<Lane>>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
    /// The pool has ended.
    is_closed: bool,
}

/// The thread `multicore-log`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Thread {
    #[default]
    NotNeeded,
    /// The supervisor is to start it.
    Needed,
    Runs(Option<ThreadId>),
    Ended,
}

/// What follows from what was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Added {
    Nothing,
    /// The thread is to be woken, without a lock.
    WakesThread,
    /// The supervisor is to start the thread.
    NeedsThread,
}

impl Lane {
    pub(crate) fn new(worker: usize) -> Arc<Lane> {
        Lane::of(Some(worker))
    }

    /// For what this process itself has to tell.
    fn own() -> Arc<Lane> {
        Lane::of(None)
    }

    fn of(worker: Option<usize>) -> Arc<Lane> {
        let (waiting, delivered, is_over) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Lane { worker, waiting, delivered, is_over })
    }

    /// The logger gets no more of it: nobody waits for that.
    pub(crate) fn give_up(&self) {
        self.is_over.store(true, SeqCst);
    }

    /// All that has come so far. `None` if the logger has had it.
    pub(crate) fn mark(self: &Arc<Self>) -> Option<Mark> {
        let mark = Mark { lane: Arc::clone(self), came: self.waiting.lock().came };
        (!mark.is_delivered()).then_some(mark)
    }

    /// The next record.
    fn take(&self) -> Option<Entry> {
        self.waiting.lock().records.pop_front()
    }

    /// What was dropped, if no more records are here.
    fn take_dropped(&self) -> u64 {
        let mut waiting = self.waiting.lock();
        if !waiting.records.is_empty() {
            return 0;
        }
        waiting.records.shrink_to(KEPT_RECORDS);
        std::mem::take(&mut waiting.dropped)
    }

    /// Nobody can deliver these.
    fn drop_all(&self) {
        let mut waiting = self.waiting.lock();
        waiting.dropped = waiting.dropped.saturating_add(waiting.records.len() as u64);
        waiting.records = VecDeque::new();
        (waiting.bytes, waiting.is_listed) = (0, false);
        self.delivered.store(waiting.came, SeqCst);
    }

    /// True if there are more.
    fn goes_on(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.is_listed = !waiting.records.is_empty() || waiting.dropped > 0;
        waiting.is_listed
    }
}

impl Default for Logs {
    fn default() -> Self {
        Logs {
            own: Lane::own(),
            list: Mutex::default(),
            wake: Condvar::new(),
            ended: Condvar::new(),
            awaited: AtomicBool::new(false),
        }
    }
}

impl Logs {
    /// Tells of pieces of a detached task that have failed, and of others of them.
    pub(crate) fn tell_failed(&self, errors: Vec<Error>, others: usize) -> Added {
        let others = (others > 0).then_some(Entry::OthersFailed(others));
        self.add_entries(&self.own, errors.into_iter().map(Entry::Failed).chain(others), 0)
    }

    /// Records of a worker have come, and this many more were dropped before.
    pub(crate) fn add(&self, lane: &Arc<Lane>, records: Vec<LogRecord>, lost: u64) -> Added {
        self.add_entries(lane, records.into_iter().map(Entry::OfWorker), lost)
    }

    fn add_entries(&self, lane: &Arc<Lane>, records: impl Iterator<Item = Entry>, lost: u64) -> Added {
        let is_new = {
            let mut waiting = lane.waiting.lock();
            waiting.dropped = waiting.dropped.saturating_add(lost);
            for record in records {
                if waiting.bytes + record.cost() > LANE_BYTES {
                    waiting.dropped = waiting.dropped.saturating_add(1);
                    continue;
                }
                waiting.bytes += record.cost();
                waiting.came += 1;
                waiting.records.push_back(record);
            }
            let has_any = !waiting.records.is_empty() || waiting.dropped > 0;
            has_any && !std::mem::replace(&mut waiting.is_listed, has_any)
        };
        if !is_new {
            return Added::Nothing;
        }
        let mut list = self.list.lock();
        list.lanes.push_back(Arc::clone(lane));
        if list.thread == Thread::NotNeeded {
            list.thread = Thread::Needed;
            return Added::NeedsThread;
        }
        Added::WakesThread
    }

    /// There is something to deliver.
    pub(crate) fn wake_thread(&self) {
        self.wake.notify_one();
    }

    /// Somebody waits for a mark: the thread tells when it has delivered something.
    pub(crate) fn await_delivery(&self) {
        self.awaited.store(true, SeqCst);
    }

    /// True if this thread is the one that calls the logger, which must not wait for itself.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.list.lock().thread == Thread::Runs(Some(std::thread::current().id()))
    }

    /// Starts the thread, if it is needed. `tell` is called when something was delivered that somebody waits for.
    pub(crate) fn start_thread(self: &Arc<Self>, tell: impl Fn() + Send + 'static) {
        {
            let mut list = self.list.lock();
            if list.thread != Thread::Needed {
                return;
            }
            list.thread = Thread::Runs(None);
        }
        let (logs, owner) = (Arc::clone(self), process::number());
        let run = move || {
            logs.list.lock().thread = Thread::Runs(Some(std::thread::current().id()));
            logs.deliver(owner, &tell);
            if process::is_current(owner) {
                logs.list.lock().thread = Thread::Ended;
                logs.ended.notify_all();
            }
        };
        // The program's signals are for its own threads.
        let signals = BlockedSignals::new();
        let started = std::thread::Builder::new().name("multicore-log".to_string()).spawn(run);
        drop(signals);
        match started {
            Ok(thread) => self.list.lock().handle = Some(thread),
            Err(_) => {
                // What there is counts as dropped, and the next record asks for a thread again.
                let lanes = {
                    let mut list = self.list.lock();
                    list.thread = Thread::NotNeeded;
                    std::mem::take(&mut list.lanes)
                };
                lanes.iter().for_each(|lane| lane.drop_all());
            }
        }
    }

    /// The thread: delivers what comes, by turns of the workers, until the pool has ended.
    fn deliver(&self, owner: process::Number, tell: &impl Fn()) {
        loop {
            let lane = {
                let mut list = self.list.lock();
                loop {
                    if let Some(lane) = list.lanes.pop_front() {
                        break lane;
                    }
                    if list.is_closed {
                        return;
                    }
                    self.wake.wait(&mut list);
                }
            };
            let began = Instant::now();
            for _ in 0..TURN {
                let Some(record) = lane.take() else { break };
                record.deliver(lane.worker);
                if !process::is_current(owner) {
                    // The logger forked, and this is the child.
                    return;
                }
                lane.waiting.lock().bytes -= record.cost();
                lane.delivered.fetch_add(1, SeqCst);
                if began.elapsed() >= TURN_TIME {
                    break;
                }
            }
            let dropped = lane.take_dropped();
            if dropped > 0 {
                tell_dropped(lane.worker, dropped);
            }
            if self.awaited.swap(false, SeqCst) {
                tell();
            }
            if lane.goes_on() {
                self.list.lock().lanes.push_back(lane);
            }
        }
    }

    /// No more records come: the thread ends once it has delivered what there is.
    pub(crate) fn close_soon(&self) {
        self.list.lock().is_closed = true;
        self.wake.notify_one();
    }

    /// The same, and waits until the logger has had all, but not for long: it may hang.
    pub(crate) fn close(&self) {
        self.close_soon();
        let deadline = Instant::now() + FAREWELL;
        let mut list = self.list.lock();
        if list.thread == Thread::Runs(Some(std::thread::current().id())) {
            return;
        }
        while matches!(list.thread, Thread::Runs(_)) {
            if self.ended.wait_until(&mut list, deadline).timed_out() {
                return;
            }
        }
        let handle = list.handle.take();
        drop(list);
        if let Some(handle) = handle {
            // It has nothing left to do, and it does not panic.
            let _ = handle.join();
        }
    }
}

/// Gives a record to the program's logger. What a worker says of itself is text; who it is, this process knows.
fn deliver_record(worker: Option<usize>, record: &LogRecord) {
    let Parts { target, module, file, text } = record.lead.split(&record.bytes);
    let name = |bytes| printable(bytes, false);
    let (target, module, file, text) = (name(target), module.map(name), file.map(name), printable(text, true));
    let number = |number: Option<usize>| log::kv::Value::from(number.unwrap_or_default());
    let known = [("worker", number(worker)), ("piece", number(record.piece))];
    let pairs = &known[..usize::from(worker.is_some()) + usize::from(worker.and(record.piece).is_some())];
    give(record.level, &target, (module.as_deref(), file.as_deref(), record.lead.line), format_args!("{text}"), &pairs);
}

/// Text of a worker's, without what could drive a terminal or end the line of a name.
fn printable(bytes: &[u8], has_lines: bool) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let is_bad = |character: char| character.is_control() && !(has_lines && matches!(character, '\n' | '\t'));
    if text.contains(is_bad) { Cow::Owned(text.replace(is_bad, "\u{fffd}")) } else { text }
}

/// Tells how many records of a worker were dropped.
fn tell_dropped(worker: Option<usize>, dropped: u64) {
    let Some(worker) = worker else {
        return warn(format_args!("{dropped} more pieces of detached tasks have failed"), &[]);
    };
    warn(
        format_args!(
            "{dropped} log records of worker {worker} were dropped: it wrote them faster than the program's logger took them"
        ),
        &[("worker", log::kv::Value::from(worker))],
    );
}

/// What this crate itself tells.
fn warn(text: fmt::Arguments<'_>, pairs: &[(&str, log::kv::Value<'_>)]) {
    give(log::Level::Warn, OWN_TARGET, (None, None, None), text, &pairs);
}

/// Calls the program's logger. A panic of the logger's ends here.
fn give(
    level: log::Level,
    target: &str,
    (module, file, line): (Option<&str>, Option<&str>, Option<u32>),
    text: fmt::Arguments<'_>,
    pairs: &dyn log::kv::Source,
) {
    let metadata = log::Metadata::builder().level(level).target(target).build();
    let deliver = || {
        let logger = log::logger();
        if level <= log::max_level() && logger.enabled(&metadata) {
            let mut record = log::Record::builder();
            record.metadata(metadata.clone()).module_path(module).file(file).line(line).key_values(&pairs);
            logger.log(&record.args(text).build());
        }
    };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(deliver)) {
        drop_payload(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> LogRecord {
        let lead = Lead { line: None, target: 0, module: None, file: None };
        LogRecord { level: log::Level::Info, lead, piece: None, bytes: vec![b'x'; bytes] }
    }

    /// Whatever a worker says that it has lost.
    #[test]
    fn a_lane_is_bounded_and_counts_what_it_drops() {
        let (logs, lane) = (Logs::default(), Lane::new(0));
        assert_eq!(logs.add(&lane, (0..10).map(|_| record(200_000)).collect(), u64::MAX - 2), Added::NeedsThread);
        {
            let waiting = lane.waiting.lock();
            assert_eq!((waiting.records.len(), waiting.came, waiting.dropped), (5, 5, u64::MAX));
        }
        // It stands in the list already.
        assert_eq!(logs.add(&lane, vec![record(10)], 1), Added::Nothing);
        assert_eq!(logs.list.lock().lanes.len(), 1);
        assert_eq!(logs.add(&Lane::new(1), vec![record(10)], 0), Added::WakesThread);
    }

    #[test]
    fn a_mark_is_delivered_with_its_last_record_or_when_nobody_can() {
        let (logs, lane) = (Logs::default(), Lane::new(0));
        assert!(lane.mark().is_none(), "nothing came");
        let _ = logs.add(&lane, vec![record(1), record(1)], 0);
        let mark = lane.mark().unwrap();
        lane.delivered.fetch_add(1, SeqCst);
        assert!(!mark.is_delivered());
        lane.delivered.fetch_add(1, SeqCst);
        assert!(mark.is_delivered() && lane.mark().is_none());
        let _ = logs.add(&lane, vec![record(1)], 0);
        let mark = lane.mark().unwrap();
        lane.give_up();
        assert!(mark.is_delivered() && lane.mark().is_none());
    }

    #[test]
    fn a_record_drives_no_terminal_and_a_name_has_one_line() {
        for (bytes, has_lines, text) in [
            (&b"a text"[..], true, "a text"),
            (b"two\n\tlines", true, "two\n\tlines"),
            (b"two\nlines", false, "two\u{fffd}lines"),
            (b"\x1b[2J\r\0", true, "\u{fffd}[2J\u{fffd}\u{fffd}"),
            (b"\xff", true, "\u{fffd}"),
        ] {
            assert_eq!(printable(bytes, has_lines), text);
        }
    }
}
