//! What the pool tells those who look from outside (`wire/status.rs`): a row for each seat.
//!
//! | a row is written                       | by                                        | with the time                        |
//! |----------------------------------------|-------------------------------------------|--------------------------------------|
//! | after a look that found answers        | [`Told::answered`], in `core/collect.rs`   | of that look if it has one, else of the last tick |
//! | as an idle worker is given pieces      | [`Told::fed`], in `core/dispatch.rs`       | likewise                             |
//! | where anything else has changed        | [`Told::tell_all`], in turns of the supervisor (`core/telling.rs`) | of the last tick               |
//!
//! So a piece that is alone in its pool costs two rows and two reads of the coarse clock, and where many pieces are answered in one look they cost one
//! row. What a turn of the supervisor visits are the seats whose sets have changed (`Set::Untold`), and those whose rows say something that ends by
//! itself, such as a start.
//!
//! The time in a row is that of its writing, but for one case: a turn of the supervisor keeps that of a worker that holds pieces and has answered nothing
//! since. So the row of a worker that hangs says for how long, whatever happens to others, and to the pieces behind its own.
//!
//! Invariant: a row says what its worker did when it was written, as far as this process knew. It is written under the lock, in the process that
//! made the pool: a child that is forked has the memory, and takes no lock of it.

use super::phase::Phase;
use super::seat::{Measured, Seat, WorkerHandle};
use super::seats::Seats;
use super::tasks::Tasks;
use crate::engine::child::entry;
use crate::engine::policy::patience::Duty;
use crate::engine::wire::status::{self, Owner, State, Status};
use crate::error::Cause;
use crate::protocol::seqlock;
use crate::sys::clock;
use crate::sys::descriptors::Descriptor;
use crate::sys::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A pool's status as its owner keeps it.
#[derive(Debug)]
pub(crate) struct Told {
    status: Status,
    /// Where others find it: it is open as long as the pool is there.
    _file: Descriptor,
    seats: Vec<Own>,
    /// Seats whose rows say something that ends by itself.
    passing: Vec<usize>,
}

/// What is known of a seat.
#[derive(Debug, Clone, Copy)]
struct Own {
    told: status::Told,
    /// What its row says of the worker before.
    former: u64,
    /// How the last worker was lost that was.
    lost: Option<Cause>,
}

const UNUSED: status::Told = status::Told {
    state: State::Unused,
    has_begun: false,
    why: None,
    cause: None,
    pid: 0,
    before: 0,
    call: 0,
    piece: 0,
    held: 0,
    at_ns: 0,
    done: 0,
};

impl Told {
    pub(super) fn new(workers: usize) -> std::io::Result<Told> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: a number that no other pool has.
        let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let owner = Owner {
            pid: std::process::id(),
            namespace: process::namespace_of("self"),
            anchor: entry::address() as u64,
            number,
        };
        let rows = status::rows(workers);
        let (status, file) = Status::create(rows, owner)?;
        let own = Own { told: UNUSED, former: UNUSED.former(), lost: None };
        Ok(Told { status, _file: file, seats: vec![own; rows], passing: Vec::new() })
    }

    /// A look has found answers of this worker.
    #[inline]
    pub(super) fn answered(&mut self, seat: usize, worker: &WorkerHandle, tasks: &Tasks) {
        let now_ns = match worker.measured {
            // A moment ago, since it was measured by this look.
            Some(Measured::FromReply(now_ns)) => now_ns,
            _ => clock::coarse_ns(),
        };
        self.works(seat, worker, tasks, now_ns);
    }

    /// A worker that held nothing was given pieces.
    #[inline]
    pub(super) fn fed(&mut self, worker: &WorkerHandle, tasks: &Tasks) {
        let now_ns = match worker.measured {
            Some(Measured::FromIdle(now_ns, _)) => now_ns,
            _ => clock::coarse_ns(),
        };
        self.works(worker.seat, worker, tasks, now_ns);
    }

    /// A worker that works, or starts to: what its row says beside that is as before.
    #[inline]
    fn works(&mut self, seat: usize, worker: &WorkerHandle, tasks: &Tasks, now_ns: u64) {
        let Some(own) = self.seats.get_mut(seat) else { return };
        let state = match worker.duty() {
            Duty::Works if !worker.has_process() => State::Starting,
            // That it is ready is told by its first answer, or by a turn of the supervisor.
            Duty::Works if own.told.state == State::Starting && worker.pieces_done == 0 => State::Starting,
            Duty::Works if worker.link.is_idle() => State::Idle,
            Duty::Works => State::Busy,
            Duty::Suspect => State::Late,
            Duty::Retires | Duty::Leaves => State::Leaving,
        };
        (own.told.state, own.told.pid) = (state, worker.pid().unwrap_or(0));
        (own.told.at_ns, own.told.done) = (now_ns, worker.pieces_done);
        own.tell_pieces(worker, tasks);
        own.write(&self.status, seat);
    }

    /// The pool's phase, and the rows in use.
    #[cfg(test)]
    pub(super) fn rows(&self) -> (status::Phase, Vec<status::Told>) {
        let (phase, used) = self.status.told_pool();
        let row = |seat| match seqlock::read(self.status.row(seat).unwrap()) {
            seqlock::Read::Whole(content) => status::Told::of(&content).unwrap(),
            seqlock::Read::Torn(_) => panic!("nobody writes"),
        };
        (phase, (0..used).map(row).collect())
    }

    /// A worker was lost.
    pub(super) fn lost(&mut self, seat: usize, cause: Cause) {
        if let Some(own) = self.seats.get_mut(seat) {
            own.lost = Some(cause);
        }
    }

    /// Tells the pool's phase, and of the seats that may have changed, that of the direct lane among them.
    pub(super) fn tell_all(&mut self, phase: &Phase, seats: &mut Seats, lane: Option<usize>, tasks: &Tasks) {
        let phase = match phase {
            Phase::Open => status::Phase::Open,
            Phase::Failed(_) => status::Phase::Failed,
            Phase::Closing => status::Phase::Closing,
            Phase::Closed => status::Phase::Closed,
        };
        self.status.tell_pool(phase, seats.len());
        let mut passing = std::mem::take(&mut self.passing);
        passing.extend(std::iter::from_fn(|| seats.sorted().take_untold()));
        passing.extend(lane);
        passing.sort_unstable();
        passing.dedup();
        passing.retain(|&seat| self.tell(seat, seats.see_mut(seat), tasks));
        self.passing = passing;
    }

    /// Tells of a seat, if that has changed. True if it says something that ends by itself.
    pub(super) fn tell(&mut self, number: usize, seat: Option<&mut Seat>, tasks: &Tasks) -> bool {
        let Some(own) = self.seats.get_mut(number) else { return false };
        let before = own.told;
        let Some(seat) = seat else { return false };
        let past = seat.past();
        (own.told.before, own.told.why) = (past.workers, past.last);
        own.told.cause = own.lost.filter(|_| past.last == Some(crate::stats::Replaced::Died));
        own.told.state = state_of(seat);
        match seat.worker() {
            Some(worker) => {
                (own.told.pid, own.told.done) = (worker.pid().unwrap_or(0), worker.pieces_done);
                own.tell_pieces(worker, tasks);
            }
            None => {
                own.told = status::Told { pid: 0, done: 0, call: 0, piece: 0, held: 0, has_begun: false, ..own.told }
            }
        }
        if own.told != before {
            if !own.goes_on_from(&before) {
                own.told.at_ns = clock::coarse_ns();
            }
            own.former = own.told.former();
            own.write(&self.status, number);
        }
        !matches!(own.told.state, State::Unused | State::Idle | State::Busy | State::Resting)
    }
}

impl Own {
    /// True if nothing has come from the worker since that was told, and it is at work as it was then.
    fn goes_on_from(&self, before: &status::Told) -> bool {
        let now = &self.told;
        let is_at_work = now.held > 0 && before.held > 0 && (now.pid, now.done) == (before.pid, before.done);
        is_at_work && before.state != State::Starting && now.state != State::Lost
    }

    /// The pieces that its worker holds, and the oldest of them.
    #[inline]
    fn tell_pieces(&mut self, worker: &WorkerHandle, tasks: &Tasks) {
        let oldest = worker.link.oldest_piece();
        let known = oldest.and_then(|(task, number)| Some((tasks.get(task)?.word(number).0, number as u64)));
        (self.told.call, self.told.piece) = known.unwrap_or((0, 0));
        self.told.has_begun = worker.link.oldest_has_begun();
        self.told.held = worker.link.in_flight() as u32;
    }

    #[inline]
    fn write(&self, status: &Status, seat: usize) {
        if let Some(row) = status.row(seat) {
            seqlock::write(row, &self.told.content_after(self.former));
        }
    }
}

fn state_of(seat: &mut Seat) -> State {
    if seat.rests() {
        return State::Resting;
    }
    if seat.is_spare() {
        return State::Unused;
    }
    let Some(worker) = seat.worker_mut() else { return State::Vacant };
    let is_ready = worker.has_process() && worker.became_ready();
    match worker.duty() {
        _ if worker.end().is_some() => State::Lost,
        Duty::Retires | Duty::Leaves => State::Leaving,
        _ if !is_ready => State::Starting,
        Duty::Suspect => State::Late,
        Duty::Works if worker.link.is_idle() => State::Idle,
        Duty::Works => State::Busy,
    }
}
