//! Tasks take turns, and no worker is idle while another worker has pieces that wait.

use crate::support::{self, DEADLINE, Door, Marks, Random, add, mark, pool, task, wait_at, watchdog};
use multicore::Pool;
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn held(marks: String, door: String) -> u64 {
    mark(&marks, 0);
    wait_at(&door);
    0
}

#[test]
fn a_small_task_does_not_wait_for_a_huge_one() {
    let _watch = watchdog();
    let pool = pool(2);
    let huge = task::<u64>(&pool);
    let marks = Marks::new();
    huge.run_all(
        |marks: String, number: u64| {
            mark(&marks, number);
            std::thread::sleep(Duration::from_millis(1));
            number
        },
        (0..10_000).map(|number| (marks.path(), number)),
    );
    for round in 0..20 {
        // With whatever look-ahead the pool has by now.
        marks.wait_for(20 * round);
        let before = marks.count();
        let small = task::<u64>(&pool);
        small.run_all(add, (0..4).map(|number| (number, 0)));
        assert_eq!(small.get_timeout(DEADLINE).unwrap(), [0, 1, 2, 3]);
        let meanwhile = marks.count() - before;
        // If the tasks take turns, this is some tens of pieces. If the small task waited, it would be near 10,000.
        assert!(meanwhile < 2000, "{meanwhile} pieces of the huge task ran before 4 of the small one");
    }
    assert!(marks.count() < 10_000, "the huge task was no hindrance: {}", marks.count());
    drop(huge);
    support::assert_well(pool);
}

/// Two tasks with thousands of pieces each.
#[test]
fn two_equal_tasks_advance_side_by_side() {
    let _watch = watchdog();
    let pool = pool(2);
    let (first, second) = (task::<u64>(&pool), task::<u64>(&pool));
    let door = Door::closed();
    let piece = |number: u64, door: String| {
        if number == 0 {
            wait_at(&door);
        }
        std::thread::sleep(Duration::from_micros(200));
        number
    };
    for task in [&first, &second] {
        task.run_all(piece, (0..2000).map(|number| (number, door.path())));
    }
    door.open();
    support::wait_for("one task is half done", || first.completed().max(second.completed()) >= 1000);
    let (first_done, second_done) = (first.completed(), second.completed());
    assert!(first_done.abs_diff(second_done) < 700, "{first_done} and {second_done} of 2000");
    drop((first, second));
    support::assert_well(pool);
}

/// Gives the pool a long look-ahead: it has measured only tiny pieces.
fn quicken(pool: &Pool) {
    let tiny = task::<u64>(pool);
    tiny.run_all(add, (0..100_000).map(|number| (number, 0)));
    tiny.get().unwrap();
}

/// Before this was fixed, pieces behind a long one stayed there: a few pieces, because moving so few did not seem worth a
/// wake-up, and pieces with long arguments, because they were never revoked.
#[test]
fn nothing_waits_behind_a_long_piece_while_a_worker_idles() {
    let _watch = watchdog();
    type HandOut = fn(&multicore::Task<u64>, u64);
    let tiny: HandOut = |task, number| task.run(add, number, 0);
    let long_arguments: HandOut =
        |task, number| task.call(|bytes: Vec<u8>| bytes.len() as u64, vec![0; number as usize]);
    let cases: [(&str, HandOut, &[u64]); 2] = [
        ("tiny", tiny, &[1, 2, 3, 5, 10, 30, 60, 69, 70, 100, 1000, 5000]),
        ("long", long_arguments, &[1, 2, 3, 10, 30]),
    ];
    for quick in [false, true] {
        for workers in [2, 3] {
            let pool = pool(workers);
            if quick {
                quicken(&pool);
            }
            for (name, hand_out, counts) in cases {
                for &count in counts {
                    // In the same task, handed out before the pool can know that the first piece is long.
                    let (marks, door) = (Marks::new(), Door::closed());
                    let task = task::<u64>(&pool);
                    task.run(held, marks.path(), door.path());
                    for number in 0..count {
                        hand_out(&task, if name == "long" { 20_000 * (1 + number) } else { number });
                    }
                    let (sender, receiver) = mpsc::channel();
                    std::thread::scope(|scope| {
                        scope.spawn(move || task.iter_completed().try_for_each(|(number, _)| sender.send(number)));
                        for got in 0..count {
                            let next = receiver.recv_timeout(DEADLINE);
                            if next.is_err() {
                                door.open();
                            }
                            let case = format!("{name}, quick: {quick}, {workers} workers");
                            let next = next.unwrap_or_else(|_| panic!("{case}: {got} of {count} came"));
                            assert_ne!(next, 0, "{case}: the held piece is done");
                        }
                        door.open();
                        assert_eq!(receiver.recv_timeout(DEADLINE), Ok(0));
                    });
                }
            }
            support::assert_well(pool);
        }
    }
}

/// The same while no caller waits: the supervisor must move the pieces.
#[test]
fn nothing_waits_behind_a_long_piece_when_nobody_collects() {
    let _watch = watchdog();
    for count in [1, 2, 5, 20, 60, 100, 3000] {
        let pool = pool(2);
        quicken(&pool);
        let (begun, marks, door) = (Marks::new(), Marks::new(), Door::closed());
        let task = task::<u64>(&pool);
        task.run(held, begun.path(), door.path());
        task.run_all(
            |marks: String, number: u64| {
                mark(&marks, number);
                number
            },
            (0..count).map(|number| (marks.path(), number)),
        );
        // The test reads only these files, and calls nothing of the task.
        marks.wait_for(count as usize);
        door.open();
        assert_eq!(task.get().unwrap().len() as u64, count + 1);
    }
}

/// One piece in a hundred takes ten thousand times as long as the others.
#[test]
fn uneven_pieces_keep_all_workers_busy() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    let pool = pool(2);
    quicken(&pool);
    let slow_us = 2000;
    let lengths: Vec<u64> = (0..4000).map(|_| if random.below(100) == 0 { slow_us } else { 0 }).collect();
    let sleep = |us: u64, _: ()| {
        if us > 0 {
            std::thread::sleep(Duration::from_micros(us));
        }
        us
    };
    let task = task::<u64>(&pool);
    let start = Instant::now();
    task.run_all(sleep, lengths.iter().map(|&us| (us, ())));
    assert_eq!(task.get_timeout(DEADLINE).unwrap(), lengths);
    println!("{:?} for {} us of sleep on 2 workers", start.elapsed(), lengths.iter().sum::<u64>());
    let done: Vec<u64> = pool.stats().workers.iter().map(|worker| worker.pieces_done).collect();
    assert!(done.iter().all(|&done| done > 0), "{done:?}");
}
