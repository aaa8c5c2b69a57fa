//! Frames of chunks that another master of the same job published.
//!
//! The id of a chunk is made of its pieces, so a chunk is known once outcomes of all its pieces have come: their span gives that id by the job's key, or they
//! are forged. Until then its frames are kept here.

use crate::frame::Results;
use crate::identity::{ChunkId, ChunkKey, Span};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The bytes of frames that are kept. Beyond that, the chunk with the most frames goes: its pieces run again.
const MOST_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
struct Unknown {
    frames: Vec<Bytes>,
    pieces: BTreeSet<u32>,
}

/// The frames that are kept.
#[derive(Debug, Default)]
pub(super) struct Found {
    chunks: BTreeMap<ChunkId, Unknown>,
    bytes: usize,
}

impl Found {
    /// Keeps a frame. Gives the pieces of its chunk and all its frames, once these are known.
    pub(super) fn keep(&mut self, key: &ChunkKey, payload: &Bytes, frame: &Results<'_>) -> Option<(Span, Vec<Bytes>)> {
        let id = frame.head.chunk;
        let unknown = self.chunks.entry(id).or_default();
        unknown.frames.push(payload.clone());
        unknown.pieces.extend(frame.answers().map(|answer| answer.piece));
        self.bytes += payload.len();
        if let Some(span) = span(&unknown.pieces).filter(|span| ChunkId::of(key, *span) == id) {
            let frames = self.remove(id);
            return Some((span, frames));
        }
        while self.bytes > MOST_BYTES {
            let largest = self.chunks.iter().max_by_key(|(_, unknown)| unknown.frames.len()).map(|(id, _)| *id);
            largest.map(|id| self.remove(id));
        }
        None
    }

    fn remove(&mut self, id: ChunkId) -> Vec<Bytes> {
        let frames = self.chunks.remove(&id).map_or_else(Vec::new, |unknown| unknown.frames);
        self.bytes -= frames.iter().map(Bytes::len).sum::<usize>();
        frames
    }

    /// Nothing further comes of these: gives the number of frames.
    pub(super) fn clear(&mut self) -> u64 {
        let frames = self.chunks.values().map(|unknown| unknown.frames.len() as u64).sum();
        *self = Found::default();
        frames
    }
}

/// The pieces as a span, if no piece between them is missing.
fn span(pieces: &BTreeSet<u32>) -> Option<Span> {
    let (first, last) = (*pieces.first()?, *pieces.last()?);
    let count = u32::try_from(pieces.len()).ok()?;
    (last - first == count - 1).then_some(Span { first, count })
}
