//! The sockets between parent and fork server, and from the parent to each worker: whole messages, with descriptors beside them.
//!
//! Sending never waits; receiving waits only if it is asked to.

use super::descriptors::above_standard_streams;
use super::may_sleep::assert_may_sleep;
use crate::sys::descriptors::Descriptor;
use rustix::cmsg_space;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// The length of the longest message, 16 KiB: the reason why a hook failed, of up to 4,000 characters. Longer
/// things travel as memfds. The receiver reserves this for each message, so a larger limit would cost each.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// The most descriptors that one message brings: the first message to a worker that is executed has seven, the most of all.
/// The rest is room for one more kind; the kernel's own limit is 253.
pub(crate) const MAX_FDS: usize = 8;

/// A received message.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// Fewer than were sent if this process has reached its limit of descriptors.
    pub(crate) fds: Vec<Descriptor>,
}

/// Two connected ends, both closed at exec.
pub(crate) fn pair() -> Result<(Descriptor, Descriptor)> {
    assert_may_sleep();
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((above_standard_streams(one)?, above_standard_streams(other)?))
}

/// Sends one message. If the other side would have to read first, it fails with `AGAIN`.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    assert!(bytes.len() <= MAX_MESSAGE_BYTES && fds.len() <= MAX_FDS);
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            // A message of this kind is sent whole or not at all.
            Ok(_) => return Ok(()),
        }
    }
}

/// True if the kernel lacks memory for a message, or too many descriptors of this user are on their way: that passes, and not by the other
/// side alone.
pub(crate) fn is_short_of_memory(error: &std::io::Error) -> bool {
    let passing = [Errno::TOOMANYREFS, Errno::NOBUFS, Errno::NOMEM];
    passing.into_iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Receives one message; `None` at the end of the connection. Without `wait` it fails with
/// `AGAIN` if there is no message. One longer than [`MAX_MESSAGE_BYTES`] is a `MSGSIZE` error.
pub(crate) fn receive(socket: impl AsFd, wait: bool) -> Result<Option<Received>> {
    if wait {
        assert_may_sleep();
    }
    let mut bytes = vec![0; MAX_MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    let flags = RecvFlags::CMSG_CLOEXEC | if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let (message, fds) = loop {
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
            // The other side closed its end and left messages of ours unread. The kernel reports that once,
            // before the messages that the other side had sent.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(error) => return Err(error),
            Ok(message) => {
                let fds: Vec<Descriptor> = ancillary
                    .drain()
                    .filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                        _ => None,
                    })
                    .flatten()
                    .map_while(|fd| above_standard_streams(fd).ok())
                    .collect();
                break (message, fds);
            }
        }
    };
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(message.bytes);
    Ok(Some(Received { bytes, fds }))
}

/// Ends the connection for every process that holds this end: the other side reads its end behind what was sent.
pub(crate) fn end(socket: impl AsFd) {
    // It fails only where the other side has ended it.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// The process that made the socket pair; `None` if this is no socket.
pub(crate) fn maker(socket: impl AsFd) -> Option<u32> {
    let credentials = rustix::net::sockopt::socket_peercred(&socket).ok()?;
    u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
}
