//! The rights of a process, as far as the kernel tells: how the host reads its own, and how a worker takes them.
//!
//! Credentials belong to a thread in the kernel. The C library's calls change those of all threads of a process, raw calls
//! (and those of capabilities and seccomp) those of one. What counts as the rights of the host are those of its first thread,
//! which /proc/self/status shows; where there is no /proc, those of the thread that reads.
//!
//! Invariant: after [`Rights::take`] has succeeded, this thread has these rights and no others. It reads them back.

use super::may_sleep::assert_may_sleep;
use super::raw;
use crate::sys::descriptors::Descriptor;
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

/// Rights that a process can give up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rights {
    /// The real user, the effective, the saved, and the one for files; the groups likewise.
    users: [u32; 4],
    groups: [u32; 4],
    supplementary: Vec<u32>,
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
    no_new_privileges: bool,
    /// The mode of seccomp; 0 is none.
    seccomp: u32,
    /// How many filters of seccomp; `None` where the kernel does not tell (before 5.9).
    filters: Option<u32>,
}

/// What a process must do to have the rights of another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) enum Need {
    /// It has them.
    Nothing,
    /// It takes them.
    Take(Rights),
    /// There is no way, for this reason.
    Impossible(String),
}

/// The file that tells the rights of this process. It is kept open, since a host may go into a root without /proc.
#[derive(Debug)]
pub(crate) struct RightsFile {
    /// The file, and the process that it is about: a descriptor that was closed behind our back may be another's now.
    file: Option<(Descriptor, u32)>,
}

const STATUS: &str = "/proc/self/status";

impl RightsFile {
    pub(crate) fn open() -> Self {
        assert_may_sleep();
        let file = std::fs::File::open(STATUS).ok().and_then(|file| {
            let file = super::descriptors::above_standard_streams(file.into()).ok()?;
            let process = process_of(&read_all(&file)?)?;
            Some((file, process))
        });
        RightsFile { file }
    }

    /// The rights of this process now.
    pub(crate) fn read(&self) -> Rights {
        assert_may_sleep();
        let kept = || {
            let (file, process) = self.file.as_ref()?;
            let status = read_all(file).filter(|status| process_of(status) == Some(*process))?;
            Rights::parse(&status)
        };
        kept().unwrap_or_else(Rights::of_this_process)
    }
}

/// The whole text of a file of /proc, from its beginning.
fn read_all(file: &Descriptor) -> Option<String> {
    // Enough for all but long lists of groups.
    let mut text = vec![0; 4096];
    let mut length = 0;
    loop {
        let count = rustix::io::pread(file, &mut text[length..], length as u64).ok()?;
        if count == 0 {
            text.truncate(length);
            return String::from_utf8(text).ok();
        }
        length += count;
        if length == text.len() {
            text.resize(2 * length, 0);
        }
    }
}

/// The value of a line of a status file.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn process_of(status: &str) -> Option<u32> {
    field(status, "Pid")?.parse().ok()
}

impl Rights {
    /// The rights of the first thread of this process; where /proc does not tell, those of this thread.
    pub(crate) fn of_this_process() -> Rights {
        assert_may_sleep();
        let told = std::fs::read_to_string(STATUS).ok().and_then(|status| Rights::parse(&status));
        told.unwrap_or_else(Rights::of_this_thread)
    }

    /// The rights in the text of a status file. Kernels that lack a field lack what it stands for.
    fn parse(status: &str) -> Option<Rights> {
        let ids = |name| -> Option<[u32; 4]> {
            let ids: Vec<u32> = field(status, name)?.split_whitespace().map_while(|id| id.parse().ok()).collect();
            ids.try_into().ok()
        };
        let set = |name| u64::from_str_radix(field(status, name)?, 16).ok();
        let number = |name| field(status, name)?.parse::<u32>().ok();
        Some(Rights {
            users: ids("Uid")?,
            groups: ids("Gid")?,
            supplementary: field(status, "Groups")?.split_whitespace().map_while(|id| id.parse().ok()).collect(),
            inheritable: set("CapInh")?,
            permitted: set("CapPrm")?,
            effective: set("CapEff")?,
            bounding: set("CapBnd")?,
            ambient: set("CapAmb").unwrap_or(0),
            no_new_privileges: number("NoNewPrivs") == Some(1),
            seccomp: number("Seccomp").unwrap_or(0),
            filters: number("Seccomp_filters"),
        })
    }

    /// The rights of this thread, asked one by one.
    fn of_this_thread() -> Rights {
        let (users, groups) = (raw::user_ids(), raw::group_ids());
        let sets = rustix::thread::capabilities(None);
        let set = |part: fn(&CapabilitySets) -> CapabilitySet| sets.as_ref().map_or(0, |sets| part(sets).bits());
        let each = |has: fn(CapabilitySet) -> rustix::io::Result<bool>| {
            (0..64).map(|number| 1 << number).filter(|&one| has(CapabilitySet::from_bits_retain(one)) == Ok(true)).sum()
        };
        Rights {
            users: [users[0], users[1], users[2], users[1]],
            groups: [groups[0], groups[1], groups[2], groups[1]],
            supplementary: rustix::process::getgroups()
                .map_or(Vec::new(), |groups| groups.iter().map(|group| group.as_raw()).collect()),
            inheritable: set(|sets| sets.inheritable),
            permitted: set(|sets| sets.permitted),
            effective: set(|sets| sets.effective),
            bounding: each(rustix::thread::capability_is_in_bounding_set),
            ambient: each(rustix::thread::capability_is_in_ambient_set),
            no_new_privileges: rustix::thread::no_new_privs() == Ok(true),
            seccomp: rustix::thread::secure_computing_mode().map_or(0, |mode| mode as u32),
            filters: None,
        }
    }

    /// What a process with these rights must do to have those of the host.
    pub(crate) fn need(&self, host: &Rights) -> Need {
        let is_filtered_less = match (self.filters, host.filters) {
            (Some(own), Some(hosts)) => own < hosts,
            _ => self.seccomp < host.seccomp,
        };
        if is_filtered_less {
            let count = |rights: &Rights| rights.filters.map_or("some".to_string(), |filters| filters.to_string());
            return Need::Impossible(format!(
                "this process has given up rights since its pool was made: it has {} seccomp filters, and a worker would \
                 have {}",
                count(host),
                if self.seccomp == 0 { "none".to_string() } else { count(self) }
            ));
        }
        if self.has(host) { Need::Nothing } else { Need::Take(host.clone()) }
    }

    /// True if these are the rights of the host, apart from filters, and from a promise that only this process made.
    fn has(&self, host: &Rights) -> bool {
        let no_new_privileges = self.no_new_privileges;
        let Rights { seccomp, filters, .. } = *self;
        (host.no_new_privileges <= no_new_privileges)
            && *self == Rights { no_new_privileges, seccomp, filters, ..host.clone() }
    }

    /// True if a program that is executed with these rights would be told to distrust its environment (AT_SECURE), as if
    /// it were setuid: then it ignores our marker and runs its `main`.
    pub(crate) fn are_distrusted_at_exec(&self) -> bool {
        let [real_user, effective_user, ..] = self.users;
        let [real_group, effective_group, ..] = self.groups;
        real_user != effective_user || real_group != effective_group
    }

    /// The effective user and group.
    pub(crate) fn user_and_group(&self) -> (u32, u32) {
        (self.users[1], self.groups[1])
    }

    /// These rights, without capabilities that a process with `own` lacks: an exec has taken them from it.
    pub(crate) fn within(&self, own: &Rights) -> Rights {
        let (permitted, inheritable) = (self.permitted & own.permitted, self.inheritable & own.inheritable);
        let (effective, ambient) = (self.effective & permitted, self.ambient & permitted & inheritable);
        Rights { permitted, inheritable, effective, ambient, ..self.clone() }
    }

    /// Takes these rights, in the first thread of a process that has `own`. What else the kernel does then: it clears the
    /// parent-death signal, and other processes of the same user may not look into this one.
    pub(crate) fn take(&self, own: &Rights) -> Result<(), String> {
        self.try_take(own).map_err(|(what, error)| {
            format!("this process has changed its rights since its pool was made, and a worker cannot take them: {what}: {error}")
        })?;
        let taken = Rights::of_this_process();
        if taken.has(self) {
            return Ok(());
        }
        Err(format!(
            "this process has changed its rights since its pool was made, and a worker cannot take them: it has \
             {taken:?} in place of {self:?}"
        ))
    }

    /// Each step needs rights that a later one gives up. It allocates nothing and takes no lock.
    pub(super) fn try_take(&self, own: &Rights) -> Result<(), (&'static str, rustix::io::Errno)> {
        use rustix::thread as kernel;
        let failed = |what| move |error| (what, error);
        for one in each_of(own.bounding & !self.bounding) {
            kernel::remove_capability_from_bounding_set(one).map_err(failed("the bounding set"))?;
        }
        if own.supplementary != self.supplementary {
            raw::set_groups(&self.supplementary).map_err(failed("setgroups"))?;
        }
        if own.groups != self.groups {
            raw::set_group_ids(self.groups).map_err(failed("setresgid"))?;
        }
        if own.users != self.users {
            // Else the kernel would take all capabilities from a worker whose host kept some.
            kernel::set_keep_capabilities(self.permitted != 0).map_err(failed("PR_SET_KEEPCAPS"))?;
            raw::set_user_ids(self.users).map_err(failed("setresuid"))?;
            kernel::set_keep_capabilities(false).map_err(failed("PR_SET_KEEPCAPS"))?;
        }
        kernel::clear_ambient_capability_set().map_err(failed("the ambient set"))?;
        let sets = CapabilitySets {
            effective: CapabilitySet::from_bits_retain(self.effective),
            permitted: CapabilitySet::from_bits_retain(self.permitted),
            inheritable: CapabilitySet::from_bits_retain(self.inheritable),
        };
        kernel::set_capabilities(None, sets).map_err(failed("capset"))?;
        for one in each_of(self.ambient) {
            kernel::configure_capability_in_ambient_set(one, true).map_err(failed("the ambient set"))?;
        }
        if self.no_new_privileges {
            kernel::set_no_new_privs(true).map_err(failed("PR_SET_NO_NEW_PRIVS"))?;
        }
        Ok(())
    }
}

/// The capabilities of a set, one by one.
fn each_of(set: u64) -> impl Iterator<Item = CapabilitySet> {
    (0..64).map(|number| 1 << number).filter(move |one| set & one != 0).map(CapabilitySet::from_bits_retain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx Uid: 7\nPid:\t42\nUid:\t0\t1\t2\t3\nGid:\t4\t5\t6\t7\nGroups:\t8 9 \n\
        CapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000003\nCapBnd:\t0000000000000004\n\
        CapAmb:\t0000000000000005\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

    fn rights() -> Rights {
        Rights {
            users: [0, 1, 2, 3],
            groups: [4, 5, 6, 7],
            supplementary: vec![8, 9],
            inheritable: 1,
            permitted: 0x1ff_ffff_ffff,
            effective: 3,
            bounding: 4,
            ambient: 5,
            no_new_privileges: true,
            seccomp: 2,
            filters: Some(3),
        }
    }

    #[test]
    fn rights_are_read_from_a_status_file() {
        assert_eq!(Rights::parse(STATUS), Some(rights()));
        assert_eq!(process_of(STATUS), Some(42));
        let older = STATUS.lines().filter(|line| !line.starts_with("Seccomp_filters")).collect::<Vec<_>>().join("\n");
        assert_eq!(Rights::parse(&older), Some(Rights { filters: None, ..rights() }));
        for broken in ["", "Uid:\t0\t1\t2\n", "Uid:\t0\t1\t2\t3\nGid:\t4\t5\t6\n"] {
            assert_eq!(Rights::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn the_kernel_tells_the_same_with_and_without_proc() {
        let (read, asked) = (RightsFile::open().read(), Rights::of_this_thread());
        assert_eq!(Rights { filters: None, ..read.clone() }, asked);
        assert_eq!(read, Rights::of_this_process());
        assert_eq!(read.need(&asked), Need::Nothing);
    }

    #[test]
    fn another_file_under_the_number_is_not_believed() {
        let file = |text: &str| crate::sys::memory::file_of("multicore-test", text.as_bytes()).unwrap();
        let own = Rights::of_this_process();
        for text in [STATUS, "", "Pid:\t43\n"] {
            assert_eq!(RightsFile { file: Some((file(text), 43)) }.read(), own, "{text:?}");
        }
        assert_eq!(RightsFile { file: Some((file(STATUS), 42)) }.read(), rights());
    }

    #[test]
    fn what_a_worker_needs() {
        let own = rights();
        let take = |host: Rights| assert_eq!(own.need(&host), Need::Take(host));
        assert_eq!(own.need(&rights()), Need::Nothing);
        assert_eq!(own.need(&Rights { no_new_privileges: false, ..rights() }), Need::Nothing, "it has fewer");
        assert_eq!(own.need(&Rights { filters: Some(2), ..rights() }), Need::Nothing, "it has fewer");
        assert_eq!(own.need(&Rights { filters: None, ..rights() }), Need::Nothing, "nobody can tell");
        take(Rights { users: [0, 1, 2, 4], ..rights() });
        take(Rights { groups: [4, 5, 6, 8], ..rights() });
        take(Rights { supplementary: vec![8], ..rights() });
        take(Rights { inheritable: 0, ..rights() });
        take(Rights { permitted: 0, ..rights() });
        take(Rights { effective: 0, ..rights() });
        take(Rights { bounding: 0, ..rights() });
        take(Rights { ambient: 0, ..rights() });
        let promised = Rights { no_new_privileges: false, ..rights() };
        assert_eq!(promised.need(&rights()), Need::Take(rights()));
        let none = Rights { seccomp: 0, filters: Some(0), ..rights() };
        for (own, host, words) in [
            (rights(), Rights { filters: Some(4), ..rights() }, "has 4 seccomp filters, and a worker would have 3"),
            (none.clone(), rights(), "has 3 seccomp filters, and a worker would have none"),
            (Rights { filters: None, ..none }, rights(), "has 3 seccomp filters, and a worker would have none"),
        ] {
            assert!(matches!(own.need(&host), Need::Impossible(reason) if reason.contains(words)), "{words}");
        }
    }

    #[test]
    fn a_set_is_walked_one_by_one() {
        assert_eq!(each_of(0b1010).map(|one| one.bits()).collect::<Vec<u64>>(), [0b10, 0b1000]);
    }
}
