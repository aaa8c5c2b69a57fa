//! The scheduler: which piece goes to which worker, and what becomes of what they say.
//!
//! All of it happens under one lock, for moments: nothing here waits, runs user code or drops user
//! values. Order: a task's queue first, then a worker's rings.
//!
//! - Tasks take turns, so that a small one is not stuck behind a huge one.
//! - Look-ahead is time: a worker is given as many pieces as fill [`LOOK_AHEAD_NS`] by what their task's
//!   pieces took so far, at first two; it is refilled at half.
//! - A worker without work gets half of what the fullest one has not begun (`claim.rs`).
//! - Of tasks whose pieces have proved tiny, a worker that is awake gets some microseconds' worth
//!   before another is woken, and `run` gives out several at a time. Whatever that leaves lying,
//!   the supervisor looks at within [`WATCH`](crate::engine::supervisor::WATCH).
//! - A worker is declared dead in one place, [`Core::bury`].
//!
//! Invariant: while a task has pieces that may run and a worker could take them, some worker holds
//! a piece after which somebody will be told, or somebody is looking.

use crate::codec::bytes::Handed;
use crate::engine::core::task_state::{Settled, Site, TaskKey, TaskState, Tasks, Unparker, WaitingPiece, Want};
use crate::engine::link::{
    Arrival, Buffers, Given, LOOK_AHEAD_NS, MAX_LOOK_AHEAD, MAX_RECORDS_A_LOOK, Progress, WorkerHandle,
};
use crate::engine::wire::message::{self, ToServer};
use crate::engine::wire::pair::{BACK_RING_BYTES, Made, Pair};
use crate::engine::wire::record::{self, Outcome};
use crate::error::{Cause, Error, ErrorKind, PieceLabel};
use crate::failpoint::failpoint;
use crate::protocol::lead::Waiters;
use crate::protocol::sleep::{Interest, Listening};
use crate::sys::cgroup::MemoryKills;
use crate::sys::clock;
use crate::sys::event::{Epoll, Event};
use crate::sys::process::{self, Ending};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

mod lifecycle;
pub(crate) mod task_state;

/// So many tiny pieces are given out together: a look at the workers costs as much as some of them.
const TINY_BATCH: usize = 16;

/// To wake a worker costs about as much as this work.
const WORTH_WAKING_NS: u64 = 20_000;

/// `run` looks for replies once in so many pieces, if no worker is known to need any.
const RUNS_A_LOOK: u32 = 16;

/// So many workers in a row that died before they were ready end the pool.
const MAX_EARLY_DEATHS: u32 = 5;

/// A death's cause is waited for this long.
const CAUSE_WAIT_NS: u64 = 50_000_000;

/// So many looks read all that lies in a worker's ring.
const LAST_LOOKS: usize = 1 + BACK_RING_BYTES / 8 / MAX_RECORDS_A_LOOK;

/// A worker that has not begun what it was given for so long loses it to others; if it is stopped
/// another while later, it is killed.
const NOT_BEGUN_NS: u64 = 50_000_000;

/// A place that could not be filled is tried again after this.
pub(crate) const RETRY_NS: u64 = 100_000_000;

/// The fork server is given more orders after this, when its socket was full.
const MORE_ORDERS_NS: u64 = 1_000_000;

/// Pieces fail if there was no worker, and none could be started, for so long.
const NO_WORKER: Duration = Duration::from_secs(2);

/// A fork server that has not obeyed an order by then is looked at.
pub(crate) const SPAWN_DEADLINE_NS: u64 = 1_000_000_000;

/// A limit that is found to have passed so long ago was found too late: whoever looks was paused, and
/// perhaps the worker with it.
const LATE_NS: u64 = 100_000_000;

/// Such a worker has a moment more to answer.
const GRACE_NS: u64 = 20_000_000;

/// A caller that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) bell: Arc<Unparker>,
    pub(crate) want: Want,
}

/// Whether anybody will look at the rings without being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attention {
    /// A caller looks.
    Awake,
    /// A caller is about to sleep.
    CallerSleeps,
    /// No caller waits; the supervisor sleeps.
    SupervisorSleeps,
    /// No caller waits; the supervisor looks again in a moment, whatever happens.
    SupervisorWatches,
}

/// Where a worker is, or should be.
#[derive(Debug)]
enum Place {
    Filled(Box<WorkerHandle>),
    /// To be filled, not before this moment.
    Vacant {
        retry_ns: u64,
    },
}

/// What has become of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// Running pieces may end; nothing new begins.
    Closing,
    Closed,
}

#[derive(Debug)]
struct Seat {
    place: Place,
    generation: u32,
    /// When its pidfd told of its death, while the cause is awaited.
    dead_since_ns: Option<u64>,
    /// What to blame for its death, where that is known before.
    blame: Option<Cause>,
    /// The piece for which it was killed, since that ran too long.
    overran: Option<u32>,
    /// A piece whose limit had passed long before anybody looked: it had a moment more.
    grace: Option<u32>,
    /// Why it could not be made ready, as it said.
    start_failure: Option<String>,
}

/// How far the fork server has come, as it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerStage {
    /// Nothing was heard of it.
    Started { since_ns: u64 },
    /// It runs constructors and `preload`.
    Prepares,
    /// It serves.
    Ready { since_ns: u64 },
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) tasks: Tasks,
    turn: VecDeque<TaskKey>,
    seats: Vec<Seat>,
    pub(crate) waiters: Waiters<Waiter>,
    /// The socket to the fork server, while there is one.
    pub(crate) server: Option<OwnedFd>,
    pub(crate) server_stage: ServerStage,
    /// Since when nothing could be started, and why, as far as it was tried.
    unborn: Option<(u64, String)>,
    callers: Arc<Epoll>,
    supervisors: Arc<Epoll>,
    /// Wakes the caller that sleeps in the callers' watch.
    kick: Arc<Event>,
    kick_supervisor: Arc<Event>,
    /// When the supervisor will be awake, whatever happens.
    pub(crate) alarm_ns: u64,
    /// It is up, and looks at the alarm before it sleeps.
    pub(crate) supervisor_is_up: bool,
    /// How often the kernel killed for want of memory.
    pub(crate) memory_kills: MemoryKills,
    /// Pieces that may start again, but not before a moment.
    delayed: Vec<(u64, TaskKey, WaitingPiece)>,
    attention: Attention,
    runs_since_look: u32,
    /// The supervisor has said that it will look again in a moment.
    watched: bool,
    /// Tiny pieces that were added when no look was due.
    tiny_added: u64,
    /// How many of them came since the last look.
    unlooked: usize,
    /// The worker to which tiny pieces go at once, without waiting for a look.
    direct: Option<usize>,
    early_deaths: u32,
    last_early_death_ns: u64,
    pub(crate) phase: Phase,
    /// Why the pool has ended by itself.
    pub(crate) failure: Option<Error>,
    pub(crate) deaths: u64,
    pub(crate) pieces_done: u64,
    pub(crate) spare: Buffers,
    /// Dead workers, whose memory is yet to be given back: that takes a while, and nobody waits for it.
    pub(crate) buried: Vec<WorkerHandle>,
    /// For the next worker: where one has died more may, and to make a pair takes longer than all else
    /// until its successor runs.
    pub(crate) spare_pair: Option<Made>,
}

/// The kinds of events that the parent's watches tell of.
pub(crate) mod event {
    pub(crate) const KICK: u64 = 0;
    pub(crate) const SERVER_SOCKET: u64 = 1;
    pub(crate) const SERVER_DEATH: u64 = 2;
    pub(crate) const WORKER_EVENT: u64 = 3;
    pub(crate) const WORKER_DEATH: u64 = 4;

    /// A number for a watch: the kind, and which worker of which generation.
    pub(crate) fn number(kind: u64, worker: usize, generation: u32) -> u64 {
        kind | (worker as u64 & 0x00ff_ffff) << 8 | u64::from(generation) << 32
    }

    /// The parts of such a number.
    pub(crate) fn parts(number: u64) -> (u64, usize, u32) {
        (number & 0xff, (number >> 8 & 0x00ff_ffff) as usize, (number >> 32) as u32)
    }
}

impl Core {
    pub(crate) fn new(
        workers: usize,
        (callers, supervisors): (Arc<Epoll>, Arc<Epoll>),
        (kick, kick_supervisor): (Arc<Event>, Arc<Event>),
    ) -> Self {
        Core {
            tasks: Tasks::default(),
            turn: VecDeque::new(),
            seats: (0..workers).map(|_| Seat::vacant()).collect(),
            waiters: Waiters::new(),
            server: None,
            server_stage: ServerStage::Ready { since_ns: 0 },
            unborn: None,
            callers,
            supervisors,
            kick,
            kick_supervisor,
            alarm_ns: u64::MAX,
            supervisor_is_up: false,
            memory_kills: MemoryKills::default(),
            delayed: Vec::new(),
            attention: Attention::SupervisorSleeps,
            runs_since_look: 0,
            watched: false,
            tiny_added: 0,
            unlooked: 0,
            direct: None,
            early_deaths: 0,
            last_early_death_ns: 0,
            phase: Phase::Open,
            failure: None,
            deaths: 0,
            pieces_done: 0,
            spare: Buffers::default(),
            buried: Vec::new(),
            spare_pair: None,
        }
    }

    /// Why a task cannot be opened, if so.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match (&self.failure, self.phase) {
            (Some(failure), _) => Err(failure.duplicate()),
            (None, Phase::Open) => Ok(()),
            (None, _) => Err(Error::new(ErrorKind::Cancelled, "the pool was shut down")),
        }
    }

    pub(crate) fn open_task(&mut self) -> Result<TaskKey, Error> {
        self.check_open()?;
        Ok(self.tasks.open(&self.kick))
    }

    /// A new piece of a task. [`pieces_added`](Self::pieces_added) must follow.
    pub(crate) fn add_piece(&mut self, key: TaskKey, site: Site, arguments: Handed<'_>) {
        if self.failure.is_some() || self.phase != Phase::Open {
            let ended = self.check_open().err();
            let (Some(task), Some(error)) = (self.tasks.get_mut(key), ended) else { return };
            let (kind, message) = (error.kind(), error.to_string());
            return task
                .add_failed(site, |label| Error::new(kind, format!("never began: {message}")).with_piece(label, 0));
        }
        let Core { tasks, seats, turn, direct, unlooked, .. } = self;
        let Some(task) = tasks.get_mut(key) else { return };
        failpoint!("parent-piece-taken");
        if let Some(index) = *direct
            && turn.is_empty()
            && task.goes_directly()
            && let Place::Filled(worker) = &mut seats[index].place
            && worker.backlog_ns() < LOOK_AHEAD_NS
        {
            let was_idle = worker.is_idle();
            let call = (site.word, task.settings.format, task.terms());
            let last = *unlooked + 1 >= TINY_BATCH;
            if worker.give_record(key, task.len(), call, arguments.as_slice(), last) {
                task.add_given(site);
                if was_idle {
                    worker.busy_since_ns = clock::now_ns();
                    worker.publish();
                }
                return;
            }
        }
        if task.is_cancelled() {
            return task.add_failed(site, cancelled);
        }
        task.add(site, arguments.into_arguments());
        failpoint!("parent-piece-queued");
        self.queue(key);
    }

    /// After pieces were added to a task: gives them to workers that need some, and lets the
    /// supervisor be told if nobody is looking. True if it must be woken to watch.
    #[must_use]
    pub(crate) fn pieces_added(&mut self, key: TaskKey, count: usize) -> bool {
        let is_tiny = self.tasks.get_mut(key).is_some_and(|task| task.is_tiny());
        if is_tiny {
            self.tiny_added += count as u64;
            self.unlooked += count;
            if self.watched {
                if self.unlooked >= TINY_BATCH {
                    self.unlooked = 0;
                    if !self.collect() {
                        self.dispatch();
                    }
                    self.direct = self.choose(true).map(|(index, _)| index);
                    self.keep_attention();
                }
                return false;
            }
        }
        let mut gave = self.dispatch();
        if !gave {
            self.runs_since_look += count as u32;
            if self.runs_since_look >= RUNS_A_LOOK {
                self.runs_since_look = 0;
                gave = self.collect();
            }
        }
        if gave {
            self.keep_attention();
        }
        // Once it is worth it.
        if is_tiny && self.unlooked >= TINY_BATCH {
            self.unlooked = 0;
            self.watched = true;
            return true;
        }
        false
    }

    /// There will be so many pieces more, as far as is known.
    pub(crate) fn reserve(&mut self, key: TaskKey, pieces: usize) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.reserve(pieces);
        }
    }

    /// Shows its worker what was given without a look.
    fn publish_direct(&mut self) {
        if let Some(index) = self.direct
            && let Some(worker) = self.seats[index].worker_mut()
        {
            worker.publish();
        }
    }

    /// The supervisor asks whether it should look again in a moment: whether tiny pieces were added
    /// since it asked last, whose workers would else have to wake it again and again. `seen` is its
    /// count of them.
    pub(crate) fn is_worth_watching(&mut self, seen: &mut u64) -> bool {
        self.watched = std::mem::replace(seen, self.tiny_added) != self.tiny_added;
        if !self.watched {
            self.publish_direct();
            self.direct = None;
        }
        self.watched
    }

    /// What the supervisor does while no caller waits.
    pub(crate) fn unattended(&self) -> Attention {
        if self.watched { Attention::SupervisorWatches } else { Attention::SupervisorSleeps }
    }

    /// After work was given out by somebody who will not look at what becomes of it: sees to it
    /// that whoever sleeps will be told.
    pub(crate) fn keep_attention(&mut self) {
        self.attend(self.attention, false);
    }

    fn queue(&mut self, key: TaskKey) {
        if let Some(task) = self.tasks.get_mut(key)
            && !task.queued
            && !task.waiting.is_empty()
        {
            task.queued = true;
            self.turn.push_back(key);
        }
    }

    /// A task that had too much unread may go on.
    pub(crate) fn reader_came(&mut self, key: TaskKey) {
        if self.tasks.get_mut(key).is_some_and(|task| !task.queued && !task.waiting.is_empty()) {
            self.queue(key);
            if self.dispatch() {
                self.keep_attention();
            }
        }
    }

    /// Gives waiting pieces to workers that need some. True if any was given.
    pub(crate) fn dispatch(&mut self) -> bool {
        let mut gave = false;
        while let Some(&first) = self.turn.front() {
            let hungry = self.workers().filter(|worker| worker.is_hungry()).count();
            if hungry == 0 {
                return gave;
            }
            let is_tiny = self.tasks.get_mut(first).is_some_and(|task| task.is_tiny());
            let Some((index, worker)) = self.choose(is_tiny) else { return gave };
            let room_ns = LOOK_AHEAD_NS.saturating_sub(worker.backlog_ns());
            let waiting_ns: u64 =
                self.turn.iter().take(64).filter_map(|&key| Some(self.tasks.get_mut(key)?.waiting_ns())).sum();
            let share_ns = (waiting_ns / hungry as u64).max(WORTH_WAKING_NS).min(room_ns);
            if !self.feed(index, share_ns) {
                return gave;
            }
            gave = true;
        }
        self.rebalance(WORTH_WAKING_NS) || gave
    }

    /// The worker that is to have the next pieces: the emptiest, so that few pieces are spread over
    /// many workers; of tiny ones first the one that is awake.
    fn choose(&self, is_tiny: bool) -> Option<(usize, &WorkerHandle)> {
        let hungry = || {
            let all = self.seats.iter().enumerate();
            all.filter_map(|(index, seat)| Some((index, seat.worker()?))).filter(|(_, worker)| worker.is_hungry())
        };
        let awake = hungry()
            .filter(|(_, worker)| is_tiny && !worker.is_idle() && worker.backlog_ns() < WORTH_WAKING_NS)
            .max_by_key(|(_, worker)| worker.backlog_ns());
        // One that is being born will need a while.
        awake.or_else(|| hungry().min_by_key(|(_, worker)| (worker.backlog_ns(), worker.pid.is_none())))
    }

    /// Gives pieces for so long, or at least one, to one worker, task by task in turn. True if any was
    /// given.
    fn feed(&mut self, index: usize, budget_ns: u64) -> bool {
        let Core { seats, tasks, turn, .. } = self;
        let Place::Filled(worker) = &mut seats[index].place else { return false };
        let was_idle = worker.is_idle();
        let mut left_ns = budget_ns;
        let mut given = 0;
        let mut shortest: Option<NonZeroU64> = None;
        let mut half = None;
        'full: while left_ns > 0 && worker.in_flight() < MAX_LOOK_AHEAD {
            let Some(key) = turn.pop_front() else { break };
            let Some(task) = tasks.get_mut(key) else { continue };
            let cost_ns = task.cost_ns;
            // A turn is as much as fills the look-ahead.
            let quantum = (LOOK_AHEAD_NS / u64::from(cost_ns)).max(1);
            let fitting = left_ns.div_ceil(u64::from(cost_ns)) as usize;
            // Told when half is left, as far as can be seen from here, and at the end.
            let half = *half.get_or_insert_with(|| {
                (worker.in_flight() + fitting.min(task.waiting.len())).min(MAX_LOOK_AHEAD).div_ceil(2)
            });
            for _ in 0..quantum {
                if left_ns == 0 || task.is_full() || worker.in_flight() >= MAX_LOOK_AHEAD {
                    break;
                }
                let Some(piece) = task.waiting.pop_front() else { break };
                let last = left_ns <= u64::from(cost_ns)
                    || worker.in_flight() + 1 == MAX_LOOK_AHEAD
                    || task.waiting.is_empty() && turn.is_empty();
                let low_water = last || worker.in_flight() + 1 == half;
                let call = task.site(piece.number).word;
                let WaitingPiece { number, arguments } = piece;
                let given_piece =
                    Given { task: key, number, call, format: task.settings.format, terms: task.terms(), arguments };
                if let Err(back) = worker.give(given_piece, low_water) {
                    task.waiting.push_front(WaitingPiece { number, arguments: back.arguments });
                    turn.push_front(key);
                    break 'full;
                }
                failpoint!("parent-record-written");
                given += 1;
                shortest = shortest.into_iter().chain(task.settings.limit_ns).min();
                left_ns = left_ns.saturating_sub(u64::from(cost_ns));
            }
            if task.waiting.is_empty() || task.is_full() {
                task.queued = false;
            } else {
                turn.push_back(key);
            }
        }
        if was_idle {
            let task = worker.newest_task().and_then(|key| tasks.get_mut(key));
            let is_single = given == 1 && task.is_some_and(|task| task.len() == 1);
            worker.busy_since_ns = if is_single { 0 } else { clock::now_ns() };
        } else if worker.busy_since_ns == 0 {
            worker.busy_since_ns = clock::now_ns();
        }
        worker.publish();
        worker.pump();
        if let Some(limit_ns) = shortest {
            self.wake_supervisor_by(clock::now_ns().saturating_add(limit_ns.get()));
        }
        given > 0
    }

    /// Lets idle workers have pieces that others hold and have not begun, if those have at least so
    /// much to do. True if any moved.
    fn rebalance(&mut self, least_ns: u64) -> bool {
        let mut moved = false;
        loop {
            let idle = self
                .seats
                .iter()
                .position(|seat| seat.worker().is_some_and(|worker| worker.is_idle() && worker.is_hungry()));
            let Some(idle) = idle else { return moved };
            let fullest = self.workers_mut().max_by_key(|worker| (worker.backlog_ns(), worker.in_flight()));
            let fullest = fullest.filter(|worker| worker.in_flight() >= 2 && worker.backlog_ns() >= least_ns);
            let Some(fullest) = fullest else { return moved };
            let held = fullest.in_flight();
            let mut keys = Vec::new();
            let returned: Vec<_> = (0..held / 2).map_while(|_| fullest.revoke_newest()).collect();
            if returned.is_empty() {
                return moved;
            }
            for piece in returned {
                if let Some(task) = self.tasks.get_mut(piece.task) {
                    task.take_back(WaitingPiece { number: piece.number, arguments: piece.arguments });
                    keys.push(piece.task);
                }
            }
            for key in keys {
                self.queue(key);
            }
            if !self.feed(idle, LOOK_AHEAD_NS) {
                return moved;
            }
            moved = true;
        }
    }

    /// Takes what workers have said, and gives them more. True if there was anything.
    pub(crate) fn collect(&mut self) -> bool {
        self.publish_direct();
        let mut any = false;
        for index in 0..self.seats.len() {
            // A worker may answer before the fork server has told of it. Its errors shall name its
            // process, and whoever hears of that looks here next.
            if self.seats[index].worker().is_some_and(|worker| worker.pid.is_some()) {
                any |= self.collect_from(index);
            }
        }
        if any && self.phase == Phase::Closing {
            // Whoever collected their last replies sends them home: nobody else would look again.
            self.dismiss();
        } else if any {
            self.dispatch();
        }
        any
    }

    /// Takes all that one worker has said by now, but no more than its ring can hold: it may still be
    /// writing.
    fn collect_rest_from(&mut self, index: usize) {
        for _ in 0..LAST_LOOKS {
            if !self.collect_from(index) {
                break;
            }
        }
    }

    fn collect_from(&mut self, index: usize) -> bool {
        let Core { seats, tasks, turn, pieces_done, spare, delayed, .. } = self;
        let seat = &mut seats[index];
        let Place::Filled(worker) = &mut seat.place else { return false };
        if seat.blame.is_some() || worker.is_idle() && !worker.has_news() {
            return false;
        }
        if !worker.has_news() {
            worker.pump();
            return false;
        }
        let (number, pid) = (worker.number, worker.pid);
        let mut count = 0_u64;
        let mut last_task = None;
        let result = worker.collect(spare, |arrival| match arrival {
            Arrival::StartFailed(reason) => seat.start_failure = Some(reason),
            Arrival::Reply { piece, outcome, bytes, again } => {
                count += 1;
                last_task = Some(piece.task);
                // A piece of a task that is gone: nobody wants it.
                let Some(task) = tasks.get_mut(piece.task) else { return };
                let settled = match outcome {
                    Outcome::Result => Settled::Done(bytes),
                    failure => {
                        let text = String::from_utf8_lossy(bytes.as_slice()).into_owned();
                        let error = |label, attempts| {
                            piece_error(failure, text).with_piece(label, attempts).with_worker(number, pid)
                        };
                        if task.settings.retry_panics
                            && let Some(arguments) = again
                        {
                            if let Some(attempt) = task.lose_start(piece.number, error) {
                                let again = WaitingPiece { number: piece.number, arguments: *arguments };
                                delayed.push((clock::now_ns() + pause_ns(attempt), piece.task, again));
                            }
                            return;
                        }
                        Settled::Failed(error(task.label(piece.number), task.attempts(piece.number)))
                    }
                };
                task.settle(piece.number, settled);
                failpoint!("parent-piece-settled");
                if !task.queued && !task.waiting.is_empty() && !task.is_full() {
                    task.queued = true;
                    turn.push_back(piece.task);
                }
            }
        });
        if result.is_err() {
            seat.blame = Some(Cause::Protocol);
            worker.kill();
        }
        *pieces_done += count;
        // Of a task that has but one piece nothing needs to be learnt, and a clock costs as much as a
        // tiny piece.
        if count > 0 && worker.busy_since_ns > 0 {
            let now = clock::now_ns();
            let each_ns = now.saturating_sub(worker.busy_since_ns) / count;
            worker.busy_since_ns = now;
            if let Some(task) = last_task.and_then(|key| tasks.get_mut(key)) {
                task.learn_cost(each_ns);
            }
        }
        if let Some(&(due_ns, ..)) = self.delayed.last() {
            self.wake_supervisor_by(due_ns);
        }
        count > 0 || result != Ok(false)
    }

    /// The supervisor shall be awake at that moment.
    fn wake_supervisor_by(&mut self, moment_ns: u64) {
        if moment_ns < self.alarm_ns {
            self.alarm_ns = moment_ns;
            if !self.supervisor_is_up {
                self.kick_supervisor.signal();
            }
        }
    }

    /// Sees to what depends on the time: pieces that may start again, that ran too long, or that were
    /// not begun. Gives the next moment at which there is something to see to.
    pub(crate) fn run_timers(&mut self) -> Option<u64> {
        let now = clock::now_ns();
        let mut next: Option<u64> = None;
        let mut until = |moment: u64| next = Some(next.map_or(moment, |next| next.min(moment)));
        let mut came_back = false;
        for (due_ns, key, piece) in std::mem::take(&mut self.delayed) {
            if self.phase != Phase::Open {
                // Nothing begins any more, and not again either.
                if let Some(task) = self.tasks.get_mut(key) {
                    task.take_back(piece);
                    task.fail_waiting(shut_down);
                }
            } else if due_ns > now {
                until(due_ns);
                self.delayed.push((due_ns, key, piece));
            } else if let Some(task) = self.tasks.get_mut(key) {
                task.take_back(piece);
                self.queue(key);
                came_back = true;
            }
        }
        // One that is not ready yet may take its time, unless there are others.
        let others_are_ready = self.workers().any(|worker| worker.is_ready() && !worker.suspect);
        for index in 0..self.seats.len() {
            let Seat { place: Place::Filled(worker), grace, .. } = &mut self.seats[index] else { continue };
            if worker.suspect {
                if worker.has_read_all() {
                    worker.suspect = false;
                    came_back = true;
                } else if worker.is_stopped() {
                    worker.kill();
                } else {
                    until(now + NOT_BEGUN_NS);
                }
                continue;
            }
            if worker.leaving {
                // Nobody else would ever let a stopped one go.
                if worker.is_stopped() {
                    worker.kill();
                }
                until(now + NOT_BEGUN_NS);
                continue;
            }
            match worker.progress(now) {
                Some(Progress::Waits { since_ns, .. })
                    if since_ns + NOT_BEGUN_NS <= now && (worker.is_ready() || others_are_ready) =>
                {
                    self.suspect(index);
                    came_back = true;
                    until(now + NOT_BEGUN_NS);
                }
                Some(Progress::Waits { since_ns, .. }) if since_ns + 2 * NOT_BEGUN_NS <= now && worker.is_stopped() => {
                    worker.kill();
                }
                Some(Progress::Waits { since_ns, limit_ns }) => {
                    let due_ns = since_ns + NOT_BEGUN_NS;
                    until(if due_ns > now { due_ns } else { now + NOT_BEGUN_NS });
                    // It may begin at any moment from now on.
                    until(limit_ns.map_or(u64::MAX, |limit_ns| now.saturating_add(limit_ns)));
                }
                Some(Progress::Runs { sequence, until_ns })
                    if until_ns + LATE_NS <= now && *grace != Some(sequence) =>
                {
                    *grace = Some(sequence);
                    until(now + GRACE_NS);
                }
                Some(Progress::Runs { sequence, until_ns }) if until_ns <= now => {
                    self.kill_overrun(index, sequence);
                    came_back = true;
                }
                Some(Progress::Runs { until_ns, .. }) => until(until_ns),
                None => {}
            }
        }
        if came_back && self.dispatch() {
            self.keep_attention();
        }
        next
    }

    /// A worker does not begin what it was given: others shall have it.
    fn suspect(&mut self, index: usize) {
        self.revoke_all(index);
        if let Some(worker) = self.seats[index].worker_mut()
            && worker.is_idle()
        {
            worker.suspect = true;
            self.direct = self.direct.filter(|&direct| direct != index);
            // Whoever found it may have gone by then.
            self.wake_supervisor_by(clock::now_ns() + NOT_BEGUN_NS);
        }
    }

    /// Takes everything back that a worker has not begun.
    fn revoke_all(&mut self, index: usize) {
        let Some(worker) = self.seats[index].worker_mut() else { return };
        let returned: Vec<_> = std::iter::from_fn(|| worker.revoke_newest()).collect();
        for piece in returned {
            if let Some(task) = self.tasks.get_mut(piece.task) {
                task.take_back(WaitingPiece { number: piece.number, arguments: piece.arguments });
                self.queue(piece.task);
            }
        }
    }

    /// Kills a worker whose piece ran too long, and no other piece with it.
    fn kill_overrun(&mut self, index: usize, sequence: u32) {
        self.revoke_all(index);
        self.collect_rest_from(index);
        let seat = &mut self.seats[index];
        // It may have answered in the last moment.
        if let Some(worker) = seat.worker_mut().filter(|worker| worker.runs(sequence)) {
            worker.kill();
            failpoint!("parent-overrun-killed");
            seat.overran = Some(sequence);
        }
    }

    /// Says who is to be told of what, and looks until a look finds nothing: see `sleep.rs`. With
    /// `renew`, what was announced before and may have been used up is announced again. True if
    /// anything was found.
    pub(crate) fn attend(&mut self, attention: Attention, renew: bool) -> bool {
        self.attention = attention;
        let mut found = false;
        if renew && matches!(attention, Attention::CallerSleeps | Attention::SupervisorSleeps) {
            // What was thought to be over by now is not: it is worth another worker's while.
            self.rebalance(0);
        }
        while self.announce(renew) && self.collect() {
            found = true;
        }
        found
    }

    /// True if somebody relies on being told, so that a look is needed.
    fn announce(&mut self, renew: bool) -> bool {
        // With one caller who wants all of a task, being told when a worker runs low is enough.
        let patient = {
            let mut waiters = self.waiters.iter();
            matches!((waiters.next(), waiters.next()), (Some(Waiter { want: Want::InOrder(_), .. }), None))
        };
        let spread = self.workers().any(|worker| worker.in_flight() >= 2);
        let worth_telling = !self.turn.is_empty() || spread || self.phase == Phase::Closing;
        let attention = self.attention;
        let mut look = false;
        for worker in self.workers_mut() {
            let interest = match attention {
                Attention::Awake | Attention::SupervisorWatches => Interest::Nothing,
                _ if worker.is_idle() => Interest::Nothing,
                Attention::CallerSleeps if patient && worker.is_quick() && worker.has_flagged() => {
                    Interest::LowWater(Listening::Caller)
                }
                Attention::CallerSleeps => Interest::NextReply(Listening::Caller),
                Attention::SupervisorSleeps if worker.is_streaming_out() => Interest::NextReply(Listening::Supervisor),
                Attention::SupervisorSleeps if !worth_telling => Interest::Nothing,
                Attention::SupervisorSleeps if worker.has_flagged() => Interest::LowWater(Listening::Supervisor),
                Attention::SupervisorSleeps => Interest::NextReply(Listening::Supervisor),
            };
            look |= worker.announce(interest, renew);
        }
        look
    }

    fn workers(&self) -> impl Iterator<Item = &WorkerHandle> {
        self.seats.iter().filter_map(Seat::worker)
    }

    fn workers_mut(&mut self) -> impl Iterator<Item = &mut WorkerHandle> {
        self.seats.iter_mut().filter_map(Seat::worker_mut)
    }

    /// For each place: the pid, the pieces held and the pieces done by the worker that is there.
    pub(crate) fn worker_figures(&self) -> impl Iterator<Item = (Option<u32>, usize, u64, u32)> {
        self.seats.iter().map(|seat| match seat.worker() {
            Some(worker) => (worker.pid, worker.in_flight(), worker.pieces_done, seat.generation),
            None => (None, 0, 0, seat.generation),
        })
    }

    /// Somebody cancels a task that its owner still holds: what has not begun never begins, what runs
    /// is killed, and all of it fails.
    pub(crate) fn cancel_task(&mut self, key: TaskKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.cancel();
        task.fail_open(cancelled);
        self.stop_task(key, true);
    }

    /// A task is over: what has not begun never begins; with `kill`, what runs is killed.
    pub(crate) fn close_task(&mut self, key: TaskKey, kill: bool) -> Option<TaskState> {
        let was_over = self.tasks.get_mut(key)?.is_over();
        let rest = self.tasks.close(key);
        if was_over {
            return rest;
        }
        failpoint!("parent-task-closed");
        self.stop_task(key, kill);
        rest
    }

    /// Takes a task's pieces back from workers, and with `kill` what runs too.
    fn stop_task(&mut self, key: TaskKey, kill: bool) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.queued = false;
        }
        self.turn.retain(|&queued| queued != key);
        self.delayed.retain(|(_, delayed, _)| *delayed != key);
        for index in 0..self.seats.len() {
            let Some(worker) = self.seats[index].worker_mut() else { continue };
            if worker.holds_piece_of(key) {
                worker.revoke_task(key);
                if kill && worker.holds_piece_of(key) {
                    self.kill_running(index, key);
                }
            }
        }
        if self.dispatch() {
            self.keep_attention();
        }
    }

    /// Kills a worker if it runs a piece of this task, and takes no other piece with it: the rest
    /// is called back before, so it can begin none, and what it has answered by then was not running.
    fn kill_running(&mut self, index: usize, key: TaskKey) {
        self.revoke_all(index);
        self.collect_rest_from(index);
        if let Some(worker) = self.seats[index].worker_mut().filter(|worker| worker.holds_piece_of(key)) {
            worker.kill();
        }
    }

    /// The pool ends by itself: every open piece fails, and nothing can be run any more.
    pub(crate) fn fail(&mut self, error: Error) {
        let (kind, cause, message) = (error.kind(), error.cause(), error.to_string());
        for task in self.tasks.iter_mut() {
            task.fail_open(|label| {
                let error = Error::new(kind, format!("never ended: {message}")).with_piece(label, 0);
                match cause {
                    Some(cause) => error.with_cause(cause),
                    None => error,
                }
            });
        }
        self.turn.clear();
        self.failure = Some(error);
        for waiter in self.waiters.iter() {
            waiter.bell.ring(&self.kick);
        }
    }

    /// The pool's owner ends it. With `kill`, what runs ends too; else it may come to its end.
    pub(crate) fn close(&mut self, kill: bool) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = if kill { Phase::Closed } else { Phase::Closing };
        failpoint!("parent-pool-closed");
        self.turn.clear();
        for index in 0..self.seats.len() {
            let Some(worker) = self.seats[index].worker_mut() else { continue };
            let returned: Vec<_> = std::iter::from_fn(|| worker.revoke_newest()).collect();
            for piece in returned {
                if let Some(task) = self.tasks.get_mut(piece.task) {
                    task.take_back(WaitingPiece { number: piece.number, arguments: piece.arguments });
                }
            }
        }
        for task in self.tasks.iter_mut() {
            if kill { task.fail_open(shut_down) } else { task.fail_waiting(shut_down) }
        }
        for waiter in self.waiters.iter() {
            waiter.bell.ring(&self.kick);
        }
    }

    /// While closing: sends home the workers that have nothing left to do. True once all are gone.
    pub(crate) fn dismiss(&mut self) -> bool {
        let mut left = 0;
        for worker in self.workers_mut() {
            left += 1;
            if worker.is_idle() {
                worker.dismiss();
            }
        }
        left == 0
    }

    fn seat(&mut self, index: usize, generation: u32) -> Option<&mut Seat> {
        let seat = self.seats.get_mut(index)?;
        (seat.generation == generation && seat.worker().is_some()).then_some(seat)
    }
}

impl Seat {
    fn vacant() -> Self {
        Seat {
            place: Place::Vacant { retry_ns: 0 },
            generation: 0,
            dead_since_ns: None,
            blame: None,
            overran: None,
            grace: None,
            start_failure: None,
        }
    }

    fn worker(&self) -> Option<&WorkerHandle> {
        match &self.place {
            Place::Filled(worker) => Some(worker),
            Place::Vacant { .. } => None,
        }
    }

    fn worker_mut(&mut self) -> Option<&mut WorkerHandle> {
        match &mut self.place {
            Place::Filled(worker) => Some(worker),
            Place::Vacant { .. } => None,
        }
    }
}

/// The error of a piece whose task was cancelled.
fn cancelled(label: PieceLabel) -> Error {
    Error::new(ErrorKind::Cancelled, "was cancelled").with_piece(label, 0)
}

/// The error of a piece whose pool has ended.
fn shut_down(label: PieceLabel) -> Error {
    Error::new(ErrorKind::Cancelled, "was cancelled: its pool was shut down").with_piece(label, 0)
}

/// How long a piece waits before it starts again: a little longer each time, in case that helps.
fn pause_ns(attempt: u32) -> u64 {
    (1_000_000_u64 << attempt.clamp(1, 11) >> 1).min(1_000_000_000)
}

/// The error of a piece whose worker lives.
fn piece_error(outcome: Outcome, text: String) -> Error {
    match outcome {
        Outcome::Panicked => match text.split_once(record::BACKTRACE) {
            Some((words, backtrace)) => Error::new(ErrorKind::Panicked, words).with_backtrace(backtrace),
            None => Error::new(ErrorKind::Panicked, text),
        },
        Outcome::EncodeFailed => Error::new(ErrorKind::Encode, text),
        _ => Error::new(ErrorKind::Decode, text),
    }
}
