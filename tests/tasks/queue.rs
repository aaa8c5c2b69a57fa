//! `PoolBuilder::max_queued_bytes`: `run` waits while too much waits, and only while that can change.

use crate::support::{self, DEADLINE, Door, Marks, assert_well, mark, task, wait_at, wait_for, watchdog};
use multicore::{ErrorKind, Pool};
use std::sync::atomic::{AtomicUsize, Ordering};

fn pool(bytes: usize) -> Pool {
    Pool::builder().workers(2).max_queued_bytes(bytes).build().expect("a pool can run here")
}

fn length(bytes: Vec<u8>, (): ()) -> usize {
    bytes.len()
}

/// Waits at the door, and gives the length of what it got.
fn held(bytes: Vec<u8>, (marks, door): (String, String)) -> usize {
    mark(&marks, 0);
    wait_at(&door);
    bytes.len()
}

const PIECE: usize = 100_000;

#[test]
fn run_waits_while_too_much_waits_and_goes_on_as_workers_take_it() {
    let _watch = watchdog();
    let pool = pool(10 * PIECE);
    let (marks, door) = (Marks::new(), Door::closed());
    let added = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let task = task::<usize>(&pool);
        let (added, place) = (&added, (marks.path(), door.path()));
        let runs = scope.spawn(move || {
            for _ in 0..100 {
                task.run(held, vec![7; PIECE], place.clone());
                added.fetch_add(1, Ordering::Relaxed);
            }
            task
        });
        marks.wait_for(2);
        // What the workers hold, what may wait, and one piece more.
        wait_for("it waits", || pool.stats().pieces_waiting >= 10);
        let before = added.load(Ordering::Relaxed);
        assert!((10..=24).contains(&before), "{before} pieces were added");
        support::assert_works(&busy_elsewhere());
        assert!(added.load(Ordering::Relaxed) <= before + 1, "nothing was taken meanwhile");
        door.open();
        let task = runs.join().unwrap();
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), [PIECE; 100]);
    });
    assert_well(pool);
}

/// Another pool, which the one under test does not hold up.
fn busy_elsewhere() -> Pool {
    support::pool(1)
}

#[test]
fn what_waits_stays_bounded_for_each_way_to_hand_out_pieces() {
    let _watch = watchdog();
    for most in [0, 5 * PIECE] {
        let pool = pool(most);
        let limit = most / PIECE + 2;
        let task = task::<usize>(&pool);
        for _ in 0..50 {
            task.run(length, vec![1; PIECE], ());
            assert!(pool.stats().pieces_waiting <= limit, "by run");
            task.call(|bytes: Vec<u8>| bytes.len(), vec![1; PIECE]);
            assert!(pool.stats().pieces_waiting <= limit, "by call");
        }
        task.run_all(length, (0..50).map(|_| (vec![1; PIECE], ())));
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), [PIECE; 150]);
        let tiny = self::task::<u64>(&pool);
        for number in 0..20_000 {
            tiny.run(support::add, number, 1);
        }
        tiny.run_all(support::add, (20_000..40_000).map(|number| (number, 1)));
        assert!(tiny.get_timeout(DEADLINE).unwrap().into_iter().eq(1..=40_000));
        assert_well(pool);
    }
}

/// The task's own reader is the caller of `run`: it must not wait for itself.
#[test]
fn run_does_not_wait_for_what_its_own_caller_must_read() {
    let _watch = watchdog();
    let pool = pool(PIECE);
    let task = pool.try_task::<Vec<u8>>().unwrap().max_unread(PIECE);
    for _ in 0..40 {
        task.call(|bytes: Vec<u8>| bytes, vec![3; PIECE]);
    }
    assert_eq!(task.iter().filter(|result| result.as_ref().is_ok_and(|bytes| bytes.len() == PIECE)).count(), 40);
    assert_well(pool);
}

#[test]
fn callers_that_wait_go_on_when_tasks_are_cancelled_or_the_pool_ends() {
    let _watch = watchdog();
    for ends in [false, true] {
        let pool = pool(3 * PIECE);
        let (marks, door) = (Marks::new(), Door::closed());
        let task = task::<usize>(&pool);
        let canceller = task.canceller();
        let place = (marks.path(), door.path());
        let runs = std::thread::spawn(move || {
            (0..30).for_each(|_| task.run(held, vec![7; PIECE], place.clone()));
            task.get_each()
        });
        marks.wait_for(2);
        wait_for("it waits", || pool.stats().pieces_waiting >= 3);
        let pool = if ends {
            drop(pool);
            None
        } else {
            canceller.cancel();
            Some(pool)
        };
        let results = runs.join().unwrap();
        assert_eq!(results.len(), 30);
        assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled)));
        // What was cancelled counts no more: as much as before can be handed out without a wait, twice.
        for _ in 0..if pool.is_some() { 2 } else { 0 } {
            let (pool, marks, door) = (pool.as_ref().unwrap(), Marks::new(), Door::closed());
            let task = self::task::<usize>(pool);
            // The workers take two each, so two wait.
            (0..6).for_each(|_| task.run(held, vec![7; PIECE], (marks.path(), door.path())));
            marks.wait_for(2);
            drop(task);
            door.open();
            support::assert_works(pool);
        }
    }
}

/// Several callers fill the queue, and each is woken although its own task may have nothing in it.
#[test]
fn callers_of_several_tasks_wait_for_each_other_and_none_for_ever() {
    let _watch = watchdog();
    let pool = pool(4 * PIECE);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for _ in 0..30 {
                    let task = task::<usize>(pool);
                    (0..3).for_each(|_| task.run(length, vec![number; PIECE], ()));
                    assert_eq!(task.get_timeout(DEADLINE).unwrap(), [PIECE; 3]);
                }
            });
        }
    });
    assert_well(pool);
}

/// Workers that die while `run` waits are replaced, and what they held comes back.
#[test]
fn pieces_that_come_back_count_again_and_nothing_is_lost() {
    let _watch = watchdog();
    let pool = pool(2 * PIECE);
    let task = pool.try_task::<usize>().unwrap().retries(5);
    for number in 0..60 {
        let crash_once = |bytes: Vec<u8>, path: String| {
            if !path.is_empty() && !std::path::Path::new(&path).exists() {
                std::fs::write(&path, "").unwrap();
                std::process::abort();
            }
            bytes.len()
        };
        let directory = std::env::temp_dir();
        let path = directory.join(format!("multicore-queue-{}-{number}", std::process::id()));
        let path = if number % 10 == 3 { path.to_str().unwrap().to_string() } else { String::new() };
        task.run(crash_once, vec![1; PIECE], path);
    }
    let results = task.get_timeout(DEADLINE);
    for number in 0..60 {
        let _ =
            std::fs::remove_file(std::env::temp_dir().join(format!("multicore-queue-{}-{number}", std::process::id())));
    }
    assert_eq!(results.unwrap(), [PIECE; 60]);
    wait_for("nothing waits", || pool.stats().pieces_waiting == 0);
    // Were some counted twice, or not at all, this would wait for ever, or not at all.
    let task = self::task::<usize>(&pool);
    (0..20).for_each(|_| task.run(length, vec![1; PIECE], ()));
    assert_eq!(task.get_timeout(DEADLINE).unwrap(), [PIECE; 20]);
    assert_well(pool);
}

/// The thread that collects for all waits for a long piece; another one waits for room, which comes long before that.
#[test]
fn a_caller_that_waits_for_room_is_woken_by_the_one_that_collects() {
    let _watch = watchdog();
    let pool = pool(PIECE);
    let (marks, door) = (Marks::new(), Door::closed());
    let long = task::<usize>(&pool);
    long.run(held, vec![1], (marks.path(), door.path()));
    marks.wait_for(1);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || long.get_timeout(DEADLINE).unwrap());
        for round in 0..20 {
            let task = task::<usize>(&pool);
            let slowly = |bytes: Vec<u8>, (): ()| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                bytes.len()
            };
            (0..10).for_each(|_| task.run(slowly, vec![1; PIECE], ()));
            assert_eq!(task.get_timeout(DEADLINE).unwrap(), [PIECE; 10], "round {round}");
        }
        assert!(!reader.is_finished());
        door.open();
        assert_eq!(reader.join().unwrap(), [1]);
    });
    assert_well(pool);
}

/// The gate of a server.
#[test]
fn no_task_is_opened_while_too_many_pieces_wait() {
    let _watch = watchdog();
    for most in [0, 3] {
        let pool = Pool::builder().workers(1).max_pieces_waiting(most).build().unwrap();
        let (marks, door) = (Marks::new(), Door::closed());
        let first = task::<usize>(&pool);
        let others = (task::<usize>(&pool), task::<usize>(&pool));
        first.run(held, Vec::new(), (marks.path(), door.path()));
        marks.wait_for(1);
        let mut added = 0;
        while pool.stats().pieces_waiting <= most {
            assert!(pool.task::<usize>().is_some(), "{} wait", pool.stats().pieces_waiting);
            others.0.run(held, Vec::new(), (marks.path(), door.path()));
            added += 1;
            assert!(added < 100_000, "a worker holds a few");
        }
        let error = pool.try_task::<usize>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        let waiting = pool.stats().pieces_waiting;
        let words = format!("busy: {waiting} pieces wait, and the pool opens no task while more than {most} do");
        assert_eq!(error.to_string(), words);
        assert!(pool.task::<usize>().is_none());
        // An open task still takes pieces, and one that is dropped makes room.
        others.1.run(held, Vec::new(), (marks.path(), door.path()));
        drop(others);
        assert!(pool.task::<usize>().is_some());
        door.open();
        assert_eq!(first.get_timeout(DEADLINE).unwrap(), [0]);
        assert_well(pool);
    }
}
