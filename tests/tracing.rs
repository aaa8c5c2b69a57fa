//! What a subscriber of `tracing` hears of tasks, pieces and workers: all of it, under the right span, and never so that a pool waits for it.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod support;

use multicore::{Pool, Task};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use support::{Door, add, assert_well, busy_pool, pool, task, wait_at, wait_for, watchdog, workers};
use tracing::dispatcher::with_default;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// A span or an event as the subscriber had it.
#[derive(Debug, Clone)]
struct Seen {
    name: &'static str,
    level: Level,
    target: String,
    parent: Option<u64>,
    fields: Fields,
    thread: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_string());
    }
}

impl Seen {
    fn text(&self, field: &str) -> &str {
        self.fields.0.get(field).unwrap_or_else(|| panic!("no {field}: {self:?}"))
    }

    fn number(&self, field: &str) -> u64 {
        self.text(field).parse().unwrap_or_else(|_| panic!("{field}: {self:?}"))
    }

    fn has(&self, field: &str) -> bool {
        self.fields.0.contains_key(field)
    }
}

/// What is done at each event, on the thread that tells it.
type Act = Box<dyn Fn(&Seen) + Send + Sync>;

/// Keeps what it is told.
struct Keeps {
    level: Level,
    next: AtomicU64,
    spans: Mutex<BTreeMap<u64, Seen>>,
    /// The spans in which a thread is.
    entered: Mutex<HashMap<ThreadId, Vec<u64>>>,
    closed: Mutex<BTreeSet<u64>>,
    events: Mutex<Vec<Seen>>,
    act: Act,
}

/// The subscriber itself.
struct Hears(Arc<Keeps>);

/// The subscriber that a test has, and what it was told.
struct Told(Arc<Keeps>, Dispatch);

impl Told {
    fn of(level: Level, act: impl Fn(&Seen) + Send + Sync + 'static) -> Told {
        let keeps = Arc::new(Keeps {
            level,
            next: AtomicU64::new(1),
            spans: Mutex::default(),
            entered: Mutex::default(),
            closed: Mutex::default(),
            events: Mutex::default(),
            act: Box::new(act),
        });
        Told(Arc::clone(&keeps), Dispatch::new(Hears(keeps)))
    }

    fn new(level: Level) -> Told {
        Told::of(level, |_| {})
    }

    /// Does something with this as the thread's subscriber.
    fn hears<T>(&self, act: impl FnOnce() -> T) -> T {
        with_default(&self.1, act)
    }

    fn events(&self, name: &str) -> Vec<Seen> {
        self.0.events.lock().unwrap().iter().filter(|event| event.name == name).cloned().collect()
    }

    /// Waits for a number of events of this name.
    fn wait_for(&self, name: &str, count: usize) -> Vec<Seen> {
        wait_for(&format!("{count} times {name}"), || self.events(name).len() >= count);
        let events = self.events(name);
        assert_eq!(events.len(), count, "{events:#?}");
        events
    }

    /// The one span of a task, with its number.
    fn span(&self) -> (u64, Seen) {
        let spans = self.0.spans.lock().unwrap();
        let mut of_tasks = spans.iter().filter(|(_, span)| span.name == "multicore::task");
        let (id, span) = of_tasks.next().expect("a task has a span");
        assert!(of_tasks.next().is_none(), "{spans:?}");
        (*id, span.clone())
    }
}

impl Keeps {
    fn seen(
        &self,
        metadata: &'static Metadata<'static>,
        parent: Option<&Id>,
        is_contextual: bool,
        fields: Fields,
    ) -> Seen {
        let current = || self.entered.lock().unwrap().get(&std::thread::current().id())?.last().copied();
        Seen {
            name: metadata.name(),
            level: *metadata.level(),
            target: metadata.target().to_string(),
            parent: parent.map(Id::into_u64).or_else(|| if is_contextual { current() } else { None }),
            fields,
            thread: std::thread::current().name().map(str::to_string),
        }
    }
}

impl Subscriber for Hears {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0.level
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.0.level.into())
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.0.next.fetch_add(1, SeqCst);
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let seen = self.0.seen(attributes.metadata(), attributes.parent(), attributes.is_contextual(), fields);
        (self.0.act)(&seen);
        self.0.spans.lock().unwrap().insert(id, seen);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.0.spans.lock().unwrap();
        values.record(&mut spans.get_mut(&span.into_u64()).expect("a span that is there").fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let seen = self.0.seen(event.metadata(), event.parent(), event.is_contextual(), fields);
        (self.0.act)(&seen);
        if let Some(parent) = seen.parent {
            assert!(!self.0.closed.lock().unwrap().contains(&parent), "the span had ended: {seen:?}");
        }
        self.0.events.lock().unwrap().push(seen);
    }

    fn enter(&self, span: &Id) {
        self.0.entered.lock().unwrap().entry(std::thread::current().id()).or_default().push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.0.entered.lock().unwrap().entry(std::thread::current().id()).or_default().pop();
    }

    fn try_close(&self, span: Id) -> bool {
        // No test clones a span.
        self.0.closed.lock().unwrap().insert(span.into_u64())
    }
}

#[test]
fn each_piece_is_told_inside_of_the_span_of_its_task() {
    let _watch = watchdog();
    let told = Told::new(Level::TRACE);
    let pool = pool(2);
    let (request, pids) = told.hears(|| {
        let request = tracing::info_span!("request");
        let _entered = request.enter();
        let of = task::<u64>(&pool).name("sums");
        of.run_all(add, (0..40).map(|number| (number, 1)));
        assert_eq!(of.get().unwrap().len(), 40);
        (
            request.id().unwrap().into_u64(),
            workers(&pool).iter().map(|worker| u64::from(worker.pid)).collect::<Vec<_>>(),
        )
    });
    let events = told.wait_for("piece.done", 40);
    let (id, span) = told.span();
    assert_eq!((span.level, span.target.as_str(), span.parent), (Level::INFO, "multicore", Some(request)));
    assert_eq!((span.text("name"), span.number("pieces")), ("sums", 40));
    let pieces: BTreeSet<u64> = events.iter().map(|event| event.number("piece")).collect();
    assert_eq!(pieces, (0..40).collect());
    for event in &events {
        assert_eq!(
            (event.level, event.target.as_str(), event.parent),
            (Level::TRACE, "multicore", Some(id)),
            "{event:?}"
        );
        assert_eq!((event.text("message"), event.text("outcome")), ("piece.done", "done"), "{event:?}");
        assert_eq!((event.number("attempts"), event.thread.as_deref()), (1, Some("multicore-log")), "{event:?}");
        assert!(event.number("worker") < 2 && pids.contains(&event.number("pid")), "{event:?}, {pids:?}");
    }
    wait_for("its span ends with it", || told.0.closed.lock().unwrap().contains(&id));
    assert_well(pool);
}

fn naps(milliseconds: u64, _: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

#[test]
fn an_event_says_how_a_piece_ended_and_how_long_it_ran() {
    let _watch = watchdog();
    let told = Told::new(Level::TRACE);
    let pool = pool(1);
    told.hears(|| {
        let of = task::<u64>(&pool);
        of.run(naps, 30, 0);
        of.run(|_: u64, _: u64| panic!("as it said"), 0, 0);
        of.try_run(|_: u64, _: u64| Err::<u64, _>("no"), 0, 0);
        assert_eq!(of.get_each().len(), 3);
    });
    let events = told.wait_for("piece.done", 3);
    let outcomes: Vec<_> = events.iter().map(|event| event.text("outcome")).collect();
    assert_eq!(outcomes, ["done", "panicked", "failed"]);
    assert!((30_000..20_000_000).contains(&events[0].number("busy_us")), "{events:?}");
    assert!(events[2].number("busy_us") < 30_000 || events[2].number("busy_us") < events[0].number("busy_us"));
    // A task without a name has none.
    assert!(!told.span().1.has("name"));
    assert_well(pool);
}

#[test]
fn a_lost_piece_and_its_worker_are_told_with_the_cause() {
    let _watch = watchdog();
    let told = Told::new(Level::DEBUG);
    let pool = told.hears(|| pool(1));
    let first = told.wait_for("worker.started", 1);
    told.hears(|| {
        let of = task::<u64>(&pool).retries(1);
        of.run(|_: u64, _: u64| std::process::abort(), 0, 0);
        assert!(of.get().is_err());
        let of = task::<u64>(&pool).timeout(Duration::from_millis(20));
        of.run(naps, 60_000, 0);
        assert!(of.get().is_err());
    });
    let lost = told.wait_for("piece.lost", 3);
    let facts: Vec<_> = lost.iter().map(|it| (it.number("attempts"), it.text("again"))).collect();
    assert_eq!(facts, [(1, "true"), (2, "false"), (1, "false")]);
    assert!(lost[0].text("cause").contains("SIGABRT") && lost[0].parent.is_some(), "{lost:?}");
    assert_eq!(lost[2].text("cause"), "it ran longer than its limit of 20ms");
    assert_eq!((lost[0].level, lost[0].number("worker"), lost[0].number("piece")), (Level::WARN, 0, 0));
    let dead = told.wait_for("worker.lost", 3);
    assert_eq!((dead[0].level, dead[0].number("pid")), (Level::WARN, first[0].number("pid")));
    assert!(dead[0].text("cause").contains("SIGABRT") && dead[0].parent.is_none(), "{dead:?}");
    assert_eq!(dead[0].number("pid"), lost[0].number("pid"));
    assert!(dead[2].text("cause").contains("SIGKILL"), "{dead:?}");
    let started = told.wait_for("worker.started", 4);
    assert_eq!((started[1].level, started[1].number("worker")), (Level::DEBUG, 0));
    // At DEBUG nobody hears of pieces that are done.
    assert_well(pool);
    assert!(told.events("piece.done").is_empty());
}

/// A routine cancel is no warning of a loss; nor is what happens to a task that was made where nobody listened, as one that a subscriber makes.
#[test]
fn pieces_that_are_settled_already_or_of_no_listener_are_no_losses() {
    let _watch = watchdog();
    let told = Told::new(Level::DEBUG);
    let pool = told.hears(|| pool(1));
    let unheard = task::<u64>(&pool);
    unheard.run(|_: u64, _: u64| std::process::abort(), 0, 0);
    assert!(unheard.get().is_err());
    told.wait_for("worker.lost", 1);
    let marks = support::Marks::new();
    told.hears(|| {
        let of = task::<u64>(&pool);
        let runs_on = |marks: String, _: u64| {
            support::mark(&marks, 0);
            std::thread::sleep(Duration::from_secs(3600));
            0
        };
        of.run(runs_on, marks.path(), 0);
        marks.wait_for(1);
        of.canceller().cancel();
        told.wait_for("worker.lost", 2);
        assert!(of.get().is_err());
    });
    drop(pool);
    let lost = told.events("piece.lost");
    assert!(lost.is_empty(), "{lost:?}");
}

/// What comes at each level, in one row: a task with a piece that is done and one that is lost.
#[test]
fn a_subscriber_hears_what_it_asks_for_and_nothing_else() {
    let _watch = watchdog();
    for (level, has_span, expected) in [
        (Level::ERROR, false, &[][..]),
        (Level::WARN, false, &["piece.lost", "worker.lost"][..]),
        (Level::INFO, true, &["piece.lost", "worker.lost"]),
        (Level::DEBUG, true, &["piece.lost", "worker.lost", "worker.started"]),
        (Level::TRACE, true, &["piece.done", "piece.lost", "worker.lost", "worker.started"]),
    ] {
        let told = Told::new(level);
        let pool = told.hears(|| {
            let pool = pool(1);
            let of = task::<u64>(&pool);
            of.run(add, 1, 2);
            of.run(|_: u64, _: u64| std::process::abort(), 0, 0);
            let results = of.get_each();
            assert!(results[0].is_ok() && results[1].is_err());
            pool
        });
        // The pool's end tells all that is left.
        drop(pool);
        let names: BTreeSet<&str> = told.0.events.lock().unwrap().iter().map(|event| event.name).collect();
        assert_eq!(names, expected.iter().copied().collect(), "{level}");
        assert_eq!(!told.0.spans.lock().unwrap().is_empty(), has_span, "{level}");
        let of_pieces = told.events("piece.lost");
        assert!(of_pieces.iter().all(|event| event.parent.is_some() == has_span), "{of_pieces:?}");
    }
}

/// A pool that is told of by none. Its task was made where nobody listened.
#[test]
fn a_task_that_nobody_heard_of_is_not_told() {
    let _watch = watchdog();
    let told = Told::new(Level::TRACE);
    let pool = pool(1);
    let of = task::<u64>(&pool);
    told.hears(|| {
        of.run_all(add, (0..10).map(|number| (number, 1)));
        of.get().unwrap();
    });
    drop(pool);
    assert!(told.0.events.lock().unwrap().is_empty() && told.0.spans.lock().unwrap().is_empty());
}

#[test]
fn a_subscriber_that_hangs_holds_up_nobody_and_what_is_left_out_is_counted() {
    const PIECES: u64 = 40_000;
    let _watch = watchdog();
    let door = Arc::new(Door::closed());
    let waits = Arc::clone(&door);
    let told = Told::of(Level::TRACE, move |seen| {
        if seen.name == "piece.done" {
            wait_at(&waits.path());
        }
    });
    let pool = told.hears(|| pool(2));
    told.hears(|| {
        let of = task::<u64>(&pool);
        of.run_all(add, (0..PIECES).map(|number| (number, 1)));
        assert_eq!(of.get().unwrap().len() as u64, PIECES);
        support::assert_works(&pool);
    });
    assert!(told.events("piece.done").is_empty());
    door.open();
    let left_out = told.wait_for("events.left_out", 1);
    let count = left_out[0].number("count");
    // Workers have started, too, and that may be among what was left out. Another test of this program may have had them replaced.
    let heard = told.events("piece.done").len();
    let started: u64 = pool.stats().workers.iter().map(|worker| u64::from(worker.generation)).sum();
    assert_eq!((heard + told.events("worker.started").len()) as u64 + count, PIECES + 100 + started);
    // A MiB at 128 bytes each.
    assert!((8000..10_000).contains(&heard), "{heard}");
    // What comes now is heard.
    told.hears(|| {
        let of = task::<u64>(&pool);
        of.run(add, 1, 2);
        of.get().unwrap();
    });
    told.wait_for("piece.done", heard + 1);
    assert_well(pool);
}

#[test]
fn a_subscriber_that_panics_harms_nothing() {
    let _watch = watchdog();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let told = Told::of(Level::TRACE, move |_| {
        counted.fetch_add(1, SeqCst);
        panic!("a subscriber that panics");
    });
    let pool = told.hears(|| {
        let pool = pool(1);
        for _ in 0..2 {
            let of = task::<u64>(&pool).name("sums");
            of.run_all(add, (0..10).map(|number| (number, 1)));
            assert_eq!(of.get().unwrap().len(), 10);
            let of = Task::<u64>::new_or_inline();
            of.run(add, 1, 2);
            assert_eq!(of.get().unwrap(), [3]);
        }
        pool
    });
    drop(pool);
    assert!(calls.load(SeqCst) > 0);
}

/// Each event hands out a piece, of which it does not hear again: else this would never end.
#[test]
fn a_subscriber_may_run_tasks_itself() {
    let _watch = watchdog();
    let pool = Arc::new(pool(2));
    let (own, sum) = (Arc::downgrade(&pool), Arc::new(AtomicU64::new(0)));
    let summed = Arc::clone(&sum);
    let told = Told::of(Level::TRACE, move |seen| {
        if seen.name == "piece.done"
            && let Some(pool) = own.upgrade()
        {
            let of = task::<u64>(&pool);
            of.run(add, seen.number("piece"), 0);
            summed.fetch_add(of.get().unwrap()[0], SeqCst);
            let of = Task::<u64>::new_or_inline();
            of.run(add, 1, 2);
            assert_eq!(of.get().unwrap(), [3]);
        }
    });
    told.hears(|| {
        let of = task::<u64>(&pool);
        of.run_all(add, (0..50).map(|number| (number, 1)));
        assert_eq!(of.get().unwrap().len(), 50);
    });
    told.wait_for("piece.done", 50);
    assert_eq!(sum.load(SeqCst), 49 * 50 / 2);
    wait_for("the subscriber lets go of it", || Arc::strong_count(&pool) == 1);
    assert_well(Arc::into_inner(pool).unwrap());
    told.wait_for("piece.done", 50);
}

/// It was the thread that waited for itself: a second each time.
#[test]
fn a_subscriber_that_drops_the_pool_does_not_wait_for_itself() {
    let _watch = watchdog();
    let (last, took) = (Arc::new(Mutex::new(None::<Pool>)), Arc::new(Mutex::new(None)));
    let (drops, takes) = (Arc::clone(&last), Arc::clone(&took));
    let told = Told::of(Level::TRACE, move |seen| {
        if seen.name == "piece.done"
            && let Some(pool) = drops.lock().unwrap().take()
        {
            let start = Instant::now();
            drop(pool);
            *takes.lock().unwrap() = Some(start.elapsed());
        }
    });
    let pool = pool(1);
    let processes = workers(&pool);
    let door = Door::closed();
    told.hears(|| {
        let of = task::<u64>(&pool);
        let waits = |door: String, _: u64| {
            wait_at(&door);
            0
        };
        of.run(waits, door.path(), 0);
        *last.lock().unwrap() = Some(pool);
        door.open();
        of.get().unwrap();
    });
    wait_for("the pool was dropped", || took.lock().unwrap().is_some());
    let took = took.lock().unwrap().unwrap();
    assert!(took < Duration::from_millis(900), "{took:?}");
    support::assert_gone(&processes);
}

#[test]
fn pieces_without_a_pool_are_told_by_their_own_thread() {
    let _watch = watchdog();
    let told = Told::new(Level::TRACE);
    let of = told.hears(|| {
        let of = inline().name("inline").retries(1).retry_panics(true);
        of.run(add, 1, 2);
        of.run(|_: u64, _: u64| panic!("as it said"), 0, 0);
        of
    });
    // Another subscriber, or none, is the thread's by now.
    assert_eq!(of.get_each().len(), 2);
    let events = told.events("piece.done");
    let (id, span) = told.span();
    assert_eq!((span.text("name"), span.number("pieces")), ("inline", 2));
    let facts: Vec<_> =
        events.iter().map(|it| (it.number("piece"), it.number("attempts"), it.text("outcome"))).collect();
    assert_eq!(facts, [(0, 1, "done"), (1, 2, "panicked")]);
    for event in &events {
        assert_eq!((event.parent, event.number("pid")), (Some(id), u64::from(std::process::id())), "{event:?}");
        assert!(!event.has("worker") && event.thread.as_deref() == std::thread::current().name(), "{event:?}");
    }
    assert!(told.0.closed.lock().unwrap().contains(&id));
    // What never ran is not told.
    let of = told.hears(inline);
    of.run(add, 1, 2);
    of.canceller().cancel();
    assert!(of.get_each()[0].is_err());
    assert_eq!(told.events("piece.done").len(), 2);
}

/// A task whose pieces run here: this pool takes no more.
fn inline() -> Task<u64> {
    busy_pool().task_or_inline()
}

#[test]
fn a_detached_task_ends_its_span_and_its_pieces_are_told_without() {
    let _watch = watchdog();
    let told = Told::new(Level::TRACE);
    let pool = told.hears(|| pool(1));
    let door = Door::closed();
    told.hears(|| {
        let of = task::<u64>(&pool);
        let waits = |door: String, _: u64| {
            wait_at(&door);
            0
        };
        of.run(waits, door.path(), 0);
        of.detach();
    });
    let (id, span) = told.span();
    assert_eq!(span.number("pieces"), 1);
    assert!(told.0.closed.lock().unwrap().contains(&id));
    door.open();
    let events = told.wait_for("piece.done", 1);
    assert_eq!(events[0].parent, None);
    assert_well(pool);
}

/// A child has a copy of the task and of its span, and no thread that would tell anything.
#[test]
fn a_forked_child_of_the_host_tells_nothing_and_ends() {
    let _watch = watchdog();
    let told = Told::new(Level::TRACE);
    let pool = pool(1);
    let of = told.hears(|| {
        let of = task::<u64>(&pool);
        of.run(add, 1, 2);
        of
    });
    wait_for("the reply is read", || of.completed() == 1);
    told.wait_for("piece.done", 1);
    // SAFETY: no other thread of this test holds a lock of the subscriber now; the child leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        of.run(add, 3, 4);
        let failed = of.get().is_err();
        let told_nothing = told.events("piece.done").len() == 1;
        drop(pool);
        // SAFETY: it ends this child.
        unsafe { libc::_exit(i32::from(!(failed && told_nothing))) };
    }
    let mut status = 0;
    wait_for("the child ends", || {
        // SAFETY: it is this process's child.
        unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) == child }
    });
    assert_eq!(status, 0);
    assert_eq!(of.get().unwrap(), [3]);
    assert_well(pool);
}

/// The subscriber lives as long as its owner and the tasks that it hears of, not as long as the pool.
#[test]
fn a_pool_keeps_no_subscriber_alive() {
    let _watch = watchdog();
    let told = Told::new(Level::TRACE);
    let kept = Arc::downgrade(&told.0);
    let pool = told.hears(|| {
        let pool = pool(1);
        let of = task::<u64>(&pool);
        of.run(add, 1, 2);
        of.get().unwrap();
        pool
    });
    drop(told);
    wait_for("the subscriber is dropped", || kept.strong_count() == 0);
    assert_well(pool);
}

#[cfg(feature = "journal")]
#[test]
fn a_piece_of_a_journal_is_told_when_it_runs_and_not_when_it_is_read() {
    let _watch = watchdog();
    let folder = tempfile::tempdir().unwrap();
    let pool = pool(2);
    for (ran, resumed) in [(10, 0), (5, 10)] {
        let told = Told::new(Level::TRACE);
        told.hears(|| {
            let of = task::<u64>(&pool).name("kept").journal(folder.path().join("kept.journal")).unwrap();
            of.run_all(add, (0..ran + resumed).map(|number| (number, 1)));
            assert_eq!(of.get().unwrap().len() as u64, ran + resumed);
        });
        let events = told.wait_for("piece.done", ran as usize);
        let (id, span) = told.span();
        assert_eq!((span.text("name"), span.number("pieces")), ("kept", ran + resumed));
        assert!(events.iter().all(|event| event.parent == Some(id)), "{events:?}");
    }
    assert_well(pool);
}

/// What workers tell `tracing` comes by its feature `log`, and the feature `log` of this crate.
#[cfg(feature = "log")]
#[test]
fn what_workers_tell_tracing_comes_to_the_logger() {
    static TEXTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let worker = record.key_values().get("worker".into()).map(|worker| worker.to_string());
            TEXTS.lock().unwrap().push(format!("{} {worker:?} {}", record.level(), record.args()));
        }

        fn flush(&self) {}
    }

    let _watch = watchdog();
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let pool = pool(1);
    let of = task::<u64>(&pool);
    let tells = |number: u64, _: u64| {
        tracing::warn!(number, "is odd");
        number
    };
    of.run(tells, 7, 0);
    of.get().unwrap();
    let texts = TEXTS.lock().unwrap().clone();
    assert_eq!(texts, ["WARN Some(\"0\") is odd number=7"]);
    assert_well(pool);
}
