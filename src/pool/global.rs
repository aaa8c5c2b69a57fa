//! The global pool: made once, by the program or at its first use.

use crate::codec::value::Value;
use crate::error::{Error, ErrorKind};
use crate::pool::builder::PoolBuilder;
use crate::pool::environment;
use crate::pool::ranges::Ranges;
use crate::pool::{PIECES_A_WORKER, Pool, inline_task};
use crate::sys::machine;
use crate::task::Task;
use parking_lot::Mutex;
use std::sync::OnceLock;

static GLOBAL: OnceLock<Pool> = OnceLock::new();

/// Held while the global pool is being made.
static STARTING: Mutex<()> = Mutex::new(());

impl<R: Value> Task<R> {
    /// A task of the global pool, which is started at its first use.
    ///
    /// `None` while the machine is busy, in a worker, or where no pool can run:
    /// [`try_new`](Self::try_new) says which. The caller then runs the same function itself.
    #[must_use]
    pub fn new() -> Option<Self> {
        Self::try_new().ok()
    }

    /// A task of the global pool, or why there is none.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) while the machine's load is at or above the limit, if one is set;
    /// else as [`Pool::global`].
    pub fn try_new() -> Result<Self, Error> {
        global()?.try_task()
    }

    /// A task of the global pool; where [`new`](Self::new) gives `None`, one whose pieces run in
    /// this process: one at each [`completed`](Self::completed), the rest when it is collected.
    ///
    /// Arguments and results pass the codec there too, so that errors are the same. Limits act
    /// between pieces only, and a crash is the program's.
    pub fn new_or_inline() -> Self {
        Self::new().unwrap_or_else(inline_task)
    }
}

impl Pool {
    /// The pool that [`Task::new`] uses, started at its first use and kept until the program ends.
    ///
    /// # Errors
    /// [`InWorker`](ErrorKind::InWorker) in a worker, [`Unsupported`](ErrorKind::Unsupported) where
    /// no pool can run, [`Config`](ErrorKind::Config) if the environment sets what is no number,
    /// [`System`](ErrorKind::System) if the operating system refuses something.
    pub fn global() -> Result<&'static Pool, Error> {
        let pool = global()?;
        pool.workers.check_process()?;
        Ok(pool)
    }
}

/// The global pool, whatever process made it.
fn global() -> Result<&'static Pool, Error> {
    match GLOBAL.get() {
        Some(pool) => Ok(pool),
        None => start(),
    }
}

#[cold]
fn start() -> Result<&'static Pool, Error> {
    let _one = STARTING.lock();
    // Another thread may have been first.
    if let Some(pool) = GLOBAL.get() {
        return Ok(pool);
    }
    let pool = Pool::builder().with_environment()?.build()?;
    Ok(GLOBAL.get_or_init(|| pool))
}

impl PoolBuilder {
    /// Makes this the global pool: once, before its first use.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if there is a global pool already, and as
    /// [`build`](Self::build).
    pub fn build_global(self) -> Result<(), Error> {
        let _one = STARTING.lock();
        let taken = || {
            Error::new(
                ErrorKind::Config,
                "there is a global pool already: call build_global once, before the first Task::new or Pool::global",
            )
        };
        if GLOBAL.get().is_some() {
            return Err(taken());
        }
        GLOBAL.set(self.build()?).map_err(|_| taken())
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
    let workers = match GLOBAL.get() {
        Some(pool) => pool.workers(),
        None => environment::workers().ok().flatten().unwrap_or_else(machine::cpus),
    };
    Ranges::new(len, workers * PIECES_A_WORKER)
}
