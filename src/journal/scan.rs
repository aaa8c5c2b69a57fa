//! Reads a journal's records one after the other, and tells a torn tail from damage.
//!
//! A power cut may leave any part of what was written since the last sync. So a record that does not check is a *torn tail*, unless a
//! record behind it says that all up to there was on the disk when it was written: then the file is *corrupt* at that place.
//!
//! Invariant: a record is given only if both its sums are right. The file is input: no length of it is trusted beyond what is there, and
//! memory is taken for one window alone.

use super::format::{FileId, HEAD_BYTES, HEADER_BYTES, Head, Kind, MARK, TAIL_BYTES};
use super::storage::Source;
use std::io;

/// How much is read at once.
const WINDOW_BYTES: usize = 256 * 1024;

/// The search for a record behind damage sums up this many times the file at most: each head may claim all that follows it.
const SEARCH_FACTOR: u64 = 4;

/// A record that checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) offset: u64,
    pub(super) head: Head,
}

impl Found {
    pub(super) fn body_offset(&self) -> u64 {
        self.offset + HEAD_BYTES as u64
    }

    /// Where the next record begins.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.head.record_bytes()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Record(Found),
    /// All was read.
    End,
    /// What stands here does not check.
    Bad {
        offset: u64,
    },
}

/// What a record that does not check means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// It was never known to be on the disk, nor is what follows.
    TornTail,
    /// It was on the disk. The next record that checks stands at `goes_on`.
    Corrupt { goes_on: u64 },
}

#[derive(Debug)]
pub(super) struct Scanner<S> {
    storage: S,
    id: FileId,
    offset: u64,
    length: u64,
    /// Up to where all was on the disk, by a record that was found behind damage, and where that record begins, which is not before it.
    claim: Option<(u64, u64)>,
    window: Vec<u8>,
    window_offset: u64,
}

impl<S: Source> Scanner<S> {
    /// Reads what stands there now.
    pub(super) fn new(storage: S, id: FileId) -> io::Result<Self> {
        let length = storage.length()?;
        let offset = (HEADER_BYTES as u64).min(length);
        Ok(Scanner { storage, id, offset, length, claim: None, window: Vec::new(), window_offset: 0 })
    }

    pub(super) fn storage(&self) -> &S {
        &self.storage
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        if self.offset == self.length {
            return Ok(Next::End);
        }
        let Some(found) = self.check(self.offset)? else { return Ok(Next::Bad { offset: self.offset }) };
        self.offset = found.end();
        Ok(Next::Record(found))
    }

    /// Goes on at another place.
    pub(super) fn go_to(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The first bytes of a record's body, as many as there are up to this number.
    pub(super) fn beginning(&mut self, found: &Found, most: usize) -> io::Result<&[u8]> {
        let length = found.head.body_bytes.min(most);
        self.bytes(found.body_offset(), length)
    }

    /// What a record that does not check at this place means.
    pub(super) fn judge(&mut self, bad: u64) -> io::Result<Damage> {
        if !self.is_claimed(bad)? {
            return Ok(Damage::TornTail);
        }
        let (mut offset, mut budget) = (bad + 1, SEARCH_FACTOR.saturating_mul(self.length));
        while let Some(candidate) = self.find_mark(offset)? {
            let id = self.id;
            let head = Head::decode(self.bytes(candidate, HEAD_BYTES)?, id);
            let cost = head.map_or(0, |head| head.record_bytes());
            match budget.checked_sub(cost) {
                Some(left) if self.check(candidate)?.is_none() => (budget, offset) = (left, candidate + 1),
                Some(_) => return Ok(Damage::Corrupt { goes_on: candidate }),
                // The record that says what was on the disk is one.
                None => break,
            }
        }
        let goes_on = self.claim.map_or(self.length, |(_, at)| at);
        Ok(Damage::Corrupt { goes_on })
    }

    /// True if a record behind this place says that it was on the disk. Looks at short records alone: the sums of long ones, at any place at
    /// which one could begin, would take for ever in a file that was made for that.
    fn is_claimed(&mut self, bad: u64) -> io::Result<bool> {
        if self.claim.is_some_and(|(synced, _)| synced > bad) {
            return Ok(true);
        }
        let mut offset = bad + 1;
        while let Some(candidate) = self.find_mark(offset)? {
            if let Some(synced) = self.synced(candidate)?
                && synced > bad
                && synced <= candidate
            {
                self.claim = Some((synced, candidate));
                return Ok(true);
            }
            offset = candidate + 1;
        }
        Ok(false)
    }

    /// Up to where all was on the disk, by the word of a record that begins here.
    fn synced(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let id = self.id;
        let head = Head::decode(self.bytes(offset, HEAD_BYTES)?, id);
        if head.is_none_or(|head| head.kind != Kind::Synced || head.body_bytes != 8) {
            return Ok(None);
        }
        let Some(found) = self.check(offset)? else { return Ok(None) };
        let body = self.beginning(&found, 8)?;
        Ok(<[u8; 8]>::try_from(body).ok().map(u64::from_le_bytes))
    }

    /// The record at this place, if it checks.
    fn check(&mut self, offset: u64) -> io::Result<Option<Found>> {
        let id = self.id;
        let head_bytes = self.bytes(offset, HEAD_BYTES)?;
        let mut sum = id.sum(head_bytes);
        let Some(head) = Head::decode(head_bytes, id) else { return Ok(None) };
        let found = Found { offset, head };
        if found.end() > self.length {
            return Ok(None);
        }
        let (mut place, end) = (found.body_offset(), found.end() - TAIL_BYTES as u64);
        while place < end {
            let wanted = (end - place).min(WINDOW_BYTES as u64) as usize;
            let bytes = self.bytes(place, wanted)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            sum = crc32c::crc32c_append(sum, bytes);
            place += bytes.len() as u64;
        }
        let is_sound = self.bytes(end, TAIL_BYTES)? == sum.to_le_bytes();
        Ok(is_sound.then_some(found))
    }

    /// The next place, from this one on, at which a record may begin.
    fn find_mark(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        while offset < self.length {
            // What the window has is searched before more is read.
            let end = self.window_offset + self.window.len() as u64;
            let is_there = offset >= self.window_offset && offset + MARK.len() as u64 <= end;
            let most = if is_there { (end - offset) as usize } else { WINDOW_BYTES };
            let bytes = self.bytes(offset, most)?;
            if bytes.len() < MARK.len() {
                break;
            }
            if let Some(index) = bytes.windows(MARK.len()).position(|bytes| bytes == MARK) {
                return Ok(Some(offset + index as u64));
            }
            offset += (bytes.len() - MARK.len() + 1) as u64;
        }
        Ok(None)
    }

    /// Up to this number of bytes from this place on; fewer at the end of the file alone. At most a window's.
    fn bytes(&mut self, offset: u64, most: usize) -> io::Result<&[u8]> {
        let wanted = (most as u64).min(self.length.saturating_sub(offset)) as usize;
        let is_there =
            offset >= self.window_offset && offset + wanted as u64 <= self.window_offset + self.window.len() as u64;
        if !is_there {
            self.fill(offset)?;
        }
        let from = ((offset - self.window_offset) as usize).min(self.window.len());
        let to = (from + wanted).min(self.window.len());
        Ok(&self.window[from..to])
    }

    fn fill(&mut self, offset: u64) -> io::Result<()> {
        let length = (WINDOW_BYTES as u64).min(self.length.saturating_sub(offset)) as usize;
        self.window.resize(length, 0);
        self.window_offset = offset;
        let mut read = 0;
        while read < length {
            match self.storage.read_at(offset + read as u64, &mut self.window[read..])? {
                // It was cut meanwhile.
                0 => break,
                more => read += more,
            }
        }
        self.window.truncate(read);
        Ok(())
    }
}
