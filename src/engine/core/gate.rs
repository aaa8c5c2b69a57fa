//! The gate of a pool that leaves memory to others: below its limit one piece runs at a time, and no task is given.
//!
//! | who                                          | reads                         | when                                         |
//! |----------------------------------------------|-------------------------------|----------------------------------------------|
//! | a caller that asks for a task                | what is available             | unless that was read in the last 100 ms      |
//! | the supervisor ([`Core::gate_question`])     | that, and what workers have   | each 100 ms while pieces wait, here or in a worker |
//!
//! Both read without the lock, and share their readings with all pools of this process (`sys/available.rs`).
//!
//! Invariant: while pieces wait, one runs or the next reading is due. A pool at rest, or whose workers hold one piece each while
//! no other waits, wakes nobody for it.

use super::dispatch::{self, Gave};
use super::memory::MemoryNews;
use super::roster::Set;
use super::{Core, Phase};
use crate::engine::policy::gate::{self, Begins, Level, READ_EACH_NS};
use crate::error::{Error, ErrorKind};
use crate::stats::memory::{MemoryAction, mebibytes};
use crate::sys::available::{self, Reading};
use crate::sys::clock;
use crate::sys::usage::Usage;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Gate {
    limit: Option<u64>,
    level: Level,
    /// When the last reading was told.
    read_ns: Option<u64>,
    /// The most memory that a worker was seen to have.
    largest: u64,
}

impl Gate {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Gate { limit, ..Gate::default() }
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.limit.is_some()
    }

    /// A worker was seen to have this.
    pub(super) fn saw(&mut self, bytes: u64) {
        self.largest = self.largest.max(bytes);
    }

    fn age_ns(&self, now_ns: u64) -> Option<u64> {
        self.read_ns.map(|read_ns| now_ns.saturating_sub(read_ns))
    }
}

/// The files of workers, by seat and generation: what they have is read beside what is available.
pub(crate) type GateQuestion = Vec<(usize, u32, Arc<Usage>)>;

/// What was read.
#[derive(Debug)]
pub(crate) struct GateAnswer {
    /// `None` where the system does not tell: nobody waits for that.
    pub(crate) available: Option<Reading>,
    pub(crate) workers: Vec<(usize, u32, u64)>,
}

impl Core {
    /// True if any number of pieces may begin now, as far as memory goes.
    #[inline]
    pub(super) fn all_may_begin(&self) -> bool {
        let gate = &self.watched.gate;
        !gate.is_set() || gate::begins(gate.level, gate.age_ns(clock::now_ns()), true) == Begins::All
    }

    /// Too little memory is available: only one piece runs at a time.
    pub(super) fn is_gate_closed(&self) -> bool {
        self.watched.gate.level == Level::Closed
    }

    /// Gives out what may begin.
    pub(super) fn give_by_gate(&mut self) -> Gave {
        let gate = &self.watched.gate;
        let (level, age_ns) = (gate.level, gate.age_ns(clock::now_ns()));
        let Core { seats, work, hold, .. } = self;
        seats.sorted();
        let runs_any = seats.of(Set::Busy).any(|(_, seat)| seat.worker().is_some_and(|worker| !worker.link.is_idle()));
        let gave = match gate::begins(level, age_ns, runs_any) {
            Begins::All => dispatch::dispatch(seats, work, hold),
            Begins::One => dispatch::give_one(seats, work, hold),
            Begins::Nothing => Gave::default(),
        };
        if let Some(due_ns) = self.gate_due_ns() {
            self.alarm.wake_by(due_ns);
        }
        gave
    }

    /// When the supervisor must read what is available: while pieces wait, for the gate or in a worker, where they begin by
    /// themselves.
    pub(super) fn gate_due_ns(&mut self) -> Option<u64> {
        if !self.watched.gate.is_set() || !matches!(self.phase, Phase::Open) {
            return None;
        }
        let waits = !self.work.ready.is_empty() || !self.seats.sorted().is_empty(Set::Laden);
        waits.then(|| self.watched.gate.read_ns.map_or(0, |read_ns| read_ns + READ_EACH_NS))
    }

    /// What is to be read, if that is due now.
    pub(crate) fn gate_question(&mut self) -> Option<GateQuestion> {
        let due_ns = self.gate_due_ns()?;
        (due_ns <= clock::now_ns()).then(|| self.memory_files())
    }

    /// What was read.
    pub(crate) fn tell_gate(&mut self, answer: &GateAnswer) {
        for &(seat, generation, all) in &answer.workers {
            let Some(worker) = self.seats.worker_of(seat, generation) else { continue };
            worker.memory.read(all);
            let bytes = worker.memory.least();
            self.watched.gate.saw(bytes);
        }
        // Where nobody tells, the gate stays open.
        self.judge_gate(answer.available.map_or(u64::MAX, |reading| reading.bytes));
    }

    /// A reading: opens or closes the gate, and gives out what may begin.
    fn judge_gate(&mut self, available: u64) {
        let Some(limit) = self.watched.gate.limit.filter(|_| matches!(self.phase, Phase::Open)) else { return };
        let gate = &mut self.watched.gate;
        gate.read_ns = Some(clock::now_ns());
        let before = gate.level;
        let level = before.after(available, limit);
        gate.level = level;
        match (before, level) {
            (Level::Open, Level::Closed) => {
                self.tell_crossing(MemoryAction::Waits, available, limit);
                self.close_gate();
            }
            (Level::Closed, Level::Open) => self.tell_crossing(MemoryAction::GoesOn, available, limit),
            _ => {}
        }
        if self.dispatch() {
            self.keep_attention();
        }
    }

    /// What was given to workers in advance would begin there: it waits here instead.
    fn close_gate(&mut self) {
        self.lane.use_seat(None);
        self.seats.sorted();
        let busy = self.seats.of(Set::Busy).map(|(number, seat)| (number, seat.generation()));
        self.revocations.extend(busy);
        self.begin_revoking();
        // Who sleeps may have been told to wait for one of those.
        self.keep_attention();
    }

    fn tell_crossing(&self, action: MemoryAction, bytes: u64, limit: u64) {
        if let Some(news) = self.watched.news() {
            // Its thread ends only with the pool.
            let _ = news.send(MemoryNews { action, worker: 0, pid: 0, piece: None, bytes, limit, at_start: 0 });
        }
    }

    /// Whether a task may be given now, by this reading: some memory is set aside for it.
    pub(crate) fn admit(&mut self, reading: Reading) -> Result<(), Error> {
        let Some(limit) = self.watched.gate.limit else { return Ok(()) };
        self.judge_gate(reading.bytes);
        let gate = &self.watched.gate;
        if gate.level == Level::Closed {
            return Err(busy(reading.bytes, limit));
        }
        available::set_aside(reading, gate::expected_bytes(gate.largest), limit).map_err(|left| busy(left, limit))
    }
}

/// The error of one who asks for a task.
fn busy(available: u64, limit: u64) -> Error {
    let (has, below) = (mebibytes(available), mebibytes(limit));
    let message = if available < limit {
        format!("busy: {has} are available, and the pool begins nothing below {below}")
    } else {
        let opens = mebibytes(gate::opens_at(limit));
        format!(
            "busy: {has} are available, and the pool, which waits since there were less than {below}, goes on at {opens}"
        )
    };
    Error::new(ErrorKind::Busy, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_no_task_is_told_both_numbers() {
        const MIB: u64 = 1 << 20;
        for (available, expected) in [
            (1203, "busy: 1,203 MiB are available, and the pool begins nothing below 2,048 MiB"),
            (
                2048,
                "busy: 2,048 MiB are available, and the pool, which waits since there were less than 2,048 MiB, goes on at 2,253 MiB",
            ),
        ] {
            let error = busy(available * MIB, 2048 * MIB);
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Busy, expected));
        }
    }
}
