//! The parent's thread for what has no waiter: deaths, vacant places, refilling, the pool's end.
//!
//! It sleeps on its own watch, beside the caller that leads: whoever is told first does what is to
//! be done, under the lock, and the other finds it done.

use super::Shared;
use super::core::{Core, Phase, event};
use super::message::{self, FromServer};
use super::pair::Pair;
use super::start::{self, Server};
use crate::error::{Error, ErrorKind};
use crate::sys::clock;
use crate::sys::event::Watch;
use crate::sys::oom::MemoryKills;
use crate::sys::process;
use crate::sys::socket;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::time::Duration;

/// What the supervisor is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// The pool was closed: see it to its end, then answer.
    Close { done: Sender<()> },
}

/// A fork server that has not been stopped before its `main` by then never will be.
pub(crate) const INTERCEPTION_DEADLINE: Duration = Duration::from_secs(2);

/// A fork server that was told to go has this long before it is killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// Buffers that nobody used for so long are given back.
const QUIET: Duration = Duration::from_millis(200);

/// While a caller hands out tiny pieces, it looks for itself this often, and the supervisor too.
pub(crate) const WATCH: Duration = Duration::from_micros(500);

/// So many fork servers in a row that ended before a worker was ready end the pool.
const MAX_SERVER_DEATHS: u32 = 5;

/// The supervisor's own state.
pub(crate) struct Supervisor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) orders: Receiver<Order>,
    pub(crate) server: Server,
    pub(crate) launcher: start::Launcher,
}

impl Supervisor {
    /// Runs until the pool has ended.
    pub(crate) fn run(mut self) {
        // It reads files: here, where nobody waits for it.
        let memory_kills = MemoryKills::watch();
        self.shared.core.lock().memory_kills = memory_kills;
        let mut closing: Option<Sender<()>> = None;
        let mut server_deaths = 0;
        let mut timeout = None;
        let mut tiny_seen = 0;
        // While buffers are kept: the pool's count at the last look.
        let mut quiet_since: Option<u64> = None;
        loop {
            let events = self.watch.wait(timeout);
            if let Ok(Order::Close { done }) = self.orders.try_recv() {
                closing = Some(done);
            }
            let shared = Arc::clone(&self.shared);
            let mut core = shared.core.lock();
            handle_events(&shared, &mut core, &events);
            core.collect();
            if process::has_ended(&self.server.pidfd, Duration::ZERO) && core.phase == Phase::Open {
                server_deaths += 1;
                if core.pieces_done > self.server.pieces_done_before {
                    server_deaths = 1;
                }
                self.replace_server(&mut core, server_deaths);
            }
            if core.phase != Phase::Open && (core.phase == Phase::Closed || core.dismiss() || core.server.is_none()) {
                core.close(true);
                drop(core);
                self.end();
                let buried = std::mem::take(&mut shared.core.lock().buried);
                drop(buried);
                if let Some(done) = closing {
                    let _ = done.send(());
                }
                return;
            }
            let _ = core.fill_vacancies();
            let unexplained = core.bury_unexplained();
            let due = unexplained.into_iter().chain(core.mind_the_clock()).min();
            core.alarm_ns = due.unwrap_or(u64::MAX);
            // A whole wait without a piece is quiet enough.
            let quiet = events.is_empty() && quiet_since == Some(core.pieces_done);
            let unused = if quiet { core.spare.clear() } else { Vec::new() };
            quiet_since = (!core.spare.is_empty()).then_some(core.pieces_done);
            let watches = core.is_worth_watching(&mut tiny_seen);
            if core.waiters.has_leader() {
                core.keep_attention();
            } else {
                let attention = core.unattended();
                core.attend(attention, true);
            }
            let wants_pair = core.wants_pair();
            let buried = std::mem::take(&mut core.buried);
            let unallocated = core.unallocated();
            drop(core);
            for (worker, generation, memory) in unallocated {
                if Pair::allocate(&memory.1).is_err() {
                    shared.core.lock().starve(worker, generation);
                }
            }
            drop((unused, buried));
            if wants_pair {
                // If there is no room for one now, the next worker's start says so.
                let made = Pair::create().and_then(|made| Pair::allocate(&made.2).map(|()| made)).ok();
                shared.core.lock().spare_pair = made;
            }
            timeout = due.map(|due| Duration::from_nanos(due.saturating_sub(clock::now_ns())));
            if watches {
                timeout = Some(timeout.map_or(WATCH, |timeout| timeout.min(WATCH)));
            }
            if quiet_since.is_some() {
                timeout = Some(timeout.map_or(QUIET, |timeout| timeout.min(QUIET)));
            }
        }
    }

    /// The fork server died: its workers die with it, and all are started anew.
    fn replace_server(&mut self, core: &mut Core, deaths: u32) {
        // The workers die by their parent-death signal; what they had said before counts.
        for pidfd in core.pidfds() {
            process::kill(&pidfd);
            process::has_ended(&pidfd, FAREWELL);
        }
        self.watch.remove(&self.server.pidfd);
        core.server_lost();
        if core.failure.is_some() {
            return;
        }
        let server = if deaths > MAX_SERVER_DEATHS {
            Err(Error::new(ErrorKind::System, "the pool ended: its fork server died again and again"))
        } else {
            self.launcher.launch(core)
        };
        match server {
            Ok(server) => self.server = Server { pieces_done_before: core.pieces_done, ..server },
            Err(error) => {
                // What was ordered of it will never be.
                core.server_lost();
                core.fail(error);
            }
        }
    }

    /// Lets the fork server go, and waits until it has: then no process of the pool is left.
    fn end(&mut self) {
        let workers = {
            let mut core = self.shared.core.lock();
            core.server = None;
            core.pidfds()
        };
        if !process::has_ended(&self.server.pidfd, FAREWELL) {
            process::kill(&self.server.pidfd);
            process::has_ended(&self.server.pidfd, FAREWELL);
        }
        // It waits for them too, but it may itself have been killed.
        for pidfd in workers {
            process::kill(&pidfd);
            process::has_ended(&pidfd, FAREWELL);
        }
    }
}

/// Does what the events of either watch ask for.
pub(crate) fn handle_events(shared: &Shared, core: &mut Core, events: &[u64]) {
    for &number in events {
        let (kind, worker, generation) = event::parts(number);
        match kind {
            event::SERVER_SOCKET => hear_server(core),
            event::WORKER_DEATH => core.died(worker, generation),
            // Only the supervisor starts a new one.
            event::SERVER_DEATH => shared.kick_supervisor.signal(),
            _ => {}
        }
    }
    // A death that the pidfd told of: the fork server's word comes at the same moment.
    let told = |kind| events.iter().any(|&number| event::parts(number).0 == kind);
    if told(event::WORKER_DEATH) {
        hear_server(core);
    }
    if (told(event::WORKER_DEATH) || told(event::SERVER_SOCKET)) && core.awaits_a_moment() {
        shared.kick_supervisor.signal();
    }
}

/// Reads what the fork server has said.
fn hear_server(core: &mut Core) {
    loop {
        let Some(server) = &core.server else { return };
        let received = match socket::receive(server, false) {
            Ok(Some(received)) => received,
            // The end of the connection: its pidfd tells of its death.
            Ok(None) | Err(_) => return,
        };
        match message::decode::<FromServer>(&received) {
            Ok(FromServer::Spawned { worker, generation, pid }) => {
                if let Some(pidfd) = received.fds.into_iter().next() {
                    core.born(worker as usize, generation, pid, pidfd);
                }
            }
            Ok(FromServer::SpawnFailed { worker, generation, .. }) => core.stillborn(worker as usize, generation),
            Ok(FromServer::Died { worker, generation, ending }) => core.reaped(worker as usize, generation, ending),
            Ok(FromServer::Refused(reason)) => {
                core.fail(Error::new(
                    ErrorKind::System,
                    format!("the pool ended: its new fork server cannot serve: {reason}"),
                ));
            }
            Ok(FromServer::Intercepted | FromServer::Ready) | Err(_) => {}
        }
    }
}
