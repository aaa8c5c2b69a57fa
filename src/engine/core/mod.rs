//! The scheduler: which piece goes to which worker, and where their replies go.
//!
//! [`Core`] is the state under the scheduler's lock, made of parts that each keep an invariant of their
//! own. This file orders them: pieces come in, replies are collected, work is given out, attention is
//! paid. The rest of [`Core`] lies beside it, by what happens: `lifecycle` (workers come and go),
//! `overdue` (what depends on the time), `ending` (tasks and the pool end), `events` (what the epolls
//! and the fork server tell).
//!
//! Under the lock nothing sleeps, runs user code or drops user values. The only system calls are an
//! eventfd write, a futex wake, epoll_ctl, send and receive with MSG_DONTWAIT, pidfd_send_signal, fstat and close of our own, the clock,
//! and the allocator's own (`sys/may_sleep.rs`).
//! What takes longer is asked for here and done by the supervisor, or by the caller that leads,
//! without the lock. Waiters are unparked after it is released ([`Wakes`]).
//!
//! Invariant: while a task has pieces that may run and a worker could take them, some worker holds a
//! piece after which somebody is signalled, or somebody looks.

mod alarm;
mod attention;
mod blocks;
mod calling;
mod collect;
mod deadlines;
mod delayed;
mod detached;
mod direct_lane;
mod dispatch;
mod ending;
mod events;
mod figures;
mod follow;
mod functions;
mod gate;
mod idle;
mod incoming;
mod life;
mod lifecycle;
#[cfg(feature = "log")]
mod logs;
mod loss;
mod memory;
mod names;
mod open_results;
mod outgoing;
mod overdue;
mod phase;
mod polled;
mod queue;
#[cfg(feature = "log")]
mod read_logs;
mod ready_queue;
mod reason;
mod recycle;
mod reserve;
mod resize;
mod room;
mod roster;
pub(crate) mod seat;
mod seats;
mod server_link;
mod shortage;
mod status;
mod task_state;
mod tasks;
mod telling;
mod timeline;
mod traced;
mod trash;
mod work;
mod worker_memory;

pub(crate) use self::attention::{Again, Observer};
pub(crate) use self::ending::Closed;
pub(crate) use self::events::number;
pub(crate) use self::figures::Snapshot;
pub(crate) use self::functions::Figures;
pub(crate) use self::gate::{GateAnswer, GateQuestion};
pub(crate) use self::lifecycle::Unallocated;
pub(crate) use self::memory::{MemoryAnswer, MemoryNews, MemoryQuestion, Unmeasured};
pub(crate) use self::names::Totals;
pub(crate) use self::overdue::{Answer, Question};
pub(crate) use self::reserve::Missing;
pub(crate) use self::server_link::ServerLink;
pub(crate) use self::task_state::{NextFinished, TaskState, Urgency, Want};
pub(crate) use self::timeline::Copied;
pub(crate) use self::trash::Trash;
pub(crate) use self::worker_memory::FilesOf;

use self::alarm::Alarm;
use self::attention::{Attention, Guard};
use self::collect::{Destination, Found};
use self::deadlines::Deadlines;
use self::delayed::Delayed;
use self::detached::Detached;
use self::direct_lane::DirectLane;
use self::dispatch::Gave;
use self::ending::Sweep;
use self::follow::Following;
use self::idle::Idle;
use self::memory::Watched;
use self::open_results::Turn;
use self::phase::Phase;
use self::queue::Queue;
use self::recycle::Recycling;
use self::reserve::Reserve;
use self::roster::Set;
use self::seat::{Measured, WorkerHandle};
use self::seats::Seats;
use self::shortage::Shortage;
use self::work::Work;
use super::link::{Buffers, Left, Link};
use super::observe::Counts;
use super::policy::hold::Hold;
use super::policy::looking::LongLooks;
use super::policy::patience::Patience;
use super::policy::recycle::LifeLimits;
use super::policy::restart::EarlyDeaths;
use super::unpark::{Unparker, Wakes};
use crate::backend::{MemoryLimits, TaskKey};
use crate::codec::tables::table::TableId;
use crate::error::PieceLabel;
use crate::protocol::lead::Waiters;
use crate::protocol::ring::Violation;
use crate::stats::WorkerStart;
use crate::sys::clock;
use crate::sys::event::{Epoll, Kick};
use crossbeam_channel::Sender;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A caller that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) unparker: Arc<Unparker>,
    pub(crate) urgency: Urgency,
}

impl Waiter {
    pub(crate) fn new(unparker: Arc<Unparker>, want: Want) -> Self {
        Waiter { unparker, urgency: want.urgency() }
    }
}

/// The epolls of a pool: a worker's death and the fork server's socket are in both.
#[derive(Debug, Clone)]
pub(crate) struct Epolls {
    /// The caller that leads sleeps in it.
    pub(crate) callers: Arc<Epoll>,
    pub(crate) supervisor: Arc<Epoll>,
}

#[derive(Debug)]
pub(crate) struct Core {
    work: Work,
    delayed: Delayed,
    deadlines: Deadlines,
    detached: Detached,
    /// What pieces share that is still there, with its bytes.
    tables: BTreeMap<TableId, u64>,
    seats: Seats,
    lane: DirectLane,
    waiters: Waiters<Waiter>,
    attention: Attention,
    guard: Guard,
    /// The looks that leaders have taken.
    leader_looks: u64,
    /// Of callers that do not wait.
    long_looks: LongLooks,
    alarm: Alarm,
    wakes: Wakes,
    /// What was done since the lock was taken.
    hold: Hold,
    /// The last time that work was given out was cut: the next look gives out more, whatever it finds.
    owes_dispatch: bool,
    /// A look has given work out since the last announcement: its worker may be asked for no signal.
    owes_attention: bool,
    /// The caller that leads looks again at that moment: until then, quick pieces stay with the workers that are awake.
    stays_until_ns: Option<u64>,
    /// The seat with which the next look begins, if the last one was cut.
    next_look: usize,
    /// Ends of many tasks that are under way.
    sweeps: VecDeque<Sweep>,
    /// The turns that the supervisor has taken.
    turns: u64,
    /// Workers that are yet to lose what they have not begun, by seat and generation.
    revocations: VecDeque<(usize, u32)>,
    server: ServerLink,
    shortage: Shortage,
    early_deaths: EarlyDeaths,
    patience: Patience,
    following: Following,
    recycling: Recycling,
    idle: Idle,
    watched: Watched,
    /// Workers sample pieces.
    samples: bool,
    /// Who looks has slept, or was about to, since replies were found last: a look at the clock costs nothing beside that.
    has_slept: bool,
    /// How the fork server starts workers.
    start: WorkerStart,
    epolls: Epolls,
    buffers: Buffers,
    phase: Phase,
    counts: Counts,
    /// What is ready for the next workers.
    reserve: Reserve,
    /// Dead workers whose memory is yet to be given back, which takes a while.
    reaped: Vec<WorkerHandle>,
    /// The last look has left open results in their rings.
    holds_back: bool,
    /// What this look has found out about a task's turn.
    turn: Option<Turn>,
    #[cfg(feature = "log")]
    logs: logs::CoreLogs,
    /// The kernel's count of kills because memory ran out: `None` before the first look, and where it does not tell.
    memory_kills: Option<u64>,
}

impl Core {
    pub(crate) fn new(
        (workers, cpus): (usize, usize),
        epolls: Epolls,
        kick_supervisor: Arc<Kick>,
        buffers: Buffers,
    ) -> Self {
        Core {
            work: Work::default(),
            delayed: Delayed::default(),
            deadlines: Deadlines::default(),
            detached: Detached::default(),
            tables: BTreeMap::new(),
            seats: Seats::new(workers, cpus),
            lane: DirectLane::default(),
            waiters: Waiters::new(),
            attention: Attention::new(),
            guard: Guard::default(),
            leader_looks: 0,
            long_looks: LongLooks::default(),
            alarm: Alarm::new(kick_supervisor),
            wakes: Wakes::default(),
            hold: Hold::default(),
            owes_dispatch: false,
            owes_attention: false,
            stays_until_ns: None,
            next_look: 0,
            sweeps: VecDeque::new(),
            turns: 0,
            revocations: VecDeque::new(),
            server: ServerLink::Absent { retry_ns: 0 },
            shortage: Shortage::default(),
            early_deaths: EarlyDeaths::default(),
            patience: Patience::default(),
            following: Following::default(),
            recycling: Recycling::default(),
            idle: Idle::default(),
            watched: Watched::default(),
            samples: false,
            has_slept: false,
            start: WorkerStart::default(),
            epolls,
            buffers,
            phase: Phase::Open,
            counts: Counts::default(),
            reserve: Reserve::default(),
            reaped: Vec::new(),
            holds_back: false,
            turn: None,
            #[cfg(feature = "log")]
            logs: logs::CoreLogs::default(),
            memory_kills: None,
        }
    }

    /// The same with limits for the lives of workers and for their memory. `news` takes what the user is told.
    pub(crate) fn with_limits(self, lives: LifeLimits, memory: MemoryLimits, news: Option<Sender<MemoryNews>>) -> Self {
        Core { recycling: Recycling::new(lives), watched: Watched::new(memory, news), ..self }
    }

    /// The same with limits of the bytes and of the pieces that wait.
    pub(crate) fn with_queue(mut self, most_bytes: Option<usize>, most_pieces: Option<usize>) -> Self {
        self.work.queue = Queue::new(most_bytes, most_pieces);
        self
    }

    /// Whether the workers that are started from now on sample pieces.
    pub(crate) fn sample_pieces(&mut self, samples: bool) {
        self.samples = samples;
    }

    // The parts that others use directly.

    pub(crate) fn waiters(&mut self) -> &mut Waiters<Waiter> {
        &mut self.waiters
    }

    /// True if the workers that hold pieces leave a core for a caller that looks.
    pub(crate) fn leaves_core(&mut self) -> bool {
        self.seats.leaves_core()
    }

    pub(crate) fn long_looks(&mut self) -> &mut LongLooks {
        &mut self.long_looks
    }

    pub(crate) fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    pub(crate) fn server(&mut self) -> &mut ServerLink {
        &mut self.server
    }

    pub(crate) fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    #[inline]
    pub(crate) fn wakes(&mut self) -> &mut Wakes {
        &mut self.wakes
    }

    /// What is to be dropped without the lock.
    #[inline]
    pub(crate) fn trash(&mut self) -> &mut Trash {
        &mut self.work.trash
    }

    /// How long the lock is held.
    #[inline]
    pub(crate) fn hold(&mut self) -> &mut Hold {
        &mut self.hold
    }

    #[inline]
    pub(crate) fn task(&mut self, key: TaskKey) -> Option<&mut TaskState> {
        self.work.tasks.get_mut(key)
    }

    /// How many pieces of a task the caller may have now, from this one on, as far as the program's logger is concerned; `None` for none.
    #[inline]
    pub(crate) fn may_give(&mut self, _key: TaskKey, _from: usize) -> Option<usize> {
        #[cfg(feature = "log")]
        return self.may_give_by_logs(_key, _from);
        #[cfg(not(feature = "log"))]
        Some(usize::MAX)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The caller that leads looks.
    pub(crate) fn collect_for_all(&mut self) {
        self.leader_looks += 1;
        self.collect();
    }

    /// Shows a worker what it was given without a look.
    fn publish(&mut self, seat: Option<usize>) {
        if let Some(worker) = seat.and_then(|seat| self.seats.worker_mut(seat)) {
            worker.link.publish();
        }
    }

    // Work goes out, replies come in.

    /// Gives waiting pieces to workers that need some. True if any was given.
    pub(crate) fn dispatch(&mut self) -> bool {
        if !matches!(self.phase, Phase::Open) {
            // Nothing begins any more.
            return false;
        }
        self.owes_dispatch = false;
        let gave = match self.watched.gate.is_set() {
            false => dispatch::dispatch(&mut self.seats, &mut self.work, &mut self.hold),
            true => self.give_by_gate(),
        };
        self.note_given(gave)
    }

    /// Notes what follows from what was given out. True if anything was.
    #[inline]
    fn note_given(&mut self, gave: Gave) -> bool {
        if gave.has_consequences() || self.watched.must_begin() || self.work.queue.has_room_again() {
            self.note_consequences(gave);
        }
        gave.any
    }

    /// The supervisor must be awake when the first limit may end, and at once to give out what is left.
    #[inline(never)]
    fn note_consequences(&mut self, gave: Gave) {
        self.wake_for_room();
        if gave.is_overdue {
            self.judge_busy();
        }
        self.owes_attention |= gave.lacks;
        if gave.refuses {
            // The fork server may have to kill the worker.
            self.alarm.wake_now();
        }
        if !self.work.unsendable.is_empty() {
            self.fail_unsendable();
        }
        if gave.any && self.watched.must_begin() {
            self.begin_checks();
        }
        if gave.is_cut {
            self.owes_dispatch = true;
            self.alarm.wake_now();
        }
        if let Some(until_ns) = gave.stays_until_ns {
            self.owes_dispatch = true;
            // For the caller that leads, if it is about to sleep; it may sleep already.
            self.stays_until_ns = Some(until_ns);
            self.alarm.wake_by(until_ns);
        }
        if let Some(limit_ns) = gave.shortest_limit {
            self.alarm.wake_by(clock::now_ns().saturating_add(limit_ns.get()));
        }
    }

    /// When the caller that leads must look again to share out what stays with workers now.
    pub(crate) fn take_stays_until_ns(&mut self) -> Option<u64> {
        self.stays_until_ns.take()
    }

    /// A task that had too much unread may go on, because its reader took something.
    pub(crate) fn reader_came(&mut self, key: TaskKey) {
        if self.holds_back {
            // Results that were held back go on.
            self.collect();
        }
        let Work { tasks, trash, ready, .. } = &mut self.work;
        let Some(task) = tasks.get_mut(key) else { return };
        task.drop_taken(trash);
        if task.waits() && !ready.contains(key) {
            self.work.offer(key);
            if self.dispatch() {
                self.keep_attention();
            }
        }
    }

    /// Takes what workers have said, and gives them more. True if there was anything, or there may be, or work was given out
    /// that a cut had left.
    pub(crate) fn collect(&mut self) -> bool {
        self.look() != Found::Nothing
    }

    /// The same, and tells whether there may be more.
    fn look(&mut self) -> Found {
        (self.holds_back, self.turn) = (false, None);
        #[cfg(feature = "log")]
        self.follow_log_level();
        self.publish(self.lane.seat());
        // First what a cut has left: looks that each take all of one hold would leave it for ever.
        let gave = self.owes_dispatch && self.dispatch();
        self.owes_attention |= gave;
        let mut found = if gave { Found::All } else { Found::Nothing };
        let began = self.next_look;
        let (mut from, mut goes_round) = (began, began > 0);
        self.seats.sorted();
        while !self.hold.is_spent() {
            let seat = match self.seats.roster().next(Set::Busy, from) {
                Some(seat) if goes_round || seat < began || began == 0 => seat,
                _ if goes_round => {
                    (from, goes_round) = (0, false);
                    continue;
                }
                _ => break,
            };
            from = seat + 1;
            // A worker may answer before the fork server has told of it. Its errors must name its process, and
            // the thread that hears of that looks here next.
            if self.seats.worker(seat).is_some_and(|worker| worker.has_process() && worker.link.is_worth_a_look()) {
                found = found.max(self.collect_from(seat));
            }
        }
        self.next_look = 0;
        if self.hold.is_spent() {
            // Others get the lock first; the next look begins where this one ended.
            (self.next_look, found) = (from, Found::Part);
        }
        let any = found != Found::Nothing;
        self.has_slept &= !any;
        if any && matches!(self.phase, Phase::Closing) {
            // The thread that collected their last replies dismisses them: no other would look again.
            self.dismiss();
        } else if any {
            if self.following.any_retire() {
                self.dismiss_retired();
            }
            self.replace_due();
            self.owes_attention |= self.dispatch();
        }
        if self.detached.any() {
            self.close_detached();
        }
        found
    }

    /// Takes all that one worker has said by now, but no more than its ring can hold: it may still be
    /// writing, or let the ring stand full. What streams to it is not sent on for that.
    fn collect_rest_from(&mut self, seat: usize) {
        let Some(end) = self.seats.worker_mut(seat).map(|worker| worker.link.end_of_ring()) else { return };
        let has_more = |link: &Link| link.has_news() && link.has_read() < end;
        while self.seats.worker(seat).is_some_and(|worker| has_more(&worker.link)) {
            let found_any = match self.collect_closed_from(seat) {
                (found, Left::Open) => self.collect_last_open_from(seat, end) || found != Found::Nothing,
                (found, _) => found != Found::Nothing,
            };
            if !found_any {
                break;
            }
        }
    }

    /// Takes what one worker has said, but of an open result as much as [`may_read`](Self::may_read) allows.
    fn collect_from(&mut self, seat: usize) -> Found {
        match self.collect_closed_from(seat) {
            (found, Left::Open) => self.collect_open_from(seat, found),
            (found, _) => found,
        }
    }

    fn collect_closed_from(&mut self, seat: usize) -> (Found, Left) {
        self.collect_by(seat, collect::collect_from).unwrap_or((Found::All, Left::Nothing))
    }

    /// What else a worker said that is not trusted any more counts no more: `None`.
    #[inline(always)]
    fn collect_by<T>(
        &mut self,
        seat: usize,
        read: impl FnOnce(usize, &mut WorkerHandle, &mut Buffers, &mut Destination<'_>) -> Result<T, Violation>,
    ) -> Option<T> {
        let Core { work, delayed, seats, wakes, counts, buffers, alarm, hold, .. } = self;
        #[cfg(feature = "log")]
        let logs = &mut self.logs;
        let worker = seats.worker_mut(seat)?;
        let done = worker.pieces_done;
        let mut destination = Destination {
            work,
            delayed,
            wakes,
            counts,
            #[cfg(feature = "log")]
            logs,
        };
        let found = read(seat, worker, buffers, &mut destination);
        hold.spend(worker.link.take_copied());
        let kill_by = found.is_err().then(|| worker.distrust());
        // Before anything else: nearly always there is nothing to judge, and tiny pieces must not cost more.
        let judges = worker.pieces_done != done && (self.recycling.judges() || self.watched.judges());
        let judged_ns = if judges {
            // A function that was waited for is not tiny, whatever was learnt of it.
            let cost_ns = match self.has_slept {
                true => u32::MAX,
                false => self.work.functions.of_number(worker.link.last_function()).cost_ns,
            };
            // Where the pace was measured a moment ago, the time is known.
            let known_ns = match worker.measured {
                Some(Measured::FromReply(now_ns)) => Some(now_ns),
                _ => None,
            };
            worker.life.judgement_due_ns(worker.pieces_done, known_ns, cost_ns)
        } else {
            None
        };
        if let Some(due_ns) = delayed.next_ns() {
            alarm.wake_by(due_ns);
        }
        #[cfg(any(feature = "log", feature = "tracing"))]
        self.act_on_told();
        if let Some(kill_by) = kill_by {
            self.see_to_kill(seat, kill_by);
        }
        if let Some(now_ns) = judged_ns {
            self.judge(seat, now_ns);
        }
        found.ok()
    }

    /// How errors name a piece.
    pub(crate) fn label(&self, key: TaskKey, number: usize) -> Option<PieceLabel> {
        self.work.tasks.get(key).map(|task| task.label(number))
    }
}

#[cfg(test)]
pub(crate) mod tests;
