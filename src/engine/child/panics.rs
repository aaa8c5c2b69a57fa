//! Panics of pieces and hooks: their text goes into the error instead of the standard error stream.

use crate::codec::call::{drop_payload, panic_text};
use crate::codec::messages::{MAX_TEXT_BYTES, cut};
use crate::engine::wire::record;
use crate::sys::{process, symbol};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The backtrace of a panic is cut at 32 KiB, some hundred frames. With a tenth, the frames of the piece itself
/// could be missing behind those of the runtime; more would not fit into one record beside the text.
const MAX_TRACE_BYTES: usize = 32 * 1024;

/// A panic that the hook has seen.
struct SeenPanic {
    text: String,
    /// Empty if it is not known.
    place: String,
    /// Empty if there is none.
    trace: String,
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
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // There is one if RUST_BACKTRACE or RUST_LIB_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let trace = match backtrace.status() {
            BacktraceStatus::Captured => cut(&backtrace.to_string(), MAX_TRACE_BYTES).to_string(),
            _ => String::new(),
        };
        if let Ok(mut last) = LAST_PANIC.try_lock() {
            *last = Some(SeenPanic { text, place, trace });
        }
    }));
}

/// The text of a panic, with its place if the hook saw this very panic, and its backtrace, in which `function` is named: the address of
/// what was called. Drops the payload, which may panic in turn.
pub(crate) fn describe_panic(payload: Box<dyn std::any::Any + Send>, function: Option<usize>) -> String {
    let text = cut(panic_text(&*payload), MAX_TEXT_BYTES).to_string();
    let seen = LAST_PANIC.try_lock().ok().and_then(|mut last| last.take());
    drop_payload(payload);
    let Some(seen) = seen.filter(|seen| seen.text == text && !seen.place.is_empty()) else { return text };
    let place = format!("{text} (at {})", seen.place);
    if seen.trace.is_empty() {
        return place;
    }
    let named = with_closure(&seen.trace, || symbol::name_of(function?));
    format!("{place}{}{}", record::BACKTRACE, cut(named.as_ref().unwrap_or(&seen.trace), MAX_TRACE_BYTES))
}

/// An optimised closure has no frame of its own: it is a part of a function around it, which is called the same for all closures. That
/// frame gets the name of the closure. `None` if there is no such frame.
fn with_closure(trace: &str, name: impl FnOnce() -> Option<Arc<str>>) -> Option<String> {
    let frame =
        |line: &str| line.trim_start().split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    let frames: Vec<&str> = trace.lines().filter(|line| frame(line)).collect();
    let entry = frames.iter().position(|line| line.contains("multicore::codec::call::") && line.contains("_entry"))?;
    let [before, around] = frames[..entry].last_chunk()?;
    let is_unnamed = around.ends_with(symbol::AROUND_CLOSURE) && !before.ends_with(symbol::CLOSURE);
    let name = is_unnamed.then(name).flatten().filter(|name| name.ends_with(symbol::CLOSURE))?;
    Some(trace.replacen(around, &around.replace(symbol::AROUND_CLOSURE, &name), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optimised_closure_is_named_in_its_backtrace() {
        let trace = |first: &str, second: &str, entry: &str| {
            format!(
                "   6: core::panicking::panic_fmt\n   at x.rs:1:2\n   7: {first}\n   8: {second}\n   9: {entry}\n  10: _start\n"
            )
        };
        let (around, entry) = (symbol::AROUND_CLOSURE, "multicore::codec::call::pair_entry");
        let named = |trace: &str| with_closure(trace, || Some("app::main::{{closure}}".into()));
        assert_eq!(named(&trace("f", around, entry)), Some(trace("f", "app::main::{{closure}}", entry)));
        for other in [
            trace("app::main::{{closure}}", around, entry),
            trace(around, "app::refuse", entry),
            trace("f", around, "multicore::codec::call::Call::run"),
            trace("f", around, around),
            String::new(),
        ] {
            assert_eq!(named(&other), None, "{other}");
        }
        assert_eq!(with_closure(&trace("f", around, entry), || Some("{{closure}}!".into())), None);
        assert_eq!(with_closure(&trace("f", around, entry), || None), None);
    }
}
