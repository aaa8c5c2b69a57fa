//! A task as its caller holds it: pieces go in, results come out in order.
//!
//! Invariant: nothing here depends on which backend runs the pieces.

pub(crate) mod awaited;
#[cfg(feature = "indicatif")]
mod bar;
mod batch;
mod by_reference;
pub(crate) mod canceller;
mod collect;
mod early;
mod feeder;
mod into;
pub(crate) mod iter;
#[cfg(feature = "journal")]
mod journalled;
pub(crate) mod map;
mod next;
pub(crate) mod progress;
pub(crate) mod reader;
mod refusal;
mod settings;
#[cfg(feature = "stream")]
pub(crate) mod stream;
mod taken;
mod unread;
pub(crate) mod watch;
mod with_state;

use self::batch::{BATCH_BYTES, Batch};
use self::canceller::Canceller;
use self::early::Early;
use self::progress::Reporter;
use self::refusal::Refusal;
use self::watch::Watched;
#[cfg(feature = "tracing")]
use crate::backend::traced::TaskSpan;
use crate::backend::{Backend, Site, TaskKey, TaskSettings};
use crate::codec::bytes::Handed;
use crate::codec::call::Call;
use crate::codec::error::{CodecError, guarded};
use crate::codec::state::StateType;
use crate::codec::tables::scope;
use crate::codec::tables::table::Tables;
use crate::codec::value::Value;
use crate::codec::{self, Encoded, SHORT_PAIR_BYTES};
use crate::error::ErrorKind;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

/// Calls of functions that worker processes run; the results come back in order.
///
/// Pieces start to run as they are handed out, before anything is collected. When a task is dropped,
/// what has not begun never begins, and what runs ends unread.
///
/// ```
/// fn sum(start: u64, end: u64) -> u64 {
///     (start..end).sum()
/// }
///
/// # fn main() -> Result<(), multicore::Error> {
/// let sums = match multicore::Task::<u64>::new() {
///     Some(task) => {
///         task.run(sum, 0, 500);
///         task.run(sum, 500, 1000);
///         task.get()?
///     }
///     // No pool can run here, or a limit that you set says that the machine is busy.
///     None => vec![sum(0, 1000)],
/// };
/// assert_eq!(sums.iter().sum::<u64>(), 499_500);
/// # Ok(())
/// # }
/// ```
///
/// A piece's function is a function item, or a closure that captures nothing; it gets what it needs
/// as arguments. A closure that captures is refused by the compiler:
///
/// ```compile_fail
/// let factor = 3;
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(|start: u64, end: u64| (start + end) * factor, 0, 10);
/// ```
///
/// The data goes along with the arguments instead:
///
/// ```
/// let factor = 3;
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(|(start, factor): (u64, u64), end| (start + end) * factor, (0, factor), 10);
/// assert_eq!(task.get().unwrap(), [30]);
/// ```
///
/// Eight settings come before the first piece: [`timeout`](Self::timeout), [`retries`](Self::retries),
/// [`retry_panics`](Self::retry_panics), [`retry_failures`](Self::retry_failures), [`priority`](Self::priority), [`format`](Self::format),
/// [`max_unread`](Self::max_unread) and [`whole_pieces`](Self::whole_pieces). One of them that comes later ends the pieces that have not
/// begun, and those that are handed out after it, in [`Config`](ErrorKind::Config). [`name`](Self::name), [`deadline`](Self::deadline),
/// [`kill_on_drop`](Self::kill_on_drop) and [`progress`](Self::progress) may be set at any time.
#[must_use = "a task that is dropped at once runs nothing"]
pub struct Task<R> {
    backend: Arc<dyn Backend>,
    key: TaskKey,
    settings: TaskSettings,
    /// Why no piece can begin, whatever its arguments.
    refusal: Option<Refusal>,
    whole_pieces: bool,
    /// What its workers make for pieces that ask.
    state: Option<StateType>,
    /// What runs when it is dropped is killed.
    kills_on_drop: bool,
    /// Tells how far it has come; most tasks tell nobody.
    reporter: Option<Box<Reporter>>,
    #[cfg(feature = "journal")]
    journalled: journalled::Journalled,
    /// What a subscriber of `tracing` knows of it, if there is one.
    #[cfg(feature = "tracing")]
    span: Option<Arc<TaskSpan>>,
    /// All that is not `Sync` in one cell, so that the compiler's message to a program that shares a task between threads is one, too.
    cells: RefCell<OfOneThread>,
    result: PhantomData<fn() -> R>,
}

/// What the calls of the thread that has the task change.
#[derive(Default)]
struct OfOneThread {
    /// The number of pieces that were handed out.
    pieces: usize,
    /// Arguments are encoded here, but for the shortest ones, so that one allocation does for many pieces. It is taken out meanwhile:
    /// encoding is user code.
    scratch: Vec<u8>,
    /// What the caller has taken before the task is collected; most tasks have nothing.
    early: Option<Box<Early>>,
    /// Those who watch it; most tasks are watched by nobody.
    watched: Option<Arc<Watched>>,
}

impl<R> Task<R> {
    /// A task that was just opened in the backend, with the default settings.
    #[inline]
    pub(crate) fn opened(backend: Arc<dyn Backend>, key: TaskKey) -> Self {
        #[cfg(feature = "tracing")]
        let span = TaskSpan::begin();
        #[cfg(feature = "tracing")]
        let settings = span.as_ref().map_or_else(TaskSettings::default, |span| Self::traced(&*backend, key, span));
        #[cfg(not(feature = "tracing"))]
        let settings = TaskSettings::default();
        // The last thing that is made, so that it is made in its place.
        Task {
            backend,
            key,
            settings,
            refusal: None,
            whole_pieces: false,
            state: None,
            kills_on_drop: false,
            reporter: None,
            #[cfg(feature = "journal")]
            journalled: Default::default(),
            #[cfg(feature = "tracing")]
            span,
            cells: RefCell::default(),
            result: PhantomData,
        }
    }

    /// The settings of a task that a subscriber knows of, of which its backend is told.
    #[cfg(feature = "tracing")]
    #[cold]
    fn traced(backend: &dyn Backend, key: TaskKey, span: &Arc<TaskSpan>) -> TaskSettings {
        let settings = TaskSettings { traced: span.traced(), ..TaskSettings::default() };
        backend.configure(key, settings.clone());
        settings
    }

    fn configure(&mut self, change: impl FnOnce(&mut TaskSettings)) {
        change(&mut self.settings);
        self.backend.configure(self.key, self.settings.clone());
    }

    fn close(&self, kill: bool) {
        self.backend.close(self.key, kill);
    }

    /// Ends it, and kills what runs.
    fn kill(&mut self) {
        if self.reporter.is_some() || self.cells.get_mut().watched.is_some() {
            // The last call and the last counts tell of it.
            self.backend.cancel(self.key);
            self.end_progress();
            self.end_watch();
        }
        self.close(true);
    }

    /// Nothing changes any more: the last call of the callback.
    fn end_progress(&mut self) {
        if let Some(mut reporter) = self.reporter.take() {
            reporter.end();
        }
    }

    /// A piece may have run on this thread.
    #[inline]
    fn tell_progress(&self) {
        if let Some(reporter) = &self.reporter {
            reporter.piece_ended();
        }
    }
}

// The bound `R: Value` stands on the methods: a result that cannot travel is then told by its note, and not by E0599.
impl<R> Task<R> {
    /// Hands out a piece: `function(start, end)`. A function of one argument goes to [`call`](Self::call): the compiler refuses
    /// `task.run(f, n)` with "this method takes 3 arguments but 2 arguments were supplied" (E0061), or, for a closure, "closure is expected to
    /// take 2 arguments, but it takes 1 argument" (E0593); write `task.call(f, n)`.
    ///
    /// The arguments are encoded now, on this thread. Never waits for a worker and never panics:
    /// what is wrong becomes the piece's error.
    #[track_caller]
    // The comment in the signature is what a user sees who calls it with one argument: the compiler shows that line.
    pub fn run<A: Value, B: Value>(&self, function: fn(A, B) -> R, start: A, end: B /* one argument: use `call` */)
    where
        R: Value,
    {
        let site = Site { call: Call::of_pair(function), location: Location::caller() };
        self.add_pair(site, &(start, end));
    }

    /// Hands out a piece: `function(argument)`, with a tuple for more. A `String` or `Vec<u8>`
    /// travels as it is, and a list of numbers, such as a `Vec<f64>`, as its bytes. Else as [`run`](Self::run).
    ///
    /// ```
    /// fn words(text: String) -> usize {
    ///     text.split_whitespace().count()
    /// }
    ///
    /// let task = multicore::Task::<usize>::new_or_inline();
    /// task.call(words, "so be it".to_string());
    /// task.call(|(text, width): (String, usize)| text.len().div_ceil(width), ("seventeen letters".to_string(), 10));
    /// assert_eq!(task.get()?, [3, 2]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    #[track_caller]
    pub fn call<A: Value>(&self, function: fn(A) -> R, argument: A)
    where
        R: Value,
    {
        let site = Site { call: Call::of_argument(function), location: Location::caller() };
        self.add_argument(site, argument);
    }

    /// Hands out a piece that may fail: `function(start, end)`, whose `Ok` is the piece's result. Else as [`run`](Self::run).
    ///
    /// An `Err` ends the piece in [`Failed`](ErrorKind::Failed). The error has the messages of the function's error and of its
    /// [sources](std::error::Error::source), each said once and up to 8 KiB in all, and names the piece as that of a panic does. It
    /// is an answer: [`retries`](Self::retries) do not run the piece again, but with [`retry_failures`](Self::retry_failures). The function's error may be of any type that `?`
    /// converts to a `Box<dyn Error + Send + Sync>`: an error of `std`, a `String`, a `&str`, `anyhow::Error`, or a
    /// [`Failure`](crate::Failure).
    ///
    /// ```
    /// use std::num::ParseIntError;
    ///
    /// fn product(text: String, factor: u32) -> Result<u32, ParseIntError> {
    ///     Ok(text.parse::<u32>()? * factor)
    /// }
    ///
    /// let task = multicore::Task::<u32>::new_or_inline();
    /// task.try_run(product, "12".to_string(), 2);
    /// task.try_run(product, "twelve".to_string(), 2);
    /// let results = task.get_each();
    /// assert_eq!(*results[0].as_ref().unwrap(), 24);
    /// let error = results[1].as_ref().unwrap_err();
    /// assert_eq!((error.kind(), error.piece()), (multicore::ErrorKind::Failed, Some(1)));
    /// assert!(error.to_string().ends_with("failed: invalid digit found in string"));
    /// ```
    ///
    /// A closure that uses `?` needs a written return type:
    ///
    /// ```
    /// let task = multicore::Task::<u64>::new_or_inline();
    /// task.try_run(|text: String, end: u64| -> Result<u64, multicore::Failure> { Ok(text.parse::<u64>()? + end) }, "3".into(), 4);
    /// assert_eq!(task.get().unwrap(), [7]);
    /// ```
    #[track_caller]
    pub fn try_run<A: Value, B: Value, E>(&self, function: fn(A, B) -> Result<R, E>, start: A, end: B)
    where
        R: Value,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let site = Site { call: Call::of_fallible_pair(function), location: Location::caller() };
        self.add_pair(site, &(start, end));
    }

    /// Hands out a piece that may fail: `function(argument)`. The argument travels as that of [`call`](Self::call). Else as
    /// [`try_run`](Self::try_run).
    ///
    /// ```
    /// let task = multicore::Task::<String>::new_or_inline();
    /// task.try_call(std::fs::read_to_string, "/nowhere".to_string());
    /// let error = task.get().unwrap_err();
    /// assert_eq!(error.kind(), multicore::ErrorKind::Failed);
    /// ```
    #[track_caller]
    pub fn try_call<A: Value, E>(&self, function: fn(A) -> Result<R, E>, argument: A)
    where
        R: Value,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let site = Site { call: Call::of_fallible_argument(function), location: Location::caller() };
        self.add_argument(site, argument);
    }

    /// Hands out a piece for each pair, some at a time: for many tiny pieces faster than
    /// [`run`](Self::run).
    ///
    /// # Panics
    /// Where `pairs` does. The task stays usable. Of what the iterator gave before, the last pieces, fewer than 256, may not be handed out:
    /// [`len`](Self::len) tells how many were.
    #[track_caller]
    pub fn run_all<A: Value, B: Value>(&self, function: fn(A, B) -> R, pairs: impl IntoIterator<Item = (A, B)>)
    where
        R: Value,
    {
        let site = Site { call: Call::of_pair(function), location: Location::caller() };
        self.add_pairs(site, pairs);
    }

    /// Hands out a piece for each argument, some at a time: as [`run_all`](Self::run_all) for functions of one argument. It reads all of
    /// `arguments` now; where these are many, or come slowly, [`map`](Self::map) hands them out while it is read.
    ///
    /// ```
    /// let task = multicore::Task::<usize>::new_or_inline();
    /// task.call_all(|word: String| word.len(), ["four".to_string(), "seven".to_string()]);
    /// assert_eq!(task.get().unwrap(), [4, 5]);
    /// ```
    ///
    /// # Panics
    /// Where `arguments` does, as with [`run_all`](Self::run_all).
    #[track_caller]
    pub fn call_all<A: Value>(&self, function: fn(A) -> R, arguments: impl IntoIterator<Item = A>)
    where
        R: Value,
    {
        let site = Site { call: Call::of_argument(function), location: Location::caller() };
        self.add_arguments(site, arguments);
    }

    /// Hands out a piece that may fail for each argument, some at a time: as [`try_call`](Self::try_call) for each.
    ///
    /// ```
    /// let task = multicore::Task::<u32>::new_or_inline();
    /// task.try_call_all(|text: String| text.parse::<u32>(), ["7".to_string(), "seven".to_string()]);
    /// let results = task.get_each();
    /// assert!(matches!(results[0], Ok(7)));
    /// assert_eq!(results[1].as_ref().unwrap_err().kind(), multicore::ErrorKind::Failed);
    /// ```
    ///
    /// # Panics
    /// Where `arguments` does, as with [`run_all`](Self::run_all).
    #[track_caller]
    pub fn try_call_all<A: Value, E>(&self, function: fn(A) -> Result<R, E>, arguments: impl IntoIterator<Item = A>)
    where
        R: Value,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let site = Site { call: Call::of_fallible_argument(function), location: Location::caller() };
        self.add_arguments(site, arguments);
    }

    #[inline(always)]
    fn add_pair<A: Value, B: Value>(&self, site: Site, pair: &(A, B))
    where
        R: Value,
    {
        let mut short = [0; SHORT_PAIR_BYTES];
        if let Some(length) = codec::encode_short_pair(self.settings.format, pair, &mut short)
            && !self.refuses()
        {
            return self.add_short(site, &short[..length]);
        }
        let mut scratch = self.take_scratch();
        let shares_nothing = codec::shares_nothing::<A>() && codec::shares_nothing::<B>();
        let encode = || guarded(|| codec::encode_pair(self.settings.format, pair, &mut scratch));
        let (encoded, tables) = scope::noting_unless(shares_nothing, encode);
        self.add(site, (encoded, tables), &mut scratch);
        self.keep_scratch(scratch);
    }

    #[inline(always)]
    fn add_argument<A: Value>(&self, site: Site, argument: A)
    where
        R: Value,
    {
        let mut scratch = self.take_scratch();
        let encode = || guarded(|| codec::encode_argument(self.settings.format, argument, &mut scratch));
        let (encoded, tables) = scope::noting_unless(codec::shares_nothing::<A>(), encode);
        self.add(site, (encoded, tables), &mut scratch);
        self.keep_scratch(scratch);
    }

    #[inline]
    fn take_scratch(&self) -> Vec<u8> {
        std::mem::take(&mut self.cells.borrow_mut().scratch)
    }

    #[inline]
    fn keep_scratch(&self, scratch: Vec<u8>) {
        self.cells.borrow_mut().scratch = scratch;
    }

    /// Pieces are handed out.
    #[inline]
    fn count(&self, pieces: usize) {
        self.cells.borrow_mut().pieces += pieces;
    }

    /// Adds a piece of encoded arguments, with what they share.
    fn add(&self, site: Site, encoded: (Result<Encoded, CodecError>, Option<Tables>), scratch: &mut Vec<u8>)
    where
        R: Value,
    {
        match encoded {
            (Ok(Encoded::InBuffer), None) if scratch.len() < BATCH_BYTES && !self.refuses() => {
                self.add_short(site, scratch);
            }
            (encoded, tables) => self.add_other(site, encoded, tables, scratch),
        }
    }

    #[inline]
    fn add_short(&self, site: Site, arguments: &[u8]) {
        self.count(1);
        self.backend.add_piece(self.key, site, Handed::Lent(arguments));
    }

    /// Adds a piece that is long, that has a buffer of its own, that shares something, or that failed. A function of its own
    /// keeps [`add`](Self::add) small: most pieces are short.
    #[inline(never)]
    fn add_other(&self, site: Site, encoded: Result<Encoded, CodecError>, tables: Option<Tables>, scratch: &mut Vec<u8>)
    where
        R: Value,
    {
        self.count(1);
        if self.refuses() {
            return self.refuse(site);
        }
        let arguments = match encoded {
            // Moved: what is long is not copied once more.
            Ok(Encoded::InBuffer) => std::mem::take(scratch),
            Ok(Encoded::Own(bytes)) => bytes,
            Err(reason) => {
                let message = format!("never began: its arguments could not be encoded: {reason}");
                return self.backend.add_failed(self.key, site, ErrorKind::Encode, message);
            }
        };
        match tables {
            None => self.backend.add_piece(self.key, site, Handed::Own(arguments)),
            Some(tables) => self.backend.add_sharing_piece(self.key, site, arguments, tables),
        }
    }

    /// Gives the backend the pieces of a batch.
    fn add_batch(&self, site: Site, batch: &mut Batch) {
        if !batch.ends.is_empty() {
            self.backend.add_pieces(self.key, site, &batch.bytes, &batch.ends);
            self.count(batch.ends.len());
        }
        batch.bytes.clear();
        batch.ends.clear();
    }

    /// How many pieces were handed out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.borrow().pieces
    }

    /// True if no piece was handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pieces are done, in whatever way. Without a pool it runs one.
    #[must_use]
    pub fn completed(&self) -> usize {
        let completed = self.backend.completed(self.key);
        self.tell_progress();
        completed
    }

    /// A handle that cancels this task from another thread, while this one waits for it.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller::new(Arc::clone(&self.backend), self.key)
    }

    /// Ends the task: what has not begun never begins, and what runs is killed with its worker. (Dropping
    /// a task does only the first; what runs then ends unread.)
    pub fn cancel(mut self) {
        self.kill();
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        self.end_progress();
        self.end_watch();
        self.close(self.kills_on_drop);
        #[cfg(feature = "tracing")]
        if let Some(span) = self.span.take() {
            span.end(self.len());
        }
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("runs", &self.backend.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
