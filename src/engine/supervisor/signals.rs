//! Signals that have all workers replaced.
//!
//! Invariant: a signal that came after the last question is told by the next one. Its handler sets the word before it wakes the
//! supervisor.

use crate::error::{Error, ErrorKind};
use crate::sys::event::Kick;
use crate::sys::signals::SignalAction;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Debug, Default)]
pub(crate) struct RecycleSignals {
    asked: Arc<AtomicBool>,
    /// They are watched as long as these live.
    _actions: Vec<SignalAction>,
}

impl RecycleSignals {
    /// Watches these signals; each wakes the supervisor.
    pub(crate) fn watch(signals: &[i32], kick: &Arc<Kick>) -> Result<Self, Error> {
        let asked = Arc::new(AtomicBool::new(false));
        let watch = |&signal| {
            SignalAction::new(signal, Arc::clone(&asked), Arc::clone(kick)).map_err(|error| {
                Error::new(
                    ErrorKind::Config,
                    format!("signal {signal} cannot have the workers replaced, since it cannot be handled ({error}): give another, such as SIGUSR1"),
                )
            })
        };
        let actions = signals.iter().map(watch).collect::<Result<_, _>>()?;
        Ok(RecycleSignals { asked, _actions: actions })
    }

    /// True if one came since the last question.
    pub(super) fn came(&self) -> bool {
        // Relaxed: the word is all that there is to see, and the kick comes after it (`SignalAction`).
        self.asked.load(Relaxed) && self.asked.swap(false, Relaxed)
    }
}
