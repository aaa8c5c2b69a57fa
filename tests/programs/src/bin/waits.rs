//! A host program that waits for its own children: `waits HOW`. The pool's processes must be hidden from it, whatever
//! happens to them.

#![allow(unsafe_code)]

use multicore::Pool;
use multicore_programs::{outcome_of, own_task};
use std::ffi::c_int;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

static SIGNALS: AtomicU32 = AtomicU32::new(0);
static ENOUGH: AtomicBool = AtomicBool::new(false);

extern "C" fn count(_: c_int) {
    SIGNALS.fetch_add(1, Relaxed);
}

fn main() {
    let how = std::env::args().nth(1).expect("a way to wait");
    // SAFETY: the handler only increments an atomic.
    unsafe {
        match how.as_str() {
            "handler" => libc::signal(libc::SIGCHLD, count as *const () as usize),
            "ignored" => libc::signal(libc::SIGCHLD, libc::SIG_IGN),
            "loop" => libc::SIG_DFL,
            other => panic!("{other} is not a known way to wait"),
        };
    }
    let waiter = (how == "loop").then(|| std::thread::spawn(wait_always));
    let found = pool_of_many_deaths();
    ENOUGH.store(true, Relaxed);
    println!("found by waits: {:?}", waiter.map(|waiter| waiter.join().expect("it waits")).or(found));
    println!("signals: {}", SIGNALS.load(Relaxed));
}

/// Waits for any child in a loop. Returns the number of children that it ever found.
fn wait_always() -> c_int {
    while !ENOUGH.load(Relaxed) {
        let pid = wait(0);
        if pid != -1 {
            return pid;
        }
    }
    0
}

fn wait(flags: c_int) -> c_int {
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), flags) }
}

/// Runs a pool whose workers and fork server die. Returns what a wait finds at the end.
fn pool_of_many_deaths() -> Option<c_int> {
    let pool = Pool::builder().workers(2).build().expect("a pool can run here");
    println!("task: {}", own_task(&pool));
    for end in [(|()| std::process::abort()) as fn(()) -> u32, |()| std::process::exit(3)] {
        let outcome = outcome_of(|| {
            let task = pool.try_task().expect("the pool is open");
            task.call(end, ());
            task
        });
        println!("death: {:?}", outcome.expect_err("it dies").cause());
    }
    let server = fork_server(&pool).expect("it answers");
    // SAFETY: the fork server is there until it is killed.
    unsafe { libc::kill(server as c_int, libc::SIGKILL) };
    while fork_server(&pool).is_none_or(|now| now == server) {}
    println!("another fork server: Ok");
    if std::env::args().nth(1).as_deref() == Some("handler") {
        // The host can wait for its own child.
        let status = Command::new("sh").args(["-c", "exit 5"]).status().expect("there is a shell");
        println!("own child: {:?}", status.code());
    }
    drop(pool);
    let found = wait(libc::WNOHANG);
    (found != -1).then_some(found)
}

fn fork_server(pool: &Pool) -> Option<u32> {
    let task = pool.try_task::<u32>().expect("the pool is open");
    task.call(|()| std::os::unix::process::parent_id(), ());
    Some(task.get().ok()?[0])
}
