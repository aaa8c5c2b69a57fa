//! The pieces of a job: what they are until they have an outcome, which of them have one, and which are to be published next.
//!
//! Invariant: a piece that is taken never becomes untaken, but by [`Pieces::give_up_claim`] for a value that could not be fetched.

use crate::chunk::MAX_CHUNK_BYTES;
use crate::frame::work::{Given, HEAD_BYTES, PIECE_BYTES};
use crate::frame::{Limits, MAX_WRITTEN_BYTES};
use crate::identity::{Build, Span};
use bytes::Bytes;
use ring::digest::{Context, SHA256};
use std::collections::BTreeSet;
use std::fmt;

/// The longest arguments of one piece.
pub const MAX_ARGUMENT_BYTES: usize = MAX_WRITTEN_BYTES - HEAD_BYTES - PIECE_BYTES;

/// Arguments that do not fit into a frame, or a piece too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The arguments have this number of bytes.
    TooLong(usize),
    /// A job has at most 2^32 - 1 pieces.
    TooMany,
    /// The job was closed before, or has ended.
    Closed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::TooLong(bytes) => write!(
                f,
                "the arguments have {bytes} bytes, and {MAX_ARGUMENT_BYTES} travel to other hosts at most: \
                 pass where they lie, such as a path"
            ),
            Refused::TooMany => write!(f, "the job has {} pieces, and no further one has a number", u32::MAX),
            Refused::Closed => f.write_str("the job takes no further pieces"),
        }
    }
}

impl std::error::Error for Refused {}

#[derive(Debug, Clone)]
struct Piece {
    function: u64,
    bytes: Bytes,
}

/// The pieces of a job.
pub(super) struct Pieces {
    given: Vec<Option<Piece>>,
    /// A bit for each piece that has an outcome, or whose value is being fetched.
    taken: Vec<u64>,
    taken_count: u32,
    /// Pieces from here on were not published in order.
    next: u32,
    /// Pieces below that are to be published, each by itself.
    again: BTreeSet<u32>,
    queued_bytes: usize,
    digest: Option<Context>,
    start: Context,
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} pieces taken, next {}", self.taken_count, self.given.len(), self.next)
    }
}

fn update(context: &mut Context, function: u64, bytes: &[u8]) {
    context.update(&function.to_le_bytes());
    context.update(&(bytes.len() as u64).to_le_bytes());
    context.update(bytes);
}

fn finish(context: Context) -> [u8; 32] {
    context.finish().as_ref().try_into().expect("32 bytes")
}

impl Pieces {
    /// No piece yet. A job with a name has a digest: of the build, the limits and the pieces.
    pub(super) fn new(build: Build, limits: Limits, is_named: bool) -> Pieces {
        let mut start = Context::new(&SHA256);
        start.update(&build.0);
        start.update(&limits.timeout_ns.to_le_bytes());
        start.update(&limits.retries.to_le_bytes());
        start.update(&[limits.flags()]);
        Pieces {
            given: Vec::new(),
            taken: Vec::new(),
            taken_count: 0,
            next: 0,
            again: BTreeSet::new(),
            queued_bytes: 0,
            digest: is_named.then(|| start.clone()),
            start,
        }
    }

    pub(super) fn add(&mut self, function: u64, bytes: Bytes) -> Result<u32, Refused> {
        if bytes.len() > MAX_ARGUMENT_BYTES {
            return Err(Refused::TooLong(bytes.len()));
        }
        let number =
            u32::try_from(self.given.len()).ok().filter(|number| *number < u32::MAX).ok_or(Refused::TooMany)?;
        if let Some(context) = &mut self.digest {
            update(context, function, &bytes);
        }
        self.queued_bytes += bytes.len();
        self.given.push(Some(Piece { function, bytes }));
        if number % 64 == 0 {
            self.taken.push(0);
        }
        Ok(number)
    }

    pub(super) fn len(&self) -> u32 {
        self.given.len() as u32
    }

    pub(super) fn is_taken(&self, piece: u32) -> bool {
        self.taken.get(piece as usize / 64).is_some_and(|word| word >> (piece % 64) & 1 == 1)
    }

    pub(super) fn all_taken(&self) -> bool {
        self.taken_count as usize == self.given.len()
    }

    /// The piece has an outcome, the first one. False if it had one before.
    #[must_use]
    pub(super) fn take(&mut self, piece: u32) -> bool {
        if self.is_taken(piece) || piece >= self.len() {
            return false;
        }
        self.taken[piece as usize / 64] |= 1 << (piece % 64);
        self.taken_count += 1;
        true
    }

    /// Its outcome is known: what the piece was is not needed any more.
    pub(super) fn drop_piece(&mut self, piece: u32) {
        if let Some(gone) = self.given[piece as usize].take().filter(|_| piece >= self.next) {
            self.queued_bytes -= gone.bytes.len();
        }
    }

    /// Its value could not be fetched: it has no outcome, and is to be published again.
    pub(super) fn give_up_claim(&mut self, piece: u32) {
        self.taken[piece as usize / 64] &= !(1 << (piece % 64));
        self.taken_count -= 1;
        self.publish_again(piece);
    }

    /// The piece is to be published by itself.
    pub(super) fn publish_again(&mut self, piece: u32) {
        if piece < self.next && !self.is_taken(piece) {
            self.again.insert(piece);
        }
    }

    /// The pieces that were not published, and their bytes.
    pub(super) fn queued(&self) -> (u64, usize) {
        let unpublished = u64::from(self.len() - self.next) + self.again.len() as u64;
        (unpublished, self.queued_bytes)
    }

    /// The pieces of the next chunk: at most `most`, and none from `end` on.
    pub(super) fn next_span(&mut self, most: u32, end: u32) -> Option<Span> {
        while let Some(piece) = self.again.pop_first() {
            if !self.is_taken(piece) {
                return Some(Span { first: piece, count: 1 });
            }
        }
        let end = end.min(self.len());
        while self.next < end && self.is_taken(self.next) {
            self.pass();
        }
        let (first, mut bytes) = (self.next, 0);
        while self.next < end && self.next - first < most && !self.is_taken(self.next) {
            let piece = self.given[self.next as usize].as_ref().expect("it is not taken");
            bytes += PIECE_BYTES + piece.bytes.len();
            if self.next > first && bytes > MAX_CHUNK_BYTES {
                break;
            }
            self.pass();
        }
        (self.next > first).then_some(Span { first, count: self.next - first })
    }

    fn pass(&mut self) {
        if let Some(piece) = &self.given[self.next as usize] {
            self.queued_bytes -= piece.bytes.len();
        }
        self.next += 1;
    }

    /// The pieces that were never published count as taken from now on.
    pub(super) fn give_back(&mut self) -> Vec<u32> {
        let given_back: Vec<u32> = (self.next..self.len()).filter(|piece| self.take(*piece)).collect();
        for &piece in &given_back {
            self.drop_piece(piece);
        }
        given_back
    }

    /// What is left of a chunk.
    pub(super) fn left(&self, span: Span) -> impl Iterator<Item = Given<'_>> {
        let left = span.pieces().filter(|piece| !self.is_taken(*piece));
        left.filter_map(|piece| {
            let given = self.given.get(piece as usize)?.as_ref()?;
            Some(Given { piece, function: given.function, bytes: &given.bytes })
        })
    }

    /// The digest of all pieces so far.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest.clone().map_or([0; 32], finish)
    }

    /// The digest of the first pieces; `None` if there are fewer, or one of them is not kept any more.
    pub(super) fn digest_of(&self, pieces: u64) -> Option<[u8; 32]> {
        let first = self.given.get(..usize::try_from(pieces).ok()?)?;
        let mut context = self.start.clone();
        for piece in first {
            let piece = piece.as_ref()?;
            update(&mut context, piece.function, &piece.bytes);
        }
        Some(finish(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(lengths: &[usize]) -> Pieces {
        let mut pieces = Pieces::new(Build([1; 32]), Limits::default(), true);
        for length in lengths {
            pieces.add(7, vec![1; *length].into()).unwrap();
        }
        pieces
    }

    #[test]
    fn chunks_are_cut_by_count_bytes_end_and_what_is_taken() {
        for (lengths, taken, most, end, expected) in [
            (&[1; 5][..], &[][..], 3, 9, &[(0, 3), (3, 2)][..]),
            (&[1; 5], &[], 9, 4, &[(0, 4)]),
            (&[1; 5], &[0, 3], 9, 9, &[(1, 2), (4, 1)]),
            (&[200_000; 3], &[], 9, 9, &[(0, 1), (1, 1), (2, 1)]),
            (&[100_000; 3], &[], 9, 9, &[(0, 2), (2, 1)]),
            (&[MAX_ARGUMENT_BYTES, 1], &[], 9, 9, &[(0, 1), (1, 1)]),
            (&[], &[], 9, 9, &[]),
        ] {
            let mut pieces = pieces(lengths);
            for piece in taken {
                assert!(pieces.take(*piece));
                pieces.drop_piece(*piece);
            }
            let spans: Vec<_> =
                std::iter::from_fn(|| pieces.next_span(most, end)).map(|it| (it.first, it.count)).collect();
            assert_eq!(spans, expected);
            assert_eq!(pieces.queued().1 == 0, end >= pieces.len(), "{pieces:?}");
        }
    }

    #[test]
    fn a_piece_is_taken_once_and_published_again_only_without_an_outcome() {
        let mut pieces = pieces(&[1; 70]);
        assert!(pieces.next_span(70, 70).is_some());
        assert!(pieces.take(65) && !pieces.take(65) && !pieces.take(70));
        for piece in [65, 3, 2, 99] {
            pieces.publish_again(piece);
        }
        assert!(pieces.take(2));
        assert_eq!(pieces.next_span(9, 70), Some(Span { first: 3, count: 1 }));
        assert_eq!(pieces.next_span(9, 70), None);
        pieces.give_up_claim(65);
        assert_eq!(pieces.next_span(9, 70), Some(Span { first: 65, count: 1 }));
        assert_eq!(pieces.left(Span { first: 64, count: 6 }).count(), 6);
    }

    #[test]
    fn what_was_not_published_is_given_back_once() {
        let mut pieces = pieces(&[1; 10]);
        assert!(pieces.next_span(4, 10).is_some());
        assert!(pieces.take(6));
        pieces.drop_piece(6);
        assert_eq!(pieces.give_back(), [4, 5, 7, 8, 9]);
        assert_eq!((pieces.give_back().len(), pieces.next_span(9, 10), pieces.queued().1), (0, None, 0));
        assert!(!pieces.all_taken());
        (0..4).for_each(|piece| assert!(pieces.take(piece)));
        assert!(pieces.all_taken());
    }

    #[test]
    fn digests_are_of_the_pieces_in_their_order() {
        let all = pieces(&[1, 2, 3]);
        assert_eq!(all.digest_of(3), Some(all.digest()));
        assert_eq!(all.digest_of(2), Some(pieces(&[1, 2]).digest()));
        assert_eq!((all.digest_of(4), all.digest_of(u64::MAX)), (None, None));
        assert_ne!(pieces(&[2, 1, 3]).digest(), all.digest());
        let other = Pieces::new(Build([2; 32]), Limits::default(), true);
        assert_ne!(other.digest(), pieces(&[]).digest());
        let other = Pieces::new(Build([1; 32]), Limits { retries: 1, ..Limits::default() }, true);
        assert_ne!(other.digest(), pieces(&[]).digest());
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused() {
        let mut pieces = pieces(&[]);
        let text = pieces.add(7, vec![0; MAX_ARGUMENT_BYTES + 1].into()).unwrap_err().to_string();
        assert!(text.contains("have 1044412 bytes, and 1044411 travel"), "{text}");
    }
}
