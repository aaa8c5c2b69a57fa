//! Workers that are replaced in order: after a number of pieces, at an age, or when the program asks.

use crate::support::{self, DEADLINE, Door, Marks, Process, assert_well, mark, task, wait_at, wait_for, watchdog};
use multicore::{ErrorKind, Pool, PoolBuilder, Replaced, Stats, WorkerState};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

fn pool(workers: usize, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(workers)).build().expect("a pool can run here")
}

fn own_pid(_: u64, _: ()) -> u32 {
    std::process::id()
}

/// Waits at the door, and gives its process.
fn held(number: u64, (marks, door): (String, String)) -> u32 {
    mark(&marks, number);
    wait_at(&door);
    std::process::id()
}

/// How many pieces each process ran.
fn counts(pids: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for pid in pids {
        *counts.entry(*pid).or_default() += 1;
    }
    counts
}

/// At rest there are exactly as many processes as the pool has workers, and all of them idle.
#[track_caller]
fn wait_for_rest(pool: &Pool) -> Stats {
    let mut stats = pool.stats();
    wait_for("the pool is at rest", || {
        stats = pool.stats();
        let is_idle = |state| state == WorkerState::Idle;
        stats.workers.len() == pool.workers() && stats.workers.iter().all(|worker| is_idle(worker.state))
    });
    stats
}

#[test]
fn no_process_runs_more_than_its_number_of_pieces() {
    let _watch = watchdog();
    for (workers, most, pieces) in [(1, 1, 20), (2, 10, 500), (3, 100, 2_000)] {
        let pool = pool(workers, |it| it.max_pieces_per_worker(most));
        let task = task::<u32>(&pool);
        task.run_all(own_pid, (0..pieces).map(|number| (number, ())));
        let counts = counts(&task.get_timeout(DEADLINE).unwrap());
        assert!(counts.values().all(|&count| count as u64 <= most), "at most {most}: {counts:?}");
        let stats = wait_for_rest(&pool);
        let gone = counts.len() as u64 - stats.workers.iter().filter(|worker| worker.pieces_done > 0).count() as u64;
        assert_eq!((stats.workers_lost, stats.pieces_done), (0, pieces));
        assert!(stats.workers_recycled >= gone, "{stats}");
        let replaced: Vec<_> = stats.workers.iter().filter_map(|worker| worker.last_replaced).collect();
        assert!(!replaced.is_empty() && replaced.iter().all(|&why| why == Replaced::Pieces), "{stats}");
        assert_well(pool);
    }
}

#[test]
fn tiny_pieces_by_the_thousand_come_back_whole_from_workers_that_are_replaced() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.max_pieces_per_worker(1_000));
    for by_run in [false, true] {
        let task = task::<u64>(&pool);
        match by_run {
            false => task.run_all(support::add, (0..50_000).map(|number| (number, 1))),
            true => (0..50_000).for_each(|number| task.run(support::add, number, 1)),
        }
        assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(1..=50_000), "by run: {by_run}");
    }
    let stats = wait_for_rest(&pool);
    assert!(stats.workers_recycled >= 90 && stats.workers_lost == 0, "{stats}");
    assert_well(pool);
}

/// A piece that is alone and collected by nobody: the worker that ran the last of its pieces goes all the same.
#[test]
fn a_worker_is_replaced_although_nobody_waits_for_its_last_piece() {
    let _watch = watchdog();
    let pool = pool(1, |it| it.max_pieces_per_worker(1));
    let tasks: Vec<_> = (0..5).map(|_| task::<u32>(&pool)).collect();
    let marks = Marks::new();
    for task in &tasks {
        task.run(
            |number, path: String| {
                mark(&path, number);
                std::process::id()
            },
            1,
            marks.path(),
        );
    }
    marks.wait_for(5);
    let pids: Vec<u32> = tasks.into_iter().map(|task| task.get().unwrap()[0]).collect();
    assert_eq!(counts(&pids).len(), 5);
    assert_well(pool);
}

#[test]
fn a_worker_that_runs_a_long_piece_is_replaced_after_it_and_delays_no_other() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let before: Vec<Process> = support::workers(&pool);
    let (marks, door) = (Marks::new(), Door::closed());
    let long = task::<u32>(&pool);
    long.run(held, 1, (marks.path(), door.path()));
    marks.wait_for(1);
    pool.recycle();
    wait_for("the idle one is replaced", || pool.stats().workers_recycled == 1);
    let is_old = |pid: Option<u32>| before.iter().any(|process| Some(process.pid) == pid);
    let quick = task::<u32>(&pool);
    for number in 0..100 {
        quick.run(own_pid, number, ());
    }
    let ran = counts(&quick.get_timeout(DEADLINE).unwrap());
    assert!(ran.keys().all(|&pid| !is_old(Some(pid))), "{ran:?} of {before:?}");
    assert_eq!(pool.stats().workers_recycled, 1, "the other one has not ended its piece");
    door.open();
    assert!(is_old(Some(long.get().unwrap()[0])), "what runs comes to its end");
    let mut stats = pool.stats();
    wait_for("the other one is replaced", || {
        stats = pool.stats();
        stats.workers_recycled == 2
    });
    let stats = wait_for_rest(&pool);
    assert!(!stats.workers.iter().any(|worker| is_old(worker.pid)), "{stats}");
    assert!(stats.workers.iter().all(|worker| worker.last_replaced == Some(Replaced::Asked)), "{stats}");
    assert!(stats.workers.iter().all(|worker| worker.generation == 2), "{stats}");
    assert_eq!(stats.workers_lost, 0);
    support::assert_gone(&before);
    assert_well(pool);
}

/// Two pieces that each wait for the other need two workers at a time.
#[test]
fn a_pool_keeps_all_its_workers_while_they_are_replaced() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    for round in 0..30 {
        let marks = Marks::new();
        let task = task::<u64>(&pool);
        let meet = |number, path: String| {
            mark(&path, number);
            wait_for("the other piece has begun", || {
                std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == 2)
            });
            number
        };
        if round % 3 == 0 {
            pool.recycle();
        }
        task.run(meet, 0, marks.path());
        task.run(meet, 1, marks.path());
        if round % 3 == 1 {
            pool.recycle();
        }
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), [0, 1], "round {round}");
    }
    assert_eq!(pool.stats().workers_lost, 0);
    assert_well(pool);
}

#[test]
fn a_worker_that_is_replaced_runs_its_exit_hook() {
    let _watch = watchdog();
    let marks = Marks::new();
    let pool =
        pool(2, |it| it.on_worker_exit_with(|path: String| mark(&path, u64::from(std::process::id())), marks.path()));
    let before: Vec<u64> = support::workers(&pool).iter().map(|process| u64::from(process.pid)).collect();
    pool.recycle();
    marks.wait_for(2);
    let mut expected = before.clone();
    expected.sort_unstable();
    assert_eq!(marks.numbers(), expected);
    wait_for_rest(&pool);
    pool.shutdown();
    assert_eq!(marks.count(), 4);
}

#[test]
fn workers_are_replaced_at_their_age_between_pieces() {
    let _watch = watchdog();
    let age = Duration::from_millis(50);
    let pool = pool(2, |it| it.max_worker_age(age));
    let first = support::workers(&pool);
    wait_for("they are old enough", || pool.stats().workers.iter().all(|worker| worker.age > Some(2 * age)));
    let stats = pool.stats();
    assert!(
        stats.workers_recycled == 0 && first.iter().all(Process::is_running),
        "an idle pool keeps its workers: {stats}"
    );
    // Pieces hand the old ones over: soon all run in others.
    wait_for("both are replaced", || {
        let task = task::<u32>(&pool);
        (0..4).for_each(|number| task.run(own_pid, number, ()));
        let pids = task.get_timeout(DEADLINE).unwrap();
        pids.iter().all(|pid| first.iter().all(|process| process.pid != *pid))
            && pool.stats().workers.iter().all(|worker| worker.last_replaced == Some(Replaced::Age))
    });
    assert_eq!(pool.stats().workers_lost, 0);
    assert_well(pool);
}

/// Five successors that fail at their start must not end a pool that works.
#[test]
fn a_successor_that_dies_at_its_start_counts_for_nothing_and_the_old_worker_goes_on() {
    let _watch = watchdog();
    let (marks, door) = (Marks::new(), Door::closed());
    let start = |(marks, door): (String, String)| {
        mark(&marks, 1);
        assert!(!Path::new(&door).exists(), "it may not start now");
    };
    let pool = pool(2, |it| it.on_worker_start_with(start, (marks.path(), door.path())));
    let before = support::workers(&pool);
    marks.wait_for(2);
    door.open();
    pool.recycle();
    // Seven attempts, 1, 2, 4 … ms apart.
    marks.wait_for(9);
    support::assert_works(&pool);
    let stats = pool.stats();
    assert_eq!((stats.workers_lost, stats.workers_recycled), (0, 0), "{stats}");
    assert!(before.iter().all(Process::is_running));
    std::fs::remove_file(door.path()).unwrap();
    wait_for("both are replaced", || pool.stats().workers_recycled == 2);
    support::assert_gone(&before);
    assert_well(pool);
}

/// A worker that was to be replaced dies of its own: the successor that was ordered takes its place, and none stays beside.
#[test]
fn deaths_and_replacements_at_once_leave_the_pool_whole() {
    let _watch = watchdog();
    let pool = pool(3, |it| it.max_pieces_per_worker(7));
    let task = pool.try_task::<u64>().unwrap().retries(20);
    for number in 0..600 {
        task.run(
            |number: u64, ()| {
                if number % 13 == 5 && std::process::id().is_multiple_of(3) {
                    std::process::abort();
                }
                number
            },
            number,
            (),
        );
        if number % 100 == 0 {
            pool.recycle();
        }
    }
    assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(0..600));
    let stats = wait_for_rest(&pool);
    assert!(stats.workers_recycled > 0, "{stats}");
    assert_well(pool);
}

/// Its workers are gone with it, and the next ones have their limits.
#[test]
fn a_fork_server_that_dies_while_workers_are_replaced_is_replaced_with_them() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.max_pieces_per_worker(50));
    for _ in 0..5 {
        let server = support::fork_server(&pool);
        pool.recycle();
        server.kill(libc::SIGKILL);
        let task = pool.try_task::<u32>().unwrap().retries(50);
        task.run_all(own_pid, (0..500).map(|number| (number, ())));
        let counts = counts(&task.get_timeout(DEADLINE).unwrap());
        assert!(counts.values().all(|&count| count <= 50), "{counts:?}");
        wait_for("the fork server is replaced", || !server.is_running());
    }
    wait_for_rest(&pool);
    assert_well(pool);
}

#[test]
fn a_pool_ends_while_its_workers_are_replaced() {
    let _watch = watchdog();
    for round in 0..20 {
        let pool = pool(2, |it| it.max_pieces_per_worker(3));
        let processes = support::workers(&pool);
        let task = task::<u32>(&pool);
        (0..round).for_each(|number| task.run(own_pid, number, ()));
        pool.recycle();
        if round % 2 == 0 {
            pool.shutdown();
        } else {
            drop(pool);
        }
        support::assert_gone(&processes);
        drop(task);
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (builder, expected) in [
        (
            Pool::builder().max_pieces_per_worker(0),
            "workers of at most 0 pieces make no sense: leave max_pieces_per_worker out, or give at least 1",
        ),
        (
            Pool::builder().max_worker_age(Duration::ZERO),
            "workers that live for 0 s make no sense: leave max_worker_age out, or give more",
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, expected));
    }
}
