//! Tasks that end before their pieces do: dropped where that kills what runs, or at a deadline.

#![allow(unsafe_code)]

use crate::support::{
    DEADLINE, Door, Marks, Process, assert_well, mark, pool, task, wait_at, wait_for, watchdog, workers,
};
use futures_executor::block_on;
use futures_util::FutureExt;
use multicore::{Error, ErrorKind, Task};
use std::cell::OnceCell;
use std::future::IntoFuture;
use std::time::{Duration, Instant};

/// A piece that hangs, and what is known of it.
struct Hanging {
    marks: Marks,
    door: Door,
    worker: OnceCell<Process>,
}

impl Hanging {
    fn new() -> Hanging {
        Hanging { marks: Marks::new(), door: Door::closed(), worker: OnceCell::new() }
    }

    fn argument(&self) -> (String, String) {
        (self.marks.path(), self.door.path())
    }

    /// The task, once the piece runs.
    fn runs_in(&self, task: Task<String>) -> Task<String> {
        task.call(hang, self.argument());
        self.worker();
        task
    }

    /// The worker that has begun it; to be asked while it hangs, and later again.
    fn worker(&self) -> Process {
        *self.worker.get_or_init(|| {
            self.marks.wait_for(1);
            Process::find(self.marks.numbers()[0] as u32).expect("it hangs")
        })
    }
}

/// Tells its worker before and after it waits. Without marks it is done at once.
fn hang((marks, door): (String, String)) -> String {
    if !marks.is_empty() {
        mark(&marks, u64::from(std::process::id()));
        wait_at(&door);
        mark(&marks, u64::from(std::process::id()));
    }
    "done".to_string()
}

fn quick() -> (String, String) {
    (String::new(), String::new())
}

/// Panics once the other piece runs.
fn panics_beside((marks, _): (String, String)) -> String {
    wait_for("the other piece runs", || std::fs::read_to_string(&marks).is_ok_and(|text| !text.is_empty()));
    panic!("beside a piece that hangs")
}

/// Whatever a task was made into: it is dropped while its piece hangs.
#[test]
fn what_runs_is_killed_where_a_drop_kills() {
    let _watch = watchdog();
    let pool = pool(2);
    type End = fn(Task<String>, &Hanging);
    let drops: [(&str, End); 11] = [
        ("task", |task, piece| drop(piece.runs_in(task))),
        ("future that was not polled", |task, piece| drop(piece.runs_in(task).into_future())),
        ("future", |task, piece| assert!(piece.runs_in(task).into_future().now_or_never().is_none())),
        ("future of each, not polled", |task, piece| drop(piece.runs_in(task).get_each_async())),
        ("future of each", |task, piece| assert!(piece.runs_in(task).get_each_async().now_or_never().is_none())),
        ("iter", |task, piece| drop(piece.runs_in(task).iter())),
        ("iter_completed", |task, piece| {
            task.call(hang, quick());
            let mut results = piece.runs_in(task).iter_completed();
            assert_eq!(results.next().unwrap().0, 0);
        }),
        ("reader", |task, piece| {
            task.call(hang, quick());
            let mut reader = piece.runs_in(task).reader();
            std::io::Read::read_exact(&mut reader, &mut [0; 2]).unwrap();
        }),
        ("map of what the task had", |task, piece| drop(piece.runs_in(task).map(hang, []))),
        ("map", |task, piece| {
            let mut results = task.map(hang, [quick(), piece.argument()]);
            assert!(results.next().unwrap().is_ok());
            _ = piece.worker();
        }),
        ("unordered map", |task, piece| {
            let mut results = task.map(hang, [piece.argument(), quick()]).unordered();
            assert_eq!(results.next().unwrap().0, 1);
            _ = piece.worker();
        }),
    ];
    for (name, end) in drops {
        let piece = Hanging::new();
        end(task::<String>(&pool).kill_on_drop(true), &piece);
        let worker = piece.worker.get().expect("it has begun");
        wait_for(&format!("the worker is gone: {name}"), || !worker.is_running());
        assert_eq!(piece.marks.count(), 1, "{name}");
    }
    assert_well(pool);
}

/// A method that returns early because of an error drops the task.
#[test]
fn an_early_return_is_a_drop() {
    let _watch = watchdog();
    let pool = pool(2);
    type Collect = fn(Task<String>) -> Error;
    let ways: [(&str, Collect); 6] = [
        ("get", |task| task.get().unwrap_err()),
        ("get_timeout", |task| task.get_timeout(DEADLINE).unwrap_err()),
        ("wait", |task| task.wait().unwrap_err()),
        ("write_to", |task| task.write_to(&mut std::io::sink()).unwrap_err()),
        ("await", |task| block_on(task.into_future()).unwrap_err()),
        ("collect", |task| task.iter().collect::<Result<Vec<_>, _>>().unwrap_err()),
    ];
    for (name, collect) in ways {
        for kills in [false, true] {
            let piece = Hanging::new();
            let of = task::<String>(&pool).kill_on_drop(kills);
            of.call(panics_beside, piece.argument());
            of.call(hang, piece.argument());
            let worker = piece.worker();
            let error = collect(of);
            assert_eq!((error.kind(), error.piece()), (ErrorKind::Panicked, Some(0)), "{name}");
            if kills {
                wait_for(&format!("the worker is gone: {name}"), || !worker.is_running());
            } else {
                piece.door.open();
                piece.marks.wait_for(2);
                assert!(worker.is_running(), "{name}");
            }
        }
    }
    assert_well(pool);
}

#[test]
fn what_is_collected_or_detached_is_not_dropped() {
    let _watch = watchdog();
    let pool = pool(1);
    let before = workers(&pool);
    let of = task::<String>(&pool).kill_on_drop(true);
    of.call(hang, quick());
    assert_eq!(block_on(of.into_future()).unwrap(), ["done"]);
    let piece = Hanging::new();
    piece.runs_in(task::<String>(&pool).kill_on_drop(true)).detach();
    piece.door.open();
    piece.marks.wait_for(2);
    assert_eq!(workers(&pool), before);
    assert_well(pool);
}

#[test]
fn a_timeout_of_the_executor_kills_what_runs() {
    let _watch = watchdog();
    let (pool, piece) = (pool(1), Hanging::new());
    let of = piece.runs_in(task::<String>(&pool).kill_on_drop(true));
    let (worker, start) = (piece.worker(), Instant::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let result = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(10), of.into_future()).await });
    assert!(result.is_err() && start.elapsed() < DEADLINE);
    wait_for("the worker is gone", || !worker.is_running());
    assert_well(pool);
}

/// Soon, for pieces that run by now.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

/// A task with a piece that is done, one that hangs, and one that waits, at its deadline soon.
fn late(pool: &multicore::Pool, piece: &Hanging) -> Task<String> {
    let of = task::<String>(pool);
    of.call(hang, quick());
    let of = piece.runs_in(of);
    of.call(hang, quick());
    wait_for("the first is done", || of.completed() == 1);
    of.deadline(soon())
}

fn in_order(mut finished: Vec<(usize, Result<String, Error>)>) -> Vec<Result<String, Error>> {
    finished.sort_by_key(|(number, _)| *number);
    finished.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn a_deadline_ends_a_task_however_it_is_collected() {
    let _watch = watchdog();
    let pool = pool(1);
    type Way = fn(Task<String>) -> Vec<Result<String, Error>>;
    let ways: [(&str, Way); 8] = [
        ("get_each", |task| task.get_each()),
        ("get_each_async", |task| block_on(task.get_each_async())),
        ("iter", |task| task.iter().collect()),
        ("iter_completed", |task| in_order(task.iter_completed().collect())),
        ("next", |mut task| std::iter::from_fn(|| task.next()).collect()),
        ("next_completed", |mut task| in_order(std::iter::from_fn(|| task.next_completed()).collect())),
        ("map", |task| task.map(hang, [quick(), quick()]).collect()),
        ("unordered map", |task| in_order(task.map(hang, [quick(), quick()]).unordered().collect())),
    ];
    for (name, collect) in ways {
        let piece = Hanging::new();
        let of = late(&pool, &piece);
        let worker = piece.worker();
        let results = collect(of);
        // What a map hands out is behind what the task had.
        assert_eq!(results.len(), if name.ends_with("map") { 5 } else { 3 }, "{name}");
        assert_eq!(results[0].as_ref().unwrap(), "done", "{name}");
        for (number, result) in results.iter().enumerate().skip(1) {
            let error = result.as_ref().unwrap_err();
            assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, Some(number)), "{name}: {error}");
        }
        wait_for("what ran is killed", || !worker.is_running());
        assert_eq!(piece.marks.count(), 1, "{name}");
    }
    assert_well(pool);
}

/// For ways that end at the first error.
#[test]
fn a_deadline_is_the_error_of_a_task_that_is_collected_whole() {
    let _watch = watchdog();
    let pool = pool(1);
    type Way = fn(Task<String>) -> (Error, Vec<u8>);
    let ways: [(&str, Way); 6] = [
        ("get", |task| (task.get().unwrap_err(), b"done".to_vec())),
        ("get_timeout", |task| (task.get_timeout(DEADLINE).unwrap_err(), b"done".to_vec())),
        ("wait", |task| (task.wait().unwrap_err(), b"done".to_vec())),
        ("await", |task| (block_on(task.into_future()).unwrap_err(), b"done".to_vec())),
        ("write_to", |task| {
            let mut bytes = Vec::new();
            (task.write_to(&mut bytes).unwrap_err(), bytes)
        }),
        ("reader", |task| {
            let mut bytes = Vec::new();
            let error = std::io::Read::read_to_end(&mut task.reader(), &mut bytes).unwrap_err();
            (error.into_inner().unwrap().downcast::<Error>().map(|error| *error).unwrap(), bytes)
        }),
    ];
    for (name, collect) in ways {
        let piece = Hanging::new();
        let (error, bytes) = collect(late(&pool, &piece));
        assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, Some(1)), "{name}: {error}");
        assert_eq!(bytes, b"done", "{name}");
    }
    assert_well(pool);
}
