//! Journals: files that tell how the pieces of a task ended, and survive crashes and power cuts. A run that was ended in whatever way
//! goes on where it stopped.
//!
//! A task records its pieces in one by [`Task::journal`](crate::Task::journal); [`Journal`] says how. This module also reads journals, makes them
//! new, and repairs them.
//!
//! A piece is known by its content: the task's name and version, its format, the piece's arguments, and how many pieces with the same arguments
//! came before it. So a changed input runs what is new or has changed, in whatever order it comes. Floats count by their bits. A
//! `HashMap` or `HashSet` in the arguments has another order in each run, and so is never known again: use a `BTreeMap`. A path counts, and what
//! lies behind it does not: [`fingerprint`] does.
//!
//! The promise is *at least once*: a piece may have run and not been recorded when the program died. So it must do no harm twice.
//!
//! A journal is a file of its own format, to which records are only appended. Each has two sums, so that what is damaged is told with its
//! place, and never taken for an outcome. A power cut in mid-write leaves a *torn tail*, which is passed over: nobody was told of
//! what stood there. What was on the disk and has changed since is *corrupt*: [`read()`] says so, and [`repair`] leaves it out.

mod compact;
mod confirmer;
mod earlier;
mod file;
mod format;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
mod identity;
mod log;
mod open;
mod pieces;
mod reader;
mod recorder;
mod scan;
mod settings;
mod storage;
mod writer;

pub(crate) use self::open::open;
pub(crate) use self::recorder::{Names, Recorder};

pub use self::compact::{Compacted, compact, repair};
pub use self::confirmer::Confirmer;
pub use self::reader::{Outcome, Reader, Record, read};
pub use self::settings::{Durability, Journal};

use std::io;
use std::path::Path;

/// A text that changes when a file does: its length, the time of its last change, and its inode. As an argument of a piece, or in the
/// version of a task, it makes a changed file a new piece.
///
/// The content is not read: a program that changes a file and sets its time back goes unnoticed.
///
/// ```
/// let fingerprint = multicore::journal::fingerprint("Cargo.toml").unwrap();
/// assert_eq!(fingerprint, multicore::journal::fingerprint("Cargo.toml").unwrap());
/// ```
///
/// # Errors
/// If the file is not there, or may not be looked at.
pub fn fingerprint(path: impl AsRef<Path>) -> io::Result<String> {
    crate::sys::record_file::fingerprint(path.as_ref())
}

#[cfg(all(test, debug_assertions, target_os = "linux", not(any(miri, loom))))]
mod tests;
