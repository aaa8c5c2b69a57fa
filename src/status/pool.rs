//! One pool's status, as it was found.
//!
//! Invariant: a row that is torn says what was read of it last, if it was ever read whole.

use super::data::{Doing, PieceStatus, PoolPhase, PoolStatus, WorkerStatus};
use super::names::Names;
use crate::engine::wire::status::{Content, Owner, Phase, Status, Told};
use crate::protocol::seqlock::{self, Read};
use crate::stats::Replaced;
use crate::sys::clock;
use crate::sys::observed::Process;
use std::time::Duration;

/// A row is written in nanoseconds. Where that takes as long as this, its writer has no core, or was stopped.
const PATIENCE_NS: u64 = 10_000_000;

/// Between two looks at a row that is being written.
const PAUSE: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(super) struct Seen {
    inode: u64,
    status: Status,
    owner: Owner,
    /// What was read whole last, by row.
    last: Vec<Option<Content>>,
}

impl Seen {
    pub(super) fn new(inode: u64, status: Status, owner: Owner) -> Seen {
        Seen { inode, status, owner, last: Vec::new() }
    }

    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    pub(super) fn number(&self) -> u32 {
        self.owner.number
    }

    pub(super) fn phase(&self) -> Phase {
        self.status.told_pool().0
    }

    pub(super) fn look(&mut self, process: &Process, names: &mut Names) -> PoolStatus {
        let (phase, used) = self.status.told_pool();
        self.last.resize(used, None);
        let rows: Vec<(usize, Told, bool)> = (0..used).filter_map(|row| self.read(row)).collect();
        names.learn(process, self.owner.anchor, rows.iter().filter_map(|(_, told, _)| offset_of(told)));
        let now_ns = clock::now_ns();
        let workers = rows.into_iter().filter_map(|(worker, told, is_torn)| {
            let doing = Doing::of(told.state)?;
            let piece = offset_of(&told).map(|offset| PieceStatus {
                number: told.piece,
                function: names.of(self.owner.anchor, offset),
                offset,
                has_begun: told.has_begun,
            });
            Some(WorkerStatus {
                worker,
                doing,
                pid: (told.pid > 0).then_some(told.pid),
                piece,
                pieces_held: told.held,
                pieces_done: told.done,
                age: Duration::from_nanos(now_ns.saturating_sub(told.at_ns)),
                memory: if told.pid > 0 { process.memory_of(told.pid) } else { None },
                restarts: told.before,
                last_replaced: told.why,
                cause: told.cause.filter(|_| told.why == Some(Replaced::Died)).map(|cause| cause.to_string()),
                is_torn,
            })
        });
        PoolStatus { pool: self.owner.number, phase: phase_of(phase), workers: workers.collect() }
    }

    /// A row, and whether it is torn. `None` for one that says nothing.
    fn read(&mut self, row: usize) -> Option<(usize, Told, bool)> {
        let found = self.status.row(row)?;
        let mut until_ns = None;
        let (content, is_torn) = loop {
            let words = match seqlock::read(found) {
                Read::Whole(content) => break (content, false),
                Read::Torn(words) => words,
            };
            let now_ns = clock::now_ns();
            if now_ns >= *until_ns.get_or_insert(now_ns + PATIENCE_NS) {
                break (self.last[row].unwrap_or(words), true);
            }
            std::thread::sleep(PAUSE);
        };
        if !is_torn {
            self.last[row] = Some(content);
        }
        Some((row, Told::of(&content)?, is_torn))
    }
}

/// Where the function of a row's piece begins: the low half of the call, as it travels.
fn offset_of(told: &Told) -> Option<i32> {
    (told.call != 0).then_some(told.call as u32 as i32)
}

fn phase_of(phase: Phase) -> PoolPhase {
    match phase {
        Phase::Open => PoolPhase::Open,
        Phase::Failed => PoolPhase::Failed,
        Phase::Closing => PoolPhase::Closing,
        Phase::Closed => PoolPhase::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wire::status::State;
    use crate::protocol::sync::Relaxed;

    /// As a process that was stopped in the middle of a write.
    #[test]
    fn a_torn_row_is_shown_as_it_was_read_last_and_marked() {
        let owner = Owner { pid: std::process::id(), anchor: 0, number: 1 };
        let (own, file) = Status::create(2, owner).unwrap();
        let (status, owner) = Status::open(&file).unwrap().unwrap();
        let (mut seen, mut names) = (Seen::new(1, status, owner), Names::default());
        let process = Process::open(std::process::id()).unwrap();
        let busy = Told { state: State::Busy, done: 5, ..Told::of(&[0; 7]).unwrap() };
        own.tell_pool(Phase::Open, 2);
        (0..2).for_each(|row| seqlock::write(own.row(row).unwrap(), &busy.content()));
        let mut look = || {
            let workers = seen.look(&process, &mut names).workers;
            workers.iter().map(|it| (it.doing, it.pieces_done, it.is_torn)).collect::<Vec<_>>()
        };
        assert_eq!(look(), [(Doing::Busy, 5, false), (Doing::Busy, 5, false)]);
        let row = own.row(1).unwrap();
        row.sequence.store(3, Relaxed);
        row.content[6].store(6, Relaxed);
        assert_eq!(look(), [(Doing::Busy, 5, false), (Doing::Busy, 5, true)]);
        // A reader that comes now has nothing to go back to.
        let (status, owner) = Status::open(&file).unwrap().unwrap();
        let first = Seen::new(1, status, owner).look(&process, &mut Names::default());
        assert_eq!((first.workers[1].pieces_done, first.workers[1].is_torn), (6, true));
        seqlock::write(own.row(1).unwrap(), &Told { done: 7, ..busy }.content());
        assert_eq!(look()[1], (Doing::Busy, 7, false));
    }
}
