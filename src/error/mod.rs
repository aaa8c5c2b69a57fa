//! What can go wrong. Each message names what happened, to what, with the numbers, and what the caller can do.

#[cfg(feature = "remote")]
mod bytes;
mod failure;
mod signal;

pub use self::failure::Failure;

#[cfg(feature = "remote")]
use crate::codec::function;
use crate::sys::symbol;
use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The piece's function panicked; the worker lives on.
    Panicked,
    /// The piece's function returned an error: see [`Task::try_run`](crate::Task::try_run). The worker lives on.
    Failed,
    /// The worker died while it ran the piece, or one worker after another died before it was ready: see [`Error::cause`].
    WorkerLost,
    /// A time limit expired: the piece's [`timeout`](crate::Task::timeout) or the task's [`deadline`](crate::Task::deadline). An error of
    /// [`get_timeout`](crate::Task::get_timeout) names no piece.
    TimedOut,
    /// The worker used more memory than its limit allows, or asked for more.
    MemoryLimit,
    /// The task or its pool ended before the piece was done.
    Cancelled,
    /// A value could not be encoded in the task's format, or a result is longer than the pool allows.
    Encode,
    /// Bytes could not be decoded as a value of the expected type.
    Decode,
    /// The machine's load is above the pool's limit, less memory is available than it leaves to others, or too many pieces wait. Try again later, or run the work in this process.
    Busy,
    /// No pool can run here, for example because the system lacks a call that it needs; or this function
    /// cannot be called in another process.
    Unsupported,
    /// This process is a worker, and a worker cannot have a pool of its own.
    InWorker,
    /// A setting is invalid. If the error names a piece: a setting [came after the first piece](crate::Task), or the piece needs a
    /// [state](crate::Task::call_with) that its worker does not make.
    Config,
    /// The operating system refused something. If the error names a piece: no worker could be started for 2 s, or the piece's worker could
    /// not have a [`Shared`](crate::Shared) of its arguments, as where it has no free descriptor.
    System,
    /// The journal could not be written or read.
    Journal,
    /// An earlier run has recorded the piece as done, and its result was not kept. The piece did not run again.
    AlreadyDone,
    /// The server behind which other hosts run pieces is lost, has refused this program, or was away for longer than was waited for. Only
    /// tasks over hosts have it.
    Host,
}

/// Why a worker ended, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The signal with this number killed it.
    Signal(i32),
    /// It exited with this code while it ran a piece. The piece is lost even if the code is 0.
    Exit(i32),
    /// The piece overflowed the worker's stack.
    StackOverflow,
    /// An allocation in the piece failed. With a [`worker_data_limit`](crate::PoolBuilder::worker_data_limit) the kind is
    /// [`MemoryLimit`](ErrorKind::MemoryLimit) then.
    AllocationFailed,
    /// The kernel's out-of-memory killer killed it.
    OomKilled,
    /// It broke the protocol: it wrote something that no worker writes, and was killed.
    Protocol,
    /// The fork server (the process from which all workers are forked) died, and its workers died with it.
    ForkServerLost,
    /// The cause was not reported in time.
    Unknown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Cause::Signal(number) => match signal::name_of(number) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {number}"),
            },
            Cause::Exit(code) => write!(f, "it exited with code {code} while it ran the piece"),
            Cause::StackOverflow => f.write_str("it overflowed its stack"),
            Cause::AllocationFailed => f.write_str("an allocation failed"),
            Cause::OomKilled => f.write_str("the kernel's out-of-memory killer killed it"),
            Cause::Protocol => f.write_str("it broke the protocol and was killed"),
            Cause::ForkServerLost => f.write_str("the fork server died, and its workers with it"),
            Cause::Unknown => f.write_str("the cause was not reported in time"),
        }
    }
}

/// What happened to a piece, to a task or to a pool.
///
/// Its [`Display`](fmt::Display) is one sentence with the numbers; the methods return the parts.
///
/// ```
/// fn half(n: u64, _: ()) -> u64 {
///     assert!(n % 2 == 0, "{n} is odd");
///     n / 2
/// }
///
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(half, 3, ());
/// let error = task.get().unwrap_err();
/// assert_eq!(error.kind(), multicore::ErrorKind::Panicked);
/// assert_eq!(error.piece(), Some(0));
/// assert!(error.to_string().contains("3 is odd"));
/// ```
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    cause: Option<Cause>,
    piece: Option<Piece>,
    worker: Option<usize>,
    pid: Option<u32>,
    attempts: u32,
    note: Option<u64>,
    message: String,
    backtrace: Option<String>,
    /// Where the piece has run, if not here.
    host: Option<Arc<str>>,
    /// The reason cannot change while this process runs.
    for_good: bool,
}

/// The piece that the error is about, with what names it in a message.
#[derive(Clone)]
struct Piece {
    number: usize,
    function: Function,
    location: &'static Location<'static>,
}

/// What names a piece in an error: its number, its function, and where it was handed out.
#[derive(Clone, Debug)]
pub(crate) struct PieceLabel {
    pub(crate) number: usize,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) address: usize,
    pub(crate) location: &'static Location<'static>,
}

impl PieceLabel {
    /// The name of its function. It reads the executable's symbol table.
    pub(crate) fn function_name(self) -> Option<String> {
        let PieceLabel { name, address, .. } = self;
        Function { given: name, address, found: OnceLock::new() }.name().map(str::to_string)
    }
}

#[derive(Clone)]
struct Function {
    /// The task's name, if the user set one.
    given: Option<Arc<str>>,
    address: usize,
    /// Looked up at the first use, since that reads the executable's symbol table.
    found: OnceLock<Option<Arc<str>>>,
}

/// What the function at this address is called.
fn name_of(address: usize) -> Option<Arc<str>> {
    #[cfg(feature = "remote")]
    if let Some(name) = function::name_of(address) {
        return Some(Arc::from(name));
    }
    symbol::name_of(address)
}

impl Function {
    fn name(&self) -> Option<&str> {
        match &self.given {
            Some(name) => Some(name),
            None => self.found.get_or_init(|| name_of(self.address)).as_deref(),
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            cause: None,
            piece: None,
            worker: None,
            pid: None,
            attempts: 0,
            note: None,
            message: message.into(),
            backtrace: None,
            host: None,
            for_good: false,
        }))
    }

    /// The operating system refused something, or does not support it.
    pub(crate) fn system(what: &str, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        let is_unsupported = error.kind() == std::io::ErrorKind::Unsupported;
        let kind = if is_unsupported { ErrorKind::Unsupported } else { ErrorKind::System };
        Error::new(kind, format!("{what}: {error}"))
    }

    #[must_use]
    pub(crate) fn with_cause(mut self, cause: Cause) -> Self {
        self.0.cause = Some(cause);
        self
    }

    #[must_use]
    pub(crate) fn with_piece(mut self, label: PieceLabel, attempts: u32) -> Self {
        self.0.piece = Some(Piece {
            number: label.number,
            function: Function { given: label.name, address: label.address, found: OnceLock::new() },
            location: label.location,
        });
        self.0.attempts = attempts;
        self
    }

    #[must_use]
    pub(crate) fn with_worker(mut self, worker: usize, pid: Option<u32>) -> Self {
        self.0.worker = Some(worker);
        self.0.pid = pid;
        self
    }

    #[must_use]
    pub(crate) fn with_note(mut self, note: Option<u64>) -> Self {
        self.0.note = note;
        self
    }

    #[must_use]
    pub(crate) fn with_backtrace(mut self, backtrace: &str) -> Self {
        self.0.backtrace = Some(backtrace.to_string());
        self
    }

    /// Says that the reason cannot change while this process runs.
    #[must_use]
    pub(crate) fn for_good(mut self) -> Self {
        self.0.for_good = true;
        self
    }

    /// What its texts take, without those that are made when it is shown.
    #[cfg(feature = "log")]
    pub(crate) fn text_bytes(&self) -> usize {
        self.0.message.len() + self.0.backtrace.as_ref().map_or(0, String::len)
    }

    /// True if the reason cannot change while this process runs: another try is of no use.
    pub(crate) fn is_for_good(&self) -> bool {
        self.0.for_good
    }

    /// The same error for another receiver. `Error` is not `Clone` in the public interface.
    pub(crate) fn duplicate(&self) -> Self {
        Error(self.0.clone())
    }

    /// The same error of a piece that has another number elsewhere.
    #[must_use]
    #[cfg_attr(not(feature = "journal"), allow(dead_code))]
    pub(crate) fn with_number(mut self, number: usize) -> Self {
        if let Some(piece) = &mut self.0.piece {
            piece.number = number;
        }
        self
    }

    /// What happened to the piece, without its name: what a journal keeps.
    #[cfg_attr(not(feature = "journal"), allow(dead_code))]
    pub(crate) fn what_happened(&self) -> String {
        match (self.0.cause, &self.0.message[..]) {
            (Some(cause), "") => cause.to_string(),
            // The other kinds say it in their message.
            (Some(cause), message) if self.0.kind == ErrorKind::WorkerLost => format!("{cause}; {message}"),
            (_, message) => message.to_string(),
        }
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Why the worker ended, if one did.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.0.cause
    }

    /// The piece's number in `run` order, from 0; `None` if the error is not about one piece.
    #[must_use]
    pub fn piece(&self) -> Option<usize> {
        self.0.piece.as_ref().map(|piece| piece.number)
    }

    /// The piece's function: the task's [`name`](crate::Task::name) if it has one, else the function's symbol in the
    /// executable. `None` if the executable has no symbols.
    ///
    /// A closure is called after the function that it was written in, `app::main::{{closure}}`. In an optimised program that may be a function
    /// into which the compiler has moved the other's code, or the path may be missing; the place in the error's text is always the closure's.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.0.piece.as_ref().and_then(|piece| piece.function.name())
    }

    /// The source location at which the piece was handed out.
    #[must_use]
    pub fn location(&self) -> Option<&Location<'_>> {
        self.0.piece.as_ref().map(|piece| piece.location)
    }

    /// The name of the other host on which the piece ended; `None` for one that ended on this machine, or did not begin.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// The worker's number in its pool, from 0.
    #[must_use]
    pub fn worker(&self) -> Option<usize> {
        self.0.worker
    }

    /// The worker's process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.0.pid
    }

    /// The number of times that the piece was started; 0 if it never was.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// What the piece [noted](crate::note()) last in its last attempt; `None` if it noted nothing. A worker whose memory was damaged
    /// may have left any number.
    ///
    /// ```
    /// fn check(first: u64, end: u64) -> Result<(), String> {
    ///     (first..end).try_for_each(|row| {
    ///         multicore::note(row);
    ///         if row == 17 { Err("a bad row".to_string()) } else { Ok(()) }
    ///     })
    /// }
    ///
    /// let task = multicore::Task::<()>::new_or_inline();
    /// task.try_run(check, 10, 20);
    /// assert_eq!(task.get().unwrap_err().note(), Some(17));
    /// ```
    #[must_use]
    pub fn note(&self) -> Option<u64> {
        self.0.note
    }

    /// The backtrace of a panic in the worker, if `RUST_BACKTRACE` or `RUST_LIB_BACKTRACE` was set when
    /// the pool was made. `Debug` shows it too.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_deref()
    }

    /// The piece with its name and location, as the subject of the message.
    fn subject(&self) -> Option<String> {
        let piece = self.0.piece.as_ref()?;
        let (name, location) = (piece.function.name(), piece.location);
        let (file, line) = (location.file(), location.line());
        let host = self.0.host.as_ref().map_or(String::new(), |host| format!(", on host {host}"));
        Some(match name {
            Some(name) => format!("piece {} ({name} at {file}:{line}{host})", piece.number),
            None => format!("piece {} (at {file}:{line}{host})", piece.number),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_what_happened(f)?;
        self.0.note.map_or(Ok(()), |note| write!(f, " (noted {note})"))
    }
}

impl Error {
    fn write_what_happened(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let Some(subject) = self.subject() else { return f.write_str(&inner.message) };
        match inner.kind {
            ErrorKind::Panicked => write!(f, "{subject} panicked: {}", inner.message),
            ErrorKind::Failed if inner.message.is_empty() => write!(f, "{subject} failed without a message"),
            ErrorKind::Failed => write!(f, "{subject} failed: {}", inner.message),
            // One that was not started lost no worker. Its message tells what happened to the pool.
            ErrorKind::WorkerLost if inner.attempts > 0 => {
                write!(f, "{subject} lost its worker")?;
                if let Some(worker) = inner.worker {
                    write!(f, " {worker}")?;
                }
                if let Some(pid) = inner.pid {
                    write!(f, " (pid {pid})")?;
                }
                if let Some(cause) = inner.cause {
                    write!(f, ": {cause}")?;
                }
                if inner.message.is_empty() { Ok(()) } else { write!(f, "; {}", inner.message) }
            }
            _ => write!(f, "{subject} {}", inner.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind);
        if let Some(cause) = self.0.cause {
            debug.field("cause", &cause);
        }
        debug.field("message", &self.to_string()).finish()?;
        match &self.0.backtrace {
            Some(backtrace) => write!(f, "\nstack backtrace:\n{backtrace}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {}
