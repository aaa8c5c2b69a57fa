//! The executable of this process, proven to be this program and held by a descriptor.
//!
//! The file that the kernel executed is not always the program that runs: it may be the loader (`ld.so ./program`) or
//! an emulator. Started once more, such a file would take this program's first argument for a program. So nothing is
//! executed but a descriptor, and a descriptor is kept only after a proof: the kernel's own record of what it executed,
//! whose file /proc/self/exe is, has its entry point in the code of this process's executable. (The loader changes the copy of that
//! record which getauxval(3) reads, so that copy proves nothing.)
//!
//! The descriptor is opened at the first start and kept until the process ends. So a later start finds the program
//! even if its file was deleted or replaced, or if this process has another root directory by then. The host may close
//! the descriptor without our knowledge, and another file may get its number. So each start compares the file with the
//! one that was proven: while the program runs, no other file has its device and inode.

use super::descriptors::above_standard_streams;
use super::image;
use super::may_sleep::assert_may_sleep;
use super::raw::Published;
use crate::sys::descriptors::Descriptor;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Why no file is known to be this program's executable.
#[derive(Debug)]
pub(crate) enum NotProven {
    /// The kernel executed another file, and that loaded this program. This never changes.
    Another(PathBuf),
    /// /proc cannot tell.
    Unknown(Errno),
}

/// A file, whatever its name is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(fd: impl AsFd) -> Result<FileId, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// The executable for one start.
#[derive(Debug)]
pub(crate) struct Executable {
    pub(super) fd: Descriptor,
    pub(super) file: FileId,
}

impl Executable {
    /// True if a process with this effective user and group that executes it gets rights that it has not: it would be told to distrust its
    /// environment (AT_SECURE), so it would ignore our marker and run its `main`.
    pub(crate) fn would_gain_rights(&self, (user, group): (u32, u32)) -> bool {
        if rustix::thread::no_new_privs().unwrap_or(false) {
            return false;
        }
        let Ok(stat) = rustix::fs::fstat(&self.fd) else { return true };
        let mode = Mode::from_raw_mode(stat.st_mode);
        let sets_user = mode.contains(Mode::SUID) && stat.st_uid != user;
        let sets_group = mode.contains(Mode::SGID | Mode::XGRP) && stat.st_gid != group;
        sets_user || sets_group || user != 0 && self.has_capabilities()
    }

    fn has_capabilities(&self) -> bool {
        // The largest is of 24 bytes.
        let mut value = [0; 64];
        let of_file = rustix::fs::fgetxattr(&self.fd, "security.capability", &mut value[..]);
        match of_file {
            // A descriptor of a file that may not be read: by the path it is the same file, as was proven.
            Err(Errno::BADF) => rustix::fs::getxattr("/proc/self/exe", "security.capability", &mut value[..]).is_ok(),
            other => other.is_ok_and(|bytes| bytes > 0),
        }
    }
}

/// The loader that the executable asks for; `None` if it is static.
pub(crate) fn loader() -> Option<String> {
    image::executable().loader
}

static KEPT: Published<Executable> = Published::new();

/// Makes sure that [`open`] has something to open: what can never be proven is told before anything else is made.
pub(crate) fn prove_once() -> Result<(), NotProven> {
    if KEPT.get().is_some() { Ok(()) } else { open(0).map(drop) }
}

/// The executable, under a descriptor of its own whose number is `from` or more.
pub(crate) fn open(from: RawFd) -> Result<Executable, NotProven> {
    assert_may_sleep();
    let kept = KEPT.get();
    if let Some(found) = kept.and_then(|kept| duplicate(kept, from).ok()) {
        return Ok(found);
    }
    let fd = prove()?;
    let file = FileId::of(&fd).map_err(NotProven::Unknown)?;
    let kept = KEPT.publish(kept, Executable { fd, file });
    duplicate(kept, from).map_err(NotProven::Unknown)
}

/// A duplicate of the kept descriptor, if that still is the file that was kept.
fn duplicate(kept: &Executable, from: RawFd) -> Result<Executable, Errno> {
    let fd = Descriptor::from(rustix::io::fcntl_dupfd_cloexec(&kept.fd, from.max(3))?);
    let file = FileId::of(&fd)?;
    if file == kept.file { Ok(Executable { fd, file }) } else { Err(Errno::BADF) }
}

/// Opens the file that the kernel executed, if that is this program.
fn prove() -> Result<Descriptor, NotProven> {
    let open = |folder: &Descriptor, name, flags| {
        rustix::fs::openat(folder, name, flags | OFlags::CLOEXEC, Mode::empty()).and_then(above_standard_streams)
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open("/proc/self", flags, Mode::empty()).and_then(above_standard_streams);
    let folder = folder.map_err(NotProven::Unknown)?;
    // Files that merely lie at such a path prove nothing.
    let system = rustix::fs::fstatfs(&folder).map_err(NotProven::Unknown)?;
    if system.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(NotProven::Unknown(Errno::NOENT));
    }
    // A program may be executable and not readable.
    let executable = open(&folder, "exe", OFlags::RDONLY).or_else(|_| open(&folder, "exe", OFlags::PATH));
    let executable = executable.map_err(NotProven::Unknown)?;
    let read = |name| open(&folder, name, OFlags::RDONLY).map_err(io::Error::from).and_then(read_all);
    // A process that changed its user may not read the first of the two. Each process may read the second.
    let address = read("auxv").ok().and_then(|vector| entry_in_auxv(&vector));
    let address = address.or_else(|| start_of_code(&read("stat").ok()?));
    match address {
        None => Err(NotProven::Unknown(Errno::NOENT)),
        Some(address) if image::executable().has_code(address) => Ok(executable),
        Some(_) => {
            let path = rustix::fs::readlinkat(&folder, "exe", Vec::new()).map(|path| path.into_bytes());
            let path = path.unwrap_or_else(|_| b"another program".to_vec());
            Err(NotProven::Another(std::ffi::OsString::from_vec(path).into()))
        }
    }
}

fn read_all(file: Descriptor) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::from(OwnedFd::from(file)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The entry point in an auxiliary vector: pairs of a key and a value, each of the size of an address.
fn entry_in_auxv(vector: &[u8]) -> Option<usize> {
    const AT_ENTRY: usize = 9;
    let mut words =
        vector.chunks_exact(size_of::<usize>()).map(|word| usize::from_ne_bytes(word.try_into().unwrap_or_default()));
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key == AT_ENTRY {
            return Some(value);
        }
    }
    None
}

/// Where the code of the executable begins, in the text of a `stat` file: its field 26. Some systems write 0.
fn start_of_code(stat: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(stat);
    // The name may contain anything, but ends at the last parenthesis. Behind it is field 3.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(26 - 3)?.parse().ok().filter(|&address| address != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn the_kernels_record_is_read_by_its_keys_and_fields() {
        let vector = |words: &[usize]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
        for (words, expected) in [
            (&[6, 4096, 9, 0x1234, 0, 0][..], Some(0x1234)),
            // 9 is a value here, and then a key without a value.
            (&[6, 9, 7, 9, 0, 0], None),
            (&[6, 1, 9], None),
            (&[], None),
        ] {
            assert_eq!(entry_in_auxv(&vector(words)), expected, "{words:?}");
        }
        let stat = |name: &str, start: &str| format!("7 ({name}) S {} {start} 99 98", ["1"; 22].join(" "));
        for (text, expected) in [
            (stat("name", "4198400"), Some(4_198_400)),
            (stat("a) S 1 (b", "4198400"), Some(4_198_400)),
            (stat("name", "0"), None),
            (stat("name", "x"), None),
            ("7 (name) S 1".to_string(), None),
            (String::new(), None),
        ] {
            assert_eq!(start_of_code(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn both_records_prove_this_program() {
        let auxv = entry_in_auxv(&std::fs::read("/proc/self/auxv").unwrap()).unwrap();
        let stat = start_of_code(&std::fs::read("/proc/self/stat").unwrap()).unwrap();
        assert!(image::executable().has_code(auxv) && image::executable().has_code(stat));
        let (one, other) = (open(0).unwrap(), open(200).unwrap());
        assert!(one.file == other.file && other.fd.as_raw_fd() >= 200);
        let running = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(FileId::of(&running).unwrap(), one.file);
    }

    /// A host that closes all descriptors above 2, as daemons do, and then opens files: one of these could be started.
    #[test]
    fn a_kept_descriptor_that_is_another_file_is_not_used() {
        let other = std::fs::File::open("/dev/null").unwrap();
        let kept = Executable { fd: OwnedFd::from(other).into(), file: open(0).unwrap().file };
        assert_eq!(duplicate(&kept, 0).unwrap_err(), Errno::BADF);
    }
}
