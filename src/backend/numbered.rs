//! A list whose entries keep their numbers while the first ones go.
//!
//! Invariant: the memory is that of the entries that are there, up to a constant factor.

use std::collections::VecDeque;

/// A list with less room than this keeps it.
const SHORT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Numbered<T> {
    /// The number of the first entry that is there.
    first: usize,
    entries: VecDeque<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Numbered { first: 0, entries: VecDeque::new() }
    }
}

impl<T> Numbered<T> {
    /// How many entries ever came: the number of the next one.
    pub(crate) fn len(&self) -> usize {
        self.first + self.entries.len()
    }

    pub(crate) fn push(&mut self, entry: T) {
        self.entries.push_back(entry);
    }

    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.entries.get(number.checked_sub(self.first)?)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.entries.get_mut(number.checked_sub(self.first)?)
    }

    /// The number of the first entry that is there.
    #[cfg_attr(not(feature = "journal"), allow(dead_code))]
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// Lets the first entry go if `is_over` says so.
    pub(crate) fn pop_if(&mut self, is_over: impl FnOnce(&T) -> bool) -> Option<T> {
        if !is_over(self.entries.front()?) {
            return None;
        }
        self.first += 1;
        let entry = self.entries.pop_front();
        if self.entries.capacity() > SHORT && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(2 * self.entries.len());
        }
        entry
    }

    #[cfg_attr(not(feature = "journal"), allow(dead_code))]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_memory_goes() {
        let mut list = Numbered::default();
        let count = if cfg!(miri) { 2 * SHORT } else { 100 * SHORT };
        (0..count).for_each(|number| list.push(number));
        for number in 0..count {
            assert_eq!((list.get(number), list.first()), (Some(&number), number));
            assert_eq!(list.get_mut(number), Some(&mut { number }));
            assert!(list.pop_if(|_| false).is_none());
            assert_eq!(list.pop_if(|&entry| entry == number), Some(number));
            assert!(list.get(number).is_none());
            assert!(list.get_mut(number).is_none());
        }
        assert_eq!(list.iter_mut().count(), 0);
        assert_eq!((list.len(), list.pop_if(|_| true)), (count, None));
        assert!(list.entries.capacity() <= SHORT);
        list.push(7);
        assert_eq!((list.get(count), list.len()), (Some(&7), count + 1));
    }
}
