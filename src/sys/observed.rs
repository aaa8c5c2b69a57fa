//! Another process, as it is looked at from outside: by /proc and a pidfd, which neither stop nor wake it.
//!
//! Invariant: what is read is the process's that was asked for. Its number may be another one's after its end, so what was read counts only
//! while its pidfd says that it lives.

use super::may_sleep::assert_may_sleep;
use super::{process, symbol, usage};
use crate::sys::descriptors::{Descriptor, above_standard_streams};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process that is looked at.
#[derive(Debug)]
pub(crate) struct Process {
    number: u32,
    pidfd: Descriptor,
    /// As it knows itself: its number in its own namespace of processes.
    own_number: u32,
}

/// Why a process cannot be looked at.
#[derive(Debug)]
pub(crate) enum NotSeen {
    /// There is none, or it has ended.
    Missing,
    /// It is another user's, or has more rights than this one.
    NotAllowed,
    Failed(io::Error),
}

impl From<io::Error> for NotSeen {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => NotSeen::NotAllowed,
            _ => NotSeen::Failed(error),
        }
    }
}

/// A place in the file of an object that a process has loaded.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// Where the bytes of an address lie in it.
    offset: u64,
}

impl Process {
    pub(crate) fn open(number: u32) -> Result<Process, NotSeen> {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or(NotSeen::Missing)?;
        let pidfd = process::pidfd_of(pid).map_err(|errno| match errno {
            // A thread's number is none of a process.
            Errno::SRCH | Errno::INVAL => NotSeen::Missing,
            other => NotSeen::from(io::Error::from(other)),
        })?;
        let mut seen = Process { number, pidfd, own_number: number };
        if seen.has_ended() {
            return Err(NotSeen::Missing);
        }
        let status = fs::read_to_string(format!("/proc/{number}/status")).map_err(|error| seen.explain(error))?;
        // Kernels before 4.1 have no such line.
        let own = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        seen.own_number = own.and_then(|own| own.split_whitespace().next_back()?.parse().ok()).unwrap_or(number);
        Ok(seen)
    }

    pub(crate) fn has_ended(&self) -> bool {
        process::has_ended(&self.pidfd, Duration::ZERO)
    }

    /// The number by which it knows itself.
    pub(crate) fn own_number(&self) -> u32 {
        self.own_number
    }

    /// A file of it could not be read: because of its end, or for the reason that is given.
    fn explain(&self, error: io::Error) -> NotSeen {
        if self.has_ended() { NotSeen::Missing } else { NotSeen::from(error) }
    }

    /// The memfds of this name that it has, each once: inode and descriptor, opened anew for reading.
    pub(crate) fn memfds(&self, name: &str) -> Result<Vec<(u64, Descriptor)>, NotSeen> {
        assert_may_sleep();
        let target = format!("/memfd:{name} (deleted)");
        let folder = format!("/proc/{}/fd", self.number);
        let mut found: Vec<(u64, Descriptor)> = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| self.explain(error))? {
            // One that was closed meanwhile.
            let Ok(entry) = entry else { continue };
            if fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(&target)) {
                // Any file can have such a name: one that would make this wait is not waited for.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let fd = match rustix::fs::open(entry.path(), flags, Mode::empty()) {
                    Ok(fd) => above_standard_streams(fd).map_err(io::Error::from)?,
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(self.explain(error.into())),
                };
                let inode = rustix::fs::fstat(&fd).map_err(io::Error::from)?.st_ino;
                if !found.iter().any(|(own, _)| *own == inode) {
                    found.push((inode, fd));
                }
            }
        }
        Ok(found)
    }

    /// Where the object lies that it has loaded at this address: its executable or a shared object. `None` where that cannot be told.
    pub(crate) fn place_of(&self, address: u64) -> Option<Place> {
        assert_may_sleep();
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.number)).ok()?;
        let (offset, inode, name) = maps.lines().find_map(|line| mapped_at(line, address))?;
        // The executable is there although its file was deleted or replaced; another object is looked for where the process finds it.
        let paths = [format!("/proc/{}/exe", self.number), format!("/proc/{}/root{name}", self.number)];
        let is_it = |path: &String| fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode);
        let path = paths.into_iter().find(is_it)?.into();
        (!self.has_ended()).then_some(Place { path, offset })
    }

    /// The anonymous memory of a process that this one calls by this number. `None` where numbers mean other processes here.
    pub(crate) fn memory_of(&self, number: u32) -> Option<u64> {
        if self.own_number == self.number { usage::anonymous_bytes_of(number) } else { None }
    }
}

impl Place {
    /// The names of functions, by their distances from this place.
    pub(crate) fn names_at(&self, distances: &[i64]) -> Option<Vec<Option<String>>> {
        assert_may_sleep();
        let open = || fs::File::open(&self.path).ok();
        let here = symbol::address_in(open()?, self.offset)?;
        let wanted: Vec<u64> = distances.iter().map(|distance| here.wrapping_add_signed(*distance)).collect();
        let names = symbol::names_in(open()?, &wanted)?;
        Some(names.into_iter().map(|name| name.map(|name| name.to_string())).collect())
    }
}

/// Offset in the file, inode and name, in a line of a `maps` file, if it is about this address.
fn mapped_at(line: &str, address: u64) -> Option<(u64, u64, &str)> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    let (offset, inode) = (number(fields.nth(1)?)?, fields.nth(1)?.parse().ok()?);
    let name = fields.next().unwrap_or_default().trim_start();
    (start..end).contains(&address).then(|| (address - start + offset, inode, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_tells_the_place_in_the_file() {
        let line = "55d0-5600 r-xp 00001000 08:01 77                         /opt/my app";
        for (address, expected) in [
            (0x55cf, None),
            (0x55d0, Some((0x1000, 77, "/opt/my app"))),
            (0x55ff, Some((0x102f, 77, "/opt/my app"))),
            (0x5600, None),
        ] {
            assert_eq!(mapped_at(line, address), expected, "{address:x}");
        }
        assert_eq!(mapped_at("1000-2000 rw-p 00000000 00:00 0", 0x1800), Some((0x800, 0, "")));
        assert_eq!(mapped_at("garbage", 0), None);
    }

    #[test]
    fn a_function_of_this_process_is_named_from_outside() {
        fn named() {}
        let seen = Process::open(std::process::id()).unwrap();
        let address = named as fn() as usize as u64;
        let place = seen.place_of(address).unwrap();
        let expected = format!("{}::a_function_of_this_process_is_named_from_outside::named", module_path!());
        assert_eq!(place.names_at(&[0, i64::MAX]).unwrap(), [Some(expected), None]);
        assert!(seen.memory_of(std::process::id()).unwrap() > 0);
        assert!(seen.place_of(0).is_none());
    }

    #[test]
    fn what_is_no_process_is_told() {
        for number in [0, u32::MAX, i32::MAX as u32] {
            assert!(matches!(Process::open(number), Err(NotSeen::Missing)), "{number}");
        }
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let seen = Process::open(child.id());
        child.wait().unwrap();
        assert!(!seen.is_ok_and(|seen| !seen.has_ended()), "it has ended");
    }
}
