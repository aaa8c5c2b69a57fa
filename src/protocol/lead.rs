//! The leader: the one caller that collects results for all callers that wait.
//!
//! | `leader`       | which thread reads the rings                                              |
//! |----------------|---------------------------------------------------------------------------|
//! | `Some(waiter)` | that waiter, which spins or sleeps in the callers' epoll                  |
//! | `None`         | no caller waits; workers signal the supervisor for replies that need action |
//!
//! Everything here happens under one lock, which the owner holds, so a waiter that has left can never become the leader.
//! A waiter leaves on every return, time-out and unwinding. If it is the leader at that moment, even if it was made
//! leader just before and does not know it yet, the caller that has waited longest becomes the leader and must be woken.
//!
//! A leader may get no core for seconds, because its thread has a low priority or somebody stopped it. While others rely on
//! it, the supervisor looks too (`Guard` in `core/attention.rs`).
//!
//! Invariant: if a caller waits, there is a leader, and the leader waits.

/// The number of one wait; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId(u64);

/// The callers that wait, in the order of their arrival. `W` holds what is needed to wake a caller, and what the leader
/// must know about it.
#[derive(Debug)]
pub(crate) struct Waiters<W> {
    next: u64,
    leader: Option<WaiterId>,
    waiting: Vec<(WaiterId, W)>,
}

impl<W> Waiters<W> {
    pub(crate) fn new() -> Self {
        Waiters { next: 0, leader: None, waiting: Vec::new() }
    }

    /// Adds a caller that waits. The first one becomes the leader.
    pub(crate) fn enter(&mut self, waiter: W) -> WaiterId {
        self.next += 1;
        let id = WaiterId(self.next);
        self.waiting.push((id, waiter));
        self.leader.get_or_insert(id);
        id
    }

    /// True if this waiter is the leader and must collect.
    pub(crate) fn leads(&self, id: WaiterId) -> bool {
        self.leader == Some(id)
    }

    /// True if there is a leader.
    pub(crate) fn has_leader(&self) -> bool {
        self.leader.is_some()
    }

    /// True if callers wait that do not lead: they rely on the leader.
    pub(crate) fn has_followers(&self) -> bool {
        self.waiting.len() > 1
    }

    /// Removes a waiter. If it was the leader, the waiter that is returned is the new one, and must be woken.
    #[must_use]
    pub(crate) fn leave(&mut self, id: WaiterId) -> Option<&W> {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        if self.leader != Some(id) {
            return None;
        }
        let next = self.waiting.first();
        self.leader = next.map(|(next, _)| *next);
        next.map(|(_, waiter)| waiter)
    }

    pub(crate) fn get_mut(&mut self, id: WaiterId) -> Option<&mut W> {
        self.waiting.iter_mut().find(|(waiting, _)| *waiting == id).map(|(_, waiter)| waiter)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &W> {
        self.waiting.iter().map(|(_, waiter)| waiter)
    }
}

#[cfg(test)]
mod tests;
