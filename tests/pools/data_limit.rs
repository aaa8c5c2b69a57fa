//! The limit of what a worker may allocate: the kernel refuses more, and what its piece does then.

#![allow(unsafe_code)]

use crate::support::{DEADLINE, Door, Marks, assert_well, be_silent, mark, task, wait_at, wait_for, watchdog};
use multicore::{Cause, Error, ErrorKind, Pool, PoolBuilder, Replaced};
use std::sync::Mutex;

const MIB: usize = 1 << 20;

/// Far more than a worker needs for itself, and less than the pieces ask for.
const LIMIT: u64 = 300 << 20;

fn pool(workers: usize, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    let builder = Pool::builder().workers(workers).worker_data_limit(LIMIT);
    set(builder).build().expect("a pool can run here")
}

/// Runs the piece, which fails.
#[track_caller]
fn error_of<A: multicore::Value>(pool: &Pool, piece: fn(A) -> u64, argument: A) -> Error {
    let task = task::<u64>(pool);
    task.call(piece, argument);
    task.get_timeout(DEADLINE).unwrap_err()
}

/// What C's malloc gives; null if the kernel refuses that.
fn malloc(bytes: usize) -> *mut u8 {
    // SAFETY: takes a number. Whatever it gives is never freed.
    std::hint::black_box(unsafe { libc::malloc(bytes) }.cast())
}

/// Writes where nothing can be.
fn write_at(address: usize) {
    // SAFETY: nothing is mapped at the addresses of these tests, so the write ends the process.
    unsafe { std::hint::black_box(address as *mut u8).write_volatile(1) };
}

/// Asks for 1 GiB, as Rust does.
fn fill_gibibyte(_: ()) -> u64 {
    be_silent();
    std::hint::black_box(vec![1_u8; 1 << 30]).len() as u64
}

/// Asks for 1 GiB, and does not look at the answer.
fn write_to_refused(_: ()) -> u64 {
    write_at(malloc(1 << 30) as usize);
    0
}

#[test]
fn a_piece_that_asks_for_more_than_its_limit_ends_and_nobody_else_notices() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let (marks, door) = (Marks::new(), Door::closed());
    let other = task::<u32>(&pool);
    let hold = |marks: String, door: String| {
        mark(&marks, 1);
        wait_at(&door);
        std::process::id()
    };
    other.run(hold, marks.path(), door.path());
    marks.wait_for(1);
    wait_for("both are measured", || pool.stats().workers.iter().all(|worker| worker.memory_at_start.is_some()));
    let error = error_of(&pool, fill_gibibyte, ());
    let (worker, pid) = (error.worker().unwrap(), error.pid().unwrap());
    let text = error.to_string();
    assert_eq!((error.kind(), error.cause()), (ErrorKind::MemoryLimit, Some(Cause::AllocationFailed)), "{text}");
    assert_eq!((error.piece(), error.attempts()), (Some(0), 1));
    let expected =
        format!(") was ended with its worker {worker} (pid {pid}): it asked for more than its data limit of 300 MiB");
    assert!(text.contains(&expected) && text.contains("fill_gibibyte"), "{text}");
    assert!(text.contains(" MiB at its start"), "{text}");
    let stats = pool.stats();
    assert_eq!((stats.workers_over_limit, stats.workers_lost), (1, 0), "{stats}");
    assert!(stats.workers.iter().any(|worker| worker.last_replaced == Some(Replaced::MemoryMax)), "{stats}");
    door.open();
    assert_ne!(other.get_timeout(DEADLINE).unwrap(), [pid], "the other worker has gone on");
    assert_well(pool);
}

#[test]
fn code_that_looks_at_the_answer_goes_on() {
    let _watch = watchdog();
    let pool = pool(1, |it| it);
    let task = task::<(bool, bool, u32)>(&pool);
    let ask = |_: ()| (malloc(1 << 30).is_null(), Vec::<u8>::new().try_reserve(1 << 30).is_err(), std::process::id());
    task.call(ask, ());
    task.call(ask, ());
    task.call(|()| (malloc(100 * MIB).is_null(), false, std::process::id()), ());
    let results = task.get_timeout(DEADLINE).unwrap();
    let worker = results[0].2;
    assert_eq!(results, [(true, true, worker), (true, true, worker), (false, false, worker)]);
    assert_eq!((pool.stats().workers_over_limit, pool.stats().workers_lost), (0, 0));
    assert_well(pool);
}

#[test]
fn code_that_crashes_since_it_does_not_look_at_the_answer_is_over_its_limit() {
    let _watch = watchdog();
    let pool = pool(1, |it| it);
    let grow = |_: ()| {
        while !malloc(MIB / 2).is_null() {}
        // Some code does, between the two.
        // SAFETY: this thread's own word.
        unsafe { *libc::__errno_location() = 0 };
        write_at(16);
        0
    };
    let abort = |_: ()| if malloc(1 << 30).is_null() { std::process::abort() } else { 0 };
    for (piece, signal, words) in [
        (write_to_refused as fn(()) -> u64, libc::SIGSEGV, "killed by SIGSEGV"),
        (grow, libc::SIGSEGV, "killed by SIGSEGV"),
        (abort, libc::SIGABRT, "killed by SIGABRT"),
    ] {
        let error = error_of(&pool, piece, ());
        let text = error.to_string();
        assert_eq!((error.kind(), error.cause()), (ErrorKind::MemoryLimit, Some(Cause::Signal(signal))), "{text}");
        assert!(text.contains("data limit of 300 MiB") && text.contains(words), "{text}");
    }
    assert_eq!((pool.stats().workers_over_limit, pool.stats().workers_lost), (3, 0));
    assert_well(pool);
}

#[test]
fn a_crash_that_has_nothing_to_do_with_the_limit_stays_a_lost_worker() {
    let _watch = watchdog();
    let pool = pool(1, |it| it);
    let after_refusal = |address: u64| {
        malloc(1 << 30);
        write_at(address as usize);
        0
    };
    let wild = |address: u64| {
        write_at(address as usize);
        0
    };
    // Without a canonical form, the kernel tells no address, which reads as 0.
    for (piece, address) in [
        (wild as fn(u64) -> u64, 8),
        (wild, 0xdead_beef_dead_beef),
        (after_refusal, 0xdead_beef_dead_beef),
        (after_refusal, 0x1234_5678_9000),
    ] {
        let error = error_of(&pool, piece, address);
        assert_eq!(error.kind(), ErrorKind::WorkerLost, "{error}");
        assert_eq!(error.cause(), Some(Cause::Signal(libc::SIGSEGV)), "{error}");
    }
    // What an earlier piece was refused does not count.
    let task = task::<u64>(&pool);
    task.call(|()| u64::from(malloc(1 << 30).is_null()), ());
    task.call(wild, 8);
    let results = task.get_each();
    assert!(matches!(results[0], Ok(1)));
    assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::WorkerLost);
    assert_eq!((pool.stats().workers_over_limit, pool.stats().workers_lost), (0, 5));
    assert_well(pool);
}

#[test]
fn a_piece_over_its_limit_is_retried_as_often_as_its_task_says() {
    let _watch = watchdog();
    let pool = pool(2, |it| it);
    let task = pool.try_task::<u64>().unwrap().retries(2);
    task.call(fill_gibibyte, ());
    let error = task.get_timeout(DEADLINE).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::MemoryLimit, 3), "{error}");
    assert_eq!((pool.stats().workers_over_limit, pool.stats().workers_lost), (3, 0));
    assert_well(pool);
}

static TABLE: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What `preload` has loaded is the fork server's: the limit is for what comes on top.
#[test]
fn what_was_loaded_before_does_not_count_and_the_limit_cannot_be_lifted() {
    let _watch = watchdog();
    let pool = pool(1, |it| it.preload(|| *TABLE.lock().unwrap() = vec![1; 400 * MIB]));
    let task = task::<(bool, u64, u64)>(&pool);
    let ask = |_: ()| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: valid for writing.
        unsafe { libc::getrlimit(libc::RLIMIT_DATA, &mut limit) };
        (malloc(200 * MIB).is_null(), limit.rlim_cur, limit.rlim_max)
    };
    task.call(ask, ());
    let (is_null, soft, hard) = task.get_timeout(DEADLINE).unwrap()[0];
    assert!(!is_null && soft == hard);
    assert!((LIMIT + 400 * MIB as u64..LIMIT + 500 * MIB as u64).contains(&soft), "{} MiB", soft >> 20);
    assert_eq!(error_of(&pool, fill_gibibyte, ()).kind(), ErrorKind::MemoryLimit);
    assert_well(pool);
}

#[test]
fn a_start_that_needs_more_than_the_limit_is_told_with_it() {
    let _watch = watchdog();
    let pool = pool(1, |it| it.on_worker_start(|| _ = fill_gibibyte(())));
    let error = error_of(&pool, |()| 1, ());
    let text = error.to_string();
    assert!(text.contains("an allocation failed") && text.contains("data limit of 300 MiB"), "{text}");
}

#[test]
fn a_limit_of_zero_is_refused() {
    let error = Pool::builder().worker_data_limit(0).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().starts_with("worker_data_limit of 0 bytes makes no sense"), "{error}");
}
