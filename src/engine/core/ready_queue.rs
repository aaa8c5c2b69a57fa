//! The tasks that have waiting pieces which may run, in the order of their turns: a list for each priority.
//!
//! The lists go through `places`, which has one entry for each index of a task: so a task leaves its place at once, wherever it
//! stands. While tasks of one priority wait, they take turns and nothing is counted. Else each cycle of 16 starts is dealt out:
//!
//! | start of the cycle | goes to                                   |
//! |--------------------|-------------------------------------------|
//! | the 8th            | `Normal`, if one waits                    |
//! | the 16th           | `Low`, if one waits                       |
//! | the others         | the highest priority of which one waits   |
//!
//! So each priority of which a task waits has a start within any 16 in a row, and none is searched for.
//!
//! Invariant: from `first` to `last` of each list, by `next` and back by `previous`, stand the entries whose `key` is set and that have its
//! priority, each once. `waiting` has the bit of each list that is not empty. Nothing but this file changes any of them.

use crate::backend::TaskKey;
use crate::backend::priority::Priority;

/// No index: the end of the list.
const NONE: u32 = u32::MAX;

/// With more places than this, an empty list gives its memory back.
const KEPT: usize = 64;

/// The starts of a cycle. With 4, what is low would take a fourth of the workers from what is urgent; with 64, it would stand still for
/// minutes beside pieces that take seconds.
const CYCLE: u8 = 16;

/// The start of the cycle, counted from 0, that `Normal` gets.
const OF_NORMAL: u8 = CYCLE / 2 - 1;

/// The start of the cycle that `Low` gets.
const OF_LOW: u8 = CYCLE - 1;

/// The bit of a list in `waiting`.
const fn bit(priority: Priority) -> u8 {
    1 << priority as u8
}

const LOW: u8 = bit(Priority::Low);
const NORMAL: u8 = bit(Priority::Normal);
const HIGH: u8 = bit(Priority::High);

#[derive(Debug)]
pub(crate) struct ReadyQueue {
    places: Vec<Place>,
    /// By priority.
    lists: [List; 3],
    /// The lists that are not empty.
    waiting: u8,
    /// The starts of this cycle that are over.
    starts: u8,
}

#[derive(Debug, Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

#[derive(Debug, Clone)]
struct Place {
    /// The task that stands here; `None` if none does.
    key: Option<TaskKey>,
    previous: u32,
    next: u32,
    /// Of the task that stands here, or stood here last.
    priority: Priority,
}

/// A task whose turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) key: TaskKey,
    priority: Priority,
    /// The most pieces that it may have begun in this turn; `None`: tasks of its priority alone wait, and nobody counts.
    pub(crate) most: Option<u8>,
}

impl Default for ReadyQueue {
    fn default() -> Self {
        ReadyQueue { places: Vec::new(), lists: [List { first: NONE, last: NONE }; 3], waiting: 0, starts: 0 }
    }
}

impl ReadyQueue {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The task whose turn is next.
    pub(crate) fn first(&self) -> Option<TaskKey> {
        self.first_of(self.next_priority().0)
    }

    fn first_of(&self, priority: Priority) -> Option<TaskKey> {
        self.places.get(self.lists[priority as usize].first as usize)?.key
    }

    /// Whose turn is next, and how many starts it may have.
    #[inline]
    fn next_priority(&self) -> (Priority, Option<u8>) {
        match self.waiting {
            // Nearly always.
            0 | NORMAL => (Priority::Normal, None),
            HIGH => (Priority::High, None),
            LOW => (Priority::Low, None),
            waiting => {
                let (priority, most) = self.deal(waiting);
                (priority, Some(most))
            }
        }
    }

    /// The same where several priorities wait.
    #[cold]
    fn deal(&self, waiting: u8) -> (Priority, u8) {
        let left_until = |start: u8| start.saturating_sub(self.starts);
        match self.starts {
            OF_NORMAL if waiting & NORMAL != 0 => (Priority::Normal, 1),
            OF_LOW if waiting & LOW != 0 => (Priority::Low, 1),
            _ => {
                let highest = if waiting & HIGH != 0 { Priority::High } else { Priority::Normal };
                let most = if self.starts < OF_NORMAL { left_until(OF_NORMAL) } else { left_until(OF_LOW) };
                (highest, most.max(1))
            }
        }
    }

    /// Of the pieces of a turn that [counts](Next::most), this number has been given out.
    #[cold]
    pub(crate) fn count_starts(&mut self, given: usize) {
        self.starts = ((usize::from(self.starts) + given) % usize::from(CYCLE)) as u8;
    }

    /// All of them, those of the highest priority first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TaskKey> + '_ {
        self.lists.iter().rev().flat_map(move |list| {
            let mut at = list.first;
            std::iter::from_fn(move || {
                let place = self.places.get(at as usize)?;
                at = place.next;
                place.key
            })
        })
    }

    /// True if the task waits for its turn.
    #[inline]
    pub(crate) fn contains(&self, key: TaskKey) -> bool {
        self.places.get(key.index as usize).is_some_and(|place| place.key.is_some())
    }

    /// Adds a task behind all others of its priority, unless it is there.
    pub(crate) fn push_last(&mut self, key: TaskKey, priority: Priority) {
        if !self.contains(key) {
            self.link(key, priority, self.lists[priority as usize].last, NONE);
        }
    }

    /// Adds a task that was taken before all others of its priority, unless it is there: its turn was not over.
    pub(crate) fn push_back_first(&mut self, next: Next) {
        if !self.contains(next.key) {
            self.link(next.key, next.priority, NONE, self.lists[next.priority as usize].first);
        }
    }

    /// Takes the task whose turn is next.
    pub(crate) fn pop_first(&mut self) -> Option<Next> {
        let (priority, most) = self.next_priority();
        let key = self.first_of(priority)?;
        self.remove(key);
        Some(Next { key, priority, most })
    }

    /// Removes a task.
    pub(crate) fn remove(&mut self, key: TaskKey) {
        if !self.contains(key) {
            return;
        }
        let place = &mut self.places[key.index as usize];
        place.key = None;
        let (previous, next, priority) = (place.previous, place.next, place.priority);
        *self.next_of(previous, priority) = next;
        *self.previous_of(next, priority) = previous;
        if self.lists[priority as usize].first == NONE {
            self.waiting &= !bit(priority);
        }
        if self.is_empty() && self.places.len() > KEPT {
            self.places = Vec::new();
        }
    }

    fn link(&mut self, key: TaskKey, priority: Priority, previous: u32, next: u32) {
        let index = key.index as usize;
        if index >= self.places.len() {
            let empty = Place { key: None, previous: NONE, next: NONE, priority: Priority::Normal };
            self.places.resize(index + 1, empty);
        }
        self.places[index] = Place { key: Some(key), previous, next, priority };
        *self.next_of(previous, priority) = key.index;
        *self.previous_of(next, priority) = key.index;
        self.waiting |= bit(priority);
    }

    /// The word that names what follows this place: at the front it is `first` of that list.
    fn next_of(&mut self, index: u32, priority: Priority) -> &mut u32 {
        match self.places.get_mut(index as usize) {
            Some(place) => &mut place.next,
            None => &mut self.lists[priority as usize].first,
        }
    }

    /// The word that names what stands before this place: at the end it is `last` of that list.
    fn previous_of(&mut self, index: u32, priority: Priority) -> &mut u32 {
        match self.places.get_mut(index as usize) {
            Some(place) => &mut place.previous,
            None => &mut self.lists[priority as usize].last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Priority::{High, Low, Normal};
    use super::*;

    fn key(index: u32) -> TaskKey {
        TaskKey { index, generation: 0 }
    }

    fn indices(queue: &ReadyQueue) -> Vec<u32> {
        let forward: Vec<u32> = queue.iter().map(|key| key.index).collect();
        let mut backward = Vec::new();
        for (priority, list) in queue.lists.iter().enumerate() {
            let mut at = list.last;
            assert_eq!(queue.waiting >> priority & 1 == 0, at == NONE);
            while let Some(place) = queue.places.get(at as usize) {
                assert_eq!(place.priority as usize, priority);
                backward.push(at);
                at = place.previous;
            }
        }
        backward.reverse();
        assert_eq!(forward, backward);
        forward
    }

    #[test]
    fn a_task_waits_for_one_turn_at_a_time() {
        let mut queue = ReadyQueue::default();
        for index in [3, 1, 3, 2, 1] {
            queue.push_last(key(index), Normal);
        }
        assert_eq!(indices(&queue), [3, 1, 2]);
        let next = queue.pop_first().unwrap();
        assert_eq!(next.key, key(3));
        assert!(!queue.contains(key(3)) && queue.contains(key(1)));
        queue.push_back_first(next);
        assert_eq!(indices(&queue), [3, 1, 2]);
        queue.push_back_first(next);
        assert_eq!(indices(&queue), [3, 1, 2]);
    }

    /// An empty list gives its memory back, and with it a task that waited alone lost its priority where it had no room.
    #[test]
    fn a_task_without_room_keeps_its_priority() {
        for priority in [Low, Normal, High] {
            let mut queue = ReadyQueue::default();
            queue.push_last(key(1000), priority);
            let next = queue.pop_first().unwrap();
            assert!(queue.places.is_empty());
            queue.push_back_first(next);
            assert_eq!(queue.waiting, bit(priority));
        }
    }

    #[test]
    fn what_is_removed_may_come_again() {
        let mut queue = ReadyQueue::default();
        for index in 0..4 {
            queue.push_last(key(index), Normal);
        }
        for (removed, left) in [(7, &[0, 1, 2, 3][..]), (1, &[0, 2, 3]), (3, &[0, 2]), (3, &[0, 2]), (0, &[2])] {
            queue.remove(key(removed));
            assert_eq!(indices(&queue), left, "{removed}");
        }
        queue.push_last(key(0), Normal);
        assert_eq!(indices(&queue), [2, 0]);
        let mut pop = || queue.pop_first();
        let alone = |index| Some(Next { key: key(index), priority: Normal, most: None });
        assert_eq!((pop(), pop(), pop()), (alone(2), alone(0), None));
        assert!(queue.is_empty() && !queue.contains(key(1)));
        queue.push_last(key(1), Normal);
        assert_eq!((queue.first(), indices(&queue)), (Some(key(1)), vec![1]));
    }

    #[test]
    fn an_empty_list_keeps_no_memory_of_many_tasks() {
        let mut queue = ReadyQueue::default();
        (0..1000).for_each(|index| queue.push_last(key(index), Normal));
        (0..1000).rev().for_each(|index| queue.remove(key(index)));
        assert!(queue.places.capacity() <= KEPT);
    }

    /// The priorities of the next starts, if tasks of these always wait; each turn is used as far as it may be, or by one piece.
    fn starts(waiting: &[Priority], count: usize, fully: bool) -> Vec<Priority> {
        let mut queue = ReadyQueue::default();
        for (index, &priority) in waiting.iter().enumerate() {
            queue.push_last(key(index as u32), priority);
        }
        let mut starts = Vec::new();
        while starts.len() < count {
            let first = queue.first();
            let next = queue.pop_first().unwrap();
            assert_eq!(Some(next.key), first);
            let priority = waiting[next.key.index as usize];
            let given = next.most.map_or(1, |most| if fully { usize::from(most) } else { 1 });
            starts.extend(std::iter::repeat_n(priority, given));
            if next.most.is_some() {
                queue.count_starts(given);
            }
            queue.push_last(next.key, priority);
        }
        starts.truncate(count);
        starts
    }

    #[test]
    fn of_sixteen_starts_what_is_low_and_what_is_normal_get_one_each_at_least() {
        for fully in [true, false] {
            for (waiting, expected) in [
                (&[Low, Normal, High][..], [1, 1, 14]),
                (&[Low, Normal], [1, 15, 0]),
                (&[Low, High], [1, 0, 15]),
                (&[Normal, High], [0, 1, 15]),
                (&[High, High, High, Low, Low], [1, 0, 15]),
                (&[Low], [16, 0, 0]),
                (&[Normal, Normal], [0, 16, 0]),
                (&[High], [0, 0, 16]),
            ] {
                let starts = starts(waiting, 160, fully);
                for cycle in starts.chunks(16) {
                    let counts = [Low, Normal, High].map(|it| cycle.iter().filter(|&&start| start == it).count());
                    assert_eq!(counts, expected, "{waiting:?}");
                }
            }
        }
    }

    #[test]
    fn tasks_of_one_priority_take_turns_whatever_else_waits() {
        let mut queue = ReadyQueue::default();
        for (index, priority) in [(0, Low), (1, High), (2, Normal), (3, High), (4, Low)] {
            queue.push_last(key(index), priority);
        }
        assert_eq!(indices(&queue), [1, 3, 2, 0, 4]);
        let mut turns = Vec::new();
        for _ in 0..32 {
            let next = queue.pop_first().unwrap();
            let key = next.key;
            assert!(next.most.is_some());
            turns.push(key.index);
            queue.count_starts(1);
            // What had no room comes first again, in its own list.
            queue.push_back_first(next);
            let priority = [Low, High, Normal, High, Low][key.index as usize];
            queue.remove(key);
            queue.push_last(key, priority);
        }
        for (these, expected) in [([1, 3], 28), ([0, 4], 2), ([2, 2], 2)] {
            let of: Vec<u32> = turns.iter().copied().filter(|turn| these.contains(turn)).collect();
            assert_eq!(of.len(), expected);
            assert!(of.windows(2).all(|two| these[0] == these[1] || two[0] != two[1]), "{of:?}");
        }
    }

    /// Nothing is counted while one priority waits.
    #[test]
    fn a_priority_that_waits_alone_may_have_all_starts() {
        let mut queue = ReadyQueue::default();
        queue.push_last(key(0), High);
        assert_eq!(queue.pop_first(), Some(Next { key: key(0), priority: High, most: None }));
        queue.push_last(key(0), High);
        queue.push_last(key(1), Low);
        assert_eq!(queue.pop_first(), Some(Next { key: key(0), priority: High, most: Some(7) }));
        assert_eq!(queue.pop_first(), Some(Next { key: key(1), priority: Low, most: None }));
    }
}
