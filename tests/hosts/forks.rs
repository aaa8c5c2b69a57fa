//! Hosts that fork: each process has a global pool of its own, and what it inherited is refused. The fault numbers are those
//! of CASES.md.

use crate::run::{command, program, run};

/// Runs the program `forks` in a situation. It must print `said` and leave no process behind.
#[track_caller]
fn check(situation: &[&str], said: &str) {
    let mut forks = command(&program("forks"), situation);
    forks.env("MULTICORE_WORKERS", "2");
    run(forks).assert_said(said);
}

/// Fault 60. A server that forks its workers after it has loaded everything had a pool in none of them.
#[test]
fn each_process_of_a_host_that_forks_has_a_global_pool_of_its_own() {
    check(
        &["load"],
        "children: [0, 0, 0, 0]\nthe parent's task: [6]\nparent: true, the same workers: true, lost: 0\nown: Ok\n",
    );
}

/// Fault 60. The lock of a start was held by a thread that the child did not have, so the child hung in `Task::new`; so
/// would it in each value that is made once.
#[test]
fn a_child_forked_at_any_instant_of_a_start_has_its_own_pool() {
    check(&["start", "50"], "wrong: []\n");
}

/// Fault 60.
#[test]
fn a_child_sets_its_global_pool_itself() {
    check(&["built"], "parent: Err(Config)\nchild: 0\nparent's workers: 3\n");
}

/// Fault 27: a child of a worker is no host.
#[test]
fn a_child_that_a_piece_forked_has_no_pool() {
    check(&["piece"], "child of a piece: 7, piece: Some(InWorker)\n");
}

/// Fault 60. The end of the fork server's socket was open in the child, so the fork server did not hear of the end of the
/// pool: it was killed after 2 s.
#[test]
fn a_pool_ends_in_order_while_a_forked_child_lives() {
    check(&["end"], "task: Ok\nleft in order\nwithout a kill: true\nchild: 1009\n");
}

/// Fault 60. Only the process that made a pool knows its figures: what its memory says in a child may be in the middle of a change.
#[test]
fn a_child_has_no_figures_of_the_pool_that_it_inherited() {
    check(
        &["figures"],
        "task: Ok\nbefore: (1, 1, 0)\nchild: (0, 0, 0), text: true, task: Ok, own: (1, 1, 0)\nended: 3\ntask: Ok, after: (2, 1, 0)\n",
    );
}
