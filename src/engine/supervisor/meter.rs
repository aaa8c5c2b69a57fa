//! Reads what workers use of memory, without the lock: all at once when they are ready, and where a check asks.
//!
//! Invariant: what the fork server has is read in the same turn as what a new worker has, since a part of that is shared.

use crate::engine::core::{FilesOf, GateAnswer, GateQuestion, MemoryAnswer, MemoryQuestion, Unmeasured};
use crate::engine::shared::Shared;
use crate::sys::available;
use crate::sys::clock;
use crate::sys::descriptors::Descriptor;
use crate::sys::usage::{self, Private, Usage};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Whether the machine has swap; `None` until that was read.
    swaps: Option<bool>,
    /// The fork server's files.
    server: Option<Usage>,
}

impl Meter {
    /// Opens the files of new workers, and tells the scheduler what they have now.
    pub(super) fn measure(&mut self, unmeasured: Vec<Unmeasured>, server: Option<&Descriptor>, shared: &Shared) {
        if unmeasured.is_empty() {
            return;
        }
        let swaps = *self.swaps.get_or_insert_with(usage::machine_swaps);
        let server_bytes = server.and_then(|pidfd| self.server_bytes(pidfd, swaps)).unwrap_or(0);
        for Unmeasured { seat, generation, pidfd, is_judged } in unmeasured {
            let measured = Usage::open(&*pidfd, swaps).and_then(|files| {
                let bytes = files.bytes()?;
                let of_lock = if is_judged { Usage::open(&*pidfd, swaps) } else { None };
                Some((FilesOf { shared: Arc::new(files), of_lock }, bytes))
            });
            let mut core = shared.lock();
            core.measured(seat, generation, measured, server_bytes);
            shared.release(core);
        }
    }

    fn server_bytes(&mut self, pidfd: &Descriptor, swaps: bool) -> Option<u64> {
        // The files of one that has ended tell nothing.
        if let Some(bytes) = self.server.as_ref().and_then(Usage::bytes) {
            return Some(bytes);
        }
        self.server = Usage::open(pidfd, swaps);
        self.server.as_ref()?.bytes()
    }
}

/// What is asked about one worker. `None` once it has ended.
pub(super) fn answer(question: MemoryQuestion) -> Option<MemoryAnswer> {
    let MemoryQuestion { seat, generation, files, exactly } = question;
    let exactly = exactly.map(|pidfd| {
        let start_ns = clock::now_ns();
        let private = Private::read(&*pidfd);
        (private, clock::now_ns() - start_ns)
    });
    Some(MemoryAnswer { seat, generation, all: files.bytes()?, exactly })
}

/// What is available, and what workers have that live.
pub(super) fn answer_gate(question: GateQuestion) -> GateAnswer {
    let read = |(seat, generation, files): (usize, u32, Arc<Usage>)| Some((seat, generation, files.bytes()?));
    GateAnswer { workers: question.into_iter().filter_map(read).collect(), available: available::current() }
}
