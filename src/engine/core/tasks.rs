//! The tasks of a pool.
//!
//! Invariant: a slot's generation is odd while a task is open there. It grows when its task ends, and a slot that is new
//! begins with a generation that none had, so a key of an ended task finds nothing. In a slot without an open task
//! lies none, or one that is new.

use super::task_state::TaskState;
use crate::backend::TaskKey;

/// The first slots keep the memory of their ended tasks for the next ones: as many as a program with a thread for each of
/// 64 cores has open. A burst of tasks gives the rest back.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The generation with which slots begin.
    first_generation: u32,
}

#[derive(Debug)]
struct Slot {
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
        slot.task.get_or_insert_default();
        TaskKey { index, generation: slot.generation }
    }

    /// Ends a task; gives what is left of it, to be dropped elsewhere.
    pub(crate) fn close(&mut self, key: TaskKey) -> Option<Box<TaskState>> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        let keeps = (key.index as usize) < KEPT && slot.task.as_mut().is_some_and(|task| task.reset());
        let rest = if keeps { None } else { slot.task.take() };
        self.free.push(key.index);
        if self.slots.len() > KEPT && self.len() == 0 {
            self.forget_slots();
        }
        rest
    }

    /// No task is open: gives the memory of many slots back.
    fn forget_slots(&mut self) {
        let forgotten = self.slots.drain(KEPT..).map(|slot| slot.generation).max();
        self.first_generation = self.first_generation.max(forgotten.unwrap_or(0));
        self.slots.shrink_to_fit();
        self.free = (0..KEPT as u32).rev().collect();
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
        let slot = self.slots.get_mut(index).filter(|slot| slot.generation % 2 == 1)?;
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
            assert!(tasks.slots.capacity() <= KEPT && tasks.free.capacity() <= KEPT);
            assert!(burst.iter().all(|&key| tasks.get(key).is_none()));
        }
    }
}
