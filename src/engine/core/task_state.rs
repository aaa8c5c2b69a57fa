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
//! | `FailedFor`      | its reason in `reasons`: as many others failed       |
//! | `Taken`          | with the caller                                      |
//!
//! Once `ended` is set, all pieces that are still `Open` have failed for that reason, but for those in `last`: a task of any
//! length ends at once. A task that was stopped ends so when it is known which pieces workers have begun; these are `last`.
//!
//! Invariant: `done` counts the pieces that have an outcome, or had one that was taken; each gets it once. Only
//! `settle_done`, `settle_failed` and `fail_one` move a piece out of `Open`, and once `ended` is set only those in `last`,
//! which are `Open`.

mod bound;
mod failing;
#[cfg(feature = "log")]
mod logs;
mod open;
mod recycled;
mod sharing;
mod spent;
mod starts;
mod stopping;
mod taking;
mod waiting;

use super::blocks::{BlockQueue, Blocks};
use super::queue::Waiting;
use super::reason::Reason;
use super::trash::Trash;
use crate::backend::counts::Last;
use crate::backend::{Reader, Settled, Site, TaskSettings};
use crate::codec::bytes::{Arguments, Reply};
use crate::engine::piece::{Function, Terms, WaitingPiece};
use crate::engine::policy::pace;
use crate::engine::policy::sampling::OTHERS;
use crate::engine::unpark::{Sleeper, Wake};
use crate::error::{Error, PieceLabel};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// The state of a piece; as small as possible, because a task may have millions of them.
#[derive(Debug)]
enum State {
    Open,
    Done(Reply),
    Failed(Error),
    /// By its index in `reasons`.
    FailedFor(u32),
    Taken,
}

const _: () = assert!(size_of::<State>() == size_of::<Reply>());

impl State {
    /// It has an outcome of its own that nobody has taken.
    #[inline]
    fn is_settled(&self) -> bool {
        matches!(self, State::Done(_) | State::Failed(_))
    }
}

/// What a sleeping caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// This piece, and in the end all of them.
    InOrder(usize),
    /// All of them, of which this is the first: one that does not wait is woken once for all.
    All(usize),
    /// This piece, soon.
    Piece(usize),
    /// The next part of this piece's result, at once.
    Part(usize),
    /// Any piece that nobody has taken.
    Any,
    /// Room for another piece.
    Room,
}

/// What a caller is woken for, while pieces are quick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Whatever comes.
    Each,
    /// Where the workers need all cores a worker that runs low, as under `Last`, and from
    /// [`EACH_AFTER_NS`](crate::engine::policy::pace::EACH_AFTER_NS) on whatever comes, since one of the pieces may be slow after all. Elsewhere
    /// whatever comes.
    Soon,
    /// A worker that runs low, and the last piece.
    Last,
}

/// What a piece that waits takes beside the bytes of its arguments, about.
const PIECE_BYTES: usize = 64;

/// The order in which pieces finished, for a caller who takes them so.
#[derive(Debug)]
struct Finished {
    /// Those that finished since somebody asked, and are not in `scan`.
    queue: BlockQueue<usize>,
    /// Pieces that are looked at one by one: those that were there when somebody asked first, or all that ended at once.
    scan: Range<usize>,
}

/// What is here of results that are written while their pieces run (`open.rs`).
#[derive(Debug, Default)]
struct OpenResults {
    part: Vec<u8>,
    kept_bytes: usize,
    passed_bytes: usize,
}

/// A site with the call in the form that travels.
#[derive(Debug)]
struct KnownSite {
    /// The first piece that is of it.
    first: usize,
    site: Site,
    /// `None` for pieces that failed before they could wait.
    word: Option<u64>,
    /// The number of its function.
    function: u8,
}

/// What a look for the piece that finished first has found.
#[derive(Debug)]
pub(crate) enum NextFinished {
    Piece(usize, Settled),
    /// There may be one: the lock was held for long enough.
    LookAgain,
}

#[derive(Debug)]
pub(crate) struct TaskState {
    settings: TaskSettings,
    /// The site of the piece that came last.
    last_site: Option<KnownSite>,
    /// Those before it, in the order of their first pieces; most tasks have none.
    earlier_sites: VecDeque<KnownSite>,
    pieces: Blocks<State>,
    waiting: BlockQueue<WaitingPiece>,
    /// The bytes of the arguments in `waiting`.
    argument_bytes: usize,
    done: usize,
    /// Why many pieces failed at once: most tasks have none.
    reasons: Vec<Arc<Reason>>,
    /// What its pieces share with others; most tasks have none.
    sharing: Option<Box<sharing::Sharing>>,
    /// The index of the reason for which all that was open then has failed.
    ended: Option<u32>,
    /// The pieces that run on after that; nearly always empty.
    last: BTreeSet<usize>,
    /// Nobody takes its outcomes.
    is_detached: bool,
    /// It has ended, is detached, or shares something: results that come take another way.
    settles_late: bool,
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
    /// The lowest piece that the caller has not taken, or a lower one: it moves by at most `BLOCK` at a time.
    first_unread: usize,
    /// What a reader has elsewhere, if it is not this task's waiter that reads.
    reader: Option<Reader>,
    /// The piece of which its caller takes parts, if it does so.
    parts_of: Option<usize>,
    /// What is here of results that are written while their pieces run; most tasks have none.
    open: Option<Box<OpenResults>>,
    /// From the moment at which somebody asks for it.
    finished: Option<Finished>,
    /// How many starts of a piece were lost; most pieces lose none.
    lost_starts: BTreeMap<usize, u32>,
    /// How many of them were followed by another start.
    retried: usize,
    /// How many workers were killed because they did not begin a piece; nearly always empty.
    not_begun: BTreeMap<usize, u32>,
    /// How long pieces ran that are timed and that nobody has taken.
    times_ns: BTreeMap<usize, u64>,
    /// Nothing of it begins any more.
    is_cancelled: bool,
    /// The next caller that waits for any piece returns without one.
    is_interrupted: bool,
    waiter: Option<(Want, Sleeper)>,
    /// The pieces that wait for the program's logger; nearly always none.
    #[cfg(feature = "log")]
    held: logs::Held,
    /// The errors of a detached task that are to be told; nearly always empty.
    #[cfg(feature = "log")]
    unseen: logs::Unseen,
    /// Where its last counts are noted, if somebody watches it that is detached.
    last_counts: Option<Arc<Last>>,
    spent: spent::Spent,
    /// Its caller wants to know how long pieces ran.
    keeps_times: bool,
    /// Its pieces are timed for the pool's timeline.
    is_traced: bool,
}

impl Default for TaskState {
    fn default() -> Self {
        TaskState {
            settings: TaskSettings::default(),
            last_site: None,
            earlier_sites: VecDeque::new(),
            pieces: Blocks::default(),
            waiting: BlockQueue::default(),
            argument_bytes: 0,
            done: 0,
            reasons: Vec::new(),
            sharing: None,
            ended: None,
            settles_late: false,
            is_detached: false,
            last: BTreeSet::new(),
            cost_ns: pace::MAX_COST_NS,
            direct_ns: pace::TINY_NS,
            results: 0,
            result_bytes: 0,
            taken_bytes: 0,
            first_unread: 0,
            reader: None,
            parts_of: None,
            open: None,
            finished: None,
            lost_starts: BTreeMap::new(),
            retried: 0,
            not_begun: BTreeMap::new(),
            times_ns: BTreeMap::new(),
            is_cancelled: false,
            is_interrupted: false,
            waiter: None,
            #[cfg(feature = "log")]
            held: logs::Held::default(),
            #[cfg(feature = "log")]
            unseen: logs::Unseen::default(),
            last_counts: None,
            spent: Default::default(),
            keeps_times: false,
            is_traced: false,
        }
    }
}

impl TaskState {
    pub(crate) fn settings(&self) -> &TaskSettings {
        &self.settings
    }

    pub(crate) fn configure(&mut self, settings: TaskSettings) {
        self.keeps_times = settings.is_timed;
        let is_timed = settings.is_timed || self.is_traced;
        #[cfg(feature = "tracing")]
        let is_timed = is_timed || settings.traced.hears_of_pieces;
        self.settings = TaskSettings { is_timed, ..settings };
        self.update_direct();
    }

    /// Its pieces are timed, whatever its settings say.
    pub(crate) fn trace(&mut self) {
        (self.is_traced, self.settings.is_timed) = (true, true);
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

    /// The travelling word of a site and the number of its function, if the last piece was of it too.
    #[inline]
    pub(crate) fn known_word(&self, site: &Site) -> Option<(u64, u8)> {
        let known = self.last_site.as_ref()?;
        let word = known.word.filter(|_| known.site.is_same(site))?;
        Some((word, known.function))
    }

    /// Notes the site of the pieces that come next, their call in the form that travels, and the number of its function.
    pub(crate) fn add_site(&mut self, site: Site, word: u64, function: u8) {
        self.change_site(site, Some(word), function);
    }

    #[inline]
    fn change_site(&mut self, site: Site, word: Option<u64>, function: u8) {
        let new = KnownSite { first: self.pieces.len(), site, word, function };
        match &mut self.last_site {
            none @ None => *none = Some(new),
            Some(last) => self.earlier_sites.push_back(std::mem::replace(last, new)),
        }
    }

    /// New pieces of the last site, which went to a worker at once.
    #[inline]
    pub(crate) fn add_given(&mut self, count: usize) {
        match count {
            1 => self.pieces.push(State::Open),
            _ => self.pieces.push_many(count, || State::Open),
        }
    }

    /// A new piece of the last site: it waits.
    #[inline]
    pub(crate) fn add_waiting(&mut self, arguments: Arguments) {
        let number = self.pieces.len();
        self.pieces.push(State::Open);
        self.argument_bytes += arguments.len();
        self.waiting.push_back(WaitingPiece { number, arguments });
    }

    /// A new piece that failed before it could wait.
    pub(crate) fn add_failed(&mut self, site: Site, error: impl FnOnce(PieceLabel) -> Error) -> Wake {
        if self.last_site.as_ref().is_none_or(|known| !known.site.is_same(&site)) {
            // Whether its call can travel is asked only for a piece that does.
            self.change_site(site, None, OTHERS);
        }
        let number = self.pieces.len();
        let error = error(self.label(number));
        self.pieces.push(State::Failed(error));
        self.count_settled(number)
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
    pub(crate) fn terms(&self, function: Function) -> Terms {
        let TaskSettings { limit_ns, is_timed, .. } = self.settings;
        Terms { cost_ns: self.cost_ns, function, limit_ns, may_run_again: self.may_run_again(), is_timed }
    }

    // Pieces that wait.

    #[inline]
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many pieces wait, and what they take, about.
    #[inline]
    pub(crate) fn queued(&self) -> Waiting {
        let pieces = self.waiting.len();
        Waiting { pieces, bytes: self.argument_bytes + pieces * PIECE_BYTES }
    }

    #[inline]
    pub(crate) fn pop_waiting(&mut self) -> Option<WaitingPiece> {
        let piece = self.waiting.pop_front()?;
        self.argument_bytes -= piece.arguments.len();
        Some(piece)
    }

    /// The worker had no room for it: it stays the first.
    pub(crate) fn unpop_waiting(&mut self, piece: WaitingPiece) {
        self.argument_bytes += piece.arguments.len();
        self.waiting.push_front(piece);
    }

    /// A piece that no worker began waits again, before those with higher numbers. Returned if it has failed
    /// meanwhile, or nothing begins any more: then it fails with its task.
    #[must_use]
    pub(crate) fn take_back(&mut self, piece: WaitingPiece) -> Option<WaitingPiece> {
        if self.is_cancelled || !self.is_open(piece.number) {
            return Some(piece);
        }
        self.argument_bytes += piece.arguments.len();
        // Revoked pieces come newest first, so each belongs to the front.
        if self.waiting.front().is_none_or(|first| piece.number < first.number) {
            self.waiting.push_front(piece);
        } else {
            self.waiting.insert_sorted(piece, |waiting| waiting.number);
        }
        None
    }

    /// True if a piece has no outcome.
    pub(super) fn is_open(&self, number: usize) -> bool {
        let is_of_end = self.ended.is_some() && !self.last.contains(&number);
        !is_of_end && matches!(self.pieces.get(number), Some(State::Open))
    }

    // Outcomes.

    /// The pieces that have failed.
    pub(crate) fn failures(&self) -> usize {
        self.done - self.results
    }

    /// A piece has failed. What comes after it has failed with its task or pool counts no more.
    pub(crate) fn settle_failed(&mut self, number: usize, error: Error) -> Wake {
        self.settle_as(number, State::Failed(error))
    }

    fn settle_as(&mut self, number: usize, outcome: State) -> Wake {
        match self.pieces.get_mut(number) {
            Some(state @ State::Open) if self.ended.is_none() || self.last.remove(&number) => {
                *state = outcome;
                self.release(number);
                let wake = self.count_settled(number);
                if self.is_detached {
                    let outcome = self.take(number);
                    self.note_unseen(outcome);
                }
                wake
            }
            _ => Wake::NOBODY,
        }
    }

    /// A piece has its result. One that counts no more goes to the trash.
    #[inline(always)]
    pub(crate) fn settle_done(&mut self, number: usize, bytes: Reply, trash: &mut Trash) -> Wake {
        let (Some(state @ State::Open), false) = (self.pieces.get_mut(number), self.settles_late) else {
            return self.settle_late(number, bytes, trash);
        };
        self.results += 1;
        self.result_bytes += bytes.len();
        // An open piece has nothing to drop, which the compiler does not see.
        std::mem::forget(std::mem::replace(state, State::Done(bytes)));
        self.count_settled(number)
    }

    #[inline(always)]
    fn count_settled(&mut self, number: usize) -> Wake {
        self.done += 1;
        if let Some(finished) = &mut self.finished
            && !finished.scan.contains(&number)
        {
            finished.queue.push_back(number);
        }
        match &self.waiter {
            Some((want, _)) if want.includes(number) || self.is_last_of(*want, number) => self.wake_waiter(),
            _ => Wake::NOBODY,
        }
    }

    #[inline]
    fn known_site(&self, number: usize) -> &KnownSite {
        match &self.last_site {
            Some(last) if last.first <= number => last,
            _ => self.earlier_site(number),
        }
    }

    fn earlier_site(&self, number: usize) -> &KnownSite {
        let index = self.earlier_sites.partition_point(|known| known.first <= number);
        // Of a piece that was taken long ago nobody asks.
        let earlier = self.earlier_sites.get(index.saturating_sub(1));
        earlier.or(self.last_site.as_ref()).expect("a piece has a site")
    }

    /// What a piece calls, in the form that travels.
    #[inline]
    pub(crate) fn word(&self, number: usize) -> (u64, u8) {
        let known = self.known_site(number);
        (known.word.expect("a piece waits only after the word of its site is known"), known.function)
    }

    /// How errors name a piece.
    pub(crate) fn label(&self, number: usize) -> PieceLabel {
        let site = &self.known_site(number).site;
        PieceLabel { number, name: self.settings.name.clone(), address: site.call.address(), location: site.location }
    }
}

#[cfg(test)]
mod tests;
