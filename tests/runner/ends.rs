//! Jobs, runs and machines that end otherwise than planned.

use super::{Place, assert_ended};
use crate::process::{Run, comes_true};
use std::time::{Duration, Instant};

/// A job that says when it has begun, and then waits for the file `go`.
const WAITS: &str = "echo {#} >> begun; while ! [ -e go ]; do sleep 0.01; done; echo {#} >> ended";

#[track_caller]
fn wait_until_begun(place: &Place, jobs: usize) {
    assert!(comes_true(|| place.lines("begun").len() >= jobs), "{:?}", place.lines("begun"));
}

#[test]
fn a_job_that_ignores_sigterm_ends_by_its_time_limit_with_all_it_started() {
    let place = Place::new();
    let line = "trap '' TERM; echo before; setsid sleep 600 & sleep 600 & while :; do sleep 600; done; echo";
    let start = Instant::now();
    let outcome = place.run(&["--timeout", "0.3", "--joblog", "log", line, ":::", "a"]);
    assert_ended(&outcome, 1, "before\n", "0 done, 0 skipped, 1 failed");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let row = place.lines("log").pop().unwrap();
    let columns: Vec<&str> = row.split('\t').collect();
    assert_eq!(columns[6..8], ["-1", "15"], "{row}");
}

#[test]
fn a_job_that_obeys_sigterm_can_tidy_up_and_others_have_their_time() {
    let place = Place::new();
    let line = "trap 'echo tidied; exit 0' TERM; echo {}; [ {} = b ] || while :; do sleep 0.01; done";
    let outcome = place.run(&["-k", "-j2", "--timeout", "0.5", line, ":::", "a", "b"]);
    assert_ended(&outcome, 1, "a\ntidied\nb\n", "1 done, 0 skipped, 1 failed");
}

#[test]
fn a_job_that_fails_is_tried_again_and_only_its_last_try_is_shown() {
    let place = Place::new();
    let line = "echo x >> tries-{}; echo try $(wc -l < tries-{}); [ $(wc -l < tries-{}) -ge {} ]";
    let outcome = place.run(&["-k", "--retries", "3", "--joblog", "log", line, ":::", "1", "2", "5"]);
    assert_ended(&outcome, 1, "try 1\ntry 2\ntry 3\n", "2 done, 0 skipped, 1 failed");
    assert_eq!(place.lines("log").len(), 4, "one row for each job");
}

#[test]
fn what_a_job_leaves_running_ends_with_the_run() {
    let place = Place::new();
    // `run` waits until no process is left.
    let outcome = place.run(&["sleep 600 > /dev/null 2>&1 & echo", ":::", "a", "b"]);
    assert_eq!(super::sorted(&outcome.stdout), ["a", "b"]);
}

#[test]
fn a_job_that_kills_its_worker_fails_alone() {
    let place = Place::new();
    let outcome = place.run(&[
        "-j2",
        "--joblog",
        "log",
        "[ {} = b ] && kill -9 $PPID && sleep 600; echo {}",
        ":::",
        "a",
        "b",
        "c",
        "d",
    ]);
    assert_eq!(super::sorted(&outcome.stdout), ["a", "c", "d"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.stderr.contains("multicore run: job 2, ") && outcome.stderr.contains("SIGKILL"), "{outcome:?}");
    let row = place.lines("log").into_iter().find(|line| line.starts_with("2\t")).unwrap();
    assert_eq!(row.split('\t').collect::<Vec<_>>()[6..8], ["0", "9"], "{row}");
}

#[test]
fn one_interrupt_lets_what_runs_end_and_begins_nothing() {
    let place = Place::new();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        for file in ["begun", "ended", "go"] {
            let _ = std::fs::remove_file(place.path(file));
        }
        let run = place.start(&["--clusters", "9", "-j2", WAITS]);
        wait_until_begun(&place, 2);
        run.signal(run.pid(), signal);
        place.write("go", "");
        let outcome = run.finish();
        assert_ended(&outcome, 130, "", "2 done, 0 skipped, 0 failed");
        assert_eq!(place.lines("begun").len(), 2, "{outcome:?}");
        assert_eq!(place.lines("ended").len(), 2, "{outcome:?}");
    }
}

#[test]
fn a_job_that_fails_is_not_tried_again_once_the_run_is_stopped() {
    let place = Place::new();
    let run = place.start(&["--retries", "1000", &format!("{WAITS}; false"), ":::", "a"]);
    wait_until_begun(&place, 1);
    run.signal(run.pid(), libc::SIGTERM);
    assert!(comes_true(|| run.stderr().contains("stopping")));
    place.write("go", "");
    assert_ended(&run.finish(), 130, "", "0 done, 0 skipped, 1 failed");
    assert_eq!(place.lines("begun").len(), 1);
}

#[test]
fn two_interrupts_kill_what_runs() {
    let place = Place::new();
    let mut run =
        Run::start_at_terminal(place.command(&["--clusters", "9", "-j2", &format!("trap '' INT TERM; {WAITS}")]));
    wait_until_begun(&place, 2);
    run.press_control(b'C');
    run.wait_for_line("multicore run: stopping");
    run.press_control(b'C');
    let outcome = run.finish();
    assert_eq!(outcome.status.code(), Some(130), "{outcome:?}");
    assert!(outcome.stdout.contains("0 done, 0 skipped, 0 failed"), "{outcome:?}");
    assert_eq!((place.lines("begun").len(), place.lines("ended").len()), (2, 0), "{outcome:?}");
}

#[test]
fn an_interrupt_ends_a_run_that_waits_for_inputs() {
    let place = Place::new();
    let run = place.start(&["echo"]);
    assert!(comes_true(|| catches_signals(run.pid())));
    run.signal(run.pid(), libc::SIGINT);
    assert_ended(&run.finish(), 130, "", "0 done");
}

/// True once the runner has its handlers.
fn catches_signals(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    u64::from_str_radix(caught.trim(), 16).is_ok_and(|caught| caught >> (libc::SIGINT - 1) & 1 == 1)
}

#[test]
fn a_killed_runner_leaves_no_job_running() {
    let place = Place::new();
    let mut run = place.start(&["--clusters", "9", "-j3", &format!("trap '' INT TERM HUP; {WAITS}")]);
    wait_until_begun(&place, 3);
    run.kill();
    run.finish();
    assert_eq!(place.lines("ended").len(), 0);
}

#[test]
fn a_run_halts_as_it_is_told() {
    let place = Place::new();
    let fails = "exit $(( {#} % 2 ))";
    for (halt, code, summary) in [
        ("never", 5, "5 done, 0 skipped, 5 failed"),
        ("soon,fail=1", 1, "0 done, 0 skipped, 1 failed"),
        ("now,fail=2", 2, "1 done, 0 skipped, 2 failed"),
        ("soon,done=3", 2, "1 done, 0 skipped, 2 failed"),
        ("now,success=2", 0, "2 done, 0 skipped, 2 failed"),
        ("soon,fail=20%", 2, "1 done, 0 skipped, 2 failed"),
        ("soon,success=99%", 5, "5 done, 0 skipped, 5 failed"),
    ] {
        let outcome = place.run(&["-j1", "--halt", halt, "--clusters", "10", fails]);
        assert_ended(&outcome, code, "", summary);
    }
}

#[test]
fn halting_now_kills_and_halting_soon_waits() {
    let place = Place::new();
    let line = "if [ {#} = 1 ]; then while ! [ -e begun ]; do sleep 0.01; done; exit 1; fi; touch begun; sleep 0.3; echo slept";
    let outcome = place.run(&["-j2", "--halt", "soon,fail=1", "--clusters", "9", line]);
    assert_ended(&outcome, 1, "slept\n", "1 done, 0 skipped, 1 failed");
    std::fs::remove_file(place.path("begun")).unwrap();
    let line = line.replace("sleep 0.3", "sleep 600");
    let outcome = place.run(&["-j2", "--halt", "now,fail=1", "--clusters", "9", &line]);
    assert_ended(&outcome, 1, "", "0 done, 0 skipped, 1 failed");
}

#[test]
fn starts_are_delayed() {
    let place = Place::new();
    let start = Instant::now();
    assert_ended(&place.run(&["-j4", "--delay", "0.1", "true", ":::", "1", "2", "3", "4"]), 0, "", "4 done");
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

#[test]
fn a_gate_that_stays_closed_says_why_and_can_be_interrupted() {
    let place = Place::new();
    for (option, value, reason) in [("--memfree", "1000T", "--memfree asks for"), ("--load", "0", "--load allows 0.0")]
    {
        let mut run = Run::start_at_terminal(place.command(&[option, value, "echo", ":::", "a"]));
        // A machine without any load lets a job begin.
        let said = run.wait_for_line("");
        if option == "--load" && said == "a" {
            super::skipped("a_gate_that_stays_closed_says_why_and_can_be_interrupted", "this machine has no load");
            continue;
        }
        assert!(said.contains(reason), "{said}");
        run.press_control(b'C');
        assert_eq!(run.finish().status.code(), Some(130));
    }
}

#[test]
fn standard_error_that_is_gone_or_full_changes_nothing() {
    let place = Place::new();
    for line in [
        "{ sleep 0.2; $M run true ::: 1 2 3; echo $? > code; } 2>&1 | true; while ! [ -s code ]; do sleep 0.01; done; cat code",
        "$M run true ::: 1 2 3 2> /dev/full; echo $?",
        "$M run --journal kept true ::: 1 2> /dev/full; $M run --journal kept true ::: 1 2> /dev/full; echo $?",
        "$M run --bar --eta true ::: 1 2 3 2> /dev/full; echo $?",
    ] {
        assert_eq!(place.run_shell(line).stdout, "0\n", "{line}");
    }
    let line = "$M run --journal other true ::: 1 2> /dev/null; $M journal check other > /dev/full; echo $?";
    assert_eq!(place.run_shell(line).stdout, "255\n");
}

#[test]
fn two_interrupts_end_a_run_whose_standard_error_is_a_full_pipe() {
    let place = Place::new();
    // The pipe is full, and its reader waits for the end of the runner.
    let line = "mkfifo pipe; { while ! [ -e code ]; do sleep 0.01; done; cat > /dev/null; } < pipe & \
        exec 3> pipe; timeout 1 cat /dev/zero >&3; \
        $M run 'echo $$ > begun; sleep 600; echo' ::: 1 2>&3 & runner=$!; \
        while ! [ -s begun ]; do sleep 0.01; done; kill -TERM $runner; sleep 0.2; kill -TERM $runner; \
        while kill -0 $(cat begun) 2> /dev/null; do sleep 0.01; done; \
        echo > code; wait $runner; echo $?";
    assert_eq!(place.run_shell(line).stdout, "130\n");
}

#[test]
fn what_a_job_leaves_is_reaped_when_jobs_print_straight_too() {
    let place = Place::new();
    // The last job counts the zombies that the worker has.
    let line = "(true &) ; sleep 0.02; [ {} = 9 ] && { ps -o stat= --ppid $PPID | grep -c Z; }; :";
    let outcome = place.run(&["-u", "-j1", line, ":::", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let zombies: u64 = outcome.stdout.trim().parse().unwrap();
    assert!(zombies <= 2, "{outcome:?}");
}

#[test]
fn a_limit_beyond_the_clock_is_none() {
    let place = Place::new();
    assert_ended(&place.run(&["--timeout", "10000000000000000000", "echo", ":::", "a"]), 0, "a\n", "1 done");
}
