//! What rows say of played workers, by the owner's own memory.

use super::*;
use crate::engine::child::entry;
use crate::engine::wire::status::{Phase, State, Told};
use crate::stats::Replaced;
use crate::sys::clock;

/// A pool that tells its status, as its supervisor has told it first.
fn pool(workers: usize) -> PlayedPool {
    let pool = PlayedPool::new(workers);
    let mut core = pool.shared.lock();
    core.tell_status();
    drop(core);
    pool
}

fn rows(pool: &PlayedPool) -> Vec<Told> {
    pool.shared.lock().work.status.as_ref().unwrap().rows().1
}

fn states(pool: &PlayedPool) -> Vec<State> {
    rows(pool).iter().map(|row| row.state).collect()
}

/// Without a turn of the supervisor.
#[test]
fn a_row_follows_its_worker_from_piece_to_piece() {
    let mut pool = pool(1);
    assert_eq!(states(&pool), [State::Idle, State::Unused], "the seat beyond is none of the workers");
    let idle = rows(&pool)[0];
    let task = pool.task::<u64>();
    (0..3).for_each(|piece| task.run(add, piece, 1));
    let fed = rows(&pool)[0];
    assert_eq!((fed.state, fed.piece, fed.held > 0, fed.done), (State::Busy, 0, true, 0));
    assert!(fed.at_ns >= idle.at_ns && fed.call != 0 && fed.pid == 1);
    // It is the function, as far from the entry.
    let address = entry::address().wrapping_add_signed(fed.call as u32 as i32 as isize);
    assert_eq!(address, add as fn(u64, u64) -> u64 as usize);
    pool.work(1);
    pool.shared.lock().collect();
    let second = rows(&pool)[0];
    assert_eq!((second.state, second.piece, second.done, second.call), (State::Busy, 1, 1, fed.call));
    pool.work(9);
    assert_eq!(task.get().unwrap(), [1, 2, 3]);
    let done = rows(&pool)[0];
    assert_eq!((done.state, done.call, done.held, done.done), (State::Idle, 0, 0, 3));
    assert!(done.at_ns >= second.at_ns);
}

#[test]
fn a_piece_that_is_taken_back_is_not_told_of_any_more() {
    let pool = pool(1);
    let task = pool.task::<u64>();
    task.run(add, 1, 1);
    assert_eq!(states(&pool)[0], State::Busy);
    task.cancel();
    let row = rows(&pool)[0];
    assert_eq!((row.state, row.call, row.held), (State::Idle, 0, 0));
}

#[test]
fn what_else_changes_is_told_in_the_next_turn() {
    let pool = pool(2);
    let mut core = pool.shared.lock();
    core.seats.worker_mut(0).unwrap().become_suspect(1);
    core.seats.worker_mut(1).unwrap().retire(1);
    core.tell_status();
    drop(core);
    assert_eq!(states(&pool), [State::Late, State::Leaving, State::Unused]);
    let mut core = pool.shared.lock();
    core.seats.worker_mut(0).unwrap().become_trusted();
    let generation = core.seats.get_mut(1).unwrap().generation();
    core.died(1, generation);
    core.tell_status();
    drop(core);
    assert_eq!(states(&pool), [State::Idle, State::Lost, State::Unused]);
    let mut core = pool.shared.lock();
    core.died_of(1, generation, Cause::Signal(11));
    core.tell_status();
    drop(core);
    let row = rows(&pool)[1];
    assert_eq!((row.state, row.pid, row.before), (State::Vacant, 0, 1));
    assert_eq!((row.why, row.cause), (Some(Replaced::Died), Some(Cause::Signal(11))));
    // Nothing changes, and nothing is written.
    let at_ns = row.at_ns;
    pool.shared.lock().tell_status();
    assert_eq!(rows(&pool)[1].at_ns, at_ns);
}

/// The death of one worker once made another one, that hung for hours, look as if it had answered a moment ago.
#[test]
fn the_age_of_a_worker_that_hangs_is_not_reset_by_what_others_do() {
    let pool = pool(2);
    let task = pool.task::<u64>();
    (0..4).for_each(|piece| task.run(add, piece, 1));
    pool.shared.lock().collect();
    let busy = rows(&pool)[0];
    assert!(busy.state == State::Busy && busy.held > 0, "{busy:?}");
    assert_eq!((busy.piece, rows(&pool)[1].piece, rows(&pool)[1].state), (0, 1, State::Busy));
    let later = || {
        let start = clock::coarse_ns();
        while clock::coarse_ns() <= start {
            std::hint::spin_loop();
        }
    };
    later();
    // It is late, and then not any more: both are what its program thinks of it.
    pool.shared.lock().seats.worker_mut(0).unwrap().become_suspect(1);
    pool.shared.lock().tell_status();
    let late = rows(&pool)[0];
    assert_eq!((late.state, late.at_ns), (State::Late, busy.at_ns));
    later();
    let mut core = pool.shared.lock();
    core.seats.worker_mut(0).unwrap().become_trusted();
    let generation = core.seats.get_mut(1).unwrap().generation();
    core.died(1, generation);
    core.died_of(1, generation, Cause::Signal(9));
    core.tell_status();
    drop(core);
    let (hanging, dead) = (rows(&pool)[0], rows(&pool)[1]);
    assert_eq!((hanging.state, hanging.at_ns), (State::Busy, busy.at_ns));
    assert!(dead.state == State::Vacant && dead.at_ns > busy.at_ns, "its own end is new: {dead:?}");
    // Its own end is told with its own time, and so is an answer.
    later();
    let mut core = pool.shared.lock();
    let generation = core.seats.get_mut(0).unwrap().generation();
    core.died(0, generation);
    core.tell_status();
    drop(core);
    let lost = rows(&pool)[0];
    assert!(lost.state == State::Lost && lost.at_ns > dead.at_ns, "{lost:?}");
}

#[test]
fn seats_that_are_added_are_told_and_the_end_is_too() {
    let pool = pool(1);
    let mut core = pool.shared.lock();
    core.resize(3).unwrap();
    core.tell_status();
    drop(core);
    assert_eq!(states(&pool), [State::Idle, State::Unused, State::Vacant, State::Vacant]);
    let phase = |pool: &PlayedPool| pool.shared.lock().work.status.as_ref().unwrap().rows().0;
    assert_eq!(phase(&pool), Phase::Open);
    let mut core = pool.shared.lock();
    core.close(true);
    drop(core);
    assert_eq!(phase(&pool), Phase::Closed);
}
