//! The pools of another process, looked at from outside. (Feature `status`.)
//!
//! Each pool tells in a few pages of memory what its workers do: the function and the number of the piece that each runs, since when, how
//! many it has done, and why the worker before it was replaced. [`Observer`] finds these pages by `/proc` and maps them for reading. The
//! observed program neither notices nor wakes, so this works too while it hangs or is stopped; and nothing can be changed by it. The program
//! `multicore` (feature `cli`) shows it as `multicore top PID` and `multicore stats PID`.
//!
//! ```
//! # fn main() -> Result<(), multicore::Error> {
//! use multicore::{Pool, status::Observer};
//!
//! let pool = Pool::builder().workers(2).build()?;
//! let task = pool.try_task::<u64>()?;
//! task.call(|n: u64| n * n, 7);
//! task.get()?;
//!
//! // As another process of the same user does.
//! let mut observer = Observer::of(std::process::id())?;
//! let pools = observer.look()?.expect("this process runs");
//! # let own: Vec<_> = pools.iter().filter(|pool| pool.workers.len() == 2).collect();
//! # assert!(!own.is_empty());
//! for worker in pools.iter().flat_map(|pool| &pool.workers) {
//!     println!("worker {}: {}, {} pieces done", worker.worker, worker.doing, worker.pieces_done);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! There is nothing of a piece's arguments, results or messages in it. What it says is what the program knew when it looked last: a worker that has
//! answered and whose answer nobody has read still runs its piece there.

mod names;
mod pool;

use self::names::Names;
use self::pool::Seen;
use crate::engine::wire::status::read::NotReadable;
use crate::engine::wire::status::{NAME, Phase, State, Status, VERSION};
use crate::error::{Error, ErrorKind};
use crate::stats::Replaced;
use crate::sys::observed::{NotSeen, Process};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// New pools of the process are looked for in each look with this number: to list its descriptors takes longer than all else.
const LOOKS_A_SEARCH: u64 = 5;

/// Looks at the pools of a process, now and again.
#[derive(Debug)]
pub struct Observer {
    number: u32,
    process: Process,
    pools: Vec<Seen>,
    names: Names,
    unreadable: usize,
    looks: u64,
}

/// What a pool does, as its process told it last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Which of the pools that its process has made it is, from 1.
    pub pool: u32,
    /// Whether it lives.
    pub phase: PoolPhase,
    /// Its workers, by their numbers.
    pub workers: Vec<WorkerStatus>,
}

/// The life of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PoolPhase {
    /// It takes tasks.
    Open,
    /// It has ended by itself: nothing can run any more.
    Failed,
    /// Its owner ends it: what runs comes to its end.
    Closing,
    /// It has ended.
    Closed,
}

/// What a worker does, as its process told it last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The worker's number, from 0: as in [`WorkerStats`](crate::WorkerStats).
    pub worker: usize,
    /// What it does.
    pub doing: Doing,
    /// Its process id, as its program knows it; `None` while it is being started.
    pub pid: Option<u32>,
    /// The piece that it runs, or is to run next: the oldest that it holds.
    pub piece: Option<PieceStatus>,
    /// Pieces that it holds: that one, and those that were given to it in advance.
    pub pieces_held: u32,
    /// Pieces that this process has answered.
    pub pieces_done: u64,
    /// How long ago this was written: since then nothing has changed that its program knows of.
    pub age: Duration,
    /// Its anonymous memory, in bytes, with what it shares with its fork server. `None` where the system does not tell.
    pub memory: Option<u64>,
    /// The number of workers that were here before it.
    pub restarts: u32,
    /// Why the last of them was replaced, if there was one.
    pub last_replaced: Option<Replaced>,
    /// How the last of them died, as a short text, if it did and the cause is known.
    pub cause: Option<String>,
    /// True if its program was at writing this and did not go on for 10 ms, as where it was stopped then. All else here is what was read last,
    /// or, where nothing was, may mix what was with what is.
    pub is_torn: bool,
}

/// A piece that a worker runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PieceStatus {
    /// Its number in its task, from 0.
    pub number: u64,
    /// The name of its function; `None` where the program has no symbols.
    pub function: Option<String>,
    /// Where its function begins in the program's code, as a distance from the crate's entry there.
    pub offset: i32,
    /// True if its program has seen that it has begun. It looks for that only where it matters.
    pub has_begun: bool,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Doing {
    /// It is being started.
    Starting,
    /// It waits for pieces.
    Idle,
    /// It holds pieces, and runs the oldest.
    Busy,
    /// It has not begun what it was given in time.
    Late,
    /// It gets no more pieces, and ends.
    Leaving,
    /// It has ended because it was idle, and is started again when pieces wait.
    Resting,
    /// It has ended, and how is yet to be told.
    Lost,
    /// There is none: it is to be started.
    Vacant,
}

impl Observer {
    /// Finds the pools of a process, by its number.
    ///
    /// A child that the process has forked has none of them, though it has their memory.
    ///
    /// # Errors
    /// There is no such process, or it is another user's, or it has no pool, or the pool's status is of another version of this crate.
    pub fn of(pid: u32) -> Result<Observer, Error> {
        let process = Process::open(pid).map_err(|why| not_seen(pid, &why))?;
        let mut observer =
            Observer { number: pid, process, pools: Vec::new(), names: Names::default(), unreadable: 0, looks: 0 };
        let versions = observer.search().map_err(|why| not_seen(pid, &why))?;
        match (observer.pools.is_empty(), versions.first()) {
            (false, _) => Ok(observer),
            (true, Some(version)) => Err(other_version(pid, *version)),
            (true, None) => Err(no_pool(pid)),
        }
    }

    /// What the pools of the process do now, in the order in which they were made. `None` once the process has ended.
    ///
    /// # Errors
    /// The process cannot be looked at any more, as where it has taken other rights.
    pub fn look(&mut self) -> Result<Option<Vec<PoolStatus>>, Error> {
        if self.process.has_ended() {
            return Ok(None);
        }
        let ends = self.pools.iter().any(|pool| !matches!(pool.phase(), Phase::Open));
        if self.looks > 0 && (ends || self.looks.is_multiple_of(LOOKS_A_SEARCH)) {
            match self.search() {
                Err(NotSeen::Missing) => return Ok(None),
                searched => searched.map_err(|why| not_seen(self.number, &why))?,
            };
        }
        self.looks += 1;
        let Observer { process, pools, names, .. } = self;
        Ok(Some(pools.iter_mut().map(|pool| pool.look(process, names)).collect()))
    }

    /// The number of pools whose status is of another version of this crate, and so cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Finds the pools that there are now. Gives the versions of those that cannot be read.
    fn search(&mut self) -> Result<Vec<u64>, NotSeen> {
        let found = self.process.memfds(NAME)?;
        self.pools.retain(|pool| found.iter().any(|(inode, _)| *inode == pool.inode()));
        let mut versions = Vec::new();
        for (inode, file) in found {
            if self.pools.iter().any(|pool| pool.inode() == inode) {
                continue;
            }
            match Status::open(&file)? {
                // An ancestor's, whose descriptors this process has as well.
                Ok((_, owner)) if owner.pid != self.process.own_number() => {}
                Ok((status, owner)) => self.pools.push(Seen::new(inode, status, owner)),
                Err(NotReadable::Version(version)) => versions.push(version),
                // Anybody may call a file so.
                Err(NotReadable::Foreign) => {}
            }
        }
        self.pools.sort_by_key(Seen::number);
        self.unreadable = versions.len();
        Ok(versions)
    }
}

fn not_seen(pid: u32, why: &NotSeen) -> Error {
    match why {
        NotSeen::Missing => {
            Error::new(ErrorKind::Config, format!("there is no process {pid}: it has ended, or the number is wrong"))
        }
        NotSeen::NotAllowed => Error::new(
            ErrorKind::System,
            format!(
                "process {pid} may not be looked at: it is another user's, or has more rights; look as its user or as root"
            ),
        ),
        NotSeen::Failed(error) => Error::new(ErrorKind::System, format!("process {pid} cannot be looked at: {error}")),
    }
}

fn no_pool(pid: u32) -> Error {
    let message = format!(
        "process {pid} has no pool: it has made none yet or has ended it, or has closed descriptors that it does not know; of a program \
         that forks, give the process that made the pool"
    );
    Error::new(ErrorKind::Unsupported, message)
}

fn other_version(pid: u32, version: u64) -> Error {
    let message = format!(
        "process {pid} tells its status in version {version}, and this program reads version {VERSION}: use the program of the same version \
         of multicore"
    );
    Error::new(ErrorKind::Unsupported, message)
}

impl Doing {
    /// `None` where there is no worker to speak of.
    fn of(state: State) -> Option<Doing> {
        match state {
            State::Unused => None,
            State::Starting => Some(Doing::Starting),
            State::Idle => Some(Doing::Idle),
            State::Busy => Some(Doing::Busy),
            State::Late => Some(Doing::Late),
            State::Leaving => Some(Doing::Leaving),
            State::Resting => Some(Doing::Resting),
            State::Lost => Some(Doing::Lost),
            State::Vacant => Some(Doing::Vacant),
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Doing::Starting => "starting",
            Doing::Idle => "idle",
            Doing::Busy => "busy",
            Doing::Late => "late",
            Doing::Leaving => "leaving",
            Doing::Resting => "resting",
            Doing::Lost => "lost",
            Doing::Vacant => "vacant",
        })
    }
}

impl fmt::Display for PoolPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PoolPhase::Open => "open",
            PoolPhase::Failed => "failed",
            PoolPhase::Closing => "closing",
            PoolPhase::Closed => "closed",
        })
    }
}
