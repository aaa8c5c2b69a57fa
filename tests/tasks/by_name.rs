//! `Stats::by_name`: what tasks of one name have done, and how long that took.

use crate::support::{self, Door, Marks, assert_well, mark, pool, wait_at, wait_for, watchdog};
use multicore::{Pool, TaskStats};
use std::time::{Duration, Instant};

fn of(pool: &Pool, name: &str) -> TaskStats {
    let stats = pool.stats();
    stats.by_name.into_iter().find(|task| task.name == name).unwrap_or_default()
}

fn counts(task: &TaskStats) -> (u64, u64, u64) {
    (task.pieces, task.failed, task.retried)
}

fn unlucky(number: u64, (): ()) -> u64 {
    assert!(number % 10 != 3, "unlucky");
    number
}

fn dies_twice(marks: String) -> u64 {
    mark(&marks, 1);
    if std::fs::read_to_string(&marks).unwrap().lines().count() < 3 {
        std::process::exit(1);
    }
    7
}

fn held(number: u64, (marks, door): (String, String)) -> u64 {
    mark(&marks, number);
    wait_at(&door);
    number
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

#[test]
fn pieces_count_for_the_name_of_their_task_while_it_is_open_and_after_it() {
    let _watch = watchdog();
    let pool = pool(2);
    for round in 1..=3 {
        let task = pool.task_or_inline::<u64>().name("unlucky ones");
        (0..20).for_each(|number| task.run(unlucky, number, ()));
        wait_for("all have ended", || task.completed() == 20);
        let open = of(&pool, "unlucky ones");
        assert_eq!(counts(&open), (20 * round, 2 * round, 0));
        assert!(open.bytes >= 18 * round);
        assert_eq!(task.get_each().len(), 20);
        // The task has gone, and nothing has changed.
        assert_eq!(of(&pool, "unlucky ones"), open);
    }
    let marks = Marks::new();
    let lost = pool.task_or_inline::<u64>().name("lost ones").retries(5);
    lost.call(dies_twice, marks.path());
    lost.get().unwrap();
    assert_eq!(counts(&of(&pool, "lost ones")), (1, 0, 2));
    // One without a name is told nowhere.
    let unnamed = pool.task_or_inline::<u64>();
    unnamed.run(unlucky, 1, ());
    unnamed.get().unwrap();
    let detached = pool.task_or_inline::<u64>().name("left");
    (0..20).for_each(|number| detached.run(unlucky, number, ()));
    detached.detach();
    wait_for("a detached one counts", || counts(&of(&pool, "left")) == (20, 2, 0));
    let stats = pool.stats();
    let names: Vec<_> = stats.by_name.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["left", "lost ones", "unlucky ones"]);
    let text = stats.to_string();
    assert!(text.contains("task (3 of 3)") && text.lines().any(|line| line.starts_with("unlucky ones ")), "{text}");
    assert_well(pool);
}

/// Whatever ended the task has not failed by itself.
#[test]
fn pieces_that_end_with_their_task_do_not_count() {
    let _watch = watchdog();
    for (end, pieces) in [("cancel", 0), ("drop", 0), ("stop", 1), ("deadline", 0)] {
        let pool = pool(1);
        let (marks, door) = (Marks::new(), Door::closed());
        let mut task = pool.task_or_inline::<u64>().name(end);
        (0..3).for_each(|number| task.run(held, number, (marks.path(), door.path())));
        marks.wait_for(1);
        match end {
            "cancel" => {
                task.canceller().cancel();
                assert_eq!(task.get_each().len(), 3);
            }
            "stop" => {
                task.canceller().stop();
                door.open();
                assert_eq!(task.get_each().len(), 3);
            }
            "deadline" => {
                task = task.deadline(Instant::now());
                assert_eq!(task.get_each().len(), 3);
            }
            _ => drop(task),
        }
        door.open();
        assert_eq!(counts(&of(&pool, end)), (pieces, 0, 0), "{end}");
        assert_well(pool);
    }
}

/// Times come from looks, so they are bounded on both sides with room.
#[test]
fn time_at_work_and_time_in_the_queue_are_told() {
    let _watch = watchdog();
    let pool = pool(2);
    support::assert_works(&pool);
    let began = Instant::now();
    let task = pool.task_or_inline::<u64>().name("naps");
    (0..6).for_each(|_| task.call(nap, 100));
    // Two run at a time, and each worker is given one more ahead: the other two wait for one nap.
    task.get().unwrap();
    let late = began.elapsed() - Duration::from_millis(300);
    let naps = of(&pool, "naps");
    let at_least = |tenths: u64| Duration::from_millis(tenths * 100 - 20);
    assert!((at_least(6)..at_least(7) + 2 * late).contains(&naps.busy), "{naps:?}, {late:?} late");
    assert!((at_least(2)..at_least(3) + 2 * late).contains(&naps.waited), "{naps:?}, {late:?} late");

    // One by one, as a server has them.
    for _ in 0..5 {
        let task = pool.task_or_inline::<u64>().name("one nap");
        task.call(nap, 40);
        task.get().unwrap();
    }
    let one = of(&pool, "one nap");
    assert!(one.busy >= Duration::from_millis(195) && one.busy < Duration::from_millis(400), "{one:?}");
    assert_eq!((one.pieces, one.waited), (5, Duration::ZERO), "nothing waited");
}

/// A piece that is killed has kept its worker busy, too. And one task's time is not another's.
#[test]
fn what_was_killed_was_busy_and_who_waited_behind_it_was_not() {
    let _watch = watchdog();
    let pool = pool(1);
    support::assert_works(&pool);
    let slow = pool.task_or_inline::<u64>().name("slow").timeout(Duration::from_millis(200));
    slow.call(nap, 10_000);
    let behind = pool.task_or_inline::<u64>().name("behind");
    (0..10).for_each(|number| behind.run(support::add, number, 1));
    assert_eq!(behind.get_each().len(), 10);
    assert_eq!(slow.get_each().len(), 1);
    let (slow, behind) = (of(&pool, "slow"), of(&pool, "behind"));
    assert!(slow.busy >= Duration::from_millis(190) && slow.failed == 1, "{slow:?}");
    assert!(behind.busy < Duration::from_millis(100), "{behind:?}");
    assert_well(pool);
}

#[test]
fn names_beyond_the_256th_are_others() {
    let _watch = watchdog();
    let pool = pool(1);
    for number in 0..300 {
        let task = pool.task_or_inline::<u64>().name(format!("{number:03}"));
        task.run(support::add, number, 1);
        task.get().unwrap();
    }
    let stats = pool.stats();
    let (others, known) = stats.by_name.split_last().unwrap();
    assert_eq!((known.len(), others.name.as_str(), others.pieces), (256, "others", 44));
    assert!(known.iter().enumerate().all(|(number, task)| task.name == format!("{number:03}") && task.pieces == 1));
    assert!(stats.to_string().contains("task (10 of 257)"));
}
