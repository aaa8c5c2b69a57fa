//! The state machine of an agent: it takes chunks from the server, has their pieces run, and sends how they ended.
//!
//! It reads no clock and touches no system. [`Agent::handle`], [`Agent::ended`], [`Agent::stop`] and [`Agent::tick`] bring events with their time;
//! [`Agent::next_output`] gives what is to be done, [`Agent::next_at`] when it wants to be called again.
//!
//! # The stages of a chunk that is held
//!
//! | stage      | how it comes there                                                            | what it leads to                                    |
//! |------------|-------------------------------------------------------------------------------|-----------------------------------------------------|
//! | waiting    | delivered; it was delivered before and another is held, or another such runs  | announced, or running, when it has the host to itself |
//! | announced  | delivered before: a frame without pieces is on its way to R                   | running, when that frame is stored                  |
//! | running    | its pieces are with the runner                                                | reporting, when the last has ended                  |
//! | reporting  | its frames go to R one after the other, each when the one before is stored    | gone: the last is stored, then it is acknowledged   |
//! | given up   | delivered more often than `deliveries`: a last frame without pieces goes to R | gone, as above                                      |
//!
//! # Who writes what, and what happens if a side dies
//!
//! | step                          | written by        | the agent dies after it                        | the server dies after it, or the link                            |
//! |-------------------------------|-------------------|------------------------------------------------|------------------------------------------------------------------|
//! | pull                          | agent             | what is delivered to it comes again after the lease | it is asked for again, at latest after 4 s                  |
//! | delivery                      | server            | again after the lease, with a higher count     | a server with its store knows it; without, the master publishes again |
//! | announcement in R             | agent             | the count is higher, and this host is named    | it is published again, and has not begun to run                  |
//! | progress, each lease/3        | agent             | again after the lease                          | perhaps a second host runs it: the first outcome counts          |
//! | frame in R (not the last)     | agent             | these outcomes count, the rest runs again      | published again under the same id, so it is stored once          |
//! | object of a long value        | agent             | the next host stores it anew                   | stored again                                                     |
//! | last frame in R               | agent             | its outcomes count; the chunk runs once more, for nothing | published again under the same id                     |
//! | ack                           | agent             | -                                              | lost: the chunk runs once more, for nothing                      |
//! | master's word of cancel       | master            | -                                              | not heard: the job's work was purged as well, and pieces that run come to their end |
//!
//! If the master dies: chunks run on and stay in R until a minute after its last word. Then the agent drops the job: what runs is killed, and what is delivered is
//! terminated. A job that has a name may be taken up by another master, so it is kept for 7 days.
//!
//! Invariant: a delivery is acknowledged only when R has an outcome for each piece of its chunk, or the word that it was given up.

mod held;
mod jobs;
mod steps;
#[cfg(test)]
mod tests;
mod types;

pub use self::types::{
    BEAT_NS, Counts, Holding, INLINE_BYTES, MAX_ERROR_BYTES, MOST_HELD, Outcome, Output, PULL_LOST_NS, PULL_NS,
    Settings,
};

use self::held::Held;
use self::jobs::Jobs;
use self::types::RETRY_NS;
use crate::frame::{Control, Work};
use crate::transport::{Delivery, Event, Failure, Mark, Reply, Request, Token};
use bytes::Bytes;
use std::collections::VecDeque;

/// The state of an agent.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    outputs: VecDeque<Output>,
    counts: Counts,
    next_token: u64,
    next_holding: u64,
    is_connected: bool,
    /// What masters have set: the lease, and the deliveries.
    lease: Option<(u64, u32)>,
    asking_lease: Option<Token>,
    ask_lease_at: u64,
    pull: Option<(Token, u64)>,
    pull_at: u64,
    beat_at: u64,
    held: Vec<Held>,
    jobs: Jobs,
    /// When the pieces of a chunk last came to their end: the next chunk had the host from then on.
    last_end_ns: u64,
    /// The end of the time to drain, once stopped.
    stop_at: Option<u64>,
    is_stopped: bool,
    told: Told,
}

/// What was said once is not said again.
#[derive(Debug, Default)]
struct Told {
    garbage: bool,
    missing: bool,
    full: bool,
    refused: bool,
}

impl Agent {
    /// An agent that waits for its connection.
    #[must_use]
    pub fn new(settings: Settings) -> Agent {
        let mut agent = Agent {
            settings,
            outputs: VecDeque::new(),
            counts: Counts::default(),
            next_token: 0,
            next_holding: 0,
            is_connected: false,
            lease: None,
            asking_lease: None,
            ask_lease_at: 0,
            pull: None,
            pull_at: 0,
            beat_at: 0,
            held: Vec::new(),
            jobs: Jobs::default(),
            last_end_ns: 0,
            stop_at: None,
            is_stopped: false,
            told: Told::default(),
        };
        agent.ask(Request::Listen { subject: agent.settings.namespace.all_control() });
        agent
    }

    /// What is to be done next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The number of chunks that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Something was heard from the server.
    pub fn handle(&mut self, now: u64, event: Event) {
        if self.is_stopped {
            return;
        }
        match event {
            Event::Connected => {
                self.is_connected = true;
                self.jobs.reconnected(now);
                (self.beat_at, self.ask_lease_at, self.pull_at) = (now, now, now);
            }
            Event::Disconnected => {
                self.is_connected = false;
                (self.pull, self.asking_lease) = (None, None);
            }
            Event::Refused(failure) => {
                let text = format!("agent {}: no connection: {failure}", self.settings.name);
                self.notice_once(|told| &mut told.refused, text);
            }
            Event::Answered { token, result } => self.answered(now, token, result),
            Event::Work { pull, delivery, count, payload } => {
                if self.pull.is_some_and(|(token, _)| token == pull) {
                    self.pull = None;
                }
                self.delivered(now, delivery, count, payload);
            }
            Event::Heard { payload, .. } => self.heard(now, &payload),
            Event::Stored { .. } | Event::ReaderLost { .. } => {}
        }
        self.tick(now);
    }

    /// A piece has ended. A piece that is not held, or has ended before, is ignored.
    pub fn ended(&mut self, now: u64, chunk: Holding, piece: u32, outcome: Outcome) {
        let Some(at) = self.held.iter().position(|held| held.holding == chunk) else { return };
        // Nothing else follows from most pieces, and there may be a million in a second.
        if self.take_outcome(at, now, piece, outcome) {
            self.tick(now);
        }
    }

    /// The agent is to stop: it takes no more chunks, what runs has the time to drain, and the rest goes back to the server.
    pub fn stop(&mut self, now: u64) {
        if self.stop_at.is_none() {
            self.stop_at = Some(now + self.settings.drain_ns);
            let (begun, waiting): (Vec<Held>, Vec<Held>) = self.held.drain(..).partition(Held::has_begun);
            self.held = begun;
            for held in waiting {
                self.mark(held.delivery, Mark::Nak);
            }
        }
        self.tick(now);
    }

    fn answered(&mut self, now: u64, token: Token, result: Result<Reply, Failure>) {
        if self.asking_lease == Some(token) {
            self.asking_lease = None;
            self.learn_lease(now, result);
        } else if self.pull.is_some_and(|(pull, _)| pull == token) {
            self.pull = None;
            self.pull_ended(now, result);
        } else if let Some(at) = self.held.iter().position(|held| held.waits_for(token)) {
            self.sent(at, now, token, result);
        }
    }

    fn learn_lease(&mut self, now: u64, result: Result<Reply, Failure>) {
        match result {
            Ok(Reply::Lease { lease_ns, deliveries }) => {
                self.lease = Some((lease_ns, deliveries));
                (self.pull_at, self.told.missing) = (now, false);
            }
            other => {
                if other == Err(Failure::Missing) {
                    let (name, build) = (&self.settings.name, self.settings.build.short());
                    let text = format!("agent {name}: no master has come for build {build} yet; it waits for one");
                    self.notice_once(|told| &mut told.missing, text);
                }
                self.ask_lease_at = now + RETRY_NS;
            }
        }
    }

    fn pull_ended(&mut self, now: u64, result: Result<Reply, Failure>) {
        match result {
            Err(Failure::Missing) => {
                // The store is gone: masters make it again, perhaps with another lease.
                self.lease = None;
                self.ask_lease_at = now;
            }
            Ok(_) | Err(Failure::NoAnswer) => self.pull_at = now,
            Err(_) => self.pull_at = now + RETRY_NS,
        }
    }

    fn heard(&mut self, now: u64, payload: &[u8]) {
        let Ok(control) = Control::read(payload) else {
            self.counts.garbage += 1;
            return;
        };
        if self.jobs.heard(now, control) {
            // A master that has just come learns at once how many hosts there are.
            self.beat_at = now;
        }
        if self.lease.is_none() && self.asking_lease.is_none() {
            self.ask_lease_at = now;
        }
    }

    fn delivered(&mut self, now: u64, delivery: Delivery, count: u32, payload: Bytes) {
        let work = match Work::read(&payload) {
            Ok(work) => work,
            Err(fault) => {
                self.counts.garbage += 1;
                self.mark(delivery, Mark::Term);
                let text = format!("agent {}: a message in the work queue was removed: {fault}", self.settings.name);
                return self.notice_once(|told| &mut told.garbage, text);
            }
        };
        if !self.jobs.is_wanted(now, work.job) {
            self.counts.dropped += 1;
            return self.mark(delivery, Mark::Term);
        }
        if let Some(held) = self.held.iter_mut().find(|held| held.chunk == work.chunk && !held.is_given_up()) {
            // The lease passed before a mark came through. The chunk runs already.
            held.delivered_again(delivery, count, now);
            return;
        }
        if self.stop_at.is_some() || self.held.len() >= MOST_HELD {
            return self.mark(delivery, Mark::Nak);
        }
        let deliveries = self.lease.map_or(u32::MAX, |(_, deliveries)| deliveries);
        let holding = Holding(self.next_holding);
        self.next_holding += 1;
        let mut held = Held::new(holding, (delivery, count), &payload, &work, now, count > deliveries);
        // The delivery has begun the lease.
        held.progress_at = now + self.lease.map_or(0, |(lease_ns, _)| lease_ns / 3);
        self.counts.given_up += u64::from(held.is_given_up());
        self.held.push(held);
    }

    fn ask(&mut self, request: Request) {
        self.outputs.push_back(Output::Ask(request));
    }

    fn mark(&mut self, delivery: Delivery, mark: Mark) {
        self.ask(Request::Mark { delivery, mark });
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn notice_once(&mut self, which: impl Fn(&mut Told) -> &mut bool, text: String) {
        if !std::mem::replace(which(&mut self.told), true) {
            self.outputs.push_back(Output::Notice(text));
        }
    }
}
