//! A host that gives up its rights after it made its pool, as a server does that starts as root: `rights SITUATION`.
//! Prints what its pool then does.

#![allow(unsafe_code)]

use multicore::{Error, Pool, Task};
use std::io;
use std::time::{Duration, Instant};

/// Nobody's number on every Linux.
const NOBODY: u32 = 65534;

/// Far beyond what any of it takes.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root has rights to give up");
        return;
    }
    let situation = std::env::args().nth(1).unwrap_or_default();
    match situation.as_str() {
        "limit" => limit(),
        "get_timeout" => get_timeout(),
        "cancel" => cancel(),
        "drop" => drop_pool(),
        "shutdown" => shutdown(),
        "no-kill" => no_kill(),
        other => panic!("{other:?} is not a known situation"),
    }
}

fn pool() -> Pool {
    Pool::builder().workers(1).build().unwrap()
}

/// Groups first: without the user's rights they cannot be given up.
fn give_up_rights() {
    // SAFETY: the calls take numbers, and no group.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()));
        check(libc::setresgid(NOBODY, NOBODY, NOBODY));
        check(libc::setresuid(NOBODY, NOBODY, NOBODY));
    }
}

fn check(result: i32) {
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Tells by the name of its process that it has begun.
fn spin(_: (), _: ()) -> u32 {
    // SAFETY: the name ends in NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"begun".as_ptr()) };
    loop {
        std::hint::spin_loop();
    }
}

fn uid(_: (), _: ()) -> u32 {
    // SAFETY: asks for a number.
    unsafe { libc::getuid() }
}

/// A task whose only piece never ends by itself, and runs by now.
fn running(pool: &Pool, set: impl FnOnce(Task<u32>) -> Task<u32>) -> Task<u32> {
    let task = set(pool.try_task().unwrap());
    task.run(spin, (), ());
    let start = Instant::now();
    let has_begun = || {
        let pid = pool.stats().workers[0].pid.unwrap_or_default();
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "begun\n")
    };
    while !has_begun() {
        assert!(start.elapsed() < DEADLINE, "the piece has not begun");
        std::thread::sleep(Duration::from_millis(1));
    }
    task
}

fn told(outcome: Result<Vec<u32>, Error>) -> String {
    match outcome {
        Ok(results) => format!("{results:?}"),
        Err(error) => format!("{:?} {:?}", error.kind(), error.cause()),
    }
}

/// Another piece runs: a new worker is there.
fn goes_on(pool: &Pool) -> bool {
    let task: Task<u32> = pool.try_task().unwrap();
    task.run(uid, (), ());
    task.get_timeout(DEADLINE).is_ok()
}

fn limit() {
    let pool = pool();
    give_up_rights();
    let task = running(&pool, |task| task.timeout(Duration::from_millis(300)));
    println!("limit: {}", told(task.get_timeout(DEADLINE)));
    println!("goes on: {}", goes_on(&pool));
}

fn get_timeout() {
    let pool = pool();
    give_up_rights();
    println!("get_timeout: {}", told(running(&pool, |task| task).get_timeout(Duration::from_millis(100))));
    println!("goes on: {}", goes_on(&pool));
}

fn cancel() {
    let pool = pool();
    give_up_rights();
    running(&pool, |task| task).cancel();
    println!("goes on: {}", goes_on(&pool));
}

fn drop_pool() {
    let pool = pool();
    give_up_rights();
    let task = running(&pool, |task| task);
    drop(pool);
    println!("dropped: {}", told(task.get_timeout(DEADLINE)));
}

/// A sandbox that allows no signal to another process, from before the pool was made.
fn no_kill() {
    filter(&[libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_pidfd_send_signal], libc::EPERM);
    let pool = pool();
    let task: Task<u32> = pool.try_task().unwrap().timeout(Duration::from_millis(100)).retries(3);
    task.run(spin, (), ());
    println!("limit: {}", task.get_timeout(DEADLINE).unwrap_err());
    println!("goes on: {}", goes_on(&pool));
}

/// These system calls fail from now on.
fn filter(calls: &[libc::c_long], errno: i32) {
    let statement = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    // Load the number of the call. If it is one of these, jump to the end and return the error, else allow the call.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (index, &call) in calls.iter().enumerate() {
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (calls.len() - index) as u8, call as u32));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno as u32));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is valid.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        check(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter));
    }
}

fn shutdown() {
    let pool = pool();
    give_up_rights();
    println!("goes on: {}", goes_on(&pool));
    pool.shutdown();
    println!("shut down");
}
