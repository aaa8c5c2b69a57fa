//! Time limits, retries and cancelling. The fault numbers are those of CASES.md.

#![allow(unsafe_code)]

use crate::support::{self, DEADLINE, Marks, add, busy_pool, mark, pool, wait_for, watchdog};
use multicore::{Cause, ErrorKind, Pool, Task};
use std::time::{Duration, Instant};

fn spin_for_ever(_: u64, _: u64) -> u64 {
    loop {
        std::hint::spin_loop();
    }
}

fn stop(_: u64, _: u64) -> u64 {
    // SAFETY: a system call that takes no pointer; it stops this process.
    unsafe { libc::raise(libc::SIGSTOP) };
    7
}

fn block_signals(a: u64, b: u64) -> u64 {
    // SAFETY: the set is valid for writing.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
    }
    spin_for_ever(a, b)
}

fn sleep(milliseconds: u64, result: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    result
}

fn pid(milliseconds: u64, _: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    u64::from(std::process::id())
}

fn marked(path: String, number: u64) -> u64 {
    mark(&path, number);
    number
}

/// Fault 8: whatever a piece does, its time limit ends it and no other piece.
#[test]
fn a_limit_ends_a_piece_that_spins_is_stopped_or_blocks_all_signals() {
    let _watch = watchdog();
    let limit = Duration::from_millis(200);
    for culprit in [spin_for_ever, stop, block_signals] {
        let pool = pool(2);
        let task = pool.task::<u64>().unwrap().timeout(limit);
        for number in 0..20 {
            task.run(if number == 3 { culprit } else { add }, number, 1);
        }
        let start = Instant::now();
        for (number, result) in task.get_each().into_iter().enumerate() {
            if number != 3 {
                assert_eq!(result.unwrap(), number as u64 + 1);
                continue;
            }
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.piece(), error.attempts()), (ErrorKind::TimedOut, Some(3), 1), "{error}");
            assert!(error.to_string().contains("longer than its limit of 200ms"), "{error}");
            assert!(error.worker().is_some() && error.pid().is_some());
        }
        assert!(start.elapsed() >= limit - Duration::from_millis(1), "killed before its limit");
        let task = pool.task::<u64>().unwrap();
        task.run(add, 1, 2);
        assert_eq!(task.get().unwrap(), [3]);
    }
}

/// The time limit counts from the start of each piece: twenty pieces of 150 ms, one after the other, keep a limit of 2 s.
#[test]
fn waiting_does_not_count() {
    let _watch = watchdog();
    let pool = pool(1);
    let task = pool.task::<u64>().unwrap().timeout(Duration::from_secs(2));
    for number in 0..20 {
        task.run(sleep, 150, number);
    }
    assert_eq!(task.get().unwrap(), (0..20).collect::<Vec<_>>());
}

/// A time limit ends a piece even if no caller waits for its task.
#[test]
fn a_limit_needs_no_waiter() {
    let _watch = watchdog();
    let pool = pool(2);
    // Wait until the new pool has nothing else to do.
    wait_for("the workers are known", || pool.stats().workers.iter().all(|worker| worker.pid.is_some()));
    for _ in 0..100 {
        let task = pool.task::<u64>().unwrap();
        task.run(sleep, 1, 1);
        task.get().unwrap();
    }
    let task = pool.task::<u64>().unwrap().timeout(Duration::from_millis(100));
    task.run(spin_for_ever, 1, 2);
    let killed = || pool.stats().workers_lost == 1;
    wait_for("the worker is killed", killed);
    assert_eq!(task.get().unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn limits_at_the_ends_of_their_range_are_what_the_documentation_says() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    for task in [pool.task::<u64>().unwrap(), busy_pool().task_or_inline::<u64>()] {
        let task = task.timeout(Duration::ZERO);
        task.run(marked, marks.path(), 1);
        let error = task.get().unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::TimedOut, 0), "{error}");
    }
    assert_eq!(marks.settled(), 0);
    for limit in [Duration::MAX, Duration::from_secs(u64::MAX / 2), Duration::from_secs(3600)] {
        for task in [pool.task::<u64>().unwrap(), busy_pool().task_or_inline::<u64>()] {
            let task = task.timeout(limit).retries(u32::MAX);
            task.run(add, 1, 2);
            assert_eq!(task.get().unwrap(), [3], "{limit:?}");
        }
    }
}

/// Ends its process until the piece has been started `needed` times.
fn die_until(path: String, (needed, long): (u64, bool)) -> u64 {
    mark(&path, 0);
    let begun = std::fs::read_to_string(&path).unwrap().lines().count() as u64;
    match (begun < needed, long) {
        (false, _) => begun,
        (true, false) => std::process::abort(),
        (true, true) => spin_for_ever(0, 0),
    }
}

#[test]
fn a_lost_piece_runs_again_as_often_as_it_may() {
    let _watch = watchdog();
    let pool = pool(2);
    for (retries, needed, long) in
        [(3, 3, false), (2, 3, false), (1, 3, false), (0, 2, false), (3, 3, true), (1, 3, true)]
    {
        let marks = Marks::new();
        let task = pool.task::<u64>().unwrap().retries(retries);
        let task = if long { task.timeout(Duration::from_millis(50)) } else { task };
        task.run(|n: u64, _: ()| n, 41, ());
        task.run(die_until, marks.path(), (needed, long));
        task.run(|n: u64, _: ()| n, 43, ());
        let results = task.get_each();
        assert_eq!(*results[0].as_ref().unwrap(), 41);
        assert_eq!(*results[2].as_ref().unwrap(), 43);
        let starts = needed.min(u64::from(retries) + 1);
        assert_eq!(marks.count() as u64, starts, "each start is one counted retry");
        match &results[1] {
            Ok(begun) => assert_eq!((*begun, starts), (needed, needed)),
            Err(error) => {
                assert!(u64::from(retries) + 1 < needed, "{error}");
                assert_eq!(u64::from(error.attempts()), starts, "{error}");
                let kind = if long { ErrorKind::TimedOut } else { ErrorKind::WorkerLost };
                assert_eq!(error.kind(), kind, "{error}");
                let signal = if long { libc::SIGKILL } else { libc::SIGABRT };
                assert_eq!(error.cause(), Some(Cause::Signal(signal)), "{error}");
            }
        }
    }
}

/// A piece that runs again gets the same arguments, whatever their length.
#[test]
fn arguments_of_any_length_come_once_more() {
    let _watch = watchdog();
    let pool = pool(2);
    for length in [0, 9, 100, 60_000, 70_000, 300_000, 5_000_000] {
        let marks = Marks::new();
        let task = pool.task::<usize>().unwrap().retries(2);
        let bytes: Vec<u8> = (0..length).map(|index| index as u8).collect();
        task.call(
            |(path, bytes): (String, Vec<u8>)| {
                mark(&path, 0);
                assert!(bytes.iter().enumerate().all(|(index, &byte)| byte == index as u8), "the bytes have changed");
                if std::fs::read_to_string(&path).unwrap().lines().count() < 3 {
                    std::process::abort();
                }
                bytes.len()
            },
            (marks.path(), bytes),
        );
        assert_eq!(task.get().unwrap(), [length]);
    }
}

#[test]
fn a_panic_is_an_answer_unless_told_otherwise() {
    let _watch = watchdog();
    fn panic_until(path: String, needed: u64) -> u64 {
        mark(&path, 0);
        let begun = std::fs::read_to_string(&path).unwrap().lines().count() as u64;
        assert!(begun >= needed, "only {begun}");
        begun
    }
    let pool = pool(2);
    for inline in [false, true] {
        for (retry_panics, needed, starts) in [(false, 2, 1), (true, 2, 2), (true, 4, 3)] {
            let marks = Marks::new();
            let task = if inline { busy_pool().task_or_inline() } else { pool.task::<u64>().unwrap() };
            let task = task.retries(2).retry_panics(retry_panics);
            task.run(panic_until, marks.path(), needed);
            let result = task.get();
            assert_eq!(marks.count(), starts);
            match result {
                Ok(begun) => assert_eq!(begun, [needed]),
                Err(error) => {
                    assert_eq!((error.kind(), error.attempts() as usize), (ErrorKind::Panicked, starts), "{error}");
                    assert!(error.to_string().contains(&format!("only {starts}")), "{error}");
                }
            }
        }
    }
}

/// Fault 9: a worker that was stopped while it was idle keeps no piece.
#[test]
fn a_worker_stopped_while_idle_loses_its_piece_to_another_and_is_killed() {
    let _watch = watchdog();
    for workers in [1, 2] {
        let pool = pool(workers);
        let task = pool.task::<u64>().unwrap();
        for number in 0..100 {
            task.run(add, number, 0);
        }
        task.get().unwrap();
        let pids: Vec<u32> = pool.stats().workers.iter().map(|worker| worker.pid.unwrap()).collect();
        for &pid in &pids {
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::kill(pid as i32, libc::SIGSTOP) };
        }
        let task = pool.task::<u64>().unwrap();
        for number in 0..10 {
            task.run(pid, 1, number);
        }
        let ran_in = task.get().unwrap();
        assert_eq!(ran_in.len(), 10);
        assert!(ran_in.iter().all(|ran| !pids.contains(&(*ran as u32))), "a stopped worker ran a piece");
        wait_for("the stopped workers are replaced", || {
            pool.stats().workers.iter().all(|worker| worker.pid.is_some_and(|pid| !pids.contains(&pid)))
        });
    }
}

/// The first worker that starts waits for the door.
fn one_starts_late((marks, door): (String, String)) {
    let first = std::fs::OpenOptions::new().write(true).create_new(true).open(format!("{marks}-first"));
    if first.is_ok() {
        mark(&marks, 0);
        support::wait_at(&door);
    }
}

#[test]
fn a_worker_that_takes_long_to_start_keeps_no_piece() {
    let _watch = watchdog();
    let (marks, door) = (Marks::new(), support::Door::closed());
    let given = (marks.path(), door.path());
    let pool = Pool::builder().workers(2).on_worker_start_with(one_starts_late, given).build().unwrap();
    marks.wait_for(1);
    // Each piece is alone in its task, so none can wait behind another piece of its task.
    let tasks: Vec<Task<u64>> = (0..4).map(|_| pool.task().unwrap()).collect();
    for task in &tasks {
        task.run(add, 1, 2);
    }
    for task in tasks {
        assert_eq!(task.get().unwrap(), [3]);
    }
    door.open();
    std::fs::remove_file(format!("{}-first", marks.path())).unwrap();
    support::assert_well(pool);
}

#[test]
fn cancelling_ends_what_runs_and_what_waits() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    let task = pool.task::<u64>().unwrap();
    for number in 0..50 {
        task.run(
            |path: String, number| {
                mark(&path, number);
                spin_for_ever(0, 0)
            },
            marks.path(),
            number,
        );
    }
    marks.wait_for(2);
    task.cancel();
    wait_for("both workers are killed", || pool.stats().workers_lost == 2);
    let task = pool.task::<u64>().unwrap();
    task.run(add, 1, 2);
    assert_eq!(task.get().unwrap(), [3]);
    assert_eq!(marks.settled(), 2, "what had not begun never begins");
}

#[test]
fn a_canceller_ends_the_wait_of_another_thread() {
    let _watch = watchdog();
    let pool = pool(2);
    for way in 0..4 {
        let task = pool.task::<u64>().unwrap();
        task.run(add, 1, 2);
        task.run(spin_for_ever, 0, 0);
        task.run(add, 3, 4);
        let canceller = task.canceller();
        let other = canceller.clone();
        let ended = std::thread::scope(|scope| {
            let waits = scope.spawn(move || match way {
                0 => task.get().err(),
                1 => task.get_timeout(DEADLINE).err(),
                2 => task.get_each().into_iter().find_map(Result::err),
                _ => task.iter().find_map(Result::err),
            });
            // The outcome is the same whether the thread already waits or not.
            std::thread::sleep(Duration::from_millis(way * 7));
            other.cancel();
            waits.join().unwrap()
        });
        let error = ended.expect("the task was cancelled");
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        // A second call, after the end of the task, has no effect.
        canceller.cancel();
    }
    let task = pool.task::<u64>().unwrap();
    task.run(add, 1, 2);
    assert_eq!(task.get().unwrap(), [3]);
}

#[test]
fn what_is_handed_out_after_cancelling_never_begins() {
    let _watch = watchdog();
    let pool = pool(2);
    for task in [pool.task::<u64>().unwrap(), busy_pool().task_or_inline::<u64>()] {
        task.canceller().cancel();
        task.run(add, 1, 2);
        assert_eq!(task.get().unwrap_err().kind(), ErrorKind::Cancelled);
    }
}

/// Pieces end at about their time limit, many times. A late result never reaches another piece.
#[test]
fn a_piece_that_ends_at_its_limit_has_one_outcome_and_its_own() {
    let _watch = watchdog();
    let pool = pool(2);
    let mut timed_out = 0;
    for round in 0..60 {
        let task = pool.task::<u64>().unwrap().timeout(Duration::from_millis(5));
        for number in 0..4 {
            task.run(sleep, 4 + number, round * 100 + number);
        }
        for (number, result) in task.get_each().into_iter().enumerate() {
            match result {
                Ok(result) => assert_eq!(result, round * 100 + number as u64),
                Err(error) => {
                    assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, Some(number)), "{error}");
                    timed_out += 1;
                }
            }
        }
    }
    assert!(timed_out > 0, "the limit was never reached");
    let task: Task<u64> = pool.task().unwrap();
    task.run(add, 1, 2);
    assert_eq!(task.get().unwrap(), [3]);
}

/// Tiny pieces are given to workers in groups. They begin even if no caller asks for results.
#[test]
fn the_last_of_many_tiny_pieces_run_though_nobody_asks() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    let task = pool.task::<u64>().unwrap();
    for number in 0..50_000 {
        task.run(add, number, 1);
    }
    for number in 0..5 {
        task.run(marked, marks.path(), number);
    }
    marks.wait_for(5);
    assert_eq!(marks.numbers(), [0, 1, 2, 3, 4]);
    drop(task);
}

/// The first pieces of a task are tiny and the last ones are long. Every worker gets some of the long ones.
#[test]
fn pieces_that_turn_out_long_are_shared() {
    let _watch = watchdog();
    let pool = pool(2);
    let task = pool.task::<u64>().unwrap();
    for number in 0..50_000 {
        task.run(add, number, 1);
    }
    for number in 0..8 {
        task.run(pid, 100, number);
    }
    let results = task.get().unwrap();
    let mut pids = results[50_000..].to_vec();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 2, "one worker ran them all");
}

/// A worker that was stopped only for a moment gets pieces again. Before this was fixed, it got none until a caller waited
/// for a task again.
#[test]
fn a_worker_stopped_for_a_moment_gets_pieces_again() {
    let _watch = watchdog();
    let pool = pool(2);
    for _ in 0..5 {
        wait_for("the workers are known", || pool.stats().workers.iter().all(|worker| worker.pid.is_some()));
        let task = pool.task::<u64>().unwrap();
        task.run_all(sleep, [(20, 1), (20, 2)]);
        task.get().unwrap();
        let stopped = pool.stats().workers[0].pid.unwrap();
        let send = |signal| {
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::kill(stopped as i32, signal) };
        };
        send(libc::SIGSTOP);
        let task = pool.task::<u64>().unwrap();
        task.run_all(sleep, [(1, 1), (1, 2)]);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| task.get().unwrap());
            // At about this time the worker stops getting pieces; it may have been killed or not.
            std::thread::sleep(Duration::from_millis(55));
            send(libc::SIGCONT);
            assert_eq!(waits.join().unwrap(), [1, 2]);
        });
        // No caller waits for these two pieces, and each needs a worker of its own.
        let marks = Marks::new();
        let task = pool.task::<u64>().unwrap();
        for number in 0..2 {
            task.run(
                |path: String, number| {
                    mark(&path, number);
                    while std::fs::read_to_string(&path).unwrap().lines().count() < 2 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    number
                },
                marks.path(),
                number,
            );
        }
        marks.wait_for(2);
        assert_eq!(task.get().unwrap(), [0, 1]);
    }
}

/// A piece that waits for its next start has not begun: a pool that ends does not wait for it.
#[test]
fn a_pool_that_is_shut_down_starts_no_piece_again() {
    let _watch = watchdog();
    for rounds in 0..10 {
        let (pool, marks) = (pool(1), Marks::new());
        let task = pool.task::<u64>().unwrap().retries(u32::MAX);
        task.run(die_until, marks.path(), (u64::MAX, false));
        marks.wait_for(1 + rounds % 3);
        pool.shutdown();
        let error = task.get().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    }
}
