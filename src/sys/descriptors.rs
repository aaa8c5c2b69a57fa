//! Descriptors: their numbers, the standard streams, waiting until one is ready.

use super::may_sleep::assert_may_sleep;
use super::raw::{self, StandardStream};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A descriptor of ours. The host may close its number behind our back, and open another file under it: then dropping this
/// closes nothing, as far as that can be told. (What has no file of its own, an eventfd or an epoll, is only told from
/// what has one.)
#[derive(Debug)]
pub(crate) struct Descriptor {
    /// `None` once it is taken.
    fd: Option<OwnedFd>,
    file: Option<(u64, u64)>,
}

/// Device and inode.
fn file_of(fd: impl AsFd) -> Option<(u64, u64)> {
    let told = rustix::fs::fstat(fd).ok()?;
    Some((told.st_dev, told.st_ino))
}

impl Descriptor {
    /// False if the number is another file's by now, or nobody's.
    pub(crate) fn is_ours(&self) -> bool {
        file_of(self) == self.file
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Descriptor { file: file_of(&fd), fd: Some(fd) }
    }
}

impl From<Descriptor> for OwnedFd {
    fn from(mut descriptor: Descriptor) -> Self {
        descriptor.fd.take().expect("only a drop and this take it")
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("only a drop and a conversion take it").as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take()
            && file_of(&fd) != self.file
        {
            // The number is another's now, or nobody's.
            let _ = fd.into_raw_fd();
        }
    }
}

/// The same descriptor under a number above 2. Every descriptor that this crate keeps passes here: where the host
/// has closed a standard stream, a descriptor with its number would be taken for that stream. (The files of /proc
/// and /sys/fs/cgroup that std opens, in `proc.rs` and `cgroup.rs`, and `meminfo.rs`'s can have such a number while they are read.)
pub(crate) fn above_standard_streams(fd: OwnedFd) -> rustix::io::Result<Descriptor> {
    let fd = if fd.as_raw_fd() > 2 { fd } else { rustix::io::fcntl_dupfd_cloexec(&fd, 3)? };
    Ok(Descriptor::from(fd))
}

/// What a standard stream leads to: a file, by its device and number. So two files are told apart, not two openings of
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamId {
    device: (u32, u32),
    inode: u64,
}

/// What a standard stream leads to now; `None` if it is closed. The kernel is not to ask a file server for it.
pub(crate) fn stream_id(stream: StandardStream) -> Option<StreamId> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let fd = raw::standard_stream(stream)?;
    // From the flags of statx(2): AT_STATX_DONT_SYNC.
    let flags = AtFlags::EMPTY_PATH | AtFlags::from_bits_retain(0x4000);
    match statx(fd, c"", flags, StatxFlags::INO) {
        Ok(told) => Some(StreamId { device: (told.stx_dev_major, told.stx_dev_minor), inode: told.stx_ino }),
        // Before Linux 4.11, or in a sandbox.
        Err(_) => {
            let told = rustix::fs::fstat(fd).ok()?;
            let device = (rustix::fs::major(told.st_dev), rustix::fs::minor(told.st_dev));
            Some(StreamId { device, inode: told.st_ino })
        }
    }
}

/// Whether standard output and standard error are open now, and the descriptors of those that are.
pub(crate) fn open_streams() -> ([bool; 2], Vec<BorrowedFd<'static>>) {
    let streams = [StandardStream::Output, StandardStream::Error].map(raw::standard_stream);
    (streams.map(|stream| stream.is_some()), streams.into_iter().flatten().collect())
}

/// Closes a descriptor at exec from here on.
pub(crate) fn close_at_exec(fd: impl AsFd) -> rustix::io::Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)
}

/// Opens /dev/null for each standard stream that is closed, and for standard input in any case.
pub(crate) fn settle_standard_streams() {
    let streams = [StandardStream::Input, StandardStream::Output, StandardStream::Error];
    let is_wanted = |stream: &StandardStream| *stream == StandardStream::Input || !raw::is_open(*stream as i32);
    replace_by_null(streams.into_iter().filter(is_wanted));
}

/// Puts what the host has there in the places of standard output and standard error; see [`open_streams`].
pub(crate) fn replace_streams(are_open: [bool; 2], fds: Vec<Descriptor>) {
    let mut fds = fds.into_iter();
    for (stream, is_open) in [StandardStream::Output, StandardStream::Error].into_iter().zip(are_open) {
        match is_open.then(|| fds.next()).flatten() {
            Some(fd) => raw::replace_standard_stream(stream, fd),
            None => replace_by_null([stream].into_iter()),
        }
    }
}

/// Puts /dev/null in the places of some standard streams.
pub(super) fn replace_by_null(streams: impl Iterator<Item = StandardStream>) {
    assert_may_sleep();
    let streams: Vec<_> = streams.collect();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let Ok(null) = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()) else { return };
    for stream in streams {
        raw::replace_standard_stream(stream, &null);
    }
    if null.as_raw_fd() < 3 {
        // It took the number of a closed stream, and remains there as that stream.
        let _ = rustix::io::fcntl_setfd(&null, rustix::io::FdFlags::empty());
        let _ = null.into_raw_fd();
    }
}

/// Writes all of it, and waits for room if the file is one that waits. False if that fails.
pub(super) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    assert_may_sleep();
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) | Ok(0) => return false,
            Ok(written) => bytes = &bytes[written..],
        }
    }
    true
}

/// What is waited for at a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Readable,
    Writable,
}

/// Waits until a descriptor is ready in its way or its other end is closed, and tells for each whether it
/// is. `None` if a signal ended the wait, or the system lacks memory.
pub(crate) fn wait_any(fds: &[(BorrowedFd<'_>, Readiness)], timeout: Option<Duration>) -> Option<Vec<bool>> {
    assert_may_sleep();
    let polled = fds.iter().map(|&(fd, readiness)| {
        let flags = if readiness == Readiness::Readable { PollFlags::IN } else { PollFlags::OUT };
        PollFd::from_borrowed_fd(fd, flags)
    });
    let mut fds: Vec<_> = polled.collect();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    rustix::event::poll(&mut fds, timeout.as_ref()).ok()?;
    Some(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// True if a write to this descriptor of at most a page would not sleep, or would fail, at this moment.
pub(crate) fn is_writable(fd: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&fd, PollFlags::OUT)];
    let without_sleep = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match rustix::event::poll(&mut polled, Some(&without_sleep)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Waits until one of some descriptors is readable or the time has passed; true if one is. With a time
/// of zero it does not sleep.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> bool {
    if timeout != Some(Duration::ZERO) {
        assert_may_sleep();
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut fds: Vec<_> = fds.iter().map(|&fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}
