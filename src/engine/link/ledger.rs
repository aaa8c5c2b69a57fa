//! The ledger: which pieces a worker holds, how long they will take, and after which of them it signals.
//!
//! Invariant: `pieces` lists, in the order of their sequence numbers, exactly the pieces that this worker was given and
//! that were neither answered nor revoked. `backlog_ns` is the sum of their costs, `flagged` the number of those
//! with `low_water`. Only the parent touches these words; the worker sees none of them.

use super::claims::Held;
use crate::backend::TaskKey;
#[cfg(feature = "log")]
use crate::protocol::claim;
use std::collections::VecDeque;

/// A piece that a worker holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(super) task: TaskKey,
    pub(super) number: usize,
    pub(super) sequence: u32,
    /// The estimated time that it takes.
    pub(super) cost_ns: u32,
    /// The position in *out* where its record begins.
    pub(super) position: u64,
    /// The position where its records end. While the arguments stream, the end of what was written.
    pub(super) end: u64,
    /// The worker signals after this piece if the parent asked for that.
    pub(super) low_water: bool,
    pub(super) streams: bool,
    /// It has a time limit, which `Limits` keeps.
    pub(super) is_limited: bool,
    /// Its arguments must stay readable until it is answered.
    pub(super) may_run_again: bool,
    /// Its reply tells how long it ran.
    pub(super) is_timed: bool,
    /// A sample follows its reply.
    pub(super) is_sampled: bool,
    /// The number of the function that it calls.
    pub(super) function: u8,
    /// Whose it is, as far as the parent has seen.
    pub(super) held: Held,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pieces: VecDeque<InFlight>,
    backlog_ns: u64,
    flagged: usize,
}

impl Ledger {
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn backlog_ns(&self) -> u64 {
        self.backlog_ns
    }

    /// The number of pieces with `low_water`.
    pub(super) fn flagged(&self) -> usize {
        self.flagged
    }

    pub(super) fn oldest(&self) -> Option<&InFlight> {
        self.pieces.front()
    }

    pub(super) fn oldest_mut(&mut self) -> Option<&mut InFlight> {
        self.pieces.front_mut()
    }

    pub(super) fn newest(&self) -> Option<&InFlight> {
        self.pieces.back()
    }

    pub(super) fn newest_mut(&mut self) -> Option<&mut InFlight> {
        self.pieces.back_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.pieces.iter()
    }

    /// The piece with this sequence number. Numbers begin anew behind the last one, so they are compared by their distances from the oldest.
    #[cfg(feature = "log")]
    pub(super) fn of_sequence(&self, sequence: u32) -> Option<&InFlight> {
        let oldest = self.pieces.front()?.sequence;
        let distance = |sequence: u32| sequence.wrapping_sub(oldest) & claim::LAST_SEQUENCE;
        let index = self.pieces.binary_search_by_key(&distance(sequence), |piece| distance(piece.sequence)).ok()?;
        self.pieces.get(index)
    }

    /// Adds the newest piece. Inlined so that the piece is built in its final place: a copy costs more than
    /// everything else here.
    #[inline(always)]
    pub(super) fn add(&mut self, piece: InFlight) {
        self.backlog_ns += u64::from(piece.cost_ns);
        self.flagged += usize::from(piece.low_water);
        self.pieces.push_back(piece);
    }

    #[inline(always)]
    pub(super) fn remove_oldest(&mut self) -> Option<InFlight> {
        let piece = self.pieces.pop_front()?;
        self.subtract(&piece);
        Some(piece)
    }

    /// The same where the caller has read what it needs.
    #[inline(always)]
    pub(super) fn drop_oldest(&mut self) {
        self.remove_oldest();
    }

    pub(super) fn remove_newest(&mut self) -> Option<InFlight> {
        let piece = self.pieces.pop_back()?;
        self.subtract(&piece);
        Some(piece)
    }

    /// Removes the pieces for which `is_gone` returns true.
    pub(super) fn remove_if(&mut self, mut is_gone: impl FnMut(&mut InFlight) -> bool) {
        let (backlog_ns, flagged) = (&mut self.backlog_ns, &mut self.flagged);
        self.pieces.retain_mut(|piece| {
            let gone = is_gone(piece);
            if gone {
                *backlog_ns -= u64::from(piece.cost_ns);
                *flagged -= usize::from(piece.low_water);
            }
            !gone
        });
    }

    /// Removes all pieces, and returns them in order.
    pub(super) fn remove_all(&mut self) -> VecDeque<InFlight> {
        (self.backlog_ns, self.flagged) = (0, 0);
        std::mem::take(&mut self.pieces)
    }

    /// The first pieces cost no more time, as long as that is true of them: they are complete.
    pub(super) fn cost_nothing(&mut self, is_complete: impl Fn(u32) -> bool) {
        for piece in self.pieces.iter_mut().take_while(|piece| is_complete(piece.sequence)) {
            self.backlog_ns -= u64::from(std::mem::take(&mut piece.cost_ns));
        }
    }

    /// A piece that streams now reaches to `end`.
    pub(super) fn extend(&mut self, sequence: u32, end: u64) {
        if let Some(piece) = self.pieces.iter_mut().find(|piece| piece.sequence == sequence) {
            piece.end = end;
        }
    }

    #[inline(always)]
    fn subtract(&mut self, piece: &InFlight) {
        self.backlog_ns -= u64::from(piece.cost_ns);
        self.flagged -= usize::from(piece.low_water);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ledger: &Ledger, sequences: &[u32], backlog_ns: u64, flagged: usize) {
        assert_eq!(ledger.iter().map(|piece| piece.sequence).collect::<Vec<_>>(), sequences);
        assert_eq!((ledger.backlog_ns(), ledger.flagged()), (backlog_ns, flagged), "{sequences:?}");
        assert_eq!((ledger.len(), ledger.is_empty()), (sequences.len(), sequences.is_empty()));
        assert_eq!(ledger.oldest().map(|piece| piece.sequence), sequences.first().copied());
        assert_eq!(ledger.newest().map(|piece| piece.sequence), sequences.last().copied());
    }

    #[test]
    fn the_sums_are_those_of_the_pieces() {
        let mut ledger = Ledger::default();
        check(&ledger, &[], 0, 0);
        assert!(ledger.remove_oldest().is_none() && ledger.remove_newest().is_none());
        let task = TaskKey { index: 0, generation: 1 };
        for sequence in 1..=6 {
            ledger.add(InFlight {
                task,
                number: 0,
                sequence,
                cost_ns: 10_u32.pow(sequence - 1),
                position: 0,
                end: 0,
                low_water: sequence % 2 == 0,
                streams: false,
                is_limited: false,
                may_run_again: false,
                is_timed: false,
                is_sampled: false,
                function: 0,
                held: Held::Given,
            });
        }
        check(&ledger, &[1, 2, 3, 4, 5, 6], 111_111, 3);
        assert_eq!(ledger.remove_oldest().unwrap().sequence, 1);
        check(&ledger, &[2, 3, 4, 5, 6], 111_110, 3);
        assert_eq!(ledger.remove_newest().unwrap().sequence, 6);
        check(&ledger, &[2, 3, 4, 5], 11_110, 2);
        ledger.remove_if(|piece| [3, 4].contains(&piece.sequence));
        check(&ledger, &[2, 5], 10_010, 1);
        ledger.extend(5, 77);
        ledger.extend(4, 78);
        let all: Vec<_> = ledger.remove_all().iter().map(|it| (it.sequence, it.end)).collect();
        assert_eq!(all, [(2, 0), (5, 77)]);
        check(&ledger, &[], 0, 0);
    }
}
