//! What a master reads in R: frames in the order of the stream, and the first outcome of each piece counts.

use super::{Master, Outcome, Output, Purpose};
use crate::frame::results::{Answer, Head, Object};
use crate::frame::{Results, Status};
use crate::identity::{ChunkId, Namespace, Span, sha256};
use crate::transport::{Failure, Reply, Request, Token};
use bytes::Bytes;
use std::sync::Arc;

/// How often a value is fetched before its piece runs again.
const FETCHES: u32 = 3;

/// Where a master reads.
#[derive(Debug, Default)]
pub(super) struct Reader {
    token: Option<Token>,
    /// The last message that was read.
    sequence: u64,
    /// The messages that this reader was sent.
    number: u64,
}

impl Reader {
    pub(super) fn is_current(&self, token: Token) -> bool {
        self.token == Some(token)
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    pub(super) fn made(&mut self, token: Token) {
        (self.token, self.number) = (Some(token), 0);
    }

    pub(super) fn lose(&mut self) {
        self.token = None;
    }

    /// The stream is another one.
    pub(super) fn begin(&mut self) {
        (self.token, self.sequence) = (None, 0);
    }
}

/// A value that is being fetched. Its piece is taken.
#[derive(Debug)]
pub(super) struct Fetch {
    name: String,
    object: Object,
    host: Arc<str>,
    tries: u32,
    is_found: bool,
    pub(super) is_asked: bool,
}

/// Who sent an outcome.
#[derive(Debug)]
struct Sender {
    host: Arc<str>,
    chunk: ChunkId,
    /// This master gave the chunk out.
    is_own: bool,
}

impl Master {
    /// A message of R has come.
    pub(super) fn stored(&mut self, now: u64, reader: Token, (sequence, number): (u64, u64), payload: &Bytes) {
        if !self.reader.is_current(reader) || number <= self.reader.number {
            return;
        }
        if number > self.reader.number + 1 || sequence <= self.reader.sequence {
            // One was lost on the way, and is not sent again.
            return self.read_anew();
        }
        (self.reader.number, self.reader.sequence) = (number, sequence);
        let Ok(frame) = Results::read(payload) else {
            self.counts.garbage += 1;
            return;
        };
        if frame.head.job != self.settings.job {
            self.counts.other_job += 1;
            return;
        }
        if let Some((span, is_own)) = self.chunks.pieces_of(frame.head.chunk) {
            return self.take_frame(now, payload, &frame, span, is_own);
        }
        if !self.claim.as_ref().is_some_and(|claim| claim.has_former) {
            self.counts.unknown_chunk += 1;
        } else if let Some((span, frames)) = self.found.keep(&self.key, payload, &frame) {
            self.chunks.find(frame.head.chunk, span);
            for payload in frames {
                let frame = Results::read(&payload).expect("it was read before");
                self.take_frame(now, &payload, &frame, span, false);
            }
        }
    }

    /// A frame of a chunk that has these pieces.
    fn take_frame(&mut self, now: u64, payload: &Bytes, frame: &Results<'_>, span: Span, is_own: bool) {
        let head = frame.head;
        if frame.count() == 0 && !head.last {
            return self.chunks.begun(head.chunk, head.host);
        }
        let sender = Sender { host: head.host.into(), chunk: head.chunk, is_own };
        for answer in frame.answers() {
            match span.pieces().contains(&answer.piece) && answer.piece < self.pieces.len() {
                true => self.take_answer(now, payload, &sender, answer),
                false => self.counts.foreign_piece += 1,
            }
        }
        if head.last {
            self.close(now, &head, span, frame.count());
        }
    }

    fn take_answer(&mut self, now: u64, payload: &Bytes, sender: &Sender, answer: Answer<'_>) {
        let Answer { piece, status, bytes } = answer;
        let object = match status {
            Status::Object => Object::read(bytes),
            _ => None,
        };
        if status == Status::Object && object.is_none() {
            self.counts.garbage += 1;
            return;
        }
        if !self.pieces.take(piece) {
            self.counts.duplicates += 1;
            return;
        }
        self.quiet.heard(now);
        let (host, is_found) = (sender.host.clone(), !sender.is_own);
        match (status, object) {
            (_, Some(object)) if object.length > self.settings.max_result => {
                self.settle(piece, Outcome::TooLong { bytes: object.length }, host, is_found);
            }
            (_, Some(object)) => {
                let name = Namespace::object(self.settings.job, sender.chunk, piece);
                let fetch = Fetch { name, object, host, tries: 0, is_found, is_asked: false };
                self.fetches.insert(piece, fetch);
            }
            (Status::Error, None) => self.settle(piece, Outcome::Error(payload.slice_ref(bytes)), host, is_found),
            (_, None) => self.settle(piece, Outcome::Value(payload.slice_ref(bytes)), host, is_found),
        }
    }

    fn settle(&mut self, piece: u32, outcome: Outcome, host: Arc<str>, is_found: bool) {
        self.counts.found += u64::from(is_found);
        self.pieces.drop_piece(piece);
        self.outputs.push_back(Output::Outcome { piece, outcome, host });
    }

    /// No frame of this delivery follows. What has no outcome was given up.
    fn close(&mut self, now: u64, head: &Head<'_>, span: Span, answers: u32) {
        let Some(open) = self.chunks.close(head.chunk) else { return };
        self.quiet.heard(now);
        self.counts.redelivered += u64::from(head.delivery > 1);
        let is_whole = span.pieces().all(|piece| self.pieces.is_taken(piece));
        if is_whole {
            if answers > 0 {
                self.pace.learn(span.count, head.busy_ns);
            }
            return;
        }
        self.counts.given_up += 1;
        if span.count > 1 {
            span.pieces().for_each(|piece| self.pieces.publish_again(piece));
        } else if answers > 0 {
            // Only outcomes of other pieces: a host that lies, and the piece runs again.
            self.pieces.publish_again(span.first);
        } else if self.pieces.take(span.first) {
            let deliveries = head.delivery.saturating_sub(1).max(1);
            let hosts = open.hosts.into_iter().collect();
            self.settle(span.first, Outcome::Lost { deliveries, hosts }, head.host.into(), false);
        }
    }

    /// Fetches values that lie in the object store.
    pub(super) fn fetch(&mut self) {
        let most = self.settings.max_result;
        let asked: Vec<(u32, String)> = self
            .fetches
            .iter_mut()
            .filter(|(_, fetch)| !fetch.is_asked)
            .map(|(piece, fetch)| {
                fetch.is_asked = true;
                (*piece, fetch.name.clone())
            })
            .collect();
        self.has_objects |= !asked.is_empty();
        for (piece, name) in asked {
            self.ask_for(Purpose::Fetch(piece), |token| Request::GetObject { token, name, most });
        }
    }

    /// A value has come, or not.
    pub(super) fn fetched(&mut self, now: u64, piece: u32, result: Result<Reply, Failure>) {
        let Some(fetch) = self.fetches.get_mut(&piece) else { return };
        self.quiet.heard(now);
        match result {
            Ok(Reply::Object(bytes)) if is_object(fetch.object, &bytes) => {
                let fetch = self.fetches.remove(&piece).expect("it is there");
                self.settle(piece, Outcome::Value(bytes), fetch.host, fetch.is_found);
            }
            Err(Failure::Disconnected) => fetch.is_asked = false,
            Err(Failure::NoAnswer) if fetch.tries + 1 < FETCHES => {
                (fetch.tries, fetch.is_asked) = (fetch.tries + 1, false);
            }
            _ => {
                self.fetches.remove(&piece);
                self.counts.lost_objects += 1;
                self.pieces.give_up_claim(piece);
            }
        }
    }

    /// The chunks of which nothing is left are closed: their last frame was lost with its stream.
    pub(super) fn close_whole(&mut self) {
        let pieces = &self.pieces;
        let whole = |(_, span): &(ChunkId, Span)| span.pieces().all(|piece| pieces.is_taken(piece));
        let whole: Vec<ChunkId> = self.chunks.spans().filter(whole).map(|(chunk, _)| chunk).collect();
        whole.into_iter().for_each(|chunk| drop(self.chunks.close(chunk)));
    }
}

fn is_object(object: Object, bytes: &[u8]) -> bool {
    object.length == bytes.len() as u64 && sha256(bytes) == object.digest
}
