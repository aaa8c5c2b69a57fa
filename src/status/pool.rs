//! One pool's status, as it was found.
//!
//! Invariant: a row that is torn says what was read of it last, if it was ever read whole.

use super::data::{Doing, PieceStatus, PoolPhase, PoolStatus, WorkerStatus};
use super::names::Names;
use crate::engine::wire::status::{CONTENT, Content, Owner, Phase, Status, Told};
use crate::protocol::seqlock::{self, Read, Row};
use crate::stats::Replaced;
use crate::sys::clock;
use crate::sys::observed::Process;
use std::time::Duration;

/// A row is written in nanoseconds. Where that takes as long as this, its writer has no core, or was stopped.
const PATIENCE_NS: u64 = 10_000_000;

/// Between two looks at a row that is being written.
const PAUSE: Duration = Duration::from_micros(100);

/// How long a look still waits for rows that are being written, all rows together: a pool has one writer, and so one such row.
#[derive(Debug)]
pub(super) struct Patience {
    left_ns: u64,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { left_ns: PATIENCE_NS }
    }

    /// Reads a row until it is whole, while there is patience.
    fn read(&mut self, row: Row<'_, CONTENT>) -> Read<CONTENT> {
        let mut found = seqlock::read(row);
        let mut before_ns = None;
        while matches!(found, Read::Torn(_)) && self.left_ns > 0 {
            let now_ns = clock::now_ns();
            self.left_ns = self.left_ns.saturating_sub(now_ns - before_ns.unwrap_or(now_ns));
            before_ns = Some(now_ns);
            std::thread::sleep(PAUSE);
            found = seqlock::read(row);
        }
        found
    }
}

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

    /// The rows in use.
    pub(super) fn used(&self) -> usize {
        self.status.told_pool().1
    }

    /// What its first rows say, at most this number of them.
    pub(super) fn look(
        &mut self,
        most: usize,
        process: &Process,
        names: &mut Names,
        patience: &mut Patience,
    ) -> PoolStatus {
        let (phase, used) = self.status.told_pool();
        let used = used.min(most);
        self.last.resize(used, None);
        let rows: Vec<(usize, Told, bool)> = (0..used).filter_map(|row| self.read(row, patience)).collect();
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
    fn read(&mut self, row: usize, patience: &mut Patience) -> Option<(usize, Told, bool)> {
        let (content, is_torn) = match patience.read(self.status.row(row)?) {
            Read::Whole(content) => (content, false),
            Read::Torn(words) => (self.last[row].unwrap_or(words), true),
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

    const OWNER: Owner = Owner { pid: 1, namespace: 0, anchor: 0, number: 1 };

    /// A file with 3000 such rows once took 30 s a look, and one with all that there was room for half a day.
    #[test]
    fn many_torn_rows_take_the_patience_of_one() {
        const ROWS: usize = 3000;
        let (own, file) = Status::create(ROWS, OWNER).unwrap();
        own.tell_pool(Phase::Open, ROWS);
        let busy = Told { state: State::Busy, ..Told::of(&[0; 7]).unwrap() };
        for row in 0..ROWS {
            seqlock::write(own.row(row).unwrap(), &busy.content());
            own.row(row).unwrap().sequence.store(1, Relaxed);
        }
        let (status, owner) = Status::open(&file).unwrap().unwrap();
        let process = Process::open(std::process::id()).unwrap();
        let (mut seen, mut names) = (Seen::new(1, status, owner), Names::default());
        let (mut patience, start) = (Patience::new(), std::time::Instant::now());
        let workers = seen.look(ROWS, &process, &mut names, &mut patience).workers;
        assert!(workers.len() == ROWS && workers.iter().all(|worker| worker.is_torn));
        assert!(start.elapsed() < Duration::from_secs(5) && patience.left_ns == 0, "{:?}", start.elapsed());
    }

    /// As a process that was stopped in the middle of a write.
    #[test]
    fn a_torn_row_is_shown_as_it_was_read_last_and_marked() {
        let (own, file) = Status::create(2, OWNER).unwrap();
        let (status, owner) = Status::open(&file).unwrap().unwrap();
        let (mut seen, mut names) = (Seen::new(1, status, owner), Names::default());
        let process = Process::open(std::process::id()).unwrap();
        let busy = Told { state: State::Busy, done: 5, ..Told::of(&[0; 7]).unwrap() };
        own.tell_pool(Phase::Open, 2);
        (0..2).for_each(|row| seqlock::write(own.row(row).unwrap(), &busy.content()));
        let mut look = || {
            let workers = seen.look(2, &process, &mut names, &mut Patience::new()).workers;
            workers.iter().map(|it| (it.doing, it.pieces_done, it.is_torn)).collect::<Vec<_>>()
        };
        assert_eq!(look(), [(Doing::Busy, 5, false), (Doing::Busy, 5, false)]);
        let row = own.row(1).unwrap();
        row.sequence.store(3, Relaxed);
        row.content[6].store(6, Relaxed);
        assert_eq!(look(), [(Doing::Busy, 5, false), (Doing::Busy, 5, true)]);
        // A reader that comes now has nothing to go back to.
        let (status, owner) = Status::open(&file).unwrap().unwrap();
        let first = Seen::new(1, status, owner);
        let first = { first }.look(2, &process, &mut Names::default(), &mut Patience::new());
        assert_eq!((first.workers[1].pieces_done, first.workers[1].is_torn), (6, true));
        seqlock::write(own.row(1).unwrap(), &Told { done: 7, ..busy }.content());
        assert_eq!(look()[1], (Doing::Busy, 7, false));
    }
}
