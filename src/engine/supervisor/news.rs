//! The thread that tells the user what is done about memory.
//!
//! Invariant: nothing waits for it, so a slow function of the user's delays nothing. It ends once the pool has ended and
//! everything was told.

use crate::codec::call::drop_payload;
use crate::engine::core::MemoryNews;
use crate::error::Error;
use crate::stats::memory::MemoryEvent;
use crate::sys::signals::BlockedSignals;
use crossbeam_channel::Sender;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Starts the thread; what is sent is told by `tell`.
pub(crate) fn start(tell: fn(&MemoryEvent)) -> Result<Sender<MemoryNews>, Error> {
    let (sender, news) = crossbeam_channel::unbounded();
    let run = move || {
        for MemoryNews { action, worker, pid, piece, bytes, limit, at_start } in news {
            let function = piece.and_then(|piece| piece.function_name());
            let event = MemoryEvent { action, worker, pid, function, bytes, limit, at_start };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| tell(&event))) {
                drop_payload(payload);
            }
        }
    };
    // The program's signals are for its own threads.
    let signals = BlockedSignals::new();
    let thread = std::thread::Builder::new().name("multicore-memory".to_string()).spawn(run);
    drop(signals);
    thread.map_err(|error| Error::system("cannot start the thread for on_memory", error))?;
    Ok(sender)
}
