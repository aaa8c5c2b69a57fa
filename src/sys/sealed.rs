//! Memory that nobody can change any more: a sealed memfd, which other processes map too.
//!
//! | step                                   | who can write                                        |
//! |----------------------------------------|------------------------------------------------------|
//! | made, its pages allocated              | this process alone: nobody else has the descriptor   |
//! | filled by `pwrite`, or through a mapping that is gone afterwards | the same                   |
//! | sealed: `WRITE`, `GROW`, `SHRINK`, `SEAL` | nobody, by any descriptor or mapping of any process |
//! | mapped for reading, and its descriptor handed out | nobody                                    |
//!
//! Invariant: a [`Sealed`] is made only after the seals hold. So its bytes stay as they are, and its pages there, for as long as it is
//! mapped: a reference to them is sound, whatever the other processes do that have its descriptor.

use super::{machine, memory, raw};
use crate::sys::descriptors::Descriptor;
use memmap2::{Advice, Mmap};
use rustix::fs::SealFlags;
use rustix::io::Errno;
use std::io;
use std::ptr::NonNull;

/// What makes the bytes final.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// From 16 MiB on the machine is asked first whether it has as much: pages of a memfd have no limit of their own, and the kernel would kill
/// some process to find them. For less, the question would take a visible part of the time.
const LARGE_BYTES: usize = 16 << 20;

/// Memory that stays as it is.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// In the process that made it, for others. `None` where there are no bytes, and in those others.
    file: Option<Descriptor>,
    view: Option<Mmap>,
}

impl Sealed {
    /// Memory with these bytes. Nothing is mapped for writing.
    pub(crate) fn of_bytes(bytes: &[u8]) -> io::Result<Sealed> {
        let Some(file) = make(bytes.len())? else { return Ok(Sealed::EMPTY) };
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::pwrite(&file, &bytes[written..], written as u64) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(memory::in_call("pwrite")(error)),
            }
        }
        seal(file, bytes.len())
    }

    /// Memory of this length that `fill` writes; it is zeroed before.
    pub(crate) fn built(bytes: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Sealed> {
        let Some(file) = make(bytes)? else {
            fill(&mut []);
            return Ok(Sealed::EMPTY);
        };
        let mut mapping = raw::map_new(&file, bytes)?;
        // A child that this process forks meanwhile would have the mapping too, and the seals would be refused. Where a sandbox
        // refuses the advice, they are refused for such a child alone.
        let _ = mapping.advise(Advice::DontFork);
        fill(&mut mapping);
        drop(mapping);
        seal(file, bytes)
    }

    /// The memory that another process has sealed, as this one maps it.
    pub(crate) fn open(file: &Descriptor, bytes: usize) -> io::Result<Sealed> {
        // Its maker runs the same image and hands out only what is sealed; a mapping beyond its end would be fatal.
        let held = rustix::fs::fcntl_get_seals(file)?;
        if !held.contains(SEALS) || rustix::fs::fstat(file)?.st_size as u64 != bytes as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not sealed, or has another length"));
        }
        Ok(Sealed { file: None, view: Some(raw::map_sealed(file, bytes)?) })
    }

    /// No bytes: nothing is mapped.
    pub(crate) const EMPTY: Sealed = Sealed { file: None, view: None };

    /// The descriptor for other processes.
    pub(crate) fn file(&self) -> Option<&Descriptor> {
        self.file.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Where the bytes begin: at a page, as long as there are any.
    pub(crate) fn start(&self) -> Option<NonNull<u8>> {
        self.view.as_ref().map(|view| NonNull::from(&view[..]).cast())
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.view.as_deref().unwrap_or_default()
    }
}

/// Zeroed memory of this length that can be sealed, with its pages; `None` for no bytes.
fn make(bytes: usize) -> io::Result<Option<Descriptor>> {
    if bytes == 0 {
        return Ok(None);
    }
    if bytes >= LARGE_BYTES
        && let Some(available) = machine::available_bytes()
        && bytes as u64 > available
    {
        let message = format!("{bytes} bytes are more than the {available} that are available");
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, message));
    }
    memory::sealable("multicore-shared", bytes, bytes).map(Some)
}

/// A kernel that does not know these seals calls them invalid.
fn refused(error: Errno) -> io::Error {
    match error {
        Errno::INVAL => {
            io::Error::new(io::ErrorKind::Unsupported, "this kernel cannot seal memory (fcntl F_ADD_SEALS)")
        }
        error => memory::in_call("fcntl(F_ADD_SEALS)")(error),
    }
}

/// Makes the bytes final, and maps them.
fn seal(file: Descriptor, bytes: usize) -> io::Result<Sealed> {
    rustix::fs::fcntl_add_seals(&file, SEALS).map_err(refused)?;
    let view = raw::map_sealed(&file, bytes)?;
    Ok(Sealed { file: Some(file), view: Some(view) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_seals_is_told_from_a_refusal() {
        for (error, expected) in [
            (Errno::INVAL, io::ErrorKind::Unsupported),
            (Errno::PERM, io::ErrorKind::PermissionDenied),
            (Errno::BUSY, io::ErrorKind::ResourceBusy),
        ] {
            let told = refused(error);
            assert_eq!(told.kind(), expected, "{told}");
            assert!(told.to_string().contains("F_ADD_SEALS"), "{told}");
        }
    }

    /// A mapping's line of /proc/self/smaps with this name, in KiB.
    fn smaps_kib(start: NonNull<u8>, name: &str) -> u64 {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let first = format!("{:x}-", start.as_ptr() as usize);
        let lines = text.lines().skip_while(|line| !line.starts_with(&first));
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
        values.next().expect("the mapping is there").trim_start_matches(':').trim().parse().unwrap()
    }

    /// As kernels before 6.7 refuse a shared mapping.
    #[test]
    fn where_a_shared_mapping_is_refused_a_private_one_has_the_files_pages() {
        let bytes: Vec<u8> = (0..300_000).map(|place| (place % 251) as u8).collect();
        let sealed = Sealed::of_bytes(&bytes).unwrap();
        let mut options = memmap2::MmapOptions::new();
        options.len(bytes.len());
        let map = |errno: Errno| raw::or_private(Err(errno.into()), sealed.file().unwrap(), &options);
        let private = map(Errno::PERM).unwrap();
        assert!(private[..] == bytes, "the same bytes");
        let start = NonNull::from(&private[..]).cast();
        assert!(smaps_kib(start, "Rss") >= 290, "its pages are there");
        assert_eq!(smaps_kib(start, "Anonymous"), 0, "and none of them is a copy");
        for errno in [Errno::NOMEM, Errno::ACCESS, Errno::INVAL] {
            assert_eq!(map(errno).unwrap_err().raw_os_error(), Some(errno.raw_os_error()), "{errno:?}");
        }
    }
}
