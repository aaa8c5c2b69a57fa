//! A host does everything that a pool can do, and a process that reaches one of its steps is killed, stopped
//! or delayed there: every step of every process in turn.
//!
//! The host checks its results, and the test checks that no process of it is left. The table in
//! ARCHITECTURE.md lists the steps; a test fails if a step is missing there or in the code, or if the host does
//! not reach it.

#[path = "../../tests/run/process.rs"]
pub(crate) mod process;

use self::process::{DEADLINE, Outcome, Run, comes_true};
use super::VARIABLE;
use crate::{Cause, Error, ErrorKind, Memory, Pool, Stats, Task, WorkerState};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Set in a host: how the failpoint acts, so that the host knows what to expect, and how many workers its
/// pool has.
const HOST: &str = "MULTICORE_FAILPOINT_HOST";

/// The time limit of the host's pieces where a worker may be stopped in one.
const LIMIT: Duration = Duration::from_millis(250);

/// The retries of a piece: more than processes are killed, on a busy machine too.
const RETRIES: u32 = 50;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The steps that ARCHITECTURE.md lists.
fn listed() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text.split_once("\n## Steps\n").expect("ARCHITECTURE.md lists the steps");
    let section = rest.split("\n## ").next().unwrap_or_default();
    section.split('`').skip(1).step_by(2).filter(|name| is_step(name)).map(str::to_string).collect()
}

/// Those of them that this build reaches.
fn played() -> BTreeSet<String> {
    let of_logs = |step: &String| step.starts_with("parent-log-");
    listed().into_iter().filter(|step| cfg!(feature = "log") || !of_logs(step)).collect()
}

fn is_step(name: &str) -> bool {
    ["parent-", "intermediate-", "image-", "server-", "worker-"].iter().any(|whose| name.starts_with(whose))
}

/// The steps that have a failpoint in the code.
fn armed() -> Vec<String> {
    fn visit(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.split("failpoint!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.filter(|name| is_step(name)).map(str::to_string));
            }
        }
    }
    let mut found = Vec::new();
    visit(&root().join("src/engine"), &mut found);
    visit(&root().join("src/sys"), &mut found);
    found
}

#[test]
fn each_step_is_listed_and_has_one_failpoint() {
    let (listed, armed) = (listed(), armed());
    let once: BTreeSet<String> = armed.iter().cloned().collect();
    assert_eq!(once.len(), armed.len(), "a name stands at two places: {armed:#?}");
    let missing: Vec<_> = listed.difference(&once).collect();
    let unlisted: Vec<_> = once.difference(&listed).collect();
    assert!(missing.is_empty() && unlisted.is_empty(), "without a failpoint: {missing:?}; not listed: {unlisted:?}");
}

#[test]
fn the_host_takes_every_step() {
    let directory = tempfile::tempdir().unwrap();
    play(Path::new("/proc/self/exe"), ("*", 1, 2), "trace", directory.path());
    let trace = fs::read_to_string(directory.path().join("trace")).unwrap();
    let reached: BTreeSet<String> = trace.lines().map(str::to_string).collect();
    let missed: Vec<_> = played().difference(&reached).cloned().collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn a_process_killed_at_any_step_costs_no_more_than_itself() {
    at_every_step("kill", 4);
}

#[test]
fn a_process_stopped_at_any_step_holds_up_nobody_for_long() {
    at_every_step("stop", 8);
}

#[test]
fn a_process_delayed_at_any_step_changes_nothing() {
    at_every_step("delay", 4);
}

#[test]
fn a_step_that_fails_is_taken_again() {
    at_every_step("error", 2);
}

/// The times of a step, and the workers, with which each step is played: the first, the second, and a later time, and with one worker. A death
/// has the most to tell. `MULTICORE_FAILPOINT_ROUNDS` above 1 plays all of them for each action.
fn hits(action: &str, rounds: u32) -> &'static [(u32, u32)] {
    match action {
        "stop" if rounds == 1 => &[(1, 1), (9, 2)],
        "delay" if rounds == 1 => &[(1, 2), (2, 2)],
        _ => &[(1, 2), (1, 1), (2, 2), (9, 2)],
    }
}

/// Plays the host with this action at each step. `MULTICORE_FAILPOINT_ROUNDS` asks for more times, `MULTICORE_FAILPOINT_STEP` for one step
/// alone.
fn at_every_step(action: &str, threads: usize) {
    let rounds: u32 = std::env::var("MULTICORE_FAILPOINT_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let only = std::env::var("MULTICORE_FAILPOINT_STEP").ok();
    let mut steps: Vec<String> = played().into_iter().collect();
    if action == "error" {
        let fallible = ["parent-makes-pair"];
        steps.retain(|step| fallible.contains(&step.as_str()));
        assert_eq!(steps.len(), fallible.len());
    }
    steps.retain(|step| only.as_ref().is_none_or(|only| step == only));
    let more = (1..rounds).map(|round| (round * 7 + 3, 1 + round % 2));
    let hits = hits(action, rounds).iter().copied().chain(more);
    let cases = hits.flat_map(|(hit, workers)| steps.iter().map(move |step| (step.as_str(), hit, workers)));
    let cases: Vec<(&str, u32, u32)> = cases.collect();
    let programs = tempfile::tempdir().unwrap();
    let program = nameless(programs.path());
    let next = AtomicUsize::new(0);
    let fired = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let directory = tempfile::tempdir().unwrap();
                    // The other cases are played too.
                    if std::panic::catch_unwind(|| play(&program, case, action, directory.path())).is_err() {
                        failed.lock().unwrap().push(case);
                    }
                    fired.fetch_add(usize::from(directory.path().join("fired-0").exists()), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(failed.into_inner().unwrap(), [], "{action}: step, hit and workers; each with its own words above");
    // Not every step is reached nine times by a process, but most are reached once.
    assert!(fired.into_inner() >= steps.len() * 3 / 4, "hardly any failpoint was reached");
}

/// A copy of this program in which no names are found: its header tells of no sections. Each `stats` of a host looks for the names of
/// the functions that it has run, and in this executable, without optimisation, that took two thirds of a host's time.
fn nameless(folder: &Path) -> PathBuf {
    let mut bytes = fs::read("/proc/self/exe").unwrap();
    // Where their table lies, and how many there are.
    [0x28..0x30, 0x3c..0x40].into_iter().for_each(|place| bytes[place].fill(0));
    let program = folder.join("host");
    fs::write(&program, bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// Runs the host with one failpoint set, and checks how it ended.
#[track_caller]
fn play(program: &Path, (step, hit, workers): (&str, u32, u32), action: &str, directory: &Path) {
    let plan = format!("{step}/{action}/{hit}/1/{}", directory.display());
    let mut command = Command::new(program);
    command.args(["--exact", "failpoint::tests::host", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(VARIABLE, &plan).env(HOST, format!("{action}/{workers}")).env("TMPDIR", directory);
    let host = Run::start(command);
    let is_the_hosts = !step.starts_with("worker-") && !step.starts_with("server-");
    if action == "stop" && is_the_hosts {
        // Only the test, which stopped it, can continue it.
        let stopped = directory.join("fired-0");
        let mut pid = None;
        comes_true(|| {
            pid = fs::read_to_string(&stopped).ok().and_then(|pid| pid.parse().ok());
            pid.is_some() || !Path::new(&format!("/proc/{}", host.pid())).exists() || host.has_ended()
        });
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            std::thread::sleep(Duration::from_millis(60));
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
        }
    }
    let outcome = host.finish();
    let killed = action == "kill" && step.starts_with("parent-") && directory.join("fired-0").exists();
    if killed {
        // No process of it is left; `finish` checked that.
        assert_eq!(outcome.status.code(), None, "{plan}: {outcome:?}");
    } else {
        assert_well(&plan, &outcome);
    }
}

#[track_caller]
fn assert_well(plan: &str, outcome: &Outcome) {
    let ended_well = outcome.status.success() && outcome.find("all").is_some_and(|word| word == "well");
    assert!(ended_well, "{plan}: {:?}\n{}\n{}", outcome.status, outcome.stdout, outcome.stderr);
}

/// The host's side.
struct Host {
    pool: Pool,
    action: String,
    marks: PathBuf,
}

#[test]
#[ignore = "other tests start it"]
fn host() {
    let Ok(host) = std::env::var(HOST) else { return };
    let (action, workers) = host.split_once('/').unwrap();
    // After the harness's own output.
    println!();
    let marks = std::env::temp_dir().join("marks");
    fs::write(&marks, "").unwrap();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    // The first pool opens the executable, which is kept.
    let before = descriptors() + 1;
    #[cfg(feature = "log")]
    log::set_max_level(log::LevelFilter::Info);
    let host = Host { pool: build(workers.parse().unwrap(), None), action: action.to_string(), marks: marks.clone() };
    host.use_all();
    host.pool.shutdown();
    // A second pool ends in the other way: it is dropped.
    let host = Host { pool: build(1, Some(Memory::growth(24 << 20))), action: action.to_string(), marks };
    host.small(5);
    // It takes as long as all else, so it is played where its steps are.
    if std::env::var(VARIABLE).is_ok_and(|plan| plan.contains("-memory-") || plan.starts_with('*')) {
        host.too_large();
    }
    drop(host.pool);
    ends_idle(&host.action);
    let left = descriptors();
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    assert_eq!(left, before, "descriptors are left: {:?}", links.collect::<Vec<_>>());
    println!("all: well");
}

/// Makes a pool. If its start fails, the error has a reason that fits, and a later try succeeds.
fn build(workers: usize, memory: Option<Memory>) -> Pool {
    let mut failures = Vec::new();
    loop {
        let mut builder = Pool::builder().workers(workers).preload(nothing);
        if let Some(most) = memory {
            builder = builder.worker_memory_max(most);
        }
        match builder.on_worker_start(nothing).on_worker_exit(nothing).build() {
            Ok(pool) => return pool,
            Err(error) => failures.push(error),
        }
        println!("build: {}", failures.last().unwrap());
        let reasons = [ErrorKind::System, ErrorKind::Unsupported];
        assert!(failures.iter().all(|error| reasons.contains(&error.kind())), "{failures:?}");
        assert!(failures.len() < 3, "no pool can be made: {failures:?}");
    }
}

/// A worker that is idle ends, and comes again for the next piece.
fn ends_idle(action: &str) {
    let pool = Pool::builder().workers(1).idle_timeout(Duration::from_millis(1)).build();
    // A start that the failpoint has spoilt is played elsewhere.
    let Ok(pool) = pool else { return };
    let limit = if action == "stop" { LIMIT } else { DEADLINE };
    for number in 0..2 {
        let task = pool.try_task::<u64>().unwrap().name("a piece of a host").retries(RETRIES).timeout(limit);
        task.run(pause, 0, number);
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), [number]);
        let has_ended = || pool.stats().workers.iter().all(|worker| worker.state == WorkerState::Ended);
        assert!(comes_true(has_ended), "{}", pool.stats());
    }
}

fn nothing() {}

fn marked(marks: String, number: u64) -> u64 {
    #[cfg(feature = "log")]
    log::info!("piece {number}");
    let mut file = OpenOptions::new().append(true).open(marks).unwrap();
    file.write_all(format!("{number}\n").as_bytes()).unwrap();
    number
}

fn spin(_: u64, _: u64) -> u64 {
    loop {
        std::hint::spin_loop();
    }
}

fn pause(us: u64, number: u64) -> u64 {
    std::thread::sleep(Duration::from_micros(us));
    number
}

impl Host {
    /// A task with a name, which errors then tell: the function has none.
    fn named<R: crate::Value>(&self) -> Task<R> {
        self.pool.try_task::<R>().unwrap().name("a piece of a host")
    }

    /// A task whose pieces survive what the failpoint does.
    fn task<R: crate::Value>(&self) -> Task<R> {
        let task = self.named::<R>().retries(RETRIES);
        if self.action == "stop" { task.timeout(LIMIT) } else { task.timeout(DEADLINE) }
    }

    fn use_all(&self) {
        self.small(40);
        // The workers fall asleep.
        std::thread::sleep(Duration::from_millis(2));
        self.small(5);
        self.big();
        self.written();
        self.tables();
        self.shared_and_cancelled();
        self.overrun();
        self.lost();
        self.replaced();
        self.resized();
        self.without_server();
        // However it went: the pool works.
        self.small(100);
    }

    /// Each piece ends once, and starts once but for what its worker's end cost.
    fn small(&self, pieces: u64) {
        fs::write(&self.marks, "").unwrap();
        let marks = self.marks.to_str().unwrap().to_string();
        let task = self.task::<u64>();
        for number in 0..pieces {
            task.run(marked, marks.clone(), number);
        }
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), (0..pieces).collect::<Vec<_>>());
        let mut seen: Vec<u64> =
            fs::read_to_string(&self.marks).unwrap().lines().map(|line| line.parse().unwrap()).collect();
        seen.sort_unstable();
        let starts = seen.len();
        seen.dedup();
        assert_eq!(seen.len() as u64, pieces, "not all ran");
        // One worker was killed, or the fork server and with it all.
        if self.action != "stop" {
            assert!(starts as u64 <= pieces + 2, "{starts} starts of {pieces} pieces");
        }
    }

    /// Values that stream, both ways, and one that finds no room in the ring.
    fn big(&self) {
        let task = self.task::<Vec<u8>>();
        for byte in 0..4 {
            task.call(|bytes: Vec<u8>| bytes, vec![byte; 300_000]);
        }
        for (byte, bytes) in (0..).zip(task.get_timeout(DEADLINE).unwrap()) {
            assert!(bytes == vec![byte; 300_000]);
        }
        let task = self.task::<Vec<u8>>();
        task.call(|length: usize| vec![7; length], 12_000_000);
        assert!(task.get_timeout(DEADLINE).unwrap() == [vec![7; 12_000_000]]);
    }

    /// Results that are written while their pieces run.
    fn written(&self) {
        let write = |byte: u8, length: usize, sink: &mut crate::Sink| {
            (0..length / 1000).try_for_each(|_| sink.write_all(&[byte; 1000]))
        };
        let task = self.task::<Vec<u8>>().max_unread(500_000);
        for (byte, length) in [(0, 10_000), (1, 3_000_000), (2, 300_000), (3, 1_500_000)] {
            task.run_into(write, byte, length);
        }
        for (byte, bytes) in (0..).zip(task.get_timeout(DEADLINE).unwrap()) {
            assert!(bytes == vec![byte; [10_000, 3_000_000, 300_000, 1_500_000][usize::from(byte)]]);
        }
    }

    /// What pieces share comes to every worker that needs it, and goes with its last handle.
    fn tables(&self) {
        let sum = |(table, start): (crate::Shared<[u64]>, usize), end: usize| table[start..end].iter().sum::<u64>();
        for round in 1..3 {
            let table = crate::Shared::<[u64]>::build(10_000, |items| items.fill(round)).unwrap();
            let task = self.task::<u64>();
            task.run_all(sum, (0..10).map(|part| ((table.clone(), part * 1000), part * 1000 + 1000)));
            drop(table);
            assert_eq!(task.get_timeout(DEADLINE).unwrap(), [round * 1000; 10]);
        }
        let start = std::time::Instant::now();
        while self.pool.stats().shared_bytes > 0 {
            assert!(start.elapsed() < DEADLINE, "something is still shared");
            std::thread::yield_now();
        }
        self.small(4);
    }

    /// Pieces that one worker holds go to another; those of a task that is dropped never begin.
    fn shared_and_cancelled(&self) {
        let task = self.task::<u64>();
        let long = if self.pool.workers() > 1 { 30_000 } else { 0 };
        task.run_all(pause, [(long, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), [0, 1, 2, 3, 4, 5]);
        let task = self.task::<u64>();
        task.run_all(pause, (0..12).map(|number| (2_000, number)));
        drop(task);
        self.small(4);
    }

    fn overrun(&self) {
        let task = self.named::<u64>().timeout(Duration::from_millis(20));
        task.run(spin, 0, 0);
        self.expect(task.get_timeout(DEADLINE), &[ErrorKind::TimedOut], None);
    }

    fn too_large(&self) {
        let limit = if self.action == "stop" { LIMIT } else { DEADLINE };
        let task = self.named::<u64>().timeout(limit);
        task.call(
            |()| {
                let mut kept: Vec<Vec<u8>> = Vec::new();
                loop {
                    kept.push(vec![1; 1 << 20]);
                    std::thread::sleep(Duration::from_micros(100));
                }
            },
            (),
        );
        self.expect(task.get_timeout(DEADLINE), &[ErrorKind::MemoryLimit], None);
    }

    fn lost(&self) {
        // A process that is delayed may hear of the end only after a short limit.
        let limit = if self.action == "stop" { LIMIT } else { DEADLINE };
        let task = self.named::<u64>().timeout(limit);
        task.call(|code: i32| crate::sys::process::exit_now(code), 3);
        self.expect(task.get_timeout(DEADLINE), &[ErrorKind::WorkerLost], Some(Cause::Exit(3)));
    }

    /// Checks the outcome of a piece that cannot succeed; the failpoint may have acted before.
    fn expect(&self, got: Result<Vec<u64>, Error>, kinds: &[ErrorKind], cause: Option<Cause>) {
        let error = got.unwrap_err();
        let acts = self.action == "kill" || self.action == "stop";
        let by_failpoint = acts && [ErrorKind::WorkerLost, ErrorKind::TimedOut].contains(&error.kind());
        assert!(kinds.contains(&error.kind()) || by_failpoint, "{error}");
        // The parent waits only a moment for a cause.
        let is_late = self.action == "delay" && error.cause() == Some(Cause::Unknown);
        assert!(cause.is_none() || error.cause() == cause || by_failpoint || is_late, "{error}");
        assert_eq!((error.piece(), error.attempts()), (Some(0), 1), "{error}");
    }

    /// Each worker gives its place to another while pieces run.
    fn replaced(&self) {
        // The workers are there.
        self.small(20);
        let gone = |stats: &Stats| stats.workers_recycled + stats.workers_lost;
        let before = gone(&self.pool.stats());
        self.pool.recycle();
        self.small(20);
        if self.action == "stop" {
            // A successor that is stopped may be so for long: the others do its work.
            return;
        }
        let mut stats = self.pool.stats();
        let is_at_rest = comes_true(|| {
            stats = self.pool.stats();
            let are_idle = stats.workers.iter().all(|worker| worker.state == WorkerState::Idle);
            are_idle && stats.workers.len() == self.pool.workers() && gone(&stats) > before
        });
        assert!(is_at_rest, "{stats}");
    }

    /// Another worker comes, and leaves.
    fn resized(&self) {
        let workers = self.pool.workers();
        for workers in [workers + 1, workers] {
            self.pool.resize(workers).unwrap();
            self.small(10);
        }
    }

    fn without_server(&self) {
        let task = self.task::<u32>();
        task.call(|()| rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get() as u32), ());
        let server = task.get_timeout(DEADLINE).unwrap()[0];
        let task = self.task::<u64>();
        task.run_all(pause, (0..20).map(|number| (1_000, number)));
        if let Some(server) = rustix::process::Pid::from_raw(server as i32) {
            let _ = rustix::process::kill_process(server, rustix::process::Signal::KILL);
        }
        assert_eq!(task.get_timeout(DEADLINE).unwrap(), (0..20).collect::<Vec<_>>());
    }
}
