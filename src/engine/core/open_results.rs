//! How far open results are read: those that their pieces write while they run.
//!
//! | the piece                                            | what its worker has written                                     |
//! |------------------------------------------------------|-----------------------------------------------------------------|
//! | in turn, of a caller that takes parts                | goes straight on, [`PART_BYTES`] at a time, as soon as the caller has taken the part before; until then it is held back, too |
//! | in turn, of another caller                           | is kept here, whatever the bound                                |
//! | of a task that has ended, or of a dead worker        | is read at once                                                 |
//! | not in turn, of a caller that takes parts            | stays in the ring, until that is nearly full, or something else waits behind it |
//! | not in turn, beyond the bound on unread results      | is *held back*: it stays in the ring, and the worker sleeps when that is full |
//! | any other                                            | is kept here                                                    |
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
use crate::engine::link::{BLOCKED_BYTES, Left};
use crate::sys::clock;

/// What goes on at once: a look at a worker copies it in 10 us, and it stays in the cache until it is written. With a tenth the
/// lock would be taken for each window of a worker; with ten times the memory would be touched anew each time.
const PART_BYTES: usize = 128 * 1024;

/// What is read at once of results that are kept: a quarter of the ring.
const KEPT_BYTES: usize = 256 * 1024;

/// Pieces of other tasks have waited so long: then results are kept beyond their bound, and workers come free.
const OTHERS_WAIT_NS: u64 = 100_000_000;

/// Whose words are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Living,
    /// Those of a worker that is dead, or about to be killed: all of them.
    Dead,
}

impl Core {
    /// Reads the open result at the head of a worker's ring as far as it may be, and what follows it.
    pub(super) fn collect_open_from(&mut self, seat: usize, whose: Whose, mut found: Found) -> Found {
        loop {
            if self.hold.is_spent() && whose == Whose::Living {
                return Found::Part;
            }
            let most_bytes = match whose {
                Whose::Living => self.may_read(seat),
                Whose::Dead => usize::MAX,
            };
            if most_bytes == 0 {
                return found;
            }
            let read = self.collect_by(seat, |seat, worker, buffers, to| {
                collect::collect_open_from(seat, worker, most_bytes, buffers, to)
            });
            self.hand_on(seat);
            match read {
                None => return Found::All,
                Some(read) if !read.any => return found,
                Some(read) => found = found.max(if read.is_complete { Found::All } else { Found::Part }),
            }
            if read.is_some_and(|read| read.is_complete) {
                let (more, left) = self.collect_closed_from(seat);
                found = found.max(more);
                if left != Left::Open {
                    return found;
                }
            }
        }
    }

    /// What a link has of a piece in turn goes to its task, if the caller takes parts.
    fn hand_on(&mut self, seat: usize) {
        let Core { seats, work, wakes, .. } = self;
        let Some(link) = seats.worker_mut(seat).map(|worker| &mut worker.link) else { return };
        let Some((key, number)) = link.oldest_piece() else { return };
        if let Some(task) = work.tasks.get_mut(key).filter(|task| task.passes_on(number))
            && let Some(bytes) = link.open_bytes()
        {
            wakes.add(task.hand_on(number, bytes));
        }
    }

    /// The next part of a piece that its caller wants, if one is there; and from now on it passes on.
    pub(crate) fn take_part(&mut self, key: TaskKey, next: usize, spare: &mut Vec<u8>) -> Option<Vec<u8>> {
        let task = self.work.tasks.get_mut(key)?;
        let was_in_turn = task.passes_on(next);
        let part = task.take_part(next, spare);
        if part.is_some() || was_in_turn || !task.awaits(next) {
            return part;
        }
        // It comes in turn now. What came before lies in its worker's link.
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

    /// How much may be read now of the open result of a worker's oldest piece.
    fn may_read(&mut self, seat: usize) -> usize {
        let Some(worker) = self.seats.worker_mut(seat) else { return 0 };
        let Some((key, number)) = worker.link.oldest_piece() else { return usize::MAX };
        let told_bytes = worker.link.told_bytes();
        let most_bytes = if told_bytes == 0 { 0 } else { self.bound(seat, key, number, told_bytes) };
        let Some(worker) = self.seats.worker_mut(seat) else { return 0 };
        if most_bytes == 0 {
            worker.link.tell_all_read();
            if told_bytes >= BLOCKED_BYTES {
                worker.link.hold();
            }
        } else if most_bytes > 0 && worker.link.resume() {
            // Its time limit counts again.
            self.alarm.wake_now();
        }
        most_bytes
    }

    fn bound(&mut self, seat: usize, key: TaskKey, number: usize, told_bytes: usize) -> usize {
        let is_closing = !matches!(self.phase, Phase::Open);
        let Some(task) = self.work.tasks.get(key).filter(|task| task.is_wanted(number)) else { return usize::MAX };
        let (turn, takes_parts) = (task.turn(), task.reads_parts());
        if turn == Some(number) {
            let is_slow = takes_parts && task.has_part();
            let gives_way = is_closing || told_bytes >= BLOCKED_BYTES && is_slow && self.others_wait(seat, key);
            return match (takes_parts, is_slow) {
                (true, true) if !gives_way => 0,
                (true, false) => PART_BYTES,
                _ => KEPT_BYTES,
            };
        }
        let is_full = task.is_full_of_unread();
        let Some(worker) = self.seats.worker_mut(seat) else { return 0 };
        // What stands behind it waits for it: the piece in turn, or another's. Its worker has time for others.
        let is_awaited = worker.link.pieces_behind().any(|(other, behind)| other != key || Some(behind) == turn);
        if takes_parts && !is_awaited && !is_closing && told_bytes < BLOCKED_BYTES {
            return 0;
        }
        let is_held = is_full && !is_awaited && !is_closing && self.is_turn_at_work(key, number, turn);
        if is_held && !self.others_wait(seat, key) { 0 } else { KEPT_BYTES }
    }

    /// True if the piece in turn is at work, and not this one; or nobody waits for it.
    fn is_turn_at_work(&self, key: TaskKey, number: usize, turn: Option<usize>) -> bool {
        let Some(task) = self.work.tasks.get(key) else { return false };
        let mut at_work = self
            .busy_seats()
            .filter_map(|seat| self.seats.worker(seat))
            .flat_map(|worker| worker.link.begun_pieces())
            .filter_map(|(other, piece)| (other == key).then_some(piece));
        match turn {
            Some(turn) => !task.awaits(turn) || at_work.any(|piece| piece == turn),
            // The lowest one that runs is in turn.
            None => at_work.min().is_some_and(|lowest| lowest < number),
        }
    }

    /// True if pieces of other tasks have waited for long, in their queues or behind this one.
    fn others_wait(&mut self, seat: usize, key: TaskKey) -> bool {
        let Core { work, seats, alarm, .. } = self;
        let Some(worker) = seats.worker_mut(seat) else { return false };
        let any = work.ready.iter().any(|waiting| waiting != key) || worker.link.holds_piece_of_others(key);
        let Some(since_ns) = worker.link.others_wait_since_ns(any) else { return false };
        let (due_ns, now_ns) = (since_ns + OTHERS_WAIT_NS, clock::now_ns());
        if now_ns < due_ns {
            alarm.wake_by(due_ns);
        }
        now_ns >= due_ns
    }
}
