//! Workers that end because they have been idle, and come again when pieces wait.

use crate::support::{self, DEADLINE, Door, Marks, Random, add, assert_well, mark, task, wait_at, wait_for, watchdog};
use multicore::{ErrorKind, Pool, PoolBuilder, Replaced, Stats, WorkerState};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(20);

fn pool(workers: usize, timeout: Duration, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(workers).idle_timeout(timeout)).build().expect("a pool can run here")
}

fn own_pid(_: (), _: ()) -> u32 {
    std::process::id()
}

fn run_one(pool: &Pool) -> u32 {
    let task = task::<u32>(pool);
    task.run(own_pid, (), ());
    task.get_timeout(DEADLINE).unwrap()[0]
}

fn ended(stats: &Stats) -> usize {
    stats.workers.iter().filter(|worker| worker.state == WorkerState::Ended).count()
}

#[track_caller]
fn wait_for_ended(pool: &Pool, count: usize) -> Stats {
    wait_for(&format!("{count} workers have ended"), || ended(&pool.stats()) == count);
    pool.stats()
}

/// The times that the supervisor has slept.
fn sleeps() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let is_supervisor =
        |path: &std::path::Path| std::fs::read_to_string(path.join("comm")).is_ok_and(|it| it.trim() == "multicore");
    let all = tasks.map(|task| task.path()).filter(|path| is_supervisor(path));
    let lines = all.filter_map(|path| std::fs::read_to_string(path.join("status")).ok());
    lines.map(|text| text.lines().filter(|line| line.contains("ctxt")).collect()).collect()
}

#[test]
fn idle_workers_end_in_order_and_come_again_for_pieces() {
    let _watch = watchdog();
    let (exits, preloads) = (Marks::new(), Marks::new());
    let pool = pool(3, SHORT, |it| {
        let it = it.on_worker_exit_with(|path: String| mark(&path, 1), exits.path());
        it.preload_with(|path: String| mark(&path, 1), preloads.path())
    });
    let stats = wait_for_ended(&pool, 3);
    assert_eq!((pool.workers(), pool.ranges(1000).len()), (3, 12));
    assert_eq!((stats.workers_lost, stats.workers_recycled, stats.workers_idle_ended), (0, 0, 3), "{stats}");
    assert!(
        stats.workers.iter().all(|worker| worker.pid.is_none() && worker.last_replaced == Some(Replaced::Idle)),
        "{stats}"
    );
    assert!(stats.workers.iter().all(|worker| worker.generation == 1), "{stats}");
    assert!(stats.to_string().contains("ended") && stats.to_string().contains("3 ended idle"), "{stats}");
    assert_eq!(exits.count(), 3);
    let mut pids = Vec::new();
    for round in 1..=10 {
        pids.push(run_one(&pool));
        let stats = wait_for_ended(&pool, 3);
        // One piece needs one worker.
        assert_eq!((stats.workers_lost, stats.workers_idle_ended), (0, 3 + round), "{stats}");
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 10);
    // All of them, for much work.
    let task = task::<u64>(&pool);
    task.run_all(
        |number: u64, _: u64| {
            std::thread::sleep(Duration::from_millis(5));
            number
        },
        (0..100).map(|number| (number, 0)),
    );
    wait_for("all workers are there", || ended(&pool.stats()) == 0);
    assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(0..100));
    wait_for_ended(&pool, 3);
    assert_eq!(preloads.count(), 1, "the fork server stays");
    pool.shutdown();
}

#[test]
fn nothing_wakes_once_all_have_ended() {
    support::alone!();
    let _watch = watchdog();
    let pool = pool(2, SHORT, |it| it);
    run_one(&pool);
    wait_for_ended(&pool, 2);
    // Buffers and rights are looked at for a moment longer.
    let mut before = sleeps();
    let mut since = Instant::now();
    wait_for("the supervisor sleeps on", || {
        let now = sleeps();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        since.elapsed() > 20 * SHORT
    });
    assert_eq!(run_one(&pool).min(1), 1);
    drop(pool);
}

/// Whatever the moment: the worker was dismissed, leaves, is gone, is about to be started.
#[test]
fn pieces_that_come_at_the_moment_of_the_end_all_run() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    for workers in [1, 2] {
        let pool = pool(workers, Duration::from_millis(1), |it| it);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (pool, mut random) = (&pool, Random::with_seed(random.next()));
                scope.spawn(move || {
                    for _ in 0..300 {
                        std::thread::sleep(Duration::from_micros(random.below(4000)));
                        let task = task::<u64>(pool);
                        let count = 1 + random.below(5);
                        (0..count).for_each(|number| task.run(add, number, 7));
                        assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(7..7 + count));
                    }
                });
            }
        });
        let stats = wait_for_ended(&pool, workers);
        assert!(stats.workers_idle_ended > 20 && stats.workers_lost == 0, "{stats}");
        assert_eq!(run_one(&pool).min(1), 1);
        drop(pool);
    }
}

#[test]
fn a_piece_does_not_wait_behind_a_long_one_because_the_other_worker_has_ended() {
    let _watch = watchdog();
    let pool = pool(2, SHORT, |it| it);
    let (marks, door) = (Marks::new(), Door::closed());
    let long = task::<()>(&pool);
    long.run(
        |marks: String, door: String| {
            mark(&marks, 1);
            wait_at(&door);
        },
        marks.path(),
        door.path(),
    );
    marks.wait_for(1);
    wait_for_ended(&pool, 1);
    for _ in 0..20 {
        run_one(&pool);
    }
    wait_for_ended(&pool, 1);
    assert_eq!(long.completed(), 0);
    door.open();
    long.get_timeout(DEADLINE).unwrap();
    assert_eq!(wait_for_ended(&pool, 2).workers_lost, 0);
}

#[test]
fn everything_else_is_as_with_workers_that_stay() {
    let _watch = watchdog();
    // Replaced by number; what waits is limited; a worker that dies.
    let pool = pool(2, SHORT, |it| it.max_pieces_per_worker(3).max_queued_bytes(1000));
    for _ in 0..3 {
        wait_for_ended(&pool, 2);
        pool.recycle();
        pool.renew_workers();
        let task = task::<u64>(&pool);
        (0..200).for_each(|number| task.run(add, number, 1));
        assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(1..=200));
        let dies = support::task::<()>(&pool);
        dies.call(|()| std::process::abort(), ());
        assert_eq!(dies.get_timeout(DEADLINE).unwrap_err().kind(), ErrorKind::WorkerLost);
    }
    let stats = wait_for_ended(&pool, 2);
    assert_eq!(stats.workers_lost, 3, "{stats}");
    drop(pool);
    let pool = self::pool(2, Duration::MAX, |it| it);
    assert_eq!(ended(&pool.stats()), 0);
    assert_well(pool);
}

#[test]
fn a_pool_ends_at_any_moment_of_its_workers_ends() {
    let _watch = watchdog();
    for round in 0..40 {
        let pool = pool(2, Duration::from_millis(1), |it| it);
        std::thread::sleep(Duration::from_micros(100 * round));
        if round % 3 == 0 {
            run_one(&pool);
        }
        if round % 2 == 0 { pool.shutdown() } else { drop(pool) }
    }
}

#[test]
fn no_time_at_all_is_refused() {
    let error = Pool::builder().workers(1).idle_timeout(Duration::ZERO).build().unwrap_err();
    let sentence =
        "workers that end once they have been idle for 0 s make no sense: leave idle_timeout out, or give more";
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Config, sentence));
}
