//! What a piece notes while it runs: a number that its error tells if it fails or is lost.
//!
//! Invariant: what a piece notes is told of no other piece.

use crate::sys::raw::Published;
use std::cell::Cell;

/// In a worker: where its pieces note.
static IN_WORKER: Published<fn(u64)> = Published::new();

thread_local! {
    /// The note of the piece that runs on this thread without a pool; `None` outside of such a piece.
    static INLINE: Cell<Option<Option<u64>>> = const { Cell::new(None) };
}

/// Notes a number in the piece that runs, such as that of the row that it has begun. If the piece is lost, its error tells the last
/// one: [`Error::note`](crate::Error::note).
///
/// It costs about as much as a store to memory, and needs no system call: what was noted last is there however the worker
/// died. Each note replaces the one before. Threads that the piece has started may note too, but not the processes. Without a
/// pool it works too, on the thread of the piece. Outside of pieces it does nothing.
///
/// ```
/// fn import(first: u64, end: u64) -> u64 {
///     for row in first..end {
///         multicore::note(row);
///         assert!(row != 4711, "a bad row");
///     }
///     end - first
/// }
///
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(import, 4000, 5000);
/// let error = task.get().unwrap_err();
/// assert_eq!(error.note(), Some(4711));
/// assert!(error.to_string().ends_with("(noted 4711)"));
/// ```
#[inline]
pub fn note(number: u64) {
    let is_inline = INLINE.try_with(|noted| match noted.get() {
        Some(_) => {
            noted.set(Some(Some(number)));
            true
        }
        None => false,
    });
    if !is_inline.unwrap_or(false)
        && let Some(tell) = IN_WORKER.get()
    {
        tell(number);
    }
}

/// This process is a worker, whose pieces note by this function.
pub(crate) fn note_by(tell: fn(u64)) {
    IN_WORKER.publish(None, tell);
}

/// Runs a piece on this thread, and gives what it noted. `run` does not unwind.
pub(crate) fn noted_by<T>(run: impl FnOnce() -> T) -> (T, Option<u64>) {
    let outer = INLINE.replace(Some(None));
    let outcome = run();
    (outcome, INLINE.replace(outer).flatten())
}
