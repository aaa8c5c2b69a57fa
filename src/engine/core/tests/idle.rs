//! Workers that end because they are idle, with played workers: nobody looks afterwards, no clock repairs what was forgotten.

use super::ends::held;
use super::recycle::pool;
use super::*;
use crate::backend::Workers;
use crate::engine::policy::patience::Duty;

/// The timeout of these pools: each look finds that it has passed.
const TIMEOUT_NS: u64 = 1;

/// The supervisor looks, long after it looked last; gives whether it would look again.
fn look(pool: &PlayedPool) -> bool {
    let mut core = pool.shared.lock();
    core.alarm.supervisor_woke();
    core.idle.look_now();
    let again = core.end_idle().is_some();
    pool.shared.release(core);
    again
}

/// Workers that leave are gone.
fn are_gone(pool: &PlayedPool) {
    let mut core = pool.shared.lock();
    for seat in 0..core.seats.len() {
        let generation = core.seats.get_mut(seat).unwrap().generation();
        if core.seats.worker(seat).is_some_and(|worker| worker.duty() == Duty::Leaves) {
            core.died_of(seat, generation, Cause::Exit(0));
        }
    }
    pool.shared.release(core);
}

fn count(pool: &PlayedPool, is: impl Fn(&Seat) -> bool) -> usize {
    pool.shared.lock().seats.iter().filter(|(_, seat)| is(seat)).count()
}

fn resting(pool: &PlayedPool) -> usize {
    count(pool, Seat::rests)
}

fn called(pool: &PlayedPool) -> usize {
    count(pool, |seat| seat.vacant_until_ns().is_some())
}

/// A pool of which all workers have ended because they were idle.
fn all_ended(workers: usize) -> (PlayedPool, crate::sys::descriptors::Descriptor) {
    let (pool, socket) = pool(workers);
    pool.shared.lock().end_idle_after(Some(TIMEOUT_NS));
    assert!(look(&pool), "they are seen idle");
    assert!(!look(&pool), "they are dismissed, and nobody could be idle later");
    are_gone(&pool);
    assert_eq!((resting(&pool), called(&pool)), (workers, 0));
    (pool, socket)
}

impl PlayedPool {
    /// Those that were called come.
    fn called_come(&mut self) {
        for seat in 0..self.workers.len() {
            let newcomer = Played::make();
            let mut core = self.shared.lock();
            let it = core.seats.get_mut(seat).unwrap();
            if it.vacant_until_ns().is_none() {
                drop(core);
                continue;
            }
            let played = newcomer.sit_down(it);
            core.dispatch();
            self.shared.release(core);
            self.workers[seat] = played;
        }
    }
}

#[test]
fn as_many_seats_are_called_as_there_is_work_for() {
    for (pieces, expected) in [(1, 1), (2, 2), (3, 3), (1000, 4)] {
        let (mut pool, _socket) = all_ended(4);
        let task = pool.task::<u64>();
        for number in 0..pieces {
            task.run(add, number, 0);
            let is_due = pool.shared.lock().alarm.supervisor_sleeps(None) == Some(0);
            assert!(is_due, "the supervisor fills it");
        }
        assert_eq!((called(&pool), resting(&pool)), (expected, 4 - expected), "{pieces} pieces");
        pool.called_come();
        while pool.work(usize::MAX) > 0 || pool.shared.lock().collect() {}
        assert!(task.get().unwrap().into_iter().eq(0..pieces));
    }
}

/// It never sees the piece, which goes to the worker that comes next.
#[test]
fn a_piece_that_comes_when_its_worker_was_just_dismissed_runs() {
    let (mut pool, _socket) = pool(1);
    pool.shared.lock().end_idle_after(Some(TIMEOUT_NS));
    assert!(look(&pool) && !look(&pool));
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    assert_eq!((held(&pool), called(&pool)), (vec![0], 0));
    are_gone(&pool);
    assert_eq!(called(&pool), 1);
    assert_eq!(pool.shared.lock().alarm.supervisor_sleeps(None), Some(0));
    pool.called_come();
    assert_eq!(pool.work(1), 1);
    assert_eq!(task.get().unwrap(), [3]);
    let stats = pool.shared.stats();
    assert_eq!((stats.workers_lost, stats.workers_recycled, stats.workers_idle_ended), (0, 0, 1));
}

#[test]
fn who_has_worked_meanwhile_or_works_now_stays() {
    let (mut pool, _socket) = pool(2);
    pool.shared.lock().end_idle_after(Some(TIMEOUT_NS));
    assert!(look(&pool));
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    let at_work = held(&pool).iter().position(|&held| held > 0).unwrap();
    assert!(look(&pool), "one works");
    let duty = |pool: &PlayedPool, seat| pool.shared.lock().seats.worker(seat).map(WorkerHandle::duty);
    assert_eq!((duty(&pool, at_work), duty(&pool, 1 - at_work)), (Some(Duty::Works), Some(Duty::Leaves)));
    assert_eq!((pool.work(1), task.completed()), (1, 1));
    assert!(look(&pool));
    assert_eq!(duty(&pool, at_work), Some(Duty::Works), "it has answered something since the last look");
    // A whole piece between two looks.
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    assert_eq!((pool.work(1), task.completed()), (1, 1));
    assert!(look(&pool));
    assert_eq!(duty(&pool, at_work), Some(Duty::Works), "it has worked since the last look");
    assert!(!look(&pool));
    assert_eq!(duty(&pool, at_work), Some(Duty::Leaves));
}

/// Pieces that were given to a worker in advance wait behind the one that it runs: without the rule another worker, which has ended, would
/// have had them.
#[test]
fn a_seat_that_rests_is_called_for_pieces_that_wait_in_another_worker() {
    let (mut pool, _socket) = pool(2);
    pool.shared.lock().end_idle_after(Some(TIMEOUT_NS));
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    assert!(look(&pool));
    assert!(look(&pool));
    are_gone(&pool);
    assert_eq!(resting(&pool), 1);
    let busy = held(&pool).len();
    assert_eq!(busy, 1);
    // As if it had been given while no other was there.
    let mut core = pool.shared.lock();
    let key = core.open_task().unwrap();
    core.seats.sorted();
    let (seat, _) = core.seats.iter().find(|(_, seat)| seat.rests()).unwrap();
    pool.shared.release(core);
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    pool.shared.add_piece(key, site, Handed::Lent(&[1; 16]));
    assert_eq!(called(&pool), 1, "seat {seat}");
    pool.called_come();
    assert_eq!(pool.work(usize::MAX), 2);
    drop(task);
}

/// A seat that rests once counted as one that is to be filled.
#[test]
fn a_pool_ends_while_its_seats_rest() {
    let (pool, _socket) = all_ended(3);
    let mut core = pool.shared.lock();
    assert_eq!((core.missing().due, core.fill_seats().is_ok()), (0, true));
    assert!(core.missing().spare, "one is prepared ahead");
    core.close(false);
    while core.sweep() {
        core.hold.start();
    }
    assert!(core.is_over());
    pool.shared.release(core);
}

/// Deaths before a worker was ready counted as a row although workers were well in between, and left because they were idle.
#[test]
fn a_worker_that_was_well_and_left_ends_a_row_of_early_deaths() {
    use crate::engine::policy::restart::{Death, MAX_EARLY_DEATHS, Refill};
    let (pool, _socket) = pool(1);
    let dies_early = |pool: &PlayedPool| pool.shared.lock().early_deaths.count(Death::Early, false, 0);
    for _ in 1..MAX_EARLY_DEATHS {
        assert_ne!(dies_early(&pool), Refill::Never);
    }
    pool.shared.lock().end_idle_after(Some(TIMEOUT_NS));
    assert!(look(&pool) && !look(&pool), "it is seen idle, and then dismissed");
    are_gone(&pool);
    assert_eq!(resting(&pool), 1);
    assert_ne!(dies_early(&pool), Refill::Never, "the last one was no early death");
}

/// Until the fork server told of the first worker, all that came was let in, however much waited.
#[test]
fn callers_wait_for_room_while_workers_that_were_called_come() {
    let (mut pool, _socket) = all_ended(1);
    pool.shared.lock().work.queue = Queue::new(Some(100), None);
    let task = pool.task::<u64>();
    let has_room = |pool: &PlayedPool| pool.shared.lock().has_room_in_queue();
    for number in 0..8 {
        task.run(add, number, 0);
    }
    assert_eq!((called(&pool), resting(&pool), has_room(&pool)), (1, 0, false));
    // Where none can be started, nobody waits for it.
    let mut core = pool.shared.lock();
    core.start_failed("as it said".to_string());
    pool.shared.release(core);
    assert!(has_room(&pool));
    pool.shared.lock().shortage.end();
    assert!(!has_room(&pool));
    pool.called_come();
    while pool.work(usize::MAX) > 0 || pool.shared.lock().collect() {}
    assert!(has_room(&pool));
    assert!(task.get().unwrap().into_iter().eq(0..8));
}

/// A burst of some microseconds had as many workers started as it had pieces.
#[test]
fn no_more_workers_are_started_than_the_work_is_worth() {
    for (cost_ns, expected) in [(1_000, 1), (40_000, 2)] {
        let (pool, _socket) = all_ended(2);
        let mut core = pool.shared.lock();
        let key = core.open_task().unwrap();
        // What is learnt of a task at most halves.
        (0..10).for_each(|_| core.task(key).unwrap().learn_cost(cost_ns));
        pool.shared.release(core);
        let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
        for _ in 0..6 {
            pool.shared.add_piece(key, site, Handed::Lent(&[1; 16]));
        }
        assert_eq!(called(&pool), expected, "{cost_ns}");
    }
}
