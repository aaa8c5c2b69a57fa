//! A result that is written while its piece runs: [`Sink`].
//!
//! A sink writes into a [`Window`]: a part of the worker's ring that was reserved for it. When the window is full, the [`Outlet`]
//! makes a record of it, which the parent can read while the piece runs on, and gives another one. Without a pool it
//! writes into a vector.
//!
//! Invariant: what a sink has written lies in the records before its window, then in the window, in this order. A sink that is
//! dropped before its [`end`](Sink::end), as by a panic, announces nothing more.

use crate::codec::value::Value;
use crate::protocol::copy;
use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::rc::Rc;

/// Results that travel as they are: `String` and `Vec<u8>`.
///
/// No other type can implement it.
pub trait Bytes: Value + sealed::Bytes {}

impl Bytes for String {}
impl Bytes for Vec<u8> {}

/// What a function gives that writes its result into a [`Sink`]: nothing, or a `Result<(), E>` whose error becomes that of its
/// piece.
///
/// `E` is any type that `?` converts to a `Box<dyn Error + Send + Sync>`. No other type can implement the trait.
#[diagnostic::on_unimplemented(
    message = "a function that writes into a `Sink` cannot return `{Self}`",
    note = "let it return nothing, or a `Result<(), E>` whose error is of `std`, a `String`, a `&str`, `anyhow::Error` or a `multicore::Failure`"
)]
pub trait Outcome: sealed::Outcome {}

impl Outcome for () {}
impl<E: Into<Box<dyn StdError + Send + Sync>>> Outcome for Result<(), E> {}

pub(crate) mod sealed {
    use std::error::Error as StdError;

    pub trait Bytes {}

    impl Bytes for String {}
    impl Bytes for Vec<u8> {}

    pub trait Outcome {
        fn into_result(self) -> Result<(), Box<dyn StdError + Send + Sync>>;
    }

    impl Outcome for () {
        fn into_result(self) -> Result<(), Box<dyn StdError + Send + Sync>> {
            Ok(())
        }
    }

    impl<E: Into<Box<dyn StdError + Send + Sync>>> Outcome for Result<(), E> {
        fn into_result(self) -> Result<(), Box<dyn StdError + Send + Sync>> {
            self.map_err(Into::into)
        }
    }
}

/// Where a piece writes its result while it runs.
///
/// A function gets one from [`Task::run_into`](crate::Task::run_into). What it writes goes straight into the memory that worker
/// and program share, and the program can read it while the piece runs on. So a result of any length takes little memory
/// in the worker, and no more than [`max_unread`](crate::Task::max_unread) in a program that [writes it on](crate::Task::write_to) or
/// [reads it](crate::Task::reader).
///
/// It is an [`io::Write`] and a [`fmt::Write`], and `write!` and `writeln!` need neither of them imported.
///
/// ```
/// use multicore::Sink;
/// use std::io;
///
/// fn rows(start: u32, end: u32, sink: &mut Sink) -> io::Result<()> {
///     for number in start..end {
///         sink.push_str("row ");
///         writeln!(sink, "{number}")?;
///     }
///     Ok(())
/// }
///
/// let task = multicore::Task::<String>::new_or_inline();
/// task.run_into(rows, 0, 2);
/// task.run_into(rows, 2, 3);
/// let mut text = Vec::new();
/// task.write_to(&mut text).unwrap();
/// assert_eq!(text, b"row 0\nrow 1\nrow 2\n");
/// ```
///
/// Writing fails with [`FileTooLarge`](io::ErrorKind::FileTooLarge) beyond the pool's
/// [`max_result_bytes`](crate::PoolBuilder::max_result_bytes), and the piece then ends in [`Encode`](crate::ErrorKind::Encode), whatever its
/// function returns. Without workers that limit holds where it was set. The only other error is that of `write!` for a value whose own
/// `Display` fails.
///
/// It stays on the thread of its piece:
///
/// ```compile_fail
/// fn write(_: u32, _: u32, sink: &mut multicore::Sink) {
///     std::thread::scope(|scope| {
///         scope.spawn(|| sink.push_str("from another thread"));
///     });
/// }
/// ```
pub struct Sink {
    /// Of a ring; with a buffer nothing fits into it.
    window: Window,
    /// The bytes that lie before the window.
    before: u64,
    is_too_long: bool,
    target: Target,
}

/// Where it goes on when the window is full.
enum Target {
    Ring(Rc<dyn Outlet>),
    Heap { buffer: Vec<u8>, limit: Option<Limit> },
}

/// A part of a worker's ring that a sink writes into.
pub(crate) type Window = copy::Window<'static>;

/// How long a result may be that is written into a buffer.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub(crate) most: u64,
    /// Set once a sink was asked for more: its function may have panicked over that.
    pub(crate) is_exceeded: Rc<Cell<bool>>,
}

/// What takes the windows of a sink, and gives others.
pub(crate) trait Outlet {
    /// How many bytes may be written after this number of them.
    fn allows_more(&self, written: u64) -> u64;

    /// Makes what was written into this window readable, and gives another one. It waits for room.
    fn exchange(&self, filled: Window) -> Window;

    /// Makes it readable, and wakes the reader. The sink has no window then.
    fn flush(&self, filled: Window);
}

/// The result was longer than its pool allows.
#[derive(Debug)]
pub(crate) struct TooLong {
    pub(crate) most: u64,
}

/// Where the result of a call goes.
pub(crate) struct Place<'a> {
    /// Results are encoded here, and written without an outlet.
    pub(crate) buffer: &'a mut Vec<u8>,
    /// For a function that writes its result while it runs.
    pub(crate) outlet: Option<&'a Rc<dyn Outlet>>,
    /// The last window of a result that was written to the outlet.
    pub(crate) last: Option<Window>,
    /// For what is written without an outlet.
    pub(crate) limit: Option<&'a Limit>,
}

impl<'a> Place<'a> {
    /// Only a buffer.
    pub(crate) fn of_buffer(buffer: &'a mut Vec<u8>) -> Self {
        Place { buffer, outlet: None, last: None, limit: None }
    }
}

impl Sink {
    pub(crate) fn new(place: &mut Place<'_>) -> Self {
        let target = match place.outlet {
            Some(outlet) => Target::Ring(Rc::clone(outlet)),
            None => {
                let mut buffer = std::mem::take(place.buffer);
                buffer.clear();
                Target::Heap { buffer, limit: place.limit.cloned() }
            }
        };
        Sink { window: Window::NONE, before: 0, is_too_long: false, target }
    }

    /// The function has returned: all that it wrote is the result.
    pub(crate) fn end(self, place: &mut Place<'_>) -> Result<(), TooLong> {
        if self.is_too_long {
            return Err(TooLong { most: self.written() });
        }
        match self.target {
            Target::Ring(_) => place.last = Some(self.window),
            Target::Heap { buffer, .. } => *place.buffer = buffer,
        }
        Ok(())
    }

    /// Appends text, as [`String::push_str`] does.
    ///
    /// It tells nothing if the result becomes too long: the piece ends in [`Encode`](crate::ErrorKind::Encode) in any case.
    #[inline]
    pub fn push_str(&mut self, text: &str) {
        // An error stays.
        let _ = self.append(text.as_bytes());
    }

    /// What `write!` and `writeln!` call.
    ///
    /// # Errors
    /// [`FileTooLarge`](io::ErrorKind::FileTooLarge) as said above, and an error if a value's own `Display` fails.
    #[inline]
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        if let Some(text) = text.as_str() {
            return self.append(text.as_bytes());
        }
        match fmt::Write::write_fmt(self, text) {
            Ok(()) => Ok(()),
            Err(_) if self.is_too_long => Err(too_long()),
            Err(fmt::Error) => Err(io::Error::other("a value could not be formatted: its Display failed")),
        }
    }

    /// The number of bytes that were written so far.
    ///
    /// ```
    /// use multicore::Sink;
    ///
    /// /// Writes whole lines, up to about 20 bytes.
    /// fn numbers(start: u64, end: u64, sink: &mut Sink) -> std::io::Result<()> {
    ///     let mut numbers = start..end;
    ///     while sink.written() < 20
    ///         && let Some(number) = numbers.next()
    ///     {
    ///         writeln!(sink, "{number}")?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let task = multicore::Task::<String>::new_or_inline();
    /// task.run_into(numbers, 1000, 2000);
    /// assert_eq!(task.get()?, ["1000\n1001\n1002\n1003\n"]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    #[must_use]
    pub fn written(&self) -> u64 {
        let last = match &self.target {
            Target::Ring(_) => self.window.used(),
            Target::Heap { buffer, .. } => buffer.len(),
        };
        self.before + last as u64
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.window.append(bytes) { Ok(()) } else { self.append_on(bytes) }
    }

    /// Within the limit of a buffer.
    fn append_within(buffer: &mut Vec<u8>, limit: &Limit, bytes: &[u8]) -> bool {
        let fitting = usize::try_from(limit.most).unwrap_or(usize::MAX).saturating_sub(buffer.len());
        buffer.extend_from_slice(&bytes[..bytes.len().min(fitting)]);
        let fits = bytes.len() <= fitting;
        limit.is_exceeded.set(limit.is_exceeded.get() || !fits);
        fits
    }

    /// It does not fit into the window. All that a sink of a worker does seldom is here: each comparison more in `append` costs a
    /// worker that writes short texts some percent.
    #[inline(never)]
    fn append_on(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let outlet = match &mut self.target {
            Target::Ring(outlet) => outlet,
            Target::Heap { buffer, limit: None } => {
                buffer.extend_from_slice(bytes);
                return Ok(());
            }
            Target::Heap { buffer, limit: Some(limit) } => {
                if Self::append_within(buffer, limit, bytes) {
                    return Ok(());
                }
                self.is_too_long = true;
                return Err(too_long());
            }
        };
        while !self.is_too_long {
            let (fits, rest) = bytes.split_at(bytes.len().min(self.window.room()));
            self.window.append(fits);
            bytes = rest;
            if bytes.is_empty() {
                return Ok(());
            }
            self.before += self.window.used() as u64;
            let filled = std::mem::replace(&mut self.window, Window::NONE);
            let more = outlet.allows_more(self.before);
            if more == 0 {
                self.is_too_long = true;
                break;
            }
            self.window = outlet.exchange(filled);
            self.window.limit(usize::try_from(more).unwrap_or(usize::MAX));
        }
        Err(too_long())
    }
}

#[cold]
fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        "the result is longer than its pool allows: write less, or set max_result_bytes",
    )
}

impl io::Write for Sink {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)
    }

    /// Tells the program at once what was written so far, which costs a wake-up. Without it the program is told at each half
    /// MiB, and when the piece ends.
    fn flush(&mut self) -> io::Result<()> {
        if let Target::Ring(outlet) = &self.target {
            self.before += self.window.used() as u64;
            outlet.flush(std::mem::replace(&mut self.window, Window::NONE));
        }
        Ok(())
    }
}

impl fmt::Write for Sink {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("written", &self.written()).finish_non_exhaustive()
    }
}

// loom's atomics live in its models alone.
#[cfg(all(test, not(loom)))]
mod tests;
