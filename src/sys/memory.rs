//! Shared memory without a name: memfds, their seals and their mappings.

use super::process::above_standard_streams;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::{Errno, Result};
use std::io;

/// Who may write a piece of shared memory once it is handed out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// The maker alone.
    Maker,
    /// Whoever has the descriptor.
    All,
}

/// Makes zeroed shared memory, maps it for this process and seals it: nobody can change its size,
/// and with [`Writers::Maker`] nobody can map it for writing again. Its first pages are there; for
/// the others there is [`allocate`].
pub(crate) fn create(name: &str, bytes: usize, first_bytes: usize, writers: Writers) -> io::Result<(OwnedFd, MmapRaw)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know NOEXEC_SEAL.
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    };
    let fd = above_standard_streams(fd.map_err(in_call("memfd_create"))?)?;
    size(&fd, bytes).map_err(in_call("ftruncate"))?;
    allocate(&fd, first_bytes).map_err(in_call("fallocate"))?;
    let mapping = MmapOptions::new().len(bytes).map_raw(&fd)?;
    let mut seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    if writers == Writers::Maker {
        seals |= SealFlags::FUTURE_WRITE;
    }
    // Without seals a worker could take the memory away from under its parent.
    rustix::fs::fcntl_add_seals(&fd, seals).map_err(in_call("fcntl(F_ADD_SEALS)"))?;
    Ok((fd, mapping))
}

/// An error that names the system call: where a sandbox forbids one, that is what there is to mend.
fn in_call(call: &'static str) -> impl Fn(Errno) -> io::Error {
    move |errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{call}: {error}"))
    }
}

/// Gives the memory its size. A file size limit would kill the process by SIGXFSZ instead of
/// failing, so it is looked at before.
fn size(fd: &OwnedFd, bytes: usize) -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < bytes as u64) {
        return Err(Errno::FBIG);
    }
    rustix::fs::ftruncate(fd, bytes as u64)
}

/// Sees to it that the first pages are there, so a full machine says so now and not by SIGBUS later.
pub(crate) fn allocate(fd: &OwnedFd, bytes: usize) -> Result<()> {
    match rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, bytes as u64) {
        // Some sandboxes refuse it; then pages come as they are touched.
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        other => other,
    }
}

/// From here on large pages are worth it: they spare a fault for each 4 KiB.
const LARGE_BYTES: usize = 4 * 1024 * 1024;
const LARGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Lets the room of an empty buffer come in large pages where the system leaves that to programs.
/// Whether it does or not changes nothing but time.
#[allow(unsafe_code)]
pub(crate) fn expect_much(buffer: &mut Vec<u8>) {
    let room = buffer.spare_capacity_mut();
    if room.len() < LARGE_BYTES {
        return;
    }
    let before = room.as_ptr().align_offset(LARGE_PAGE_BYTES);
    let before = before.min(room.len());
    let whole = (room.len() - before) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
    let start = room[before..].as_mut_ptr().cast();
    // SAFETY: whole pages inside memory of our own; this advice changes no byte of it.
    let _ = unsafe { rustix::mm::madvise(start, whole, rustix::mm::Advice::LinuxHugepage) };
}

/// Maps what another process made, for reading and writing.
pub(crate) fn map(fd: impl AsFd, bytes: usize) -> io::Result<MmapRaw> {
    MmapOptions::new().len(bytes).map_raw(&fd.as_fd())
}

/// Maps what another process made, for reading.
pub(crate) fn map_read_only(fd: impl AsFd, bytes: usize) -> io::Result<MmapRaw> {
    MmapOptions::new().len(bytes).map_raw_read_only(&fd.as_fd())
}

/// A sealed memfd with these bytes, for another process to read.
pub(crate) fn file_of(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map_err(in_call("memfd_create"))?;
    let fd = above_standard_streams(fd)?;
    size(&fd, bytes.len()).map_err(in_call("ftruncate"))?;
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::pwrite(&fd, &bytes[written..], written as u64)?;
    }
    Ok(fd)
}

/// All bytes of what [`file_of`] made.
pub(crate) fn read_file(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let size = rustix::fs::fstat(fd)?.st_size as usize;
    let mut bytes = vec![0; size];
    let mut read = 0;
    while read < size {
        match rustix::io::pread(fd, &mut bytes[read..], read as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read += count,
        }
    }
    Ok(bytes)
}
