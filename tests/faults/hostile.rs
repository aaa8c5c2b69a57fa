//! Pieces that attack the pool: they overwrite the memory that their worker shares with the parent, forge replies, flood
//! the parent with signals, and damage their own process. The parent is not harmed, the worker ends, and the pool continues
//! to work. These are faults 15, 39 to 43, 70 to 72 and 74 to 76 of CASES.md.

#![allow(unsafe_code)]

use crate::support::{self, DEADLINE, Marks, Process, Random, add, mark, pool, task, wait_for, watchdog};
use multicore::{Cause, Error, ErrorKind, Pool, Task};
use serde::{Deserialize, Serialize};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a hostile piece does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Act {
    /// Writes random words everywhere in *back*.
    Scribble(u64),
    /// Writes random words over the states, the words beside them, and the first words of the ring.
    ScribbleOnStates(u64),
    /// Starts a thread that writes random words for ever, while the worker continues.
    Flip(u64),
    /// Forges replies: to pieces that the worker was not given, was not given yet, or has answered.
    Forge(u32),
    /// Forges replies that claim to be longer than all memory.
    ForgeLength(u64),
    /// Signals the parent for ever.
    Flood,
    /// Claims to have read more than the parent has written.
    RunAhead,
    /// Punches holes into the memory, whose pages then read as zeros.
    Punch,
    /// Tries what is forbidden: to resize, to seal, and to write what the parent wrote.
    BreakSeals,
    CloseAll,
    UnmapAll,
    /// Replaces its descriptors by other files.
    Replace,
    /// Sets its resource limits to 0.
    Limits,
    /// Starts a timer that interrupts the process 1,000 times a second, for ever.
    Interrupt,
    BlockSignals,
    Stop,
    /// Changes its directory and its file mode mask.
    Move,
    KillGroup,
    /// Leaves its process group and its session.
    LeaveGroup,
    /// Says again and again that its worker could not start, and never returns.
    StartFails,
    /// Sends a result of this length in parts of 8 bytes that never end, and never returns.
    Trickle(u64),
    /// Opens a result and lets the ring be full of its parts, each of 8 bytes and told of, which never end; it never returns.
    TrickleOpen,
    /// Opens a result, writes parts, and answers with another kind of record, or opens it again.
    OpenAnd(u64),
    /// Tells that its ring is full of open results, and that all pieces are complete, again and again.
    ForgeHints(u32),
    /// Writes over its state words each millisecond, so that it seems not to have begun; for ever, or for 300 ms.
    Unclaim {
        forever: bool,
    },
    /// Writes zeros over its worker's word for being ready too, and never returns.
    Vanish,
    /// Answers, and then hangs while its worker waits for work.
    HangLater(Hang),
}

/// What a worker's first thread does for ever in a signal handler, after its piece was answered: a lock that the piece left
/// behind would do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Hang {
    Sleeps,
    Spins,
    /// It waits in the kernel where no handled signal wakes it.
    Blocked,
}

/// The address and length of *back* or *out* in this process.
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
    // SAFETY: the memory is mapped as long as this process lives, and atomics may be shared.
    unsafe { std::slice::from_raw_parts(start as *const AtomicU64, length / 8) }
}

/// The first word of *back*'s ring, after the words and the states.
const RING: usize = (4096 + 2048 * 4) / 8;

/// The states of the pieces, before the ring.
const STATES: std::ops::Range<usize> = 4096 / 8..RING;

/// A record's header, as a correct worker would write it.
fn header(kind: u64, flags: u64, sequence: u32, bytes: u64) -> u64 {
    bytes | kind << 22 | flags << 26 | u64::from(sequence) << 32
}

/// Opens a mapping's file again, as a process with enough rights can.
fn open_anew(name: &str) -> Option<fs::File> {
    let (start, length) = mapping(name);
    let path = format!("/proc/self/map_files/{start:x}-{:x}", start + length);
    fs::OpenOptions::new().read(true).write(true).open(path).ok()
}

fn every_descriptor() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect()
}

/// The descriptors with which this worker signals its parent.
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
        // A random word, or the old word with one bit changed, or a small number.
        match random.below(3) {
            0 => word.store(random.next(), Ordering::Relaxed),
            1 => drop(word.fetch_xor(1 << random.below(64), Ordering::Relaxed)),
            _ => word.store(random.below(5000), Ordering::Relaxed),
        }
    }
}

/// 0 until the handler runs.
static HANGS: AtomicU64 = AtomicU64::new(0);
static HANG: AtomicU64 = AtomicU64::new(0);

extern "C" fn hang(_: i32) {
    HANGS.store(1, Ordering::SeqCst);
    // SAFETY: system calls that a handler may make, and that take no pointers. The parent of a child that shares nothing
    // waits for its end, because the flag says so.
    unsafe {
        match HANG.load(Ordering::SeqCst) {
            0 => {}
            1 => loop {
                std::hint::spin_loop();
            },
            _ => {
                libc::syscall(libc::SYS_clone, libc::CLONE_VFORK | libc::SIGCHLD, 0, 0, 0, 0);
            }
        }
        loop {
            libc::pause();
        }
    }
}

/// Has another thread hang this one once it sleeps, and mark that.
fn hang_later(marks: String, how: Hang) {
    HANG.store(how as u64, Ordering::SeqCst);
    // SAFETY: the handler makes only calls that a handler may make, and `action` is valid.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = hang as *const () as usize;
        libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut());
    }
    std::thread::spawn(move || {
        let pid = std::process::id();
        let sleeps = || fs::read_to_string(format!("/proc/self/task/{pid}/stat")).unwrap().contains(") S");
        // `worker_sleep`: it sleeps, and is not to be woken by then.
        while !sleeps() || back()[0].load(Ordering::SeqCst) as u32 != 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: a system call that takes no pointer.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGUSR2) };
        while HANGS.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        mark(&marks, 1);
    });
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// The number of the piece that runs: the greatest in the states.
fn own_sequence() -> u32 {
    let halves = |word: &AtomicU64| [word.load(Ordering::Relaxed) as u32, (word.load(Ordering::Relaxed) >> 32) as u32];
    back()[STATES].iter().flat_map(halves).max().unwrap() >> 1
}

/// Tells of open results.
fn hint(tail: u64, ended: u32) {
    back()[384 / 8].store(tail, Ordering::SeqCst);
    back()[392 / 8].store(ended.into(), Ordering::SeqCst);
}

/// The same of an open result.
fn trickle_open() -> ! {
    let (ring, sequence) = (&back()[RING..], own_sequence());
    let first = 2 * (sequence as usize - 1);
    for place in (0..ring.len()).step_by(2) {
        ring[place].store(header(3, 0, sequence, 8), Ordering::SeqCst);
    }
    hint(u64::MAX, 0);
    ring[first].store(header(9, 0, sequence, 8), Ordering::SeqCst);
    std::thread::sleep(Duration::from_micros(300));
    loop {
        // Whatever was read comes again.
        ring[first].store(header(3, 0, sequence, 8), Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Opens a result of its own, with some parts, and then writes another record.
fn open_and(seed: u64) {
    let (ring, sequence) = (&back()[RING..], own_sequence());
    let mut random = Random::with_seed(seed);
    let mut place = 2 * (sequence as usize - 1);
    hint(1 << 40, 0);
    let others: Vec<u64> = (0..6).map(|_| [2, 3, 5, 8, 9, 10][random.below(6) as usize]).collect();
    for kind in [9, 3, 3].into_iter().chain(others) {
        let flags = if kind == 10 || kind == 5 { random.below(6) } else { 0 };
        ring[place + 1].store(u64::MAX, Ordering::SeqCst);
        ring[place].store(header(kind, flags, sequence, 8), Ordering::SeqCst);
        place += 2;
    }
}

/// Begins a result of `total` bytes, and lets the rest of the ring be full of its parts, each of 8 bytes.
fn trickle(total: u64) -> ! {
    // Each reply before took two words.
    let sequence = own_sequence();
    let (ring, first) = (&back()[RING..], 2 * (sequence as usize - 1));
    for place in (0..ring.len()).step_by(2) {
        ring[place].store(header(3, 0, sequence, 8), Ordering::SeqCst);
    }
    ring[first + 1].store(total, Ordering::SeqCst);
    ring[first].store(header(2, 0, sequence, 8), Ordering::SeqCst);
    // The parent goes round and finds a part there too.
    std::thread::sleep(Duration::from_micros(300));
    ring[first].store(header(3, 0, sequence, 8), Ordering::SeqCst);
    sleep_for_ever()
}

fn attack(marks: String, act: Act) -> u64 {
    mark(&marks, 0);
    match act {
        Act::Scribble(seed) => scribble(back(), seed, 1_000_000),
        Act::ScribbleOnStates(seed) => scribble(&back()[..RING + 512], seed, 100_000),
        Act::Flip(seed) => drop(std::thread::spawn(move || scribble(back(), seed, u64::MAX))),
        Act::Forge(ahead) => {
            // The parent's position in the ring is unknown here; one of these places is the one that it reads next.
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
                    // SAFETY: `one` has eight bytes.
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
                // SAFETY: a system call that takes no pointer.
                unsafe { libc::fallocate(std::os::fd::AsRawFd::as_raw_fd(&file), holes, 0, length) };
            }
        }
        Act::BreakSeals => {
            for file in ["back", "out"].into_iter().filter_map(open_anew) {
                assert!(file.set_len(0).is_err() && file.set_len(1 << 30).is_err());
                // SAFETY: a system call that takes no pointer.
                let sealed = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_ADD_SEALS, 8) };
                assert_eq!(sealed, -1);
            }
            let mut out = open_anew("out").map(|out| std::os::unix::fs::FileExt::write_at(&out, b"forged", 0));
            assert!(out.take().is_none_or(|written| written.is_err()));
            let (start, length) = mapping("out");
            // SAFETY: the call must fail, which the next line checks; then it changes nothing.
            let opened =
                unsafe { libc::mprotect(start as *mut libc::c_void, length, libc::PROT_READ | libc::PROT_WRITE) };
            assert_eq!(opened, -1);
        }
        // SAFETY: none: this breaks the process on purpose.
        Act::CloseAll => unsafe {
            libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32);
        },
        Act::UnmapAll => {
            for (start, length) in [mapping("back"), mapping("out")] {
                // SAFETY: none: this breaks the process on purpose.
                unsafe { libc::munmap(start as *mut libc::c_void, length) };
            }
        }
        Act::Replace => {
            // /dev/null accepts every write and signals nobody.
            let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
            for fd in every_descriptor() {
                // SAFETY: a system call that takes no pointer; that the process needs the descriptors is the point.
                unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), fd) };
            }
        }
        Act::Limits => {
            support::be_silent();
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            for limit in [libc::RLIMIT_NOFILE, libc::RLIMIT_FSIZE, libc::RLIMIT_DATA, libc::RLIMIT_CORE] {
                // SAFETY: `none` is a valid limit.
                unsafe { libc::setrlimit(limit, &none) };
            }
        }
        Act::Interrupt => {
            extern "C" fn nothing(_: i32) {}
            let each = libc::timeval { tv_sec: 0, tv_usec: 1000 };
            let timer = libc::itimerval { it_interval: each, it_value: each };
            // SAFETY: the handler does nothing, and `action` and `timer` are valid.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = nothing as *const () as usize;
                libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
                libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
            }
        }
        // SAFETY: the set is initialised before it is used.
        Act::BlockSignals => unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        },
        // SAFETY: a system call that takes no pointer; it stops this process.
        Act::Stop => unsafe {
            libc::raise(libc::SIGSTOP);
        },
        Act::Move => {
            std::env::set_current_dir("/").unwrap();
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::umask(0o777) };
        }
        // SAFETY: a system call that takes no pointer; it signals this process's group.
        Act::KillGroup => unsafe {
            libc::kill(0, libc::SIGKILL);
        },
        Act::StartFails => {
            // `stage`: it is not ready.
            back()[192 / 8].store(0, Ordering::SeqCst);
            for word in &back()[RING..] {
                word.store(header(5, 4, 0, 0), Ordering::Relaxed);
            }
            sleep_for_ever();
        }
        Act::Trickle(total) => trickle(total),
        Act::TrickleOpen => trickle_open(),
        Act::OpenAnd(seed) => open_and(seed),
        Act::ForgeHints(ended) => {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(50) {
                hint(u64::MAX, ended);
                std::thread::sleep(Duration::from_millis(1));
                hint(0, 0);
            }
            hint(u64::MAX, ended);
        }
        Act::Unclaim { forever } => {
            let start = Instant::now();
            while forever || start.elapsed() < Duration::from_millis(300) {
                back()[STATES].iter().for_each(|states| states.store(0, Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Act::Vanish => {
            back()[192 / 8].store(0, Ordering::SeqCst);
            back()[STATES].iter().for_each(|states| states.store(0, Ordering::SeqCst));
            sleep_for_ever();
        }
        Act::HangLater(hang) => hang_later(marks, hang),
        // SAFETY: system calls that take no pointers.
        Act::LeaveGroup => unsafe {
            libc::setpgid(0, libc::getppid());
            libc::setsid();
        },
    }
    7
}

/// Checks an error of a hostile piece, or of a piece that shared its worker.
#[track_caller]
fn assert_told(act: Act, error: &Error) {
    let kinds = [
        ErrorKind::WorkerLost,
        ErrorKind::TimedOut,
        ErrorKind::Panicked,
        ErrorKind::Failed,
        ErrorKind::Decode,
        ErrorKind::Encode,
    ];
    assert!(kinds.contains(&error.kind()), "{act:?}: {error}");
    if error.kind() == ErrorKind::WorkerLost {
        assert!(error.cause().is_some_and(|cause| cause != Cause::ForkServerLost), "{act:?}: {error}");
    }
}

/// The sum of a number and 1, by a task of its own.
#[track_caller]
fn add_in(task: Task<u64>, number: u64) -> u64 {
    task.run(add, number, 1);
    task.get_timeout(DEADLINE).unwrap()[0]
}

/// Runs one hostile piece, and then 50 others, which may run in the same worker. These may fail or get any result: a
/// worker can give any reply to a piece that it holds. But each of them ends.
fn play(pool: &Pool, act: Act) {
    let marks = Marks::new();
    let hostile = task::<u64>(pool).timeout(Duration::from_millis(500));
    hostile.run(attack, marks.path(), act);
    let outcomes = hostile.get_each();
    assert!(outcomes.len() == 1 && marks.count() <= 1, "{act:?}: {outcomes:?}");
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_told(act, &error);
    }
    // The next pieces may run in a worker that is still hostile. Only errors and an end are promised.
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
        Act::TrickleOpen,
    ];
    acts.extend((0..4).map(Act::Forge));
    for _ in 0..4 {
        let seed = random.next();
        acts.extend([Act::OpenAnd(seed), Act::ForgeHints(seed as u32), Act::ForgeHints(random.below(9) as u32)]);
        acts.extend([Act::Scribble(seed), Act::ScribbleOnStates(seed), Act::Flip(seed)]);
    }
    acts
}

/// Kills all workers, since a worker that ran a hostile piece may still be hostile, and waits for new ones.
fn end_workers(pool: &Pool) {
    let processes: Vec<Process> = pool.stats().workers.iter().filter_map(|worker| Process::find(worker.pid?)).collect();
    for process in &processes {
        process.kill(libc::SIGKILL);
    }
    wait_for("the workers are replaced", || {
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

/// The work of another pool continues meanwhile, and each piece gets its own result. No piece waits behind a hostile one:
/// each task has one piece, which goes to an idle worker.
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

/// Faults 70 and 71. A worker that slept let its ring stand full: of failed starts, or of a result that never ended. The
/// parent went round in it with the lock held. No limit and no deadline acted, and each call of every other thread hung.
#[test]
fn a_ring_that_stands_full_keeps_the_parent_no_longer_than_it_asked() {
    let _watch = watchdog();
    let acts = [Act::StartFails, Act::Trickle(1 << 30), Act::Trickle(65_537), Act::Trickle(8)];
    // The piece is the first of its worker, or comes after others.
    for (act, before) in acts.into_iter().flat_map(|act| [(act, 0), (act, 3)]) {
        let (pool, marks) = (pool(1), Marks::new());
        for number in 0..before {
            assert_eq!(add_in(task(&pool), number), number + 1);
        }
        let hostile: Task<u64> = task(&pool).timeout(Duration::from_secs(20));
        hostile.run(attack, marks.path(), act);
        // Another thread has the lock meanwhile, again and again.
        while marks.count() == 0 {
            let _ = pool.stats();
        }
        let error = hostile.get_timeout(DEADLINE).unwrap_err();
        assert_eq!((error.kind(), error.cause()), (ErrorKind::WorkerLost, Some(Cause::Protocol)), "{act:?}: {error}");
        assert_eq!(marks.count(), 1, "{act:?}");
        support::assert_well(pool);
    }
}

/// Fault 72. The state words lie where the worker writes. A piece that wrote zeros over them seemed not to have begun: it
/// was given to one worker after the other, took each of them for good, and neither limit nor retries held.
#[test]
fn a_piece_that_hides_that_it_runs_takes_no_pool_with_it() {
    let _watch = watchdog();
    for (workers, limited) in [(1, true), (2, true), (2, false)] {
        let (pool, marks) = (pool(workers), Marks::new());
        let mut hostile: Task<u64> = task(&pool);
        if limited {
            hostile = hostile.timeout(Duration::from_millis(500));
        }
        hostile.run(attack, marks.path(), Act::Unclaim { forever: true });
        marks.wait_for(1);
        // Its task's neighbours find a worker.
        assert_eq!(add_in(task(&pool).retries(3), 1), 2);
        if limited {
            let error = hostile.get_timeout(DEADLINE).unwrap_err();
            assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, Some(0)), "{error}");
        } else {
            // A look between its claim and its first zero tells that it runs, and then it may run for ever.
            hostile.cancel();
        }
        assert!(marks.count() <= 2, "started {} times with no retries", marks.count());
        support::assert_well(pool);
    }
}

/// Fault 72, in a worker's first piece: it wiped the word for being ready too, before anybody had looked. Its worker then
/// counted as one that is being started, which may take any time.
#[test]
fn a_first_piece_that_hides_that_it_runs_takes_no_pool_with_it() {
    let _watch = watchdog();
    // Nobody looks at the moment when that has returned.
    let takes_a_while = || std::thread::sleep(Duration::from_millis(100));
    for workers in [1, 2] {
        let marks = Marks::new();
        let pool = Pool::builder().workers(workers).on_worker_start(takes_a_while).build().unwrap();
        let hostile = task::<u64>(&pool).timeout(Duration::from_millis(500));
        hostile.run(attack, marks.path(), Act::Vanish);
        let error = hostile.get_timeout(DEADLINE).unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, Some(0)), "{error}");
        // Each of the first workers may have it before anybody has seen that it is ready, and hide that once.
        assert!(marks.count() <= 1 + workers, "started {} times with no retries", marks.count());
        support::assert_well(pool);
    }
}

/// Fault 72, for a while: the piece keeps its worker, so it runs once and its result counts.
#[test]
fn a_piece_that_hid_for_a_while_that_it_ran_is_answered_once() {
    let _watch = watchdog();
    for workers in [1, 2] {
        let (pool, marks) = (pool(workers), Marks::new());
        // The worker was seen to be ready.
        assert_eq!(add_in(task(&pool), 1), 2);
        let hostile: Task<u64> = task(&pool);
        hostile.run(attack, marks.path(), Act::Unclaim { forever: false });
        assert_eq!(hostile.get_timeout(DEADLINE).unwrap(), [7]);
        assert_eq!(marks.count(), 1);
        support::assert_well(pool);
    }
}

/// A pool of one worker, which hangs.
fn pool_that_hangs(how: Hang) -> (Pool, Marks) {
    let (pool, marks) = (pool(1), Marks::new());
    let hostile: Task<u64> = task(&pool);
    hostile.run(attack, marks.path(), Act::HangLater(how));
    assert_eq!(hostile.get().unwrap(), [7]);
    marks.wait_for(2);
    (pool, marks)
}

/// Fault 76. A worker that was neither dead nor stopped but never began its next piece was waited for without end, in
/// whatever state it was, as was its pool at the end. A former piece can leave such a thing behind: a lock, or a pipe that nobody reads.
#[test]
fn a_worker_that_never_begins_is_replaced_whatever_it_does() {
    let _watch = watchdog();
    for how in [Hang::Sleeps, Hang::Spins, Hang::Blocked] {
        let (pool, _marks) = pool_that_hangs(how);
        // The first piece did not begin, so it needs no retries.
        assert_eq!(add_in(task(&pool), 4), 5, "{how:?}");
        assert_eq!(pool.stats().workers_lost, 1, "{how:?}");
        support::assert_well(pool);
        let (pool, _marks) = pool_that_hangs(how);
        pool.shutdown();
    }
}

/// A worker in a debugger's hands.
struct Traced(i32);

impl Traced {
    /// `None` where that is not allowed.
    fn seize(pid: u32) -> Option<Traced> {
        let pid = pid as i32;
        // SAFETY: system calls that take no pointers but null.
        unsafe {
            if libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) != 0 {
                return None;
            }
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0), 0);
            assert_eq!(libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL), pid);
        }
        Some(Traced(pid))
    }

    fn let_go(self) {
        // SAFETY: a system call that takes no pointers but null.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) }, 0);
    }
}

/// Fault 75. A worker in a debugger's hands was killed under it as soon as it got a piece. It is passed over as long as
/// others can take its pieces, and gets pieces again once it is let go.
#[test]
fn a_worker_in_a_debuggers_hands_is_passed_over() {
    let _watch = watchdog();
    let pool = pool(2);
    let pid = |ms: u64, _: u64| {
        std::thread::sleep(Duration::from_millis(ms));
        u64::from(std::process::id())
    };
    let pids = || {
        let both: Task<u64> = task(&pool);
        both.run_all(pid, [(30, 0), (30, 1)]);
        both.get_timeout(DEADLINE).unwrap()
    };
    wait_for("both workers take pieces", || pids().iter().collect::<std::collections::HashSet<_>>().len() == 2);
    let held = pool.stats().workers[0].pid.unwrap();
    let Some(traced) = Traced::seize(held) else {
        eprintln!("SKIPPED: no process can be traced here");
        return;
    };
    for _ in 0..3 {
        assert!(!pids().contains(&u64::from(held)), "it ran under the debugger");
    }
    assert_eq!(pool.stats().workers_lost, 0);
    traced.let_go();
    wait_for("it takes pieces again", || pids().contains(&u64::from(held)));
    assert_eq!(pool.stats().workers_lost, 0);
    support::assert_well(pool);
}

/// Fault 75. A worker that dies in a debugger's hands cannot be reaped before that lets go. Its fork server tried without a
/// pause.
#[test]
fn a_worker_that_died_in_a_debuggers_hands_costs_its_fork_server_nothing() {
    let _watch = watchdog();
    let pool = pool(1);
    assert_eq!(add_in(task(&pool), 1), 2);
    let worker = pool.stats().workers[0].pid.unwrap();
    let server = Process::find(worker).unwrap().parent().unwrap();
    let Some(traced) = Traced::seize(worker) else {
        eprintln!("SKIPPED: no process can be traced here");
        return;
    };
    Process::find(worker).unwrap().kill(libc::SIGKILL);
    assert_eq!(add_in(task(&pool), 2), 3);
    let mut sleeps_in_a_row = 0;
    wait_for("the fork server sleeps", || {
        sleeps_in_a_row = if support::state(server.pid) == Some('S') { sleeps_in_a_row + 1 } else { 0 };
        sleeps_in_a_row == 20
    });
    // SAFETY: a system call that takes no pointer but null. It ends the hold.
    assert_eq!(unsafe { libc::waitpid(traced.0, std::ptr::null_mut(), libc::__WALL) }, traced.0);
    wait_for("the worker is reaped", || Process::find(worker).is_none());
    support::assert_well(pool);
}

/// Fault 74. In a new pid namespace that kept the old /proc, the numbers there are those of other processes. A worker that
/// was stopped was waited for without end, and one could be killed for what another process did.
#[test]
fn where_proc_is_another_namespaces_a_stopped_worker_is_replaced() {
    const INNER: &str = "MULTICORE_TEST_NAMESPACE";
    let _watch = watchdog();
    if std::env::var_os(INNER).is_some() {
        assert_eq!(std::process::id(), 1, "it is alone in its namespace");
        let pool = pool(1);
        let pid: Task<u32> = task(&pool);
        pid.call(|(): ()| std::process::id(), ());
        // SAFETY: a system call that takes no pointer.
        unsafe { libc::kill(pid.get().unwrap()[0] as i32, libc::SIGSTOP) };
        let start = Instant::now();
        assert_eq!(add_in(task(&pool), 1), 2);
        assert_eq!(pool.stats().workers_lost, 1);
        assert!(start.elapsed() < DEADLINE);
        // Its state is seen, so others than those that are stopped live on.
        assert_eq!(add_in(task(&pool), 2), 3);
        drop(pool);
        return;
    }
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork"]).arg(std::env::current_exe().unwrap()).env(INNER, "1");
    command.args(["--exact", support::test_name!(), "--nocapture"]);
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.starts_with("unshare:"), "{said}");
            eprintln!("SKIPPED: {said}");
        }
        Err(error) => eprintln!("SKIPPED: there is no unshare: {error}"),
    }
}

/// How many times a thread of this process went to sleep.
fn sleeps() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let of_thread = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    threads.filter_map(|thread| of_thread(std::fs::read_to_string(thread.path().join("status")).ok()?)).sum()
}

/// Fault 41: a worker that signals its parent for ever is killed for that alone, whether a caller waits or not. A parent that gets so
/// little of its cores that it cannot be woken 2,000 times a second cannot tell it from an honest worker, and then a time limit ends the
/// piece: beside six busy loops this test once waited for ever.
#[test]
fn a_worker_that_floods_its_parent_with_signals_is_ended() {
    support::alone!();
    const LIMIT: Duration = Duration::from_secs(15);
    let _watch = watchdog();
    for waits in [true, false] {
        let (pool, marks) = (pool(2), Marks::new());
        let hostile: Task<u64> = pool.try_task().unwrap().timeout(LIMIT);
        let (before, start) = (sleeps(), Instant::now());
        hostile.run(attack, marks.path(), Act::Flood);
        if !waits {
            wait_for("the worker is killed", || pool.stats().workers_lost == 1);
        }
        let error = hostile.get().unwrap_err();
        if error.kind() == ErrorKind::TimedOut {
            let a_second = (sleeps() - before) as f64 / start.elapsed().as_secs_f64();
            assert!(a_second < 4_000.0, "it was woken {a_second} times a second, and noticed nothing");
        } else {
            assert_eq!((error.kind(), error.cause()), (ErrorKind::WorkerLost, Some(Cause::Protocol)), "{error}");
        }
        support::assert_well(pool);
    }
}

/// Fault 15, where only the waiting caller can notice it.
#[test]
fn a_worker_that_lost_what_it_signals_with_holds_up_nobody() {
    let _watch = watchdog();
    for act in [Act::CloseAll, Act::Replace, Act::Limits, Act::Interrupt, Act::LeaveGroup] {
        let (pool, marks) = (pool(1), Marks::new());
        let hostile: Task<u64> = task(&pool);
        hostile.run(attack, marks.path(), act);
        // The next piece takes longer than the caller spins, so the caller sleeps, and its reply has to wait for room in the ring.
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

/// A piece's changes to its process affect only later pieces in the same worker: there is no sandbox. A change that breaks
/// the worker is reported as a lost worker, at once or when the worker is next needed.
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
