//! What parent and fork server say to each other, over a socket that no worker holds.
//!
//! | from        | message                      | descriptors beside it                              |
//! |-------------|------------------------------|----------------------------------------------------|
//! | parent      | [`Hello`], before the start  | the parent's pidfd, the settings                   |
//! | fork server | `Intercepted`, `Ready` or `Refused` | -                                           |
//! | parent      | `Spawn`                      | *out*, *back*, and the two events of that worker   |
//! | parent      | `Kill`                       | -                                                  |
//! | fork server | `Spawned` or `SpawnFailed`   | the worker's pidfd                                 |
//! | fork server | `Died`, once it is reaped    | -                                                  |

use crate::codec;
use crate::sys::process::Ending;
use crate::sys::socket::{self, Received};
use rustix::fd::{AsFd, BorrowedFd};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;

/// The first message, which waits in the socket when the image starts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) nonce: u64,
    /// The parent's image; a fork server of another image would call wrong addresses.
    pub(crate) identity: u64,
}

/// A hook: the call in the form that travels, and its encoded value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) call: u64,
    pub(crate) value: Vec<u8>,
}

/// The settings of a pool that concern its processes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) preload: Option<Hook>,
    pub(crate) on_worker_start: Option<Hook>,
    pub(crate) on_worker_exit: Option<Hook>,
    pub(crate) warm_memory_bytes: u64,
    /// How long a result may be; `None` for what the machine allows.
    pub(crate) max_result_bytes: Option<u64>,
    /// A worker that crashes may leave a core file.
    pub(crate) core_files: bool,
    pub(crate) no_new_privileges: bool,
}

/// From the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToServer {
    /// Fork a worker; its descriptors are beside the message.
    Spawn { worker: u32, generation: u32 },
    /// Kill a worker whose pidfd the parent has no room for.
    Kill { worker: u32, generation: u32 },
}

/// To the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromServer {
    /// The image was stopped before `main`.
    Intercepted,
    /// `preload` has run.
    Ready,
    /// It cannot serve, and why.
    Refused(String),
    /// A worker lives; its pidfd is beside the message.
    Spawned { worker: u32, generation: u32, pid: u32 },
    /// A worker could not be forked: the error number.
    SpawnFailed { worker: u32, generation: u32, errno: i32 },
    /// A worker ended and is reaped.
    Died { worker: u32, generation: u32, ending: Ending },
}

/// Sends a message, or fails with `WouldBlock`: the other side may be stopped, and nobody waits for it
/// without looking at what else may come.
pub(crate) fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = codec::encode_message(message).map_err(io::Error::other)?;
    socket::send(socket, &bytes, fds)?;
    Ok(())
}

/// Reads a received message.
pub(crate) fn decode<T: DeserializeOwned>(received: &Received) -> io::Result<T> {
    codec::decode_message(&received.bytes).map_err(io::Error::other)
}
