//! A program that is looked at from outside: `looked SITUATION`. It prints `ready`, then does what its input says, and ends with that.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use std::io::BufRead;
use std::time::Duration;

/// A piece that never ends by itself.
fn hang(_: u64, _: u64) -> u64 {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn crash(_: u64, _: u64) -> u64 {
    std::process::abort()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().unwrap_or_default().as_str() {
        "mixed" => mixed(),
        "busy" => busy(number(arguments.next())),
        "forged" => forged(number(arguments.next()) as u64),
        "none" => {
            println!("ready");
            obey(|line| panic!("{line:?} is not known"));
        }
        other => panic!("{other:?} is not a known situation"),
    }
}

fn number(argument: Option<String>) -> usize {
    argument.expect("a number").parse().expect("a number")
}

fn obey(mut act: impl FnMut(&str)) {
    for line in std::io::stdin().lock().lines() {
        match line.expect("standard input can be read").as_str() {
            "end" => return,
            line => act(line),
        }
    }
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool can run here")
}

/// Three workers: one was replaced, one hangs, and the rest is idle.
fn mixed() {
    let own = pool(3);
    let task = own.try_task::<u64>().expect("a task");
    task.run(crash, 1, 2);
    assert!(task.get().is_err(), "it crashed");
    // All have answered, so all are known to be ready.
    while own.stats().workers.iter().any(|worker| worker.state != multicore::WorkerState::Idle) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let hanging: Task<u64> = own.try_task().expect("a task").kill_on_drop(true);
    hanging.run(hang, 1, 2);
    println!("ready");
    let mut others = Vec::new();
    obey(|line| match line {
        "two" => {
            others.push(pool(2));
            println!("made");
        }
        "close" => {
            others.clear();
            println!("closed");
        }
        "fork" => {
            // SAFETY: the child makes system calls alone, and ends without the exit handlers of its parent.
            let child = unsafe {
                let child = libc::fork();
                if child == 0 {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    loop {
                        libc::pause();
                    }
                }
                child
            };
            println!("child {child}");
        }
        other => panic!("{other:?} is not known"),
    });
}

/// Each worker is in a piece that does not end, and nobody waits for it.
fn busy(workers: usize) {
    let own = pool(workers);
    let hanging: Task<u64> = own.try_task().expect("a task").kill_on_drop(true);
    hanging.run_all(hang, (0..workers as u64).map(|number| (number, 0)));
    while own.stats().workers.iter().any(|worker| worker.pieces_held == 0) {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("ready");
    obey(|line| panic!("{line:?} is not known"));
}

/// A file of another version with a pool's name.
fn forged(version: u64) {
    let mut words = [0_u64; 64];
    (words[0], words[1], words[6]) = (u64::from_le_bytes(*b"mcstatus"), version, u64::from(std::process::id()));
    // SAFETY: the name and the words are valid for reading, and the descriptor is not closed before the end.
    unsafe {
        let file = libc::memfd_create(c"multicore-status".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        let length = size_of_val(&words);
        assert_eq!(libc::write(file, words.as_ptr().cast(), length), length as isize, "it is written");
        assert_eq!(libc::fcntl(file, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW), 0, "it is sealed");
    }
    println!("ready");
    obey(|line| panic!("{line:?} is not known"));
}
