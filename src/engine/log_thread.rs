//! The thread that calls the program's logger, as its pool starts and ends it.
//!
//! Invariant: it holds no pool, but for the moment in which it tells that something was delivered.

use super::core::Core;
use super::shared::Shared;
use std::sync::Arc;

impl Shared {
    /// Starts the thread that calls the program's logger, once something was logged.
    pub(super) fn start_log_thread(self: &Arc<Self>) {
        let shared = Arc::downgrade(self);
        self.logs.start_thread(move || {
            if let Some(shared) = shared.upgrade() {
                shared.with(Core::logs_were_told);
            }
        });
    }

    /// The pool has ended: its last records are delivered.
    pub(super) fn close_logs(self: &Arc<Self>) {
        // Its workers have ended, and not all of them were reaped.
        let mut next = Some(0);
        while let Some(seat) = next {
            next = self.with(|core| core.take_rest_of_logs(seat)).flatten();
        }
        self.start_log_thread();
        self.logs.close();
        self.with(Core::give_up_logs);
    }
}
