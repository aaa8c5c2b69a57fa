//! The parent's thread for what has no waiter: deaths, vacant places, refilling, the pool's end.
//!
//! It sleeps on its own watch, beside the caller that leads: whoever is told first does what is to
//! be done, under the lock, and the other finds it done.

use crate::engine::Shared;
use crate::engine::core::{Core, Phase, RETRY_NS, SPAWN_DEADLINE_NS, ServerStage, event};
use crate::engine::start::{self, Server};
use crate::engine::wire::message::{self, FromServer};
use crate::engine::wire::pair::Pair;
use crate::error::{Cause, Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::sys::cgroup::MemoryKills;
use crate::sys::clock;
use crate::sys::event::Epoll;
use crate::sys::process::{self, State};
use crate::sys::socket;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the supervisor is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// The pool was closed: see it to its end, then drop the sender.
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

/// One that is overdue is looked at once more before it is killed.
const SECOND_LOOK_NS: u64 = 100_000_000;

/// One that is overdue, but works, has so much more.
const PATIENCE_NS: u64 = 10_000_000_000;

/// More fork servers in a row than this that ended before a piece was done end the pool.
const MAX_SERVER_DEATHS: u32 = 5;

/// The supervisor's own state.
pub(crate) struct Supervisor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) watch: Arc<Epoll>,
    pub(crate) orders: Receiver<Order>,
    /// `None` while a new one cannot be started.
    pub(crate) server: Option<Server>,
    pub(crate) launcher: start::Launcher,
    /// So many fork servers in a row ended before anything came of them.
    pub(crate) server_deaths: u32,
    /// When to try again to start one.
    pub(crate) relaunch_ns: u64,
    /// Since when the fork server is known to be overdue.
    pub(crate) overdue_since_ns: Option<u64>,
}

impl Supervisor {
    /// Runs until the pool has ended.
    pub(crate) fn run(mut self) {
        // It reads files: here, where nobody waits for it.
        let memory_kills = MemoryKills::watch();
        self.shared.core.lock().memory_kills = memory_kills;
        let mut closing: Option<Sender<()>> = None;
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
            // It has gone off, or not: what is due is found below, and what is ordered meanwhile is added.
            (core.alarm_ns, core.supervisor_is_up) = (u64::MAX, true);
            handle_events(&shared, &mut core, &events);
            core.collect();
            let server_due = self.see_to_server(&mut core);
            let unexplained = core.bury_unexplained();
            if core.phase != Phase::Open && (core.phase == Phase::Closed || core.dismiss() || core.server.is_none()) {
                core.close(true);
                drop(core);
                self.end();
                let buried = std::mem::take(&mut shared.core.lock().buried);
                // All that is the pool's is gone when whoever closed it hears of it: by its order's end, if
                // it came too late to be read.
                let Supervisor { shared: own, watch, orders, server, launcher, .. } = self;
                drop((buried, shared, own, watch, server, launcher));
                drop((orders, closing));
                return;
            }
            let given_up = core.give_up_without_workers();
            let _ = core.fill_vacancies();
            let due = [server_due, given_up, unexplained, core.run_timers()].into_iter().flatten().min();
            core.kill_by_server();
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
            let due = due.into_iter().chain([core.alarm_ns]).min().filter(|&due| due < u64::MAX);
            (core.alarm_ns, core.supervisor_is_up) = (due.unwrap_or(u64::MAX), false);
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

    /// Replaces a fork server that has died, and kills one that does not do what it should. Says when to
    /// look again.
    fn see_to_server(&mut self, core: &mut Core) -> Option<u64> {
        let is_ending = core.phase == Phase::Closing && self.server.is_none();
        if core.phase == Phase::Closed || core.failure.is_some() || is_ending {
            return None;
        }
        if let Some(server) = &self.server
            && process::has_ended(&server.pidfd, Duration::ZERO)
        {
            self.server_deaths = if core.pieces_done > server.pieces_done_before { 1 } else { self.server_deaths + 1 };
            self.lose_server(core);
            if core.failure.is_some() || core.phase != Phase::Open {
                return None;
            }
            if self.server_deaths > MAX_SERVER_DEATHS {
                let message = "the pool ended: its fork server died again and again";
                core.fail(Error::new(ErrorKind::System, message).with_cause(Cause::ForkServerLost));
                return None;
            }
        }
        let now = clock::now_ns();
        match &self.server {
            Some(_) => self.look_at_server(core, now),
            None if now < self.relaunch_ns => Some(self.relaunch_ns),
            None => match self.launcher.launch(core) {
                Ok((server, _)) => {
                    self.server = Some(Server { pieces_done_before: core.pieces_done, ..server });
                    self.look_at_server(core, now)
                }
                Err(error) => {
                    // What was ordered of it will never be.
                    core.server_lost();
                    core.no_birth(error.to_string());
                    self.relaunch_ns = now + RETRY_NS;
                    Some(self.relaunch_ns)
                }
            },
        }
    }

    /// The fork server died, and its workers die with it: what they had said before counts.
    fn lose_server(&mut self, core: &mut Core) {
        core.end_workers(FAREWELL);
        if let Some(server) = self.server.take() {
            self.watch.remove(&server.pidfd);
        }
        self.overdue_since_ns = None;
        failpoint!("parent-server-lost");
        core.server_lost();
    }

    /// Lets a fork server go on that is stopped while something is expected of it, and kills one that
    /// hangs: its death is then seen like any other.
    fn look_at_server(&mut self, core: &mut Core, now: u64) -> Option<u64> {
        let server = self.server.as_ref()?;
        let due_ns = match core.server_stage {
            ServerStage::Started { since_ns } => since_ns + INTERCEPTION_DEADLINE.as_nanos() as u64,
            // It may take its time, but not stand still.
            ServerStage::Prepares => {
                process::resume(&server.pidfd);
                return Some(now + SPAWN_DEADLINE_NS);
            }
            ServerStage::Ready { since_ns } => core.oldest_order_ns()?.max(since_ns) + SPAWN_DEADLINE_NS,
        };
        if now < due_ns {
            self.overdue_since_ns = None;
            return Some(due_ns);
        }
        // It may be stopped; or this process was held up, and the fork server with it. It has a moment more.
        let Some(overdue_since_ns) = self.overdue_since_ns else {
            process::resume(&server.pidfd);
            self.overdue_since_ns = Some(now);
            return Some(now + SECOND_LOOK_NS);
        };
        if now < overdue_since_ns + SECOND_LOOK_NS {
            return Some(overdue_since_ns + SECOND_LOOK_NS);
        }
        let hangs = match process::state(server.pid) {
            Some(State::Stopped | State::Sleeps) => true,
            // A fork of much memory takes its time.
            Some(State::Works) | None => now > due_ns + PATIENCE_NS,
        };
        if hangs || matches!(core.server_stage, ServerStage::Started { .. }) {
            process::kill(&server.pidfd);
        }
        Some(now + SECOND_LOOK_NS)
    }

    /// Lets the fork server go, and waits until it has: then no process of the pool is left.
    fn end(&mut self) {
        let workers = {
            let mut core = self.shared.core.lock();
            core.server = None;
            core.pidfds()
        };
        failpoint!("parent-server-let-go");
        if let Some(server) = &self.server {
            let start = Instant::now();
            while !process::has_ended(&server.pidfd, FAREWELL / 20) {
                process::resume(&server.pidfd);
                if start.elapsed() > FAREWELL {
                    process::kill(&server.pidfd);
                    process::has_ended(&server.pidfd, FAREWELL);
                    break;
                }
            }
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
            event::WORKER_EVENT => core.signalled(worker, generation),
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
                core.born(worker as usize, generation, pid, received.fds.into_iter().next());
            }
            Ok(FromServer::SpawnFailed { worker, generation, errno }) => {
                core.stillborn(worker as usize, generation, &std::io::Error::from_raw_os_error(errno));
            }
            Ok(FromServer::Died { worker, generation, ending }) => core.reaped(worker as usize, generation, ending),
            Ok(FromServer::Refused(reason)) => {
                core.fail(Error::new(
                    ErrorKind::System,
                    format!("the pool ended: its new fork server cannot serve: {reason}"),
                ));
            }
            Ok(FromServer::Intercepted) => core.server_stage = ServerStage::Prepares,
            Ok(FromServer::Ready) => core.server_stage = ServerStage::Ready { since_ns: clock::now_ns() },
            Err(_) => {}
        }
    }
}
