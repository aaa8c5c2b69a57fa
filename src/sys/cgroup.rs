//! The control groups of this process: how much memory they allow, how much of it is left, and whether the kernel has
//! killed a process in them because memory ran out.
//!
//! A process is in one group for memory. That group lies in another, and so on up to the root, and the limit of each of
//! them holds. The kernel shows groups in two versions, as folders below a mount. A system can have both (hybrid); the files
//! of memory are then in one of them. A container may show only a part: its mount begins at a group that is not the
//! root, or /proc/self/cgroup names a group that no mount shows. Then its mount's first folder counts as the own group.
//!
//! Each answer can be `None`, and nothing that must hold depends on it.

use super::may_sleep::assert_may_sleep;
use super::raw::Published;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    const ALL: [Version; 2] = [Version::One, Version::Two];

    /// The files with limits. Above `memory.high` the kernel slows the processes down until they use less, so it counts as a
    /// limit too.
    fn limits(self) -> &'static [&'static str] {
        match self {
            Version::One => &["memory.limit_in_bytes"],
            Version::Two => &["memory.max", "memory.high"],
        }
    }

    /// The file that says how much is used.
    fn usage(self) -> &'static str {
        match self {
            Version::One => "memory.usage_in_bytes",
            Version::Two => "memory.current",
        }
    }

    /// The line of `memory.stat` with the files that were read or written once and not lately, in this group and those
    /// below it. The kernel frees their memory first, and at no cost.
    fn inactive_files(self) -> &'static str {
        match self {
            Version::One => "total_inactive_file ",
            Version::Two => "inactive_file ",
        }
    }

    /// The file that counts the processes that were killed because memory ran out. In version two a group's count contains
    /// those of the groups below it.
    fn kills(self) -> &'static str {
        match self {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        }
    }
}

/// The least limit of this process's group and of those above it. A limit that stands for none is more than any machine
/// has.
pub(crate) fn limit_bytes() -> Option<u64> {
    assert_may_sleep();
    limit_of(&own_groups())
}

/// The least that one of these groups leaves to its processes. Limits of `machine_bytes` or more are left out: the machine's
/// own memory ends before.
pub(crate) fn available_bytes(machine_bytes: u64) -> Option<u64> {
    assert_may_sleep();
    available_of(&own_groups(), machine_bytes)
}

fn limit_of(groups: &[Group]) -> Option<u64> {
    groups.iter().flat_map(Group::levels).filter_map(|level| level.limit_bytes()).min()
}

fn available_of(groups: &[Group], machine_bytes: u64) -> Option<u64> {
    groups.iter().flat_map(Group::levels).filter_map(|level| level.available_bytes(machine_bytes)).min()
}

/// Where the kernel counts the processes that it has killed because memory ran out: for each control group, and for the
/// whole machine.
///
/// A count says that a process of the group was killed, not which one. So it is read only when a process
/// of ours died by SIGKILL and we did not send that signal.
#[derive(Debug, Default)]
pub(crate) struct MemoryKills {
    path: Option<PathBuf>,
}

impl MemoryKills {
    /// The count of this process's control group, or the machine's if the group has none.
    pub(crate) fn watch() -> Self {
        assert_may_sleep();
        let mut paths = kill_counts(&own_groups()).into_iter().chain([PathBuf::from("/proc/vmstat")]);
        let counts = |path: &PathBuf| std::fs::read_to_string(path).ok().and_then(|text| kills_in(&text)).is_some();
        MemoryKills { path: paths.find(counts) }
    }

    /// The count now; `None` where the kernel does not tell.
    pub(crate) fn read(&self) -> Option<u64> {
        assert_may_sleep();
        kills_in(&std::fs::read_to_string(self.path.as_ref()?).ok()?)
    }
}

/// The files that may have the count of a process's groups, the best one first.
fn kill_counts(groups: &[Group]) -> Vec<PathBuf> {
    groups.iter().flat_map(Group::levels).map(|level| level.folder.join(level.version.kills())).collect()
}

/// The count in the text of such a file: it follows the same word in all of them.
fn kills_in(text: &str) -> Option<u64> {
    number_behind(text, "oom_kill ")
}

/// The number of the line that begins with `name`.
fn number_behind(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// A place where groups are shown.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The group that the mount's first folder shows.
    shows: PathBuf,
    folder: PathBuf,
}

impl Mount {
    /// The folder of a group; `None` if this mount does not show it.
    fn folder_of(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.shows).ok()?;
        if below.as_os_str().is_empty() {
            return Some(self.folder.clone());
        }
        // With `..` the group lies above what this process may see (a cgroup namespace).
        let is_below = below.components().all(|part| matches!(part, Component::Normal(_)));
        let folder = self.folder.join(below);
        (is_below && folder.is_dir()).then_some(folder)
    }
}

/// The group of this process in one version.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    folder: PathBuf,
    /// The first folder of the mount: no group above it is shown.
    top: PathBuf,
}

impl Group {
    /// The group itself and those above it.
    fn levels(&self) -> impl Iterator<Item = Level<'_>> {
        let folders = self.folder.ancestors().take_while(|folder| folder.starts_with(&self.top));
        folders.map(|folder| Level { version: self.version, folder })
    }
}

struct Level<'a> {
    version: Version,
    folder: &'a Path,
}

impl Level<'_> {
    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join(file)).ok()
    }

    /// `None` where there is no limit (`max`), or no such file: the root of version two has none, nor has a group in which
    /// memory is not limited.
    fn limit_bytes(&self) -> Option<u64> {
        self.version.limits().iter().filter_map(|file| self.read(file)?.trim().parse().ok()).min()
    }

    fn available_bytes(&self, machine_bytes: u64) -> Option<u64> {
        let limit = self.limit_bytes().filter(|limit| *limit < machine_bytes)?;
        let used: u64 = self.read(self.version.usage()).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let statistics = self.read("memory.stat").unwrap_or_default();
        let inactive = number_behind(&statistics, self.version.inactive_files()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(inactive)))
    }
}

fn own_groups() -> Vec<Group> {
    // A process may be moved to another group at any time.
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups_in(&groups, mounts())
}

/// The mounts of this process. They stay where they are, and a machine with many containers has thousands of others, so the
/// list is read once.
fn mounts() -> &'static [Mount] {
    static MOUNTS: Published<Vec<Mount>> = Published::new();
    MOUNTS.get().unwrap_or_else(|| {
        let list = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        MOUNTS.publish(None, mounts_in(&String::from_utf8_lossy(&list), Path::new("/")))
    })
}

/// The groups of a process. `groups` is its list of them, the text of /proc/self/cgroup.
fn groups_in(groups: &str, mounts: &[Mount]) -> Vec<Group> {
    let group_of = |version| {
        let path = path_in(groups, version)?;
        let mut of_version = mounts.iter().filter(|mount| mount.version == version).peekable();
        let first = *of_version.peek()?;
        let shown = of_version.find_map(|mount| Some((mount.folder_of(path)?, mount)));
        let (folder, mount) = shown.unwrap_or_else(|| (first.folder.clone(), first));
        Some(Group { version, folder, top: mount.folder.clone() })
    };
    Version::ALL.into_iter().filter_map(group_of).collect()
}

/// The path of the group for memory: the third part of a line, which can contain colons.
fn path_in(groups: &str, version: Version) -> Option<&Path> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let is_this = match version {
            Version::One => controllers.split(',').any(|controller| controller == "memory"),
            Version::Two => controllers.is_empty(),
        };
        is_this.then(|| Path::new(path))
    })
}

/// The mounts that show groups for memory, or those that most systems have. `list` is the text of /proc/self/mountinfo, and
/// `root` the folder for `/`.
fn mounts_in(list: &str, root: &Path) -> Vec<Mount> {
    let in_root = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let usual =
        |version, folder: &str| Mount { version, shows: PathBuf::from("/"), folder: in_root(Path::new(folder)) };
    let mut mounts: Vec<Mount> = list.lines().filter_map(|line| mount_in(line, in_root)).collect();
    if mounts.is_empty() {
        mounts = vec![usual(Version::One, "/sys/fs/cgroup/memory"), usual(Version::Two, "/sys/fs/cgroup")];
    }
    mounts
}

/// The mount in a line, if it is one of these. The fourth field is what it shows, the fifth its folder; a lone dash stands
/// before the type.
fn mount_in(line: &str, in_root: impl Fn(&Path) -> PathBuf) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
    let version = match (kind.next()?, kind.nth(1)?) {
        ("cgroup2", _) => Version::Two,
        ("cgroup", options) if options.split(',').any(|option| option == "memory") => Version::One,
        _ => return None,
    };
    let (shows, folder) = (unescaped(place.next()?), unescaped(place.next()?));
    Some(Mount { version, shows, folder: in_root(&folder) })
}

/// A path as it is. In the list a space, a tabulator, a line feed and a backslash are written as a backslash and three octal
/// digits.
fn unescaped(path: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let [first, behind @ ..] = rest {
        let digits = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[3..] } else { behind };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;
