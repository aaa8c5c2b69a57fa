//! How long the lock is held, and which workers a look visits: counted, not timed.

use super::ends::held;
use super::*;
use crate::engine::core::reason::Reason;
use crate::engine::policy::hold;

/// A look once visited every seat of the pool, so a tiny piece cost 0.2 us with 2 workers and 7 with 128.
#[test]
fn what_a_piece_costs_does_not_depend_on_the_workers_that_idle() {
    /// Fewer than the workers: a slow one goes to a worker of its own.
    const PIECES: u64 = 20;
    let visits = |workers: usize, is_tiny: bool| {
        let mut pool = PlayedPool::new(workers);
        let task = pool.task::<u64>();
        let mut before = 0;
        for round in 0..8 {
            if round == 4 {
                // The first rounds sort the new seats in.
                before = pool.shared.lock().seats.take_visits();
            }
            for number in 0..PIECES {
                if is_tiny {
                    pool.pieces_are_tiny();
                }
                task.run(add, number, 1);
            }
            while task.completed() < task.len() {
                // A second look finds nothing, as that of a caller that sleeps.
                pool.shared.lock().keep_attention();
                pool.work(usize::MAX);
            }
        }
        assert!(before > 0 && task.get().unwrap().len() as u64 == 8 * PIECES);
        pool.shared.lock().seats.take_visits()
    };
    for is_tiny in [true, false] {
        let (few, many) = (visits(24, is_tiny), visits(200, is_tiny));
        assert_eq!(few, many, "visits with 24 workers and with 200; tiny: {is_tiny}");
    }
}

/// A task of 1,000,000 pieces was once dropped, cancelled or shut down in one hold of the lock, of 8 to 13 ms; and
/// 10,000,000 that were cancelled beside others kept the lock for seconds.
#[test]
fn no_end_of_many_pieces_or_tasks_takes_more_than_its_share_of_one_hold() {
    const PIECES: u64 = 20_000;
    type End = (&'static str, fn(&Shared, TaskKey));
    let ends: [End; 7] = [
        ("closed", |shared, key| shared.close(key, false)),
        ("closed and killed", |shared, key| shared.close(key, true)),
        ("cancelled", |shared, key| shared.cancel(key)),
        ("dropped with the pool", |shared, _| end_pool(shared, |core| core.close(true))),
        ("shut down", |shared, _| end_pool(shared, |core| core.close(false))),
        ("failed with the pool", |shared, _| {
            end_pool(shared, |core| core.fail(Error::new(ErrorKind::System, "no more")));
        }),
        ("without workers", |shared, _| {
            end_pool(shared, |core| core.fail_all_waiting(Reason::new(ErrorKind::System, "no worker")));
        }),
    ];
    for (name, end) in ends {
        let mut pool = PlayedPool::new(3);
        let tasks: Vec<_> = (0..2_000).map(|_| pool.task::<u64>()).collect();
        tasks.iter().for_each(|task| task.run(add, 1, 1));
        let key = pool.shared.lock().open_task().unwrap();
        let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
        pool.pieces_are_tiny();
        let (bytes, ends): (Vec<u8>, Vec<usize>) = (vec![1; 16 * 250], (1..=250).map(|it| 16 * it).collect());
        (0..PIECES / 250).for_each(|_| pool.shared.add_pieces(key, site, &bytes, &ends));
        pool.work(5);
        pool.shared.lock().hold.most_spent = 0;
        end(&pool.shared, key);
        let most = {
            let mut core = pool.shared.lock();
            core.hold.start();
            core.hold.most_spent
        };
        // One worker, or one step, may begin when it is nearly spent.
        assert!(most <= 3 * hold::MOST, "{name}: {most}");
    }
}

/// Ends it, as `Shared::shut_down` and the supervisor do.
fn end_pool(shared: &Shared, end: fn(&mut Core)) {
    let mut core = shared.lock();
    end(&mut core);
    shared.release(core);
    loop {
        let mut core = shared.lock();
        let has_more = core.sweep();
        shared.release(core);
        if !has_more {
            return;
        }
    }
}

/// Each piece of a task that ended with its pool has its own error, and none is forgotten.
#[test]
fn what_a_pool_leaves_undone_fails_piece_by_piece() {
    for (kill, all_done) in [(true, true), (false, false)] {
        let mut pool = PlayedPool::new(2);
        let task = pool.task::<u64>();
        task.run_all(add, (0..3_000).map(|number| (number, 1)));
        assert!(claim::claim(pool.workers[0].pair.states(), 1), "it begins its first piece");
        let held = |pool: &PlayedPool| pool.shared.lock().work.tasks.in_slot(0).unwrap().1.held();
        assert!(held(&pool) > 1);
        if kill {
            end_pool(&pool.shared, |core| core.close(true));
        } else {
            end_pool(&pool.shared, |core| core.close(false));
        }
        // What runs may end, if nobody kills it.
        assert_eq!((task.completed() == 3_000, held(&pool)), (all_done, usize::from(!all_done)), "{kill}");
        if !all_done {
            end_pool(&pool.shared, |core| core.close(true));
        }
        for (number, outcome) in task.get_each().into_iter().enumerate() {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), error.piece()), (ErrorKind::Cancelled, Some(number)));
        }
        drop(pool.workers.pop());
    }
}

/// One look once went on for as long as a worker kept up with it: with values of 1 GB for up to a second.
#[test]
fn a_look_is_cut_and_the_next_one_goes_on() {
    let mut pool = PlayedPool::new(6);
    let task = pool.task::<u64>();
    pool.pieces_are_tiny();
    // From two places, so that no piece takes the direct lane.
    while pool.shared.lock().seats.workers().map(|worker| worker.link.in_flight()).min().unwrap() < 200 {
        task.run(add, 1, 1);
        task.run(add, 1, 1);
        pool.pieces_are_tiny();
    }
    pool.work(usize::MAX);
    let mut looks = 0;
    loop {
        let mut core = pool.shared.lock();
        let found = core.collect();
        let (is_spent, done) = (core.hold.is_spent(), core.task(TaskKey { index: 0, generation: 1 }).unwrap().done());
        pool.shared.release(core);
        looks += 1;
        assert!(found || !is_spent);
        if done == task.len() {
            break;
        }
        pool.work(usize::MAX);
    }
    assert!(looks > 1 && task.get().is_ok());
}

/// Where the lock had been held for long enough before work was given out, that waited until a worker said something.
#[test]
fn what_a_cut_leaves_to_give_out_is_given_at_the_next_look() {
    let pool = PlayedPool::new(1);
    let key = pool.shared.lock().open_task().unwrap();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    let held = |core: &Core| core.seats.workers().map(|worker| worker.link.in_flight()).sum::<usize>();
    let mut core = pool.shared.lock();
    core.hold.spend(hold::MOST);
    core.add_piece(key, site, Handed::Lent(&[1; 16]));
    assert_eq!(held(&core), 0, "others get the lock first");
    // It finds nothing to share out, which once made it forget what is to be given out.
    core.attend(Observer::SupervisorParks, true);
    core.hold.start();
    assert!(core.collect(), "the worker is yet to be asked for a signal");
    assert_eq!(held(&core), 1);
    pool.shared.release(core);
}

/// Two workers with long results kept the looks busy: each took all that one hold of the lock allows, and nothing was
/// given out. So a third worker idled beside pieces that waited.
#[test]
fn long_results_hold_up_no_worker_that_needs_work() {
    let mut pool = PlayedPool::new(3);
    let (long, other) = (pool.task::<u64>(), pool.task::<u64>());
    (0..2).for_each(|_| long.run(add, 1, 2));
    (0..20).for_each(|_| other.run(add, 3, 4));
    let part = vec![1; CHUNK_BYTES];
    let header = |kind| Header { kind, flags: 0, sequence: 1 };
    for Played { pair, replies, .. } in &mut pool.workers[..2] {
        assert!(claim::claim(pair.states(), 1));
        assert!(replies.push(pair.back_ring(), header(BEGIN), &[1 << 29], &part).is_ok());
    }
    while pool.workers[2].answer_one() {}
    for _ in 0..4 {
        for Played { pair, replies, .. } in &mut pool.workers[..2] {
            replies.consumed_to(told::told_head(pair.back_head()));
            while replies.push(pair.back_ring(), header(CHUNK), &[], &part).is_ok() {}
            replies.publish(pair.back_ring());
        }
        let mut core = pool.shared.lock();
        assert!(core.collect());
        assert!(core.hold.is_spent(), "there is always more");
        pool.shared.release(core);
    }
    assert!(pool.workers[2].answer_one());
}

/// A piece that a shut-down pool had not begun was shared out to a worker that had lost its own a step before, and began.
#[test]
fn nothing_is_shared_out_once_the_pool_is_shut_down() {
    let pool = PlayedPool::new(2);
    let task = pool.task::<u64>();
    (0..4).for_each(|_| task.run(add, 1, 2));
    let held = |core: &Core| core.seats.workers().map(|worker| worker.link.in_flight()).collect::<Vec<_>>();
    let mut core = pool.shared.lock();
    assert_eq!(held(&core), [2, 2]);
    core.close(false);
    // The lock is given away after the first worker.
    core.hold.spend(hold::MOST - 1);
    assert!(core.sweep());
    assert_eq!(held(&core), [0, 2]);
    core.hold.start();
    core.attend(Observer::SupervisorParks, true);
    assert_eq!(held(&core), [0, 2]);
    pool.shared.release(core);
}

/// A worker whose ring was full of pieces that were taken back, and that it had not passed yet, seemed to be the one that
/// needs work most. It had no room for the next piece, and the others were not asked.
#[test]
fn a_worker_without_room_holds_up_no_other() {
    // Four of them fill a ring.
    const LENGTH: usize = 65_000;
    let pool = PlayedPool::new(2);
    let key = pool.shared.lock().open_task().unwrap();
    let next = pool.shared.lock().open_task().unwrap();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    let add_pieces = |key, count| (0..count).for_each(|_| pool.shared.add_piece(key, site, Handed::Lent(&[1; LENGTH])));
    let held = || pool.shared.lock().seats.workers().map(|worker| worker.link.in_flight()).collect::<Vec<_>>();
    pool.pieces_are_tiny();
    add_pieces(key, 4);
    assert_eq!(held(), [4, 0]);
    pool.shared.cancel(key);
    assert_eq!(held(), [0, 0]);
    add_pieces(next, 3);
    assert_eq!(held(), [0, 3]);
    // Who is about to sleep shares out what is there. The first worker cannot take its share.
    (0..9).for_each(|_| _ = pool.shared.lock().attend(Observer::SupervisorParks, true));
    assert_eq!(held(), [0, 3]);
}

/// The first of the idle workers was the only one that was asked to take a share of what another holds. Here its ring is full
/// of what was taken back.
#[test]
fn an_idle_worker_without_room_keeps_no_share_from_another() {
    // Four of them fill a ring.
    const LENGTH: usize = 65_000;
    let mut pool = PlayedPool::new(3);
    let ended = pool.shared.lock().open_task().unwrap();
    let next = pool.shared.lock().open_task().unwrap();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    let add_pieces = |pool: &PlayedPool, key, count| {
        (0..count).for_each(|_| pool.shared.add_piece(key, site, Handed::Lent(&[0; LENGTH])));
    };
    pool.pieces_are_tiny();
    add_pieces(&pool, ended, 4);
    // It gets nothing meanwhile, so nobody finds that there is no room.
    pool.shared.lock().seats.worker_mut(0).unwrap().become_suspect(clock::now_ns());
    pool.shared.lock().task(next).unwrap().learn_cost(u64::MAX);
    add_pieces(&pool, next, 4);
    pool.shared.cancel(ended);
    pool.shared.lock().seats.worker_mut(0).unwrap().become_trusted();
    assert_eq!(held(&pool), [0, 2, 2]);
    while pool.workers[2].answer_one() {}
    assert!(pool.shared.lock().collect());
    assert_eq!(held(&pool), [0, 1, 1]);
}

/// Gives each worker this many tiny pieces; more of them wait.
fn fill(pool: &PlayedPool, each: usize) {
    let key = pool.shared.lock().open_task().unwrap();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    let (bytes, ends): (Vec<u8>, Vec<usize>) = (vec![1; 16 * 100], (1..=100).map(|it| 16 * it).collect());
    pool.pieces_are_tiny();
    (0..100).for_each(|_| pool.shared.add_pieces(key, site, &bytes, &ends));
    while held(pool).into_iter().min() < Some(each) {
        pool.shared.with(Core::dispatch);
    }
}

/// Where many workers retired, or died, at once, all that they had not begun came back in one hold of the lock: 14 ms of 128
/// workers.
#[test]
fn what_many_workers_lose_comes_back_in_more_than_one_hold() {
    type Lose = fn(&mut Core);
    let retire: Lose = Core::retire_workers;
    let die: Lose = |core| (0..8).for_each(|seat| core.died(seat, 1));
    for (lose, kept) in [(retire, 0), (die, 1)] {
        let pool = PlayedPool::new(8);
        fill(&pool, 500);
        let mut core = pool.shared.lock();
        core.alarm.supervisor_woke();
        core.hold.start();
        core.hold.most_spent = 0;
        lose(&mut core);
        let held = |core: &Core| core.seats.workers().map(|worker| worker.link.in_flight()).collect::<Vec<_>>();
        assert!(held(&core)[7] > 1, "{:?}", held(&core));
        assert_eq!(core.alarm.supervisor_sleeps(None), Some(0), "somebody must go on");
        let mut has_more = true;
        while has_more {
            core.hold.start();
            has_more = core.revoke_on();
        }
        core.hold.start();
        // One worker's pieces may be begun when it is nearly spent.
        assert!(core.hold.most_spent <= 3 * hold::MOST, "{}", core.hold.most_spent);
        assert_eq!(held(&core), [kept; 8]);
        pool.shared.release(core);
    }
}

/// Where a control group had been frozen, all workers ran over their limits at once, and all that they held came back in one
/// hold of the lock.
#[test]
fn limits_that_pass_at_once_are_seen_to_in_more_than_one_hold() {
    let pool = PlayedPool::new(8);
    let limited = pool.shared.lock().open_task().unwrap();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    let limit_ns = std::num::NonZeroU64::new(1_000_000);
    pool.shared.configure(limited, TaskSettings { limit_ns, ..TaskSettings::default() });
    // Not tiny, so each goes to another worker.
    (0..9).for_each(|_| pool.shared.lock().task(limited).unwrap().learn_cost(30_000));
    (0..8).for_each(|_| pool.shared.add_piece(limited, site, Handed::Lent(&[1; 16])));
    assert_eq!(held(&pool), [1; 8]);
    fill(&pool, 400);
    for Played { pair, .. } in &pool.workers {
        told::tell_start(pair.started_ns(), pair.started(), 1, clock::now_ns() - 2_000_000);
        assert!(claim::claim(pair.states(), 1));
    }
    let killed = |core: &Core| core.seats.workers().filter(|worker| worker.was_killed()).count();
    let mut core = pool.shared.lock();
    core.hold.most_spent = 0;
    let timers = core.run_timers(&[]);
    assert!((1..8).contains(&killed(&core)) && timers.next_ns.is_some_and(|next_ns| next_ns <= clock::now_ns()));
    while killed(&core) < 8 {
        core.hold.start();
        let _ = core.run_timers(&[]);
    }
    core.hold.start();
    assert!(core.hold.most_spent <= 3 * hold::MOST, "{}", core.hold.most_spent);
    pool.shared.release(core);
}

/// Two workers with long results took all of each hold of the supervisor. So a lost piece did not start again, and no
/// end of tasks went on, as long as these results came.
#[test]
fn long_results_hold_up_neither_a_piece_that_starts_again_nor_an_end() {
    for is_end in [false, true] {
        let mut pool = PlayedPool::new(3);
        let (long, again) = (pool.task::<u64>(), pool.task::<u64>().retries(1).retry_panics(true));
        (0..2).for_each(|_| long.run(add, 1, 2));
        again.run(add, 3, 4);
        let part = vec![1; CHUNK_BYTES];
        let header = |kind| Header { kind, flags: 0, sequence: 1 };
        for Played { pair, replies, .. } in &mut pool.workers[..2] {
            assert!(claim::claim(pair.states(), 1));
            assert!(replies.push(pair.back_ring(), header(BEGIN), &[1 << 29], &part).is_ok());
        }
        let mut core = pool.shared.lock();
        if is_end {
            core.fail_all_waiting(Reason::new(ErrorKind::System, "no worker"));
        } else {
            pool.workers[2].outcome = Outcome::Panicked;
            assert!(pool.workers[2].answer_one());
            core.collect();
            let due_ns = core.delayed.next_ns().unwrap();
            while clock::now_ns() < due_ns {
                std::thread::yield_now();
            }
        }
        pool.shared.release(core);
        let is_left = (0..6).all(|_| {
            for Played { pair, replies, .. } in &mut pool.workers[..2] {
                replies.consumed_to(told::told_head(pair.back_head()));
                while replies.push(pair.back_ring(), header(CHUNK), &[], &part).is_ok() {}
                replies.publish(pair.back_ring());
            }
            let mut core = pool.shared.lock();
            // As the supervisor does.
            assert!(core.collect_in_turn() && core.hold.is_spent(), "there is always more");
            let _ = (core.sweep(), core.run_timers(&[]));
            let is_left = !core.delayed.is_empty() || !core.sweeps.is_empty();
            pool.shared.release(core);
            is_left
        });
        assert!(!is_left, "an end: {is_end}");
    }
}
