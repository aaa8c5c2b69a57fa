//! The tasks that have waiting pieces which may run, in the order of their turns.
//!
//! A list through `places`, which has one entry for each index of a task: so a task leaves its place at once, wherever it
//! stands.
//!
//! Invariant: from `first` to `last`, by `next` and back by `previous`, stand the entries whose `key` is set, each once.
//! Nothing but this file changes any of them.

use crate::backend::TaskKey;

/// No index: the end of the list.
const NONE: u32 = u32::MAX;

/// With more places than this, an empty list gives its memory back.
const KEPT: usize = 64;

#[derive(Debug)]
pub(crate) struct ReadyQueue {
    places: Vec<Place>,
    first: u32,
    last: u32,
}

#[derive(Debug, Clone)]
struct Place {
    /// The task that stands here; `None` if none does.
    key: Option<TaskKey>,
    previous: u32,
    next: u32,
}

impl Default for ReadyQueue {
    fn default() -> Self {
        ReadyQueue { places: Vec::new(), first: NONE, last: NONE }
    }
}

impl ReadyQueue {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// The task whose turn is next.
    pub(crate) fn first(&self) -> Option<TaskKey> {
        self.places.get(self.first as usize)?.key
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = TaskKey> + '_ {
        let mut at = self.first;
        std::iter::from_fn(move || {
            let place = self.places.get(at as usize)?;
            at = place.next;
            place.key
        })
    }

    /// True if the task waits for its turn.
    #[inline]
    pub(crate) fn contains(&self, key: TaskKey) -> bool {
        self.places.get(key.index as usize).is_some_and(|place| place.key.is_some())
    }

    /// Adds a task behind all others, unless it is there.
    pub(crate) fn push_last(&mut self, key: TaskKey) {
        if !self.contains(key) {
            self.link(key, self.last, NONE);
        }
    }

    /// Adds a task before all others, unless it is there: its turn was not over.
    pub(crate) fn push_first(&mut self, key: TaskKey) {
        if !self.contains(key) {
            self.link(key, NONE, self.first);
        }
    }

    /// Takes the task whose turn is next.
    pub(crate) fn pop_first(&mut self) -> Option<TaskKey> {
        let key = self.first()?;
        self.remove(key);
        Some(key)
    }

    /// Removes a task.
    pub(crate) fn remove(&mut self, key: TaskKey) {
        if !self.contains(key) {
            return;
        }
        let place = &mut self.places[key.index as usize];
        place.key = None;
        let (previous, next) = (place.previous, place.next);
        *self.next_of(previous) = next;
        *self.previous_of(next) = previous;
        if self.is_empty() && self.places.len() > KEPT {
            self.places = Vec::new();
        }
    }

    fn link(&mut self, key: TaskKey, previous: u32, next: u32) {
        let index = key.index as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, Place { key: None, previous: NONE, next: NONE });
        }
        self.places[index] = Place { key: Some(key), previous, next };
        *self.next_of(previous) = key.index;
        *self.previous_of(next) = key.index;
    }

    /// The word that names what follows this place: at the front it is `first`.
    fn next_of(&mut self, index: u32) -> &mut u32 {
        match self.places.get_mut(index as usize) {
            Some(place) => &mut place.next,
            None => &mut self.first,
        }
    }

    /// The word that names what stands before this place: at the end it is `last`.
    fn previous_of(&mut self, index: u32) -> &mut u32 {
        match self.places.get_mut(index as usize) {
            Some(place) => &mut place.previous,
            None => &mut self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> TaskKey {
        TaskKey { index, generation: 0 }
    }

    fn indices(queue: &ReadyQueue) -> Vec<u32> {
        let forward: Vec<u32> = queue.iter().map(|key| key.index).collect();
        let mut backward = Vec::new();
        let mut at = queue.last;
        while let Some(place) = queue.places.get(at as usize) {
            backward.push(at);
            at = place.previous;
        }
        backward.reverse();
        assert_eq!(forward, backward);
        forward
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
        for index in 0..4 {
            queue.push_last(key(index));
        }
        for (removed, left) in [(7, &[0, 1, 2, 3][..]), (1, &[0, 2, 3]), (3, &[0, 2]), (3, &[0, 2]), (0, &[2])] {
            queue.remove(key(removed));
            assert_eq!(indices(&queue), left, "{removed}");
        }
        queue.push_last(key(0));
        assert_eq!(indices(&queue), [2, 0]);
        assert_eq!((queue.pop_first(), queue.pop_first(), queue.pop_first()), (Some(key(2)), Some(key(0)), None));
        assert!(queue.is_empty() && !queue.contains(key(1)));
        queue.push_last(key(1));
        assert_eq!((queue.first(), indices(&queue)), (Some(key(1)), vec![1]));
    }

    #[test]
    fn an_empty_list_keeps_no_memory_of_many_tasks() {
        let mut queue = ReadyQueue::default();
        (0..1000).for_each(|index| queue.push_last(key(index)));
        (0..1000).rev().for_each(|index| queue.remove(key(index)));
        assert!(queue.places.capacity() <= KEPT);
    }
}
