//! Helpers that the programs share.

#![allow(unsafe_code)]

use multicore::{Cause, Error, ErrorKind, Pool, Task, Value};
use std::ffi::{CString, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The sum of the numbers of a range: a piece.
pub fn sum(start: u64, end: u64) -> u64 {
    (start..end).sum()
}

/// The id of the process that runs it: a piece.
pub fn pid(_: (), _: ()) -> u32 {
    std::process::id()
}

/// A thread, as other processes know it: the numbers of its process and its own.
pub type Thread = (u32, u32);

/// The thread that calls this.
#[must_use]
pub fn this_thread() -> Thread {
    // SAFETY: a system call that takes no pointer.
    (std::process::id(), unsafe { libc::syscall(libc::SYS_gettid) } as u32)
}

/// Waits until a thread sleeps, as one does that waits for results. Three looks must find it asleep, since it may sleep for a
/// moment for another reason.
pub fn wait_until_asleep((process, thread): Thread) {
    let start = Instant::now();
    let mut looks = 0;
    while looks < 3 {
        let stat = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/stat")).expect("it is there");
        let sleeps = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'));
        looks = if sleeps { looks + 1 } else { 0 };
        assert!(start.elapsed() < Duration::from_secs(60), "it never sleeps");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The outcome of a task of the global pool: `Ok`, or the error's kind.
pub fn global_task() -> String {
    match Task::<u32>::try_new() {
        Ok(task) => outcome(task),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// The same for a given pool.
pub fn own_task(pool: &Pool) -> String {
    match pool.try_task::<u32>() {
        Ok(task) => outcome(task),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn outcome(task: Task<u32>) -> String {
    task.run(pid, (), ());
    match task.get() {
        Ok(pids) if pids[0] != std::process::id() => "Ok".to_string(),
        Ok(_) => "Ok, but in this process".to_string(),
        Err(error) => error.to_string(),
    }
}

/// The outcome of a piece. On a very busy machine the cause of a worker's death may not be reported in time. Then the piece
/// is run again in a new task.
///
/// # Errors
/// The error of the piece.
pub fn outcome_of<R: Value>(task: impl Fn() -> Task<R>) -> Result<R, Error> {
    loop {
        match task().get() {
            Err(error) if error.cause() == Some(Cause::Unknown) => {}
            other => return other.map(|mut results| results.remove(0)),
        }
    }
}

/// Checks of a program that its pools work. It prints the same lines with every linker, C library and profile.
pub fn answers() {
    println!("task: {}", global_task());
    let task = Task::<u64>::new().expect("a pool can run here");
    for (start, end) in multicore::ranges(1000) {
        task.run(sum, start as u64, end as u64);
    }
    println!("sum: {}", task.get().expect("sums do not fail").iter().sum::<u64>());
    type Failure = (&'static str, fn(String, ()) -> u64);
    let failures: [Failure; 3] = [
        ("panic", |why, ()| panic!("{why}")),
        ("abort", |_, ()| std::process::abort()),
        ("exit", |_, ()| std::process::exit(3)),
    ];
    for (name, fails) in failures {
        let error = outcome_of(|| {
            let task = Task::<u64>::new().expect("a pool can run here");
            task.run(fails, "no reason".to_string(), ());
            task
        })
        .expect_err("the piece fails");
        println!("{name}: {:?} {:?}", error.kind(), error.cause());
    }
    println!("after: {}", global_task());
}

/// An error with its kind.
#[must_use]
pub fn told(error: &Error) -> String {
    format!("{:?}: {error}", error.kind())
}

/// The host goes into another root directory after its pool was made. Then the fork server dies.
pub fn another_root(root: &Path) {
    let pool = Pool::builder().workers(1).build().expect("a pool can run here");
    let server = fork_server(&pool).expect("it answers");
    let root = CString::new(root.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the path ends in NUL, and the other calls take no pointer or a constant one. The fork server is there
    // until it is killed.
    unsafe {
        if libc::chroot(root.as_ptr()) != 0 || libc::chdir(c"/".as_ptr()) != 0 {
            return println!("skipped: {}", std::io::Error::last_os_error());
        }
        libc::kill(server as c_int, libc::SIGKILL);
    }
    // Until its death is known, tasks may still fail, or run in a worker that is about to die.
    let answer = loop {
        match fork_server(&pool) {
            Ok(now) if now != server => break "Ok".to_string(),
            Err(error) if error.kind() != ErrorKind::WorkerLost => break told(&error),
            _ => {}
        }
    };
    println!("later: {answer}");
    println!(
        "another: {}",
        Pool::builder().workers(1).build().map_or_else(|error| told(&error), |pool| own_task(&pool))
    );
}

fn fork_server(pool: &Pool) -> Result<u32, Error> {
    let task = pool.try_task::<u32>()?;
    task.run(|(), ()| std::os::unix::process::parent_id(), (), ());
    Ok(task.get()?[0])
}
