//! The niceness of workers: what a pool sets, and what the system refuses.

use crate::run::{command, program, run, skipped};
use multicore::{ErrorKind, Pool};

/// Workers are forked, or executed where libraries make threads before `main`: those threads have it too.
#[track_caller]
fn check(is_executed: bool) {
    let mut asked = command(&program("niceness"), &[]);
    if is_executed {
        asked.env("NICENESS_THREAD", "1");
    }
    let outcome = run(asked);
    let expected = [("higher", "[5]"), ("higher, after a death", "[5]"), ("as here", "[0]"), ("here", "0")];
    // Where these tests are nicer themselves, nothing is known of the numbers.
    if outcome.answer("here") != "0" {
        return skipped("niceness", "these tests do not run with a niceness of 0");
    }
    for (question, answer) in expected {
        assert_eq!(outcome.answer(question), answer, "{question}: {outcome:?}");
    }
    if let Some(why) = outcome.find("skipped") {
        return skipped("a lower niceness", why);
    }
    assert_eq!(outcome.answer("lower, without the rights"), "[-5]");
    assert_eq!(outcome.answer("lower, without the rights, after a death"), "[-5]");
    assert_eq!(outcome.answer("its user"), "Some(65534)");
    let refused = outcome.answer("refused");
    let sentence = "System the fork server cannot serve: a niceness of -5 cannot be had: Permission denied (os error 13): give 0 or \
                    more, which needs no rights, or leave nice out";
    assert_eq!(refused, sentence);
}

#[test]
fn each_worker_and_what_it_starts_has_the_niceness_that_was_set() {
    check(false);
}

#[test]
fn an_executed_worker_has_it_in_all_its_threads() {
    check(true);
}

#[test]
fn a_niceness_that_the_system_does_not_know_is_refused() {
    for niceness in [-21, 20, i32::MIN, i32::MAX] {
        let error = Pool::builder().workers(1).nice(niceness).build().unwrap_err();
        let sentence = format!(
            "a niceness of {niceness} makes no sense: give -20 to 19, or leave nice out for that of this program"
        );
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, sentence));
    }
}
