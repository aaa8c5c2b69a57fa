//! Outgoing arguments that are too long for one record: the parent sends them in chunks.
//!
//! Invariant: at most one piece's arguments are on their way. They are complete in `current` until the worker is known to
//! have claimed the piece, since before that the piece may have to go to another worker. After the claim they
//! are dropped, or move to `kept` if the piece may run again. Only the parent touches these words.

use super::Link;
use crate::engine::wire::pair::CHUNK_BYTES;
use crate::engine::wire::record;
use crate::failpoint::failpoint;
use crate::protocol::ring::Header;

/// The most chunks that one look sends, since the lock is held meanwhile: 256 KiB, as long as the whole ring.
const CHUNKS_A_LOOK: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    current: Option<Sending>,
    /// The arguments that streamed to the piece that runs, if it may run again.
    kept: Option<Vec<u8>>,
    /// Arguments that are not needed any more, to be freed without the lock.
    unwanted: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Sending {
    bytes: Vec<u8>,
    sent: usize,
    sequence: u32,
}

impl Outgoing {
    /// True while arguments are still on their way.
    #[inline]
    pub(super) fn is_sending(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.sent < current.bytes.len())
    }

    /// True while the arguments of this piece are still on their way.
    #[inline]
    pub(super) fn is_sending_to(&self, sequence: u32) -> bool {
        self.current.as_ref().is_some_and(|it| it.sequence == sequence && it.sent < it.bytes.len())
    }

    /// True if no arguments are on their way or wait for a claim: the next may start.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.current.is_none()
    }

    /// The first chunk of these arguments was written.
    pub(super) fn start(&mut self, sequence: u32, bytes: Vec<u8>, sent: usize) {
        debug_assert!(self.is_free());
        self.current = Some(Sending { bytes, sent, sequence });
    }

    /// The piece is answered or revoked: its arguments are not needed any more.
    pub(super) fn forget(&mut self, sequence: u32) {
        let forgotten = self.current.take_if(|current| current.sequence == sequence);
        self.unwanted.extend(forgotten.map(|it| it.bytes));
    }

    /// A part of a result that counts no more.
    pub(super) fn discard(&mut self, bytes: Vec<u8>) {
        self.unwanted.push(bytes);
    }

    /// The piece that runs is answered.
    pub(super) fn forget_kept(&mut self) {
        self.unwanted.extend(self.kept.take());
    }

    /// The arguments of this piece, if they are on their way or wait for a claim. The worker steps over those chunks that are in
    /// the ring already.
    pub(super) fn take(&mut self, sequence: u32) -> Option<Vec<u8>> {
        Some(self.current.take_if(|current| current.sequence == sequence)?.bytes)
    }

    /// The arguments of the piece that runs, if it may run again.
    pub(super) fn take_kept(&mut self) -> Vec<u8> {
        self.kept.take().unwrap_or_default()
    }

    /// The next chunk and its piece, if something is left to send.
    fn next_chunk(&self) -> Option<(u32, &[u8])> {
        let Sending { bytes, sent, sequence } = self.current.as_ref()?;
        let left = &bytes[*sent..];
        (!left.is_empty()).then(|| (*sequence, &left[..left.len().min(CHUNK_BYTES)]))
    }

    /// The next chunk was written.
    fn advance(&mut self) {
        if let Some(current) = &mut self.current {
            current.sent = (current.sent + CHUNK_BYTES).min(current.bytes.len());
        }
    }

    /// The piece whose arguments are sent and that is not known to be claimed.
    fn waits_for_claim(&self) -> Option<u32> {
        self.current.as_ref().filter(|current| current.sent == current.bytes.len()).map(|current| current.sequence)
    }

    /// The piece is claimed.
    fn claimed(&mut self, may_run_again: bool) {
        let sent = self.current.take().map(|sent| sent.bytes);
        if may_run_again {
            self.kept = sent;
        } else {
            self.unwanted.extend(sent);
        }
    }
}

impl Link {
    /// True while arguments are still on their way.
    #[inline]
    pub(crate) fn is_streaming_out(&self) -> bool {
        self.outgoing.is_sending()
    }

    /// Sends more of the arguments that stream, as far as there is room, but at most [`CHUNKS_A_LOOK`]: the worker may
    /// read as quickly as they are written. True if there may be room for more.
    #[inline]
    pub(crate) fn pump(&mut self) -> bool {
        !self.outgoing.is_free() && self.send_chunks()
    }

    /// The arguments that are not needed any more.
    #[inline]
    pub(crate) fn take_unwanted(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.outgoing.unwanted.drain(..)
    }

    #[cold]
    fn send_chunks(&mut self) -> bool {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let mut chunks = 0;
        while let Some((sequence, chunk)) = outgoing.next_chunk().filter(|_| chunks < CHUNKS_A_LOOK) {
            chunks += 1;
            self.copied += chunk.len();
            let header = Header { kind: record::CHUNK, flags: 0, sequence };
            if self.push(header, &[], chunk).is_none() {
                break;
            }
            outgoing.advance();
            failpoint!("parent-chunk-written");
            // Only here: once everything is sent, what follows in the ring belongs to other pieces.
            self.ledger.extend(sequence, self.work.tail());
            self.publish();
        }
        // Only the oldest piece can have begun, whatever the state words say.
        if let Some(sequence) = outgoing.waits_for_claim()
            && let Some(oldest) = self.ledger.oldest()
            && oldest.sequence == sequence
        {
            let may_run_again = oldest.may_run_again;
            if self.sees_claim() {
                outgoing.claimed(may_run_again);
            }
        }
        self.outgoing = outgoing;
        chunks == CHUNKS_A_LOOK && self.outgoing.is_sending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_chunk_by_chunk_and_stay_until_the_claim() {
        for length in [CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5] {
            let bytes: Vec<u8> = (0..length).map(|index| index as u8).collect();
            for may_run_again in [false, true] {
                let mut outgoing = Outgoing::default();
                assert!(outgoing.is_free() && !outgoing.is_sending());
                outgoing.start(3, bytes.clone(), CHUNK_BYTES);
                let mut sent = bytes[..CHUNK_BYTES].to_vec();
                while let Some((sequence, chunk)) = outgoing.next_chunk() {
                    assert!(outgoing.is_sending() && outgoing.is_sending_to(3) && !outgoing.is_sending_to(4));
                    assert!(sequence == 3 && outgoing.waits_for_claim().is_none());
                    sent.extend_from_slice(chunk);
                    outgoing.advance();
                }
                assert_eq!(sent, bytes);
                assert!(!outgoing.is_sending() && !outgoing.is_sending_to(3) && !outgoing.is_free());
                assert_eq!(outgoing.waits_for_claim(), Some(3));
                outgoing.claimed(may_run_again);
                assert!(outgoing.is_free() && outgoing.take(3).is_none());
                assert_eq!(outgoing.take_kept(), if may_run_again { &bytes[..] } else { &[] });
            }
        }
    }

    #[test]
    fn only_its_own_piece_takes_the_arguments() {
        let start = || {
            let mut outgoing = Outgoing::default();
            outgoing.start(3, vec![1; 9], 4);
            outgoing
        };
        for (sequence, is_gone) in [(2, false), (3, true), (4, false)] {
            let mut outgoing = start();
            assert_eq!(outgoing.take(sequence), is_gone.then(|| vec![1; 9]), "{sequence}");
            assert_eq!(outgoing.is_free(), is_gone, "{sequence}");
            let mut outgoing = start();
            outgoing.forget(sequence);
            assert_eq!(outgoing.is_free(), is_gone, "{sequence}");
        }
    }
}
