//! When the supervisor will be awake, whatever happens.
//!
//! Invariant: while the supervisor sleeps, it wakes at `due_ns` at the latest. While it is awake, it
//! reads `due_ns` before it sleeps again. So a caller that wants it awake at a moment stores the moment,
//! and wakes it only if it sleeps beyond that.

use crate::sys::event::Kick;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Alarm {
    due_ns: u64,
    state: State,
    /// Wakes the supervisor.
    kick: Arc<Kick>,
    /// It could not be woken: the host has closed our descriptors.
    is_lost: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Awake,
    Sleeps,
}

impl Alarm {
    pub(crate) fn new(kick: Arc<Kick>) -> Self {
        Alarm { due_ns: u64::MAX, state: State::Sleeps, kick, is_lost: false }
    }

    /// Sees to it that the supervisor is awake at that moment.
    pub(crate) fn wake_by(&mut self, moment_ns: u64) {
        if moment_ns < self.due_ns {
            self.due_ns = moment_ns;
            if self.state == State::Sleeps {
                self.is_lost |= !self.kick.signal();
            }
        }
    }

    /// True if the supervisor cannot be woken any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Wakes the supervisor now: it has something to do.
    pub(crate) fn wake_now(&mut self) {
        self.wake_by(0);
    }

    /// The supervisor is awake. What was due is found by looking; what is ordered from now on is added.
    pub(crate) fn supervisor_woke(&mut self) {
        (self.due_ns, self.state) = (u64::MAX, State::Awake);
    }

    /// The supervisor is about to sleep; it knows of a moment by itself. Gives the moment at which it
    /// must wake.
    #[must_use]
    pub(crate) fn supervisor_sleeps(&mut self, known_ns: Option<u64>) -> Option<u64> {
        self.due_ns = self.due_ns.min(known_ns.unwrap_or(u64::MAX));
        self.state = State::Sleeps;
        (self.due_ns < u64::MAX).then_some(self.due_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::event::Epoll;
    use std::time::Duration;

    /// An alarm, and what tells whether it kicked since the last question.
    fn alarm() -> (Alarm, impl Fn() -> bool) {
        let epoll = Arc::new(Epoll::new().unwrap());
        let kick = Arc::new(Kick::new(&epoll, 1).unwrap());
        (Alarm::new(kick), move || !epoll.wait(Some(Duration::ZERO)).unwrap().is_empty())
    }

    #[test]
    fn a_supervisor_that_sleeps_too_long_is_woken() {
        let (mut alarm, kicked) = alarm();
        alarm.supervisor_woke();
        assert_eq!(alarm.supervisor_sleeps(Some(100)), Some(100));
        alarm.wake_by(100);
        alarm.wake_by(200);
        assert!(!kicked(), "it is awake by then");
        alarm.wake_by(50);
        assert!(kicked());
        alarm.wake_by(60);
        assert!(!kicked(), "it was woken already");
        alarm.wake_now();
        assert!(kicked());
    }

    #[test]
    fn a_supervisor_that_is_awake_is_told_before_it_sleeps() {
        let (mut alarm, kicked) = alarm();
        alarm.supervisor_woke();
        alarm.wake_by(70);
        assert!(!kicked());
        assert_eq!(alarm.supervisor_sleeps(Some(100)), Some(70));
        alarm.supervisor_woke();
        assert_eq!(alarm.supervisor_sleeps(None), None);
        alarm.supervisor_woke();
        alarm.wake_now();
        assert_eq!(alarm.supervisor_sleeps(None), Some(0));
    }
}
