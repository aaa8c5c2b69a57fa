//! What an agent does when it is called: everything that is due at this time, and nothing else.

use super::Agent;
use super::held::{Held, PARTIAL_NS, Stage};
use super::types::{BEAT_NS, Holding, MOST_HELD, Outcome, Output, PULL_LOST_NS, PULL_NS, RETRY_NS};
use crate::frame::Beat;
use crate::transport::{Failure, Mark, Reply, Request, Token};

impl Agent {
    /// The time has passed. Calls that come too early do no harm.
    pub fn tick(&mut self, now: u64) {
        if self.is_stopped {
            return;
        }
        self.drop_jobs(now);
        self.start(now);
        for at in 0..self.held.len() {
            self.report(at, now);
        }
        self.release();
        // What was released may let another one begin.
        self.start(now);
        for at in 0..self.held.len() {
            self.send(at, now);
            self.progress(at, now);
        }
        if self.is_connected {
            self.ask_lease(now);
            self.ask_work(now);
            self.say_beat(now);
        }
        self.finish_stop(now);
    }

    /// When something is due next.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        if self.is_stopped {
            return None;
        }
        let mut due = vec![self.stop_at.unwrap_or(u64::MAX)];
        due.extend(self.held.iter().map(|held| if held.running() > 0 { held.partial_at } else { u64::MAX }));
        if self.is_connected {
            due.push(self.beat_at);
            due.extend(self.held.iter().map(|held| self.jobs.drop_at(held.job)));
            due.extend(self.held.iter().filter(|_| self.lease.is_some()).map(|held| held.progress_at));
            due.extend(self.held.iter().filter(|held| held.wants_to_send()).map(|held| held.send_at));
            match (self.lease, self.asking_lease, self.pull) {
                (None, None, _) => due.push(self.ask_lease_at),
                (Some(_), _, Some((_, since))) => due.push(since + PULL_LOST_NS),
                (Some(_), _, None) if self.may_pull() => due.push(self.pull_at),
                _ => {}
            }
        }
        due.into_iter().min().filter(|at| *at < u64::MAX)
    }

    /// Chunks of jobs that are cancelled, or have no master, are killed and terminated. Without a connection no master can be heard, so none is dropped.
    fn drop_jobs(&mut self, now: u64) {
        if !self.is_connected {
            return;
        }
        let jobs = &self.jobs;
        let (kept, dropped): (Vec<Held>, Vec<Held>) =
            self.held.drain(..).partition(|held| jobs.drop_at(held.job) > now);
        self.held = kept;
        for held in dropped {
            self.counts.dropped += 1;
            if held.running() > 0 {
                self.outputs.push_back(Output::Kill { chunk: held.holding });
            }
            self.mark(held.delivery, Mark::Term);
        }
    }

    /// Lets chunks begin. One that was delivered before has the host to itself, so that it alone is to blame if the host dies.
    fn start(&mut self, now: u64) {
        for at in 0..self.held.len() {
            let is_alone = self.held.iter().enumerate().all(|(other, held)| other == at || held.running() == 0);
            let suspects_before = self.held[..at].iter().any(|held| held.is_suspect() && !held.is_over());
            let (held, host) = (&mut self.held[at], &self.settings.name);
            match held.stage {
                Stage::Waiting if held.is_suspect() && is_alone && !suspects_before => held.announce(host),
                Stage::Waiting if !held.is_suspect() && !suspects_before => self.run(at, now),
                Stage::Announced if !held.has_frames() => self.run(at, now),
                _ => {}
            }
        }
    }

    fn run(&mut self, at: usize, now: u64) {
        let held = &mut self.held[at];
        held.stage = Stage::Running;
        (held.began_ns, held.partial_at) = (now, now + PARTIAL_NS);
        let (chunk, limits) = (held.holding, held.limits);
        for piece in std::mem::take(&mut held.pieces) {
            let super::held::Piece { piece, function, bytes } = piece;
            self.outputs.push_back(Output::Run { chunk, piece, function, limits, bytes });
        }
    }

    /// A piece has ended. True if something else is to be done for it.
    #[must_use]
    pub(super) fn take_outcome(&mut self, at: usize, now: u64, piece: u32, outcome: Outcome) -> bool {
        let long_before = self.held[at].long.len();
        let is_over = self.held[at].take(piece, outcome);
        if is_over {
            let busy_ns = self.busy_ns(at, now);
            (self.held[at].stage, self.held[at].busy_ns) = (Stage::Reporting, Some(busy_ns));
            self.last_end_ns = now;
            if self.held[at].long.is_empty() {
                self.form(at, now);
            }
        }
        is_over || self.held[at].long.len() > long_before
    }

    /// How long the host has worked on this chunk: since it began, or since the one before it ended. Storing long values is no work.
    fn busy_ns(&self, at: usize, now: u64) -> u64 {
        let held = &self.held[at];
        held.busy_ns.unwrap_or_else(|| now.saturating_sub(held.began_ns.max(self.last_end_ns)))
    }

    fn form(&mut self, at: usize, now: u64) {
        let busy_ns = self.busy_ns(at, now);
        let held = &mut self.held[at];
        self.counts.pieces += held.unsent() as u64;
        held.form(&self.settings.name, busy_ns);
    }

    /// Makes frames of what has ended, if it is time to.
    fn report(&mut self, at: usize, now: u64) {
        let held = &mut self.held[at];
        match held.stage {
            Stage::Running if held.partial_at <= now => {
                held.partial_at = now + PARTIAL_NS;
                if held.unsent() > 0 && !held.has_frames() {
                    self.form(at, now);
                }
            }
            Stage::Reporting | Stage::GivenUp if held.long.is_empty() => self.form(at, now),
            _ => {}
        }
    }

    /// Acknowledges what R has.
    fn release(&mut self) {
        let (done, kept): (Vec<Held>, Vec<Held>) = self.held.drain(..).partition(Held::is_done);
        self.held = kept;
        for held in done {
            self.counts.chunks += 1;
            self.mark(held.delivery, Mark::Ack);
        }
    }

    /// Publishes the next frame, and stores long values.
    fn send(&mut self, at: usize, now: u64) {
        if !self.is_connected || self.held[at].send_at > now {
            return;
        }
        let incarnation = self.settings.incarnation;
        if let Some((payload, id)) = self.held[at].next_frame(incarnation).filter(|_| self.held[at].sending.is_none()) {
            let token = self.token();
            self.held[at].sending = Some(token);
            let subject = self.settings.namespace.results(self.held[at].job);
            self.ask(Request::Publish { token, subject, payload, id, expected: None });
        }
        for long in 0..self.held[at].long.len() {
            if self.held[at].long[long].token.is_none() {
                let token = self.token();
                let value = &mut self.held[at].long[long];
                value.token = Some(token);
                let (piece, bytes) = (value.piece, value.bytes.clone());
                let name = self.held[at].object(piece);
                self.ask(Request::PutObject { token, name, bytes });
            }
        }
    }

    /// A frame or a long value was stored, or not.
    pub(super) fn sent(&mut self, at: usize, now: u64, token: Token, result: Result<Reply, Failure>) {
        let held = &mut self.held[at];
        let is_frame = held.sending == Some(token);
        match (&result, is_frame) {
            (Ok(_), true) => {
                held.sending = None;
                held.frame_stored();
            }
            (Ok(_), false) => held.stored(token),
            (Err(failure), _) => {
                held.sending = held.sending.filter(|sending| *sending != token);
                held.long.iter_mut().filter(|long| long.token == Some(token)).for_each(|long| long.token = None);
                let is_lost = matches!(failure, Failure::NoAnswer | Failure::Disconnected);
                held.send_at = if is_lost { now } else { now + RETRY_NS };
                if !is_lost {
                    let text = format!("agent {}: a result waits: {failure}", self.settings.name);
                    self.notice_once(|told| &mut told.full, text);
                }
            }
        }
    }

    /// Keeps the server from giving the chunk to another host.
    fn progress(&mut self, at: usize, now: u64) {
        let Some((lease_ns, _)) = self.lease.filter(|_| self.is_connected) else { return };
        let held = &mut self.held[at];
        if held.progress_at <= now {
            held.progress_at = now + (lease_ns / 3).max(1);
            let delivery = held.delivery;
            self.mark(delivery, Mark::Progress);
        }
    }

    fn ask_lease(&mut self, now: u64) {
        if self.lease.is_none() && self.asking_lease.is_none() && self.ask_lease_at <= now {
            let token = self.token();
            self.asking_lease = Some(token);
            self.ask(Request::Lease { token });
        }
    }

    /// True if there is room for a chunk. Beside one that was delivered before, nothing runs.
    fn may_pull(&self) -> bool {
        self.stop_at.is_none()
            && self.held.len() < MOST_HELD
            && !self.held.iter().any(|held| held.is_suspect() && !held.is_over())
    }

    fn ask_work(&mut self, now: u64) {
        if self.pull.is_some_and(|(_, since)| since + PULL_LOST_NS <= now) {
            self.pull = None;
        }
        if self.lease.is_some() && self.pull.is_none() && self.pull_at <= now && self.may_pull() {
            let token = self.token();
            self.pull = Some((token, now));
            self.ask(Request::Pull { token, expires_ns: PULL_NS });
        }
    }

    fn say_beat(&mut self, now: u64) {
        if self.beat_at > now {
            return;
        }
        self.beat_at = now + BEAT_NS;
        let running: usize = self.held.iter().map(Held::running).sum();
        let workers = self.settings.workers;
        let busy = u32::try_from(running).unwrap_or(u32::MAX).min(workers);
        let beat = Beat { name: &self.settings.name, workers, busy, build: self.settings.build };
        let (subject, payload) = (self.settings.namespace.beats(&self.settings.name), beat.write());
        self.ask(Request::Say { subject, payload });
    }

    /// When the time to drain is over, what still runs goes back to the server. What has ended is sent: if it comes through it need not run again.
    fn finish_stop(&mut self, now: u64) {
        let Some(stop_at) = self.stop_at else { return };
        if stop_at <= now {
            for at in 0..self.held.len() {
                if self.held[at].unsent() > 0 {
                    self.form(at, now);
                    self.send(at, now);
                }
                let (chunk, delivery): (Holding, _) = (self.held[at].holding, self.held[at].delivery);
                if self.held[at].running() > 0 {
                    self.outputs.push_back(Output::Kill { chunk });
                }
                self.mark(delivery, Mark::Nak);
            }
            self.held.clear();
        }
        // A chunk that this pull still brings is given back at once, and need not wait for its lease.
        if self.held.is_empty() && (self.pull.is_none() || stop_at <= now || !self.is_connected) {
            self.is_stopped = true;
            self.outputs.push_back(Output::Stopped);
        }
    }
}

impl Held {
    /// True if nothing of it is with the runner any more, or ever was.
    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Reporting | Stage::GivenUp)
    }

    fn wants_to_send(&self) -> bool {
        self.sending.is_none() && self.has_frames() || self.long.iter().any(|long| long.token.is_none())
    }
}
