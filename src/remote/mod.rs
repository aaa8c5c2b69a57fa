//! The seam to other hosts: what a crate needs that runs pieces over a network, such as `multicore-nats`. Needs the feature `remote`.
//!
//! It is no part of the stable interface: a new minor version may change it. Programs use [`remote!`](crate::remote!) and such a crate.
//!
//! | side                   | parts                                                                                              |
//! |------------------------|----------------------------------------------------------------------------------------------------|
//! | hands pieces out       | [`task()`] gives a [`Task`] whose pieces an [`Engine`] draws from its [`Job`], sends away, and settles |
//! | runs them, on a host   | [`functions`] gives the [`Function`] of an id, and an [`EncodedTask`] runs it in the workers of a pool  |
//!
//! What travels is an id, the encoded arguments, the encoded result, or [the bytes of an error](encode_error). The functions of one
//! build are the same everywhere, so only the same build may be served.
//!
//! ```
//! # fn main() -> Result<(), multicore::Error> {
//! use multicore::remote::{Settings, functions};
//! use multicore::{Pool, remote};
//!
//! fn next(number: u32) -> u32 {
//!     number + 1
//! }
//!
//! let _ = remote!(next);
//! let function = functions()?.iter().find(|function| function.name().ends_with("::next")).unwrap();
//! let pool = Pool::builder().workers(1).build()?;
//! // What the format makes of a number.
//! let mut task = pool.encoded_task(&Settings::default())?;
//! task.run(function, 7_u32.to_le_bytes().to_vec());
//! let (number, ended) = task.next().unwrap();
//! assert_eq!((number, ended.result?), (0, 8_u32.to_le_bytes().to_vec()));
//! # Ok(())
//! # }
//! ```

mod encoded;

pub use self::encoded::{EncodedTask, Ended};
pub use crate::backend::remote::{Engine, Figures, Job, Outcome, Piece, Settings};
pub use crate::codec::function::{Function, Functions};

use crate::backend::remote;
use crate::codec::function;
use crate::codec::value::Value;
use crate::engine;
use crate::error::{Cause, Error, ErrorKind};
use crate::sys::own_file::Reader;
use crate::task::Task;
use std::sync::Arc;

/// What [`remote!`](crate::remote!) is made of.
#[doc(hidden)]
pub mod declare {
    pub use crate::codec::function::{
        Callable, Declared, Fallible, InStatic, Neither, Plain, Pointer, Submitted, Typed, Way, pointer_like,
    };
    pub use inventory::submit;
}

/// The functions that this program has given to [`remote!`](crate::remote!): the same in each process of the build. The table is whole once `main`
/// runs; a constructor that runs earlier may come before others, and must not ask.
///
/// ```
/// fn double(number: u64) -> u64 {
///     2 * number
/// }
///
/// let double = multicore::remote!(double);
/// assert_eq!(double(4), 8);
/// let functions = multicore::remote::functions()?;
/// assert!(functions.iter().any(|function| function.name().ends_with("::double")));
/// # Ok::<(), multicore::Error>(())
/// ```
///
/// # Errors
/// [`Config`](ErrorKind::Config) if two of them have one id.
pub fn functions() -> Result<&'static Functions, Error> {
    function::functions().map_err(|message| Error::new(ErrorKind::Config, message))
}

/// A task whose pieces this engine runs. All of its methods do what they do with a pool, but for these: pieces that need a worker's state, or
/// that have a [`Shared`](crate::Shared) among their arguments, end in [`Unsupported`](ErrorKind::Unsupported) and never begin; so
/// does one whose function did not come from [`remote!`](crate::remote!).
pub fn task<R: Value>(engine: Arc<dyn Engine>) -> Task<R> {
    let (backend, key) = remote::open(engine);
    Task::opened(backend, key)
}

/// An error of this kind, for what an engine itself has to say.
#[must_use]
pub fn error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message)
}

/// The same error with what ended a worker.
#[must_use]
pub fn with_cause(error: Error, cause: Cause) -> Error {
    error.with_cause(cause)
}

/// The file that holds this crate, from its first byte: that of the program, or of the shared object inside another one. Two processes with the same
/// file are of one build.
///
/// # Errors
/// [`System`](ErrorKind::System) if it cannot be read, as where it was replaced.
pub fn own_file() -> Result<impl std::io::Read, Error> {
    let why = "the program's own file cannot be read: it was replaced or deleted, or /proc is not mounted";
    Reader::open().ok_or_else(|| Error::new(ErrorKind::System, why))
}

/// Refuses a worker.
///
/// # Errors
/// [`InWorker`](ErrorKind::InWorker) in a worker.
pub fn check_process() -> Result<(), Error> {
    engine::check_process()
}

/// True if this crate lies in the executable, and that has no more rights than its caller, as one that is setuid has: only then may a
/// variable of the environment make the program something else.
#[must_use]
pub fn is_plain_executable() -> bool {
    engine::is_plain_executable()
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(any(miri, loom))))]
#[doc(hidden)]
pub use crate::engine::run_constructors_after;

/// What happened, as bytes for a process of the same build: kind, cause, worker, process id, starts, note, message and backtrace. Which
/// piece it was is known where it was handed out.
#[must_use]
pub fn encode_error(error: &Error) -> Vec<u8> {
    error.to_bytes()
}

/// The error of these bytes. It allocates no more than they have.
///
/// # Errors
/// What is wrong with them, as a sentence.
pub fn decode_error(bytes: &[u8]) -> Result<Error, String> {
    Error::of_bytes(bytes)
}
