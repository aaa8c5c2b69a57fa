//! The bytes of arguments that wait in this process, where the pool limits them.
//!
//! Invariant: with a limit, `bytes` is the sum of what the pieces of all tasks count that wait. Each place that adds, takes or drops
//! such pieces tells it here.

#[derive(Debug, Default)]
pub(crate) struct Queue {
    most: Option<usize>,
    bytes: usize,
    /// Callers that wait for room.
    waiters: usize,
    /// There is room again, and they are to be woken.
    has_room_again: bool,
}

impl Queue {
    pub(super) fn new(most: Option<usize>) -> Self {
        Queue { most, ..Queue::default() }
    }

    /// A task's waiting pieces counted `before` bytes, and count `after` now.
    #[inline]
    pub(super) fn changed(&mut self, before: usize, after: usize) {
        let Some(most) = self.most else { return };
        self.bytes = self.bytes + after - before;
        self.has_room_again |= self.waiters > 0 && after < before && self.bytes <= most;
    }

    pub(super) fn is_full(&self) -> bool {
        self.most.is_some_and(|most| self.bytes > most)
    }

    /// A caller of `run` begins or ceases to wait for room.
    pub(super) fn is_awaited(&mut self, begins: bool) {
        self.waiters = if begins { self.waiters + 1 } else { self.waiters.saturating_sub(1) };
    }

    /// True if there is room again for callers that wait.
    #[inline]
    pub(super) fn has_room_again(&self) -> bool {
        self.has_room_again
    }

    /// True once after there is room again for callers that wait.
    #[inline]
    pub(super) fn take_room_again(&mut self) -> bool {
        std::mem::take(&mut self.has_room_again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_wait_are_woken_once_there_is_room() {
        let mut queue = Queue::new(Some(100));
        queue.changed(0, 90);
        assert!(!queue.is_full());
        queue.changed(40, 60);
        assert!(queue.is_full() && !queue.take_room_again());
        queue.is_awaited(true);
        queue.changed(60, 55);
        assert!(queue.is_full() && !queue.take_room_again());
        queue.changed(55, 50);
        assert!(!queue.is_full() && queue.take_room_again() && !queue.take_room_again());
        queue.changed(50, 51);
        assert!(!queue.take_room_again(), "it has grown");
        let mut none = Queue::new(None);
        none.changed(0, usize::MAX);
        assert!(!none.is_full() && none.bytes == 0);
    }
}
