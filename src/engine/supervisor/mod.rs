//! The parent's thread that does the work that no waiting caller does: deaths, vacant seats, refilling, the pool's end.
//!
//! It sleeps in its own epoll, beside the caller that leads. Whichever of the two threads wakes first handles the
//! event, under the lock, and the other one finds it done. Each turn is *observe* (without the lock: /proc, files,
//! the fork server's pidfd), *decide* (under the lock; nothing sleeps) and *act* (without it: memory, forks,
//! waiting for deaths).
//!
//! Invariant: an act that changed the scheduler's state is followed by another turn at once, so whatever it
//! made due is seen to before the supervisor sleeps.

mod meter;
pub(crate) mod news;
mod server;
#[cfg(feature = "signal")]
mod signals;

#[cfg(feature = "signal")]
pub(super) use self::signals::RecycleSignals;

use self::meter::Meter;
use self::server::ServerAction;
use super::core::seat::WorkerHandle;
use super::core::{
    Again, Answer, Core, GateAnswer, GateQuestion, MemoryAnswer, MemoryQuestion, Missing, Question, Unallocated,
    Unmeasured, number,
};
use super::launch::{ForkServerHandle, Launcher, prepare_worker, prepare_workers};
use super::policy::patience::Activity;
use super::policy::restart::ServerDeaths;
use super::shared::{Command, Shared};
use super::wire::pair::Pair;
use crate::backend::TaskKey;
use crate::sys::event::Epoll;
use crate::sys::host::HostState;
use crate::sys::{allocator, clock, proc, process};
use crossbeam_channel::{Receiver, Sender};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A buffer that nobody used for 200 ms is given back: a task that uses buffers uses each many times a second.
const QUIET: Duration = Duration::from_millis(200);

/// While a caller hands out tiny pieces it looks for itself once in 16 of them, and the supervisor looks this
/// often at what that leaves. Half a millisecond is as much delay as a wake-up on a busy machine.
const POLL: Duration = Duration::from_micros(500);

/// While other callers rely on the one that leads, and pieces are done, the supervisor looks this often beside it. With 50 ms
/// a leader that gets no core would hold up the others by that; with 0.5 ms the looks would cost a hundredth of a core.
const GUARD: Duration = Duration::from_millis(5);

/// While callers rely on the supervisor alone, it looks at least this often, as a leader does.
const LOOK: Duration = Duration::from_secs(1);

/// While the supervisor is awake anyway, it looks ten times a second whether the host's rights or streams have changed. A
/// look takes 5 us.
const FOLLOW_EACH: Duration = Duration::from_millis(100);

/// The supervisor's own state.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    epoll: Arc<Epoll>,
    orders: Receiver<Command>,
    launcher: Launcher,
    /// `None` while a new one cannot be started.
    server: Option<ForkServerHandle>,
    server_deaths: ServerDeaths,
    /// The pieces that were done when the fork server was started: if there are no more, it was of no use.
    done_before_server: u64,
    /// While buffers are kept: the pieces that were done at the last look.
    quiet_since: Option<u64>,
    /// When the host's state was read last.
    host_read_at: Instant,
    /// The last wait may have taken [`QUIET`].
    has_slept: bool,
    /// Who closed the pool, and waits for its end.
    closing: Option<Sender<()>>,
    meter: Meter,
    #[cfg(feature = "signal")]
    signals: RecycleSignals,
}

/// What the last turn wants to know.
#[derive(Debug, Default)]
struct Questions {
    workers: Vec<Question>,
    server: bool,
    kill_count: bool,
    host: bool,
    /// The workers whose memory is checked, if that is due.
    memory: Option<Vec<MemoryQuestion>>,
    /// What is available is to be read.
    gate: Option<GateQuestion>,
}

impl Questions {
    fn any(&self) -> bool {
        self.server
            || self.kill_count
            || self.host
            || !self.workers.is_empty()
            || self.memory.is_some()
            || self.gate.is_some()
    }
}

/// What was found out without the lock.
#[derive(Debug)]
struct Observed {
    answers: Vec<(Question, Answer)>,
    /// The fork server's process has ended.
    server_ended: bool,
    /// What the fork server does, if that was asked.
    server_activity: Option<Option<Activity>>,
    /// The kernel's count of kills because memory ran out, if that was asked.
    kill_count: Option<Option<u64>>,
    /// What workers use of memory, if that was asked.
    memory: Option<Vec<MemoryAnswer>>,
    /// What is available, if that was asked.
    gate: Option<GateAnswer>,
    /// What new workers take from this process, if that was asked, or some time has passed.
    host: Option<HostState>,
}

/// What is to be done without the lock.
struct Turn {
    server: ServerAction,
    unallocated: Vec<Unallocated>,
    unmeasured: Vec<Unmeasured>,
    missing: Missing,
    /// What takes a while to drop.
    dropped: (Vec<WorkerHandle>, Vec<Vec<u8>>),
    questions: Questions,
    polls: bool,
    is_polled: bool,
    /// Tasks that have ended, of which what runs is to be killed.
    overdue: Vec<TaskKey>,
    guard: Again,
    due_ns: Option<u64>,
}

impl Supervisor {
    pub(super) fn new(
        shared: Arc<Shared>,
        epoll: Arc<Epoll>,
        orders: Receiver<Command>,
        server: ForkServerHandle,
        launcher: Launcher,
    ) -> Self {
        Supervisor {
            shared,
            epoll,
            orders,
            launcher,
            server: Some(server),
            server_deaths: ServerDeaths::default(),
            done_before_server: 0,
            quiet_since: None,
            host_read_at: Instant::now(),
            has_slept: false,
            closing: None,
            meter: Meter::default(),
            #[cfg(feature = "signal")]
            signals: RecycleSignals::default(),
        }
    }

    /// The same, with signals that have all workers replaced.
    #[cfg(feature = "signal")]
    pub(super) fn with_signals(self, signals: RecycleSignals) -> Self {
        Supervisor { signals, ..self }
    }

    /// Runs until the pool has ended.
    pub(super) fn run(mut self) {
        let mut observed = self.observe(Questions { kill_count: true, ..Questions::default() }, &[]);
        let mut events = Vec::new();
        loop {
            let Some(turn) = self.decide(&events, &observed) else { break };
            let (timeout, questions) = self.act(turn);
            self.has_slept = timeout.is_none_or(|timeout| timeout >= QUIET);
            events = match self.epoll.wait(timeout) {
                Ok(events) => events,
                Err(_) => return self.lose_descriptors(),
            };
            if let Ok(Command::Close { done }) = self.orders.try_recv() {
                self.closing = Some(done);
            }
            observed = self.observe(questions, &events);
        }
        self.end();
        loop {
            let mut core = self.shared.lock();
            let has_more = core.sweep();
            self.shared.release(core);
            if !has_more {
                break;
            }
        }
        #[cfg(any(feature = "log", feature = "tracing"))]
        self.shared.close_outbox();
        let reaped = self.shared.lock().take_reaped();
        // All resources are freed before `done` is dropped. An unread order is dropped with the channel, which also
        // ends the wait.
        #[cfg(feature = "signal")]
        drop(self.signals);
        let Supervisor { shared, epoll, orders, launcher, server, closing, meter, .. } = self;
        drop((reaped, shared, epoll, server, launcher, meter));
        drop((orders, closing));
    }

    /// The host has closed our descriptors: the pool ends, and this thread waits for its owner to notice. Nothing is
    /// dropped that would close a number, which may be another's now.
    fn lose_descriptors(self) {
        self.shared.lose_descriptors();
        #[cfg(any(feature = "log", feature = "tracing"))]
        self.shared.close_outbox();
        let closing = match (self.closing, self.orders.recv()) {
            (Some(done), _) => Some(done),
            (None, Ok(Command::Close { done })) => Some(done),
            (None, Err(_)) => None,
        };
        std::mem::forget((self.epoll, self.launcher, self.server));
        drop(closing);
    }

    /// Finds out what the last turn wants to know.
    fn observe(&mut self, questions: Questions, events: &[u64]) -> Observed {
        let is_due = !events.is_empty() && self.host_read_at.elapsed() >= FOLLOW_EACH;
        let reads_host = questions.host || is_due || number::tell_of_death(events);
        if reads_host {
            self.host_read_at = Instant::now();
        }
        let look = |question: Question| {
            let answer = question.pidfd.as_ref().and_then(look_at);
            (question, answer)
        };
        let server = self.server.as_ref();
        Observed {
            answers: questions.workers.into_iter().map(look).collect(),
            server_ended: server.is_some_and(|server| process::has_ended(&server.pidfd, Duration::ZERO)),
            server_activity: server.filter(|_| questions.server).map(|server| activity(&server.pidfd)),
            kill_count: questions.kill_count.then(|| self.shared.memory_kills.read()),
            memory: questions.memory.map(|asked| asked.into_iter().filter_map(meter::answer).collect()),
            gate: questions.gate.map(meter::answer_gate),
            host: reads_host.then(|| self.shared.host.read()),
        }
    }

    /// Does what can be done under the lock, and says what is left. `None` once the pool has ended.
    fn decide(&mut self, events: &[u64], observed: &Observed) -> Option<Turn> {
        let shared = Arc::clone(&self.shared);
        let mut core = shared.lock();
        // The alarm may have gone off: what is due is found below, and what is ordered meanwhile is added.
        core.alarm().supervisor_woke();
        self.tell_observed(&mut core, observed);
        shared.forget_tables(&mut core);
        core.handle_events(events);
        // First, so that no look takes all of the hold: it comes to an end.
        let revokes_on_ns = core.revoke_on().then_some(0);
        let found = core.collect_in_turn();
        let (server, server_due_ns) = self.judge_server(&mut core, observed);
        let unexplained_ns = core.reap_unexplained();
        let server = match server {
            ServerAction::Nothing if core.is_cause_due() => ServerAction::Resume,
            other => other,
        };
        if core.is_over() {
            core.close(true);
            shared.release(core);
            return None;
        }
        let given_up_ns = core.give_up_without_workers();
        core.replace_due();
        let _ = core.fill_seats();
        core.dismiss_retired();
        let sweeps_on_ns = core.sweep().then_some(0);
        let timers = core.run_timers(&observed.answers);
        core.kill_by_server();
        let unused = self.clear_buffers(&mut core, events.is_empty() && self.has_slept);
        let polls = core.should_poll();
        let guard = core.guard_again(number::tell_of_signal(events), found);
        pay_attention(&mut core);
        let of_workers_ns =
            [unexplained_ns, revokes_on_ns, sweeps_on_ns, timers.next_ns, core.limits_due_ns(), logs_due_ns(&mut core)];
        let known_ns = [server_due_ns, given_up_ns, core.end_idle()].into_iter().chain(of_workers_ns).flatten().min();
        let questions = Questions {
            workers: timers.questions,
            server: matches!(server, ServerAction::Look),
            kill_count: core.awaits_kill_count(),
            host: core.asks_for_host(),
            memory: core.memory_questions(),
            gate: core.gate_question(),
        };
        let turn = Turn {
            server,
            unallocated: core.unallocated(),
            unmeasured: core.unmeasured(),
            missing: core.missing(),
            dropped: (core.take_reaped(), unused),
            questions,
            polls,
            is_polled: core.is_polled(),
            overdue: core.end_overdue(),
            guard,
            due_ns: core.alarm().supervisor_sleeps(known_ns),
        };
        shared.release(core);
        Some(turn)
    }

    /// What was found out, or asked for by a signal. Before the events: a death that they tell of may be later than the
    /// kernel's count of kills.
    fn tell_observed(&self, core: &mut Core, observed: &Observed) {
        if let Some(count) = observed.kill_count {
            core.settle_kills(count);
        }
        if let Some(host) = &observed.host {
            core.follow_host(host.clone());
        }
        #[cfg(feature = "signal")]
        if self.signals.came() {
            core.recycle();
        }
        if let Some(answers) = &observed.memory {
            core.check_memory(answers);
        }
        if let Some(answer) = &observed.gate {
            core.tell_gate(answer);
        }
    }

    /// If no piece finished during one sleep of 200 ms, the kept buffers are freed.
    fn clear_buffers(&mut self, core: &mut Core, was_quiet: bool) -> Vec<Vec<u8>> {
        let done = core.counts().pieces_done;
        let is_quiet = was_quiet && self.quiet_since == Some(done);
        let unused = if is_quiet { core.buffers().clear() } else { Vec::new() };
        self.quiet_since = (!core.buffers().is_empty()).then_some(done);
        unused
    }

    /// Does what is left, and says how long to sleep and what to find out then.
    fn act(&mut self, turn: Turn) -> (Option<Duration>, Questions) {
        let Turn {
            server,
            unallocated,
            unmeasured,
            missing,
            dropped,
            questions,
            polls,
            is_polled,
            overdue,
            guard,
            due_ns,
        } = turn;
        drop(dropped);
        #[cfg(any(feature = "log", feature = "tracing"))]
        self.shared.start_log_thread();
        overdue.into_iter().for_each(|task| self.shared.stop_task(task, true));
        let freed_bytes = self.shared.take_freed_bytes();
        if freed_bytes > 0 {
            allocator::give_much_memory_back(freed_bytes);
        }
        let mut again = self.act_on_server(server);
        self.meter.measure(unmeasured, self.server.as_ref().map(|server| &server.pidfd), &self.shared);
        for Unallocated { seat, generation, memory } in unallocated {
            if Pair::allocate(&memory.1).is_err() {
                self.shared.lock().no_memory(seat, generation);
            }
        }
        if missing.due > 0 {
            self.prepare(missing.due);
            again = true;
        }
        if missing.spare {
            self.prepare_spare();
        }
        if again || questions.any() {
            return (Some(Duration::ZERO), questions);
        }
        let until_due = due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(clock::now_ns())));
        let poll = match guard {
            _ if polls => Some(POLL),
            // A piece may have destroyed what its worker signals with.
            Again::Off => is_polled.then_some(LOOK),
            Again::Beside => Some(GUARD),
            Again::Instead => Some(POLL),
        };
        let quiet = self.quiet_since.map(|_| QUIET);
        ([until_due, poll, quiet].into_iter().flatten().min(), questions)
    }

    /// Makes what the workers of due seats need, as many as can be made.
    fn prepare(&self, count: usize) {
        let (prepared, result) = prepare_workers(count);
        let mut core = self.shared.lock();
        core.add_prepared(prepared);
        if let Err(error) = result {
            core.cannot_prepare(&error);
        }
        self.shared.release(core);
    }

    /// Makes the worker that stands ready. Its pages are allocated now, when nobody waits for them.
    fn prepare_spare(&self) {
        let spare = prepare_worker().and_then(|spare| Pair::allocate(&spare.memory.1).map(|()| spare));
        let mut core = self.shared.lock();
        match spare {
            Ok(spare) => core.add_prepared([spare]),
            Err(_) => core.cannot_prepare_spare(),
        }
        self.shared.release(core);
    }
}

/// Reads what was logged, and gives when that is to be done again.
fn logs_due_ns(core: &mut Core) -> Option<u64> {
    #[cfg(feature = "log")]
    return core.see_to_logs();
    #[cfg(not(feature = "log"))]
    {
        let _ = core;
        None
    }
}

/// The thread that sleeps now is signalled of what it needs. Before that, those who look from outside are told of this turn.
fn pay_attention(core: &mut Core) {
    core.tell_status();
    if core.waiters().has_leader() {
        core.keep_attention();
    } else {
        let observer = core.unattended();
        core.attend(observer, true);
    }
}

/// What a process does; `None` where the system cannot tell.
pub(super) fn activity(pidfd: impl AsFd) -> Option<Activity> {
    look_at(pidfd).map(|(activity, _)| activity)
}

/// The same, with the processor time that it has used.
fn look_at(pidfd: impl AsFd) -> Answer {
    let (state, cpu_ns) = proc::look(pidfd)?;
    let activity = match state {
        proc::State::Stopped => Activity::Stopped,
        proc::State::Traced => Activity::Traced,
        proc::State::Sleeps => Activity::Sleeps,
        proc::State::Blocked => Activity::Blocked,
        proc::State::Works => Activity::Works,
    };
    Some((activity, cpu_ns))
}
