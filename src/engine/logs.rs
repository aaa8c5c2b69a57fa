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
//! [`LANE_BYTES`] bytes, and what was dropped is told.

use crate::codec::call::drop_payload;
use crate::engine::wire::log::{Lead, Parts};
use crate::error::Error;
use crate::sys::signals::BlockedSignals;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// A result waits for the records before it for at most a second: a logger that hangs holds up nobody for longer.
pub(crate) const PATIENCE_NS: u64 = 1_000_000_000;

/// The most bytes of records of one worker that wait for the logger.
const LANE_BYTES: usize = 1024 * 1024;

/// The target of what this crate itself tells.
const OWN_TARGET: &str = "multicore";

/// What a record takes beside its bytes, about.
const RECORD_BYTES: usize = 64;

/// Records of one worker that are delivered in a row, while others have some.
const TURN: usize = 64;

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
                Entry::Failed(_) | Entry::OthersFailed(_) => 0,
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
        self.lane.delivered.load(SeqCst) >= self.came
    }

    pub(crate) fn is_of_same_worker(&self, other: &Mark) -> bool {
        Arc::ptr_eq(&self.lane, &other.lane)
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
    /// It could not be started: nothing is delivered, and nothing waits.
    Failed,
}

impl Lane {
    pub(crate) fn new(worker: usize) -> Arc<Lane> {
        Arc::new(Lane { worker: Some(worker), waiting: Mutex::default(), delivered: AtomicU64::new(0) })
    }

    /// For what this process itself has to tell.
    fn own() -> Arc<Lane> {
        Arc::new(Lane { worker: None, waiting: Mutex::default(), delivered: AtomicU64::new(0) })
    }

    /// All that has come so far. `None` if the logger has had it.
    pub(crate) fn mark(self: &Arc<Self>) -> Option<Mark> {
        let mark = Mark { lane: Arc::clone(self), came: self.waiting.lock().came };
        (!mark.is_delivered()).then_some(mark)
    }

    /// Takes some of the records, and what was dropped if no more are here.
    fn take(&self) -> (Vec<Entry>, u64) {
        let mut waiting = self.waiting.lock();
        let count = waiting.records.len().min(TURN);
        let records = waiting.records.drain(..count).collect();
        let dropped = if waiting.records.is_empty() { std::mem::take(&mut waiting.dropped) } else { 0 };
        (records, dropped)
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
    /// Tells of pieces of a detached task that have failed, and of others of them. True as for [`add`](Self::add).
    #[must_use]
    pub(crate) fn tell_failed(&self, errors: Vec<Error>, others: usize) -> bool {
        let others = (others > 0).then_some(Entry::OthersFailed(others));
        self.add_entries(&self.own, errors.into_iter().map(Entry::Failed).chain(others), 0)
    }

    /// Records of a worker have come, and this many more were dropped before. True if the supervisor is to start the thread.
    #[must_use]
    pub(crate) fn add(&self, lane: &Arc<Lane>, records: Vec<LogRecord>, lost: u64) -> bool {
        self.add_entries(lane, records.into_iter().map(Entry::OfWorker), lost)
    }

    fn add_entries(&self, lane: &Arc<Lane>, records: impl Iterator<Item = Entry>, lost: u64) -> bool {
        let is_new = {
            let mut waiting = lane.waiting.lock();
            waiting.dropped = waiting.dropped.saturating_add(lost);
            for record in records {
                if waiting.bytes + record.cost() > LANE_BYTES {
                    waiting.dropped += 1;
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
            return false;
        }
        let mut list = self.list.lock();
        if list.thread == Thread::Failed {
            drop(list);
            self.forget(lane);
            return false;
        }
        list.lanes.push_back(Arc::clone(lane));
        let is_first = list.thread == Thread::NotNeeded;
        if is_first {
            list.thread = Thread::Needed;
        }
        drop(list);
        self.wake.notify_one();
        is_first
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
        let logs = Arc::clone(self);
        let run = move || {
            logs.list.lock().thread = Thread::Runs(Some(std::thread::current().id()));
            logs.deliver(&tell);
            logs.list.lock().thread = Thread::Ended;
            logs.ended.notify_all();
        };
        // The program's signals are for its own threads.
        let signals = BlockedSignals::new();
        let started: io::Result<_> = std::thread::Builder::new().name("multicore-log".to_string()).spawn(run);
        drop(signals);
        if started.is_err() {
            let lanes = {
                let mut list = self.list.lock();
                list.thread = Thread::Failed;
                std::mem::take(&mut list.lanes)
            };
            lanes.iter().for_each(|lane| self.forget(lane));
        }
    }

    /// The thread: delivers what comes, by turns of the workers, until the pool has ended.
    fn deliver(&self, tell: &impl Fn()) {
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
            let (records, dropped) = lane.take();
            for record in records {
                let cost = record.cost();
                record.deliver(lane.worker);
                lane.waiting.lock().bytes -= cost;
                lane.delivered.fetch_add(1, SeqCst);
            }
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

    /// Nobody can deliver these.
    fn forget(&self, lane: &Lane) {
        let mut waiting = lane.waiting.lock();
        waiting.records.clear();
        (waiting.bytes, waiting.dropped, waiting.is_listed) = (0, 0, false);
        lane.delivered.store(waiting.came, SeqCst);
    }

    /// The pool has ended, and no more records come. Waits until the logger has had all, but not for long: it may hang.
    pub(crate) fn close(&self) {
        let deadline = Instant::now() + FAREWELL;
        let mut list = self.list.lock();
        list.is_closed = true;
        self.wake.notify_one();
        if list.thread == Thread::Runs(Some(std::thread::current().id())) {
            return;
        }
        while matches!(list.thread, Thread::Runs(_)) {
            if self.ended.wait_until(&mut list, deadline).timed_out() {
                return;
            }
        }
    }
}

/// Gives a record to the program's logger. What a worker says of itself is text; who it is, this process knows.
fn deliver_record(worker: Option<usize>, record: &LogRecord) {
    let Parts { target, module, file, text } = record.lead.split(&record.bytes);
    let lossy = String::from_utf8_lossy;
    let (target, module, file, text) = (lossy(target), module.map(lossy), file.map(lossy), lossy(text));
    let number = |number: Option<usize>| log::kv::Value::from(number.unwrap_or_default());
    let known = [("worker", number(worker)), ("piece", number(record.piece))];
    let pairs = &known[..usize::from(worker.is_some()) + usize::from(worker.and(record.piece).is_some())];
    give(record.level, &target, (module.as_deref(), file.as_deref(), record.lead.line), format_args!("{text}"), &pairs);
}

/// Tells how many records of a worker were dropped.
fn tell_dropped(worker: Option<usize>, dropped: u64) {
    let Some(worker) = worker else { return };
    let message = format_args!(
        "{dropped} log records of worker {worker} were dropped: it wrote them faster than the program's logger took them"
    );
    warn(message, &[("worker", log::kv::Value::from(worker))]);
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
