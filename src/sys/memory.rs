//! Shared memory without a name: memfds, their seals and their mappings.

use super::descriptors::above_standard_streams;
use super::may_sleep::assert_may_sleep;
use crate::sys::descriptors::Descriptor;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fd::AsFd;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::{Errno, Result};
use std::io;

/// The processes that may write shared memory once its descriptor is handed out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// The maker alone.
    Maker,
    /// Every process that has the descriptor.
    All,
}

/// Makes zeroed shared memory, maps it for this process and seals it: nobody can change its size,
/// and with [`Writers::Maker`] nobody can map it for writing again. The pages of its first bytes are
/// allocated; [`allocate`] does that for more of them.
pub(crate) fn create(
    name: &str,
    bytes: usize,
    first_bytes: usize,
    writers: Writers,
) -> io::Result<(Descriptor, MmapRaw)> {
    let fd = sealable(name, bytes, first_bytes)?;
    let mapping = MmapOptions::new().len(bytes).map_raw(&fd)?;
    let mut seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    if writers == Writers::Maker {
        seals |= SealFlags::FUTURE_WRITE;
    }
    // Without seals a worker could shrink the memory, and its parent would be killed by SIGBUS.
    rustix::fs::fcntl_add_seals(&fd, seals).map_err(in_call("fcntl(F_ADD_SEALS)"))?;
    Ok((fd, mapping))
}

/// A memfd that can be sealed, of this length, and the pages of its first bytes are allocated.
pub(super) fn sealable(name: &str, bytes: usize, first_bytes: usize) -> io::Result<Descriptor> {
    assert_may_sleep();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 refuse NOEXEC_SEAL.
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    };
    let fd = above_standard_streams(fd.map_err(in_call("memfd_create"))?)?;
    size(&fd, bytes).map_err(in_call("ftruncate"))?;
    allocate(&fd, first_bytes).map_err(in_call("fallocate"))?;
    Ok(fd)
}

/// An error that names the system call: where a sandbox forbids it, that is what the user must allow.
pub(super) fn in_call(call: &'static str) -> impl Fn(Errno) -> io::Error {
    move |errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{call}: {error}"))
    }
}

/// Gives the memory its size. The file size limit is checked before, since a size above it would not
/// only fail but also kill the process by SIGXFSZ.
fn size(fd: &Descriptor, bytes: usize) -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < bytes as u64) {
        return Err(Errno::FBIG);
    }
    rustix::fs::ftruncate(fd, bytes as u64)
}

/// Allocates the pages of the first bytes, so that a machine without memory makes this call fail, and no
/// later access by SIGBUS.
pub(crate) fn allocate(fd: &Descriptor, bytes: usize) -> Result<()> {
    assert_may_sleep();
    if !fd.is_ours() {
        return Err(Errno::BADF);
    }
    match rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, bytes as u64) {
        // Some sandboxes refuse it; then each page is allocated when it is first touched.
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        other => other,
    }
}

/// Maps shared memory that another process made, for reading and writing. (The drop of a mapping is
/// memmap2's: munmap(2), which can take long too.)
pub(crate) fn map(fd: impl AsFd, bytes: usize) -> io::Result<MmapRaw> {
    assert_may_sleep();
    MmapOptions::new().len(bytes).map_raw(&fd.as_fd())
}

/// Maps shared memory that another process made, for reading.
pub(crate) fn map_read_only(fd: impl AsFd, bytes: usize) -> io::Result<MmapRaw> {
    assert_may_sleep();
    MmapOptions::new().len(bytes).map_raw_read_only(&fd.as_fd())
}

/// The length of shared memory that nobody can shorten or lengthen; `None` for any other file. A mapping of it outlives whatever its maker does.
#[cfg(any(test, feature = "status"))]
pub(crate) fn sealed_length(fd: impl AsFd) -> io::Result<Option<usize>> {
    assert_may_sleep();
    let seals = match rustix::fs::fcntl_get_seals(&fd) {
        Ok(seals) => seals,
        // No memfd.
        Err(Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_sealed = seals.contains(SealFlags::SHRINK | SealFlags::GROW);
    let length = usize::try_from(rustix::fs::fstat(&fd)?.st_size).ok();
    Ok(length.filter(|_| is_sealed))
}

/// A memfd with these bytes, for another process to read. (It has no seals: no worker gets it.)
pub(crate) fn file_of(name: &str, bytes: &[u8]) -> io::Result<Descriptor> {
    assert_may_sleep();
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map_err(in_call("memfd_create"))?;
    let fd = above_standard_streams(fd)?;
    size(&fd, bytes.len()).map_err(in_call("ftruncate"))?;
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::pwrite(&fd, &bytes[written..], written as u64)?;
    }
    Ok(fd)
}

/// All bytes of a memfd that [`file_of`] made.
pub(crate) fn read_file(fd: &Descriptor) -> io::Result<Vec<u8>> {
    assert_may_sleep();
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
