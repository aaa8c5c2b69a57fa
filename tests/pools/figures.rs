//! Counts of pieces by function, and what a pool tells of each worker: what it runs, and the most memory that it had.

use crate::support::{self, DEADLINE, Door, Marks, assert_well, mark, task, wait_at, wait_for, watchdog};
use multicore::{Pool, PoolBuilder, Stats, WorkerState, WorkerStats};

const MB: u64 = 1_000_000;

fn pool(workers: usize, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(workers)).build().expect("a pool can run here")
}

/// The pieces of the function of this name.
#[track_caller]
fn pieces(stats: &Stats, name: &str) -> u64 {
    let found = stats.functions.iter().find(|function| function.function.contains(name));
    found.unwrap_or_else(|| panic!("{name} is not among the functions:\n{stats}")).pieces
}

/// Each piece that was answered counts for one function.
#[track_caller]
fn check_sum(stats: &Stats) {
    let sum: u64 = stats.functions.iter().map(|function| function.pieces).sum();
    assert_eq!(sum, stats.pieces_done, "{stats}");
}

fn numbered<const NUMBER: u64>(number: u64, (): ()) -> u64 {
    number + NUMBER
}

macro_rules! numbered {
    ($($number:literal)*) => { [$(numbered::<$number>),*] };
}

#[test]
fn functions_beyond_the_32nd_are_others_and_all_are_counted() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let functions: [fn(u64, ()) -> u64; 40] = numbered!(
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
    );
    // Once each in their order, then without the first, and so on: each runs a different number of times.
    for round in 0..40 {
        let task = task::<u64>(&pool);
        for (number, function) in functions.iter().enumerate().skip(round) {
            task.run(*function, number as u64, ());
        }
        task.get_timeout(DEADLINE).unwrap();
    }
    let stats = pool.stats();
    let counts: Vec<u64> = stats.functions.iter().map(|function| function.pieces).collect();
    let expected: Vec<u64> = (1..=32).chain([(33..=40).sum()]).collect();
    assert_eq!(counts, expected, "{stats:?}");
    let (others, known) = stats.functions.split_last().unwrap();
    assert_eq!((others.function.as_str(), others.location.as_str()), ("others", ""));
    assert!(known.iter().all(|function| function.function.contains("numbered")), "{known:?}");
    check_sum(&stats);
    assert_well(pool);
}

fn panics(number: u64, (): ()) -> u64 {
    panic!("piece {number}")
}

fn aborts(_: u64, (): ()) -> u64 {
    std::process::abort()
}

fn trivial(number: u64, (): ()) -> u64 {
    number
}

/// A worker that dies takes the sample with it that was to come, and the counts since the last one must not go too.
#[test]
fn counts_are_exact_whatever_happens_to_the_workers() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.max_pieces_per_worker(50));
    let (quick, panicking, aborting) = (task::<u64>(&pool), task::<u64>(&pool), task::<u64>(&pool));
    // A worker that is killed from outside loses what it runs; that runs again, and is answered once.
    let quick = quick.retries(100);
    let panicking = panicking.retries(100);
    for round in 0..20 {
        quick.run_all(trivial, (0..100).map(|number| (number, ())));
        (0..50).for_each(|number| quick.run(trivial, number, ()));
        (0..10).for_each(|number| panicking.run(panics, number, ()));
        aborting.run(aborts, round, ());
        if round % 5 == 0 {
            support::workers(&pool)[0].kill(libc::SIGKILL);
        }
        check_sum(&pool.stats());
    }
    assert_eq!(quick.get_timeout(DEADLINE).unwrap().len(), 3_000);
    assert!(panicking.get_each().into_iter().all(|result| result.is_err()));
    assert!(aborting.get_each().into_iter().all(|result| result.is_err()));
    let stats = pool.stats();
    check_sum(&stats);
    assert_eq!(["trivial", "panics", "aborts"].map(|name| pieces(&stats, name)), [3_000, 200, 0], "{stats}");
    assert!(stats.workers_recycled > 0 && stats.workers_lost >= 20, "{stats}");
    assert_well(pool);
}

fn held(number: u64, (marks, door): (String, String)) -> u64 {
    mark(&marks, number);
    wait_at(&door);
    number
}

#[test]
fn a_worker_tells_what_it_runs_by_the_name_of_its_task_or_its_function() {
    let _watch = watchdog();
    for (name, expected) in [(None, "held"), (Some("a name of its own"), "a name of its own")] {
        let pool = pool(2, |it| it);
        let (marks, door) = (Marks::new(), Door::closed());
        let mut task = task::<u64>(&pool);
        if let Some(name) = name {
            task = task.name(name);
        }
        task.run(held, 1, (marks.path(), door.path()));
        marks.wait_for(1);
        let of_state = |stats: &Stats, state| -> Vec<WorkerStats> {
            stats.workers.iter().filter(|it| it.state == state).cloned().collect()
        };
        let mut stats = pool.stats();
        // It can run a piece before the pool has heard that it is ready.
        wait_for("one works, and one does not", || {
            stats = pool.stats();
            of_state(&stats, WorkerState::Running).len() == 1 && of_state(&stats, WorkerState::Idle).len() == 1
        });
        let runs = &of_state(&stats, WorkerState::Running)[0];
        let function = runs.function.as_deref().unwrap();
        assert!(if name.is_some() { function == expected } else { function.contains(expected) }, "{stats}");
        assert_eq!(of_state(&stats, WorkerState::Idle)[0].function, None, "{stats}");
        door.open();
        task.get_timeout(DEADLINE).unwrap();
        wait_for("none runs", || pool.stats().workers.iter().all(|it| it.state == WorkerState::Idle));
        assert!(pool.stats().workers.iter().all(|it| it.function.is_none()));
        assert_well(pool);
    }
}

/// Takes 50 MB, and frees them.
fn take_50_mb(number: u64, (): ()) -> u64 {
    std::hint::black_box(vec![1_u8; 50 * MB as usize]);
    number
}

/// Takes long enough to be sampled beside the other one.
fn work_a_while(number: u64, (): ()) -> u64 {
    (0..200_000).fold(number, |sum, turn| std::hint::black_box(sum ^ turn))
}

/// Only pieces that are sampled tell their peak, so each runs several times.
#[test]
fn a_peak_is_told_of_the_worker_and_of_the_function_that_made_it() {
    let _watch = watchdog();
    // Freed memory goes back at once, so that the next piece does not find it resident.
    let pool = pool(1, |it| it.warm_memory(0));
    wait_for("it is measured", || pool.stats().workers[0].memory_at_start.is_some());
    wait_for("both functions are measured several times", || {
        for function in [work_a_while, take_50_mb] {
            let task = task::<u64>(&pool);
            task.run(function, 1, ());
            task.get_timeout(DEADLINE).unwrap();
        }
        let stats = pool.stats();
        stats.functions.len() == 2 && stats.functions.iter().all(|function| function.measured >= 3)
    });
    let mut stats = pool.stats();
    wait_for("what it has now is read after the last piece", || {
        stats = pool.stats();
        stats.workers[0].memory < Some(30 * MB)
    });
    let worker = &stats.workers[0];
    assert!(worker.memory_peak >= worker.memory && worker.memory >= worker.memory_at_start, "{stats:?}");
    let beyond = worker.memory_peak.unwrap() - worker.memory_at_start.unwrap();
    assert!((49 * MB..70 * MB).contains(&beyond), "{beyond} beyond the start");
    let peak = |name| {
        let function = stats.functions.iter().find(|function| function.function.contains(name)).unwrap();
        function.largest_peak.unwrap()
    };
    assert!((49 * MB..80 * MB).contains(&peak("take_50_mb")), "{stats}");
    assert!(peak("work_a_while") < 30 * MB, "{stats}");
    assert_eq!(stats.unmeasured, [""; 0]);
    assert_well(pool);
}

/// Whatever the workers do, no figure contradicts another.
#[test]
fn no_worker_has_more_than_its_peak() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let task = task::<u64>(&pool);
    let take = |number: u64, ()| {
        std::hint::black_box(vec![1_u8; (number * MB) as usize]);
        number
    };
    (0..60).for_each(|number| task.run(take, number, ()));
    wait_for("all are done", || {
        let stats = pool.stats();
        assert!(stats.workers.iter().all(|worker| worker.memory_peak >= worker.memory), "{stats:?}");
        check_sum(&stats);
        task.completed() == 60
    });
    assert_well(pool);
}

#[test]
fn a_pool_whose_workers_do_not_sample_counts_and_names_nobody() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.samples(false));
    let task = task::<u64>(&pool);
    let leak = |number: u64, ()| {
        std::mem::forget(vec![1_u8; 1_000_000]);
        number
    };
    (0..100).for_each(|number| task.run(leak, number, ()));
    task.get_timeout(DEADLINE).unwrap();
    let stats = pool.stats();
    let [leaky] = &stats.functions[..] else { panic!("one function ran:\n{stats}") };
    assert_eq!((leaky.pieces, leaky.measured, leaky.growth_error, leaky.largest_peak), (100, 0, f64::MAX, None));
    assert_eq!(stats.suspects(), []);
    assert_well(pool);
}

#[test]
fn figures_can_be_asked_for_while_a_fork_server_is_replaced_and_after_a_pool_has_failed() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let quick = task::<u64>(&pool).retries(100);
    quick.run_all(trivial, (0..1_000).map(|number| (number, ())));
    let server = support::fork_server(&pool);
    server.kill(libc::SIGKILL);
    wait_for("all are done by new workers", || {
        check_sum(&pool.stats());
        quick.completed() == 1_000 && !server.is_running()
    });
    assert_eq!(pieces(&pool.stats(), "trivial"), 1_000);
    assert_well(pool);
    let failing = self::pool(2, |it| it.on_worker_start(|| panic!("no worker starts")));
    let task = task::<u64>(&failing);
    task.run(trivial, 1, ());
    assert!(task.get_timeout(DEADLINE).is_err());
    let stats = failing.stats();
    assert_eq!((stats.pieces_done, pieces(&stats, "trivial")), (0, 0), "{stats}");
    assert_eq!(stats.suspects(), []);
    assert!(stats.workers.iter().all(|worker| worker.function.is_none()), "{stats}");
}

/// Pieces of a task that nobody collects failed, and nothing told of them.
#[test]
fn pieces_that_failed_are_counted_once_also_where_nobody_collects_them() {
    fn fails_as(number: u64) -> Result<u64, String> {
        match number {
            0 => Err("an error".to_string()),
            1 => std::panic::resume_unwind(Box::new("a panic")),
            2 => std::process::abort(),
            number => Ok(number),
        }
    }
    let _watch = watchdog();
    for is_detached in [false, true] {
        let pool = pool(2, |it| it);
        let task = task::<u64>(&pool).retries(1);
        task.try_call_all(fails_as, 0..10);
        if is_detached {
            task.detach();
        } else {
            assert_eq!(task.get_each().iter().filter(|outcome| outcome.is_err()).count(), 3);
        }
        wait_for("all have ended", || pool.stats().tasks == 0);
        let stats = pool.stats();
        assert_eq!((stats.pieces_failed, stats.workers_lost), (3, 2), "{stats}");
        assert!(stats.to_string().contains(" done, 3 failed; "), "{stats}");
        // What never began has not failed.
        let task = self::task::<u64>(&pool);
        let (marks, door) = (Marks::new(), Door::closed());
        (0..20).for_each(|_| {
            task.call(
                |(marks, door): (String, String)| {
                    mark(&marks, 1);
                    wait_at(&door);
                    1
                },
                (marks.path(), door.path()),
            )
        });
        marks.wait_for(2);
        drop(task);
        door.open();
        wait_for("all have ended", || pool.stats().tasks == 0);
        assert_eq!(pool.stats().pieces_failed, 3);
    }
}
