//! What a pool does about the memory of its workers, as its user is told.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that a pool did about its memory, or would have done; for
/// [`on_memory`](crate::PoolBuilder::on_memory). Its `Display` is a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemoryEvent {
    /// What was done.
    pub action: MemoryAction,
    /// The worker, by its number. 0, as are its process id and `at_start`, where the event concerns no worker
    /// ([`Waits`](MemoryAction::Waits), [`GoesOn`](MemoryAction::GoesOn)).
    pub worker: usize,
    /// Its process id.
    pub pid: u32,
    /// The function whose piece it ran, if it ran one.
    pub function: Option<String>,
    /// The bytes that the worker had, or all of them, if it is their limit that was exceeded; or those that are available.
    pub bytes: u64,
    /// The limit in bytes, also where it was set as a percentage or as growth.
    pub limit: u64,
    /// The bytes that the worker had when it was ready.
    pub at_start: u64,
}

/// What a pool did about its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MemoryAction {
    /// A worker is above a `memory_high`, or a little below it, and is replaced after its piece.
    Recycled,
    /// A worker was above a `memory_max` for some checks in a row, and was killed.
    Killed,
    /// A worker was above its limit when it was ready. The next would be as large, so it is replaced at twice that
    /// size only. Told once.
    BornLarge,
    /// Less memory is available than [`min_available_memory`](crate::PoolBuilder::min_available_memory): the pool gives no tasks, and
    /// runs one piece at a time.
    Waits,
    /// There is enough again.
    GoesOn,
    /// With [`memory_advisory`](crate::PoolBuilder::memory_advisory): a worker would have been replaced.
    WouldRecycle,
    /// With [`memory_advisory`](crate::PoolBuilder::memory_advisory): a worker would have been killed.
    WouldKill,
}

impl fmt::Display for MemoryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryEvent { action, worker, pid, function, bytes, limit, at_start } = self;
        let (has, most) = (mebibytes(*bytes), mebibytes(*limit));
        match action {
            MemoryAction::Waits => {
                return write!(f, "the pool waits: {has} are available, and it begins nothing below {most}");
            }
            MemoryAction::GoesOn => {
                return write!(f, "the pool goes on: {has} are available, and it waits below {most}");
            }
            _ => {}
        }
        write!(f, "worker {worker} (pid {pid}")?;
        if let Some(function) = function {
            write!(f, ", {function}")?;
        }
        let what = match action {
            MemoryAction::Recycled => "is replaced after its piece",
            MemoryAction::Killed => "was killed",
            MemoryAction::BornLarge => "was above its limit when it was ready, and goes on",
            MemoryAction::Waits | MemoryAction::GoesOn => "",
            MemoryAction::WouldRecycle => "would be replaced after its piece",
            MemoryAction::WouldKill => "would be killed",
        };
        write!(f, ") {what}: {has}, limit {most}, {} at its start", mebibytes(*at_start))
    }
}

/// A number of bytes for people: whole MiB with commas, or with a tenth below 10.
pub(crate) fn mebibytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 9.95 {
        return format!("{mebibytes:.1} MiB");
    }
    format!("{} MiB", with_commas(format_args!("{mebibytes:.0}")))
}

/// A number with a comma before each three digits of its whole part.
pub(super) fn with_commas(number: impl fmt::Display) -> String {
    let mut text = number.to_string();
    let first = usize::from(text.starts_with('-'));
    let mut at = text.find('.').unwrap_or(text.len());
    while at > first + 3 {
        at -= 3;
        text.insert(at, ',');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_sentence_with_the_numbers() {
        let event = |action, function: Option<&str>| MemoryEvent {
            action,
            worker: 3,
            pid: 4127,
            function: function.map(str::to_string),
            bytes: 304 << 20,
            limit: 300 << 20,
            at_start: 1_992_295,
        };
        for (event, expected) in [
            (
                event(MemoryAction::Killed, Some("app::render")),
                "worker 3 (pid 4127, app::render) was killed: 304 MiB, limit 300 MiB, 1.9 MiB at its start",
            ),
            (
                event(MemoryAction::Recycled, None),
                "worker 3 (pid 4127) is replaced after its piece: 304 MiB, limit 300 MiB, 1.9 MiB at its start",
            ),
            (
                event(MemoryAction::Waits, None),
                "the pool waits: 304 MiB are available, and it begins nothing below 300 MiB",
            ),
            (event(MemoryAction::GoesOn, None), "the pool goes on: 304 MiB are available, and it waits below 300 MiB"),
        ] {
            assert_eq!(event.to_string(), expected);
        }
    }

    #[test]
    fn small_amounts_have_a_tenth() {
        for (bytes, expected) in [
            (0, "0.0 MiB"),
            (1_992_295, "1.9 MiB"),
            (10_400_000, "9.9 MiB"),
            (10_485_760, "10 MiB"),
            (999 << 20, "999 MiB"),
            (1203 << 20, "1,203 MiB"),
            (1 << 40, "1,048,576 MiB"),
        ] {
            assert_eq!(mebibytes(bytes), expected);
        }
    }

    #[test]
    fn commas_part_the_whole_digits() {
        for (number, expected) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-999", "-999"),
            ("-1008", "-1,008"),
            ("123456", "123,456"),
            ("18446744073709551615", "18,446,744,073,709,551,615"),
            ("1234.5678", "1,234.5678"),
            ("123.4567", "123.4567"),
        ] {
            assert_eq!(with_commas(number), expected);
        }
    }
}
