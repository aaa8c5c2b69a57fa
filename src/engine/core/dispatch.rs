//! Gives waiting pieces to workers, and takes back what they have not begun.
//!
//! Tasks take turns, so that a small task is not stuck behind a huge one. Which worker, and how much, is
//! decided in `policy::placement` and `policy::pace`.

use super::calling;
use super::functions::Functions;
use super::ready_queue::{Next, ReadyQueue};
use super::roster::Set;
use super::seat::{Measured, Seat, WorkerHandle};
use super::seats::Seats;
use super::task_state::TaskState;
use super::work::Work;
use crate::backend::TaskKey;
use crate::engine::link::Provided;
use crate::engine::piece::{Given, WaitingPiece};
use crate::engine::policy::hold::Hold;
use crate::engine::policy::pace::{self, LOOK_AHEAD_NS, MAX_LOOK_AHEAD, WORTH_WAKING_NS};
use crate::engine::policy::placement::{self, Candidate};
use crate::engine::wire::pair::CHUNK_BYTES;
use crate::failpoint::failpoint;
use crate::sys::{clock, process};
use std::num::NonZeroU64;

/// What was given out.
#[derive(Debug, Default, Clone, Copy)]
#[must_use = "the supervisor must be awake when a limit ends"]
pub(crate) struct Gave {
    pub(crate) any: bool,
    /// The shortest time limit of the pieces.
    pub(crate) shortest_limit: Option<NonZeroU64>,
    /// There may be more to give out, and the supervisor goes on with it: the lock was held for long enough, or a seat that rested is to be
    /// filled.
    pub(crate) is_cut: bool,
    /// Until then, quick pieces stay with the workers that are awake.
    pub(crate) stays_until_ns: Option<u64>,
    /// A worker that was given something has lived long enough.
    pub(crate) is_overdue: bool,
    /// A worker that holds nothing had no room.
    pub(crate) lacks: bool,
    /// A worker refused what a piece shares, and is to be killed; or the piece is unsendable.
    pub(crate) refuses: bool,
}

impl Gave {
    /// True if something follows beside that anything was given.
    #[inline]
    pub(crate) fn has_consequences(&self) -> bool {
        self.is_cut
            || self.lacks
            || self.refuses
            || self.is_overdue
            || self.stays_until_ns.is_some()
            || self.shortest_limit.is_some()
    }

    fn cut_if(is_cut: bool) -> Gave {
        Gave { is_cut, ..Gave::default() }
    }

    fn add(&mut self, other: Gave) {
        self.any |= other.any;
        self.is_overdue |= other.is_overdue;
        self.is_cut |= other.is_cut;
        self.lacks |= other.lacks;
        self.refuses |= other.refuses;
        self.shortest_limit = shorter(self.shortest_limit, other.shortest_limit);
        self.stays_until_ns = self.stays_until_ns.or(other.stays_until_ns);
    }
}

/// The shorter of two limits, of which each may be none.
#[inline]
fn shorter(one: Option<NonZeroU64>, other: Option<NonZeroU64>) -> Option<NonZeroU64> {
    match (one, other) {
        (None, limit) | (limit, None) => limit,
        (Some(one), Some(other)) => Some(one.min(other)),
    }
}

/// Gives waiting pieces to workers that are hungry, then shares out what workers hold.
pub(crate) fn dispatch(seats: &mut Seats, work: &mut Work, hold: &mut Hold) -> Gave {
    let mut gave = give_out(seats, work, hold);
    // Asked here, since most looks end here.
    if !gave.is_cut && work.ready.is_empty() && !seats.sorted().is_empty(Set::Laden) {
        gave.add(rebalance(seats, work, hold, WORTH_WAKING_NS));
    }
    gave
}

/// Gives one waiting piece to a worker that is hungry.
pub(crate) fn give_one(seats: &mut Seats, work: &mut Work, hold: &mut Hold) -> Gave {
    let mut full = Vec::new();
    while !work.ready.is_empty() && !hold.is_spent() {
        let Choice::Seat(seat) = choose(seats, false, &full) else { break };
        let Some(worker) = seats.worker_mut(seat) else { return Gave::cut_if(calling::call_one(seats)) };
        // The first one takes more than a nanosecond.
        let fed = feed(worker, work, hold, 1);
        if fed.any {
            return fed;
        }
        full.push(seat);
    }
    Gave { is_cut: hold.is_spent() && !work.ready.is_empty(), ..Gave::default() }
}

/// Gives waiting pieces to workers that are hungry.
fn give_out(seats: &mut Seats, work: &mut Work, hold: &mut Hold) -> Gave {
    let mut gave = Gave::default();
    // Those whose rings have no room: what was taken back lies there until it is passed.
    let mut full = Vec::new();
    while let Some(first) = work.ready.first() {
        let hungry = seats.sorted().hungry_workers();
        if hungry == 0 {
            return gave;
        }
        if hold.is_spent() {
            gave.is_cut = true;
            return gave;
        }
        let is_tiny = work.tasks.get(first).is_some_and(|task| task.is_tiny());
        let seat = match choose(seats, is_tiny, &full) {
            Choice::Seat(seat) => seat,
            Choice::Stay { until_ns } => {
                gave.stays_until_ns = Some(until_ns);
                return gave;
            }
            Choice::Nobody => return gave,
        };
        let Some(worker) = seats.worker_mut(seat) else {
            gave.is_cut |= calling::call(seats, work);
            return gave;
        };
        let room_ns = LOOK_AHEAD_NS.saturating_sub(worker.link.backlog_ns());
        let fed = feed(worker, work, hold, pace::share(work.waiting_ns(), hungry, room_ns));
        gave.add(fed);
        if !fed.any {
            full.push(seat);
        }
    }
    gave
}

/// Who gets the next pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Seat(usize),
    /// Those that are awake, as soon as they can take more; until then no other is woken for it.
    Stay {
        until_ns: u64,
    },
    Nobody,
}

/// The seat whose worker gets the next pieces; none of those that are `full`.
pub(crate) fn choose(seats: &mut Seats, is_tiny: bool, full: &[usize]) -> Choice {
    let has_room = |seat: &usize| !full.contains(seat);
    // Of those that hold nothing, one stands for all.
    let roster = seats.sorted();
    let idle = match full {
        [] => roster.first_idle(),
        _ => [Set::Idle, Set::Starting, Set::Resting].into_iter().find_map(|set| roster.iter(set).find(has_room)),
    };
    let candidate = |seat| {
        let Some(worker) = seats.worker(seat) else {
            return Some(Candidate { seat, backlog_ns: 0, is_idle: true, has_process: false });
        };
        let (backlog_ns, is_idle) = (worker.link.backlog_ns(), worker.link.is_idle());
        Some(Candidate { seat, backlog_ns, is_idle, has_process: worker.has_process() })
    };
    let among = |idle: Option<usize>| {
        let roster = seats.roster();
        if roster.is_empty(Set::Hungry) {
            return idle;
        }
        placement::choose(roster.iter(Set::Hungry).filter(has_room).chain(idle).filter_map(candidate), is_tiny)
    };
    let chosen = among(idle);
    if is_tiny && idle.is_some() && chosen == idle {
        let awake = among(None);
        let of_awake = awake.or_else(|| seats.roster().first(Set::Laden));
        if let Some(until_ns) = of_awake.and_then(|seat| seats.stays_until_ns(seat)) {
            return awake.map_or(Choice::Stay { until_ns }, Choice::Seat);
        }
    }
    chosen.map_or(Choice::Nobody, Choice::Seat)
}

/// Lets idle workers have pieces that others hold and have not begun, if those have at least `least_ns` of
/// work.
pub(crate) fn rebalance(seats: &mut Seats, work: &mut Work, hold: &mut Hold, least_ns: u64) -> Gave {
    let mut gave = Gave::default();
    loop {
        let roster = seats.sorted();
        if roster.is_empty(Set::Laden) {
            return gave;
        }
        if roster.first_idle().is_none() {
            return gave;
        }
        let load = |(seat, it): (usize, &Seat)| {
            let link = &it.worker()?.link;
            Some((link.backlog_ns(), link.in_flight(), seat))
        };
        let fullest = seats.of(Set::Laden).filter_map(load).max();
        let Some((_, _, fullest)) = fullest else { return gave };
        let Some(link) = seats.worker(fullest).map(|worker| &worker.link) else { return gave };
        let Some(count) = placement::given_up(link.in_flight(), link.backlog_ns(), least_ns) else { return gave };
        if hold.is_spent() {
            gave.is_cut = true;
            return gave;
        }
        if let Some(until_ns) = seats.stays_until_ns(fullest) {
            gave.stays_until_ns = Some(until_ns);
            return gave;
        }
        let words = link.newest_words();
        let Some(idle) = idle_with_room(seats, words) else {
            gave.is_cut |= calling::call_one(seats);
            return gave;
        };
        let Some(fullest) = seats.worker_mut(fullest) else { return gave };
        let revoked = revoke_newest(fullest, work, count);
        hold.spend_pieces(revoked);
        if revoked == 0 {
            return gave;
        }
        let Some(idle) = seats.worker_mut(idle) else { return gave };
        let fed = feed(idle, work, hold, LOOK_AHEAD_NS);
        gave.add(fed);
        if !fed.any {
            // It has no room. Another one takes what was taken back, which would wait here otherwise.
            gave.add(give_out(seats, work, hold));
            return gave;
        }
    }
}

/// The first idle worker whose ring has room for this many words: what was taken back from one may fill its ring.
fn idle_with_room(seats: &mut Seats, words: u64) -> Option<usize> {
    for set in [Set::Idle, Set::Starting] {
        let mut from = 0;
        while let Some(seat) = seats.roster().next(set, from) {
            from = seat + 1;
            if seats.worker_mut(seat).is_some_and(|idle| idle.link.has_room(words)) {
                return Some(seat);
            }
        }
    }
    None
}

/// Takes up to `count` pieces back that the worker has not begun, the newest first. Gives how many.
pub(crate) fn revoke_newest(worker: &mut WorkerHandle, work: &mut Work, count: usize) -> usize {
    let mut revoked = 0;
    while revoked < count
        && let Some(piece) = worker.link.revoke_newest()
    {
        work.take_back(piece);
        revoked += 1;
    }
    revoked
}

/// Takes everything back that the worker has not begun. Gives how many pieces that were.
pub(crate) fn revoke_all(worker: &mut WorkerHandle, work: &mut Work) -> usize {
    revoke_newest(worker, work, usize::MAX)
}

/// Gives pieces for `budget_ns`, or at least one, to one worker, task by task in turn.
pub(crate) fn feed(worker: &mut WorkerHandle, work: &mut Work, hold: &mut Hold, budget_ns: u64) -> Gave {
    let (was_idle, first) = (worker.link.is_idle(), worker.link.next_sequence());
    let mut feeding = Feeding { left_ns: budget_ns, ..Feeding::default() };
    while feeding.has_room(worker) {
        let Some(next) = work.ready.pop_first() else { break };
        if feeding.take_turn(worker, work, next) == Turn::NoRoom {
            work.ready.push_back_first(next);
            worker.link.note_lack();
            break;
        }
    }
    if was_idle {
        let task = worker.link.newest_task().and_then(|key| work.tasks.get(key));
        // Nothing needs to be learnt from a task that has one piece, and a clock costs as much as a tiny
        // piece. But after a sample the cost of the function is learnt from one such piece: the next sample depends on it.
        // Of a named task it is told how long it kept workers busy.
        let is_single = feeding.given == 1 && task.is_some_and(|task| task.len() == 1 && !task.is_named());
        let is_measured = !is_single || worker.link.is_cost_wanted();
        worker.measured = is_measured.then(|| Measured::FromIdle(clock::now_ns(), first));
        if let Work { status: Some(told), tasks, .. } = &mut *work {
            told.fed(worker, tasks);
        }
    } else if worker.measured.is_none() {
        worker.measured = Some(Measured::FromReply(clock::now_ns()));
    }
    let is_overdue = matches!(worker.measured, Some(Measured::FromIdle(now_ns, _)) if worker.is_overdue(now_ns));
    worker.link.forget_on();
    worker.link.publish();
    worker.link.pump();
    hold.spend_pieces(feeding.given);
    hold.spend(feeding.bytes + worker.link.take_copied());
    let Feeding { shortest_limit, refuses, .. } = feeding;
    let lacks = worker.link.is_idle() && worker.link.lacks_room();
    Gave { any: feeding.given > 0, shortest_limit, is_overdue, lacks, refuses, ..Gave::default() }
}

/// A worker does not take what is sent to it: it has died and that is yet to be told, or it does what no worker does. A kill changes nothing
/// about the first, whose own cause counts, and makes the second a worker that has died.
fn end_unnoted(worker: &mut WorkerHandle) {
    match worker.pidfd() {
        Some(pidfd) => _ = process::kill(pidfd),
        None => _ = worker.kill(),
    }
}

/// What one worker is given in one call.
#[derive(Default)]
struct Feeding {
    left_ns: u64,
    given: usize,
    /// The bytes of their arguments.
    bytes: usize,
    shortest_limit: Option<NonZeroU64>,
    refuses: bool,
    /// The number of the piece, among those that the worker holds, whose reply tells that half is left.
    half: Option<usize>,
}

#[derive(PartialEq, Eq)]
enum Turn {
    Over,
    /// The worker can take no more.
    NoRoom,
}

impl Feeding {
    fn has_room(&self, worker: &WorkerHandle) -> bool {
        self.left_ns > 0 && worker.link.in_flight() < MAX_LOOK_AHEAD && worker.pieces_left() > 0
    }

    /// One turn of a task.
    fn take_turn(&mut self, worker: &mut WorkerHandle, work: &mut Work, next: Next) -> Turn {
        let Work { tasks, ready, queue, functions, unsendable, .. } = work;
        let Some(task) = tasks.get_mut(next.key) else { return Turn::Over };
        let (before, given) = (task.queued(), self.given);
        if task.counts_waiting() {
            task.count_waiting(clock::now_ns());
        }
        let turn = self.take_turn_of(worker, (task, next, unsendable), ready, functions);
        task.note_given();
        if next.most.is_some() {
            ready.count_starts(self.given - given);
        }
        queue.changed(before, task.queued());
        turn
    }

    #[inline(always)]
    fn take_turn_of(
        &mut self,
        worker: &mut WorkerHandle,
        (task, Next { key, most, .. }, unsendable): (&mut TaskState, Next, &mut Vec<(TaskKey, WaitingPiece)>),
        ready: &mut ReadyQueue,
        functions: &Functions,
    ) -> Turn {
        let cost_ns = task.cost_ns();
        let half = *self
            .half
            .get_or_insert_with(|| pace::half_of(worker.link.in_flight(), self.left_ns, cost_ns, task.waiting()));
        let quantum = pace::quantum(cost_ns);
        for _ in 0..most.map_or(quantum, |most| quantum.min(u64::from(most))) {
            if !self.has_room(worker) || task.is_full() {
                break;
            }
            let Some(WaitingPiece { number, arguments }) = task.pop_waiting() else { break };
            let provided = task.tables_of(number).map_or(Provided::All, |tables| worker.link.provide(tables));
            if provided == Provided::Gone {
                unsendable.push((key, WaitingPiece { number, arguments }));
                self.refuses = true;
                continue;
            }
            if provided != Provided::All {
                task.unpop_waiting(WaitingPiece { number, arguments });
                return self.not_provided(provided, worker);
            }
            let held = worker.link.in_flight() + 1;
            let is_last =
                self.left_ns <= u64::from(cost_ns) || held == MAX_LOOK_AHEAD || !task.waits() && ready.is_empty();
            let ((call, function), bytes) = (task.word(number), arguments.len().min(CHUNK_BYTES));
            let (format, terms) = (task.settings().format, task.terms(functions.of_number(function)));
            let piece = Given { task: key, number, call, format, terms, arguments };
            if let Err(back) = worker.link.give(piece, is_last || held == half) {
                task.unpop_waiting(WaitingPiece { number, arguments: back.arguments });
                return Turn::NoRoom;
            }
            failpoint!("parent-record-written");
            self.given += 1;
            self.bytes += bytes;
            self.shortest_limit = shorter(self.shortest_limit, task.settings().limit_ns);
            self.left_ns = self.left_ns.saturating_sub(u64::from(cost_ns));
        }
        if task.waits() && !task.is_full() {
            ready.push_last(key, task.settings().priority);
        }
        Turn::Over
    }

    /// A worker cannot have what a piece shares, now or ever.
    #[cold]
    fn not_provided(&mut self, why: Provided, worker: &mut WorkerHandle) -> Turn {
        if why == Provided::Refused {
            self.refuses = true;
            end_unnoted(worker);
        }
        Turn::NoRoom
    }
}
