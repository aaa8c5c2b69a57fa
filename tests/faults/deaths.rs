//! The death of a worker costs the piece that it ran, and nothing else. The fault numbers are those of CASES.md.

#![allow(unsafe_code)]

use crate::support::{
    self, DEADLINE, Door, Marks, Random, SmallGroup, add, mark, pool, task, wait_at, wait_for, watchdog,
};
use multicore::{Cause, ErrorKind, Pool};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a piece ends. The crate has a handler for SIGSEGV and SIGBUS. Before this was fixed, the handler ignored the first
/// such signal that another process sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum End {
    Return,
    Signal(i32),
    Abort,
    Exit(i32),
    ExitNow(i32),
    /// Accesses an address that is not mapped.
    BadAccess,
    /// Executes another program, which exits with code 0.
    Exec,
    /// Allocates more memory than any machine has.
    NoMemory,
    PanicText,
    PanicString,
    PanicOther,
    PanicWithPanickingDrop,
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a payload that panics when dropped");
    }
}

fn come_to(end: End, marks: String) -> u64 {
    mark(&marks, 0);
    match end {
        End::Return => {}
        // SAFETY: a system call that takes no pointer; each signal ends this process.
        End::Signal(signal) => unsafe {
            libc::raise(signal);
        },
        // SAFETY: none, on purpose: the access faults.
        End::BadAccess => unsafe {
            let nowhere = std::hint::black_box(std::ptr::without_provenance_mut::<u64>(8));
            nowhere.write_volatile(1);
        },
        End::Abort => std::process::abort(),
        End::Exit(code) => std::process::exit(code),
        // SAFETY: it ends this process without running any code.
        End::ExitNow(code) => unsafe { libc::_exit(code) },
        End::Exec => {
            let error = std::os::unix::process::CommandExt::exec(&mut std::process::Command::new("true"));
            panic!("there is no program `true`: {error}");
        }
        End::NoMemory => {
            // std says so with a backtrace, which would alarm the reader of a passing test.
            support::be_silent();
            drop(std::hint::black_box(Vec::<u8>::with_capacity(std::hint::black_box(1 << 46))));
        }
        End::PanicText => panic!("a literal"),
        End::PanicString => panic!("a text of {marks}"),
        End::PanicOther => std::panic::panic_any(17),
        End::PanicWithPanickingDrop => std::panic::panic_any(PanicsWhenDropped),
    }
    7
}

#[test]
fn a_death_fails_only_its_own_piece() {
    let _watch = watchdog();
    let lost = |cause| (ErrorKind::WorkerLost, Some(cause));
    let panicked = (ErrorKind::Panicked, None);
    let pool = pool(2);
    let mut losses = 0;
    for (end, expected) in [
        (End::Signal(libc::SIGKILL), lost(Cause::Signal(libc::SIGKILL))),
        (End::Signal(libc::SIGSEGV), lost(Cause::Signal(libc::SIGSEGV))),
        (End::Signal(libc::SIGILL), lost(Cause::Signal(libc::SIGILL))),
        (End::Signal(libc::SIGBUS), lost(Cause::Signal(libc::SIGBUS))),
        (End::Signal(libc::SIGFPE), lost(Cause::Signal(libc::SIGFPE))),
        (End::Signal(libc::SIGTERM), lost(Cause::Signal(libc::SIGTERM))),
        (End::BadAccess, lost(Cause::Signal(libc::SIGSEGV))),
        (End::Abort, lost(Cause::Signal(libc::SIGABRT))),
        (End::NoMemory, lost(Cause::AllocationFailed)),
        (End::Exit(0), lost(Cause::Exit(0))),
        (End::Exit(1), lost(Cause::Exit(1))),
        (End::ExitNow(3), lost(Cause::Exit(3))),
        (End::ExitNow(0), lost(Cause::Exit(0))),
        (End::Exec, lost(Cause::Exit(0))),
        (End::PanicText, panicked),
        (End::PanicString, panicked),
        (End::PanicOther, panicked),
        (End::PanicWithPanickingDrop, panicked),
    ] {
        let marks = Marks::new();
        let other = task::<u64>(&pool);
        other.run_all(add, (0..50).map(|number| (number, 0)));
        let mixed = task::<u64>(&pool);
        for number in 0..50 {
            mixed.run(come_to, if number == 20 { end } else { End::Return }, marks.path());
        }
        other.run_all(add, (50..100).map(|number| (number, 0)));
        for (number, outcome) in mixed.get_each().into_iter().enumerate() {
            let Err(error) = outcome else {
                assert!(number != 20, "{end:?} went well");
                continue;
            };
            assert_eq!(number, 20, "{end:?} hit a bystander: {error}");
            assert_eq!((error.kind(), error.cause()), expected, "{end:?}: {error}");
            assert_eq!((error.piece(), error.attempts()), (Some(20), 1), "{end:?}");
            assert!(error.worker().is_some_and(|worker| worker < 2), "{end:?}: {error}");
            let pid = error.pid().expect("a worker that ran has a process");
            losses += u64::from(error.kind() == ErrorKind::WorkerLost);
            if error.kind() == ErrorKind::WorkerLost {
                assert!(error.to_string().contains(&format!("(pid {pid})")), "{error}");
                assert!(support::Process::find(pid).is_none_or(|process| !process.is_running()), "{end:?}");
            }
        }
        assert_eq!(other.get().unwrap(), (0..100).collect::<Vec<u64>>(), "{end:?}");
        // Each piece ran once, the failed one too.
        assert_eq!(marks.count(), 50, "{end:?}");
        support::assert_works(&pool);
    }
    assert_eq!(pool.stats().workers_lost, losses);
    support::assert_well(pool);
}

/// A result whose drop or serialisation panics in the worker.
#[derive(Debug, Deserialize)]
struct Trap {
    number: u64,
    panics_when_written: bool,
}

static ARMED: AtomicBool = AtomicBool::new(false);

impl Serialize for Trap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.panics_when_written, "a result that panics when written");
        (self.number, false).serialize(serializer)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        // Armed only in a worker: in this process the panic would fail the test.
        assert!(!ARMED.load(Ordering::Relaxed), "a result that panics when dropped");
    }
}

#[test]
fn a_panic_in_the_drop_or_encoding_of_a_result_is_its_pieces_alone() {
    let _watch = watchdog();
    let pool = pool(1);
    let traps = task::<Trap>(&pool);
    let set = |number: u64, (written, dropped): (bool, bool)| {
        ARMED.store(dropped, Ordering::Relaxed);
        Trap { number, panics_when_written: written }
    };
    let cases = [(false, false), (true, false), (false, true), (false, false)];
    traps.run_all(set, (0..).zip(cases));
    let texts: Vec<Result<u64, String>> = traps
        .get_each()
        .into_iter()
        .map(|outcome| outcome.map(|trap| trap.number).map_err(|error| error.to_string()))
        .collect();
    assert_eq!(texts[0], Ok(0));
    assert!(texts[1].as_ref().unwrap_err().contains("a result that panics when written"), "{texts:?}");
    assert!(texts[2].as_ref().unwrap_err().contains("a result that panics when dropped"), "{texts:?}");
    assert_eq!(texts[3], Ok(3));
    assert_eq!(pool.stats().workers_lost, 0);
    support::assert_well(pool);
}

#[test]
fn workers_killed_idle_fail_nobody() {
    let _watch = watchdog();
    let pool = pool(3);
    support::assert_works(&pool);
    for victims in [vec![0], vec![1], vec![2], vec![0, 1, 2], vec![0, 1, 2]] {
        let before = support::workers(&pool);
        let lost_before = pool.stats().workers_lost;
        for &victim in &victims {
            before[victim].kill(libc::SIGKILL);
        }
        // The pool works at once, and again when the new workers have started.
        support::assert_works(&pool);
        wait_for("the deaths are counted", || pool.stats().workers_lost == lost_before + victims.len() as u64);
        let after = support::workers(&pool);
        for index in 0..3 {
            assert_eq!(before[index] != after[index], victims.contains(&index), "worker {index} of {victims:?}");
        }
        support::assert_works(&pool);
    }
    support::assert_well(pool);
}

#[test]
fn a_worker_killed_busy_loses_the_piece_that_it_ran_and_no_other() {
    let _watch = watchdog();
    let pool = pool(2);
    support::assert_works(&pool);
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGTERM] {
        let (marks, door) = (Marks::new(), Door::closed());
        let (held, rest) = (task::<u64>(&pool), task::<u64>(&pool));
        for number in 0..2 {
            held.run(
                |number: u64, (marks, door): (String, String)| {
                    mark(&marks, number);
                    wait_at(&door);
                    number
                },
                number,
                (marks.path(), door.path()),
            );
        }
        marks.wait_for(2);
        rest.run_all(add, (0..200).map(|number| (number, 1)));
        // Too long to fit into a worker's ring whole.
        for number in 0..4 {
            rest.call(|text: Vec<u8>| text.len() as u64, vec![0; 300_000 + number]);
        }
        let victim = support::workers(&pool)[0];
        victim.kill(signal);
        wait_for("the worker is dead", || !victim.is_running());
        let rest = rest.get_timeout(DEADLINE).unwrap();
        assert_eq!(rest[..200], (1..=200).collect::<Vec<u64>>());
        assert_eq!(rest[200..], [300_000, 300_001, 300_002, 300_003]);
        door.open();
        let mut lost = 0;
        for outcome in held.get_each() {
            if let Err(error) = outcome {
                lost += 1;
                assert_eq!((error.kind(), error.cause()), (ErrorKind::WorkerLost, Some(Cause::Signal(signal))));
                assert_eq!((error.worker(), error.pid()), (Some(0), Some(victim.pid)));
            }
        }
        assert_eq!((lost, marks.count()), (1, 2));
        support::assert_works(&pool);
    }
    support::assert_well(pool);
}

#[test]
fn what_a_worker_had_answered_before_its_death_counts() {
    let _watch = watchdog();
    let pool = pool(1);
    for round in 0..20 {
        let marks = Marks::new();
        let task = task::<Vec<u8>>(&pool);
        let piece = |number: u64, marks: String| {
            if number == 30 {
                // SAFETY: a system call that takes no pointer.
                unsafe { libc::raise(libc::SIGKILL) };
            }
            mark(&marks, number);
            vec![number as u8; 1 + 100 * number as usize]
        };
        task.run_all(piece, (0..60).map(|number| (number, marks.path())));
        // No caller collects before the worker is dead.
        wait_for("the worker has died", || pool.stats().workers_lost == round + 1);
        for (number, outcome) in task.get_each().into_iter().enumerate() {
            match outcome {
                Ok(bytes) => assert!(bytes == vec![number as u8; 1 + 100 * number], "{number}"),
                Err(error) => assert_eq!((number, error.kind()), (30, ErrorKind::WorkerLost)),
            }
        }
        assert_eq!(marks.numbers(), (0..60).filter(|&number| number != 30).collect::<Vec<u64>>());
    }
    support::assert_well(pool);
}

/// Before this was fixed, pieces behind a piece with long arguments were moved with the wrong arguments: the ring holds only
/// their beginning, and the rest was kept for one piece only.
#[test]
fn long_arguments_that_lay_with_a_dead_worker_come_whole_to_another() {
    let _watch = watchdog();
    let pool = pool(1);
    for long in [15_000, 20_000, 70_000, 300_000].repeat(4) {
        // Quick pieces, so that the worker is then given many in advance.
        let quick = task::<u64>(&pool);
        quick.run_all(add, (0..10_000).map(|number| (number, 1)));
        quick.get().unwrap();
        let (marks, door) = (Marks::new(), Door::closed());
        let held = task::<u64>(&pool);
        held.run(
            |marks: String, door: String| {
                mark(&marks, 0);
                wait_at(&door);
                0
            },
            marks.path(),
            door.path(),
        );
        marks.wait_for(1);
        let rest = task::<(u64, u64)>(&pool);
        for number in 0..20 {
            rest.call(
                |bytes: Vec<u8>| (bytes.len() as u64, bytes.iter().map(|&byte| u64::from(byte)).sum()),
                vec![number as u8; long + number],
            );
            // Each call may give the worker more pieces.
            assert_eq!(rest.completed(), 0);
        }
        support::workers(&pool)[0].kill(libc::SIGKILL);
        let sums = rest.get_timeout(DEADLINE).unwrap();
        let expected = (0..20).map(|number| (long as u64 + number, number * (long as u64 + number)));
        assert_eq!(sums, expected.collect::<Vec<_>>(), "{long}");
        assert_eq!(held.get().unwrap_err().kind(), ErrorKind::WorkerLost);
    }
    support::assert_well(pool);
}

#[test]
fn a_dead_fork_server_takes_what_runs_and_no_more() {
    let _watch = watchdog();
    let pool = pool(2);
    support::assert_works(&pool);
    for busy in [false, true, true, false] {
        let (marks, door) = (Marks::new(), Door::closed());
        let (held, rest) = (task::<u64>(&pool), task::<u64>(&pool));
        if busy {
            for _ in 0..2 {
                held.run(
                    |marks: String, door: String| {
                        mark(&marks, 0);
                        wait_at(&door);
                        0
                    },
                    marks.path(),
                    door.path(),
                );
            }
            marks.wait_for(2);
            rest.run_all(add, (0..100).map(|number| (number, 1)));
        }
        let server = support::fork_server(&pool);
        let before = support::workers(&pool);
        server.kill(libc::SIGKILL);
        wait_for("the fork server is dead", || !server.is_running());
        for outcome in held.get_each() {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), error.cause()), (ErrorKind::WorkerLost, Some(Cause::ForkServerLost)), "{error}");
            assert!(error.to_string().contains("fork server"), "{error}");
        }
        if busy {
            assert_eq!(rest.get_timeout(DEADLINE).unwrap(), (1..=100).collect::<Vec<u64>>());
        }
        support::assert_works(&pool);
        wait_for("its workers have ended", || before.iter().all(|worker| !worker.is_running()));
        assert_ne!(support::fork_server(&pool), server);
        assert_eq!(marks.count(), if busy { 2 } else { 0 });
    }
    support::assert_well(pool);
}

#[test]
fn a_hook_that_always_fails_ends_the_pool_with_its_own_words() {
    let _watch = watchdog();
    fn refuse() {
        panic!("the license server is away");
    }
    fn die(code: i32) {
        std::process::exit(code);
    }
    let check = |pool: Pool, expected: &[&str]| {
        let waiting: Vec<_> = (0..4)
            .filter_map(|_| {
                let task = pool.try_task::<u64>().ok()?;
                task.run(add, 1, 2);
                Some(std::thread::spawn(move || task.get()))
            })
            .collect();
        for waiting in waiting {
            let error = waiting.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WorkerLost, "{error}");
            for &part in expected {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
        wait_for("the pool has ended", || pool.try_task::<u64>().is_err());
        let error = pool.try_task::<u64>().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::WorkerLost, None), "{error}");
        for &part in expected {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(pool.task::<u64>().is_none());
        let inline = pool.task_or_inline::<u64>();
        inline.run(add, 1, 2);
        assert_eq!(inline.get().unwrap(), [3]);
    };
    check(
        Pool::builder().workers(2).on_worker_start(refuse).build().unwrap(),
        &["on_worker_start", "the license server is away", "5 workers"],
    );
    check(Pool::builder().workers(1).on_worker_start_with(die, 9).build().unwrap(), &["exited with code 9"]);
}

/// Before this was fixed, the supervisor could handle a death before the waiter had woken. The waiter then slept for ever.
#[test]
fn a_waiter_hears_of_every_death() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    for round in 0..300 {
        let task = task::<u64>(&pool);
        task.run(come_to, End::Signal(libc::SIGKILL), marks.path());
        let error = task.get_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WorkerLost, "round {round}: {error}");
    }
    support::assert_well(pool);
    for round in 0..60 {
        let pool = Pool::builder().workers(2).on_worker_start(|| panic!("never")).build().unwrap();
        let Ok(task) = pool.try_task::<u64>() else { continue };
        task.run(add, 1, 2);
        let error = task.get_timeout(DEADLINE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WorkerLost, "round {round}: {error}");
    }
}

#[test]
fn a_hook_that_fails_now_and_then_ends_nothing() {
    let _watch = watchdog();
    fn fail_four_times(marks: String) {
        mark(&marks, 0);
        let tries = std::fs::read_to_string(&marks).unwrap().lines().count();
        assert!(tries > 4, "not yet");
    }
    let marks = Marks::new();
    let pool = Pool::builder().workers(1).on_worker_start_with(fail_four_times, marks.path()).build().unwrap();
    support::assert_works(&pool);
    assert_eq!((marks.count(), pool.stats().workers_lost), (5, 4));
    support::assert_well(pool);
}

/// The first worker waits for the door. Then it stops the fork server and ends, so that nobody reports the cause.
fn end_in_silence((marks, door): (String, String)) {
    mark(&marks, 0);
    if std::fs::read_to_string(&marks).unwrap().lines().count() == 1 {
        wait_at(&door);
        // SAFETY: calls that take no pointers; they signal the fork server and end this process.
        unsafe {
            libc::kill(libc::getppid(), libc::SIGSTOP);
            libc::_exit(1);
        }
    }
}

/// Before this was fixed, its seat stayed empty: the supervisor checked for due work before the death and not after.
#[test]
fn a_worker_that_ends_at_its_start_while_nobody_tells_why_is_replaced() {
    let _watch = watchdog();
    let (marks, door) = (Marks::new(), Door::closed());
    let given = (marks.path(), door.path());
    let pool = Pool::builder().workers(1).on_worker_start_with(end_in_silence, given).build().unwrap();
    let task = task::<u64>(&pool);
    task.run(add, 1, 2);
    support::workers(&pool);
    door.open();
    assert_eq!(task.get().unwrap(), [3]);
    assert_eq!(pool.stats().workers_lost, 1);
    support::assert_well(pool);
}

/// Before this was fixed, the end of a pool hung if nobody reported the last worker's death.
#[test]
fn a_pool_ends_in_order_though_some_of_its_processes_do_not() {
    let _watch = watchdog();
    for (signal, to_server) in
        [(libc::SIGSTOP, true), (libc::SIGKILL, true), (libc::SIGSTOP, false), (libc::SIGKILL, false)]
    {
        for workers in [1, 2] {
            let pool = pool(workers);
            support::assert_works(&pool);
            let mut processes = support::workers(&pool);
            processes.push(support::fork_server(&pool));
            let victim = processes[if to_server { workers } else { 0 }];
            victim.kill(signal);
            pool.shutdown();
            support::assert_gone(&processes);
        }
    }
}

/// Deaths in pieces never end a pool, whatever their number.
#[test]
fn deaths_in_pieces_never_end_a_pool() {
    let _watch = watchdog();
    let pool = pool(1);
    let task = task::<u64>(&pool);
    let marks = Marks::new();
    task.run_all(come_to, (0..30).map(|_| (End::ExitNow(1), marks.path())));
    for outcome in task.get_each() {
        assert_eq!(outcome.unwrap_err().cause(), Some(Cause::Exit(1)));
    }
    assert_eq!(marks.count(), 30);
    support::assert_well(pool);
}

#[test]
fn in_a_storm_of_kills_each_piece_has_one_outcome_and_runs_at_most_once() {
    let _watch = watchdog();
    const KILLS: usize = 200;
    const PIECES: u64 = 5000;
    let mut random = Random::seeded();
    let pool = pool(3);
    let marks = Marks::new();
    let tasks: Vec<_> = (0..5).map(|_| task::<u64>(&pool)).collect();
    let piece = |number: u64, marks: String| {
        mark(&marks, number);
        std::thread::sleep(Duration::from_micros(number % 300));
        number
    };
    let waiting: Vec<_> = std::thread::scope(|scope| {
        let mut waiting = Vec::new();
        for (index, task) in (0..).zip(tasks) {
            let numbers = index * PIECES / 5..(index + 1) * PIECES / 5;
            task.run_all(piece, numbers.clone().map(|number| (number, marks.path())));
            waiting.push(scope.spawn(move || (numbers, task.get_each())));
        }
        let mut killed = 0;
        while killed < KILLS {
            let pids: Vec<u32> = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
            if let Some(victim) = pids.get(random.below(3) as usize).and_then(|&pid| support::Process::find(pid)) {
                victim.kill(libc::SIGKILL);
                killed += 1;
            }
            std::thread::sleep(Duration::from_micros(random.below(3000)));
        }
        waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect()
    });
    let mut lost = 0;
    for (numbers, outcomes) in waiting {
        assert_eq!(outcomes.len() as u64, PIECES / 5);
        for ((number, index), outcome) in numbers.zip(0..).zip(outcomes) {
            match outcome {
                Ok(result) => assert_eq!(result, number),
                Err(error) => {
                    lost += 1;
                    assert_eq!((error.kind(), error.piece()), (ErrorKind::WorkerLost, Some(index)), "{error}");
                    assert_eq!(error.cause(), Some(Cause::Signal(libc::SIGKILL)), "{error}");
                }
            }
        }
    }
    let numbers = marks.numbers();
    let mut once = numbers.clone();
    once.dedup();
    assert_eq!(numbers.len(), once.len(), "a piece ran twice");
    // A lost piece may have died before it could write its mark.
    assert!(once.len() as u64 + lost >= PIECES && lost <= KILLS as u64, "{} ran, {lost} lost", once.len());
    support::assert_well(pool);
}

/// Writes to new memory until the process is killed.
fn take_all_memory(_: u64, _: u64) -> u64 {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// The kernel's out-of-memory killer chooses the worker and not its parent. The error distinguishes this death from others.
#[test]
fn a_worker_that_the_kernel_killed_for_memory_is_told_apart() {
    let _watch = watchdog();
    const INNER: &str = "MULTICORE_TEST_IN_A_SMALL_GROUP";
    if std::env::var_os(INNER).is_some() {
        let pool = pool(2);
        for (piece, cause) in [
            (take_all_memory as fn(u64, u64) -> u64, Cause::OomKilled),
            (|_, _| come_to(End::Signal(libc::SIGKILL), Marks::new().path()), Cause::Signal(libc::SIGKILL)),
        ] {
            let task = pool.task::<u64>().unwrap();
            task.run(piece, 1, 2);
            task.run(add, 3, 4);
            let results = task.get_each();
            let error = results[0].as_ref().unwrap_err();
            assert_eq!((error.kind(), error.cause()), (ErrorKind::WorkerLost, Some(cause)), "{error}");
            assert_eq!(*results[1].as_ref().unwrap(), 7);
        }
        return;
    }
    let Some(group) = SmallGroup::make(256 << 20) else { return };
    group.run(&group.folder, support::test_name!(), INNER);
}

/// A panic's error has its location, and a backtrace if the environment requests it.
#[test]
fn a_panic_brings_a_backtrace_where_it_is_asked_for() {
    let _watch = watchdog();
    const INNER: &str = "MULTICORE_TEST_BACKTRACE";
    if let Some(wanted) = std::env::var_os(INNER) {
        let (pool, marks) = (pool(1), Marks::new());
        let task = pool.task::<u64>().unwrap();
        task.run(come_to, End::PanicText, marks.path());
        let error = task.get().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("a literal (at tests/faults/deaths.rs:") && !text.contains('\n'), "{text}");
        assert_eq!(error.backtrace().is_some_and(|trace| trace.contains("come_to")), wanted == "1", "{error:?}");
        assert_eq!(format!("{error:?}").contains("stack backtrace:"), wanted == "1", "{error:?}");
        return;
    }
    for wanted in ["0", "1"] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.env(INNER, wanted).env("RUST_BACKTRACE", wanted).env_remove("RUST_LIB_BACKTRACE");
        support::run_test(&mut command, support::test_name!());
    }
}
