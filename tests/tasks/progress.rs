//! `Task::progress`: what its callback is told, on which thread, and how often.

#![allow(unsafe_code)]

use crate::support::{self, Door, busy_pool, pool, wait_at, watchdog};
use multicore::{Pool, Progress, Task};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Told = Arc<Mutex<Vec<(Progress, Option<String>)>>>;

/// Notes what it is told, and on which thread.
fn noting(told: &Told) -> impl FnMut(&Progress) + Send + 'static {
    let told = Arc::clone(told);
    move |progress| {
        let thread = std::thread::current().name().map(str::to_string);
        told.lock().unwrap().push((*progress, thread));
    }
}

fn task(pool: &Pool, told: &Told) -> Task<u64> {
    pool.task_or_inline::<u64>().progress(noting(told))
}

fn piece(number: u64, _: ()) -> u64 {
    assert!(number % 10 != 3, "unlucky");
    number
}

fn counts(progress: &Progress) -> (usize, usize, usize) {
    (progress.total(), progress.done(), progress.failed())
}

/// However a task is collected: the last call has the final counts, and comes before the collecting method returns.
#[test]
fn the_last_call_has_the_final_counts() {
    let _watch = watchdog();
    type Collect = fn(Task<u64>);
    let ways: [(Collect, (usize, usize, usize)); 7] = [
        (|task| drop(task.get_each()), (20, 18, 2)),
        (|task| assert_eq!(task.iter().count(), 20), (20, 18, 2)),
        (|task| assert_eq!(task.iter_completed().count(), 20), (20, 18, 2)),
        (|task| while task.completed() < 20 {}, (20, 18, 2)),
        (
            |mut task| {
                while task.next_completed().is_some() {}
            },
            (20, 18, 2),
        ),
        (
            |task| {
                task.canceller().cancel();
                drop(task.get_each());
            },
            (20, 0, 20),
        ),
        (|task| task.cancel(), (20, 0, 20)),
    ];
    for pool in [pool(2), busy_pool()] {
        let is_inline = pool.task::<()>().is_none();
        for (index, (collect, expected)) in ways.iter().enumerate() {
            let told = Told::default();
            let task = task(&pool, &told);
            (0..20).for_each(|number| task.run(piece, number, ()));
            collect(task);
            let told = told.lock().unwrap();
            let (last, thread) = told.last().unwrap();
            let (total, done, failed) = counts(last);
            assert_eq!(total, 20, "way {index}");
            if index < 5 {
                assert_eq!((total, done, failed), *expected, "way {index}");
            } else if !is_inline {
                // Some may have been done before they were cancelled.
                assert_eq!(done + failed, 20, "way {index}");
            }
            assert_eq!(told.iter().filter(|(progress, _)| progress == last).count(), 1, "way {index}");
            let own = std::thread::current().name().map(str::to_string);
            assert_eq!(*thread, if is_inline { own } else { Some("multicore-progress".to_string()) });
            // What was cancelled may still be on its way to its end.
            assert!(last.running() == 0 || index >= 5, "way {index}");
            assert_eq!((last.retried(), last.resumed()), (0, 0), "way {index}");
        }
    }
}

/// What runs is counted; and the calls come while nobody collects.
#[test]
fn calls_come_while_pieces_run_and_tell_how_many_do() {
    let _watch = watchdog();
    let (pool, told, door) = (pool(2), Told::default(), Door::closed());
    let task = pool.task_or_inline::<u64>().progress(noting(&told));
    for _ in 0..10 {
        task.call(
            |door: String| {
                wait_at(&door);
                1
            },
            door.path(),
        );
    }
    let began = Instant::now();
    support::wait_for("two that run", || told.lock().unwrap().iter().any(|(progress, _)| progress.running() == 2));
    support::wait_for("a quiet second", || told.lock().unwrap().len() >= 3);
    let calls = told.lock().unwrap().len();
    // At most ten a second, and one a second where nothing changes.
    assert!(calls as f64 <= 3.0 + began.elapsed().as_secs_f64() * 10.0, "{calls}");
    assert!(told.lock().unwrap().iter().all(|(progress, _)| progress.eta().is_none() && progress.rate() == 0.0));
    door.open();
    assert_eq!(task.get().unwrap(), [1; 10]);
    let told = told.lock().unwrap();
    let last = told.last().unwrap().0;
    assert_eq!((counts(&last), last.bytes() > 0), ((10, 10, 0), true));
    assert!(last.rate() > 0.0 && last.eta() == Some(Duration::ZERO) && last.elapsed() > Duration::from_millis(100));
}

#[test]
fn calls_are_at_most_ten_a_second() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let told = Told::default();
        let task = task(&pool, &told);
        let began = Instant::now();
        (0..300).for_each(|number| {
            task.run(
                |number: u64, _: ()| {
                    std::thread::sleep(Duration::from_millis(1));
                    number
                },
                number,
                (),
            );
        });
        task.get().unwrap();
        let (calls, seconds) = (told.lock().unwrap().len(), began.elapsed().as_secs_f64());
        assert!((1.0..=seconds * 10.0 + 2.0).contains(&(calls as f64)), "{calls} calls in {seconds} s");
    }
}

#[test]
fn lost_starts_are_counted() {
    let _watch = watchdog();
    let (pool, told, marks) = (pool(1), Told::default(), support::Marks::new());
    let task = pool.task_or_inline::<u64>().retries(5).progress(noting(&told));
    task.call(
        |marks: String| {
            support::mark(&marks, 1);
            if std::fs::read_to_string(&marks).unwrap().lines().count() < 3 {
                std::process::exit(1);
            }
            7
        },
        marks.path(),
    );
    assert_eq!(task.get().unwrap(), [7]);
    assert_eq!(told.lock().unwrap().last().unwrap().0.retried(), 2);
}

#[test]
fn a_callback_that_panics_stops_and_its_task_goes_on() {
    // Other tests keep what their panics say.
    support::alone!();
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let calls = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&calls);
        let task = pool.task_or_inline::<u64>().progress(move |_| {
            *counted.lock().unwrap() += 1;
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(|_| {}));
            let panicked = std::panic::catch_unwind(|| panic!("no more"));
            std::panic::set_hook(hook);
            std::panic::resume_unwind(panicked.unwrap_err());
        });
        (0..5).for_each(|number| {
            task.run(
                |number: u64, _: ()| {
                    std::thread::sleep(Duration::from_millis(150));
                    number
                },
                number,
                (),
            );
        });
        assert_eq!(task.get().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(*calls.lock().unwrap(), 1);
    }
}

/// A later callback replaces the earlier one, which has its last call then. A task without pieces has one call.
#[test]
fn each_callback_has_one_last_call() {
    let _watch = watchdog();
    let pool = pool(1);
    let (first, second) = (Told::default(), Told::default());
    let task = task(&pool, &first).progress(noting(&second));
    assert_eq!((first.lock().unwrap().len(), second.lock().unwrap().len()), (1, 0));
    drop(task);
    assert_eq!((first.lock().unwrap().len(), second.lock().unwrap().len()), (1, 1));
    assert_eq!(counts(&second.lock().unwrap()[0].0), (0, 0, 0));
}
