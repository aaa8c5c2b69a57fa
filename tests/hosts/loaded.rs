//! Programs that have threads before their `main`: made by their own constructors, by a library that is linked or preloaded.
//! A process with threads cannot be forked safely, so each worker is started by exec. Fault 61 of CASES.md.

use crate::run::{Outcome, Run, command, program, run, skipped};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fault 61. A program that linked OpenBLAS had no pool at all, and was told only by `try_new`: its constructor makes threads, and
/// the fork server refused to serve.
#[test]
fn a_program_whose_constructor_makes_a_thread_has_pools() {
    run(command(&program("threaded"), &["an argument"])).assert_said(
        "threads here: true\n\
         results: true\n\
         a big one: 20000000\n\
         threads in a worker: true\n\
         preload in each, before on_worker_start: true\n\
         arguments: true\n\
         markers: 0\n\
         a pool in a worker: \"InWorker\"\n\
         death: WorkerLost Some(Signal(6))\n\
         limit: TimedOut 2\n\
         exit: Some(Exit(3))\n\
         then: 5\n\
         data limit: 50 true\n\
         start: Executed true\n\
         table: true\n\
         descriptor: passed\n",
    );
}

/// A library that makes a thread while it is loaded, as a monitoring agent does that is preloaded. `None`, and a message,
/// without a C compiler.
fn agent(directory: &Path) -> Option<PathBuf> {
    let (source, library) = (directory.join("agent.c"), directory.join("agent.so"));
    let text = "#include <pthread.h>\n#include <unistd.h>\n\
        static void *watch(void *unused) { for (;;) pause(); return unused; }\n\
        __attribute__((constructor)) static void start(void) { pthread_t thread; pthread_create(&thread, 0, watch, 0); }\n";
    std::fs::write(&source, text).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-pthread", "-o"]).args([&library, &source]);
    match compiler.status() {
        Ok(status) if status.success() => Some(library),
        outcome => {
            skipped("a preloaded agent", &format!("cc: {outcome:?}"));
            None
        }
    }
}

/// Runs a program with the agent.
fn run_with_agent(name: &str, arguments: &[&str]) -> Option<Outcome> {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(&program(name), arguments);
    command.env("LD_PRELOAD", agent(directory.path())?);
    Some(run(command))
}

/// Fault 61: the same questions as in `prologue`, and the same answers but for one.
#[test]
fn a_worker_that_is_executed_finds_what_a_forked_one_finds() {
    let Some(executed) = run_with_agent("prologue", &[]) else { return };
    let forked = run(command(&program("prologue"), &[]));
    let preload = ("for all, in the fork server: true", "for all, in the fork server: false");
    assert_eq!((forked.answer("preload"), executed.answer("preload")), preload);
    let rest = |outcome: &Outcome| outcome.stdout.replace(preload.0, "").replace(preload.1, "");
    assert_eq!(rest(&executed), rest(&forked));
    assert_eq!(executed.stderr, "");
}

/// Fault 61, with the libraries that it is about.
#[test]
fn programs_with_openblas_or_a_background_allocator_have_pools() {
    // The number keeps OpenBLAS from making none on a machine with one core.
    let settings = [("OPENBLAS_NUM_THREADS", "2"), ("MALLOC_CONF", "background_thread:true")];
    for (library, multiplies) in [("libopenblas.so.0", true), ("libjemalloc.so.2", false)] {
        let mut command = command(&program("preloaded"), &[]);
        command.env("LD_PRELOAD", library).envs(settings);
        let outcome = run(command);
        if outcome.stderr.contains("cannot be preloaded") {
            skipped(library, "it is not installed");
            continue;
        }
        outcome.assert_said(&format!(
            "threads here: true\nmultiplies: {multiplies}\nright: true\ndeath: Some(Signal(6))\nthen: true\nstart: Executed \
             true\nglobal: true\n"
        ));
    }
}

/// Faults 61 to 64: workers that are executed follow their host too.
#[test]
fn workers_that_are_executed_follow_the_host() {
    let said = |situation: &str, told: &str| {
        let Some(outcome) = run_with_agent("rights", &[situation]) else { return };
        match outcome.find("skipped") {
            Some(why) => skipped(situation, why),
            None => assert_eq!(outcome.stdout, told, "{outcome:?}"),
        }
    };
    said("limit", "limit: TimedOut Some(Signal(9))\ngoes on: true\n");
    said("follow", "before: true\nafter a death: true\nlost: 1\n");
    said("renew", "busy: true\nwhat ran: [1]\nwhat waited: [65534]\nafter: true\nlost: 0\n");
    said("streams", "to the old one\n");
    let why = "its effective user or group is not its real one, and no worker can be started by exec with both";
    if let Some(outcome) = run_with_agent("rights", &["keep"]).filter(|outcome| outcome.find("skipped").is_none()) {
        assert!(outcome.stderr.contains(why), "{outcome:?}");
    }
}

/// Faults 24 and 61.
#[test]
fn no_executed_worker_outlives_a_host_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let Some(agent) = agent(directory.path()) else { return };
    let pieces = tempfile::tempdir().unwrap();
    let mut leaver = command(&program("leaver"), &["stay", pieces.path().to_str().unwrap()]);
    leaver.env("LD_PRELOAD", agent).env("MULTICORE_WORKERS", "3");
    let mut host = Run::start(leaver);
    host.wait_for_line("ready");
    assert!(host.left().len() >= 5, "the host, its fork server and three workers: {:#?}", host.left());
    host.kill();
    host.finish();
}
