//! `Canceller::stop`: nothing new begins, what runs ends, and its result is collected.

#![allow(unsafe_code)]

use crate::support::{self, Door, Marks, busy_pool, mark, pool, task, wait_at, watchdog};
use multicore::{Cause, ErrorKind};
use std::sync::{Mutex, mpsc};

/// A piece that writes a mark and waits at a door.
fn piece(marks: String, (door, number): (String, u64)) -> u64 {
    mark(&marks, number);
    wait_at(&door);
    number
}

#[test]
fn what_runs_is_collected_and_nothing_else_begins() {
    let _watch = watchdog();
    for pieces in [2, 3, 100_000] {
        let (pool, marks, door) = (pool(2), Marks::new(), Door::closed());
        let task = task::<u64>(&pool);
        task.run_all(piece, (0..pieces).map(|number| (marks.path(), (door.path(), number))));
        marks.wait_for(2);
        let canceller = task.canceller();
        let waits = std::thread::spawn(move || {
            let results = task.get_each();
            done_and_cancelled(results)
        });
        canceller.stop();
        door.open();
        let (done, cancelled) = waits.join().unwrap();
        // What began ended, and two is all that could.
        assert_eq!(done, marks.numbers());
        assert_eq!((done.len(), cancelled), (2, pieces as usize - 2));
        assert_eq!(pool.stats().workers_lost, 0);
        support::assert_well(pool);
    }
}

/// The results, and how many pieces were cancelled.
#[track_caller]
fn done_and_cancelled(results: Vec<Result<u64, multicore::Error>>) -> (Vec<u64>, usize) {
    let (mut done, mut cancelled) = (Vec::new(), 0);
    for (number, result) in results.into_iter().enumerate() {
        match result {
            Ok(value) => done.push(value),
            Err(error) => {
                assert_eq!((error.kind(), error.piece()), (ErrorKind::Cancelled, Some(number)), "{error}");
                assert_eq!((error.attempts(), error.worker()), (0, None), "{error}");
                cancelled += 1;
            }
        }
    }
    done.sort_unstable();
    (done, cancelled)
}

#[test]
fn what_has_not_begun_is_known_at_once_and_what_comes_later_too() {
    let _watch = watchdog();
    let (pool, marks, door) = (pool(2), Marks::new(), Door::closed());
    let mut task = task::<u64>(&pool);
    task.run_all(piece, (0..50).map(|number| (marks.path(), (door.path(), number))));
    marks.wait_for(2);
    let canceller = task.canceller();
    canceller.stop();
    assert_eq!(task.completed(), 48);
    task.run(piece, marks.path(), (door.path(), 50));
    task.run_all(piece, (51..60).map(|number| (marks.path(), (door.path(), number))));
    assert_eq!(task.completed(), 58);
    // The door is closed: nobody waits for what runs.
    let ended: Vec<_> = (0..58).map(|_| task.next_completed().unwrap()).collect();
    assert!(ended.iter().all(|(_, result)| result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled)));
    // Other tasks have the workers; only the second one is busy.
    door.open();
    let rest: Vec<_> = std::iter::from_fn(|| task.next_completed()).map(|(_, result)| result.unwrap()).collect();
    assert_eq!(rest.len(), 2);
    canceller.stop();
    drop(task);
    // The task is gone.
    canceller.stop();
    support::assert_well(pool);
}

#[test]
fn a_piece_that_is_lost_after_the_stop_is_not_run_again() {
    let _watch = watchdog();
    for stops in [true, false] {
        let (pool, marks, door) = (pool(1), Marks::new(), Door::closed());
        let task = task::<u64>(&pool).retries(2);
        let crash = |marks: String, door: String| {
            piece(marks, (door, 1));
            // SAFETY: a system call that takes no pointer; it ends this process.
            unsafe { libc::raise(libc::SIGKILL) };
            0
        };
        task.run(crash, marks.path(), door.path());
        marks.wait_for(1);
        if stops {
            task.canceller().stop();
        }
        door.open();
        let error = task.get().unwrap_err();
        let starts = if stops { 1 } else { 3 };
        assert_eq!((error.kind(), error.cause()), (ErrorKind::WorkerLost, Some(Cause::Signal(libc::SIGKILL))));
        assert_eq!((error.attempts() as usize, marks.count()), (starts, starts), "{error}");
        support::assert_well(pool);
    }
}

#[test]
fn a_task_that_was_stopped_can_be_cancelled() {
    let _watch = watchdog();
    let (pool, marks, door) = (pool(2), Marks::new(), Door::closed());
    let task = task::<u64>(&pool);
    task.run_all(piece, (0..10).map(|number| (marks.path(), (door.path(), number))));
    marks.wait_for(2);
    let canceller = task.canceller();
    canceller.stop();
    canceller.cancel();
    assert_eq!(cancelled(task.get_each()), 10);
    assert_eq!(marks.count(), 2);
    support::assert_well(pool);
}

fn cancelled(results: Vec<Result<u64, multicore::Error>>) -> usize {
    results.into_iter().filter(|it| it.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled)).count()
}

/// The piece that runs in this process stops its own task, as another thread would.
#[test]
fn without_a_pool_the_piece_that_runs_ends_and_no_other_begins() {
    static CANCELLER: Mutex<Option<multicore::Canceller>> = Mutex::new(None);
    let _watch = watchdog();
    let marks = Marks::new();
    let task = busy_pool().task_or_inline::<u64>().retries(9).retry_panics(true);
    *CANCELLER.lock().unwrap() = Some(task.canceller());
    let stops = |marks: String, number: u64| {
        mark(&marks, number);
        if number >= 1 {
            CANCELLER.lock().unwrap().take().unwrap().stop();
        }
        assert!(number < 2, "two");
        number
    };
    task.run_all(stops, (0..2).map(|number| (marks.path(), number)));
    task.run(stops, marks.path(), 3);
    let (done, cancelled) = done_and_cancelled(task.get_each());
    assert_eq!((done, cancelled, marks.numbers()), (vec![0, 1], 1, vec![0, 1]));
    // A panic that would count as a loss is an answer then.
    let task = busy_pool().task_or_inline::<u64>().retries(9).retry_panics(true);
    *CANCELLER.lock().unwrap() = Some(task.canceller());
    task.run(stops, marks.path(), 2);
    let error = task.get().unwrap_err();
    assert_eq!((error.kind(), error.attempts(), marks.count()), (ErrorKind::Panicked, 1, 3), "{error}");
}

/// Several threads stop and hand out at the same time; each piece has one outcome.
#[test]
fn a_stop_from_several_threads_while_pieces_run_loses_nothing() {
    let _watch = watchdog();
    let pool = pool(2);
    for round in 0..200 {
        let marks = Marks::new();
        let task = task::<u64>(&pool);
        let count = |marks: String, number: u64| {
            mark(&marks, number);
            number
        };
        task.run_all(count, (0..20).map(|number| (marks.path(), number)));
        let (go, gone) = mpsc::channel();
        let canceller = task.canceller();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (canceller, go) = (canceller.clone(), go.clone());
                std::thread::spawn(move || {
                    go.send(()).unwrap();
                    canceller.stop();
                })
            })
            .collect();
        gone.recv().unwrap();
        task.run_all(count, (20..40).map(|number| (marks.path(), number)));
        let (done, cancelled) = done_and_cancelled(task.get_each());
        assert_eq!(done.len() + cancelled, 40, "round {round}");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // What is cancelled has not run, and what has run is not cancelled.
        assert_eq!(done, marks.numbers(), "round {round}");
    }
    support::assert_well(pool);
}
