//! Checks of memory, with played workers whose figures are made up.

use super::ends::claims;
use super::*;
use crate::backend::MemoryLimits;
use crate::engine::policy::patience::SPAWN_DEADLINE_NS;
use crate::engine::policy::recycle::Reason;
use crate::sys::usage::Usage;

const MIB: u64 = 1 << 20;

/// No process has a number above 2^22.
const NO_PROCESS: u32 = (1 << 22) + 1;

/// A pool with these limits, and a fork server that hears nothing.
fn pool(workers: usize, limits: MemoryLimits) -> (PlayedPool, crate::sys::descriptors::Descriptor) {
    let pool = PlayedPool::new(workers);
    let (socket, theirs) = crate::sys::socket::pair().unwrap();
    let mut core = pool.shared.lock();
    core.server.connect(socket, u64::MAX);
    core.watched = Watched::new(limits, None);
    pool.shared.release(core);
    for seat in 0..workers {
        let files =
            FilesOf { shared: Arc::new(Usage::open(process::own_pidfd().unwrap(), false).unwrap()), of_lock: None };
        let mut core = pool.shared.lock();
        core.seats.worker_mut(seat).unwrap().memory.open(Some((files, MIB)), 0, 0);
        pool.shared.release(core);
    }
    (pool, theirs)
}

/// A check finds that the workers have this number of MiB.
fn check(pool: &PlayedPool, found: &[u64]) {
    let mut core = pool.shared.lock();
    let answer = |(seat, &mib): (usize, &u64)| {
        let generation = core.seats.get_mut(seat).unwrap().generation();
        MemoryAnswer { seat, generation, all: mib * MIB, exactly: None }
    };
    let answers: Vec<_> = found.iter().enumerate().map(answer).collect();
    core.check_memory(&answers);
    pool.shared.release(core);
}

fn due(pool: &PlayedPool) -> Vec<Option<Reason>> {
    pool.shared.lock().seats.workers().map(|worker| worker.life.due()).collect()
}

/// A worker that ran a long piece was marked for what all had together. Until its end no other was replaced, however large it became;
/// and while it was not marked, idle workers that had nothing to give back were replaced in its place.
#[test]
fn a_long_piece_delays_no_other_replacement_and_who_has_not_grown_is_not_replaced() {
    let limits = MemoryLimits { high: Some(100 * MIB), checks: 2, ..MemoryLimits::default() };
    let (pool, _socket) = pool(3, limits);
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    assert!(claims(&pool, 0, 1));
    let (no, yes) = (None, Some(Reason::MemoryHigh));
    check(&pool, &[50, 1, 1]);
    assert_eq!(due(&pool), [no, no, no]);
    check(&pool, &[120, 1, 1]);
    assert_eq!(due(&pool), [yes, no, no], "the others have nothing to give back");
    check(&pool, &[120, 60, 1]);
    assert_eq!(due(&pool), [yes, no, no], "its successor starts");
    let newcomer = Played::make();
    let mut core = pool.shared.lock();
    let beyond = core.seats.beyond();
    let _played = newcomer.sit_down(core.seats.get_mut(beyond).unwrap());
    core.replace_due();
    pool.shared.release(core);
    check(&pool, &[120, 60, 1]);
    assert_eq!(due(&pool)[..3], [yes, yes, no]);
    assert_eq!(pool.shared.lock().seats.beyond(), 1, "the successor takes its place at once");
}

/// Workers that are large from their start were replaced one after the other, for ever.
#[test]
fn workers_that_are_too_large_together_from_their_start_are_not_replaced_for_ever() {
    let limits = MemoryLimits { high: Some(MIB), checks: 2, ..MemoryLimits::default() };
    let (pool, _socket) = pool(2, limits);
    check(&pool, &[1, 1]);
    assert_eq!(due(&pool), [None, None]);
    check(&pool, &[1, 2]);
    assert_eq!(due(&pool), [None, Some(Reason::MemoryHigh)]);
}

/// Checks stopped once two of them in a row found no worker at work. Those who give tiny pieces straight to a worker never began them
/// again: it could take all memory.
#[test]
fn checks_begin_where_all_pieces_take_the_direct_lane() {
    let mut pool = PlayedPool::new(1);
    let limits = MemoryLimits { max: Some(1 << 40), checks: 2, ..MemoryLimits::default() };
    let task = pool.task::<u64>();
    // From one place: pieces of another site do not take the lane.
    let run = || task.run(add, 1, 2);
    while pool.shared.lock().lane.seat().is_none() {
        run();
        pool.pieces_are_tiny();
        pool.work(usize::MAX);
    }
    let mut core = pool.shared.lock();
    // As after such checks.
    core.watched = Watched::new(limits, None);
    pool.shared.release(core);
    run();
    let mut core = pool.shared.lock();
    assert!(core.lane.seat().is_some() && core.limits_due_ns().is_none());
    assert!(core.should_poll(), "the supervisor looks each half millisecond meanwhile");
    assert!(core.limits_due_ns().is_some());
}

/// A limit above which a worker is replaced hid that it was above the one at which it is killed from its start.
#[test]
fn a_worker_that_is_above_its_maximum_when_it_is_ready_is_told() {
    use crate::backend::MemoryLimit::{Bytes, Growth};
    use crate::stats::memory::MemoryAction::BornLarge;
    for (high, max, expected) in [
        (Growth(MIB), Bytes(40 * MIB), Some(40 * MIB)),
        (Bytes(40 * MIB), Growth(MIB), Some(40 * MIB)),
        (Bytes(30 * MIB), Bytes(40 * MIB), Some(30 * MIB)),
        (Growth(MIB), Growth(MIB), None),
        (Growth(MIB), Bytes(60 * MIB), None),
    ] {
        let limits =
            MemoryLimits { worker_high: Some(high), worker_max: Some(max), checks: 2, ..MemoryLimits::default() };
        let (pool, _socket) = pool(1, limits);
        let (news, told) = crossbeam_channel::unbounded();
        let usage = Usage::open(process::own_pidfd().unwrap(), false).unwrap();
        let files = FilesOf { shared: Arc::new(usage), of_lock: None };
        let mut core = pool.shared.lock();
        core.watched = Watched::new(limits, Some(news));
        let generation = core.seats.get_mut(0).unwrap().generation();
        core.measured(0, generation, Some((files, 60 * MIB)), 0);
        pool.shared.release(core);
        let told: Vec<_> = told.try_iter().map(|news| (news.action, news.limit)).collect();
        assert_eq!(told, expected.map(|limit| (BornLarge, limit)).into_iter().collect::<Vec<_>>());
    }
}

/// A worker that went a little early, since its successor was ready, was the only one of whose replacement nobody was told.
#[test]
fn a_worker_that_is_replaced_before_its_limit_is_told() {
    let high = crate::backend::MemoryLimit::Bytes(40 * MIB);
    let limits = MemoryLimits { worker_high: Some(high), checks: 2, ..MemoryLimits::default() };
    let (pool, _socket) = pool(1, limits);
    let (news, told) = crossbeam_channel::unbounded();
    let newcomer = Played::make();
    let mut core = pool.shared.lock();
    core.watched = Watched::new(limits, Some(news));
    core.due_soon(0, Reason::MemoryHigh);
    core.replace_due();
    let beyond = core.seats.beyond();
    let _played = newcomer.sit_down(core.seats.get_mut(beyond).unwrap());
    core.replace_due();
    assert_eq!(core.seats.beyond(), 0);
    pool.shared.release(core);
    let told: Vec<_> = told.try_iter().map(|news| (news.worker, news.bytes, news.limit)).collect();
    assert_eq!(told, [(0, MIB, 40 * MIB)]);
}

/// A function whose cost is not known, or no longer true, counts as tiny, and of tiny pieces that are given alone only each eighth
/// had its worker judged: seven pieces of an hour each went to one that was too old, or too large.
#[test]
fn a_piece_that_was_waited_for_has_its_worker_judged_whatever_it_is_thought_to_cost() {
    for sleeps in [false, true] {
        let mut pool = PlayedPool::new(1);
        let limits = LifeLimits { pieces: None, age_ns: Some(1) };
        let mut core = pool.shared.lock();
        core.recycling = Recycling::new(limits);
        core.seats.worker_mut(0).unwrap().life = super::super::life::Life::new((limits, limits));
        pool.shared.release(core);
        let task = pool.task::<u64>();
        task.run(add, 1, 2);
        let mut core = pool.shared.lock();
        if sleeps {
            assert!(!core.attend(Observer::CallerParks, true));
        }
        pool.shared.release(core);
        assert_eq!(pool.work(1), 1);
        assert!(pool.shared.lock().attend(Observer::CallerAwake, false) || pool.shared.lock().collect());
        assert_eq!(due(&pool)[..1], [sleeps.then_some(Reason::Age)]);
    }
}

/// Where the supervisor came late, what a worker's first piece had taken by then counted as what it had when it was ready. So it could grow
/// by that much more; or it was said to be large from its start, and was replaced at twice that size.
#[test]
fn a_worker_gets_no_piece_before_it_was_measured() {
    for is_measured in [true, false] {
        let mut pool = PlayedPool::new(1);
        let mut core = pool.shared.lock();
        core.seats.worker_mut(0).unwrap().memory.must_be_opened();
        let generation = core.seats.get_mut(0).unwrap().generation();
        pool.shared.release(core);
        let task = pool.task::<u64>();
        task.run(add, 1, 2);
        assert_eq!(pool.work(1), 0);
        let usage = Usage::open(process::own_pidfd().unwrap(), false).unwrap();
        let files = FilesOf { shared: Arc::new(usage), of_lock: None };
        let mut core = pool.shared.lock();
        assert!(!core.collect());
        core.alarm.supervisor_woke();
        if is_measured {
            core.measured(0, generation, Some((files, MIB)), 0);
        } else {
            // There was no descriptor left for its pidfd.
            core.spawned(0, generation, NO_PROCESS, None);
        }
        assert_eq!(core.alarm.supervisor_sleeps(None), Some(0), "somebody takes a turn");
        core.collect();
        pool.shared.release(core);
        assert_eq!(pool.work(1), 1);
        assert_eq!(task.get().unwrap(), [3]);
    }
}

/// A worker that was stopped before it was ready held nothing where there are limits, so nobody judged it, and pieces waited for it for
/// ever.
#[test]
fn a_worker_that_is_not_ready_in_time_gets_its_pieces_all_the_same() {
    let mut pool = PlayedPool::new(1);
    pool.workers[0].pair.stage().store(0, Release);
    let mut core = pool.shared.lock();
    let now_ns = clock::now_ns();
    let worker = core.seats.worker_mut(0).unwrap();
    worker.memory.must_be_opened();
    worker.was_made_at(now_ns);
    pool.shared.release(core);
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    let mut core = pool.shared.lock();
    core.alarm.supervisor_woke();
    assert!(core.unmeasured().is_empty());
    assert_eq!(core.alarm.supervisor_sleeps(None), Some(now_ns + SPAWN_DEADLINE_NS), "somebody looks again");
    core.seats.worker_mut(0).unwrap().was_made_at(now_ns - SPAWN_DEADLINE_NS);
    core.alarm.supervisor_woke();
    assert!(core.unmeasured().is_empty());
    assert_eq!(core.alarm.supervisor_sleeps(None), Some(0));
    core.collect();
    pool.shared.release(core);
    assert_eq!(pool.work(1), 1);
    assert_eq!(task.get().unwrap(), [3]);
}

/// A worker was ready before its fork server had told of it, so the supervisor could not measure it. The caller then heard of its process, and
/// the supervisor slept on: for a second nobody gave out anything.
#[test]
fn a_worker_whose_process_is_known_late_is_measured_then() {
    let pool = PlayedPool::new(1);
    // Nothing that could be killed by it.
    let (pidfd, _other) = crate::sys::socket::pair().unwrap();
    let mut core = pool.shared.lock();
    core.seats.worker_mut(0).unwrap().memory.must_be_opened();
    let generation = core.seats.get_mut(0).unwrap().generation();
    core.alarm.supervisor_woke();
    core.spawned(0, generation, NO_PROCESS, Some(pidfd));
    assert_eq!(core.alarm.supervisor_sleeps(None), Some(0));
    assert_eq!(core.unmeasured().len(), 1);
    pool.shared.release(core);
}
