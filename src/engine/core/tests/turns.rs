//! What a turn of the supervisor leaves behind: it sleeps if there is nothing to do, and wakes when there is.

use super::ends::{claims, held};
use super::*;
use crate::backend::Workers;
use crate::engine::core::overdue::Timers;
use crate::engine::policy::hold;
use crate::engine::policy::patience::Activity;

/// A turn of the supervisor, as far as it depends on the time: what is asked in it is answered in the next one.
fn turn(core: &mut Core, answers: &mut Vec<(Question, Answer)>, answer: Answer) -> Timers {
    core.alarm.supervisor_woke();
    let timers = core.run_timers(answers);
    *answers = timers.questions.iter().map(|asked| (asked.clone(), answer)).collect();
    timers
}

/// Of two workers that were watched since different turns one was asked about in each turn, and the next one followed at
/// once: the supervisor took a whole core, as long as both were watched.
#[test]
fn the_supervisor_sleeps_between_two_looks_at_workers_that_it_watches() {
    let pool = PlayedPool::new(3);
    let mut core = pool.shared.lock();
    let mut answers = Vec::new();
    let sleeps = Some((Activity::Sleeps, 0));
    assert!(core.seats.worker_mut(0).unwrap().dismiss(clock::now_ns()));
    let _ = turn(&mut core, &mut answers, sleeps);
    assert_eq!(answers.len(), 1);
    assert!(core.seats.worker_mut(1).unwrap().dismiss(clock::now_ns()));
    let has_slept = (0..10).any(|_| {
        let timers = turn(&mut core, &mut answers, sleeps);
        assert!(timers.next_ns.is_some());
        answers.is_empty()
    });
    assert!(has_slept);
    pool.shared.release(core);
}

/// As long as no worker could be started, each turn of the supervisor made the next one follow at once.
#[test]
fn the_supervisor_sleeps_while_no_worker_can_be_started() {
    let pool = PlayedPool::new(0);
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    let mut core = pool.shared.lock();
    let since_ns = clock::now_ns() - 2 * restart::NO_WORKER.as_nanos() as u64;
    core.shortage.failed("no process is left".into(), false, since_ns);
    for _ in 0..2 {
        core.alarm.supervisor_woke();
        assert_eq!(core.give_up_without_workers(), None);
        assert!(!core.sweep());
        assert_eq!(core.alarm.supervisor_sleeps(None), None);
    }
    pool.shared.release(core);
    assert_eq!(task.get_each().pop().unwrap().unwrap_err().kind(), ErrorKind::System);
}

/// While nobody waited, the last reply of a worker that was to be replaced was seen by chance: it was not asked to signal,
/// since nothing waited. A piece that came then waited for it.
#[test]
fn a_worker_that_retires_signals_that_it_is_done() {
    for by_call in [true, false] {
        let pool = PlayedPool::new(1);
        let task = pool.task::<u64>();
        task.run(add, 1, 2);
        assert!(claims(&pool, 0, 1));
        pool.shared.lock().attend(Observer::SupervisorParks, true);
        if by_call {
            pool.shared.renew_workers();
        } else {
            // As the supervisor does.
            let mut core = pool.shared.lock();
            core.retire_workers();
            core.attend(Observer::SupervisorParks, true);
            pool.shared.release(core);
        }
        assert_eq!(held(&pool), [1]);
        let told = Listener::new().after_reply(pool.workers[0].pair.interest(), true);
        assert_eq!(told, Some(Listening::Supervisor), "by a call: {by_call}");
    }
}

/// A worker that is passed over because a debugger holds it was looked at no more, so it got no pieces even when it went
/// on.
#[test]
fn a_worker_that_a_debugger_holds_is_looked_at_again() {
    let pool = PlayedPool::new(2);
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    let mut core = pool.shared.lock();
    core.suspect(0, true, clock::now_ns());
    let mut answers = Vec::new();
    let traced = Some((Activity::Traced, 0));
    let _ = turn(&mut core, &mut answers, traced);
    assert_eq!(answers.len(), 1);
    let timers = turn(&mut core, &mut answers, traced);
    assert!(timers.next_ns.is_some());
    pool.shared.release(core);
    assert_eq!(held(&pool), [0, 1]);
}

/// Where the ring of a worker stood full of what was taken back, it could not be told to leave, and nobody tried again.
#[test]
fn a_worker_without_room_for_the_word_to_leave_is_told_later() {
    const LENGTH: usize = 215 * 8;
    let pool = PlayedPool::new(1);
    let key = pool.shared.lock().open_task().unwrap();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    pool.pieces_are_tiny();
    // Of 217 words each: one word of the ring is left, and the word to leave takes two.
    for _ in 0..200 {
        pool.shared.add_piece(key, site, Handed::Lent(&[1; LENGTH]));
    }
    pool.shared.lock().dispatch();
    assert_eq!(held(&pool), [151]);
    let mut core = pool.shared.lock();
    core.close(false);
    while core.sweep() {
        core.hold.start();
    }
    for has_room in [false, true] {
        core.alarm.supervisor_woke();
        assert!(!core.dismiss());
        let leaves = core.seats.workers().all(|worker| worker.leaves_since_ns().is_some());
        assert_eq!((leaves, core.alarm.supervisor_sleeps(None).is_some()), (has_room, !has_room));
        told::tell_head(pool.workers[0].pair.out_head(), 151 * 217);
    }
    pool.shared.release(core);
}

/// A task whose first pieces were taken to fill its limit on unread results, one in each worker, went on only when somebody
/// read: nobody was told that the results were shorter.
#[test]
fn a_bounded_task_goes_on_when_its_results_prove_short() {
    let mut pool = PlayedPool::new(16);
    let key = pool.shared.lock().open_task().unwrap();
    pool.shared.configure(key, TaskSettings { max_unread_bytes: Some(1600), ..TaskSettings::default() });
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    (0..20).for_each(|_| pool.shared.add_piece(key, site, Handed::Lent(&[1; 16])));
    let mut core = pool.shared.lock();
    assert_eq!(core.task(key).unwrap().waiting(), 4);
    core.attend(Observer::SupervisorParks, true);
    pool.shared.release(core);
    assert!(pool.workers[0].answer_one());
    let told = Listener::new().after_reply(pool.workers[0].pair.interest(), true);
    assert_eq!(told, Some(Listening::Supervisor));
    let mut core = pool.shared.lock();
    assert!(core.collect());
    assert_eq!(core.task(key).unwrap().waiting(), 0);
    pool.shared.release(core);
}

/// A panic that counts as a lost start was seen only when somebody looked by chance: a worker with one piece was asked for no
/// signal while nobody waited.
#[test]
fn a_panic_after_which_the_piece_starts_again_is_signalled() {
    for (retries, expected) in [(1, Some(Listening::Supervisor)), (0, None)] {
        let mut pool = PlayedPool::new(1);
        let task = pool.task::<u64>().retries(retries).retry_panics(true);
        task.run(add, 1, 2);
        pool.shared.lock().attend(Observer::SupervisorParks, true);
        pool.workers[0].outcome = Outcome::Panicked;
        assert!(pool.workers[0].answer_one());
        let told = Listener::new().after_reply(pool.workers[0].pair.interest(), true);
        assert_eq!(told, expected, "{retries}");
        let mut core = pool.shared.lock();
        assert!(core.collect());
        assert_eq!(core.delayed.is_empty(), retries == 0);
        pool.shared.release(core);
    }
}

/// A worker had not begun a long piece when its task was dropped, so its ring was full of what was taken back. The next long
/// piece found no room, and nobody was told when there was some: its caller waited without an end.
#[test]
fn a_piece_that_finds_no_room_is_given_when_there_is_some() {
    // The first one fills the ring with its chunks.
    const LENGTH: usize = 3 * CHUNK_BYTES;
    for looks in [true, false] {
        let mut pool = PlayedPool::new(1);
        let dropped = pool.shared.lock().open_task().unwrap();
        let key = pool.shared.lock().open_task().unwrap();
        let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
        pool.shared.add_piece(dropped, site, Handed::Own(vec![1; LENGTH]));
        pool.shared.close(dropped, false);
        pool.shared.add_piece(key, site, Handed::Own(vec![1; LENGTH]));
        assert_eq!(held(&pool), [0]);
        let mut core = pool.shared.lock();
        assert!(!core.attend(Observer::SupervisorParks, true));
        pool.shared.release(core);
        // It passes what was taken back.
        let Played { pair, work, .. } = &mut pool.workers[0];
        while let Ok(Some(record)) = work.peek(pair.out_ring()) {
            work.pass(&record);
        }
        told::tell_head(pair.out_head(), work.head());
        assert_eq!(Listener::new().after_reply(pair.interest(), true), Some(Listening::Supervisor));
        let mut core = pool.shared.lock();
        if looks {
            core.collect();
        } else {
            core.attend(Observer::SupervisorParks, true);
        }
        pool.shared.release(core);
        assert_eq!(held(&pool), [1]);
    }
}

/// The same where the worker never reads on: it was neither watched nor replaced, since it held nothing.
#[test]
fn a_worker_without_room_that_reads_nothing_is_suspected() {
    let pool = PlayedPool::new(1);
    let dropped = pool.shared.lock().open_task().unwrap();
    let key = pool.shared.lock().open_task().unwrap();
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    pool.shared.add_piece(dropped, site, Handed::Own(vec![1; 3 * CHUNK_BYTES]));
    pool.shared.close(dropped, false);
    let mut core = pool.shared.lock();
    assert_eq!(core.run_timers(&[]).next_ns, None);
    pool.shared.release(core);
    pool.shared.add_piece(key, site, Handed::Own(vec![1; 3 * CHUNK_BYTES]));
    let mut core = pool.shared.lock();
    assert!(core.run_timers(&[]).next_ns.is_some());
    core.suspect(0, true, clock::now_ns());
    let mut answers = Vec::new();
    let stopped = Some((Activity::Stopped, 0));
    (0..2).for_each(|_| _ = turn(&mut core, &mut answers, stopped));
    assert!(core.seats.workers().all(WorkerHandle::was_killed));
    pool.shared.release(core);
}

/// A caller that looked and went on gave work to a worker that was asked for no signal. Its reply was seen by chance, by a
/// leader that slept a second later.
#[test]
fn work_that_a_caller_in_passing_gives_out_is_signalled() {
    type Looks = fn(&Shared, TaskKey);
    let looks: [(&str, Looks); 3] = [
        ("completed", |shared, key| _ = shared.completed(key)),
        ("stats", |shared, _| _ = shared.stats()),
        ("get", |shared, key| _ = shared.take_in_order(key, 0, ReadOrder::All, Until::Outcome)),
    ];
    for (name, look) in looks {
        let mut pool = PlayedPool::new(1);
        let done = pool.shared.lock().open_task().unwrap();
        let key = pool.shared.lock().open_task().unwrap();
        let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
        pool.shared.add_piece(done, site, Handed::Lent(&[1; 16]));
        assert_eq!(pool.work(1), 1);
        pool.shared.lock().collect();
        let mut core = pool.shared.lock();
        // The lock was held for long enough, so this waits for the next look.
        core.hold.spend(hold::MOST);
        core.add_piece(key, site, Handed::Lent(&[1; 16]));
        core.hold.start();
        let leader = core.waiters.enter(Waiter::new(Arc::default(), Want::Any));
        core.attention.pass_to(Observer::CallerParks);
        pool.shared.release(core);
        look(&pool.shared, done);
        assert_eq!(held(&pool), [1], "{name}");
        let told = Listener::new().after_reply(pool.workers[0].pair.interest(), false);
        assert_eq!(told, Some(Listening::Caller), "{name}");
        assert!(pool.shared.lock().waiters.leave(leader).is_none());
    }
}
