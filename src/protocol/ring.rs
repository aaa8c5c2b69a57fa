//! A bounded ring of records between one producer and one consumer, in memory that both can see.
//!
//! A record is a header word and then its payload, in whole 64-bit words; it never wraps round the
//! end of the ring. The header is the only thing the two sides synchronise on:
//!
//! | word                  | written by | read by  | meaning                                     |
//! |-----------------------|------------|----------|---------------------------------------------|
//! | a record's header     | producer   | consumer | 0: nothing there yet; else the record is whole |
//! | its payload           | producer   | consumer | stable from the header's publication until the consumer has passed it |
//!
//! There is no shared tail and no shared head. The producer zeroes the word after a record before
//! it publishes that record, so the consumer always stands on a word that is either zero or a
//! header. One cache line thus carries a small record and the news of it. How far the consumer has
//! come is told by other means (a reply, a word that the pair's layout has for it), through
//! [`Producer::consumed_to`].
//!
//! Invariant: the producer writes only words in `[tail, consumed + capacity)`, the consumer reads
//! only `[head, tail)`. The peer may die at any instruction or lie, so the consumer checks the one
//! header it reads against the capacity and reads it once; whatever the payload holds is bytes.
//!
//! The ring borrows its words: it neither maps, allocates (but for the bytes handed out), sleeps
//! nor panics on what the peer wrote, so that loom and miri run it on the heap.

use crate::protocol::sync::{Acquire, AtomicU64, Relaxed, Release};

/// The largest payload that a header can state.
pub(crate) const MAX_PAYLOAD_BYTES: usize = (1 << LENGTH_BITS) - 1;

const LENGTH_BITS: u32 = 24;
const KIND_BITS: u32 = 4;
const FLAG_BITS: u32 = 4;

/// What a record's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// What the record is; never 0, and never [`SKIP`] outside this file.
    pub(crate) kind: u8,
    /// Four bits whose meaning depends on the kind.
    pub(crate) flags: u8,
    /// The piece's number within its worker: the generation that a reply must repeat.
    pub(crate) sequence: u32,
}

/// The kind of the filler at the end of the ring; the consumer steps over it.
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

/// The ring has no room until the consumer has come further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The peer wrote something that no producer of ours writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// The writing side. Positions count words and never wrap in practice (2^64 of them).
#[derive(Debug)]
pub(crate) struct Producer {
    tail: u64,
    consumed: u64,
    /// The first record written since the last publication: its header is held back, and with it
    /// all that follow.
    held: Option<(u64, u64)>,
}

/// Words that a record with this much payload takes, its header included.
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

    /// Learns that the consumer has passed everything before `position`. Never moves back.
    pub(crate) fn consumed_to(&mut self, position: u64) {
        debug_assert!(position <= self.tail);
        self.consumed = self.consumed.max(position.min(self.tail));
    }

    /// The position that [`consumed_to`](Self::consumed_to) last learnt.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Writes a record whose payload is `lead` and then `bytes`; nobody sees it before
    /// [`publish`](Self::publish). Gives the position where the record begins.
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
        // One word more than the record: the zero that stands for "nothing there yet".
        if payload_bytes > MAX_PAYLOAD_BYTES || self.tail + skipped + need + 1 - self.consumed > capacity {
            return Err(Full);
        }
        if skipped > 0 {
            let filler = Header { kind: SKIP, flags: 0, sequence: 0 };
            self.finish(words, filler.to_word((skipped as usize - 1) * 8), skipped);
        }
        let mut index = (self.tail & (capacity - 1)) as usize + 1;
        for &word in lead {
            words[index].store(word, Relaxed);
            index += 1;
        }
        copy::into_words(&words[index..index + bytes.len().div_ceil(8)], bytes);
        let start = self.tail;
        self.finish(words, header.to_word(payload_bytes), need);
        Ok(start)
    }

    fn finish(&mut self, words: &[AtomicU64], header: u64, record_words: u64) {
        let mask = words.len() as u64 - 1;
        let next = self.tail + record_words;
        words[(next & mask) as usize].store(0, Relaxed);
        match self.held {
            None => self.held = Some((self.tail, header)),
            // Relaxed: the held header, published later with Release, comes before this one for
            // the consumer, who reads in order.
            Some(_) => words[(self.tail & mask) as usize].store(header, Relaxed),
        }
        self.tail = next;
    }

    /// Shows the consumer everything pushed so far. True if there was anything to show.
    pub(crate) fn publish(&mut self, words: &[AtomicU64]) -> bool {
        let Some((position, header)) = self.held.take() else { return false };
        let mask = words.len() as u64 - 1;
        // Release (publish-record): payloads, later headers and the zero behind them become
        // visible before the first header.
        words[(position & mask) as usize].store(header, Release);
        true
    }
}

/// The reading side.
#[derive(Debug)]
pub(crate) struct Consumer {
    head: u64,
}

/// A record that the consumer stands on. Its bounds are checked; its payload is only bytes.
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

    /// Copies the payload behind its first `lead_words` words to the end of `bytes`.
    pub(crate) fn append_to(&self, words: &[AtomicU64], lead_words: usize, bytes: &mut Vec<u8>) {
        let (payload, length) = self.payload(words, lead_words);
        copy::append_from_words(payload, length, bytes);
    }

    /// Copies a payload of at most `N` bytes behind its first `lead_words` words; gives its length.
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

    /// The words behind the first `lead_words`, and how many bytes they hold.
    fn payload<'words>(&self, words: &'words [AtomicU64], lead_words: usize) -> (&'words [AtomicU64], usize) {
        let length = self.payload_bytes.saturating_sub(lead_words * 8);
        if length == 0 {
            // The peer may have left out the leading words too: then this place is not in the ring.
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

    /// The position of the next record: everything before it has been passed.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// True if a record waits, without reading it.
    pub(crate) fn is_ready(&self, words: &[AtomicU64]) -> bool {
        let mask = words.len() as u64 - 1;
        words[(self.head & mask) as usize].load(Relaxed) != 0
    }

    /// The record that the consumer stands on, if the producer has published one.
    pub(crate) fn peek(&mut self, words: &[AtomicU64]) -> Result<Option<Record>, Violation> {
        let Some(record) = self.read_header(words)? else { return Ok(None) };
        if record.header.kind != SKIP {
            return Ok(Some(record));
        }
        // A filler reaches exactly to the end, and no second one follows: the peer cannot make
        // this a loop.
        if record.index + record_words(record.payload_bytes) as usize != words.len() {
            return Err(Violation);
        }
        self.pass(&record);
        match self.read_header(words)? {
            Some(record) if record.header.kind == SKIP => Err(Violation),
            other => Ok(other),
        }
    }

    fn read_header(&self, words: &[AtomicU64]) -> Result<Option<Record>, Violation> {
        debug_assert!(words.len().is_power_of_two());
        let index = (self.head & (words.len() as u64 - 1)) as usize;
        // Acquire (publish-record): seeing the header means seeing the payload and what follows.
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

    /// Steps over a record that [`peek`](Self::peek) gave.
    pub(crate) fn pass(&mut self, record: &Record) {
        self.head += record_words(record.payload_bytes);
    }

    /// Copies a record's payload out of memory that this side itself wrote, at a position where
    /// [`Producer::push`] said that it begins: how the producer takes back what it had handed out.
    pub(crate) fn record_at(words: &[AtomicU64], position: u64) -> Result<Option<Record>, Violation> {
        Consumer { head: position }.read_header(words)
    }
}

/// Copies between words that the peer may be scribbling on and bytes of our own.
mod copy {
    use super::AtomicU64;
    use crate::protocol::sync::Relaxed;

    /// From here on one `rep movsb` beats a loop of words.
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    const LARGE_BYTES: usize = 256;

    pub(super) fn into_words(words: &[AtomicU64], bytes: &[u8]) {
        #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
        if bytes.len() >= LARGE_BYTES {
            return crate::protocol::copy::to_shared(words, bytes);
        }
        // Whole words first: a copy of a length that the compiler knows is no call.
        let (whole, rest) = bytes.as_chunks();
        for (word, chunk) in words.iter().zip(whole) {
            word.store(u64::from_le_bytes(*chunk), Relaxed);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            words[whole.len()].store(u64::from_le_bytes(last), Relaxed);
        }
    }

    pub(super) fn from_words(words: &[AtomicU64], bytes: &mut [u8]) {
        let (whole, rest) = bytes.as_chunks_mut();
        let count = whole.len();
        for (word, chunk) in words.iter().zip(whole) {
            *chunk = word.load(Relaxed).to_le_bytes();
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&words[count].load(Relaxed).to_le_bytes()[..rest.len()]);
        }
    }

    pub(super) fn append_from_words(words: &[AtomicU64], length: usize, bytes: &mut Vec<u8>) {
        #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
        if length >= LARGE_BYTES {
            return crate::protocol::copy::append_from_shared(words, length, bytes);
        }
        bytes.reserve(length);
        let whole = length / 8;
        for word in &words[..whole] {
            bytes.extend_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        if !length.is_multiple_of(8) {
            bytes.extend_from_slice(&words[whole].load(Relaxed).to_le_bytes()[..length % 8]);
        }
    }
}

#[cfg(test)]
mod tests;
