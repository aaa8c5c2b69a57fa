//! What /proc tells about processes, and the one setting that is made through it.
//!
//! /proc may be missing, hidden or another namespace's: each answer can be `None`, and nothing that
//! must hold depends on it.

use super::may_sleep::assert_may_sleep;
use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;
use std::io::Write;
use std::mem::MaybeUninit;

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
    /// Stopped, as by SIGSTOP, or under a debugger.
    Stopped,
    /// It waits for an event, which may never come.
    Sleeps,
    /// It computes, or waits for the kernel to finish something (as for a disk).
    Works,
}

/// What a process does at this moment; `None` where /proc cannot tell.
pub(crate) fn state(pid: u32) -> Option<State> {
    assert_may_sleep();
    state_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The state in the text of a `stat` file. It stands behind the name, which may contain anything.
fn state_in(stat: &str) -> Option<State> {
    Some(match stat.rsplit_once(')')?.1.trim_start().chars().next()? {
        'T' | 't' => State::Stopped,
        'S' => State::Sleeps,
        _ => State::Works,
    })
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

/// Makes the out-of-memory killer prefer this process to the one that it works for. Without /proc, the kernel's own
/// measure decides.
pub(crate) fn prefer_for_oom_kill() {
    assert_may_sleep();
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// Where the mapping of this process that contains `address` ends.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn mapping_end(address: usize) -> Option<usize> {
    assert_may_sleep();
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (start..end).contains(&address).then_some(end)
    })
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

    #[test]
    fn the_state_follows_the_name() {
        for (stat, expected) in [
            ("7 (name) T 1", Some(State::Stopped)),
            ("7 (name) t 1", Some(State::Stopped)),
            ("7 (a) T) S 1", Some(State::Sleeps)),
            ("7 (name) R 1", Some(State::Works)),
            ("7 (name) D 1", Some(State::Works)),
            ("7 (name) ", None),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(state_in(stat), expected, "{stat:?}");
        }
    }
}
