//! The tasks that have waiting pieces which may run, in the order of their turns.
//!
//! Invariant: a task stands in `turns` exactly once if `is_listed` says so, and else not at all.
//! Nothing but this file changes either.

use crate::backend::TaskKey;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    turns: VecDeque<TaskKey>,
    /// For each index of a task.
    is_listed: Vec<bool>,
}

impl ReadyQueue {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The task whose turn is next.
    pub(crate) fn first(&self) -> Option<TaskKey> {
        self.turns.front().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = TaskKey> {
        self.turns.iter().copied()
    }

    /// True if the task waits for its turn.
    #[inline]
    pub(crate) fn contains(&self, key: TaskKey) -> bool {
        self.is_listed.get(key.index as usize).is_some_and(|&is_listed| is_listed)
    }

    /// Adds a task behind all others, unless it is there.
    pub(crate) fn push_last(&mut self, key: TaskKey) {
        if !self.contains(key) {
            self.list(key);
            self.turns.push_back(key);
        }
    }

    /// Adds a task before all others, unless it is there: its turn was not over.
    pub(crate) fn push_first(&mut self, key: TaskKey) {
        if !self.contains(key) {
            self.list(key);
            self.turns.push_front(key);
        }
    }

    /// Takes the task whose turn is next.
    pub(crate) fn pop_first(&mut self) -> Option<TaskKey> {
        let key = self.turns.pop_front()?;
        self.is_listed[key.index as usize] = false;
        Some(key)
    }

    /// Removes a task.
    pub(crate) fn remove(&mut self, key: TaskKey) {
        if self.contains(key) {
            self.is_listed[key.index as usize] = false;
            self.turns.retain(|&listed| listed != key);
        }
    }

    /// Removes all tasks.
    pub(crate) fn clear(&mut self) {
        self.turns.clear();
        self.is_listed.fill(false);
    }

    fn list(&mut self, key: TaskKey) {
        let index = key.index as usize;
        if index >= self.is_listed.len() {
            self.is_listed.resize(index + 1, false);
        }
        self.is_listed[index] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> TaskKey {
        TaskKey { index, generation: 0 }
    }

    fn indices(queue: &ReadyQueue) -> Vec<u32> {
        queue.iter().map(|key| key.index).collect()
    }

    #[test]
    fn a_task_waits_for_one_turn_at_a_time() {
        let mut queue = ReadyQueue::default();
        for index in [3, 1, 3, 2, 1] {
            queue.push_last(key(index));
        }
        assert_eq!(indices(&queue), [3, 1, 2]);
        queue.push_first(key(2));
        assert_eq!(indices(&queue), [3, 1, 2]);
        assert_eq!(queue.pop_first(), Some(key(3)));
        assert!(!queue.contains(key(3)) && queue.contains(key(1)));
        queue.push_first(key(3));
        assert_eq!(indices(&queue), [3, 1, 2]);
    }

    #[test]
    fn what_is_removed_may_come_again() {
        let mut queue = ReadyQueue::default();
        queue.push_last(key(0));
        queue.push_last(key(1));
        queue.remove(key(0));
        queue.remove(key(7));
        assert_eq!(indices(&queue), [1]);
        queue.push_last(key(0));
        assert_eq!(indices(&queue), [1, 0]);
        queue.clear();
        assert!(queue.is_empty() && !queue.contains(key(1)));
        queue.push_last(key(1));
        assert_eq!(queue.first(), Some(key(1)));
    }
}
