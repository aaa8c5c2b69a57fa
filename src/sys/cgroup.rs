//! Whether the kernel has killed a process because memory ran out. It counts such kills for each control
//! group and for the whole machine.
//!
//! A count says that a process of the group was killed, not which one. So it is read only when a process
//! of ours died by SIGKILL and we did not send that signal.

use super::may_sleep::assert_may_sleep;
use std::path::PathBuf;

/// Where the kernel counts such kills.
#[derive(Debug, Default)]
pub(crate) struct MemoryKills {
    path: Option<PathBuf>,
}

impl MemoryKills {
    /// The count of this process's control group, or the machine's if the group has none.
    pub(crate) fn watch() -> Self {
        assert_may_sleep();
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut paths = candidates(&groups).into_iter().chain([PathBuf::from("/proc/vmstat")]);
        let counts = |path: &PathBuf| std::fs::read_to_string(path).ok().and_then(|text| count(&text)).is_some();
        MemoryKills { path: paths.find(counts) }
    }

    /// The count now; `None` where the kernel does not tell.
    pub(crate) fn read(&self) -> Option<u64> {
        assert_may_sleep();
        count(&std::fs::read_to_string(self.path.as_ref()?).ok()?)
    }
}

/// The files with the counts of a process's control groups. `groups` is its list of them, the text of
/// /proc/self/cgroup.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let parts = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?.trim_start_matches('/')))
    });
    let paths = parts.filter_map(|(controllers, path)| match controllers {
        "" => Some(PathBuf::from("/sys/fs/cgroup").join(path).join("memory.events")),
        "memory" => Some(PathBuf::from("/sys/fs/cgroup/memory").join(path).join("memory.oom_control")),
        _ => None,
    });
    paths.collect()
}

/// The count in the text of such a file: it follows the same word in all of them.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_each_kind_of_file() {
        for (text, expected) in [
            ("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n", Some(2)),
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", Some(7)),
            ("nr_free_pages 1\noom_kill 0\n", Some(0)),
            ("oom_kill_disable 0\nunder_oom 0\n", None),
            ("oom_kill many\n", None),
            ("", None),
        ] {
            assert_eq!(count(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_paths_follow_from_the_list_of_groups() {
        let paths = |groups| candidates(groups).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(paths("0::/user.slice/a\n"), ["/sys/fs/cgroup/user.slice/a/memory.events"]);
        assert_eq!(paths("9:name=systemd:/\n4:memory:/a/b\n"), ["/sys/fs/cgroup/memory/a/b/memory.oom_control"]);
        assert_eq!(paths("nonsense\n1:\n::\n"), ["/sys/fs/cgroup/memory.events"]);
        assert!(paths("").is_empty());
    }
}
