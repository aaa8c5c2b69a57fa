//! What waits in this process, where the pool limits it: pieces, and the bytes of their arguments.
//!
//! Invariant: with a limit, `waiting` is the sum of what the pieces of all tasks count that wait. Each place that adds, takes or drops
//! such pieces tells it here.

use crate::error::{Error, ErrorKind};

/// What waits of one task, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) pieces: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// While more bytes wait, so do callers of `run`.
    most_bytes: Option<usize>,
    /// While more pieces wait, no task is opened.
    most_pieces: Option<usize>,
    waiting: Waiting,
    /// Callers that wait for room.
    waiters: usize,
    /// There is room again, and they are to be woken.
    has_room_again: bool,
}

impl Queue {
    pub(super) fn new(most_bytes: Option<usize>, most_pieces: Option<usize>) -> Self {
        Queue { most_bytes, most_pieces, ..Queue::default() }
    }

    /// A task's waiting pieces counted `before`, and count `after` now.
    #[inline]
    pub(super) fn changed(&mut self, before: Waiting, after: Waiting) {
        if self.most_bytes.is_none() && self.most_pieces.is_none() {
            return;
        }
        let Waiting { pieces, bytes } = self.waiting;
        self.waiting =
            Waiting { pieces: pieces + after.pieces - before.pieces, bytes: bytes + after.bytes - before.bytes };
        self.has_room_again |= self.waiters > 0 && after.bytes < before.bytes && !self.is_full();
    }

    pub(super) fn is_full(&self) -> bool {
        self.most_bytes.is_some_and(|most| self.waiting.bytes > most)
    }

    /// Whether a task may be opened.
    pub(super) fn admit(&self) -> Result<(), Error> {
        match self.most_pieces {
            Some(most) if self.waiting.pieces > most => Err(busy(self.waiting.pieces, most)),
            _ => Ok(()),
        }
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

#[cold]
fn busy(waiting: usize, most: usize) -> Error {
    let message = format!("busy: {waiting} pieces wait, and the pool opens no task while more than {most} do");
    Error::new(ErrorKind::Busy, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: usize) -> Waiting {
        Waiting { pieces: 1, bytes }
    }

    #[test]
    fn callers_that_wait_are_woken_once_there_is_room() {
        let mut queue = Queue::new(Some(100), None);
        queue.changed(bytes(0), bytes(90));
        assert!(!queue.is_full());
        queue.changed(bytes(40), bytes(60));
        assert!(queue.is_full() && !queue.take_room_again());
        queue.is_awaited(true);
        queue.changed(bytes(60), bytes(55));
        assert!(queue.is_full() && !queue.take_room_again());
        queue.changed(bytes(55), bytes(50));
        assert!(!queue.is_full() && queue.take_room_again() && !queue.take_room_again());
        queue.changed(bytes(50), bytes(51));
        assert!(!queue.take_room_again(), "it has grown");
        let mut none = Queue::new(None, None);
        none.changed(bytes(0), bytes(usize::MAX));
        assert!(!none.is_full() && none.waiting.bytes == 0);
    }
    #[test]
    fn a_task_is_opened_up_to_the_limit_of_pieces_that_wait() {
        let mut queue = Queue::new(None, Some(2));
        let pieces = |pieces| Waiting { pieces, bytes: 64 * pieces };
        queue.changed(pieces(0), pieces(2));
        assert!(queue.admit().is_ok() && !queue.is_full());
        queue.changed(pieces(0), pieces(5));
        let error = queue.admit().unwrap_err();
        let expected = "busy: 7 pieces wait, and the pool opens no task while more than 2 do";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Busy, expected));
        queue.changed(pieces(5), pieces(0));
        assert!(queue.admit().is_ok());
    }
}
