//! One run: a pool with its limits, all pieces, and what was seen meanwhile.

use crate::mix::{Function, Piece};
use crate::options::Options;
use crate::pieces;
use crate::problem::{Problem, Result};
use crate::samples::{self, Sample};
use crate::text::{grouped, mebibytes};
use multicore::{ErrorKind, Memory, MemoryAction, MemoryEvent, Pool, PoolBuilder, Stats, Task};
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Each worker has several lives in a run of 100,000 pieces.
const PIECES_PER_WORKER: u64 = 8_000;
/// A worker that has run each function has 2 MiB. What is left is reached by 2,000 leaks, thus by 10,000 pieces.
const HIGH_BYTES: u64 = 4 << 20;
/// A piece of 1 MiB does not come near this.
const MAX_BYTES: u64 = 8 << 20;
/// `on_memory` is called on a thread of its own, so a kill may be told after its piece has ended.
const NEWS_PATIENCE: Duration = Duration::from_secs(1);

/// The limits of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    NoLimits,
    Recycling,
    BothTiers,
}

impl Plan {
    pub const ALL: [Plan; 3] = [Plan::NoLimits, Plan::Recycling, Plan::BothTiers];

    pub fn name(self) -> &'static str {
        match self {
            Plan::NoLimits => "Without limits",
            Plan::Recycling => "Recycling",
            Plan::BothTiers => "Both tiers",
        }
    }

    pub fn title(self) -> String {
        let name = self.name();
        match self {
            Plan::NoLimits => name.to_string(),
            Plan::Recycling => {
                format!("{name}: a worker is replaced after {} pieces at most", grouped(PIECES_PER_WORKER))
            }
            Plan::BothTiers => format!(
                "{name}: a worker is replaced above {:.0} MiB, and killed above {:.0} MiB",
                mebibytes(HIGH_BYTES),
                mebibytes(MAX_BYTES)
            ),
        }
    }

    fn set(self, builder: PoolBuilder) -> PoolBuilder {
        match self {
            Plan::NoLimits => builder,
            Plan::Recycling => builder.max_pieces_per_worker(PIECES_PER_WORKER),
            Plan::BothTiers => {
                builder.worker_memory_high(Memory::bytes(HIGH_BYTES)).worker_memory_max(Memory::bytes(MAX_BYTES))
            }
        }
    }
}

/// What a run has done, and what was seen of it.
pub struct Outcome {
    pub plan: Plan,
    /// From before the pool was made until the last result was there.
    pub time: Duration,
    /// The sum of all results, without carry.
    pub sum: u64,
    pub stats: Stats,
    pub samples: Vec<Sample>,
    /// The limits in bytes above which a worker is replaced, and killed.
    pub memory_limits: Option<(u64, u64)>,
    /// How the hog ended, if there was one.
    pub hog: Option<Hog>,
}

/// The piece that takes too much: it was killed.
pub struct Hog {
    pub sentence: String,
    /// When it was killed, counted from the run's begin, and how many bytes its worker had; `None` if that was not told.
    pub kill: Option<(Duration, u64)>,
}

/// Runs all pieces in a pool of their own.
pub fn run(plan: Plan, options: &Options, pieces: &[Piece]) -> Result<Outcome> {
    let begin = Instant::now();
    let pool = plan.set(Pool::builder().workers(options.workers)).on_memory(note).build().map_err(Problem::new)?;
    let wants_hog = options.hog && plan == Plan::BothTiers;
    let (watched, (stop, stopped)) = (&pool, mpsc::channel());
    let (worked, samples) = thread::scope(|scope| {
        let watcher = thread::Builder::new()
            .spawn_scoped(scope, move || samples::watch(watched, begin, &stopped))
            .map_err(|error| Problem::new(format_args!("cannot start a thread: {error}")))?;
        let worked = work(&pool, pieces, wants_hog, begin);
        drop(stop);
        let samples = watcher.join().map_err(|_| Problem::new("the thread that reads the memory panicked"))?;
        Ok((worked, samples))
    })?;
    let Worked { sum, time, hog } = worked?;
    let memory_limits = (plan == Plan::BothTiers).then_some((HIGH_BYTES, MAX_BYTES));
    Ok(Outcome { plan, time, sum, stats: pool.stats(), samples, memory_limits, hog })
}

struct Worked {
    sum: u64,
    time: Duration,
    hog: Option<Hog>,
}

/// Hands out all pieces and adds up their results. The hog runs beside the later half.
fn work(pool: &Pool, pieces: &[Piece], wants_hog: bool, begin: Instant) -> Result<Worked> {
    let (first, second) = pieces.split_at(pieces.len() / 2);
    let of_first = sum(hand_out(pool, first)?)?;
    let hog = wants_hog.then(|| hand_out_hog(pool)).transpose()?;
    let sum = of_first.wrapping_add(sum(hand_out(pool, second)?)?);
    let hog = hog.map(|task| end_of_hog(task, begin)).transpose()?;
    Ok(Worked { sum, time: begin.elapsed(), hog })
}

fn hand_out(pool: &Pool, pieces: &[Piece]) -> Result<Task<u64>> {
    let task = pool.try_task().map_err(Problem::new)?;
    for piece in pieces {
        match piece.function {
            Function::Render => task.call(pieces::render, piece.seed),
            Function::Parse => task.call(pieces::parse, piece.seed),
            Function::Digest => task.call(pieces::digest, piece.seed),
        }
    }
    Ok(task)
}

/// Without carry, as the order of the results does not matter then.
fn sum(task: Task<u64>) -> Result<u64> {
    Ok(task.get().map_err(Problem::new)?.into_iter().fold(0, u64::wrapping_add))
}

fn hand_out_hog(pool: &Pool) -> Result<Task<u64>> {
    let task = pool.try_task().map_err(Problem::new)?;
    task.call(pieces::hog, 1);
    Ok(task)
}

fn end_of_hog(task: Task<u64>, begin: Instant) -> Result<Hog> {
    let error = match task.get() {
        Ok(_) => return Err(Problem::new("the piece that takes 1 GiB was not killed")),
        Err(error) if error.kind() == ErrorKind::MemoryLimit => error,
        Err(error) => return Err(Problem::new(error)),
    };
    let kill = last_kill(error.pid()).map(|(at, bytes)| (at.saturating_duration_since(begin), bytes));
    Ok(Hog { sentence: error.to_string(), kill })
}

/// The kill that was told last: when, which process, and its bytes.
static LAST_KILL: Mutex<Option<(Instant, u32, u64)>> = Mutex::new(None);
static KILL_IS_TOLD: Condvar = Condvar::new();

/// For `on_memory`.
fn note(event: &MemoryEvent) {
    if event.action == MemoryAction::Killed {
        *LAST_KILL.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), event.pid, event.bytes));
        KILL_IS_TOLD.notify_all();
    }
}

/// The kill of this process, once it is told.
fn last_kill(pid: Option<u32>) -> Option<(Instant, u64)> {
    let is_other = |kill: &mut Option<(Instant, u32, u64)>| kill.is_none_or(|(_, killed, _)| Some(killed) != pid);
    let last = LAST_KILL.lock().unwrap_or_else(PoisonError::into_inner);
    let told = KILL_IS_TOLD.wait_timeout_while(last, NEWS_PATIENCE, is_other).unwrap_or_else(PoisonError::into_inner);
    told.0.filter(|_| !told.1.timed_out()).map(|(at, _, bytes)| (at, bytes))
}
