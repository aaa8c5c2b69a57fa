//! What a new image prints to its standard error until this crate's constructor runs there: what the loader complains of,
//! and what constructors say that come first.
//!
//! | step                       | by                                                                     |
//! |----------------------------|------------------------------------------------------------------------|
//! | made                       | the process that starts the image, with [`EarlyOutput::new`]           |
//! | put on the standard error  | the new process, just before its exec (`sys/launch.rs`)                |
//! | taken                      | this crate's constructor in it, with [`pass_on`]: from here on it prints where the host prints, and what it had printed goes there too |
//! | read                       | its maker, with [`EarlyOutput::printed`], if the process ended before that |
//!
//! A copy of the standard error that a constructor keeps, as a logger does, is replaced with it.
//!
//! It is a memfd, to which a write never waits, as it would at a pipe that nobody reads.
//!
//! Invariant: it is sealed against writes exactly when it is taken. So one file says whose the text is, and a copy that was
//! not found cannot fill memory.

use super::descriptors::{self, Descriptor, above_standard_streams, replace_by_null};
use super::may_sleep::assert_may_sleep;
use super::raw::{self, StandardStream};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// As much of the text's end comes with an error: a loader's complaint has some hundred bytes, and is the last that is
/// printed. With characters that cannot be read it becomes three times as much, which still fits into a message of 16 KiB.
const MAX_PRINTED_BYTES: u64 = 4096;

/// The file, as its maker holds it.
#[derive(Debug)]
pub(crate) struct EarlyOutput(Descriptor);

impl EarlyOutput {
    /// Makes it, with a number of at least `from`.
    pub(crate) fn new(from: RawFd) -> rustix::io::Result<Self> {
        assert_may_sleep();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels before 6.3 refuse NOEXEC_SEAL.
        let fd = match rustix::fs::memfd_create("multicore-early-output", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => rustix::fs::memfd_create("multicore-early-output", flags),
            other => other,
        };
        let fd = above_standard_streams(fd?)?;
        let is_beyond = fd.as_raw_fd() >= from;
        let fd = if is_beyond { fd } else { rustix::io::fcntl_dupfd_cloexec(&fd, from)?.into() };
        Ok(EarlyOutput(fd))
    }

    /// Puts it on the standard error, in a process with a table of descriptors of its own, just before its exec.
    pub(super) fn replace_standard_error(&self) {
        // The host may have closed it, and opened another file under its number.
        if self.0.is_ours() {
            raw::replace_standard_stream(StandardStream::Error, &self.0);
        }
    }

    /// The process has come to this crate's constructor.
    pub(crate) fn is_taken(&self) -> bool {
        fcntl_get_seals(&self.0).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
    }

    /// What the process printed, in one line, if it ended before it took that; `None` if it took it, or printed nothing.
    pub(crate) fn printed(&self) -> Option<String> {
        assert_may_sleep();
        if !self.0.is_ours() || self.is_taken() {
            return None;
        }
        let size = u64::try_from(rustix::fs::fstat(&self.0).ok()?.st_size).ok()?;
        let mut bytes = vec![0; size.min(MAX_PRINTED_BYTES) as usize];
        let read = rustix::io::pread(&self.0, &mut bytes, size.saturating_sub(MAX_PRINTED_BYTES)).ok()?;
        let text = String::from_utf8_lossy(&bytes[..read]);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    }
}

/// In a new process: takes what was printed until now, and gives it to `errors`, which is the standard error from here on
/// (/dev/null if the host has none). Nothing changes where the standard error is no such file: a constructor that comes first
/// has replaced it.
pub(crate) fn pass_on(errors: Option<Descriptor>) {
    assert_may_sleep();
    let Some(stream) = raw::standard_stream(StandardStream::Error) else { return };
    if fcntl_get_seals(stream).is_err() {
        return;
    }
    let Ok(output) = rustix::io::fcntl_dupfd_cloexec(stream, 3) else { return };
    // Before the seal: so a thread that a constructor made loses nothing that it prints meanwhile.
    match errors {
        Some(errors) => raw::replace_standard_stream(StandardStream::Error, errors),
        None => replace_by_null([StandardStream::Error].into_iter()),
    }
    replace_copies(&output);
    let _ = fcntl_add_seals(&output, SealFlags::WRITE);
    let mut at = 0;
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = rustix::io::pread(&output, &mut bytes, at) {
        if !descriptors::write_all(stream, &bytes[..read]) {
            return;
        }
        at += read as u64;
    }
}

/// Lets the copies of the standard error that constructors have made lead where it leads now. `output` is the latest of them,
/// and has the lowest number that was free. So the others have lower ones, unless they were put elsewhere.
fn replace_copies(output: &OwnedFd) {
    let Some(stream) = raw::standard_stream(StandardStream::Error) else { return };
    for number in 3..output.as_raw_fd() {
        raw::replace_copy_of_standard_error(number, output, stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn printed(text: &[u8]) -> Option<String> {
        let output = EarlyOutput::new(0).unwrap();
        assert!(descriptors::write_all(output.0.as_fd(), text));
        output.printed()
    }

    #[test]
    fn the_end_of_what_was_printed_is_told_in_one_line() {
        assert_eq!(printed(b""), None);
        assert_eq!(printed(b" \n"), None);
        assert_eq!(printed(b"./it: error\n\tno  library\n").as_deref(), Some("./it: error no library"));
        assert_eq!(printed(b"caf\xe9").as_deref(), Some("caf\u{fffd}"));
        let long = printed(&[&[b'x'; 100_000][..], b" the end"].concat()).unwrap();
        assert_eq!((long.len(), long.ends_with("x the end")), (4096, true));
    }

    #[test]
    fn what_was_taken_is_not_told_and_takes_nothing_more() {
        let output = EarlyOutput::new(0).unwrap();
        assert!(descriptors::write_all(output.0.as_fd(), b"a warning"));
        assert_eq!((output.is_taken(), output.printed().is_some()), (false, true));
        fcntl_add_seals(&output.0, SealFlags::WRITE).unwrap();
        assert_eq!((output.is_taken(), output.printed()), (true, None));
        assert!(!descriptors::write_all(output.0.as_fd(), b"more"));
    }
}
