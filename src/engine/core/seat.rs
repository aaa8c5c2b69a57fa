//! A seat of a pool, and the life of the worker in it.
//!
//! ```text
//! Vacant ─ occupy ─► Ordered ─ spawned ─► Running ─ ended ─► Ended ─ vacate ─► Vacant
//!    ▲                  └────────────────────┴───────────── vacate ──────────────▲ │ │
//!    ├─────────────────────────────── order_successor ── Spare ◄──── leave_empty ──┘ │
//!    └────────────────────────────────────────── call ── Resting ◄──── rest ─────────┘
//! ```
//!
//! One seat of a pool lies beyond the set (`core/recycle.rs`): it is spare unless a worker is being replaced. `vacate` follows when the worker is declared dead (`Core::reap`) or could not be forked (`spawn_failed`). Beside
//! that ladder a worker has a [`Duty`] (works, suspect, retires, leaves), and a [`Kill`] that is requested once
//! and sent once its process is known.
//!
//! Invariant: a seat's generation grows with each worker in it, so a message about an earlier worker
//! finds nobody.

mod idleness;
mod resting;

use self::idleness::Idleness;
use super::functions::Sampled;
use super::life::Life;
use super::roster::Traits;
use super::worker_memory::{TooLarge, WorkerMemory};
use crate::engine::link::Link;
use crate::engine::policy::pace;
use crate::engine::policy::patience::Duty;
use crate::engine::policy::recycle::{self, LifeLimits};
use crate::engine::wire::pair::Made;
use crate::error::Cause;
use crate::stats::{Replaced, WorkerState};
use crate::sys::descriptors::Descriptor;
use crate::sys::process;
use std::sync::Arc;

/// The process of a worker, as far as the parent knows.
#[derive(Debug, Clone)]
pub(crate) enum Process {
    /// The fork server was asked for it.
    Ordered,
    /// The fork server told of it. Where this process is out of descriptors it has no pidfd: then only
    /// the fork server can kill it, and only that tells of its end.
    Running { pid: u32, pidfd: Option<Arc<Descriptor>> },
    /// It has ended; `cause` is what is known, and more may be told in a moment.
    Ended { pid: u32, pidfd: Option<Arc<Descriptor>>, since_ns: u64, cause: Option<Cause> },
}

/// How far a kill has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    NotRequested,
    /// Its process is not known yet, or only the fork server can do it: this process has no pidfd of it, or may not
    /// kill it.
    Requested,
    Sent,
}

/// Who must see to a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum KillBy {
    /// It was sent, or will be once the worker's process is known.
    ThisProcess,
    /// This process cannot: the fork server must be asked (`Core::kill_by_server`).
    ForkServer,
}

/// What the processor time of a watched worker is measured from.
#[derive(Debug, Clone, Copy, Default)]
struct Watch {
    since_ns: u64,
    /// The time that it had used when somebody looked first.
    cpu_ns: Option<u64>,
    /// Until then nobody needs to look again.
    seen_until_ns: u64,
}

/// Since when the pieces of a worker are measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measured {
    /// It had nothing to do until then, and had to be woken. What it takes may be a wait for a core: that says
    /// nothing of the pieces. The worker tells how long the first one took, of this sequence number.
    FromIdle(u64, u32),
    /// Its last replies came then, and it had more to do.
    FromReply(u64),
}

/// The parent's side of one worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) link: Link,
    /// Where it sits.
    pub(crate) seat: usize,
    process: Process,
    duty: Duty,
    kill: Kill,
    leaves_since_ns: u64,
    idleness: Idleness,
    /// When it was ordered.
    made_ns: u64,
    /// The descriptors of *out* and *back*, until somebody has allocated the pages of *back*.
    pages: Option<(Descriptor, Descriptor)>,
    /// Since when its pieces are measured; `None`: nothing is.
    pub(crate) measured: Option<Measured>,
    pub(crate) pieces_done: u64,
    /// It wrote what no worker writes: nothing is read from it any more.
    is_distrusted: bool,
    /// Nobody can kill it, for this reason.
    given_up: Option<String>,
    /// The piece for which it was killed, because that ran over its limit.
    overran: Option<u32>,
    /// A piece whose limit had passed long before anybody looked: it had its grace.
    graced: Option<u32>,
    /// While it is suspect or leaves.
    watch: Watch,
    /// It was killed because it did not begin its oldest piece.
    did_not_begin: bool,
    /// Why it could not become ready, as it said.
    pub(crate) start_failure: Option<String>,
    pub(crate) life: Life,
    pub(crate) memory: WorkerMemory,
    pub(crate) sampled: Sampled,
    pub(crate) too_large: Option<TooLarge>,
}

impl WorkerHandle {
    /// A worker that is ordered now, with its own limits and those of all workers.
    pub(crate) fn new(
        link: Link,
        pages: (Descriptor, Descriptor),
        limits: (LifeLimits, LifeLimits),
        now_ns: u64,
    ) -> Self {
        WorkerHandle {
            link,
            seat: 0,
            process: Process::Ordered,
            duty: Duty::Works,
            kill: Kill::NotRequested,
            leaves_since_ns: 0,
            idleness: Idleness::default(),
            made_ns: now_ns,
            pages: Some(pages),
            measured: None,
            pieces_done: 0,
            is_distrusted: false,
            given_up: None,
            overran: None,
            graced: None,
            watch: Watch::default(),
            did_not_begin: false,
            start_failure: None,
            life: Life::new(limits),
            memory: WorkerMemory::default(),
            sampled: Sampled::default(),
            too_large: None,
        }
    }

    pub(crate) fn duty(&self) -> Duty {
        self.duty
    }

    pub(crate) fn made_ns(&self) -> u64 {
        self.made_ns
    }

    /// Since when its order has had no answer.
    pub(crate) fn ordered_since_ns(&self) -> Option<u64> {
        (!self.has_process()).then_some(self.made_ns)
    }

    #[inline]
    pub(crate) fn has_process(&self) -> bool {
        !matches!(self.process, Process::Ordered)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match self.process {
            Process::Ordered => None,
            Process::Running { pid, .. } | Process::Ended { pid, .. } => Some(pid),
        }
    }

    pub(crate) fn pidfd(&self) -> Option<&Arc<Descriptor>> {
        match &self.process {
            Process::Ordered => None,
            Process::Running { pidfd, .. } | Process::Ended { pidfd, .. } => pidfd.as_ref(),
        }
    }

    /// True if `on_worker_start` has returned in it. A worker that has answered a piece was ready, whatever it
    /// writes over its own word for it later.
    pub(crate) fn became_ready(&mut self) -> bool {
        self.pieces_done > 0 || self.link.is_ready()
    }

    /// What it does, for the pool's figures.
    pub(crate) fn state(&mut self) -> WorkerState {
        let starts = !self.has_process() || !self.became_ready();
        match self.duty {
            Duty::Leaves | Duty::Retires => WorkerState::Leaving,
            _ if starts => WorkerState::Starting,
            _ if self.link.is_idle() => WorkerState::Idle,
            _ => WorkerState::Running,
        }
    }

    /// True if it can take more work.
    #[inline]
    pub(crate) fn is_hungry(&self) -> bool {
        pace::is_hungry(self.link.backlog_ns(), self.link.in_flight())
            && self.duty == Duty::Works
            && self.kill == Kill::NotRequested
            && !matches!(self.process, Process::Ended { .. })
            && !self.link.is_streaming_out()
            && !self.life.is_awaited()
            && !self.memory.is_awaited()
            && self.pieces_left() > 0
    }

    /// The pieces that it may be given yet.
    #[inline]
    pub(crate) fn pieces_left(&self) -> u64 {
        self.life.pieces_left(self.pieces_done + self.link.in_flight() as u64)
    }

    /// True if it has lived long enough, and nobody has noticed.
    #[inline]
    pub(crate) fn is_overdue(&self, now_ns: u64) -> bool {
        self.life.is_overdue(now_ns.saturating_sub(self.made_ns))
    }

    /// After it has answered something: whether it is to be replaced.
    pub(crate) fn judge_life(&self, now_ns: u64) -> recycle::Verdict {
        let age_ns = now_ns.saturating_sub(self.made_ns);
        self.life.judge(&recycle::Life { pieces: self.pieces_done, age_ns, start_ns: self.start_ns().min(age_ns) })
    }

    /// How long it took to become ready, by its own word.
    pub(crate) fn start_ns(&self) -> u64 {
        self.link.ready_ns().saturating_sub(self.made_ns)
    }

    /// If its pieces are quick: when it said something last, or was woken.
    pub(crate) fn quick_since_ns(&self) -> Option<u64> {
        match self.measured? {
            _ if !pace::is_quick(self.link.backlog_ns(), self.link.in_flight()) => None,
            Measured::FromIdle(since_ns, _) | Measured::FromReply(since_ns) => Some(since_ns),
        }
    }

    /// True if nothing is to be done about it: it runs, and all that belongs to its start is done.
    fn is_settled(&self) -> bool {
        matches!(self.process, Process::Running { .. })
            && self.pages.is_none()
            && !self.memory.is_unopened()
            && self.kill != Kill::Requested
    }

    /// The fork server has told of its process. The kill that was requested before is sent.
    pub(crate) fn spawned(&mut self, pid: u32, pidfd: Option<Descriptor>) -> KillBy {
        self.process = Process::Running { pid, pidfd: pidfd.map(Arc::new) };
        if self.kill == Kill::Requested { self.kill() } else { KillBy::ThisProcess }
    }

    /// Its process has ended. What is known of the cause is kept; the first moment counts.
    pub(crate) fn ended(&mut self, cause: Option<Cause>, now_ns: u64) {
        match &mut self.process {
            Process::Ordered => {}
            Process::Running { pid, pidfd } => {
                self.process = Process::Ended { pid: *pid, pidfd: pidfd.take(), since_ns: now_ns, cause };
            }
            Process::Ended { cause: known, .. } => *known = known.or(cause),
        }
    }

    /// Since when it is known to have ended, and the cause as far as it is known.
    pub(crate) fn end(&self) -> Option<(u64, Option<Cause>)> {
        match self.process {
            Process::Ended { since_ns, cause, .. } => Some((since_ns, cause)),
            _ => None,
        }
    }

    /// Kills it, now or once its process is known. Its death is told like any other.
    pub(crate) fn kill(&mut self) -> KillBy {
        if self.kill != Kill::Sent {
            // Refused where this process has given up rights that the worker has.
            let is_sent = self.pidfd().is_some_and(|pidfd| process::kill(pidfd).is_ok());
            self.kill = if is_sent { Kill::Sent } else { Kill::Requested };
        }
        if self.needs_kill_by_server() { KillBy::ForkServer } else { KillBy::ThisProcess }
    }

    /// It wrote what no worker writes: it is killed, and nothing is read from it any more.
    pub(crate) fn distrust(&mut self) -> KillBy {
        self.is_distrusted = true;
        self.kill()
    }

    pub(crate) fn is_distrusted(&self) -> bool {
        self.is_distrusted
    }

    /// Its piece ran over its limit: it is killed.
    pub(crate) fn kill_overrun(&mut self, sequence: u32) -> KillBy {
        self.overran = Some(sequence);
        self.kill()
    }

    /// It, or all workers together, have more memory than allowed: it is killed.
    pub(crate) fn kill_for_memory(&mut self, bytes: u64, limit: u64) -> KillBy {
        self.too_large = Some(TooLarge::Killed { bytes, limit });
        self.kill()
    }

    /// True if it was killed because that piece ran over its limit.
    pub(crate) fn overran(&self, sequence: u32) -> bool {
        self.overran == Some(sequence)
    }

    /// That piece has its grace.
    pub(crate) fn grace(&mut self, sequence: u32) {
        self.graced = Some(sequence);
    }

    /// The piece that had its grace.
    pub(crate) fn graced(&self) -> Option<u32> {
        self.graced
    }

    /// True if this process killed it, or wants to.
    pub(crate) fn was_killed(&self) -> bool {
        self.kill != Kill::NotRequested
    }

    /// True if the fork server must be asked to kill it.
    pub(crate) fn needs_kill_by_server(&self) -> bool {
        self.kill == Kill::Requested && self.has_process()
    }

    /// The fork server was asked.
    pub(crate) fn kill_sent(&mut self) {
        self.kill = Kill::Sent;
    }

    /// Nobody can kill it, for this reason: it is given up, and lives on.
    pub(crate) fn give_up(&mut self, reason: String) {
        self.given_up = Some(reason);
    }

    /// Why nobody can kill it, if so.
    pub(crate) fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }

    /// It did not begin what it was given.
    pub(crate) fn become_suspect(&mut self, now_ns: u64) {
        if self.duty == Duty::Works {
            self.duty = Duty::Suspect;
            self.watch_anew(now_ns);
        }
    }

    /// Since when it is watched.
    pub(crate) fn watched_since_ns(&self) -> u64 {
        self.watch.since_ns
    }

    /// Somebody has looked at its process. Gives the processor time that it has used since it is watched.
    pub(crate) fn seen(&mut self, cpu_ns: u64) -> u64 {
        cpu_ns.saturating_sub(*self.watch.cpu_ns.get_or_insert(cpu_ns))
    }

    /// It does something: it is watched from now on.
    pub(crate) fn watch_anew(&mut self, now_ns: u64) {
        self.watch = Watch { since_ns: now_ns, ..Watch::default() };
    }

    /// Until when nobody needs to look at its process again.
    pub(crate) fn seen_until_ns(&self) -> u64 {
        self.watch.seen_until_ns
    }

    /// Somebody has looked at its process, and need not again until then.
    pub(crate) fn see_until(&mut self, until_ns: u64) {
        self.watch.seen_until_ns = until_ns;
    }

    /// Kills it because it did not begin its oldest piece. `None`: it has begun it by now.
    pub(crate) fn kill_unbegun(&mut self) -> Option<KillBy> {
        if !self.link.withdraw_oldest() {
            return None;
        }
        self.did_not_begin = !self.link.is_idle() && self.became_ready();
        Some(self.kill())
    }

    /// True if it was killed because it did not begin its oldest piece.
    pub(crate) fn did_not_begin(&self) -> bool {
        self.did_not_begin
    }

    /// It has read all: it gets pieces again.
    pub(crate) fn become_trusted(&mut self) {
        if self.duty == Duty::Suspect {
            self.duty = Duty::Works;
        }
    }

    /// Tells it that no more work comes. False if there is no room for that now.
    #[must_use]
    pub(crate) fn dismiss(&mut self, now_ns: u64) -> bool {
        if self.duty != Duty::Leaves && self.link.dismiss() {
            self.duty = Duty::Leaves;
            self.watch_anew(now_ns);
            self.leaves_since_ns = now_ns;
        }
        self.duty == Duty::Leaves
    }

    /// Another takes its place once it has answered.
    pub(crate) fn retire(&mut self, now_ns: u64) {
        if self.duty != Duty::Leaves {
            self.duty = Duty::Retires;
            self.watch_anew(now_ns);
        }
    }

    /// Since when it leaves, if it does.
    pub(crate) fn leaves_since_ns(&self) -> Option<u64> {
        (self.duty == Duty::Leaves).then_some(self.leaves_since_ns)
    }

    /// Its memory, for somebody who allocates the pages.
    pub(crate) fn take_memory(&mut self) -> Option<(Descriptor, Descriptor)> {
        self.pages.take()
    }
}

/// What is prepared for a worker before it is ordered: making it takes calls that can sleep.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) link: Link,
    pub(crate) memory: (Descriptor, Descriptor),
}

impl Prepared {
    pub(crate) fn create(made: Made) -> std::io::Result<Prepared> {
        let (pair, out, back) = made;
        Ok(Prepared { link: Link::new(pair)?, memory: (out, back) })
    }
}

/// A numbered place for a worker.
#[derive(Debug)]
pub(crate) struct Seat {
    generation: u32,
    state: SeatState,
    past: Past,
    /// It has left the set (`core/resize.rs`).
    is_surplus: bool,
}

/// The workers before this one, whose place it took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Past {
    pub(crate) workers: u32,
    /// Why the last of them was replaced.
    pub(crate) last: Option<Replaced>,
}

impl Past {
    /// The same after one more.
    fn and(self, why: Replaced) -> Past {
        Past { workers: self.workers.saturating_add(1), last: Some(why) }
    }
}

#[derive(Debug)]
enum SeatState {
    /// To be filled, not before this moment.
    Vacant {
        retry_ns: u64,
    },
    /// Not to be filled: the seat beyond the set, while no worker is replaced.
    Spare,
    /// Not to be filled before pieces wait for it (`core/idle.rs`).
    Resting,
    Occupied(Box<WorkerHandle>),
}

impl Seat {
    pub(super) fn new() -> Self {
        Seat { generation: 0, state: SeatState::Vacant { retry_ns: 0 }, past: Past::default(), is_surplus: false }
    }

    /// One that is not to be filled now.
    pub(super) fn spare() -> Self {
        Seat { state: SeatState::Spare, ..Seat::new() }
    }

    pub(crate) fn past(&self) -> Past {
        self.past
    }

    /// Its worker was replaced, or died; the next one comes to this seat.
    pub(crate) fn replaced(&mut self, why: Replaced) {
        self.past = self.past.and(why);
    }

    /// The worker in this seat takes the place of another's, which was replaced.
    pub(super) fn take_place_of(&mut self, other: &mut Seat, why: Replaced) {
        self.past = std::mem::take(&mut other.past).and(why);
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    #[inline]
    pub(crate) fn worker(&self) -> Option<&WorkerHandle> {
        match &self.state {
            SeatState::Occupied(worker) => Some(worker),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn worker_mut(&mut self) -> Option<&mut WorkerHandle> {
        match &mut self.state {
            SeatState::Occupied(worker) => Some(worker),
            _ => None,
        }
    }

    /// What decides who visits it; `is_beyond`: it lies beyond the set, so its worker gets no pieces.
    #[inline(always)]
    pub(super) fn traits(&self, is_beyond: bool) -> Traits {
        let Some(worker) = self.worker() else {
            let rests = self.rests() && !is_beyond;
            return Traits { works: true, rests, is_settled: self.is_spare() || self.rests(), ..Traits::default() };
        };
        Traits {
            is_busy: !worker.link.is_idle() || worker.link.lacks_room(),
            is_laden: worker.link.in_flight() >= 2,
            is_hungry: !is_beyond && worker.is_hungry(),
            rests: false,
            has_process: worker.has_process(),
            works: worker.duty == Duty::Works,
            is_settled: worker.is_settled(),
        }
    }

    /// The moment from which it may be filled, if it is vacant.
    pub(crate) fn vacant_until_ns(&self) -> Option<u64> {
        match self.state {
            SeatState::Vacant { retry_ns } => Some(retry_ns),
            _ => None,
        }
    }

    /// The generation of the next worker.
    pub(crate) fn next_generation(&self) -> u32 {
        self.generation.wrapping_add(1)
    }

    /// A worker was ordered for it.
    pub(crate) fn occupy(&mut self, worker: WorkerHandle) {
        self.generation = self.next_generation();
        self.state = SeatState::Occupied(Box::new(worker));
    }

    /// Its worker was declared dead. Gives what is left of it.
    pub(crate) fn vacate(&mut self) -> Option<WorkerHandle> {
        match std::mem::replace(&mut self.state, SeatState::Vacant { retry_ns: 0 }) {
            SeatState::Occupied(worker) => Some(*worker),
            empty => {
                self.state = empty;
                None
            }
        }
    }

    /// If it is vacant, it is not filled before that moment.
    pub(crate) fn retry_at(&mut self, moment_ns: u64) {
        if let SeatState::Vacant { retry_ns } = &mut self.state {
            *retry_ns = moment_ns;
        }
    }
}

#[cfg(test)]
mod tests;
