//! Masters, agents and their pools beside a server in memory, all in virtual time: for tests, of this crate and of what is built on it.
//!
//! | file    | what it is                                                            |
//! |---------|-----------------------------------------------------------------------|
//! | `mod`   | the world: who is there, and what happens next                        |
//! | `actor` | a process that can be paused or killed, with its machine              |
//! | `pool`  | workers that play pieces                                              |
//!
//! The same seed and the same calls give the same run. A piece that gets two outcomes ends the run with a panic.

mod actor;
mod pool;

pub use self::actor::{AgentActor, MasterActor};
pub use self::pool::{Ends, Play, Started};

use self::pool::Pool;
use crate::agent::{Agent, Holding, Settings as AgentSettings};
use crate::frame::Limits;
use crate::identity::{Build, JobId, JobKey, Namespace};
use crate::master::{Master, Settings as MasterSettings};
use crate::transport::loopback::{Loopback, Random};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A millisecond, in ns.
pub const MS: u64 = 1_000_000;

/// A second, in ns.
pub const SECOND: u64 = 1_000 * MS;

/// What a job is.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its pieces: function and arguments.
    pub pieces: Vec<(u64, Bytes)>,
    /// The lease.
    pub lease_ns: u64,
    /// The deliveries.
    pub deliveries: u32,
    /// How long the master goes on without a server.
    pub give_up_ns: u64,
    /// The longest value.
    pub max_result: u64,
    /// What runs the pieces.
    pub build: Build,
}

impl Job {
    /// A job without a name; each piece has its number as arguments.
    #[must_use]
    pub fn new(pieces: u32) -> Job {
        Job {
            name: None,
            pieces: (0..pieces).map(|piece| (1, Bytes::copy_from_slice(&piece.to_le_bytes()))).collect(),
            lease_ns: 3 * SECOND,
            deliveries: 3,
            give_up_ns: 60 * SECOND,
            max_result: 1 << 30,
            build: BUILD,
        }
    }

    /// The same with a name.
    #[must_use]
    pub fn named(self, name: &str) -> Job {
        Job { name: Some(name.into()), ..self }
    }
}

/// What hosts serve unless told otherwise.
pub const BUILD: Build = Build([0xb1; 32]);

/// How a piece plays.
pub type Program = Box<dyn FnMut(&Started) -> Play>;

/// All that there is.
pub struct World {
    now: u64,
    /// The server and its network.
    pub loopback: Loopback,
    random: Random,
    /// The masters, in the order of their start.
    pub masters: Vec<MasterActor>,
    /// The agents, in the order of their start.
    pub agents: Vec<AgentActor>,
    program: Program,
    /// How often each piece has begun, by its arguments.
    pub starts: BTreeMap<Bytes, u32>,
    /// The starts after this time are counted in `late_starts`.
    pub late_after: u64,
    /// See `late_after`.
    pub late_starts: u32,
    /// An agent that is killed by a piece comes back after this time.
    pub restart_ns: Option<u64>,
    to_start: BTreeMap<u64, (String, u32)>,
}

impl World {
    /// A world with a server and nobody else. Each piece plays as the program says.
    pub fn new(seed: u64, program: impl FnMut(&Started) -> Play + 'static) -> World {
        World {
            now: 0,
            loopback: Loopback::new(seed),
            random: Random::new(seed ^ 0x5eed),
            masters: Vec::new(),
            agents: Vec::new(),
            program: Box::new(program),
            starts: BTreeMap::new(),
            late_after: u64::MAX,
            late_starts: 0,
            restart_ns: None,
            to_start: BTreeMap::new(),
        }
    }

    /// The time since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// A number from `low` on, below `high`.
    pub fn random(&mut self, low: u64, high: u64) -> u64 {
        self.random.between(low, high)
    }

    /// The namespace of all jobs here.
    ///
    /// # Panics
    /// Never: the name is a good one.
    #[must_use]
    pub fn namespace() -> Namespace {
        Namespace::new("mc").expect("a good name")
    }

    /// An agent starts.
    pub fn start_agent(&mut self, name: &str, workers: u32) -> usize {
        self.start_agent_of(name, workers, BUILD)
    }

    /// An agent of another build starts.
    pub fn start_agent_of(&mut self, name: &str, workers: u32, build: Build) -> usize {
        let settings = AgentSettings {
            namespace: World::namespace(),
            build,
            name: name.into(),
            workers,
            drain_ns: 30 * SECOND,
            incarnation: self.random.number(),
        };
        let client = self.loopback.connect(build);
        self.agents.push(AgentActor::new(client, Agent::new(settings), Pool::new(workers), name));
        let at = self.agents.len() - 1;
        self.outputs_of_agent(at);
        at
    }

    /// A master starts, with all its pieces.
    ///
    /// # Panics
    /// If the job has a bad name, or arguments that are too long.
    pub fn start_master(&mut self, job: &Job) -> usize {
        let id = match &job.name {
            Some(name) => JobId::named(name).expect("a good name"),
            None => JobId::unnamed(self.random.bytes()),
        };
        let settings = MasterSettings {
            namespace: World::namespace(),
            build: job.build,
            job: id,
            key: JobKey(self.random.bytes()),
            master: self.random.bytes(),
            limits: Limits::default(),
            lease_ns: job.lease_ns,
            deliveries: job.deliveries,
            chunk_ns: 100 * MS,
            give_up_ns: job.give_up_ns,
            max_result: job.max_result,
            epoch_ns: 0,
        };
        let client = self.loopback.connect(job.build);
        let mut master = Master::new(settings, self.now);
        for (function, bytes) in &job.pieces {
            master.add(*function, bytes.clone()).expect("they fit");
        }
        master.seal(self.now);
        self.masters.push(MasterActor::new(client, id, master));
        let at = self.masters.len() - 1;
        self.outputs_of_master(at);
        at
    }

    /// An agent's process is killed, and its workers with it.
    pub fn kill_agent(&mut self, at: usize) {
        self.agents[at].is_dead = true;
        self.agents[at].pool.clear();
        self.loopback.disconnect(self.agents[at].client);
    }

    /// An agent's process is stopped for this time; then it goes on.
    pub fn pause_agent(&mut self, at: usize, for_ns: u64) {
        self.agents[at].paused_until = self.now + for_ns;
    }

    /// An agent gets a SIGTERM.
    pub fn stop_agent(&mut self, at: usize) {
        let now = self.now;
        self.agents[at].agent.stop(now);
        self.outputs_of_agent(at);
    }

    /// A master's process is killed.
    pub fn kill_master(&mut self, at: usize) {
        self.masters[at].is_dead = true;
        self.loopback.disconnect(self.masters[at].client);
    }

    /// A master's process is stopped for this time.
    pub fn pause_master(&mut self, at: usize, for_ns: u64) {
        self.masters[at].paused_until = self.now + for_ns;
    }

    /// A master's caller cancels its job.
    pub fn cancel(&mut self, at: usize) {
        let now = self.now;
        self.masters[at].master.cancel(now);
        self.outputs_of_master(at);
    }

    /// Lets the world run until this time.
    pub fn run_until(&mut self, until: u64) {
        self.run_while(until, |_| true);
        self.now = self.now.max(until);
    }

    /// Lets the world run until this master's job is over, at most for this time from now on. Gives the time of its end since the beginning.
    ///
    /// # Panics
    /// If the job is not over by then.
    pub fn run_to_end(&mut self, master: usize, at_most_ns: u64) -> u64 {
        let until = self.now + at_most_ns;
        self.run_while(until, |world| world.masters[master].over.is_none());
        let Some((at, _)) = &self.masters[master].over else {
            panic!("the job is not over after {} s: {:#?}", at_most_ns / SECOND, self.masters[master].master);
        };
        *at
    }

    /// Lets the world run while this holds, at most until this time.
    pub fn run_while(&mut self, until: u64, holds: impl Fn(&World) -> bool) {
        let mut same = 0u32;
        while holds(self) {
            let Some(next) = self.next_at().filter(|next| *next <= until) else { return };
            same = if next <= self.now { same + 1 } else { 0 };
            assert!(same < 100_000, "time stands still at {} ns", self.now);
            self.now = self.now.max(next);
            self.step();
        }
    }

    fn next_at(&self) -> Option<u64> {
        let masters = self.masters.iter().filter_map(MasterActor::next_at);
        let agents = self.agents.iter().filter_map(AgentActor::next_at);
        let starts = self.to_start.keys().next().copied();
        masters.chain(agents).chain(starts).chain(self.loopback.next_at()).min()
    }

    fn step(&mut self) {
        let now = self.now;
        for (client, event) in self.loopback.advance(now) {
            if let Some(at) = self.masters.iter().position(|actor| actor.client == client) {
                self.masters[at].deferred.push_back(event);
            } else if let Some(at) = self.agents.iter().position(|actor| actor.client == client) {
                self.agents[at].deferred.push_back(event);
            }
        }
        while let Some(entry) = self.to_start.first_entry().filter(|entry| *entry.key() <= now) {
            let (name, workers) = entry.remove();
            self.start_agent(&name, workers);
        }
        for at in 0..self.masters.len() {
            if self.masters[at].wake(now) {
                self.outputs_of_master(at);
            }
        }
        for at in 0..self.agents.len() {
            if self.agents[at].is_awake(now) {
                self.wake_agent(at);
            }
        }
    }

    fn wake_agent(&mut self, at: usize) {
        let now = self.now;
        self.agents[at].hear(now);
        while let Some((chunk, piece, ends)) = self.agents[at].pool.ended(now) {
            let outcome = match ends {
                Ends::Outcome(outcome) => outcome,
                Ends::KillsHost => return self.killed_by_piece(at),
            };
            self.agents[at].agent.ended(now, chunk, piece, outcome);
            self.outputs_of_agent(at);
        }
        self.outputs_of_agent(at);
    }

    fn killed_by_piece(&mut self, at: usize) {
        self.kill_agent(at);
        if let Some(after) = self.restart_ns {
            let (name, workers) = (self.agents[at].name.clone(), self.agents[at].pool.workers());
            let mut when = self.now + after;
            while self.to_start.contains_key(&when) {
                when += 1;
            }
            self.to_start.insert(when, (name, workers));
        }
    }

    fn outputs_of_master(&mut self, at: usize) {
        let now = self.now;
        let asked = self.masters[at].take_outputs(now);
        let client = self.masters[at].client;
        asked.into_iter().for_each(|request| self.loopback.send(client, request));
    }

    fn outputs_of_agent(&mut self, at: usize) {
        let now = self.now;
        let asked = self.agents[at].take_outputs();
        let client = self.agents[at].client;
        asked.into_iter().for_each(|request| self.loopback.send(client, request));
        let host = at;
        while let Some((chunk, piece, function, bytes)) = self.agents[at].pool.next_start() {
            let started = Started { host, piece, function, bytes: bytes.clone() };
            *self.starts.entry(bytes).or_default() += 1;
            self.late_starts += u32::from(now > self.late_after);
            let play = (self.program)(&started);
            self.agents[at].pool.begin(now, (chunk, piece), play);
        }
    }

    /// The pieces that began more than once, each as often as it began too much.
    #[must_use]
    pub fn begun_again(&self) -> u32 {
        self.starts.values().map(|starts| starts - 1).sum()
    }

    /// What waits in the pools of all agents, for messages.
    #[must_use]
    pub fn holdings(&self) -> BTreeSet<(usize, Holding)> {
        let all = self.agents.iter().enumerate();
        all.flat_map(|(at, agent)| agent.pool.chunks().map(move |chunk| (at, chunk))).collect()
    }
}
