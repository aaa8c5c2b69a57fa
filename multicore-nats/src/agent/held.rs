//! One chunk that is held: what has ended, and which frames of it R has.
//!
//! Frames go one after the other, because the last one says that no other follows: a master that read it before an earlier one would take the pieces of
//! that one for given up. A frame keeps its id when it is published again.

use super::types::{Holding, INLINE_BYTES, MAX_ERROR_BYTES, Outcome, SECOND_NS};
use crate::frame::results::{Answer, Head, MAX_HEAD_BYTES, Object, PIECE_BYTES};
use crate::frame::{Limits, MAX_WRITTEN_BYTES, Results, Status, Work};
use crate::identity::{ChunkId, JobId, Namespace, sha256};
use crate::transport::{Delivery, Token};
use bytes::Bytes;
use std::collections::VecDeque;

/// A chunk that has run for this time sends what is done, and again each time.
pub(super) const PARTIAL_NS: u64 = SECOND_NS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Announced,
    Running,
    Reporting,
    GivenUp,
}

/// A piece that has ended, as a frame has it.
#[derive(Debug, Clone)]
struct Ended {
    piece: u32,
    status: Status,
    bytes: Bytes,
}

/// A piece that waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) piece: u32,
    pub(super) function: u64,
    pub(super) bytes: Bytes,
}

/// A value that goes to the object store.
#[derive(Debug, Clone)]
pub(super) struct Long {
    pub(super) piece: u32,
    pub(super) bytes: Bytes,
    pub(super) digest: [u8; 32],
    pub(super) token: Option<Token>,
}

/// A chunk that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) holding: Holding,
    pub(super) delivery: Delivery,
    pub(super) count: u32,
    pub(super) job: JobId,
    pub(super) chunk: ChunkId,
    pub(super) limits: Limits,
    pub(super) stage: Stage,
    pub(super) pieces: Vec<Piece>,
    /// The numbers of its pieces in order, each true once it has ended.
    left: Vec<(u32, bool)>,
    running: usize,
    ended: Vec<Ended>,
    pub(super) long: Vec<Long>,
    frames: VecDeque<Bytes>,
    pub(super) sending: Option<Token>,
    frame_number: u32,
    is_last_formed: bool,
    pub(super) began_ns: u64,
    /// How long the host has worked on it, once its last piece has ended.
    pub(super) busy_ns: Option<u64>,
    pub(super) partial_at: u64,
    pub(super) progress_at: u64,
    /// What failed is tried again then.
    pub(super) send_at: u64,
}

impl Held {
    pub(super) fn new(
        holding: Holding,
        (delivery, count): (Delivery, u32),
        payload: &Bytes,
        work: &Work<'_>,
        now: u64,
        is_given_up: bool,
    ) -> Held {
        let piece = |given: crate::frame::work::Given<'_>| Piece {
            piece: given.piece,
            function: given.function,
            bytes: payload.slice_ref(given.bytes),
        };
        let pieces: Vec<Piece> = if is_given_up { Vec::new() } else { work.pieces().map(piece).collect() };
        // A number that comes twice is one piece.
        let mut left: Vec<(u32, bool)> = pieces.iter().map(|piece| (piece.piece, false)).collect();
        left.sort_unstable();
        left.dedup();
        Held {
            holding,
            delivery,
            count,
            job: work.job,
            chunk: work.chunk,
            limits: work.limits,
            stage: if is_given_up { Stage::GivenUp } else { Stage::Waiting },
            running: left.len(),
            pieces,
            left,
            ended: Vec::new(),
            long: Vec::new(),
            frames: VecDeque::new(),
            sending: None,
            frame_number: 0,
            is_last_formed: false,
            began_ns: now,
            busy_ns: None,
            partial_at: u64::MAX,
            progress_at: now,
            send_at: now,
        }
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.stage == Stage::GivenUp
    }

    /// True if it was delivered before: its last host may have died of it.
    pub(super) fn is_suspect(&self) -> bool {
        self.count > 1
    }

    pub(super) fn has_begun(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Reporting)
    }

    /// The pieces that are with the runner.
    pub(super) fn running(&self) -> usize {
        if self.stage == Stage::Running { self.running } else { 0 }
    }

    pub(super) fn waits_for(&self, token: Token) -> bool {
        self.sending == Some(token) || self.long.iter().any(|long| long.token == Some(token))
    }

    pub(super) fn delivered_again(&mut self, delivery: Delivery, count: u32, now: u64) {
        (self.delivery, self.progress_at) = (delivery, now);
        // A host that was only slow is not a suspect of its own.
        if !self.has_begun() {
            self.count = count;
        }
    }

    /// A piece has ended. True if the chunk has ended by it.
    #[must_use]
    pub(super) fn take(&mut self, piece: u32, outcome: Outcome) -> bool {
        let Ok(at) = self.left.binary_search_by_key(&piece, |(piece, _)| *piece) else { return false };
        if self.stage != Stage::Running || std::mem::replace(&mut self.left[at].1, true) {
            return false;
        }
        self.running -= 1;
        match outcome {
            Outcome::Value(bytes) if bytes.len() > INLINE_BYTES => {
                let digest = sha256(&bytes);
                self.long.push(Long { piece, bytes, digest, token: None });
            }
            Outcome::Value(bytes) => self.ended.push(Ended { piece, status: Status::Value, bytes }),
            Outcome::Error(bytes) => {
                let bytes = bytes.slice(..bytes.len().min(MAX_ERROR_BYTES));
                self.ended.push(Ended { piece, status: Status::Error, bytes });
            }
        }
        self.running == 0
    }

    /// The object store has a long value.
    pub(super) fn stored(&mut self, token: Token) {
        let Some(at) = self.long.iter().position(|long| long.token == Some(token)) else { return };
        let long = self.long.swap_remove(at);
        let object = Object { length: long.bytes.len() as u64, digest: long.digest };
        let bytes = Bytes::copy_from_slice(&object.to_bytes());
        self.ended.push(Ended { piece: long.piece, status: Status::Object, bytes });
    }

    /// The number of pieces whose outcomes no frame has yet.
    pub(super) fn unsent(&self) -> usize {
        self.ended.len()
    }

    /// Makes frames of what has ended. The last one of a chunk is made when nothing of it is left.
    pub(super) fn form(&mut self, host: &str, busy_ns: u64) {
        let is_over = match self.stage {
            Stage::Reporting => self.long.is_empty(),
            Stage::GivenUp => true,
            Stage::Waiting | Stage::Announced | Stage::Running => false,
        };
        if self.is_last_formed {
            return;
        }
        let mut ended = std::mem::take(&mut self.ended).into_iter().peekable();
        loop {
            let mut these = Vec::new();
            let mut bytes = MAX_HEAD_BYTES;
            while let Some(next) = ended.next_if(|next| bytes + PIECE_BYTES + next.bytes.len() <= MAX_WRITTEN_BYTES) {
                bytes += PIECE_BYTES + next.bytes.len();
                these.push(next);
            }
            let last = is_over && ended.peek().is_none();
            if these.is_empty() && !last {
                break;
            }
            let head = self.head(host, busy_ns, last);
            let answers = these.iter().map(|it| Answer { piece: it.piece, status: it.status, bytes: &it.bytes });
            let frame = Results::write(&head, answers);
            self.frames.push_back(frame);
            self.is_last_formed = last;
            if last {
                break;
            }
        }
    }

    /// Says that this host begins with a chunk that was delivered before.
    pub(super) fn announce(&mut self, host: &str) {
        self.stage = Stage::Announced;
        let frame = Results::write(&self.head(host, 0, false), std::iter::empty());
        self.frames.push_back(frame);
    }

    fn head<'a>(&self, host: &'a str, busy_ns: u64, last: bool) -> Head<'a> {
        Head { job: self.job, chunk: self.chunk, delivery: self.count, last, busy_ns, host }
    }

    /// The frame that is to be published next, with its id.
    pub(super) fn next_frame(&self, incarnation: u64) -> Option<(Bytes, String)> {
        let frame = self.frames.front()?.clone();
        let id = format!("{}-{incarnation:x}-{}-{}", self.chunk, self.holding.0, self.frame_number);
        Some((frame, id))
    }

    /// R has the frame that was sent.
    pub(super) fn frame_stored(&mut self) {
        self.frames.pop_front();
        self.frame_number += 1;
    }

    /// True if R has all that there is to say of this delivery.
    pub(super) fn is_done(&self) -> bool {
        self.is_last_formed && self.frames.is_empty()
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    pub(super) fn object(&self, piece: u32) -> String {
        Namespace::object(self.job, self.chunk, piece)
    }
}
