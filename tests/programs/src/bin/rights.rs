//! A host that gives up its rights after it made its pool, as a server does that starts as root: `rights SITUATION`.
//! Prints what its pool then does.

#![allow(unsafe_code)]

use multicore::{Error, Pool, Task};
use std::fs::File;
use std::io::{self, Write};
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
        "follow" => follow(),
        "renew" => renew(),
        "keep" => keep(),
        "filter" => filter_later(),
        "effective" => effective(),
        "streams" => streams(),
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
    wait_for_begun(pool);
    task
}

/// Waits until a piece has told that it has begun.
fn wait_for_begun(pool: &Pool) {
    let start = Instant::now();
    let has_begun = || {
        let pid = pool.stats().workers[0].pid.unwrap_or_default();
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "begun\n")
    };
    while !has_begun() {
        assert!(start.elapsed() < DEADLINE, "the piece has not begun");
        std::thread::sleep(Duration::from_millis(1));
    }
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

/// What a process may do, as it sees it itself.
fn rights(_: (), _: ()) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let told = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
    let line = |name: &str| status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or("").to_string();
    let mut lines: Vec<String> = told.into_iter().map(line).collect();
    lines.push(format!("secrets: {}", std::fs::read("/etc/shadow").is_ok()));
    // SAFETY: writes a number.
    unsafe {
        let mut signal = 0;
        libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal);
        lines.push(format!("death signal: {signal}"));
    }
    lines.join("\n")
}

/// True if a piece finds the rights of this process, and the signal that ends it with its fork server.
fn follows(pool: &Pool) -> bool {
    let task: Task<String> = pool.try_task().unwrap();
    task.run(rights, (), ());
    let found = task.get_timeout(DEADLINE).unwrap().remove(0);
    let own = rights((), ());
    let expected = own.replace("death signal: 0", "death signal: 9");
    if found != expected {
        println!("a worker has\n{found}\nthis process has\n{own}");
    }
    found == expected
}

/// Ends the worker that runs it.
fn end_worker(pool: &Pool) {
    let task: Task<u32> = pool.try_task().unwrap();
    task.run(|_: (), _: ()| std::process::abort(), (), ());
    task.get_timeout(DEADLINE).unwrap_err();
}

fn follow() {
    let pool = Pool::builder().workers(2).build().unwrap();
    println!("before: {}", follows(&pool));
    give_up_rights();
    end_worker(&pool);
    println!("after a death: {}", follows(&pool) && follows(&pool));
    println!("lost: {}", pool.stats().workers_lost);
    pool.shutdown();
}

/// Tells that it has begun, and ends once something is written to the file.
fn wait_at(path: String, _: ()) -> u32 {
    let file = File::open(path).unwrap();
    // SAFETY: the name ends in NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"begun".as_ptr()) };
    let start = Instant::now();
    while file.metadata().unwrap().len() == 0 {
        assert!(start.elapsed() < DEADLINE, "nothing is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    1
}

/// No worker dies, and one is busy at that time.
fn renew() {
    let path = std::env::temp_dir().join(format!("multicore-rights-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    let pool = pool();
    let task: Task<u32> = pool.try_task().unwrap();
    task.run(wait_at, path.to_str().unwrap().to_string(), ());
    wait_for_begun(&pool);
    // Both have it open. Later it may be another user's.
    std::fs::remove_file(path).unwrap();
    let waiting: Task<u32> = pool.try_task().unwrap();
    waiting.run(uid, (), ());
    give_up_rights();
    pool.renew_workers();
    println!("busy: {}", task.completed() == 0);
    file.write_all(b"go on").unwrap();
    println!("what ran: {}", told(task.get_timeout(DEADLINE)));
    println!("what waited: {}", told(waiting.get_timeout(DEADLINE)));
    println!("after: {}", follows(&pool));
    println!("lost: {}", pool.stats().workers_lost);
}

/// The host keeps some of its rights, in ways that the kernel takes away by default.
fn keep() {
    let pool = pool();
    // SAFETY: the calls take numbers, and a group that lies on the stack.
    unsafe {
        check(libc::setgroups(2, [7, 9].as_ptr()));
        check(libc::setresgid(1, 2, 3));
        check(libc::prctl(libc::PR_CAPBSET_DROP, 21));
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1));
        check(libc::setresuid(1000, 1001, 1002));
        // Effective, permitted and inheritable: to bind to small ports.
        let header = [0x2008_0522_u32, 0];
        let sets = [1_u32 << 10, 1 << 10 | 1 << 12, 1 << 10, 0, 0, 0];
        check(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) as i32);
        check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, 10, 0, 0));
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    }
    end_worker(&pool);
    println!("after a death: {}", follows(&pool));
}

/// A host that is root, and has another effective user for a while.
fn effective() {
    println!("one main");
    let outcome = || match Pool::builder().workers(1).build() {
        Ok(_) => "a pool".to_string(),
        Err(error) => format!("{:?} {error}", error.kind()),
    };
    // SAFETY: takes a number.
    unsafe { check(libc::seteuid(NOBODY)) };
    println!("with two users: {}", outcome());
    // SAFETY: takes a number.
    unsafe { check(libc::seteuid(0)) };
    println!("with one: {}", outcome());
}

/// A host that goes into a sandbox, which its fork server cannot enter.
fn filter_later() {
    let pool = pool();
    let task: Task<u32> = pool.try_task().unwrap();
    task.run(uid, (), ());
    println!("before: {}", told(task.get_timeout(DEADLINE)));
    filter(&[libc::SYS_reboot], libc::EPERM);
    pool.renew_workers();
    let start = Instant::now();
    let refused = loop {
        match pool.try_task::<u32>().map(drop) {
            Err(error) => break error,
            Ok(()) => assert!(start.elapsed() < DEADLINE, "the pool works on"),
        }
    };
    println!("after: {:?} {refused}", refused.kind());
}

/// Standard output goes to another file while the pool lives. What the old one gets is read by the test.
fn streams() {
    let pool = pool();
    let say = |text: &str| {
        let task: Task<()> = pool.try_task().unwrap();
        task.call(|text: String| println!("{text}"), text.to_string());
        task.get_timeout(DEADLINE).unwrap();
    };
    say("to the old one");
    let mut pipe = [0; 2];
    // SAFETY: writes two descriptors, and replaces standard output as a whole.
    unsafe {
        check(libc::pipe(pipe.as_mut_ptr()));
        assert_eq!(libc::dup2(pipe[1], 1), 1);
        libc::close(pipe[1]);
    }
    pool.renew_workers();
    say("to the new one");
    // Closed in the host, it is empty in a worker.
    // SAFETY: std allows for a closed standard output.
    unsafe { libc::close(1) };
    pool.renew_workers();
    say("to nobody");
    let mut text = String::new();
    // SAFETY: the descriptor is this function's own.
    let mut read = unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(pipe[0]) };
    // It ends: neither the fork server nor a worker holds the other end.
    std::io::Read::read_to_string(&mut read, &mut text).unwrap();
    eprintln!("{text}the end");
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
