//! How a caller that waits is parked and unparked.
//!
//! | `parked`  | the caller                                           | is unparked by           |
//! |-----------|------------------------------------------------------|--------------------------|
//! | `AWAKE`   | looks for itself, under the scheduler's lock         | -                        |
//! | `PARKED`  | does not lead: it sleeps on its own condition variable | `woken` and a notification |
//! | `POLLING` | leads: it sleeps in the callers' epoll               | the callers' eventfd     |
//!
//! A caller that does not wait leaves its waker instead: it is taken from the task when it is to be woken, so each is woken once.
//!
//! Invariant: `parked` is written by its own thread under the scheduler's lock, and read by others under it. So the
//! thread that settles a piece knows whether its waiter must be woken. The waking itself comes after the lock is
//! released, by way of [`Wakes`]. There `unpark` reads `parked` once more: if it has changed, the waiter has looked
//! under the lock meanwhile, so the wake-up is spare and costs one more look.

use crate::backend::waking::KeptWaker;
use crate::sys::event::Kick;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
const POLLING: u8 = 2;

/// What unparks one thread. A thread waits in one place at a time, so it needs one.
#[derive(Debug, Default)]
pub(crate) struct Unparker {
    parked: AtomicU8,
    woken: AtomicBool,
    /// Guards nothing but the sleep itself; nobody holds it for longer than a notification takes.
    sleep: Mutex<()>,
    condvar: Condvar,
}

impl Unparker {
    /// The caller is about to sleep on its condition variable. Under the lock; [`park`](Self::park) follows.
    pub(crate) fn will_park(&self) {
        // Relaxed: a thread that sets it later has taken the lock after this store.
        self.woken.store(false, Ordering::Relaxed);
        self.parked.store(PARKED, Ordering::Relaxed);
    }

    /// The caller is about to sleep in the epoll. Under the lock.
    pub(crate) fn will_poll(&self) {
        self.parked.store(POLLING, Ordering::Relaxed);
    }

    /// The caller looks for itself again. Under the lock.
    pub(crate) fn woke(&self) {
        self.parked.store(AWAKE, Ordering::Relaxed);
    }

    /// True if it must be unparked to notice anything. Under the lock.
    pub(crate) fn must_be_woken(&self) -> bool {
        self.parked.load(Ordering::Relaxed) != AWAKE
    }

    /// Sleeps until unparked, or until the deadline. Without the lock.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        let mut sleep = self.sleep.lock();
        // Relaxed: it is set before, and read under, the mutex that is locked in between.
        while !self.woken.load(Ordering::Relaxed) {
            match deadline {
                Some(deadline) if self.condvar.wait_until(&mut sleep, deadline).timed_out() => return,
                Some(_) => {}
                None => self.condvar.wait(&mut sleep),
            }
        }
    }

    /// Wakes it, wherever it sleeps; if it is awake by now, that costs it one more look.
    fn unpark(&self, kick: &Kick) {
        match self.parked.load(Ordering::Relaxed) {
            // It looks each second, and then finds out why a kick failed.
            POLLING => _ = kick.signal(),
            _ => {
                self.woken.store(true, Ordering::Relaxed);
                // Either the sleeper has not looked yet, or it waits already.
                drop(self.sleep.lock());
                self.condvar.notify_one();
            }
        }
    }
}

/// A waker that a caller has left with its task.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) waker: KeptWaker,
    /// Its caller wants the next outcome as soon as possible.
    pub(crate) is_eager: bool,
}

/// How a caller is woken.
#[derive(Debug)]
pub(crate) enum Sleeper {
    Thread(Arc<Unparker>),
    Waker(Registered),
}

/// The waiter that must be woken because a piece was settled.
#[derive(Debug)]
#[must_use = "a waiter that is not woken sleeps for ever"]
pub(crate) struct Wake(pub(crate) Option<Sleeper>);

impl Wake {
    pub(crate) const NOBODY: Wake = Wake(None);

    /// That waiter, if it sleeps.
    #[inline]
    pub(crate) fn of(unparker: &Arc<Unparker>) -> Wake {
        Wake(unparker.must_be_woken().then(|| Sleeper::Thread(Arc::clone(unparker))))
    }
}

/// Whether callers have left wakers with their tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Polled {
    No,
    /// All of them want all of their tasks: they need not be woken for each piece.
    Patiently,
    Eagerly,
}

/// The waiters that are to be woken once the lock is released, and the number of wakers that tasks keep.
#[derive(Debug, Default)]
#[must_use = "a waiter that is not woken sleeps for ever"]
pub(crate) struct Wakes {
    sleepers: Vec<Sleeper>,
    /// Those that are registered and were neither woken nor dropped, and the eager ones of them.
    registered: usize,
    eager: usize,
}

impl Wakes {
    #[inline]
    pub(crate) fn add(&mut self, wake: Wake) {
        if let Some(sleeper) = wake.0 {
            if let Sleeper::Waker(registered) = &sleeper {
                self.forget(registered);
            }
            self.sleepers.push(sleeper);
        }
    }

    /// A task keeps this waker from now on.
    pub(crate) fn note(&mut self, registered: &Registered) {
        self.registered += 1;
        self.eager += usize::from(registered.is_eager);
    }

    /// It does not keep this one any more.
    pub(crate) fn forget(&mut self, registered: &Registered) {
        self.registered -= 1;
        self.eager -= usize::from(registered.is_eager);
    }

    /// Whether tasks keep wakers, and whether one of these is eager.
    pub(crate) fn polled(&self) -> Polled {
        match (self.registered, self.eager) {
            (0, _) => Polled::No,
            (_, 0) => Polled::Patiently,
            _ => Polled::Eagerly,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.sleepers.is_empty()
    }

    /// Those that are to be woken.
    pub(crate) fn take(&mut self) -> Wakes {
        Wakes { sleepers: std::mem::take(&mut self.sleepers), ..Wakes::default() }
    }

    /// Wakes all of them. Without the lock.
    pub(crate) fn unpark_all(self, kick: &Kick) {
        for sleeper in self.sleepers {
            match sleeper {
                Sleeper::Thread(unparker) => unparker.unpark(kick),
                Sleeper::Waker(registered) => registered.waker.wake(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::event::Epoll;
    use std::time::Duration;

    fn kick() -> Kick {
        Kick::new(&Arc::new(Epoll::new().unwrap()), 1).unwrap()
    }

    #[test]
    fn only_a_waiter_that_sleeps_is_woken() {
        let unparker = Arc::new(Unparker::default());
        assert!(Wake::of(&unparker).0.is_none());
        unparker.will_poll();
        assert!(Wake::of(&unparker).0.is_some());
        unparker.woke();
        assert!(Wake::of(&unparker).0.is_none());
        unparker.will_park();
        assert!(Wake::of(&unparker).0.is_some());
    }

    #[test]
    fn a_wake_up_before_the_sleep_is_not_lost() {
        let (unparker, kick) = (Arc::new(Unparker::default()), kick());
        unparker.will_park();
        let mut wakes = Wakes::default();
        wakes.add(Wake::of(&unparker));
        wakes.unpark_all(&kick);
        // Would sleep for ever.
        unparker.park(None);
    }

    #[test]
    fn a_sleep_ends_at_its_deadline_and_an_old_wake_up_does_not_count() {
        let (unparker, kick) = (Arc::new(Unparker::default()), kick());
        unparker.will_park();
        unparker.unpark(&kick);
        unparker.park(None);
        unparker.will_park();
        let start = Instant::now();
        unparker.park(Some(start + Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
