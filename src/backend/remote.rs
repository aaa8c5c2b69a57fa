//! Pieces that run on other hosts: a task's end of the seam, with an [`Engine`] at the other end.
//!
//! | word          | written by                                             | read by    |
//! |---------------|--------------------------------------------------------|------------|
//! | `pieces`      | the caller adds and takes, the engine draws and settles | both       |
//! | `want`        | the caller, before it waits                            | the engine's thread that settles |
//! | `is_over`     | who ends the task: a caller, or the engine's thread     | the engine |
//! | `ended`       | the first who stops or ends it                         | the caller that adds |
//! | `itself`      | the caller that detaches; the last outcome clears it   | nobody: it keeps this alive |
//!
//! The engine knows a task by a [`Job`], which keeps nothing alive. So a task whose owner has left is gone, unless it was detached.
//!
//! Invariants: no call of an engine is made and no waker is woken under the lock; only what an engine does with a piece that it draws is.
//! Each change that lets pieces be drawn is followed by an [`Engine::wake`]. Once `is_over`, no piece is drawn and no outcome comes from
//! the engine.

mod engine;
mod pieces;

pub use self::engine::{Engine, Figures, Job, Outcome, Piece, Settings};

use self::engine::OfTask;
use self::pieces::{Ended, Pieces, Why};
use crate::backend::counts::Last;
use crate::backend::waking::{KeptWaker, Until};
use crate::backend::{
    Backend, Counts, Feeding, Finished, Outcomes, PAST_DEADLINE, ReadOrder, Reader, Settled, Site, Stop, TaskKey,
    TaskSettings, Wanted,
};
use crate::codec::bytes::{Arguments, Handed, Reply};
use crate::codec::call::Call;
use crate::codec::function::{self, Function};
use crate::codec::tables::table::Tables;
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::sys::clock;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::borrow::Cow;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The number of the only task.
const ONLY: TaskKey = TaskKey { index: 0, generation: 0 };

/// At most 256 outcomes, or 64 KiB, are taken under one lock.
const BATCH_PIECES: usize = 256;
const BATCH_BYTES: usize = 64 * 1024;

/// The length of a result before there was one.
const UNKNOWN_BYTES: usize = 64 * 1024;

/// A task whose pieces run on other hosts.
#[derive(Debug)]
pub(crate) struct Remote {
    engine: Arc<dyn Engine>,
    state: Mutex<State>,
    callers: Condvar,
    /// Its own handle, for a task that goes on without its owner.
    this: Weak<Remote>,
}

#[derive(Debug, Default)]
struct State {
    pieces: Pieces,
    settings: TaskSettings,
    /// What the last site calls, as the table has it.
    known: Option<(Call, Result<&'static Function, Arc<Why>>)>,
    /// Why pieces that come never begin.
    ended: Option<Arc<Why>>,
    is_over: bool,
    /// The owner is there.
    is_owned: bool,
    want: Option<Wanted>,
    waker: Option<KeptWaker>,
    is_interrupted: bool,
    reader: Reader,
    last: Option<Arc<Last>>,
    itself: Option<Arc<Remote>>,
    /// Starts of pieces that were started before, where outcomes told it.
    retried: usize,
}

/// A new task of this engine.
pub(crate) fn open(engine: Arc<dyn Engine>) -> (Arc<dyn Backend>, TaskKey) {
    let state = Mutex::new(State { is_owned: true, ..State::default() });
    let remote = Arc::new_cyclic(|this| Remote { engine, state, callers: Condvar::new(), this: this.clone() });
    let weak: Weak<Remote> = Arc::downgrade(&remote);
    remote.engine.begin(Job(weak));
    (remote, ONLY)
}

impl State {
    /// The function of a site, or why its pieces cannot run.
    fn function_of(&mut self, site: Site) -> Result<&'static Function, Arc<Why>> {
        if let Some((call, known)) = &self.known
            && *call == site.call
        {
            return known.clone();
        }
        let found = match function::functions() {
            Ok(functions) => functions.of_call(site.call).ok_or_else(|| unknown(site)),
            Err(reason) => Err(Why { kind: ErrorKind::Config, message: format!("never began: {reason}") }),
        };
        let found = found.map_err(Arc::new);
        self.known = Some((site.call, found.clone()));
        found
    }

    /// Adds a piece. True if there is one more to be drawn.
    fn add(&mut self, site: Site, arguments: Arguments) -> bool {
        let function = match &self.ended {
            Some(why) => Err(Arc::clone(why)),
            None => self.function_of(site),
        };
        match function {
            Ok(function) => self.pieces.add(site, function, arguments),
            Err(ref why) => self.pieces.add_ended(site, Arc::clone(why)),
        }
        function.is_ok()
    }

    /// How many pieces may be drawn now.
    fn may_draw(&self) -> usize {
        if self.is_over {
            return 0;
        }
        let Some(most) = self.settings.max_unread_bytes else { return self.pieces.waiting() };
        let unread = self.pieces.unread_bytes() + self.reader.unread_bytes;
        // What is on its way will be as long as the results before.
        let each = self.pieces.average_bytes().unwrap_or(UNKNOWN_BYTES).max(1);
        let room = most.saturating_sub(unread) / each;
        let is_awaited = self.want.is_some() && !self.is_satisfied() || self.reader.is_awaited;
        // The one that somebody waits for is the next, or is on its way.
        let least = usize::from(self.pieces.drawn() == 0 && (is_awaited || most > unread));
        room.saturating_sub(self.pieces.drawn()).max(least)
    }

    /// True if what is wanted is there.
    fn is_satisfied(&self) -> bool {
        match self.want {
            Some(Wanted::Piece(number)) => self.pieces.is_ready(number),
            Some(Wanted::First { .. }) => self.pieces.has_finished(),
            None => false,
        }
    }

    /// The counts for those who ask later, once nothing is left to run.
    fn note_last(&mut self) {
        if self.pieces.done() == self.pieces.len()
            && let Some(last) = self.last.take()
        {
            last.note(Counts { retried: self.retried, ..self.pieces.counts() });
        }
    }
}

/// Why the pieces of this site cannot run on other hosts.
fn unknown(site: Site) -> Why {
    let label = PieceLabel { number: 0, name: None, address: site.call.address(), location: site.location };
    let name = label.function_name().unwrap_or_else(|| "its function".to_string());
    let short = name.rsplit("::").next().filter(|part| !part.starts_with('{')).unwrap_or("|…| …");
    let message = format!("never began: `{name}` is not known to other hosts: write `remote!({short})`");
    Why { kind: ErrorKind::Unsupported, message }
}

// The engine's side.
impl OfTask for Remote {
    fn draw(&self, take: &mut dyn FnMut(Piece<'_>) -> bool) {
        let mut state = self.state.lock();
        for _ in 0..state.may_draw() {
            let takes = state.pieces.draw_next(|waiting| {
                let (number, function) = (waiting.number, waiting.function);
                take(Piece { number, function, arguments: waiting.arguments.as_slice() })
            });
            if !takes {
                return;
            }
        }
    }

    fn waiting(&self) -> usize {
        self.state.lock().pieces.waiting()
    }

    fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    fn settings(&self) -> Settings {
        let state = self.state.lock();
        let TaskSettings { name, format, limit_ns, retries, retry_panics, retry_failures, .. } = &state.settings;
        Settings {
            name: name.clone(),
            format: *format,
            timeout: limit_ns.map(|limit_ns| Duration::from_nanos(limit_ns.get())),
            retries: *retries,
            retry_panics: *retry_panics,
            retry_failures: *retry_failures,
        }
    }

    fn time_left(&self) -> Option<Duration> {
        let deadline_ns = self.state.lock().settings.deadline_ns?;
        Some(Duration::from_nanos(deadline_ns.saturating_sub(clock::now_ns())))
    }

    fn expire(&self) {
        if self.time_left().is_some_and(|left| left.is_zero()) {
            let why = Why { kind: ErrorKind::TimedOut, message: PAST_DEADLINE.to_string() };
            self.end_all(why, true);
        }
    }

    fn give_back(&self, pieces: &mut dyn Iterator<Item = usize>) {
        let mut state = self.state.lock();
        if let Some(why) = state.ended.clone() {
            pieces.for_each(|number| state.pieces.end_drawn(number, &why));
            self.settled(state);
        }
    }

    fn is_awaited(&self) -> bool {
        let state = self.state.lock();
        state.want.is_some() || state.reader.is_awaited
    }

    fn fail(&self, error: &Error) {
        self.end_all(Why { kind: error.kind(), message: format!("has no outcome: {error}") }, false);
    }

    fn settle(&self, outcomes: &mut dyn Iterator<Item = (usize, Outcome<'_>)>) -> usize {
        let mut counted = 0;
        let mut state = self.state.lock();
        for (number, outcome) in outcomes {
            if !state.pieces.is_drawn(number) {
                continue;
            }
            counted += 1;
            let Outcome { result, host, attempts, took } = outcome;
            let settled = match result {
                Ok(Cow::Borrowed(bytes)) => Settled::Done(Reply::copy_of(bytes)),
                Ok(Cow::Owned(bytes)) => Settled::Done(Reply::Heap(bytes)),
                Err(error) => Settled::Failed(match host {
                    Some(host) => error.with_host(host),
                    None => error,
                }),
            };
            let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            state.retried += attempts.saturating_sub(1) as usize;
            state.pieces.settle(number, Ended { settled, attempts, took_ns });
        }
        let is_bounded = state.settings.max_unread_bytes.is_some();
        self.settled(state);
        if is_bounded {
            // Less is on its way now, and results may have turned out shorter.
            self.was_read(self.state.lock());
        }
        counted
    }
}

impl Remote {
    /// Some pieces have outcomes now: those who wait hear of it.
    fn settled(&self, mut state: MutexGuard<'_, State>) {
        if !state.is_owned {
            state.pieces.take_all();
        }
        state.note_last();
        let is_satisfied = state.is_satisfied();
        let waker = if is_satisfied { state.waker.take() } else { None };
        let is_done = state.pieces.done() == state.pieces.len();
        let itself = if is_done { state.itself.take() } else { None };
        drop(state);
        if is_satisfied {
            self.callers.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        if itself.is_some() {
            // A detached task has come to its end.
            self.end(false);
        }
    }
}

// The task's side.
impl Remote {
    fn add_all(&self, site: Site, all: impl Iterator<Item = Arguments>) {
        let mut state = self.state.lock();
        let had_some = state.pieces.waiting() > 0;
        let (mut has_more, mut has_ended) = (false, false);
        for arguments in all {
            let waits = state.add(site, arguments);
            has_more |= waits;
            has_ended |= !waits;
        }
        // Another thread may wait for what ended at once.
        if has_ended {
            self.settled(state);
        } else {
            drop(state);
        }
        // While some wait, the engine has been told, and has no room for them.
        if has_more && !had_some {
            self.engine.wake();
        }
    }

    /// What the engine has is wanted no more. Each that ends the task tells the engine, which may take a moment for what it leaves: the first of
    /// them may be the engine itself, and a later one may want a kill.
    fn end(&self, kill: bool) {
        self.state.lock().is_over = true;
        self.engine.end(kill);
    }

    /// All that has no outcome fails, and so does what comes.
    fn end_all(&self, why: Why, kill: bool) {
        let why = Arc::new(why);
        let mut state = self.state.lock();
        state.ended.get_or_insert_with(|| Arc::clone(&why));
        let unneeded = state.pieces.end_all(&why);
        self.settled(state);
        drop(unneeded);
        self.end(kill);
    }

    /// Waits until `take` gives something.
    fn wait<T>(&self, want: Wanted, until: Until<'_>, mut take: impl FnMut(&mut Pieces) -> Option<T>) -> Option<T> {
        // A clone is user code.
        let mut waker = until.waker().map(KeptWaker::of);
        let mut state = self.state.lock();
        loop {
            let is_past = state.settings.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= clock::now_ns());
            let taken = take(&mut state.pieces);
            let is_late = until.deadline().is_some_and(|deadline| deadline <= Instant::now());
            let ends = taken.is_some() || is_late || std::mem::take(&mut state.is_interrupted);
            if ends || !state.is_owned {
                state.want = None;
                let unneeded = state.waker.take();
                let draws = state.pieces.waiting() > 0 && state.may_draw() > 0;
                drop(state);
                drop(unneeded);
                if draws {
                    self.engine.wake();
                }
                return taken;
            }
            if is_past {
                drop(state);
                self.expire();
                state = self.state.lock();
                continue;
            }
            if state.want.replace(want).is_none() && state.pieces.waiting() > 0 && state.may_draw() > 0 {
                // A piece that waited because too much is unread may begin now.
                drop(state);
                self.engine.wake();
                state = self.state.lock();
                continue;
            }
            if waker.is_some() {
                // The look above was the last one before the lock is released.
                let earlier = std::mem::replace(&mut state.waker, waker.take());
                drop(state);
                drop(earlier);
                return None;
            }
            let deadline_ns = state.settings.deadline_ns;
            let own = deadline_ns.map(|at| Instant::now() + Duration::from_nanos(at.saturating_sub(clock::now_ns())));
            match [until.deadline(), own].into_iter().flatten().min() {
                Some(deadline) => _ = self.callers.wait_until(&mut state, deadline),
                None => self.callers.wait(&mut state),
            }
        }
    }

    /// There may be less unread than before.
    fn was_read(&self, state: MutexGuard<'_, State>) {
        let draws = state.pieces.waiting() > 0 && state.may_draw() > 0;
        drop(state);
        if draws {
            self.engine.wake();
        }
    }

    /// Its owner has left. What it had not read is dropped without the lock.
    fn leave(&self, itself: Option<Arc<Remote>>) {
        let mut state = self.state.lock();
        state.is_owned = false;
        state.want = None;
        let waker = state.waker.take();
        state.itself = itself;
        self.settled(state);
        drop(waker);
    }
}

impl Backend for Remote {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn configure(&self, _: TaskKey, settings: TaskSettings) {
        let mut state = self.state.lock();
        state.pieces.name.clone_from(&settings.name);
        state.settings = settings;
        drop(state);
        self.engine.wake();
    }

    fn add_piece(&self, _: TaskKey, site: Site, arguments: Handed<'_>) {
        self.add_all(site, std::iter::once(arguments.into_arguments()));
    }

    fn add_sharing_piece(&self, task: TaskKey, site: Site, _: Vec<u8>, tables: Tables) {
        let message = "never began: its arguments have a `Shared`, of which each machine has its own: give other hosts the value itself, or the path of a file that they all have";
        self.add_failed(task, site, ErrorKind::Unsupported, message.to_string());
        drop(tables);
    }

    fn add_pieces(&self, _: TaskKey, site: Site, arguments: &[u8], ends: &[usize]) {
        let mut start = 0;
        self.add_all(
            site,
            ends.iter().map(|&end| Arguments::copy_of(&arguments[std::mem::replace(&mut start, end)..end])),
        );
    }

    fn add_failed(&self, _: TaskKey, site: Site, kind: ErrorKind, message: String) {
        let mut state = self.state.lock();
        state.pieces.add_ended(site, Arc::new(Why { kind, message }));
        self.settled(state);
    }

    fn completed(&self, _: TaskKey) -> usize {
        self.state.lock().pieces.done()
    }

    fn counts(&self, _: TaskKey) -> Counts {
        let Figures { running, retried, .. } = self.engine.figures();
        let state = self.state.lock();
        let running = running.min(state.pieces.drawn());
        Counts { running, retried: retried + state.retried, ..state.pieces.counts() }
    }

    fn feeding(&self, _: TaskKey) -> Feeding {
        let ahead = self.engine.figures().ahead.max(1);
        let state = self.state.lock();
        Feeding { pieces: ahead, unread_bytes: state.pieces.unread_bytes() }
    }

    fn label(&self, _: TaskKey, number: usize) -> Option<PieceLabel> {
        self.state.lock().pieces.label(number)
    }

    fn take_in_order(&self, _: TaskKey, next: usize, _: ReadOrder, until: Until<'_>) -> Option<Outcomes> {
        self.wait(Wanted::Piece(next), until, |pieces| {
            let (mut taken, mut bytes) = (Vec::new(), 0);
            while taken.len() < BATCH_PIECES
                && bytes < BATCH_BYTES
                && let Some(finished) = pieces.take(next + taken.len())
            {
                bytes += finished.settled.bytes();
                taken.push(finished.settled);
            }
            match taken.len() {
                0 => None,
                1 => taken.pop().map(Outcomes::One),
                _ => Some(Outcomes::Many(taken)),
            }
        })
    }

    fn take_finished(&self, _: TaskKey, wanted: Wanted, until: Until<'_>) -> Option<Finished> {
        self.wait(wanted, until, |pieces| match wanted {
            Wanted::First { .. } => pieces.take_first(),
            Wanted::Piece(number) => pieces.take(number),
        })
    }

    fn take_all_finished(&self, _: TaskKey) -> (Vec<Finished>, bool) {
        let mut state = self.state.lock();
        let taken: Vec<_> = std::iter::from_fn(|| state.pieces.take_first()).take(BATCH_PIECES).collect();
        self.was_read(state);
        let has_more = taken.len() == BATCH_PIECES;
        (taken, has_more)
    }

    fn tell_reader(&self, _: TaskKey, reader: Reader) {
        let mut state = self.state.lock();
        if reader.turn >= state.reader.turn {
            state.reader = reader;
            self.was_read(state);
        }
    }

    fn interrupt(&self, _: TaskKey) {
        self.state.lock().is_interrupted = true;
        self.callers.notify_all();
    }

    fn reuse(&self, _: Vec<u8>) {}

    fn cancel(&self, _: TaskKey) {
        self.end_all(Why::cancelled(), true);
    }

    fn abandon(&self, _: TaskKey) {
        self.end_all(Why::cancelled(), false);
    }

    fn stop(&self, _: TaskKey, why: Stop) {
        let why = match why {
            Stop::Cancelled => Why::cancelled(),
            Stop::Config(message) => Why { kind: ErrorKind::Config, message },
        };
        let mut state = self.state.lock();
        let why = Arc::clone(state.ended.get_or_insert(Arc::new(why)));
        let unneeded = state.pieces.end_waiting(&why);
        self.settled(state);
        drop(unneeded);
        self.engine.stop();
    }

    fn keep_last(&self, _: TaskKey, last: Arc<Last>) {
        let mut state = self.state.lock();
        state.last = Some(last);
        state.note_last();
    }

    fn detach(&self, _: TaskKey) {
        // Nobody reads any more, so nothing is unread.
        self.state.lock().settings.max_unread_bytes = None;
        self.leave(self.this.upgrade());
        self.engine.wake();
    }

    fn close(&self, _: TaskKey, kill: bool) {
        self.end_all(Why::cancelled(), kill);
        self.leave(None);
    }
}

impl Why {
    fn cancelled() -> Why {
        Why { kind: ErrorKind::Cancelled, message: "was cancelled".to_string() }
    }
}
