//! Long lists whose entries never move: they lie in blocks.
//!
//! A list that grows by copying moves all of it at once, under the scheduler's lock: of 10,000,000 pieces 240 MB. Here
//! only the first block grows by copying, so that a short list stays small.
//!
//! Each block is larger than all before it. With equal ones, a task of 200,000 pieces gave the memory of each back to the kernel
//! one by one, and the next task took 3,000 page faults to get it again. The C library keeps up to twice as much as the
//! largest block that it got back; so the last block of a [`Blocks`] is three quarters of it.
//!
//! Invariant: of a [`Blocks`] all blocks but the last are full, and up to block `n` there is room for `BLOCK << 2 * n`
//! entries. In a [`BlockQueue`] no block is empty but a small one that is the only one, and none has room for more than
//! [`LARGEST`].

use std::collections::VecDeque;

/// Entries in the first block: a power of two, and about as much as is done in one hold of the lock.
pub(crate) const BLOCK: usize = 1024;

/// A list that grows at its end.
#[derive(Debug)]
pub(crate) struct Blocks<T> {
    blocks: Vec<Vec<T>>,
    len: usize,
    /// The number of entries for which the last block has room; 0 without one.
    last_room: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Blocks { blocks: Vec::new(), len: 0, last_room: 0 }
    }
}

/// The block of an entry, and its index there.
#[inline(always)]
fn place_of(index: usize) -> (usize, usize) {
    match (index / BLOCK).checked_ilog2() {
        None => (0, index),
        Some(log) => {
            let before = log as usize / 2;
            (before + 1, index - room_of(before))
        }
    }
}

/// The number of entries for which there is room up to this block.
#[inline(always)]
fn room_of(block: usize) -> usize {
    BLOCK << (2 * block)
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
            Some(last) if last.len() < self.last_room => last.push(value),
            _ => self.push_block(value),
        }
    }

    /// Adds `count` entries.
    #[inline]
    pub(crate) fn push_many(&mut self, count: usize, value: impl Fn() -> T) {
        let end = self.len + count;
        while self.len < end {
            match self.blocks.last_mut() {
                Some(last) if last.len() < self.last_room => {
                    let more = (end - self.len).min(self.last_room - last.len());
                    last.extend((0..more).map(|_| value()));
                    self.len += more;
                }
                _ => {
                    self.len += 1;
                    self.push_block(value());
                }
            }
        }
    }

    #[cold]
    fn push_block(&mut self, value: T) {
        let block = self.blocks.len();
        let before = if block == 0 { 0 } else { room_of(block - 1) };
        self.last_room = room_of(block) - before;
        let mut block = Vec::with_capacity(if block == 0 { 1 } else { self.last_room });
        block.push(value);
        self.blocks.push(block);
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let (block, index) = place_of(index);
        self.blocks.get(block)?.get(index)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let (block, index) = place_of(index);
        self.blocks.get_mut(block)?.get_mut(index)
    }

    /// The entries from this one on, up to the end of its block, and at most [`BLOCK`] of them.
    #[inline]
    pub(crate) fn part_from(&self, index: usize) -> &[T] {
        let (block, index) = place_of(index);
        let part = self.blocks.get(block).and_then(|block| block.get(index..)).unwrap_or_default();
        &part[..part.len().min(BLOCK)]
    }

    /// The same, to change them.
    #[inline]
    pub(crate) fn part_from_mut(&mut self, index: usize) -> &mut [T] {
        let (block, index) = place_of(index);
        let part = self.blocks.get_mut(block).and_then(|block| block.get_mut(index..)).unwrap_or_default();
        let most = part.len().min(BLOCK);
        &mut part[..most]
    }

    /// The memory that it has, in entries.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum()
    }

    /// True if it has memory for at most this many entries.
    #[inline]
    pub(crate) fn is_small(&self, most: usize) -> bool {
        self.blocks.len() <= 1 && self.blocks.first().is_none_or(|block| block.capacity() <= most)
    }

    /// Empties a short list, which keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.blocks.truncate(1);
        self.last_room = BLOCK * self.blocks.len();
        self.blocks.iter_mut().for_each(Vec::clear);
    }
}

/// The entries of the largest block of a [`BlockQueue`]: to split one moves half of it, 1.3 MB.
const LARGEST: usize = 64 * BLOCK;

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

/// True if one more entry makes no large block move.
#[inline]
fn has_room<T>(block: &VecDeque<T>) -> bool {
    block.len() < block.capacity().max(BLOCK)
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
            Some(last) if has_room(last) => last.push_back(value),
            last => {
                let block = new_block(last.map(|last| &*last), value);
                self.blocks.push_back(block);
            }
        }
    }

    pub(crate) fn push_front(&mut self, value: T) {
        self.len += 1;
        match self.blocks.front_mut() {
            Some(first) if has_room(first) => first.push_front(value),
            first => {
                let block = new_block(first.map(|first| &*first), value);
                self.blocks.push_front(block);
            }
        }
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let first = self.blocks.front_mut()?;
        let value = first.pop_front()?;
        self.len -= 1;
        if first.is_empty() {
            self.drop_first();
        }
        Some(value)
    }

    /// Its first block is empty. A short list keeps its memory.
    fn drop_first(&mut self) {
        if self.blocks.len() > 1 || self.blocks[0].capacity() > BLOCK {
            self.blocks.pop_front();
        }
    }

    /// Puts an entry where it belongs in a list that is sorted by `key`.
    pub(crate) fn insert_sorted(&mut self, value: T, key: impl Fn(&T) -> usize) {
        let own = key(&value);
        let at = self.blocks.partition_point(|block| block.back().is_some_and(|last| key(last) < own));
        let Some(block) = self.blocks.get_mut(at) else { return self.push_back(value) };
        let position = block.partition_point(|it| key(it) < own);
        self.len += 1;
        if block.len() < BLOCK {
            return block.insert(position, value);
        }
        match at.checked_sub(1).map(|before| &mut self.blocks[before]) {
            Some(before) if position == 0 && has_room(before) => before.push_back(value),
            _ => self.split(at, position, value),
        }
    }

    /// Puts an entry into a long block, which is split there: to make room in it would move up to half of it for each entry
    /// that comes. What lies next to this one has a short block from now on.
    fn split(&mut self, at: usize, position: usize, value: T) {
        let block = &mut self.blocks[at];
        if position <= block.len() / 2 {
            let mut first = VecDeque::with_capacity(position + 1);
            first.extend(block.drain(..position));
            first.push_back(value);
            self.blocks.insert(at, first);
        } else {
            let last = block.drain(position..).collect();
            block.push_back(value);
            self.blocks.insert(at + 1, last);
        }
    }

    /// True if it has memory for at most this many entries.
    #[inline]
    pub(crate) fn is_small(&self, most: usize) -> bool {
        self.blocks.len() <= 1 && self.blocks.front().is_none_or(|block| block.capacity() <= most)
    }

    /// The memory that it has, in entries.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.blocks.iter().map(VecDeque::capacity).sum()
    }
}

/// A block beside a full one, or the first one.
#[cold]
fn new_block<T>(neighbour: Option<&VecDeque<T>>, value: T) -> VecDeque<T> {
    let mut block = match neighbour {
        None => VecDeque::new(),
        Some(full) => VecDeque::with_capacity((2 * full.len()).clamp(BLOCK, LARGEST)),
    };
    block.push_back(value);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_back_what_was_added_and_moves_nothing() {
        let mut blocks = Blocks::default();
        let mut seen = Vec::new();
        for number in 0..20 * BLOCK {
            blocks.push(number);
            if number % BLOCK == 7 && number > BLOCK {
                seen.push((number, std::ptr::from_ref(blocks.get(number).unwrap())));
            }
        }
        assert_eq!(blocks.len(), 20 * BLOCK);
        assert!(seen.iter().all(|(number, address)| std::ptr::eq(blocks.get(*number).unwrap(), *address)));
        assert!(
            (0..20 * BLOCK)
                .all(|index| blocks.get(index) == Some(&index) && blocks.get_mut(index) == Some(&mut { index }))
        );
        assert!(blocks.get(20 * BLOCK).is_none() && blocks.get_mut(90 * BLOCK).is_none());
        // Blocks end behind 1, 4 and 16 times as many.
        for (from, count) in [
            (0, BLOCK),
            (BLOCK - 1, 1),
            (BLOCK, BLOCK),
            (4 * BLOCK - 5, 5),
            (4 * BLOCK, BLOCK),
            (8 * BLOCK, BLOCK),
            (16 * BLOCK - 1, 1),
            (20 * BLOCK - 7, 7),
            (20 * BLOCK, 0),
            (90 * BLOCK, 0),
        ] {
            assert_eq!((blocks.part_from(from).len(), blocks.part_from_mut(from).len()), (count, count), "{from}");
            assert!(blocks.part_from(from).first().is_none_or(|first| *first == from));
        }
        blocks.clear();
        assert_eq!((blocks.len(), blocks.get(0)), (0, None));
        assert!((1..=2 * BLOCK).contains(&blocks.capacity()));
    }

    #[test]
    fn many_entries_are_added_as_one_by_one() {
        for counts in [[1, 0, 5], [BLOCK - 1, 1, 1], [BLOCK, 2 * BLOCK, 3], [5, 20 * BLOCK, 1]] {
            let (mut blocks, next) = (Blocks::default(), std::cell::Cell::new(0));
            counts.iter().for_each(|&count| blocks.push_many(count, || next.replace(next.get() + 1)));
            let total: usize = counts.iter().sum();
            assert_eq!((blocks.len(), next.get()), (total, total), "{counts:?}");
            assert!((0..total).all(|index| blocks.get(index) == Some(&index)) && blocks.get(total).is_none());
        }
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
        assert!(queue.capacity() <= BLOCK, "a small block may stay");
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
        assert!(queue.blocks.iter().all(|block| (1..=LARGEST).contains(&block.len())));
        assert!(std::iter::from_fn(|| queue.pop_front()).eq(0..count));
    }

    /// Where thousands of pieces started again, each one moved all that had come back before: 1,000 of them took 5 ms.
    #[test]
    fn an_entry_that_comes_back_moves_few_others() {
        const COUNT: usize = if cfg!(miri) { 3 * BLOCK } else { 30 * BLOCK };
        type Order = fn(usize) -> usize;
        let orders: [(&str, Order); 3] =
            [("up", |step| step), ("down", |step| COUNT - 1 - step), ("mixed", |step| step * 7919 % COUNT)];
        for (name, order) in orders {
            let mut queue = BlockQueue::default();
            (0..3 * COUNT).for_each(|number| queue.push_back(number));
            (0..COUNT).for_each(|_| _ = queue.pop_front());
            let (mut moved, mut allowed) = (0, 0);
            for number in (0..COUNT).map(order) {
                queue.insert_sorted(number, |&it| it);
                let block = queue.blocks.iter().find(|block| block.back() >= Some(&number)).unwrap();
                let position = block.binary_search(&number).unwrap();
                moved += position.min(block.len() - 1 - position);
                allowed += BLOCK / 2;
            }
            assert!(moved <= allowed, "{name}: {moved} of {allowed}");
            assert_eq!(queue.len(), 3 * COUNT);
            assert!(std::iter::from_fn(|| queue.pop_front()).eq(0..3 * COUNT), "{name}");
        }
    }
}
