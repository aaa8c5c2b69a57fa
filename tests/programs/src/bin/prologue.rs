//! Asks a worker about its state: `prologue HOW…`. Each HOW sets something up in this process before the pool starts. Prints
//! a line for each question.
//!
//! Descriptors 1 and 2 may be closed then, so the answers are written to a copy of stdout.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use multicore_programs::outcome_of;
use std::ffi::c_int;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::FromRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

type Question = (&'static str, fn(()) -> String);

const QUESTIONS: [Question; 26] = [
    ("SIGPIPE", |()| disposition(libc::SIGPIPE)),
    ("SIGUSR1", |()| disposition(libc::SIGUSR1)),
    ("SIGCHLD", |()| disposition(libc::SIGCHLD)),
    ("SIGHUP", |()| disposition(libc::SIGHUP)),
    ("SIGTERM", |()| disposition(libc::SIGTERM)),
    ("SIGINT", |()| disposition(libc::SIGINT)),
    ("SIGTTOU", |()| disposition(libc::SIGTTOU)),
    ("SIGTTIN", |()| disposition(libc::SIGTTIN)),
    ("blocked signals", |()| status("SigBlk").trim_start_matches('0').to_string()),
    ("stdin", |()| link(0)),
    ("open", |()| format!("{:?}", open_below_3())),
    ("descriptors", |()| descriptors()),
    ("name", |()| fs::read_to_string("/proc/self/comm").unwrap_or_default().trim().to_string()),
    ("group", |()| own(own_group())),
    ("death signal", |()| death_signal()),
    ("parent", |()| parent_name()),
    ("arguments", |()| format!("{:?}", std::env::args().skip(1).collect::<Vec<_>>())),
    ("directory", |()| std::env::current_dir().unwrap_or_default().display().to_string()),
    ("umask", |()| status("Umask")),
    ("setting", |()| std::env::var("PROLOGUE_SETTING").unwrap_or_default()),
    ("later setting", |()| std::env::var("PROLOGUE_LATER").unwrap_or_default()),
    ("marker", |()| format!("{:?}", std::env::var_os("MULTICORE_FORK_SERVER"))),
    ("out of memory", |()| score(&fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default())),
    ("a task in a worker", |()| nested()),
    ("preload", |()| {
        format!("{}, in the fork server: {}", held(&PRELOADED), PRELOADED_BY.load(Ordering::Relaxed) == parent())
    }),
    ("start", |()| {
        format!("{}, in this worker: {}", held(&STARTED), STARTED_BY.load(Ordering::Relaxed) == std::process::id())
    }),
];

/// Each ends the worker or the piece; the pool continues to work.
const FAILURES: [Question; 6] = [
    ("stack overflow", |()| deeper(1).to_string()),
    ("bad address", |()| write_to_nowhere()),
    ("panic", |()| panic!("a piece of its own")),
    ("abort", |()| std::process::abort()),
    ("exit", |()| std::process::exit(3)),
    ("still well", |()| "it is".to_string()),
];

static PRELOADED: Mutex<String> = Mutex::new(String::new());
static PRELOADED_BY: AtomicU32 = AtomicU32::new(0);
static STARTED: Mutex<String> = Mutex::new(String::new());
static STARTED_BY: AtomicU32 = AtomicU32::new(0);

fn main() {
    // SAFETY: the call returns a new descriptor, which has no other owner.
    let mut answers = unsafe { File::from_raw_fd(libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 100)) };
    let mut say = move |name: &str, answer: &str| writeln!(answers, "{name}: {answer}").expect("the test reads");
    for how in std::env::args().skip(1) {
        set_up(&how);
    }
    let pool = Pool::builder()
        .workers(1)
        .preload_with(
            |value: String| {
                *PRELOADED.lock().expect("one thread") = value;
                PRELOADED_BY.store(std::process::id(), Ordering::Relaxed);
            },
            "for all".to_string(),
        )
        .on_worker_start_with(
            |value: String| {
                *STARTED.lock().expect("one thread") = value;
                STARTED_BY.store(std::process::id(), Ordering::Relaxed);
            },
            "for each".to_string(),
        )
        .on_worker_exit_with(|value: String| print!("{value}"), "leaving: of its own\n".to_string())
        .build()
        .expect("a pool can run here");
    // SAFETY: no other thread reads the environment.
    unsafe { std::env::set_var("PROLOGUE_LATER", "seen") };
    std::env::set_current_dir("/").expect("it is there");
    for (name, question) in QUESTIONS.into_iter().chain(FAILURES) {
        let outcome = outcome_of(|| {
            let task: Task<String> = pool.try_task().expect("the pool is open");
            task.call(question, ());
            task
        });
        match outcome {
            Ok(answer) => say(name, &answer),
            Err(error) if error.cause().is_some() => say(name, &format!("{:?}", error.cause())),
            Err(error) => say(name, &error.to_string()),
        }
    }
    pool.shutdown();
}

fn set_up(how: &str) {
    // SAFETY: this is the only thread, and it does not depend on what the calls change.
    unsafe {
        match how {
            "sigpipe-default" => drop(libc::signal(libc::SIGPIPE, libc::SIG_DFL)),
            "ignore" => {
                for signal in [libc::SIGUSR1, libc::SIGCHLD, libc::SIGHUP] {
                    libc::signal(signal, libc::SIG_IGN);
                }
            }
            "handle" => drop(libc::signal(libc::SIGUSR1, nothing as *const () as usize)),
            "block" => {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&mut all);
                libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
            }
            "close" => {
                libc::close(0);
                libc::close(1);
                libc::close(2);
            }
            "open" => {
                // Without close-on-exec: workers must not have them all the same.
                libc::dup2(1, 50);
                libc::dup2(1, 60);
            }
            "oom" => fs::write("/proc/self/oom_score_adj", "700").expect("a process may raise its own score"),
            "umask" => drop(libc::umask(0o027)),
            "usr" => std::env::set_current_dir("/usr").expect("it is there"),
            "setting" => std::env::set_var("PROLOGUE_SETTING", "as set"),
            other => panic!("{other} is not a known set-up"),
        }
    }
}

extern "C" fn nothing(_: c_int) {}

fn disposition(signal: c_int) -> String {
    // SAFETY: a query, which writes to the action.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action);
        action.sa_sigaction
    };
    let word = match action {
        libc::SIG_DFL => "default",
        libc::SIG_IGN => "ignored",
        _ => "handled",
    };
    word.to_string()
}

fn status(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_string()
}

fn link(fd: c_int) -> String {
    fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default().display().to_string()
}

fn open_below_3() -> Vec<c_int> {
    // SAFETY: a query.
    (0..3).filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1).collect()
}

/// The open descriptors above the standard streams, without that of the listing itself. Files of this process say so, and a socket has no
/// number.
fn descriptors() -> String {
    let listed = fs::read_dir("/proc/self/fd").expect("there is /proc").flatten();
    let fds = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<c_int>().ok());
    let named = |name: String| if name.starts_with("socket:") { "socket".to_string() } else { name };
    let names = fds.filter(|&fd| fd > 2).map(link).filter(|name| !name.ends_with("/fd"));
    let mut names: Vec<String> = names.map(named).collect();
    names.sort();
    names.join(" ").replace(&format!("/proc/{}/", std::process::id()), "/proc/self/")
}

fn own_group() -> u32 {
    // SAFETY: a query.
    unsafe { libc::getpgrp() as u32 }
}

fn own(pid: u32) -> String {
    (if pid == std::process::id() { "its own" } else { "another's" }).to_string()
}

fn death_signal() -> String {
    let mut signal: c_int = 0;
    // SAFETY: a query, which writes to the number.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
    signal.to_string()
}

fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

fn parent_name() -> String {
    fs::read_to_string(format!("/proc/{}/comm", parent())).unwrap_or_default().trim().to_string()
}

fn score(text: &str) -> String {
    let word = match text.trim().parse::<i32>() {
        Ok(1000) => "preferred to all",
        Ok(500..) => "preferred",
        _ => text,
    };
    word.to_string()
}

fn nested() -> String {
    let kind = |result: Result<(), multicore::Error>| result.err().map(|error| error.kind());
    let global = kind(Task::<u32>::try_new().map(drop));
    let built = kind(Pool::builder().workers(1).build().map(drop));
    let made_global = kind(Pool::builder().workers(1).build_global());
    format!("{} {global:?} {built:?} {made_global:?}", Task::<u32>::new().is_none())
}

fn held(text: &Mutex<String>) -> String {
    text.lock().expect("one thread").clone()
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    deeper(depth + 1) + frame[(depth % 64) as usize]
}

fn write_to_nowhere() -> String {
    let address = std::hint::black_box(std::ptr::without_provenance_mut::<u64>(16));
    // SAFETY: none, on purpose: the question asks for this fault.
    unsafe { address.write_volatile(1) };
    "written".to_string()
}
