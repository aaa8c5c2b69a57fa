//! What a master does when it is called: everything that is due at this time, and nothing else.

use super::{FULL_NS, Master, NO_HOST_NS, Output, Phase, Purpose, Trouble};
use crate::chunk::{Situation, target_ns, window};
use crate::frame::{Word, Work};
use crate::identity::ChunkId;
use crate::transport::{Failure, Reply, Request, Token};

/// A server that refuses work this number of times in a row, for a reason that starting anew does not mend, will go on.
const MOST_REFUSALS: u32 = 1000;

impl Master {
    /// The time has passed. Calls that come too early do no harm.
    pub fn tick(&mut self, now: u64) {
        if self.is_over() {
            return;
        }
        self.judge_trouble(now);
        self.take_step(now);
        if self.phase == Phase::Running {
            self.keep_record(now);
            self.drain(now);
            self.cut_chunks(now);
            self.publish(now);
            self.fetch();
            self.reconcile(now);
            self.say_beat(now);
            self.tell_no_host(now);
        }
        self.finish(now);
    }

    /// When something is due next.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        let mut due = vec![self.trouble_ends()];
        match self.phase {
            Phase::Over => return None,
            Phase::Offline => {}
            Phase::Preparing(_) => {
                if !self.asked.awaits_step() {
                    due.push(self.step_at);
                }
            }
            Phase::Running => {
                due.extend([self.chunks.next_at(), self.beat_at]);
                if !self.asked.awaits(Purpose::Count) {
                    due.push(self.reconcile_at());
                }
                if let Some(claim) = &self.claim {
                    due.push(claim.next_at());
                    due.extend((claim.is_draining && !self.asked.awaits(Purpose::Drain)).then_some(claim.drain_at));
                }
                due.extend((!self.told_no_host).then_some(self.no_host_since + NO_HOST_NS));
            }
            Phase::Ending => due = vec![self.ending_at()],
        }
        due.into_iter().min().filter(|at| *at < u64::MAX)
    }

    pub(super) fn answered(&mut self, now: u64, token: Token, purpose: Purpose, result: Result<Reply, Failure>) {
        match purpose {
            Purpose::Step => {
                if let Phase::Preparing(step) = self.phase {
                    self.step_answered(now, step, result);
                }
            }
            Purpose::Reader if self.reader.is_current(token) => match (self.phase, result) {
                (Phase::Preparing(step), result) => self.step_answered(now, step, result),
                (_, Ok(_) | Err(Failure::Disconnected)) => {}
                (Phase::Running, Err(failure)) => self.prepare_later(now, &failure),
                _ => {}
            },
            Purpose::Reader => {}
            Purpose::Record => self.record_answered(now, result),
            Purpose::Chunk(chunk) => self.chunk_answered(now, chunk, result),
            Purpose::Count => self.counted(now, result),
            Purpose::Drain => self.drain_answered(now, result),
            Purpose::Fetch(piece) => self.fetched(now, piece, result),
            Purpose::End => {}
        }
    }

    /// Makes chunks of what waits, as many as the window allows.
    fn cut_chunks(&mut self, now: u64) {
        let (hosts, workers) = self.hosts.serving(now, self.settings.build);
        while self.chunks.open() < window(hosts) {
            let target_ns = target_ns(self.settings.chunk_ns, hosts);
            let (left, _) = self.pieces.queued();
            let most = self.pace.next(Situation { hosts, workers, left, target_ns });
            let Some(span) = self.pieces.next_span(most, self.recorded()) else { break };
            self.chunks.give(ChunkId::of(&self.key, span), span, now);
        }
    }

    fn publish(&mut self, now: u64) {
        while let Some((chunk, open)) = self.chunks.take_due(now) {
            let (span, publication) = (open.span, open.publication);
            let mut left = self.pieces.left(span).peekable();
            if left.peek().is_none() {
                self.chunks.close(chunk);
                continue;
            }
            let job = self.settings.job;
            let payload = Work::write(job, chunk, self.settings.limits, left);
            let subject = self.settings.namespace.work(self.settings.build, job);
            let master = u64::from_le_bytes(self.settings.master[..8].try_into().expect("8 bytes"));
            let id = format!("{chunk}-{master:x}-{publication}");
            self.counts.chunks += 1;
            self.ask_for(Purpose::Chunk(chunk), |token| Request::Publish {
                token,
                subject,
                payload,
                id,
                expected: None,
            });
        }
    }

    fn chunk_answered(&mut self, now: u64, chunk: ChunkId, result: Result<Reply, Failure>) {
        match result {
            Ok(_) => {
                self.chunks.stored(chunk);
                self.refusals = 0;
            }
            Err(Failure::NoAnswer | Failure::Disconnected) => self.chunks.failed(chunk, now),
            Err(Failure::Full) => {
                self.chunks.failed(chunk, now + FULL_NS);
                if !std::mem::replace(&mut self.told_full, true) {
                    self.outputs.push_back(Output::Notice("the server takes no further work: W is full".into()));
                }
            }
            Err(failure) => {
                self.chunks.failed(chunk, now);
                self.refusals += 1;
                if self.refusals > MOST_REFUSALS {
                    return self.end(now, Err(Trouble::Host(format!("work cannot be published: {failure}"))));
                }
                self.prepare_later(now, &failure);
            }
        }
    }

    fn say_beat(&mut self, now: u64) {
        if self.beat_at <= now {
            self.beat_at = now + super::BEAT_NS;
            self.say(Word::Beat);
        }
    }

    fn tell_no_host(&mut self, now: u64) {
        if !self.told_no_host && self.no_host_since + NO_HOST_NS <= now {
            let (hosts, _) = self.hosts.serving(now, self.settings.build);
            (self.told_no_host, self.no_host_since) = (hosts == 0, now);
            if hosts == 0 {
                let text = self.hosts.missing(now, self.settings.build);
                self.outputs.push_back(Output::Notice(text));
            }
        }
    }
}
