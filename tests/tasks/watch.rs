//! `Task::watch`: what other threads are told of a task, while its owner waits for it and after its end. And bars, which show the same.

use crate::support::{Door, Marks, busy_pool, mark, pool, wait_at, wait_for, watchdog};
use multicore::{Progress, Task, Watch};

fn piece(number: u64, _: ()) -> u64 {
    assert!(number % 10 != 3, "unlucky");
    number
}

fn held(number: u64, (marks, door): (String, String)) -> u64 {
    mark(&marks, number);
    wait_at(&door);
    number
}

fn counts(progress: &Progress) -> (usize, usize, usize, usize) {
    (progress.total(), progress.done(), progress.failed(), progress.running())
}

fn assert_shared<T: Clone + Send + Sync + std::fmt::Debug>(value: &T) -> T {
    assert!(!format!("{value:?}").is_empty());
    value.clone()
}

/// However a task ends, what was counted is told after it: not zeros, and the same each time.
#[test]
fn the_last_counts_stay_after_any_end() {
    let _watch = watchdog();
    type End = fn(Task<u64>);
    // In the fourth place: counts that are exact, for a task that runs in workers and for one that runs here.
    let ends: [(&str, End, bool, bool); 9] = [
        ("get_each", |task| drop(task.get_each()), true, true),
        ("iter", |task| assert_eq!(task.iter().count(), 20), true, true),
        ("iter_completed", |task| assert_eq!(task.iter_completed().count(), 20), true, true),
        ("completed", |task| while task.completed() < 20 {}, true, true),
        ("awaited", |task| drop(futures_executor::block_on(task.get_each_async())), true, true),
        ("detach", Task::detach, true, true),
        ("cancel", Task::cancel, false, false),
        ("get", |task| drop(task.get()), false, false),
        ("drop", drop, false, false),
    ];
    for pool in [pool(2), busy_pool()] {
        let is_inline = pool.task::<()>().is_none();
        for (name, end, is_exact, is_exact_inline) in ends {
            let task = pool.task_or_inline::<u64>();
            let watch = assert_shared(&task.watch());
            let other = task.watch();
            assert_eq!(counts(&watch.progress()), (0, 0, 0, 0), "{name}");
            (0..20).for_each(|number| task.run(piece, number, ()));
            assert_eq!(watch.progress().total(), 20, "{name}");
            end(task);
            if name == "detach" {
                wait_for("a detached task goes on to its end", || {
                    watch.progress().failed() == 2 && watch.progress().done() == 18
                });
            }
            let last = watch.progress();
            if if is_inline { is_exact_inline } else { is_exact } {
                assert_eq!(counts(&last), (20, 18, 2, 0), "{name}");
            } else if name == "cancel" && !is_inline {
                assert_eq!((last.total(), last.done() + last.failed()), (20, 20));
            }
            assert_eq!((last.total(), last.running(), last.resumed()), (20, 0, 0), "{name}");
            assert!(last.bytes() > 0 || last.done() == 0, "{name}");
            if name != "detach" {
                // The clock has stopped, too.
                assert_eq!((watch.progress(), other.progress()), (last, last), "{name}");
            }
        }
    }
}

/// They are told by a task that is gone with its pool, too.
#[test]
fn the_pool_may_go_first_or_last() {
    let _watch = watchdog();
    let pool_of_one = pool(1);
    let (marks, door) = (Marks::new(), Door::closed());
    let task = pool_of_one.task_or_inline::<u64>();
    let watch = task.watch();
    (0..3).for_each(|number| task.run(held, number, (marks.path(), door.path())));
    marks.wait_for(1);
    let ends = std::thread::spawn(move || pool_of_one.shutdown());
    wait_for("what has not begun has failed", || watch.progress().failed() == 2);
    door.open();
    ends.join().unwrap();
    assert_eq!(counts(&watch.progress()), (3, 1, 2, 0));
    drop(task);
    assert_eq!(counts(&watch.progress()), (3, 1, 2, 0));

    let task = pool(1).task_or_inline::<u64>();
    let watch = task.watch();
    // The pool has ended: each piece fails.
    (0..3).for_each(|number| task.run(piece, number, ()));
    assert_eq!(task.get_each().len(), 3);
    assert_eq!(counts(&watch.progress()), (3, 0, 3, 0));
}

/// A thread asks while the owner waits; and what it is told only grows.
#[test]
fn another_thread_is_told_while_the_owner_waits() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let is_inline = pool.task::<()>().is_none();
        let (marks, door) = (Marks::new(), Door::closed());
        let task = pool.task_or_inline::<u64>();
        let watch = task.watch();
        (0..6).for_each(|number| task.run(held, number, (marks.path(), door.path())));
        let asked = {
            let (watch, marks, door): (Watch, _, _) = (watch.clone(), marks, door);
            std::thread::spawn(move || {
                let at_once = if is_inline { 1 } else { 2 };
                marks.wait_for(at_once);
                let running = watch.progress();
                assert_eq!(counts(&running), (6, 0, 0, at_once));
                assert!(running.eta().is_none() && running.rate() == 0.0);
                door.open();
                let mut before = watch.progress();
                while before.done() < 6 {
                    let now = watch.progress();
                    assert!(now.done() >= before.done() && now.total() == 6, "{before:?}, then {now:?}");
                    before = now;
                }
            })
        };
        assert_eq!(task.get().unwrap(), [0, 1, 2, 3, 4, 5]);
        asked.join().unwrap();
        assert_eq!(counts(&watch.progress()), (6, 6, 0, 0));
    }
}

/// Asked in the very moment of the end, a watch never tells zeros.
#[test]
fn no_moment_of_the_end_has_zeros() {
    let _watch = watchdog();
    let pool = pool(2);
    for round in 0..300 {
        let task = pool.task_or_inline::<u64>();
        task.run(|number: u64, ()| number, round, ());
        let watch = task.watch();
        let asker = std::thread::spawn(move || {
            while watch.progress().done() == 0 {
                assert_eq!(watch.progress().total(), 1);
            }
            for _ in 0..20 {
                assert_eq!(watch.progress().total(), 1);
            }
        });
        if round % 2 == 0 {
            task.get().unwrap();
        } else {
            task.detach();
        }
        asker.join().unwrap();
    }
}

#[test]
fn starts_that_were_lost_are_told_after_the_end() {
    let _watch = watchdog();
    let (pool, marks) = (pool(1), Marks::new());
    let task = pool.task_or_inline::<u64>().retries(5);
    let watch = task.watch();
    task.call(
        |marks: String| {
            mark(&marks, 1);
            if std::fs::read_to_string(&marks).unwrap().lines().count() < 3 {
                std::process::exit(1);
            }
            7
        },
        marks.path(),
    );
    task.detach();
    wait_for("it ends", || watch.progress().done() == 1);
    assert_eq!(watch.progress().retried(), 2);
}

#[cfg(feature = "journal")]
#[test]
fn journalled_tasks_are_watched_too() {
    let _watch = watchdog();
    for is_detached in [false, true] {
        for pool in [pool(2), busy_pool()] {
            let folder = tempfile::tempdir().unwrap();
            let journal = folder.path().join("watched.journal");
            for (upto, resumed) in [(10, 0), (20, 9)] {
                let task = pool.task_or_inline::<u64>().name("watched");
                // It follows the task to its journal.
                let early = task.watch();
                let task = task.journal(&journal).unwrap();
                let late = task.watch();
                (0..upto).for_each(|number| task.run(piece, number, ()));
                if is_detached {
                    task.detach();
                    let all = upto as usize;
                    wait_for("a detached one ends", || early.progress().done() + early.progress().failed() == all);
                    // The next one gets its file.
                    wait_for("its file is unlocked", || multicore::journal::read(&journal).is_ok());
                } else {
                    drop(task.get_each());
                }
                let unlucky = upto as usize / 10;
                for watch in [&early, &late] {
                    let last = watch.progress();
                    assert_eq!(counts(&last), (upto as usize, upto as usize - unlucky, unlucky, 0), "{is_detached}");
                    assert_eq!(last.resumed(), resumed);
                }
            }
        }
    }
}

#[cfg(feature = "indicatif")]
mod bars {
    use super::*;
    use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish};

    /// What is done moves it, and not what was read.
    #[test]
    fn a_bar_counts_what_is_done_and_is_otherwise_left_alone() {
        let _watch = watchdog();
        for pool in [pool(2), busy_pool()] {
            let is_inline = pool.task::<()>().is_none();
            let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
            let bar = bars.add(ProgressBar::new(7).with_prefix("own prefix").with_message("own message"));
            let task = pool.task_or_inline::<u64>().bar_with(bar.clone());
            (0..20).for_each(|number| task.run(piece, number, ()));
            if !is_inline {
                // Nobody reads anything.
                wait_for("it is full", || (bar.position(), bar.length()) == (20, Some(20)));
                assert!(!bar.is_finished());
            }
            assert_eq!(task.get_each().len(), 20);
            assert_eq!((bar.position(), bar.length(), bar.is_finished()), (20, Some(20), true));
            assert_eq!((bar.prefix().as_str(), bar.message().as_str()), ("own prefix", "own message"));
        }
    }

    /// A bar of a task that ended early once jumped to its end.
    #[test]
    fn a_bar_of_a_task_that_ended_early_stays_where_it_was() {
        let _watch = watchdog();
        let pool = pool(1);
        // Of a worker that just started nothing is read before the fork server has told of it.
        crate::support::assert_works(&pool);
        let (marks, door) = (Marks::new(), Door::closed());
        let bar = ProgressBar::hidden().with_finish(ProgressFinish::AndLeave);
        let task = pool.task_or_inline::<u64>().bar_with(bar.clone());
        task.run(piece, 1, ());
        (0..3).for_each(|number| task.run(held, number, (marks.path(), door.path())));
        marks.wait_for(1);
        drop(task);
        assert_eq!((bar.position(), bar.length(), bar.is_finished()), (1, Some(4), true));
        door.open();
    }
}
