//! A program that is looked at from outside: `looked SITUATION`. It prints `ready`, then does what its input says, and ends with that.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use std::io::{BufRead, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
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
        "forged" => {
            let version = number(arguments.next()) as u64;
            lone(&[Forged { version, ..Forged::default() }]);
        }
        "elsewhere" => lone(&[Forged { namespace: 1, ..Forged::default() }]),
        "rows" => lone(&[Forged { rows: number(arguments.next()), ..Forged::default() }]),
        "many" => lone(&[Forged { rows: 60_000, ..Forged::default() }; 2]),
        "foreign" => foreign(),
        "without_main" => without_main(),
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

/// What a file with a pool's name says, of this process.
#[derive(Clone, Copy)]
struct Forged {
    version: u64,
    /// All of them busy, in the middle of being written.
    rows: usize,
    namespace: u64,
}

impl Default for Forged {
    fn default() -> Forged {
        Forged { version: 1, rows: 2, namespace: 0 }
    }
}

impl Forged {
    fn make(self) -> OwnedFd {
        let mut words = vec![0_u64; 16 + 8 * self.rows];
        for (word, value) in [
            (0, u64::from_le_bytes(*b"mcstatus")),
            (1, self.version),
            (2, 64),
            (3, 128),
            (4, self.rows as u64),
            (6, u64::from(std::process::id())),
            (8, 1),
            (10, self.rows as u64),
            (11, self.namespace),
        ] {
            words[word] = value;
        }
        for row in words[16..].chunks_exact_mut(8) {
            // An odd sequence; busy with one piece of some function.
            (row[0], row[1], row[3], row[5]) = (1, 3, 1, 1);
        }
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        let file = memfd();
        let written = std::fs::File::from(file.try_clone().expect("a duplicate")).write_all(&bytes);
        written.expect("it is written");
        seal(&file);
        file
    }
}

fn memfd() -> OwnedFd {
    // SAFETY: the name is a string that ends in 0; a new descriptor has one owner.
    unsafe {
        let file = libc::memfd_create(c"multicore-status".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        assert!(file >= 0, "it is made");
        OwnedFd::from_raw_fd(file)
    }
}

fn seal(file: &OwnedFd) {
    // SAFETY: the call has a number alone.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW) };
    assert_eq!(sealed, 0, "it is sealed");
}

/// Files with a pool's name, until they are to be closed.
fn lone(files: &[Forged]) {
    let mut files: Vec<OwnedFd> = files.iter().map(|forged| forged.make()).collect();
    println!("ready");
    obey(|line| match line {
        "close" => files.clear(),
        other => panic!("{other:?} is not known"),
    });
}

/// A pool, and files with its name that no looker can read: one that is longer than any memory, one of nobody, one that is no memfd.
fn foreign() {
    let long = memfd();
    // SAFETY: numbers alone.
    assert_eq!(unsafe { libc::ftruncate(long.as_raw_fd(), 1 << 60) }, 0, "it has a hole");
    seal(&long);
    let closed = memfd();
    // SAFETY: numbers alone.
    assert_eq!(unsafe { libc::fchmod(closed.as_raw_fd(), 0) }, 0, "nobody may open it");
    let _files = (long, closed);
    mixed();
}

/// The first thread ends, and the others go on: /proc/PID then has no descriptors.
fn without_main() {
    let first = std::process::id();
    std::thread::spawn(move || {
        let has_ended = || {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{first}/stat"));
            stat.is_ok_and(|stat| stat.contains(") Z "))
        };
        while !has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        lone(&[Forged::default()]);
        std::process::exit(0);
    });
    // SAFETY: the thread has nothing that another one needs.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}
