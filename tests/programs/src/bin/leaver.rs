//! A host program that leaves, or is made to: `leaver WAY DIRECTORY`. Three workers run pieces that
//! never end by themselves and shrug off every signal that can be; each leaves a file in the directory
//! when it has begun.

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
            // Nobody waits for it but the pool.
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

/// Never ends, and cannot be ended but by SIGKILL.
fn endure() {
    // SAFETY: signals that are blocked harm nobody.
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
        // SAFETY: ends the process without any of its handlers.
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
            // A daemon's child, say: it holds every descriptor of ours, and outlives us.
            // SAFETY: the child makes system calls only.
            let child = unsafe { libc::fork() };
            if child == 0 {
                loop {
                    // SAFETY: as above.
                    unsafe { libc::pause() };
                }
            }
            println!("child: {child}");
            println!("ready");
            std::thread::park();
        }
        other => panic!("{other} is no way to leave"),
    }
}
