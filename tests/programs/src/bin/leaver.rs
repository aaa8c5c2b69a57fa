//! A host program that exits or is killed: `leaver WAY DIRECTORY`. Three workers run pieces that never end by themselves and
//! block every signal that can be blocked. Each piece creates a file in the directory when it has begun.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use std::fs;
use std::path::Path;
use std::time::Duration;

const WORKERS: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (way, directory) = (arguments.next().expect("a way"), arguments.next().unwrap_or_default());
    match way.as_str() {
        "never-ready" => {
            // Only the pool waits for `preload`.
            let _ = Pool::builder().workers(WORKERS).preload(|| std::thread::sleep(Duration::from_secs(3600))).build();
        }
        "idle" => {
            let pool = pool();
            while pool.stats().workers.iter().any(|worker| worker.pid.is_none()) {}
            println!("ready");
            std::thread::park();
        }
        "return-global" => {
            let task = Task::new().expect("a pool can run here");
            busy(&task, &directory);
        }
        _ => {
            let pool = pool();
            let task = pool.try_task().expect("the pool is open");
            busy(&task, &directory);
            leave(&way, pool, task);
        }
    }
}

fn pool() -> Pool {
    Pool::builder().workers(WORKERS).build().expect("a pool can run here")
}

/// Returns when all workers are busy.
fn busy(task: &Task<()>, directory: &str) {
    for _ in 0..2 * WORKERS {
        task.call(
            |directory: String| {
                let file = Path::new(&directory).join(std::process::id().to_string());
                fs::write(file, "").expect("it can be written");
                endure();
            },
            directory.to_string(),
        );
    }
    while fs::read_dir(directory).expect("it is there").count() < WORKERS {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Never ends; only SIGKILL can end it.
fn endure() {
    // SAFETY: the set is initialised before it is used, and blocked signals break no memory.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn leave(way: &str, pool: Pool, task: Task<()>) {
    match way {
        "exit" => std::process::exit(7),
        // SAFETY: it ends the process without running its exit handlers.
        "exit-at-once" => unsafe { libc::_exit(7) },
        "abort" => std::process::abort(),
        "panic" => panic!("by way of unwinding"),
        "forget" => std::mem::forget((pool, task)),
        "return" => {}
        "stay" => {
            println!("ready");
            std::thread::park();
        }
        "fork" => {
            // Like a daemon: the child has every descriptor of this process open, and outlives it.
            // SAFETY: the child only makes system calls.
            let child = unsafe { libc::fork() };
            if child == 0 {
                loop {
                    // SAFETY: a system call that takes no pointer.
                    unsafe { libc::pause() };
                }
            }
            println!("child: {child}");
            println!("ready");
            std::thread::park();
        }
        other => panic!("{other} is not a known way to exit"),
    }
}
