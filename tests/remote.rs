//! Tasks whose pieces an engine runs elsewhere: here in the workers of another pool, with all that would cross a network as bytes.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod support;

use multicore::remote::{self, Ended, Engine, Figures, Job, Outcome, Settings, functions};
use multicore::{Cause, Error, ErrorKind, Failure, Format, Pool, Shared, Sink, Task, Value, remote as at_hosts};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use support::{Door, Marks, mark, pool, wait_at, wait_for, watchdog};

/// A host that is played by a thread with a pool.
struct Played {
    orders: Mutex<Sender<Order>>,
    thread: Thread,
    drawn: Arc<AtomicUsize>,
}

enum Order {
    Begin(Job),
    Wake,
    Stop,
    End(bool),
}

/// How many pieces it holds.
const HELD: usize = 64;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Played {
    fn new(pool: Pool) -> Arc<Played> {
        let (sender, orders) = channel();
        let drawn = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&drawn);
        let thread = thread::spawn(move || play(&pool, &orders, &count)).thread().clone();
        Arc::new(Played { orders: Mutex::new(sender), thread, drawn })
    }

    fn order(&self, order: Order) {
        let _ = self.orders.lock().unwrap().send(order);
        self.thread.unpark();
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.order(Order::End(true));
    }
}

impl fmt::Debug for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Played")
    }
}

impl Engine for Played {
    fn begin(&self, job: Job) {
        self.order(Order::Begin(job));
    }

    fn wake(&self) {
        self.order(Order::Wake);
    }

    fn stop(&self) {
        self.order(Order::Stop);
    }

    fn end(&self, kill: bool) {
        self.order(Order::End(kill));
    }

    fn figures(&self) -> Figures {
        Figures { running: usize::MAX, retried: 0, ahead: 2 * HELD }
    }
}

/// Runs what it draws, until the end.
fn play(pool: &Pool, orders: &Receiver<Order>, drawn: &AtomicUsize) {
    let waker = Arc::new(Unpark(thread::current())).into();
    let (mut job, mut task, mut numbers) = (None::<Job>, None::<remote::EncodedTask>, HashMap::new());
    loop {
        for order in orders.try_iter() {
            match order {
                Order::Begin(begun) => job = Some(begun),
                // All that it holds is with its pool.
                Order::Wake | Order::Stop => {}
                Order::End(true) => return task.into_iter().for_each(remote::EncodedTask::cancel),
                Order::End(false) => return,
            }
        }
        let Some(job) = &job else {
            thread::park();
            continue;
        };
        job.expire();
        let mut held = task.as_ref().map_or(0, remote::EncodedTask::left);
        let settings = job.settings();
        job.draw(|piece| {
            if held == HELD {
                return false;
            }
            held += 1;
            drawn.fetch_add(1, Relaxed);
            // What crosses the network.
            let (id, bytes) = (piece.function.id(), piece.arguments.to_vec());
            let function = functions().unwrap().get(id).expect("it is in the table");
            let task = task.get_or_insert_with(|| pool.encoded_task(&settings).unwrap());
            numbers.insert(task.run(function, bytes), piece.number);
            true
        });
        let mut has_room = false;
        if let Some(task) = &mut task {
            while let Poll::Ready(Some((number, ended))) = task.poll_next(&mut Context::from_waker(&waker)) {
                job.settle([(numbers.remove(&number).unwrap(), outcome(ended))]);
                has_room = true;
            }
        }
        // Nobody wakes it for what waited for that.
        if has_room {
            continue;
        }
        match job.time_left() {
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}

fn outcome(ended: Ended) -> Outcome<'static> {
    let Ended { result, attempts, took } = ended;
    let over_the_network = |error: Error| remote::decode_error(&remote::encode_error(&error)).unwrap();
    Outcome { result: result.map(Cow::Owned).map_err(over_the_network), host: Some("beta".into()), attempts, took }
}

/// A task over a host of two workers.
fn task<R: Value>() -> Task<R> {
    remote::task(Played::new(pool(2)))
}

fn add(one: u64, other: u64) -> u64 {
    one + other
}

fn square(number: u64) -> u64 {
    number * number
}

fn even(number: u64) -> Result<u64, String> {
    if number.is_multiple_of(2) { Ok(number) } else { Err(format!("{number} is odd")) }
}

fn write(start: u64, end: u64, sink: &mut Sink) -> Result<(), Failure> {
    for number in start..end {
        writeln!(sink, "{number}")?;
    }
    Ok(())
}

fn no_error(_: u64) -> Result<u64, NotForTheNetwork> {
    Ok(1)
}

#[derive(Debug)]
struct NotForTheNetwork;

impl fmt::Display for NotForTheNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it stays")
    }
}

impl std::error::Error for NotForTheNetwork {}

#[test]
fn every_way_to_hand_out_and_to_collect_gives_what_a_local_pool_gives() {
    let _watch = watchdog();
    let hand_out = |task: &Task<u64>| {
        task.run(at_hosts!(add), 1, 2);
        task.call(at_hosts!(square), 3);
        task.call(at_hosts!(|number: u64| number + 1), 3);
        task.run_all(at_hosts!(add), (0..500).map(|number| (number, number)));
        task.call_all(at_hosts!(square), 0..500);
        task.call_ref(at_hosts!(|text: String| text.len() as u64), "seven");
        task.try_call(at_hosts!(even), 4);
        task.try_call(at_hosts!(no_error), 4);
        task.try_run(
            at_hosts!(|one: u64, _: ()| -> Result<u64, Failure> { Ok(one.to_string().parse::<u64>()?) }),
            4,
            (),
        );
    };
    let pool = pool(1);
    let local = pool.try_task().unwrap();
    hand_out(&local);
    let expected = local.get().unwrap();
    let made = || {
        let task = task();
        hand_out(&task);
        task
    };
    assert_eq!(made().get().unwrap(), expected);
    assert_eq!(made().get_timeout(Duration::from_secs(100)).unwrap(), expected);
    assert_eq!(made().get_each().into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
    assert_eq!(made().iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
    let mut completed: Vec<_> = made().iter_completed().map(|(number, it)| (number, it.unwrap())).collect();
    completed.sort_unstable();
    assert!(completed.into_iter().eq(expected.iter().copied().enumerate()));
    assert_eq!(futures_executor::block_on(made().into_future()).unwrap(), expected);
    made().wait().unwrap();
    let mut one_by_one = made();
    assert_eq!(std::iter::from_fn(|| one_by_one.next()).map(Result::unwrap).collect::<Vec<_>>(), expected);
    assert!(task().map(at_hosts!(square), 0..3000).map(Result::unwrap).eq((0..3000).map(square)));
    let mut found: Vec<_> = task().map(at_hosts!(square), 0..3000).unordered().map(|(_, it)| it.unwrap()).collect();
    found.sort_unstable();
    assert!(found.into_iter().eq((0..3000).map(square)));
    assert!(task::<u64>().get().unwrap().is_empty());
    assert_eq!(format!("{:?}", task::<u64>()).matches("hosts").count(), 1);
}

#[test]
fn results_of_any_length_and_format_come_back() {
    let _watch = watchdog();
    let long = |length: u64| vec![7_u8; length as usize];
    let lengths = [0, 1, 15, 16, 64 << 10, 8 << 20];
    for format in [Format::Bincode, Format::Raw, Format::Json] {
        let task = task::<Vec<u8>>().format(format);
        task.call_all(at_hosts!(|length: u64| vec![7_u8; length as usize]), lengths);
        assert!(task.get().unwrap().into_iter().eq(lengths.map(long)), "{format:?}");
    }
    let task = task::<Vec<u8>>();
    task.run_into(at_hosts!(write), 0, 3);
    task.run_into(at_hosts!(write), 3, 100_000);
    let mut written = Vec::new();
    task.write_to(&mut written).unwrap();
    assert!(String::from_utf8(written).unwrap().lines().eq((0..100_000).map(|number| number.to_string())));
}

#[test]
fn an_error_names_piece_function_place_and_host() {
    let _watch = watchdog();
    let task = task::<u64>();
    task.call(at_hosts!(square), 1);
    task.call(at_hosts!(|_: u64| -> u64 { std::process::abort() }), 1);
    task.try_call(at_hosts!(even), 5);
    task.call(
        at_hosts!(|number: u64| -> u64 {
            multicore::note(number);
            panic!("no {number}")
        }),
        9,
    );
    let mut results = task.get_each().into_iter();
    assert_eq!(results.next().unwrap().unwrap(), 1);
    let lost = results.next().unwrap().unwrap_err();
    assert_eq!((lost.kind(), lost.cause()), (ErrorKind::WorkerLost, Some(Cause::Signal(6))));
    assert_eq!((lost.piece(), lost.host(), lost.attempts()), (Some(1), Some("beta"), 1));
    assert!(lost.worker().is_some() && lost.pid().is_some());
    let subject = "piece 1 (remote::an_error_names_piece_function_place_and_host::{{closure}} at tests/remote.rs:";
    assert!(lost.to_string().starts_with(subject), "{lost}");
    assert!(lost.to_string().contains(", on host beta) lost its worker "), "{lost}");
    assert_eq!(lost.location().unwrap().file(), file!());
    let failed = results.next().unwrap().unwrap_err();
    assert_eq!((failed.kind(), failed.piece()), (ErrorKind::Failed, Some(2)));
    assert!(failed.to_string().starts_with("piece 2 (remote::even at tests/remote.rs:"), "{failed}");
    assert!(failed.to_string().ends_with(", on host beta) failed: 5 is odd"), "{failed}");
    let panicked = results.next().unwrap().unwrap_err();
    assert_eq!((panicked.kind(), panicked.note()), (ErrorKind::Panicked, Some(9)));
    assert!(panicked.to_string().contains("panicked: no 9"), "{panicked}");
}

/// What would be run elsewhere under another address, or without what it needs.
#[test]
fn what_cannot_run_elsewhere_is_unsupported_at_once() {
    let _watch = watchdog();
    let hosts = Played::new(pool(1));
    let task = remote::task::<u64>(Arc::clone(&hosts) as _);
    task.call(square, 3);
    task.run(|one: u64, _: ()| one, 3, ());
    task.call(at_hosts!(|shared: Shared<String>| shared.len() as u64), Shared::new("text".to_string()).unwrap());
    task.call_with(|_: &mut u64, number: u64| number, 3);
    task.run_with(|_: &mut u64, number: u64, _: ()| number, 3, ());
    let errors: Vec<_> = task.get_each().into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Unsupported && error.host().is_none()), "{errors:?}");
    let text: Vec<_> = errors.iter().map(Error::to_string).collect();
    assert!(text[0].contains("`remote::square` is not known to other hosts: write `remote!(square)`"), "{}", text[0]);
    assert!(text[1].contains("is not known to other hosts: write `remote!(|…| …)`"), "{}", text[1]);
    assert!(text[2].contains("have a `Shared`"), "{}", text[2]);
    assert!(text[3].contains("call_with needs a worker's state"), "{}", text[3]);
    assert!(text[4].contains("run_with needs a worker's state"), "{}", text[4]);
    assert_eq!(hosts.drawn.load(Relaxed), 0);
}

#[test]
fn a_function_is_known_by_each_way_to_call_it() {
    fn both(number: u64) -> Result<u64, String> {
        Ok(number)
    }
    let _watch = watchdog();
    let as_it_is = task::<Result<u64, String>>();
    as_it_is.call(at_hosts!(both), 3);
    assert_eq!(as_it_is.get().unwrap(), [Ok(3)]);
    let answers = task::<u64>();
    answers.try_call(at_hosts!(both), 3);
    assert_eq!(answers.get().unwrap(), [3]);
    let rows = functions().unwrap().iter().filter(|row| row.name().ends_with("::both"));
    let mut signatures: Vec<_> = rows.map(|row| row.signature().to_string()).collect();
    signatures.sort();
    let plain = "fn(u64) -> core::result::Result<u64, alloc::string::String>";
    assert_eq!(signatures, [plain, plain, &format!("try {plain}"), &format!("try {plain}")]);
}

/// The host's workers decode: what nobody encoded is an error of that piece, and nothing else.
#[test]
fn forged_arguments_are_an_error_of_their_piece() {
    let _watch = watchdog();
    let pool = pool(1);
    let function = |name: &str| functions().unwrap().iter().find(|row| row.name().ends_with(name)).unwrap();
    let _ = (at_hosts!(add), at_hosts!(even));
    let mut task = pool.encoded_task(&Settings::default()).unwrap();
    for bytes in [vec![], vec![1], vec![255; 15], vec![255; 17], vec![0; 100]] {
        task.run(function("::add"), bytes);
    }
    task.run(function("::add"), [1_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat());
    let mut results: Vec<_> = std::iter::from_fn(|| task.next()).collect();
    results.sort_by_key(|(number, _)| *number);
    let (_, last) = results.pop().unwrap();
    assert_eq!(last.result.unwrap(), 3_u64.to_le_bytes());
    for (number, ended) in results {
        assert_eq!(ended.result.unwrap_err().kind(), ErrorKind::Decode, "{number}");
    }
    assert_eq!(pool.stats().workers_lost, 0);
    assert!(functions().unwrap().get(add as fn(u64, u64) -> u64 as usize as u64).is_none());
}

fn wait_then_mark(door: String, marks: String) -> u64 {
    mark(&marks, 1);
    wait_at(&door);
    mark(&marks, 2);
    1
}

/// A task of more pieces than the host holds, all of them behind a door.
fn behind(door: &Door, marks: &Marks, hosts: &Arc<Played>) -> Task<u64> {
    let task = remote::task(Arc::clone(hosts) as _);
    task.run_all(at_hosts!(wait_then_mark), (0..2 * HELD).map(|_| (door.path(), marks.path())));
    marks.wait_for(2);
    task
}

#[test]
fn cancelling_stopping_and_leaving_end_what_they_end_in_a_pool() {
    let _watch = watchdog();
    let setting = || (Door::closed(), Marks::new(), Played::new(pool(2)));
    // Cancelled: what runs is killed, and never gets to its second mark.
    let (door, marks, hosts) = setting();
    let task = behind(&door, &marks, &hosts);
    task.canceller().cancel();
    let results = task.get_each();
    assert!(results.iter().all(|it| it.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled)));
    wait_for("the thread has ended, and its pool", || Arc::strong_count(&hosts.drawn) == 1);
    door.open();
    assert_eq!(marks.settled(), 2);

    // Stopped: what the host has comes to its end.
    let (door, marks, hosts) = setting();
    let task = behind(&door, &marks, &hosts);
    task.canceller().stop();
    task.call(at_hosts!(square), 1);
    assert_eq!(task.completed(), HELD + 1);
    door.open();
    let results = task.get_each();
    assert_eq!(results.iter().filter(|it| it.is_ok()).count(), HELD);
    assert!(results[HELD..].iter().all(|it| it.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled)));
    assert_eq!(marks.count(), 2 * HELD);

    // Dropped: nothing begins later.
    let (door, marks, hosts) = setting();
    drop(behind(&door, &marks, &hosts));
    wait_for("the thread has ended, and its pool", || Arc::strong_count(&hosts.drawn) == 1);
    door.open();
    assert!(marks.settled() <= 4);

    // Detached: all of it runs.
    let (door, marks, hosts) = setting();
    let task = behind(&door, &marks, &hosts);
    let watch = task.watch();
    task.detach();
    door.open();
    marks.wait_for(4 * HELD);
    wait_for("the end of the task", || watch.progress().done() == 2 * HELD);
}

#[test]
fn a_deadline_ends_a_task_whether_somebody_waits_or_not() {
    let _watch = watchdog();
    for waits in [true, false] {
        let (door, marks, hosts) = (Door::closed(), Marks::new(), Played::new(pool(2)));
        let task = behind(&door, &marks, &hosts).deadline(Instant::now() + Duration::from_millis(50));
        if !waits {
            wait_for("all have failed", || task.completed() == 2 * HELD);
        }
        let error = task.get().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, Some(0)));
        assert!(error.to_string().ends_with("was not done by the deadline of its task"), "{error}");
    }
}

#[test]
fn unread_results_bound_what_is_drawn() {
    let _watch = watchdog();
    let hosts = Played::new(pool(1));
    let task = remote::task::<Vec<u8>>(Arc::clone(&hosts) as _).max_unread(1 << 20);
    task.call_all(at_hosts!(|_: u64| vec![0_u8; 1 << 20]), 0..1000);
    wait_for("the first is done", || task.completed() > 0);
    let mut results = task.iter();
    for _ in 0..10 {
        results.next().unwrap().unwrap();
    }
    // What it held when the bound was reached, and what was let through since.
    let drawn = hosts.drawn.load(Relaxed);
    assert!(drawn <= 16, "{drawn}");
    drop(results);
    // With no room at all, one at a time, when it is asked for.
    let hosts = Played::new(pool(1));
    let mut task = remote::task::<u64>(Arc::clone(&hosts) as _).max_unread(0);
    task.call_all(at_hosts!(square), 0..100);
    assert_eq!(hosts.drawn.load(Relaxed), 0);
    for number in 0..100 {
        assert_eq!(task.next().unwrap().unwrap(), number * number);
        assert_eq!(hosts.drawn.load(Relaxed), number as usize + 1);
    }
}

#[test]
fn an_engine_that_fails_ends_what_is_there_and_what_comes() {
    #[derive(Debug)]
    struct Failing(Mutex<Option<Job>>);
    impl Engine for Failing {
        fn begin(&self, job: Job) {
            *self.0.lock().unwrap() = Some(job);
        }
        fn wake(&self) {}
        fn stop(&self) {}
        fn end(&self, _: bool) {}
        fn figures(&self) -> Figures {
            Figures::default()
        }
    }
    let _watch = watchdog();
    let engine = Arc::new(Failing(Mutex::default()));
    let task = remote::task::<u64>(Arc::clone(&engine) as _);
    task.call_all(at_hosts!(square), 0..3);
    let job = engine.0.lock().unwrap().clone().unwrap();
    let settle = |number: usize, value: u64| {
        let result = Ok(Cow::Owned(value.to_le_bytes().to_vec()));
        job.settle([(number, Outcome { result, host: None, attempts: 1, took: Duration::ZERO })])
    };
    // Nobody has drawn it.
    assert_eq!(settle(0, 5), 0);
    let mut drawn = 0;
    job.draw(|piece| {
        drawn += 1;
        assert_eq!(piece.number, drawn - 1);
        drawn <= 2
    });
    assert!(!job.is_awaited());
    assert_eq!((job.waiting(), settle(1, 7), settle(1, 8), settle(9, 8)), (1, 1, 0, 0));
    job.fail(&remote::error(ErrorKind::Host, "the server at localhost:1 was away for 60 s"));
    assert!(job.is_over());
    assert_eq!(settle(0, 5), 0);
    task.call(at_hosts!(square), 4);
    let results = task.get_each();
    assert_eq!(*results[1].as_ref().unwrap(), 7);
    for number in [0, 2, 3] {
        let error = results[number].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Host, Some(number)));
        assert!(error.to_string().ends_with("has no outcome: the server at localhost:1 was away for 60 s"), "{error}");
    }
    assert_eq!(job.waiting(), 0);
}

#[cfg(feature = "journal")]
#[test]
fn a_journal_finds_what_hosts_have_done() {
    let _watch = watchdog();
    let folder = tempfile::tempdir().unwrap();
    let run = |pieces: std::ops::Range<u64>| {
        let hosts = Played::new(pool(2));
        let task = remote::task::<u64>(Arc::clone(&hosts) as _).name("squares");
        let task = task.journal(folder.path().join("journal")).unwrap();
        task.call_all(at_hosts!(square), pieces.clone());
        assert!(task.get().unwrap().into_iter().eq(pieces.map(square)));
        hosts.drawn.load(Relaxed)
    };
    assert_eq!((run(0..100), run(0..100), run(0..150)), (100, 0, 50));
}

#[test]
fn each_place_and_each_type_has_an_id_of_its_own() {
    fn same<T>(value: T) -> T {
        value
    }
    let _ = (at_hosts!(same::<u8>), at_hosts!(same::<u8>));
    let _ = (at_hosts!(same::<i8>), at_hosts!(|text: String| text));
    let rows = functions().unwrap().iter().filter(|row| row.name().contains("each_place_and_each_type"));
    let mut names: Vec<_> =
        rows.map(|row| (row.signature().to_string(), row.name().rsplit("::").next().unwrap().to_string())).collect();
    names.sort();
    let text = "fn(alloc::string::String) -> alloc::string::String";
    let expected = [
        ("fn(i8) -> i8", "same<i8>"),
        (text, "{{closure}}"),
        ("fn(u8) -> u8", "same<u8>"),
        ("fn(u8) -> u8", "same<u8>"),
    ];
    let mut expected = expected.map(|(signature, name)| (signature.to_string(), name.to_string()));
    expected.sort();
    assert_eq!(names, expected);
}

/// A detached task has no reader: what its bound held back runs, too.
#[test]
fn a_bounded_task_that_is_detached_runs_to_its_end() {
    let _watch = watchdog();
    let (marks, hosts) = (Marks::new(), Played::new(pool(2)));
    let task = remote::task::<()>(Arc::clone(&hosts) as _).max_unread(0);
    task.call_all(at_hosts!(|path: String| mark(&path, 1)), (0..200).map(|_| marks.path()));
    task.detach();
    marks.wait_for(200);
    wait_for("the thread has ended, and its pool", || Arc::strong_count(&hosts.drawn) == 1);
}

/// What was drawn and is with no host is given back when the task is stopped.
#[test]
fn pieces_that_an_engine_gives_back_never_begin() {
    #[derive(Debug, Default)]
    struct Keeping(Mutex<Option<Job>>);
    impl Engine for Keeping {
        fn begin(&self, job: Job) {
            job.draw(|_| true);
            *self.0.lock().unwrap() = Some(job);
        }
        fn wake(&self) {
            self.0.lock().unwrap().as_ref().unwrap().draw(|_| true);
        }
        fn stop(&self) {
            // One is with a host.
            self.0.lock().unwrap().as_ref().unwrap().give_back(1..5);
        }
        fn end(&self, _: bool) {}
        fn figures(&self) -> Figures {
            Figures::default()
        }
    }
    let _watch = watchdog();
    let engine = Arc::new(Keeping::default());
    let task = remote::task::<u64>(Arc::clone(&engine) as _);
    task.call_all(at_hosts!(square), 0..5);
    let job = engine.0.lock().unwrap().clone().unwrap();
    // Nobody has stopped it yet.
    job.give_back(0..5);
    assert_eq!(task.completed(), 0);
    task.canceller().stop();
    assert_eq!(task.completed(), 4);
    let result = Ok(Cow::Owned(7_u64.to_le_bytes().to_vec()));
    assert_eq!(job.settle([(0, Outcome { result, host: None, attempts: 1, took: Duration::ZERO })]), 1);
    let results = task.get_each();
    assert_eq!(*results[0].as_ref().unwrap(), 7);
    assert!(results[1..].iter().all(|it| it.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled)));
}

/// With a journal, another thread waits for outcomes: it hears of a piece that ends as it is handed out.
#[cfg(feature = "journal")]
#[test]
fn a_piece_that_ends_at_once_wakes_who_waits() {
    let _watch = watchdog();
    let folder = tempfile::tempdir().unwrap();
    let task = task::<u64>().name("squares").journal(folder.path().join("journal")).unwrap();
    for number in 0..50 {
        task.call(square, number);
        wait_for("it has failed", || task.completed() == number as usize + 1);
    }
    assert_eq!(task.get().unwrap_err().kind(), ErrorKind::Unsupported);
}
