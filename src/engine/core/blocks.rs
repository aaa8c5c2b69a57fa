//! Long lists whose entries never move: they lie in blocks of [`BLOCK`].
//!
//! A list that grows by copying moves all of it at once, under the scheduler's lock: of 10,000,000 pieces 240 MB. Here
//! only the first block grows by copying, so that a short list stays small.
//!
//! Invariant: of a [`Blocks`] all blocks but the last are full; of a [`BlockQueue`] no block is empty but the only one.

use std::collections::VecDeque;

/// Entries in a block: a power of two, and about as much as is done in one hold of the lock.
pub(crate) const BLOCK: usize = 1024;

/// A list that grows at its end.
#[derive(Debug)]
pub(crate) struct Blocks<T> {
    blocks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Blocks { blocks: Vec::new(), len: 0 }
    }
}

impl<T> Blocks<T> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, value: T) {
        self.len += 1;
        match self.blocks.last_mut() {
            Some(last) if last.len() < BLOCK => last.push(value),
            _ => self.push_block(value),
        }
    }

    /// Adds `count` entries.
    #[inline]
    pub(crate) fn push_many(&mut self, mut count: usize, value: impl Fn() -> T) {
        while count > 0 {
            match self.blocks.last_mut() {
                Some(last) if last.len() < BLOCK => {
                    let more = count.min(BLOCK - last.len());
                    last.extend((0..more).map(|_| value()));
                    self.len += more;
                    count -= more;
                }
                _ => {
                    self.push_block(value());
                    self.len += 1;
                    count -= 1;
                }
            }
        }
    }

    #[cold]
    fn push_block(&mut self, value: T) {
        let mut block = Vec::with_capacity(if self.blocks.is_empty() { 1 } else { BLOCK });
        block.push(value);
        self.blocks.push(block);
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.blocks.get(index / BLOCK)?.get(index % BLOCK)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.blocks.get_mut(index / BLOCK)?.get_mut(index % BLOCK)
    }

    /// The entries from this one on, up to the end of its block.
    #[inline]
    pub(crate) fn block_from(&self, index: usize) -> &[T] {
        self.blocks.get(index / BLOCK).and_then(|block| block.get(index % BLOCK..)).unwrap_or_default()
    }

    /// The same, to change them.
    #[inline]
    pub(crate) fn block_from_mut(&mut self, index: usize) -> &mut [T] {
        self.blocks.get_mut(index / BLOCK).and_then(|block| block.get_mut(index % BLOCK..)).unwrap_or_default()
    }

    /// The memory of a list of one block, in entries.
    pub(crate) fn capacity(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum()
    }

    /// Empties a short list, which keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.blocks.truncate(1);
        self.blocks.iter_mut().for_each(Vec::clear);
    }
}

/// A list that grows and shrinks at both ends.
#[derive(Debug)]
pub(crate) struct BlockQueue<T> {
    blocks: VecDeque<VecDeque<T>>,
    len: usize,
}

impl<T> Default for BlockQueue<T> {
    fn default() -> Self {
        BlockQueue { blocks: VecDeque::new(), len: 0 }
    }
}

impl<T> BlockQueue<T> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<&T> {
        self.blocks.front()?.front()
    }

    #[inline]
    pub(crate) fn push_back(&mut self, value: T) {
        self.len += 1;
        match self.blocks.back_mut() {
            Some(last) if last.len() < BLOCK => last.push_back(value),
            _ => {
                let mut block = self.new_block();
                block.push_back(value);
                self.blocks.push_back(block);
            }
        }
    }

    pub(crate) fn push_front(&mut self, value: T) {
        self.len += 1;
        match self.blocks.front_mut() {
            Some(first) if first.len() < BLOCK => first.push_front(value),
            _ => {
                let mut block = self.new_block();
                block.push_front(value);
                self.blocks.push_front(block);
            }
        }
    }

    fn new_block(&self) -> VecDeque<T> {
        if self.blocks.is_empty() { VecDeque::new() } else { VecDeque::with_capacity(BLOCK) }
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let first = self.blocks.front_mut()?;
        let value = first.pop_front()?;
        self.len -= 1;
        if first.is_empty() && self.blocks.len() > 1 {
            self.blocks.pop_front();
        }
        Some(value)
    }

    /// Puts an entry where it belongs in a list that is sorted by `key`.
    pub(crate) fn insert_sorted(&mut self, value: T, key: impl Fn(&T) -> usize) {
        let own = key(&value);
        let is_before = |block: &VecDeque<T>| block.back().is_some_and(|last| key(last) < own);
        let at = self.blocks.partition_point(is_before);
        let Some(block) = self.blocks.get_mut(at) else { return self.push_back(value) };
        let position = block.partition_point(|it| key(it) < own);
        block.insert(position, value);
        self.len += 1;
        if block.len() >= 2 * BLOCK {
            let rest = block.split_off(BLOCK);
            self.blocks.insert(at + 1, rest);
        }
    }

    /// The memory that it has, in entries.
    pub(crate) fn capacity(&self) -> usize {
        self.blocks.iter().map(VecDeque::capacity).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_back_what_was_added_and_moves_nothing() {
        let mut blocks = Blocks::default();
        let mut seen = Vec::new();
        for number in 0..3 * BLOCK + 5 {
            blocks.push(number);
            if number % BLOCK == 7 && number > BLOCK {
                seen.push((number, std::ptr::from_ref(blocks.get(number).unwrap())));
            }
        }
        assert_eq!(blocks.len(), 3 * BLOCK + 5);
        assert!(seen.iter().all(|(number, address)| std::ptr::eq(blocks.get(*number).unwrap(), *address)));
        for index in [0, BLOCK - 1, BLOCK, 3 * BLOCK + 4] {
            assert_eq!((blocks.get(index).copied(), blocks.get_mut(index).copied()), (Some(index), Some(index)));
        }
        assert!(blocks.get(3 * BLOCK + 5).is_none() && blocks.get_mut(9 * BLOCK).is_none());
        for (from, count) in [(0, BLOCK), (BLOCK - 1, 1), (3 * BLOCK, 5), (3 * BLOCK + 5, 0), (9 * BLOCK, 0)] {
            assert_eq!((blocks.block_from(from).len(), blocks.block_from_mut(from).len()), (count, count), "{from}");
        }
        blocks.clear();
        assert_eq!((blocks.len(), blocks.get(0)), (0, None));
        assert!((1..=2 * BLOCK).contains(&blocks.capacity()));
    }

    #[test]
    fn a_short_list_is_small() {
        let mut blocks = Blocks::default();
        blocks.push(1_u64);
        assert!(blocks.capacity() < 16);
        let mut queue = BlockQueue::default();
        queue.push_back(1_u64);
        assert!(queue.capacity() < 16);
    }

    #[test]
    fn a_queue_keeps_its_order() {
        let mut queue = BlockQueue::default();
        let (mut first, mut last) = (10 * BLOCK, 10 * BLOCK);
        for step in 0..5 * BLOCK {
            if step % 3 == 0 {
                first -= 1;
                queue.push_front(first);
            } else {
                queue.push_back(last);
                last += 1;
            }
        }
        assert_eq!((queue.len(), queue.front()), (5 * BLOCK, Some(&first)));
        let all: Vec<_> = std::iter::from_fn(|| queue.pop_front()).collect();
        assert!(all.into_iter().eq(first..last));
        assert!(queue.is_empty() && queue.front().is_none());
        assert!(queue.capacity() <= 2 * BLOCK, "one block stays");
        queue.push_back(1);
        assert_eq!(queue.pop_front(), Some(1));
    }

    #[test]
    fn an_entry_finds_its_place() {
        let mut queue = BlockQueue::default();
        let count = 6 * BLOCK;
        for number in (0..count).filter(|number| number % 2 == 0) {
            queue.push_back(number);
        }
        for number in (0..count).filter(|number| number % 2 == 1).rev() {
            queue.insert_sorted(number, |&it| it);
        }
        assert!(queue.blocks.iter().all(|block| block.len() < 2 * BLOCK));
        assert!(std::iter::from_fn(|| queue.pop_front()).eq(0..count));
    }
}
