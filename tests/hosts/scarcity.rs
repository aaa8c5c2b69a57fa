//! Hosts that lack something: descriptors, processes, memory, file size, system calls, /proc. A pool works or reports what
//! it lacks. It never hangs and is never left half made. The fault numbers are those of CASES.md.

use crate::run::{command, program, run, skipped};

/// Runs the program `limited` in a situation. False if the system does not allow that situation.
#[track_caller]
fn check(situation: &[&str], said: &str) -> bool {
    let outcome = run(command(&program("limited"), situation));
    if let Some(why) = outcome.find("skipped") {
        skipped(&situation.join(" "), why);
        return false;
    }
    outcome.assert_said(said);
    true
}

/// Fault 31: with each limit a pool works or is refused. Nothing is left of a refused pool.
#[test]
fn with_few_descriptors_a_pool_works_or_says_so() {
    check(&["descriptors"], "both: true\n");
}

/// Fault 31.
#[test]
fn a_pool_outlives_the_want_of_descriptors() {
    check(&["descriptors-later"], "without descriptors: well\nwith descriptors again: well\n");
}

/// Fault 32.
#[test]
fn with_few_processes_a_pool_works_or_says_so() {
    check(&["processes"], "both: true\n");
}

/// Fault 32.
#[test]
fn a_pool_runs_with_fewer_workers_where_no_more_can_be_had() {
    check(&["processes-later"], "some: true\n");
}

/// Fault 32.
#[test]
fn pieces_fail_where_no_worker_can_be_had_at_all() {
    let told = "System: for 2s no worker could be started: it could not be forked: Resource temporarily unavailable \
                (os error 11)\n";
    check(&["no-processes"], &told.repeat(2));
}

/// Fault 33.
#[test]
fn with_little_memory_a_pool_works_or_says_so() {
    check(&["address-space"], "both: true\n");
}

/// Fault 34: without a check SIGXFSZ would kill the program.
#[test]
fn a_limit_of_file_size_is_told() {
    // The first that a pool makes is its status.
    let shared = "cannot make shared memory: ftruncate: File too large (os error 27)";
    check(&["file-size"], &format!("{shared}\nshared: {shared}\nbuilt: {shared}\nlater: true\n"));
}

/// Faults 20 and 37. Without /proc the program is started again by the descriptor that was opened while it was there.
#[test]
fn neither_proc_nor_dev_shm_is_needed() {
    check(&["bare"], "without /dev/shm: well\nwithout /proc: well\n");
}

/// Fault 36: system calls are forbidden as a sandbox does it.
#[test]
fn a_missing_system_call_is_named_or_not_needed() {
    let (missing, forbidden) = (libc::ENOSYS.to_string(), libc::EPERM.to_string());
    let unknown = "Function not implemented (os error 38)";
    let no = "Operation not permitted (os error 1)";
    for (call, errno, said) in [
        ("memfd_create", &missing, format!("Unsupported: cannot make shared memory: memfd_create: {unknown}")),
        ("memfd_create", &forbidden, format!("System: cannot make shared memory: memfd_create: {no}")),
        (
            "pidfd_open",
            &missing,
            format!("Unsupported: cannot open a pidfd of this process (pidfd_open, in Linux 5.3 or later): {unknown}"),
        ),
        ("eventfd2", &missing, format!("Unsupported: cannot make an eventfd: {unknown}")),
        ("socketpair", &forbidden, format!("System: cannot make the socket to the fork server: {no}")),
        ("getrandom", &missing, format!("Unsupported: cannot get random numbers: {unknown}")),
        ("clone", &forbidden, format!("System: cannot start this program once more as fork server: {no}")),
        ("execveat", &forbidden, format!("System: cannot start this program once more as fork server: {no}")),
        ("fallocate", &missing, "well".to_string()),
        ("fallocate", &forbidden, "well".to_string()),
        ("close_range", &missing, "well".to_string()),
        ("prctl", &missing, "well".to_string()),
        ("prctl", &forbidden, "well".to_string()),
        ("madvise", &missing, "well".to_string()),
        ("setpgid", &forbidden, "well".to_string()),
    ] {
        // What is shared needs the memory alone.
        let shared = if call == "memfd_create" { &said } else { "a text" };
        if !check(&["without-call", call, errno], &format!("{said}\nshared: {shared}\n")) {
            return;
        }
    }
}
