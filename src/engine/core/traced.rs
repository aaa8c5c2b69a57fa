//! A pool whose user asked for a timeline: which tasks leave events, and who reads them; what a subscriber of `tracing` hears of workers.
//!
//! Invariant: where nobody asked, this costs one comparison for each task that is opened.

use super::Core;
use super::timeline::{Copied, Timeline};
use crate::backend::TaskKey;
#[cfg(feature = "tracing")]
use crate::backend::traced;
#[cfg(any(feature = "log", feature = "tracing"))]
use crate::engine::outbox::Outbox;
use crate::error::Error;
use crate::stats::timeline::What;
#[cfg(any(feature = "log", feature = "tracing"))]
use std::sync::Arc;

impl Core {
    /// From now on each piece leaves an event. There are this many, at most.
    pub(crate) fn keep_timeline(&mut self, events: usize) -> Result<(), Error> {
        if events > 0 {
            self.work.timeline = Some(Box::new(Timeline::new(events)?));
        }
        Ok(())
    }

    /// The pieces of a task that was just opened are timed.
    #[cold]
    pub(super) fn trace(&mut self, key: TaskKey) {
        if let Some(task) = self.work.tasks.get_mut(key) {
            task.trace();
        }
    }

    /// Some events of the timeline from this number on. Ask until there is no next one.
    pub(crate) fn copy_events(&mut self, from: u64) -> Copied {
        self.work.timeline.as_mut().map_or_else(Copied::default, |timeline| timeline.copy(from))
    }

    /// Something has happened to the worker in a seat.
    pub(super) fn note_worker(&mut self, seat: usize, pid: Option<u32>, what: What) {
        if let (Some(told), What::Lost(cause)) = (&mut self.work.status, &what) {
            told.lost(seat, *cause);
        }
        #[cfg(feature = "tracing")]
        self.tell_of_worker(seat, pid, &what);
        if let Some(timeline) = &mut self.work.timeline {
            timeline.happened(seat, pid, what);
        }
    }

    /// The program's subscriber of `tracing` hears of it.
    #[cfg(feature = "tracing")]
    fn tell_of_worker(&mut self, seat: usize, pid: Option<u32>, what: &What) {
        match what {
            What::Started if traced::hears_of_workers() => {
                self.work.outgoing.worker(seat, pid, traced::What::WorkerStarted)
            }
            What::Lost(cause) if traced::hears_of_losses() => {
                self.work.outgoing.worker(seat, pid, traced::What::WorkerLost { cause: cause.to_string() });
            }
            _ => {}
        }
        self.act_on_outgoing();
    }
}

#[cfg(any(feature = "log", feature = "tracing"))]
impl Core {
    /// What is on its way.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.work.outgoing.way
    }

    /// The supervisor starts the thread, if it is needed.
    #[inline]
    pub(super) fn act_on_outgoing(&mut self) {
        if std::mem::take(&mut self.work.outgoing.needs_thread) {
            self.alarm.wake_now();
        }
    }

    /// The same after a look, with what follows from a log.
    #[inline]
    pub(super) fn act_on_told(&mut self) {
        #[cfg(feature = "log")]
        self.act_on_logs();
        #[cfg(not(feature = "log"))]
        self.act_on_outgoing();
    }

    /// True if the thread is to be woken, without the lock.
    #[inline]
    pub(crate) fn wakes_outbox(&mut self) -> bool {
        self.work.outgoing.wakes_thread
    }

    /// The same, and from now on it is woken.
    pub(crate) fn take_wake_of_outbox(&mut self) -> Option<Arc<Outbox>> {
        std::mem::take(&mut self.work.outgoing.wakes_thread).then(|| Arc::clone(&self.work.outgoing.way))
    }
}
