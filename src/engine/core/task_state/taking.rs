//! The outcomes of a task's pieces go to its caller: in `run` order, or as they finish.
//!
//! Invariant: a piece is taken once. Each call looks at no more than [`BLOCK`] pieces, since the scheduler's lock is
//! held meanwhile.

use super::{Finished, NextFinished, State, TaskState};
use crate::backend::counts::Last;
use crate::backend::{self, Outcomes, Settled};
use crate::engine::core::blocks::{BLOCK, BlockQueue};
use crate::engine::core::trash::Trash;
use crate::engine::unpark::Wake;
use std::sync::Arc;

/// Takes an outcome that a piece has of its own, and the bytes of its result.
#[inline(always)]
fn take_own(state: &mut State) -> Option<(Settled, usize)> {
    if !state.is_settled() {
        return None;
    }
    match std::mem::replace(state, State::Taken) {
        State::Done(reply) => {
            let bytes = reply.len();
            Some((Settled::Done(reply), bytes))
        }
        State::Failed(error) => Some((Settled::Failed(error), 0)),
        _ => None,
    }
}

impl TaskState {
    /// Takes a piece's outcome, if it has one.
    pub(crate) fn take(&mut self, number: usize) -> Option<Settled> {
        let state = self.pieces.get_mut(number)?;
        let outcome = match std::mem::replace(state, State::Taken) {
            State::Done(bytes) => {
                self.taken_bytes += bytes.len();
                Settled::Done(bytes)
            }
            State::Failed(error) => Settled::Failed(error),
            State::FailedFor(reason) => self.failed_for(number, reason),
            unchanged => match (&unchanged, self.ended) {
                (State::Open, Some(reason)) if !self.last.contains(&number) => self.failed_for(number, reason),
                _ => {
                    *state = unchanged;
                    return None;
                }
            },
        };
        let is_gone = self.pieces.over(number);
        self.note_taken(number, 1, is_gone);
        Some(outcome)
    }

    /// A piece's own error for a reason that it shares with others.
    fn failed_for(&self, number: usize, reason: u32) -> Settled {
        let lost_starts = self.lost_starts.get(&number).copied().unwrap_or(0);
        Settled::Failed(self.reasons[reason as usize].error(self.label(number), lost_starts))
    }

    /// Takes the outcomes that are there from piece `next` on, up to the first one that is missing or the end of a block,
    /// `pieces` of them, or this many `bytes`. `None` if the first one is missing.
    pub(crate) fn take_many(&mut self, next: usize, pieces: usize, bytes: usize) -> Option<Outcomes> {
        let (block, part) = self.pieces.part_from_mut(next);
        let (first, rest) = part.split_first_mut()?;
        let Some((first, mut taken_bytes)) = take_own(first) else { return self.take_shared(next, pieces) };
        let is_alone = pieces <= 1 || !rest.first().is_some_and(State::is_settled);
        let mut count = 1;
        let outcomes = if is_alone {
            Outcomes::One(first)
        } else {
            let mut taken = Vec::with_capacity((rest.len() + 1).min(pieces));
            taken.push(first);
            for state in rest.iter_mut().take(pieces - 1) {
                if taken_bytes >= bytes {
                    break;
                }
                let Some((settled, length)) = take_own(state) else { break };
                taken_bytes += length;
                taken.push(settled);
            }
            count = taken.len();
            Outcomes::Many(taken)
        };
        self.taken_bytes += taken_bytes;
        let is_gone = self.pieces.over_in(block, count);
        self.note_taken(next, count, is_gone);
        Some(outcomes)
    }

    /// The same from a piece on that may have failed for a shared reason.
    #[cold]
    fn take_shared(&mut self, next: usize, pieces: usize) -> Option<Outcomes> {
        let mut taken = vec![self.take(next)?];
        while taken.len() < pieces
            && let Some(settled) = self.take(next + taken.len())
        {
            taken.push(settled);
        }
        Some(Outcomes::Many(taken))
    }

    /// These pieces, of one block, were taken; the block may be gone with that.
    #[inline(always)]
    fn note_taken(&mut self, number: usize, count: usize, is_gone: bool) {
        if number == self.first_unread {
            self.first_unread += count;
        }
        if is_gone {
            self.forget_taken(number);
        }
        if self.first_unread < self.pieces.len() {
            self.move_first_unread();
        }
        if self.finished.is_some() {
            self.pass_taken();
        }
    }

    #[inline]
    fn move_first_unread(&mut self) {
        if matches!(self.pieces.get(self.first_unread), None | Some(State::Taken)) {
            let next = self.pieces.next_there(self.first_unread);
            let rest = self.pieces.part_from(next);
            self.first_unread = next + rest.iter().take_while(|state| matches!(state, State::Taken)).count();
        }
    }

    /// A block of pieces is gone, this one among them: what else is known of such pieces goes too, but for the last ones, which
    /// their caller may still have to name.
    #[cold]
    fn forget_taken(&mut self, taken_now: usize) {
        let before = taken_now.min(self.pieces.first()).saturating_sub(BLOCK);
        let next = self.earlier_sites.iter().skip(1).chain(&self.last_site);
        let gone = next.take_while(|next| next.first <= before).count().min(self.earlier_sites.len());
        self.earlier_sites.drain(..gone);
        for map in [&mut self.lost_starts, &mut self.not_begun] {
            while map.first_key_value().is_some_and(|(&number, _)| number < before) {
                map.pop_first();
            }
        }
        while self.times_ns.first_key_value().is_some_and(|(&number, _)| number < before) {
            self.times_ns.pop_first();
        }
    }

    /// Pieces that finished first and were taken in another way need not be remembered.
    fn pass_taken(&mut self) {
        let Some(Finished { queue, .. }) = &mut self.finished else { return };
        for _ in 0..BLOCK {
            let is_taken = |number| matches!(self.pieces.get(number), None | Some(State::Taken));
            if !queue.front().is_some_and(|&number| is_taken(number)) {
                break;
            }
            queue.pop_front();
        }
    }

    /// The memory of pieces that were taken, to be freed without the lock.
    #[inline]
    pub(crate) fn drop_taken(&mut self, trash: &mut Trash) {
        if self.pieces.has_unused() {
            trash.add_rest(self.pieces.take_unused());
        }
    }

    /// A piece that is timed ran for this time; 0 if that is not known.
    pub(crate) fn note_time(&mut self, number: usize, took_ns: u64) {
        if self.keeps_times {
            self.times_ns.insert(number, took_ns);
        }
    }

    /// How far it has come, but for what runs.
    pub(crate) fn counts(&self) -> backend::Counts {
        let (total, done) = (self.pieces.len(), self.results);
        let (retried, bytes) = (self.retried, (self.result_bytes + self.passed_bytes()) as u64);
        backend::Counts { total, done, failed: self.done - done, retried, bytes, ..Default::default() }
    }

    /// Somebody watches it: its last counts are noted there, since nobody else will.
    pub(crate) fn keep_last(&mut self, last: Arc<Last>) {
        self.last_counts = Some(last);
    }

    /// All of it has ended, and it is forgotten next.
    pub(crate) fn tell_last_counts(&mut self) {
        if let Some(last) = self.last_counts.take() {
            last.note(self.counts());
        }
    }

    /// What is told of a piece that was taken as it finished.
    pub(crate) fn told_of(&mut self, number: usize, settled: Settled) -> backend::Finished {
        let attempts = match &settled {
            Settled::Done(_) => self.attempts(number),
            Settled::Failed(error) => error.attempts(),
        };
        // Most tasks are not timed, and to ask an empty map costs something.
        let took_ns = if self.times_ns.is_empty() { None } else { self.times_ns.remove(&number) };
        backend::Finished { number, settled, attempts, took_ns: took_ns.unwrap_or(0) }
    }

    /// The caller that waits for any piece returns without one, or the next one that would.
    #[cfg_attr(not(feature = "journal"), allow(dead_code))]
    pub(crate) fn interrupt(&mut self) -> Wake {
        self.is_interrupted = true;
        self.wake_waiter()
    }

    /// True once after an interrupt.
    #[must_use]
    pub(crate) fn take_interrupt(&mut self) -> bool {
        std::mem::take(&mut self.is_interrupted)
    }

    /// Takes the piece that finished first of those not taken.
    pub(crate) fn take_finished(&mut self) -> Option<NextFinished> {
        if self.finished.is_none() {
            self.finished = Some(Finished { queue: BlockQueue::default(), scan: self.first_unread..self.pieces.len() });
        }
        // What finished before somebody asked comes first. Of a task that has ended that comes last: it is the rest.
        let (first, second) = if self.ended.is_some() {
            (self.take_queued(), Self::take_scanned as fn(&mut Self) -> _)
        } else {
            (self.take_scanned(), Self::take_queued as fn(&mut Self) -> _)
        };
        first.or_else(|| second(self))
    }

    /// True if a piece waits for the program's logger.
    #[inline]
    fn is_held(&mut self, number: usize) -> bool {
        #[cfg(feature = "log")]
        return self.pieces_not_held(number, crate::sys::clock::now_ns) == 0;
        #[cfg(not(feature = "log"))]
        {
            let _ = number;
            false
        }
    }

    fn take_queued(&mut self) -> Option<NextFinished> {
        let number = *self.finished.as_ref()?.queue.front()?;
        if self.is_held(number) {
            return None;
        }
        self.finished.as_mut()?.queue.pop_front();
        Some(self.take(number).map_or(NextFinished::LookAgain, |settled| NextFinished::Piece(number, settled)))
    }

    fn take_scanned(&mut self) -> Option<NextFinished> {
        for _ in 0..BLOCK {
            let scan = &mut self.finished.as_mut()?.scan;
            scan.start = self.pieces.next_there(scan.start).min(scan.end);
            let number = scan.next()?;
            if self.is_held(number) {
                self.finished.as_mut()?.scan.start = number;
                return None;
            }
            if let Some(settled) = self.take(number) {
                return Some(NextFinished::Piece(number, settled));
            }
        }
        Some(NextFinished::LookAgain)
    }
}
