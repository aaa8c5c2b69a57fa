//! A task as the pool keeps it: its pieces, what waits, what has come.
//!
//! A piece is in one of these states, and moves only downwards, but that one which a worker has
//! not begun may come back to wait:
//!
//! | state          | where it is                                   |
//! |----------------|-----------------------------------------------|
//! | waiting        | in `waiting`, with its arguments              |
//! | given          | in one worker's `in_flight`                   |
//! | `Done`, `Failed` | its bytes or error in `pieces`              |
//! | `Taken`        | with the caller                               |
//!
//! Invariant: `done` counts the pieces that are `Done`, `Failed` or `Taken`; each piece gets there
//! once.

use crate::codec::bytes::{Arguments, Reply};
use crate::codec::call::Call;
use crate::engine::link::{LOOK_AHEAD_NS, Terms};
use crate::error::{Error, PieceLabel};
use crate::sys::event::Event;
use parking_lot::Condvar;
use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use crate::backend::{Settled, TaskKey, TaskSettings};

/// Where pieces were handed out, and what they call: most of a task share one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Site {
    pub(crate) call: Call,
    /// The call in the form that travels.
    pub(crate) word: u64,
    pub(crate) location: &'static Location<'static>,
}

/// What has become of a piece; as small as can be, since a task may have millions.
#[derive(Debug)]
enum State {
    Open,
    Done(Reply),
    Failed(Error),
    Taken,
}

const _: () = assert!(size_of::<State>() == size_of::<Reply>());

/// A piece that no worker holds.
#[derive(Debug)]
pub(crate) struct WaitingPiece {
    pub(crate) number: usize,
    pub(crate) arguments: Arguments,
}

/// What wakes a caller that sleeps: on its condvar, or in the callers' watch if it leads.
#[derive(Debug, Default)]
pub(crate) struct Unparker {
    pub(crate) condvar: Condvar,
    /// The caller sleeps in the watch. Changed under the pool's lock only.
    pub(crate) in_watch: AtomicBool,
}

impl Unparker {
    pub(crate) fn ring(&self, kick: &Event) {
        self.condvar.notify_one();
        if self.in_watch.load(Ordering::Relaxed) {
            kick.signal();
        }
    }
}

/// What a sleeping caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// This piece, and in the end all of them.
    InOrder(usize),
    /// This piece, as soon as can be.
    Piece(usize),
    /// Any piece that nobody has taken.
    Any,
}

/// What a piece is thought to take while nothing is known: two of them fill a worker's look-ahead.
const MAX_COST_NS: u32 = (LOOK_AHEAD_NS / 2) as u32;

/// What the quickest are thought to take: about what there and back costs.
const MIN_COST_NS: u32 = 80;

/// Pieces that take no longer are tiny.
const TINY_NS: u32 = 5_000;

/// A task with no more pieces than this leaves its memory to the next.
const RECYCLED_PIECES: usize = 64;

/// So many pieces of a bounded task run before the size of any result is known.
const HELD_UNKNOWN: usize = 16;

#[derive(Debug)]
pub(crate) struct TaskState {
    pub(crate) settings: TaskSettings,
    /// Each with the first piece that is of it; most tasks have one.
    sites: Vec<(usize, Site)>,
    pieces: Vec<State>,
    pub(crate) waiting: VecDeque<WaitingPiece>,
    done: usize,
    /// How long one of its pieces is thought to run: at first long, halved while they prove quicker.
    pub(crate) cost_ns: u32,
    /// Pieces that take no longer may go straight to a worker; none of a task that is limited, bounded or
    /// cancelled.
    direct_ns: u32,
    /// In the queue of tasks that have their turn.
    pub(crate) queued: bool,
    unread_bytes: usize,
    /// All results that ever came, and their bytes: what the next one may take.
    results: usize,
    result_bytes: usize,
    /// The lowest piece that the caller has not taken.
    first_unread: usize,
    /// Pieces in the order in which they finished, once somebody asks for that order.
    finished: Option<VecDeque<usize>>,
    /// How often pieces were begun in vain; most never.
    lost_starts: BTreeMap<usize, u32>,
    /// Somebody cancelled it: nothing of it begins any more.
    is_cancelled: bool,
    waiter: Option<(Want, Arc<Unparker>)>,
    kick: Arc<Event>,
}

impl TaskState {
    pub(crate) fn new(settings: TaskSettings, kick: Arc<Event>) -> Self {
        TaskState {
            settings,
            sites: Vec::new(),
            pieces: Vec::new(),
            waiting: VecDeque::new(),
            done: 0,
            cost_ns: MAX_COST_NS,
            direct_ns: TINY_NS,
            queued: false,
            unread_bytes: 0,
            results: 0,
            result_bytes: 0,
            first_unread: 0,
            finished: None,
            lost_starts: BTreeMap::new(),
            is_cancelled: false,
            waiter: None,
            kick,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// A new piece: it waits.
    pub(crate) fn add(&mut self, site: Site, arguments: Arguments) {
        let number = self.add_slot(site);
        self.waiting.push_back(WaitingPiece { number, arguments });
    }

    /// A new piece that failed before it could wait.
    pub(crate) fn add_failed(&mut self, site: Site, error: impl FnOnce(PieceLabel) -> Error) {
        let number = self.add_slot(site);
        let error = error(self.label(number));
        self.settle(number, Settled::Failed(error));
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }

    /// True if none of its pieces is anywhere any more.
    pub(crate) fn is_over(&self) -> bool {
        self.done == self.pieces.len() && !self.queued
    }

    /// Some of its pieces took so long each.
    pub(crate) fn learn_cost(&mut self, measured_ns: u64) {
        let measured_ns = u32::try_from(measured_ns).unwrap_or(u32::MAX);
        self.cost_ns = measured_ns.max(self.cost_ns / 2).clamp(MIN_COST_NS, MAX_COST_NS);
    }

    /// True if its pieces have proved so short that a look at the workers costs more than some of them.
    pub(crate) fn is_tiny(&self) -> bool {
        self.cost_ns <= TINY_NS
    }

    /// True if its pieces may go straight to a worker: `add_piece` asks that of each.
    pub(crate) fn goes_directly(&self) -> bool {
        self.cost_ns <= self.direct_ns
    }

    /// Its settings have changed.
    pub(crate) fn set_up(&mut self, change: impl FnOnce(&mut TaskSettings)) {
        change(&mut self.settings);
        let is_plain = self.settings.limit_ns.is_none() && self.settings.max_unread_bytes.is_none();
        self.direct_ns = if is_plain && !self.is_cancelled { TINY_NS } else { 0 };
    }

    /// Nothing of it begins any more.
    pub(crate) fn cancel(&mut self) {
        self.is_cancelled = true;
        self.direct_ns = 0;
    }

    /// On what terms its pieces are given.
    pub(crate) fn terms(&self) -> Terms {
        let TaskSettings { limit_ns, retries, .. } = self.settings;
        Terms { cost_ns: self.cost_ns, limit_ns, may_run_again: retries > 0 }
    }

    /// How often a piece was begun, if this start was not in vain.
    pub(crate) fn attempts(&self, number: usize) -> u32 {
        self.lost_starts.get(&number).copied().unwrap_or(0).saturating_add(1)
    }

    /// A start of a piece was in vain. Its number if the piece may start again; else the piece fails,
    /// with what `error` makes of the number.
    pub(crate) fn lose_start(&mut self, number: usize, error: impl FnOnce(PieceLabel, u32) -> Error) -> Option<u32> {
        let attempts = self.attempts(number);
        if !matches!(self.pieces[number], State::Open) {
            return None;
        }
        if attempts <= self.settings.retries {
            self.lost_starts.insert(number, attempts);
            return Some(attempts);
        }
        let error = error(self.label(number), attempts);
        self.settle(number, Settled::Failed(error));
        None
    }

    /// What its waiting pieces are thought to take.
    pub(crate) fn waiting_ns(&self) -> u64 {
        self.waiting.len() as u64 * u64::from(self.cost_ns)
    }

    /// Makes it new again, with the memory that it has; false if something of it is left to be
    /// dropped, or it has too much memory.
    fn reset(&mut self) -> bool {
        let is_empty = self.waiting.is_empty() && self.pieces.iter().all(|state| matches!(state, State::Taken));
        if !is_empty || self.pieces.len() > RECYCLED_PIECES || self.pieces.capacity() > 2 * RECYCLED_PIECES {
            return false;
        }
        self.pieces.clear();
        self.sites.clear();
        self.settings = TaskSettings::default();
        (self.cost_ns, self.direct_ns) = (MAX_COST_NS, TINY_NS);
        (self.queued, self.is_cancelled, self.finished, self.waiter) = (false, false, None, None);
        self.lost_starts.clear();
        (self.done, self.unread_bytes, self.results, self.result_bytes, self.first_unread) = (0, 0, 0, 0, 0);
        true
    }

    fn add_slot(&mut self, site: Site) -> usize {
        let number = self.pieces.len();
        if self.sites.last().is_none_or(|(_, last)| *last != site) {
            self.sites.push((number, site));
        }
        self.pieces.push(State::Open);
        number
    }

    /// A new piece that goes to a worker at once; gives its number.
    pub(crate) fn add_given(&mut self, site: Site) -> usize {
        self.add_slot(site)
    }

    /// There will be so many pieces more.
    pub(crate) fn reserve(&mut self, pieces: usize) {
        self.pieces.reserve(pieces);
    }

    pub(crate) fn site(&self, number: usize) -> &Site {
        let index = self.sites.partition_point(|(first, _)| *first <= number);
        &self.sites[index - 1].1
    }

    /// How errors call a piece.
    pub(crate) fn label(&self, number: usize) -> PieceLabel {
        let site = self.site(number);
        PieceLabel { number, name: self.settings.name.clone(), address: site.call.address(), location: site.location }
    }

    /// A piece has its outcome. Wakes the caller if it waits for that. What comes after the pool's end
    /// has failed the piece counts no more.
    pub(crate) fn settle(&mut self, number: usize, outcome: Settled) {
        let state = &mut self.pieces[number];
        if !matches!(state, State::Open) {
            return;
        }
        *state = match outcome {
            Settled::Done(bytes) => {
                self.unread_bytes += bytes.len();
                self.results += 1;
                self.result_bytes += bytes.len();
                State::Done(bytes)
            }
            Settled::Failed(error) => State::Failed(error),
        };
        self.done += 1;
        if let Some(finished) = &mut self.finished {
            finished.push_back(number);
        }
        if let Some((want, bell)) = &self.waiter {
            let wanted = match *want {
                Want::InOrder(wanted) | Want::Piece(wanted) => wanted == number,
                Want::Any => true,
            };
            if wanted {
                bell.ring(&self.kick);
            }
        }
    }

    /// Fails every piece that waits; those that workers hold are left alone.
    pub(crate) fn fail_waiting(&mut self, error: impl Fn(PieceLabel) -> Error) {
        for piece in std::mem::take(&mut self.waiting) {
            let error = error(self.label(piece.number));
            self.settle(piece.number, Settled::Failed(error));
        }
    }

    /// Fails every piece that has no outcome.
    pub(crate) fn fail_open(&mut self, error: impl Fn(PieceLabel) -> Error) {
        self.waiting.clear();
        for number in 0..self.pieces.len() {
            if matches!(self.pieces[number], State::Open) {
                let error = error(self.label(number));
                self.settle(number, Settled::Failed(error));
            }
        }
    }

    /// A piece that no worker began waits again, before those with higher numbers.
    pub(crate) fn take_back(&mut self, piece: WaitingPiece) {
        // The pool's end has failed it while a worker held it.
        if !matches!(self.pieces[piece.number], State::Open) {
            return;
        }
        let position = self.waiting.partition_point(|waiting| waiting.number < piece.number);
        self.waiting.insert(position, piece);
    }

    /// True if the piece that waits first must go on waiting: too much is unread. The one that the
    /// caller waits for never does.
    pub(crate) fn is_full(&self) -> bool {
        let Some(most) = self.settings.max_unread_bytes else { return false };
        let next = self.waiting.front().map(|piece| piece.number);
        if self.waiter.is_some() && next == Some(self.first_unread) {
            return false;
        }
        // What workers hold will be unread too: as much as a piece gave on average, and before the
        // first result as much as lets a few run.
        let held = self.pieces.len() - self.done - self.waiting.len();
        let each = self.result_bytes.checked_div(self.results).unwrap_or((most / HELD_UNKNOWN).max(1));
        self.unread_bytes + held * each >= most
    }

    /// Takes a piece's outcome, if it has one.
    pub(crate) fn take(&mut self, number: usize) -> Option<Settled> {
        let state = self.pieces.get_mut(number)?;
        let outcome = match std::mem::replace(state, State::Taken) {
            State::Done(bytes) => {
                self.unread_bytes -= bytes.len();
                Settled::Done(bytes)
            }
            State::Failed(error) => Settled::Failed(error),
            unchanged => {
                *state = unchanged;
                return None;
            }
        };
        while matches!(self.pieces.get(self.first_unread), Some(State::Taken)) {
            self.first_unread += 1;
        }
        Some(outcome)
    }

    /// Takes the piece that finished first of those not taken.
    pub(crate) fn take_finished(&mut self) -> Option<(usize, Settled)> {
        if self.finished.is_none() {
            let finished =
                self.pieces.iter().enumerate().filter(|(_, state)| matches!(state, State::Done(_) | State::Failed(_)));
            self.finished = Some(finished.map(|(number, _)| number).collect());
        }
        let number = self.finished.as_mut()?.pop_front()?;
        Some((number, self.take(number)?))
    }

    pub(crate) fn wait(&mut self, want: Want, bell: &Arc<Unparker>) {
        self.waiter = Some((want, Arc::clone(bell)));
    }

    pub(crate) fn wait_no_more(&mut self) {
        self.waiter = None;
    }
}

/// The tasks of a pool.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    is_open: bool,
    /// While it is not open, one that is new, for the next.
    task: TaskState,
}

impl Tasks {
    /// A new task, with the settings that are the default.
    pub(crate) fn open(&mut self, kick: &Arc<Event>) -> TaskKey {
        let index = self.free.pop().unwrap_or_else(|| {
            let task = TaskState::new(TaskSettings::default(), Arc::clone(kick));
            self.slots.push(Slot { generation: 0, is_open: false, task });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.is_open = true;
        TaskKey { index, generation: slot.generation }
    }

    /// Ends a task; gives what is left of it to be dropped elsewhere.
    pub(crate) fn close(&mut self, key: TaskKey) -> Option<TaskState> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation || !slot.is_open {
            return None;
        }
        slot.is_open = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        if slot.task.reset() {
            return None;
        }
        let kick = Arc::clone(&slot.task.kick);
        Some(std::mem::replace(&mut slot.task, TaskState::new(TaskSettings::default(), kick)))
    }

    pub(crate) fn get_mut(&mut self, key: TaskKey) -> Option<&mut TaskState> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.generation == key.generation && slot.is_open).then_some(&mut slot.task)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TaskState> {
        self.slots.iter_mut().filter(|slot| slot.is_open).map(|slot| &mut slot.task)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
