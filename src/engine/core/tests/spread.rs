//! Over how many workers quick pieces are spread: no more than there are CPUs, unless one of them says nothing any more.

use super::ends::{held, keyed_task};
use super::*;

/// Each worker that holds pieces has said something at that moment, as far as the parent knows.
fn have_spoken(pool: &PlayedPool, moment_ns: u64) {
    for worker in pool.shared.lock().seats.workers_mut() {
        worker.measured = (!worker.link.is_idle()).then_some(Measured::FromReply(moment_ns));
    }
}

/// A task of `pool` whose pieces are known to be tiny, and 4,000 more of them: as many as eight workers take. The workers that
/// hold some are said to have spoken at that moment.
fn spread(pool: &mut PlayedPool, spoken_ns: u64) -> Task<u64> {
    let task = pool.task();
    task.run(add, 0, 0);
    assert_eq!((pool.work(1), task.completed()), (1, 1));
    pool.pieces_are_tiny();
    for first in (1..4000).step_by(10) {
        task.run_all(add, (first..first + 10).map(|number| (number, 0)));
        have_spoken(pool, spoken_ns);
    }
    task
}

/// Each piece once woke a worker of its own: that cost 10 us, and the pieces were so far apart that each found one asleep.
#[test]
fn quick_pieces_wake_no_more_workers_than_there_are_cpus() {
    let mut pool = PlayedPool::with_cpus(8, 2);
    let task = spread(&mut pool, u64::MAX / 2);
    let held = held(&pool);
    assert!(held[..2].iter().all(|&held| held > 500) && held[2..].iter().all(|&held| held == 0), "{held:?}");
    let len = task.len();
    while task.completed() < len {
        // A look that finds nothing has given out what it could.
        assert!(pool.work(usize::MAX) > 0 || pool.shared.lock().collect(), "nobody holds what waits");
        have_spoken(&pool, u64::MAX / 2);
    }
    assert!(task.get().unwrap().into_iter().eq(0..len as u64));
}

/// Those that are awake may sleep in a long piece each.
#[test]
fn quick_pieces_leave_workers_that_say_nothing_for_long() {
    for (cpus, spoken_ns) in [(2, 0), (usize::MAX, u64::MAX / 2)] {
        let mut pool = PlayedPool::with_cpus(8, cpus);
        let task = spread(&mut pool, spoken_ns);
        let held = held(&pool);
        assert!(held[2..].iter().any(|&held| held > 0), "{held:?}");
        drop(task);
    }
}

/// Pieces that stay with a silent worker need somebody who looks again: the caller that leads, or the supervisor.
#[test]
fn somebody_looks_again_at_pieces_that_stay() {
    for leads in [true, false] {
        let mut pool = PlayedPool::with_cpus(2, 1);
        let task = pool.task::<u64>();
        task.run(add, 0, 0);
        assert_eq!((pool.work(1), task.completed()), (1, 1));
        pool.pieces_are_tiny();
        (1..17).for_each(|number| task.run(add, number, 0));
        have_spoken(&pool, u64::MAX / 2);
        assert_eq!(held(&pool), [16, 0]);
        let mut core = pool.shared.lock();
        let leader = leads.then(|| core.waiters.enter(Waiter::new(Arc::default(), Want::InOrder(usize::MAX))));
        core.alarm.supervisor_woke();
        let observer = if leads { Observer::CallerParks } else { Observer::SupervisorParks };
        let _ = core.attend(observer, true);
        let (told_ns, alarm_ns) = (core.take_stays_until_ns(), core.alarm.supervisor_sleeps(None));
        for due_ns in [told_ns, alarm_ns] {
            assert!(due_ns.is_some_and(|due_ns| due_ns > u64::MAX / 2), "{leads}: {told_ns:?}, {alarm_ns:?}");
        }
        assert!(leader.is_none_or(|leader| core.waiters.leave(leader).is_none()));
        pool.shared.release(core);
    }
}

/// Where more workers are woken than there are cores, the time from the wake-up to the reply is that of a wait. Tiny pieces
/// then seemed long for ever.
#[test]
fn the_first_piece_of_a_worker_that_was_woken_costs_what_the_worker_says() {
    const MAX: u32 = crate::engine::policy::pace::MAX_COST_NS;
    for (told_ns, expected) in [(None, MAX), (Some(100), MAX / 2), (Some(u64::MAX), MAX)] {
        let mut pool = PlayedPool::new(1);
        let (key, task) = keyed_task(&pool);
        // A task's only piece is not measured.
        task.run(add, 0, 0);
        assert_eq!((pool.work(1), task.completed()), (1, 1));
        task.run(add, 1, 0);
        let mut core = pool.shared.lock();
        let worker = core.seats.worker_mut(0).unwrap();
        let Some(Measured::FromIdle(_, first)) = worker.measured else { panic!("it was idle") };
        worker.measured = Some(Measured::FromIdle(0, first));
        pool.shared.release(core);
        if let Some(told_ns) = told_ns {
            told::tell_cost(pool.workers[0].pair.first_cost(), first, told_ns);
        }
        assert_eq!((pool.work(1), task.completed()), (1, 2));
        assert_eq!(pool.shared.lock().task(key).unwrap().cost_ns(), expected, "{told_ns:?}");
    }
}
