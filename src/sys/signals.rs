//! The signals of this process: which are blocked, ignored and sent by the kernel, and the timers that end
//! this process or a call that sleeps.

#![allow(unsafe_code)]

#[cfg(feature = "signal")]
use super::event::Kick;
use super::{proc, process};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
#[cfg(feature = "signal")]
use std::sync::Arc;
#[cfg(feature = "signal")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The terminal's signals to processes in its background.
const OF_TERMINAL: [c_int; 2] = [libc::SIGTTOU, libc::SIGTTIN];

/// Replaces this thread's set of blocked signals, and gives the former one.
fn set_blocked(set: &libc::sigset_t) -> libc::sigset_t {
    let mut former = MaybeUninit::zeroed();
    // SAFETY: one set is valid for reading, the other for writing.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, former.as_mut_ptr()) };
    // SAFETY: a set is an array of integers: zeroed it is valid, and so it is as the call left it.
    unsafe { former.assume_init() }
}

/// All signals are blocked in this thread as long as this value lives.
pub(crate) struct BlockedSignals {
    former: libc::sigset_t,
    /// Another thread must not restore them.
    _this_thread: PhantomData<*const ()>,
}

impl BlockedSignals {
    pub(crate) fn new() -> Self {
        let mut all = MaybeUninit::zeroed();
        // SAFETY: the set is valid for writing.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: a set is an array of integers, and all of it was zeroed or filled.
        let all = unsafe { all.assume_init() };
        BlockedSignals { former: set_blocked(&all), _this_thread: PhantomData }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        set_blocked(&self.former);
    }
}

/// What is done when a signal comes to this process, beside what was done before, until this is dropped.
#[cfg(feature = "signal")]
#[derive(Debug)]
pub(crate) struct SignalAction(signal_hook_registry::SigId);

#[cfg(feature = "signal")]
impl SignalAction {
    /// Sets the word and wakes the thread that the kick wakes.
    pub(crate) fn new(signal: c_int, asked: Arc<AtomicBool>, kick: Arc<Kick>) -> std::io::Result<Self> {
        if signal_hook_registry::FORBIDDEN.contains(&signal) {
            return Err(rustix::io::Errno::INVAL.into());
        }
        let owner = process::number();
        let act = move || {
            // In a child that was forked the descriptors are this process's.
            if process::is_current(owner) {
                // Relaxed: the word is all that there is to see. A system call, and what it wakes, come after it.
                asked.store(true, Relaxed);
                kick.signal();
            }
        };
        // SAFETY: `act` may run in a signal handler: it reads and writes words that are there already, and makes one system call,
        // epoll_ctl. It allocates nothing, takes no lock and does not panic.
        unsafe { signal_hook_registry::register(signal, act) }.map(SignalAction)
    }
}

#[cfg(feature = "signal")]
impl Drop for SignalAction {
    fn drop(&mut self) {
        signal_hook_registry::unregister(self.0);
    }
}

/// Unblocks all signals of this thread.
pub(crate) fn unblock_all() {
    let mut none = MaybeUninit::zeroed();
    // SAFETY: the set is valid for writing.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: a set is an array of integers, and all of it is zero.
    set_blocked(&unsafe { none.assume_init() });
}

/// Sets what a signal does to one of the two predefined actions, and gives the former action.
fn set_action(signal: c_int, action: libc::sighandler_t) -> libc::sighandler_t {
    assert!(action == libc::SIG_IGN || action == libc::SIG_DFL);
    // SAFETY: neither action calls code (asserted); a signal that cannot be ignored makes it fail.
    unsafe { libc::signal(signal, action) }
}

/// Ignores SIGCHLD, as the host does.
pub(crate) fn ignore_children() {
    set_action(libc::SIGCHLD, libc::SIG_IGN);
}

/// Lets SIGCHLD do what it does by default, so that children can be reaped; true if it was ignored.
pub(crate) fn stop_ignoring_children() -> bool {
    set_action(libc::SIGCHLD, libc::SIG_DFL) == libc::SIG_IGN
}

/// Ignores the terminal's signals to processes in its background.
pub(crate) fn ignore_terminal() {
    for signal in OF_TERMINAL {
        set_action(signal, libc::SIG_IGN);
    }
}

/// Gives the terminal's signals their default actions in children of this process, which would inherit that
/// it ignores them. What is started without a fork (posix_spawn(3)) inherits it all the same.
pub(crate) fn children_obey_terminal() {
    extern "C" fn obey() {
        for signal in OF_TERMINAL {
            set_action(signal, libc::SIG_DFL);
        }
    }
    // SAFETY: the function lives as long as the program, and signal(2), the only call that it makes, is one
    // that a child of a process with threads may make too.
    unsafe { libc::pthread_atfork(None, None, Some(obey)) };
}

/// The signals that are sent to all processes of a program at once, by service managers, batch systems and `kill 0`. By default
/// they end a process.
const TO_ALL: [c_int; 5] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2];

/// The process that decides; 0: there is none that can be seen.
static HOST: AtomicI32 = AtomicI32::new(0);

/// The process that does as the host does. What it forks has the handler too, and must not: who made it may end it.
static FOLLOWER: AtomicI32 = AtomicI32::new(0);

/// Makes the host decide about the signals [`TO_ALL`], as it does about the keys of its terminal: it may handle one and finish
/// what runs, and must not lose its workers then. A signal that the host handles, ignores or blocks when it comes does nothing
/// here; one that would end the host ends this process. A process that is forked from this one has the default actions, by way
/// of the same handler, unless it calls [`this_process_follows_host`] too.
///
/// A handler does that, not SIG_IGN: what a piece executes then begins with the default action. Signals that were ignored when
/// this program was started, and those with a handler of the user's, stay as they are.
pub(crate) fn follow_host(host: Option<u32>) {
    HOST.store(host.and_then(|host| i32::try_from(host).ok()).unwrap_or(0), Relaxed);
    this_process_follows_host();
    for signal in TO_ALL {
        let mut action = action_of(signal);
        if action.sa_sigaction != libc::SIG_DFL {
            continue;
        }
        action.sa_sigaction = do_as_the_host as *const () as usize;
        // A piece may run on a small stack.
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        // SAFETY: the handler has the type of one without SA_SIGINFO, and does only what a handler may.
        unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    }
}

/// Says that this process, forked from one that called [`follow_host`], is a process of ours.
pub(crate) fn this_process_follows_host() {
    FOLLOWER.store(own_pid(), Relaxed);
}

fn own_pid() -> i32 {
    process::own_pid().as_raw_nonzero().get()
}

/// Where nothing is known of the host, the signal does nothing: if it ended the host, this process ends with it.
extern "C" fn do_as_the_host(signal: c_int) {
    // SAFETY: the thread's own variable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above: valid as long as the thread lives.
    let saved = unsafe { *errno };
    let ends_host = || {
        let signals = proc::signals_that_do_not_end(HOST.load(Relaxed));
        signals.is_some_and(|signals| signals & 1_u64 << (signal - 1) == 0)
    };
    if FOLLOWER.load(Relaxed) != own_pid() || ends_host() {
        set_action(signal, libc::SIG_DFL);
        // It comes when this handler returns.
        // SAFETY: raise(3) is allowed in a handler.
        unsafe { libc::raise(signal) };
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// What a signal does now.
fn action_of(signal: c_int) -> libc::sigaction {
    let mut action = MaybeUninit::zeroed();
    // SAFETY: null changes nothing, and the action is valid for writing.
    unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the type consists of integers and of pointers that may be null.
    unsafe { action.assume_init() }
}

/// Not in the headers of every C library; see fcntl(2).
const F_SETSIG: c_int = 10;

/// Makes the kernel send SIGCONT to this process whenever something comes on a socket or its other end is
/// closed. If this process is stopped it would notice neither.
pub(crate) fn continue_on_news(socket: impl AsFd) {
    let fd = socket.as_fd().as_raw_fd();
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: sets the owner of a descriptor that is open (borrowed), to this process.
    unsafe { libc::fcntl(fd, libc::F_SETOWN, own_pid) };
    // SAFETY: sets the signal of the same descriptor; SIGCONT of a process that runs does nothing.
    unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGCONT) };
    if let Ok(flags) = rustix::fs::fcntl_getfl(&socket) {
        // Where a sandbox forbids it, only a stopped fork server is the worse: the parent kills it when it is overdue.
        let _ = rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::ASYNC);
    }
}

/// A timer whose signal, SIGRTMAX, runs a handler of this file.
struct Timer {
    timer: libc::timer_t,
    former: libc::sigaction,
}

/// Whom a timer's signal goes to.
enum Recipient {
    AnyThread,
    ThisThread,
}

impl Timer {
    /// Its signal comes after `first_ns` and then each `interval_ns`, if that is not 0. `flags` are those of the
    /// handler. `None` if the system has no timer to give.
    fn start(
        handler: extern "C" fn(c_int),
        flags: c_int,
        recipient: Recipient,
        (first_ns, interval_ns): (libc::c_long, libc::c_long),
    ) -> Option<Self> {
        // SAFETY: the type consists of integers and of pointers that may be null.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags;
        let former = replace_handler(&action);
        // SAFETY: as above.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_signo = libc::SIGRTMAX();
        match recipient {
            Recipient::AnyThread => event.sigev_notify = libc::SIGEV_SIGNAL,
            Recipient::ThisThread => {
                event.sigev_notify = libc::SIGEV_THREAD_ID;
                event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
            }
        }
        let mut timer = ptr::null_mut();
        // SAFETY: `event` is valid for reading, `timer` for writing.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) } != 0 {
            replace_handler(&former);
            return None;
        }
        let time = |ns: libc::c_long| libc::timespec { tv_sec: ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 };
        let times = libc::itimerspec { it_interval: time(interval_ns), it_value: time(first_ns) };
        // SAFETY: the timer was just made, and `times` is valid for reading.
        unsafe { libc::timer_settime(timer, 0, &times, ptr::null_mut()) };
        Some(Timer { timer, former })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is this value's own, and nothing uses it later.
        unsafe { libc::timer_delete(self.timer) };
        // A signal of the timer that is still pending is dropped by this.
        set_action(libc::SIGRTMAX(), libc::SIG_IGN);
        replace_handler(&self.former);
    }
}

/// Sets the handler of SIGRTMAX, and gives the former action.
fn replace_handler(action: &libc::sigaction) -> libc::sigaction {
    let mut former = MaybeUninit::zeroed();
    // SAFETY: one action is valid for reading, the other for writing. The handler is one of this file, which
    // does only what a handler may, or one that this process had before.
    unsafe { libc::sigaction(libc::SIGRTMAX(), action, former.as_mut_ptr()) };
    // SAFETY: the type consists of integers and of pointers that may be null.
    unsafe { former.assume_init() }
}

/// Checks every 250 ms, by way of a signal, whether another process is gone. If it is, this process ends
/// at once, with its group if it leads that. It is for the time in which code of the user's runs and
/// this process waits for nothing. It does nothing while that code blocks all signals.
pub(crate) struct DeathTimer<'a> {
    _timer: Timer,
    _watched: PhantomData<BorrowedFd<'a>>,
}

/// The descriptor that the handler looks at.
static WATCHED: AtomicI32 = AtomicI32::new(-1);

/// An orphan runs at most 250 ms longer. With a tenth, 40 signals a second would interrupt the user's system
/// calls; with ten times, its files and locks would stay taken for seconds.
const INTERVAL_NS: libc::c_long = 250_000_000;

impl<'a> DeathTimer<'a> {
    /// Watches `pidfd`; `None` if the system has no timer to give.
    pub(crate) fn start(pidfd: BorrowedFd<'a>) -> Option<Self> {
        WATCHED.store(pidfd.as_raw_fd(), Relaxed);
        let times = (INTERVAL_NS, INTERVAL_NS);
        let timer = Timer::start(end_if_gone, libc::SA_RESTART, Recipient::AnyThread, times)?;
        Some(DeathTimer { _timer: timer, _watched: PhantomData })
    }
}

/// Makes only system calls, none of which touches `errno`.
extern "C" fn end_if_gone(_: c_int) {
    // SAFETY: the watched descriptor is open for as long as the handler is installed (`DeathTimer` borrows it).
    let watched = unsafe { BorrowedFd::borrow_raw(WATCHED.load(Relaxed)) };
    let mut watched = [PollFd::from_borrowed_fd(watched, PollFlags::IN)];
    let without_sleep = Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut watched, Some(&without_sleep)) == Ok(1) && watched[0].revents().contains(PollFlags::IN)
    {
        process::end_with_group();
    }
}

/// Half of the longest time that a write without progress may take. One that has written a part is interrupted by the
/// first signal and tried again by C's stdio, and then ended by the second.
const WRITE_PATIENCE_NS: libc::c_long = 50_000_000;

/// Runs `act`, in which a system call of this thread that makes no progress for 50 to 100 ms fails with EINTR. `None`,
/// and `act` has not run, if the system has no timer to give.
pub(crate) fn without_endless_calls<T>(act: impl FnOnce() -> T) -> Option<T> {
    /// Its arrival alone ends the call.
    extern "C" fn interrupt(_: c_int) {}
    let unblocked = UnblockedTimer::new();
    let timer = Timer::start(interrupt, 0, Recipient::ThisThread, (WRITE_PATIENCE_NS, WRITE_PATIENCE_NS))?;
    let value = act();
    drop(timer);
    drop(unblocked);
    Some(value)
}

/// This process ends with code 0 after this time, whatever it waits for by then.
pub(crate) fn exit_within(time: Duration) {
    extern "C" fn exit(_: c_int) {
        process::exit_now(0);
    }
    let first_ns = libc::c_long::try_from(time.as_nanos()).unwrap_or(libc::c_long::MAX);
    // Both stay as they are until the end.
    std::mem::forget(UnblockedTimer::new());
    std::mem::forget(Timer::start(exit, 0, Recipient::ThisThread, (first_ns, 0)));
}

/// SIGRTMAX is not blocked in this thread as long as this value lives: a piece may have blocked it.
struct UnblockedTimer {
    former: libc::sigset_t,
}

impl UnblockedTimer {
    fn new() -> Self {
        let mut timer = MaybeUninit::zeroed();
        // SAFETY: the set is valid for writing.
        unsafe { libc::sigemptyset(timer.as_mut_ptr()) };
        // SAFETY: the same set, which is empty now.
        unsafe { libc::sigaddset(timer.as_mut_ptr(), libc::SIGRTMAX()) };
        let mut former = MaybeUninit::zeroed();
        // SAFETY: one set is valid for reading, the other for writing.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, timer.as_ptr(), former.as_mut_ptr()) };
        // SAFETY: a set is an array of integers: zeroed it is valid, and so it is as the call left it.
        UnblockedTimer { former: unsafe { former.assume_init() } }
    }
}

impl Drop for UnblockedTimer {
    fn drop(&mut self) {
        set_blocked(&self.former);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_timer_leaves_a_process_alone_whose_parent_lives() {
        let pidfd = process::own_pidfd().unwrap();
        let timer = DeathTimer::start(pidfd.as_fd()).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(timer);
    }
}
