//! The seam between a task and whatever runs its pieces: worker processes, or the caller itself.
//!
//! `task/` and `pool/` know a backend by [`Backend`] and [`Workers`] alone, and a backend knows
//! nothing of its callers. A wrapper, such as a journal, is a backend that holds another one.
//!
//! Invariant: a backend moves encoded bytes. It never decodes a value, and of all backends only
//! [`inline`] runs user code.

pub(crate) mod counts;
pub(crate) mod inline;
pub(crate) mod numbered;
pub(crate) mod priority;
#[cfg(feature = "remote")]
pub(crate) mod remote;
#[cfg(feature = "tracing")]
pub(crate) mod traced;
pub(crate) mod waking;

pub(crate) use self::counts::Counts;

use self::counts::Last;
use self::priority::Priority;
use self::waking::Until;
use crate::codec::Format;
use crate::codec::bytes::{Handed, Reply};
use crate::codec::call::Call;
use crate::codec::tables::table::Tables;
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::stats::Stats;
use crate::stats::memory::MemoryEvent;
use crate::stats::timeline::Timeline;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::Arc;

/// The number of a task in its backend. It is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What an error of a piece says that was not done by its task's deadline.
pub(crate) const PAST_DEADLINE: &str = "was not done by the deadline of its task";

/// How the pieces of a task are run.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskSettings {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) format: Format,
    /// Whose waiting pieces begin first.
    pub(crate) priority: Priority,
    /// While this many bytes of results are unread, further pieces wait.
    pub(crate) max_unread_bytes: Option<usize>,
    /// How long each piece may run.
    pub(crate) limit_ns: Option<NonZeroU64>,
    /// When all of it that has no outcome ends, by `sys::clock`.
    pub(crate) deadline_ns: Option<u64>,
    /// How many times a piece may start again after its worker was lost.
    pub(crate) retries: u32,
    /// A panic counts as a lost worker.
    pub(crate) retry_panics: bool,
    /// An error that the function returned counts as a lost worker.
    pub(crate) retry_failures: bool,
    /// Each outcome that is [taken as it finished](Backend::take_finished) tells how long its piece ran.
    pub(crate) is_timed: bool,
    /// Its span, for who tells of its pieces.
    #[cfg(feature = "tracing")]
    pub(crate) traced: self::traced::Traced,
}

/// What a piece calls, and where it was handed out. Most pieces of a task share one site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) call: Call,
    pub(crate) location: &'static Location<'static>,
}

impl Site {
    /// True if it certainly is the same site. It compares addresses: two copies of one location count as
    /// two sites, which costs an entry in a list and nothing else.
    #[inline]
    pub(crate) fn is_same(&self, other: &Site) -> bool {
        std::ptr::eq(self.location, other.location) && self.call == other.call
    }
}

/// Why a task is stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    Cancelled,
    /// A setting is invalid; with what happened to a piece.
    Config(String),
}

/// The outcome of a piece.
#[derive(Debug)]
pub(crate) enum Settled {
    Done(Reply),
    Failed(Error),
}

#[cfg_attr(not(feature = "journal"), allow(dead_code))]
impl Settled {
    /// The length of its result.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Settled::Done(reply) => reply.len(),
            Settled::Failed(_) => 0,
        }
    }
}

/// The outcomes of pieces in a row, one or more. One alone needs no allocation.
#[derive(Debug)]
pub(crate) enum Outcomes {
    One(Settled),
    Many(Vec<Settled>),
}

impl Outcomes {
    pub(crate) fn len(&self) -> usize {
        match self {
            Outcomes::One(_) => 1,
            Outcomes::Many(many) => many.len(),
        }
    }

    /// The one, or the many.
    #[inline]
    pub(crate) fn into_parts(self) -> (Option<Settled>, Vec<Settled>) {
        match self {
            Outcomes::One(settled) => (Some(settled), Vec::new()),
            Outcomes::Many(many) => (None, many),
        }
    }
}

impl IntoIterator for Outcomes {
    type Item = Settled;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Settled>, std::vec::IntoIter<Settled>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = self.into_parts();
        one.into_iter().chain(many)
    }
}

/// What a caller gets that takes parts of results.
#[derive(Debug)]
pub(crate) enum Parts {
    /// Bytes of the piece's result, of which more may follow.
    Part(Vec<u8>),
    /// The outcomes of pieces from this one on; of this one what follows the parts that were given before.
    Rest(Outcomes),
}

/// Which outcomes a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOrder {
    /// In order, and all of them in the end: the caller need not be woken for each.
    All,
    /// In order, each as soon as possible.
    Next,
}

/// How far the reader of a task is, where another backend takes the outcomes for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reader {
    /// The bytes of results that were taken and that nobody has read.
    pub(crate) unread_bytes: usize,
    /// It waits for an outcome.
    pub(crate) is_awaited: bool,
    /// Two threads may tell of it at once: what was so before counts no more.
    pub(crate) turn: u64,
}

/// Which outcome a caller takes as it finishes.
#[cfg_attr(not(feature = "journal"), allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// That of the piece that finished first of those not taken, of which this is the lowest one.
    First { lowest: usize },
    /// That of this piece.
    Piece(usize),
}

impl Wanted {
    /// The piece, or the lowest of those that it may be.
    pub(crate) fn number(self) -> usize {
        match self {
            Wanted::First { lowest: number } | Wanted::Piece(number) => number,
        }
    }
}

/// How far ahead a caller hands out pieces that reads as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Feeding {
    /// The most pieces that were handed out and not taken; at least 1.
    pub(crate) pieces: usize,
    /// The bytes of the results that came and were not taken.
    pub(crate) unread_bytes: usize,
}

/// A piece that has finished.
#[cfg_attr(not(feature = "journal"), allow(dead_code))]
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) number: usize,
    pub(crate) settled: Settled,
    /// How many times it was started.
    pub(crate) attempts: u32,
    /// How long it ran the last time, where the task [is timed](TaskSettings::is_timed) and that is known.
    pub(crate) took_ns: u64,
}

/// What runs the pieces of tasks.
#[cfg_attr(not(feature = "journal"), allow(dead_code))]
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// What runs the pieces, as `Debug` of a task names it.
    fn name(&self) -> &'static str;

    /// True if pieces run on the thread that takes their outcomes, and only while it does.
    fn runs_in_caller(&self) -> bool {
        false
    }

    /// True if pieces run on other machines, which have nothing of this one's pool.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// Replaces the settings of a task.
    fn configure(&self, task: TaskKey, settings: TaskSettings);

    /// Adds a piece. What is wrong with it becomes its outcome.
    fn add_piece(&self, task: TaskKey, site: Site, arguments: Handed<'_>);

    /// Adds a piece whose arguments share these tables. They are kept until the piece has an outcome.
    fn add_sharing_piece(&self, task: TaskKey, site: Site, arguments: Vec<u8>, tables: Tables);

    /// Adds pieces of one site. Their arguments lie one behind the other in `arguments`, each up to
    /// its entry in `ends`.
    fn add_pieces(&self, task: TaskKey, site: Site, arguments: &[u8], ends: &[usize]);

    /// Adds a piece that has failed already.
    fn add_failed(&self, task: TaskKey, site: Site, kind: ErrorKind, message: String);

    /// The number of pieces that have an outcome.
    fn completed(&self, task: TaskKey) -> usize;

    /// How many pieces had an outcome from an earlier run when they were handed out.
    fn resumed(&self, _: TaskKey) -> usize {
        0
    }

    /// How many of these are [`AlreadyDone`](ErrorKind::AlreadyDone). [`take_finished`](Self::take_finished) leaves them out.
    fn already_done(&self, _: TaskKey) -> usize {
        0
    }

    /// How far the task has come. It runs nothing and waits for nothing.
    fn counts(&self, task: TaskKey) -> Counts;

    /// How far ahead pieces are worth handing out now. It waits for nothing.
    fn feeding(&self, task: TaskKey) -> Feeding;

    /// How errors name a piece.
    fn label(&self, task: TaskKey, number: usize) -> Option<PieceLabel>;

    /// Takes at least one outcome from piece `next` on, in order. Waits for the first one, but not
    /// longer than `until`: then `None`. A waker is then kept, in place of an earlier one, or was woken.
    fn take_in_order(&self, task: TaskKey, next: usize, order: ReadOrder, until: Until<'_>) -> Option<Outcomes>;

    /// The same, but gives parts of the piece's result while it runs, where the backend has them. `spare` is memory for a later
    /// part.
    fn take_parts(&self, task: TaskKey, next: usize, _spare: &mut Vec<u8>, until: Until<'_>) -> Option<Parts> {
        self.take_in_order(task, next, ReadOrder::Next, until).map(Parts::Rest)
    }

    /// Takes the outcome of a piece that has finished. Waits for one as [`take_in_order`](Self::take_in_order) does, but not once the task is
    /// [interrupted](Self::interrupt): then `None`. A backend that does not know the task returns its error.
    fn take_finished(&self, task: TaskKey, wanted: Wanted, until: Until<'_>) -> Option<Finished>;

    /// Takes the outcomes of the pieces that have finished and were not taken, some at a time, and waits for none. True if there may be
    /// more.
    fn take_all_finished(&self, task: TaskKey) -> (Vec<Finished>, bool);

    /// From now on nobody is given what comes: no outcome waits for the program's logger.
    #[cfg(feature = "log")]
    fn hold_no_piece(&self, _: TaskKey) {}

    /// The one that takes a task's outcomes hands them on to this reader: what that has not read counts as unread.
    fn tell_reader(&self, _: TaskKey, _: Reader) {}

    /// The thread that waits in [`take_finished`](Self::take_finished) for a piece of this task, or the next one that would,
    /// returns without one.
    fn interrupt(&self, task: TaskKey);

    /// Takes back the buffer of a result that was read, to use its memory again.
    fn reuse(&self, buffer: Vec<u8>);

    /// Cancels a task whose owner still holds it: what has not begun never begins, what runs is
    /// killed, and all of it fails.
    fn cancel(&self, task: TaskKey);

    /// Abandons a task whose owner still holds it: all of it that has no outcome fails at once, what has not begun never begins, and
    /// what runs ends unread.
    fn abandon(&self, task: TaskKey);

    /// Stops a task whose owner still holds it: what has not begun never begins and fails for this reason, and what runs comes to its
    /// end.
    fn stop(&self, task: TaskKey, why: Stop);

    /// Notes the last counts of a task there when it ends by itself: its owner is about to [detach](Self::detach) it. Not of one whose pieces
    /// [run in the caller](Self::runs_in_caller).
    fn keep_last(&self, _: TaskKey, _: Arc<Last>) {}

    /// Its owner has left a task that goes on to its end. Outcomes are dropped as they come. Not of one whose pieces
    /// [run in the caller](Self::runs_in_caller).
    fn detach(&self, task: TaskKey);

    /// Ends a task that its owner has left: what has not begun never begins. With `kill`, what runs
    /// is killed.
    fn close(&self, task: TaskKey, kill: bool);
}

/// A backend with workers: what a pool is made of.
pub(crate) trait Workers: Backend {
    /// Whether this process may use it: one that was forked from its owner may not.
    fn check_process(&self) -> Result<(), Error>;

    /// Whether enough memory is available for another task, if it has a limit for that.
    fn check_memory(&self) -> Result<(), Error>;

    /// How many workers it is set to have.
    fn workers(&self) -> usize;

    /// Sets how many that are.
    fn resize(&self, workers: usize) -> Result<(), Error>;

    /// Opens a task, with the default settings.
    fn open_task(&self) -> Result<TaskKey, Error>;

    /// What it does now and has done.
    fn stats(&self) -> Stats;

    /// What its workers have run, if it keeps that.
    fn timeline(&self) -> Timeline;

    /// Replaces each worker once it is idle. What is handed out from now on runs in new ones.
    fn renew_workers(&self);

    /// Replaces each worker that there is now, one after the other, by one that is ready.
    fn recycle(&self);

    /// Ends the pool: with `kill` at once, else when the running pieces have ended. Returns when
    /// its processes are gone. In a process that was forked from its owner it does nothing.
    fn shut_down(&self, kill: bool);
}

/// A function that runs in the pool's processes, and its encoded argument.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    pub(crate) call: Call,
    pub(crate) value: Vec<u8>,
}

/// A limit of a worker's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryLimit {
    Bytes(u64),
    /// Above what it had when it was ready.
    Growth(u64),
}

impl MemoryLimit {
    /// The limit in bytes of a worker that had `at_start` when it was ready.
    #[must_use]
    pub(crate) fn bytes(self, at_start: u64) -> u64 {
        match self {
            MemoryLimit::Bytes(bytes) => bytes,
            MemoryLimit::Growth(bytes) => at_start.saturating_add(bytes),
        }
    }
}

/// The limits of the memory of each worker, and of all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MemoryLimits {
    /// Above it a worker is replaced after its piece …
    pub(crate) worker_high: Option<MemoryLimit>,
    /// … and above this one it is killed.
    pub(crate) worker_max: Option<MemoryLimit>,
    pub(crate) high: Option<u64>,
    pub(crate) max: Option<u64>,
    /// What a worker may allocate beyond what it had when it was forked: the kernel refuses it more.
    pub(crate) worker_data: Option<u64>,
    /// Below it, one piece runs at a time.
    pub(crate) min_available: Option<u64>,
    /// Checks in a row before a kill; at least 1.
    pub(crate) checks: u32,
    /// Nothing is replaced or killed.
    pub(crate) only_reports: bool,
}

impl MemoryLimits {
    #[must_use]
    pub(crate) fn any(&self) -> bool {
        self.need_checks() || self.worker_high.is_some()
    }

    /// True if somebody must check while pieces run.
    #[must_use]
    pub(crate) fn need_checks(&self) -> bool {
        self.worker_max.is_some() || self.high.is_some() || self.max.is_some()
    }
}

/// The settings of a pool that concern its processes.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolSettings {
    pub(crate) preload: Option<Hook>,
    pub(crate) on_worker_start: Option<Hook>,
    pub(crate) on_worker_exit: Option<Hook>,
    /// Makes the state of a worker.
    pub(crate) worker_state: Option<Hook>,
    pub(crate) warm_memory_bytes: u64,
    /// The most bytes of a result; `None` for what the machine's memory allows.
    pub(crate) max_result_bytes: Option<u64>,
    /// A worker that crashes may leave a core file.
    pub(crate) core_files: bool,
    pub(crate) no_new_privileges: bool,
    /// Of each worker, as setpriority(2) knows it; `None` for the host's.
    pub(crate) niceness: Option<i32>,
    /// The most pieces of one worker process.
    pub(crate) max_pieces_per_worker: Option<u64>,
    pub(crate) max_worker_age_ns: Option<u64>,
    /// How long a worker may have nothing to do before it ends.
    pub(crate) idle_timeout_ns: Option<u64>,
    /// The bytes of arguments that may wait.
    pub(crate) max_queued_bytes: Option<usize>,
    /// While more pieces wait, no task is opened.
    pub(crate) max_pieces_waiting: Option<usize>,
    pub(crate) memory: MemoryLimits,
    /// No piece is sampled for what it does to memory.
    pub(crate) unsampled: bool,
    /// How many events of a timeline are kept.
    pub(crate) timeline: usize,
    pub(crate) on_memory: Option<fn(&MemoryEvent)>,
    /// The signals that have all workers replaced.
    #[cfg(feature = "signal")]
    pub(crate) recycle_signals: Vec<i32>,
}
