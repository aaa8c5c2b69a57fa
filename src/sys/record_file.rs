//! A file that one process at a time appends to, and that a careless or hostile neighbour cannot put in another's place.
//!
//! Invariant: it is a regular file of this process's user, reached by no symbolic link at the end of its path. While it is open for
//! writing, no other [`RecordFile`] is, in this process or another: the lock belongs to the open file, and ends when its last
//! descriptor is closed. A child that the host forks has a copy of that, and may not write by it. Nothing is written by a number under which the host
//! has another file by now.

use super::descriptors::{Descriptor, above_standard_streams};
use super::may_sleep::assert_may_sleep;
use super::process;
use super::raw;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::process::{Resource, geteuid, getrlimit};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Anyone may put files into the folder, and take those of others away.
const ANYONE_WRITES: u32 = 0o002;
/// But not those of others.
const STICKY: u32 = 0o1000;

#[derive(Debug)]
pub(crate) struct RecordFile {
    file: Descriptor,
    folder: Descriptor,
    name: OsString,
    device: u64,
    inode: u64,
    is_locked: bool,
    owner: process::Number,
}

/// What tells the locked files of this process from others.
static LOCKED_HERE: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// True if this process has locked this file.
pub(crate) fn is_locked_here(identity: (u64, u64)) -> bool {
    LOCKED_HERE.lock().contains(&identity)
}

impl Drop for RecordFile {
    /// Not by closing it alone: a child that another thread forks in this moment has a copy of the descriptor until it executes something.
    fn drop(&mut self) {
        if self.is_locked && process::is_current(self.owner) {
            LOCKED_HERE.lock().remove(&self.identity());
        }
        if self.is_locked && self.check_ours().is_ok() {
            // If that fails, the close that follows unlocks it.
            let _ = raw::unlock_open_file(&self.file);
        }
    }
}

/// The length of a file, its last change and its inode; of what a link leads to.
pub(crate) fn fingerprint(path: &Path) -> io::Result<String> {
    assert_may_sleep();
    let Stat { st_size, st_mtime, st_mtime_nsec, st_ino, .. } = rustix::fs::stat(path)?;
    Ok(format!("{st_size}-{st_mtime}.{st_mtime_nsec:09}-{st_ino}"))
}

/// Why a file is not opened.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another one has it.
    Held,
    /// Another file took its place in this moment.
    Replaced,
    /// It is not as it must be, which this says.
    Unfit(&'static str),
    System(io::Error),
}

impl From<rustix::io::Errno> for Refusal {
    fn from(error: rustix::io::Errno) -> Refusal {
        match error {
            rustix::io::Errno::LOOP => Refusal::Unfit("it is a symbolic link"),
            rustix::io::Errno::ISDIR => Refusal::Unfit("it is a folder"),
            // A FIFO that nobody reads, or a socket.
            rustix::io::Errno::NXIO => Refusal::Unfit("it is no regular file"),
            rustix::io::Errno::EXIST => Refusal::Unfit("it is there"),
            error => Refusal::System(error.into()),
        }
    }
}

impl RecordFile {
    /// What tells the file from all others: its device and its inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Opens or makes a file, and locks it. The folder must be there.
    pub(crate) fn open(path: &Path) -> Result<RecordFile, Refusal> {
        RecordFile::open_with(path, OFlags::RDWR | OFlags::CREATE)?.lock()
    }

    /// Opens a file that is there, and locks it.
    pub(crate) fn open_existing(path: &Path) -> Result<RecordFile, Refusal> {
        RecordFile::open_with(path, OFlags::RDWR)?.lock()
    }

    fn lock(self) -> Result<RecordFile, Refusal> {
        let mut file = self;
        if !raw::lock_open_file(&file.file).map_err(Refusal::System)? {
            return Err(Refusal::Held);
        }
        file.is_locked = true;
        LOCKED_HERE.lock().insert(file.identity());
        // The holder before may have put another file in this place, as a compaction does.
        file.check_place().map_err(|_| Refusal::Replaced)?;
        // The entry in the folder must survive a power cut too.
        file.sync_folder().map_err(Refusal::System)?;
        Ok(file)
    }

    /// Opens a file to read it, also while another process writes it.
    pub(crate) fn open_to_read(path: &Path) -> Result<RecordFile, Refusal> {
        RecordFile::open_with(path, OFlags::RDONLY)
    }

    fn open_with(path: &Path, flags: OFlags) -> Result<RecordFile, Refusal> {
        assert_may_sleep();
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(Refusal::Unfit("it is a folder"));
        };
        let parent = if parent == Path::new("") { Path::new(".") } else { parent };
        let of_folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = keep(rustix::fs::open(parent, of_folder, Mode::empty())?)?;
        let mode = rustix::fs::fstat(&folder)?.st_mode;
        if mode & ANYONE_WRITES != 0 && mode & STICKY == 0 {
            return Err(Refusal::Unfit("anyone may replace files in its folder (chmod o-w or +t)"));
        }
        RecordFile::open_in(folder, name, flags)
    }

    fn open_in(folder: Descriptor, name: &OsStr, flags: OFlags) -> Result<RecordFile, Refusal> {
        // A FIFO must not make this wait.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = keep(rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?)?;
        let Stat { st_mode, st_uid, st_dev, st_ino, .. } = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Refusal::Unfit("it is a folder")),
            _ => return Err(Refusal::Unfit("it is no regular file")),
        }
        if st_uid != geteuid().as_raw() {
            return Err(Refusal::Unfit("it belongs to another user"));
        }
        let owner = process::number();
        Ok(RecordFile { file, folder, name: name.into(), device: st_dev, inode: st_ino, is_locked: false, owner })
    }

    /// Makes a file beside this one, under a name that nobody has, and locks it.
    pub(crate) fn new_beside(&self, suffix: &str) -> Result<RecordFile, Refusal> {
        self.open_beside(suffix, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?.lock()
    }

    /// Opens the file beside this one that has its name with a suffix, to read it.
    pub(crate) fn open_beside_to_read(&self, suffix: &str) -> Result<RecordFile, Refusal> {
        self.open_beside(suffix, OFlags::RDONLY)
    }

    fn open_beside(&self, suffix: &str, flags: OFlags) -> Result<RecordFile, Refusal> {
        assert_may_sleep();
        let folder = keep(rustix::io::fcntl_dupfd_cloexec(&self.folder, 3)?)?;
        RecordFile::open_in(folder, &self.name_beside(suffix), flags)
    }

    /// Puts this file in another's place, for good.
    pub(crate) fn replace(&mut self, other: &RecordFile) -> io::Result<()> {
        assert_may_sleep();
        other.check_ours()?;
        self.check_ours()?;
        rustix::fs::renameat(&self.folder, &self.name, &other.folder, &other.name)?;
        self.name.clone_from(&other.name);
        self.sync_folder()
    }

    /// Takes a file away that lies beside this one.
    pub(crate) fn remove_beside(&self, suffix: &str) -> io::Result<()> {
        assert_may_sleep();
        Ok(rustix::fs::unlinkat(&self.folder, self.name_beside(suffix), AtFlags::empty())?)
    }

    fn name_beside(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }

    fn sync_folder(&self) -> io::Result<()> {
        assert_may_sleep();
        Ok(rustix::fs::fsync(&self.folder)?)
    }

    /// An error if the descriptors lead elsewhere, or this process is a copy of the one that opened them.
    fn check_ours(&self) -> io::Result<()> {
        if !process::is_current(self.owner) {
            return Err(io::Error::other("this process was forked from the one that opened it"));
        }
        if !self.file.is_ours() || !self.folder.is_ours() {
            return Err(io::Error::other("its descriptor was closed behind this crate's back"));
        }
        Ok(())
    }

    /// An error if the path leads to another file, or to none.
    pub(crate) fn check_place(&self) -> io::Result<()> {
        assert_may_sleep();
        let there = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        match there {
            Ok(there) if (there.st_dev, there.st_ino) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(io::Error::other("another file has taken its place")),
            Err(rustix::io::Errno::NOENT) => Err(io::Error::other("it was deleted")),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn length(&self) -> io::Result<u64> {
        assert_may_sleep();
        Ok(u64::try_from(rustix::fs::fstat(&self.file)?.st_size).unwrap_or(0))
    }

    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        assert_may_sleep();
        Ok(rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut *buffer, offset))?)
    }

    /// Writes all of it. Beyond the limit of this process (RLIMIT_FSIZE), where the kernel would kill it, it is refused.
    pub(crate) fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        assert_may_sleep();
        self.check_ours()?;
        let end = offset.saturating_add(bytes.len() as u64);
        if getrlimit(Resource::Fsize).current.is_some_and(|limit| end > limit) {
            let why = "this process may not make files that large (ulimit -f)";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        while !bytes.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, offset))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            (offset, bytes) = (offset + written as u64, &bytes[written..]);
        }
        Ok(())
    }

    pub(crate) fn truncate(&self, length: u64) -> io::Result<()> {
        assert_may_sleep();
        self.check_ours()?;
        Ok(rustix::fs::ftruncate(&self.file, length)?)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        assert_may_sleep();
        self.check_ours()?;
        Ok(rustix::fs::fdatasync(&self.file)?)
    }
}

fn keep(fd: OwnedFd) -> Result<Descriptor, Refusal> {
    Ok(above_standard_streams(fd)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn unfit(path: &Path) -> &'static str {
        match RecordFile::open(path) {
            Err(Refusal::Unfit(why)) => why,
            other => panic!("{path:?}: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_file_of_its_own_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(unfit(&path("link")), "it is a symbolic link");
        assert_eq!(unfit(&path("dangling")), "it is a symbolic link");
        assert_eq!(unfit(&path("folder")), "it is a folder");
        assert_eq!(unfit(&path("fifo")), "it is no regular file");
        assert_eq!(unfit(Path::new("/")), "it is a folder");
        assert_eq!(unfit(Path::new("/dev/null")), "it is no regular file");
        assert!(!path("nowhere").exists());
        assert!(matches!(RecordFile::open(&path("none/file")), Err(Refusal::System(_))));
        let open = path("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(unfit(&open.join("file")).starts_with("anyone may replace files"));
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).unwrap();
        RecordFile::open(&open.join("file")).unwrap();
        assert_eq!(std::fs::metadata(open.join("file")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_at_a_time_writes_and_a_file_that_was_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let first = RecordFile::open(&path).unwrap();
        assert!(matches!(RecordFile::open(&path), Err(Refusal::Held)));
        RecordFile::open_to_read(&path).unwrap();
        drop(first);
        let second = RecordFile::open(&path).unwrap();
        second.check_place().unwrap();
        std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        assert_eq!(second.check_place().unwrap_err().to_string(), "it was deleted");
        std::fs::write(&path, "").unwrap();
        assert_eq!(second.check_place().unwrap_err().to_string(), "another file has taken its place");
    }

    #[test]
    fn a_file_takes_anothers_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let old = RecordFile::open(&path).unwrap();
        old.write_at(0, b"old").unwrap();
        let mut new = old.new_beside(".new").unwrap();
        new.write_at(0, b"new").unwrap();
        new.replace(&old).unwrap();
        assert!(old.check_place().is_err());
        new.check_place().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(matches!(RecordFile::open(&path), Err(Refusal::Held)), "the new one is locked too");
        let other = new.new_beside(".other").unwrap();
        assert!(other.check_place().is_ok());
        assert!(matches!(new.new_beside(".other"), Err(Refusal::Unfit("it is there"))));
        new.remove_beside(".other").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
