//! What a worker's code has printed and not yet written out, by C's stdio and by Rust's `print!`.
//!
//! | when                   | C's `stdout`                                     | C's other streams        | Rust's stdout    |
//! |------------------------|--------------------------------------------------|--------------------------|------------------|
//! | after each piece       | by try-lock; a write without progress ends after 50 to 100 ms | not touched | flushed, unless it is known to be full |
//! | before a worker sleeps | not touched                                      | not touched              | not touched      |
//! | at its orderly end     | flushed                                          | flushed                  | flushed          |
//!
//! The last flush takes at most [`LAST_FLUSH`]. So a stream that a piece left behind, held by a thread or
//! with a reader that does not read, keeps neither an answer nor the next piece waiting.
//!
//! Invariant: after a piece, no lock of C's stdio is waited for. Rust's has no try-lock: a thread that keeps
//! `stdout().lock()` or writes to a full standard output holds the answer, within the time limit of the piece.

use crate::sys::process::{self, COutput};
use crate::sys::{descriptors, image, signals};
use std::io::{self, Write};
use std::time::Duration;

/// The last flush of a worker takes at most 500 ms: the parent waits as long for a process that it has killed. Text that a
/// reader takes comes through in a fraction of that.
const LAST_FLUSH: Duration = Duration::from_millis(500);

/// The standard output of this process, as its pieces use it.
pub(crate) struct Output {
    c_output: COutput,
    /// Nobody read it at the last look: until it is writable again, nothing is flushed to it.
    is_full: bool,
}

impl Output {
    /// Before code of the user's runs in this process.
    pub(crate) fn new() -> Self {
        Output { c_output: COutput::new(), is_full: !descriptors::is_writable(io::stdout()) }
    }

    /// Writes out what a piece, or a hook, has printed: it must be seen even if the next piece kills the process.
    #[inline]
    pub(crate) fn flush(&mut self) {
        if self.is_full {
            return self.flush_if_writable();
        }
        if self.c_output.has_pending() {
            self.flush_c();
        }
        if !self.is_full {
            let _ = io::stdout().flush();
        }
    }

    #[cold]
    fn flush_if_writable(&mut self) {
        if descriptors::is_writable(io::stdout()) {
            self.is_full = false;
            self.flush();
        }
    }

    #[cold]
    fn flush_c(&mut self) {
        // A thread of a piece prints now, or never ends its printing: the text waits for a later flush.
        let Some(mut locked) = self.c_output.try_lock() else { return };
        if locked.is_regular_file() {
            locked.flush();
            return;
        }
        // Where there is no timer to have, it waits too.
        self.is_full = signals::without_endless_calls(|| locked.flush()) == Some(false);
    }
}

/// At a worker's orderly end: writes what tools have counted, and then all that was printed. The process lives at most
/// [`LAST_FLUSH`] after that.
pub(crate) fn write_all_and_end_soon() {
    image::write_counts();
    signals::exit_within(LAST_FLUSH);
    let _ = io::stdout().flush();
    process::flush_c_streams();
}
