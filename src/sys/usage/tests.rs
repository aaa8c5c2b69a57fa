#![allow(unsafe_code)]

use super::*;
use crate::sys::may_sleep::LockHeld;
use crate::sys::process::{kill, own_pidfd, pidfd_of};
use crate::{Pool, Task};
use rustix::process::Pid;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

const MB: u64 = 1_000_000;

/// What the fork server has, so that each worker shares it until it writes there; and what a worker has for itself.
static INHERITED: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static OWN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn inherit() {
    *INHERITED.lock().unwrap() = vec![1; 50 * MB as usize];
}

/// A worker writes to what it shares, and takes more.
fn write(pool: &Pool, inherited: u64, own: u64) {
    let task: Task<()> = pool.task().unwrap();
    let write = |inherited: u64, own: u64| {
        INHERITED.lock().unwrap()[..inherited as usize].fill(2);
        OWN.lock().unwrap().extend(std::iter::repeat_n(3, own as usize));
    };
    task.run(write, inherited, own);
    task.get().unwrap();
}

/// Large pages can add two to each part.
#[track_caller]
fn assert_near(bytes: u64, expected: u64) {
    assert!(bytes.abs_diff(expected) < 4 * MB, "{bytes}, and not about {expected}");
}

#[test]
fn what_a_worker_shares_with_its_fork_server_is_not_its_own() {
    let pool = Pool::builder().workers(1).preload(inherit).build().unwrap();
    write(&pool, 0, 0);
    let pidfd = pidfd_of(Pid::from_raw(pool.stats().workers[0].pid.unwrap() as i32).unwrap()).unwrap();
    let usage = Usage::open(&pidfd, machine_swaps()).unwrap();
    let read = || (usage.anonymous_bytes().unwrap(), Private::read(&pidfd).unwrap().resident_bytes);
    let (all, own) = read();
    assert_near(all, 50 * MB);
    assert_near(own, 0);
    write(&pool, 10 * MB, 20 * MB);
    assert_near(read().0 - all, 20 * MB);
    assert_near(read().1 - own, 30 * MB);
    assert_eq!((usage.swapped_bytes(), Private::read(&pidfd).unwrap().swapped_bytes), (Some(0), 0));
}

#[test]
fn a_process_that_has_ended_has_no_memory() {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pidfd = pidfd_of(Pid::from_child(&child)).unwrap();
    let usage = Usage::open(&pidfd, true).unwrap();
    let anonymous = usage.anonymous_bytes().unwrap();
    assert!(anonymous > 0 && anonymous.is_multiple_of(rustix::param::page_size() as u64), "{anonymous}");
    assert_eq!(
        (usage.swapped_bytes(), Usage::open(&pidfd, machine_swaps()).unwrap().status.is_none()),
        (Some(0), !has_swap())
    );
    kill(&pidfd).unwrap();
    let gone = || {
        (
            usage.anonymous_bytes(),
            usage.swapped_bytes(),
            Private::read(&pidfd),
            Usage::open(&pidfd, machine_swaps()).is_none(),
        )
    };
    assert!(crate::sys::process::has_ended(&pidfd, std::time::Duration::from_secs(60)));
    assert_eq!(gone(), (None, None, None, true), "it is not reaped");
    child.wait().unwrap();
    assert_eq!(gone(), (None, None, None, true), "it is reaped");
    assert!(Usage::open(File::open("/dev/null").unwrap(), false).is_none(), "no process");
}

fn has_swap() -> bool {
    MemoryInfo::read().unwrap().swap_bytes > 0
}

#[test]
fn only_the_quick_reading_may_be_made_under_the_lock() {
    let own = own_pidfd().unwrap();
    let usage = Usage::open(&own, machine_swaps()).unwrap();
    let _held = LockHeld::new();
    assert!(usage.anonymous_bytes().unwrap() > 0);
    std::panic::catch_unwind(|| usage.swapped_bytes()).unwrap_err();
    std::panic::catch_unwind(|| Usage::open(&own, machine_swaps())).unwrap_err();
    std::panic::catch_unwind(|| Private::read(&own)).unwrap_err();
}

#[test]
fn another_file_under_the_number_is_not_read() {
    let usage = Usage::open(own_pidfd().unwrap(), true).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"9 8 7 6 5 4 3\nVmSwap: 9 kB\n").unwrap();
    for kept in [&usage.statm, usage.status.as_ref().unwrap()] {
        // SAFETY: no memory is touched. The number is only used by `usage`, which is built for this.
        assert!(unsafe { libc::dup2(file.as_raw_fd(), kept.as_raw_fd()) } >= 0);
    }
    assert_eq!((usage.anonymous_bytes(), usage.swapped_bytes()), (None, None));
    let numbers = [&usage.statm, usage.status.as_ref().unwrap()].map(AsRawFd::as_raw_fd);
    drop(usage);
    for number in numbers {
        // SAFETY: it is open, as `usage` does not close what is not its own, and nobody else knows it.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

/// The kernel has two threads that read one open file wait for each other. A sample once had the thread that holds the scheduler's
/// lock read a file that others read without it, and these may be without a core for long.
#[test]
fn who_holds_the_lock_does_not_wait_for_another_reader() {
    let usage = Usage::open(own_pidfd().unwrap(), false).unwrap();
    assert!(usage.bytes_at_once().is_some());
    let reading = usage.reading.lock().unwrap();
    assert_eq!(usage.bytes_at_once(), None);
    drop(reading);
    assert!(usage.bytes_at_once().is_some());
}

#[test]
fn each_kind_of_text_is_read() {
    for (text, expected) in [
        ("2000 300 100 50 0 400 0\n", Some(200)),
        ("2000 300 0 0 0 0 0\n", Some(300)),
        // The counters are read one after the other.
        ("2000 300 301 50 0 400 0\n", Some(0)),
        ("0 0 0 0 0 0 0\n", None),
        ("2000 300\n", None),
        ("2000 x 1\n", None),
        ("", None),
    ] {
        assert_eq!(anonymous_pages(text), expected, "{text:?}");
    }
    let rollup = |all: u64, part: u64, dirty: u64, swap: &str| {
        format!(
            "5581-7ffd ---p 00000000 00:00 0    [rollup]\nRss: 9 kB\nPss_Anon: {part} kB\nPss_File: 5 kB\n\
             Shared_Dirty: 7 kB\nPrivate_Dirty: {dirty} kB\nAnonymous: {all} kB\nAnonHugePages: 1 kB\n{swap}"
        )
    };
    for (all, part, dirty, swap, expected) in [
        // Nothing is shared: what is clean, as after it was swapped in, counts, and what is of files does not.
        (100, 100, 100, "Swap: 8 kB\nSwapPss: 4 kB\n", (100, 8)),
        (100, 100, 90, "", (100, 0)),
        (100, 100, 700, "", (100, 0)),
        // 40 of 100 are shared by two, by three and by forty.
        (100, 80, 60, "", (60, 0)),
        (100, 73, 60, "", (60, 0)),
        (100, 61, 60, "", (60, 0)),
        (100, 61, 700, "", (61, 0)),
        (100, 80, 3, "", (60, 0)),
        (100, 20, 3, "", (3, 0)),
        (0, 0, 0, "", (0, 0)),
    ] {
        let text = rollup(all, part, dirty, swap);
        let expected = Private { resident_bytes: expected.0 * 1024, swapped_bytes: expected.1 * 1024 };
        assert_eq!(private_in(&text), Some(expected), "{text}");
    }
    for line in ["Pss_Anon", "Private_Dirty", "Anonymous"] {
        assert_eq!(private_in(&rollup(1, 1, 1, "").replace(line, "Other")), None, "{line}");
    }
}
