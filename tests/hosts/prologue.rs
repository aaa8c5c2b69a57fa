//! The state of a worker when its first piece begins: everything that the skipped start of `main` would have set up, with
//! glibc and with musl.

use crate::run::{command, musl_program, program, run};

/// Each question, and a worker's answer if its program was started in no special way.
const USUAL: [(&str, &str); 30] = [
    // std's start of `main` ignores it.
    ("SIGPIPE", "ignored"),
    // The host decides about these, by way of a handler.
    ("SIGUSR1", "handled"),
    ("SIGHUP", "handled"),
    ("SIGTERM", "handled"),
    ("SIGINT", "handled"),
    ("SIGCHLD", "default"),
    // At a terminal a worker is in the background.
    ("SIGTTOU", "ignored"),
    ("SIGTTIN", "ignored"),
    ("blocked signals", ""),
    ("stdin", "/dev/null"),
    ("open", "[0, 1, 2]"),
    // With these it measures its pieces, and signals the caller and the supervisor.
    ("descriptors", "/proc/self/clear_refs /proc/self/statm anon_inode:[eventfd] anon_inode:[eventfd] socket"),
    ("name", "multicore-0"),
    ("group", "its own"),
    ("death signal", "9"),
    ("parent", "multicore-fork"),
    ("directory", env!("CARGO_MANIFEST_DIR")),
    ("setting", ""),
    ("later setting", ""),
    ("marker", "None"),
    ("out of memory", "preferred"),
    ("a task in a worker", "true Some(InWorker) Some(InWorker) Some(InWorker)"),
    ("preload", "for all, in the fork server: true"),
    ("start", "for each, in this worker: true"),
    ("stack overflow", "Some(StackOverflow)"),
    ("bad address", "Some(Signal(11))"),
    ("abort", "Some(Signal(6))"),
    ("exit", "Some(Exit(3))"),
    ("still well", "it is"),
    // Printed once, by the worker that exits in order.
    ("leaving", "of its own"),
];

/// Stands for a line that is missing.
const NOTHING: &str = "(nothing)";

/// Asks with both C libraries, after the parent was set up like this. The answers are the usual ones, except `unusual`.
#[track_caller]
fn check(set_up: &[&str], unusual: &[(&str, &str)]) {
    for (library, program) in [("glibc", Some(program("prologue"))), ("musl", musl_program("prologue"))] {
        let Some(program) = program else { continue };
        let mut asked = command(&program, set_up);
        asked.current_dir(env!("CARGO_MANIFEST_DIR"));
        let outcome = run(asked);
        let is_usual = |name: &str| !unusual.iter().any(|(other, _)| *other == name);
        let expected = USUAL.iter().filter(|(name, _)| is_usual(name)).chain(unusual);
        let answers = expected.map(|&(name, expected)| (name, outcome.find(name).unwrap_or(NOTHING), expected));
        let wrong: Vec<_> = answers.filter(|(_, answer, expected)| answer != expected).collect();
        assert!(wrong.is_empty(), "question, answer, expected on {library} after {set_up:?}: {wrong:#?}");
        // musl passes a program's arguments to `main` only.
        let arguments = if library == "glibc" { format!("{set_up:?}") } else { "[]".to_string() };
        assert_eq!(outcome.answer("arguments"), arguments);
        let panic = outcome.answer("panic");
        let place = "panicked: a piece of its own (at tests/programs/src/bin/prologue.rs:";
        assert!(panic.starts_with("piece 0 (") && panic.contains(place), "{panic}");
        assert_eq!(outcome.stderr, "", "all problems are in the errors");
        assert_eq!(outcome.status.code(), Some(0));
    }
}

#[test]
fn a_worker_finds_what_main_would_have_made() {
    check(&[], &[]);
}

#[test]
fn signals_are_ignored_as_in_the_parent() {
    check(&["sigpipe-default"], &[("SIGPIPE", "default")]);
    check(&["ignore"], &[("SIGUSR1", "ignored"), ("SIGCHLD", "ignored"), ("SIGHUP", "ignored")]);
}

#[test]
fn the_parents_handlers_and_blocked_signals_are_not_the_workers() {
    check(&["handle", "block"], &[]);
}

/// A worker that exits then writes to /dev/null.
#[test]
fn streams_that_the_parent_closed_are_open() {
    check(&["close"], &[("leaving", NOTHING)]);
}

#[test]
fn the_parents_descriptors_are_not_the_workers() {
    check(&["open"], &[]);
}

#[test]
fn directory_mask_and_environment_are_those_of_the_pools_start() {
    check(&["umask", "usr", "setting"], &[("umask", "0027"), ("directory", "/usr"), ("setting", "as set")]);
}

/// Fault 69. A worker's score was 500, also where its parent had more.
#[test]
fn the_kernel_prefers_to_kill_workers_for_memory_whatever_score_the_parent_has() {
    check(&["oom"], &[("out of memory", "preferred to all")]);
}
