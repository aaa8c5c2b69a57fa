//! The thread that calls the program's logger and its subscriber of `tracing`, as its pool starts and ends it.
//!
//! Invariant: it holds no pool, but for the moment in which it tells that something was delivered.

#[cfg(feature = "log")]
use super::core::Core;
use super::shared::Shared;
use std::sync::Arc;

impl Shared {
    /// Starts the thread, once there is something to tell.
    pub(super) fn start_log_thread(self: &Arc<Self>) {
        #[cfg(feature = "log")]
        let tell = {
            let shared = Arc::downgrade(self);
            move || {
                if let Some(shared) = shared.upgrade() {
                    shared.with(Core::logs_were_told);
                }
            }
        };
        #[cfg(not(feature = "log"))]
        let tell = || {};
        self.outbox.start_thread(tell);
    }

    /// The pool has ended: its last records and events are delivered.
    pub(super) fn close_outbox(self: &Arc<Self>) {
        // Its workers have ended, and not all of them were reaped.
        #[cfg(feature = "log")]
        {
            let mut next = Some(0);
            while let Some(seat) = next {
                next = self.with(|core| core.take_rest_of_logs(seat)).flatten();
            }
        }
        self.start_log_thread();
        self.outbox.close();
        #[cfg(feature = "log")]
        self.with(Core::give_up_logs);
    }
}
