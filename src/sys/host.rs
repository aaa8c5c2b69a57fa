//! What new workers take from the host: its rights and its standard streams, as they are when the worker is ordered.

use super::descriptors::{StreamId, stream_id};
use super::raw::StandardStream;
use super::rights::{Rights, RightsFile};

/// The state of the host that its workers follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostState {
    pub(crate) rights: Rights,
    /// Standard output and standard error: `None` for one that is closed.
    pub(crate) streams: [Option<StreamId>; 2],
}

/// Reads it, without the scheduler's lock: a file is read.
#[derive(Debug)]
pub(crate) struct HostReader {
    rights: RightsFile,
}

impl HostReader {
    pub(crate) fn open() -> Self {
        HostReader { rights: RightsFile::open() }
    }

    pub(crate) fn read(&self) -> HostState {
        let streams = [StandardStream::Output, StandardStream::Error].map(stream_id);
        HostState { rights: self.rights.read(), streams }
    }
}
