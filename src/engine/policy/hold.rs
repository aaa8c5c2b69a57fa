//! How much is done in one hold of the scheduler's lock, so that others get it within a millisecond.
//!
//! What takes longer is cut into steps: the lock is given away between them. Cost is counted in bytes, since copying is
//! what takes time: a piece costs [`PIECE_COST`], and the bytes that were copied for it.
//!
//! Invariant: `spent` grows from 0 during one hold, and nothing begins a further worker, batch or step once it has
//! reached [`MOST`]. So a hold takes at most [`MOST`] and one look at one worker.

/// What a piece costs beside its bytes: to settle a result or to give a piece takes 50 to 100 ns, about as long as to
/// copy this many bytes.
pub(crate) const PIECE_COST: usize = 512;

/// The most that is begun in one hold: 1,000 pieces or 512 KiB take 50 to 150 us. With a tenth the lock itself would be
/// a visible part of the cost; with ten times others would wait for more than a millisecond.
pub(crate) const MOST: usize = 512 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Hold {
    spent: usize,
    /// The most that any hold has spent.
    #[cfg(test)]
    pub(crate) most_spent: usize,
}

impl Hold {
    /// The lock was taken.
    #[inline]
    pub(crate) fn start(&mut self) {
        #[cfg(test)]
        {
            self.most_spent = self.most_spent.max(self.spent);
        }
        self.spent = 0;
    }

    #[inline]
    pub(crate) fn spend(&mut self, cost: usize) {
        self.spent += cost;
    }

    /// Pieces were handled, without their bytes.
    #[inline]
    pub(crate) fn spend_pieces(&mut self, pieces: usize) {
        self.spent += pieces * PIECE_COST;
    }

    /// What was done since the lock was taken.
    pub(crate) fn spent(&self) -> usize {
        self.spent
    }

    /// The number of pieces that may still be handled.
    pub(crate) fn pieces_left(&self) -> usize {
        MOST.saturating_sub(self.spent).div_ceil(PIECE_COST)
    }

    /// True if the lock must be given away.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.spent >= MOST
    }
}
