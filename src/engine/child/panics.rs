//! Panics of pieces and hooks: their text goes into the error instead of the standard error stream.

use crate::codec::call::{drop_payload, panic_text};
use crate::codec::messages::{MAX_TEXT_BYTES, cut};
use crate::engine::wire::record;
use crate::sys::process;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The backtrace of a panic is cut at 32 KiB, some hundred frames. With a tenth, the frames of the piece itself
/// could be missing behind those of the runtime; more would not fit into one record beside the text.
const MAX_TRACE_BYTES: usize = 32 * 1024;

/// A panic that the hook has seen.
struct SeenPanic {
    text: String,
    /// The place with the closing bracket behind it, then the backtrace if there is one.
    place: String,
}

/// The last panic of the first thread.
static LAST_PANIC: Mutex<Option<SeenPanic>> = Mutex::new(None);

/// Keeps each panic of the first thread, to be told in the piece's error, and prints nothing. Where a panic
/// ends the process, and in threads that a piece made, the former hook runs instead.
pub(crate) fn install_panic_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    let former = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !process::is_first_thread() || cfg!(panic = "abort") {
            return former(info);
        }
        let text = cut(panic_text(info.payload()), MAX_TEXT_BYTES).to_string();
        let mut place = info.location().map(ToString::to_string).unwrap_or_default();
        // There is one if RUST_BACKTRACE or RUST_LIB_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => cut(&format!("{}{backtrace}", record::BACKTRACE), MAX_TRACE_BYTES).to_string(),
            _ => String::new(),
        };
        place.push(')');
        place.push_str(&trace);
        if let Ok(mut last) = LAST_PANIC.try_lock() {
            *last = Some(SeenPanic { text, place });
        }
    }));
}

/// The text of a panic, with its place if the hook saw this very panic. Drops the payload, which may
/// panic in turn.
pub(crate) fn describe_panic(payload: Box<dyn std::any::Any + Send>) -> String {
    let text = cut(panic_text(&*payload), MAX_TEXT_BYTES).to_string();
    let seen = LAST_PANIC.try_lock().ok().and_then(|mut last| last.take());
    drop_payload(payload);
    match seen {
        Some(seen) if seen.text == text && !seen.place.starts_with(')') => format!("{text} (at {}", seen.place),
        _ => text,
    }
}
