//! Reading a task piece by piece keeps the unread limit: results that nobody reads do not pile up, and every result that a
//! reader waits for comes.

#![allow(unsafe_code)]

use crate::support::{self, Door, Marks, add, mark, pool, task, wait_at, watchdog};
use multicore::{Error, ErrorKind, Pool, Task};
use std::time::Duration;

/// The number of pieces that workers may hold beyond the unread limit: few, since pieces of these sizes are slow.
const AHEAD: usize = 64;

fn made(marks: String, (number, size): (u64, usize)) -> Vec<u8> {
    mark(&marks, number);
    vec![number as u8; size]
}

/// Keeps all workers busy until the door is opened, so that no other piece begins before.
fn hold(pool: &Pool, door: &Door) -> Task<u64> {
    let marks = Marks::new();
    let held = task::<u64>(pool);
    let piece = |marks: String, door: String| {
        mark(&marks, 0);
        wait_at(&door);
        0
    };
    held.run_all(piece, (0..pool.workers()).map(|_| (marks.path(), door.path())));
    marks.wait_for(pool.workers());
    held
}

fn hand_out(pool: &Pool, marks: &Marks, limit: Option<usize>, pieces: u64, size: usize) -> Task<Vec<u8>> {
    let task = task::<Vec<u8>>(pool);
    let task = match limit {
        Some(bytes) => task.max_unread(bytes),
        None => task,
    };
    task.run_all(made, (0..pieces).map(|number| (marks.path(), (number, size))));
    task
}

#[test]
fn executions_run_no_further_ahead_than_the_bound_when_the_reader_stops() {
    let _watch = watchdog();
    let mib = 1 << 20;
    for (limit, size, pieces) in [
        // The default, 64 MiB.
        (None, mib, 200),
        (Some(mib), 10_000, 1000),
        (Some(4 * mib), 100_000, 500),
        (Some(100_000), 300_000, 200),
        (Some(1), 10_000, 200),
        (Some(0), 10_000, 200),
    ] {
        for way in ["iter", "iter_completed", "next_completed"] {
            if way == "next_completed" && limit.is_none() {
                // It sets the bound only when it is called, and by then too much may have run here.
                continue;
            }
            let pool = pool(2);
            let (marks, door) = (Marks::new(), Door::closed());
            let held = hold(&pool, &door);
            let task = hand_out(&pool, &marks, limit, pieces, size);
            let mut task = task;
            let mut next: Box<dyn FnMut() -> Vec<u8>> = match way {
                "iter" => {
                    let mut iter = task.iter();
                    Box::new(move || iter.next().unwrap().unwrap())
                }
                "iter_completed" => {
                    let mut iter = task.iter_completed();
                    Box::new(move || iter.next().unwrap().1.unwrap())
                }
                _ => Box::new(move || task.next_completed().unwrap().1.unwrap()),
            };
            door.open();
            held.get().unwrap();
            let most = limit.unwrap_or(64 * mib).div_ceil(size);
            let mut read = 0;
            for stop in [1, 5, 20] {
                while read < stop {
                    assert_eq!(next().len(), size);
                    read += 1;
                }
                let ran = marks.settled();
                let case = format!("limit {limit:?}, {size} bytes, {way}: {ran} ran, {read} were read");
                assert!(ran <= read + most + AHEAD, "{case}");
                // With a limit of 0, each piece runs when the reader asks for it, and none before.
                assert!(limit != Some(0) || ran == read, "{case}");
            }
            drop(next);
            support::assert_well(pool);
        }
    }
}

#[test]
fn a_bound_that_is_set_first_holds_before_anybody_reads() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    let task = hand_out(&pool, &marks, Some(1_000_000), 500, 50_000);
    marks.wait_for(20);
    let ran = marks.settled();
    assert!(ran <= 20 + AHEAD, "{ran} ran");
    let still = task.completed();
    assert!(still <= ran && still >= 20, "{still} are completed, {ran} ran");
    // Other tasks are not delayed.
    support::assert_works(&pool);
    assert_eq!(marks.count(), ran);
    let results = task.get().unwrap();
    assert!(results.len() == 500 && (0..500).all(|number| results[number][0] == number as u8));
    assert_eq!(marks.numbers(), (0..500).collect::<Vec<u64>>());
}

#[test]
fn without_a_reader_or_a_bound_all_pieces_run() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    let task = hand_out(&pool, &marks, None, 300, 400_000);
    // 120 MB: nearly twice the limit that would hold with a reader.
    marks.wait_for(300);
    assert_eq!(task.get().unwrap().len(), 300);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Get,
    GetEach,
    Iter,
    IterCompleted,
}

/// Reads all results of a task in one of the ways, and returns them in run order.
fn read(task: Task<Vec<u8>>, way: Way) -> Vec<Result<Vec<u8>, Error>> {
    match way {
        Way::Get => task.get().unwrap().into_iter().map(Ok).collect(),
        Way::GetEach => task.get_each(),
        Way::Iter => task.iter().collect(),
        Way::IterCompleted => {
            let mut outcomes: Vec<_> = task.iter_completed().collect();
            outcomes.sort_by_key(|(number, _)| *number);
            outcomes.into_iter().map(|(_, outcome)| outcome).collect()
        }
    }
}

#[test]
fn what_is_waited_for_comes_however_tight_the_bound() {
    let _watch = watchdog();
    for workers in [1, 2, 3] {
        let pool = pool(workers);
        for limit in [0, 1, 1000, 100_000] {
            for way in [Way::Get, Way::GetEach, Way::Iter, Way::IterCompleted] {
                for size in [0, 10, 30_000] {
                    let marks = Marks::new();
                    let outcomes = read(hand_out(&pool, &marks, Some(limit), 60, size), way);
                    for (number, outcome) in outcomes.iter().enumerate() {
                        assert!(outcome.as_ref().unwrap() == &vec![number as u8; size], "{limit}, {way:?}, {size}");
                    }
                    assert_eq!((outcomes.len(), marks.count()), (60, 60), "{limit}, {way:?}, {size}");
                }
            }
            let marks = Marks::new();
            let mut written = Vec::new();
            assert_eq!(hand_out(&pool, &marks, Some(limit), 60, 1000).write_to(&mut written).unwrap(), 60_000);
            assert!(written.iter().enumerate().all(|(place, &byte)| byte == (place / 1000) as u8));
        }
        support::assert_well(pool);
    }
}

/// Every seventh piece panics, and every eleventh kills its worker.
#[test]
fn failing_pieces_and_dying_workers_leave_the_bound_and_the_order_alone() {
    let _watch = watchdog();
    let piece = |marks: String, number: u64| {
        mark(&marks, number);
        if number % 11 == 10 {
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        assert!(number % 7 != 6, "seven");
        vec![number as u8; 20_000]
    };
    let pool = pool(2);
    for limit in [0, 1, 50_000, 1_000_000] {
        for way in [Way::GetEach, Way::Iter, Way::IterCompleted] {
            let marks = Marks::new();
            let task = task::<Vec<u8>>(&pool).max_unread(limit);
            task.run_all(piece, (0..100).map(|number| (marks.path(), number)));
            let outcomes = read(task, way);
            assert_eq!(outcomes.len(), 100);
            for (number, outcome) in outcomes.into_iter().enumerate() {
                let kind = outcome.map(|bytes| bytes[0]).map_err(|error| (error.kind(), error.piece()));
                let expected = match number {
                    _ if number % 11 == 10 => Err((ErrorKind::WorkerLost, Some(number))),
                    _ if number % 7 == 6 => Err((ErrorKind::Panicked, Some(number))),
                    _ => Ok(number as u8),
                };
                assert_eq!(kind, expected, "limit {limit}, {way:?}");
            }
            assert_eq!(marks.numbers(), (0..100).collect::<Vec<u64>>(), "limit {limit}, {way:?}");
        }
        // The same while the reader has stopped.
        let marks = Marks::new();
        let task = task::<Vec<u8>>(&pool).max_unread(limit);
        task.run_all(piece, (0..400).map(|number| (marks.path(), number)));
        let mut iter = task.iter();
        for _ in 0..30 {
            let _ = iter.next().unwrap();
        }
        let ran = marks.settled();
        assert!(ran <= 30 + limit.div_ceil(20_000) * 4 / 3 + AHEAD, "limit {limit}: {ran} ran, 30 were read");
        drop(iter);
    }
    support::assert_well(pool);
}

/// The first piece takes long. The pieces behind it go to the other worker. They must not wait for the reader, since the
/// reader waits for the first one.
#[test]
fn a_long_first_piece_neither_blocks_nor_unbinds_the_others() {
    let _watch = watchdog();
    let pool = pool(2);
    for limit in [0, 1, 200_000] {
        let (marks, door) = (Marks::new(), Door::closed());
        let task = task::<Vec<u8>>(&pool).max_unread(limit);
        task.run(
            |door: String, marks: String| {
                mark(&marks, 0);
                wait_at(&door);
                vec![0; 10_000]
            },
            door.path(),
            marks.path(),
        );
        task.run_all(made, (1..300).map(|number| (marks.path(), (number, 10_000))));
        let reader = std::thread::spawn(move || task.iter().map(|result| result.unwrap()[0]).collect::<Vec<u8>>());
        marks.wait_for(1);
        let ran = marks.settled();
        assert!(ran <= 1 + limit.div_ceil(10_000) + AHEAD, "limit {limit}: {ran} ran beside the first");
        door.open();
        assert_eq!(reader.join().unwrap(), (0..300).map(|number| number as u8).collect::<Vec<u8>>());
    }
    support::assert_well(pool);
}

/// While other tasks keep all workers busy, the pieces of a reader get their turn.
#[test]
fn a_bounded_reader_gets_its_turn_among_others() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    let huge = task::<u64>(&pool);
    huge.run_all(
        |number: u64, us: u64| {
            std::thread::sleep(Duration::from_micros(us));
            number
        },
        (0..20_000).map(|number| (number, 500)),
    );
    let task = hand_out(&pool, &marks, Some(0), 50, 100);
    for (number, result) in task.iter().enumerate() {
        assert_eq!(result.unwrap(), vec![number as u8; 100]);
    }
    let tiny = support::task::<u64>(&pool).max_unread(1);
    tiny.run_all(add, (0..50).map(|number| (number, 0)));
    assert_eq!(tiny.iter().map(Result::unwrap).collect::<Vec<_>>(), (0..50).collect::<Vec<u64>>());
    assert!(huge.completed() < 20_000);
    drop(huge);
    support::assert_well(pool);
}
