//! A pool whose user asked for a timeline: which tasks leave events, and who reads them.
//!
//! Invariant: where nobody asked, this costs one comparison for each task that is opened.

use super::Core;
use super::timeline::{Copied, Timeline};
use crate::backend::TaskKey;
use crate::error::Error;
use crate::stats::timeline::What;

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
        if let Some(timeline) = &mut self.work.timeline {
            timeline.happened(seat, pid, what);
        }
    }
}
