//! Tasks that are timed, and callers that take pieces as they finish, with played workers.

use super::ends::{claims, keyed_task};
use super::*;
use crate::backend::{Finished, Reader, Settled, TaskSettings, Wanted};
use crate::engine::wire::record::TIMED;
use std::time::{Duration, Instant};

const FIRST: Wanted = Wanted::First { lowest: 0 };

fn timed_task(pool: &PlayedPool, settings: TaskSettings) -> (TaskKey, Task<u64>) {
    let (key, task) = keyed_task(pool);
    pool.shared.configure(key, TaskSettings { is_timed: true, ..settings });
    (key, task)
}

/// The worker writes a record about its first piece.
fn writes(played: &mut Played, kind: u8, outcome: Outcome, lead: &[u64], bytes: &[u8]) {
    let header = Header { kind, flags: outcome as u8, sequence: 1 };
    assert!(played.replies.push(played.pair.back_ring(), header, lead, bytes).is_ok());
    played.replies.publish(played.pair.back_ring());
}

fn take(pool: &PlayedPool, key: TaskKey) -> Option<Finished> {
    pool.shared.take_finished(key, FIRST, Until::Deadline(Instant::now()))
}

#[test]
fn a_reply_to_a_timed_piece_tells_how_long_it_ran() {
    let long = vec![7; CHUNK_BYTES + 8];
    // Outcome, what the reply has, and whether it streams.
    for (outcome, bytes, streams) in [
        (Outcome::Result, &long[..8], false),
        (Outcome::Result, &long[..0], false),
        (Outcome::Failed, &long[..40], false),
        (Outcome::Result, &long[..], true),
    ] {
        let mut pool = PlayedPool::new(1);
        let (key, task) = timed_task(&pool, TaskSettings::default());
        task.run(add, 1, 2);
        let Played { pair, work, .. } = &mut pool.workers[0];
        let record = work.peek(pair.out_ring()).unwrap().unwrap();
        assert!(record.header.flags & TIMED != 0 && claims(&pool, 0, 1));
        if streams {
            writes(&mut pool.workers[0], BEGIN, outcome, &[long.len() as u64, 4321], &bytes[..CHUNK_BYTES]);
            writes(&mut pool.workers[0], CHUNK, Outcome::Result, &[], &bytes[CHUNK_BYTES..]);
        } else {
            writes(&mut pool.workers[0], REPLY, outcome, &[4321], bytes);
        }
        let finished = loop {
            if let Some(finished) = take(&pool, key) {
                break finished;
            }
        };
        assert_eq!((finished.number, finished.attempts, finished.took_ns), (0, 1, 4321), "{outcome:?}");
        match finished.settled {
            Settled::Done(reply) => assert_eq!(reply.as_slice(), bytes),
            Settled::Failed(error) => assert_eq!((error.kind(), outcome), (ErrorKind::Failed, Outcome::Failed)),
        }
        assert!(!pool.shared.lock().seats.workers().any(WorkerHandle::was_killed));
    }
}

#[test]
fn a_worker_that_leaves_the_time_out_is_killed() {
    for (kind, lead) in [(REPLY, &[][..]), (BEGIN, &[CHUNK_BYTES as u64 + 8])] {
        let mut pool = PlayedPool::new(1);
        let (key, task) = timed_task(&pool, TaskSettings::default());
        task.run(add, 1, 2);
        assert!(claims(&pool, 0, 1));
        let length = if kind == BEGIN { CHUNK_BYTES } else { 0 };
        writes(&mut pool.workers[0], kind, Outcome::Result, lead, &vec![0; length]);
        assert!(take(&pool, key).is_none());
        assert!(pool.shared.lock().seats.workers().all(WorkerHandle::was_killed), "{kind}");
    }
}

#[test]
fn a_lost_piece_ran_from_its_start_to_its_workers_death() {
    let pool = PlayedPool::new(1);
    let (key, task) = timed_task(&pool, TaskSettings::default());
    task.run(add, 1, 2);
    let began_ns = clock::now_ns() - 5_000_000;
    assert!(claims(&pool, 0, 1));
    let pair = &pool.workers[0].pair;
    told::tell_start(pair.started_ns(), pair.started(), 1, began_ns);
    let mut core = pool.shared.lock();
    let generation = core.seats.get_mut(0).unwrap().generation();
    core.died_of(0, generation, Cause::Exit(3));
    pool.shared.release(core);
    let finished = take(&pool, key).unwrap();
    assert!(finished.took_ns >= 5_000_000 && finished.took_ns < 60_000_000_000, "{}", finished.took_ns);
    assert!(matches!(finished.settled, Settled::Failed(error) if error.cause() == Some(Cause::Exit(3))));
}

#[test]
fn a_caller_waits_for_one_piece_until_the_deadline_or_an_interrupt() {
    let mut pool = PlayedPool::new(1);
    let (key, task) = keyed_task(&pool);
    (0..3).for_each(|number| task.run(add, number, 0));
    // Interrupted before it waits: once.
    pool.shared.interrupt(key);
    assert!(pool.shared.take_finished(key, FIRST, Until::Outcome).is_none());
    assert!(take(&pool, key).is_none(), "the deadline has passed");
    // Interrupted while it waits.
    let shared = Arc::clone(&pool.shared);
    let waits = std::thread::spawn(move || shared.take_finished(key, FIRST, Until::Outcome).is_none());
    while !pool.shared.lock().waiters.has_leader() {
        std::thread::yield_now();
    }
    pool.shared.interrupt(key);
    assert!(waits.join().unwrap());
    // One piece, and not one that finished before it.
    let deadline = Some(Instant::now() + Duration::from_secs(60));
    while task.completed() < 3 {
        pool.work(3);
    }
    let two = pool.shared.take_finished(key, Wanted::Piece(2), Until::at(deadline)).unwrap();
    assert_eq!(two.number, 2);
    let mut rest: Vec<usize> = Vec::new();
    while rest.len() < 2 {
        rest.extend(pool.shared.take_all_finished(key).0.iter().map(|finished| finished.number));
    }
    assert_eq!(rest, [0, 1]);
    assert!(pool.shared.take_all_finished(key).0.is_empty());
}

/// One piece was taken by its number, and so its place in the order of those that finished is empty. What came behind it once seemed not
/// to be there.
#[test]
fn what_finished_behind_a_piece_that_was_taken_is_found() {
    let mut pool = PlayedPool::new(1);
    let (key, task) = keyed_task(&pool);
    assert!(pool.shared.take_all_finished(key).0.is_empty(), "from here on the order is kept");
    (0..4).for_each(|number| task.run(add, number, 0));
    while task.completed() < 4 {
        pool.work(4);
    }
    assert!(pool.shared.take_finished(key, Wanted::Piece(0), Until::Outcome).is_some());
    let (mut rest, mut has_more) = (Vec::new(), true);
    while has_more {
        let taken;
        (taken, has_more) = pool.shared.take_all_finished(key);
        rest.extend(taken.iter().map(|finished| finished.number));
    }
    assert_eq!(rest, [1, 2, 3]);
}

/// A wrapper takes all that comes and hands it on. What its reader has not read counts as unread here.
#[test]
fn what_a_wrapper_holds_for_its_reader_lets_no_more_pieces_begin() {
    let mut pool = PlayedPool::new(1);
    let (key, task) = keyed_task(&pool);
    pool.shared.configure(key, TaskSettings { max_unread_bytes: Some(80), ..TaskSettings::default() });
    let (shared, late) = (Arc::clone(&pool.shared), Arc::clone(&pool.shared));
    let mut turn = 0;
    let mut tell = |unread_bytes, is_awaited| {
        turn += 1;
        shared.tell_reader(key, Reader { unread_bytes, is_awaited, turn });
    };
    tell(0, false);
    (0..100).for_each(|number| task.run(add, number, 0));
    // The worker answers all that it holds, and a wrapper takes it.
    let mut work = |most: usize| {
        let mut answered = 0;
        while answered < most && pool.workers[0].answer_one() {
            answered += 1;
            let _ = pool.shared.take_all_finished(key);
        }
        answered
    };
    // Each gives 8 bytes. Nothing is unread elsewhere, so there is room for more and more.
    assert_eq!(work(20), 20);
    tell(80, false);
    // What the worker holds by now is the last.
    work(usize::MAX);
    assert_eq!(work(1), 0, "nothing begins");
    for _ in 0..2 {
        // Somebody waits for the lowest one: that begins.
        tell(80, true);
        assert_eq!(work(1), 1);
        tell(80, false);
        work(usize::MAX);
        assert_eq!(work(1), 0, "nothing else begins");
    }
    tell(0, false);
    // What another thread tells late was so before.
    late.tell_reader(key, Reader { unread_bytes: 80, is_awaited: false, turn: 1 });
    assert_eq!(work(30), 30, "more than the worker held by then");
}

/// Nobody plays the supervisor here, which ends a task at its deadline: on a busy machine it comes late.
#[test]
fn what_is_handed_out_after_the_deadline_never_begins_however_it_comes() {
    let mut pool = PlayedPool::new(1);
    let first = |(table, number): (crate::Shared<[u64]>, u64), _: u64| table[0] + number;
    let table = crate::Shared::from_slice(&[7_u64]).unwrap();
    type Add = fn(&Task<u64>, &crate::Shared<[u64]>, fn((crate::Shared<[u64]>, u64), u64) -> u64);
    let ways: [Add; 3] = [
        |task, _, _| task.run(add, 1, 2),
        |task, _, _| task.run_all(add, [(1, 2)]),
        |task, table, first| task.run(first, (table.clone(), 1), 2),
    ];
    for (way, hand_out) in ways.into_iter().enumerate() {
        let deadline = Instant::now() + Duration::from_millis(1);
        let task = pool.task::<u64>().deadline(deadline);
        while Instant::now() < deadline {
            std::thread::yield_now();
        }
        hand_out(&task, &table, first);
        assert_eq!((task.completed(), pool.work(1)), (1, 0), "{way}");
        let errors: Vec<_> = task.get_each().into_iter().map(|outcome| outcome.unwrap_err().kind()).collect();
        assert_eq!(errors, [ErrorKind::TimedOut], "{way}");
    }
}
