//! Pools whose number of workers changes while they work.

#![allow(unsafe_code)]

use crate::support::{
    self, DEADLINE, Door, Marks, Process, Random, add, assert_well, mark, task, wait_at, wait_for, watchdog,
};
use multicore::{ErrorKind, Pool, PoolBuilder, Stats, WorkerState};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn pool(workers: usize, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(workers)).build().expect("a pool can run here")
}

/// Waits until there are exactly as many processes as the pool is to have workers, all of them idle.
#[track_caller]
fn wait_for_rest(pool: &Pool) -> Stats {
    wait_for("the pool is at rest", || {
        let stats = pool.stats();
        stats.workers.len() == pool.workers() && stats.workers.iter().all(|worker| worker.state == WorkerState::Idle)
    });
    pool.stats()
}

fn pids(stats: &Stats) -> BTreeSet<u32> {
    stats.workers.iter().filter_map(|worker| worker.pid).collect()
}

/// Waits at the door, and gives its process.
fn held(number: u64, (marks, door): (String, String)) -> u32 {
    mark(&marks, number);
    wait_at(&door);
    std::process::id()
}

#[test]
fn a_pool_has_as_many_workers_as_it_was_told_last() {
    let _watch = watchdog();
    let exits = Marks::new();
    let pool = pool(2, |it| it.on_worker_exit_with(|path: String| mark(&path, 1), exits.path()));
    let mut left = 0;
    let mut before = wait_for_rest(&pool);
    for workers in [5, 1, 1, 3, 2, 70, 2] {
        pool.resize(workers).unwrap();
        assert_eq!((pool.workers(), pool.ranges(100_000).len()), (workers, 4 * workers));
        let stats = wait_for_rest(&pool);
        let (old, new) = (pids(&before), pids(&stats));
        assert_eq!((new.len(), old.intersection(&new).count()), (workers, workers.min(old.len())), "none is replaced");
        left += old.difference(&new).count();
        wait_for("those that left ran their hook", || exits.count() == left);
        assert_eq!((stats.workers_lost, stats.workers_recycled), (0, 0), "{stats}");
        before = stats;
    }
    assert_well(pool);
}

#[test]
fn what_runs_ends_where_it_runs_and_what_waits_goes_to_others() {
    let _watch = watchdog();
    let pool = pool(3, |it| it);
    let (marks, door) = (Marks::new(), Door::closed());
    let task = task::<u32>(&pool);
    task.run_all(held, (0..10).map(|number| (number, (marks.path(), door.path()))));
    marks.wait_for(3);
    wait_for("the processes are known", || pids(&pool.stats()).len() == 3);
    let runners = pids(&pool.stats());
    pool.resize(1).unwrap();
    assert_eq!(pool.workers(), 1);
    door.open();
    let ran = task.get_timeout(DEADLINE).unwrap();
    // The pieces that ran ended in their processes; all others ran in the one that is left.
    assert!(ran.iter().all(|pid| runners.contains(pid)), "{ran:?}, {runners:?}");
    let rest = wait_for_rest(&pool);
    let last = pids(&rest);
    assert_eq!(ran.iter().filter(|pid| !last.contains(pid)).count(), 2, "{ran:?}");
    assert_eq!((marks.count(), rest.workers_lost), (10, 0));
    assert_well(pool);
}

#[test]
fn pieces_that_wait_go_to_workers_that_come() {
    let _watch = watchdog();
    let pool = pool(1, |it| it);
    let (marks, door) = (Marks::new(), Door::closed());
    let task = task::<u32>(&pool);
    task.run_all(held, (0..4).map(|number| (number, (marks.path(), door.path()))));
    marks.wait_for(1);
    pool.resize(4).unwrap();
    marks.wait_for(4);
    // While it is told to shrink and to grow again, nothing is lost.
    pool.resize(2).unwrap();
    pool.resize(4).unwrap();
    door.open();
    let ran: BTreeSet<u32> = task.get_timeout(DEADLINE).unwrap().into_iter().collect();
    assert_eq!((ran.len(), marks.count()), (4, 4));
    assert_eq!(wait_for_rest(&pool).workers_lost, 0);
    assert_well(pool);
}

/// A worker that is being replaced and its successor are one.
#[test]
fn a_pool_that_replaces_its_workers_keeps_the_number() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    let pool = pool(3, |it| it.max_pieces_per_worker(5).max_worker_age(Duration::from_millis(20)));
    for _ in 0..60 {
        let task = task::<u64>(&pool);
        task.run_all(add, (0..50).map(|number| (number, 1)));
        if random.below(2) == 0 {
            pool.recycle();
        }
        pool.resize(1 + random.below(5) as usize).unwrap();
        assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(1..=50));
    }
    let stats = wait_for_rest(&pool);
    assert_eq!(stats.workers_lost, 0, "{stats}");
    assert_well(pool);
}

#[test]
fn idle_workers_and_the_gate_take_no_harm() {
    let _watch = watchdog();
    let pool = pool(2, |it| {
        it.idle_timeout(Duration::from_millis(5))
            .min_available_memory(multicore::Memory::bytes(1))
            .max_queued_bytes(100)
    });
    for workers in [4, 1, 3, 2, 1, 5] {
        wait_for("all have ended", || pool.stats().workers.iter().all(|worker| worker.state == WorkerState::Ended));
        pool.resize(workers).unwrap();
        let task = task::<u64>(&pool);
        (0..100).for_each(|number| task.run(add, number, 1));
        assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(1..=100));
        wait_for("the number is right", || pool.stats().workers.len() == workers);
    }
    assert_eq!(pool.stats().workers_lost, 0);
    drop(pool);
}

/// Also by several threads at once, and while it ends.
#[test]
fn under_load_and_kills_every_piece_has_its_outcome_and_no_process_is_left() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    for round in 0..4 {
        let pool = pool(2, |it| if round % 2 == 0 { it } else { it.idle_timeout(Duration::from_millis(2)) });
        let server = Process::find(wait_for_pid(&pool)).and_then(|worker| worker.parent()).unwrap();
        let over = AtomicBool::new(false);
        let mut seen: Vec<Process> = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (pool, over) = (&pool, &over);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let task = task::<u64>(pool).retries(1000);
                        task.run_all(add, (0..200).map(|number| (number, 5)));
                        assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(5..205));
                    }
                });
            }
            let mut other = Random::with_seed(random.next());
            let (resized, is_over) = (&pool, &over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    resized.resize(1 + other.below(6) as usize).unwrap();
                    std::thread::sleep(Duration::from_micros(other.below(3000)));
                }
            });
            for _ in 0..60 {
                pool.resize(1 + random.below(6) as usize).unwrap();
                let workers: Vec<_> =
                    pool.stats().workers.iter().filter_map(|it| Some((it.pid?, it.pieces_done))).collect();
                seen.extend(workers.iter().filter_map(|(pid, _)| Process::find(*pid)));
                // Five workers in a row that die before they are ready end a pool, as intended.
                let victim = workers.get(random.below(1 + workers.len() as u64) as usize).filter(|(_, done)| *done > 0);
                if let Some(worker) = victim.and_then(|&(pid, _)| Process::find(pid)) {
                    worker.kill(libc::SIGKILL);
                }
                std::thread::sleep(Duration::from_micros(random.below(4000)));
            }
            over.store(true, Ordering::Relaxed);
        });
        pool.resize(3).unwrap();
        wait_for("the number is right", || pool.stats().workers.len() == 3);
        let task = support::task::<u64>(&pool);
        task.run(add, 1, 2);
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), [3]);
        if round < 2 {
            pool.shutdown()
        } else {
            drop(pool)
        }
        // The process that reaps the fork server may do it later.
        let left: Vec<_> = seen.iter().chain([&server]).filter(|process| process.is_running()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn wait_for_pid(pool: &Pool) -> u32 {
    let mut pid = None;
    wait_for("a worker is there", || {
        // One that ended for idleness comes for a piece.
        let task = task::<u32>(pool);
        task.call(|()| std::process::id(), ());
        pid = task.get_timeout(DEADLINE).ok().map(|pids| pids[0]).filter(|&pid| Process::find(pid).is_some());
        pid.is_some()
    });
    pid.unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let _watch = watchdog();
    let small = pool(2, |it| it);
    for (workers, most, pool) in [(0, 256, &small), (257, 256, &small), (usize::MAX, 256, &small)] {
        let error = pool.resize(workers).unwrap_err();
        let sentence = format!(
            "a pool cannot be resized to {workers} workers: give 1 to {most}, the larger of 256 and twice the number that it was built with"
        );
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, sentence));
        assert_eq!(pool.workers(), 2);
    }
    // SAFETY: the child makes no thread, and ends without running destructors.
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            let is_refused = small.resize(1).is_err_and(|error| error.kind() == ErrorKind::Unsupported);
            libc::_exit(if is_refused { 7 } else { 1 });
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        libc::WEXITSTATUS(status)
    };
    assert_eq!((status, small.workers()), (7, 2));
    assert_well(small);
}

#[test]
fn the_global_pool_gives_its_number_to_ranges() {
    support::alone!();
    let _watch = watchdog();
    let global = Pool::global().unwrap();
    for workers in [3, 5, 2] {
        global.resize(workers).unwrap();
        assert_eq!(multicore::ranges(100_000).len(), 4 * workers);
    }
    let task = multicore::Task::<u64>::new().unwrap();
    task.run(add, 1, 2);
    assert_eq!(task.get_timeout(DEADLINE).unwrap(), [3]);
}
