//! A host that closes all descriptors that it does not know, and then opens others, while it has a pool: `closer SITUATION`.
//! Prints what its pool does then, and whether one of the new descriptors was touched.

#![allow(unsafe_code)]

use multicore::{Error, Pool, Task};
use multicore_programs::{this_thread, wait_until_asleep};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// More than a pool has.
const OPENED: i32 = 100;

fn main() {
    let situation = std::env::args().nth(1).unwrap_or_default();
    let pool = Pool::builder().workers(2).build().unwrap();
    println!("before: {}", told(sum_of(&pool)));
    match situation.as_str() {
        "idle" => {
            let files = close_all();
            calls(&pool);
            drop(pool);
            files.check();
        }
        "completed" => {
            let files = close_all();
            if let Ok(task) = pool.try_task::<u64>() {
                task.run(|a: u64, b: u64| a + b, 1, 2);
                while task.completed() < task.len() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // The rings need no descriptors, so the piece may still have had its result.
                let _ = task.get();
            }
            println!("completed");
            pool.shutdown();
            files.check();
        }
        "waiting" => {
            let task = endless(&pool);
            let (tell, told) = std::sync::mpsc::channel();
            let waiter = std::thread::spawn(move || {
                tell.send(this_thread()).unwrap();
                task.get()
            });
            wait_until_asleep(told.recv().unwrap());
            let files = close_all();
            println!("get: {}", waiter.join().unwrap().is_err());
            calls(&pool);
            pool.shutdown();
            files.check();
        }
        "end" => {
            let task = endless(&pool);
            let files = close_all();
            drop(pool);
            println!("get: {}", task.get().is_err());
            files.check();
        }
        "shutdown" => {
            let files = close_all();
            pool.shutdown();
            files.check();
        }
        other => panic!("{other:?} is not a known situation"),
    }
    let next = Pool::builder().workers(1).build().unwrap();
    println!("the next pool: {}", told(sum_of(&next)));
}

fn sum_of(pool: &Pool) -> Result<Vec<u64>, Error> {
    let task: Task<u64> = pool.try_task()?.timeout(DEADLINE).retries(2);
    task.run(|a: u64, b: u64| a + b, 1, 2);
    task.get_timeout(DEADLINE)
}

fn endless(pool: &Pool) -> Task<u64> {
    let task: Task<u64> = pool.try_task().unwrap();
    task.run(
        |_: (), _: ()| loop {
            std::thread::sleep(DEADLINE)
        },
        (),
        (),
    );
    task
}

fn told(outcome: Result<Vec<u64>, Error>) -> String {
    match outcome {
        Ok(results) => format!("{results:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Every other call returns.
fn calls(pool: &Pool) {
    let _ = (pool.stats().to_string(), pool.workers(), pool.ranges(10).len());
    pool.renew_workers();
    let _ = pool.task_or_inline::<u64>().get();
    let start = Instant::now();
    let error = loop {
        match pool.try_task::<u64>() {
            Err(error) => break error,
            Ok(task) => {
                task.run(|a: u64, b: u64| a + b, 1, 2);
                task.get_timeout(DEADLINE).unwrap_err();
            }
        }
        assert!(start.elapsed() < DEADLINE, "the pool goes on");
    };
    println!("next task: {:?} {error}", error.kind());
}

/// Files that have the numbers now that the pool's descriptors had.
struct Files(Vec<(i32, u64)>);

fn close_all() -> Files {
    // In the middle of a call that writes, nobody can tell any more.
    while !supervisor_sleeps() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: only the standard streams are used by this program itself.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    // SAFETY: the name ends in NUL.
    let opened = (0..OPENED).map(|_| unsafe { libc::memfd_create(c"opened".as_ptr(), libc::MFD_CLOEXEC) });
    Files(opened.map(|number| (number, inode(number).expect("it was opened").0)).collect())
}

fn supervisor_sleeps() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    stats.filter(|stat| stat.contains("(multicore)")).all(|stat| stat.contains("(multicore) S"))
}

/// The inode and the length of a file.
fn inode(number: i32) -> Option<(u64, i64)> {
    // SAFETY: writes a description.
    unsafe {
        let mut stat = std::mem::zeroed();
        (libc::fstat(number, &mut stat) == 0).then_some((stat.st_ino, stat.st_size))
    }
}

impl Files {
    fn check(self) {
        let found = self.0.iter().map(|&(number, id)| (number, inode(number), id));
        let touched: Vec<_> = found.filter(|&(_, found, id)| found != Some((id, 0))).collect();
        println!("touched: {touched:?}");
    }
}
