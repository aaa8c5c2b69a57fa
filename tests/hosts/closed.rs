//! Hosts that close all descriptors that they do not know while a pool lives, and open others under the same numbers. Fault 64
//! of CASES.md.

use crate::run::{command, program, run};

const ENDED: &str = "System the pool ended: this program has closed descriptors that are the pool's";

#[track_caller]
fn check(situation: &str, said: &str) {
    run(command(&program("closer"), &[situation]))
        .assert_said(&format!("before: [3]\n{said}touched: []\nthe next pool: [3]\n"));
}

/// Fault 64. A host closed all descriptors above 2, as programs do before they become a daemon. The next call of its pool
/// panicked, and the pool's end never came. What the host opened next got the pool's numbers: it was written to, and closed.
#[test]
fn a_pool_whose_descriptors_were_closed_ends_in_an_error_and_touches_no_other() {
    check("idle", &format!("next task: {ENDED}\n"));
    check("waiting", &format!("get: true\nnext task: {ENDED}\n"));
    check("completed", "completed\n");
}

/// Fault 64, as above.
#[test]
fn the_end_of_a_pool_whose_descriptors_were_closed_comes_and_touches_no_other() {
    check("end", "get: true\n");
    check("shutdown", "");
}
