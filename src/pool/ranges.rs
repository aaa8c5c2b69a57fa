//! Cuts `0..len` into pieces of nearly equal length.
//!
//! Invariant: the pieces cover `0..len` in order, without gap or overlap, and none is empty.

use std::iter::FusedIterator;

/// The pieces of a list: pairs `(start, end)` in order, without gap or overlap.
///
/// Made by [`ranges`](crate::ranges()) and [`Pool::ranges`](crate::Pool::ranges). Change the settings before the first
/// `next`. No piece is empty, whatever the settings are.
///
/// ```
/// let pieces: Vec<_> = multicore::ranges(10).with_pieces(3).collect();
/// assert_eq!(pieces, [(0, 4), (4, 7), (7, 10)]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an iterator does nothing until it is read"]
pub struct Ranges {
    len: usize,
    wanted: usize,
    min_len: usize,
    max_len: usize,
    /// The numbers of pieces already returned from the front and from the back.
    front: usize,
    back: usize,
}

impl Ranges {
    pub(crate) fn new(len: usize, pieces: usize) -> Self {
        Ranges { len, wanted: pieces.max(1), min_len: 1, max_len: usize::MAX, front: 0, back: 0 }
    }

    /// At most `pieces` pieces, whose lengths differ by at most one.
    /// Default: 4 for each worker. 0 counts as 1.
    pub fn with_pieces(mut self, pieces: usize) -> Self {
        self.wanted = pieces.max(1);
        self
    }

    /// No piece is shorter than `len`; if necessary there are fewer pieces. A list that is shorter than `len` is one piece.
    /// Default: 1. 0 counts as 1.
    pub fn with_min_len(mut self, len: usize) -> Self {
        self.min_len = len.max(1);
        self
    }

    /// No piece is longer than `len`; if necessary there are more pieces. This setting overrides the other two.
    /// Default: no limit. 0 counts as 1.
    pub fn with_max_len(mut self, len: usize) -> Self {
        self.max_len = len.max(1);
        self
    }

    /// The part of the pieces that the machine with this number runs, where `of` machines share the work: pieces in a row, as many as others have or
    /// one fewer, and perhaps none. All shares together are all pieces, and none is in two. After the settings, which must be the same on all
    /// machines: the [default number of pieces](Self::with_pieces) is that of this machine's workers.
    ///
    /// ```
    /// let all = multicore::ranges(1000).with_pieces(10);
    /// let shares: Vec<_> = (0..4).map(|number| all.clone().share(number, 4)).collect();
    /// assert_eq!(shares.iter().map(|share| share.len()).collect::<Vec<_>>(), [2, 3, 2, 3]);
    /// assert!(shares.into_iter().flatten().eq(all));
    /// ```
    ///
    /// With [Slurm](https://slurm.schedmd.com/srun.html) the two numbers are `SLURM_PROCID` and `SLURM_NTASKS`. Each share can have a journal of
    /// its own: one more run with all of them puts the results together.
    ///
    /// # Panics
    /// If `of` is 0, or `number` is not below it.
    pub fn share(mut self, number: usize, of: usize) -> Self {
        assert!(number < of, "there is no share {number} of {of}: shares are numbered from 0, below their count");
        let left = self.len();
        // Products of two lengths may exceed a word.
        let start_of = |share: usize| (left as u128 * share as u128 / of as u128) as usize;
        self.back += left - start_of(number + 1);
        self.front += start_of(number);
        self
    }

    /// The number of all pieces.
    fn pieces(&self) -> usize {
        let even = self.wanted.min(self.len / self.min_len).max(1).min(self.len);
        even.max(self.len.div_ceil(self.max_len))
    }

    /// Where piece `number` begins, which is where the piece before it ends.
    fn start_of(&self, number: usize, pieces: usize) -> usize {
        let (length, longer) = (self.len / pieces, self.len % pieces);
        number * length + number.min(longer)
    }

    fn piece(&self, number: usize) -> (usize, usize) {
        let pieces = self.pieces();
        (self.start_of(number, pieces), self.start_of(number + 1, pieces))
    }
}

impl Iterator for Ranges {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        if self.len() == 0 {
            return None;
        }
        self.front += 1;
        Some(self.piece(self.front - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.pieces().saturating_sub(self.front + self.back);
        (left, Some(left))
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.front += n.min(self.len());
        self.next()
    }
}

impl DoubleEndedIterator for Ranges {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.len() == 0 {
            return None;
        }
        self.back += 1;
        Some(self.piece(self.pieces() - self.back))
    }
}

impl ExactSizeIterator for Ranges {}

impl FusedIterator for Ranges {}

#[cfg(test)]
mod tests;
