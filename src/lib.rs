//! Plain functions in a fixed pool of persistent worker **processes**, fed through shared memory.
//!
//! As easy as a pool of threads and, within a microsecond or so for a piece, as fast; but a piece
//! that leaks, crashes, or uses a library that allows one thread harms only its own process.
//!
//! ```
//! use multicore::Task;
//!
//! /// A plain function: it gets what it needs as arguments, and returns what it finds.
//! fn sum(start: usize, end: usize) -> usize {
//!     (start..end).sum()
//! }
//!
//! # fn main() -> Result<(), multicore::Error> {
//! let total: usize = match Task::<usize>::new() {
//!     Some(task) => {
//!         for (start, end) in multicore::ranges(1_000_000) {
//!             task.run(sum, start, end);
//!         }
//!         task.get()?.iter().sum()
//!     }
//!     // A limit that you set says that the machine is busy, or no pool can run here: the same function, in this process.
//!     None => sum(0, 1_000_000),
//! };
//! assert_eq!(total, 499_999_500_000);
//! # Ok(())
//! # }
//! ```
//!
//! There is no set-up call, so a library can use it inside somebody else's program. The workers are
//! started at the first use, one for each CPU that the process may use, and stay: what a piece
//! leaves in a static, such as an open database connection, is there for the next piece in that
//! worker. No load limit is set by default: [`PoolBuilder::max_load_average`] sets one.
//!
//! - [`Task`] hands out pieces and collects their results; [`ranges()`] cuts a list into pieces.
//! - [`Pool`] and [`PoolBuilder`] are for programs that need other settings, or several pools.
//! - [`Error`] says what happened to which piece, and why; [`Task::try_run`] takes functions that use `?`, and [`Failure`]
//!   carries their errors.
//! - [`map()`] runs a function over the items of an iterator: lazy, in order, and in bounded memory.
//! - [`Task::run_into`] is for results of any length: its function writes into a [`Sink`], which is read while the piece runs.
//! - [`Value`] is what can travel: anything with serde's traits that owns what it holds.
//! - [`Shared`] is one large read-only value for all pieces, of which only a number travels.
//! - [`guide`] has pages for those who come with a question: [servers](guide::servers), [libraries](guide::libraries),
//!   [imports](guide::imports), [C libraries](guide::c_libraries), [memory that stays bounded](guide::memory),
//!   [large tables and long results](guide::values), [faults](guide::faults), [a program that stands still](guide::looking), and for people who come from [rayon](guide::rayon),
//!   [Python's pools](guide::python) or [GNU parallel](guide::commands).
//!
//! # Features
//!
//! `cargo add multicore` has all that is described here but what these add. It needs Rust 1.88 or later. A newer Rust is asked for only
//! with a new minor version, which the changelog then says.
//!
//! | feature     | adds                                                                          | crates |
//! |-------------|-------------------------------------------------------------------------------|--------|
//! | `bincode`   | the binary format, [`Format::Bincode`]; the only feature that is on by default | 2 |
//! | `postcard`  | another binary format, which is used where `bincode` is off                   | 2 |
//! | `journal`   | `multicore::journal`: runs that go on where an earlier one was killed         | 5 |
//! | `stream`    | `Task::stream`: results as a `futures_core::Stream`                           | 1 |
//! | `indicatif` | `Task::bar`: a progress bar                                                   | 5 |
//! | `signal`    | `PoolBuilder::recycle_on_signal`                                              | 2 |
//! | `bytemuck`  | [`Shared`] slices of every `bytemuck::Pod`                                    | 1 |
//! | `log`       | what pieces log comes to this program's logger: [`guide::logs`]                  | 1 |
//! | `tracing`   | a span for each task, and events of its pieces and of the workers: [`guide::logs`] | 4 |
//! | `status`    | `multicore::status`: looks at the pools of another process                    | 0 |
//! | `remote`    | `remote!` and `multicore::remote`, for crates that run pieces on other hosts | 1 |
//! | `cli`       | the program `multicore`: as GNU parallel, with a journal; `top`, `stats`, `svg` | 69 |
//!
//! One of the two binary formats is needed; with both it is bincode's. bincode is no longer maintained (RUSTSEC-2025-0141). For a
//! `cargo deny` without exceptions, write `default-features = false, features = ["postcard"]`: all else is the same, and two numbers take
//! some 20 ns longer there and back. (A feature that any crate of the program turns on is on.)
//!
//! # What a worker does not see
//!
//! A worker is this program started once more and stopped before `main`. It sees no statics,
//! loggers, panic hooks or thread-locals that `main` set up, no later change of environment or
//! directory, and nothing from the terminal: its standard input is empty. What it prints goes where
//! this program prints. So pass values as arguments, or set things up in
//! [`on_worker_start_with`](PoolBuilder::on_worker_start_with) and
//! [`preload_with`](PoolBuilder::preload_with). (What pieces log reaches this program's logger with the feature `log`:
//! [`guide::logs`].) In `preload`, draw no random numbers, open no
//! connections and start no threads: all workers would share them. [`guide::workers`] has the rest.
//!
//! A function that travels is a function of the executable itself, or a closure that captures
//! nothing; one of a shared library ends in [`Unsupported`](ErrorKind::Unsupported). Where the crate itself lies in a shared object, as
//! in an extension of Python, the functions of that object travel: [`guide::extensions`].
//!
//! # What it costs
//!
//! - Arguments and results are copied: encoded into shared memory and decoded from it. A `String` or `Vec<u8>`
//!   travels as its bytes, and so does a list of numbers, such as a `Vec<f64>`, that is the argument of `call` or a
//!   result. Large values stream, both sides copying at once.
//! - A process for each worker and one more that forks them; 1.3 MiB of shared memory and five
//!   descriptors or more for each worker; a thread in this program.
//! - Now and then a worker measures its heap after a reply, for [`Stats::functions`]: 20 to 80 us each time, and half a
//!   percent of its time in the long run.
//! - An exit or crash in a piece becomes an error and costs a new worker: a fraction of a
//!   millisecond. Processes that a piece started end with its worker.
//! - Linux, on x86-64 or 64-bit Arm. Anywhere else [`Task::new`] gives `None`, and [`Task::new_or_inline`] runs the pieces
//!   in the caller.
//!
//! # The environment
//!
//! `MULTICORE_WORKERS` and `MULTICORE_MAX_LOAD_AVERAGE` set the global pool where the program does
//! not. A value that is not a number is an error ([`Config`](ErrorKind::Config)) of [`Task::try_new`] and
//! [`Pool::global`]; it never counts as another value. [`Task::new`] gives `None` then, and [`Task::new_or_inline`]
//! runs the pieces in the caller.

// docs.rs shows what needs a feature.
#![cfg_attr(docsrs, feature(doc_cfg))]
// On other platforms, and under miri and loom, only inline tasks run, and much is unused.
#![cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(any(miri, loom)))),
    allow(dead_code, unused_imports, unused_macros)
)]

mod backend;
mod codec;
// The platform is asked for at `engine` and at `sys`; all other modules compile everywhere.
#[cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(any(miri, loom)))),
    path = "engine/unsupported.rs"
)]
mod engine;
mod error;
mod failpoint;
pub mod guide;
#[cfg(feature = "journal")]
pub mod journal;
mod pool;
mod protocol;
#[cfg(feature = "remote")]
pub mod remote;
mod sharing;
mod stats;
#[cfg(all(
    feature = "status",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(any(miri, loom))
))]
pub mod status;
#[cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(any(miri, loom)))),
    path = "sys/unsupported.rs"
)]
mod sys;
mod task;

/// For the fuzzer of `fuzz/`, and only there.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz {
    pub use crate::engine::fuzz::{message, ring, value, worker};
    #[cfg(feature = "journal")]
    pub use crate::journal::fuzz::journal;
}

#[cfg(feature = "stream")]
pub use crate::task::stream::{ResultBytes, Results, ResultsCompleted};
pub use crate::{
    backend::priority::Priority,
    codec::{
        Format,
        lent::Lent,
        note::note,
        sink::{Bytes, Outcome, Sink},
        value::Value,
    },
    error::{Cause, Error, ErrorKind, Failure},
    pool::{
        Pool,
        builder::PoolBuilder,
        global::{map, ranges},
        memory::Memory,
        ranges::Ranges,
    },
    sharing::plain::Plain,
    sharing::{Share, Shared},
    stats::functions::{FunctionStats, Suspect},
    stats::memory::{MemoryAction, MemoryEvent},
    stats::tasks::TaskStats,
    stats::timeline::Timeline,
    stats::{Replaced, Stats, WorkerStart, WorkerState, WorkerStats},
    task::{
        Task,
        awaited::Get,
        canceller::Canceller,
        iter::{Iter, IterCompleted},
        map::{Map, MapUnordered},
        progress::Progress,
        reader::Reader,
        watch::Watch,
    },
};

/// The README's program compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
