//! A task as its caller holds it: pieces go in, results come out in order.

use crate::backend::inline::Inline;
use crate::codec::bytes::{Handed, Reply};
use crate::codec::call::{Call, drop_payload, panic_text};
use crate::codec::value::Value;
use crate::codec::{self, CodecError, Encoded, Format};
use crate::engine::{self, Settled, Shared, Site, TaskKey};
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::pool::Pool;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many pieces, and how many bytes of arguments, are handed to the pool under one lock.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 64 * 1024;

/// Room is made for no more pieces than this on the word of an iterator.
const MAX_EXPECTED: usize = 1 << 20;

/// What becomes of a piece that may run for no time at all.
const NO_TIME: &str = "never began: its time limit is zero";

/// Unread results beyond this make pieces wait while a task is read piece by piece.
const MAX_UNREAD_BYTES: usize = 64 * 1024 * 1024;

/// Some calls of functions, run by worker processes, whose results come back in order.
///
/// Pieces start to run as they are handed out, before anything is collected. Dropping a task lets
/// what has not begun never begin; what runs ends unread.
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
///     // The machine is busy, or this process is a worker itself.
///     None => vec![sum(0, 1000)],
/// };
/// assert_eq!(sums.iter().sum::<u64>(), 499_500);
/// # Ok(())
/// # }
/// ```
///
/// A piece's function is a function item, or a closure that captures nothing; what it needs it is
/// given as arguments. A closure that captures is refused by the compiler:
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
#[must_use = "a task that is dropped at once runs nothing"]
pub struct Task<R> {
    backend: Backend,
    format: Cell<Format>,
    /// How many were handed out.
    pieces: Cell<usize>,
    /// Its time limit is nothing: no piece can begin.
    refuses: Cell<bool>,
    /// Arguments are encoded here, so that tiny ones need no allocation.
    scratch: RefCell<Vec<u8>>,
    result: PhantomData<fn() -> R>,
}

enum Backend {
    Pool { shared: Arc<Shared>, key: TaskKey },
    Inline(RefCell<Inline>),
}

impl<R> Task<R> {
    fn with_backend(backend: Backend) -> Self {
        Task {
            backend,
            format: Cell::default(),
            pieces: Cell::new(0),
            refuses: Cell::new(false),
            scratch: RefCell::default(),
            result: PhantomData,
        }
    }

    pub(crate) fn in_pool(shared: Arc<Shared>, key: TaskKey) -> Self {
        Task::with_backend(Backend::Pool { shared, key })
    }

    pub(crate) fn inline() -> Self {
        Task::with_backend(Backend::Inline(RefCell::default()))
    }
}

impl<R: Value> Task<R> {
    /// A task of the global pool, which is started at its first use.
    ///
    /// `None` while the machine is busy, in a worker, or where no pool can run:
    /// [`try_new`](Self::try_new) says which. The caller then runs the same function itself.
    #[must_use]
    pub fn new() -> Option<Self> {
        Self::try_new().ok()
    }

    /// A task of the global pool, or why there is none.
    ///
    /// # Errors
    /// [`Busy`](ErrorKind::Busy) while the machine's load is at or above the limit, if one is set;
    /// else as [`Pool::global`].
    pub fn try_new() -> Result<Self, Error> {
        Pool::global()?.try_task()
    }

    /// A task of the global pool; where [`new`](Self::new) gives `None`, one whose pieces run in
    /// this process: one at each [`completed`](Self::completed), the rest when it is collected.
    ///
    /// Arguments and results pass the codec there too, so that errors are the same. Limits act
    /// between pieces only, and a crash is the program's.
    pub fn new_or_inline() -> Self {
        Self::new().unwrap_or_else(Self::inline)
    }

    // Settings.

    /// How messages and statistics call this task's pieces. Default: the function's name in the
    /// executable. Before the first `run`.
    pub fn name(self, name: impl Into<String>) -> Self {
        let name: Arc<str> = Arc::from(name.into());
        match &self.backend {
            Backend::Pool { shared, key } => shared.set_up(*key, |settings| settings.name = Some(name)),
            Backend::Inline(inline) => inline.borrow_mut().set_name(name),
        }
        self
    }

    /// How long each piece may run, counted from its start in the worker. One that runs longer is killed at
    /// once with its worker, whatever it does, and with all that it started; it ends in
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
    pub fn timeout(self, limit: Duration) -> Self {
        // What no clock can reach is no limit.
        let limit_ns = u64::try_from(limit.as_nanos()).ok().filter(|&limit_ns| limit_ns <= u64::MAX / 2);
        self.refuses.set(limit_ns == Some(0));
        match &self.backend {
            Backend::Pool { shared, key } => {
                shared.set_up(*key, |settings| settings.limit_ns = limit_ns.and_then(NonZeroU64::new));
            }
            Backend::Inline(inline) => inline.borrow_mut().terms.timeout = limit_ns.map(Duration::from_nanos),
        }
        self
    }

    /// How often a piece is run again after its worker died, or was killed since the piece ran too long:
    /// after a short pause that grows, in another worker. Default: 0. The error at the end tells the
    /// last cause and the number of [`attempts`](Error::attempts). Before the first `run`.
    ///
    /// A piece that was lost may have done its work and not come to say so: let it bear that.
    pub fn retries(self, retries: u32) -> Self {
        match &self.backend {
            Backend::Pool { shared, key } => shared.set_up(*key, |settings| settings.retries = retries),
            Backend::Inline(inline) => inline.borrow_mut().terms.retries = retries,
        }
        self
    }

    /// Whether a panic counts as a lost worker for [`retries`](Self::retries). Default: false, a panic is
    /// an answer. Before the first `run`.
    pub fn retry_panics(self, retry: bool) -> Self {
        match &self.backend {
            Backend::Pool { shared, key } => shared.set_up(*key, |settings| settings.retry_panics = retry),
            Backend::Inline(inline) => inline.borrow_mut().terms.retry_panics = retry,
        }
        self
    }

    /// How arguments and results travel. Default: [`Format::Bincode`]. Before the first `run`;
    /// later it has no effect.
    pub fn format(self, format: Format) -> Self {
        if self.is_empty() {
            self.format.set(format);
            if let Backend::Pool { shared, key } = &self.backend {
                shared.set_up(*key, |settings| settings.format = format);
            }
        }
        self
    }

    /// Bounds the results that wait to be read, in bytes: beyond them, further pieces wait as
    /// arguments. Default: 64 MiB while the task is read by [`iter`](Self::iter),
    /// [`iter_completed`](Self::iter_completed) or [`write_to`](Self::write_to), else none. Set
    /// before the first `run` it bounds the task from the start; then
    /// [`completed`](Self::completed) stands still until somebody collects. 0 runs one piece at a
    /// time, as it is asked for.
    pub fn max_unread(self, bytes: usize) -> Self {
        if let Backend::Pool { shared, key } = &self.backend {
            shared.set_up(*key, |settings| settings.max_unread_bytes = Some(bytes));
        }
        self
    }

    // Pieces.

    /// Hands out a piece: `function(start, end)`.
    ///
    /// The arguments are encoded now, on this thread. Never waits for a worker and never panics:
    /// what is wrong becomes the piece's error.
    #[track_caller]
    pub fn run<A: Value, B: Value>(&self, function: fn(A, B) -> R, start: A, end: B) {
        let mut scratch = self.scratch.borrow_mut();
        let encoded = guarded(|| codec::encode_pair(self.format.get(), &(start, end), &mut scratch));
        self.add(Call::of_pair(function), Location::caller(), encoded, &mut scratch);
    }

    /// Hands out a piece: `function(argument)`, with a tuple for more. A `String` or `Vec<u8>`
    /// travels as it is. Else as [`run`](Self::run).
    #[track_caller]
    pub fn call<A: Value>(&self, function: fn(A) -> R, argument: A) {
        let mut scratch = self.scratch.borrow_mut();
        let encoded = guarded(|| codec::encode_argument(self.format.get(), argument, &mut scratch));
        self.add(Call::of_argument(function), Location::caller(), encoded, &mut scratch);
    }

    /// Hands out a piece for each pair, some at a time: for many tiny pieces faster than
    /// [`run`](Self::run).
    #[track_caller]
    pub fn run_all<A: Value, B: Value>(&self, function: fn(A, B) -> R, pairs: impl IntoIterator<Item = (A, B)>) {
        let (call, location, format) = (Call::of_pair(function), Location::caller(), self.format.get());
        let mut pairs = pairs.into_iter();
        let (Backend::Pool { shared, key }, Ok(site)) = (&self.backend, self.site(call, location)) else {
            for (start, end) in pairs {
                let mut scratch = Vec::new();
                let encoded = guarded(|| codec::encode_pair(format, &(start, end), &mut scratch));
                self.add(call, location, encoded, &mut scratch);
            }
            return;
        };
        let (mut batch, mut ends, mut more) = (Vec::new(), Vec::with_capacity(BATCH), true);
        while more {
            let mut single = None;
            while ends.len() < BATCH && batch.len() < BATCH_BYTES && single.is_none() {
                // The caller's iterator may hand out pieces of this very task: nothing is borrowed.
                let Some((start, end)) = pairs.next() else {
                    more = false;
                    break;
                };
                let mut scratch = self.scratch.borrow_mut();
                let encoded = guarded(|| codec::encode_pair(format, &(start, end), &mut scratch));
                if matches!(encoded, Ok(Encoded::InBuffer)) && scratch.len() < BATCH_BYTES {
                    batch.extend_from_slice(&scratch);
                    ends.push(batch.len());
                } else {
                    single = Some((encoded, std::mem::take(&mut *scratch)));
                }
            }
            if !ends.is_empty() {
                // A hint is no promise.
                let expected = pairs.size_hint().0.min(MAX_EXPECTED);
                shared.add_pieces(*key, site, &batch, &ends, expected);
                self.pieces.set(self.pieces.get() + ends.len());
            }
            batch.clear();
            ends.clear();
            if let Some((encoded, mut bytes)) = single {
                self.add(call, location, encoded, &mut bytes);
            }
        }
    }

    /// What the pool must know of a call, or why it cannot be one.
    fn site(&self, call: Call, location: &'static Location<'static>) -> Result<Site, (ErrorKind, String)> {
        if self.format.get() == Format::Raw && !codec::is_bytes::<R>() {
            return Err((ErrorKind::Encode, format!("never began: {}", CodecError::NotBytes)));
        }
        if self.refuses.get() {
            return Err((ErrorKind::TimedOut, NO_TIME.to_string()));
        }
        match engine::travel_word(&call) {
            Some(word) => Ok(Site { call, word, location }),
            None => Err((
                ErrorKind::Unsupported,
                "never began: its function lies in a shared library, and only the executable's own are the same in a worker"
                    .to_string(),
            )),
        }
    }

    fn add(
        &self,
        call: Call,
        location: &'static Location<'static>,
        encoded: Result<Encoded, CodecError>,
        scratch: &mut Vec<u8>,
    ) {
        let arguments = match encoded {
            // What is long need not be copied once more.
            Ok(Encoded::InBuffer) if scratch.len() >= BATCH_BYTES => Ok(Handed::Own(std::mem::take(scratch))),
            Ok(Encoded::InBuffer) => Ok(Handed::Lent(scratch)),
            Ok(Encoded::Own(bytes)) => Ok(Handed::Own(bytes)),
            Err(reason) => Err(reason),
        };
        self.pieces.set(self.pieces.get() + 1);
        let refuse = |kind, message: String| move |label: PieceLabel| Error::new(kind, message).with_piece(label, 0);
        let encode =
            |reason| refuse(ErrorKind::Encode, format!("never began: its format cannot carry the arguments: {reason}"));
        match &self.backend {
            Backend::Pool { shared, key } => match (self.site(call, location), arguments) {
                (Ok(site), Ok(arguments)) => shared.add_piece(*key, site, arguments),
                (Ok(site), Err(reason)) => shared.add_failed(*key, site, encode(reason)),
                (Err((kind, message)), _) => {
                    shared.add_failed(*key, Site { call, word: 0, location }, refuse(kind, message));
                }
            },
            Backend::Inline(inline) => {
                let mut inline = inline.borrow_mut();
                match arguments {
                    Ok(_) if self.refuses.get() => {
                        inline.add_failed(call, location, refuse(ErrorKind::TimedOut, NO_TIME.to_string()));
                    }
                    Ok(_) if self.format.get() == Format::Raw && !codec::is_bytes::<R>() => {
                        inline.add_failed(
                            call,
                            location,
                            refuse(ErrorKind::Encode, format!("never began: {}", CodecError::NotBytes)),
                        );
                    }
                    Ok(arguments) => inline.add(call, location, self.format.get(), arguments.into_arguments()),
                    Err(reason) => inline.add_failed(call, location, encode(reason)),
                }
            }
        }
    }

    /// How many pieces were handed out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.get()
    }

    /// True if no piece was handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pieces are done, in whatever way. Without a pool it runs one.
    #[must_use]
    pub fn completed(&self) -> usize {
        match &self.backend {
            Backend::Pool { shared, key } => shared.progress(*key).1,
            Backend::Inline(inline) => {
                let mut inline = inline.borrow_mut();
                inline.run_one();
                inline.done()
            }
        }
    }

    /// What cancels this task from another thread, while this one waits for it.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(match &self.backend {
            Backend::Pool { shared, key } => Cancels::Pool { shared: Arc::clone(shared), key: *key },
            Backend::Inline(inline) => Cancels::Inline(Arc::clone(&inline.borrow().cancelled)),
        })
    }

    /// Ends the task: what has not begun never begins, and what runs is killed with its worker. (Dropping
    /// a task does only the first; what runs then ends unread.)
    pub fn cancel(self) {
        self.close(true);
    }

    // Collecting.

    /// Waits for all pieces and gives their results in `run` order.
    ///
    /// # Errors
    /// The error of the failed piece with the lowest number; what has not begun then never begins.
    pub fn get(self) -> Result<Vec<R>, Error> {
        self.get_until(None).unwrap_or_else(|read| Err(self.unfinished(read)))
    }

    /// As [`get`](Self::get), but waits no longer than `timeout` for all of it.
    ///
    /// # Errors
    /// As [`get`](Self::get); and [`TimedOut`](ErrorKind::TimedOut), without a piece, if the time
    /// has passed: then what has not begun never begins, and what runs is killed with its worker.
    /// [`Duration::ZERO`] gives what is there, [`Duration::MAX`] waits for ever.
    pub fn get_timeout(self, timeout: Duration) -> Result<Vec<R>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        self.get_until(deadline).unwrap_or_else(|read| {
            let pieces = self.len();
            self.close(true);
            let message =
                format!("the task was not done within {timeout:?}: {read} of its {pieces} pieces were read by then");
            Err(Error::new(ErrorKind::TimedOut, message))
        })
    }

    /// All results; or how many were read when no more came, because the deadline passed.
    fn get_until(&self, deadline: Option<Instant>) -> Result<Result<Vec<R>, Error>, usize> {
        let pieces = self.len();
        let mut results = Vec::with_capacity(pieces);
        while results.len() < pieces {
            let batch = self.take_in_order(results.len(), true, deadline).ok_or(results.len())?;
            for settled in batch {
                match self.decode(results.len(), settled) {
                    Ok(result) => results.push(result),
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Ok(Ok(results))
    }

    /// A wait without a deadline ends with an outcome; this is for one that did not.
    fn unfinished(&self, read: usize) -> Error {
        Error::new(ErrorKind::Cancelled, format!("the task ended after {read} of its {} pieces", self.len()))
    }

    /// Waits for all pieces and gives each one's own outcome, in `run` order.
    #[must_use]
    pub fn get_each(self) -> Vec<Result<R, Error>> {
        let pieces = self.len();
        let mut results = Vec::with_capacity(pieces);
        while results.len() < pieces {
            let Some(batch) = self.take_in_order(results.len(), true, None) else { break };
            for settled in batch {
                results.push(self.decode(results.len(), settled));
            }
        }
        results
    }

    /// The results in `run` order, each as soon as it and those before it are there.
    ///
    /// While it is read, pieces beyond 64 MiB of unread results wait as arguments:
    /// [`max_unread`](Self::max_unread).
    pub fn iter(self) -> Iter<R> {
        self.bound();
        let pieces = self.len();
        Iter { task: self, batch: VecDeque::new(), next: 0, pieces }
    }

    /// The results as pieces finish, each with its piece's number; bounded as [`iter`](Self::iter).
    pub fn iter_completed(self) -> IterCompleted<R> {
        self.bound();
        let left = self.len();
        IterCompleted { task: self, left }
    }

    fn bound(&self) {
        if let Backend::Pool { shared, key } = &self.backend {
            shared.set_up(*key, |settings| {
                settings.max_unread_bytes.get_or_insert(MAX_UNREAD_BYTES);
            });
        }
    }

    /// Writes the results one after the other in `run` order, as they come, and gives the bytes
    /// written. `R` must be `String` or `Vec<u8>`, and the format not JSON; bounded as
    /// [`iter`](Self::iter).
    ///
    /// # Errors
    /// As [`get`](Self::get), with what came before the failed piece written;
    /// [`Encode`](ErrorKind::Encode) if the results are not bytes; [`System`](ErrorKind::System)
    /// if writing fails.
    pub fn write_to(self, writer: &mut impl io::Write) -> Result<u64, Error> {
        if !codec::is_bytes::<R>() || self.format.get() == Format::Json {
            return Err(Error::new(
                ErrorKind::Encode,
                "write_to writes results that travel as they are: let the pieces give a String or Vec<u8>, in Format::Bincode or Format::Raw",
            ));
        }
        self.bound();
        let pieces = self.len();
        let (mut next, mut written) = (0, 0);
        while next < pieces {
            let Some(batch) = self.take_in_order(next, false, None) else { break };
            for settled in batch {
                let bytes = match settled {
                    Settled::Done(bytes) => bytes,
                    Settled::Failed(error) => return Err(error),
                };
                writer.write_all(bytes.as_slice()).map_err(|error| {
                    Error::system(&format!("cannot write the result of piece {next}, {} bytes", bytes.len()), error)
                })?;
                written += bytes.len() as u64;
                next += 1;
                if let (Reply::Heap(buffer), Backend::Pool { shared, .. }) = (bytes, &self.backend) {
                    shared.reuse(buffer);
                }
            }
        }
        Ok(written)
    }

    fn take_in_order(&self, next: usize, patient: bool, deadline: Option<Instant>) -> Option<Vec<Settled>> {
        match &self.backend {
            Backend::Pool { shared, key } => shared.take_in_order(*key, next, patient, deadline),
            Backend::Inline(inline) => {
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return None;
                }
                inline.borrow_mut().take(next).map(|settled| vec![settled])
            }
        }
    }

    fn decode(&self, number: usize, settled: Settled) -> Result<R, Error> {
        let result = match settled {
            Settled::Done(Reply::Heap(bytes)) => guarded(|| codec::decode_result_owned(self.format.get(), bytes)),
            Settled::Done(bytes) => guarded(|| codec::decode_result(self.format.get(), bytes.as_slice())),
            Settled::Failed(error) => return Err(error),
        };
        result.map_err(|reason| {
            let error =
                Error::new(ErrorKind::Decode, format!("gave a result that its format cannot give back: {reason}"));
            match self.label(number) {
                Some(label) => error.with_piece(label, 1),
                None => error,
            }
        })
    }

    fn label(&self, number: usize) -> Option<PieceLabel> {
        match &self.backend {
            Backend::Pool { shared, key } => shared.label(*key, number),
            Backend::Inline(inline) => Some(inline.borrow().label(number)),
        }
    }
}

impl<R> Task<R> {
    fn close(&self, kill: bool) {
        if let Backend::Pool { shared, key } = &self.backend {
            shared.close_task(*key, kill);
        }
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        self.close(false);
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.backend {
            Backend::Pool { .. } => "pool",
            Backend::Inline(_) => "inline",
        };
        f.debug_struct("Task").field("runs", &place).finish_non_exhaustive()
    }
}

/// Cancels a task whose owner waits for it; made by [`Task::canceller`].
///
/// ```
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(|a: u64, b: u64| a + b, 1, 2);
/// task.canceller().cancel();
/// // What was done by then counts; here nothing may have been.
/// if let Err(error) = task.get() {
///     assert_eq!(error.kind(), multicore::ErrorKind::Cancelled);
/// }
/// ```
#[derive(Clone)]
pub struct Canceller(Cancels);

#[derive(Clone)]
enum Cancels {
    Pool { shared: Arc<Shared>, key: TaskKey },
    Inline(Arc<AtomicBool>),
}

impl Canceller {
    /// What has not begun never begins, and what runs is killed with its worker: all pieces that have no
    /// outcome yet end in [`Cancelled`](ErrorKind::Cancelled), and so do those handed out later. Without
    /// a pool, the piece that runs comes to its end. A task that has ended is not touched.
    pub fn cancel(&self) {
        match &self.0 {
            Cancels::Pool { shared, key } => shared.cancel_task(*key),
            Cancels::Inline(cancelled) => cancelled.store(true, Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}

/// Runs a value's own `Serialize` or `Deserialize`: if it panics, that is an error like any other.
fn guarded<T>(codec: impl FnOnce() -> Result<T, CodecError>) -> Result<T, CodecError> {
    panic::catch_unwind(AssertUnwindSafe(codec)).unwrap_or_else(|payload| {
        let text = panic_text(&*payload).to_string();
        drop_payload(payload);
        Err(CodecError::Panicked(text))
    })
}

/// The results of a task in `run` order; made by [`Task::iter`].
#[derive(Debug)]
pub struct Iter<R> {
    task: Task<R>,
    batch: VecDeque<Settled>,
    next: usize,
    pieces: usize,
}

impl<R: Value> Iterator for Iter<R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.pieces {
            return None;
        }
        if self.batch.is_empty() {
            self.batch = self.task.take_in_order(self.next, false, None)?.into();
        }
        let settled = self.batch.pop_front()?;
        self.next += 1;
        Some(self.task.decode(self.next - 1, settled))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.pieces - self.next, Some(self.pieces - self.next))
    }
}

impl<R: Value> ExactSizeIterator for Iter<R> {}

impl<R: Value> FusedIterator for Iter<R> {}

/// The results of a task as its pieces finish; made by [`Task::iter_completed`].
#[derive(Debug)]
pub struct IterCompleted<R> {
    task: Task<R>,
    left: usize,
}

impl<R: Value> Iterator for IterCompleted<R> {
    type Item = (usize, Result<R, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let (number, settled) = match &self.task.backend {
            Backend::Pool { shared, key } => shared
                .take_finished(*key)
                .unwrap_or_else(|| (self.task.len() - self.left, Settled::Failed(engine::foreign()))),
            Backend::Inline(inline) => {
                let mut inline = inline.borrow_mut();
                let number = inline.len() - self.left;
                (number, inline.take(number)?)
            }
        };
        self.left -= 1;
        Some((number, self.task.decode(number, settled)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<R: Value> ExactSizeIterator for IterCompleted<R> {}

impl<R: Value> FusedIterator for IterCompleted<R> {}
