//! `multicore run`: hands out a command whenever a slot is free, and deals with how each one ended.
//!
//! ```text
//! inputs ─► template ─► gate ─► the task (a pool of workers; its journal) ─► job.rs, in a worker
//!                                  └─► outcome ─► job log, output, halt, summary
//! ```
//!
//! One thread does all that, so there is no lock. While a slot is free and there is nothing to put in, it looks each `POLL`
//! whether a job has ended; else it sleeps until one has.
//!
//! Invariant: as many pieces are handed out as there are slots, and no more. So a piece that is handed out runs, and `--delay`,
//! `--load` and `--halt soon` mean what they say.

use crate::bar::Bar;
use crate::gate::Gate;
use crate::halt::{Halt, When};
use crate::inputs::{Inputs, Next};
use crate::interrupt::{Beacon, Interrupts};
use crate::job;
use crate::joblog::JobLog;
use crate::output::{Output, Printer};
use crate::parcels::Counter;
use crate::record;
use crate::report::Report;
use crate::results;
use crate::summary::{INTERRUPTED, Summary};
use crate::tell::tell;
use crate::template::{Command, Template};
use multicore::{Cause, Error, ErrorKind, Pool, Task, journal};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// With a free slot and nothing to put in, a job that ends is noticed within this time.
const POLL: Duration = Duration::from_millis(10);

/// A command that is not handed out yet.
#[derive(Debug)]
struct Pending {
    input: Vec<u8>,
    command: Command,
}

/// A command that is handed out.
#[derive(Debug)]
struct Running {
    number: u64,
    input: Vec<u8>,
    line: Vec<u8>,
    started: SystemTime,
    clock: Instant,
    is_skipped: bool,
}

/// What a run is made of; `set_up.rs` puts it together.
#[derive(Debug)]
pub struct Parts {
    pub inputs: Inputs,
    pub template: Template,
    /// Where commands run.
    pub directory: Vec<u8>,
    /// Whether a file's change makes it another input.
    pub fingerprints: bool,
    /// Where outputs are kept.
    pub results: Option<PathBuf>,
    pub slots: usize,
    pub gate: Gate,
    pub task: Task<String>,
    pub pool: Pool,
    /// None where jobs print to the runner's own streams.
    pub counter: Option<Counter>,
    pub joblog: Option<JobLog>,
    pub printer: Printer,
    pub halt: Halt,
    pub interrupts: Interrupts,
    pub beacon: Beacon,
    pub bar: Bar,
    pub begun: Instant,
}

#[derive(Debug)]
pub struct Runner {
    parts: Parts,
    pending: Option<Pending>,
    /// The number of the last command, from 1.
    number: u64,
    /// By the number of its piece.
    running: HashMap<usize, Running>,
    taken: usize,
    is_halted: bool,
    summary: Summary,
}

/// What hinders the next command.
#[derive(Debug)]
enum Hindrance {
    /// All slots are taken.
    Full,
    /// No input has come, or the gate is closed.
    Waits,
    /// There is no further command.
    Ended,
}

impl Runner {
    pub fn new(parts: Parts) -> Runner {
        Runner {
            parts,
            pending: None,
            number: 0,
            running: HashMap::new(),
            taken: 0,
            is_halted: false,
            summary: Summary::default(),
        }
    }

    /// Runs until nothing is left to run, and gives the exit code.
    ///
    /// # Errors
    /// A line for people: the journal or the system does not allow it.
    pub fn run(mut self) -> Result<u8, String> {
        let ended = self.run_all();
        self.parts.bar.clear();
        // Also what waits for its turn when the run cannot go on: its jobs are recorded, and never print again.
        let printed = self.parts.printer.finish().map_err(cannot_print);
        ended.and(printed)?;
        if let Some(line) = self.summary.more_skipped() {
            tell!("{line}");
        }
        let code = match () {
            () if self.parts.interrupts.is_interrupted() => INTERRUPTED,
            () if self.is_halted && self.parts.halt.is_success() => 0,
            () => self.summary.exit_code(),
        };
        let Parts { task, pool, begun, .. } = self.parts;
        drop(task);
        // What jobs have left running ends here.
        drop(pool);
        tell!("{}", self.summary.line(begun.elapsed()));
        Ok(code)
    }

    fn run_all(&mut self) -> Result<(), String> {
        loop {
            match self.fill()? {
                Hindrance::Ended if self.running.is_empty() => return Ok(()),
                Hindrance::Full | Hindrance::Ended => {
                    self.draw_until_one_ends();
                    self.take_next()?;
                }
                Hindrance::Waits if self.parts.task.completed() > self.taken => self.take_next()?,
                Hindrance::Waits => {}
            }
            self.parts.bar.draw(&self.summary);
        }
    }

    /// With a bar on a terminal, waits for the next job and draws meanwhile. It looks more often where jobs are short.
    fn draw_until_one_ends(&mut self) {
        let clock = Instant::now();
        while self.parts.bar.is_live() && self.parts.task.completed() <= self.taken {
            std::thread::sleep((clock.elapsed() / 8).clamp(Duration::from_micros(100), POLL));
            self.parts.bar.draw(&self.summary);
        }
    }

    /// Hands out commands until something hinders. Returns after `POLL` at the latest if that may pass by itself.
    fn fill(&mut self) -> Result<Hindrance, String> {
        loop {
            if self.is_halted || self.parts.interrupts.is_interrupted() {
                return Ok(Hindrance::Ended);
            }
            if self.running.len() >= self.parts.slots {
                return Ok(Hindrance::Full);
            }
            if self.pending.is_none() {
                match self.parts.inputs.next(POLL).map_err(|error| format!("cannot read the inputs: {error}"))? {
                    Next::NotYet => return Ok(Hindrance::Waits),
                    Next::End => return Ok(Hindrance::Ended),
                    Next::Input(input) => {
                        self.number += 1;
                        let command = self.parts.template.command(&input, self.number);
                        self.pending = Some(Pending { input, command });
                    }
                }
            }
            if let Some(wait) = self.parts.gate.wait() {
                std::thread::sleep(wait.min(POLL));
                return Ok(Hindrance::Waits);
            }
            if let Some(pending) = self.pending.take() {
                self.hand_out(pending)?;
            }
        }
    }

    fn hand_out(&mut self, pending: Pending) -> Result<(), String> {
        let Pending { input, command } = pending;
        let fingerprint = match self.parts.fingerprints {
            // A file that is not there is the command's concern; once it is there, it is another input.
            true => journal::fingerprint(OsStr::from_bytes(&input)).unwrap_or_else(|_| "missing".to_string()),
            false => String::new(),
        };
        let (piece, resumed) = (self.parts.task.len(), self.parts.task.resumed());
        self.parts.task.try_call(job::run, job::encode(&self.parts.directory, &fingerprint, &command.words));
        let is_skipped = self.parts.task.resumed() > resumed;
        let (started, clock) = (SystemTime::now(), Instant::now());
        let running = Running { number: self.number, input, line: command.line, started, clock, is_skipped };
        self.running.insert(piece, running);
        if is_skipped {
            // It is settled already, so this does not wait, and its slot is free again.
            return self.take_next();
        }
        self.parts.gate.started();
        Ok(())
    }

    /// Deals with the outcome that comes next.
    fn take_next(&mut self) -> Result<(), String> {
        let Some((piece, result)) = self.parts.task.next_completed() else { return Ok(()) };
        self.taken += 1;
        let Some(job) = self.running.remove(&piece) else { return Ok(()) };
        match result {
            Ok(line) => match Report::parse(&line) {
                Some(report) => self.ended(&job, &report),
                None => Err(format!("job {} gave a report that cannot be read: {line}", job.number)),
            },
            Err(error) => self.failed(&job, &error),
        }
    }

    fn ended(&mut self, job: &Running, report: &Report) -> Result<(), String> {
        if job.is_skipped {
            return self.skipped(job, Ok(report));
        }
        self.summary.count(job.number, report);
        if let Some(joblog) = &mut self.parts.joblog {
            joblog.add(job.number, report, &job.line).map_err(cannot_log)?;
        }
        self.print(job, report)?;
        match self.parts.halt.judge(self.summary.done, self.summary.failed, self.parts.inputs.total()) {
            None => {}
            Some(When::Soon) => {
                self.is_halted = true;
                self.parts.beacon.put_out();
            }
            Some(When::Now) if self.is_halted => {}
            Some(When::Now) => {
                self.is_halted = true;
                self.parts.task.canceller().cancel();
            }
        }
        Ok(())
    }

    /// A recorded job was left out. An error holds what is known where its record has no report: its worker was lost.
    fn skipped(&mut self, job: &Running, report: Result<&Report, &Report>) -> Result<(), String> {
        if let (Some(folder), Ok(report)) = (&self.parts.results, report) {
            results::keep_missing(folder, job.number, &job.input, report).map_err(|error| error.to_string())?;
        }
        if let Some(line) = self.summary.skip(&job.line) {
            self.parts.bar.clear();
            tell!("{line}");
        }
        if let Some(joblog) = &mut self.parts.joblog {
            match report {
                Ok(report) => joblog.add_missing(job.number, report, &job.line),
                Err(unknown) => joblog.add_unknown(job.number, unknown, &job.line),
            }
            .map_err(cannot_log)?;
        }
        self.parts.printer.ended(job.number, None).map_err(cannot_print)
    }

    fn print(&mut self, job: &Running, report: &Report) -> Result<(), String> {
        if let Some(folder) = &self.parts.results {
            results::keep(folder, job.number, &job.input, report).map_err(|error| error.to_string())?;
        }
        let mut output = Output {
            input: job.input.clone(),
            bytes: [report.stdout_bytes, report.stderr_bytes],
            is_failure: !report.is_success(),
            ..Output::default()
        };
        if let Some(counter) = self.parts.counter.as_mut().filter(|_| report.parcel != 0) {
            match counter.take(report.parcel) {
                Ok(printed) => output.printed = printed,
                Err(error) => {
                    tell!("multicore run: what job {} has printed is lost: {error}", job.number);
                    output.bytes = [0, 0];
                }
            }
        }
        self.parts.bar.clear();
        self.parts.printer.ended(job.number, Some(output)).map_err(cannot_print)
    }

    /// A piece ended in an error: the job has failed, or the machinery around it has.
    fn failed(&mut self, job: &Running, error: &Error) -> Result<(), String> {
        let mut report = Report {
            exit: -1,
            started_us: job.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64,
            took_us: job.clock.elapsed().as_micros() as u64,
            ..Report::default()
        };
        if job.is_skipped {
            // An earlier run has told of it, and all that it recorded is how the job ended.
            let recorded = failed_report(error);
            return self.skipped(job, recorded.as_ref().ok_or(&report));
        }
        match error.kind() {
            ErrorKind::Failed => match failed_report(error) {
                Some(told) => return self.ended(job, &told),
                None => self.tell(job, error),
            },
            // It never ran, or was killed since the run ends. Nothing is recorded.
            ErrorKind::Cancelled => return self.parts.printer.ended(job.number, None).map_err(cannot_print),
            // The worker itself ends a job in time; this one could not.
            ErrorKind::TimedOut => report.set_timed_out(),
            ErrorKind::WorkerLost | ErrorKind::MemoryLimit | ErrorKind::Panicked => self.tell(job, error),
            _ => return Err(record::in_words(error)),
        }
        if let Some(Cause::Signal(signal)) = error.cause() {
            (report.exit, report.signal) = (0, signal);
        }
        if let Some(counter) = &mut self.parts.counter {
            counter.forget_lost();
        }
        self.ended(job, &report)
    }

    fn tell(&mut self, job: &Running, error: &Error) {
        self.parts.bar.clear();
        tell!("multicore run: job {}, {}: {error}", job.number, String::from_utf8_lossy(&job.line));
    }
}

/// The report in the error of a job that has failed: behind what names the piece.
fn failed_report(error: &Error) -> Option<Report> {
    let text = error.to_string();
    let (_, line) = text.split_once(") failed: ")?;
    Report::parse(line)
}

fn cannot_print(error: std::io::Error) -> String {
    format!("cannot write what jobs have printed: {error}")
}

fn cannot_log(error: std::io::Error) -> String {
    format!("cannot write the job log: {error}")
}
