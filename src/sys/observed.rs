//! Another process, as it is looked at from outside: by /proc and a pidfd, which neither stop nor wake it.
//!
//! Its descriptors, names of files and mounts are its own to arrange. So a file is opened in two steps: as a place alone (`O_PATH`), which reaches no
//! driver and waits for no writer, and for reading once it is seen to be a regular file, of the kind that is looked for.
//!
//! Invariant: what is read is the process's that was asked for. Its number may be another one's after its end, so what was read counts only
//! while its pidfd says that it lives. Nothing but a regular file is ever opened for reading.

use super::maps::{self, Mapping};
use super::may_sleep::assert_may_sleep;
use super::own_file::Reader;
use super::{proc, process, symbol, usage};
use crate::sys::descriptors::{Descriptor, above_standard_streams};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

/// From statfs(2): the file system of memfds, but for those of huge pages.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// A process that is looked at.
#[derive(Debug)]
pub(crate) struct Process {
    number: u32,
    pidfd: Descriptor,
    /// As it knows itself: its number in its own namespace of processes.
    own_number: u32,
    namespace: u64,
    /// Its numbers of processes are those of this process, and of /proc.
    shares_numbers: bool,
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
    file: Descriptor,
    /// Where the bytes of an address lie in it.
    offset: u64,
}

impl Process {
    pub(crate) fn open(number: u32) -> Result<Process, NotSeen> {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or(NotSeen::Missing)?;
        let pidfd = process::pidfd_of(pid).map_err(|errno| match errno {
            // A thread's number is none of a process.
            Errno::SRCH | Errno::INVAL => NotSeen::Missing,
            // It asks for no right: this is a sandbox around the looker, or a kernel before 5.3.
            other => NotSeen::Failed(io::Error::new(io::Error::from(other).kind(), format!("pidfd_open: {other}"))),
        })?;
        // In a container, /proc may be another one's, with other numbers.
        let asked = number;
        let number = proc::number_of(&pidfd).unwrap_or(asked);
        let namespace = process::namespace_of(&number.to_string());
        let mut seen = Process { number, pidfd, own_number: number, namespace, shares_numbers: false };
        if seen.has_ended() {
            return Err(NotSeen::Missing);
        }
        let status =
            fs::read_to_string(format!("/proc/{number}/status")).map_err(|error| match seen.explain(error) {
                // It lives, and /proc hides it (`hidepid`), unless /proc has nothing at all.
                NotSeen::Failed(error) if is_missing(&error) && Path::new("/proc/self").exists() => NotSeen::NotAllowed,
                why => why,
            })?;
        // Kernels before 4.1 have no such line.
        let own = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        seen.own_number = own.and_then(|own| own.split_whitespace().next_back()?.parse().ok()).unwrap_or(number);
        seen.shares_numbers =
            asked == number && number == seen.own_number && namespace == process::namespace_of("self");
        Ok(seen)
    }

    pub(crate) fn has_ended(&self) -> bool {
        process::has_ended(&self.pidfd, Duration::ZERO)
    }

    /// True if it is the process that knows itself by this number, in this namespace of processes. A child that is forked into a namespace of
    /// its own may have its parent's number there. 0 is a namespace that is not known.
    pub(crate) fn is(&self, own_number: u32, namespace: u64) -> bool {
        let is_same = namespace == self.namespace || namespace == 0 || self.namespace == 0;
        self.own_number == own_number && is_same
    }

    /// A file of it could not be read: because of its end, or for the reason that is given.
    fn explain(&self, error: io::Error) -> NotSeen {
        if self.has_ended() { NotSeen::Missing } else { NotSeen::from(error) }
    }

    /// The folder of /proc that tells of it: that of another thread where the first one has ended, and so has no memory and no descriptors.
    fn folder(&self) -> String {
        let own = format!("/proc/{}", self.number);
        let lives = |folder: &String| !fs::read_link(format!("{folder}/exe")).is_err_and(|error| is_missing(&error));
        if lives(&own) {
            return own;
        }
        let threads = fs::read_dir(format!("{own}/task")).into_iter().flatten().flatten();
        let folders = threads.map(|thread| format!("{own}/task/{}", thread.file_name().to_string_lossy()));
        folders.into_iter().find(lives).unwrap_or(own)
    }

    /// Shows each memfd of this name that it has, some of them more than once: its inode, and how it is opened for reading. What only is called so,
    /// as anything can be, is passed over.
    pub(crate) fn each_memfd(
        &self,
        name: &str,
        mut see: impl FnMut(u64, &dyn Fn() -> io::Result<Descriptor>) -> Result<(), NotSeen>,
    ) -> Result<(), NotSeen> {
        assert_may_sleep();
        let target = format!("/memfd:{name} (deleted)");
        let folder = format!("{}/fd", self.folder());
        for entry in fs::read_dir(&folder).map_err(|error| self.explain(error))? {
            // One that was closed meanwhile.
            let Ok(entry) = entry else { continue };
            if fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(&target)) {
                let (file, told) = match place(CWD, &entry.path(), None) {
                    Ok(found) => found,
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(self.explain(error.into())),
                };
                if is_memfd(&file, &told) {
                    see(told.st_ino, &|| Ok(for_reading(&file)?))?;
                }
            }
        }
        Ok(())
    }

    /// Where the object lies that it has loaded at this address: its executable or a shared object. `None` where that cannot be told.
    pub(crate) fn place_of(&self, address: u64) -> Option<Place> {
        assert_may_sleep();
        let folder = self.folder();
        let maps = BufReader::new(fs::File::open(format!("{folder}/maps")).ok()?);
        let tell = |told: Mapping<'_>| (told.place(address), told.device, told.inode, told.name.to_vec());
        let (offset, device, inode, name) = maps::find(maps, address, tell).ok()??;
        let (offset, name) = (offset?, OsString::from_vec(name));
        // The executable is there although its file was deleted or replaced; another object is looked for where the process finds it.
        let executable = place(CWD, Path::new(&format!("{folder}/exe")), None);
        let root = rustix::fs::open(format!("{folder}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let object = root.and_then(|root| place(root, Path::new(&name), Some(ResolveFlags::IN_ROOT)));
        let mut found: Vec<(OwnedFd, Stat)> = [executable, object].into_iter().flatten().collect();
        found.retain(|(_, told)| is_regular(told) && told.st_ino == inode);
        // Some file systems tell other numbers of the device than maps do. So the same one counts first, and then any.
        let is_same = |told: &Stat| (rustix::fs::major(told.st_dev), rustix::fs::minor(told.st_dev)) == device;
        found.sort_by_key(|(_, told)| !is_same(told));
        let file = for_reading(&found.first()?.0).ok()?;
        (!self.has_ended()).then_some(Place { file, offset })
    }

    /// The anonymous memory of a process that this one calls by this number. `None` where numbers mean other processes here.
    pub(crate) fn memory_of(&self, number: u32) -> Option<u64> {
        if self.shares_numbers { usage::anonymous_bytes_of(number) } else { None }
    }
}

impl Place {
    /// The names of functions, by their distances from this place.
    pub(crate) fn names_at(&self, distances: &[i64]) -> Option<Vec<Option<String>>> {
        assert_may_sleep();
        let here = symbol::address_in(Reader::of(&self.file), self.offset)?;
        let wanted: Vec<u64> = distances.iter().map(|distance| here.wrapping_add_signed(*distance)).collect();
        let names = symbol::names_in(Reader::of(&self.file), &wanted)?;
        Some(names.into_iter().map(|name| name.map(|name| name.to_string())).collect())
    }
}

/// A file as a place, which is not opened yet, and what it is; with `resolve` by openat2(2), which kernels before 5.6 lack.
fn place(folder: impl AsFd, path: &Path, resolve: Option<ResolveFlags>) -> Result<(OwnedFd, Stat), Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = match resolve {
        Some(resolve) => rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve)?,
        None => rustix::fs::openat(folder, path, flags, Mode::empty())?,
    };
    let told = rustix::fs::fstat(&file)?;
    Ok((file, told))
}

fn is_regular(told: &Stat) -> bool {
    FileType::from_raw_mode(told.st_mode) == FileType::RegularFile
}

/// A regular file without a name, in memory.
fn is_memfd(file: impl AsFd, told: &Stat) -> bool {
    let is_in_memory = || rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type as u64 == TMPFS_MAGIC);
    is_regular(told) && told.st_nlink == 0 && is_in_memory()
}

/// Opens a regular file that is held as a place.
fn for_reading(place: &OwnedFd) -> Result<Descriptor, Errno> {
    // A lease of its owner would make it wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    above_standard_streams(rustix::fs::open(path, flags, Mode::empty())?)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests;
