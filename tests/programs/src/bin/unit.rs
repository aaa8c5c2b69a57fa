//! A program whose processes all get a signal, as from a service manager: `unit WAY SIGNAL DIRECTORY`. It handles, ignores or
//! blocks the signal, or does nothing about it. Its pieces create a file in the directory and wait for the file `go`.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use std::ffi::c_int;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const WORKERS: usize = 2;

/// The signals that service managers and users send to all processes of a program.
const SIGNALS: [c_int; 5] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments[index].parse().expect("a number");
    match arguments[0].as_str() {
        "dispositions" => println!("{}", dispositions()),
        "executed" => executed(),
        "storm" => storm(),
        "own-handler" => own_handler(),
        way => signalled(way, number(1), &arguments[2]),
    }
}

extern "C" fn handler(_: c_int) {}

fn set(signal: c_int, action: libc::sighandler_t) {
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(signal, action) };
}

fn handle(signal: c_int) {
    set(signal, handler as *const () as usize);
}

fn pool() -> Pool {
    Pool::builder().workers(WORKERS).build().expect("a pool can run here")
}

fn signalled(way: &str, signal: c_int, directory: &str) {
    // Who started this program may ignore it.
    set(signal, libc::SIG_DFL);
    match way {
        "handle" => handle(signal),
        "ignore" => set(signal, libc::SIG_IGN),
        "block" => {
            // SAFETY: the set is valid for writing and then for reading.
            unsafe {
                let mut blocked = std::mem::zeroed();
                libc::sigemptyset(&mut blocked);
                libc::sigaddset(&mut blocked, signal);
                libc::sigprocmask(libc::SIG_BLOCK, &blocked, std::ptr::null_mut());
            }
        }
        _ => {}
    }
    let pool = pool();
    let task: Task<u64> = pool.try_task().expect("the pool is open");
    for number in 0..6 {
        task.run(
            |directory: String, number: u64| {
                fs::write(Path::new(&directory).join(number.to_string()), "").expect("it can be written");
                while !Path::new(&directory).join("go").exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                number
            },
            directory.to_string(),
            number,
        );
    }
    while fs::read_dir(directory).expect("it is there").count() < WORKERS {
        std::thread::sleep(Duration::from_millis(1));
    }
    if way == "handle-later" {
        handle(signal);
    }
    println!("running");
    println!("pieces: {:?}", task.get().map_err(|error| error.to_string()));
    println!("lost: {}", pool.stats().workers_lost);
}

/// One letter for each signal: what it does now.
fn dispositions() -> String {
    let letter = |&signal: &c_int| {
        // SAFETY: a query, which writes to the action.
        let action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action);
            action.sa_sigaction
        };
        match action {
            libc::SIG_DFL => 'd',
            libc::SIG_IGN => 'i',
            _ => 'h',
        }
    };
    SIGNALS.iter().map(letter).collect()
}

/// What a piece finds, what it executes and what it forks.
fn executed() {
    SIGNALS.into_iter().for_each(handle);
    let pool = pool();
    let answer = |piece: fn(()) -> String| {
        let task: Task<String> = pool.try_task().expect("the pool is open");
        task.call(piece, ());
        task.get().expect("it answers").remove(0)
    };
    println!("in a piece: {}", answer(|()| dispositions()));
    println!("executed: {}", answer(|()| execute(false)));
    println!("forked and executed: {}", answer(|()| execute(true)));
    println!("forked: {}", answer(|()| fork_and_end()));
}

fn execute(by_fork: bool) -> String {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(std::env::current_exe().expect("there is /proc"));
    command.arg("dispositions");
    if by_fork {
        // SAFETY: it does nothing; std then forks, where it else uses posix_spawn(3).
        unsafe { command.pre_exec(|| Ok(())) };
    }
    let output = command.output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// A child that a piece forks ends when it is told to: who made it waits for that.
fn fork_and_end() -> String {
    // SAFETY: the child only sleeps; the parent signals its own child and waits for it.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            loop {
                libc::pause();
            }
        }
        libc::kill(child, libc::SIGTERM);
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        format!("ended by {}", libc::WTERMSIG(status))
    }
}

/// Handlers of the user's stay: of a hook's, and of preload's.
fn own_handler() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    extern "C" fn own(_: c_int) {
        SEEN.store(true, Ordering::Relaxed);
    }
    let pool = Pool::builder()
        .workers(1)
        .preload(|| set(libc::SIGUSR1, own as *const () as usize))
        .on_worker_start(|| set(libc::SIGUSR2, own as *const () as usize))
        .build()
        .expect("a pool can run here");
    let task: Task<(bool, bool)> = pool.try_task().expect("the pool is open");
    task.call(
        |()| {
            let arrives = |signal| {
                SEEN.store(false, Ordering::Relaxed);
                // SAFETY: the signal has the handler above.
                unsafe { libc::raise(signal) };
                SEEN.load(Ordering::Relaxed)
            };
            (arrives(libc::SIGUSR1), arrives(libc::SIGUSR2))
        },
        (),
    );
    println!("own: {:?}", task.get().map_err(|error| error.to_string()));
}

/// Signals by the thousand interrupt every system call of the pool's processes, and change nothing.
fn storm() {
    SIGNALS.into_iter().for_each(handle);
    let pool = pool();
    let task: Task<u32> = pool.try_task().expect("the pool is open");
    task.call(|()| std::os::unix::process::parent_id(), ());
    let server = task.get().expect("it answers")[0];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let workers = pool.stats().workers.into_iter().filter_map(|worker| worker.pid);
                for pid in workers.chain([server]) {
                    // SAFETY: a signal that the processes of the pool do not die of; a number is not used again so soon.
                    unsafe { libc::kill(pid as c_int, SIGNALS[pid as usize % SIGNALS.len()]) };
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let right = (0..30).all(|round| work_in_storm(&pool, round));
        over.store(true, Ordering::Relaxed);
        println!("right: {right}");
    });
}

/// Tiny pieces, big values, naps, and deaths that are tried again.
fn work_in_storm(pool: &Pool, round: u64) -> bool {
    let numbers: Task<u64> = pool.try_task().expect("the pool is open");
    numbers.run_all(|a: u64, b: u64| a + b, (0..500).map(|number| (number, round)));
    let big: Task<Vec<u8>> = pool.try_task().expect("the pool is open");
    big.call(|bytes: Vec<u8>| bytes, vec![round as u8; 3 << 20]);
    let naps: Task<u64> = pool.try_task().expect("the pool is open");
    naps.run(
        |ms: u64, _: ()| {
            std::thread::sleep(Duration::from_millis(ms));
            ms
        },
        3,
        (),
    );
    let deaths: Task<bool> = pool.try_task::<bool>().expect("the pool is open").retries(20);
    // Each process decides for itself, by its number.
    deaths.call(|()| if std::process::id().is_multiple_of(2) { std::process::abort() } else { true }, ());
    let sums: Vec<u64> = numbers.get().expect("sums do not fail");
    sums.into_iter().eq((0..500).map(|number| number + round))
        && big.get().expect("it is only copied")[0] == vec![round as u8; 3 << 20]
        && naps.get().expect("it only sleeps") == [3]
        && deaths.get().expect("one number is odd") == [true]
}
