//! The program `multicore run`, beside the programs that people have used so far.

use crate::{Job, Target, Unit, Who};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const COMMANDS: u64 = 1_000;
const SKIPPED: u64 = 10_000;

/// How many commands run at a time.
const SLOTS: u64 = 3;

/// By this variable the processes of a run are found.
const TAG: &str = "MULTICORE_BENCHES_COMMANDS";

/// The program, built as `cargo install` builds it. It lies beside this one.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments = ["build", "--quiet", "--release", "-p", "multicore", "--features", "cli", "--bin", "multicore"];
        let built = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(built.is_ok_and(|status| status.success()), "the program can be built");
        let own = std::env::current_exe().expect("this program has a path");
        own.ancestors().map(|folder| folder.join("multicore")).find(|path| path.is_file()).expect("it was built")
    })
}

fn is_installed(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        eprintln!("commands: {program} is not installed, and is left out");
    }
    is_there
}

/// A folder with numbers, one a line, in which a program runs; removed at the end.
struct Place(tempfile::TempDir);

impl Place {
    fn new(numbers: u64) -> Place {
        let place = Place(tempfile::tempdir().expect("a folder can be made"));
        let lines: String = (1..=numbers).map(|number| format!("{number}\n")).collect();
        fs::write(place.0.path().join("numbers"), lines).expect("a file can be written");
        place
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).env("HOME", self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn run(&self, program: &Path, arguments: &[&str]) {
        let status = self.command(program, arguments).status().expect("the program can be started");
        assert!(status.success(), "{program:?} {arguments:?}: {status}");
    }

    /// The memory of the program's own processes while it runs: the median of the sums of their proportional sizes, in KiB.
    fn memory(&self, program: &Path, arguments: &[&str]) -> f64 {
        let mut child = self.command(program, arguments).env(TAG, "1").spawn().expect("the program can be started");
        let mut sums = Vec::new();
        while child.try_wait().expect("it can be waited for").is_none() {
            sums.push(own_kib());
            std::thread::sleep(Duration::from_millis(20));
        }
        sums.sort_unstable();
        sums[sums.len() / 2] as f64
    }
}

/// The sum over the processes of a run, its jobs left out.
fn own_kib() -> u64 {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let own = pids.filter(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let tag = format!("{TAG}=1");
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == tag.as_bytes()) && name.trim() != "sleep"
    });
    own.filter_map(|process| {
        let sizes = fs::read_to_string(process.join("smaps_rollup")).ok()?;
        let size = sizes.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        size.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    })
    .sum()
}

/// The ways to run a command for each number, three at a time.
fn ways(command: &'static str) -> Vec<(Who, &'static str, Vec<&'static str>)> {
    let mut ways = vec![(Who::Multicore, "", vec!["run", "-j3", "--joblog", "log", "-a", "numbers", command])];
    if is_installed("xargs") {
        ways.push((Who::Xargs, "xargs", vec!["-P3", "-n1", "-a", "numbers", command]));
    }
    if is_installed("parallel") {
        ways.push((Who::Parallel, "parallel", vec!["--will-cite", "-j3", "--joblog", "log", "-a", "numbers", command]));
    }
    ways
}

fn path_of(name: &'static str) -> &'static Path {
    if name.is_empty() { program() } else { Path::new(name) }
}

/// Three threads that start the command and wait for it, and nothing else.
fn bare(command: &'static str) {
    std::thread::scope(|scope| {
        for _ in 0..SLOTS {
            scope.spawn(|| {
                for number in 0..COMMANDS / SLOTS {
                    let status = Command::new(command).arg(number.to_string()).stdin(Stdio::null()).status();
                    assert!(status.is_ok_and(|status| status.success()), "{command} runs");
                }
            });
        }
    });
}

fn quickest() -> Job {
    let mut job = Job::new("1,000 times true, three at a time", Unit::Pieces(COMMANDS), 1, 9);
    for (who, name, arguments) in ways("true") {
        let place = Place::new(COMMANDS);
        job = job.timed(who, "", move || place.run(path_of(name), &arguments));
        if who == Who::Multicore {
            job = job.timed(Who::Floor, "", || bare("true"));
        }
        match who {
            Who::Xargs => job = job.target(Target::Times(1.0 / 1.5, who, "")),
            Who::Parallel => job = job.target(Target::Times(0.1, who, "")),
            _ => {}
        }
    }
    job
}

fn smallest() -> Job {
    let mut job = Job::new("KiB of its own processes, meanwhile", Unit::Count, 1, 3);
    for (who, name, arguments) in ways("sleep").into_iter().filter(|(who, ..)| *who != Who::Xargs) {
        let place = Place::new(0);
        fs::write(place.0.path().join("numbers"), "0.05\n".repeat(60)).expect("a file can be written");
        job = job.subject(who, "", move |_| place.memory(path_of(name), &arguments));
        if who == Who::Parallel {
            job = job.target(Target::Times(0.25, who, ""));
        }
    }
    job
}

fn skipped() -> Job {
    let place = Place::new(SKIPPED);
    let arguments = ["run", "-j3", "--joblog", "log", "--resume", "-a", "numbers", "true"];
    place.run(program(), &arguments);
    Job::new("10,000 recorded commands, skipped", Unit::Seconds, 1, 3)
        .subject(Who::Multicore, "", move |_| {
            let start = Instant::now();
            place.run(program(), &arguments);
            start.elapsed().as_secs_f64()
        })
        .target(Target::AtMost(1.0))
}

/// Commands that run, what that takes, and commands that were run before.
#[must_use]
pub fn jobs() -> Vec<Job> {
    vec![quickest(), smallest(), skipped()]
}
