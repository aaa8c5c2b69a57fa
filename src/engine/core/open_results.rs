//! How far open results are read: those that their pieces write while they run.
//!
//! | the piece                                            | what its worker has written                                     |
//! |------------------------------------------------------|-----------------------------------------------------------------|
//! | in turn, of a caller that takes parts                | goes straight on, [`PART_BYTES`] at a time, as soon as the caller has taken the part before; until then it is held back, too |
//! | in turn, of another caller                           | is kept here, whatever the bound                                |
//! | of a task that has ended, or of a dead worker        | is read at once                                                 |
//! | not in turn, beyond the bound on unread results      | is *held back*: it stays in the ring, and the worker sleeps when that is full |
//! | any other                                            | is kept here                                                    |
//!
//! Tried and lost: to leave what is not in turn in its ring until that is nearly full, so that it never touches this process's
//! heap. Workers then stood still before their turn, and 1 GB of JSON took 0.72 s in place of 0.67.
//!
//! Nothing is held back while the piece in turn is at work on no worker: it waits, starts again later, or stands behind
//! another piece, perhaps one that is held back itself. Then the bound gives way. Nor while pieces of other tasks have waited
//! for [`OTHERS_WAIT_NS`], nor while the pool ends. So a piece that is held back goes on in the end: the piece in turn runs
//! and is read, or the caller reads no more, and then nobody waits for it but others, who get its worker.
//!
//! Invariant: `may_read` gives 0 only for a piece that is not in turn, or whose caller has not taken the part before.

use super::collect::{self, Found};
use super::roster::Set;
use super::{Core, Phase};
use crate::backend::TaskKey;
use crate::engine::link::{Left, Read};
use crate::sys::clock;

/// What goes on at once: a look at a worker copies it in 10 us, and it stays in the cache until it is written. With a tenth the
/// lock would be taken for each window of a worker; with ten times the memory would be touched anew each time.
const PART_BYTES: usize = 128 * 1024;

/// What is read at once of results that are kept: all that a ring holds. With a quarter of it, their workers are woken four times as often.
const KEPT_BYTES: usize = 1024 * 1024;

/// Pieces of other tasks have waited for this time: then results are kept beyond their bound, and workers come free.
const OTHERS_WAIT_NS: u64 = 100_000_000;

/// How much of an open result is read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Read(usize),
    /// Nobody wants it: it is read and forgotten.
    Forget,
}

/// Whose piece is in turn, as far as a look has found out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    task: TaskKey,
    piece: Option<usize>,
    /// It is at work; or has come, so that nobody waits for it.
    is_at_work: bool,
}

impl Core {
    /// Reads the open result at the head of a worker's ring as far as it may be, and what follows it.
    pub(super) fn collect_open_from(&mut self, seat: usize, mut found: Found) -> Found {
        if self.seats.worker_mut(seat).is_some_and(|worker| worker.link.note_ended()) {
            // Its worker has time for other pieces, whether what it wrote is read or stays where it is.
            found = Found::All;
        }
        loop {
            if self.hold.is_spent() {
                return Found::Part;
            }
            let may = self.may_read(seat);
            if may == May::Read(0) {
                return found;
            }
            match self.read_open(seat, may, u64::MAX) {
                None => return Found::All,
                Some(read) if !read.any => return found,
                Some(read) if !read.is_complete => found = found.max(Found::Part),
                Some(_) => {
                    found = found.max(Found::All);
                    let (more, left) = self.collect_closed_from(seat);
                    found = found.max(more);
                    if left != Left::Open {
                        return found;
                    }
                }
            }
        }
    }

    /// The same for a worker that is dead, or about to be killed: up to this position of its ring, since it may still write.
    /// True if anything was read.
    pub(super) fn collect_last_open_from(&mut self, seat: usize, end: u64) -> bool {
        let Some(worker) = self.seats.worker(seat) else { return false };
        let is_wanted = worker.link.oldest_piece().is_some_and(|(key, number)| self.is_wanted(key, number));
        let may = if is_wanted { May::Read(usize::MAX) } else { May::Forget };
        self.read_open(seat, may, end).is_some_and(|read| read.any)
    }

    fn read_open(&mut self, seat: usize, may: May, end: u64) -> Option<Read> {
        let (most_bytes, keeps) = match may {
            May::Read(most_bytes) => (most_bytes, true),
            May::Forget => (KEPT_BYTES, false),
        };
        let read = self.collect_by(seat, |seat, worker, buffers, to| {
            collect::collect_open_from(seat, worker, (most_bytes, end, keeps), buffers, to)
        });
        self.hand_on(seat);
        read
    }

    /// What a link has of a piece in turn goes to its task, if the caller takes parts.
    fn hand_on(&mut self, seat: usize) {
        let Core { seats, work, wakes, .. } = self;
        let Some(link) = seats.worker_mut(seat).map(|worker| &mut worker.link) else { return };
        if let Some((key, number, bytes)) = link.open_bytes()
            && let Some(task) = work.tasks.get_mut(key).filter(|task| task.passes_on(number))
        {
            wakes.add(task.hand_on(number, bytes));
        }
    }

    /// The next part of a piece that its caller wants, if one is there; and from now on it passes on.
    pub(crate) fn take_part(&mut self, key: TaskKey, next: usize, spare: &mut Vec<u8>) -> Option<Vec<u8>> {
        let task = self.work.tasks.get_mut(key)?;
        let part = task.take_part(next, spare);
        if part.is_some() || !task.keeps_any_open() || !task.awaits(next) {
            return part;
        }
        // It may have come in turn only now, or more may be kept of it than one part.
        self.seats.sorted();
        let seat = self.busy_seats().find(|&seat| {
            self.seats.worker(seat).is_some_and(|worker| worker.link.oldest_piece() == Some((key, next)))
        })?;
        self.hand_on(seat);
        self.work.tasks.get_mut(key)?.take_part(next, spare)
    }

    fn busy_seats(&self) -> impl Iterator<Item = usize> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let seat = self.seats.roster().next(Set::Busy, from)?;
            from = seat + 1;
            Some(seat)
        })
    }

    fn is_wanted(&self, key: TaskKey, number: usize) -> bool {
        self.work.tasks.get(key).is_some_and(|task| task.wants(number))
    }

    /// How much may be read now of the open result of a worker's oldest piece.
    fn may_read(&mut self, seat: usize) -> May {
        let Some(worker) = self.seats.worker(seat) else { return May::Read(0) };
        let Some((key, number)) = worker.link.oldest_piece() else { return May::Forget };
        let (is_told, is_blocked) = (worker.link.told_bytes() > 0, worker.link.is_blocked());
        let may = match is_told {
            true if !self.is_wanted(key, number) => May::Forget,
            true => May::Read(self.bound(seat, key, number)),
            false => May::Read(0),
        };
        let holds = may == May::Read(0) && is_blocked;
        self.holds_back |= may == May::Read(0) && is_told;
        let Some(worker) = self.seats.worker_mut(seat) else { return May::Read(0) };
        if holds {
            worker.link.hold();
        } else if let Some(until_ns) = worker.link.resume() {
            // Its time limit counts again.
            self.alarm.wake_by(until_ns);
        }
        may
    }

    fn bound(&mut self, seat: usize, key: TaskKey, number: usize) -> usize {
        let Some(task) = self.work.tasks.get(key) else { return 0 };
        let (takes_parts, has_part, is_full) = (task.reads_parts(), task.has_part(), task.is_full_of_unread());
        let mut turn = task.turn();
        if is_full && turn.is_none() {
            // Of a caller that takes results as they finish, the lowest piece that is at work is in turn.
            turn = self.turn_of(key).piece;
        }
        let (is_in_turn, may_stay) = (turn == Some(number), self.may_stay(seat, key, turn));
        if is_in_turn && !(takes_parts && has_part) {
            return if takes_parts { PART_BYTES } else { KEPT_BYTES };
        }
        // In turn: its caller is slow. Else: beyond the bound.
        let is_held = may_stay && (is_in_turn || is_full && self.turn_of(key).is_at_work);
        if is_held && !self.others_wait(seat, key) { 0 } else { KEPT_BYTES }
    }

    /// True if an open result may stay in its ring: nothing behind it is waited for, and the pool goes on.
    fn may_stay(&self, seat: usize, key: TaskKey, turn: Option<usize>) -> bool {
        let Some(worker) = self.seats.worker(seat) else { return false };
        let is_awaited = |(other, behind): (TaskKey, usize)| other != key || Some(behind) == turn;
        matches!(self.phase, Phase::Open) && !worker.link.begun_pieces().skip(1).any(is_awaited)
    }

    /// The piece of a task that is in turn, and whether it is at work. Found out once in a look.
    fn turn_of(&mut self, key: TaskKey) -> Turn {
        if let Some(turn) = self.turn.filter(|turn| turn.task == key) {
            return turn;
        }
        let turn = self.find_turn_of(key);
        self.turn = Some(turn);
        turn
    }

    fn find_turn_of(&self, key: TaskKey) -> Turn {
        let links = self.busy_seats().filter_map(|seat| Some(&self.seats.worker(seat)?.link));
        let begun = links.flat_map(|link| link.begun_pieces());
        let mut at_work = begun.filter_map(|(other, number)| (other == key).then_some(number));
        let Some(task) = self.work.tasks.get(key) else { return Turn { task: key, piece: None, is_at_work: true } };
        let (piece, is_at_work) = match task.turn() {
            Some(piece) => (Some(piece), !task.awaits(piece) || at_work.any(|number| number == piece)),
            None => {
                let lowest = at_work.min();
                (lowest, lowest.is_some())
            }
        };
        Turn { task: key, piece, is_at_work }
    }

    /// True if pieces of other tasks have waited for long: behind this one, or for any worker while none answered.
    fn others_wait(&mut self, seat: usize, key: TaskKey) -> bool {
        let Core { work, seats, alarm, counts, .. } = self;
        let Some(worker) = seats.worker_mut(seat) else { return false };
        let are_behind = worker.link.holds_piece_of_others(key);
        let any = are_behind || work.ready.iter().any(|waiting| waiting != key);
        let turn = if are_behind { 0 } else { counts.pieces_done };
        let Some(since_ns) = worker.link.others_wait_since_ns(any.then_some(turn)) else { return false };
        let (due_ns, now_ns) = (since_ns + OTHERS_WAIT_NS, clock::now_ns());
        if now_ns < due_ns {
            alarm.wake_by(due_ns);
        }
        now_ns >= due_ns
    }
}
