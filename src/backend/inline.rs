//! A task without a pool: its pieces run in the caller, one by one, when the caller asks for them.
//!
//! Arguments and results pass the codec here too, so that what fails with a pool fails without.
//!
//! Invariant: no lock is held while a piece runs. A piece may thus use its own task, which it can
//! reach by a thread-local variable.

use crate::backend::numbered::Numbered;
#[cfg(feature = "tracing")]
use crate::backend::traced::{Event, Listener, Traced, What};
use crate::backend::waking::Until;
use crate::backend::{
    Backend, Counts, Feeding, Finished, Outcomes, PAST_DEADLINE, ReadOrder, Settled, Site, Stop, TaskKey, TaskSettings,
    Wanted,
};
use crate::codec::bytes::{Arguments, Handed, Reply};
use crate::codec::call::{Call, Fault, drop_payload, panic_text};
use crate::codec::error::too_large;
use crate::codec::note;
use crate::codec::sink::{Limit, Place};
use crate::codec::tables::scope;
use crate::codec::tables::table::Tables;
use crate::codec::{Encoded, Format};
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::sys::clock;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The number of the only task.
const ONLY: TaskKey = TaskKey { index: 0, generation: 0 };

/// A backend of one task. Its pieces wait until they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Inline {
    pieces: Mutex<Pieces>,
    /// Outside the lock, so that the loop of attempts reads it without locking.
    cancelled: AtomicBool,
    /// Of the pool that has no workers for this task.
    max_result_bytes: Option<u64>,
}

#[derive(Debug, Default)]
struct Pieces {
    settings: TaskSettings,
    /// Those that were taken go with the next one that is: until then they may have to be named.
    pieces: Numbered<Piece>,
    /// The arguments of the pieces that have not begun, with their numbers.
    waiting: VecDeque<Waiting>,
    /// How many pieces have an outcome, or had one that was taken.
    completed: usize,
    /// Those of them that have failed.
    failed: usize,
    retried: usize,
    /// The bytes of the results.
    bytes: u64,
    /// Results are encoded here. Empty while a piece runs.
    result: Vec<u8>,
}

/// A piece that has not begun.
#[derive(Debug)]
struct Waiting {
    number: usize,
    arguments: Arguments,
    /// What its arguments share.
    tables: Option<Tables>,
}

#[derive(Debug)]
struct Piece {
    site: Site,
    state: State,
    ran: Ran,
}

/// How a piece came to its end.
#[derive(Debug, Clone, Copy, Default)]
struct Ran {
    attempts: u32,
    /// The last of them.
    took_ns: u64,
    /// In the last of them.
    noted: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// It waits or runs.
    Open,
    Settled(Settled),
    Taken,
}

/// How a piece is run: what its attempts need to know.
struct Attempts<'a> {
    call: Call,
    format: Format,
    limit: Option<Duration>,
    deadline_ns: Option<u64>,
    retries: u32,
    retry_panics: bool,
    retry_failures: bool,
    cancelled: &'a AtomicBool,
    max_result_bytes: Option<u64>,
}

/// Why a piece failed.
type Failed = (ErrorKind, String);

/// A new task without a pool.
pub(crate) fn open(max_result_bytes: Option<u64>) -> (Arc<dyn Backend>, TaskKey) {
    (Arc::new(Inline { max_result_bytes, ..Inline::default() }), ONLY)
}

impl Inline {
    /// Runs the next piece, if there is one.
    fn run_one(&self) {
        let mut pieces = self.pieces.lock();
        let Some(Waiting { number, arguments, tables }) = pieces.waiting.pop_front() else { return };
        let settings = &pieces.settings;
        let Some(Piece { site, .. }) = pieces.pieces.get(number) else { return };
        let attempts = Attempts {
            call: site.call,
            format: settings.format,
            limit: settings.limit_ns.map(NonZeroU64::get).map(Duration::from_nanos),
            deadline_ns: settings.deadline_ns,
            retries: settings.retries,
            retry_panics: settings.retry_panics,
            retry_failures: settings.retry_failures,
            cancelled: &self.cancelled,
            max_result_bytes: self.max_result_bytes,
        };
        let mut result = std::mem::take(&mut pieces.result);
        drop(pieces);
        let mut ran = Ran::default();
        let outcome = scope::given(tables, || attempts.run(arguments, &mut result, &mut ran));
        #[cfg(feature = "tracing")]
        let kind = outcome.as_ref().err().map(|(kind, _)| *kind);
        let mut pieces = self.pieces.lock();
        pieces.result = result;
        pieces.settle(number, outcome, ran);
        #[cfg(feature = "tracing")]
        {
            let traced = pieces.settings.traced.hears_of_pieces.then(|| pieces.settings.traced.clone());
            drop(pieces);
            if let Some(traced) = traced {
                tell_done(&traced, number, ran, kind);
            }
        }
    }

    /// Takes the outcome of a piece. Runs the pieces before it, and the piece itself, if they have
    /// not run.
    fn take(&self, number: usize) -> Option<Settled> {
        while self.pieces.lock().waiting.front().is_some_and(|next| next.number <= number) {
            self.run_one();
        }
        let mut pieces = self.pieces.lock();
        while pieces.pieces.pop_if(|piece| matches!(piece.state, State::Taken)).is_some() {}
        let state = &mut pieces.pieces.get_mut(number)?.state;
        match std::mem::replace(state, State::Taken) {
            State::Settled(settled) => Some(settled),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl Backend for Inline {
    fn name(&self) -> &'static str {
        "inline"
    }

    fn runs_in_caller(&self) -> bool {
        true
    }

    fn configure(&self, _: TaskKey, settings: TaskSettings) {
        self.pieces.lock().settings = settings;
    }

    fn add_piece(&self, _: TaskKey, site: Site, arguments: Handed<'_>) {
        self.pieces.lock().add(site, arguments.into_arguments(), None);
    }

    fn add_sharing_piece(&self, _: TaskKey, site: Site, arguments: Vec<u8>, tables: Tables) {
        self.pieces.lock().add(site, Arguments::Heap(arguments), Some(tables));
    }

    fn add_pieces(&self, _: TaskKey, site: Site, arguments: &[u8], ends: &[usize]) {
        let mut pieces = self.pieces.lock();
        let mut start = 0;
        for &end in ends {
            pieces.add(site, Arguments::copy_of(&arguments[start..end]), None);
            start = end;
        }
    }

    fn add_failed(&self, _: TaskKey, site: Site, kind: ErrorKind, message: String) {
        let mut pieces = self.pieces.lock();
        let number = pieces.add_open(site);
        pieces.settle(number, Err((kind, message)), Ran::default());
    }

    /// Runs a piece first. Otherwise a caller that only polls `completed` would never see progress.
    fn completed(&self, _: TaskKey) -> usize {
        self.run_one();
        self.pieces.lock().completed
    }

    fn label(&self, _: TaskKey, number: usize) -> Option<PieceLabel> {
        self.pieces.lock().label(number)
    }

    fn take_in_order(&self, _: TaskKey, next: usize, _: ReadOrder, until: Until<'_>) -> Option<Outcomes> {
        if until.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            return None;
        }
        self.take(next).map(Outcomes::One)
    }

    fn take_finished(&self, _: TaskKey, wanted: Wanted, _: Until<'_>) -> Option<Finished> {
        // Pieces finish in their order.
        let number = wanted.number();
        let settled = self.take(number)?;
        let Ran { attempts, took_ns, .. } = self.pieces.lock().pieces.get(number)?.ran;
        Some(Finished { number, settled, attempts, took_ns })
    }

    /// None: nothing runs unless somebody waits for it.
    fn take_all_finished(&self, _: TaskKey) -> (Vec<Finished>, bool) {
        (Vec::new(), false)
    }

    /// Nobody waits for another thread.
    fn interrupt(&self, _: TaskKey) {}

    fn reuse(&self, _: Vec<u8>) {}

    fn cancel(&self, _: TaskKey) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn counts(&self, _: TaskKey) -> Counts {
        let pieces = self.pieces.lock();
        let Pieces { failed, bytes, completed, .. } = *pieces;
        let running = pieces.pieces.len() - completed - pieces.waiting.len();
        let retried = pieces.retried;
        Counts { total: pieces.pieces.len(), done: completed - failed, failed, running, retried, resumed: 0, bytes }
    }

    /// One at a time: the piece that is wanted, which runs when it is taken.
    fn feeding(&self, _: TaskKey) -> Feeding {
        Feeding { pieces: 1, unread_bytes: 0 }
    }

    /// Who detaches it runs its pieces first.
    fn detach(&self, task: TaskKey) {
        self.close(task, false);
    }

    /// The same: nobody kills the caller.
    fn abandon(&self, task: TaskKey) {
        self.cancel(task);
    }

    /// The same.
    fn stop(&self, task: TaskKey, why: Stop) {
        match why {
            Stop::Cancelled => self.cancel(task),
            Stop::Config(message) => {
                let mut pieces = self.pieces.lock();
                for Waiting { number, .. } in std::mem::take(&mut pieces.waiting) {
                    pieces.settle(number, Err((ErrorKind::Config, message.clone())), Ran::default());
                }
            }
        }
    }

    fn close(&self, _: TaskKey, _: bool) {
        // A canceller may hold the backend for longer.
        *self.pieces.lock() = Pieces::default();
    }
}

/// The subscriber of the task's span hears of a piece that has run.
#[cfg(feature = "tracing")]
fn tell_done(traced: &Traced, piece: usize, ran: Ran, kind: Option<ErrorKind>) {
    if ran.attempts == 0 {
        return;
    }
    let outcome = match kind {
        None => "done",
        Some(ErrorKind::Failed) => "failed",
        Some(ErrorKind::Panicked) => "panicked",
        Some(ErrorKind::TimedOut) => "timed out",
        Some(_) => "not carried",
    };
    let what = What::PieceDone { piece, attempts: ran.attempts, busy_ns: ran.took_ns, outcome };
    Event { span: traced.span(), worker: None, pid: Some(std::process::id()), what }.tell(&Listener::default());
}

impl Pieces {
    fn add_open(&mut self, site: Site) -> usize {
        self.pieces.push(Piece { site, state: State::Open, ran: Ran::default() });
        self.pieces.len() - 1
    }

    fn add(&mut self, site: Site, arguments: Arguments, tables: Option<Tables>) {
        let number = self.add_open(site);
        self.waiting.push_back(Waiting { number, arguments, tables });
    }

    fn label(&self, number: usize) -> Option<PieceLabel> {
        let Site { call, location } = self.pieces.get(number)?.site;
        Some(PieceLabel { number, name: self.settings.name.clone(), address: call.address(), location })
    }

    fn settle(&mut self, number: usize, outcome: Result<Reply, Failed>, ran: Ran) {
        // Without a label the task was closed by the piece that ran.
        let Some(label) = self.label(number) else { return };
        self.failed += usize::from(outcome.is_err());
        self.retried += ran.attempts.saturating_sub(1) as usize;
        self.bytes += outcome.as_ref().map_or(0, |reply| reply.len() as u64);
        let Some(piece) = self.pieces.get_mut(number) else { return };
        piece.ran = ran;
        piece.state = State::Settled(match outcome {
            Ok(reply) => Settled::Done(reply),
            Err((kind, message)) => {
                Settled::Failed(Error::new(kind, message).with_piece(label, ran.attempts).with_note(ran.noted))
            }
        });
        self.completed += 1;
    }
}

impl Attempts<'_> {
    /// Runs the piece, again while that is allowed and may help.
    fn run(&self, mut arguments: Arguments, result: &mut Vec<u8>, ran: &mut Ran) -> Result<Reply, Failed> {
        let is_cancelled = || self.cancelled.load(Ordering::Relaxed);
        if is_cancelled() {
            return Err((ErrorKind::Cancelled, "was cancelled".to_string()));
        }
        let is_late = || self.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= clock::now_ns());
        if is_late() {
            return Err((ErrorKind::TimedOut, PAST_DEADLINE.to_string()));
        }
        loop {
            ran.attempts += 1;
            // Only a piece that may start again needs its arguments once more.
            let own = if ran.attempts <= self.retries {
                arguments.as_slice().to_vec()
            } else {
                std::mem::replace(&mut arguments, Arguments::Heap(Vec::new())).into_vec()
            };
            let start = Instant::now();
            let (outcome, noted) = note::noted_by(|| self.run_once(own, result, start));
            ran.noted = noted;
            ran.took_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let may_help = match &outcome {
                Err((ErrorKind::TimedOut, _)) => true,
                Err((ErrorKind::Panicked, _)) => self.retry_panics,
                Err((ErrorKind::Failed, _)) => self.retry_failures,
                _ => false,
            };
            if !may_help || ran.attempts > self.retries || is_cancelled() || is_late() {
                return outcome;
            }
        }
    }

    /// One attempt. That the limit has passed is seen when the piece has ended.
    fn run_once(&self, mut arguments: Vec<u8>, result: &mut Vec<u8>, start: Instant) -> Result<Reply, Failed> {
        result.clear();
        let limit = self.max_result_bytes.map(|most| Limit { most, is_exceeded: Rc::default() });
        let limit = limit.as_ref();
        let answer = panic::catch_unwind(AssertUnwindSafe(|| {
            self.call.run(self.format, &mut arguments, &mut Place { limit, ..Place::of_buffer(result) })
        }));
        if let Some(limit) = self.limit.filter(|&limit| start.elapsed() > limit) {
            return Err((ErrorKind::TimedOut, format!("ran longer than its limit of {limit:?}")));
        }
        match answer {
            Ok(Ok(Encoded::Own(bytes))) => self.within_limit(bytes.len()).map(|()| Reply::Heap(bytes)),
            Ok(Ok(Encoded::InBuffer)) => self.within_limit(result.len()).map(|()| Reply::copy_of(result)),
            Ok(Err(fault @ (Fault::Encode(_) | Fault::TooLong { .. }))) => Err((ErrorKind::Encode, fault.to_string())),
            Ok(Err(fault @ Fault::Decode(_))) => Err((ErrorKind::Decode, fault.to_string())),
            Ok(Err(Fault::Failed(messages))) => Err((ErrorKind::Failed, messages)),
            Err(payload) => {
                let text = panic_text(&*payload).to_string();
                drop_payload(payload);
                match limit.filter(|limit| limit.is_exceeded.get()) {
                    // An `unwrap` of the sink's error.
                    Some(Limit { most, .. }) => Err((ErrorKind::Encode, Fault::TooLong { most: *most }.to_string())),
                    None => Err((ErrorKind::Panicked, text)),
                }
            }
        }
    }

    fn within_limit(&self, bytes: usize) -> Result<(), Failed> {
        match self.max_result_bytes {
            Some(most) if bytes as u64 > most => Err((ErrorKind::Encode, too_large(bytes, most))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;
    use crate::task::canceller::Canceller;
    use std::cell::RefCell;
    use std::sync::mpsc;

    fn task() -> Task<u64> {
        let (backend, key) = open(None);
        Task::opened(backend, key)
    }

    #[test]
    fn a_piece_may_use_its_own_task() {
        thread_local! {
            static OWN: RefCell<Option<Task<u64>>> = const { RefCell::new(None) };
        }
        let piece = |number: u64, (): ()| {
            OWN.with_borrow(|own| {
                let own = own.as_ref().unwrap();
                if number < 3 {
                    own.run(|number: u64, (): ()| number, 10 + number, ());
                }
                own.completed() as u64
            })
        };
        let own = task();
        own.run(piece, 1, ());
        own.run(piece, 5, ());
        OWN.set(Some(own));
        // The first piece runs the second, which runs the third; they are done in the opposite order.
        assert_eq!(OWN.with_borrow(|own| own.as_ref().unwrap().completed()), 3);
        assert_eq!(OWN.take().unwrap().get().unwrap(), [2, 1, 11]);
    }

    #[test]
    fn cancelling_and_stopping_wait_for_no_piece_and_keep_what_was_done() {
        for end in [Canceller::cancel, Canceller::stop] {
            check_end(end);
        }
    }

    fn check_end(end: fn(&Canceller)) {
        static STARTED: Mutex<Option<mpsc::Sender<()>>> = Mutex::new(None);
        static CANCELLED: Mutex<Option<mpsc::Receiver<()>>> = Mutex::new(None);
        let (started, has_started) = mpsc::channel();
        let (cancelled, was_cancelled) = mpsc::channel();
        (*STARTED.lock(), *CANCELLED.lock()) = (Some(started), Some(was_cancelled));
        let task = task();
        task.call(
            |number: u64| {
                STARTED.lock().take().unwrap().send(()).unwrap();
                CANCELLED.lock().take().unwrap().recv().unwrap();
                number
            },
            7,
        );
        task.call(|number: u64| number, 8);
        let canceller = task.canceller();
        let other = std::thread::spawn(move || {
            has_started.recv().unwrap();
            end(&canceller);
            cancelled.send(()).unwrap();
        });
        let each = task.get_each();
        other.join().unwrap();
        assert_eq!(*each[0].as_ref().unwrap(), 7);
        let error = each[1].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.piece(), error.attempts()), (ErrorKind::Cancelled, Some(1), 0));
    }

    #[test]
    fn a_task_that_has_ended_keeps_no_memory_for_its_cancellers() {
        let (backend, key) = open(None);
        let task = Task::<u64>::opened(Arc::clone(&backend), key);
        task.run(|a: u64, b: u64| a + b, 1, 2);
        assert!(backend.label(key, 0).is_some());
        drop(task);
        assert!(backend.label(key, 0).is_none());
    }
}
