//! What happens at once when a piece, a task or a worker ends, with played workers: nobody looks afterwards, no clock
//! repairs what was forgotten. Each test holds one line of the scheduler that all other tests could do without.

use super::*;
use crate::backend::Settled;
use crate::codec::bytes::Reply;
use std::time::Duration;

/// The number of pieces that each worker holds.
pub(super) fn held(pool: &PlayedPool) -> Vec<usize> {
    pool.shared.lock().seats.workers().map(|worker| worker.link.in_flight()).collect()
}

/// A task, and its key, by which the scheduler knows it.
pub(super) fn keyed_task(pool: &PlayedPool) -> (TaskKey, Task<u64>) {
    let key = pool.shared.lock().open_task().unwrap();
    (key, Task::opened(Arc::clone(&pool.shared) as Arc<dyn Backend>, key))
}

/// The worker's side claims the piece: true if it was not revoked before.
pub(super) fn claims(pool: &PlayedPool, worker: usize, sequence: u32) -> bool {
    claim::claim(pool.workers[worker].pair.states(), sequence)
}

/// Workers once idled until somebody else looked.
#[test]
fn a_task_that_ends_makes_room_for_others_at_once() {
    type End = fn(Task<u64>) -> Option<Task<u64>>;
    let ends: [End; 2] = [
        |task| {
            drop(task);
            None
        },
        |task| {
            task.canceller().cancel();
            Some(task)
        },
    ];
    for end in ends {
        let mut pool = PlayedPool::new(1);
        let (long, other) = (pool.task::<u64>(), pool.task::<u64>());
        for number in 0..10 {
            long.run(add, number, 0);
        }
        let before = held(&pool);
        other.run(add, 1, 2);
        assert_eq!(held(&pool), before, "the worker is full, and nothing has begun");
        let kept = end(long);
        assert_eq!(held(&pool), [1]);
        assert_eq!(pool.work(usize::MAX), 1);
        assert_eq!(other.get().unwrap(), [3]);
        drop(kept);
    }
}

#[test]
fn an_idle_worker_gets_a_share_of_what_another_holds_at_the_next_look() {
    let mut pool = PlayedPool::new(2);
    let task = pool.task::<u64>();
    for number in 0..4 {
        task.run(add, number, 0);
    }
    assert_eq!(held(&pool), [2, 2]);
    while pool.workers[1].answer_one() {}
    assert_eq!(task.completed(), 2);
    assert_eq!(held(&pool), [1, 1]);
    assert_eq!(pool.work(usize::MAX), 2);
    assert_eq!(task.get().unwrap(), [0, 1, 2, 3]);
}

/// The reply was there when the limit was found to have passed: it counts, and its worker lives.
#[test]
fn a_reply_that_is_there_counts_before_a_limit_kills() {
    for answers in [true, false] {
        let limit = Duration::from_millis(1);
        let mut pool = PlayedPool::new(1);
        let (key, task) = keyed_task(&pool);
        let task = task.timeout(limit);
        task.run(add, 1, 2);
        let pair = &pool.workers[0].pair;
        let now_ns = clock::now_ns() - 2 * limit.as_nanos() as u64;
        told::tell_start(pair.started_ns(), pair.started(), 1, now_ns);
        if answers {
            assert!(pool.workers[0].answer_one());
        } else {
            assert!(claims(&pool, 0, 1));
        }
        let mut core = pool.shared.lock();
        let _ = core.run_timers(&[]);
        assert_eq!(core.seats.workers().any(WorkerHandle::was_killed), !answers);
        assert_eq!(core.task(key).unwrap().done(), usize::from(answers));
        pool.shared.release(core);
    }
}

/// The others are taken back before the kill, so that the worker cannot begin one of them in its last moment and take it
/// along.
#[test]
fn a_kill_takes_no_other_piece_along() {
    type End = fn(&PlayedPool, Task<u64>);
    let cancelled: End = |_, task| task.cancel();
    let overran: End = |pool, task| {
        let mut core = pool.shared.lock();
        // It began now, and its limit is no time at all.
        let _ = core.run_timers(&[]);
        let _ = core.run_timers(&[]);
        pool.shared.release(core);
        drop(task);
    };
    for end in [cancelled, overran] {
        let pool = PlayedPool::new(1);
        let (ended, other) = (pool.task::<u64>().timeout(Duration::from_nanos(1)), pool.task::<u64>());
        ended.run(add, 1, 2);
        other.run(add, 3, 4);
        assert_eq!(held(&pool), [2]);
        assert!(claims(&pool, 0, 1));
        end(&pool, ended);
        assert!(pool.shared.lock().seats.workers().all(WorkerHandle::was_killed));
        assert!(!claims(&pool, 0, 2), "it was revoked before the kill");
    }
}

/// A worker that broke the protocol may have wiped the mark of the piece that it runs. That piece is lost all the same: if
/// it counted as not begun it would run twice.
#[test]
fn the_oldest_piece_of_a_distrusted_worker_counts_as_begun() {
    for (cause, is_lost) in [(Cause::Protocol, true), (Cause::Signal(process::SIGKILL), false)] {
        let pool = PlayedPool::new(1);
        let (key, task) = keyed_task(&pool);
        task.run(add, 1, 2);
        task.run(add, 3, 4);
        let newcomer = Played::make();
        let mut core = pool.shared.lock();
        let generation = core.seats.get_mut(0).unwrap().generation();
        core.died_of(0, generation, cause);
        let _played = newcomer.sit_down(core.seats.get_mut(0).unwrap());
        let waiting = core.task(key).unwrap().waiting();
        assert_eq!((core.task(key).unwrap().done(), waiting), if is_lost { (1, 1) } else { (0, 2) }, "{cause:?}");
        pool.shared.release(core);
    }
}

/// A worker that seemed not to begin its piece, with a limit, was killed. In its last moment it wiped the mark by which the
/// piece was taken back: so it had run it. Its error once was that of a worker that somebody else killed.
#[test]
fn a_piece_whose_worker_hid_it_to_the_last_moment_has_run_over_its_limit() {
    for (limit, expected) in [(Some(Duration::from_secs(1)), ErrorKind::TimedOut), (None, ErrorKind::WorkerLost)] {
        let pool = PlayedPool::new(1);
        let (_, mut task) = keyed_task(&pool);
        if let Some(limit) = limit {
            task = task.timeout(limit);
        }
        task.run(add, 1, 2);
        let mut core = pool.shared.lock();
        core.kill_unbegun(0);
        assert!(core.seats.workers().all(WorkerHandle::was_killed));
        pool.workers[0].pair.states().iter().for_each(|word| word.store(0, Release));
        let generation = core.seats.get_mut(0).unwrap().generation();
        core.died_of(0, generation, Cause::Signal(process::SIGKILL));
        pool.shared.release(core);
        let error = task.get_each().pop().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (expected, Some(0)), "{error}");
        assert!(error.to_string().contains("hid"), "{error}");
    }
}

#[test]
fn a_piece_is_settled_once() {
    let pool = PlayedPool::new(1);
    let (key, task) = keyed_task(&pool);
    task.run(add, 1, 2);
    task.run(add, 3, 4);
    let failed = || Settled::Failed(Error::new(ErrorKind::System, "late"));
    let done = |number: u64| Settled::Done(Reply::Heap(number.to_le_bytes().to_vec()));
    let mut core = pool.shared.lock();
    let state = core.task(key).unwrap();
    for outcome in [done(3), failed(), done(4), failed()] {
        let _ = match outcome {
            Settled::Done(bytes) => state.settle_done(0, bytes, &mut Trash::default()),
            Settled::Failed(error) => state.settle_failed(0, error),
        };
        assert_eq!((state.done(), state.len()), (1, 2));
    }
    pool.shared.release(core);
}

/// A lost piece that starts again after a pause needs the supervisor at that moment.
#[test]
fn a_later_start_sets_the_supervisors_alarm() {
    let pool = PlayedPool::new(1);
    let task = pool.task::<u64>().retries(1);
    task.run(add, 1, 2);
    assert!(claims(&pool, 0, 1));
    let mut core = pool.shared.lock();
    core.alarm().supervisor_woke();
    let generation = core.seats.get_mut(0).unwrap().generation();
    core.died_of(0, generation, Cause::Exit(3));
    let due_ns = core.delayed.next_ns().expect("it starts again");
    let wakes_ns = core.alarm().supervisor_sleeps(None).expect("the supervisor is wanted");
    assert!(wakes_ns <= due_ns);
    pool.shared.release(core);
}

/// A worker had written all of a long value before it was asked for a signal, so it sent none. A look read a part of the
/// value; another followed only if something new was announced. So the rest lay there, and the worker idled, until somebody
/// looked by chance.
#[test]
fn a_long_value_that_was_there_before_the_announcement_is_read_to_its_end() {
    const PARTS: usize = 12;
    let mut pool = PlayedPool::new(2);
    let (key, long) = keyed_task(&pool);
    long.run(add, 1, 2);
    assert!(claims(&pool, 0, 1));
    let Played { pair, replies, .. } = &mut pool.workers[0];
    let (words, part) = (pair.back_ring(), vec![1; CHUNK_BYTES]);
    let header = |kind| Header { kind, flags: 0, sequence: 1 };
    assert!(replies.push(words, header(BEGIN), &[(PARTS * CHUNK_BYTES) as u64], &part).is_ok());
    (1..PARTS).for_each(|_| assert!(replies.push(words, header(CHUNK), &[], &part).is_ok()));
    replies.publish(words);
    pool.shared.lock().alarm.supervisor_woke();
    // Two pieces in one worker: that others run low is worth a signal from now on.
    let other = pool.task::<u64>();
    (0..2).for_each(|_| other.run(add, 3, 4));
    let mut core = pool.shared.lock();
    let is_read = core.task(key).unwrap().done() == 1;
    assert!(is_read || core.alarm.supervisor_sleeps(None) == Some(0), "somebody must go on at once");
    pool.shared.release(core);
}

/// A worker that hides that it runs its oldest piece, and marks a younger one as begun, could neither be suspected nor
/// killed: the younger one could not be taken back. So the older one had no end, whatever its limit.
#[test]
fn a_worker_that_has_begun_a_younger_piece_than_its_oldest_has_damaged_its_words() {
    for hides in [true, false] {
        let mut pool = PlayedPool::new(1);
        let task = pool.task::<u64>();
        (0..2).for_each(|_| task.run(add, 1, 2));
        // An honest one takes them in their order.
        assert!(hides || pool.workers[0].answer_one());
        assert!(claims(&pool, 0, 2));
        let mut core = pool.shared.lock();
        core.suspect(0, true, clock::now_ns());
        let _ = core.run_timers(&[]);
        assert_eq!(core.seats.workers().all(WorkerHandle::was_killed), hides);
        pool.shared.release(core);
    }
}

/// A worker that nobody can kill lives on. What it had not begun went to others, and it began that too.
#[test]
fn a_worker_that_is_given_up_begins_nothing_more() {
    for has_begun in [true, false] {
        let pool = PlayedPool::new(1);
        let (key, task) = keyed_task(&pool);
        (0..3).for_each(|_| task.run(add, 1, 2));
        assert_eq!(held(&pool), [2]);
        assert!(!has_begun || claims(&pool, 0, 1));
        let mut core = pool.shared.lock();
        let generation = core.seats.get_mut(0).unwrap().generation();
        let _ = core.seats.worker_mut(0).unwrap().distrust();
        core.kill_failed(0, generation, &std::io::Error::from_raw_os_error(1));
        let state = core.task(key).unwrap();
        assert_eq!((state.done(), state.waiting()), (1, 2), "the oldest piece of one that is distrusted is lost");
        pool.shared.release(core);
        assert!((1..=2).all(|sequence| !claims(&pool, 0, sequence) || has_begun && sequence == 1));
    }
}

/// While a fork server ends, tiny pieces still went straight to a worker that was killed with it.
#[test]
fn no_piece_takes_the_direct_lane_to_a_worker_that_ends_with_its_fork_server() {
    let mut pool = PlayedPool::new(1);
    let task = pool.task::<u64>();
    // From one place: pieces of another site do not take the lane.
    let run = || task.run(add, 1, 2);
    while pool.shared.lock().lane.seat().is_none() {
        run();
        pool.pieces_are_tiny();
        pool.work(usize::MAX);
    }
    while task.completed() < task.len() {
        pool.work(usize::MAX);
    }
    let _ = pool.shared.lock().server_going();
    run();
    assert_eq!(held(&pool), [0]);
}

/// Before a worker is killed its last replies are read. That also sent on the arguments that it was still receiving, with the
/// lock held, for as long as the worker kept up.
#[test]
fn a_worker_that_is_about_to_be_killed_gets_no_more_arguments() {
    let mut pool = PlayedPool::new(1);
    let key = pool.shared.lock().open_task().unwrap();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    pool.shared.add_piece(key, site, Handed::Own(vec![1; 20 * CHUNK_BYTES]));
    assert!(claims(&pool, 0, 1));
    let Played { pair, work, .. } = &mut pool.workers[0];
    let mut records = 0;
    while let Ok(Some(record)) = work.peek(pair.out_ring()) {
        work.pass(&record);
        records += 1;
    }
    assert!(records > 1);
    told::tell_head(pair.out_head(), work.head());
    pool.shared.cancel(key);
    assert!(pool.shared.lock().seats.workers().all(WorkerHandle::was_killed));
    let Played { pair, work, .. } = &mut pool.workers[0];
    assert!(!work.is_ready(pair.out_ring()));
}

/// What a dead worker had not begun waited for another turn where no new worker could be ordered at that moment: the host's
/// state had to be read first, or the fork server could not be told of it.
#[test]
fn what_a_dead_worker_had_not_begun_goes_to_others_although_no_worker_can_be_ordered() {
    for (is_fresh, hears) in [(false, true), (true, false)] {
        let pool = PlayedPool::new(2);
        let task = pool.task::<u64>();
        (0..2).for_each(|_| task.run(add, 1, 2));
        assert_eq!(held(&pool), [1, 1]);
        let (socket, theirs) = crate::sys::socket::pair().unwrap();
        let theirs = Some(theirs).filter(|_| hears);
        let host = is_fresh.then(|| HostReader::open().read());
        let mut core = pool.shared.lock();
        core.server.connect(socket, u64::MAX);
        if let Some(host) = host {
            core.follow_host(host);
        }
        let generation = core.seats.get_mut(1).unwrap().generation();
        core.died_of(1, generation, Cause::Signal(process::SIGKILL));
        pool.shared.release(core);
        assert_eq!(held(&pool), [2], "fresh: {is_fresh}, hears: {hears}");
        drop(theirs);
    }
}

/// The error of a piece that no worker had begun said that it lost its worker, which ended while it ran the piece.
#[test]
fn a_piece_that_no_worker_could_begin_did_not_lose_one() {
    let mut pool = PlayedPool::new(1);
    let task = pool.task::<u64>();
    let line = line!() + 1;
    task.run(add, 1, 2);
    for _ in 0..restart::MAX_EARLY_DEATHS {
        pool.workers[0].pair.stage().store(0, Release);
        let newcomer = Played::make();
        let mut core = pool.shared.lock();
        let generation = core.seats.get_mut(0).unwrap().generation();
        core.died_of(0, generation, Cause::Exit(3));
        while core.sweep() {}
        let played = newcomer.sit_down(core.seats.get_mut(0).unwrap());
        pool.shared.release(core);
        pool.workers[0] = played;
    }
    task.run(add, 1, 2);
    let because = "the pool ended: 5 workers in a row died before they were ready, the last one (worker 0): it exited with code 3";
    for ((number, outcome), how) in task.get_each().into_iter().enumerate().zip(["never ended", "never began"]) {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.piece(), error.attempts()), (ErrorKind::WorkerLost, Some(number), 0));
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("piece {number} (")) && text.ends_with(&format!(") {how}: {because}")),
            "{text}"
        );
        assert!(number > 0 || text.contains(&format!("ends.rs:{line}")), "{text}");
    }
}
