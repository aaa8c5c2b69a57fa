//! Tables: what is known, at which moment, and the verdict.

use super::*;

const MS: u64 = 1_000_000;

/// A ready worker with no piece, which nobody looked at, beside another ready one. It is watched since 1 s, if at all.
fn worker() -> WorkerView {
    WorkerView {
        duty: Duty::Works,
        is_ready: true,
        others_are_ready: true,
        progress: None,
        has_read_all: false,
        sight: Sight::NotTaken,
        watched_since_ns: 1_000 * MS,
        patience_ns: HANGS_NS,
        graced: None,
    }
}

fn waits(since_ms: u64, limit_ms: Option<u64>) -> Option<Progress> {
    Some(Progress::Waits { since_ns: since_ms * MS, limit_ns: limit_ms.map(|limit_ms| limit_ms * MS) })
}

fn does(activity: Activity) -> Sight {
    Sight::Taken { activity, used_ns: 0 }
}

/// It has used this much of a core.
fn works(used_ms: u64) -> Sight {
    Sight::Taken { activity: Activity::Works, used_ns: used_ms * MS }
}

fn until(ms: u64) -> Verdict {
    Verdict::Wait { until_ns: Some(ms * MS) }
}

fn look(ms: u64) -> Verdict {
    Verdict::Look { until_ns: ms * MS }
}

#[track_caller]
fn check(worker: WorkerView, now_ms: u64, expected: Verdict) {
    assert_eq!(judge(&worker, now_ms * MS), expected, "{worker:?} at {now_ms} ms");
}

#[test]
fn an_idle_worker_is_left_alone() {
    check(worker(), 1_000, Verdict::Wait { until_ns: None });
    check(WorkerView { sight: does(Activity::Stopped), ..worker() }, 1_000, Verdict::Wait { until_ns: None });
}

#[test]
fn a_worker_that_does_not_begin_is_suspect_after_50_ms() {
    let suspect = |keeps_oldest| Verdict::Suspect { keeps_oldest };
    for (since_ms, limit_ms, now_ms, expected) in [
        (1_000, None, 1_000, until(1_050)),
        (1_000, None, 1_049, until(1_050)),
        // Its limit may be over sooner, should it begin now.
        (1_000, Some(20), 1_010, until(1_030)),
        (1_000, Some(80), 1_010, until(1_050)),
        (1_000, None, 1_050, suspect(true)),
        (1_000, Some(20), 5_000, suspect(true)),
    ] {
        check(WorkerView { progress: waits(since_ms, limit_ms), ..worker() }, now_ms, expected);
    }
    // One that is not ready has begun nothing.
    check(WorkerView { is_ready: false, progress: waits(1_000, None), ..worker() }, 1_050, suspect(false));
}

#[test]
fn one_that_still_starts_may_take_its_time_unless_there_are_others() {
    let starts = WorkerView { is_ready: false, ..worker() };
    check(WorkerView { progress: waits(1_000, None), ..starts }, 1_060, Verdict::Suspect { keeps_oldest: false });
    let alone = WorkerView { others_are_ready: false, ..starts };
    for (now_ms, sight, expected) in [
        (1_060, Sight::NotTaken, until(1_110)),
        (1_099, does(Activity::Stopped), until(1_149)),
        (1_100, Sight::NotTaken, look(1_150)),
        (1_100, works(900), look(1_150)),
        (90_000, does(Activity::Sleeps), look(90_050)),
        (90_000, does(Activity::Traced), look(90_050)),
        (1_100, does(Activity::Stopped), Verdict::Kill),
    ] {
        check(WorkerView { progress: waits(1_000, None), sight, ..alone }, now_ms, expected);
    }
}

#[test]
fn a_suspect_is_trusted_once_it_has_begun_or_has_read_all() {
    let suspect = WorkerView { duty: Duty::Suspect, ..worker() };
    check(WorkerView { has_read_all: true, ..suspect }, 1_000, Verdict::Trust);
    check(WorkerView { has_read_all: true, sight: does(Activity::Stopped), ..suspect }, 1_000, Verdict::Trust);
    let runs = Some(Progress::Runs { sequence: 7, until_ns: u64::MAX });
    check(WorkerView { progress: runs, ..suspect }, 9_000, Verdict::Trust);
    // What it says of its reading does not begin a piece.
    check(WorkerView { has_read_all: true, progress: waits(900, None), ..suspect }, 1_000, look(1_050));
}

/// A suspect that nobody killed unless it was stopped, and one that a debugger held was killed under it.
#[test]
fn a_suspect_that_hangs_is_killed_whatever_its_process_does() {
    let suspect = WorkerView { duty: Duty::Suspect, progress: waits(950, None), ..worker() };
    let alone = WorkerView { others_are_ready: false, ..suspect };
    let holds_nothing = WorkerView { progress: None, ..suspect };
    let starts = WorkerView { is_ready: false, ..holds_nothing };
    for (worker, sight, now_ms, expected) in [
        (suspect, Sight::NotTaken, 1_000, look(1_050)),
        (suspect, Sight::NotTaken, 9_000, look(10_000)),
        // Stopped: at once.
        (suspect, does(Activity::Stopped), 1_000, Verdict::Kill),
        (holds_nothing, does(Activity::Stopped), 1_000, Verdict::Kill),
        (starts, does(Activity::Stopped), 1_000, Verdict::Kill),
        // It waits, or nobody can tell: after 1 s, also if it holds nothing and is only lost for the pool.
        (suspect, does(Activity::Sleeps), 1_996, look(2_245)),
        (suspect, does(Activity::Sleeps), 2_000, Verdict::Kill),
        (suspect, does(Activity::Blocked), 2_000, Verdict::Kill),
        (suspect, Sight::Unknown, 1_400, look(1_500)),
        (suspect, Sight::Unknown, 2_000, Verdict::Kill),
        (alone, does(Activity::Sleeps), 2_000, Verdict::Kill),
        (holds_nothing, does(Activity::Sleeps), 2_000, Verdict::Kill),
        (WorkerView { patience_ns: 4 * HANGS_NS, ..suspect }, does(Activity::Sleeps), 4_900, look(5_875)),
        (WorkerView { patience_ns: 4 * HANGS_NS, ..suspect }, does(Activity::Sleeps), 5_000, Verdict::Kill),
        // Its start may take any time.
        (starts, does(Activity::Sleeps), 90_000, look(91_000)),
        (starts, works(80_000), 90_000, look(91_000)),
        // It waits for a core, however long that takes; or it had one, and does something else.
        (suspect, works(0), 90_000, look(91_000)),
        (suspect, works(19), 90_000, look(91_000)),
        (suspect, works(20), 1_800, look(2_000)),
        (suspect, works(20), 2_000, Verdict::Kill),
        // A debugger holds it: its piece goes to others, if there are any, and it stays.
        (suspect, does(Activity::Traced), 1_000, Verdict::PassOver),
        (holds_nothing, does(Activity::Traced), 90_000, look(91_000)),
        (alone, does(Activity::Traced), 1_400, look(1_500)),
        (alone, does(Activity::Traced), 2_000, Verdict::Kill),
    ] {
        check(WorkerView { sight, ..worker }, now_ms, expected);
    }
}

/// A pool that was shut down waited for ever for a worker that never read that it was to leave.
#[test]
fn one_that_leaves_is_killed_if_it_is_stopped_or_hangs() {
    let leaves = WorkerView { duty: Duty::Leaves, ..worker() };
    let hook = WorkerView { has_read_all: true, ..leaves };
    let starts = WorkerView { is_ready: false, ..leaves };
    for (worker, sight, now_ms, expected) in [
        (leaves, Sight::NotTaken, 1_000, look(1_050)),
        (leaves, does(Activity::Stopped), 1_000, Verdict::Kill),
        (hook, does(Activity::Stopped), 1_000, Verdict::Kill),
        (leaves, does(Activity::Traced), 2_000, Verdict::Kill),
        (leaves, does(Activity::Sleeps), 2_000, Verdict::Kill),
        (leaves, works(0), 90_000, look(91_000)),
        (leaves, works(20), 2_000, Verdict::Kill),
        // It runs its hook, or still its first one.
        (hook, works(200), 90_000, look(91_000)),
        (hook, does(Activity::Traced), 90_000, look(91_000)),
        (hook, does(Activity::Sleeps), 10_999, look(11_999)),
        (hook, does(Activity::Sleeps), 11_000, Verdict::Kill),
        (hook, Sight::Unknown, 11_000, Verdict::Kill),
        (starts, does(Activity::Sleeps), 10_999, look(11_999)),
        (starts, does(Activity::Sleeps), 11_000, Verdict::Kill),
    ] {
        check(WorkerView { sight, ..worker }, now_ms, expected);
    }
}

#[test]
fn patience_grows_with_each_kill_until_a_piece_is_done() {
    let mut patience = Patience::default();
    let seconds = |patience: &Patience, done| patience.time_ns(done) / HANGS_NS;
    assert_eq!(seconds(&patience, 0), 1);
    // The pieces that are done at the kill, and the patience after it.
    for (done, expected) in [(5, 2), (5, 4), (5, 8), (6, 2), (6, 4), (6, 8), (6, 16), (6, 32), (6, 64), (6, 64)] {
        patience.killed(done);
        assert_eq!((seconds(&patience, done), seconds(&patience, done + 1)), (expected, 1), "{done}");
    }
}

#[test]
fn a_piece_that_overran_costs_its_worker_at_once_unless_this_process_noticed_late() {
    let runs = WorkerView { progress: Some(Progress::Runs { sequence: 7, until_ns: 1_000 * MS }), ..worker() };
    check(runs, 999, until(1_000));
    check(runs, 1_000, Verdict::KillOverrun { sequence: 7 });
    check(runs, 1_099, Verdict::KillOverrun { sequence: 7 });
    check(runs, 1_100, Verdict::Grace { sequence: 7, until_ns: 1_120 * MS });
    check(WorkerView { graced: Some(6), ..runs }, 1_100, Verdict::Grace { sequence: 7, until_ns: 1_120 * MS });
    check(WorkerView { graced: Some(7), ..runs }, 1_120, Verdict::KillOverrun { sequence: 7 });
    let endless = Some(Progress::Runs { sequence: 7, until_ns: u64::MAX });
    check(WorkerView { progress: endless, ..worker() }, 1_000, Verdict::Wait { until_ns: Some(u64::MAX) });
}

#[track_caller]
fn check_server(
    stage: ServerStage,
    ordered_ms: Option<u64>,
    activity: Option<Option<Activity>>,
    now_ms: u64,
    expected: ServerStep,
) {
    let step = next_step(stage, ordered_ms.map(|ms| ms * MS), activity, now_ms * MS);
    assert_eq!(step, expected, "{stage:?}, ordered at {ordered_ms:?}, {activity:?}, at {now_ms} ms");
}

#[test]
fn a_fork_server_that_starts_has_its_time_to_load_and_one_that_prepares_is_only_kept_going() {
    let starting = ServerStage::Starting { due_ns: 3_000 * MS };
    check_server(starting, None, None, 2_999, ServerStep::WaitUntil(3_000 * MS));
    let overdue = ServerStep::BecomeOverdue { due_ns: 3_000 * MS, until_ns: 3_100 * MS };
    check_server(starting, Some(1_000), None, 3_000, overdue);
    check_server(ServerStage::Preparing, Some(0), None, 90_000, ServerStep::Resume { until_ns: 91_000 * MS });
}

#[test]
fn a_fork_server_that_serves_is_overdue_a_second_after_its_oldest_order() {
    let serving = ServerStage::Serving { since_ns: 1_000 * MS };
    check_server(serving, None, None, 90_000, ServerStep::Nothing);
    check_server(serving, Some(5_000), None, 5_999, ServerStep::WaitUntil(6_000 * MS));
    // An order that waited for it counts from the moment at which it could read.
    check_server(serving, Some(0), None, 1_999, ServerStep::WaitUntil(2_000 * MS));
    let overdue = ServerStep::BecomeOverdue { due_ns: 6_000 * MS, until_ns: 6_100 * MS };
    check_server(serving, Some(5_000), None, 6_000, overdue);
}

#[test]
fn an_overdue_fork_server_is_killed_if_it_hangs_and_waited_for_if_it_works() {
    let overdue = |was_serving| ServerStage::Overdue { since_ns: 6_000 * MS, due_ns: 6_000 * MS, was_serving };
    let again = |ms: u64| ServerStep::WaitUntil(ms * MS);
    let kill = |ms: u64| ServerStep::Kill { until_ns: ms * MS };
    let works = Some(Some(Activity::Works));
    for (was_serving, activity, now_ms, expected) in [
        (true, None, 6_099, again(6_100)),
        (true, None, 6_100, ServerStep::Look),
        (true, Some(Some(Activity::Stopped)), 6_100, kill(6_200)),
        (true, Some(Some(Activity::Sleeps)), 6_100, kill(6_200)),
        (true, Some(Some(Activity::Traced)), 6_100, kill(6_200)),
        (true, Some(Some(Activity::Blocked)), 6_100, again(6_200)),
        (true, works, 6_100, again(6_200)),
        (true, Some(None), 6_100, again(6_200)),
        (true, works, 16_000, again(16_100)),
        (true, works, 16_001, kill(16_101)),
        (true, Some(None), 16_001, kill(16_101)),
        (false, works, 6_100, again(6_200)),
        (false, works, 16_001, kill(16_101)),
        (false, Some(Some(Activity::Sleeps)), 6_100, kill(6_200)),
    ] {
        check_server(overdue(was_serving), Some(5_000), activity, now_ms, expected);
    }
    // What it obeyed meanwhile counts.
    check_server(overdue(true), None, None, 6_050, ServerStep::Recover { until_ns: None });
    check_server(overdue(true), Some(5_500), None, 6_050, ServerStep::Recover { until_ns: Some(6_500 * MS) });
}

#[test]
fn loading_may_take_four_times_as_long_as_it_did_and_two_seconds() {
    for (load_ms, due_ms) in [
        (Some(0), 3_000),
        (Some(10), 3_040),
        (Some(2_500), 13_000),
        (Some(60_000), 243_000),
        (Some(86_400_000), 243_000),
        (None, 23_000),
    ] {
        assert_eq!(load_due_ns(1_000 * MS, load_ms.map(|ms: u64| ms * MS)), due_ms * MS, "{load_ms:?}");
    }
}
