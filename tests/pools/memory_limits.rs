//! Limits of the memory of workers: replaced above one, killed above the other.

use crate::support::{self, DEADLINE, Door, Marks, Process, assert_well, mark, task, wait_at, wait_for, watchdog};
use multicore::{ErrorKind, Memory, MemoryAction, MemoryEvent, Pool, PoolBuilder, Replaced, WorkerState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// What the functions for `on_memory` were told; each test has a place of its own.
type Told = Mutex<Vec<MemoryEvent>>;

fn count(told: &Told, action: MemoryAction) -> usize {
    told.lock().unwrap().iter().filter(|event| event.action == action).count()
}

fn pool(workers: usize, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(workers)).build().expect("a pool can run here")
}

/// What a piece keeps when it has ended.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn touched(bytes: u64) -> Vec<u8> {
    let mut block = vec![0; bytes as usize];
    block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(block)
}

/// Keeps this number of MiB for ever; gives its process, and what that has then.
fn leak(mib: u64, _: ()) -> (u32, u64) {
    KEPT.lock().unwrap().push(touched(mib * MIB));
    (std::process::id(), anonymous_bytes())
}

/// Takes memory step by step until it is killed.
fn grow_for_ever(_: u64, _: ()) -> u64 {
    loop {
        KEPT.lock().unwrap().push(touched(4 * MIB));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn anonymous_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    (pages[1] - pages[2]) * 4096
}

#[test]
fn a_worker_that_leaks_is_replaced_after_its_piece_and_nothing_is_lost() {
    static TOLD: Told = Mutex::new(Vec::new());
    let _watch = watchdog();
    let pool = pool(2, |it| {
        it.worker_memory_high(Memory::growth(50 * MIB)).on_memory(|event| TOLD.lock().unwrap().push(event.clone()))
    });
    wait_for("both are measured", || pool.stats().workers.iter().all(|worker| worker.memory_at_start.is_some()));
    let at_start = pool.stats().workers.iter().filter_map(|worker| worker.memory_at_start).max().unwrap();
    let task = task::<(u32, u64)>(&pool);
    let slowly = |mib, ()| {
        std::thread::sleep(Duration::from_millis(5));
        leak(mib, ())
    };
    for _ in 0..120 {
        task.run(slowly, 3, ());
    }
    let results = task.get_timeout(DEADLINE).unwrap();
    assert_eq!(results.len(), 120);
    let most = results.iter().map(|(_, bytes)| *bytes).max().unwrap();
    // The piece that exceeds it, one that was held ahead, and one while the successor starts on a busy machine.
    assert!(most <= at_start + (50 + 4 * 3) * MIB, "{} MiB, {} at the start", most / MIB, at_start / MIB);
    let stats = pool.stats();
    assert!(stats.workers_recycled >= 4 && stats.workers_lost == 0 && stats.workers_over_limit == 0, "{stats}");
    assert!(stats.workers.iter().any(|worker| worker.last_replaced == Some(Replaced::MemoryHigh)), "{stats}");
    wait_for("all is told", || count(&TOLD, MemoryAction::Recycled) as u64 >= pool.stats().workers_recycled);
    for event in TOLD.lock().unwrap().iter() {
        assert_eq!(event.action, MemoryAction::Recycled);
        // A little below it where its successor was ready.
        assert!(event.bytes > event.limit / 2 && event.limit == event.at_start + 50 * MIB, "{event:?}");
    }
    assert_well(pool);
}

#[test]
fn a_worker_above_its_maximum_is_killed_in_mid_piece_and_no_other_piece_notices() {
    static TOLD: Told = Mutex::new(Vec::new());
    let _watch = watchdog();
    let pool = pool(2, |it| {
        it.worker_memory_max(Memory::bytes(100 * MIB)).on_memory(|event| TOLD.lock().unwrap().push(event.clone()))
    });
    let greedy = task::<u64>(&pool);
    greedy.run(grow_for_ever, 0, ());
    greedy.run(support::add, 1, 1);
    let modest = task::<u64>(&pool);
    modest.run_all(support::add, (0..1_000).map(|number| (number, 1)));
    assert!(modest.get_timeout(DEADLINE).unwrap().into_iter().eq(1..=1_000));
    let results = greedy.get_each();
    let error = results[0].as_ref().unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.piece()), (ErrorKind::MemoryLimit, 1, Some(0)));
    let (worker, pid) = (error.worker().unwrap(), error.pid().unwrap());
    let text = error.to_string();
    assert!(text.contains(&format!(") was killed with its worker {worker} (pid {pid}): ")), "{text}");
    assert!(text.contains("grow_for_ever") && text.ends_with(" MiB, limit 100 MiB"), "{text}");
    assert!(matches!(results[1], Ok(2)), "it goes to another worker");
    let stats = pool.stats();
    assert_eq!((stats.workers_over_limit, stats.workers_lost), (1, 0), "{stats}");
    wait_for("it is told", || count(&TOLD, MemoryAction::Killed) == 1);
    let told = TOLD.lock().unwrap().clone();
    let killed = told.iter().find(|event| event.action == MemoryAction::Killed).unwrap();
    assert_eq!((killed.worker, killed.pid, killed.limit), (worker, pid, 100 * MIB));
    assert!(killed.function.as_ref().is_some_and(|name| name.contains("grow_for_ever")), "{killed:?}");
    assert!(killed.bytes > killed.limit && killed.at_start < 50 * MIB, "{killed:?}");
    assert_well(pool);
}

#[test]
fn a_killed_piece_is_retried_as_often_as_its_task_says() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.worker_memory_max(Memory::growth(60 * MIB)).memory_checks(1));
    let task = pool.try_task::<u64>().unwrap().retries(2);
    task.run(grow_for_ever, 0, ());
    let error = task.get_timeout(DEADLINE).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::MemoryLimit, 3));
    assert_eq!(pool.stats().workers_over_limit, 3);
    assert!(pool.stats().workers.iter().any(|worker| worker.last_replaced == Some(Replaced::MemoryMax)));
    assert_well(pool);
}

#[test]
fn the_largest_of_all_is_killed_when_they_have_too_much_together() {
    let _watch = watchdog();
    let pool = pool(3, |it| it.memory_max(Memory::bytes(200 * MIB)).memory_high(Memory::bytes(199 * MIB)));
    let (marks, door) = (Marks::new(), Door::closed());
    let small = task::<u32>(&pool);
    let hold = |mib, (marks, door): (String, String)| {
        let block = touched(mib * MIB);
        mark(&marks, mib);
        wait_at(&door);
        drop(block);
        std::process::id()
    };
    small.run(hold, 30, (marks.path(), door.path()));
    small.run(hold, 31, (marks.path(), door.path()));
    marks.wait_for(2);
    let greedy = task::<u64>(&pool);
    greedy.run(grow_for_ever, 0, ());
    let error = greedy.get_timeout(DEADLINE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
    assert!(error.to_string().ends_with("limit 200 MiB"), "{error}");
    door.open();
    assert_eq!(small.get_timeout(DEADLINE).unwrap().len(), 2);
    assert_eq!((pool.stats().workers_over_limit, pool.stats().workers_lost), (1, 0));
    assert_well(pool);
}

/// Idle workers that have grown are replaced before those that work.
#[test]
fn the_largest_of_all_is_replaced_when_they_have_much_together() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.memory_high(Memory::bytes(150 * MIB)));
    let mut recycled = 0;
    wait_for("some are replaced", || {
        let task = task::<(u32, u64)>(&pool);
        (0..4).for_each(|_| task.run(leak, 10, ()));
        task.get_timeout(DEADLINE).unwrap();
        recycled = pool.stats().workers_recycled;
        recycled >= 3
    });
    let stats = pool.stats();
    assert_eq!((stats.memory_high, stats.memory_max, stats.workers_lost), (Some(150 * MIB), None, 0), "{stats}");
    assert_well(pool);
}

#[test]
fn limits_that_only_report_tell_once_a_crossing_and_touch_nobody() {
    static TOLD: Told = Mutex::new(Vec::new());
    let _watch = watchdog();
    let pool = pool(1, |it| {
        let it = it.worker_memory_high(Memory::growth(20 * MIB)).worker_memory_max(Memory::growth(40 * MIB));
        // Freed memory goes back at once.
        it.warm_memory(0).memory_advisory(true).on_memory(|event| {
            TOLD.lock().unwrap().push(event.clone());
            panic!("a panic in it is ignored");
        })
    });
    let process = support::workers(&pool);
    let busy = |pieces: u64| {
        let task = task::<u64>(&pool);
        let nap = |ms, number| {
            std::thread::sleep(Duration::from_millis(ms));
            number
        };
        task.run_all(nap, (0..pieces).map(|number| (5, number)));
        task.get_timeout(DEADLINE).unwrap();
    };
    let mut grown = 0;
    for crossings in 1..=2 {
        wait_for("it is told", || {
            // Small for a time in which there are checks, on most machines, and then large until it is told.
            busy(100);
            let (task, door) = (task::<u64>(&pool), Door::closed());
            let grow_and_shrink = |mib: u64, door: String| {
                let block = touched(mib * MIB);
                wait_at(&door);
                block.len() as u64
            };
            task.run(grow_and_shrink, 60, door.path());
            grown += 1;
            let start = Instant::now();
            while count(&TOLD, MemoryAction::WouldKill) < crossings && start.elapsed() < Duration::from_secs(3) {
                std::thread::yield_now();
            }
            door.open();
            assert_eq!(task.get_timeout(DEADLINE).unwrap(), [60 * MIB]);
            count(&TOLD, MemoryAction::WouldKill) >= crossings
        });
    }
    assert!(count(&TOLD, MemoryAction::WouldKill) <= grown, "once each time");
    let stats = pool.stats();
    assert_eq!((stats.workers_recycled, stats.workers_over_limit, stats.workers_lost), (0, 0, 0), "{stats}");
    assert!(process.iter().all(Process::is_running));
    assert_well(pool);
}

#[test]
fn a_worker_that_is_large_when_it_starts_is_reported_once_and_not_replaced_again_and_again() {
    static TOLD: Told = Mutex::new(Vec::new());
    let _watch = watchdog();
    let pool = pool(2, |it| {
        it.on_worker_start(|| KEPT.lock().unwrap().push(touched(60 * MIB)))
            .worker_memory_high(Memory::bytes(40 * MIB))
            .on_memory(|event| TOLD.lock().unwrap().push(event.clone()))
    });
    let before = support::workers(&pool);
    wait_for("it is told", || count(&TOLD, MemoryAction::BornLarge) == 1);
    for _ in 0..50 {
        support::assert_works(&pool);
    }
    assert!(before.iter().all(Process::is_running) && pool.stats().workers_recycled == 0);
    // At twice their size when they were ready they are.
    wait_for("it is replaced", || {
        let task = task::<(u32, u64)>(&pool);
        (0..4).for_each(|_| task.run(leak, 10, ()));
        task.get_timeout(DEADLINE).unwrap();
        pool.stats().workers_recycled > 0
    });
    assert_eq!(count(&TOLD, MemoryAction::BornLarge), 1);
    assert_well(pool);
}

static TABLE: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What the fork server has loaded is no worker's own, until it writes there.
#[test]
fn what_workers_share_counts_once_and_what_they_write_of_it_counts_for_them() {
    let _watch = watchdog();
    let pool = pool(2, |it| {
        it.preload(|| *TABLE.lock().unwrap() = touched(200 * MIB)).worker_memory_max(Memory::bytes(100 * MIB))
    });
    support::assert_works(&pool);
    wait_for("both are measured", || pool.stats().workers.iter().all(|worker| worker.memory_at_start.is_some()));
    let stats = pool.stats();
    let all = stats.memory.unwrap();
    assert!((200 * MIB..250 * MIB).contains(&all), "{} MiB", all / MIB);
    assert!(stats.workers.iter().all(|worker| worker.memory < Some(50 * MIB)), "{stats:?}");
    let task = task::<u64>(&pool);
    let write = |_: u64, ()| {
        let mut table = TABLE.lock().unwrap();
        loop {
            table.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        }
    };
    task.run(write, 0, ());
    let error = task.get_timeout(DEADLINE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
    assert_well(pool);
}

/// The thread of the pool sleeps while nothing runs, whatever the limits.
#[test]
fn a_pool_at_rest_wakes_nobody_for_its_limits() {
    support::alone!();
    let _watch = watchdog();
    let pool = pool(2, |it| {
        it.memory_max(Memory::percent(85.0))
            .worker_memory_max(Memory::growth(500 * MIB))
            .max_pieces_per_worker(1_000_000)
            .max_worker_age(Duration::from_secs(3_600))
            .min_available_memory(Memory::bytes(MIB))
    });
    support::assert_works(&pool);
    check_rest(&pool);
    assert_well(pool);
    // One that waits for memory, while no piece does.
    let waits = self::pool(2, |it| it.min_available_memory(Memory::bytes(1 << 60)));
    assert!(waits.task::<u64>().is_none());
    check_rest(&waits);
}

fn check_rest(pool: &Pool) {
    wait_for("all idle", || pool.stats().workers.iter().all(|worker| worker.state == WorkerState::Idle));
    // The number of times that a thread of this name slept, in the tests' own process.
    let sleeps = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let name = |path: &std::path::Path| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        let of_pools = tasks.filter(|task| name(&task.path()).trim() == "multicore");
        let status = of_pools.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        let count = |text: &str| {
            text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
        };
        status.filter_map(|text| count(&text)).min()
    };
    // Other tests have pools too: the thread that sleeps least often is this one's, which rests.
    wait_for("no wake-up in a second", || {
        std::thread::sleep(Duration::from_millis(600));
        let before = sleeps();
        std::thread::sleep(Duration::from_millis(1_000));
        before.is_some() && sleeps() == before
    });
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for builder in [
        Pool::builder().memory_max(Memory::bytes(0)),
        Pool::builder().memory_max(Memory::percent(0.0)),
        Pool::builder().memory_max(Memory::percent(f64::NAN)),
        Pool::builder().memory_high(Memory::growth(5)),
        Pool::builder().memory_high(Memory::bytes(5)).memory_max(Memory::bytes(5)),
        Pool::builder().worker_memory_high(Memory::growth(6)).worker_memory_max(Memory::growth(5)),
        Pool::builder().memory_checks(0),
    ] {
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::Config);
    }
}
