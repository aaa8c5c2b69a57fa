//! The settings of a pool, and its start.

use crate::backend::{Hook, PoolSettings};
use crate::codec;
use crate::codec::call::Call;
use crate::codec::state::{self, StateType};
use crate::codec::value::Value;
use crate::engine;
use crate::error::{Error, ErrorKind, Failure};
use crate::pool::Pool;
use crate::pool::environment::{self, MAX_WORKERS};
use crate::pool::gate::load::Gate;
use crate::pool::memory::{Limits, Memory};
use crate::pool::processes::Processes;
use crate::stats::memory::MemoryEvent;
use crate::sys::machine;
use std::cell::OnceCell;
use std::time::Duration;

/// 64 MiB hold the longest result that is always allowed, so the next one costs no page faults. With a tenth, big
/// results would pay for their pages each time; with ten times, 16 busy workers could keep 10 GiB.
const DEFAULT_WARM_MEMORY_BYTES: usize = 64 * 1024 * 1024;

impl Pool {
    /// Settings for a pool; each has a default.
    pub fn builder() -> PoolBuilder {
        PoolBuilder {
            workers: None,
            max_load_percent: None,
            preload: None,
            on_worker_start: None,
            on_worker_exit: None,
            worker_state: None,
            warm_memory_bytes: DEFAULT_WARM_MEMORY_BYTES,
            max_result_bytes: None,
            core_files: false,
            no_new_privileges: false,
            processes: Processes::default(),
            max_pieces_per_worker: None,
            max_worker_age: None,
            max_queued_bytes: None,
            max_pieces_waiting: None,
            memory: Limits::default(),
            unsampled: false,
            timeline: 0,
            on_memory: None,
            #[cfg(feature = "signal")]
            recycle_signals: Vec::new(),
            #[cfg(unix)]
            passed: Vec::new(),
        }
    }
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
    worker_state: Option<(Result<Hook, Error>, StateType)>,
    warm_memory_bytes: usize,
    max_result_bytes: Option<usize>,
    core_files: bool,
    no_new_privileges: bool,
    pub(super) processes: Processes,
    max_pieces_per_worker: Option<u64>,
    max_worker_age: Option<Duration>,
    max_queued_bytes: Option<usize>,
    max_pieces_waiting: Option<usize>,
    memory: Limits,
    unsampled: bool,
    pub(super) timeline: usize,
    on_memory: Option<fn(&MemoryEvent)>,
    #[cfg(feature = "signal")]
    recycle_signals: Vec<i32>,
    #[cfg(unix)]
    passed: Vec<std::io::Result<Passed>>,
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
    /// workers without a copy. Default: nothing. It must draw no random numbers, open no connections
    /// and start no threads: all workers would share them.
    pub fn preload(mut self, function: fn()) -> Self {
        self.preload = Some(Ok(hook(function)));
        self
    }

    /// As [`preload`](Self::preload), with a value sent along, as in [`Format::Bincode`](crate::Format::Bincode).
    pub fn preload_with<V: Value>(mut self, function: fn(V), value: V) -> Self {
        self.preload = Some(hook_with(function, value));
        self
    }

    /// Runs in each new worker, before its first piece. Default: nothing. A worker in which it
    /// panics dies and is replaced; five in a row end the pool.
    pub fn on_worker_start(mut self, function: fn()) -> Self {
        self.on_worker_start = Some(Ok(hook(function)));
        self
    }

    /// As [`on_worker_start`](Self::on_worker_start), with a value sent along.
    pub fn on_worker_start_with<V: Value>(mut self, function: fn(V), value: V) -> Self {
        self.on_worker_start = Some(hook_with(function, value));
        self
    }

    /// Runs in each worker that ends in order: at [`Pool::shutdown`], and when it is replaced; not in one that is killed.
    /// It may work for any time at a shutdown, where a worker that sleeps in it for 10 s is killed; a worker that is replaced
    /// has 2 s for it. Default: nothing.
    pub fn on_worker_exit(mut self, function: fn()) -> Self {
        self.on_worker_exit = Some(Ok(hook(function)));
        self
    }

    /// As [`on_worker_exit`](Self::on_worker_exit), with a value sent along.
    pub fn on_worker_exit_with<V: Value>(mut self, function: fn(V), value: V) -> Self {
        self.on_worker_exit = Some(hook_with(function, value));
        self
    }

    /// Makes a state in each worker, for the pieces of [`Task::call_with`](crate::Task::call_with) and
    /// [`Task::run_with`](crate::Task::run_with): a connection, or a table that cannot travel. Default: none.
    ///
    /// `function` runs once in each worker, before its first piece that asks, on the thread of the pieces. If it fails, that piece ends in
    /// [`Failed`](ErrorKind::Failed), and the next one that asks has it run again. A panic in such a piece drops the state, and
    /// it is made anew. A worker that leaves in order drops it after its [`on_worker_exit`](Self::on_worker_exit). `value` travels as
    /// that of a hook.
    ///
    /// ```
    /// use multicore::Failure;
    /// use std::collections::HashMap;
    ///
    /// fn open(names: Vec<String>) -> Result<HashMap<String, usize>, Failure> {
    ///     Ok(names.into_iter().enumerate().map(|(number, name)| (name, number)).collect())
    /// }
    ///
    /// fn look_up(numbers: &mut HashMap<String, usize>, name: String) -> Option<usize> {
    ///     numbers.get(&name).copied()
    /// }
    ///
    /// # fn main() -> Result<(), multicore::Error> {
    /// let names = vec!["a".to_string(), "b".to_string()];
    /// let pool = multicore::Pool::builder().workers(2).worker_state(open, names).build()?;
    /// let task = pool.try_task()?;
    /// task.call_with(look_up, "b".to_string());
    /// assert_eq!(task.get()?, [Some(1)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn worker_state<V: Value, S: 'static>(mut self, function: fn(V) -> Result<S, Failure>, value: V) -> Self {
        let hook = sent(value).map(|value| Hook { call: Call::of_state(function), value });
        self.worker_state = Some((hook, state::type_of::<S>));
        self
    }

    /// How much freed memory, in bytes, each worker keeps ready for the next big value while it is
    /// busy; after 0.3 s without work it is given back all the same. Default: 64 MiB. 0 keeps
    /// nothing. Has an effect with glibc's allocator only.
    pub fn warm_memory(mut self, bytes: usize) -> Self {
        self.warm_memory_bytes = bytes;
        self
    }

    /// The most bytes that a result may have, encoded. Default: half of the memory of the machine, or of what the
    /// control groups that this program runs in allow, the inner and the outer ones; no limit where neither is known. A piece whose result is
    /// longer ends in [`Encode`](ErrorKind::Encode). A worker that sends more all the same is killed, so that
    /// no worker can take all the memory of this process. What is set holds for [tasks without workers](Pool::task_or_inline), too. 0 is refused.
    pub fn max_result_bytes(mut self, bytes: usize) -> Self {
        self.max_result_bytes = Some(bytes);
        self
    }

    /// Whether workers that crash, and what they started, may leave a core file, where the system's
    /// settings and the limits of this process allow it. Default: false, because a pool goes on after
    /// crashes, and each crash would leave one.
    pub fn core_files(mut self, wanted: bool) -> Self {
        self.core_files = wanted;
        self
    }

    /// Whether workers, and what they start, can never get more rights than this process has, by setuid
    /// programs for example (`PR_SET_NO_NEW_PRIVS`, prctl(2)). Default: false.
    pub fn no_new_privileges(mut self, kept: bool) -> Self {
        self.no_new_privileges = kept;
        self
    }

    /// The most pieces that a worker process runs; then another takes its place. Default: any number. 0 is refused.
    ///
    /// Some are replaced up to a tenth earlier, so that not all are at once. The successor is started ahead, and is ready
    /// when its predecessor goes, so the pool always has all its workers, unless they live shorter than a start takes.
    /// For code that leaks a little in each piece; [`Pool::recycle`] does the same once.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = multicore::Pool::builder().workers(2).max_pieces_per_worker(1000).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_pieces_per_worker(mut self, pieces: u64) -> Self {
        self.max_pieces_per_worker = Some(pieces);
        self
    }

    /// How long a worker process lives; then another takes its place, as for
    /// [`max_pieces_per_worker`](Self::max_pieces_per_worker). Default: any time. Zero is refused.
    ///
    /// It is looked at when a piece ends, and for tasks of several pieces also when an idle worker gets some: an idle pool keeps
    /// its workers, and a piece that runs is not interrupted.
    pub fn max_worker_age(mut self, age: Duration) -> Self {
        self.max_worker_age = Some(age);
        self
    }

    /// The memory of all workers together above which the largest of them is replaced, after its piece. Default: 70/85 of
    /// [`memory_max`](Self::memory_max) where that is set, else no limit. It must be below that.
    ///
    /// What counts is what workers have written or allocated, with the freed memory that their allocators keep
    /// ([`warm_memory`](Self::warm_memory)); what they share with their fork server counts once, and this program's own does not.
    /// For this limit alone a worker lives at least ten times as long as its start took, unless it has grown by half of the
    /// limit.
    pub fn memory_high(mut self, limit: Memory) -> Self {
        self.memory.high = Some(limit);
        self
    }

    /// The memory of all workers together above which the largest of them is killed, in mid-piece too, once it was found in
    /// [`memory_checks`](Self::memory_checks) in a row. Default: no limit.
    ///
    /// The piece ends in [`MemoryLimit`](ErrorKind::MemoryLimit), or runs again if its task has
    /// [`retries`](crate::Task::retries) left. While pieces run, the memory is looked at each 2 to 250 ms, the more often the
    /// less is left. With this line alone, workers are replaced at 70 % and killed at 85 % of what the machine, or the control
    /// group, has:
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// # #[cfg(target_os = "linux")]
    /// let pool = multicore::Pool::builder().memory_max(multicore::Memory::percent(85.0)).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn memory_max(mut self, limit: Memory) -> Self {
        self.memory.max = Some(limit);
        self
    }

    /// The same as [`memory_high`](Self::memory_high) for each worker. It leaves out what the worker shares with its fork
    /// server. Default: 70/85 of [`worker_memory_max`](Self::worker_memory_max) where that is set, else no limit. A worker
    /// that is above it when it is ready is replaced at twice the size that it had then.
    pub fn worker_memory_high(mut self, limit: Memory) -> Self {
        self.memory.worker_high = Some(limit);
        self
    }

    /// The same as [`memory_max`](Self::memory_max) for each worker. Default: no limit.
    pub fn worker_memory_max(mut self, limit: Memory) -> Self {
        self.memory.worker_max = Some(limit);
        self
    }

    /// The number of checks in a row that must find a maximum exceeded before a worker is killed. Default: 2. The second comes 5 ms
    /// after the first. 0 is refused.
    pub fn memory_checks(mut self, checks: u32) -> Self {
        self.memory.checks = Some(checks);
        self
    }

    /// The most memory, in bytes, that a worker may allocate beyond what it had when it was forked (`RLIMIT_DATA`,
    /// setrlimit(2)): the kernel refuses it more. Default: no limit. 0 is refused.
    ///
    /// A piece that asks for more and ends of that ends in [`MemoryLimit`](ErrorKind::MemoryLimit), or runs again if its task has
    /// [`retries`](crate::Task::retries) left: where Rust's allocator gives up, where a program aborts, or where it writes
    /// to a null pointer that it did not look at. The last two are recognized as far as that can be told; else the piece
    /// ends in [`WorkerLost`](ErrorKind::WorkerLost), as by any crash. Code that looks at the answer goes on.
    ///
    /// In contrast to [`worker_memory_max`](Self::worker_memory_max) it lets no worker have more, even for a moment. But
    /// it counts what is reserved and not touched too, such as the stacks of threads. What grows by doubling, as a `Vec`
    /// does, fails at about half of it, since the old block is there until it was copied. What `preload` has
    /// loaded does not count, and what [`on_worker_start`](Self::on_worker_start) allocates does. Workers that are executed
    /// ([`WorkerStart`](crate::WorkerStart)) may have it beyond what they had after `preload`. A program that a piece starts
    /// inherits the limit as a number of bytes. Where this program has a lower one, that stays.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// # #[cfg(target_os = "linux")] {
    /// let pool = multicore::Pool::builder().workers(1).worker_data_limit(300 << 20).build()?;
    /// let task = pool.try_task::<usize>()?;
    /// task.call(|bytes: usize| vec![1_u8; bytes].len(), 1 << 30);
    /// assert_eq!(task.get().unwrap_err().kind(), multicore::ErrorKind::MemoryLimit);
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn worker_data_limit(mut self, bytes: u64) -> Self {
        self.memory.worker_data = Some(bytes);
        self
    }

    /// The memory that must be available: below it no task is given, and no piece begins while another of the pool runs, so the
    /// pool never stands still. Default: none. 0 bytes, a percentage outside (0, 100] and [`Memory::growth`] are refused.
    ///
    /// What is available is what the machine can still give, or the tightest of the control groups of this process if that
    /// is less, as in [`Stats::memory_available`](crate::Stats::memory_available). It is read at most each 100 ms, while
    /// tasks are asked for or pieces wait. Pieces begin again at a tenth above the limit. While it is not met,
    /// [`Task::new`](crate::Task::new) gives `None`, and [`try_task`](Pool::try_task) an error of kind
    /// [`Busy`](ErrorKind::Busy) that tells both numbers. Until the next reading, each task that is given counts as if it took
    /// as much as the largest worker did, so that not all pass that ask at once. What was handed to a worker in advance
    /// and has not begun comes back and waits too.
    ///
    /// More than the machine has is no error: a library that asks for 8 GB must not fail on a small machine. There it gets
    /// no tasks, and its caller does the work by itself, as with [`new_or_inline`](crate::Task::new_or_inline).
    /// [`memory_advisory`](Self::memory_advisory) does not concern it.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// # #[cfg(target_os = "linux")] {
    /// use multicore::{Memory, Pool};
    ///
    /// let pool = Pool::builder().workers(2).min_available_memory(Memory::percent(10.0)).build()?;
    /// let task = pool.task_or_inline::<u64>();
    /// task.run(|a: u64, b: u64| a + b, 1, 2);
    /// assert_eq!(task.get()?, [3]);
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn min_available_memory(mut self, least: Memory) -> Self {
        self.memory.min_available = Some(least);
        self
    }

    /// Is called for each thing that the pool does about memory, on a thread of its own, so that a slow function delays nothing.
    /// A panic in it is ignored. Default: nothing is called.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// # #[cfg(target_os = "linux")]
    /// let pool = multicore::Pool::builder()
    ///     .memory_max(multicore::Memory::percent(85.0))
    ///     .on_memory(|event| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_memory(mut self, tell: fn(&MemoryEvent)) -> Self {
        self.on_memory = Some(tell);
        self
    }

    /// Whether the limits of memory only report to [`on_memory`](Self::on_memory), once each time that one is exceeded: no worker
    /// is replaced or killed for them. Default: false.
    pub fn memory_advisory(mut self, only_reports: bool) -> Self {
        self.memory.only_reports = only_reports;
        self
    }

    /// The bytes of arguments that may wait in this program, a piece counting as 64 more. While more wait, `run`, `call` and `run_all`
    /// wait until workers have taken some. Default: they never wait. With 0 they wait until nothing does.
    ///
    /// They do not wait where no worker can make room: while all that waits is barred by too much unread
    /// ([`max_unread`](crate::Task::max_unread)) or by [`min_available_memory`](Self::min_available_memory), or there is no
    /// worker. For imports whose rows are read faster than they are worked on.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = multicore::Pool::builder().workers(2).max_queued_bytes(64 << 20).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.max_queued_bytes = Some(bytes);
        self
    }

    /// How many pieces may wait for a worker while new tasks are opened: while more wait, [`Pool::task`] is `None` and [`Pool::try_task`]
    /// gives [`Busy`](ErrorKind::Busy), with both numbers. Default: no limit. With 0 a task is opened only while no piece waits.
    ///
    /// For servers, which rather refuse a request at once than answer it late; [`max_load_average`](Self::max_load_average) tells of
    /// the last minute. The pieces of tasks that are open always wait. Those that a worker holds, as many as it does in some 600 us, do not
    /// count: see [`Stats::pieces_waiting`](crate::Stats::pieces_waiting).
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = multicore::Pool::builder().workers(2).max_pieces_waiting(100).build()?;
    /// match pool.try_task::<u64>() {
    ///     Ok(task) => task.call(|number: u64| number + 1, 1),
    ///     Err(error) => eprintln!("503 Service Unavailable: {error}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_pieces_waiting(mut self, pieces: usize) -> Self {
        self.max_pieces_waiting = Some(pieces);
        self
    }

    /// Whether pieces are sampled for [`functions`](crate::Stats::functions). For the benches, which measure what that costs.
    #[doc(hidden)]
    pub fn samples(mut self, samples: bool) -> Self {
        self.unsampled = !samples;
        self
    }

    /// A signal that does what [`Pool::recycle`] does, such as SIGUSR1, as uWSGI and Celery know it. Default: none. May be
    /// called more than once. Needs the feature `signal`.
    ///
    /// What the program did at this signal before it does as well, but the signal does not end it any more, even after the
    /// pool has ended. A handler that it installs later takes the signal from the pool. The workers do not see the signal,
    /// so it may be sent to all processes of a service. A signal that cannot be handled (SIGKILL, SIGSTOP, SIGSEGV, SIGFPE,
    /// SIGILL) is refused.
    ///
    /// ```
    /// # fn main() -> Result<(), multicore::Error> {
    /// # #[cfg(target_os = "linux")]
    /// let pool = multicore::Pool::builder().workers(2).recycle_on_signal(libc::SIGUSR1).build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "signal")]
    pub fn recycle_on_signal(mut self, signal: i32) -> Self {
        self.recycle_signals.push(signal);
        self
    }

    /// Descriptors that the workers get too, under the same numbers: a jobserver's, for example, or those
    /// that a service manager passed to this program. Of all other descriptors, the workers have only the
    /// standard streams. Default: none. Each is duplicated at once, so it may be closed afterwards. Numbers
    /// below 3 are refused.
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

    /// Takes over what the environment sets, where the program sets nothing.
    pub(super) fn with_environment(mut self) -> Result<Self, Error> {
        self.workers = environment::workers()?;
        self.max_load_percent = environment::max_load_percent()?;
        Ok(self)
    }

    /// Starts the pool. Returns when its fork server answers; the workers are being forked by then.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a setting that makes no sense, [`Encode`](ErrorKind::Encode)
    /// if a hook's value cannot be sent or its type cannot read it, and as [`Pool::global`].
    pub fn build(self) -> Result<Pool, Error> {
        // Counting the CPUs reads files, so they are counted only where the number is needed.
        let cpus = OnceCell::new();
        let cpus = || *cpus.get_or_init(machine::cpus);
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
        let (worker_state, state_type) = match self.worker_state {
            Some((hook, state_type)) => (Some(hook?), Some(state_type)),
            None => (None, None),
        };
        let settings = PoolSettings {
            preload: self.preload.transpose()?,
            on_worker_start: self.on_worker_start.transpose()?,
            on_worker_exit: self.on_worker_exit.transpose()?,
            worker_state,
            warm_memory_bytes: self.warm_memory_bytes as u64,
            max_result_bytes: self.max_result_bytes.map(|bytes| bytes as u64),
            core_files: self.core_files,
            no_new_privileges: self.no_new_privileges,
            niceness: self.processes.niceness()?,
            max_pieces_per_worker: self.max_pieces_per_worker,
            // 500 years are for ever.
            max_worker_age_ns: self.max_worker_age.and_then(|age| u64::try_from(age.as_nanos()).ok()),
            idle_timeout_ns: self.processes.idle_timeout_ns()?,
            #[cfg(feature = "signal")]
            recycle_signals: self.recycle_signals,
            max_queued_bytes: self.max_queued_bytes,
            max_pieces_waiting: self.max_pieces_waiting,
            memory: self.memory.resolve()?,
            unsampled: self.unsampled,
            timeline: self.timeline,
            on_memory: self.on_memory,
        };
        check(&settings)?;
        #[cfg(unix)]
        let passed = check_passed(self.passed)?;
        #[cfg(not(unix))]
        let passed = Vec::<()>::new();
        Ok(Pool::new(engine::start(workers, &settings, passed)?, gate, &settings, state_type))
    }
}

/// Refuses limits with which no piece could end.
fn check(settings: &PoolSettings) -> Result<(), Error> {
    if settings.max_pieces_per_worker == Some(0) {
        return Err(Error::new(
            ErrorKind::Config,
            "workers of at most 0 pieces make no sense: leave max_pieces_per_worker out, or give at least 1",
        ));
    }
    if settings.max_worker_age_ns == Some(0) {
        return Err(Error::new(
            ErrorKind::Config,
            "workers that live for 0 s make no sense: leave max_worker_age out, or give more",
        ));
    }
    if settings.max_result_bytes == Some(0) {
        return Err(Error::new(
            ErrorKind::Config,
            "results of at most 0 bytes make no sense: leave max_result_bytes out, or give what the largest may need",
        ));
    }
    Ok(())
}

/// A descriptor for the workers, with the number that it has in them.
#[cfg(unix)]
type Passed = (std::os::fd::RawFd, std::os::fd::OwnedFd);

#[cfg(unix)]
fn check_passed(passed: Vec<std::io::Result<Passed>>) -> Result<Vec<Passed>, Error> {
    let passed: std::io::Result<Vec<_>> = passed.into_iter().collect();
    let passed = passed.map_err(|error| Error::system("cannot keep a descriptor for the workers", error))?;
    if let Some((number, _)) = passed.iter().find(|(number, _)| *number < 3) {
        return Err(Error::new(
            ErrorKind::Config,
            format!("descriptor {number} is a standard stream, which workers have anyway: pass others only"),
        ));
    }
    Ok(passed)
}

fn hook(function: fn()) -> Hook {
    Hook { call: Call::of_hook(function), value: Vec::new() }
}

fn hook_with<V: Value>(function: fn(V), value: V) -> Result<Hook, Error> {
    Ok(Hook { call: Call::of_argument(function), value: sent(value)? })
}

/// The value of a hook, encoded.
fn sent<V: Value>(value: V) -> Result<Vec<u8>, Error> {
    const CURE: &str = "hooks have no other format: send a String, such as the value's JSON";
    codec::encode_hook_value(value).map_err(|error| {
        Error::new(ErrorKind::Encode, format!("a hook's value cannot be sent: {}", error.with_cure(CURE)))
    })
}
