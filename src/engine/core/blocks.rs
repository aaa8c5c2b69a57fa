//! Long lists whose entries never move: they lie in blocks.
//!
//! A list that grows by copying moves all of it at once, under the scheduler's lock: of 10,000,000 pieces 240 MB. Here
//! only the first block grows by copying, so that a short list stays small.
//!
//! While nothing of a list is over, each block is larger than all before it. With equal ones, a task of 200,000 pieces gave the
//! memory of each back to the kernel one by one, and the next task took 3,000 page faults to get it again. The C library keeps up
//! to twice as much as the largest block that it got back; so the last block of such a [`Blocks`] is three quarters of it. A list
//! whose entries are over as others come gets blocks as large as what is left: so it has memory for that, and not for what ever was.
//!
//! Invariant: of a [`Blocks`] all blocks but the last are full, each has an entry that is not over, or is the last and has room,
//! and nobody needs an entry that is over. In a [`BlockQueue`] no block is empty but a small one that is the only one,
//! and none has room for more than [`LARGEST`].

use std::collections::VecDeque;

/// Entries in the first block: a power of two, and about as much as is done in one hold of the lock.
pub(crate) const BLOCK: usize = 1024;

/// A list that grows at its end. Its entries have numbers, which stay. Those that are [over](Self::over) go block by block.
#[derive(Debug)]
pub(crate) struct Blocks<T> {
    blocks: Vec<Block<T>>,
    /// How many entries ever came.
    len: usize,
    /// How many of them are over.
    over: usize,
    /// The number of entries for which the last block has room; 0 without one, or if it is full for good.
    last_room: usize,
    /// The memory of a block that is gone, for the next one. It has no entries.
    spare: Vec<T>,
    /// What blocks have left that are gone, to be freed elsewhere.
    unused: Vec<Vec<T>>,
}

#[derive(Debug)]
struct Block<T> {
    /// The number of its first entry.
    first: usize,
    /// How many of its entries are over.
    over: usize,
    entries: Vec<T>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Blocks { blocks: Vec::new(), len: 0, over: 0, last_room: 0, spare: Vec::new(), unused: Vec::new() }
    }
}

impl<T> Blocks<T> {
    /// How many entries ever came: the number of the next one.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many entries are not over.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.len - self.over
    }

    /// The number of the first entry that is still there, though it may be over.
    pub(crate) fn first(&self) -> usize {
        self.blocks.first().map_or(self.len, |block| block.first)
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, value: T) {
        self.len += 1;
        match self.blocks.last_mut() {
            Some(last) if last.entries.len() < self.last_room => last.entries.push(value),
            _ => self.push_block(value),
        }
    }

    /// Adds `count` entries.
    #[inline]
    pub(crate) fn push_many(&mut self, count: usize, value: impl Fn() -> T) {
        let end = self.len + count;
        while self.len < end {
            match self.blocks.last_mut() {
                Some(Block { entries, .. }) if entries.len() < self.last_room => {
                    let more = (end - self.len).min(self.last_room - entries.len());
                    entries.extend((0..more).map(|_| value()));
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
        let first = self.len - 1;
        let left = first - self.over;
        let room = match (first, self.over) {
            (0, _) => BLOCK,
            (_, 0) => 3 * left,
            _ => left.next_power_of_two().max(BLOCK),
        };
        let mut entries = std::mem::take(&mut self.spare);
        if !(room..=4 * room).contains(&entries.capacity()) {
            let too_small_or_large =
                std::mem::replace(&mut entries, Vec::with_capacity(if first == 0 { 1 } else { room }));
            self.add_unused(too_small_or_large);
        }
        // The first one grows as its entries come.
        self.last_room = entries.capacity().max(BLOCK);
        entries.push(value);
        self.blocks.push(Block { first, over: 0, entries });
    }

    /// The block of an entry, and its index there. There is no such place if the entry is not there.
    #[inline(always)]
    fn place_of(&self, number: usize) -> (usize, usize) {
        match self.blocks.last() {
            Some(last) if last.first <= number => (self.blocks.len() - 1, number - last.first),
            _ => self.earlier_place_of(number),
        }
    }

    #[inline]
    fn earlier_place_of(&self, number: usize) -> (usize, usize) {
        // What is left of a long list lies in few blocks, and what is asked for most often in one of the last two.
        let [blocks @ .., _] = &self.blocks[..] else { return (usize::MAX, 0) };
        let block = match blocks.last() {
            Some(last) if last.first <= number => blocks.len() - 1,
            _ => blocks.partition_point(|block| block.first <= number).wrapping_sub(1),
        };
        (block, blocks.get(block).map_or(0, |block| number - block.first))
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        let (block, index) = self.place_of(number);
        self.blocks.get(block)?.entries.get(index)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        let (block, index) = self.place_of(number);
        self.blocks.get_mut(block)?.entries.get_mut(index)
    }

    /// The entries from this one on, up to the end of its block, and at most [`BLOCK`] of them.
    #[inline]
    pub(crate) fn part_from(&self, number: usize) -> &[T] {
        let (block, index) = self.place_of(number);
        let part = self.blocks.get(block).and_then(|block| block.entries.get(index..)).unwrap_or_default();
        &part[..part.len().min(BLOCK)]
    }

    /// The same, to change them; and their block, for [`over_in`](Self::over_in).
    #[inline]
    pub(crate) fn part_from_mut(&mut self, number: usize) -> (usize, &mut [T]) {
        let (block, index) = self.place_of(number);
        let part = self.blocks.get_mut(block).and_then(|block| block.entries.get_mut(index..)).unwrap_or_default();
        let most = part.len().min(BLOCK);
        (block, &mut part[..most])
    }

    /// The first entry from this one on that is still there.
    pub(crate) fn next_there(&self, number: usize) -> usize {
        let (block, index) = self.place_of(number);
        match self.blocks.get(block) {
            Some(block) if index < block.entries.len() => number,
            _ => self.blocks.get(block.wrapping_add(1)).map_or(self.len, |next| next.first),
        }
    }

    /// An entry is over, for the first time. True if its block is gone with that.
    #[inline]
    pub(crate) fn over(&mut self, number: usize) -> bool {
        let (block, _) = self.place_of(number);
        self.over_in(block, 1)
    }

    /// The same of some entries of a block.
    #[inline(always)]
    pub(crate) fn over_in(&mut self, index: usize, count: usize) -> bool {
        let blocks = self.blocks.len();
        let Some(block) = self.blocks.get_mut(index) else { return false };
        self.over += count;
        block.over += count;
        let come = block.entries.len();
        // One that has room may go on.
        if block.over < come || (index + 1 == blocks && come < self.last_room) {
            return false;
        }
        self.remove(index);
        true
    }

    /// All entries of this block are over.
    #[cold]
    fn remove(&mut self, block: usize) {
        if block + 1 == self.blocks.len() {
            self.last_room = 0;
        }
        let mut entries = self.blocks.remove(block).entries;
        if self.spare.capacity() == 0 && entries.capacity() <= LARGEST.min(4 * self.left().max(BLOCK)) {
            entries.clear();
            self.spare = entries;
        } else {
            self.add_unused(entries);
        }
    }

    /// A short block is freed here and now.
    fn add_unused(&mut self, entries: Vec<T>) {
        if entries.capacity() > 2 * BLOCK {
            self.unused.push(entries);
        }
    }

    #[inline]
    pub(crate) fn has_unused(&self) -> bool {
        !self.unused.is_empty()
    }

    /// What is to be freed.
    pub(crate) fn take_unused(&mut self) -> Vec<Vec<T>> {
        std::mem::take(&mut self.unused)
    }

    /// The memory that it has, in entries.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| &block.entries);
        blocks.chain(&self.unused).chain([&self.spare]).map(Vec::capacity).sum()
    }

    /// True if it has memory for at most this many entries.
    #[inline]
    pub(crate) fn is_small(&self, most: usize) -> bool {
        let is_short = self.blocks.len() <= 1 && self.spare.capacity() == 0;
        is_short && self.blocks.first().is_none_or(|block| block.entries.capacity() <= most)
    }

    /// Empties a [small](Self::is_small) list, which keeps its memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        (self.len, self.over) = (0, 0);
        self.blocks.truncate(1);
        self.last_room = BLOCK * self.blocks.len();
        if let Some(Block { first, over, entries }) = self.blocks.first_mut() {
            (*first, *over) = (0, 0);
            entries.clear();
        }
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
mod tests;
