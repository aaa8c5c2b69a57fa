//! A bounded ring of records between one producer and one consumer, in memory that both can see.
//!
//! A record is a header word followed by its payload, in whole 64-bit words. It never wraps around the end of the ring.
//! The two sides synchronise on the header only:
//!
//! | word              | written by | read by  | meaning                                                 |
//! |-------------------|------------|----------|---------------------------------------------------------|
//! | a record's header | producer   | consumer | 0: no record yet; else the record is complete           |
//! | its payload       | producer   | consumer | unchanged from the header's publication until the consumer has passed it |
//!
//! There is no shared tail and no shared head. The producer zeroes the word after a record before it publishes that
//! record, so the word at the consumer's position is always zero or a header. A small record and its announcement thus
//! share one cache line. The producer learns the consumer's position by other means (a reply, or a word in the pair's
//! layout), through [`Producer::consumed_to`].
//!
//! Invariant: the producer writes only words in `[tail, consumed + capacity)`, the consumer reads only `[head, tail)`.
//! The peer may die at any instruction, or write anything. So the consumer reads a header once and checks it against the
//! capacity; the payload is only bytes.
//!
//! The ring borrows its words. It does not map memory or sleep, it allocates only the bytes that it returns, and nothing
//! that the peer writes makes it panic. So loom and miri can run it on the heap.

use crate::protocol::copy;
use crate::protocol::sync::{Acquire, AtomicU64, Relaxed, Release};

/// The length of the largest payload that a header can state.
pub(crate) const MAX_PAYLOAD_BYTES: usize = (1 << LENGTH_BITS) - 1;

/// A header has 64 bits: these 32, then the sequence number. 22 bits state up to 4 MiB, far above the 64 KiB of the
/// longest record in use. 4 bits leave room for kinds beside the eight in use, and 6 for flags beside the five bits of a piece.
pub(crate) const LENGTH_BITS: u32 = 22;
const KIND_BITS: u32 = 4;
const FLAG_BITS: u32 = 6;

/// What a record's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The record's kind; never 0, and never [`SKIP`] outside this file.
    pub(crate) kind: u8,
    /// Six bits whose meaning depends on the kind.
    pub(crate) flags: u8,
    /// The piece's sequence number within its worker, which the reply must repeat.
    pub(crate) sequence: u32,
}

/// The kind of the filler at the end of the ring, which the consumer passes.
const SKIP: u8 = 15;

impl Header {
    fn to_word(self, payload_bytes: usize) -> u64 {
        debug_assert!(self.kind != 0 && self.kind < 1 << KIND_BITS);
        debug_assert!(self.flags < 1 << FLAG_BITS);
        debug_assert!(payload_bytes <= MAX_PAYLOAD_BYTES);
        payload_bytes as u64
            | u64::from(self.kind) << LENGTH_BITS
            | u64::from(self.flags) << (LENGTH_BITS + KIND_BITS)
            | u64::from(self.sequence) << 32
    }

    fn from_word(word: u64) -> (Header, usize) {
        let header = Header {
            kind: (word >> LENGTH_BITS) as u8 & ((1 << KIND_BITS) - 1),
            flags: (word >> (LENGTH_BITS + KIND_BITS)) as u8 & ((1 << FLAG_BITS) - 1),
            sequence: (word >> 32) as u32,
        };
        (header, word as usize & MAX_PAYLOAD_BYTES)
    }
}

/// The ring has no room until the consumer has passed more records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The peer broke the protocol: it wrote something that no producer of this crate writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// The writing side. Positions count words since the start; 2^64 of them never wrap in practice.
#[derive(Debug)]
pub(crate) struct Producer {
    tail: u64,
    consumed: u64,
    /// The position and header of the first record since the last publication. This header is not written yet, which
    /// hides all records after it too.
    held: Option<(u64, u64)>,
}

/// Where the payload of a record is written in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// The index of its first word.
    pub(crate) first: usize,
    /// The most that fits.
    pub(crate) bytes: usize,
}

/// The number of words of a record with this payload, its header included.
pub(crate) fn record_words(payload_bytes: usize) -> u64 {
    1 + payload_bytes.div_ceil(8) as u64
}

impl Producer {
    pub(crate) fn new() -> Self {
        Producer { tail: 0, consumed: 0, held: None }
    }

    /// The position after the last record written.
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Notes that the consumer has passed everything before `position`. The note never moves back.
    pub(crate) fn consumed_to(&mut self, position: u64) {
        debug_assert!(position <= self.tail);
        self.consumed = self.consumed.max(position.min(self.tail));
    }

    /// The highest position that [`consumed_to`](Self::consumed_to) was given.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Writes a record whose payload is `lead` followed by `bytes`. The consumer does not see it before
    /// [`publish`](Self::publish). Returns the position at which the record begins.
    #[inline(always)]
    pub(crate) fn push(
        &mut self,
        words: &[AtomicU64],
        header: Header,
        lead: &[u64],
        bytes: &[u8],
    ) -> Result<u64, Full> {
        debug_assert!(words.len().is_power_of_two());
        let capacity = words.len() as u64;
        let payload_bytes = lead.len() * 8 + bytes.len();
        let need = record_words(payload_bytes);
        let to_end = capacity - (self.tail & (capacity - 1));
        let skipped = if need > to_end { to_end } else { 0 };
        // One word more than the record: the zero that means "no record yet".
        if payload_bytes > MAX_PAYLOAD_BYTES || self.tail + skipped + need + 1 - self.consumed > capacity {
            return Err(Full);
        }
        if skipped > 0 {
            let filler = Header { kind: SKIP, flags: 0, sequence: 0 };
            self.finish(words, filler.to_word((skipped as usize - 1) * 8), skipped);
        }
        let index = (self.tail & (capacity - 1)) as usize + 1;
        let (lead_words, rest) = words[index..index + need as usize - 1].split_at(lead.len());
        for (word, &value) in lead_words.iter().zip(lead) {
            word.store(value, Relaxed);
        }
        copy::into_words(rest, bytes);
        let start = self.tail;
        self.finish(words, header.to_word(payload_bytes), need);
        Ok(start)
    }

    /// Room for a record whose payload is written in place: for at most `most_bytes`, and for `least_bytes` at least. Nothing
    /// is announced before [`commit`](Self::commit), and a room that is not committed leaves no trace.
    pub(crate) fn reserve(&mut self, words: &[AtomicU64], least_bytes: usize, most_bytes: usize) -> Result<Room, Full> {
        debug_assert!(words.len().is_power_of_two() && most_bytes <= MAX_PAYLOAD_BYTES && least_bytes <= most_bytes);
        let capacity = words.len() as u64;
        // Without the zero that means "no record yet".
        let free = capacity - (self.tail - self.consumed) - 1;
        let to_end = capacity - (self.tail & (capacity - 1));
        let least_words = record_words(least_bytes);
        let mut room_words = free.min(to_end);
        if room_words < least_words && to_end < free {
            // What is left before the end of the ring is too short.
            room_words = free - to_end;
            if room_words >= least_words {
                let filler = Header { kind: SKIP, flags: 0, sequence: 0 };
                self.finish(words, filler.to_word((to_end as usize - 1) * 8), to_end);
            }
        }
        if room_words < least_words {
            return Err(Full);
        }
        let first = (self.tail & (capacity - 1)) as usize + 1;
        Ok(Room { first, bytes: ((room_words as usize - 1) * 8).min(most_bytes) })
    }

    /// Makes a record of the room that was reserved last, with the payload that was written there. The consumer does not see it
    /// before [`publish`](Self::publish).
    pub(crate) fn commit(&mut self, words: &[AtomicU64], room: Room, header: Header, payload_bytes: usize) {
        debug_assert!(payload_bytes <= room.bytes && room.first as u64 == (self.tail & (words.len() as u64 - 1)) + 1);
        self.finish(words, header.to_word(payload_bytes), record_words(payload_bytes));
    }

    #[inline(always)]
    fn finish(&mut self, words: &[AtomicU64], header: u64, record_words: u64) {
        let mask = words.len() as u64 - 1;
        let next = self.tail + record_words;
        words[(next & mask) as usize].store(0, Relaxed);
        match self.held {
            None => self.held = Some((self.tail, header)),
            // Relaxed: the consumer reads in order, so it first reads the held header, which is published later with
            // Release (publish-record).
            Some(_) => words[(self.tail & mask) as usize].store(header, Relaxed),
        }
        self.tail = next;
    }

    /// Makes all pushed records visible to the consumer. True if there were any.
    pub(crate) fn publish(&mut self, words: &[AtomicU64]) -> bool {
        let Some((position, header)) = self.held.take() else { return false };
        let mask = words.len() as u64 - 1;
        // Release (publish-record): payloads, later headers and the zero after them become visible before the first
        // header.
        words[(position & mask) as usize].store(header, Release);
        true
    }
}

/// The reading side.
#[derive(Debug)]
pub(crate) struct Consumer {
    head: u64,
}

/// The record at the consumer's position. It was checked to lie within the ring; its payload is only bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) header: Header,
    pub(crate) payload_bytes: usize,
    index: usize,
}

impl Record {
    /// The `n`th word of the payload, or `None` past its end.
    pub(crate) fn word(&self, words: &[AtomicU64], n: usize) -> Option<u64> {
        if (n + 1) * 8 > self.payload_bytes {
            return None;
        }
        Some(words[self.index + 1 + n].load(Relaxed))
    }

    /// Appends the payload after its first `lead_words` words to `bytes`.
    pub(crate) fn append_to(&self, words: &[AtomicU64], lead_words: usize, bytes: &mut Vec<u8>) {
        let (payload, length) = self.payload(words, lead_words);
        copy::append_from_words(payload, length, bytes);
    }

    /// Copies the payload after its first `lead_words` words, if it has at most `N` bytes, and returns its length.
    #[inline(always)]
    pub(crate) fn copy_to<const N: usize>(
        &self,
        words: &[AtomicU64],
        lead_words: usize,
        bytes: &mut [u8; N],
    ) -> Option<usize> {
        let (payload, length) = self.payload(words, lead_words);
        copy::from_words(payload, bytes.get_mut(..length)?);
        Some(length)
    }

    /// The words after the first `lead_words`, and the number of bytes in them.
    #[inline(always)]
    fn payload<'words>(&self, words: &'words [AtomicU64], lead_words: usize) -> (&'words [AtomicU64], usize) {
        let length = self.payload_bytes.saturating_sub(lead_words * 8);
        if length == 0 {
            // The peer may have left out the leading words too. The payload's start would then lie outside the ring.
            return (&[], 0);
        }
        let first = self.index + 1 + lead_words;
        (&words[first..first + length.div_ceil(8)], length)
    }
}

impl Consumer {
    pub(crate) fn new() -> Self {
        Consumer { head: 0 }
    }

    /// The position of the next record; all records before it were passed.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// True if there is a record; does not read it.
    pub(crate) fn is_ready(&self, words: &[AtomicU64]) -> bool {
        let mask = words.len() as u64 - 1;
        words[(self.head & mask) as usize].load(Relaxed) != 0
    }

    /// The record at the consumer's position, if the producer has published one.
    #[inline(always)]
    pub(crate) fn peek(&mut self, words: &[AtomicU64]) -> Result<Option<Record>, Violation> {
        let Some(record) = self.read_header(words)? else { return Ok(None) };
        if record.header.kind != SKIP {
            return Ok(Some(record));
        }
        // A filler reaches exactly to the end of the ring, and no second one follows. So the peer cannot cause an endless
        // loop.
        if record.index + record_words(record.payload_bytes) as usize != words.len() {
            return Err(Violation);
        }
        self.pass(&record);
        match self.read_header(words)? {
            Some(record) if record.header.kind == SKIP => Err(Violation),
            other => Ok(other),
        }
    }

    #[inline(always)]
    fn read_header(&self, words: &[AtomicU64]) -> Result<Option<Record>, Violation> {
        debug_assert!(words.len().is_power_of_two());
        let index = (self.head & (words.len() as u64 - 1)) as usize;
        // Acquire (publish-record): seeing the header means seeing the payload and the word after it.
        let word = words[index].load(Acquire);
        if word == 0 {
            return Ok(None);
        }
        let (header, payload_bytes) = Header::from_word(word);
        if header.kind == 0 || record_words(payload_bytes) > (words.len() - index) as u64 {
            return Err(Violation);
        }
        Ok(Some(Record { header, payload_bytes, index }))
    }

    /// Moves past a record that [`peek`](Self::peek) returned.
    pub(crate) fn pass(&mut self, record: &Record) {
        self.head += record_words(record.payload_bytes);
    }

    /// The record at a position that [`Producer::push`] returned, in a ring that this side itself wrote: so the producer
    /// reads back the arguments that it gave.
    pub(crate) fn record_at(words: &[AtomicU64], position: u64) -> Result<Option<Record>, Violation> {
        Consumer { head: position }.read_header(words)
    }
}

#[cfg(test)]
mod tests;
