//! Results that nobody collects delay no other task.

use crate::support::{self, DEADLINE, Door, Marks, add, mark, pool, task, wait_at, wait_for, watchdog};

#[test]
fn a_hundred_thousand_uncollected_results_block_nobody() {
    let _watch = watchdog();
    let pool = pool(2);
    let forgotten = task::<u64>(&pool);
    forgotten.run_all(add, (0..100_000).map(|number| (number, 1)));
    for round in 0..50 {
        let live = task::<u64>(&pool);
        live.run_all(add, (0..20).map(|number| (number, round)));
        assert_eq!(live.get_timeout(DEADLINE).unwrap(), (round..round + 20).collect::<Vec<u64>>());
    }
    wait_for("all pieces are done", || forgotten.completed() == 100_000);
    support::assert_works(&pool);
    assert_eq!(forgotten.get().unwrap(), (1..=100_000).collect::<Vec<u64>>());
    support::assert_well(pool);
}

/// No caller uses the pool while the results are made.
#[test]
fn uncollected_results_far_beyond_the_rings_block_nobody() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    let forgotten = task::<Vec<u8>>(&pool);
    // 40 MB in all. Each result is much smaller or much larger than a ring.
    for number in 0..80_u64 {
        forgotten.run(
            |number: u64, marks: String| {
                mark(&marks, number);
                vec![number as u8; if number.is_multiple_of(10) { 4_000_000 } else { 100_000 }]
            },
            number,
            marks.path(),
        );
    }
    marks.wait_for(80);
    support::assert_works(&pool);
    for (number, bytes) in forgotten.get().unwrap().into_iter().enumerate() {
        assert!(bytes.len() >= 100_000 && bytes.iter().all(|&byte| byte == number as u8), "{number}");
    }
    support::assert_well(pool);
}

#[test]
fn many_forgotten_tasks_and_errors_block_nobody() {
    let _watch = watchdog();
    let pool = pool(2);
    let mut forgotten = Vec::new();
    for number in 0..300_u64 {
        let task = task::<u64>(&pool);
        task.run(add, number, 0);
        task.run(|_: u64, _: u64| panic!("{}", "nobody reads this ".repeat(100)), 0, 0);
        forgotten.push(task);
    }
    wait_for("all tasks are done", || forgotten.iter().all(|task| task.completed() == 2));
    assert_eq!(pool.stats().tasks, 300);
    support::assert_works(&pool);
    let leaked = task::<u64>(&pool);
    leaked.run_all(add, (0..1000).map(|number| (number, 0)));
    std::mem::forget(leaked);
    drop(forgotten);
    wait_for("the dropped tasks are closed", || pool.stats().tasks == 1);
    support::assert_well(pool);
}

#[test]
fn results_of_a_dropped_task_that_still_come_disturb_nobody() {
    let _watch = watchdog();
    let pool = pool(2);
    for _ in 0..20 {
        let (marks, door) = (Marks::new(), Door::closed());
        let dropped = task::<Vec<u8>>(&pool);
        for _ in 0..2 {
            dropped.run(
                |marks: String, door: String| {
                    mark(&marks, 0);
                    wait_at(&door);
                    vec![1; 1_000_000]
                },
                marks.path(),
                door.path(),
            );
        }
        marks.wait_for(2);
        drop(dropped);
        let next = task::<u64>(&pool);
        next.run_all(add, (0..100).map(|number| (number, 0)));
        door.open();
        assert_eq!(next.get_timeout(DEADLINE).unwrap(), (0..100).collect::<Vec<u64>>());
    }
    assert_eq!(pool.stats().workers_lost, 0);
    support::assert_well(pool);
}
