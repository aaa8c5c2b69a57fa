//! Tasks with priorities: what goes first, and what goes on all the same.

use crate::support::{self, DEADLINE, Door, Marks, add, mark, pool, task, wait_at, watchdog};
use multicore::{Priority, Task};

/// The marks of pieces with these priorities.
const LOW: u64 = 0;
const NORMAL: u64 = 1;
const HIGH: u64 = 2;

/// One worker, so the order of the marks is that of the starts.
#[test]
fn of_sixteen_starts_high_has_most_and_the_others_go_on() {
    let _watch = watchdog();
    let pool = pool(1);
    let (marks, door) = (Marks::new(), Door::closed());
    let holder = task::<()>(&pool);
    holder.call(|door: String| wait_at(&door), door.path());
    let fill = |priority, number: u64| {
        let task: Task<()> = task(&pool).priority(priority);
        task.run_all(|marks: String, number: u64| mark(&marks, number), (0..64).map(|_| (marks.path(), number)));
        task
    };
    let tasks = [fill(Priority::Low, LOW), fill(Priority::Normal, NORMAL), fill(Priority::High, HIGH)];
    door.open();
    for task in tasks {
        assert_eq!(task.get_timeout(DEADLINE).unwrap().len(), 64);
    }
    let order: Vec<u64> = marks.lines().iter().map(|line| line.parse().unwrap()).collect();
    // What the worker was given in advance comes first: it is of the task that came first.
    let ahead = order.iter().take_while(|&&number| number == LOW).count();
    assert!(ahead <= 2, "{order:?}");
    for cycle in order[ahead..ahead + 64].chunks(16) {
        let counts = [LOW, NORMAL, HIGH].map(|number| cycle.iter().filter(|&&it| it == number).count());
        assert_eq!(counts, [1, 1, 14], "{order:?}");
    }
    drop(holder);
    support::assert_well(pool);
}

/// Work that can wait does not hold up what comes meanwhile, and goes on beside it.
#[test]
fn what_is_low_goes_on_beside_a_stream_of_other_work() {
    let _watch = watchdog();
    let pool = pool(2);
    let low = task::<u64>(&pool).priority(Priority::Low);
    low.run_all(add, (0..200).map(|number| (number, 0)));
    let mut streams: Vec<Task<u64>> = Vec::new();
    let mut rounds = 0;
    // As long as it takes: at any time pieces of both other priorities wait.
    while low.completed() < 200 {
        streams.retain(|stream| stream.completed() < stream.len());
        while streams.len() < 8 {
            let stream = task::<u64>(&pool);
            let stream = if rounds % 2 == 0 { stream.priority(Priority::High) } else { stream };
            stream.run_all(add, (0..100).map(|number| (number, 0)));
            streams.push(stream);
            rounds += 1;
        }
    }
    assert_eq!(low.get_timeout(DEADLINE).unwrap().len(), 200);
    for stream in streams {
        assert_eq!(stream.get_timeout(DEADLINE).unwrap().len(), 100);
    }
    support::assert_well(pool);
}

/// The settings change the order alone.
#[test]
fn every_priority_alone_has_all_workers() {
    let _watch = watchdog();
    let pool = pool(2);
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let pooled = task::<u64>(&pool).priority(priority);
        let inline = support::busy_pool().task_or_inline::<u64>().priority(priority);
        for task in [pooled, inline] {
            task.run_all(add, (0..1000).map(|number| (number, 1)));
            assert!(task.get_timeout(DEADLINE).unwrap().into_iter().eq(1..=1000), "{priority:?}");
        }
    }
    support::assert_well(pool);
}
