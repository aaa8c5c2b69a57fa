//! Arguments that an iterator gives become pieces: all of them at once, or as the results are read.
//!
//! Invariant: the iterator runs on the caller's thread, and nothing is borrowed meanwhile, so it may use this very task. If it panics, what
//! it gave before is a piece already, or lies in the batch: that of a [`Feeder`] becomes pieces with the next call, and that of a call which hands
//! out all at once is dropped.

use super::Task;
use super::batch::{BATCH_BYTES, Batch};
use crate::backend::{Feeding, Site};
use crate::codec::error::{CodecError, guarded};
use crate::codec::tables::scope;
use crate::codec::tables::table::Tables;
use crate::codec::value::Value;
use crate::codec::{self, Encoded};
use std::collections::VecDeque;

/// An argument that travels as it is, and is shorter than this, is copied to the others of its batch.
const COPIED_BYTES: usize = 4096;

/// The most items that are taken at once.
const MOST_AT_ONCE: usize = 512;

/// An encoded argument, behind those of a batch or in a buffer of its own; and what it shares.
type Argument = (Result<Option<Vec<u8>>, CodecError>, Option<Tables>);

impl<R: Value> Task<R> {
    /// Hands out a piece for each argument.
    pub(super) fn add_arguments<A: Value>(&self, site: Site, arguments: impl IntoIterator<Item = A>) {
        let mut batch = Batch::new(self.take_scratch());
        for argument in arguments {
            let (from, encoded) = self.encode(argument, &mut batch);
            self.add_to(site, &mut batch, from, encoded);
        }
        self.add_batch(site, &mut batch);
        self.keep_scratch(batch.bytes);
    }

    /// Encodes an argument behind those of a batch. Gives where they end.
    #[inline]
    fn encode<A: Value>(&self, argument: A, batch: &mut Batch) -> (usize, Argument) {
        let from = batch.bytes.len();
        let encode = || guarded(|| codec::append_argument(self.settings.format, argument, &mut batch.bytes));
        (from, scope::noting_unless(codec::shares_nothing::<A>(), encode))
    }

    /// Makes a piece of an argument that was encoded behind those up to `from`. The batch is handed on once it is full.
    #[inline]
    fn add_to(&self, site: Site, batch: &mut Batch, from: usize, encoded: Argument) {
        let (encoded, tables) = encoded;
        if !self.refuses() && tables.is_none() {
            match &encoded {
                Ok(None) if batch.bytes.len() - from < BATCH_BYTES => return self.end_piece(site, batch),
                Ok(Some(own)) if own.len() < COPIED_BYTES => {
                    batch.bytes.extend_from_slice(own);
                    return self.end_piece(site, batch);
                }
                _ => {}
            }
        }
        let rest = batch.split_off(from);
        self.add_batch(site, batch);
        let encoded = encoded.map(|own| Encoded::Own(own.unwrap_or(rest)));
        self.add(site, (encoded, tables), &mut Vec::new());
    }

    #[inline]
    fn end_piece(&self, site: Site, batch: &mut Batch) {
        batch.ends.push(batch.bytes.len());
        if batch.is_full() {
            self.add_batch(site, batch);
        }
    }
}

/// The bytes of the arguments of some pieces in a row.
#[derive(Debug)]
struct Stretch {
    /// The number of the first of them, and that behind the last.
    first: usize,
    end: usize,
    /// How many of them were not read.
    pieces: usize,
    bytes: usize,
}

/// The arguments of the pieces that were handed out and not read: a caller that reads some other piece first must know how much is
/// ahead, too.
#[derive(Debug, Default)]
struct Ahead {
    /// In order, none of them empty.
    stretches: VecDeque<Stretch>,
    bytes: usize,
}

impl Ahead {
    fn add(&mut self, first: usize, pieces: usize, bytes: usize) {
        if pieces > 0 && bytes > 0 {
            self.stretches.push_back(Stretch { first, end: first + pieces, pieces, bytes });
            self.bytes += bytes;
        }
    }

    /// These pieces were read. Of its stretch each counts as one of equal pieces.
    fn read(&mut self, first: usize, count: usize) {
        let end = first + count;
        let mut index = match self.stretches.get(1) {
            Some(second) if second.first <= first => {
                self.stretches.partition_point(|stretch| stretch.first <= first) - 1
            }
            _ => 0,
        };
        while let Some(stretch) = self.stretches.get_mut(index).filter(|stretch| stretch.first < end) {
            let read = end.min(stretch.end).saturating_sub(first.max(stretch.first)).min(stretch.pieces);
            let bytes = stretch.bytes / stretch.pieces * read;
            let bytes = if read == stretch.pieces { stretch.bytes } else { bytes };
            (stretch.pieces, stretch.bytes) = (stretch.pieces - read, stretch.bytes - bytes);
            self.bytes -= bytes;
            if stretch.pieces == 0 {
                self.stretches.remove(index);
            } else {
                index += 1;
            }
        }
    }
}

/// Hands out the pieces of an iterator while their results are read.
#[derive(Debug)]
pub(super) struct Feeder<I> {
    /// `None` once it has ended: it is not asked again.
    items: Option<I>,
    site: Site,
    batch: Batch,
    /// An argument that goes once there is room for it.
    waiting: Option<Argument>,
    ahead: Ahead,
    /// While more pieces than this have not been read, no others are needed.
    enough: usize,
}

impl<I> Feeder<I> {
    pub(super) fn new(site: Site, items: I) -> Self {
        Feeder {
            items: Some(items),
            site,
            batch: Batch::new(Vec::new()),
            waiting: None,
            ahead: Ahead::default(),
            enough: usize::MAX,
        }
    }

    /// The caller has the results of these pieces.
    #[inline]
    pub(super) fn read(&mut self, first: usize, count: usize) {
        self.ahead.read(first, count);
    }

    /// There is no further piece.
    pub(super) fn has_ended(&self) -> bool {
        self.items.is_none() && self.waiting.is_none() && self.batch.ends.is_empty()
    }

    /// Of an iterator that has this number of results left to give of what was handed out.
    pub(super) fn size_hint(&self, left: usize) -> (usize, Option<usize>)
    where
        I: Iterator,
    {
        let left = left + self.batch.ends.len() + usize::from(self.waiting.is_some());
        let (least, most) = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        (least.saturating_add(left), most.and_then(|most| most.checked_add(left)))
    }

    fn hand_out<R: Value>(&mut self, task: &Task<R>) {
        self.ahead.add(task.len(), self.batch.ends.len(), self.batch.bytes.len());
        task.add_batch(self.site, &mut self.batch);
    }
}

impl<I: Iterator> Feeder<I>
where
    I::Item: Value,
{
    /// Hands out as many pieces as are worth having ahead, of which `left` have not been read. If none is ahead, it hands out one at least,
    /// unless there is no further item.
    pub(super) fn feed<R: Value>(&mut self, task: &Task<R>, left: usize) {
        if self.has_ended() {
            return;
        }
        // A few at a time: each time costs a lock, and perhaps wakes a worker. Where results come one by one, a lock for each of them
        // was a visible part of a piece of 2 us.
        if left > self.enough {
            return;
        }
        let Feeding { pieces, unread_bytes } = task.backend.feeding(task.key);
        // More at once would let the workers, which hold twice as many, run out of them meanwhile.
        self.enough = pieces - pieces.div_ceil(4).min(MOST_AT_ONCE);
        if left > self.enough {
            return;
        }
        if left == 0 {
            // Those that an earlier run has done may be left out.
            self.ahead = Ahead::default();
        }
        let most_bytes = task.settings.max_unread_bytes.unwrap_or(usize::MAX);
        // What an item that panicked has left.
        let mut ahead = left + self.batch.ends.len();
        let mut bytes = self.ahead.bytes + self.batch.bytes.len() + unread_bytes;
        while ahead == 0 || (ahead < pieces && bytes < most_bytes) {
            let (from, encoded) = match self.waiting.take() {
                Some(encoded) => (self.batch.bytes.len(), encoded),
                None => {
                    let Some(item) = self.items.as_mut().and_then(Iterator::next) else {
                        self.items = None;
                        break;
                    };
                    task.encode(item, &mut self.batch)
                }
            };
            let length = match &encoded.0 {
                Ok(None) => self.batch.bytes.len() - from,
                Ok(Some(own)) => own.len(),
                Err(_) => 0,
            };
            if ahead > 0 && length >= most_bytes - bytes {
                let rest = self.batch.split_off(from);
                let (encoded, tables) = encoded;
                self.waiting = Some((encoded.map(|own| Some(own.unwrap_or(rest))), tables));
                break;
            }
            (ahead, bytes) = (ahead + 1, bytes + length);
            let (first, before) = (task.len(), self.batch.ends.len());
            task.add_to(self.site, &mut self.batch, from, encoded);
            if task.len() > first {
                // The batch, and this piece behind it.
                self.ahead.add(first, before, from);
                self.ahead.add(first + before, task.len() - first - before, length);
            }
        }
        self.hand_out(task);
    }
}

#[cfg(test)]
mod tests;
