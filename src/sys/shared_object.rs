//! The shared object that holds this crate, where that is not the executable: proven, held by a descriptor of its folder, and
//! preloaded into a fresh copy of the host's executable.
//!
//! | step                  | by                                                                                        |
//! |-----------------------|-------------------------------------------------------------------------------------------|
//! | opened                | the host, with [`open`]: the folder of the path in /proc/self/maps, whatever the path has become relative to |
//! | proven                | the host, with [`SharedObject::prove`], before each start: the file there is the one that is loaded |
//! | named                 | the new image's environment: `LD_PRELOAD=FORMER:/proc/self/fd/N/FILE`, N the folder        |
//! | taken                 | this crate's constructor there, with [`take_back`]: `LD_PRELOAD` is as before, N is closed at exec |
//!
//! The loader looks for what the object needs beside it (`$ORIGIN`), so it gets the folder and not the file, but for a name that
//! has what separates names in `LD_PRELOAD`, or a `$`.
//!
//! Invariant: nothing is started with a preload that is not proven. Else the loader would leave it out, and the program's `main`
//! would run once more.

use super::descriptors::{above_standard_streams, close_at_exec};
use super::executable::FileId;
use super::image::{self, Identity, image};
use super::may_sleep::assert_may_sleep;
use super::raw::{self, BeforeMain};
use crate::sys::descriptors::Descriptor;
use libc::{Elf64_Ehdr, Elf64_Phdr};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The variable by which the loader takes objects that come before those that the program needs.
const PRELOAD: &CStr = c"LD_PRELOAD";

/// The bytes of one of a file's program headers.
const PROGRAM_HEADER: usize = size_of::<Elf64_Phdr>();

/// How a preload begins that this crate has made; a number follows, and the file's name or nothing.
const BY_DESCRIPTOR: &[u8] = b"/proc/self/fd/";

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
    pub(super) fd: Descriptor,
    pub(super) id: FileId,
    /// Its name in the folder; empty if the descriptor is the file's.
    name: CString,
    /// Where the host has it from, for messages. In a process that it was preloaded into: as the preload calls it.
    path: PathBuf,
}

/// The object that holds this crate, with a descriptor of at least `from`; `None` where that is the executable.
pub(crate) fn open(from: RawFd) -> Result<Option<SharedObject>, NotPreloadable> {
    assert_may_sleep();
    if !image().is_object {
        return Ok(None);
    }
    if !image().has_code(image::own_code()) {
        return Err(NotPreloadable::NotDescribed);
    }
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
    let id = FileId::of(&fd).map_err(not_opened)?;
    let name = CString::new(name.as_bytes()).unwrap_or_default();
    let object = SharedObject { fd, id, name, path: path.clone() };
    object.prove()?;
    pin(&path)?;
    Ok(Some(object))
}

/// The file of this object, for reading, if it still is that.
pub(super) fn own_file() -> Option<Descriptor> {
    let file = File::open(path().ok()?).ok()?;
    is_loaded(&file).is_ok_and(|is_it| is_it).then(|| OwnedFd::from(file).into())
}

/// True if a name can stand in a preload, which separates names by blanks and colons, and replaces what follows a `$`.
fn is_plain(name: &OsStr) -> bool {
    !name.as_bytes().iter().any(|byte| matches!(byte, b' ' | b':' | b'$'))
}

/// The path of the file that this code comes from, by the kernel's own record. (The loader's is what the object was asked for
/// by, which may be relative to another folder.)
fn path() -> Result<PathBuf, NotPreloadable> {
    let maps = File::open("/proc/self/maps").map_err(NotPreloadable::Unknown)?;
    for line in BufReader::new(maps).split(b'\n') {
        let line = line.map_err(NotPreloadable::Unknown)?;
        let Some((range, path)) = mapping(&line) else { continue };
        if range.contains(&image::own_code()) {
            let path = PathBuf::from(OsString::from_vec(path.to_vec()));
            let is_file = path.is_absolute() && !path.as_os_str().as_bytes().ends_with(b" (deleted)");
            return if is_file { Ok(path) } else { Err(NotPreloadable::Deleted(path)) };
        }
    }
    Err(NotPreloadable::Unknown(io::ErrorKind::NotFound.into()))
}

/// The addresses and the path in a line of /proc/self/maps: `START-END RIGHTS OFFSET DEVICE INODE PATH`, with blanks before
/// the path, which may contain some too.
fn mapping(line: &[u8]) -> Option<(std::ops::Range<usize>, &[u8])> {
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_ascii_start();
        let (field, behind) = rest.split_at(rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len()));
        rest = behind;
        std::str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    for _ in 0..4 {
        field()?;
    }
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    Some((number(start)?..number(end)?, rest.trim_ascii_start()))
}

impl SharedObject {
    /// Where the host has it from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the file that would be preloaded is the one that is loaded here.
    pub(crate) fn prove(&self) -> Result<(), NotPreloadable> {
        assert_may_sleep();
        match self.compare() {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotPreloadable::Replaced(self.path.clone())),
            // It is shorter than its headers say, or than any.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(NotPreloadable::Replaced(self.path.clone()))
            }
            Err(error) => Err(NotPreloadable::NotOpened(self.path.clone(), error)),
        }
    }

    fn compare(&self) -> io::Result<bool> {
        // The host may have closed the descriptor, and opened another file under its number.
        Ok(FileId::of(&self.fd)? == self.id && is_loaded(&self.file()?)?)
    }

    /// The file itself, for reading.
    pub(super) fn file(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = match self.name.is_empty() {
            true => rustix::io::fcntl_dupfd_cloexec(&self.fd, 3)?,
            false => rustix::fs::openat(&self.fd, &self.name, flags, Mode::empty())?,
        };
        Ok(File::from(OwnedFd::from(above_standard_streams(fd)?)))
    }

    /// Changes what a new image is started with: the object is preloaded, after what is preloaded already.
    pub(super) fn add_to(&self, environment: &mut Vec<CString>) {
        let is_preload = |variable: &CString| variable.to_bytes().starts_with(b"LD_PRELOAD=");
        let former = environment.iter().position(is_preload).map(|place| environment.remove(place));
        let mut variable = former.map_or(b"LD_PRELOAD=".to_vec(), |former| [former.to_bytes(), b":"].concat());
        variable.extend_from_slice(BY_DESCRIPTOR);
        variable.extend_from_slice(self.fd.as_raw_fd().to_string().as_bytes());
        if !self.name.is_empty() {
            variable.push(b'/');
            variable.extend_from_slice(self.name.to_bytes());
        }
        // No part has a NUL.
        environment.extend(CString::new(variable));
    }
}

/// True if this file is the object that holds this code: it has the same headers and notes and, where no linker has put a
/// build id there, the same code.
fn is_loaded(file: &File) -> io::Result<bool> {
    let mut first = [0; size_of::<Elf64_Ehdr>()];
    file.read_exact_at(&mut first, 0)?;
    let (table, count) = (number::<8>(&first, 32), number::<2>(&first, 56));
    let mut identity = Identity::new(&first);
    let mut code = Vec::new();
    for index in 0..count {
        let mut bytes = [0; PROGRAM_HEADER];
        file.read_exact_at(&mut bytes, table.saturating_add(index * PROGRAM_HEADER as u64))?;
        let header = program_header(&bytes);
        if Identity::needs_bytes_of(&header) {
            // Those of the object that is loaded are a few hundred. What this file says may be anything.
            let mut bytes = vec![0; header.p_filesz.min(1 << 20) as usize];
            file.read_exact_at(&mut bytes, header.p_offset)?;
            identity.add_bytes(&header, &bytes);
        }
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            code.push(header.p_offset);
        }
        identity.add(&header);
    }
    if identity.hash() != image().identity {
        return Ok(false);
    }
    if image().has_build_id {
        return Ok(true);
    }
    // The headers are the same, so the offsets are those of the ranges that are loaded.
    for (range, offset) in image().code.iter().zip(code) {
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

/// In a process that was started with this object as a preload, before its constructors go on: `LD_PRELOAD` becomes what it was
/// in the host. Gives the number of the descriptor, and the object's name in it; `None` if there is no such preload.
pub(crate) fn take_back(before_main: &BeforeMain) -> Option<(RawFd, CString)> {
    let Parts { former, number, name } = parts(raw::variable(before_main, PRELOAD)?)?;
    let (former, name) = (former.map(CString::new).transpose().ok()?, CString::new(name).ok()?);
    raw::set_variable(before_main, PRELOAD, former.as_deref());
    Some((number, name))
}

impl SharedObject {
    /// The object that was preloaded into this process, by what [`take_back`] gave.
    pub(crate) fn preloaded(fd: Descriptor, name: CString) -> Option<Self> {
        close_at_exec(&fd).ok()?;
        let path = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
        Some(SharedObject { id: FileId::of(&fd).ok()?, fd, name, path })
    }
}

/// The parts of a preload as [`SharedObject::add_to`] makes it.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    former: Option<&'a [u8]>,
    number: RawFd,
    name: &'a [u8],
}

fn parts(value: &[u8]) -> Option<Parts<'_>> {
    // Neither the path nor the name in it has a colon.
    let (former, own) = match value.iter().rposition(|&byte| byte == b':') {
        Some(colon) => (Some(&value[..colon]), &value[colon + 1..]),
        None => (None, value),
    };
    let rest = own.strip_prefix(BY_DESCRIPTOR)?;
    let (number, name) = match rest.iter().position(|&byte| byte == b'/') {
        Some(slash) => (&rest[..slash], &rest[slash + 1..]),
        None => (rest, &[][..]),
    };
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    (number > 2).then_some(Parts { former, number, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_read_with_blanks_in_its_path() {
        let of = |line: &str| mapping(line.as_bytes()).map(|(range, path)| (range, path.to_vec()));
        for (line, expected) in [
            (
                "7f0000001000-7f0000002000 r-xp 00001000 fd:01 1234                       /lib/x y.so",
                Some((0x7f00_0000_1000..0x7f00_0000_2000, "/lib/x y.so")),
            ),
            ("1000-2000 r-xp 0 0:0 0 ", Some((0x1000..0x2000, ""))),
            ("1000-2000 r-xp 0 0:0 0", Some((0x1000..0x2000, ""))),
            ("1000-2000 r-xp 0 0:0 7 /x (deleted)", Some((0x1000..0x2000, "/x (deleted)"))),
            ("1000 r-xp 0 0:0 7 /x", None),
            ("x-2000 r-xp 0 0:0 7 /x", None),
            ("", None),
        ] {
            assert_eq!(of(line), expected.map(|(range, path)| (range, path.as_bytes().to_vec())), "{line:?}");
        }
    }

    #[test]
    fn a_preload_reads_back_with_what_was_there_before() {
        for (former, name) in [
            (None, "x.so"),
            (Some(""), "x.so"),
            (Some("/a.so:/b c.so"), "x.so"),
            (Some("/proc/self/fd/3/y.so"), "x.so"),
            (None, ""),
        ] {
            let fd = Descriptor::from(OwnedFd::from(File::open("/").unwrap()));
            let number = fd.as_raw_fd();
            let id = FileId::of(&fd).unwrap();
            let object = SharedObject { fd, id, name: CString::new(name).unwrap(), path: PathBuf::new() };
            let mut environment = vec![c"A=1".to_owned()];
            environment.extend(former.map(|former| CString::new(format!("LD_PRELOAD={former}")).unwrap()));
            object.add_to(&mut environment);
            assert_eq!(environment.len(), 2);
            let value = environment[1].to_bytes().strip_prefix(b"LD_PRELOAD=").unwrap();
            let expected = Parts { former: former.map(str::as_bytes), number, name: name.as_bytes() };
            assert_eq!(parts(value), Some(expected));
        }
    }

    #[test]
    fn a_preload_of_others_is_none_of_ours() {
        for value in [
            "",
            "/x.so",
            "x.so:y.so",
            "/proc/self/fd/",
            "/proc/self/fd/x/y",
            "/proc/self/fd/2/y",
            "/proc/self/fd/-1",
            ":",
        ] {
            assert_eq!(parts(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn names_that_a_preload_would_split_or_change_are_not_used() {
        for (name, expected) in [("x.so", true), ("x y.so", false), ("x:y.so", false), ("$x.so", false), ("x\ty", true)]
        {
            assert_eq!(is_plain(OsStr::new(name)), expected, "{name:?}");
        }
    }

    #[test]
    fn the_executable_is_no_object() {
        assert!(open(0).unwrap().is_none());
    }
}
