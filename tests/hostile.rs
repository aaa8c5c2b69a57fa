//! Pieces that turn on the pool: they write over all that their worker shares with the parent, forge
//! answers, flood it with wake-ups, wreck their own process. The parent takes no harm, the worker ends,
//! and the pool works on. FAULTS.md numbers the cases: 15 and 39 to 43.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(unsafe_code)]

mod support;

use multicore::{Cause, Error, ErrorKind, Pool, Task};
use serde::{Deserialize, Serialize};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{DEADLINE, Marks, Process, Random, add, mark, pool, task, wait_for, watchdog};

/// What a hostile piece does. It ends well only where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Act {
    /// Random words all over *back*.
    Scribble(u64),
    /// Random words over the states, the words beside them, and the first of the ring.
    ScribbleOnStates(u64),
    /// Random words, by a thread that never stops, while the worker goes on.
    Flip(u64),
    /// An answer to a piece that it was not given, or not yet, or has answered.
    Forge(u32),
    /// An answer that says that it is longer than all memory.
    ForgeLength(u64),
    /// Signals without end.
    Flood,
    /// It is ever further than the parent has written.
    RunAhead,
    /// Holes in the memory: their pages read as zeros.
    Punch,
    /// What is not allowed: to resize, to seal, to write what the parent wrote.
    BreakSeals,
    CloseAll,
    UnmapAll,
    /// Other files in place of its descriptors.
    Replace,
    /// A limit on all that it may still do.
    Limits,
    /// A timer that interrupts it a thousand times a second, for good.
    Interrupt,
    BlockSignals,
    Stop,
    /// Its directory, mask and limits are not what they were.
    Move,
    KillGroup,
    /// The terminal's process group, sessions and all.
    LeaveGroup,
}

/// Where *back* and *out* lie in this process: their first address and length.
fn mapping(name: &str) -> (usize, usize) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains(&format!("memfd:multicore-{name}"))).expect("it is mapped");
    let (start, rest) = line.split_once('-').unwrap();
    let start = usize::from_str_radix(start, 16).unwrap();
    (start, usize::from_str_radix(rest.split(' ').next().unwrap(), 16).unwrap() - start)
}

/// The words of *back*.
fn back() -> &'static [AtomicU64] {
    let (start, length) = mapping("back");
    // SAFETY: mapped as long as this process lives, and shared.
    unsafe { std::slice::from_raw_parts(start as *const AtomicU64, length / 8) }
}

/// Where *back*'s ring begins, in words: behind the words and the states.
const RING: usize = (4096 + 2048 * 4) / 8;

/// A record's first word, as a worker of ours would write it.
fn header(kind: u64, flags: u64, sequence: u32, bytes: u64) -> u64 {
    bytes | kind << 24 | flags << 28 | u64::from(sequence) << 32
}

/// Opens a mapping's file anew, as a process with rights may.
fn open_anew(name: &str) -> Option<fs::File> {
    let (start, length) = mapping(name);
    let path = format!("/proc/self/map_files/{start:x}-{:x}", start + length);
    fs::OpenOptions::new().read(true).write(true).open(path).ok()
}

fn every_descriptor() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect()
}

/// Descriptors through which this worker wakes its parent.
fn events() -> Vec<i32> {
    let is_event = |fd: &i32| {
        fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|link| link.to_string_lossy().contains("eventfd"))
    };
    every_descriptor().into_iter().filter(is_event).collect()
}

fn scribble(words: &[AtomicU64], seed: u64, count: u64) {
    let mut random = Random::with_seed(seed);
    for _ in 0..count {
        let word = &words[random.below(words.len() as u64) as usize];
        // All of it at random, or what was there with a bit changed, or a small number.
        match random.below(3) {
            0 => word.store(random.next(), Ordering::Relaxed),
            1 => drop(word.fetch_xor(1 << random.below(64), Ordering::Relaxed)),
            _ => word.store(random.below(5000), Ordering::Relaxed),
        }
    }
}

fn attack(marks: String, act: Act) -> u64 {
    mark(&marks, 0);
    match act {
        Act::Scribble(seed) => scribble(back(), seed, 1_000_000),
        Act::ScribbleOnStates(seed) => scribble(&back()[..RING + 512], seed, 100_000),
        Act::Flip(seed) => drop(std::thread::spawn(move || scribble(back(), seed, u64::MAX))),
        Act::Forge(ahead) => {
            // Wherever the ring stands: some place of these is where the parent looks next.
            let words = &back()[RING..];
            for place in 0..words.len() / 4 {
                words[2 * place + 1].store(u64::MAX, Ordering::Relaxed);
                words[2 * place].store(header(5, 0, ahead.wrapping_add(place as u32), 8), Ordering::Relaxed);
            }
        }
        Act::ForgeLength(length) => {
            let words = &back()[RING..];
            for place in 0..words.len() / 2 {
                words[2 * place].store(header(2, 0, 1 + place as u32 % 50, 8), Ordering::Relaxed);
                words[2 * place + 1].store(length, Ordering::Relaxed);
            }
        }
        Act::Flood => {
            let (events, one) = (events(), 1_u64.to_ne_bytes());
            assert_eq!(events.len(), 2);
            loop {
                for &event in &events {
                    // SAFETY: eight bytes are there.
                    unsafe { libc::write(event, one.as_ptr().cast(), 8) };
                }
            }
        }
        Act::RunAhead => {
            for step in 0..1_000_000 {
                back()[8].store(u64::MAX - step, Ordering::Relaxed);
            }
        }
        Act::Punch => {
            if let Some(file) = open_anew("back") {
                let holes = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let length = file.metadata().unwrap().len() as i64;
                // SAFETY: a system call without memory.
                unsafe { libc::fallocate(std::os::fd::AsRawFd::as_raw_fd(&file), holes, 0, length) };
            }
        }
        Act::BreakSeals => {
            for file in ["back", "out"].into_iter().filter_map(open_anew) {
                assert!(file.set_len(0).is_err() && file.set_len(1 << 30).is_err());
                // SAFETY: a system call without memory.
                let sealed = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_ADD_SEALS, 8) };
                assert_eq!(sealed, -1);
            }
            let mut out = open_anew("out").map(|out| std::os::unix::fs::FileExt::write_at(&out, b"forged", 0));
            assert!(out.take().is_none_or(|written| written.is_err()));
            let (start, length) = mapping("out");
            // SAFETY: it must fail.
            let opened =
                unsafe { libc::mprotect(start as *mut libc::c_void, length, libc::PROT_READ | libc::PROT_WRITE) };
            assert_eq!(opened, -1);
        }
        // SAFETY: not at all; the process is lost.
        Act::CloseAll => unsafe {
            libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32);
        },
        Act::UnmapAll => {
            for (start, length) in [mapping("back"), mapping("out")] {
                // SAFETY: not at all; the process is lost.
                unsafe { libc::munmap(start as *mut libc::c_void, length) };
            }
        }
        Act::Replace => {
            // Which takes whatever is written, and tells nobody.
            let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
            for fd in every_descriptor() {
                // SAFETY: the process's own descriptors, whatever it needs them for.
                unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), fd) };
            }
        }
        Act::Limits => {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            for limit in [libc::RLIMIT_NOFILE, libc::RLIMIT_FSIZE, libc::RLIMIT_DATA, libc::RLIMIT_CORE] {
                // SAFETY: the limit is valid.
                unsafe { libc::setrlimit(limit, &none) };
            }
        }
        Act::Interrupt => {
            extern "C" fn nothing(_: i32) {}
            let each = libc::timeval { tv_sec: 0, tv_usec: 1000 };
            let timer = libc::itimerval { it_interval: each, it_value: each };
            // SAFETY: the handler does nothing, and both are valid.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = nothing as *const () as usize;
                libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
                libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
            }
        }
        // SAFETY: the set is filled before it is used.
        Act::BlockSignals => unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        },
        // SAFETY: stops this process.
        Act::Stop => unsafe {
            libc::raise(libc::SIGSTOP);
        },
        Act::Move => {
            std::env::set_current_dir("/").unwrap();
            // SAFETY: always allowed.
            unsafe { libc::umask(0o777) };
        }
        // SAFETY: signals this process and what it started.
        Act::KillGroup => unsafe {
            libc::kill(0, libc::SIGKILL);
        },
        // SAFETY: system calls without memory.
        Act::LeaveGroup => unsafe {
            libc::setpgid(0, libc::getppid());
            libc::setsid();
        },
    }
    7
}

/// What an error of a hostile piece, or of one that shared its worker, may be.
#[track_caller]
fn assert_told(act: Act, error: &Error) {
    let kinds = [ErrorKind::WorkerLost, ErrorKind::TimedOut, ErrorKind::Panicked, ErrorKind::Decode, ErrorKind::Encode];
    assert!(kinds.contains(&error.kind()), "{act:?}: {error}");
    if error.kind() == ErrorKind::WorkerLost {
        assert!(error.cause().is_some_and(|cause| cause != Cause::ForkServerLost), "{act:?}: {error}");
    }
}

/// The piece attacks; others, before and behind it and in another task, have what is theirs, unless they
/// shared its worker: whoever holds a piece can answer it as it likes.
fn play(pool: &Pool, act: Act) {
    let marks = Marks::new();
    let hostile = task::<u64>(pool).timeout(Duration::from_millis(500));
    hostile.run(attack, marks.path(), act);
    let outcomes = hostile.get_each();
    assert!(outcomes.len() == 1 && marks.count() <= 1, "{act:?}: {outcomes:?}");
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_told(act, &error);
    }
    // It goes on with a worker that may still be hostile: nothing but errors, and an end.
    let after = task::<u64>(pool).timeout(Duration::from_millis(500)).retries(3);
    for number in 0..50 {
        after.run(add, number, 1);
    }
    for error in after.get_each().into_iter().filter_map(Result::err) {
        assert_told(act, &error);
    }
}

fn acts(random: &mut Random) -> Vec<Act> {
    let mut acts = vec![
        Act::Flood,
        Act::RunAhead,
        Act::Punch,
        Act::BreakSeals,
        Act::CloseAll,
        Act::UnmapAll,
        Act::Replace,
        Act::Limits,
        Act::Interrupt,
        Act::BlockSignals,
        Act::Stop,
        Act::Move,
        Act::KillGroup,
        Act::LeaveGroup,
        Act::ForgeLength(u64::MAX),
        Act::ForgeLength(1 << 60),
        Act::ForgeLength(1 << 30),
        Act::ForgeLength(9),
    ];
    acts.extend((0..4).map(Act::Forge));
    for _ in 0..4 {
        let seed = random.next();
        acts.extend([Act::Scribble(seed), Act::ScribbleOnStates(seed), Act::Flip(seed)]);
    }
    acts
}

/// No worker that did this is trusted further than by the next piece: they are all ended.
fn end_workers(pool: &Pool) {
    let processes: Vec<Process> = pool.stats().workers.iter().filter_map(|worker| Process::find(worker.pid?)).collect();
    for process in &processes {
        process.kill(libc::SIGKILL);
    }
    wait_for("they are replaced", || {
        let pids = |pid: u32| processes.iter().all(|process| process.pid != pid);
        pool.stats().workers.iter().all(|worker| worker.pid.is_some_and(pids))
    });
}

#[test]
fn whatever_a_worker_does_the_pool_works_on() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    for workers in [1, 3] {
        let pool = pool(workers);
        for act in acts(&mut random) {
            play(&pool, act);
            end_workers(&pool);
            support::assert_works(&pool);
        }
        support::assert_well(pool);
    }
}

/// The others' work goes on meanwhile, and none of their results is another's. Their pieces wait at no
/// hostile worker: each task is one piece, which goes to a worker that has nothing to do.
#[test]
fn an_attack_changes_nothing_for_the_workers_beside_it() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    let (hostile_pool, pool) = (pool(1), pool(2));
    for act in acts(&mut random) {
        std::thread::scope(|scope| {
            let attack = scope.spawn(|| play(&hostile_pool, act));
            let mut number = 0;
            while !attack.is_finished() {
                let task: Task<u64> = task(&pool);
                task.run(add, number, 1);
                assert_eq!(task.get_timeout(DEADLINE).unwrap(), [number + 1], "{act:?}");
                number += 1;
            }
        });
        end_workers(&hostile_pool);
    }
    assert_eq!(pool.stats().workers_lost, 0);
}

/// Case 41: a worker that wakes its parent without end is ended by that alone, whoever waits or does not.
#[test]
fn a_worker_that_floods_its_parent_with_signals_is_ended() {
    let _watch = watchdog();
    for waits in [true, false] {
        let (pool, marks) = (pool(2), Marks::new());
        let hostile: Task<u64> = task(&pool);
        hostile.run(attack, marks.path(), Act::Flood);
        if !waits {
            wait_for("it is ended", || pool.stats().workers_lost == 1);
        }
        let error = hostile.get().unwrap_err();
        assert_eq!((error.kind(), error.cause()), (ErrorKind::WorkerLost, Some(Cause::Protocol)), "{error}");
        support::assert_well(pool);
    }
}

/// Case 15, with nobody but the waiter to notice.
#[test]
fn a_worker_that_lost_what_it_signals_with_holds_up_nobody() {
    let _watch = watchdog();
    for act in [Act::CloseAll, Act::Replace, Act::Limits, Act::Interrupt, Act::LeaveGroup] {
        let (pool, marks) = (pool(1), Marks::new());
        let hostile: Task<u64> = task(&pool);
        hostile.run(attack, marks.path(), act);
        // Behind it, so long that whoever waits sleeps by then, and with a reply that has to wait for room.
        let behind: Task<Vec<u8>> = pool.try_task().unwrap().retries(2);
        let long = |length: usize| {
            std::thread::sleep(Duration::from_millis(20));
            vec![1; length]
        };
        behind.call(long, 3_000_000);
        match hostile.get_timeout(DEADLINE) {
            Ok(results) => assert_eq!(results, [7]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WorkerLost, "{act:?}: {error}"),
        }
        assert_eq!(behind.get_timeout(DEADLINE).unwrap()[0].len(), 3_000_000, "{act:?}");
        support::assert_works_again(&pool);
    }
}

/// What a piece leaves behind in its process is seen by the next one there, and by no other: this is no
/// sandbox. What wrecks the worker is told as a loss, at once or when it is next needed.
#[test]
fn a_worker_without_descriptors_or_memory_is_lost_and_replaced() {
    let _watch = watchdog();
    for act in [Act::UnmapAll, Act::KillGroup] {
        let (pool, marks) = (pool(1), Marks::new());
        let hostile: Task<u64> = task(&pool);
        hostile.run(attack, marks.path(), act);
        let start = Instant::now();
        let error = hostile.get().unwrap_err();
        assert!(start.elapsed() < DEADLINE);
        let expected = if act == Act::UnmapAll { libc::SIGSEGV } else { libc::SIGKILL };
        assert_eq!(error.cause(), Some(Cause::Signal(expected)), "{act:?}: {error}");
        support::assert_well(pool);
    }
}
