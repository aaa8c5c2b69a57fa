//! Pieces that are handed to the backend together.

/// The backend gets at most 256 pieces, or 64 KiB of arguments, in one call, and takes its lock once for them.
/// With a tenth, the lock would be a visible part of a tiny piece's cost; with ten times, the workers would
/// wait longer for the first of them. 64 KiB is also the most that travels as one record.
pub(super) const BATCH_PIECES: usize = 256;
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// Encoded pieces.
#[derive(Debug)]
pub(super) struct Batch {
    /// The arguments, one behind the other.
    pub(super) bytes: Vec<u8>,
    /// Where each piece's arguments end.
    pub(super) ends: Vec<usize>,
}

impl Batch {
    /// An empty batch, with the memory of a buffer.
    pub(super) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Batch { bytes, ends: Vec::with_capacity(BATCH_PIECES) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= BATCH_PIECES || self.bytes.len() >= BATCH_BYTES
    }

    /// Takes off the bytes from `from` on, with the memory: it may be far more than a batch needs.
    pub(super) fn split_off(&mut self, from: usize) -> Vec<u8> {
        let mut own = std::mem::take(&mut self.bytes);
        if from > 0 {
            self.bytes.extend_from_slice(&own[..from]);
            own.drain(..from);
        }
        own
    }
}
