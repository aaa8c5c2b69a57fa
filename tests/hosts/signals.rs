//! Signals to all processes of a program at once: the host decides what they do.

use crate::run::{self, Run, command, program, run};
use std::fs;
use std::os::unix::process::ExitStatusExt;

const SIGNALS: [i32; 5] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2];

/// Starts the program, and sends the signal to all of its processes while two of its six pieces run. Then the pieces may end.
fn signalled(way: &str, signal: i32) -> run::Outcome {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let unit = Run::start(command(&program("unit"), &[way, &signal.to_string(), path]));
    unit.wait_for_line("running");
    let mut pids: Vec<u32> =
        unit.left().iter().map(|words| words.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(pids.len(), 4, "host, fork server and two workers");
    // The host's own end must not come before the others' signals.
    pids.sort_by_key(|&pid| pid == unit.pid());
    for pid in pids {
        unit.signal(pid, signal);
    }
    fs::write(directory.path().join("go"), "").unwrap();
    unit.finish()
}

/// Fault 66. A service manager's stop signals every process of the unit. The host handled it, wanted to finish what ran, and
/// lost it: fork server and workers had no handler. Only with the signal ignored was all well.
#[test]
fn a_signal_that_the_host_handles_ignores_or_blocks_ends_nothing() {
    for signal in SIGNALS {
        for way in ["handle", "handle-later", "ignore", "block"] {
            let outcome = signalled(way, signal);
            let said = "running\npieces: Ok([0, 1, 2, 3, 4, 5])\nlost: 0\n";
            assert_eq!(outcome.stdout, said, "signal {signal}, {way}");
            assert_eq!(outcome.status.code(), Some(0), "signal {signal}, {way}");
        }
    }
}

/// Nothing is left: `finish` asserts it.
#[test]
fn a_signal_that_the_host_dies_of_ends_all_of_its_processes() {
    for signal in SIGNALS {
        let outcome = signalled("default", signal);
        assert_eq!(outcome.status.signal(), Some(signal));
    }
}

/// A signal to a worker alone, in a host that would die of it.
#[test]
fn a_signal_to_one_worker_ends_it_as_it_would_end_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let unit = Run::start(command(&program("unit"), &["default", "15", path]));
    unit.wait_for_line("running");
    unit.signal(unit.find("multicore-0").unwrap(), libc::SIGTERM);
    fs::write(directory.path().join("go"), "").unwrap();
    let outcome = unit.finish();
    assert!(outcome.answer("pieces").contains("SIGTERM"), "{outcome:?}");
    assert_eq!(outcome.answer("lost"), "1");
}

#[test]
fn what_pieces_execute_or_fork_begins_with_default_actions() {
    run(command(&program("unit"), &["executed"]))
        .assert_said("in a piece: hhhhh\nexecuted: ddddd\nforked and executed: ddddd\nforked: ended by 15\n");
}

#[test]
fn handlers_of_hooks_stay() {
    run(command(&program("unit"), &["own-handler"])).assert_said("own: Ok([(true, true)])\n");
}

#[test]
fn signals_by_the_thousand_disturb_nothing() {
    run(command(&program("unit"), &["storm"])).assert_said("right: true\n");
}
