//! Signals that end what shows a running program: the first asks for the end, the second ends it at once.
//!
//! A look waits for nothing that it knows of, but files may lie on a disk that does not answer, and a terminal may be stopped. So if the first signal
//! is not obeyed in [`GRACE`], it ends the program too.
//!
//! Invariant: the thread here takes no lock that the program may hold while it waits, and puts the terminal in order before it ends it.

use rustix::fs::{Mode, OFlags};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A look that has not ended by then may never do.
const GRACE: Duration = Duration::from_secs(2);

/// Leaves the other screen, and shows the cursor.
const LEAVE: &[u8] = b"\x1b[?1049l\x1b[?25h\r\n";

/// True once a signal has asked for the end. A signal that is ignored stays so, as SIGHUP under `nohup`.
///
/// # Errors
/// A line for people: signals cannot be watched.
pub fn by_signals(has_terminal: bool) -> Result<Arc<AtomicBool>, String> {
    let failed = |error: std::io::Error| format!("cannot watch signals: {error}");
    let ignored = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| ignored_in(&status)).unwrap_or(0);
    let watched = [SIGTERM, SIGINT, SIGHUP, SIGQUIT].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(watched).map_err(failed)?;
    let is_ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_ended);
    let watch = move || {
        for signal in &mut signals {
            if told.swap(true, Ordering::Relaxed) {
                end_at_once(signal, has_terminal);
            }
            let later = move || {
                std::thread::sleep(GRACE);
                end_at_once(signal, has_terminal);
            };
            // Without it the second signal still ends it.
            let _ = std::thread::Builder::new().spawn(later);
        }
    };
    std::thread::Builder::new().name("multicore-signals".to_string()).spawn(watch).map_err(failed)?;
    Ok(is_ended)
}

/// The signals that are ignored, as a line of /proc/PID/status tells them: a bit each.
fn ignored_in(status: &str) -> Option<u64> {
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

fn end_at_once(signal: i32, has_terminal: bool) -> ! {
    if has_terminal {
        // It may be gone.
        let _ = crossterm::terminal::disable_raw_mode();
        // The thread that writes to standard output has its lock; and a terminal that was stopped takes nothing.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if let Ok(terminal) = rustix::fs::open("/dev/tty", flags, Mode::empty()) {
            let _ = rustix::io::write(terminal, LEAVE);
        }
    }
    std::process::exit(128 + signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_are_ignored_are_found() {
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert_eq!(ignored_in(status), Some(1 << (SIGHUP - 1) | 1 << 12));
        assert_eq!(ignored_in("Name:\tx\n"), None);
    }
}
