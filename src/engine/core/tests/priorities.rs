//! Whose piece begins next where tasks of several priorities wait.

use super::ends::held;
use super::*;
use crate::backend::priority::Priority::{self, High, Low, Normal};

/// One worker begins the pieces of tasks with these priorities, all of which waited from the start; gives whose piece began, in order.
/// Each piece is answered before the next look.
fn order(pool: &mut PlayedPool, tasks: &[(Priority, u64)]) -> Vec<Priority> {
    let tasks: Vec<_> = tasks.iter().map(|&(priority, count)| (priority, pool.fill(priority, count))).collect();
    let all: usize = tasks.iter().map(|(_, task)| task.len()).sum();
    let (mut order, mut done) = (Vec::new(), vec![0; tasks.len()]);
    while order.len() < all {
        assert_eq!(pool.work(1), 1, "{order:?}");
        for ((priority, task), done) in tasks.iter().zip(&mut done) {
            let now = task.completed();
            order.extend(std::iter::repeat_n(*priority, now - *done));
            *done = now;
        }
    }
    tasks.into_iter().for_each(|(_, task)| assert!(task.get().is_ok()));
    order
}

impl PlayedPool {
    /// A task of this priority with pieces that wait, as far as no worker takes them in advance.
    fn fill(&self, priority: Priority, count: u64) -> Task<u64> {
        let task = self.task::<u64>().priority(priority);
        task.run_all(add, (0..count).map(|number| (number, 0)));
        task
    }
}

fn counts(order: &[Priority]) -> [usize; 3] {
    [Low, Normal, High].map(|priority| order.iter().filter(|&&it| it == priority).count())
}

/// What the worker holds in advance is not overtaken: of the task that comes first these are two pieces.
#[test]
fn of_sixteen_starts_each_priority_that_waits_has_one_at_least() {
    for (tasks, shares) in [
        (&[(Low, 400), (Normal, 400), (High, 400)][..], [1, 1, 14]),
        (&[(Low, 400), (High, 200), (High, 200), (Normal, 400)], [1, 1, 14]),
        (&[(Low, 400), (Normal, 400)], [1, 15, 0]),
        (&[(Low, 400), (High, 400)], [1, 0, 15]),
        (&[(Normal, 400), (High, 400)], [0, 1, 15]),
    ] {
        let mut pool = PlayedPool::new(1);
        let order = order(&mut pool, tasks);
        // While all of them wait.
        for cycle in order[2..2 + 320].chunks(16) {
            assert_eq!(counts(cycle), shares, "{tasks:?}: {cycle:?}");
        }
    }
}

/// The look-ahead of pieces that are known to be tiny is hundreds of them: the shares hold there too.
#[test]
fn tiny_pieces_are_shared_out_by_the_piece() {
    let mut pool = PlayedPool::new(1);
    let tasks: Vec<_> = [Low, High].map(|priority| pool.fill(priority, 10)).into_iter().collect();
    pool.pieces_are_tiny();
    for task in &tasks {
        task.run_all(add, (0..10_000).map(|number| (number, 0)));
    }
    pool.pieces_are_tiny();
    while tasks[1].completed() < 5000 {
        assert!(pool.work(1) > 0);
    }
    let (low, high) = (tasks[0].completed(), tasks[1].completed());
    // A look-ahead of the task that came first was given to the worker while nothing else waited.
    assert!(low <= 1024 + 20 + high / 15 + 16 && low >= high / 15, "{low} beside {high}");
    drop(tasks);
}

/// One that is full is passed over, whatever its priority, and its place in the cycle is the next one's.
#[test]
fn a_task_that_waits_for_its_reader_holds_up_no_other() {
    let mut pool = PlayedPool::new(1);
    let full = pool.task::<u64>().priority(High).max_unread(1);
    full.run_all(add, (0..100).map(|number| (number, 0)));
    let (low, normal) = (pool.fill(Low, 100), pool.fill(Normal, 100));
    while pool.work(1) == 1 {
        assert!(low.completed() + normal.completed() + full.completed() > 0);
    }
    assert_eq!((low.completed(), normal.completed()), (100, 100));
    assert!(full.completed() < 3, "nobody reads");
    drop(full);
}

/// What begins again waits in its own task's turn.
#[test]
fn pieces_that_were_taken_back_keep_their_priority() {
    let pool = PlayedPool::new(2);
    let low = pool.fill(Low, 10);
    let high = pool.fill(High, 10);
    assert_eq!(held(&pool), [2, 2]);
    let mut core = pool.shared.lock();
    assert_eq!(core.work.ready.first(), core.work.ready.iter().next());
    for seat in 0..2 {
        core.revoke_all(seat);
    }
    core.dispatch();
    let given = |core: &Core, priority| {
        let tasks = core.seats.workers().filter_map(|worker| core.work.tasks.get(worker.link.newest_task()?));
        tasks.filter(|task| task.settings().priority == priority).count()
    };
    assert_eq!((given(&core, High), given(&core, Low)), (2, 0));
    pool.shared.release(core);
    drop((low, high));
}
