//! Building the programs of `tests/programs` and running them: each in a session of its own and
//! with a tag in its environment, so that whatever it left behind is found, a zombie too.
//!
//! Cargo builds into the target directory that the test itself lies in, so what both need is built
//! once and kept between runs.

#![allow(unsafe_code)]
// Each test program uses a part of it.
#![allow(dead_code)]

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes this long, however busy the machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const MUSL: &str = "x86_64-unknown-linux-musl";

/// Waits for a fact; false if it does not come.
pub fn comes_true(mut fact: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if fact() {
            return true;
        }
        if start.elapsed() > DEADLINE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says that something was not tested, past the harness, which would swallow it.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("cargo puts it into the target directory")
}

/// Runs cargo in `directory`; gives what it built, by the targets' names.
fn cargo(directory: &Path, arguments: &[&str], after: &[&str]) -> Result<HashMap<String, PathBuf>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args(arguments).arg("--message-format=json-render-diagnostics").arg("--target-dir").arg(target_dir());
    let output = command.args(after).current_dir(directory).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("cargo {arguments:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut built = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let Some(name) = message["target"]["name"].as_str() else { continue };
        let file = message["executable"].as_str().or_else(|| {
            let mut files = message["filenames"].as_array()?.iter().filter_map(|file| file.as_str());
            files.find(|file| file.ends_with(".so"))
        });
        if let Some(file) = file {
            built.insert(name.to_string(), PathBuf::from(file));
        }
    }
    Ok(built)
}

/// Builds with cargo in the workspace: `build -p …`.
#[track_caller]
pub fn build(arguments: &[&str]) -> HashMap<String, PathBuf> {
    let arguments: Vec<&str> = ["build"].iter().chain(arguments).copied().collect();
    cargo(root(), &arguments, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Builds the workspace in another directory, from what is downloaded already.
#[track_caller]
pub fn build_elsewhere(directory: &Path) -> HashMap<String, PathBuf> {
    cargo(directory, &["build", "--offline"], &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Builds one program of `tests/programs` with arguments for the compiler.
pub fn build_with(program: &str, rustc: &[&str]) -> Result<PathBuf, String> {
    let rustc: Vec<&str> = ["--"].iter().chain(rustc).copied().collect();
    let mut built = cargo(root(), &["rustc", "-p", "multicore_programs", "--bin", program], &rustc)?;
    built.remove(program).ok_or_else(|| "cargo named no program".to_string())
}

/// The programs that need nothing special.
const PLAIN: [&str; 5] = ["answers", "host", "leaver", "prologue", "waits"];

fn plain_arguments() -> Vec<&'static str> {
    ["-p", "multicore_programs"].into_iter().chain(PLAIN.iter().flat_map(|name| ["--bin", name])).collect()
}

/// One of the plain programs of `tests/programs`.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| build(&plain_arguments()))[name].clone()
}

/// The same against musl, wholly static; `None`, with a word of it, where the target is missing.
#[track_caller]
pub fn musl_program(name: &str) -> Option<PathBuf> {
    static BUILT: OnceLock<Option<HashMap<String, PathBuf>>> = OnceLock::new();
    let build = || {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let libraries = Command::new(rustc).args(["--print", "target-libdir", "--target", MUSL]).output().ok()?;
        let libraries = String::from_utf8(libraries.stdout).ok()?;
        fs::read_dir(libraries.trim()).ok()?.next()?.ok()?;
        let arguments: Vec<&str> = plain_arguments().into_iter().chain(["--target", MUSL]).collect();
        Some(build(&arguments))
    };
    let built = BUILT.get_or_init(build).as_ref();
    if built.is_none() {
        skipped(&format!("{name} on musl"), "the target is not there; `rustup target add` gets it");
    }
    built.map(|built| built[name].clone())
}

/// What a program was when it had ended, and nothing of it was left.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// What stands after `name: ` on a line of its own.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    #[track_caller]
    pub fn answer(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no answer to {name:?} in {self:?}"))
    }

    /// It ended well and said this, and nothing on stderr.
    #[track_caller]
    pub fn assert_said(&self, stdout: &str) {
        assert_eq!(self.stdout, stdout, "stderr: {}", self.stderr);
        assert_eq!(self.stderr, "");
        assert_eq!(self.status.code(), Some(0), "{:?}", self.status);
    }
}

/// A program that runs. Dropped, it is killed with all that it started.
pub struct Run {
    child: Child,
    tag: String,
    stdout: Stream,
    stderr: Stream,
    /// Processes that are the test's business.
    forgiven: Vec<u32>,
    reaped: bool,
}

/// Runs a program to its end; see [`Run::finish`].
#[track_caller]
pub fn run(command: Command) -> Outcome {
    Run::start(command).finish()
}

/// The command for a program.
pub fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

const TAG: &str = "MULTICORE_TEST_RUN";

impl Run {
    #[track_caller]
    pub fn start(mut command: Command) -> Run {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let tag = format!("{TAG}={}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        command.env(TAG, &tag[TAG.len() + 1..]);
        // A panic's backtrace is no news.
        command.env_remove("RUST_BACKTRACE").env_remove("MULTICORE_MAX_LOAD_AVERAGE");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: setsid allocates and locks nothing.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        let mut spawned = command.spawn();
        // A program that was just written is held open by whatever another test forked meanwhile.
        comes_true(|| {
            let busy = spawned.as_ref().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy);
            if busy {
                spawned = command.spawn();
            }
            !busy
        });
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Stream::read(child.stdout.take().expect("piped"));
        let stderr = Stream::read(child.stderr.take().expect("piped"));
        Run { child, tag, stdout, stderr, forgiven: Vec::new(), reaped: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the program something, on a line of its stdin.
    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("it listens");
    }

    /// Waits for the rest of the line that begins so.
    #[track_caller]
    pub fn wait_for_line(&self, beginning: &str) -> String {
        let mut found = None;
        let came = comes_true(|| {
            let text = self.stdout.text();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            found = whole.filter_map(|line| line.strip_prefix(beginning)).map(|rest| rest.trim().to_string()).next();
            found.is_some() || self.stdout.has_ended()
        });
        let _ = came;
        found.unwrap_or_else(|| {
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            panic!("{beginning:?} never came; stdout: {stdout}; stderr: {stderr}; left: {:#?}", self.left())
        })
    }

    /// The processes of this run, each in a few words.
    pub fn left(&self) -> Vec<String> {
        self.processes().into_iter().map(|process| process.words).collect()
    }

    /// A process of this run by its name.
    pub fn find(&self, name: &str) -> Option<u32> {
        let named = format!("({name})");
        self.processes().into_iter().find(|process| process.words.contains(&named)).map(|process| process.pid)
    }

    fn processes(&self) -> Vec<Found> {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| !self.forgiven.contains(pid) && (!self.reaped || *pid != self.pid()))
            .filter_map(|pid| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                // The name may contain anything, but ends at the last parenthesis.
                let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().take(4).collect();
                let (parent, session): (u32, u32) = (fields[1].parse().ok()?, fields[3].parse().ok()?);
                // What has ended and was given to the system's init is that one's to reap.
                if fields[0] == "Z" && parent == 1 {
                    return None;
                }
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let tagged = environment.split(|&byte| byte == 0).any(|variable| variable == self.tag.as_bytes());
                let words = || stat.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
                (session == self.pid() || tagged).then(|| Found { pid, words: words() })
            })
            .collect()
    }

    /// This process may outlive the program; it ends with the test.
    pub fn forgive(&mut self, pid: u32) {
        self.forgiven.push(pid);
    }

    /// Ends the program as the kernel would for want of memory.
    #[track_caller]
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
        self.reaped = true;
    }

    /// Waits until no process of the run is left.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert!(comes_true(|| self.left().is_empty()), "processes are left: {:#?}", self.left());
    }

    /// Waits until it has ended, and its output too, and no process of it is left.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let mut status = None;
        if !self.reaped {
            let ended = comes_true(|| {
                status = self.child.try_wait().expect("it can be waited for");
                status.is_some()
            });
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            assert!(ended, "it hangs; stdout: {stdout}; stderr: {stderr}; processes: {:#?}", self.left());
            self.reaped = true;
        }
        self.assert_nothing_left();
        assert!(comes_true(|| self.stdout.has_ended() && self.stderr.has_ended()), "its output is held open");
        let status = status.unwrap_or_else(|| ExitStatus::from_raw(libc::SIGKILL));
        Outcome { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.forgiven.clear();
        for process in self.processes() {
            // SAFETY: a system call without memory.
            unsafe { libc::kill(process.pid as i32, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

struct Found {
    pid: u32,
    words: String,
}

/// What a program writes, read as it comes.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Arc<AtomicBool>,
}

impl Stream {
    fn read(mut source: impl Read + Send + 'static) -> Stream {
        let stream = Stream { bytes: Arc::default(), ended: Arc::default() };
        let (bytes, ended) = (Arc::clone(&stream.bytes), Arc::clone(&stream.ended));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut chunk) {
                bytes.lock().expect("nobody panics there").extend_from_slice(&chunk[..length]);
            }
            ended.store(true, Ordering::Release);
        });
        stream
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("nobody panics there")).into_owned()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
