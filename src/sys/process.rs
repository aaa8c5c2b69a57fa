//! Starting, forking, watching and reaping processes.

#![allow(unsafe_code)]

use crate::failpoint::failpoint;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicPtr};

/// What the fork server is started with: as the parent was when its pool first started.
#[derive(Debug)]
pub(crate) struct Launch {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: Option<OwnedFd>,
    /// The file mode mask, once a first start has told it. A process cannot ask for its own without
    /// a moment of another, but a child of it can.
    mask: OnceLock<libc::mode_t>,
    /// Descriptors that the workers shall have, and under which numbers. They are kept beyond those, so
    /// that none takes another's place.
    passed: Vec<(RawFd, OwnedFd)>,
}

impl Launch {
    /// Of this process, as it is now. `without` is a variable to leave out.
    pub(crate) fn capture(without: &str, passed: Vec<(RawFd, OwnedFd)>) -> rustix::io::Result<Self> {
        let c_string = |bytes: Vec<u8>| CString::new(bytes).ok();
        let arguments = std::env::args_os().filter_map(|argument| c_string(argument.as_bytes().to_vec())).collect();
        let environment = std::env::vars_os()
            .filter(|(name, _)| name != without)
            .filter_map(|(name, value)| c_string([name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let directory = rustix::fs::open(".", flags, rustix::fs::Mode::empty()).and_then(above_standard_streams).ok();
        let mut launch = Launch { arguments, environment, directory, mask: OnceLock::new(), passed: Vec::new() };
        let beyond = passed.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        let keep = |(number, fd): (RawFd, OwnedFd)| Ok((number, rustix::io::fcntl_dupfd_cloexec(&fd, beyond)?));
        launch.passed = passed.into_iter().map(keep).collect::<rustix::io::Result<_>>()?;
        Ok(launch)
    }

    /// The same descriptor under a number that no passed one needs.
    pub(crate) fn beyond_passed(&self, fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
        match self.passed.iter().map(|(number, _)| *number).max() {
            Some(last) if fd.as_raw_fd() <= last => rustix::io::fcntl_dupfd_cloexec(&fd, last + 1),
            _ => Ok(fd),
        }
    }
}

/// Everything that the two processes between this one and the new image read. They share this
/// process's memory, so nothing may be allocated or locked there: it is all made before.
struct Start {
    path: *const c_char,
    /// Where the program was started from: tried where there is no /proc. What runs then may be another
    /// image, and says so.
    name: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    directory: c_int,
    mask: Option<libc::mode_t>,
    socket: c_int,
    passed: *const (c_int, c_int),
    passed_count: usize,
    stack: *mut c_void,
    pidfd: c_int,
    pid: c_int,
    error: c_int,
}

const STACK_BYTES: usize = 64 * 1024;

/// Starts this process's own image once more, with `variable` added to the environment and
/// `socket` open under the same number, and no other descriptor above 2. Gives its pid and its pidfd.
///
/// The image is a grandchild: a process between, with no exit signal, starts it and is gone at
/// once. So no wait call of the host, and no SIGCHLD, ever tells of it. Neither copies the host's
/// memory, whatever its size: both run in it, on stacks of their own, while this thread stands
/// still (as `vfork` does).
pub(crate) fn start_image(launch: &Launch, variable: CString, socket: BorrowedFd<'_>) -> io::Result<(u32, OwnedFd)> {
    let pointers = |strings: &[CString], last: Option<&CString>| -> Vec<*const c_char> {
        let all = strings.iter().chain(last).map(|string| string.as_ptr());
        all.chain([std::ptr::null()]).collect()
    };
    let arguments = pointers(&launch.arguments, None);
    let environment = pointers(&launch.environment, Some(&variable));
    let passed: Vec<(c_int, c_int)> = launch.passed.iter().map(|(number, fd)| (*number, fd.as_raw_fd())).collect();
    let stacks = memmap2::MmapOptions::new().len(2 * STACK_BYTES).map_anon()?;
    // SAFETY: the end of the mapping, which lives until both are gone.
    let top = unsafe { stacks.as_ptr().add(2 * STACK_BYTES) }.cast_mut();
    let mut start = Start {
        path: c"/proc/self/exe".as_ptr(),
        // SAFETY: reads the auxiliary vector.
        name: unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char,
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        directory: launch.directory.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        mask: launch.mask.get().copied(),
        socket: socket.as_raw_fd(),
        passed: passed.as_ptr(),
        passed_count: passed.len(),
        // SAFETY: the middle of the two stacks.
        stack: unsafe { top.sub(STACK_BYTES) }.cast(),
        pidfd: -1,
        pid: 0,
        error: 0,
    };
    let signals = BlockedSignals::new();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    // SAFETY: the stack is ours and large enough for what `between` calls; CLONE_VFORK holds this
    // thread until the child has exited, so `start` and the stacks outlive it; all signals are
    // blocked, so no handler of the host runs there.
    let pid = unsafe { libc::clone(between, top.cast(), flags, (&raw mut start).cast()) };
    let failed = (pid == -1).then(io::Error::last_os_error);
    drop(signals);
    if let Some(error) = failed {
        return Err(error);
    }
    // SAFETY: waits for the child just made; `__WCLONE` since its exit signal is none.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WCLONE) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    if start.pidfd == -1 {
        return Err(match start.error {
            0 => io::Error::other("the process between was killed"),
            error => io::Error::from_raw_os_error(error),
        });
    }
    // SAFETY: the kernel put it into our table, and nobody else knows of it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(start.pidfd) };
    if let Some(mask) = start.mask {
        launch.mask.get_or_init(|| mask);
    }
    if start.error != 0 {
        return Err(io::Error::from_raw_os_error(start.error));
    }
    Ok((start.pid as u32, above_standard_streams(pidfd)?))
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// In the process between. It shares memory and descriptors with the host, so the pidfd that the
/// kernel makes is the host's.
extern "C" fn between(start: *mut c_void) -> c_int {
    // SAFETY: `start_image` passes its `Start` and waits; nobody else touches it.
    let start = unsafe { &mut *start.cast::<Start>() };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let pidfd = &raw mut start.pidfd;
    failpoint!("between-started");
    // SAFETY: as in `start_image`, one generation further.
    start.pid = unsafe { libc::clone(new_image, start.stack, flags, std::ptr::from_mut(start).cast(), pidfd) };
    if start.pid == -1 {
        start.error = errno();
    }
    failpoint!("between-ending");
    0
}

/// In the process that becomes the fork server: memory still the host's, descriptors its own.
extern "C" fn new_image(start: *mut c_void) -> c_int {
    // SAFETY: `between` passes it on and waits.
    let start = unsafe { &mut *start.cast::<Start>() };
    // SAFETY: system calls with valid arguments, none of which touches memory but `start`.
    unsafe {
        failpoint!("image-forked");
        libc::setpgid(0, 0);
        let inherited = libc::umask(0o077);
        libc::umask(*start.mask.get_or_insert(inherited));
        if start.directory != -1 {
            libc::fchdir(start.directory);
        }
        let close_on_exec = 4_u32; // CLOSE_RANGE_CLOEXEC
        if libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, close_on_exec) == -1 {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
            for fd in 3..limit.rlim_cur.min(1 << 20) as c_int {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        libc::fcntl(start.socket, libc::F_SETFD, 0);
        for index in 0..start.passed_count {
            let (number, kept) = *start.passed.add(index);
            libc::dup2(kept, number);
        }
        failpoint!("image-ready");
        libc::execve(start.path, start.arguments, start.environment);
        let error = errno();
        if error == libc::ENOENT && !start.name.is_null() {
            libc::execve(start.name, start.arguments, start.environment);
        }
        start.error = error;
        libc::_exit(127)
    }
}

/// All signals blocked in this thread, until dropped.
pub(crate) struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    pub(crate) fn new() -> Self {
        // SAFETY: both sets are valid for writing.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            BlockedSignals(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled by `new`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

/// Unblocks all signals of this thread.
pub(crate) fn unblock_signals() {
    // SAFETY: the set is valid for writing.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Ignores a signal from here on, as a terminal's to a process in the background.
pub(crate) fn ignore_signal(signal: c_int) {
    // SAFETY: SIG_IGN is valid for every signal that can be ignored.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Lets SIGCHLD do what it does by default, so that children can be reaped; true if it was ignored.
pub(crate) fn stop_ignoring_children() -> bool {
    // SAFETY: SIG_DFL is valid for every signal.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) == libc::SIG_IGN }
}

/// Lets the kernel continue this process, should it be stopped, whenever something comes on a socket or
/// its other end is closed. A stopped process would else notice neither.
pub(crate) fn continue_on_news(socket: impl AsFd) {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: settings of a descriptor that is open.
    unsafe {
        libc::fcntl(fd, libc::F_SETOWN, libc::getpid());
        libc::fcntl(fd, F_SETSIG, libc::SIGCONT);
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_ASYNC);
    }
}

/// Not in every version of the C library's headers; see fcntl(2).
const F_SETSIG: c_int = 10;

/// Which process this is after a fork.
pub(crate) enum Forked {
    Child,
    Parent(Pid),
}

/// Forks this process, which must have one thread.
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: the caller has counted its threads: with one, the child may do all that the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(Pid::from_raw(pid).expect("fork gives a positive number"))),
    }
}

/// How many threads this process has; `None` where /proc cannot tell.
pub(crate) fn thread_count() -> Option<usize> {
    // The folder has a link for each thread beside its own two: one question, where the file below takes
    // some. Not every system that has a /proc counts so.
    if rustix::fs::stat("/proc/self/task").is_ok_and(|folder| folder.st_nlink == 3) {
        return Some(1);
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

/// What a process does at this moment; `None` where /proc cannot tell.
pub(crate) fn state(pid: u32) -> Option<State> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything.
    Some(match stat.rsplit_once(')')?.1.trim_start().chars().next()? {
        'T' | 't' => State::Stopped,
        'S' => State::Sleeps,
        _ => State::Works,
    })
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// As by SIGSTOP, or under a debugger.
    Stopped,
    /// It waits for something that may never come.
    Sleeps,
    /// It computes, or the system does something for it.
    Works,
}

/// True if a process is stopped; false where /proc cannot tell.
pub(crate) fn is_stopped(pid: u32) -> bool {
    state(pid) == Some(State::Stopped)
}

/// Keeps this process, and what it starts, from leaving core files.
pub(crate) fn leave_no_core_file() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    let none = rustix::process::Rlimit { current: Some(0), ..limit };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

/// Lets the terminal's signals to the background do in children of this process what they do by default.
/// It ignores them itself, and they would inherit that. What is started without a fork (posix_spawn(3))
/// inherits it all the same.
pub(crate) fn children_heed_terminal() {
    extern "C" fn heed() {
        for signal in [libc::SIGTTOU, libc::SIGTTIN] {
            // SAFETY: always allowed, in a child of a fork too.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    // SAFETY: the function lives as long as the program.
    unsafe { libc::pthread_atfork(None, None, Some(heed)) };
}

/// A descriptor of this process that becomes readable when it is gone.
pub(crate) fn own_pidfd() -> rustix::io::Result<OwnedFd> {
    pidfd_of(rustix::process::getpid())
}

/// The pidfd of a child that is not reaped yet, or of this process.
pub(crate) fn pidfd_of(pid: Pid) -> rustix::io::Result<OwnedFd> {
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).and_then(above_standard_streams)
}

/// Kills what the pidfd stands for. If it is gone already, that is as well.
pub(crate) fn kill(pidfd: impl AsFd) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

/// Lets what the pidfd stands for go on if it is stopped; else it does not notice.
pub(crate) fn resume(pidfd: impl AsFd) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::CONT);
}

/// Kills every process of a group whose leader is not reaped yet.
pub(crate) fn kill_group(leader: Pid) {
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
}

/// Kills a child and waits until it is gone.
pub(crate) fn kill_and_reap(pid: Pid) {
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    let wait = || rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    while wait().is_err_and(|error| error == rustix::io::Errno::INTR) {}
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Ending {
    Exit(i32),
    Signal(i32),
}

/// Reaps a child that has ended; `None` while it runs.
pub(crate) fn reap(pid: Pid) -> Option<Ending> {
    loop {
        match rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some((_, status))) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Some(Ending::Exit(code)),
                    (_, Some(signal)) => Some(Ending::Signal(signal)),
                    _ => None,
                };
            }
            Ok(None) => return None,
            // Somebody in `preload` reaped it; nothing is known.
            Err(_) => return Some(Ending::Exit(-1)),
        }
    }
}

/// Waits until one of some descriptors is readable or the time has passed; true if one is.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<std::time::Duration>) -> bool {
    let deadline = timeout.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
        let left = left.and_then(|left| rustix::time::Timespec::try_from(left).ok());
        let poll = |&fd| rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN);
        let mut fds: Vec<_> = fds.iter().map(poll).collect();
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// True if a pidfd's process has ended, within this time.
pub(crate) fn has_ended(pidfd: impl AsFd, within: std::time::Duration) -> bool {
    wait_readable(&[pidfd.as_fd()], Some(within))
}

/// Opens /dev/null for each of descriptors 0 to 2 that is closed, and for 0 in any case.
pub(crate) fn settle_standard_streams() {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    // SAFETY: descriptors 0 to 2 are nobody's property, and only replaced as a whole.
    unsafe {
        if let Ok(null) = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()) {
            for fd in 0..3 {
                if fd == 0 || libc::fcntl(fd, libc::F_GETFD) == -1 {
                    libc::dup2(null.as_raw_fd(), fd);
                }
            }
            if null.as_raw_fd() < 3 {
                // It took a closed one's place, which it shall keep.
                libc::fcntl(null.as_raw_fd(), libc::F_SETFD, 0);
                std::mem::forget(null);
            }
        }
    }
}

/// The same descriptor under a number above 2. Every descriptor of ours passes here: where the host
/// has closed a standard stream, it would be taken for one.
pub(crate) fn above_standard_streams(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(&fd, 3) }
}

/// Takes over a descriptor that was inherited under this number; `None` if there is none.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    if number < 3 {
        return None;
    }
    // SAFETY: a query; any number will do.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return None;
    }
    // SAFETY: it is open (just asked), and the marker says that it is for us alone.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Removes a variable from the environment.
pub(crate) fn unset_variable(name: &std::ffi::CStr) {
    // SAFETY: called before `main`, or in the fork server, where there is one thread.
    unsafe { libc::unsetenv(name.as_ptr()) };
}

/// A variable's bytes, read without an allocation or a lock: before `main` nothing may be assumed.
pub(crate) fn early_variable(name: &std::ffi::CStr) -> Option<&'static [u8]> {
    // SAFETY: called before `main`; the pointer is null or a terminated string that lives on.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| std::ffi::CStr::from_ptr(value).to_bytes())
    }
}

/// Ends this process at once, running nothing.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// Flushes the buffers of C's stdio.
pub(crate) fn flush_c_streams() {
    // SAFETY: null stands for all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Names this thread, as `ps` and debuggers show it.
pub(crate) fn name_thread(name: &str) {
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Lets the out-of-memory killer prefer this process to the one it works for.
pub(crate) fn prefer_for_oom_kill() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// Tells the allocator to keep freed memory up to `bytes`, big blocks too.
pub(crate) fn keep_memory(bytes: usize) {
    #[cfg(target_env = "gnu")]
    // SAFETY: settings of the allocator, made before any other thread.
    unsafe {
        // A block of just that size takes a little more.
        let bytes = c_int::try_from(bytes.saturating_add(bytes / 16)).unwrap_or(c_int::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

/// A look every so often, by way of a signal, whether another process is gone; when it is, this one
/// ends at once, with its group if that is its own. For the time in which code of the user's runs
/// and nobody waits for anything. It does not act while that code blocks all signals.
pub(crate) struct DeathTimer {
    timer: libc::timer_t,
    former: libc::sigaction,
}

static WATCHED: AtomicI32 = AtomicI32::new(-1);

const LOOK_NS: libc::c_long = 250_000_000;

impl DeathTimer {
    /// Looks at `pidfd`, which the caller keeps open.
    pub(crate) fn start(pidfd: impl AsFd) -> Option<Self> {
        WATCHED.store(pidfd.as_fd().as_raw_fd(), Relaxed);
        let mut timer = std::ptr::null_mut();
        // SAFETY: all that is passed is valid for the calls, and the handler does only what one may.
        unsafe {
            let (mut action, mut former): (libc::sigaction, libc::sigaction) = std::mem::zeroed();
            action.sa_sigaction = end_if_gone as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGRTMAX(), &action, &mut former);
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGRTMAX();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) != 0 {
                return None;
            }
            let look = libc::timespec { tv_sec: 0, tv_nsec: LOOK_NS };
            let times = libc::itimerspec { it_interval: look, it_value: look };
            libc::timer_settime(timer, 0, &times, std::ptr::null_mut());
            Some(DeathTimer { timer, former })
        }
    }
}

impl Drop for DeathTimer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours, and a signal of it that is still on its way is ignored first.
        unsafe {
            libc::timer_delete(self.timer);
            libc::signal(libc::SIGRTMAX(), libc::SIG_IGN);
            libc::sigaction(libc::SIGRTMAX(), &self.former, std::ptr::null_mut());
        }
    }
}

extern "C" fn end_if_gone(_: c_int) {
    let mut watched = libc::pollfd { fd: WATCHED.load(Relaxed), events: libc::POLLIN, revents: 0 };
    // SAFETY: system calls that a handler may make; one that ends well leaves `errno` alone.
    unsafe {
        if libc::poll(&mut watched, 1, 0) == 1 {
            end_with_group();
        }
    }
}

/// Ends this process at once, and with it whatever it started that has not left its group.
pub(crate) fn end_with_group() -> ! {
    // SAFETY: system calls that a handler of signals may make too.
    unsafe {
        if libc::getpgrp() == libc::getpid() {
            libc::kill(0, libc::SIGKILL);
        }
        libc::_exit(0)
    }
}

/// Gives freed memory back to the system.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: always allowed.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A word that is 1 in this process and reads 0 in every child forked from it: told apart without
/// a system call.
pub(crate) fn is_this_process() -> bool {
    static WORD: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
    static OWNER: OnceLock<u32> = OnceLock::new();
    let owner = *OWNER.get_or_init(|| {
        // SAFETY: an anonymous page of our own.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        // SAFETY: the page just mapped.
        if page != libc::MAP_FAILED && unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) } == 0 {
            // SAFETY: as above; nobody else has it yet.
            unsafe { page.cast::<u8>().write(1) };
            WORD.store(page.cast(), Relaxed);
        }
        std::process::id()
    });
    let word = WORD.load(Relaxed);
    if word.is_null() {
        return owner == std::process::id();
    }
    // SAFETY: mapped once and never unmapped; written only before it was stored.
    unsafe { word.read_volatile() == 1 }
}

/// A descriptor that may have been inherited under this number, to look at.
pub(crate) fn borrow_inherited(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: a query; any number will do.
    if number < 3 || unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return None;
    }
    // SAFETY: it is open (just asked), and nothing closes descriptors before `main`.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}
