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

mod data;
mod names;
mod pool;

pub use self::data::{Doing, PieceStatus, PoolPhase, PoolStatus, WorkerStatus};

use self::names::Names;
use self::pool::{Patience, Seen};
use crate::engine::wire::status::read::{MOST_ROOM, NotReadable};
use crate::engine::wire::status::{NAME, Phase, Status, VERSION};
use crate::error::{Error, ErrorKind};
use crate::sys::observed::{NotSeen, Process};
use std::collections::BTreeSet;

/// New pools of the process are looked for in each look with this number: to list its descriptors takes longer than all else.
const LOOKS_A_SEARCH: u64 = 5;

/// More pools than any process has.
const MOST_POOLS: usize = 1000;

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
        if observer.process.has_ended() {
            return Err(not_seen(pid, &NotSeen::Missing));
        }
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
        if pools.iter().map(Seen::used).sum::<usize>() > MOST_ROOM {
            return Err(too_many(self.number));
        }
        // The numbers of rows may change meanwhile.
        let (mut patience, mut most) = (Patience::new(), MOST_ROOM);
        let look = |pool: &mut Seen| {
            let told = pool.look(most, process, names, &mut patience);
            most = most.saturating_sub(pool.used());
            told
        };
        let told = pools.iter_mut().map(look).collect();
        Ok((!process.has_ended()).then_some(told))
    }

    /// The number of pools whose status is of another version of this crate, and so cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Finds the pools that there are now. Gives the versions of those that cannot be read.
    fn search(&mut self) -> Result<Vec<u64>, NotSeen> {
        let Observer { process, pools, .. } = self;
        let (mut present, mut versions, mut failed) = (BTreeSet::new(), Vec::new(), None);
        process.each_memfd(NAME, |inode, open| {
            if !present.insert(inode) || pools.iter().any(|pool| pool.inode() == inode) {
                return Ok(());
            }
            match open().and_then(|file| Status::open(&file)) {
                // A child has its ancestors' descriptors as well.
                Ok(Ok((_, owner))) if !process.is(owner.pid, owner.namespace) => {}
                Ok(Ok(_)) if pools.len() == MOST_POOLS => {
                    let too_many = format!("it tells of more than {MOST_POOLS} pools, and no program has as many");
                    return Err(NotSeen::Failed(std::io::Error::other(too_many)));
                }
                Ok(Ok((status, owner))) => pools.push(Seen::new(inode, status, owner)),
                Ok(Err(NotReadable::Version(version))) => versions.push(version),
                // Anybody may call a file so.
                Ok(Err(NotReadable::Foreign)) => {}
                // So it may also be one that cannot be opened, or is too long to be mapped.
                Err(error) => failed = Some(error),
            }
            Ok(())
        })?;
        pools.retain(|pool| present.contains(&pool.inode()));
        pools.sort_by_key(Seen::number);
        self.unreadable = versions.len();
        match failed {
            Some(error) if self.pools.is_empty() && versions.is_empty() => Err(error.into()),
            _ => Ok(versions),
        }
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

fn too_many(pid: u32) -> Error {
    let message = format!(
        "process {pid} tells of more than {MOST_ROOM} workers, and no program has as many: what it tells is not this crate's"
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
