//! What the supervisor does about its fork server: lets it go on, kills it, replaces it, ends it.

use super::{Observed, Supervisor};
use crate::engine::core::{Core, ServerLink};
use crate::engine::launch::{ENDED, ForkServerHandle, ORDERED_AHEAD, left_out, prepare_workers};
use crate::engine::policy::patience::{self, ServerStage, ServerStep};
use crate::engine::policy::restart::RETRY_NS;
use crate::error::{Cause, Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::sys::descriptors::Descriptor;
use crate::sys::process::{self, LastWait};
use crate::sys::{clock, image};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A killed process ends within 2 s unless the kernel blocks it. One that was told to end has 2 s until it is killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// While a fork server that was let go ends, it is sent SIGCONT each 100 ms: if it is stopped, the end is late by that.
const RESUME_EACH: Duration = Duration::from_millis(100);

/// What is to be done about the fork server without the lock.
#[derive(Debug)]
#[must_use]
pub(super) enum ServerAction {
    Nothing,
    /// Find out what it does.
    Look,
    Resume,
    Kill,
    /// It has ended: wait for its workers, which were killed, and declare them dead.
    Lose(Vec<Arc<Descriptor>>),
    Launch,
}

impl Supervisor {
    /// What is to be done about the fork server, and when to look again.
    pub(super) fn judge_server(&mut self, core: &mut Core, observed: &Observed) -> (ServerAction, Option<u64>) {
        if core.has_failed() || core.is_closed() {
            return (ServerAction::Nothing, None);
        }
        if self.server.is_some() && observed.server_ended {
            return (ServerAction::Lose(core.server_going()), None);
        }
        let now_ns = clock::now_ns();
        let (oldest_order_ns, is_open) = (core.oldest_order_ns(), core.is_open());
        let stage = match core.server() {
            // A pool that closes needs no new one.
            ServerLink::Absent { .. } if !is_open => return (ServerAction::Nothing, None),
            ServerLink::Absent { retry_ns } if now_ns < *retry_ns => return (ServerAction::Nothing, Some(*retry_ns)),
            ServerLink::Absent { .. } => return (ServerAction::Launch, None),
            ServerLink::Losing | ServerLink::Ended => return (ServerAction::Nothing, None),
            ServerLink::Connected { stage, .. } => *stage,
        };
        if let (ServerStage::Preparing | ServerStage::Serving { .. }, Some(server)) = (stage, &mut self.server) {
            server.output = None;
        }
        match patience::next_step(stage, oldest_order_ns, observed.server_activity, now_ns) {
            ServerStep::Nothing => (ServerAction::Nothing, None),
            ServerStep::WaitUntil(until_ns) => (ServerAction::Nothing, Some(until_ns)),
            ServerStep::Resume { until_ns } => (ServerAction::Resume, Some(until_ns)),
            ServerStep::BecomeOverdue { due_ns, until_ns } => {
                core.server().become_overdue(due_ns, now_ns);
                (ServerAction::Resume, Some(until_ns))
            }
            ServerStep::Recover { until_ns } => {
                core.server().recover(now_ns);
                (ServerAction::Nothing, until_ns)
            }
            ServerStep::Look => (ServerAction::Look, None),
            ServerStep::Kill { until_ns } => (ServerAction::Kill, Some(until_ns)),
        }
    }

    /// Does it. True if that changed the scheduler's state.
    pub(super) fn act_on_server(&mut self, action: ServerAction) -> bool {
        match (action, &self.server) {
            (ServerAction::Resume, Some(server)) => {
                // If that is refused and it stays stopped, the kill follows.
                let _ = process::resume(&server.pidfd);
            }
            (ServerAction::Kill, Some(server)) if server.kill_hanging() => {}
            (ServerAction::Kill, _) => {
                // This process has given up rights that the fork server has. The end of the socket continues it if it
                // is stopped, and ends it when it goes on.
                let workers = self.shared.lock().server_going();
                self.lose_server(&workers);
                return true;
            }
            (ServerAction::Lose(workers), _) => {
                self.lose_server(&workers);
                return true;
            }
            (ServerAction::Launch, _) => {
                self.relaunch();
                return true;
            }
            _ => {}
        }
        false
    }

    /// The fork server died, and its workers die with it: what they had said before counts.
    fn lose_server(&mut self, workers: &[Arc<Descriptor>]) {
        let wait = LastWait::new(FAREWELL);
        for pidfd in workers {
            process::has_ended(pidfd, wait.left());
        }
        let (mut printed, mut was_left_out) = (None, false);
        if let Some(server) = self.server.take() {
            self.epoll.remove(&server.pidfd);
            printed = server.printed();
            // Without a word it may have been killed as any process.
            was_left_out = server.has_not_loaded() && printed.is_some();
        }
        failpoint!("parent-server-lost");
        let mut core = self.shared.lock();
        let was_useful = core.counts().pieces_done > self.done_before_server;
        let may_restart = self.server_deaths.may_restart(was_useful);
        core.server_lost(clock::now_ns());
        let object = self.launcher.launch.preload().filter(|_| was_left_out);
        if let Some(object) = object.filter(|_| core.is_open()) {
            core.fail(left_out(object.path(), ENDED, printed).with_cause(Cause::ForkServerLost));
        } else if !may_restart && core.is_open() {
            let printed = printed.map_or(String::new(), |printed| format!("; while it loaded it printed: {printed}"));
            let message = format!("the pool ended: its fork server died again and again{printed}");
            core.fail(Error::new(ErrorKind::System, message).with_cause(Cause::ForkServerLost));
        }
        self.shared.release(core);
    }

    /// Starts a new fork server; if that fails, it is tried again later.
    fn relaunch(&mut self) {
        match self.try_relaunch() {
            Ok(server) => self.server = Some(server),
            Err(error) => {
                let mut core = self.shared.lock();
                // Its outstanding orders are lost.
                core.server_lost(clock::now_ns() + RETRY_NS);
                core.start_failed(error.to_string());
                self.shared.release(core);
            }
        }
    }

    fn try_relaunch(&mut self) -> Result<ForkServerHandle, Error> {
        let connection = self.launcher.prepare()?;
        let missing = self.shared.lock().missing_without_server().due.min(ORDERED_AHEAD);
        // If there is no room for them now, the next turn says so.
        let (prepared, _) = prepare_workers(missing);
        let host = self.shared.host.read();
        let mut core = self.shared.lock();
        core.follow_host(host);
        self.done_before_server = core.counts().pieces_done;
        core.server().connect(connection.ours, patience::load_due_ns(clock::now_ns(), self.launcher.load_ns));
        core.add_prepared(prepared);
        // An error is tried again.
        let _ = core.fill_seats();
        self.shared.release(core);
        let server = self.launcher.execute(connection.theirs)?;
        let mut core = self.shared.lock();
        let watched = core.server().socket().map_or(Ok(()), |socket| self.launcher.watch(socket, &server));
        self.shared.release(core);
        // If the kill is refused, the end of its socket ends it.
        watched.inspect_err(|_| _ = process::kill(&server.pidfd))?;
        Ok(server)
    }

    /// Where a tool counts what runs, idle workers leave in order before they are killed, so that they write their counts.
    fn let_workers_write_counts(&self) {
        let leaving = self.shared.lock().dismiss_idle();
        let deadline = Instant::now() + FAREWELL;
        for pidfd in leaving {
            process::has_ended(&pidfd, deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Lets the fork server go, and waits until it has: then no process of the pool is left.
    pub(super) fn end(&mut self) {
        if image::writes_counts() {
            self.let_workers_write_counts();
        }
        let workers = {
            let mut core = self.shared.lock();
            core.server().end();
            core.pidfds()
        };
        failpoint!("parent-server-let-go");
        if let Some(server) = &self.server {
            let start = Instant::now();
            while !process::has_ended(&server.pidfd, RESUME_EACH) {
                // If that is refused: the kernel continued it when the socket ended.
                let _ = process::resume(&server.pidfd);
                if start.elapsed() > FAREWELL {
                    if process::kill(&server.pidfd).is_ok() {
                        process::has_ended(&server.pidfd, FAREWELL);
                    }
                    break;
                }
            }
        }
        // It waits for them too, but it may itself have been killed.
        let wait = LastWait::new(FAREWELL);
        for pidfd in workers {
            // If that is refused: the fork server's end was its parent-death signal.
            let _ = process::kill(&pidfd);
            process::has_ended(&pidfd, wait.left());
        }
    }
}
