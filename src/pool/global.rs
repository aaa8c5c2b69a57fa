//! The global pool: one for each process, made by the program or at its first use.
//!
//! A process that was forked from one with a global pool makes its own at its first use: an ancestor's pool belongs to
//! that ancestor, and is neither used nor dropped here. ([`OfProcess`] stays in memory then, and its descriptors stay
//! open until the child executes a program or ends.)
//!
//! A start that failed is remembered, so that the next [`Task::new`] is `None` at once: for good where the reason cannot
//! change, else for a pause that grows with each failure.
//!
//! Invariant: nothing here is locked across processes. A child may be forked at any instant of a start, and has only the
//! thread that forked: so each process has its own lock, in memory that no ancestor has touched.

use crate::codec::value::Value;
use crate::error::{Error, ErrorKind};
use crate::pool::builder::PoolBuilder;
use crate::pool::environment;
use crate::pool::failed::Failed;
use crate::pool::ranges::Ranges;
use crate::pool::{PIECES_A_WORKER, Pool, inline_task};
use crate::sys::raw::Published;
use crate::sys::{clock, image, machine, process};
use crate::task::Task;
use crate::task::map::Map;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What one process knows of its global pool.
#[derive(Debug)]
struct OfProcess {
    process: process::Number,
    pool: OnceLock<Pool>,
    /// Held while the pool is being made, with what is known of the last failure.
    starting: Mutex<()>,
    failed: Failed,
    /// The program's logger was told why this process has no pool.
    is_told: AtomicBool,
}

/// The latest: this process's, or an ancestor's.
static LATEST: Published<OfProcess> = Published::new();

impl OfProcess {
    /// Of this process, which makes it at its first use.
    #[inline]
    fn get() -> &'static OfProcess {
        let latest = LATEST.get();
        match latest {
            Some(found) if process::is_current(found.process) => found,
            _ => OfProcess::make(latest),
        }
    }

    #[cold]
    fn make(latest: Option<&'static OfProcess>) -> &'static OfProcess {
        let own = OfProcess {
            process: process::number(),
            pool: OnceLock::new(),
            starting: Mutex::new(()),
            failed: Failed::default(),
            is_told: AtomicBool::new(false),
        };
        LATEST.publish(latest, own)
    }

    /// Waits for the thread that makes the pool now.
    fn lock(&self) -> MutexGuard<'_, ()> {
        // It guards no data that a panic could leave half changed.
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn start(&'static self) -> Result<&'static Pool, Error> {
        let started = self.start_once();
        // Without a lock, since the logger is the program's, and may ask for a task.
        if let Err(error) = &started
            && error.is_for_good()
            && !self.is_told.swap(true, Ordering::Relaxed)
        {
            tell_for_good(error);
        }
        started
    }

    fn start_once(&'static self) -> Result<&'static Pool, Error> {
        // Without the lock, which a start that hangs may hold for seconds.
        self.failed.check(clock::now_ns())?;
        let _one = self.lock();
        // Another thread may have been first, or have failed meanwhile.
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let began_ns = clock::now_ns();
        self.failed.check(began_ns)?;
        // What the environment says is read again each time: that starts nothing.
        let builder = Pool::builder().with_environment()?;
        match builder.build() {
            Ok(pool) => {
                end_in_order();
                Ok(self.pool.get_or_init(|| pool))
            }
            Err(error) => {
                self.failed.remember(&error, began_ns, clock::now_ns());
                Err(error)
            }
        }
    }
}

/// Tells the program's logger, if it has one, that pieces run in their callers for good: without that nobody would know why a program is
/// slow. Not in a worker, where that is as it should be.
fn tell_for_good(error: &Error) {
    #[cfg(feature = "log")]
    if error.kind() != ErrorKind::InWorker {
        log::warn!(target: "multicore", "this process has no pool, so pieces run in their callers: {error}");
    }
    #[cfg(not(feature = "log"))]
    let _ = error;
}

impl<R> Task<R> {
    /// A task of the global pool, which is started at its first use.
    ///
    /// `None` in a worker, where no pool can run, or while the machine is busy; that only where a limit that you set says so
    /// ([`max_load_average`](PoolBuilder::max_load_average), [`min_available_memory`](PoolBuilder::min_available_memory),
    /// [`max_pieces_waiting`](PoolBuilder::max_pieces_waiting)). [`try_new`](Self::try_new) says which. The caller then runs the same function itself. A start that failed
    /// is tried again after a pause, which grows to a minute, or never where the reason cannot change; until then
    /// `None` takes some nanoseconds.
    #[must_use]
    pub fn new() -> Option<Self>
    where
        R: Value,
    {
        let global = OfProcess::get();
        match global.pool.get() {
            Some(pool) => pool.task(),
            // No error is made that nobody reads.
            None if global.failed.holds(clock::now_ns) => None,
            None => global.start().ok()?.task(),
        }
    }

    /// A task of the global pool, or why there is none.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) while the machine's load is at or above the limit, less memory is available than the pool
    /// leaves to others, or more pieces wait than [`max_pieces_waiting`](PoolBuilder::max_pieces_waiting) allows, each only
    /// if it is set; else as [`Pool::global`].
    pub fn try_new() -> Result<Self, Error>
    where
        R: Value,
    {
        Pool::global()?.try_task()
    }

    /// A task of the global pool; where [`new`](Self::new) gives `None`, one whose pieces run in
    /// this process: one at each [`completed`](Self::completed), the rest when it is collected.
    ///
    /// Arguments and results pass the codec there too, so that errors are the same. Limits act
    /// between pieces only, and a crash is the program's.
    pub fn new_or_inline() -> Self
    where
        R: Value,
    {
        Self::new().unwrap_or_else(|| inline_task(OfProcess::get().pool.get().and_then(|pool| pool.max_result_bytes)))
    }
}

impl Pool {
    /// The pool that [`Task::new`] uses, started at its first use and kept until the program ends. A process that
    /// was forked from one with a global pool has its own.
    ///
    /// # Errors
    /// [`InWorker`](ErrorKind::InWorker) in a worker, [`Unsupported`](ErrorKind::Unsupported) where
    /// no pool can run, [`Config`](ErrorKind::Config) if the environment sets what is no number,
    /// [`System`](ErrorKind::System) if the operating system refuses something. A start that failed gives the same
    /// error again without a new try, until a pause is over that grows from 1 ms to a minute; where the reason cannot
    /// change, always.
    pub fn global() -> Result<&'static Pool, Error> {
        let global = OfProcess::get();
        match global.pool.get() {
            Some(pool) => Ok(pool),
            None => global.start(),
        }
    }
}

/// The global pool is never dropped: the kernel ends it with the program. Where a tool such as a coverage counter has something
/// to write at its workers' end, the program's end ends it in order before.
fn end_in_order() {
    extern "C" fn end() {
        // A child of the program that was forked without a pool of its own has nothing to end.
        let own = LATEST.get().filter(|latest| process::is_current(latest.process));
        if let Some(pool) = own.and_then(|own| own.pool.get()) {
            pool.workers.shut_down(true);
        }
    }
    image::call_before_last_counts(end);
}

impl PoolBuilder {
    /// Makes this the global pool of this process: once, before its first use. It is tried even if a start has failed
    /// before.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if there is a global pool already, and as
    /// [`build`](Self::build).
    pub fn build_global(self) -> Result<(), Error> {
        let global = OfProcess::get();
        let _one = global.lock();
        let taken = || {
            Error::new(
                ErrorKind::Config,
                "there is a global pool already: call build_global once, before the first Task::new or Pool::global",
            )
        };
        if global.pool.get().is_some() {
            return Err(taken());
        }
        global.pool.set(self.build()?).map_err(|_| taken())?;
        end_in_order();
        Ok(())
    }
}

/// Cuts `0..len` into pieces, 4 for each worker that the global pool is set to have, unless told
/// otherwise. Starts nothing.
///
/// ```
/// let pieces: Vec<_> = multicore::ranges(100).with_pieces(2).collect();
/// assert_eq!(pieces, [(0, 50), (50, 100)]);
/// assert_eq!(multicore::ranges(0).len(), 0);
/// ```
pub fn ranges(len: usize) -> Ranges {
    let workers = match OfProcess::get().pool.get() {
        Some(pool) => pool.workers(),
        None => environment::workers().ok().flatten().unwrap_or_else(machine::cpus),
    };
    Ranges::new(len, workers * PIECES_A_WORKER)
}

/// Runs `function` on each item, by the global pool, and gives the results in the order of the items; where [`Task::new`] gives `None`, it
/// runs the function itself. [`Task::map`] tells what is promised.
///
/// ```
/// let squares: Vec<u64> = multicore::map(|n: u64| n * n, 1..=4).collect::<Result<_, _>>()?;
/// assert_eq!(squares, [1, 4, 9, 16]);
/// # Ok::<(), multicore::Error>(())
/// ```
///
/// # Errors
/// As [`Task::map`].
///
/// # Panics
/// As [`Task::map`].
#[track_caller]
pub fn map<A: Value, R: Value, I: IntoIterator<Item = A>>(function: fn(A) -> R, items: I) -> Map<I::IntoIter, R> {
    Task::new_or_inline().map(function, items)
}
