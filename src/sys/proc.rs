//! What /proc tells about processes, and the one setting that is made through it.
//!
//! /proc may be missing, hidden or another namespace's: each answer can be `None`, and nothing that
//! must hold depends on it.

use super::may_sleep::assert_may_sleep;
use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// The text of a file of /proc, from its beginning. Such a file gives all that it has room for in one read; what is longer
/// than the buffer is cut off. Nothing is allocated.
pub(super) fn text_of(file: impl AsFd, buffer: &mut [u8]) -> Option<&str> {
    let length = rustix::io::pread(file, &mut *buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..length]).ok()
}

/// The number of bytes in the line that begins with `name`, in a text that counts in kB.
pub(super) fn bytes_in(text: &str, name: &str) -> Option<u64> {
    let kilobytes: u64 =
        text.lines().find_map(|line| line.strip_prefix(name))?.strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The writable memory of this process that is its own, but for its first thread's stack: what `RLIMIT_DATA` limits.
pub(crate) fn own_data_bytes() -> Option<u64> {
    assert_may_sleep();
    bytes_in(&std::fs::read_to_string("/proc/self/status").ok()?, "VmData:")
}

/// How many threads this process has; `None` where /proc cannot tell.
pub(crate) fn thread_count() -> Option<usize> {
    assert_may_sleep();
    // The folder has a link for each thread beside its own two: one system call, where the file below takes
    // several. Not every system that has a /proc counts the links.
    if rustix::fs::stat("/proc/self/task").is_ok_and(|folder| folder.st_nlink == 3) {
        return Some(1);
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Stopped, as by SIGSTOP.
    Stopped,
    /// Stopped by a debugger.
    Traced,
    /// It waits for an event, which may never come.
    Sleeps,
    /// It waits for the kernel to finish something (as for a disk), and no signal interrupts that.
    Blocked,
    /// It computes, or waits for a core.
    Works,
}

/// What a process does at this moment, and the processor time that it has used in nanoseconds; `None` where /proc cannot
/// tell.
///
/// A process's number need not be its number in /proc: that may be the one of another pid namespace (`unshare -pf`), where
/// our numbers are those of other processes. So the number is asked of /proc itself, for the pidfd.
pub(crate) fn look(pidfd: impl AsFd) -> Option<(State, u64)> {
    assert_may_sleep();
    let number = number_of(&pidfd)?;
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // It has not ended meanwhile, so the number was not another process's.
    (number_of(&pidfd) == Some(number)).then(|| state_in(&stat))?
}

/// The number of a pidfd's process in the namespace of /proc; `None` if it has none there, or has ended.
pub(super) fn number_of(pidfd: &impl AsFd) -> Option<u32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd())).ok()?;
    let number = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (number > 0).then_some(number)
}

/// State and processor time in the text of a `stat` file. They stand behind the name, which may contain anything.
fn state_in(stat: &str) -> Option<(State, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = match fields.next()? {
        "T" => State::Stopped,
        "t" => State::Traced,
        "S" => State::Sleeps,
        "D" => State::Blocked,
        _ => State::Works,
    };
    // Ten fields lie between the state and the two times, that of its own code and that of the kernel for it.
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some((state, (user + kernel).saturating_mul(1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))))
}

/// The signals that a process handles, ignores or blocks, as bits: that of signal 1 is the lowest. `None` where /proc cannot
/// tell, or is another namespace's, where the number stands for another process.
///
/// A signal handler may call it: it makes only system calls, allocates nothing and takes no lock.
pub(crate) fn signals_that_do_not_end(pid: i32) -> Option<u64> {
    let mut own = [MaybeUninit::uninit(); 16];
    let (own, _) = rustix::fs::readlinkat_raw(rustix::fs::CWD, c"/proc/self", &mut own[..]).ok()?;
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    if std::str::from_utf8(own).ok()?.parse() != Ok(own_pid) {
        return None;
    }
    let mut path = [0; 40];
    write!(&mut path[..], "/proc/{pid}/status\0").ok()?;
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let (mut sets, mut part) = (SignalSets::default(), [0; 512]);
    loop {
        match rustix::io::read(&file, &mut part) {
            Ok(0) => return sets.all(),
            Ok(bytes) => sets.read(&part[..bytes]),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// The sets of signals in the text of a `status` file, which comes in parts.
#[derive(Default)]
struct SignalSets {
    /// The beginning of the line that is being read, and how long the line is so far.
    line: [u8; SignalSets::LINE_BYTES],
    length: usize,
    signals: u64,
    found: usize,
}

impl SignalSets {
    /// Blocked, ignored, caught.
    const NAMES: [&[u8]; 3] = [b"SigBlk:\t", b"SigIgn:\t", b"SigCgt:\t"];

    /// A name and 16 digits.
    const LINE_BYTES: usize = 24;

    fn read(&mut self, text: &[u8]) {
        for &byte in text {
            if byte == b'\n' {
                self.end_line();
                self.length = 0;
                continue;
            }
            if let Some(place) = self.line.get_mut(self.length) {
                *place = byte;
            }
            self.length += 1;
        }
    }

    fn end_line(&mut self) {
        if self.length != Self::LINE_BYTES {
            return;
        }
        let (name, digits) = self.line.split_at(8);
        let digits = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
        if let Some(set) = digits.filter(|_| Self::NAMES.contains(&name)) {
            self.signals |= set;
            self.found += 1;
        }
    }

    /// All of them together, if all three were there.
    fn all(&self) -> Option<u64> {
        (self.found == Self::NAMES.len()).then_some(self.signals)
    }
}

/// When this process was started, in nanoseconds since the start of the machine (`boot_time_ns` in `raw.rs`).
pub(crate) fn start_ns() -> Option<u64> {
    assert_may_sleep();
    start_in(&std::fs::read_to_string("/proc/self/stat").ok()?, rustix::param::clock_ticks_per_second())
}

/// The start of a process in nanoseconds since that of the machine, in the text of a `stat` file: its field 22, in ticks.
fn start_in(stat: &str, ticks_per_second: u64) -> Option<u64> {
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    Some((u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second.max(1))) as u64)
}

/// Makes the out-of-memory killer prefer this process to the one that it works for, from which it has its score. Without
/// /proc, the kernel's own measure decides.
pub(crate) fn prefer_for_oom_kill() {
    assert_may_sleep();
    let path = "/proc/self/oom_score_adj";
    let own = std::fs::read_to_string(path).ok().and_then(|own| own.trim().parse().ok());
    if let Some(more) = own.and_then(preferred_oom_score) {
        let _ = std::fs::write(path, more.to_string());
    }
}

/// A score that is higher by half of the range, or the highest one. `None` if the process has that.
fn preferred_oom_score(own: i32) -> Option<i32> {
    let more = own.saturating_add(500).min(1000);
    (more > own).then_some(more)
}

/// Where the mapping of this process that contains `address` ends.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn mapping_end(address: usize) -> Option<usize> {
    assert_may_sleep();
    let maps = std::io::BufReader::new(std::fs::File::open("/proc/self/maps").ok()?);
    super::maps::find(maps, address as u64, |mapping| mapping.range.end as usize).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_of_a_process_are_read_in_parts_of_any_length() {
        let text = "Name:\tSigCgt:\nGroups:\t1 2 3 4 5 6 7 8 9 10 11 12 13 14\nShdPnd:\tffffffffffffffff\n\
                    SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t8000000000000200\nCapInh:\tf\n";
        for length in 1..=text.len() {
            let mut sets = SignalSets::default();
            text.as_bytes().chunks(length).for_each(|part| sets.read(part));
            assert_eq!(sets.all(), Some(0x8000_0000_0000_1201), "parts of {length}");
        }
        for text in
            ["", "SigCgt:\t0000000000000000\n", &text.replace("SigIgn", "SigIgm"), &text.replace("0000200", "0000x00")]
        {
            let mut sets = SignalSets::default();
            sets.read(text.as_bytes());
            assert_eq!(sets.all(), None, "{text:?}");
        }
    }

    /// std ignores SIGPIPE at the start of `main`.
    #[test]
    fn this_process_ignores_sigpipe_and_nothing_is_known_of_no_process() {
        let own = signals_that_do_not_end(std::process::id() as i32);
        assert_eq!(own.map(|signals| signals >> (libc::SIGPIPE - 1) & 1), Some(1));
        assert_eq!(signals_that_do_not_end(i32::MAX), None);
    }

    /// 500 was written whatever the parent had: with 900 there, the kernel would have killed the parent first.
    #[test]
    fn a_worker_is_killed_before_its_parent_whatever_score_that_has() {
        for (own, expected) in
            [(-1000, Some(-500)), (0, Some(500)), (500, Some(1000)), (900, Some(1000)), (1000, None), (i32::MAX, None)]
        {
            assert_eq!(preferred_oom_score(own), expected, "{own}");
        }
    }

    #[test]
    fn the_state_follows_the_name() {
        let rest = "1 2 3 4 5 6 7 8 9 10 30 4 0 0";
        for (start, expected) in [
            ("7 (name) T", Some(State::Stopped)),
            ("7 (name) t", Some(State::Traced)),
            ("7 (a) T) S", Some(State::Sleeps)),
            ("7 (name) R", Some(State::Works)),
            ("7 (name) D", Some(State::Blocked)),
            ("7 (name)", None),
            ("7", None),
            ("", None),
        ] {
            let stat = format!("{start} {rest}");
            let ticks = 34 * (1_000_000_000 / rustix::param::clock_ticks_per_second());
            let expected = expected.map(|state| (state, ticks));
            let found = state_in(&stat);
            assert!(found == expected || expected.is_none() && found.is_none_or(|it| it.0 == State::Works), "{stat:?}");
        }
        assert_eq!(state_in("7 (name) R 1 2"), None);
    }

    #[test]
    fn a_process_is_found_by_its_descriptor() {
        let own = crate::sys::process::own_pidfd().unwrap();
        assert_eq!(number_of(&own), Some(std::process::id()));
        // This thread runs, but the state is that of the process's first thread.
        assert!(look(&own).is_some());
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = crate::sys::process::pidfd_of(pid).unwrap();
        crate::sys::process::kill(&pidfd).unwrap();
        child.wait().unwrap();
        assert_eq!((number_of(&pidfd), look(&pidfd)), (None, None), "it is gone");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(number_of(&file), None, "no process");
    }

    #[test]
    fn the_start_is_the_field_of_its_number() {
        let stat = |name: &str, start: &str| format!("7 ({name}) S {} {start} 99 98", ["1"; 18].join(" "));
        for (text, expected) in [
            (stat("name", "250"), Some(2_500_000_000)),
            (stat("a) S 1 (b", "250"), Some(2_500_000_000)),
            (stat("name", "x"), None),
            ("7 (name) S 1".to_string(), None),
        ] {
            assert_eq!(start_in(&text, 100), expected, "{text:?}");
        }
    }
}
