//! Tables: what is known, at which moment, and the verdict.

use super::*;

const MS: u64 = 1_000_000;

/// A ready worker with no piece, which nobody looked at, beside another ready one.
fn worker() -> WorkerView {
    WorkerView {
        duty: Duty::Works,
        is_ready: true,
        others_are_ready: true,
        progress: None,
        has_read_all: false,
        activity: None,
        graced: None,
    }
}

fn waits(since_ms: u64, limit_ms: Option<u64>) -> Option<Progress> {
    Some(Progress::Waits { since_ns: since_ms * MS, limit_ns: limit_ms.map(|limit_ms| limit_ms * MS) })
}

fn until(ms: u64) -> Verdict {
    Verdict::Wait { until_ns: Some(ms * MS) }
}

#[track_caller]
fn check(worker: WorkerView, now_ms: u64, expected: Verdict) {
    assert_eq!(judge(&worker, now_ms * MS), expected, "{worker:?} at {now_ms} ms");
}

#[test]
fn an_idle_worker_is_left_alone() {
    check(worker(), 1_000, Verdict::Wait { until_ns: None });
    check(WorkerView { activity: Some(Activity::Stopped), ..worker() }, 1_000, Verdict::Wait { until_ns: None });
}

#[test]
fn a_worker_that_does_not_begin_loses_its_pieces_after_50_ms() {
    for (since_ms, limit_ms, now_ms, expected) in [
        (1_000, None, 1_000, until(1_050)),
        (1_000, None, 1_049, until(1_050)),
        // Its limit may be over sooner, should it begin now.
        (1_000, Some(20), 1_010, until(1_030)),
        (1_000, Some(80), 1_010, until(1_050)),
        (1_000, None, 1_050, Verdict::Suspect),
        (1_000, Some(20), 5_000, Verdict::Suspect),
    ] {
        check(WorkerView { progress: waits(since_ms, limit_ms), ..worker() }, now_ms, expected);
    }
}

#[test]
fn one_that_still_starts_may_take_its_time_unless_there_are_others() {
    let starts = WorkerView { is_ready: false, ..worker() };
    check(WorkerView { progress: waits(1_000, None), ..starts }, 1_060, Verdict::Suspect);
    let alone = WorkerView { others_are_ready: false, ..starts };
    for (now_ms, activity, expected) in [
        (1_060, None, until(1_110)),
        (1_099, Some(Activity::Stopped), until(1_149)),
        (1_100, None, Verdict::Look { until_ns: 1_150 * MS }),
        (1_100, Some(Activity::Works), Verdict::Look { until_ns: 1_150 * MS }),
        (1_100, Some(Activity::Stopped), Verdict::KillStopped),
    ] {
        check(WorkerView { progress: waits(1_000, None), activity, ..alone }, now_ms, expected);
    }
}

#[test]
fn a_suspect_is_trusted_once_it_has_read_all_and_killed_if_it_is_stopped() {
    let suspect = WorkerView { duty: Duty::Suspect, ..worker() };
    check(WorkerView { has_read_all: true, ..suspect }, 1_000, Verdict::Trust);
    check(WorkerView { has_read_all: true, activity: Some(Activity::Stopped), ..suspect }, 1_000, Verdict::Trust);
    check(suspect, 1_000, Verdict::Look { until_ns: 1_050 * MS });
    check(WorkerView { activity: Some(Activity::Sleeps), ..suspect }, 1_000, Verdict::Look { until_ns: 1_050 * MS });
    check(WorkerView { activity: Some(Activity::Stopped), ..suspect }, 1_000, Verdict::KillStopped);
}

#[test]
fn one_that_leaves_is_killed_if_it_is_stopped() {
    let leaves = WorkerView { duty: Duty::Leaves, has_read_all: true, ..worker() };
    check(leaves, 1_000, Verdict::Look { until_ns: 1_050 * MS });
    check(WorkerView { activity: Some(Activity::Stopped), ..leaves }, 1_000, Verdict::KillStopped);
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
fn a_fork_server_that_starts_has_two_seconds_and_one_that_prepares_is_only_kept_going() {
    let starting = ServerStage::Starting { since_ns: 1_000 * MS };
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
        (true, works, 6_100, again(6_200)),
        (true, Some(None), 6_100, again(6_200)),
        (true, works, 16_000, again(16_100)),
        (true, works, 16_001, kill(16_101)),
        (true, Some(None), 16_001, kill(16_101)),
        (false, works, 6_100, kill(6_200)),
    ] {
        check_server(overdue(was_serving), Some(5_000), activity, now_ms, expected);
    }
    // What it obeyed meanwhile counts.
    check_server(overdue(true), None, None, 6_050, ServerStep::Recover { until_ns: None });
    check_server(overdue(true), Some(5_500), None, 6_050, ServerStep::Recover { until_ns: Some(6_500 * MS) });
}
