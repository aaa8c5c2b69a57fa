//! Tasks whose owners have left them to run to their end.
//!
//! Invariant: a task that is listed here drops its outcomes as they come, and nobody else closes it.

use super::{Closed, Core};
use crate::backend::TaskKey;
use std::collections::VecDeque;

/// The most tasks that one look asks: a program may detach a task for each request.
const ASKED: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Detached {
    tasks: VecDeque<TaskKey>,
}

impl Detached {
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.tasks.is_empty()
    }
}

impl Core {
    /// The owner of a task has left it. Drops the outcomes that are there, from this piece on, and gives the piece with which to
    /// go on in the next hold of the lock.
    #[must_use]
    pub(crate) fn detach(&mut self, key: TaskKey, from: usize) -> Option<usize> {
        let task = self.work.tasks.get_mut(key)?;
        if task.detach() {
            self.detached.tasks.push_back(key);
        }
        let next = task.drop_settled(from, &mut self.work.trash);
        // What waited because too much was unread goes on.
        self.reader_came(key);
        if next.is_none() {
            self.close_detached();
            // Nobody waits for its last reply, and somebody must hear of it if that gives memory back.
            self.keep_attention();
        }
        next
    }

    /// Closes some of those of which all pieces have ended.
    #[cold]
    pub(super) fn close_detached(&mut self) {
        for _ in 0..self.detached.tasks.len().min(ASKED) {
            let Some(key) = self.detached.tasks.pop_front() else { break };
            let Some(task) = self.work.tasks.get_mut(key) else { continue };
            task.drop_taken(&mut self.work.trash);
            #[cfg(feature = "log")]
            self.work.outgoing.tell_unseen(task);
            if task.done() < task.len() {
                self.detached.tasks.push_back(key);
                continue;
            }
            task.tell_last_counts();
            let Closed { rest, .. } = self.close_task(key);
            self.work.trash.add_rest(rest);
        }
        #[cfg(feature = "log")]
        self.act_on_logs();
    }
}
