//! The processes of a job, as its worker sees them: waiting with a limit, and ending them all.
//!
//! A worker is the subreaper of its jobs, so whatever a job leaves behind becomes the worker's own child. That tells whether a
//! job has left anything, and a job that ran too long ends with all its processes, also those that left its group.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags, Signal, WaitOptions};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// A job that ran too long has this time between SIGTERM and SIGKILL, as GNU parallel gives it at first.
const TERM_GRACE: Duration = Duration::from_millis(200);

/// A process that is killed ends at once, unless it waits for a disk. Nobody waits longer for that.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// Nobody waits longer: about 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Processes end while they are looked at, so a line of parents may lead anywhere. No job is deeper.
const MAX_DEPTH: usize = 1000;

/// Makes this process the parent of what its jobs leave behind.
pub fn adopt() -> io::Result<()> {
    Ok(process::set_child_subreaper(Some(process::getpid()))?)
}

/// Waits for a job for at most that long. `None` if it was not over by then, and had to be ended.
pub fn wait(child: &mut Child, limit: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let Some(limit) = limit else { return child.wait().map(Some) };
    if has_ended(child, limit)? {
        return child.wait().map(Some);
    }
    signal_all(Signal::TERM);
    has_ended(child, TERM_GRACE)?;
    end_all();
    // After `end_all` there is nothing left to wait for, unless it gave up.
    let _ = child.try_wait();
    Ok(None)
}

/// Reaps what ended, and says whether anything of a job is left.
pub fn are_left() -> bool {
    loop {
        match process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn has_ended(child: &Child, limit: Duration) -> io::Result<bool> {
    let pid = Pid::from_child(child);
    let pidfd = process::pidfd_open(pid, PidfdFlags::empty())?;
    // A limit that the clock cannot hold is none.
    let deadline = Instant::now().checked_add(limit).unwrap_or_else(|| Instant::now() + LONGEST);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut sockets = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut sockets, Some(&timespec(left))) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) }
}

/// Kills until nothing is left: what is killed may have started more.
fn end_all() {
    let deadline = Instant::now() + KILL_PATIENCE;
    while are_left() && Instant::now() < deadline {
        signal_all(Signal::KILL);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal_all(signal: Signal) {
    for pid in descendants(std::process::id()) {
        let Some(pid) = Pid::from_raw(pid.cast_signed()) else { continue };
        // The descriptor holds the process, so that the number cannot be another's once it is looked at again.
        let Ok(pidfd) = process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if is_below(pid.as_raw_nonzero().get().cast_unsigned(), std::process::id()) {
            let _ = process::pidfd_send_signal(&pidfd, signal);
        }
    }
}

/// All processes below one.
fn descendants(ancestor: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&ancestor).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next]).unwrap_or_default());
        next += 1;
    }
    found
}

fn is_below(pid: u32, ancestor: u32) -> bool {
    let line = std::iter::successors(parent(pid), |&pid| parent(pid).filter(|_| pid > 1));
    line.take(MAX_DEPTH).any(|pid| pid == ancestor)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    fields.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{descendants, is_below};
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn children_and_their_children_are_found() {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "sh -c 'echo $$; read line; :'; :"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let own = std::process::id();
        assert!(descendants(own).contains(&child.id()) && descendants(own).contains(&grandchild));
        assert_eq!(descendants(child.id()), [grandchild]);
        for (pid, ancestor, expected) in [
            (grandchild, own, true),
            (child.id(), own, true),
            (own, child.id(), false),
            (own, own, false),
            (1, own, false),
        ] {
            assert_eq!(is_below(pid, ancestor), expected, "{pid} below {ancestor}");
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
