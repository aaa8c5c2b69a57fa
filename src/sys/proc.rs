//! What /proc tells about processes, and the one setting that is made through it.
//!
//! /proc may be missing, hidden or another namespace's: each answer can be `None`, and nothing that
//! must hold depends on it.

use super::may_sleep::assert_may_sleep;

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
