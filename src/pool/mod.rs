//! A pool as its user holds it: the builder, the global pool, the settings from the environment.

pub(crate) mod gate;
pub(crate) mod ranges;

use self::gate::load::Gate;
use self::ranges::Ranges;
use crate::codec::call::Call;
use crate::codec::value::Value;
use crate::codec::{self, Encoded, Format};
use crate::engine::{self, Hook, Settings, Shared};
use crate::error::{Error, ErrorKind};
use crate::stats::{Stats, WorkerStats};
use crate::task::Task;
use parking_lot::Mutex;
use std::cell::OnceCell;
use std::sync::{Arc, OnceLock};

/// Sets how many workers the global pool has.
const WORKERS_VARIABLE: &str = "MULTICORE_WORKERS";

/// Sets the global pool's load limit, in percent.
const LOAD_VARIABLE: &str = "MULTICORE_MAX_LOAD_AVERAGE";

/// More workers than this are a mistake.
const MAX_WORKERS: usize = 4096;

/// Pieces for each worker in [`ranges`](crate::ranges()): enough that an uneven one does not matter.
const PIECES_A_WORKER: usize = 4;

const DEFAULT_WARM_MEMORY: usize = 64 * 1024 * 1024;

/// A fixed number of worker processes.
///
/// Most programs need none of their own: [`Task::new`] uses the global pool. A pool of its own has
/// its own settings and workers. Dropping it kills what runs; [`shutdown`](Pool::shutdown) lets
/// running pieces end. Either returns when no process of the pool is left.
///
/// ```
/// # fn main() -> Result<(), multicore::Error> {
/// let pool = multicore::Pool::builder().workers(2).build()?;
/// let task = pool.try_task::<u64>()?;
/// for (start, end) in pool.ranges(1000) {
///     task.run(|start, end| (start..end).sum::<usize>() as u64, start, end);
/// }
/// assert_eq!(task.get()?.iter().sum::<u64>(), 499_500);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    gate: Option<Gate>,
    /// Set by `shutdown`, after which there is nothing to kill.
    ended: bool,
}

impl Pool {
    /// Settings for a pool; each has a default.
    pub fn builder() -> PoolBuilder {
        PoolBuilder {
            workers: None,
            max_load_percent: None,
            preload: None,
            on_worker_start: None,
            on_worker_exit: None,
            warm_memory_bytes: DEFAULT_WARM_MEMORY,
            max_result_bytes: None,
            core_files: false,
            no_new_privileges: false,
            #[cfg(unix)]
            passed: Vec::new(),
        }
    }

    /// The pool that [`Task::new`] uses, started at its first use and kept until the program ends.
    ///
    /// # Errors
    /// [`InWorker`](ErrorKind::InWorker) in a worker, [`Unsupported`](ErrorKind::Unsupported) where
    /// no pool can run, [`Config`](ErrorKind::Config) if the environment sets what is no number,
    /// [`System`](ErrorKind::System) if the operating system refuses something.
    pub fn global() -> Result<&'static Pool, Error> {
        if let Some(pool) = GLOBAL.get() {
            return pool.usable();
        }
        let _one = STARTING.lock();
        if let Some(pool) = GLOBAL.get() {
            return pool.usable();
        }
        let pool = Pool::builder().with_environment()?.build()?;
        Ok(GLOBAL.get_or_init(|| pool))
    }

    fn usable(&self) -> Result<&Self, Error> {
        if engine::is_this_process() {
            return Ok(self);
        }
        Err(engine::foreign())
    }

    /// A task of this pool, or `None` while the machine is busy.
    #[must_use]
    pub fn task<R: Value>(&self) -> Option<Task<R>> {
        self.try_task().ok()
    }

    /// A task of this pool.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) while the machine's load is at or above the pool's limit;
    /// [`Cancelled`](ErrorKind::Cancelled) once the pool has been shut down, or the error that
    /// ended it.
    pub fn try_task<R: Value>(&self) -> Result<Task<R>, Error> {
        let pool = self.usable()?;
        if let Some(gate) = &pool.gate {
            gate.check()?;
        }
        Ok(Task::in_pool(Arc::clone(&pool.shared), pool.shared.open_task()?))
    }

    /// A task of this pool, or one whose pieces run in this process where
    /// [`task`](Pool::task) gives `None`.
    pub fn task_or_inline<R: Value>(&self) -> Task<R> {
        self.task().unwrap_or_else(Task::inline)
    }

    /// How many workers it is set to have.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.shared.workers()
    }

    /// Cuts `0..len` into pieces, 4 for each of its workers unless told otherwise.
    pub fn ranges(&self, len: usize) -> Ranges {
        Ranges::new(len, self.workers() * PIECES_A_WORKER)
    }

    /// What it is doing now and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let figures = self.shared.figures();
        let workers = figures.workers.into_iter().enumerate();
        let workers = workers.map(|(worker, (pid, pieces_held, pieces_done, generation))| WorkerStats {
            worker,
            pid,
            pieces_held,
            pieces_done,
            generation,
        });
        Stats {
            workers: workers.collect(),
            tasks: figures.tasks,
            pieces_waiting: figures.pieces_waiting,
            pieces_done: figures.pieces_done,
            workers_lost: figures.deaths,
        }
    }

    /// Ends the pool: running pieces come to their end, workers run their
    /// [`on_worker_exit`](PoolBuilder::on_worker_exit), and what has not begun ends in
    /// [`Cancelled`](ErrorKind::Cancelled). Returns when no process of the pool is left.
    pub fn shutdown(mut self) {
        self.end(false);
    }

    fn end(&mut self, kill: bool) {
        // A forked copy of the program holds a copy of the pool, but not the pool.
        if !self.ended && engine::is_this_process() {
            self.ended = true;
            self.shared.shut_down(kill);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end(true);
    }
}

static GLOBAL: OnceLock<Pool> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

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
        None => workers_from_environment().ok().flatten().unwrap_or_else(num_cpus::get),
    };
    Ranges::new(len, workers * PIECES_A_WORKER)
}

/// Settings for a [`Pool`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    workers: Option<usize>,
    max_load_percent: Option<f64>,
    preload: Option<Result<Hook, Error>>,
    on_worker_start: Option<Result<Hook, Error>>,
    on_worker_exit: Option<Result<Hook, Error>>,
    warm_memory_bytes: usize,
    max_result_bytes: Option<usize>,
    core_files: bool,
    no_new_privileges: bool,
    #[cfg(unix)]
    passed: Vec<std::io::Result<(std::os::fd::RawFd, std::os::fd::OwnedFd)>>,
}

impl PoolBuilder {
    /// How many workers. Default: as many as the CPUs that this process may use, by its affinity
    /// and its cgroup's quota. 0 is refused, as are more than 4096.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// The load average over one minute at which the pool counts as busy, in percent of one core,
    /// scaled by the CPUs that this process may use: 85.0 on 4 of them is a load of 3.4. A reading
    /// is used for up to a second. Default: no limit. 0 means always busy; negative numbers and
    /// NaN are refused.
    pub fn max_load_average(mut self, percent: f64) -> Self {
        self.max_load_percent = Some(percent);
        self
    }

    /// Runs once in the fork server, before any worker is forked: what it loads is shared by all
    /// workers without a copy. Default: nothing. Let it draw no random numbers, open no connections
    /// and start no threads: all workers would share them.
    pub fn preload(mut self, function: fn()) -> Self {
        self.preload = Some(engine::hook(Call::of_hook(function), Vec::new()));
        self
    }

    /// As [`preload`](Self::preload), with a value sent along.
    pub fn preload_with<V: Value>(mut self, function: fn(V), value: V) -> Self {
        self.preload = Some(hook_with(function, value));
        self
    }

    /// Runs in each new worker, before its first piece. Default: nothing. A worker in which it
    /// panics dies and is replaced; five in a row end the pool.
    pub fn on_worker_start(mut self, function: fn()) -> Self {
        self.on_worker_start = Some(engine::hook(Call::of_hook(function), Vec::new()));
        self
    }

    /// As [`on_worker_start`](Self::on_worker_start), with a value sent along.
    pub fn on_worker_start_with<V: Value>(mut self, function: fn(V), value: V) -> Self {
        self.on_worker_start = Some(hook_with(function, value));
        self
    }

    /// Runs in each worker that leaves in order, at [`Pool::shutdown`]; not in one that is killed.
    /// Default: nothing.
    pub fn on_worker_exit(mut self, function: fn()) -> Self {
        self.on_worker_exit = Some(engine::hook(Call::of_hook(function), Vec::new()));
        self
    }

    /// As [`on_worker_exit`](Self::on_worker_exit), with a value sent along.
    pub fn on_worker_exit_with<V: Value>(mut self, function: fn(V), value: V) -> Self {
        self.on_worker_exit = Some(hook_with(function, value));
        self
    }

    /// How much freed memory, in bytes, each worker keeps ready for the next big value while it is
    /// busy; after half a second of quiet it is given back all the same. Default: 64 MiB. 0 keeps
    /// nothing. Has an effect with glibc's allocator only.
    pub fn warm_memory(mut self, bytes: usize) -> Self {
        self.warm_memory_bytes = bytes;
        self
    }

    /// How long a result may be, in bytes as it travels. Default: half of the memory that the machine, or
    /// the control group that this program runs in, has; none where neither can be found out. A piece whose result is longer ends in
    /// [`Encode`](ErrorKind::Encode), and a worker that sends more all the same is killed: none can take
    /// all the memory of this process. 0 is refused.
    pub fn max_result_bytes(mut self, bytes: usize) -> Self {
        self.max_result_bytes = Some(bytes);
        self
    }

    /// Whether workers that crash, and what they started, may leave a core file, as far as the system's
    /// settings and the limits of this process have it so. Default: false, since a pool goes on after
    /// crashes, and each would leave one.
    pub fn core_files(mut self, wanted: bool) -> Self {
        self.core_files = wanted;
        self
    }

    /// Whether workers, and what they start, are kept from ever getting more rights than this process
    /// has, by setuid programs for instance (`PR_SET_NO_NEW_PRIVS`, prctl(2)). Default: false.
    pub fn no_new_privileges(mut self, kept: bool) -> Self {
        self.no_new_privileges = kept;
        self
    }

    /// Descriptors that the workers shall have too, under the same numbers: a jobserver's, say, or those
    /// that a service manager passed to this program. Of all others they have none but the standard
    /// streams. Default: none. Each is duplicated at once, so it may be closed afterwards. Numbers below
    /// 3 are refused.
    ///
    /// ```
    /// use std::os::fd::{AsFd, AsRawFd};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[cfg(target_os = "linux")] {
    /// let file = std::fs::File::open("/proc/self/comm")?;
    /// let pool = multicore::Pool::builder().workers(1).pass_descriptors(&[file.as_fd()]).build()?;
    /// let task = pool.try_task::<bool>()?;
    /// task.call(|number: i32| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok(), file.as_raw_fd());
    /// assert_eq!(task.get()?, [true]);
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    pub fn pass_descriptors(mut self, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Self {
        use std::os::fd::AsRawFd;
        self.passed.extend(descriptors.iter().map(|fd| Ok((fd.as_raw_fd(), fd.try_clone_to_owned()?))));
        self
    }

    /// What the environment sets, where the program sets nothing.
    fn with_environment(mut self) -> Result<Self, Error> {
        self.workers = workers_from_environment()?;
        self.max_load_percent =
            from_variable(LOAD_VARIABLE, "a load limit of 0 percent or more, such as 85", |percent: &f64| {
                percent.is_finite() && *percent >= 0.0
            })?;
        Ok(self)
    }

    /// Starts the pool. Returns when its fork server answers; the workers are being forked by then.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a setting that makes no sense, [`Encode`](ErrorKind::Encode)
    /// if a hook's value cannot be sent, and as [`Pool::global`].
    pub fn build(self) -> Result<Pool, Error> {
        // It reads files: not where the answer is not needed.
        let cpus = OnceCell::new();
        let cpus = || *cpus.get_or_init(num_cpus::get);
        let workers = self.workers.unwrap_or_else(cpus);
        if workers == 0 || workers > MAX_WORKERS {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "a pool of {workers} workers makes no sense: give 1 to {MAX_WORKERS}, or leave it out for one for each CPU"
                ),
            ));
        }
        let gate = self.max_load_percent.map(|percent| Gate::new(percent, cpus())).transpose()?;
        let settings = Settings {
            preload: self.preload.transpose()?,
            on_worker_start: self.on_worker_start.transpose()?,
            on_worker_exit: self.on_worker_exit.transpose()?,
            warm_memory_bytes: self.warm_memory_bytes as u64,
            max_result_bytes: self.max_result_bytes.map(|bytes| bytes as u64),
            core_files: self.core_files,
            no_new_privileges: self.no_new_privileges,
        };
        if self.max_result_bytes == Some(0) {
            return Err(Error::new(
                ErrorKind::Config,
                "results of at most 0 bytes make no sense: leave max_result_bytes out, or give what the largest may need",
            ));
        }
        #[cfg(unix)]
        let passed = {
            let passed: std::io::Result<Vec<_>> = self.passed.into_iter().collect();
            let passed = passed.map_err(|error| Error::system("cannot keep a descriptor for the workers", error))?;
            if let Some((number, _)) = passed.iter().find(|(number, _)| *number < 3) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("descriptor {number} is a standard stream, which workers have anyway: pass others only"),
                ));
            }
            passed
        };
        #[cfg(not(unix))]
        let passed = Vec::<()>::new();
        Ok(Pool { shared: engine::start(workers, &settings, passed)?, gate, ended: false })
    }

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

fn hook_with<V: Value>(function: fn(V), value: V) -> Result<Hook, Error> {
    let mut buffer = Vec::new();
    let bytes = match codec::encode_argument(Format::Bincode, value, &mut buffer) {
        Ok(Encoded::Own(bytes)) => bytes,
        Ok(Encoded::InBuffer) => buffer,
        Err(reason) => return Err(Error::new(ErrorKind::Encode, format!("a hook's value cannot be sent: {reason}"))),
    };
    engine::hook(Call::of_argument(function), bytes)
}

fn workers_from_environment() -> Result<Option<usize>, Error> {
    let what = format!("a number of workers from 1 to {MAX_WORKERS}, such as 4");
    from_variable(WORKERS_VARIABLE, &what, |workers| (1..=MAX_WORKERS).contains(workers))
}

/// A number from the environment; a value that is none, or makes no sense, is never taken for another.
fn from_variable<T: std::str::FromStr>(name: &str, what: &str, fits: impl Fn(&T) -> bool) -> Result<Option<T>, Error> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    match value.to_str().and_then(|value| value.trim().parse().ok()).filter(fits) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::new(
            ErrorKind::Config,
            format!("{name} is {value:?}, which is not {what}; correct it or unset it"),
        )),
    }
}
