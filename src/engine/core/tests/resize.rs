//! A pool that gets another number of workers, with played workers: nobody looks afterwards, no clock repairs what was forgotten.

use super::ends::{claims, held};
use super::recycle::pool;
use super::*;
use crate::engine::policy::patience::Duty;
use crate::engine::policy::recycle::Reason;

fn resize(pool: &PlayedPool, workers: usize) {
    let mut core = pool.shared.lock();
    core.resize(workers).unwrap();
    assert_eq!(core.seats.set().len(), workers);
    pool.shared.release(core);
}

/// The worker in this seat ends.
fn ends(pool: &PlayedPool, seat: usize, cause: Cause) {
    let mut core = pool.shared.lock();
    let generation = core.seats.get_mut(seat).unwrap().generation();
    core.died_of(seat, generation, cause);
    pool.shared.release(core);
}

fn duties(pool: &PlayedPool) -> Vec<Option<Duty>> {
    let core = pool.shared.lock();
    core.seats.iter().map(|(_, seat)| seat.worker().map(WorkerHandle::duty)).collect()
}

fn to_be_filled(pool: &PlayedPool) -> Vec<usize> {
    let core = pool.shared.lock();
    core.seats.iter().filter(|(_, seat)| seat.vacant_until_ns().is_some()).map(|(index, _)| index).collect()
}

#[test]
fn a_worker_leaves_after_its_piece_and_what_it_has_not_begun_goes_to_others() {
    let (mut pool, _socket) = pool(2);
    let task = pool.task::<u64>();
    (0..4).for_each(|number| task.run(add, number, 1));
    assert_eq!(held(&pool), [2, 2]);
    assert!(claims(&pool, 1, 1));
    resize(&pool, 1);
    assert_eq!(held(&pool)[1], 1, "it has begun one");
    assert_eq!(duties(&pool)[..2], [Some(Duty::Works), Some(Duty::Retires)]);
    while pool.workers[0].answer_one() || pool.shared.lock().collect() {}
    // The played worker has claimed it already.
    assert_eq!(task.completed(), 3);
    drop(task);
    ends(&pool, 1, Cause::Signal(process::SIGKILL));
    assert_eq!((to_be_filled(&pool), pool.shared.lock().counts.workers_lost), (vec![], 1));
    resize(&pool, 2);
    assert_eq!(to_be_filled(&pool), [1]);
    assert_eq!(pool.shared.lock().alarm.supervisor_sleeps(None), Some(0), "the supervisor fills it");
}

/// It is dismissed at once, and its seat is filled after its end if the pool has grown again meanwhile.
#[test]
fn a_seat_that_joins_again_before_its_worker_has_gone_is_filled_then() {
    for (grows, filled) in [(true, vec![1]), (false, vec![])] {
        let (pool, _socket) = pool(2);
        resize(&pool, 1);
        assert_eq!(duties(&pool)[..2], [Some(Duty::Works), Some(Duty::Leaves)]);
        if grows {
            resize(&pool, 2);
        }
        assert!(to_be_filled(&pool).is_empty());
        ends(&pool, 1, Cause::Exit(0));
        assert_eq!((to_be_filled(&pool), pool.shared.lock().counts.workers_lost), (filled, 0));
    }
}

/// A successor that was ordered for a worker which leaves the set stayed beside the set for ever.
#[test]
fn a_successor_of_a_worker_that_leaves_the_set_does_not_come() {
    for comes_first in [false, true] {
        let (mut pool, _socket) = pool(2);
        let task = pool.task::<u64>();
        (0..4).for_each(|number| task.run(add, number, 1));
        assert!(claims(&pool, 1, 1));
        let mut core = pool.shared.lock();
        assert!(core.become_due(1, Reason::Asked));
        core.replace_due();
        pool.shared.release(core);
        if comes_first {
            pool.successor_comes();
        }
        assert_eq!(to_be_filled(&pool).len(), usize::from(!comes_first));
        resize(&pool, 1);
        assert!(to_be_filled(&pool).is_empty());
        let beyond = pool.shared.lock().seats.beyond();
        assert_eq!(duties(&pool)[beyond], comes_first.then_some(Duty::Leaves));
        if comes_first {
            ends(&pool, beyond, Cause::Exit(0));
        }
        let core = pool.shared.lock();
        assert!(core.seats.is_spare(core.seats.beyond()));
        drop(core);
        drop(task);
    }
}

/// Of a worker that is being replaced and its successor one is in the set.
#[test]
fn who_is_being_replaced_counts_once() {
    let (mut pool, _socket) = pool(3);
    pool.shared.lock().recycle();
    pool.successor_comes();
    assert_eq!(duties(&pool).iter().filter(|duty| **duty == Some(Duty::Leaves)).count(), 1);
    resize(&pool, 1);
    let works = duties(&pool).into_iter().filter(|duty| *duty == Some(Duty::Works)).count();
    assert_eq!(works, 1);
    resize(&pool, 4);
    let core = pool.shared.lock();
    assert_eq!(core.seats.set().len(), 4);
    assert!(!core.seats.set().contains(&core.seats.beyond()));
}

#[test]
fn a_pool_that_has_ended_is_not_resized() {
    let (pool, _socket) = pool(1);
    let mut core = pool.shared.lock();
    core.close(false);
    assert_eq!(core.resize(2).unwrap_err().kind(), ErrorKind::Cancelled);
    while core.sweep() {
        core.hold.start();
    }
    pool.shared.release(core);
    assert_eq!(crate::backend::Workers::workers(&*pool.shared), 1);
}

/// A failure to fill a seat that has left the set once made what waited later fail, although no start was tried.
#[test]
fn a_seat_that_could_not_be_filled_and_has_left_is_missing_no_more() {
    use crate::engine::core::shortage::Verdict;
    for (workers, is_over) in [(2, false), (1, true)] {
        let (pool, _socket) = pool(2);
        ends(&pool, 1, Cause::Signal(process::SIGKILL));
        pool.shared.lock().shortage.failed("no processes".to_string(), true, 1);
        resize(&pool, workers);
        let verdict = pool.shared.lock().shortage.verdict(false, u64::MAX);
        assert_eq!(verdict == Verdict::None, is_over, "{verdict:?}");
    }
}
