//! A task as the pool keeps it: its pieces, what waits, what has come.
//!
//! A piece moves down this table, and back only from *given* to *waiting* (a worker had not begun it, or
//! its start was lost and it may start again):
//!
//! | state            | where it is                                          |
//! |------------------|------------------------------------------------------|
//! | waiting          | in `waiting`, or in `Delayed`, with its arguments    |
//! | given            | in one worker's ledger (`link`)                      |
//! | `Done`, `Failed` | its bytes or its error in `pieces`                   |
//! | `Taken`          | with the caller                                      |
//!
//! Invariant: `done` counts the pieces that are `Done`, `Failed` or `Taken`, and each piece gets there
//! once: only [`settle`](TaskState::settle) and `settle_done` move a piece out of `Open`.

use crate::backend::{Settled, Site, TaskSettings};
use crate::codec::bytes::{Arguments, Reply};
use crate::engine::piece::{Terms, WaitingPiece};
use crate::engine::policy::pace;
use crate::engine::policy::restart::{self, Loss};
use crate::engine::unpark::{Unparker, Wake, Wakes};
use crate::error::{Error, PieceLabel};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The state of a piece; as small as possible, because a task may have millions of them.
#[derive(Debug)]
enum State {
    Open,
    Done(Reply),
    Failed(Error),
    Taken,
}

const _: () = assert!(size_of::<State>() == size_of::<Reply>());

/// What a sleeping caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// This piece, and in the end all of them.
    InOrder(usize),
    /// This piece, as soon as possible.
    Piece(usize),
    /// Any piece that nobody has taken.
    Any,
}

impl Want {
    #[inline]
    fn includes(self, number: usize) -> bool {
        match self {
            Want::InOrder(wanted) | Want::Piece(wanted) => wanted == number,
            Want::Any => true,
        }
    }
}

/// A task with no more pieces than this leaves its memory to the next task. It is the size of an
/// ordinary task (4 pieces for each of 16 workers); a larger one would keep memory for nothing.
const RECYCLED_PIECES: usize = 64;

/// The pieces of a bounded task that run before the size of any result is known: at 1/16 of the limit
/// each, they fill it.
const HELD_UNKNOWN: usize = 16;

/// A site with the call in the form that travels.
#[derive(Debug)]
struct KnownSite {
    /// The first piece that is of it.
    first: usize,
    site: Site,
    /// `None` for pieces that failed before they could wait.
    word: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct TaskState {
    settings: TaskSettings,
    /// In the order of their first pieces; most tasks have one.
    sites: Vec<KnownSite>,
    pieces: Vec<State>,
    waiting: VecDeque<WaitingPiece>,
    done: usize,
    /// The assumed cost of one of its pieces.
    cost_ns: u32,
    /// Pieces up to this cost may take the direct lane; 0 for a task that is limited, bounded or
    /// cancelled. It follows from the settings, so that each piece needs one comparison.
    direct_ns: u32,
    /// All results that ever came, and their bytes: they tell what the next one may take.
    results: usize,
    result_bytes: usize,
    /// The bytes of those that the caller has taken.
    taken_bytes: usize,
    /// The lowest piece that the caller has not taken.
    first_unread: usize,
    /// Pieces in the order in which they finished, from the moment at which somebody asks for that order.
    finished: Option<VecDeque<usize>>,
    /// How many starts of a piece were lost; most pieces lose none.
    lost_starts: BTreeMap<usize, u32>,
    /// How many workers were killed because they did not begin a piece; nearly always empty.
    not_begun: BTreeMap<usize, u32>,
    /// Nothing of it begins any more.
    is_cancelled: bool,
    waiter: Option<(Want, Arc<Unparker>)>,
}

impl Default for TaskState {
    fn default() -> Self {
        TaskState {
            settings: TaskSettings::default(),
            sites: Vec::new(),
            pieces: Vec::new(),
            waiting: VecDeque::new(),
            done: 0,
            cost_ns: pace::MAX_COST_NS,
            direct_ns: pace::TINY_NS,
            results: 0,
            result_bytes: 0,
            taken_bytes: 0,
            first_unread: 0,
            finished: None,
            lost_starts: BTreeMap::new(),
            not_begun: BTreeMap::new(),
            is_cancelled: false,
            waiter: None,
        }
    }
}

impl TaskState {
    pub(crate) fn settings(&self) -> &TaskSettings {
        &self.settings
    }

    pub(crate) fn configure(&mut self, settings: TaskSettings) {
        self.settings = settings;
        self.update_direct();
    }

    /// The one place that derives `direct_ns`.
    fn update_direct(&mut self) {
        let TaskSettings { limit_ns, max_unread_bytes, .. } = self.settings;
        let is_plain = limit_ns.is_none() && max_unread_bytes.is_none() && !self.is_cancelled;
        self.direct_ns = if is_plain { pace::TINY_NS } else { 0 };
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// Nothing of it begins any more.
    pub(crate) fn cancel(&mut self) {
        self.is_cancelled = true;
        self.update_direct();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }

    // Pieces that come.

    /// The travelling word of a site, if the last piece was of it too.
    #[inline]
    pub(crate) fn known_word(&self, site: &Site) -> Option<u64> {
        let known = self.sites.last()?;
        known.word.filter(|_| known.site.is_same(site))
    }

    /// Notes the site of the pieces that come next, and their call in the form that travels.
    pub(crate) fn add_site(&mut self, site: Site, word: u64) {
        self.sites.push(KnownSite { first: self.pieces.len(), site, word: Some(word) });
    }

    /// The number of pieces that will come.
    pub(crate) fn reserve(&mut self, pieces: usize) {
        self.pieces.reserve(pieces);
    }

    /// New pieces of the last site, which went to a worker at once.
    #[inline]
    pub(crate) fn add_given(&mut self, count: usize) {
        match count {
            1 => self.pieces.push(State::Open),
            _ => self.pieces.resize_with(self.pieces.len() + count, || State::Open),
        }
    }

    /// A new piece of the last site: it waits.
    #[inline]
    pub(crate) fn add_waiting(&mut self, arguments: Arguments) {
        let number = self.add_open();
        self.waiting.push_back(WaitingPiece { number, arguments });
    }

    /// A new piece that failed before it could wait.
    pub(crate) fn add_failed(&mut self, site: Site, error: impl FnOnce(PieceLabel) -> Error) -> Wake {
        if self.sites.last().is_none_or(|known| !known.site.is_same(&site)) {
            // Whether its call can travel is asked only for a piece that does.
            self.sites.push(KnownSite { first: self.pieces.len(), site, word: None });
        }
        let number = self.add_open();
        let error = error(self.label(number));
        self.settle(number, Settled::Failed(error))
    }

    fn add_open(&mut self) -> usize {
        self.pieces.push(State::Open);
        self.pieces.len() - 1
    }

    // The pace of its pieces.

    /// The assumed cost of one piece.
    #[inline]
    pub(crate) fn cost_ns(&self) -> u32 {
        self.cost_ns
    }

    /// Some of its pieces took `measured_ns` each.
    pub(crate) fn learn_cost(&mut self, measured_ns: u64) {
        self.cost_ns = pace::learn(self.cost_ns, measured_ns);
    }

    /// True if its pieces have proved so short that a look at the workers costs more than some of them.
    pub(crate) fn is_tiny(&self) -> bool {
        self.cost_ns <= pace::TINY_NS
    }

    /// True if its pieces may take the direct lane.
    #[inline]
    pub(crate) fn goes_directly(&self) -> bool {
        self.cost_ns <= self.direct_ns
    }

    /// The assumed cost of all its waiting pieces.
    pub(crate) fn waiting_ns(&self) -> u64 {
        self.waiting.len() as u64 * u64::from(self.cost_ns)
    }

    /// The terms on which its pieces are given.
    #[inline]
    pub(crate) fn terms(&self) -> Terms {
        let TaskSettings { limit_ns, retries, .. } = self.settings;
        Terms { cost_ns: self.cost_ns, limit_ns, may_run_again: retries > 0 }
    }

    // Pieces that wait.

    #[inline]
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn pop_waiting(&mut self) -> Option<WaitingPiece> {
        self.waiting.pop_front()
    }

    /// The worker had no room for it: it stays the first.
    pub(crate) fn unpop_waiting(&mut self, piece: WaitingPiece) {
        self.waiting.push_front(piece);
    }

    /// A piece that no worker began waits again, before those with higher numbers.
    pub(crate) fn take_back(&mut self, piece: WaitingPiece) {
        // The pool's end has failed it while a worker held it.
        if !matches!(self.pieces[piece.number], State::Open) {
            return;
        }
        // Revoked pieces come newest first, so each belongs to the front.
        if self.waiting.front().is_none_or(|first| piece.number < first.number) {
            return self.waiting.push_front(piece);
        }
        let position = self.waiting.partition_point(|waiting| waiting.number < piece.number);
        self.waiting.insert(position, piece);
    }

    /// True if the piece that waits first must go on waiting, because too much is unread. The piece that the
    /// caller waits for never must.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let Some(most) = self.settings.max_unread_bytes else { return false };
        let next = self.waiting.front().map(|piece| piece.number);
        if self.waiter.is_some() && next == Some(self.first_unread) {
            return false;
        }
        // What workers hold will be unread too: as much as a piece gave on average, and before the first
        // result an equal part of the limit.
        let held = self.pieces.len() - self.done - self.waiting.len();
        let each = self.result_bytes.checked_div(self.results).unwrap_or((most / HELD_UNKNOWN).max(1));
        self.unread_bytes() + held * each >= most
    }

    /// The bytes of the results that the caller has not taken.
    fn unread_bytes(&self) -> usize {
        self.result_bytes - self.taken_bytes
    }

    // Outcomes.

    /// The number of starts of a piece, with the present one.
    pub(crate) fn attempts(&self, number: usize) -> u32 {
        self.lost_starts.get(&number).copied().unwrap_or(0).saturating_add(1)
    }

    /// A worker was killed because it did not begin this piece. True if that is taken for a start that was lost.
    #[must_use]
    pub(crate) fn counts_as_start(&mut self, number: usize) -> bool {
        let times = self.not_begun.entry(number).or_default();
        *times += 1;
        restart::counts_as_start(*times)
    }

    /// A start of a piece was lost. `Ok` with the pause after which it may start again; else it fails with
    /// what `error` makes of the number of attempts.
    pub(crate) fn lose_start(
        &mut self,
        number: usize,
        error: impl FnOnce(PieceLabel, u32) -> Error,
    ) -> Result<u64, Wake> {
        let attempts = self.attempts(number);
        if !matches!(self.pieces[number], State::Open) {
            return Err(Wake::NOBODY);
        }
        match restart::after_loss(attempts, self.settings.retries) {
            Loss::Again { pause_ns } => {
                self.lost_starts.insert(number, attempts);
                Ok(pause_ns)
            }
            Loss::Fails => {
                let error = error(self.label(number), attempts);
                Err(self.settle(number, Settled::Failed(error)))
            }
        }
    }

    /// A piece has its outcome. What comes after the piece has failed with the pool counts no more.
    pub(crate) fn settle(&mut self, number: usize, outcome: Settled) -> Wake {
        match outcome {
            Settled::Done(bytes) => self.settle_done(number, bytes),
            Settled::Failed(error) => match self.pieces.get_mut(number) {
                Some(state @ State::Open) => {
                    *state = State::Failed(error);
                    self.count_settled(number)
                }
                _ => Wake::NOBODY,
            },
        }
    }

    /// The same for a result.
    #[inline(always)]
    pub(crate) fn settle_done(&mut self, number: usize, bytes: Reply) -> Wake {
        let Some(state @ State::Open) = self.pieces.get_mut(number) else { return Wake::NOBODY };
        self.results += 1;
        self.result_bytes += bytes.len();
        *state = State::Done(bytes);
        self.count_settled(number)
    }

    #[inline(always)]
    fn count_settled(&mut self, number: usize) -> Wake {
        self.done += 1;
        if let Some(finished) = &mut self.finished {
            finished.push_back(number);
        }
        match &self.waiter {
            Some((want, unparker)) if want.includes(number) => Wake::of(unparker),
            _ => Wake::NOBODY,
        }
    }

    /// Fails every piece that waits; those that workers hold are left alone.
    pub(crate) fn fail_waiting(&mut self, wakes: &mut Wakes, error: impl Fn(PieceLabel) -> Error) {
        for piece in std::mem::take(&mut self.waiting) {
            let error = error(self.label(piece.number));
            wakes.add(self.settle(piece.number, Settled::Failed(error)));
        }
    }

    /// Fails every piece that has no outcome.
    pub(crate) fn fail_open(&mut self, wakes: &mut Wakes, error: impl Fn(PieceLabel) -> Error) {
        self.waiting.clear();
        for number in 0..self.pieces.len() {
            if matches!(self.pieces[number], State::Open) {
                let error = error(self.label(number));
                wakes.add(self.settle(number, Settled::Failed(error)));
            }
        }
    }

    /// Takes a piece's outcome, if it has one.
    pub(crate) fn take(&mut self, number: usize) -> Option<Settled> {
        let state = self.pieces.get_mut(number)?;
        let outcome = match std::mem::replace(state, State::Taken) {
            State::Done(bytes) => {
                self.taken_bytes += bytes.len();
                Settled::Done(bytes)
            }
            State::Failed(error) => Settled::Failed(error),
            unchanged => {
                *state = unchanged;
                return None;
            }
        };
        self.move_first_unread();
        Some(outcome)
    }

    /// Takes the outcomes that are there from piece `next` on, up to the first one that is missing, `pieces` of
    /// them, or this many `bytes`. `None` if the first one is missing.
    pub(crate) fn take_many(&mut self, next: usize, pieces: usize, mut bytes: usize) -> Option<Vec<Settled>> {
        let states = self.pieces.get_mut(next..)?;
        if !matches!(states.first()?, State::Done(_) | State::Failed(_)) {
            return None;
        }
        let mut taken = Vec::with_capacity(states.len().min(pieces));
        let mut taken_bytes = 0;
        for state in states.iter_mut().take(pieces) {
            let settled = match std::mem::replace(state, State::Taken) {
                State::Done(reply) => {
                    taken_bytes += reply.len();
                    bytes = bytes.saturating_sub(reply.len());
                    Settled::Done(reply)
                }
                State::Failed(error) => Settled::Failed(error),
                unchanged => {
                    *state = unchanged;
                    break;
                }
            };
            taken.push(settled);
            if bytes == 0 {
                break;
            }
        }
        self.taken_bytes += taken_bytes;
        self.move_first_unread();
        Some(taken)
    }

    fn move_first_unread(&mut self) {
        let rest = self.pieces.get(self.first_unread..).unwrap_or_default();
        self.first_unread += rest.iter().take_while(|state| matches!(state, State::Taken)).count();
    }

    /// Takes the piece that finished first of those not taken.
    pub(crate) fn take_finished(&mut self) -> Option<(usize, Settled)> {
        let finished = self.finished.get_or_insert_with(|| {
            let states = self.pieces.iter().enumerate();
            let settled = states.filter(|(_, state)| matches!(state, State::Done(_) | State::Failed(_)));
            settled.map(|(number, _)| number).collect()
        });
        let number = finished.pop_front()?;
        Some((number, self.take(number)?))
    }

    // The caller.

    /// A caller waits for that.
    pub(crate) fn wait(&mut self, want: Want, unparker: &Arc<Unparker>) {
        self.waiter = Some((want, Arc::clone(unparker)));
    }

    /// No caller waits any more.
    pub(crate) fn wait_no_more(&mut self) {
        self.waiter = None;
    }

    fn known_site(&self, number: usize) -> &KnownSite {
        let index = self.sites.partition_point(|known| known.first <= number);
        &self.sites[index - 1]
    }

    /// What a piece calls, in the form that travels.
    #[inline]
    pub(crate) fn word(&self, number: usize) -> u64 {
        let known = match &self.sites[..] {
            [only] => only,
            _ => self.known_site(number),
        };
        known.word.expect("a piece waits only after the word of its site is known")
    }

    /// How errors name a piece.
    pub(crate) fn label(&self, number: usize) -> PieceLabel {
        let site = &self.known_site(number).site;
        PieceLabel { number, name: self.settings.name.clone(), address: site.call.address(), location: site.location }
    }

    /// Makes it new again, with the memory that it has; false if something of it is left to be dropped,
    /// or it has too much memory.
    pub(crate) fn reset(&mut self) -> bool {
        let is_empty = self.waiting.is_empty() && self.pieces.iter().all(|state| matches!(state, State::Taken));
        // Twice: the memory of the pieces grows by doubling, so up to half of it may be unused.
        if !is_empty || self.pieces.len() > RECYCLED_PIECES || self.pieces.capacity() > 2 * RECYCLED_PIECES {
            return false;
        }
        // Field by field: to make a new one and drop this one takes longer than all else about a task.
        let TaskState {
            settings,
            sites,
            pieces,
            waiting: _,
            done,
            cost_ns,
            direct_ns,
            results,
            result_bytes,
            taken_bytes,
            first_unread,
            finished,
            lost_starts,
            not_begun,
            is_cancelled,
            waiter,
        } = self;
        *settings = TaskSettings::default();
        sites.clear();
        pieces.clear();
        (*cost_ns, *direct_ns) = (pace::MAX_COST_NS, pace::TINY_NS);
        (*done, *results, *result_bytes, *taken_bytes, *first_unread) = (0, 0, 0, 0, 0);
        (*finished, *waiter, *is_cancelled) = (None, None, false);
        lost_starts.clear();
        not_begun.clear();
        true
    }
}

#[cfg(test)]
mod tests;
