//! What a thread of the parent sleeps on: eventfds, and the epoll that watches them together with
//! the pidfds.
//!
//! Invariant: an eventfd is watched for edges and never read. A worker shares its open file description and
//! could make it blocking between our poll and our read, and then the read would block.

use super::descriptors::above_standard_streams;
use super::may_sleep::assert_may_sleep;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result};
use std::time::Duration;

/// The most events that one wait gives. The rest stays ready and comes with the next wait; most waits give one or two,
/// and more room on the stack would have to be filled each time.
const MAX_EVENTS: usize = 16;

/// An eventfd: a counter that wakes the thread which watches it.
#[derive(Debug)]
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new() -> Result<Self> {
        assert_may_sleep();
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).and_then(above_standard_streams).map(Event)
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Event(fd)
    }

    /// Wakes the watcher.
    pub(crate) fn signal(&self) {
        self.try_signal();
    }

    /// The same where code of the user's may have closed the descriptor: false if it has.
    pub(crate) fn try_signal(&self) -> bool {
        match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            // Where the counter is full, the watcher has been woken already.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A set of descriptors; each event carries the number it was added with.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> Result<Self> {
        assert_may_sleep();
        epoll::create(epoll::CreateFlags::CLOEXEC).and_then(above_standard_streams).map(Epoll)
    }

    /// Reports each new readiness of `fd` once.
    pub(crate) fn add(&self, fd: impl AsFd, number: u64) -> Result<()> {
        epoll::add(&self.0, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN | epoll::EventFlags::ET)
    }

    /// Stops watching `fd`. An error means that it is not watched.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Sleeps until a descriptor is ready, a signal comes, or the time has passed; gives the numbers of the
    /// ready ones. With a time of zero it does not sleep.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Vec<u64> {
        if timeout != Some(Duration::ZERO) {
            assert_may_sleep();
        }
        let mut events: [epoll::Event; MAX_EVENTS] =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; MAX_EVENTS];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.0, &mut events[..], timeout.as_ref()) {
            Ok(count) => events[..count].iter().map(|event| event.data.u64()).collect(),
            // A signal ended the wait early; every caller checks its condition again anyway.
            Err(Errno::INTR) => Vec::new(),
            Err(error) => panic!("epoll_wait on an epoll of our own failed: {error}"),
        }
    }
}
