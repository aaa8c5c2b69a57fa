//! The messages between parent and fork server, over a socket that no worker holds.
//!
//! Invariant: a message is sent whole or not at all, and its descriptors with it.
//!
//! | from        | message                      | descriptors with it                                |
//! |-------------|------------------------------|----------------------------------------------------|
//! | parent      | [`Hello::Server`], before the start | the parent's pidfd, the settings, its standard error |
//! | fork server | `Intercepted`, `Ready` or `Refused` | -                                           |
//! | parent      | `Host`, before a `Spawn`     | its standard output and error, as far as they are open |
//! | parent      | `Spawn`                      | *out*, *back*, the two events and the socket of that worker |
//! | parent      | `Kill`                       | -                                                  |
//! | fork server | `Spawned` or `SpawnFailed`   | the worker's pidfd                                 |
//! | fork server | [`Hello::Worker`], to a worker that it starts by exec | *out*, *back*, the two events, the socket, the settings, the standard error |
//! | fork server | `KillFailed`                 | -                                                  |
//! | fork server | `Died`, once it is reaped    | -                                                  |

use crate::codec;
use crate::sys::descriptors::Descriptor;
use crate::sys::memory;
use crate::sys::process::Ending;
use crate::sys::rights::Rights;
use crate::sys::shared_object::Told;
use crate::sys::socket::{self, Received};
use rustix::fd::{AsFd, BorrowedFd};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;

/// The first message. It is in the socket before the image starts. `has_errors`: its last descriptor is the standard error of
/// the process that starts the image, which the image takes for its own (`sys/early_output.rs`).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Hello {
    /// To a fork server.
    Server { known: Known, has_errors: bool, preload: Option<Told> },
    /// To a worker that is started by exec.
    Worker {
        known: Known,
        has_errors: bool,
        preload: Option<Told>,
        worker: u32,
        rights: Option<Rights>,
        signals: HostSignals,
    },
}

/// How the host stands to signals, for a worker that is started by exec.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct HostSignals {
    /// The host's process, where it can be seen: it decides what signals to all do.
    pub(crate) host: Option<u32>,
    /// It ignores SIGCHLD.
    pub(crate) ignores_children: bool,
}

/// What shows that the first message is meant for a process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) nonce: u64,
    /// The parent's image; a fork server of another image would call wrong addresses.
    pub(crate) identity: u64,
}

impl Hello {
    pub(crate) fn known(&self) -> Known {
        match *self {
            Hello::Server { known, .. } | Hello::Worker { known, .. } => known,
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        match *self {
            Hello::Server { has_errors, .. } | Hello::Worker { has_errors, .. } => has_errors,
        }
    }

    /// The shared object that was preloaded, which holds the crate.
    pub(crate) fn take_preload(&mut self) -> Option<Told> {
        match self {
            Hello::Server { preload, .. } | Hello::Worker { preload, .. } => preload.take(),
        }
    }

    /// How many descriptors come with it.
    pub(crate) fn descriptors(&self) -> usize {
        let others = match self {
            Hello::Server { .. } => 2,
            Hello::Worker { .. } => 6,
        };
        others + usize::from(self.has_errors())
    }
}

/// A hook: its call as a word that is valid in every process of this image, and its encoded value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) call: u64,
    pub(crate) value: Vec<u8>,
}

/// The settings of a pool that its processes need.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) preload: Option<Hook>,
    pub(crate) on_worker_start: Option<Hook>,
    pub(crate) on_worker_exit: Option<Hook>,
    /// Makes the state of a worker, before its first piece that asks.
    pub(crate) worker_state: Option<Hook>,
    pub(crate) warm_memory_bytes: u64,
    /// The most bytes of a result; `None` for the default of this machine.
    pub(crate) max_result_bytes: Option<u64>,
    /// True if a worker that crashes may leave a core file.
    pub(crate) core_files: bool,
    pub(crate) no_new_privileges: bool,
    /// Of each worker, and of what it starts.
    pub(crate) niceness: Option<i32>,
    /// The most bytes that a worker may allocate beyond what it has when it is forked.
    pub(crate) worker_data_limit: Option<u64>,
}

/// Messages from the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToServer {
    /// Workers that are ordered from now on have these rights and streams. `streams`: whether standard output and
    /// standard error are open; the descriptors of those that are come with the message.
    Host { rights: Rights, streams: [bool; 2] },
    /// Fork a worker; its descriptors come with the message.
    Spawn { worker: u32, generation: u32 },
    /// Kill a worker that the parent cannot kill: it has no free descriptor for a pidfd, or too few rights.
    Kill { worker: u32, generation: u32 },
}

/// Messages to the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromServer {
    /// The image was stopped before `main`.
    Intercepted,
    /// It serves: `preload` has run, or will run in each worker, since workers are started by exec.
    Ready { executes: bool },
    /// It cannot serve, for this reason.
    Refused(String),
    /// No worker can have the rights that `Host` brought, for this reason.
    CannotFollow(String),
    /// A worker was forked; its pidfd comes with the message.
    Spawned { worker: u32, generation: u32, pid: u32 },
    /// A worker could not be forked, with the error number.
    SpawnFailed { worker: u32, generation: u32, errno: i32 },
    /// A worker cannot be killed, with the error number: it lives on.
    KillFailed { worker: u32, generation: u32, errno: i32 },
    /// A worker ended and was reaped. `printed`: what it printed, if it was executed and ended while it loaded.
    Died { worker: u32, generation: u32, ending: Ending, printed: Option<String> },
}

/// Sends a message, or fails with `WouldBlock`. It never waits: the other side may be stopped, and the sender has other
/// events to handle meanwhile.
pub(crate) fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = codec::encode_message(message).map_err(io::Error::other)?;
    if bytes.len() > socket::MAX_MESSAGE_BYTES {
        return Err(io::Error::other(format!(
            "a message of {} bytes to or from the fork server is too long",
            bytes.len()
        )));
    }
    socket::send(socket, &bytes, fds)?;
    Ok(())
}

/// Reads the settings from their file.
pub(crate) fn read_settings(file: &Descriptor) -> io::Result<Settings> {
    codec::decode_message(&memory::read_file(file)?).map_err(io::Error::other)
}

/// Decodes a received message.
pub(crate) fn decode<T: DeserializeOwned>(received: &Received) -> io::Result<T> {
    codec::decode_message(&received.bytes).map_err(io::Error::other)
}
