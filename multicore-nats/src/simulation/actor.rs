//! Processes: a machine each, with what it has heard and not read yet while it is paused.

use super::pool::Pool;
use crate::agent::{self, Agent};
use crate::identity::JobId;
use crate::master::{self, Master, Outcome, Trouble};
use crate::transport::loopback::ClientId;
use crate::transport::{Event, Request};
use std::collections::{BTreeMap, VecDeque};

/// A master's process.
#[derive(Debug)]
pub struct MasterActor {
    /// Its connection.
    pub client: ClientId,
    /// Its job.
    pub job: JobId,
    /// The machine.
    pub master: Master,
    /// The outcomes that it gave, with the hosts.
    pub outcomes: BTreeMap<u32, (Outcome, String)>,
    /// What it told people.
    pub notices: Vec<String>,
    /// When and how the job ended.
    pub over: Option<(u64, Result<(), Trouble>)>,
    pub(super) is_dead: bool,
    pub(super) paused_until: u64,
    pub(super) deferred: VecDeque<Event>,
}

impl MasterActor {
    pub(super) fn new(client: ClientId, job: JobId, master: Master) -> MasterActor {
        MasterActor {
            client,
            job,
            master,
            outcomes: BTreeMap::new(),
            notices: Vec::new(),
            over: None,
            is_dead: false,
            paused_until: 0,
            deferred: VecDeque::new(),
        }
    }

    /// The pieces whose values begin with their arguments, which is what pieces of a plain [`Job`](super::Job) should give.
    #[must_use]
    pub fn right(&self) -> usize {
        let is_right = |(piece, (outcome, _)): &(&u32, &(Outcome, String))| matches!(outcome, Outcome::Value(bytes) if bytes.starts_with(&piece.to_le_bytes()));
        self.outcomes.iter().filter(is_right).count()
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        if self.is_dead {
            return None;
        }
        let next = if self.deferred.is_empty() { self.master.next_at() } else { Some(0) };
        next.map(|at| at.max(self.paused_until))
    }

    /// Reads what was heard, and does what is due. True if there may be outputs.
    pub(super) fn wake(&mut self, now: u64) -> bool {
        if self.is_dead || self.paused_until > now {
            return false;
        }
        while let Some(event) = self.deferred.pop_front() {
            self.master.handle(now, event);
        }
        self.master.tick(now);
        true
    }

    pub(super) fn take_outputs(&mut self, now: u64) -> Vec<Request> {
        let mut asked = Vec::new();
        while let Some(output) = self.master.next_output() {
            match output {
                master::Output::Ask(request) => asked.push(request),
                master::Output::Outcome { piece, outcome, host } => {
                    let before = self.outcomes.insert(piece, (outcome, host.to_string()));
                    assert_eq!(before, None, "piece {piece} has two outcomes");
                }
                master::Output::Notice(text) => self.notices.push(text),
                master::Output::Over(result) => {
                    assert!(self.over.is_none(), "the job ends twice");
                    self.over = Some((now, result));
                }
            }
        }
        asked
    }
}

/// An agent's process, with its pool.
#[derive(Debug)]
pub struct AgentActor {
    /// Its connection.
    pub client: ClientId,
    /// The machine.
    pub agent: Agent,
    /// Its host's name.
    pub name: String,
    /// What it told people.
    pub notices: Vec<String>,
    /// True once it has stopped by itself.
    pub is_stopped: bool,
    pub(super) pool: Pool,
    pub(super) is_dead: bool,
    pub(super) paused_until: u64,
    pub(super) deferred: VecDeque<Event>,
}

impl AgentActor {
    pub(super) fn new(client: ClientId, agent: Agent, pool: Pool, name: &str) -> AgentActor {
        AgentActor {
            client,
            agent,
            name: name.into(),
            notices: Vec::new(),
            is_stopped: false,
            pool,
            is_dead: false,
            paused_until: 0,
            deferred: VecDeque::new(),
        }
    }

    /// True if the process is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.is_dead && !self.is_stopped
    }

    pub(super) fn is_awake(&self, now: u64) -> bool {
        !self.is_dead && self.paused_until <= now
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        if self.is_dead {
            return None;
        }
        let heard = (!self.deferred.is_empty()).then_some(0);
        let next = [heard, self.agent.next_at(), self.pool.next_at()].into_iter().flatten().min();
        next.map(|at| at.max(self.paused_until))
    }

    pub(super) fn hear(&mut self, now: u64) {
        while let Some(event) = self.deferred.pop_front() {
            self.agent.handle(now, event);
        }
        self.agent.tick(now);
    }

    pub(super) fn take_outputs(&mut self) -> Vec<Request> {
        let mut asked = Vec::new();
        while let Some(output) = self.agent.next_output() {
            match output {
                agent::Output::Ask(request) => asked.push(request),
                agent::Output::Run { chunk, piece, function, bytes, .. } => {
                    self.pool.add((chunk, piece), function, bytes);
                }
                agent::Output::Kill { chunk } => self.pool.kill(chunk),
                agent::Output::Notice(text) => self.notices.push(text),
                agent::Output::Stopped => self.is_stopped = true,
            }
        }
        asked
    }
}
