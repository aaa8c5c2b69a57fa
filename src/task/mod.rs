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
#[cfg(feature = "stream")]
pub(crate) mod stream;
mod taken;
mod unread;
mod with_state;

use self::batch::{BATCH_BYTES, Batch};
use self::canceller::Canceller;
use self::early::Early;
use self::progress::{Progress, Reporter};
use self::refusal::Refusal;
use crate::backend::{Backend, Site, TaskKey, TaskSettings};
use crate::codec::bytes::Handed;
use crate::codec::call::Call;
use crate::codec::error::{CodecError, guarded};
use crate::codec::state::StateType;
use crate::codec::tables::scope;
use crate::codec::tables::table::Tables;
use crate::codec::value::Value;
use crate::codec::{self, Encoded, Format, SHORT_PAIR_BYTES};
use crate::error::ErrorKind;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

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
/// Settings such as [`retries`](Self::retries) come before the first piece. One that comes later ends the pieces that have not begun, and
/// those that are handed out after it, in [`Config`](ErrorKind::Config).
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
}

impl<R> Task<R> {
    /// A task that was just opened in the backend, with the default settings.
    pub(crate) fn opened(backend: Arc<dyn Backend>, key: TaskKey) -> Self {
        Task {
            backend,
            key,
            settings: TaskSettings::default(),
            refusal: None,
            whole_pieces: false,
            state: None,
            kills_on_drop: false,
            reporter: None,
            #[cfg(feature = "journal")]
            journalled: Default::default(),
            cells: RefCell::default(),
            result: PhantomData,
        }
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
        if self.reporter.is_some() {
            // The last call tells of it.
            self.backend.cancel(self.key);
            self.end_progress();
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
    // Settings. One that comes too late is told by `late`.

    /// How messages and statistics name this task's pieces. Default: the function's name in the
    /// executable. Before the first `run`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        let name: Arc<str> = Arc::from(name.into());
        self.configure(|settings| settings.name = Some(name));
        self
    }

    /// How long each piece may run, counted from its start in the worker. A piece that runs longer is killed
    /// at once with its worker, whatever it does, and with all that it started; it ends in
    /// [`TimedOut`](ErrorKind::TimedOut), and no other piece notices. Default, and with
    /// [`Duration::MAX`]: no limit. With [`Duration::ZERO`] no piece begins. Before the first `run`.
    ///
    /// Without a pool, a piece that ran too long ends in the same error once it has ended.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fn nap(milliseconds: u64, _: ()) -> u64 {
    ///     std::thread::sleep(Duration::from_millis(milliseconds));
    ///     milliseconds
    /// }
    ///
    /// let task = multicore::Task::<u64>::new_or_inline().timeout(Duration::from_millis(50));
    /// task.run(nap, 1, ());
    /// task.run(nap, 400, ());
    /// let results = task.get_each();
    /// assert_eq!(results[1].as_ref().unwrap_err().kind(), multicore::ErrorKind::TimedOut);
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        // A limit that no clock can reach is no limit.
        let limit_ns = u64::try_from(limit.as_nanos()).ok().filter(|&limit_ns| limit_ns <= u64::MAX / 2);
        if self.is_in_time("timeout") {
            self.refusal = (limit_ns == Some(0)).then_some(Refusal::NoTime);
            self.configure(|settings| settings.limit_ns = limit_ns.and_then(NonZeroU64::new));
        }
        self
    }

    /// How many times a piece is run again after its worker died, or was killed because the piece ran too
    /// long: after a short pause that grows, in another worker. Default: 0. The error at the end tells the
    /// last cause and the number of [`attempts`](crate::Error::attempts). Before the first `run`.
    ///
    /// A piece that was lost may have done its work before it could report it: running it twice must do no
    /// harm.
    pub fn retries(mut self, retries: u32) -> Self {
        self.set("retries", |settings| settings.retries = retries);
        self
    }

    /// Whether a panic counts as a lost worker for [`retries`](Self::retries). Default: false, a panic is
    /// an answer. Before the first `run`.
    pub fn retry_panics(mut self, retry: bool) -> Self {
        self.set("retry_panics", |settings| settings.retry_panics = retry);
        self
    }

    /// Whether an error that the function returns, as with [`try_run`](Self::try_run), counts as a lost worker for
    /// [`retries`](Self::retries). Default: false, an `Err` is an answer. True is for errors that pass, such as "database is
    /// locked": the piece runs again after the same pause. Before the first `run`.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static TRIES: AtomicU32 = AtomicU32::new(0);
    ///
    /// fn insert(row: u64) -> Result<u64, &'static str> {
    ///     if TRIES.fetch_add(1, Ordering::Relaxed) == 0 { Err("database is locked") } else { Ok(row) }
    /// }
    ///
    /// let task = multicore::Task::<u64>::new_or_inline().retries(8).retry_failures(true);
    /// task.try_call(insert, 7);
    /// assert_eq!(task.get()?, [7]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    pub fn retry_failures(mut self, retry: bool) -> Self {
        self.set("retry_failures", |settings| settings.retry_failures = retry);
        self
    }

    /// How arguments and results travel. Default: [`Format::Bincode`]. Before the first `run`.
    pub fn format(mut self, format: Format) -> Self {
        self.set("format", |settings| settings.format = format);
        self
    }

    /// Bounds the results that wait to be read, in bytes: beyond them, further pieces wait as
    /// arguments. Default: 64 MiB while the task is read by [`iter`](Self::iter),
    /// [`iter_completed`](Self::iter_completed), [`next`](Self::next), [`next_completed`](Self::next_completed),
    /// [`map`](Self::map) or [`write_to`](Self::write_to), else none. It bounds the task from the start: [`completed`](Self::completed) stands still until somebody collects. 0 runs one
    /// piece at a time, when it is asked for. Before the first `run`.
    pub fn max_unread(mut self, bytes: usize) -> Self {
        self.set("max_unread", |settings| settings.max_unread_bytes = Some(bytes));
        self
    }

    /// Calls `callback` with the task's [`Progress`] while pieces run: on a thread of its own, at most ten times a second, and once more
    /// with the final counts before the collecting method returns (an iterator makes this call at its end, or when it is dropped). Without a pool the
    /// calls come between pieces, on the thread that runs them. Default: none. A later callback replaces an earlier one.
    ///
    /// A callback that panics is not called again, and the task goes on. One that takes long holds up only the last call, for which the task waits.
    ///
    /// ```
    /// let task = multicore::Task::<u64>::new_or_inline().progress(|progress| {
    ///     eprintln!("{} of {}, {:.0} a second", progress.done(), progress.total(), progress.rate());
    /// });
    /// task.run_all(|a: u64, b: u64| a * b, (0..100).map(|a| (a, 2)));
    /// assert_eq!(task.get().unwrap().len(), 100);
    /// ```
    pub fn progress(mut self, callback: impl FnMut(&Progress) + Send + 'static) -> Self {
        // The one before makes its last call first.
        self.end_progress();
        let reporter = Reporter::new(Arc::clone(&self.backend), self.key, Box::new(callback));
        self.reporter = Some(Box::new(reporter));
        self
    }

    // Pieces.

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
        self.close(self.kills_on_drop);
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("runs", &self.backend.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
