//! When those who look from outside are told of what looks at the workers do not tell.
//!
//! Invariant: after a turn of the supervisor each row has its worker's process, state and end as they are known. What it says of pieces is from the last
//! look that found answers, or from the last change of its state: what is given to a worker that is at work, or taken back from it, changes no row.

use super::Core;
use super::status::Told;
use crate::error::Error;

impl Core {
    /// From now on those who look from outside are told what workers do.
    pub(crate) fn keep_status(&mut self, workers: usize) -> Result<(), Error> {
        let told = Told::new(workers).map_err(|error| Error::system("cannot make shared memory", error))?;
        self.work.status = Some(Box::new(told));
        Ok(())
    }

    /// Tells what has changed.
    pub(crate) fn tell_status(&mut self) {
        if let Some(told) = &mut self.work.status {
            told.tell_all(&self.phase, &mut self.seats, self.lane.seat(), &self.work.tasks);
        }
    }

    /// The same for one seat, at once.
    #[cold]
    pub(super) fn tell_seat(&mut self, seat: usize) {
        if let Some(told) = &mut self.work.status {
            told.tell(seat, self.seats.see_mut(seat), &self.work.tasks);
        }
    }
}
