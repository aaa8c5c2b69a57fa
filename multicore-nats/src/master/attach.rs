//! The record of a named job: how a master makes the job its own, and keeps it.
//!
//! Invariant: a claim that is `mine` was written by this master, and the sequence is that of its last write that is known to be stored.

use super::connect::Step;
use super::{Master, Phase, Purpose, RETRY_NS, SECOND_NS, Trouble};
use crate::frame::Record;
use crate::identity::{ChunkKey, JobKey};
use crate::transport::{Failure, Last, Reply, Request, Stream};

/// How often the record is written.
pub const RECORD_NS: u64 = SECOND_NS;

/// A record that is older is that of a dead master: it has missed three writes.
pub const STALE_NS: u64 = 3 * SECOND_NS;

#[derive(Debug)]
pub(super) struct Claim {
    key: JobKey,
    pub(super) is_mine: bool,
    /// True if another master had the job before.
    pub(super) has_former: bool,
    /// True between the claim and the moment at which nothing of the former master is in W.
    pub(super) is_draining: bool,
    sequence: u64,
    /// The pieces below this number may be published.
    pub(super) recorded: u32,
    /// The pieces that the write under way counts.
    writing: Option<u32>,
    write_at: u64,
    /// The record of another master, by its sequence.
    watched: Option<u64>,
    /// The outcomes up to this sequence are read before anything is published.
    pub(super) drained_to: Option<u64>,
    pub(super) drain_at: u64,
    /// The record of the former master counts more pieces than there are.
    pub(super) awaits_pieces: bool,
}

impl Claim {
    pub(super) fn new(key: JobKey) -> Claim {
        Claim {
            key,
            is_mine: false,
            has_former: false,
            is_draining: false,
            sequence: 0,
            recorded: 0,
            writing: None,
            write_at: 0,
            watched: None,
            drained_to: None,
            drain_at: 0,
            awaits_pieces: false,
        }
    }

    /// The stream of records is gone: the record is written anew. No piece is published meanwhile.
    pub(super) fn lost(&mut self) {
        (self.sequence, self.recorded) = (0, 0);
    }

    pub(super) fn next_at(&self) -> u64 {
        if self.writing.is_none() { self.write_at } else { u64::MAX }
    }
}

impl Master {
    fn claim(&mut self) -> &mut Claim {
        self.claim.as_mut().expect("the job has a name")
    }

    /// The pieces that may be published.
    pub(super) fn recorded(&self) -> u32 {
        self.claim.as_ref().map_or(u32::MAX, |claim| if claim.is_draining { 0 } else { claim.recorded })
    }

    /// Asks for the record, or writes it.
    pub(super) fn claim_step(&mut self) {
        self.claim().writing = None;
        self.ask_last();
    }

    fn ask_last(&mut self) {
        let (stream, subject) = (Stream::Records, self.settings.namespace.record(self.settings.job));
        self.ask_for(Purpose::Step, |token| Request::Last { token, stream, subject });
    }

    fn write(&mut self, now: u64, purpose: Purpose) {
        let pieces = self.pieces.len();
        let (job, master, digest) = (self.settings.job, self.settings.master, self.pieces.digest());
        let subject = self.settings.namespace.record(job);
        let beat_ns = self.settings.epoch_ns.saturating_add(now);
        let claim = self.claim();
        claim.writing = Some(pieces);
        claim.write_at = now + RECORD_NS;
        let record = Record { key: claim.key, pieces: pieces.into(), digest, master, beat_ns };
        let expected = Some(claim.sequence);
        // Without an id: a write of which nobody knows is told by the sequence.
        let (payload, id) = (record.write(), String::new());
        self.ask_for(purpose, |token| Request::Publish { token, subject, payload, id, expected });
    }

    /// The answer to what [`claim_step`](Self::claim_step) asked.
    pub(super) fn claim_answered(&mut self, now: u64, result: Result<Reply, Failure>) {
        if result.is_ok() {
            // It may wait for another master's silence, or for pieces; the server is there.
            self.trouble = None;
        }
        match result {
            Ok(Reply::Stored(sequence)) => self.claimed(now, sequence),
            Ok(Reply::Last(None)) if self.claim().is_mine && self.claim().sequence > 0 => {
                // It was purged by somebody: the job was cancelled while this master heard nothing.
                self.end(now, Err(Trouble::Cancelled));
            }
            Ok(Reply::Last(None)) => {
                self.claim().sequence = 0;
                self.write(now, Purpose::Step);
            }
            Ok(Reply::Last(Some(last))) => self.judge_record(now, &last),
            // Another master, or an earlier write of this one, was first: the record tells.
            Err(Failure::WrongSequence | Failure::NoAnswer) => self.step_at = now + RETRY_NS,
            Err(Failure::Disconnected) => {}
            Err(failure) => self.prepare_later(now, &failure),
            Ok(_) => self.prepare_later(now, &Failure::Other("an answer of another kind".into())),
        }
    }

    fn judge_record(&mut self, now: u64, last: &Last) {
        let Ok(record) = Record::read(&last.payload) else { return self.end(now, Err(Trouble::Differs)) };
        let (len, is_sealed) = (u64::from(self.pieces.len()), self.is_sealed);
        if record.master == self.settings.master {
            self.claim().writing = u32::try_from(record.pieces).ok();
            return self.claimed(now, last.sequence);
        }
        let claim = self.claim();
        if claim.is_mine || claim.watched.is_some_and(|watched| watched != last.sequence) {
            return self.end(now, Err(Trouble::Taken));
        }
        claim.watched = Some(last.sequence);
        if last.age_ns < STALE_NS {
            self.step_at = now + (STALE_NS - last.age_ns).min(2 * RETRY_NS);
            return;
        }
        claim.awaits_pieces = len < record.pieces && !is_sealed;
        if claim.awaits_pieces {
            // The rest of the pieces is being handed in.
            self.step_at = now + RETRY_NS;
            return;
        }
        if self.pieces.digest_of(record.pieces) != Some(record.digest) {
            return self.end(now, Err(Trouble::Differs));
        }
        self.key = ChunkKey::new(record.key);
        let claim = self.claim();
        (claim.key, claim.sequence) = (record.key, last.sequence);
        (claim.has_former, claim.is_draining) = (true, true);
        self.write(now, Purpose::Step);
    }

    /// The record is this master's.
    fn claimed(&mut self, now: u64, sequence: u64) {
        let claim = self.claim();
        (claim.is_mine, claim.sequence) = (true, sequence);
        claim.recorded = claim.recorded.max(claim.writing.take().unwrap_or(0));
        self.next_step(now, Step::Reader);
    }

    /// Writes the record each second, and when there are more pieces than it counts.
    pub(super) fn keep_record(&mut self, now: u64) {
        let len = self.pieces.len();
        let Some(claim) = &self.claim else { return };
        let is_due = claim.write_at <= now || claim.recorded < len;
        if self.phase == Phase::Running && claim.writing.is_none() && is_due {
            self.write(now, Purpose::Record);
        }
    }

    /// The answer to a write while the job runs.
    pub(super) fn record_answered(&mut self, now: u64, result: Result<Reply, Failure>) {
        let Some(claim) = &mut self.claim else { return };
        let written = claim.writing.take();
        match result {
            Ok(Reply::Stored(sequence)) => {
                claim.sequence = sequence;
                claim.recorded = claim.recorded.max(written.unwrap_or(0));
            }
            // Whose record it is now is found out by the steps.
            Err(Failure::WrongSequence) => self.prepare(now),
            Err(Failure::Disconnected) => {}
            Err(Failure::NoAnswer) => claim.write_at = now,
            Err(failure) => self.prepare_later(now, &failure),
            Ok(_) => {}
        }
    }

    /// Waits until nothing of the former master is in W, and all that it left in R was read.
    pub(super) fn drain(&mut self, now: u64) {
        let read = self.reader.next_sequence();
        let Some(claim) = self.claim.as_mut().filter(|claim| claim.is_draining) else { return };
        if claim.drained_to.is_some_and(|last| read > last) {
            claim.is_draining = false;
            // What has not come by now comes no more, or late.
            self.counts.unknown_chunk += self.found.clear();
            self.quiet.begin(now);
            return;
        }
        if claim.drain_at > now || self.asked.awaits(Purpose::Drain) {
            return;
        }
        claim.drain_at = now + RETRY_NS;
        if claim.drained_to.is_some() {
            // What is missing was lost on its way.
            claim.drain_at = now + SECOND_NS;
            self.read_anew();
        } else {
            let (job, build) = (self.settings.job, self.settings.build);
            let (stream, subject) = (Stream::Work, self.settings.namespace.work(build, job));
            self.ask_for(Purpose::Drain, |token| Request::Count { token, stream, subject });
        }
    }

    /// W has this number of chunks; or the last message of R is known.
    pub(super) fn drain_answered(&mut self, now: u64, result: Result<Reply, Failure>) {
        match result {
            Ok(Reply::Count(0)) => {
                let (stream, subject) = (Stream::Results, self.settings.namespace.results(self.settings.job));
                self.ask_for(Purpose::Drain, |token| Request::Last { token, stream, subject });
            }
            Ok(Reply::Last(last)) => {
                let claim = self.claim();
                claim.drained_to = Some(last.map_or(0, |last| last.sequence));
                claim.drain_at = now + SECOND_NS;
            }
            Ok(_) | Err(Failure::NoAnswer | Failure::Disconnected) => {}
            Err(failure) => self.prepare_later(now, &failure),
        }
    }
}
