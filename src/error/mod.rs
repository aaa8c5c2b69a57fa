//! What can go wrong, told so that a reader at night knows what happened, to what, and what to do.

use crate::sys::symbol;
use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::OnceLock;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The piece's function panicked; the worker lives on.
    Panicked,
    /// The worker died in the middle of the piece: see [`Error::cause`].
    WorkerLost,
    /// A time limit passed; from [`get_timeout`](crate::Task::get_timeout) without a piece.
    TimedOut,
    /// The worker took more memory than it may.
    MemoryLimit,
    /// The task or its pool ended before the piece did.
    Cancelled,
    /// A value could not be put into the task's format, or a result is longer than the pool allows.
    Encode,
    /// Bytes could not be read back as the value they should be.
    Decode,
    /// The machine's load is above the pool's limit; try later, or run the work yourself.
    Busy,
    /// No pool can run here, where the system lacks a call that it needs for instance; or this function
    /// cannot travel.
    Unsupported,
    /// This process is a worker, and a worker has no pool of its own.
    InWorker,
    /// A setting makes no sense.
    Config,
    /// The operating system refused something. Of a piece: for two seconds no worker could be started.
    System,
    /// The journal could not be written or read.
    Journal,
}

/// How a worker came to its end, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A signal of this number killed it.
    Signal(i32),
    /// It exited with this code; in the middle of a piece 0 is a loss too.
    Exit(i32),
    /// The piece overflowed the worker's stack.
    StackOverflow,
    /// The piece asked for memory and got none.
    AllocationFailed,
    /// The kernel's out-of-memory killer chose it.
    OomKilled,
    /// It wrote what no worker writes, and was killed.
    Protocol,
    /// The process that all workers are forked from died, and with it the workers.
    ForkServerLost,
    /// Nobody could tell in time.
    Unknown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Cause::Signal(number) => match signal_name(number) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {number}"),
            },
            Cause::Exit(code) => write!(f, "it exited with code {code} in the middle of the piece"),
            Cause::StackOverflow => f.write_str("it overflowed its stack"),
            Cause::AllocationFailed => f.write_str("it could not get memory"),
            Cause::OomKilled => f.write_str("the kernel killed it for want of memory"),
            Cause::Protocol => f.write_str("it wrote what no worker writes and was killed"),
            Cause::ForkServerLost => f.write_str("the fork server died and took it along"),
            Cause::Unknown => f.write_str("nobody could tell why in time"),
        }
    }
}

/// The names of the signals that end programs, by their numbers on this platform.
fn signal_name(number: i32) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    {
        Some(match number {
            libc::SIGHUP => "SIGHUP",
            libc::SIGINT => "SIGINT",
            libc::SIGQUIT => "SIGQUIT",
            libc::SIGILL => "SIGILL",
            libc::SIGTRAP => "SIGTRAP",
            libc::SIGABRT => "SIGABRT",
            libc::SIGBUS => "SIGBUS",
            libc::SIGFPE => "SIGFPE",
            libc::SIGKILL => "SIGKILL",
            libc::SIGUSR1 => "SIGUSR1",
            libc::SIGSEGV => "SIGSEGV",
            libc::SIGUSR2 => "SIGUSR2",
            libc::SIGPIPE => "SIGPIPE",
            libc::SIGALRM => "SIGALRM",
            libc::SIGTERM => "SIGTERM",
            libc::SIGXCPU => "SIGXCPU",
            libc::SIGXFSZ => "SIGXFSZ",
            libc::SIGVTALRM => "SIGVTALRM",
            libc::SIGPROF => "SIGPROF",
            libc::SIGSYS => "SIGSYS",
            _ => return None,
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = number;
        None
    }
}

/// What happened to a piece, to a task or to a pool.
///
/// Its [`Display`](fmt::Display) is one sentence with the numbers; the methods give the parts.
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
    message: String,
    backtrace: Option<String>,
}

/// Which piece, and how to name it.
#[derive(Clone)]
struct Piece {
    number: usize,
    function: Function,
    location: &'static Location<'static>,
}

/// What is said of a piece: its number, its function and where it was handed out.
#[derive(Clone, Debug)]
pub(crate) struct PieceLabel {
    pub(crate) number: usize,
    pub(crate) name: Option<std::sync::Arc<str>>,
    pub(crate) address: usize,
    pub(crate) location: &'static Location<'static>,
}

#[derive(Clone)]
struct Function {
    given: Option<std::sync::Arc<str>>,
    address: usize,
    /// Looked up when first asked for: it reads the executable's symbol table.
    found: OnceLock<Option<String>>,
}

impl Function {
    fn name(&self) -> Option<&str> {
        match &self.given {
            Some(name) => Some(name),
            None => self.found.get_or_init(|| symbol::name_of(self.address)).as_deref(),
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
            message: message.into(),
            backtrace: None,
        }))
    }

    /// The operating system refused something, or does not know it at all.
    pub(crate) fn system(what: &str, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        let is_unknown = error.kind() == std::io::ErrorKind::Unsupported;
        let kind = if is_unknown { ErrorKind::Unsupported } else { ErrorKind::System };
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
    pub(crate) fn with_backtrace(mut self, backtrace: &str) -> Self {
        self.0.backtrace = Some(backtrace.to_string());
        self
    }

    /// The same error for one more receiver.
    pub(crate) fn duplicate(&self) -> Self {
        Error(self.0.clone())
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How the worker ended, where one did.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.0.cause
    }

    /// The piece's number in `run` order, from 0; `None` where the error is not one piece's.
    #[must_use]
    pub fn piece(&self) -> Option<usize> {
        self.0.piece.as_ref().map(|piece| piece.number)
    }

    /// The piece's function: the task's [`name`](crate::Task::name), else its symbol in the
    /// executable. `None` where the executable has no symbols.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.0.piece.as_ref().and_then(|piece| piece.function.name())
    }

    /// Where the piece was handed out.
    #[must_use]
    pub fn location(&self) -> Option<&Location<'_>> {
        self.0.piece.as_ref().map(|piece| piece.location)
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

    /// How often the piece was begun; 0 where it never was.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The way to a panic in the worker, where `RUST_BACKTRACE` or `RUST_LIB_BACKTRACE` asked for it when
    /// the pool was made; `Debug` shows it too.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_deref()
    }

    /// The piece, named and placed.
    fn subject(&self) -> Option<String> {
        let piece = self.0.piece.as_ref()?;
        let place = piece.location;
        Some(match piece.function.name() {
            Some(name) => format!("piece {} ({name} at {}:{})", piece.number, place.file(), place.line()),
            None => format!("piece {} (at {}:{})", piece.number, place.file(), place.line()),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let Some(subject) = self.subject() else { return f.write_str(&inner.message) };
        match inner.kind {
            ErrorKind::Panicked => write!(f, "{subject} panicked: {}", inner.message),
            ErrorKind::WorkerLost => {
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

/// An error as a value, for pieces that can fail: `fn(A, B) -> Result<T, Failure>`, with `?`.
///
/// It keeps the messages of an error and of all its sources, and travels like any other result.
///
/// ```
/// use multicore::Failure;
///
/// fn parse(text: String, _: ()) -> Result<u32, Failure> {
///     Ok(text.parse()?)
/// }
///
/// let task = multicore::Task::<Result<u32, Failure>>::new_or_inline();
/// task.run(parse, "12".to_string(), ());
/// task.run(parse, "twelve".to_string(), ());
/// let results = task.get().unwrap();
/// assert_eq!(results[0].as_ref().unwrap(), &12);
/// assert_eq!(results[1].as_ref().unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    messages: Vec<String>,
}

impl Failure {
    /// A failure with this message and no sources.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Failure { messages: vec![message.into()] }
    }

    /// The error's own message, then its source's, and so on.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(String::as_str)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join(": "))
    }
}

// `Failure` itself is no `Error`, or this would overlap with the reflexive `From`.
impl<E: StdError> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut messages = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            messages.push(error.to_string());
            source = error.source();
        }
        Failure { messages }
    }
}
