//! Who collects: of the callers that wait for results, one holds the lead and collects for all.
//!
//! | state of `leader`  | who looks at the rings                                             |
//! |--------------------|--------------------------------------------------------------------|
//! | `Some(waiter)`     | that waiter, spinning or asleep in the callers' epoll               |
//! | `None`             | nobody waits; the supervisor is told what cannot wait               |
//!
//! Everything here happens under the one lock that the owner holds, so there is no instant at
//! which a waiter that has left can be given the lead. A waiter leaves on every return, time-out
//! and unwinding; if it leads then, or was made leader an instant ago and does not know yet, the
//! lead goes on to the one that waits longest, who must be woken.
//!
//! Invariant: if anybody waits, somebody leads, and the leader waits.

/// A number for one wait; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId(u64);

/// Those who wait, in the order in which they came. `W` is what it takes to wake one, and what the
/// leader must know of it.
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

    /// Joins those who wait; the first to come leads.
    pub(crate) fn enter(&mut self, waiter: W) -> WaiterId {
        self.next += 1;
        let id = WaiterId(self.next);
        self.waiting.push((id, waiter));
        self.leader.get_or_insert(id);
        id
    }

    /// True if this waiter must collect.
    pub(crate) fn leads(&self, id: WaiterId) -> bool {
        self.leader == Some(id)
    }

    /// True if somebody collects.
    pub(crate) fn has_leader(&self) -> bool {
        self.leader.is_some()
    }

    /// Leaves; the lead passes to the waiter that is returned, who must be woken.
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &W> {
        self.waiting.iter().map(|(_, waiter)| waiter)
    }
}

#[cfg(test)]
mod tests;
