//! Journals: files that tell how the pieces of a task ended, and survive crashes and power cuts.
//!
//! This module reads them, makes them new, and repairs them.
//!
//! A journal is a file of its own format, to which records are only appended. Each has two sums, so that what is damaged is told with its
//! place, and never taken for an outcome. A power cut in mid-write leaves a *torn tail*, which is passed over: nobody was told of
//! what stood there. What was on the disk and has changed since is *corrupt*: [`read()`] says so, and [`repair`] leaves it out.

mod compact;
mod file;
mod format;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
#[cfg_attr(not(test), expect(dead_code, reason = "tasks do not write journals yet"))]
mod identity;
mod log;
mod reader;
mod scan;
mod storage;

pub use self::compact::{Compacted, compact, repair};
pub use self::reader::{Outcome, Reader, Record, read};

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
