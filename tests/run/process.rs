//! Runs a program in a session of its own and with a tag in its environment, so that all processes that it leaves behind
//! are found, zombies too. The unit tests of the crate use this file as well.

#![allow(unsafe_code)]
// Each test program uses only a part of this file.
#![allow(dead_code)]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest wait for a fact. Nothing takes this long, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a fact. False if it has not come after [`DEADLINE`].
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

/// The status and output of a program that has ended and left no process behind.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The rest of the line that begins with `name: `.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    #[track_caller]
    pub fn answer(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no answer to {name:?} in {self:?}"))
    }

    /// The program exited with code 0, printed this to stdout, and nothing to stderr.
    #[track_caller]
    pub fn assert_said(&self, stdout: &str) {
        assert_eq!(self.stdout, stdout, "stderr: {}", self.stderr);
        assert_eq!(self.stderr, "");
        assert_eq!(self.status.code(), Some(0), "{:?}", self.status);
    }
}

/// A running program. Its drop kills it and all processes that it started.
pub struct Run {
    child: Child,
    tag: String,
    stdout: Stream,
    stderr: Stream,
    terminal: Option<fs::File>,
    /// Processes that the test deals with itself.
    forgiven: Vec<u32>,
    reaped: bool,
}

/// Runs a program to its end; see [`Run::finish`].
#[track_caller]
pub fn run(command: Command) -> Outcome {
    Run::start(command).finish()
}

/// The command for a program with these arguments.
pub fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

const TAG: &str = "MULTICORE_TEST_RUN";

impl Run {
    #[track_caller]
    pub fn start(mut command: Command) -> Run {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Run::start_in_session(command, None)
    }

    /// Starts it at a terminal of its own, to which no program in the background may write (`stty tostop`).
    #[track_caller]
    pub fn start_at_terminal(mut command: Command) -> Run {
        let (mut ours, mut theirs) = (-1, -1);
        // SAFETY: `ours` and `theirs` are valid for writing, and the other arguments may be null. The new descriptors have
        // no other owner.
        let (ours, theirs) = unsafe {
            let none = std::ptr::null_mut();
            assert_eq!(libc::openpty(&mut ours, &mut theirs, none, none.cast(), none.cast()), 0, "no terminal");
            let mut settings = std::mem::zeroed();
            libc::tcgetattr(theirs, &mut settings);
            settings.c_lflag = settings.c_lflag & !libc::ECHO | libc::TOSTOP;
            libc::tcsetattr(theirs, libc::TCSANOW, &settings);
            libc::fcntl(ours, libc::F_SETFD, libc::FD_CLOEXEC);
            (fs::File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
        };
        let another = || Stdio::from(theirs.try_clone().expect("the terminal can be duplicated"));
        command.stdin(another()).stdout(another()).stderr(another());
        // SAFETY: system calls, which neither allocate nor lock, and change only the child's session and signals. Where the tests run in
        // the background of a shell, SIGINT is ignored, and a shell that finds it so leaves it.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGQUIT, libc::SIG_DFL);
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        drop(theirs);
        Run::start_in_session(command, Some(ours))
    }

    #[track_caller]
    fn start_in_session(mut command: Command, terminal: Option<fs::File>) -> Run {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let tag = format!("{TAG}={}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        command.env(TAG, &tag[TAG.len() + 1..]);
        // Backtraces of panics would change stderr.
        command.env_remove("RUST_BACKTRACE").env_remove("MULTICORE_MAX_LOAD_AVERAGE");
        // SAFETY: setsid neither allocates nor locks. A second call has no effect.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        let mut spawned = command.spawn();
        // A process that another test forked meanwhile may still have a just written program open.
        comes_true(|| {
            let busy = spawned.as_ref().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy);
            if busy {
                spawned = command.spawn();
            }
            !busy
        });
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // The command has the other end of the terminal open.
        drop(command);
        let (stdout, stderr) = match &terminal {
            Some(terminal) => {
                let terminal = terminal.try_clone().expect("the terminal can be duplicated");
                (Stream::read(terminal), Stream::read(std::io::empty()))
            }
            None => {
                (Stream::read(child.stdout.take().expect("piped")), Stream::read(child.stderr.take().expect("piped")))
            }
        };
        Run { child, tag, stdout, stderr, terminal, forgiven: Vec::new(), reaped: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True once the program is a zombie: it has ended, and was not reaped.
    pub fn has_ended(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
    }

    /// Writes a line to the program's stdin.
    pub fn say(&mut self, line: &str) {
        match (&mut self.terminal, &mut self.child.stdin) {
            (Some(terminal), _) => writeln!(terminal, "{line}").expect("the terminal is open"),
            (None, stdin) => writeln!(stdin.as_mut().expect("piped"), "{line}").expect("the program reads"),
        }
    }

    /// Presses Ctrl and this letter at its terminal.
    pub fn press_control(&mut self, letter: u8) {
        let terminal = self.terminal.as_mut().expect("the program was started at a terminal");
        terminal.write_all(&[letter & 0x1f]).expect("the terminal is open");
    }

    /// Waits for a line with this beginning, and returns its rest.
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

    /// What it has written to its standard error by now.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The processes of this run: the first fields of `/proc/PID/stat` of each.
    pub fn left(&self) -> Vec<String> {
        self.processes().into_iter().map(|process| process.words).collect()
    }

    /// The process of this run with this name.
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
                // The init process will reap zombies that it has inherited.
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

    /// Sends a signal to one of its processes.
    pub fn signal(&self, pid: u32, signal: i32) {
        // SAFETY: a system call that takes no pointer.
        unsafe { libc::kill(pid as i32, signal) };
    }

    /// Allows this process to outlive the program. It is killed at the end of the test.
    pub fn forgive(&mut self, pid: u32) {
        self.forgiven.push(pid);
    }

    /// Kills the program with SIGKILL, as the kernel's out-of-memory killer does.
    #[track_caller]
    pub fn kill(&mut self) {
        self.child.kill().expect("the program can be killed");
        self.child.wait().expect("the program can be reaped");
        self.reaped = true;
    }

    /// Waits until no process of this run is left.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert!(comes_true(|| self.left().is_empty()), "processes are left: {:#?}", self.left());
    }

    /// Waits until the program and its output have ended and no process of this run is left.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let mut status = None;
        if !self.reaped {
            let ended = comes_true(|| {
                status = self.child.try_wait().expect("the program can be reaped");
                status.is_some()
            });
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            assert!(ended, "the program hangs; stdout: {stdout}; stderr: {stderr}; processes: {:#?}", self.left());
            self.reaped = true;
        }
        self.assert_nothing_left();
        assert!(
            comes_true(|| self.stdout.has_ended() && self.stderr.has_ended()),
            "a process still has the output open"
        );
        let status = status.unwrap_or_else(|| ExitStatus::from_raw(libc::SIGKILL));
        Outcome { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.forgiven.clear();
        for process in self.processes() {
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::kill(process.pid as i32, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

struct Found {
    pid: u32,
    words: String,
}

/// The output of a program, read by a thread as it comes.
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
                bytes.lock().expect("no thread panics with the lock").extend_from_slice(&chunk[..length]);
            }
            ended.store(true, Ordering::Release);
        });
        stream
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no thread panics with the lock")).into_owned()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
