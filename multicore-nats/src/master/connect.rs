//! How a master comes to its server: step by step, and again from the first step after any trouble.

use super::{CONNECT_NS, Master, Phase, Purpose, RETRY_NS, SECOND_NS, Trouble};
use crate::frame::Word;
use crate::transport::{Created, Failure, Reply, Request, Token};

/// What is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Streams,
    Consumer,
    Record,
    Reader,
}

impl Master {
    pub(super) fn connected(&mut self, now: u64) {
        self.was_connected = true;
        if self.phase == Phase::Offline {
            self.prepare(now);
        }
    }

    pub(super) fn disconnected(&mut self, now: u64) {
        self.reader.lose();
        if self.phase != Phase::Ending {
            self.phase = Phase::Offline;
            self.begin_trouble(now, "the connection was lost".into());
        }
    }

    pub(super) fn refused(&mut self, now: u64, failure: Failure) {
        match failure {
            // What fails at the first try is told at once: a wrong address or password does not mend itself.
            _ if !self.was_connected => self.end(now, Err(Trouble::Host(failure.to_string()))),
            Failure::Unauthorized(_) => self.end(now, Err(Trouble::Host(failure.to_string()))),
            _ => self.begin_trouble(now, failure.to_string()),
        }
    }

    fn begin_trouble(&mut self, now: u64, reason: String) {
        let since = self.trouble.as_ref().map_or(now, |(since, _)| *since);
        self.trouble = Some((since, reason));
    }

    /// Begins again with the first step.
    pub(super) fn prepare(&mut self, now: u64) {
        if matches!(self.phase, Phase::Offline | Phase::Preparing(_) | Phase::Running) {
            self.phase = Phase::Preparing(Step::Streams);
            self.step_at = now;
            self.asked.forget_steps();
            self.reader.lose();
        }
    }

    /// Something failed that only another start can mend.
    pub(super) fn prepare_later(&mut self, now: u64, failure: &Failure) {
        if let Failure::Unauthorized(_) = failure {
            return self.end(now, Err(Trouble::Host(failure.to_string())));
        }
        self.begin_trouble(now, failure.to_string());
        if self.phase != Phase::Offline {
            self.prepare(now);
            self.step_at = now + RETRY_NS;
        }
    }

    /// Asks for the step that is due, unless its answer is awaited.
    pub(super) fn take_step(&mut self, now: u64) {
        let Phase::Preparing(step) = self.phase else { return };
        if self.asked.awaits_step() || self.step_at > now {
            return;
        }
        match step {
            Step::Streams => self.ask_for(Purpose::Step, |token| Request::Streams { token }),
            Step::Consumer => {
                let (lease_ns, deliveries) = (self.settings.lease_ns, self.settings.deliveries);
                self.ask_for(Purpose::Step, |token| Request::Consumer { token, lease_ns, deliveries });
            }
            Step::Record => self.claim_step(),
            Step::Reader => self.read_anew(),
        }
    }

    /// The answer to a step.
    pub(super) fn step_answered(&mut self, now: u64, step: Step, result: Result<Reply, Failure>) {
        match (step, result) {
            (Step::Record, result) => self.claim_answered(now, result),
            (_, Err(Failure::Disconnected)) => {}
            (_, Err(failure)) => self.prepare_later(now, &failure),
            (Step::Streams, Ok(Reply::Created(created))) => {
                self.learn_created(now, created);
                self.next_step(now, Step::Consumer);
            }
            (Step::Streams, Ok(_)) => self.prepare_later(now, &Failure::Other("an answer of another kind".into())),
            (Step::Consumer, Ok(_)) => {
                self.next_step(now, if self.claim.is_some() { Step::Record } else { Step::Reader });
            }
            (Step::Reader, Ok(_)) => self.run(now),
        }
    }

    pub(super) fn next_step(&mut self, now: u64, step: Step) {
        (self.phase, self.step_at) = (Phase::Preparing(step), now);
    }

    fn learn_created(&mut self, now: u64, created: Created) {
        let before = self.created.replace(created);
        let Some(before) = before else { return };
        if before.work != created.work {
            self.chunks.publish_again(now);
        }
        if before.results != created.results {
            self.reader.begin();
            if let Some(claim) = &mut self.claim {
                claim.drained_to = None;
            }
        }
        if before.records != created.records
            && let Some(claim) = &mut self.claim
        {
            claim.lost();
        }
    }

    fn run(&mut self, now: u64) {
        (self.phase, self.trouble) = (Phase::Running, None);
        self.quiet.begin(now);
        (self.no_host_since, self.told_no_host) = (now, false);
        // Agents that have waited for a master ask for work at once.
        self.say(Word::Beat);
        self.beat_at = now + super::BEAT_NS;
    }

    /// Ends a job whose server stays away.
    pub(super) fn judge_trouble(&mut self, now: u64) {
        if self.trouble_ends() > now || self.phase == Phase::Ending {
            return;
        }
        let (since, reason) = self.trouble.clone().expect("it ends at a time");
        let seconds = (now - since).div_ceil(SECOND_NS);
        self.end(now, Err(Trouble::Host(format!("no use of the server for {seconds} s: {reason}"))));
    }

    /// When a job without a server fails.
    pub(super) fn trouble_ends(&self) -> u64 {
        let patience = if self.created.is_some() { self.settings.give_up_ns } else { CONNECT_NS };
        self.trouble.as_ref().map_or(u64::MAX, |(since, _)| since.saturating_add(patience))
    }

    /// Makes the reader anew, behind what was read.
    pub(super) fn read_anew(&mut self) {
        let (subject, from) = (self.settings.namespace.results(self.settings.job), self.reader.next_sequence());
        self.ask_for(Purpose::Reader, |token| Request::Read { token, subject, from });
        self.reader.made(Token(self.next_token));
    }
}
