//! What the runner says on standard error, besides what jobs print there.
//!
//! Invariant: nothing depends on it. A reader that is gone or a full disk ends no run; what is said then is lost.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::io::Write;

/// Says a line.
macro_rules! tell {
    ($($what:tt)*) => { $crate::tell::write(&format!("{}\n", format_args!($($what)*))) };
}
pub(crate) use tell;

/// Writes at once what is to stand together.
pub fn write(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Says a line if that needs no waiting for a reader.
pub fn line_at_once(line: impl fmt::Display) {
    let stderr = std::io::stderr();
    let mut streams = [PollFd::new(&stderr, PollFlags::OUT)];
    let is_ready = poll(&mut streams, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
    if is_ready {
        write(&format!("{line}\n"));
    }
}
