//! Pools in the standard test harness: this program is started once more as the fork server, and intercepted before it
//! runs any test. (`builds.rs` has programs that are built in other ways. Documentation tests and the bench run pools too.)

use multicore::{ErrorKind, Pool, Task};
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts tests that ran in this process: in a worker none ever ran.
static TESTS_RUN: AtomicU32 = AtomicU32::new(0);

fn tests_run(_: ()) -> (u32, u32, Vec<String>) {
    (TESTS_RUN.load(Ordering::Relaxed), std::process::id(), std::env::args().collect())
}

#[track_caller]
fn check(task: Task<(u32, u32, Vec<String>)>) {
    TESTS_RUN.fetch_add(1, Ordering::Relaxed);
    task.call(tests_run, ());
    let (run, pid, arguments) = task.get().expect("the piece succeeds").remove(0);
    assert_eq!(run, 0, "the harness ran in the worker");
    assert_ne!(pid, std::process::id());
    // musl passes a program's arguments to `main` only.
    if cfg!(target_env = "gnu") {
        assert_eq!(arguments, std::env::args().collect::<Vec<_>>());
    }
}

#[test]
fn the_global_pool_runs_in_a_test() {
    check(Task::new().expect("a pool can run here"));
}

#[test]
fn tests_share_the_global_pool() {
    let threads = (0..8).map(|_| std::thread::spawn(|| check(Task::new().expect("a pool can run here"))));
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("no check fails");
    }
}

#[test]
fn a_pool_of_its_own_runs_in_a_test() {
    let pool = Pool::builder().workers(2).build().expect("a pool can run here");
    check(pool.try_task().expect("the pool is open"));
}

#[test]
fn a_panic_and_a_crash_in_a_piece_harm_no_test() {
    let pool = Pool::builder().workers(1).build().expect("a pool can run here");
    let task = pool.try_task::<()>().expect("the pool is open");
    task.call(|()| panic!("only the piece"), ());
    task.call(|()| std::process::abort(), ());
    let errors: Vec<_> = task.get_each().into_iter().map(|outcome| outcome.expect_err("both fail")).collect();
    assert_eq!((errors[0].kind(), errors[1].kind()), (ErrorKind::Panicked, ErrorKind::WorkerLost));
    check(pool.try_task().expect("the pool is open"));
}
