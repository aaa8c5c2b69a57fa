//! What a process has left that has died: its fork server and workers, which end by themselves, but a moment later.
//!
//! They are told by the marker in their environment, as they were started with it, which names the process that they belong to. What a worker
//! started is in its process group, which the fork server kills before it ends.
//!
//! Invariant: a process that cannot be looked at, since it is another user's, does not count.

use super::launch::MARKER;
use super::may_sleep::assert_may_sleep;
use super::process;
use rustix::process::Pid;
use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, Instant};

/// No environment that is longer is read.
const MAX_ENVIRONMENT_BYTES: u64 = 4 << 20;

/// True if there is a process with this number, whatever it is, that has not ended: a zombie has.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    match process::pidfd_of(pid) {
        Ok(pidfd) => !process::has_ended(&pidfd, Duration::ZERO),
        Err(error) => error != rustix::io::Errno::SRCH,
    }
}

/// Waits until nothing is left of a process that has died. Gives what is left when the time is over.
pub(crate) fn await_end(dead: u32, within: Duration) -> Vec<u32> {
    await_ends(within, || processes_of(dead))
}

/// Waits until `find` finds no process. Gives what it finds when the time is over.
pub(crate) fn await_ends(within: Duration, find: impl Fn() -> Vec<u32>) -> Vec<u32> {
    assert_may_sleep();
    let deadline = Instant::now() + within;
    loop {
        let left = find();
        let Some(&first) = left.first() else { return left };
        // One after the other: the descriptor is readable once it has ended.
        let Some(pid) = i32::try_from(first).ok().and_then(Pid::from_raw) else { return left };
        let wait = deadline.saturating_duration_since(Instant::now());
        match process::pidfd_of(pid) {
            Ok(pidfd) if process::has_ended(&pidfd, wait) => {}
            // It has ended by now.
            Err(rustix::io::Errno::SRCH) => {}
            _ => return left,
        }
    }
}

/// The other processes that have a file open, by its device and inode.
pub(crate) fn holders_of(identity: (u64, u64)) -> Vec<u32> {
    assert_may_sleep();
    let has_it = |pid: &u32| {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.filter_map(|file| rustix::fs::stat(file.ok()?.path()).ok()).any(|it| (it.st_dev, it.st_ino) == identity)
    };
    other_pids().filter(has_it).collect()
}

fn other_pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| pid != std::process::id())
}

/// The processes that belong to a dead one: those that name it, and those that name one of these.
fn processes_of(dead: u32) -> Vec<u32> {
    let mut owned: Vec<(u32, u32)> = Vec::new();
    for pid in other_pids() {
        if let Some(owner) = environment_of(pid).as_deref().and_then(owner_in) {
            owned.push((pid, owner));
        }
    }
    let mut owners = BTreeSet::from([dead]);
    let mut found = Vec::new();
    // An executed worker names its fork server.
    for _ in 0..2 {
        for &(pid, owner) in &owned {
            if owners.contains(&owner) && !found.contains(&pid) {
                found.push(pid);
            }
        }
        owners.extend(&found);
    }
    found
}

/// The environment with which a process was started. That of a zombie is empty.
fn environment_of(pid: u32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(MAX_ENVIRONMENT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The process that a marker in this environment names: its last part, in every version.
fn owner_in(environment: &[u8]) -> Option<u32> {
    let name = MARKER.to_bytes();
    let mut entries = environment.split(|&byte| byte == 0);
    let marker = entries.find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))?;
    let (_, owner) = std::str::from_utf8(marker).ok()?.rsplit_once('/')?;
    owner.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_owner_is_the_last_part_of_the_marker() {
        for (environment, expected) in [
            (&b"A=1\0MULTICORE_FORK_SERVER=0.1.0/1/2/3/4127\0B=2\0"[..], Some(4127)),
            (b"MULTICORE_FORK_SERVER=9.9/77", Some(77)),
            (b"MULTICORE_FORK_SERVER=4127", None),
            (b"MULTICORE_FORK_SERVER=1/2/x", None),
            (b"MULTICORE_FORK_SERVERS=1/2/3\0MY_MULTICORE_FORK_SERVER=1/2/3", None),
            (b"", None),
        ] {
            assert_eq!(owner_in(environment), expected, "{}", String::from_utf8_lossy(environment));
        }
    }

    #[test]
    fn what_belongs_to_a_dead_process_is_waited_for_and_named() {
        let start = |owner: u32| {
            let marker = format!("0.0.0/1/2/3/{owner}");
            let mut command = Command::new("sleep");
            command.arg("600").env(MARKER.to_str().unwrap(), marker).stdout(Stdio::null()).spawn().unwrap()
        };
        // No process has such a number.
        let dead = u32::MAX - 7;
        let mut first = start(dead);
        let mut second = start(first.id());
        let mut other = start(dead - 1);
        let mut left = await_end(dead, Duration::ZERO);
        left.sort_unstable();
        let mut expected = [first.id(), second.id()];
        expected.sort_unstable();
        assert_eq!(left, expected);
        for child in [&mut first, &mut second] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(await_end(dead, Duration::from_secs(60)).is_empty());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn this_process_is_alive_and_one_that_was_reaped_is_not() {
        assert!(is_alive(std::process::id()));
        let mut child = Command::new("true").spawn().unwrap();
        // A zombie too.
        let pidfd = process::pidfd_of(Pid::from_child(&child)).unwrap();
        assert!(process::has_ended(&pidfd, Duration::from_secs(60)));
        assert!(!is_alive(child.id()));
        child.wait().unwrap();
        assert!(!is_alive(child.id()) && !is_alive(u32::MAX));
    }
}
