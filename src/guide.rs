//! Pages for people who come with a question, beside the reference. There is no code here: each page is a text in `docs/`, and its
//! programs run with the documentation's tests.
//!
//! | you have …                                                       | page |
//! |------------------------------------------------------------------|------|
//! | a server under axum, tokio or another executor                   | [`servers`] |
//! | a library in somebody else's program                             | [`libraries`] |
//! | an extension for Python or Node.js, a plug-in                    | [`extensions`] |
//! | an import, a migration                                           | [`imports`] |
//! | C code or an interpreter that allows one thread, leaks or crashes | [`c_libraries`] |
//! | rayon                                                            | [`rayon`] |
//! | Python's `ProcessPoolExecutor`, `multiprocessing.Pool` or joblib | [`python`] |
//! | gunicorn, Celery, uWSGI, Monit, Dask or loky; a leak             | [`memory`] |
//! | GNU parallel, `xargs` or a loop in a shell                       | [`commands`] |
//! | a piece that behaves otherwise than the same call in `main`      | [`workers`] |
//! | a question what a piece did: its logs                            | [`logs`] |
//! | a program that stands still                                      | [`looking`] |
//! | more work than one machine does                                  | [`hosts`] |
//! | a value that is refused, a table for all pieces, a long result   | [`values`] |
//! | a doubt whether it holds when processes are killed               | [`faults`] |
//! | a question about time or memory                                  | [`numbers`] |

#[doc = include_str!("../docs/servers.md")]
///
/// # The items
///
/// A task in async code: [`Task`](crate::Task), [`get_each_async`](crate::Task::get_each_async),
/// [`kill_on_drop`](crate::Task::kill_on_drop), [`deadline`](crate::Task::deadline), [`timeout`](crate::Task::timeout),
/// [`retries`](crate::Task::retries); with the feature `stream` also `stream`, `stream_completed` and `stream_bytes`.
///
/// The pool: [`Pool::global`](crate::Pool::global), [`build_global`](crate::PoolBuilder::build_global),
/// [`max_pieces_waiting`](crate::PoolBuilder::max_pieces_waiting), [`try_new`](crate::Task::try_new),
/// [`min_available_memory`](crate::PoolBuilder::min_available_memory), [`ErrorKind::Busy`](crate::ErrorKind::Busy).
///
/// # A long answer, as a program
///
/// What `Body::from_stream` reads, with the feature `stream`:
///
/// ```
/// # #[cfg(not(feature = "stream"))]
/// # fn main() {}
/// # #[cfg(feature = "stream")]
/// # mod page {
/// use futures_util::StreamExt;
/// use multicore::{Error, Sink, Task};
///
/// fn write_rows(start: usize, end: usize, sink: &mut Sink) -> std::io::Result<()> {
///     (start..end).try_for_each(|row| writeln!(sink, "{row},{}", row * row))
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// # pub
/// async fn main() -> Result<(), Error> {
///     let task = Task::<String>::new_or_inline().kill_on_drop(true);
///     task.run_all_into(write_rows, multicore::ranges(100_000));
///     let (mut body, mut bytes) = (task.stream_bytes(), 0);
///     while let Some(part) = body.next().await {
///         bytes += part?.len();
///     }
///     assert_eq!(bytes, 1_642_641);
///     Ok(())
/// }
/// # }
/// # #[cfg(feature = "stream")]
/// # fn main() { page::main().unwrap() }
/// ```
pub mod servers {}

#[doc = include_str!("../docs/libraries.md")]
///
/// # The items
///
/// [`Task::new`](crate::Task::new), [`Task::try_new`](crate::Task::try_new), [`Task::new_or_inline`](crate::Task::new_or_inline),
/// [`ErrorKind`](crate::ErrorKind), [`Value`](crate::Value), [`call_ref`](crate::Task::call_ref), [`Pool`](crate::Pool),
/// [`ranges`](crate::ranges()).
pub mod libraries {}

#[doc = include_str!("../docs/extensions.md")]
///
/// # The items
///
/// [`Task::new`](crate::Task::new), [`try_new`](crate::Task::try_new), [`new_or_inline`](crate::Task::new_or_inline),
/// [`get_flat`](crate::Task::get_flat), [`write_to`](crate::Task::write_to), [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported),
/// [`Stats::start`](crate::Stats::start).
pub mod extensions {}

#[doc = include_str!("../docs/hosts.md")]
///
/// # The items
///
/// [`Ranges::share`](crate::Ranges::share), [`Error::host`](crate::Error::host), [`ErrorKind::Host`](crate::ErrorKind::Host); with the feature
/// `remote` also `remote!`; with the feature `journal` also `Journal::also`.
pub mod hosts {}

#[doc = include_str!("../docs/imports.md")]
///
/// # The items
///
/// Rows: [`try_map`](crate::Task::try_map), [`try_run`](crate::Task::try_run), [`run_into`](crate::Task::run_into),
/// [`write_to`](crate::Task::write_to), [`note`](crate::note()), [`Error::note`](crate::Error::note), [`Failure`](crate::Failure).
///
/// Again: [`retries`](crate::Task::retries), [`retry_failures`](crate::Task::retry_failures),
/// [`retry_panics`](crate::Task::retry_panics), [`timeout`](crate::Task::timeout); with the feature `journal` also `Task::journal` and the
/// module `journal`.
///
/// State: [`worker_state`](crate::PoolBuilder::worker_state), [`call_with`](crate::Task::call_with),
/// [`run_with`](crate::Task::run_with), [`preload`](crate::PoolBuilder::preload),
/// [`on_worker_start_with`](crate::PoolBuilder::on_worker_start_with).
///
/// # A run that survives, as a program
///
/// With the feature `journal`. The second run has all results, and no piece of it runs:
///
/// ```
/// # #[cfg(not(feature = "journal"))]
/// # fn main() {}
/// # #[cfg(feature = "journal")]
/// # mod page {
/// use multicore::{Error, Task};
/// use std::path::Path;
///
/// fn import(first: usize, end: usize) -> Result<usize, std::num::ParseIntError> {
///     (first..end).try_for_each(|row| row.to_string().parse::<u64>().map(drop))?;
///     Ok(end - first)
/// }
///
/// /// Gives how many rows were imported, and how many pieces an earlier run had done.
/// # pub
/// fn run(journal: &Path) -> Result<(usize, usize), Error> {
///     let task = Task::<usize>::new_or_inline().name("import").version("1").journal(journal)?;
///     for (first, end) in multicore::ranges(10_000).with_pieces(1).with_max_len(1000) {
///         task.try_run(import, first, end);
///     }
///     let resumed = task.resumed();
///     Ok((task.get()?.iter().sum(), resumed))
/// }
/// # }
///
/// # #[cfg(feature = "journal")]
/// # use page::run;
/// # #[cfg(feature = "journal")]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let folder = tempfile::tempdir()?;
///     let journal = folder.path().join("import.journal");
///     assert_eq!(run(&journal)?, (10_000, 0));
///     assert_eq!(run(&journal)?, (10_000, 10));
///     Ok(())
/// }
/// ```
pub mod imports {}

#[doc = include_str!("../docs/c-libraries.md")]
///
/// # The items
///
/// [`worker_state`](crate::PoolBuilder::worker_state), [`on_worker_start`](crate::PoolBuilder::on_worker_start),
/// [`on_worker_exit`](crate::PoolBuilder::on_worker_exit), [`core_files`](crate::PoolBuilder::core_files),
/// [`timeout`](crate::Task::timeout), [`Cause`](crate::Cause), [`ErrorKind`](crate::ErrorKind),
/// [`worker_memory_high`](crate::PoolBuilder::worker_memory_high), [`worker_data_limit`](crate::PoolBuilder::worker_data_limit),
/// [`WorkerStart`](crate::WorkerStart).
pub mod c_libraries {}

#[doc = include_str!("../docs/coming-from-rayon.md")]
///
/// # The items
///
/// [`Task`](crate::Task), [`map`](crate::map), [`ranges`](crate::ranges()), [`Map::unordered`](crate::Map::unordered),
/// [`next_completed`](crate::Task::next_completed), [`get_flat`](crate::Task::get_flat), [`wait`](crate::Task::wait),
/// [`detach`](crate::Task::detach).
pub mod rayon {}

#[doc = include_str!("../docs/coming-from-python.md")]
///
/// # The items
///
/// [`call`](crate::Task::call), [`run`](crate::Task::run), [`get`](crate::Task::get), [`get_each`](crate::Task::get_each),
/// [`get_timeout`](crate::Task::get_timeout), [`iter_completed`](crate::Task::iter_completed), [`map`](crate::map),
/// [`worker_state`](crate::PoolBuilder::worker_state), [`max_pieces_per_worker`](crate::PoolBuilder::max_pieces_per_worker),
/// [`Canceller`](crate::Canceller), [`progress`](crate::Task::progress).
pub mod python {}

#[doc = include_str!("../docs/memory.md")]
///
/// # The items
///
/// Limits: [`Memory`](crate::Memory), [`memory_high`](crate::PoolBuilder::memory_high), [`memory_max`](crate::PoolBuilder::memory_max),
/// [`worker_memory_high`](crate::PoolBuilder::worker_memory_high), [`worker_memory_max`](crate::PoolBuilder::worker_memory_max),
/// [`memory_checks`](crate::PoolBuilder::memory_checks), [`worker_data_limit`](crate::PoolBuilder::worker_data_limit),
/// [`min_available_memory`](crate::PoolBuilder::min_available_memory), [`max_queued_bytes`](crate::PoolBuilder::max_queued_bytes),
/// [`warm_memory`](crate::PoolBuilder::warm_memory).
///
/// Replacement: [`max_pieces_per_worker`](crate::PoolBuilder::max_pieces_per_worker),
/// [`max_worker_age`](crate::PoolBuilder::max_worker_age), [`Pool::recycle`](crate::Pool::recycle).
///
/// News and figures: [`on_memory`](crate::PoolBuilder::on_memory), [`memory_advisory`](crate::PoolBuilder::memory_advisory),
/// [`MemoryEvent`](crate::MemoryEvent), [`Stats`](crate::Stats), [`suspects`](crate::Stats::suspects),
/// [`FunctionStats`](crate::FunctionStats), [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit).
pub mod memory {}

#[doc = include_str!("../docs/coming-from-parallel.md")]
pub mod commands {}

#[doc = include_str!("../docs/logs.md")]
///
/// # A program
///
/// ```
/// # #[cfg(feature = "log")]
/// # mod page {
/// use log::{LevelFilter, Log, Metadata, Record};
/// use std::sync::Mutex;
///
/// /// Keeps the texts. A program would use a logger such as `env_logger`.
/// struct Keeps(Mutex<Vec<String>>);
///
/// static LOGGER: Keeps = Keeps(Mutex::new(Vec::new()));
///
/// impl Log for Keeps {
///     fn enabled(&self, _: &Metadata<'_>) -> bool {
///         true
///     }
///
///     fn log(&self, record: &Record<'_>) {
///         let piece = record.key_values().get("piece".into()).map_or("none".to_string(), |piece| piece.to_string());
///         self.0.lock().unwrap().push(format!("piece {piece}: {}", record.args()));
///     }
///
///     fn flush(&self) {}
/// }
///
/// fn half(number: u64, _: ()) -> u64 {
///     if number % 2 == 1 {
///         log::warn!("{number} is odd");
///     }
///     number / 2
/// }
///
/// # pub
/// fn main() -> Result<(), multicore::Error> {
///     log::set_logger(&LOGGER).expect("it is set once");
///     log::set_max_level(LevelFilter::Info);
///     let task = multicore::Pool::global()?.try_task()?;
///     task.run_all(half, [(2, ()), (3, ()), (4, ())]);
///     assert_eq!(task.get()?, [1, 1, 2]);
///     assert_eq!(*LOGGER.0.lock().unwrap(), ["piece 1: 3 is odd"]);
///     Ok(())
/// }
/// # }
/// # #[cfg(feature = "log")]
/// # fn main() -> Result<(), multicore::Error> {
/// #     page::main()
/// # }
/// # #[cfg(not(feature = "log"))]
/// # fn main() {}
/// ```
///
/// What a piece tells `tracing`, by its feature `log`:
///
/// ```
/// # #[cfg(feature = "log")]
/// # mod page {
/// # use log::{LevelFilter, Log, Metadata, Record};
/// # use std::sync::Mutex;
/// # struct Keeps(Mutex<Vec<String>>);
/// # static LOGGER: Keeps = Keeps(Mutex::new(Vec::new()));
/// # impl Log for Keeps {
/// #     fn enabled(&self, _: &Metadata<'_>) -> bool {
/// #         true
/// #     }
/// #     fn log(&self, record: &Record<'_>) {
/// #         self.0.lock().unwrap().push(format!("{}: {}", record.level(), record.args()));
/// #     }
/// #     fn flush(&self) {}
/// # }
/// fn half(number: u64, _: ()) -> u64 {
///     if number % 2 == 1 {
///         tracing::warn!(number, "odd");
///     }
///     number / 2
/// }
///
/// # pub
/// fn main() -> Result<(), multicore::Error> {
///     // The logger of the program above; no subscriber is set.
///     log::set_logger(&LOGGER).expect("it is set once");
///     log::set_max_level(LevelFilter::Info);
///     let task = multicore::Pool::global()?.try_task()?;
///     task.run_all(half, [(2, ()), (3, ()), (4, ())]);
///     assert_eq!(task.get()?, [1, 1, 2]);
///     assert_eq!(*LOGGER.0.lock().unwrap(), ["WARN: odd number=3"]);
///     Ok(())
/// }
/// # }
/// # #[cfg(feature = "log")]
/// # fn main() -> Result<(), multicore::Error> {
/// #     page::main()
/// # }
/// # #[cfg(not(feature = "log"))]
/// # fn main() {}
/// ```
pub mod logs {}

#[doc = include_str!("../docs/looking.md")]
///
/// # The items
///
/// From outside, with the feature `status`: `multicore::status`. From inside: [`Pool::stats`](crate::Pool::stats),
/// [`WorkerStats`](crate::WorkerStats), [`Pool::timeline`](crate::Pool::timeline), [`Task::watch`](crate::Task::watch).
pub mod looking {}

#[doc = include_str!("../docs/profiling.md")]
///
/// # The items
///
/// [`Pool::stats`](crate::Pool::stats), [`Pool::timeline`](crate::Pool::timeline), [`WorkerStats`](crate::WorkerStats).
pub mod profiling {}

#[doc = include_str!("../docs/workers.md")]
///
/// # The items
///
/// Hooks: [`preload`](crate::PoolBuilder::preload), [`on_worker_start`](crate::PoolBuilder::on_worker_start),
/// [`on_worker_exit`](crate::PoolBuilder::on_worker_exit), [`worker_state`](crate::PoolBuilder::worker_state).
///
/// [`renew_workers`](crate::Pool::renew_workers), [`pass_descriptors`](crate::PoolBuilder::pass_descriptors),
/// [`WorkerStart`](crate::WorkerStart), [`Canceller::stop`](crate::Canceller::stop).
pub mod workers {}

#[doc = include_str!("../docs/values.md")]
///
/// # The items
///
/// What travels: [`Value`](crate::Value), [`Format`](crate::Format), [`call_ref`](crate::Task::call_ref), [`Lent`](crate::Lent),
/// [`ErrorKind::Encode`](crate::ErrorKind::Encode), [`ErrorKind::Decode`](crate::ErrorKind::Decode).
///
/// Long results: [`run_into`](crate::Task::run_into), [`Sink`](crate::Sink), [`write_to`](crate::Task::write_to),
/// [`reader`](crate::Task::reader), [`whole_pieces`](crate::Task::whole_pieces), [`max_unread`](crate::Task::max_unread),
/// [`max_result_bytes`](crate::PoolBuilder::max_result_bytes).
///
/// One table for all workers: [`Shared`](crate::Shared), [`Plain`](crate::Plain), [`Share`](crate::Share),
/// [`Stats::shared_bytes`](crate::Stats::shared_bytes). With the feature `bytemuck` every type with `bytemuck::Pod` that is `Send` and
/// `Sync` is [`Plain`](crate::Plain).
pub mod values {}

#[doc = include_str!("../docs/faults.md")]
///
/// # The items
///
/// [`retries`](crate::Task::retries), [`retry_panics`](crate::Task::retry_panics), [`timeout`](crate::Task::timeout),
/// [`Error::attempts`](crate::Error::attempts), [`Cause`](crate::Cause), [`ErrorKind::WorkerLost`](crate::ErrorKind::WorkerLost).
pub mod faults {}

#[doc = include_str!("../docs/numbers.md")]
pub mod numbers {}
