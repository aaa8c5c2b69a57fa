//! What a pool does whose descriptors the host has closed.
//!
//! Invariant: nothing is dropped that would close a number, which may be another's now.

use super::core::Core;
use super::shared::Shared;
use std::sync::Arc;

impl Shared {
    /// The host has closed our descriptors, as a program does that closes all that it does not know. Whatever has their
    /// numbers now is another's: the pool ends, and nothing is closed any more.
    pub(super) fn lose_descriptors(&self) {
        let mut core = self.lock();
        core.lose_descriptors();
        #[cfg(feature = "log")]
        core.give_up_logs();
        self.release(core);
        #[cfg(any(feature = "log", feature = "tracing"))]
        self.outbox.close_soon();
        // The supervisor may sleep for ever.
        while self.with(Core::sweep) == Some(true) {}
        // They are never dropped, so they close nothing. The epolls keep those alive that wake them.
        std::mem::forget((Arc::clone(&self.callers), Arc::clone(&self.host)));
        std::mem::forget((Arc::clone(&self.kick), Arc::clone(&self.kick_supervisor)));
    }
}
