//! What the program's logger and its subscriber of `tracing` are to hear, on its way to the thread that calls them.
//!
//! ```text
//! worker ─ LOG ─► the log's ring ─ Link::take_logs, under the pool's lock ─► Lane ─┐
//! the scheduler: a piece that was answered, a worker that was lost ────────► Lane ─┴─ the thread `multicore-log` ─► logger, subscriber
//! ```
//!
//! Both are user code, so neither a caller that leads nor the supervisor calls them. A piece's result waits for the records before it: a
//! [`Mark`] of the lane, for at most [`PATIENCE_NS`]. Nothing waits for an event of `tracing`, but a
//! subscriber that is slow delays the records behind it.
//!
//! | word              | written by                       | meaning                                                     |
//! |-------------------|----------------------------------|-------------------------------------------------------------|
//! | `Lane::delivered` | the thread                       | the entries that were delivered                              |
//! | `Outbox::awaited` | who waits for a mark sets it, the thread clears it | somebody is to be told of what was delivered |
//!
//! No wake-up is lost: who waits sets `awaited` and then reads `delivered`, the thread adds to `delivered` and then reads `awaited`, all of
//! them sequentially consistent. Both orders of locks end here: a lane's and the list's are held for moments, and nothing is locked or called
//! meanwhile.
//!
//! Invariant: the entries of one lane come in the order in which they were added; those that lie in it have at most [`LANE_BYTES`] bytes, and what
//! was dropped is told. A worker's lane belongs to its seat, so that the workers that sit there one after the other have one. An entry is freed on
//! the thread, since that may be user code, too.

#[cfg(feature = "tracing")]
use crate::backend::traced::{Event, Listener};
#[cfg(feature = "log")]
use crate::engine::logs::{self, LogRecord};
#[cfg(feature = "log")]
use crate::error::Error;
use crate::failpoint::failpoint;
use crate::sys::process;
use crate::sys::signals::BlockedSignals;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// A result waits for the records before it for at most a second: a logger that hangs holds up nobody for longer.
#[cfg(feature = "log")]
pub(crate) const PATIENCE_NS: u64 = 1_000_000_000;

/// The most bytes of records of one worker that wait for the logger.
const LANE_BYTES: usize = 1024 * 1024;

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

/// Where the entries of a lane come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    #[cfg(feature = "log")]
    Worker(usize),
    /// What this process itself has to tell the logger.
    #[cfg(feature = "log")]
    Own,
    #[cfg(feature = "tracing")]
    Events,
}

#[cfg(feature = "log")]
impl Source {
    fn worker(self) -> Option<usize> {
        match self {
            Source::Worker(worker) => Some(worker),
            _ => None,
        }
    }
}

/// What is to be told.
#[derive(Debug)]
enum Entry {
    #[cfg(feature = "log")]
    OfWorker(LogRecord),
    /// A piece of a detached task has failed. Its text is made where it is told: the name of its function may have to be read from a file.
    #[cfg(feature = "log")]
    Failed(Error),
    /// As many more of them.
    #[cfg(feature = "log")]
    OthersFailed(usize),
    #[cfg(feature = "tracing")]
    Event(Event),
}

impl Entry {
    fn cost(&self) -> usize {
        RECORD_BYTES
            + match self {
                #[cfg(feature = "log")]
                Entry::OfWorker(record) => record.bytes.len(),
                #[cfg(feature = "log")]
                Entry::Failed(error) => error.text_bytes(),
                #[cfg(feature = "log")]
                Entry::OthersFailed(_) => 0,
                #[cfg(feature = "tracing")]
                Entry::Event(event) => event.text_bytes(),
            }
    }
}

/// The entries of one source that wait for the thread.
#[derive(Debug)]
pub(crate) struct Lane {
    source: Source,
    waiting: Mutex<Waiting>,
    delivered: AtomicU64,
    /// The logger gets no more of it.
    #[cfg(feature = "log")]
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
#[cfg(feature = "log")]
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    lane: Arc<Lane>,
    came: u64,
}

#[cfg(feature = "log")]
impl Mark {
    pub(crate) fn is_delivered(&self) -> bool {
        self.lane.delivered.load(SeqCst) >= self.came || self.lane.is_over.load(SeqCst)
    }
}

/// What is on its way in one pool.
#[derive(Debug)]
pub(crate) struct Outbox {
    #[cfg(feature = "log")]
    own: Arc<Lane>,
    #[cfg(feature = "tracing")]
    events: Arc<Lane>,
    /// Who hears of the pool's workers.
    #[cfg(feature = "tracing")]
    listener: Listener,
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
    /// The thread itself ends the pool, from within what it calls: nobody waits for it.
    ends_pool: bool,
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

impl Waiting {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        self.came += 1;
        self.records.push_back(entry);
    }

    /// True once if there is something, until the thread has seen it.
    fn must_be_listed(&mut self) -> bool {
        let has_any = !self.records.is_empty() || self.dropped > 0;
        has_any && !std::mem::replace(&mut self.is_listed, has_any)
    }
}

impl Lane {
    #[cfg(feature = "log")]
    pub(crate) fn new(worker: usize) -> Arc<Lane> {
        Lane::of(Source::Worker(worker))
    }

    fn of(source: Source) -> Arc<Lane> {
        Arc::new(Lane {
            source,
            waiting: Mutex::default(),
            delivered: AtomicU64::new(0),
            #[cfg(feature = "log")]
            is_over: AtomicBool::new(false),
        })
    }

    /// The logger gets no more of it: nobody waits for that.
    #[cfg(feature = "log")]
    pub(crate) fn give_up(&self) {
        self.is_over.store(true, SeqCst);
    }

    /// All that has come so far. `None` if the logger has had it.
    #[cfg(feature = "log")]
    pub(crate) fn mark(self: &Arc<Self>) -> Option<Mark> {
        let mark = Mark { lane: Arc::clone(self), came: self.waiting.lock().came };
        (!mark.is_delivered()).then_some(mark)
    }

    /// The next entry.
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

    /// Nobody can deliver these. Events wait on: to drop them may be user code.
    fn drop_all(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_listed = false;
        #[cfg(feature = "tracing")]
        if self.source == Source::Events {
            return;
        }
        waiting.dropped = waiting.dropped.saturating_add(waiting.records.len() as u64);
        waiting.records = VecDeque::new();
        waiting.bytes = 0;
        self.delivered.store(waiting.came, SeqCst);
    }

    /// True if there are more.
    fn goes_on(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.is_listed = !waiting.records.is_empty() || waiting.dropped > 0;
        waiting.is_listed
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox {
            #[cfg(feature = "log")]
            own: Lane::of(Source::Own),
            #[cfg(feature = "tracing")]
            events: Lane::of(Source::Events),
            #[cfg(feature = "tracing")]
            listener: Listener::current(),
            list: Mutex::default(),
            wake: Condvar::new(),
            ended: Condvar::new(),
            awaited: AtomicBool::new(false),
        }
    }
}

#[cfg(feature = "log")]
impl Outbox {
    /// Tells of pieces of a detached task that have failed, and of others of them.
    pub(crate) fn tell_failed(&self, errors: Vec<Error>, others: usize) -> Added {
        let others = (others > 0).then_some(Entry::OthersFailed(others));
        self.add_entries(&self.own, errors.into_iter().map(Entry::Failed).chain(others), 0)
    }

    /// Records of a worker have come, and this many more were dropped before.
    pub(crate) fn add(&self, lane: &Arc<Lane>, records: Vec<LogRecord>, lost: u64) -> Added {
        self.add_entries(lane, records.into_iter().map(Entry::OfWorker), lost)
    }

    /// Somebody waits for a mark: the thread tells when it has delivered something.
    pub(crate) fn await_delivery(&self) {
        self.awaited.store(true, SeqCst);
    }
}

#[cfg(feature = "tracing")]
impl Outbox {
    /// Adds an event, if there is room for it: else it is not even made.
    pub(crate) fn add_event(&self, event: impl FnOnce() -> Event) -> Added {
        let is_new = {
            let mut waiting = self.events.waiting.lock();
            if waiting.bytes + RECORD_BYTES > LANE_BYTES {
                waiting.dropped = waiting.dropped.saturating_add(1);
            } else {
                waiting.push(Entry::Event(event()));
            }
            waiting.must_be_listed()
        };
        self.list_if(is_new, &self.events)
    }
}

impl Outbox {
    #[cfg(feature = "log")]
    fn add_entries(&self, lane: &Arc<Lane>, entries: impl Iterator<Item = Entry>, lost: u64) -> Added {
        let is_new = {
            let mut waiting = lane.waiting.lock();
            waiting.dropped = waiting.dropped.saturating_add(lost);
            for entry in entries {
                if waiting.bytes + entry.cost() > LANE_BYTES {
                    waiting.dropped = waiting.dropped.saturating_add(1);
                    continue;
                }
                waiting.push(entry);
            }
            waiting.must_be_listed()
        };
        self.list_if(is_new, lane)
    }

    fn list_if(&self, is_new: bool, lane: &Arc<Lane>) -> Added {
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

    /// True if this thread is the one that calls logger and subscriber, which must not wait for itself.
    #[cfg(feature = "log")]
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
        let (outbox, owner) = (Arc::clone(self), process::number());
        let run = move || {
            outbox.list.lock().thread = Thread::Runs(Some(std::thread::current().id()));
            failpoint!("parent-log-thread-started");
            outbox.deliver(owner, &tell);
            if process::is_current(owner) {
                outbox.list.lock().thread = Thread::Ended;
                outbox.ended.notify_all();
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
                let Some(entry) = lane.take() else { break };
                let cost = entry.cost();
                failpoint!("parent-log-passed-on");
                self.tell(lane.source, entry);
                if !process::is_current(owner) {
                    // The logger forked, and this is the child.
                    return;
                }
                lane.waiting.lock().bytes -= cost;
                lane.delivered.fetch_add(1, SeqCst);
                if began.elapsed() >= TURN_TIME {
                    break;
                }
            }
            let dropped = lane.take_dropped();
            if dropped > 0 {
                self.tell_dropped(lane.source, dropped);
            }
            if self.awaited.swap(false, SeqCst) {
                tell();
            }
            if lane.goes_on() {
                self.list.lock().lanes.push_back(lane);
            }
        }
    }

    fn tell(&self, _source: Source, entry: Entry) {
        match entry {
            #[cfg(feature = "log")]
            Entry::OfWorker(record) => logs::deliver_record(_source.worker(), &record),
            #[cfg(feature = "log")]
            Entry::Failed(error) => logs::warn_of_failed(&error),
            #[cfg(feature = "log")]
            Entry::OthersFailed(count) => logs::warn_of_others(count),
            #[cfg(feature = "tracing")]
            Entry::Event(event) => event.tell(&self.listener),
        }
    }

    fn tell_dropped(&self, source: Source, dropped: u64) {
        match source {
            #[cfg(feature = "log")]
            Source::Worker(_) | Source::Own => logs::tell_dropped(source.worker(), dropped),
            #[cfg(feature = "tracing")]
            Source::Events => self.listener.tell_left_out(dropped),
        }
    }

    /// This thread ends the pool. If it is the one that calls logger and subscriber, nobody waits for it: it would wait for itself.
    pub(crate) fn ends_pool(&self) {
        let mut list = self.list.lock();
        list.ends_pool |= list.thread == Thread::Runs(Some(std::thread::current().id()));
        drop(list);
        self.ended.notify_all();
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
            if list.ends_pool {
                return;
            }
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

#[cfg(all(test, feature = "log"))]
mod tests {
    use super::*;
    use crate::engine::wire::log::Lead;

    fn record(bytes: usize) -> LogRecord {
        let lead = Lead { line: None, target: 0, module: None, file: None };
        LogRecord { level: log::Level::Info, lead, piece: None, bytes: vec![b'x'; bytes] }
    }

    /// Whatever a worker says that it has lost.
    #[test]
    fn a_lane_is_bounded_and_counts_what_it_drops() {
        let (logs, lane) = (Outbox::default(), Lane::new(0));
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
        let (logs, lane) = (Outbox::default(), Lane::new(0));
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
}
