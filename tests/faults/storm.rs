//! A storm: workers and fork servers are killed and stopped at random while tasks of every kind run. The following must
//! hold after each round, as after every fault:
//!
//! - I1: each piece has one outcome: its own result, or an error of a kind that its task allows.
//! - I2: no piece starts more often than its retries allow.
//! - I3: no process of a pool outlives it.
//! - I4: no descriptor, file or shared memory is left.
//! - I5: the pool continues to work.
//! - I6: the parent is not harmed.
//!
//! In some rounds workers are replaced meanwhile: after a number of pieces, at an age, on request, and because of their memory. In some they end
//! because they are idle, and in some the pool is resized.
//!
//! This test is alone in its process, since it counts the resources of the whole of it. `MULTICORE_TEST_SEED` repeats a
//! storm, except for the kernel's scheduling. `MULTICORE_STORM_ROUNDS` makes it longer.

#![allow(unsafe_code)]

use crate::support::{self, DEADLINE, Marks, Process, Random, add, mark, wait_for, watchdog};
use multicore::{Cause, Error, ErrorKind, Memory, Pool, Shared, Sink, Task};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The variable in the environment of every process of these pools, and of no other process.
const TAG: &str = "MULTICORE_STORM";

/// The length of the storm in a round.
const STORM: Duration = Duration::from_millis(250);

/// The time limit of a piece, by which a stopped worker is detected. No piece takes this long by itself.
const LIMIT: Duration = Duration::from_millis(400);

/// How a piece ends if the storm does not hit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Fate {
    Return,
    Sleep,
    Panic,
    Fail,
    Exit,
    Crash,
    Spin,
}

/// What the pieces of some tasks share: a table that says whose it is, or none.
type Table = Option<Shared<[u64]>>;

/// A piece, which writes a mark when it starts.
fn piece(
    (marks, number): (String, u64),
    (fate, weight, table): (Fate, Vec<u8>, Table),
) -> Result<(u64, Vec<u8>), String> {
    // A piece that writes has made its mark.
    if !marks.is_empty() {
        mark(&marks, number);
    }
    if let Some(table) = table {
        let first = table[0];
        assert!(first <= number && table.iter().all(|&item| item == first), "another task's table");
    }
    match fate {
        Fate::Return => {}
        Fate::Sleep => std::thread::sleep(Duration::from_micros(number % 2_000)),
        Fate::Panic => panic!("piece {number} panics"),
        Fate::Fail => return Err(format!("piece {number} fails")),
        Fate::Exit => std::process::exit(3),
        // SAFETY: a system call that takes no pointer; it ends this process.
        Fate::Crash => unsafe {
            libc::raise(libc::SIGSEGV);
        },
        Fate::Spin => loop {
            std::hint::spin_loop();
        },
    }
    Ok((number, weight))
}

/// A piece that writes its result while it runs, and meets its fate in the middle of that.
fn writing_piece((marks, number): (String, u64), (fate, length): (Fate, usize), sink: &mut Sink) -> Result<(), String> {
    let bytes = [number as u8; 1000];
    mark(&marks, number);
    let middle = length / 2;
    let mut write = |count: usize| {
        (0..count).step_by(1000).for_each(|at| sink.write_all(&bytes[..(count - at).min(1000)]).unwrap())
    };
    write(middle);
    piece((String::new(), number), (fate, Vec::new(), None))?;
    write(length - middle);
    Ok(())
}

/// The pieces of a task, by their numbers in the marks.
struct Expected {
    first: u64,
    fates: Vec<Fate>,
    retries: u32,
    cancelled: bool,
}

/// One submitter: it runs tasks of every kind until the storm is over.
fn submit(pool: &Pool, seed: u64, marks: &str, numbers: &AtomicU64, over: &AtomicBool) -> Vec<Expected> {
    let mut random = Random::with_seed(seed);
    let mut all = Vec::new();
    while !over.load(Ordering::Relaxed) {
        if random.below(3) == 0 {
            all.push(submit_writing(pool, &mut random, marks, numbers));
            continue;
        }
        let count = 1 + random.below(40);
        let first = numbers.fetch_add(count, Ordering::Relaxed);
        let retries = [0, 2, 1000][random.below(3) as usize];
        let limit = if random.below(4) == 0 { LIMIT / 10 } else { LIMIT };
        let task: Task<(u64, Vec<u8>)> = pool.try_task().unwrap().retries(retries).timeout(limit);
        let table: Table = (random.below(3) == 0).then(|| Shared::from_slice(&[first; 600]).unwrap());
        let mut fates = Vec::new();
        for number in first..first + count {
            let fate = match random.below(60) {
                // If a backtrace is requested, a panic may take longer than the limit.
                0 if retries < 10 => Fate::Panic,
                1 if retries < 10 => Fate::Exit,
                2 if retries < 10 => Fate::Crash,
                3 if limit < LIMIT && retries < 10 => Fate::Spin,
                4 => Fate::Fail,
                5..20 => Fate::Sleep,
                _ => Fate::Return,
            };
            // Without optimisation, long vectors are slow.
            let is_heavy = limit == LIMIT && random.below(30) == 0;
            let weight = random.below(if is_heavy { 200_000 } else { 40 });
            fates.push(fate);
            let weight = vec![number as u8; weight as usize];
            task.try_run(piece, (marks.to_string(), number), (fate, weight, table.clone()));
        }
        let mut expected = Expected { first, fates, retries, cancelled: false };
        match random.below(9) {
            0 => {
                task.canceller().cancel();
                expected.cancelled = true;
                check(&expected, task.get_each());
            }
            1 => {
                task.canceller().stop();
                expected.cancelled = true;
                check(&expected, task.get_each());
            }
            8 => task.cancel(),
            2 => drop(task),
            3 => drop(task.get_timeout(Duration::from_micros(random.below(3_000)))),
            4 => drop(task.iter_completed().take(3).count()),
            5 => check(&expected, task.iter().collect()),
            6 => drop(task.get()),
            _ => check(&expected, task.get_each()),
        }
        all.push(expected);
    }
    all
}

/// A task whose pieces write their results, some of them longer than a ring, read in one of the ways.
fn submit_writing(pool: &Pool, random: &mut Random, marks: &str, numbers: &AtomicU64) -> Expected {
    let count = 1 + random.below(12);
    let first = numbers.fetch_add(count, Ordering::Relaxed);
    let retries = [0, 2, 1000][random.below(3) as usize];
    let task: Task<Vec<u8>> = pool.try_task().unwrap().retries(retries).timeout(LIMIT * 4);
    let task = task.whole_pieces(random.below(2) == 0).max_unread([1, 100_000, 10_000_000][random.below(3) as usize]);
    let (mut fates, mut all) = (Vec::new(), Vec::new());
    for number in first..first + count {
        let fate = match random.below(40) {
            0 if retries < 10 => Fate::Panic,
            1 if retries < 10 => Fate::Crash,
            2 => Fate::Fail,
            3..8 => Fate::Sleep,
            _ => Fate::Return,
        };
        let most = [10, 10_000, 300_000, 2_500_000][random.below(4) as usize];
        let length = random.below(most) as usize;
        fates.push(fate);
        all.push((number, vec![number as u8; length]));
        task.run_into(writing_piece, (marks.to_string(), number), (fate, length));
    }
    let mut expected = Expected { first, fates, retries, cancelled: false };
    let numbered = |outcomes: Vec<Result<Vec<u8>, Error>>| {
        let outcomes = outcomes.into_iter().zip(&all);
        outcomes
            .map(|(outcome, (number, bytes))| outcome.inspect(|got| assert!(got == bytes)).map(|got| (*number, got)))
    };
    match random.below(7) {
        0 => check(&expected, numbered(task.get_each()).collect()),
        1 => check(&expected, numbered(task.iter().collect()).collect()),
        2 => drop(task.iter_completed().take(2).count()),
        3 => drop(task),
        4 => {
            task.canceller().stop();
            expected.cancelled = true;
            check(&expected, numbered(task.get_each()).collect());
        }
        5 => {
            let mut written = Vec::new();
            let outcome = task.write_to(&mut written).map(|_| ());
            check_written(&expected, &all, &written, outcome);
        }
        _ => {
            let (mut reader, mut read, mut part) = (task.reader(), Vec::new(), vec![0; 70_000]);
            let outcome = loop {
                match reader.read(&mut part) {
                    Ok(0) => break Ok(()),
                    Ok(length) => read.extend_from_slice(&part[..length]),
                    Err(error) => break Err(error.downcast::<Error>().expect("an error of the crate")),
                }
            };
            check_written(&expected, &all, &read, outcome);
        }
    }
    expected
}

/// Checks I1 of what was read in order: all pieces before the one that failed, and a prefix of that.
#[track_caller]
fn check_written(expected: &Expected, all: &[(u64, Vec<u8>)], read: &[u8], outcome: Result<(), Error>) {
    let before = outcome.as_ref().err().map_or(all.len(), |error| error.piece().unwrap());
    let whole: Vec<u8> = all[..before].iter().flat_map(|(_, bytes)| bytes).copied().collect();
    assert!(read.starts_with(&whole), "another piece's bytes");
    let rest = &read[whole.len()..];
    match outcome {
        Ok(()) => assert!(rest.is_empty()),
        Err(error) => {
            let (number, bytes) = &all[before];
            assert!(bytes.starts_with(rest), "another piece's bytes");
            let fate = expected.fates[before];
            let one = Expected { first: *number, fates: vec![fate], retries: expected.retries, cancelled: false };
            check_error(&one, before, fate, &error);
        }
    }
}

/// Checks I1.
#[track_caller]
fn check(expected: &Expected, outcomes: Vec<Result<(u64, Vec<u8>), Error>>) {
    assert_eq!(outcomes.len(), expected.fates.len());
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let (number, fate) = (expected.first + index as u64, expected.fates[index]);
        let error = match outcome {
            Ok((got, weight)) => {
                assert_eq!(got, number, "another piece's result");
                assert!(weight.iter().all(|&byte| byte == number as u8), "another piece's bytes");
                assert!(matches!(fate, Fate::Return | Fate::Sleep), "{fate:?} cannot end well");
                continue;
            }
            Err(error) => error,
        };
        check_error(expected, index, fate, &error);
    }
}

#[track_caller]
fn check_error(expected: &Expected, index: usize, fate: Fate, error: &Error) {
    assert_eq!(error.piece(), Some(index), "{error}");
    assert!(error.attempts() <= expected.retries.saturating_add(1), "{error}: {} attempts", error.attempts());
    match error.kind() {
        ErrorKind::Panicked => assert_eq!(fate, Fate::Panic, "{error}"),
        ErrorKind::Failed => assert_eq!(fate, Fate::Fail, "{error}"),
        ErrorKind::Cancelled => assert!(expected.cancelled, "{error}"),
        // What is lost after a stop is not run again.
        ErrorKind::TimedOut => assert!(expected.retries < 10 || expected.cancelled, "{error}"),
        ErrorKind::WorkerLost => {
            assert!(expected.retries < 10 || expected.cancelled, "{error}");
            let known = [
                Cause::Signal(libc::SIGKILL),
                Cause::Signal(libc::SIGSEGV),
                Cause::Exit(3),
                Cause::ForkServerLost,
                Cause::Unknown,
            ];
            assert!(error.cause().is_some_and(|cause| known.contains(&cause)), "{error}");
        }
        other => panic!("{other:?}: {error}"),
    }
}

/// Kills and stops processes at random until the storm is over: it lasts until something was hit, and pieces were handed out.
fn sabotage(pool: &Pool, random: &mut Random, (recycles, resizes): (bool, bool), has_begun: impl Fn() -> bool) {
    let start = Instant::now();
    let (mut hits, mut new_in_a_row) = (0, 0);
    // On a busy machine the time alone is no storm.
    while start.elapsed() < STORM || hits == 0 || !has_begun() {
        assert!(start.elapsed() < DEADLINE, "no storm: {hits} hits");
        let workers: Vec<(u32, bool)> =
            pool.stats().workers.iter().filter_map(|worker| Some((worker.pid?, worker.pieces_done == 0))).collect();
        let victim = workers.get(random.below(1 + workers.len() as u64) as usize);
        // Five workers in a row that die before they are ready end a pool, as intended. So new workers get time to start.
        new_in_a_row = victim.map_or(new_in_a_row, |(_, is_new)| if *is_new { new_in_a_row + 1 } else { 0 });
        let victim = victim.filter(|_| new_in_a_row < 4).and_then(|&(pid, _)| Process::find(pid));
        if let Some(worker) = victim {
            let server = worker.parent().filter(|parent| parent.name() == "multicore-fork");
            match (random.below(100), server) {
                (0, Some(server)) => server.kill(libc::SIGKILL),
                (1, Some(server)) => server.kill(libc::SIGSTOP),
                (2..15, _) => worker.kill(libc::SIGSTOP),
                (15..20, _) => {
                    worker.kill(libc::SIGSTOP);
                    std::thread::sleep(Duration::from_micros(random.below(2_000)));
                    worker.kill(libc::SIGCONT);
                }
                _ => worker.kill(libc::SIGKILL),
            }
            hits += 1;
        }
        if recycles && random.below(8) == 0 {
            pool.recycle();
        }
        if resizes && random.below(8) == 0 {
            pool.resize(1 + random.below(8) as usize).unwrap();
        }
        std::thread::sleep(Duration::from_micros(random.below(4_000)));
    }
}

/// The processes with the tag. A zombie has no environment, so it does not count: the init process will reap it.
fn tagged() -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let tag = format!("{TAG}={}", std::process::id());
    pids.filter(|pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == tag.as_bytes())
    })
    .collect()
}

/// What else a pool could leave behind: the numbers of descriptors and of names in /dev/shm.
fn traces() -> (usize, usize) {
    let count = |directory: &str| fs::read_dir(directory).map_or(0, |entries| entries.flatten().count());
    let shared = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let ours = shared.filter(|entry| entry.file_name().to_string_lossy().contains("multicore"));
    (count("/proc/self/fd"), ours.count())
}

#[test]
fn in_a_storm_nothing_is_lost_twice_or_left() {
    support::alone!();
    let rounds: u64 = std::env::var("MULTICORE_STORM_ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    // SAFETY: no other thread of this process reads or writes the environment now.
    unsafe { std::env::set_var(TAG, std::process::id().to_string()) };
    let mut random = Random::seeded();
    // The first pool creates what is made once and kept.
    support::assert_well(support::pool(1));
    let before = traces();
    for round in 0..rounds {
        let seed = random.next();
        println!("round {round}, seed {seed}");
        let _watch = watchdog();
        one_round(&mut Random::with_seed(seed));
        // Checks I3 and I4.
        wait_for("no process is left", || tagged().is_empty());
        assert_eq!(traces(), before, "descriptors, and names of shared memory");
    }
}

/// A pool of up to four workers. In some rounds they live only for a while.
fn storm_pool(random: &mut Random) -> Pool {
    let mut builder = Pool::builder().workers(1 + random.below(4) as usize);
    if random.below(3) == 0 {
        builder = builder.max_pieces_per_worker(1 + random.below(200));
    }
    if random.below(3) == 0 {
        builder = builder.max_worker_age(Duration::from_millis(1 + random.below(100)));
    }
    if random.below(3) == 0 {
        // A piece takes up to 0.4 MB and gives it back; no piece exceeds the other limit.
        builder = builder.worker_memory_high(Memory::growth(200_000)).worker_memory_max(Memory::growth(1 << 30));
    }
    if random.below(3) == 0 {
        builder = builder.memory_high(Memory::bytes(1 << 20)).memory_max(Memory::bytes(4 << 30));
    }
    if random.below(3) == 0 {
        builder = builder.idle_timeout(Duration::from_millis(1 + random.below(20)));
    }
    builder.build().expect("a pool can run here")
}

fn one_round(random: &mut Random) {
    let pool = storm_pool(random);
    let changes = (random.below(2) == 0, random.below(2) == 0);
    let (marks, numbers, over) = (Marks::new(), AtomicU64::new(0), AtomicBool::new(false));
    let seeds: Vec<u64> = (0..3).map(|_| random.next()).collect();
    let path = marks.path();
    let all = std::thread::scope(|scope| {
        let submitters: Vec<_> = seeds
            .into_iter()
            .map(|seed| {
                let (pool, path, numbers, over) = (&pool, &path, &numbers, &over);
                scope.spawn(move || submit(pool, seed, path, numbers, over))
            })
            .collect();
        sabotage(&pool, random, changes, || numbers.load(Ordering::Relaxed) > 0);
        over.store(true, Ordering::Relaxed);
        // If it hangs, the state of the pool is more useful than its threads.
        let start = Instant::now();
        while submitters.iter().any(|submitter| !submitter.is_finished()) {
            assert!(
                start.elapsed() < DEADLINE || fs::write("/dev/stderr", format!("{pool:#?}")).is_err(),
                "a submitter hangs"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        // Checks I6: none of the submitters panicked.
        submitters.into_iter().flat_map(|submitter| submitter.join().unwrap()).collect::<Vec<Expected>>()
    });
    assert!(!all.is_empty());
    // Checks I5.
    let start = Instant::now();
    for _ in 0..100 {
        // A process that was stopped last may be detected only now, perhaps a fork server with all its workers.
        let task = support::task::<u64>(&pool).retries(5);
        task.run(add, 1, 2);
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), [3]);
    }
    assert!(start.elapsed() < DEADLINE);
    // However the tasks ended, they keep nothing of what they shared.
    wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
    // Nobody stays beside the set.
    wait_for("there are as many workers as before", || pool.stats().workers.len() == pool.workers());
    if random.below(2) == 0 {
        pool.shutdown()
    } else {
        drop(pool)
    }
    // Checks I2, when nothing runs any more.
    let mut starts: HashMap<u64, u32> = HashMap::new();
    for number in marks.numbers() {
        *starts.entry(number).or_default() += 1;
    }
    for expected in all {
        for number in expected.first..expected.first + expected.fates.len() as u64 {
            let starts = starts.get(&number).copied().unwrap_or(0);
            let most = expected.retries.saturating_add(1);
            assert!(starts <= most, "piece {number} of {} retries started {starts} times", expected.retries);
        }
    }
}
