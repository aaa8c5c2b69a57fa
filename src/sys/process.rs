//! Processes: this one's own properties, and forking, watching, killing and reaping others.

use super::descriptors::above_standard_streams;
use super::may_sleep::assert_may_sleep;
use super::proc;
use super::raw::{self, Published};
use crate::sys::descriptors::Descriptor;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

pub(crate) use super::raw::{COutput, Forked, NotConfirmed, SingleThreaded, exit_now, flush_c_streams, fork};

use super::descriptors::wait_readable;

/// What tells a process from its ancestors: it is given to what a process owns, since a child that the process forks
/// inherits that.
///
/// | word    | written by                          | meaning                                            |
/// |---------|-------------------------------------|----------------------------------------------------|
/// | `own`   | its process, once; fork wipes it    | the number of this process, or 0: it has none yet  |
/// | `LAST`  | each process, before `own`          | the greatest number of this process and its ancestors, or more |
///
/// A process takes the number behind `LAST`, so no ancestor from which it could inherit has the same. It can be forked
/// between the two writes: the child then finds `own` wiped and takes a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(u32);

/// The word `own`; `None` where the kernel wipes no memory at a fork: then the process id is the number.
static OWN: Published<Option<&'static AtomicU32>> = Published::new();
static LAST: AtomicU32 = AtomicU32::new(0);

/// The number of this process: a load from memory, but for the first time.
#[inline]
pub(crate) fn number() -> Number {
    match OWN.get() {
        Some(Some(own)) => match own.load(Relaxed) {
            0 => take_number(own),
            number => Number(number),
        },
        Some(None) => Number(std::process::id()),
        None => first_number(),
    }
}

/// True in the process that has this number, and false in every child forked from it.
#[inline]
pub(crate) fn is_current(number: Number) -> bool {
    match OWN.get() {
        Some(Some(own)) => own.load(Relaxed) == number.0,
        _ => self::number() == number,
    }
}

/// True if an ancestor of this process may have been forked in the middle of a call of this crate.
pub(crate) fn may_be_forked() -> bool {
    number() != Number(1)
}

#[cold]
fn first_number() -> Number {
    match OWN.publish(None, raw::word_wiped_by_fork()) {
        Some(own) => take_number(own),
        None => Number(std::process::id()),
    }
}

#[cold]
fn take_number(own: &AtomicU32) -> Number {
    let next = LAST.load(Relaxed) + 1;
    LAST.fetch_max(next, Relaxed);
    // Another thread may have been first.
    Number(own.compare_exchange(0, next, Relaxed, Relaxed).map_or_else(|other| other, |_| next))
}

/// This process.
pub(crate) fn own_pid() -> Pid {
    rustix::process::getpid()
}

/// The namespace of processes of the process that is called so in /proc, as a number; 0 if that cannot be told.
pub(crate) fn namespace_of(process: &str) -> u64 {
    assert_may_sleep();
    std::fs::metadata(format!("/proc/{process}/ns/pid")).map_or(0, |told| told.ino())
}

/// True if this process is a child of `parent`, which has not ended then.
pub(crate) fn is_child_of(parent: Pid) -> bool {
    rustix::process::getppid() == Some(parent)
}

/// True if a program that this thread executes would be told to distrust its environment (AT_SECURE), as if it were
/// setuid: then it would ignore our marker and run its `main`.
pub(crate) fn would_be_distrusted() -> bool {
    let ([real_user, effective_user, _], [real_group, effective_group, _]) = (raw::user_ids(), raw::group_ids());
    real_user != effective_user || real_group != effective_group
}

/// The effective user and group of this thread.
pub(crate) fn user_and_group() -> (u32, u32) {
    let ([_, user, _], [_, group, _]) = (raw::user_ids(), raw::group_ids());
    (user, group)
}

/// True in the first thread of this process.
pub(crate) fn is_first_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Makes this process the leader of a new process group. Where a sandbox forbids that, it stays in its
/// parent's group.
pub(crate) fn lead_own_group() {
    let _ = rustix::process::setpgid(None, None);
}

/// Makes the kernel kill this process when the thread that forked it ends. Where a sandbox forbids that,
/// the fork server alone kills its workers.
pub(crate) fn end_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// Keeps this process, and what it starts, from gaining rights by an exec.
pub(crate) fn renounce_new_privileges() -> rustix::io::Result<()> {
    rustix::thread::set_no_new_privs(true)
}

/// Keeps this process, and what it starts, from leaving core files. Each process may lower its own limits; where a
/// sandbox forbids it, there may be core files.
pub(crate) fn leave_no_core_file() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    let none = rustix::process::Rlimit { current: Some(0), ..limit };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

/// Lets this process have at most this many bytes of writable memory beyond what it has now; gives its limit then. The kernel
/// counts what is reserved, touched or not. A lower limit that it has already stays.
pub(crate) fn limit_data(more_bytes: u64) -> Result<u64, String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let own = proc::own_data_bytes().ok_or("/proc/self/status does not tell how much memory this process has")?;
    let before = getrlimit(Resource::Data);
    let most = own.saturating_add(more_bytes);
    let lower = |limit: Option<u64>| limit.map_or(most, |limit| limit.min(most));
    let (current, maximum) = (lower(before.current), lower(before.maximum));
    let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
    setrlimit(Resource::Data, limit).map_err(|error| format!("RLIMIT_DATA cannot be set: {error}"))?;
    Ok(current)
}

/// Gives this process and all others of its group this niceness, with all their threads: libraries may have made some before `main`.
pub(crate) fn set_niceness(niceness: i32) -> Result<(), String> {
    let set = if rustix::process::getpgrp() == rustix::process::getpid() {
        rustix::process::setpriority_pgrp(None, niceness)
    } else {
        // A sandbox has refused a group of its own: the others of this one are the host's. So this thread alone.
        rustix::process::setpriority_process(None, niceness)
    };
    set.map_err(|error| refused_niceness(niceness, error))
}

/// Gives this thread a niceness that is lower than its own, until this is dropped.
pub(crate) struct Lowered {
    before: i32,
}

impl Lowered {
    /// `Ok(None)` if the thread's own is not higher, so that a process which it starts can take the other by itself.
    pub(crate) fn to(niceness: i32) -> Result<Option<Lowered>, String> {
        let before = rustix::process::getpriority_process(None).map_err(|error| refused_niceness(niceness, error))?;
        if niceness >= before {
            return Ok(None);
        }
        rustix::process::setpriority_process(None, niceness).map_err(|error| {
            format!(
                "{}: give {before} or more, which needs no rights, or leave nice out",
                refused_niceness(niceness, error)
            )
        })?;
        Ok(Some(Lowered { before }))
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        // A thread may always raise its own.
        let _ = rustix::process::setpriority_process(None, self.before);
    }
}

fn refused_niceness(niceness: i32, error: rustix::io::Errno) -> String {
    format!("a niceness of {niceness} cannot be had: {error}")
}

/// Names this thread, as `ps` and debuggers show it. Nothing depends on the name.
pub(crate) fn name_thread(name: &str) {
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Ends this process at once, and with it everything that it started and that has not left its group.
/// A signal handler may call it.
pub(crate) fn end_with_group() -> ! {
    if rustix::process::getpgrp() == rustix::process::getpid() {
        // If that is refused, this process still ends, and its workers by their parent-death signal.
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    exit_now(0)
}

/// A descriptor of this process that becomes readable when it is gone.
pub(crate) fn own_pidfd() -> rustix::io::Result<Descriptor> {
    pidfd_of(own_pid())
}

/// The pidfd of a child that is not reaped yet, or of this process.
pub(crate) fn pidfd_of(pid: Pid) -> rustix::io::Result<Descriptor> {
    assert_may_sleep();
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).and_then(above_standard_streams)
}

/// Kills the process of a pidfd; if it has ended already, that is no error. It is refused where this process has
/// fewer rights than that one, or a sandbox forbids it: then that process lives on.
pub(crate) fn kill(pidfd: impl AsFd) -> rustix::io::Result<()> {
    unless_gone(rustix::process::pidfd_send_signal(pidfd, Signal::KILL))
}

/// Continues the process of a pidfd if it is stopped; a process that runs does not notice. It may be refused, as a
/// kill.
pub(crate) fn resume(pidfd: impl AsFd) -> rustix::io::Result<()> {
    unless_gone(rustix::process::pidfd_send_signal(pidfd, Signal::CONT))
}

/// Kills a process, and before it what it has started and what has not left its group, if it leads one. `number` is its own here.
pub(crate) fn kill_with_group(number: u32, pidfd: impl AsFd) -> rustix::io::Result<()> {
    let leader = i32::try_from(number).ok().and_then(Pid::from_raw);
    // Once it is stopped it does not end by itself, so its number stays its own. Where a sandbox has let it lead no group, it is in this
    // process's.
    if let Some(leader) = leader
        && rustix::process::pidfd_send_signal(&pidfd, Signal::STOP).is_ok()
        && !has_ended(&pidfd, Duration::ZERO)
        && rustix::process::getpgid(Some(leader)) == Ok(leader)
    {
        let _ = kill_group(leader);
    }
    kill(pidfd)
}

/// Kills every process of a group whose leader is not reaped yet. It is refused if none of them can be killed.
pub(crate) fn kill_group(leader: Pid) -> rustix::io::Result<()> {
    unless_gone(rustix::process::kill_process_group(leader, Signal::KILL))
}

/// Kills a child that is not reaped yet, in one of three ways: a sandbox may know only the older calls. The error is
/// that of the first.
pub(crate) fn kill_child(child: Pid, pidfd: impl AsFd) -> rustix::io::Result<()> {
    kill(pidfd).or_else(|refused| {
        let by_number = unless_gone(rustix::process::kill_process(child, Signal::KILL));
        by_number.or_else(|_| kill_group(child)).map_err(|_| refused)
    })
}

/// Nobody needs a signal any more who has ended.
fn unless_gone(sent: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match sent {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => other,
    }
}

/// Kills a child and waits until it is gone. One that cannot be killed is left alone: it ends with this process.
pub(crate) fn kill_and_reap(pid: Pid) {
    assert_may_sleep();
    if unless_gone(rustix::process::kill_process(pid, Signal::KILL)).is_err() {
        return;
    }
    let wait = || rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    while wait().is_err_and(|error| error == rustix::io::Errno::INTR) {}
}

/// The number of the signal that nobody can block.
pub(crate) const SIGKILL: i32 = libc::SIGKILL;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Ending {
    Exit(i32),
    Signal(i32),
}

/// Reaps a child that has ended; `None` while it runs.
pub(crate) fn reap(pid: Pid) -> Option<Ending> {
    loop {
        match rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some((_, status))) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Some(Ending::Exit(code)),
                    (_, Some(signal)) => Some(Ending::Signal(signal)),
                    _ => None,
                };
            }
            Ok(None) => return None,
            // Code of the user's has reaped it, so how it ended is unknown.
            Err(_) => return Some(Ending::Exit(-1)),
        }
    }
}

/// The time that is left for several processes to end.
#[derive(Debug)]
pub(crate) struct LastWait {
    until: Instant,
}

impl LastWait {
    pub(crate) fn new(all: Duration) -> Self {
        LastWait { until: Instant::now() + all }
    }

    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// True if a pidfd's process has ended or ends within this time. With a time of zero it does not sleep.
pub(crate) fn has_ended(pidfd: impl AsFd, within: Duration) -> bool {
    wait_readable(&[pidfd.as_fd()], Some(within))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};

    /// A shell with a child, of which this is the pidfd; it leads a group, or is in that of the test.
    fn kill_shell(leads: bool) -> bool {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 >&- & echo $!; wait"]).stdout(Stdio::piped());
        if leads {
            command.process_group(0);
        }
        let mut shell = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let child = pidfd_of(Pid::from_raw(line.trim().parse().unwrap()).unwrap()).unwrap();
        let pidfd = pidfd_of(Pid::from_raw(shell.id() as i32).unwrap()).unwrap();
        kill_with_group(shell.id(), &pidfd).unwrap();
        assert_eq!(shell.wait().unwrap().signal(), Some(9));
        let is_gone = has_ended(&child, if leads { Duration::from_secs(60) } else { Duration::ZERO });
        kill(&child).unwrap();
        is_gone
    }

    #[test]
    fn a_process_is_killed_with_the_group_that_it_leads_and_no_other_group() {
        assert!(kill_shell(true), "what it started has ended");
        // This test lives.
        assert!(!kill_shell(false));
    }
}
