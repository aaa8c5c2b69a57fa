//! The tasks of a pool.
//!
//! Invariant: a slot's generation grows when its task ends, so a key of an ended task finds nothing.

use super::task_state::TaskState;
use crate::backend::TaskKey;

#[derive(Debug, Default)]
pub(crate) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    /// Odd while a task is open here.
    generation: u32,
    /// While no task is open, one that is new, for the next.
    task: TaskState,
}

impl Tasks {
    /// A new task, with the default settings.
    pub(crate) fn open(&mut self) -> TaskKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, task: TaskState::default() });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        TaskKey { index, generation: slot.generation }
    }

    /// Ends a task; gives what is left of it, to be dropped elsewhere. Boxed, because most tasks leave nothing.
    pub(crate) fn close(&mut self, key: TaskKey) -> Option<Box<TaskState>> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        if slot.task.reset() { None } else { Some(Box::new(std::mem::take(&mut slot.task))) }
    }

    #[inline]
    pub(crate) fn get(&self, key: TaskKey) -> Option<&TaskState> {
        let slot = self.slots.get(key.index as usize)?;
        (slot.generation == key.generation).then_some(&slot.task)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: TaskKey) -> Option<&mut TaskState> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.generation == key.generation).then_some(&mut slot.task)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TaskState> {
        self.slots.iter_mut().filter(|slot| slot.generation % 2 == 1).map(|slot| &mut slot.task)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_an_ended_task_finds_nothing() {
        let mut tasks = Tasks::default();
        let (first, second) = (tasks.open(), tasks.open());
        assert_eq!((tasks.len(), tasks.iter_mut().count()), (2, 2));
        assert!(tasks.get(first).is_some() && tasks.get_mut(second).is_some());
        assert!(tasks.close(first).is_none(), "it is empty: its memory stays");
        assert!(tasks.close(first).is_none() && tasks.get(first).is_none() && tasks.get_mut(first).is_none());
        assert_eq!((tasks.len(), tasks.iter_mut().count()), (1, 1));
        let third = tasks.open();
        assert_eq!(third.index, first.index);
        assert!(tasks.get(first).is_none() && tasks.get(third).is_some());
    }
}
