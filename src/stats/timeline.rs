//! What ran where and when, as a file that tools for traces open.
//!
//! The format is Chrome's trace event format: an object with a list of events, each an object.
//!
//! | event           | `ph` | has, beside `name`, `pid`, `tid` and `ts`                        |
//! |-----------------|------|------------------------------------------------------------------|
//! | names of tracks | `M`  | `args.name`                                                       |
//! | a piece that ran| `X`  | `dur`, and `args`: `piece`, `worker`, `pid`, `attempts`, `outcome` |
//! | a worker's start or loss | `i` | `s`, and `args`: `worker`, `pid`, `cause`               |
//!
//! Invariant: events stand in the order of their times, which are microseconds since the pool was made; those of a worker do not overlap.

use crate::error::Cause;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// What the workers of a pool have run, and when; made by [`Pool::timeline`](crate::Pool::timeline).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = multicore::Pool::builder().workers(2).timeline(10_000).build()?;
/// let task = pool.try_task::<u64>()?.name("squares");
/// task.call_all(|n: u64| n * n, 0..100);
/// task.get()?;
/// let mut file = Vec::new(); // or a BufWriter of a File, to be opened in ui.perfetto.dev
/// pool.timeline().write_chrome(&mut file)?;
/// assert!(file.starts_with(b"{\"displayTimeUnit\":"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// In the order in which they became known.
    pub(crate) events: Vec<Event>,
    /// How many were overwritten by later ones.
    pub(crate) lost: u64,
    /// The names of functions, by their addresses.
    pub(crate) functions: BTreeMap<usize, String>,
    /// When the pool was made.
    pub(crate) began_ns: u64,
    /// The process that has the pool.
    pub(crate) process: u32,
}

/// Something that happened to a worker.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at_ns: u64,
    pub(crate) worker: u32,
    /// Its process id; 0 if that is not known.
    pub(crate) pid: u32,
    pub(crate) what: What,
}

// A million of them take less than 100 MB.
const _: () = assert!(size_of::<Event>() <= 100);

#[derive(Debug, Clone)]
pub(crate) enum What {
    Piece {
        took_ns: u64,
        number: usize,
        attempts: u32,
        /// Of its task, if the user gave one.
        name: Option<Arc<str>>,
        /// Of its function; 0 if its task has ended before it.
        function: usize,
        ended: Ended,
    },
    Started,
    Lost(Cause),
}

/// How a piece came to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ended {
    Done,
    Failed,
    Panicked,
    /// Its arguments or its result could not be read or sent.
    NotCarried,
    Lost(Cause),
}

impl Timeline {
    /// How many events it has: a piece that ran, and a worker that started or was lost.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True if it has no event, as where the pool [keeps none](crate::PoolBuilder::timeline).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many events were overwritten by later ones.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes it in Chrome's trace event format: JSON that [Perfetto](https://ui.perfetto.dev) and `chrome://tracing` open.
    ///
    /// Each worker's place is a track, with its pieces by the names of their tasks or functions. Times are microseconds since the pool was made.
    /// `otherData` tells how many events were [lost](Self::lost). It writes in small parts: give it a [`BufWriter`](io::BufWriter).
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write_chrome(&self, writer: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let lost = self.lost;
        write!(
            writer,
            "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"crate\":\"multicore {version}\",\"events_lost\":{lost}}},\"traceEvents\":["
        )?;
        let of_process = Track { process: self.process, thread: 0 };
        of_process.write_name(writer, "process_name", "multicore")?;
        let workers: BTreeSet<u32> = self.events.iter().map(|event| event.worker).collect();
        for worker in workers {
            writer.write_all(b",\n")?;
            self.track(worker).write_name(writer, "thread_name", &format!("worker {worker}"))?;
        }
        let mut sorted: Vec<&Event> = self.events.iter().collect();
        sorted.sort_by_key(|event| event.at_ns);
        for event in sorted {
            writer.write_all(b",\n")?;
            self.write_event(writer, event)?;
        }
        writer.write_all(b"]}\n")
    }

    /// Tools take a thread with the number 0, or with that of its process, for the first one, and show it so. In a container that may be 1.
    fn track(&self, worker: u32) -> Track {
        let thread = worker.saturating_add(1);
        let is_beyond = self.process > 0 && thread >= self.process;
        Track { process: self.process, thread: thread.saturating_add(u32::from(is_beyond)) }
    }

    fn write_event(&self, writer: &mut (impl io::Write + ?Sized), event: &Event) -> io::Result<()> {
        let Event { at_ns, worker, pid, what } = event;
        let (track, ts) = (self.track(*worker), Micros(at_ns.saturating_sub(self.began_ns)));
        let own = format!("\"worker\":{worker},\"pid\":{pid}");
        match what {
            What::Piece { took_ns, number, attempts, name, function, ended } => {
                let name = name.as_deref().or(self.functions.get(function).map(String::as_str)).unwrap_or("?");
                let (name, dur, outcome) = (quoted(name)?, Micros(*took_ns), ended.text());
                write!(writer, "{{\"ph\":\"X\",\"cat\":\"piece\",\"name\":{name},{track},\"ts\":{ts},\"dur\":{dur},")?;
                write!(
                    writer,
                    "\"args\":{{\"piece\":{number},{own},\"attempts\":{attempts},\"outcome\":\"{outcome}\""
                )?;
                if let Ended::Lost(cause) = ended {
                    write!(writer, ",\"cause\":{}", quoted(&cause.to_string())?)?;
                }
                writer.write_all(b"}}")
            }
            What::Started => {
                write!(
                    writer,
                    "{{\"ph\":\"i\",\"s\":\"t\",\"cat\":\"worker\",\"name\":\"worker started\",{track},\"ts\":{ts},"
                )?;
                write!(writer, "\"args\":{{{own}}}}}")
            }
            What::Lost(cause) => {
                let cause = quoted(&cause.to_string())?;
                write!(
                    writer,
                    "{{\"ph\":\"i\",\"s\":\"t\",\"cat\":\"worker\",\"name\":\"worker lost\",{track},\"ts\":{ts},"
                )?;
                write!(writer, "\"args\":{{{own},\"cause\":{cause}}}}}")
            }
        }
    }
}

impl Ended {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Ended::Done => "done",
            Ended::Failed => "failed",
            Ended::Panicked => "panicked",
            Ended::NotCarried => "not carried",
            Ended::Lost(_) => "lost",
        }
    }
}

/// A text as JSON.
fn quoted(text: &str) -> io::Result<String> {
    serde_json::to_string(text).map_err(io::Error::from)
}

/// The row of an event.
#[derive(Debug, Clone, Copy)]
struct Track {
    process: u32,
    thread: u32,
}

impl Track {
    /// Writes the event that names it.
    fn write_name(self, writer: &mut (impl io::Write + ?Sized), what: &str, name: &str) -> io::Result<()> {
        let name = quoted(name)?;
        write!(writer, "{{\"ph\":\"M\",\"name\":\"{what}\",{self},\"ts\":0,\"args\":{{\"name\":{name}}}}}")
    }
}

impl std::fmt::Display for Track {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"pid\":{},\"tid\":{}", self.process, self.thread)
    }
}

/// Nanoseconds as microseconds, without a loss.
struct Micros(u64);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_one_is_a_file_too() {
        let mut file = Vec::new();
        Timeline::default().write_chrome(&mut file).unwrap();
        let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
        assert_eq!(file["traceEvents"].as_array().unwrap().len(), 1);
    }

    /// Perfetto calls a track with the number of its process "main thread".
    #[test]
    fn no_worker_has_the_track_of_the_process() {
        for (process, expected) in [(0, [1, 2, 3]), (1, [2, 3, 4]), (2, [1, 3, 4]), (4, [1, 2, 3])] {
            let timeline = Timeline { process, ..Timeline::default() };
            assert_eq!([0, 1, 2].map(|worker| timeline.track(worker).thread), expected, "{process}");
        }
    }

    #[test]
    fn times_lose_nothing() {
        for (nanoseconds, expected) in
            [(0, "0.000"), (1, "0.001"), (999_999, "999.999"), (u64::MAX, "18446744073709551.615")]
        {
            assert_eq!(Micros(nanoseconds).to_string(), expected);
        }
    }
}
