//! `Pool::timeline`: what its file says, by the rules of Chrome's trace event format (a table here, since nobody publishes a schema), and whether that is true.

use crate::support::{self, assert_well, wait_for, watchdog};
use multicore::{Pool, PoolBuilder};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn pool(workers: usize, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(workers)).build().expect("a pool can run here")
}

/// An event of the file, whose form was checked.
#[derive(Debug, Clone)]
struct Event {
    phase: String,
    name: String,
    thread: u64,
    /// In nanoseconds.
    at: u64,
    took: u64,
    args: Value,
}

/// A number of microseconds, as nanoseconds.
#[track_caller]
fn nanoseconds(value: &Value) -> u64 {
    let micros = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(micros >= 0.0, "{value}");
    (micros * 1000.0).round() as u64
}

/// A field of Chrome's trace event format: its name, whether each event has it, and what it is.
type Field = (&'static str, bool, fn(&Value) -> bool);

const NUMBER: fn(&Value) -> bool = |value| value.as_f64().is_some_and(|number| number >= 0.0);
const COUNT: fn(&Value) -> bool = |value| value.is_u64();
const TEXT: fn(&Value) -> bool = |value| value.is_string();
const OBJECT: fn(&Value) -> bool = |value| value.is_object();
const LIST: fn(&Value) -> bool = |value| value.is_array();

/// The rules of that format, as far as it is used here: of the whole, and of an event by its phase. Times are microseconds, which may have fractions.
const WHOLE: &[Field] = &[
    ("displayTimeUnit", true, |unit| unit == "ms" || unit == "ns"),
    ("otherData", false, OBJECT),
    ("traceEvents", true, LIST),
];
const OF_ALL: &[Field] = &[
    ("name", true, TEXT),
    ("ph", true, TEXT),
    ("pid", true, COUNT),
    ("tid", true, COUNT),
    ("ts", true, NUMBER),
    ("args", true, OBJECT),
];
const OF_COMPLETE: &[Field] = &[("dur", true, NUMBER), ("cat", false, TEXT)];
const OF_INSTANT: &[Field] = &[("s", true, |scope| scope == "t" || scope == "p" || scope == "g"), ("cat", false, TEXT)];

/// Each field that must be there is, each that is there may be, and is what it is to be.
#[track_caller]
fn check_fields(object: &Value, fields: &[&[Field]]) {
    let told = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    let find = |name: &str| fields.iter().copied().flatten().find(|field| field.0 == name);
    for (name, value) in told {
        let field = find(name).unwrap_or_else(|| panic!("{name} is no field of the format: {object}"));
        assert!((field.2)(value), "{name} is {value} in {object}");
    }
    for (name, _, _) in fields.iter().copied().flatten().filter(|field| field.1) {
        assert!(told.contains_key(*name), "{name} is missing in {object}");
    }
}

/// Reads the pool's file, and checks it by the format's rules and ours.
#[track_caller]
fn read(pool: &Pool) -> (Vec<Event>, u64) {
    let timeline = pool.timeline();
    let mut file = Vec::new();
    timeline.write_chrome(&mut file).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap_or_else(|error| panic!("no JSON: {error}"));
    check_fields(&file, &[WHOLE]);
    let lost = file["otherData"]["events_lost"].as_u64().unwrap();
    assert_eq!(lost, timeline.lost());
    let (mut events, mut names, mut ends, mut last) = (Vec::new(), BTreeMap::new(), BTreeMap::new(), 0);
    for event in file["traceEvents"].as_array().expect("a list of events") {
        let own: &[Field] = match event["ph"].as_str() {
            Some("X") => OF_COMPLETE,
            Some("i") => OF_INSTANT,
            _ => &[],
        };
        check_fields(event, &[OF_ALL, own]);
        let text = |key: &str| event[key].as_str().unwrap_or_else(|| panic!("no text {key} in {event}")).to_string();
        let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {event}"));
        let (phase, name, thread) = (text("ph"), text("name"), number("tid"));
        assert_eq!(number("pid"), u64::from(std::process::id()));
        let (at, args) = (nanoseconds(&event["ts"]), event["args"].clone());
        let mut took = 0;
        match phase.as_str() {
            "M" => {
                assert!(["process_name", "thread_name"].contains(&name.as_str()), "{event}");
                let track = args["name"].as_str().unwrap().to_string();
                assert!(events.is_empty() && names.insert((name.clone(), thread), track).is_none(), "{event}");
                continue;
            }
            "X" => {
                took = nanoseconds(&event["dur"]);
                let end = ends.entry(thread).or_insert(0);
                assert!(*end <= at, "{event} overlaps the one before it, which ends at {end}");
                *end = at + took;
                assert!(args["piece"].is_u64() && args["attempts"].as_u64().unwrap() >= 1, "{event}");
                assert!(args["outcome"].is_string(), "{event}");
            }
            "i" => {
                assert_eq!(text("s"), "t");
                assert!(*ends.entry(thread).or_insert(0) <= at, "{event} lies within the piece before it");
            }
            other => panic!("{other} is no phase of ours"),
        }
        assert!(args["worker"].as_u64() == Some(thread - 1) && args["pid"].is_u64(), "{event}");
        assert!(last <= at, "{event} is out of order");
        last = at;
        assert!(names.contains_key(&("thread_name".to_string(), thread)), "{event} has a track without a name");
        events.push(Event { phase, name, thread, at, took, args });
    }
    assert!(names.contains_key(&("process_name".to_string(), 0)));
    assert_eq!(events.len(), timeline.len());
    (events, lost)
}

fn pieces(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.phase == "X").collect()
}

fn outcomes(events: &[Event]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in pieces(events) {
        *counts.entry(event.args["outcome"].as_str().unwrap().to_string()).or_default() += 1;
    }
    counts
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn double(number: u64, (): ()) -> u64 {
    2 * number
}

fn various(number: u64) -> Result<u64, String> {
    match number {
        1 => Err("it fails".to_string()),
        2 => panic!("it panics"),
        3 => std::process::exit(9),
        _ => Ok(number),
    }
}

#[test]
fn pieces_are_told_where_and_when_they_ran() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.timeline(1000));
    let began = Instant::now();
    let task = pool.task_or_inline::<u64>();
    (0..6).for_each(|_| task.call(nap, 50));
    task.get().unwrap();
    let passed = began.elapsed().as_nanos() as u64;
    let (events, lost) = read(&pool);
    let pieces = pieces(&events);
    assert_eq!((pieces.len(), lost), (6, 0));
    let mut numbers: Vec<_> = pieces.iter().map(|event| event.args["piece"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    for event in &pieces {
        assert!(event.name.contains("nap"), "{event:?}");
        assert!((50_000_000..passed).contains(&event.took), "{event:?}");
        let others = pieces.iter().filter(|other| other.thread == event.thread);
        assert!(others.count() >= 2, "both workers have some");
    }
    let first = pieces.iter().map(|event| event.at).min().unwrap();
    let end = pieces.iter().map(|event| event.at + event.took).max().unwrap();
    assert!(end - first <= passed && end - first >= 150_000_000, "{first} to {end}, within {passed}");
    let started = events.iter().filter(|event| event.name == "worker started");
    assert_eq!(started.count(), 2);
    assert_well(pool);
}

/// Quick pieces in long rows: none overlaps another, and no time is made up.
#[test]
fn quick_pieces_lie_in_rows() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.timeline(100_000));
    let began = Instant::now();
    let task = pool.task_or_inline::<u64>().name("quick");
    task.run_all(double, (0..20_000).map(|number| (number, ())));
    assert_eq!(task.get().unwrap().len(), 20_000);
    let passed = began.elapsed().as_nanos() as u64;
    let (events, _) = read(&pool);
    let pieces = pieces(&events);
    assert_eq!(pieces.len(), 20_000);
    assert!(pieces.iter().all(|event| event.name == "quick"));
    assert!(pieces.iter().map(|event| event.took).sum::<u64>() <= 2 * passed);
    assert_well(pool);
}

/// Each start has its event, with its outcome; and the loss of a worker has its cause.
#[test]
fn outcomes_and_losses_are_told() {
    let _watch = watchdog();
    let pool = pool(1, |it| it.timeline(1000));
    let task = pool.task_or_inline::<u64>().name("various").retries(1);
    (0..4).for_each(|number| task.try_call(various, number));
    assert_eq!(task.get_each().len(), 4);
    wait_for("the next worker starts", || {
        let (events, _) = read(&pool);
        events.iter().filter(|event| event.name == "worker started").count() >= 3
    });
    let (events, _) = read(&pool);
    let expected = [("done", 1), ("failed", 1), ("lost", 2), ("panicked", 1)];
    assert_eq!(outcomes(&events), expected.map(|(outcome, count)| (outcome.to_string(), count)).into());
    let lost: Vec<_> = pieces(&events).into_iter().filter(|event| event.args["outcome"] == "lost").collect();
    assert_eq!([&lost[0].args["attempts"], &lost[1].args["attempts"]], [1, 2]);
    assert!(lost.iter().all(|event| event.args["cause"].as_str().unwrap().contains("exited with code 9")));
    let workers: Vec<_> = events.iter().filter(|event| event.name == "worker lost").collect();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|event| event.args["cause"].as_str().unwrap().contains("exited with code 9")));
    assert_eq!(workers[0].args["pid"], lost[0].args["pid"]);
    assert_well(pool);
}

#[test]
fn any_name_is_a_name() {
    let _watch = watchdog();
    let pool = pool(1, |it| it.timeline(100));
    let names =
        ["quote\" and \\ backslash", "two\nlines\ttab", "\u{0}\u{1f}\u{7f}", "ü 日本 🦀 \u{2028}", "</script>{}[]", ""];
    for name in names {
        let task = pool.task_or_inline::<u64>().name(name);
        task.run(double, 1, ());
        task.get().unwrap();
    }
    let (events, _) = read(&pool);
    let told: Vec<_> = pieces(&events).iter().map(|event| event.name.as_str()).collect();
    assert_eq!(told, names);
    assert_well(pool);
}

#[test]
fn the_oldest_events_are_overwritten_and_counted() {
    let _watch = watchdog();
    let pool = pool(1, |it| it.timeline(10));
    let task = pool.task_or_inline::<u64>();
    (0..50).for_each(|number| task.run(double, number, ()));
    task.get().unwrap();
    let (events, lost) = read(&pool);
    // The worker's start was the first.
    assert_eq!((events.len(), lost), (10, 41));
    let numbers: Vec<_> = pieces(&events).iter().map(|event| event.args["piece"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (40..50).collect::<Vec<_>>());
    assert_well(pool);
}

#[test]
fn without_the_setting_there_are_none_and_too_many_are_refused() {
    let _watch = watchdog();
    let none = pool(1, |it| it);
    support::assert_works(&none);
    assert!(none.timeline().is_empty());
    assert_eq!(read(&none).0.len(), 0);
    let error = Pool::builder().workers(1).timeline(usize::MAX).build().unwrap_err();
    assert_eq!(error.kind(), multicore::ErrorKind::Config);
    assert!(error.to_string().contains("18446744073709551615 events"), "{error}");
}

/// What was dropped or detached ran, too; and times that a journal wants stay the journal's.
#[test]
fn pieces_of_tasks_that_are_gone_are_told() {
    let _watch = watchdog();
    let pool = pool(1, |it| it.timeline(100));
    let task = pool.task_or_inline::<u64>().name("left");
    (0..5).for_each(|number| task.run(double, number, ()));
    task.detach();
    wait_for("all have run", || pieces(&read(&pool).0).len() == 5);
    let (marks, door) = (support::Marks::new(), support::Door::closed());
    let task = pool.task_or_inline::<u64>().name("dropped");
    task.call(
        |(marks, door): (String, String)| {
            support::mark(&marks, 1);
            support::wait_at(&door);
            1
        },
        (marks.path(), door.path()),
    );
    marks.wait_for(1);
    drop(task);
    door.open();
    wait_for("it has run", || pieces(&read(&pool).0).len() == 6);
    assert_eq!(pieces(&read(&pool).0)[5].name, "?");
    assert_well(pool);
}
