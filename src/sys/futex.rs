//! Sleeping on a word that another process can see: never the process-private kind of futex.

use super::may_sleep::assert_may_sleep;
use crate::protocol::sync::AtomicU32;
use rustix::thread::futex;
use std::time::Duration;

/// Sleeps while the word has this value, until woken, a signal comes or the time has passed.
/// False if the time has passed.
pub(crate) fn wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) -> bool {
    assert_may_sleep();
    let timeout = timeout.and_then(|timeout| rustix::time::Timespec::try_from(timeout).ok());
    futex::wait(word, futex::Flags::empty(), value, timeout.as_ref()) != Err(rustix::io::Errno::TIMEDOUT)
}

/// Wakes one sleeper on the word.
pub(crate) fn wake(word: &AtomicU32) {
    // It fails only for a bad address, and the word is a reference.
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}
