//! Failpoints: steps at which tests kill, stop or delay the process that reaches them.
//!
//! Each step of a piece's life has one, on both sides; ARCHITECTURE.md lists them. Only the crate's
//! own tests have them compiled in: the test binary is a host, a fork server and workers like any other.
//! A variable of the environment says what is to happen, so it holds in all processes of a run:
//!
//! `MULTICORE_FAILPOINT=worker-claimed/kill/3/1/DIRECTORY`: a process that reaches `worker-claimed` for the
//! third time in its life is killed, but only one process in the whole run. A file in the directory
//! says so, with the process id. `*/trace/…` writes each step that was reached into the file `trace`.

/// Names a step. In all builds but the crate's own tests it is nothing.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(all(test, debug_assertions, not(any(miri, loom))))]
        $crate::failpoint::reach($name);
    };
    // With code that runs instead of the next step, where a test wants an error.
    ($name:literal, $instead:expr) => {
        #[cfg(all(test, debug_assertions, not(any(miri, loom))))]
        if $crate::failpoint::fails($name) {
            $instead
        }
    };
}

pub(crate) use failpoint;

#[cfg(all(test, debug_assertions, not(any(miri, loom))))]
pub(crate) use self::armed::{VARIABLE, fails, reach};

#[cfg(all(test, debug_assertions, not(any(miri, loom))))]
mod armed {
    use rustix::process::{Signal, getpid, kill_process};
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    pub(crate) const VARIABLE: &str = "MULTICORE_FAILPOINT";

    /// What is to happen, at which step, and how often.
    struct Plan {
        name: String,
        action: Action,
        /// It happens when a process reaches the step for this time, counted from 1.
        hit: u32,
        /// It happens in this number of processes at most.
        times: u32,
        directory: PathBuf,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Action {
        Kill,
        Stop,
        Delay,
        Error,
        Trace,
    }

    fn plan() -> Option<&'static Plan> {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        let read = || {
            let text = std::env::var(VARIABLE).ok()?;
            let mut fields = text.splitn(5, '/');
            let mut field = || fields.next().unwrap_or_else(|| panic!("{VARIABLE}={text} lacks a field"));
            let name = field().to_string();
            let action = match field() {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                "delay" => Action::Delay,
                "error" => Action::Error,
                "trace" => Action::Trace,
                other => panic!("{VARIABLE}: there is no action {other:?}"),
            };
            let mut number = || field().parse().unwrap_or_else(|_| panic!("{VARIABLE}={text}: not a number"));
            Some(Plan { name, action, hit: number(), times: number(), directory: PathBuf::from(field()) })
        };
        PLAN.get_or_init(read).as_ref()
    }

    /// True if it is to happen now, at this step of this process.
    fn is_due(plan: &Plan, name: &str) -> bool {
        static HITS: AtomicU32 = AtomicU32::new(0);
        plan.name == name
            && HITS.fetch_add(1, Ordering::Relaxed) + 1 == plan.hit
            && (0..plan.times).any(|turn| {
                let file = plan.directory.join(format!("fired-{turn}"));
                let file = OpenOptions::new().write(true).create_new(true).open(file);
                file.is_ok_and(|mut file| write!(file, "{}", getpid().as_raw_nonzero()).is_ok())
            })
    }

    /// This process has reached that step.
    pub(crate) fn reach(name: &'static str) {
        let Some(plan) = plan() else { return };
        if plan.action == Action::Trace {
            let trace = OpenOptions::new().append(true).create(true).open(plan.directory.join("trace"));
            let _ = trace.and_then(|mut trace| trace.write_all(format!("{name}\n").as_bytes()));
            return;
        }
        if !is_due(plan, name) {
            return;
        }
        match plan.action {
            Action::Kill => {
                let _ = kill_process(getpid(), Signal::KILL);
            }
            Action::Stop => {
                let _ = kill_process(getpid(), Signal::STOP);
            }
            Action::Delay => std::thread::sleep(Duration::from_millis(20)),
            Action::Error | Action::Trace => {}
        }
    }

    /// The same at a step that can fail: true if it is to fail.
    pub(crate) fn fails(name: &'static str) -> bool {
        let Some(plan) = plan() else { return false };
        if plan.action == Action::Error {
            return is_due(plan, name);
        }
        reach(name);
        false
    }
}

#[cfg(all(test, debug_assertions, target_os = "linux", not(any(miri, loom))))]
pub(crate) mod tests;
