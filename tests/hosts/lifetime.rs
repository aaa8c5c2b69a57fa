//! Pools in hosts that exit, are killed, lose their executable, close their streams, or wait for children. The pool works,
//! and none of its processes outlives the host. The fault numbers are those of CASES.md.

use crate::run::{self, Run, command, musl_program, program, run};
use std::fs;
use std::path::Path;

/// Runs the program `host` in a situation. It must print `said` and leave no process behind.
#[track_caller]
fn check(situation: &str, said: &str) {
    run(command(&program("host"), &[situation])).assert_said(said);
}

#[track_caller]
fn leaver(way: &str, directory: &Path) -> Run {
    let mut leaver = command(&program("leaver"), &[way, directory.to_str().unwrap()]);
    leaver.env("MULTICORE_WORKERS", "3");
    Run::start(leaver)
}

/// Fault 19: `/proc/self/exe` is the running image, even if its file was deleted or replaced.
#[test]
fn a_program_whose_file_is_gone_or_replaced_has_pools() {
    let lost = "System: cannot start this program once more as fork server: Permission denied (os error 13)\n";
    for (situation, said) in [
        ("deleted", "first: Ok\nanother: Ok\n"),
        ("replaced", "first: Ok\nanother: Ok\n"),
        // The kernel refuses an image without permission to execute.
        ("not-executable", lost),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("host");
        fs::copy(program("host"), &copy).unwrap();
        run(command(&copy, &[situation])).assert_said(said);
    }
}

#[test]
fn a_later_fork_server_is_started_as_the_first_was() {
    let outcome = run(command(&program("host"), &["later"]));
    assert_eq!(outcome.find("host"), outcome.find("worker"), "{outcome:?}");
    assert!(outcome.find("host").is_some_and(|host| host.contains("None")), "{outcome:?}");
}

/// Fault 26. Before this was fixed, the child could write into its parent's rings through a task that it inherited.
#[test]
fn a_child_that_the_host_forked_harms_neither_its_pool_nor_its_tasks() {
    let said = "pool: Unsupported\nstats: 0\ncompleted: 0\nget: Unsupported\nget_each: true\niter: true\n\
                iter_completed: true\nchild: 0\nparent: true, lost: 0\n";
    for _ in 0..5 {
        check("forked", said);
    }
}

/// Fault 23.
#[test]
fn a_pool_outlives_the_thread_that_made_it() {
    check("threads", "of one thread: true\nof 50 threads: true\nfork servers of the global pool: 1\n");
}

/// Fault 25. The running pieces neither end by themselves nor react to a signal.
#[test]
fn nothing_outlives_a_host_that_leaves_while_pieces_run() {
    for (way, code) in [
        ("exit", Some(7)),
        ("exit-at-once", Some(7)),
        ("abort", None),
        ("panic", Some(101)),
        ("forget", Some(0)),
        ("return", Some(0)),
        ("return-global", Some(0)),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let outcome = leaver(way, directory.path()).finish();
        assert_eq!(outcome.status.code(), code, "{way}: {outcome:?}");
    }
}

/// Fault 24.
#[test]
fn nothing_outlives_a_host_that_is_killed() {
    for way in ["stay", "idle"] {
        let directory = tempfile::tempdir().unwrap();
        let mut host = leaver(way, directory.path());
        host.wait_for_line("ready");
        assert!(host.left().len() >= 5, "the host, its fork server and three workers: {:#?}", host.left());
        host.kill();
        host.finish();
    }
}

/// Faults 18 and 24: a stopped fork server notices nothing. The kernel continues it when its parent has ended. Then it
/// ends, and its workers with it, even a stopped one.
#[test]
fn nothing_outlives_a_killed_host_whose_fork_server_is_stopped() {
    for way in ["stay", "idle"] {
        let directory = tempfile::tempdir().unwrap();
        let mut host = leaver(way, directory.path());
        host.wait_for_line("ready");
        for name in ["multicore-fork", "multicore-1"] {
            host.signal(host.find(name).unwrap(), libc::SIGSTOP);
        }
        host.kill();
        host.finish();
    }
}

/// Fault 24: the fork server notices its parent's death even while `preload` runs.
#[test]
fn nothing_outlives_a_host_that_is_killed_while_preload_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = leaver("never-ready", directory.path());
    assert!(run::comes_true(|| host.find("multicore-fork").is_some()), "{:#?}", host.left());
    host.kill();
    host.finish();
}

/// Fault 24: the host is killed at each moment of its start. From there to the first piece takes about 10 ms.
#[test]
fn nothing_outlives_a_host_that_is_killed_while_it_starts() {
    for round in 0..60 {
        let mut host = Run::start(command(&program("host"), &["wait"]));
        let moment = std::time::Duration::from_micros(250 * round);
        // This sleep waits for no fact: it kills the host 250 us later in each round.
        std::thread::sleep(moment);
        host.kill();
        host.finish();
    }
}

/// Fault 24: the fork server's socket never reaches end-of-file here, since a child that the host forked still has the
/// other end open.
#[test]
fn nothing_outlives_a_killed_host_but_the_child_that_it_forked() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = leaver("fork", directory.path());
    let child: u32 = host.wait_for_line("child: ").parse().unwrap();
    host.wait_for_line("ready");
    host.kill();
    host.forgive(child);
    host.assert_nothing_left();
    assert!(Path::new(&format!("/proc/{child}")).exists());
    drop(host);
}

/// Fault 28, in a host written in Rust, whose runtime opens the closed streams again at its start.
#[test]
fn a_program_started_without_standard_streams_has_pools() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("said");
    let script = format!("exec 3>{} 0<&- 1>&- 2>&-; {} closed-before", file.display(), program("host").display());
    run(command(Path::new("/bin/sh"), &["-c", &script]));
    assert_eq!(fs::read_to_string(file).unwrap(), "task: Ok\n");
}

/// Fault 28, in a host that closes its standard streams itself, as a host in C or a daemon does.
#[test]
fn a_pool_takes_no_standard_streams_number() {
    check("closed", "task: Ok\ntaken: []\n");
}

/// Fault 29: at a terminal, under a shell with job control. A worker's output is visible although the worker is in the
/// background. Ctrl-Z stops the program and no worker. Ctrl-C ends the program, and no process is left.
#[test]
fn at_a_terminal_the_keys_reach_the_program_alone() {
    let script = r#"trap : INT; set -m; "$0" terminal; echo "stopped: $?"; fg %1; echo "ended: $?""#;
    let script = command(Path::new("/bin/sh"), &["-c", script, program("host").to_str().unwrap()]);
    let mut shell = Run::start_at_terminal(script);
    shell.wait_for_line("ready");
    shell.say("first");
    assert_eq!(shell.wait_for_line("piece: "), "first");
    shell.wait_for_line("printed");
    shell.press_control(b'Z');
    assert_eq!(shell.wait_for_line("stopped: "), (128 + libc::SIGTSTP).to_string());
    // The shell continues the program at once. The key stopped no worker.
    shell.say("second");
    shell.wait_for_line("piece: second");
    shell.press_control(b'C');
    assert_eq!(shell.wait_for_line("ended: "), (128 + libc::SIGINT).to_string());
    shell.finish();
}

/// Fault 29.
#[test]
fn waits_and_signals_of_the_host_never_see_the_pools_processes() {
    let said = "task: Ok\ndeath: Some(Signal(6))\ndeath: Some(Exit(3))\nanother fork server: Ok\n";
    for (how, rest) in [
        ("handler", "own child: Some(5)\nfound by waits: None\nsignals: 1\n"),
        ("ignored", "found by waits: None\nsignals: 0\n"),
        ("loop", "found by waits: Some(0)\nsignals: 0\n"),
    ] {
        run(command(&program("waits"), &[how])).assert_said(&format!("{said}{rest}"));
    }
}

/// Fault 68. A thread-local's destructor of the user's, older than ours, asked the pool for a result and had to wait for it. It
/// then reached for a thread-local of ours that was gone, panicked, and the whole program aborted.
#[test]
fn pools_work_in_destructors_that_outlive_ours_and_at_exit() {
    const EVERYTHING: &str = "get: true\nget_timeout: true\nget_each: true\niter: true\niter_completed: true\nwrite_to: Ok(8)\n\
        run_all: true\ntoo late: Err(TimedOut)\noverrun: Err(TimedOut)\npanic: Err(Panicked)\nabort: Err(false)\n\
        canceller: Err(Cancelled)\nfollower: true\nleader: Err(Cancelled)\nown pool: true\nown or inline: true\n\
        stats: 2 8\nglobal: true\nor inline: true\nended\n";
    for (when, before) in [("thread", true), ("thread-first-use", false), ("main", true), ("atexit", true)] {
        let before = if before { "before: true\n" } else { "" };
        // On musl no destructor of the first thread's thread-locals runs at all.
        let on_musl = if when == "main" { "" } else { EVERYTHING };
        let programs = [(Some(program("late")), EVERYTHING), (musl_program("late"), on_musl)];
        for (program, then) in programs.into_iter().filter_map(|(program, then)| Some((program?, then))) {
            let mut late = command(&program, &[when]);
            late.env("MULTICORE_WORKERS", "2");
            run(late).assert_said(&format!("{before}{then}"));
        }
    }
}

#[test]
fn what_a_piece_printed_is_seen_whatever_the_next_one_does() {
    check("speak-abort", "said by a piece; well: [true, false]\n");
    check("speak-exit", "said by a piece; well: [true, false]\n");
}

/// Fault 27.
#[test]
fn a_program_that_a_piece_starts_may_have_a_pool_and_ends_with_the_worker() {
    check("inner", "privileged: false\nmarker: None\ntask: Ok\npool: Ok\n");
    let mut host = Run::start(command(&program("host"), &["inner-pool"]));
    host.wait_for_line("task: ");
    let hosts = |host: &Run| host.left().iter().filter(|words| words.contains("(host)")).count();
    let servers = |host: &Run| host.left().iter().filter(|words| words.contains("(multicore-fork)")).count();
    // A worker that was just forked still has its fork server's name.
    assert!(run::comes_true(|| (hosts(&host), servers(&host)) == (2, 2)), "{:#?}", host.left());
    host.say("now");
    host.wait_for_line("killed");
    assert!(run::comes_true(|| hosts(&host) == 1 && servers(&host) == 1), "{:#?}", host.left());
    host.kill();
    host.finish();
}

#[test]
fn what_preload_started_ends_with_the_pool() {
    check("preload-child", "task: Ok\n");
}

/// Fault 14.
#[test]
fn a_piece_that_forks_and_returns_twice_has_one_result() {
    check("fork", "the worker's own: true\nresults: 2, workers lost: 0\n");
}

#[test]
fn hooks_run_where_and_when_they_should() {
    let outcome = run(command(&program("host"), &["hooks"]));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let count = |line: &str| lines.iter().filter(|&&other| other == line).count();
    assert_eq!((count("preload before main: true"), count("start"), count("exit")), (1, 2, 2), "{outcome:?}");
    assert_eq!((lines[0], count("sums: 100"), count("never said")), ("preload before main: true", 1, 0), "{outcome:?}");
    let broken = outcome.answer("broken");
    assert!(broken.contains("no database") && broken.contains("host.rs:"), "{broken}");
}

#[test]
fn a_preload_that_prevents_forking_is_told_of() {
    for (situation, words) in [
        ("preload-threads", &["System", "3 threads", "2 of them", "on_worker_start"][..]),
        ("preload-panics", &["System", "preload failed", "nothing to load", "host.rs:"]),
        ("preload-exits", &["System", "ended before it was ready"]),
    ] {
        let outcome = run(command(&program("host"), &[situation]));
        assert!(words.iter().all(|word| outcome.stdout.contains(word)), "{situation}: {outcome:?}");
        assert_eq!(outcome.status.code(), Some(0));
    }
}
