//! The tasks of a pool.
//!
//! Invariant: a slot's generation grows when its task ends, and a slot that is new begins with a generation that none
//! had, so a key of an ended task finds nothing.

use super::task_state::TaskState;
use crate::backend::TaskKey;

/// The memory of this many ended tasks is kept, for the next ones: as many as a program with a thread for each of 64
/// cores has open. A burst of tasks gives the rest back.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// New tasks, with the memory of old ones.
    #[expect(clippy::vec_box, reason = "a slot takes it as it is; its memory stays where it is")]
    spare: Vec<Box<TaskState>>,
    /// The generation with which slots begin.
    first_generation: u32,
}

#[derive(Debug)]
struct Slot {
    /// Odd while a task is open here.
    generation: u32,
    task: Option<Box<TaskState>>,
}

impl Tasks {
    /// A new task, with the default settings.
    pub(crate) fn open(&mut self) -> TaskKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: self.first_generation, task: None });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.task = Some(self.spare.pop().unwrap_or_default());
        TaskKey { index, generation: slot.generation }
    }

    /// Ends a task; gives what is left of it, to be dropped elsewhere.
    pub(crate) fn close(&mut self, key: TaskKey) -> Option<Box<TaskState>> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let mut task = slot.task.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        if self.len() == 0 && self.slots.len() > KEPT {
            self.forget_slots();
        }
        if self.spare.len() < KEPT && task.reset() {
            self.spare.push(task);
            return None;
        }
        Some(task)
    }

    /// No task is open: gives the memory of many slots back.
    fn forget_slots(&mut self) {
        let generations = self.slots.iter().map(|slot| slot.generation);
        self.first_generation = generations.max().unwrap_or(self.first_generation);
        (self.slots, self.free) = (Vec::new(), Vec::new());
    }

    #[inline]
    pub(crate) fn get(&self, key: TaskKey) -> Option<&TaskState> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.task.as_deref() } else { None }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: TaskKey) -> Option<&mut TaskState> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.task.as_deref_mut() } else { None }
    }

    /// The task in a slot, if one is open there: for walks in steps. The number of slots ends the walk.
    pub(crate) fn in_slot(&mut self, index: usize) -> Option<(TaskKey, &mut TaskState)> {
        let slot = self.slots.get_mut(index)?;
        let key = TaskKey { index: index as u32, generation: slot.generation };
        Some((key, slot.task.as_deref_mut()?))
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_key_of_an_ended_task_finds_nothing() {
        let mut tasks = Tasks::default();
        let (first, second) = (tasks.open(), tasks.open());
        let open = |tasks: &mut Tasks| (0..tasks.slots()).filter(|&index| tasks.in_slot(index).is_some()).count();
        assert_eq!((tasks.len(), open(&mut tasks)), (2, 2));
        assert!(tasks.get(first).is_some() && tasks.get_mut(second).is_some());
        assert!(tasks.close(first).is_none(), "it is empty: its memory stays");
        assert!(tasks.close(first).is_none() && tasks.get(first).is_none() && tasks.get_mut(first).is_none());
        assert_eq!((tasks.len(), open(&mut tasks)), (1, 1));
        let third = tasks.open();
        assert_eq!(third.index, first.index);
        assert!(tasks.get(first).is_none() && tasks.get(third).is_some());
    }

    /// What 30,000 tasks of 64 pieces took, 138 MB, once stayed until the pool was dropped.
    #[test]
    fn a_burst_of_tasks_leaves_little_memory_and_no_key_comes_again() {
        let (mut tasks, mut keys) = (Tasks::default(), HashSet::new());
        for _ in 0..3 {
            let burst: Vec<_> = (0..10 * KEPT).map(|_| tasks.open()).collect();
            assert!(burst.iter().all(|&key| keys.insert((key.index, key.generation))));
            let returned = burst.iter().filter(|&&key| tasks.close(key).is_some()).count();
            assert_eq!(returned, 9 * KEPT, "to be dropped elsewhere");
            assert!(tasks.spare.len() <= KEPT && tasks.slots.capacity() <= KEPT && tasks.free.capacity() <= KEPT);
            assert!(burst.iter().all(|&key| tasks.get(key).is_none()));
        }
    }
}
