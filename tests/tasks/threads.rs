//! Many threads and one pool: the leader collects for all threads that wait, and another one becomes the leader when it
//! leaves.

#![allow(unsafe_code)]

use crate::support::{self, DEADLINE, Door, Marks, Random, add, mark, pool, task, wait_at, wait_for, watchdog};
use multicore::{ErrorKind, Pool, Task};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

fn slow(number: u64, us: u64) -> u64 {
    std::thread::sleep(Duration::from_micros(us));
    number
}

#[test]
fn eight_threads_share_the_global_pool_and_one_of_their_own() {
    let _watch = watchdog();
    let own = pool(2);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let own = &own;
            scope.spawn(move || {
                for round in 0..30 {
                    let global = Task::<u64>::try_new().unwrap();
                    let mine = task::<u64>(own);
                    let numbers = thread * 1000 + round..thread * 1000 + round + 40;
                    for number in numbers.clone() {
                        global.run(add, number, 1);
                        mine.run(add, number, 2);
                    }
                    let expected = |more| numbers.clone().map(|number| number + more).collect::<Vec<u64>>();
                    if round % 2 == 0 {
                        assert_eq!(mine.get().unwrap(), expected(2));
                        assert_eq!(global.get().unwrap(), expected(1));
                    } else {
                        assert_eq!(global.iter().map(Result::unwrap).collect::<Vec<_>>(), expected(1));
                        let mut results: Vec<u64> = mine.iter_completed().map(|(_, result)| result.unwrap()).collect();
                        results.sort_unstable();
                        assert_eq!(results, expected(2));
                    }
                }
            });
        }
    });
    support::assert_works(Pool::global().unwrap());
    support::assert_well(own);
}

#[test]
fn fifty_waiters_and_those_whose_time_passes_all_get_what_is_theirs() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    let pool = pool(3);
    let never = Door::closed();
    std::thread::scope(|scope| {
        for thread in 0..50_u64 {
            let mut random = Random::with_seed(random.next());
            let (pool, door) = (&pool, never.path());
            scope.spawn(move || {
                for _ in 0..6 {
                    let pieces = 1 + random.below(20);
                    let task = task::<u64>(pool);
                    for number in 0..pieces {
                        task.run(slow, number + thread, random.below(1000));
                    }
                    let expected: Vec<u64> = (0..pieces).map(|number| number + thread).collect();
                    match random.below(5) {
                        0 => {
                            // Sometimes with a piece that never ends by itself.
                            if random.below(4) == 0 {
                                task.run(
                                    |door: String, _: ()| {
                                        wait_at(&door);
                                        0
                                    },
                                    door.clone(),
                                    (),
                                );
                                let limit = Duration::from_micros(random.below(20_000));
                                assert_eq!(task.get_timeout(limit).unwrap_err().kind(), ErrorKind::TimedOut);
                            } else {
                                let limit = Duration::from_micros(random.below(3000));
                                if let Ok(results) = task.get_timeout(limit) {
                                    assert_eq!(results, expected);
                                }
                            }
                        }
                        1 => assert_eq!(task.get_timeout(DEADLINE).unwrap(), expected),
                        2 => assert_eq!(task.iter().map(Result::unwrap).collect::<Vec<_>>(), expected),
                        3 => {
                            // Stops reading in the middle.
                            let some: Vec<u64> = task.iter().take(2).map(Result::unwrap).collect();
                            assert_eq!(some, expected[..some.len()]);
                        }
                        _ => assert_eq!(task.get().unwrap(), expected),
                    }
                }
            });
        }
    });
    support::assert_well(pool);
}

/// The leader leaves first, in many rounds. No other waiter may be forgotten.
#[test]
fn the_lead_passes_on_when_the_leader_is_done_or_out_of_time() {
    let _watch = watchdog();
    let pool = pool(2);
    for round in 0..40 {
        let (begun, door) = (Marks::new(), Door::closed());
        let held = task::<u64>(&pool);
        held.run(
            |marks: String, door: String| {
                mark(&marks, 0);
                wait_at(&door);
                1
            },
            begun.path(),
            door.path(),
        );
        begun.wait_for(1);
        // This caller waits first, so it becomes the leader. Then its time expires.
        let leader = task::<u64>(&pool);
        leader.run(
            |marks: String, door: String| {
                mark(&marks, 0);
                wait_at(&door);
                2
            },
            begun.path(),
            door.path(),
        );
        begun.wait_for(2);
        let leader = std::thread::spawn(move || leader.get_timeout(Duration::from_millis(3)));
        let waiter = std::thread::spawn(move || held.get());
        assert_eq!(leader.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut, "round {round}");
        door.open();
        assert_eq!(waiter.join().unwrap().unwrap(), [1], "round {round}");
    }
    support::assert_well(pool);
}

/// The leader waits for long. The others get their results all the same.
#[test]
fn who_does_not_lead_is_told_by_the_one_that_does() {
    let _watch = watchdog();
    let pool = pool(2);
    let (begun, door) = (Marks::new(), Door::closed());
    let held = task::<u64>(&pool);
    held.run(
        |marks: String, door: String| {
            mark(&marks, 0);
            wait_at(&door);
            1
        },
        begun.path(),
        door.path(),
    );
    begun.wait_for(1);
    let leader = std::thread::spawn(move || held.get());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..50 {
                    let task = task::<u64>(pool);
                    task.run_all(slow, (0..3).map(|number| (number + thread + round, 300)));
                    let expected: Vec<u64> = (0..3).map(|number| number + thread + round).collect();
                    assert_eq!(task.get_timeout(DEADLINE).unwrap(), expected);
                }
            });
        }
    });
    assert!(!leader.is_finished());
    door.open();
    assert_eq!(leader.join().unwrap().unwrap(), [1]);
    support::assert_well(pool);
}

#[test]
fn a_thread_that_panics_while_it_reads_leaves_the_others_alone() {
    let _watch = watchdog();
    let pool = pool(2);
    for _ in 0..10 {
        let (first, second) = (task::<u64>(&pool), task::<u64>(&pool));
        first.run_all(slow, (0..20).map(|number| (number, 200)));
        second.run_all(slow, (0..20).map(|number| (number, 200)));
        let panics = std::thread::spawn(move || {
            for result in first.iter() {
                if result.unwrap() == 5 {
                    // Unwinds without the message of the panic hook.
                    std::panic::resume_unwind(Box::new(()));
                }
            }
        });
        assert_eq!(second.get().unwrap(), (0..20).collect::<Vec<u64>>());
        assert!(panics.join().is_err());
    }
    support::assert_well(pool);
}

#[test]
fn a_pool_can_be_made_by_a_thread_that_ends_at_once() {
    let _watch = watchdog();
    let pool = std::thread::spawn(|| pool(2)).join().unwrap();
    support::assert_works(&pool);
    support::workers(&pool)[0].kill(9);
    support::assert_works(&pool);
    std::thread::spawn(move || support::assert_well(pool)).join().unwrap();
}

static HOLDS: AtomicBool = AtomicBool::new(true);
static IS_HELD: AtomicBool = AtomicBool::new(false);

/// The handler of a signal: holds its thread, as if that got no core.
extern "C" fn hold(_: i32) {
    IS_HELD.store(true, Ordering::SeqCst);
    while HOLDS.load(Ordering::SeqCst) {
        // SAFETY: a system call that a handler may make; it takes no pointer.
        unsafe { libc::usleep(1000) };
    }
}

/// Lets the leader and its piece go on, also if the test fails.
struct Release<'a>(&'a Door);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        HOLDS.store(false, Ordering::SeqCst);
        self.0.open();
    }
}

/// Fault 73. Only the caller that leads looked at the workers. Where its thread had a low priority on a full machine, all
/// other threads waited for seconds, with their results in the rings. Here it gets no core at all.
#[test]
fn a_leader_that_gets_no_core_holds_up_no_other_thread() {
    // The handler of the signal is that of the whole process.
    support::alone!();
    let _watch = watchdog();
    let (pool, marks, door) = (pool(2), Marks::new(), Door::closed());
    let leader = AtomicI32::new(0);
    // SAFETY: the handler makes only calls that a handler may make, and `action` is valid.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = hold as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut());
    }
    std::thread::scope(|scope| {
        let release = Release(&door);
        let waits = scope.spawn(|| {
            let long: Task<u64> = task(&pool);
            long.call(
                |(marks, door): (String, String)| {
                    mark(&marks, 0);
                    wait_at(&door);
                    5
                },
                (marks.path(), door.path()),
            );
            marks.wait_for(1);
            // SAFETY: a system call without arguments.
            leader.store(unsafe { libc::gettid() }, Ordering::SeqCst);
            assert_eq!(long.get().unwrap(), [5]);
        });
        wait_for("the leader is known", || leader.load(Ordering::SeqCst) != 0);
        let leader = leader.load(Ordering::SeqCst);
        let state = || std::fs::read_to_string(format!("/proc/self/task/{leader}/stat")).unwrap();
        // It sleeps in the epoll, without the lock.
        wait_for("the leader sleeps", || state().rsplit_once(") ").unwrap().1.starts_with('S'));
        // SAFETY: a system call that takes no pointer.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), leader, libc::SIGUSR2) };
        wait_for("the leader is held", || IS_HELD.load(Ordering::SeqCst));
        for round in 0..60_u64 {
            let task: Task<u64> = task(&pool);
            // Within the time in which the supervisor looks by itself, and beyond it.
            task.run(slow, round, round % 12 * 1000);
            assert_eq!(task.get_timeout(DEADLINE).unwrap(), [round]);
        }
        drop(release);
        waits.join().unwrap();
    });
    support::assert_well(pool);
}
