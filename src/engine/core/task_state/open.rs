//! Open results of a task: what its pieces write while they run, and whose turn it is.
//!
//! The piece *in turn* is the one that the caller reads next. Of a caller that takes parts, a part of that piece lies here until it is
//! taken; all other parts lie in the links of their workers, and in the rings.
//!
//! Invariant: `part` is of the piece in turn, and follows all that the caller has taken of it. `kept_bytes` is what the
//! links have of open results of this task.

use super::TaskState;
use crate::engine::unpark::Wake;

impl TaskState {
    /// The bytes of its open results that are here, or in the links.
    #[inline]
    pub(super) fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.kept_bytes + open.part.len())
    }

    /// All bytes that were handed on as parts.
    pub(super) fn passed_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.passed_bytes)
    }

    /// The caller takes parts, from this piece on. Gives the next part that is here, for a buffer without one; that buffer is
    /// used for a later part.
    pub(crate) fn take_part(&mut self, next: usize, spare: &mut Vec<u8>) -> Option<Vec<u8>> {
        self.parts_of = Some(next);
        let open = self.open.as_mut().filter(|open| !open.part.is_empty())?;
        let part = std::mem::replace(&mut open.part, std::mem::take(spare));
        open.part.clear();
        open.passed_bytes += part.len();
        Some(part)
    }

    /// True if the caller takes parts, and this piece is in turn.
    pub(crate) fn passes_on(&self, number: usize) -> bool {
        self.parts_of == Some(number)
    }

    /// True if the caller takes parts.
    pub(crate) fn reads_parts(&self) -> bool {
        self.parts_of.is_some()
    }

    /// The piece whose result the caller reads next; `None` if it takes them as they finish.
    pub(crate) fn turn(&self) -> Option<usize> {
        match self.parts_of {
            Some(number) => Some(number),
            None if self.finished.is_some() => None,
            None => Some(self.waiter.as_ref().and_then(|(want, _)| want.piece()).unwrap_or(self.first_unread)),
        }
    }

    /// True if a part of the piece in turn waits for the caller.
    pub(crate) fn has_part(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.part.is_empty())
    }

    /// Moves what a link has of the piece in turn here, in exchange for an empty buffer.
    pub(crate) fn hand_on(&mut self, number: usize, bytes: &mut Vec<u8>) -> Wake {
        let Some(open) = &mut self.open else { return Wake::NOBODY };
        if bytes.is_empty() || !open.part.is_empty() {
            return Wake::NOBODY;
        }
        open.kept_bytes = open.kept_bytes.saturating_sub(bytes.len());
        std::mem::swap(&mut open.part, bytes);
        match &self.waiter {
            Some((want, _)) if want.includes(number) => self.wake_waiter(),
            _ => Wake::NOBODY,
        }
    }

    /// The links have this many more bytes of its open results, or fewer.
    pub(crate) fn keeps_open(&mut self, by: isize) {
        let open = self.open.get_or_insert_default();
        open.kept_bytes = open.kept_bytes.saturating_add_signed(by);
    }

    /// True if the links have open results of it.
    #[inline]
    pub(crate) fn keeps_any_open(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.kept_bytes > 0)
    }

    /// True if the results that nobody has read are as many bytes as may be.
    pub(crate) fn is_full_of_unread(&self) -> bool {
        self.settings.max_unread_bytes.is_some_and(|most| self.unread_bytes() >= most)
    }

    /// True if this piece was handed out and has no outcome.
    pub(crate) fn awaits(&self, number: usize) -> bool {
        self.is_open(number)
    }

    /// True if what this piece writes is for somebody.
    pub(crate) fn wants(&self, number: usize) -> bool {
        !self.is_detached && self.is_open(number)
    }
}
