//! What a thread of the parent sleeps on: eventfds, and the epoll that watches them together with
//! the pidfds.
//!
//! Invariant: an eventfd is watched for edges and never read. A worker shares its open file description and
//! could make it blocking between our poll and our read, and then the read would block.

use super::descriptors::above_standard_streams;
use super::may_sleep::assert_may_sleep;
use crate::sys::descriptors::Descriptor;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, Result};
use std::sync::Arc;
use std::time::Duration;

/// The most events that one wait gives. The rest stays ready and comes with the next wait; most waits give one or two,
/// and more room on the stack would have to be filled each time.
const MAX_EVENTS: usize = 16;

/// An eventfd: a counter that wakes the thread which watches it.
#[derive(Debug)]
pub(crate) struct Event(Descriptor);

impl Event {
    pub(crate) fn new() -> Result<Self> {
        assert_may_sleep();
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).and_then(above_standard_streams).map(Event)
    }

    pub(crate) fn from_fd(fd: Descriptor) -> Self {
        Event(fd)
    }

    /// Wakes the watcher. False if code of the user's has closed the descriptor.
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
pub(crate) struct Epoll(Descriptor);

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
    /// ready ones. With a time of zero it does not sleep. An error means that the host has closed our descriptor.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<Vec<u64>> {
        if timeout != Some(Duration::ZERO) {
            assert_may_sleep();
        }
        let mut events: [epoll::Event; MAX_EVENTS] =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; MAX_EVENTS];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.0, &mut events[..], timeout.as_ref()) {
            Ok(count) => Ok(events[..count].iter().map(|event| event.data.u64()).collect()),
            // A signal ended the wait early; every caller checks its condition again anyway.
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Wakes the thread of this process that sleeps in an epoll: a descriptor that is always ready is watched anew. So nothing
/// is ever written. If the host has closed our descriptors and opened others under their numbers, a kick changes none of
/// them. (It also takes no longer than a write to an eventfd: 394 and 450 ns.)
#[derive(Debug)]
pub(crate) struct Kick {
    epoll: Arc<Epoll>,
    ready: Descriptor,
    number: u64,
}

impl Kick {
    /// A kick that tells this number. It takes the events that the epoll has by now.
    pub(crate) fn new(epoll: &Arc<Epoll>, number: u64) -> Result<Self> {
        assert_may_sleep();
        let ready = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).and_then(above_standard_streams)?;
        epoll.add(&ready, number)?;
        epoll.wait(Some(Duration::ZERO))?;
        Ok(Kick { epoll: Arc::clone(epoll), ready, number })
    }

    /// False if the host has closed our descriptors.
    pub(crate) fn signal(&self) -> bool {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::modify(&self.epoll.0, &self.ready, epoll::EventData::new_u64(self.number), flags).is_ok()
    }
}
