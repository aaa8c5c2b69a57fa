//! Prints the niceness of workers, of all their threads and of what they start. With `NICENESS_THREAD` in the environment a constructor makes
//! a thread before `main`, so that workers are executed.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

const NOBODY: u32 = 65534;

/// Stands before the crate's own constructor.
#[used]
#[unsafe(link_section = ".init_array.00090")]
static MAKE_THREAD: extern "C" fn() = make_thread;

extern "C" fn make_thread() {
    extern "C" fn sleep(_: *mut c_void) -> *mut c_void {
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: the name ends in NUL; the thread uses no memory, and its handle is not used.
    unsafe {
        if !libc::getenv(c"NICENESS_THREAD".as_ptr()).is_null() {
            let mut thread = std::mem::zeroed();
            libc::pthread_create(&mut thread, std::ptr::null(), sleep, std::ptr::null_mut());
        }
    }
}

/// The niceness in a `stat` of /proc: the name before it may contain anything.
fn niceness_in(stat: &str) -> i32 {
    let rest = stat.rsplit_once(')').unwrap().1;
    rest.split_whitespace().nth(16).unwrap().parse().unwrap()
}

/// Of all threads of this process, and of one that it starts.
fn all(_: ()) -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap());
    let child = std::process::Command::new("cat").arg("/proc/self/stat").output().unwrap();
    let child = String::from_utf8(child.stdout).unwrap();
    let all: BTreeSet<i32> = stats.chain([child]).map(|stat| niceness_in(&stat)).collect();
    all.into_iter().collect()
}

fn ask<R: multicore::Value>(pool: &Pool, piece: fn(()) -> R) -> Option<R> {
    let task: Task<R> = pool.try_task().unwrap();
    task.call(piece, ());
    Some(task.get_timeout(DEADLINE).ok()?.remove(0))
}

/// In a worker, and in the one after it.
fn show(what: &str, pool: &Pool) {
    println!("{what}: {:?}", ask(pool, all).unwrap());
    assert!(ask(pool, |()| std::process::abort()).is_none_or(|()| false));
    println!("{what}, after a death: {:?}", ask(pool, all).unwrap());
}

fn main() {
    let pool = |niceness| Pool::builder().workers(1).nice(niceness).build();
    show("higher", &pool(5).unwrap());
    show("as here", &Pool::builder().workers(1).build().unwrap());
    // SAFETY: asks for numbers, and takes some.
    unsafe {
        println!("here: {}", libc::getpriority(libc::PRIO_PROCESS, 0));
        if libc::geteuid() != 0 {
            println!("skipped: only root may have a lower one");
            return;
        }
        let lower = pool(-5).unwrap();
        assert_eq!(libc::setresgid(NOBODY, NOBODY, NOBODY), 0);
        assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
        assert!(ask(&lower, |()| std::process::abort()).is_none_or(|()| false));
        show("lower, without the rights", &lower);
        println!("its user: {:?}", ask(&lower, |()| libc::getuid()));
    }
    let refused = pool(-5).unwrap_err();
    println!("refused: {:?} {refused}", refused.kind());
}
