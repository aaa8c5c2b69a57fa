//! One command, as a worker runs it: a piece of the runner's task.
//!
//! ```text
//! runner: Command ── encode: directory, fingerprint, words ──► worker: run ── posix_spawn ──► the job
//! runner: Report  ◄── the piece's result, or its error's message ──┘  │ stdin is /dev/null
//! runner: Printed ◄── parcels.rs ── what lies in the unlinked files ──┘ stdout, stderr
//! ```
//!
//! What the piece gets is its identity in the journal, so it holds only what makes a command another one. All else (where
//! output goes, limits) comes with the worker's start, as `Settings`.
//!
//! The job is a child of the worker and stays in the worker's process group. So it ends with the worker: at a second Ctrl-C, when the
//! runner is killed, and when the fork server is. The two files are used again after a job that has left no process: nobody else
//! can write to them then.
//!
//! Invariant: when `run` returns, what the job had printed by its end is in the parcel that the report names, and nothing else is.

use crate::address;
use crate::children;
use crate::descriptors;
use crate::parcels::Sender;
use crate::report::Report;
use crate::results;
use crate::tell;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What a shell says for a command that is not there, and for one that cannot be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// The exit code of a job that succeeded, and whose output was lost.
const LOST: i32 = -1;

/// What a worker must know of all its jobs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Where parcels are sent; none with `-u`, where jobs print to the runner's own streams.
    pub address: Option<Vec<u8>>,
    /// With `--results`: where the worker puts what a job has printed, before the job is recorded.
    pub results: Option<Vec<u8>>,
    /// Where the files lie that hold what is printed.
    pub temporary: Vec<u8>,
    /// Where the program is that all commands begin with.
    pub program: Option<Vec<u8>>,
    /// How many times a job that fails is run.
    pub tries: u32,
    /// A failed job is tried again while somebody listens there.
    pub beacon: Vec<u8>,
    pub limit: Option<Duration>,
    pub nice: Option<i32>,
    /// The limit of descriptors that jobs have, where the runner has lifted its own.
    pub max_descriptors: Option<u64>,
}

/// A worker's state between jobs.
#[derive(Debug, Default)]
struct Worker {
    settings: Settings,
    files: Option<[File; 2]>,
    sender: Option<Sender>,
}

static WORKER: Mutex<Option<Worker>> = Mutex::new(None);

/// Before a worker's first job.
pub fn set_up(settings: Settings) {
    if let Some(nice) = settings.nice {
        // The runner has tried it.
        let _ = rustix::process::setpriority_process(None, nice);
    }
    if let Some(limit) = settings.max_descriptors {
        let _ = descriptors::limit_to(limit);
    }
    // If that fails, jobs that leave processes are not noticed; it does not on the kernels that the pool needs.
    let _ = children::adopt();
    *WORKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Worker { settings, ..Worker::default() });
}

/// What the piece gets: the parts end in zeros, which neither words nor paths contain.
pub fn encode(directory: &[u8], fingerprint: &str, words: &[Vec<u8>]) -> Vec<u8> {
    let parts = [directory, fingerprint.as_bytes()].into_iter().chain(words.iter().map(Vec::as_slice));
    let mut job = Vec::new();
    for part in parts {
        job.extend_from_slice(part);
        job.push(0);
    }
    job
}

/// Runs a command. The result is its report, as the line that the journal keeps.
///
/// # Errors
/// The report of a command that failed.
pub fn run(job: Vec<u8>) -> Result<String, Report> {
    let mut worker = WORKER.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = worker.get_or_insert_default();
    // Behind the directory and the fingerprint, and without the end of the last word.
    let words: Vec<&[u8]> = job.strip_suffix(b"\0").unwrap_or(&job).split(|&byte| byte == 0).skip(2).collect();
    let mut report = worker.try_all(&words);
    report.command = Report::shown(&String::from_utf8_lossy(&crate::quote::line(&words)));
    if report.is_success() { Ok(report.to_string()) } else { Err(report) }
}

impl Worker {
    fn try_all(&mut self, words: &[&[u8]]) -> Report {
        let mut left = self.settings.tries.max(1);
        loop {
            left -= 1;
            let report = self.try_once(words);
            if report.is_success() || left == 0 || !address::is_listened_at(&self.settings.beacon) {
                return self.send(report);
            }
            // As with GNU parallel, only the last try is shown.
            self.files = None;
        }
    }

    fn try_once(&mut self, words: &[&[u8]]) -> Report {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let clock = Instant::now();
        let mut report = Report { started_us: started.as_micros() as u64, ..Report::default() };
        match self.start(words).and_then(|mut child| children::wait(&mut child, self.settings.limit)) {
            Ok(Some(status)) => {
                report.exit = status.code().unwrap_or(0);
                report.signal = status.signal().unwrap_or(0);
            }
            Ok(None) => report.set_timed_out(),
            Err(error) => {
                report.exit = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
                self.print(&format!("multicore run: {}: {error}\n", String::from_utf8_lossy(words[0])));
            }
        }
        report.took_us = clock.elapsed().as_micros() as u64;
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
        report.peak_kib = usage.map_or(0, |usage| usage.max_rss().cast_unsigned());
        report
    }

    fn start(&mut self, words: &[&[u8]]) -> io::Result<Child> {
        let program = self.settings.program.clone();
        let program = program.as_deref().unwrap_or(words[0]);
        let mut command = Command::new(OsStr::from_bytes(program));
        command.arg0(OsStr::from_bytes(words[0])).args(words[1..].iter().map(|word| OsStr::from_bytes(word)));
        // The worker's own standard input is empty.
        command.stdin(Stdio::inherit());
        self.redirect(&mut command)?;
        match command.spawn() {
            // A script without a first line that names its interpreter is a shell's, as a shell has it.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg(OsStr::from_bytes(program)).args(words[1..].iter().map(|word| OsStr::from_bytes(word)));
                shell.stdin(Stdio::inherit());
                self.redirect(&mut shell)?;
                shell.spawn()
            }
            child => child,
        }
    }

    fn redirect(&mut self, command: &mut Command) -> io::Result<()> {
        if self.settings.address.is_none() {
            return Ok(());
        }
        let [stdout, stderr] = self.files()?;
        command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        Ok(())
    }

    /// The files of the next job, made where there are none.
    fn files(&mut self) -> io::Result<&[File; 2]> {
        match &mut self.files {
            Some(files) => Ok(files),
            files => {
                let folder = Path::new(OsStr::from_bytes(&self.settings.temporary));
                let file = || {
                    tempfile::tempfile_in(folder).map_err(|error| {
                        io::Error::new(
                            error.kind(),
                            format!("no file for what it prints in {}: {error}", folder.display()),
                        )
                    })
                };
                Ok(files.insert([file()?, file()?]))
            }
        }
    }

    /// Prints on a job's standard error, or on the runner's where a job has none.
    fn print(&mut self, text: &str) {
        match self.settings.address.is_some().then(|| self.files()) {
            Some(Ok([_, stderr])) => {
                let mut stderr: &File = stderr;
                let _ = stderr.write_all(text.as_bytes());
            }
            Some(Err(_)) | None => tell::write(text),
        }
    }

    /// Sends what the job has printed, and makes the files ready for the next one.
    fn send(&mut self, mut report: Report) -> Report {
        // Also reaps what the job has left, with `-u` too.
        let is_shared = children::are_left();
        let Some(files) = self.files.take() else { return report };
        let lengths = [&files[0], &files[1]].map(|file| file.metadata().map_or(0, |file| file.len()));
        [report.stdout_bytes, report.stderr_bytes] = lengths;
        let mut is_gone = false;
        if lengths != [0, 0] {
            match self.hand_over(&files, lengths, &report) {
                Ok((parcel, gone)) => (report.parcel, is_gone) = (parcel, gone),
                Err(error) => {
                    tell::write(&format!("multicore run: what a job has printed is lost: {error}\n"));
                    // What is not recorded as done runs again.
                    if report.is_success() {
                        report.exit = LOST;
                    }
                }
            }
        }
        let is_reusable = !is_shared && !is_gone;
        if is_reusable && (lengths == [0, 0] || files.iter().all(|mut file| file.set_len(0).and(file.rewind()).is_ok()))
        {
            self.files = Some(files);
        }
        report
    }

    fn hand_over(&mut self, files: &[File; 2], lengths: [u64; 2], report: &Report) -> io::Result<(u64, bool)> {
        let sender = match &mut self.sender {
            Some(sender) => sender,
            none => none.insert(Sender::connect(self.settings.address.as_deref().unwrap_or_default())?),
        };
        if let Some(folder) = &self.settings.results {
            let report = Report { parcel: sender.next_parcel(), ..report.clone() };
            results::put_aside(Path::new(OsStr::from_bytes(folder)), &report, files)?;
        }
        // Descriptors in flight, those of other workers too, count against the sender's own limit.
        let _raised = self.settings.max_descriptors.map(descriptors::raise_from);
        sender.send([&files[0], &files[1]], lengths)
    }
}
