//! A task is stopped, with played workers: what they have begun counts to its end, and nothing else begins.

use super::ends::{claims, held, keyed_task};
use super::*;
use crate::backend::Stop;
use crate::engine::core::queue::Waiting;
use std::time::Duration;

/// The worker answers a piece that it has claimed before.
fn answers(played: &mut Played, sequence: u32, value: u64) {
    let Played { pair, replies, .. } = played;
    let header = Header { kind: REPLY, flags: Outcome::Result as u8, sequence };
    assert!(replies.push(pair.back_ring(), header, &[], &value.to_le_bytes()).is_ok());
    replies.publish(pair.back_ring());
}

/// The kinds of the errors, `None` for results.
fn kinds(task: Task<u64>) -> Vec<Option<ErrorKind>> {
    task.get_each().into_iter().map(|outcome| outcome.err().map(|error| error.kind())).collect()
}

const CANCELLED: Option<ErrorKind> = Some(ErrorKind::Cancelled);

#[test]
fn what_runs_or_is_answered_counts_and_nothing_else_begins() {
    let mut pool = PlayedPool::new(2);
    let (key, task) = keyed_task(&pool);
    let other = pool.task::<u64>();
    (0..10).for_each(|number| task.run(add, number, 1));
    assert_eq!(held(&pool), [2, 2]);
    // One runs, one is answered and its answer not read.
    assert!(claims(&pool, 0, 1) && pool.workers[1].answer_one());
    other.run(add, 5, 5);
    task.canceller().stop();
    assert_eq!(held(&pool).iter().sum::<usize>(), 3, "with the piece of the other task");
    assert_eq!(pool.shared.lock().task(key).unwrap().done(), 8);
    // Pieces that are handed out now have failed.
    task.run(add, 1, 1);
    assert_eq!(task.completed(), 10, "the answer was read");
    // Once more nothing follows.
    task.canceller().stop();
    assert_eq!(task.completed(), 10);
    answers(&mut pool.workers[0], 1, 77);
    assert_eq!(task.completed(), 11);
    assert!(!pool.shared.lock().seats.workers().any(WorkerHandle::was_killed));
    let found = kinds(task);
    assert_eq!(found.iter().filter(|kind| kind.is_none()).count(), 2);
    assert!(found.into_iter().flatten().all(|kind| kind == ErrorKind::Cancelled));
    while pool.work(1) > 0 {}
    assert_eq!(other.get().unwrap(), [10]);
}

/// The others that wait lead, so nobody looks for this caller.
#[test]
fn the_caller_that_waits_is_woken_when_all_is_known() {
    for runs in [false, true] {
        let mut pool = PlayedPool::new(1);
        let leader = pool.shared.lock().waiters.enter(Waiter::new(Arc::default(), Want::Any));
        let (key, task) = keyed_task(&pool);
        (0..4).for_each(|number| task.run(add, number, 1));
        assert!(!runs || claims(&pool, 0, 1));
        let canceller = task.canceller();
        let waits = std::thread::spawn(move || {
            let first = task.get_timeout(Duration::from_secs(60));
            first.unwrap_err().kind()
        });
        while !pool.shared.lock().waiters.has_followers() {
            std::thread::yield_now();
        }
        canceller.stop();
        if runs {
            answers(&mut pool.workers[0], 1, 1);
            let mut core = pool.shared.lock();
            core.collect();
            assert_eq!(core.task(key).map_or(4, |task| task.done()), 4);
            pool.shared.release(core);
        }
        assert_eq!(waits.join().unwrap(), ErrorKind::Cancelled);
        assert!(pool.shared.lock().waiters.leave(leader).is_none());
    }
}

/// The worker dies, and another takes its seat.
fn dies(pool: &mut PlayedPool, cause: Cause) {
    let newcomer = Played::make();
    let mut core = pool.shared.lock();
    let generation = core.seats.get_mut(0).unwrap().generation();
    core.died_of(0, generation, cause);
    let played = newcomer.sit_down(core.seats.get_mut(0).unwrap());
    pool.shared.release(core);
    pool.workers[0] = played;
}

#[test]
fn a_piece_that_is_lost_after_the_stop_ends_with_its_loss() {
    for stops in [true, false] {
        let mut pool = PlayedPool::new(1);
        let task = pool.task::<u64>().retries(5);
        (0..3).for_each(|number| task.run(add, number, 1));
        assert!(claims(&pool, 0, 1));
        if stops {
            task.canceller().stop();
        }
        dies(&mut pool, Cause::Exit(3));
        assert_eq!(pool.shared.lock().delayed.is_empty(), stops);
        if stops {
            let errors: Vec<_> = task.get_each().into_iter().map(Result::unwrap_err).collect();
            assert_eq!((errors[0].kind(), errors[0].cause()), (ErrorKind::WorkerLost, Some(Cause::Exit(3))));
            assert_eq!(errors.iter().map(Error::attempts).collect::<Vec<_>>(), [1, 0, 0]);
            assert!(errors[1..].iter().all(|error| error.kind() == ErrorKind::Cancelled));
        }
    }
}

#[test]
fn a_panic_after_the_stop_is_an_answer() {
    let mut pool = PlayedPool::new(1);
    let task = pool.task::<u64>().retries(5).retry_panics(true);
    task.run(add, 1, 1);
    pool.workers[0].outcome = Outcome::Panicked;
    assert_eq!(pool.work(1), 1);
    task.canceller().stop();
    assert_eq!(kinds(task), [Some(ErrorKind::Panicked)]);
}

#[test]
fn a_piece_that_would_start_again_later_ends_too() {
    let mut pool = PlayedPool::new(1);
    let task = pool.task::<u64>().retries(5);
    task.run(add, 1, 1);
    assert!(claims(&pool, 0, 1));
    dies(&mut pool, Cause::Exit(3));
    task.canceller().stop();
    assert_eq!(task.completed(), 1);
    let mut core = pool.shared.lock();
    // Unless its pause is over already, and somebody has looked.
    core.start_delayed(u64::MAX);
    assert!(core.delayed.is_empty(), "it comes out in its turn");
    core.dispatch();
    pool.shared.release(core);
    assert_eq!(held(&pool), [0]);
    let error = task.get().unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Cancelled, 1));
}

/// A worker that has begun a piece out of its turn keeps it when its task is stopped. At its death the piece is neither
/// lost nor run by another.
#[test]
fn a_piece_that_was_marked_out_of_turn_ends_with_its_worker() {
    let mut pool = PlayedPool::new(1);
    let task = pool.task::<u64>();
    (0..2).for_each(|number| task.run(add, number, 1));
    assert!(claims(&pool, 0, 2));
    task.canceller().stop();
    assert_eq!((task.completed(), held(&pool)), (1, vec![1]));
    // Its reply would be no violation, since the first one was taken back. It dies before; the marks are wiped.
    let other = pool.task::<u64>();
    other.run(add, 1, 1);
    assert_eq!(held(&pool), [2]);
    dies(&mut pool, Cause::Signal(process::SIGKILL));
    assert_eq!(task.completed(), 2);
    assert!(kinds(task)[0] == CANCELLED);
    drop(other);
}

/// Of pieces that a worker marked as begun, only the oldest one is lost at its death. The others would have stayed open.
#[test]
fn no_piece_stays_open_when_its_worker_marked_more_than_one() {
    let mut pool = PlayedPool::new(1);
    let task = pool.task::<u64>();
    (0..2).for_each(|number| task.run(add, number, 1));
    assert!(claims(&pool, 0, 1) && claims(&pool, 0, 2));
    task.canceller().stop();
    assert_eq!((task.completed(), held(&pool)), (0, vec![2]));
    dies(&mut pool, Cause::Signal(process::SIGKILL));
    assert_eq!(kinds(task), [Some(ErrorKind::WorkerLost), CANCELLED]);
}

/// Between two steps of a stop others have the lock: what comes back then waits nowhere, and what is lost is lost.
#[test]
fn what_happens_while_the_workers_are_looked_at_counts() {
    let mut pool = PlayedPool::new(1);
    let (key, task) = keyed_task(&pool);
    let task = task.retries(5);
    (0..5).for_each(|number| task.run(add, number, 1));
    assert!(claims(&pool, 0, 1));
    let mut begun = Vec::new();
    let mut core = pool.shared.lock();
    let reason = core.begin_stop(key, Stop::Cancelled).unwrap();
    core.hold().spend(usize::MAX / 2);
    assert_eq!(core.list_begun(key, 0, &mut begun), Some(0), "no time is left in this hold");
    pool.shared.release(core);
    assert_eq!((task.completed(), held(&pool)), (0, vec![2]), "nothing is known yet");
    let mut core = pool.shared.lock();
    assert_eq!(core.list_begun(key, 0, &mut begun), None);
    pool.shared.release(core);
    assert_eq!((begun.as_slice(), held(&pool)), (&[0][..], vec![1]));
    dies(&mut pool, Cause::Exit(3));
    assert_eq!((task.completed(), held(&pool)), (1, vec![0]), "it is not run again");
    let mut core = pool.shared.lock();
    core.end_stopped(key, begun, &reason);
    pool.shared.release(core);
    assert_eq!(task.completed(), 5);
    assert_eq!(kinds(task), [Some(ErrorKind::WorkerLost), CANCELLED, CANCELLED, CANCELLED, CANCELLED]);
}

/// The piece after which the worker would have signalled is taken back. Another task's caller waits for what it runs, and slept for up to a
/// second where the task was cancelled or dropped.
#[test]
fn the_next_reply_is_signalled_if_the_piece_that_was_to_be_is_taken_back() {
    for end in [|task: Task<u64>| task.canceller().stop(), |task: Task<u64>| task.canceller().cancel(), drop] {
        check_signal(end);
    }
}

fn check_signal(end: fn(Task<u64>)) {
    let mut pool = PlayedPool::new(1);
    let ((waited, _task), (stopped, task)) = (keyed_task(&pool), keyed_task(&pool));
    pool.pieces_are_tiny();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    // All are given at once, so that the second and the last one are to be signalled.
    let mut core = pool.shared.lock();
    core.hold().spend(usize::MAX / 2);
    (0..3).for_each(|_| core.add_piece(waited, site, Handed::Lent(&[1; 16])));
    (0..9).for_each(|_| core.add_piece(stopped, site, Handed::Lent(&[1; 16])));
    core.hold().start();
    assert!(core.dispatch());
    pool.shared.release(core);
    assert_eq!(pool.work(2), 2);
    pool.pieces_are_tiny();
    let mut core = pool.shared.lock();
    core.collect();
    let leader = core.waiters.enter(Waiter::new(Arc::default(), Want::InOrder(2)));
    core.attend(Observer::CallerParks, true);
    pool.shared.release(core);
    let told = |pool: &PlayedPool| Listener::new().after_reply(pool.workers[0].pair.interest(), false);
    assert_eq!(told(&pool), None, "it asked for the last one");
    end(task);
    assert_eq!(told(&pool), Some(Listening::Caller));
    assert!(pool.work(9) == 1 && pool.shared.lock().waiters.leave(leader).is_none());
}

#[test]
fn a_stop_makes_room_for_others_and_in_the_queue() {
    let mut pool = PlayedPool::new(1);
    let (long, other) = (pool.task::<u64>(), pool.task::<u64>());
    (0..10).for_each(|number| long.run(add, number, 0));
    other.run(add, 1, 2);
    pool.shared.lock().work.queue = Queue::new(Some(1), None);
    let mut core = pool.shared.lock();
    for slot in 0..2 {
        let amount = core.work.tasks.in_slot(slot).map_or(Waiting::default(), |(_, task)| task.queued());
        core.work.queue.changed(Waiting::default(), amount);
    }
    assert!(core.work.queue.is_full());
    pool.shared.release(core);
    long.canceller().stop();
    assert_eq!(held(&pool), [1]);
    assert!(!pool.shared.lock().work.queue.is_full());
    assert_eq!(pool.work(9), 1);
    assert_eq!(other.get().unwrap(), [3]);
}
