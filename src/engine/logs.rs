//! Records of workers, and what the crate itself tells, as the program's logger is given them.
//!
//! Invariant: what a worker says of itself is text, and drives no terminal; who it is, and which piece it ran, this process knows. A panic of the
//! logger's ends here.

use crate::codec::call::drop_payload;
use crate::engine::wire::log::{Lead, Parts};
use crate::error::Error;
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The target of what this crate itself tells.
const OWN_TARGET: &str = "multicore";

/// A record as a worker wrote it. Only its lead was checked.
#[derive(Debug)]
pub(crate) struct LogRecord {
    pub(crate) level: log::Level,
    pub(crate) lead: Lead,
    /// The number of the piece that ran, in its task, if it had no answer when the record was read.
    pub(crate) piece: Option<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// Gives a record to the program's logger. What a worker says of itself is text; who it is, this process knows.
pub(crate) fn deliver_record(worker: Option<usize>, record: &LogRecord) {
    let Parts { target, module, file, text } = record.lead.split(&record.bytes);
    let name = |bytes| printable(bytes, false);
    let (target, module, file, text) = (name(target), module.map(name), file.map(name), printable(text, true));
    let number = |number: Option<usize>| log::kv::Value::from(number.unwrap_or_default());
    let known = [("worker", number(worker)), ("piece", number(record.piece))];
    let pairs = &known[..usize::from(worker.is_some()) + usize::from(worker.and(record.piece).is_some())];
    give(record.level, &target, (module.as_deref(), file.as_deref(), record.lead.line), format_args!("{text}"), &pairs);
}

/// Text of a worker's, without what could drive a terminal or end the line of a name.
fn printable(bytes: &[u8], has_lines: bool) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let is_bad = |character: char| character.is_control() && !(has_lines && matches!(character, '\n' | '\t'));
    if text.contains(is_bad) { Cow::Owned(text.replace(is_bad, "\u{fffd}")) } else { text }
}

/// Tells how many records of a worker were dropped.
pub(crate) fn tell_dropped(worker: Option<usize>, dropped: u64) {
    let Some(worker) = worker else {
        return warn(format_args!("{dropped} more pieces of detached tasks have failed"), &[]);
    };
    warn(
        format_args!(
            "{dropped} log records of worker {worker} were dropped: it wrote them faster than the program's logger took them"
        ),
        &[("worker", log::kv::Value::from(worker))],
    );
}

/// A piece of a detached task has failed.
pub(crate) fn warn_of_failed(error: &Error) {
    warn(format_args!("a piece of a detached task has failed, and nobody waits for it: {error}"), &[]);
}

/// As many more of them.
pub(crate) fn warn_of_others(count: usize) {
    warn(format_args!("{count} more pieces of a detached task have failed"), &[]);
}

/// What this crate itself tells.
fn warn(text: fmt::Arguments<'_>, pairs: &[(&str, log::kv::Value<'_>)]) {
    give(log::Level::Warn, OWN_TARGET, (None, None, None), text, &pairs);
}

/// Calls the program's logger. A panic of the logger's ends here.
fn give(
    level: log::Level,
    target: &str,
    (module, file, line): (Option<&str>, Option<&str>, Option<u32>),
    text: fmt::Arguments<'_>,
    pairs: &dyn log::kv::Source,
) {
    let metadata = log::Metadata::builder().level(level).target(target).build();
    let deliver = || {
        let logger = log::logger();
        if level <= log::max_level() && logger.enabled(&metadata) {
            let mut record = log::Record::builder();
            record.metadata(metadata.clone()).module_path(module).file(file).line(line).key_values(&pairs);
            logger.log(&record.args(text).build());
        }
    };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(deliver)) {
        drop_payload(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_drives_no_terminal_and_a_name_has_one_line() {
        for (bytes, has_lines, text) in [
            (&b"a text"[..], true, "a text"),
            (b"two\n\tlines", true, "two\n\tlines"),
            (b"two\nlines", false, "two\u{fffd}lines"),
            (b"\x1b[2J\r\0", true, "\u{fffd}[2J\u{fffd}\u{fffd}"),
            (b"\xff", true, "\u{fffd}"),
        ] {
            assert_eq!(printable(bytes, has_lines), text);
        }
    }
}
