//! What a caller is woken for that waits for one outcome, for a part of one, or for all.

use super::ends::{claims, held, keyed_task};
use super::*;
use crate::backend::waking::KeptWaker;
use std::thread;
use std::time::{Duration, Instant};

/// A pool whose one worker holds pieces of this cost, all given at once: it is to signal the one that leaves it half of its work.
fn at_work(cpus: usize, cost_ns: u64, pieces: usize) -> (PlayedPool, TaskKey, Task<u64>) {
    let mut pool = PlayedPool::with_cpus(1, cpus);
    let (key, task) = keyed_task(&pool);
    task.run(add, 0, 0);
    assert_eq!((pool.work(1), task.completed()), (1, 1));
    let mut core = pool.shared.lock();
    (0..16).for_each(|_| core.task(key).unwrap().learn_cost(cost_ns));
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    core.hold().spend(usize::MAX / 2);
    (0..pieces).for_each(|_| core.add_piece(key, site, Handed::Lent(&[1; 16])));
    core.hold().start();
    assert!(core.dispatch());
    pool.shared.release(core);
    (pool, key, task)
}

/// The worker begins its first piece: one that begins nothing would have its pieces taken back.
fn begin(pool: &mut PlayedPool) {
    let Played { pair, work, .. } = &mut pool.workers[0];
    let sequence = work.peek(pair.out_ring()).unwrap().unwrap().header.sequence;
    assert!(claims(pool, 0, sequence));
}

/// Whom the worker would wake by its next reply.
fn told(pool: &PlayedPool) -> Option<Listening> {
    Listener::new().after_reply(pool.workers[0].pair.interest(), false)
}

/// Waits until the worker is asked to wake the caller by its next reply.
fn wait_until_asked(pool: &PlayedPool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while told(pool) != Some(Listening::Caller) {
        assert!(Instant::now() < deadline, "nobody asks for the next reply");
        thread::yield_now();
    }
}

#[test]
fn a_caller_is_woken_for_each_quick_piece_only_if_it_must_know_at_once() {
    for (want, cpus, urgency, expected) in [
        (Want::InOrder(1), 1, Urgency::Last, None),
        (Want::InOrder(1), 2, Urgency::Last, None),
        (Want::Piece(1), 1, Urgency::Soon, None),
        (Want::Any, 1, Urgency::Soon, None),
        // A core is left for the caller.
        (Want::Piece(1), 2, Urgency::Soon, Some(Listening::Caller)),
        (Want::Part(1), 1, Urgency::Each, Some(Listening::Caller)),
        (Want::Room, 1, Urgency::Each, Some(Listening::Caller)),
    ] {
        assert_eq!(want.urgency(), urgency, "{want:?}");
        let (pool, _, _task) = at_work(cpus, 2_000, 100);
        let mut core = pool.shared.lock();
        let leader = core.waiters.enter(Waiter::new(Arc::default(), want));
        core.attend(Observer::CallerParks, true);
        assert_eq!(told(&pool), expected, "{want:?}");
        assert!(core.waiters.leave(leader).is_none());
        pool.shared.release(core);
    }
}

/// A piece that was thought to be quick runs: what others have done meanwhile must not wait for it.
#[test]
fn a_caller_that_wants_the_next_outcome_is_woken_for_each_after_a_while() {
    let (mut pool, key, task) = at_work(1, 2_000, 100);
    begin(&mut pool);
    let shared = Arc::clone(&pool.shared);
    let caller = thread::spawn(move || {
        let next = shared.take_in_order(key, 1, ReadOrder::Next, Until::Outcome);
        next.is_some()
    });
    wait_until_asked(&pool);
    assert_eq!(held(&pool), [100]);
    task.canceller().cancel();
    assert!(caller.join().unwrap());
}

#[test]
fn a_caller_sleeps_at_once_where_it_would_take_a_core_from_its_workers() {
    for (cpus, cost_ns, pieces, want, expected) in [
        (1, 2_000, 100, Want::InOrder(1), true),
        (1, 2_000, 100, Want::Any, true),
        (2, 2_000, 100, Want::InOrder(1), false),
        (1, 2_000, 100, Want::Part(1), false),
        // It will soon signal.
        (1, 2_000, 10, Want::InOrder(1), false),
        (1, 100_000, 2, Want::InOrder(1), false),
    ] {
        let (pool, _, _task) = at_work(cpus, cost_ns, pieces);
        let mut core = pool.shared.lock();
        assert_eq!(core.will_wait_long(want), expected, "{cpus} CPUs, {pieces} of {cost_ns} ns, {want:?}");
        let leader = core.waiters.enter(Waiter::new(Arc::default(), want));
        assert_eq!(core.waits_long(), expected, "{cpus} CPUs, {pieces} of {cost_ns} ns, {want:?}");
        let other = core.waiters.enter(Waiter::new(Arc::default(), want));
        assert!(!core.waits_long() && !core.will_wait_long(want), "another caller relies on the leader");
        assert!(core.waiters.leave(leader).is_some() && core.waiters.leave(other).is_none());
        pool.shared.release(core);
    }
}

/// A leader that slept without a timer was not woken for a piece that others had made seem quick meanwhile: it slept for up to a second.
#[test]
fn what_others_hand_out_meanwhile_puts_a_caller_off_no_longer() {
    let (mut pool, key, task) = at_work(1, 45_000, 3);
    begin(&mut pool);
    let shared = Arc::clone(&pool.shared);
    let caller = thread::spawn(move || shared.take_in_order(key, 1, ReadOrder::Next, Until::Outcome).is_some());
    wait_until_asked(&pool);
    let (other_key, other) = keyed_task(&pool);
    (0..16).for_each(|_| pool.shared.lock().task(other_key).unwrap().learn_cost(6_000));
    other.run_all(add, (0..25).map(|number| (number, 0)));
    assert_eq!(held(&pool), [28]);
    wait_until_asked(&pool);
    task.canceller().cancel();
    assert!(caller.join().unwrap());
}

/// A future beside the one caller that waits: while the supervisor guards the two, the caller is woken for each piece, and must not sleep as if
/// it were not.
#[test]
fn a_future_that_wants_its_next_outcome_makes_the_caller_beside_it_impatient() {
    for (wanted, is_eager) in [(Want::InOrder(0), false), (Want::Any, true)] {
        let (pool, _, _task) = at_work(1, 2_000, 100);
        let (other, task) = keyed_task(&pool);
        task.run(add, 1, 2);
        let mut core = pool.shared.lock();
        let leader = core.waiters.enter(Waiter::new(Arc::default(), Want::InOrder(1)));
        core.register(other, wanted, KeptWaker::of(std::task::Waker::noop()));
        let _ = core.guard_again(true, true);
        core.attend(Observer::CallerParks, true);
        assert_eq!(told(&pool), is_eager.then_some(Listening::Caller), "{wanted:?}");
        assert_eq!(core.waits_long(), !is_eager, "{wanted:?}");
        assert!(core.waiters.leave(leader).is_none());
        assert_eq!(core.will_wait_long(Want::InOrder(1)), !is_eager, "{wanted:?}");
        core.unregister(other);
        pool.shared.release(core);
    }
}
