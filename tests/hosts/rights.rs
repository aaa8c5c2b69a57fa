//! Hosts that change after their pool was made: they give up their rights, as a server does that starts as root. The fault
//! numbers are those of CASES.md.

use crate::run::{command, program, run, skipped};

/// Runs the program `rights` in a situation.
#[track_caller]
fn check(situation: &str, said: &str) {
    let outcome = run(command(&program("rights"), &[situation]));
    match outcome.find("skipped") {
        Some(why) => skipped(situation, why),
        None => outcome.assert_said(said),
    }
}

/// Fault 62. A server started as root, made its pool and changed its user. From then on the kernel refused to let it kill
/// its workers, the refusal counted as a kill, and a piece that ran over its limit ran for ever.
#[test]
fn a_limit_ends_its_piece_after_the_host_gave_up_its_rights() {
    check("limit", "limit: TimedOut Some(Signal(9))\ngoes on: true\n");
}

/// Fault 62: `get_timeout` returned, but its piece went on and kept its worker.
#[test]
fn a_task_out_of_time_frees_its_worker_after_the_host_gave_up_its_rights() {
    check("get_timeout", "get_timeout: TimedOut None\ngoes on: true\n");
}

/// Fault 62, as above.
#[test]
fn a_cancelled_task_frees_its_worker_after_the_host_gave_up_its_rights() {
    check("cancel", "goes on: true\n");
}

/// Fault 62: where the fork server may not kill either, the piece fails, is not run once more beside itself, and its
/// worker's place goes to another. The worker ends with its fork server.
#[test]
fn a_worker_that_nobody_can_kill_is_given_up() {
    let outcome = run(command(&program("rights"), &["no-kill"]));
    if let Some(why) = outcome.find("skipped") {
        return skipped("no-kill", why);
    }
    let told = "ran longer than its limit of 100ms, and its worker could not be killed: Operation not permitted";
    assert!(outcome.answer("limit").contains(told), "{outcome:?}");
    assert_eq!(outcome.answer("goes on"), "true");
}

/// Fault 62: the end of a pool needs no rights.
#[test]
fn a_pool_ends_after_the_host_gave_up_its_rights() {
    check("drop", "dropped: Cancelled None\n");
    check("shutdown", "goes on: true\nshut down\n");
}

/// Fault 63. A server started as root, made its pool and changed its user. Its next workers were forked by the fork server,
/// which is still root: they read /etc/shadow, which the server itself could not.
#[test]
fn a_new_worker_has_the_rights_that_the_host_has_now() {
    check("follow", "before: true\nafter a death: true\nlost: 1\n");
}

/// Fault 63: a host that says so gets new workers at once; what runs comes to its end, and nothing is lost.
#[test]
fn workers_are_renewed_on_request() {
    check("renew", "busy: true\nwhat ran: [1]\nwhat waited: [65534]\nafter: true\nlost: 0\n");
}

/// Fault 63: four users and groups that all differ, some capabilities kept, one gone for good.
#[test]
fn a_new_worker_has_exactly_the_rights_that_the_host_kept() {
    check("keep", "after a death: true\n");
}

/// Fault 63: a program that is executed with two users is told to trust nobody, so it ignored the marker: its `main` ran
/// once more beside the first.
#[test]
fn a_host_with_two_users_is_not_started_once_more() {
    let outcome = run(command(&program("rights"), &["effective"]));
    if let Some(why) = outcome.find("skipped") {
        return skipped("effective", why);
    }
    assert_eq!(outcome.stdout.matches("one main").count(), 1, "{outcome:?}");
    let told = "Unsupported no pool can run here: the effective user or group of this thread is not its real one";
    assert!(outcome.answer("with two users").starts_with(told), "{outcome:?}");
    assert_eq!(outcome.answer("with one"), "a pool");
}

/// Fault 63: a filter of system calls cannot be taken over, so the pool ends and says why.
#[test]
fn a_pool_whose_workers_cannot_follow_the_host_says_so() {
    let why = "this process has given up rights since its pool was made: it has 1 seccomp filters, and a worker would have none";
    check("filter", &format!("before: [0]\nafter: Unsupported the pool ended: {why}\n"));
}

/// Fault 64. A host handed its standard output over to a log file in place, as `dup2` does, after its pool was made. Its
/// pieces went on printing to the old one, whose reader saw no end.
#[test]
fn new_workers_print_where_the_host_prints() {
    let outcome = run(command(&program("rights"), &["streams"]));
    if let Some(why) = outcome.find("skipped") {
        return skipped("streams", why);
    }
    assert_eq!((&*outcome.stdout, &*outcome.stderr), ("to the old one\n", "to the new one\nthe end\n"));
}
