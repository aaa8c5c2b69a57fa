//! Helpers of the behaviour tests: waiting for facts, marks that pieces write, reading of process states, and checks that
//! must hold after every test.

#![allow(unsafe_code)]
// Each test program uses only a part of this file.
#![allow(dead_code)]

use multicore::{Pool, Task};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The longest wait for a fact. Nothing takes this long, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a fact. Fails after [`DEADLINE`].
#[track_caller]
pub fn wait_for(what: &str, mut fact: impl FnMut() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?}, and this is still not so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// If a test hangs, prints the system call of each thread and aborts the program. It has no effect if it is dropped in
/// time.
pub struct Watchdog {
    stop: Option<std::sync::mpsc::Sender<()>>,
}

/// A watchdog for the test that calls this.
pub fn watchdog() -> Watchdog {
    let (stop, stopped) = std::sync::mpsc::channel();
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    std::thread::spawn(move || {
        if stopped.recv_timeout(2 * DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs; threads:");
            for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
                let read = |file| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
                eprintln!("  {} {}", read("comm").trim(), read("syscall").trim());
            }
            std::process::abort();
        }
    });
    Watchdog { stop: Some(stop) }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
    }
}

/// A new pool.
#[track_caller]
pub fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool can run here")
}

/// A pool whose tasks run inline, since its load limit is 0.
#[track_caller]
pub fn busy_pool() -> Pool {
    Pool::builder().workers(1).max_load_average(0.0).build().expect("a pool can run here")
}

/// A file to which each execution of a piece appends a line. It is removed at the end of the test.
pub struct Marks {
    file: tempfile::NamedTempFile,
}

impl Marks {
    pub fn new() -> Self {
        Marks { file: tempfile::NamedTempFile::new().expect("a temporary file can be made") }
    }

    /// What pieces are given.
    pub fn path(&self) -> String {
        self.file.path().to_str().expect("a path of ASCII").to_string()
    }

    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file.path()).expect("the marks can be read");
        text.lines().map(str::to_string).collect()
    }

    /// The marks as numbers, sorted.
    pub fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.lines().iter().map(|line| line.parse().expect("a number")).collect();
        numbers.sort_unstable();
        numbers
    }

    pub fn count(&self) -> usize {
        fs::metadata(self.file.path()).map_or(0, |_| self.lines().len())
    }

    /// Waits until `count` executions have begun.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        wait_for(&format!("{count} marks"), || self.count() >= count);
    }

    /// Waits until no mark has come for 150 ms, and returns the number of marks. If more come later, the test may miss a
    /// fault; it never fails without one.
    pub fn settled(&self) -> usize {
        let (mut count, mut since) = (self.count(), Instant::now());
        while since.elapsed() < Duration::from_millis(150) {
            std::thread::sleep(Duration::from_millis(5));
            let now = self.count();
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        count
    }
}

/// Writes a mark; called by a piece that is to be counted.
pub fn mark(path: &str, number: u64) {
    let mut file = OpenOptions::new().append(true).open(path).expect("the marks are there");
    file.write_all(format!("{number}\n").as_bytes()).expect("a mark can be made");
}

/// What this process writes to its standard error stream goes nowhere from now on. For pieces whose failed allocation std
/// would report with a backtrace, which alarms the reader of a passing test.
pub fn be_silent() {
    let nowhere = OpenOptions::new().write(true).open("/dev/null").expect("/dev/null is there");
    // SAFETY: both descriptors are open, and dup2 touches no memory.
    unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&nowhere), libc::STDERR_FILENO) };
}

/// A door at which pieces wait until the test opens it: a file that the test creates.
pub struct Door {
    directory: tempfile::TempDir,
}

impl Door {
    pub fn closed() -> Self {
        Door { directory: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// What pieces are given.
    pub fn path(&self) -> String {
        self.file().to_str().expect("a path of ASCII").to_string()
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("open")
    }

    pub fn open(&self) {
        File::create(self.file()).expect("a file can be made");
    }
}

/// Waits until the door is open; called by a piece. Stops waiting when the test has ended.
pub fn wait_at(door: &str) {
    let start = Instant::now();
    while !Path::new(door).exists() && Path::new(door).parent().is_some_and(Path::exists) {
        assert!(start.elapsed() < 2 * DEADLINE, "the door was never opened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Random numbers that depend only on the seed (splitmix64).
pub struct Random(u64);

impl Random {
    /// Takes the seed from `MULTICORE_TEST_SEED`, or a new one, and prints it. The output appears when the test fails.
    pub fn seeded() -> Self {
        let seed = match std::env::var("MULTICORE_TEST_SEED") {
            Ok(seed) => seed.parse().expect("MULTICORE_TEST_SEED is a number"),
            Err(_) => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.expect("a clock after 1970").as_nanos() as u64
            }
        };
        println!("MULTICORE_TEST_SEED={seed}");
        Random(seed)
    }

    pub fn with_seed(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A process. Its start time distinguishes it from a later process with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    started: u64,
}

impl Process {
    pub fn find(pid: u32) -> Option<Self> {
        Some(Process { pid, started: field(pid, 22)? })
    }

    /// True while the process exists, even as a zombie.
    pub fn is_there(&self) -> bool {
        Process::find(self.pid) == Some(*self)
    }

    /// True while the process exists and is no zombie.
    pub fn is_running(&self) -> bool {
        self.is_there() && !matches!(state(self.pid), None | Some('Z' | 'X'))
    }

    pub fn parent(&self) -> Option<Process> {
        Process::find(field(self.pid, 4)? as u32)
    }

    /// The name of its main thread.
    pub fn name(&self) -> String {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        name.trim().to_string()
    }

    /// Sends a signal to it, if it still exists.
    pub fn kill(&self, signal: i32) {
        if self.is_there() {
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::kill(self.pid as i32, signal) };
        }
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.pid)).unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default();
        pages * 4096
    }
}

/// The state letter of a process, as in proc(5).
pub fn state(pid: u32) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.trim_start().chars().next()
}

/// A numeric field of `/proc/PID/stat`, by its number in proc(5).
fn field(pid: u32, number: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, but ends at the last parenthesis.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

/// The pool's workers, once all of them have started.
#[track_caller]
pub fn workers(pool: &Pool) -> Vec<Process> {
    let mut found = Vec::new();
    wait_for("all workers have started", || {
        found = pool.stats().workers.iter().filter_map(|worker| Process::find(worker.pid?)).collect();
        found.len() == pool.workers()
    });
    found
}

/// The fork server of the pool.
#[track_caller]
pub fn fork_server(pool: &Pool) -> Process {
    let mut found = None;
    wait_for("a worker has a parent", || {
        found = pool.stats().workers.iter().find_map(|worker| Process::find(worker.pid?)?.parent());
        found.is_some_and(|server| server.name() == "multicore-fork")
    });
    found.expect("just found")
}

pub fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// The pool works: a hundred trivial pieces succeed.
#[track_caller]
pub fn assert_works(pool: &Pool) {
    let task = pool.try_task::<u64>().expect("the pool is open");
    for number in 0..100 {
        task.run(add, number, 1);
    }
    let results = task.get_timeout(DEADLINE).expect("a pool that works");
    assert_eq!(results, (1..=100).collect::<Vec<u64>>());
}

/// The same after its fork server has just died: pieces may be lost with their workers, and run again.
#[track_caller]
pub fn assert_works_again(pool: &Pool) {
    let task = pool.try_task::<u64>().expect("the pool is open").retries(10);
    for number in 0..100 {
        task.run(add, number, 1);
    }
    let results = task.get_timeout(DEADLINE).expect("a pool that works");
    assert_eq!(results, (1..=100).collect::<Vec<u64>>());
}

/// Must hold after every fault: the pool works, and none of its processes is left after its drop.
#[track_caller]
pub fn assert_well(pool: Pool) {
    assert_works(&pool);
    let mut processes = workers(&pool);
    processes.push(fork_server(&pool));
    drop(pool);
    assert_gone(&processes);
}

/// None of these processes runs. The fork server may still be a zombie: it is no child of this process, so the init process
/// reaps it, perhaps later.
#[track_caller]
pub fn assert_gone(processes: &[Process]) {
    for process in processes {
        assert!(!process.is_running(), "{process:?} outlived its pool");
    }
}

/// A task of this pool.
#[track_caller]
pub fn task<R: multicore::Value>(pool: &Pool) -> Task<R> {
    pool.try_task().expect("the pool is open")
}

/// The name of the test that this stands in, as the harness has it: with its modules.
#[allow(unused_macros)]
macro_rules! test_name {
    () => {{
        fn here() {}
        $crate::support::name_of(std::any::type_name_of_val(&here))
    }};
}
#[allow(unused_imports)]
pub(crate) use test_name;

pub fn name_of(place: &'static str) -> &'static str {
    let name = place.split_once("::").and_then(|(_, path)| path.strip_suffix("::here"));
    name.unwrap_or_else(|| panic!("{place} is no place in a test"))
}

/// Has the test that this stands in run in a process of its own: for one that measures its process, changes it, or counts what it has.
/// The test goes on behind it in that process alone.
#[allow(unused_macros)]
macro_rules! alone {
    () => {
        if $crate::support::has_run_alone($crate::support::test_name!()) {
            return;
        }
    };
}
#[allow(unused_imports)]
pub(crate) use alone;

/// Tells a test that it is in a process of its own.
const ALONE: &str = "MULTICORE_TEST_ALONE";

/// Runs the test of this name once more, in a process in which nothing else runs. False in that process.
#[track_caller]
pub fn has_run_alone(test: &str) -> bool {
    if std::env::var(ALONE).is_ok_and(|alone| alone == test) {
        return false;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    run_test(command.env(ALONE, test), test);
    true
}

/// Runs one test of this program by a command that ends with this program.
#[track_caller]
pub fn run_test(command: &mut Command, test: &str) {
    let output = command.args(["--exact", test, "--nocapture"]).output().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The harness finds nothing wrong with a name that no test has.
    let has_passed = output.status.success() && told.contains("test result: ok. 1 passed");
    assert!(has_passed, "{test}, in a process of its own: {}\n{told}{errors}", output.status);
    for line in errors.lines().filter(|line| line.starts_with("SKIPPED")) {
        // The harness captures what is printed, and nobody sees that of a test that passes.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// A control group below that of this process, whose processes together may use some memory. It is removed at the end of
/// the test.
pub struct SmallGroup {
    pub folder: PathBuf,
}

impl SmallGroup {
    /// `None`, and a message, where no such group can be made.
    pub fn make(bytes: u64) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let (root, limit) = match controllers {
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                "" => ("/sys/fs/cgroup", "memory.max"),
                _ => continue,
            };
            let own = Path::new(root).join(path.trim_start_matches('/'));
            let folder = own.join(format!("multicore-test-{}-{bytes}", std::process::id()));
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = SmallGroup { folder };
            if fs::write(group.folder.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        eprintln!("SKIPPED: no memory control group can be created here");
        None
    }

    /// A group in this one, without a limit of its own.
    pub fn inner(&self) -> PathBuf {
        let folder = self.folder.join("inner");
        fs::create_dir(&folder).expect("what could make a group can make one in it");
        folder
    }

    /// Runs a test of this program once more, in the group of this folder and with a variable that tells it so.
    #[track_caller]
    pub fn run(&self, folder: &Path, test: &str, variable: &str) {
        let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(folder).arg(std::env::current_exe().unwrap()).env(variable, "1");
        run_test(&mut command, test);
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        // Its last process may still be exiting.
        wait_for("the group is empty", || {
            let _ = fs::remove_dir(self.folder.join("inner"));
            !self.folder.exists() || fs::remove_dir(&self.folder).is_ok()
        });
    }
}
