//! The short way of tiny pieces: straight into the ring of one worker, shown to it 16 at a time.
//!
//! A look at the workers costs as much as some tiny pieces. So `run` puts them into the ring of the
//! lane's worker without a look. What that leaves unpublished or unread is found by the thread that
//! looks next, or by the supervisor, which polls while such pieces come.
//!
//! Invariant: while the lane has a worker, the supervisor polls, so nothing lies in the lane's ring
//! unpublished for longer than one polling interval.

use crate::engine::policy::pace::{RUNS_A_LOOK, TINY_BATCH};

#[derive(Debug, Default)]
pub(crate) struct DirectLane {
    /// The seat whose worker gets tiny pieces without a look.
    seat: Option<usize>,
    is_polled: bool,
    /// Tiny pieces that were added since the pool was made.
    added: u64,
    /// The value of `added` when the supervisor asked last.
    seen: u64,
    /// Tiny pieces that were added since the last look.
    unlooked: usize,
    /// Other pieces that were added since the last look.
    runs_since_look: usize,
}

/// What follows from pieces that were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Added {
    /// Nothing: the supervisor polls, and the batch is not full.
    Nothing,
    /// A look at the workers, and a new worker for the lane.
    Look,
    /// What waits is to be given out as always; and the supervisor must be woken so that it polls, if true.
    Dispatch { wake_supervisor: bool },
}

impl DirectLane {
    #[inline]
    pub(crate) fn seat(&self) -> Option<usize> {
        self.seat
    }

    /// True while the supervisor polls.
    pub(crate) fn is_polled(&self) -> bool {
        self.is_polled
    }

    /// True if the next tiny piece is the last one of its batch.
    #[inline]
    pub(crate) fn is_last_of_batch(&self) -> bool {
        self.unlooked + 1 >= TINY_BATCH
    }

    /// The seat from now on.
    pub(crate) fn use_seat(&mut self, seat: Option<usize>) {
        self.seat = seat.filter(|_| self.is_polled);
    }

    /// That seat's worker takes nothing without a look any more.
    pub(crate) fn leave_seat(&mut self, seat: usize) {
        self.seat = self.seat.filter(|&own| own != seat);
    }

    /// Counts tiny pieces that were added.
    #[inline]
    pub(crate) fn tiny_added(&mut self, count: usize) -> Added {
        self.added += count as u64;
        self.unlooked += count;
        if self.unlooked < TINY_BATCH {
            return if self.is_polled { Added::Nothing } else { Added::Dispatch { wake_supervisor: false } };
        }
        self.unlooked = 0;
        if self.is_polled {
            return Added::Look;
        }
        self.is_polled = true;
        Added::Dispatch { wake_supervisor: true }
    }

    /// Counts other pieces that were added and given to no worker. True if it is time for a look.
    #[must_use]
    pub(crate) fn is_look_due(&mut self, count: usize) -> bool {
        self.runs_since_look += count;
        let is_due = self.runs_since_look >= RUNS_A_LOOK;
        if is_due {
            self.runs_since_look = 0;
        }
        is_due
    }

    /// The supervisor asks whether it should poll on: whether tiny pieces came since it asked last. False:
    /// the lane has no worker any more; the seat that it had must be published first.
    pub(crate) fn poll_on(&mut self) -> bool {
        self.is_polled = std::mem::replace(&mut self.seen, self.added) != self.added;
        if !self.is_polled {
            self.seat = None;
        }
        self.is_polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_wakes_the_supervisor_once_and_is_then_worth_a_look() {
        let mut lane = DirectLane::default();
        assert_eq!(lane.tiny_added(TINY_BATCH - 1), Added::Dispatch { wake_supervisor: false });
        lane.use_seat(Some(1));
        assert_eq!(lane.seat(), None, "nobody polls");
        assert!(lane.is_last_of_batch());
        assert_eq!(lane.tiny_added(1), Added::Dispatch { wake_supervisor: true });
        lane.use_seat(Some(1));
        assert_eq!(lane.seat(), Some(1));
        assert_eq!(lane.tiny_added(TINY_BATCH - 1), Added::Nothing);
        assert_eq!(lane.tiny_added(1), Added::Look);
        assert_eq!(lane.tiny_added(64), Added::Look);
    }

    #[test]
    fn the_supervisor_polls_as_long_as_tiny_pieces_come() {
        let mut lane = DirectLane::default();
        assert!(!lane.poll_on());
        let _ = lane.tiny_added(TINY_BATCH);
        lane.use_seat(Some(0));
        assert!(lane.is_polled() && lane.poll_on() && lane.seat() == Some(0));
        let _ = lane.tiny_added(1);
        assert!(lane.poll_on());
        assert!(!lane.poll_on() && lane.seat().is_none());
    }

    #[test]
    fn a_worker_that_is_passed_over_loses_the_lane() {
        let mut lane = DirectLane::default();
        let _ = lane.tiny_added(TINY_BATCH);
        lane.use_seat(Some(2));
        lane.leave_seat(1);
        assert_eq!(lane.seat(), Some(2));
        lane.leave_seat(2);
        assert_eq!(lane.seat(), None);
    }

    #[test]
    fn other_pieces_are_worth_a_look_each_sixteen() {
        let mut lane = DirectLane::default();
        assert!(!lane.is_look_due(RUNS_A_LOOK - 1));
        assert!(lane.is_look_due(1));
        assert!(!lane.is_look_due(1));
    }
}
