//! The shared object that holds this crate, where that is not the executable: proven, held by a descriptor of its folder, and
//! preloaded into a fresh copy of the host's executable.
//!
//! | step                  | by                                                                                        |
//! |-----------------------|-------------------------------------------------------------------------------------------|
//! | opened                | the host, with [`open`]: the folder of the path in /proc/self/maps, whatever the path has become relative to |
//! | proven                | the host, with [`SharedObject::prove`], before each start: the file there is the one that is loaded |
//! | named                 | the new image's environment: `LD_PRELOAD=FORMER:/proc/self/fd/N/FILE`, N the folder        |
//! | compared              | the new process, with [`Proven::is_found`], just before its exec: by that name it finds the file that was proven |
//! | taken                 | this crate's constructor there: `LD_PRELOAD` is as before, N is closed at exec             |
//!
//! The loader looks for what the object needs beside it (`$ORIGIN`), so it gets the folder and not the file, but for a name that
//! has what separates names in `LD_PRELOAD`, or a `$`.
//!
//! Invariant: nothing is started with a preload that is not proven and found. Else the loader would leave it out, and the program's
//! `main` would run once more. (What changes between that look and the loader's is seen by the new image, which then serves nobody.)

use super::descriptors::{above_standard_streams, close_at_exec};
use super::executable::FileId;
use super::image::{self, Identity, image};
use super::maps;
use super::may_sleep::assert_may_sleep;
use crate::sys::descriptors::Descriptor;
use libc::{Elf64_Ehdr, Elf64_Phdr};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The bytes of one of a file's program headers.
const PROGRAM_HEADER: usize = size_of::<Elf64_Phdr>();

/// Why the object cannot be preloaded.
#[derive(Debug)]
pub(crate) enum NotPreloadable {
    /// /proc does not tell where the object comes from.
    Unknown(io::Error),
    /// Its file was deleted, or has never had a name.
    Deleted(PathBuf),
    NotOpened(PathBuf, io::Error),
    /// Another file has its name now.
    Replaced(PathBuf),
    /// The executable has no loader, which would preload it.
    StaticHost,
    /// The linker of the object did not say where it begins, or where its constructors are.
    NotDescribed,
    /// The loader does not keep it.
    NotPinned(PathBuf, String),
}

/// The object, for starts.
#[derive(Debug)]
pub(crate) struct SharedObject {
    /// The folder that has it, or the file itself.
    fd: Descriptor,
    /// Its name in the folder; empty if the descriptor is the file's.
    name: CString,
    /// As the preload calls it.
    preload: CString,
    /// Where the host has it from, for messages. In a process that it was preloaded into: its name.
    path: PathBuf,
    /// What was preloaded in the host.
    former: Option<CString>,
}

/// What a process needs to know that the object is preloaded into: the number of the descriptor, and the name of the object in it; what was
/// preloaded in the host.
pub(crate) type Told = (RawFd, CString, Option<CString>);

/// The object for one start, with the file that was proven.
#[derive(Debug)]
pub(crate) struct Proven<'a> {
    object: &'a SharedObject,
    file: FileId,
}

impl Proven<'_> {
    /// In the new process, just before its exec, which has the root directory, the namespaces and (but for what an exec takes) the rights that
    /// its loader will have: has that find the file? It stays open until then. Allocates nothing.
    pub(super) fn is_found(&self) -> Result<(), Errno> {
        rustix::io::fcntl_setfd(&self.object.fd, rustix::io::FdFlags::empty())?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let found = rustix::fs::open(&*self.object.preload, flags, Mode::empty()).map_err(|_| NOT_FOUND)?;
        if FileId::of(&found)? == self.file { Ok(()) } else { Err(NOT_FOUND) }
    }
}

/// The error number of a start whose preload the loader would not find.
pub(crate) const NOT_FOUND: Errno = Errno::STALE;

/// The object that holds this crate, with a descriptor of at least `from`; `None` where that is the executable.
pub(crate) fn open(from: RawFd) -> Result<Option<SharedObject>, NotPreloadable> {
    assert_may_sleep();
    if !image().is_object {
        return Ok(None);
    }
    can_be_described()?;
    if image::executable().loader.is_none() {
        return Err(NotPreloadable::StaticHost);
    }
    let path = path()?;
    let not_opened = |error: Errno| NotPreloadable::NotOpened(path.clone(), error.into());
    let name = path.file_name().unwrap_or_default();
    let (opened, flags, name) = match path.parent() {
        Some(folder) if is_plain(name) => (folder, OFlags::PATH | OFlags::DIRECTORY, name),
        _ => (path.as_path(), OFlags::RDONLY, OsStr::new("")),
    };
    let fd = rustix::fs::open(opened, flags | OFlags::CLOEXEC, Mode::empty()).and_then(above_standard_streams);
    let fd = fd.and_then(|fd| match fd.as_raw_fd() >= from {
        true => Ok(fd),
        false => rustix::io::fcntl_dupfd_cloexec(&fd, from).map(Descriptor::from),
    });
    let fd = fd.map_err(not_opened)?;
    let object = SharedObject::new(fd, CString::new(name.as_bytes()).unwrap_or_default(), path.clone());
    object.prove()?;
    pin(&path)?;
    Ok(Some(object))
}

/// Says that the object does not tell where it begins, if so.
pub(crate) fn can_be_described() -> Result<(), NotPreloadable> {
    let is_described = !image().is_object || image().has_code(image::own_code()) && image().is_readable;
    if is_described { Ok(()) } else { Err(NotPreloadable::NotDescribed) }
}

/// The file of this object, for reading, if it still is that.
pub(super) fn own_file() -> Option<Descriptor> {
    let file = File::open(path().ok()?).ok()?;
    is_loaded(&file).is_ok_and(|is_it| is_it).then(|| OwnedFd::from(file).into())
}

/// True if a name can stand in a preload, which separates names by colons and blanks (musl's by all that isspace(3) takes for one), and
/// replaces what follows a `$`.
fn is_plain(name: &OsStr) -> bool {
    !name.as_bytes().iter().any(|byte| matches!(byte, b' ' | b'\t'..=b'\r' | b':' | b'$'))
}

/// The path of the file that this code comes from, by the kernel's own record. (The loader's is what the object was asked for
/// by, which may be relative to another folder.)
fn path() -> Result<PathBuf, NotPreloadable> {
    let maps = File::open("/proc/self/maps").map_err(NotPreloadable::Unknown)?;
    let name = maps::find(BufReader::new(maps), image::own_code() as u64, |mapping| mapping.name.to_vec());
    let name = name.map_err(NotPreloadable::Unknown)?;
    let path = PathBuf::from(OsString::from_vec(name.ok_or(NotPreloadable::Unknown(io::ErrorKind::NotFound.into()))?));
    let is_file = path.is_absolute() && !path.as_os_str().as_bytes().ends_with(b" (deleted)");
    if is_file { Ok(path) } else { Err(NotPreloadable::Deleted(path)) }
}

impl SharedObject {
    /// Where the host has it from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn new(fd: Descriptor, name: CString, path: PathBuf) -> Self {
        let separator = if name.is_empty() { "" } else { "/" };
        let folder = format!("/proc/self/fd/{}{separator}", fd.as_raw_fd());
        // No part has a NUL.
        let preload = CString::new([folder.as_bytes(), name.to_bytes()].concat()).unwrap_or_default();
        SharedObject { fd, name, preload, path, former: None }
    }

    /// The object that was preloaded into this process, with its descriptor and its name in that.
    pub(crate) fn preloaded(fd: Descriptor, name: CString) -> Option<Self> {
        close_at_exec(&fd).ok()?;
        let path = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
        Some(SharedObject::new(fd, name, path))
    }

    /// Makes sure that the file that would be preloaded is the one that is loaded here.
    pub(crate) fn prove(&self) -> Result<Proven<'_>, NotPreloadable> {
        assert_may_sleep();
        let replaced = || NotPreloadable::Replaced(self.path.clone());
        match self.compare() {
            Ok(Some(file)) => Ok(Proven { object: self, file }),
            Ok(None) => Err(replaced()),
            // It is shorter than its headers say, or than any.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(replaced()),
            Err(error) => Err(NotPreloadable::NotOpened(self.path.clone(), error)),
        }
    }

    fn compare(&self) -> io::Result<Option<FileId>> {
        // The host may have closed the descriptor, and opened another file under its number.
        if !self.fd.is_ours() {
            return Err(Errno::BADF.into());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = match self.name.is_empty() {
            true => rustix::io::fcntl_dupfd_cloexec(&self.fd, 3)?,
            false => rustix::fs::openat(&self.fd, &self.name, flags, Mode::empty())?,
        };
        let file = File::from(OwnedFd::from(above_standard_streams(fd)?));
        let id = FileId::of(&file)?;
        Ok(is_loaded(&file)?.then_some(id))
    }

    /// Changes what a new image is started with: the object is preloaded, after what is preloaded already.
    pub(super) fn add_to(&mut self, environment: &mut Vec<CString>) {
        const NAME: &[u8] = b"LD_PRELOAD=";
        // As getenv(3), which takes the first. A loader may take another one.
        let former = environment.iter().find_map(|variable| variable.to_bytes().strip_prefix(NAME).map(<[u8]>::to_vec));
        environment.retain(|variable| !variable.to_bytes().starts_with(NAME));
        let before = former.as_ref().map_or(Vec::new(), |former| [former, &b":"[..]].concat());
        // No part has a NUL.
        environment.extend(CString::new([NAME, &before, self.preload.to_bytes()].concat()));
        self.former = former.and_then(|former| CString::new(former).ok());
    }

    /// What the new image is to know.
    pub(crate) fn told(&self) -> Told {
        (self.fd.as_raw_fd(), self.name.clone(), self.former.clone())
    }
}

/// The variable by which the loader takes objects that come before those that the program needs.
pub(crate) const PRELOAD: &CStr = c"LD_PRELOAD";

/// True if this file is the object that holds this code: it has the same headers and notes and, where no linker has put a
/// build id there, the same code.
fn is_loaded(file: &File) -> io::Result<bool> {
    let mut first = [0; size_of::<Elf64_Ehdr>()];
    file.read_exact_at(&mut first, 0)?;
    let (table, count) = (number::<8>(&first, 32), number::<2>(&first, 56));
    let read_header = |index| {
        let mut bytes = [0; PROGRAM_HEADER];
        file.read_exact_at(&mut bytes, table.saturating_add(index * PROGRAM_HEADER as u64))?;
        Ok(program_header(&bytes))
    };
    let headers = (0..count).map(read_header).collect::<io::Result<Vec<_>>>()?;
    let mut identity = Identity::new(&first);
    for header in &headers {
        if Identity::needs_bytes_of(header, &headers) {
            // Those of the object that is loaded are a few hundred. What this file says may be anything.
            let mut bytes = vec![0; header.p_filesz.min(1 << 20) as usize];
            file.read_exact_at(&mut bytes, header.p_offset)?;
            identity.add_bytes(header, &bytes);
        }
        identity.add(header);
    }
    if identity.hash() != image().identity {
        return Ok(false);
    }
    // An upgrade that is under way writes the beginning first.
    let sections = number::<8>(&first, 40).saturating_add(number::<2>(&first, 58) * number::<2>(&first, 60));
    let ends = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).map(|part| part.p_offset + part.p_filesz);
    if ends.chain([sections]).max() > Some(file.metadata()?.len()) {
        return Ok(false);
    }
    if image().has_build_id {
        return Ok(true);
    }
    // The headers are the same, so the offsets are those of the ranges that are loaded.
    let code = headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0);
    for (range, offset) in image().code.iter().zip(code.map(|code| code.p_offset)) {
        let mut part = vec![0; 1 << 16];
        for start in range.clone().step_by(part.len()) {
            let part = &mut part[..(range.end - start).min(1 << 16)];
            file.read_exact_at(part, offset + (start - range.start) as u64)?;
            if !image().has_bytes(start, part) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The number at this place of a header.
fn number<const BYTES: usize>(header: &[u8], place: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..BYTES].copy_from_slice(&header[place..place + BYTES]);
    u64::from_le_bytes(bytes)
}

/// A program header, as elf(5) lays it down.
fn program_header(bytes: &[u8; PROGRAM_HEADER]) -> Elf64_Phdr {
    Elf64_Phdr {
        p_type: number::<4>(bytes, 0) as u32,
        p_flags: number::<4>(bytes, 4) as u32,
        p_offset: number::<8>(bytes, 8),
        p_vaddr: number::<8>(bytes, 16),
        p_paddr: number::<8>(bytes, 24),
        p_filesz: number::<8>(bytes, 32),
        p_memsz: number::<8>(bytes, 40),
        p_align: number::<8>(bytes, 48),
    }
}

/// Keeps the object loaded until the process ends: threads of a pool run in it.
fn pin(path: &Path) -> Result<(), NotPreloadable> {
    static PINNED: AtomicBool = AtomicBool::new(false);
    // Relaxed: it only saves the calls.
    if PINNED.load(Relaxed) {
        return Ok(());
    }
    image::keep_loaded().map_err(|reason| NotPreloadable::NotPinned(path.to_path_buf(), reason))?;
    PINNED.store(true, Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that was started by execve(2) may have a variable twice; loaders take another one than getenv(3).
    #[test]
    fn a_preload_comes_after_what_was_there_before() {
        for (before, name, expected, former) in [
            (&[][..], "x.so", "/x.so", None),
            (&["LD_PRELOAD="], "x.so", ":N/x.so", Some("")),
            (&["LD_PRELOAD=/a.so:/b c.so"], "x.so", "/a.so:/b c.so:N/x.so", Some("/a.so:/b c.so")),
            (&["LD_PRELOAD=/a.so", "LD_PRELOAD=/b.so"], "x.so", "/a.so:N/x.so", Some("/a.so")),
            (&[], "", "", None),
        ] {
            let fd = Descriptor::from(OwnedFd::from(File::open("/").unwrap()));
            let own = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let mut object = SharedObject::new(fd, CString::new(name).unwrap(), PathBuf::new());
            let mut environment = vec![c"LD_PRELOADED=1".to_owned()];
            environment.extend(before.iter().map(|variable| CString::new(*variable).unwrap()));
            object.add_to(&mut environment);
            let expected = if former.is_none() { format!("{own}{expected}") } else { expected.replace('N', &own) };
            let expected = [c"LD_PRELOADED=1".to_owned(), CString::new(format!("LD_PRELOAD={expected}")).unwrap()];
            assert_eq!(environment, expected);
            assert_eq!(object.told().2.as_deref().map(CStr::to_bytes), former.map(str::as_bytes));
        }
    }

    #[test]
    fn names_that_a_preload_would_split_or_change_are_not_used() {
        for (name, expected) in [
            ("x.so", true),
            ("x y.so", false),
            ("x:y.so", false),
            ("$x.so", false),
            ("x\ty", false),
            ("x\ny", false),
            ("x\ry", false),
        ] {
            assert_eq!(is_plain(OsStr::new(name)), expected, "{name:?}");
        }
    }

    #[test]
    fn the_executable_is_no_object() {
        assert!(open(0).unwrap().is_none());
    }
}
