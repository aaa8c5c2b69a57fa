//! Starting this program once more, as the fork server.
//!
//! The new image is a grandchild: an intermediate process, which has no exit signal, starts it and ends at
//! once. So no wait call of the host, and no SIGCHLD, ever tells of either. Neither of the two processes
//! copies the host's memory, whatever its size: both run in it, on stacks of their own, while the host's
//! thread stands still (as with `vfork`).
//!
//! Invariant: the two processes allocate nothing and take no lock, since they share the host's memory with
//! its other threads. All that they read is made before, as an [`ImageStart`].

#![allow(unsafe_code)]

use super::descriptors::above_standard_streams;
use super::early_output::EarlyOutput;
use super::executable::{Executable, FileId};
use super::may_sleep::assert_may_sleep;
use super::process;
use super::raw::{self, StandardStream};
use super::rights::Rights;
use super::shared_object::{Proven, SharedObject};
use super::signals::BlockedSignals;
use crate::failpoint::failpoint;
use crate::sys::descriptors::Descriptor;
use rustix::fs::Mode;
use rustix::io::FdFlags;
use rustix::process::Pid;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// The variable in an image's environment that makes it a fork server, or a worker.
pub(crate) const MARKER: &CStr = c"MULTICORE_FORK_SERVER";

/// What every fork server of a pool is started with: the properties of this process when the pool started.
#[derive(Debug)]
pub(crate) struct Launch {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: Option<Descriptor>,
    /// The file mode mask, once the first start has found it out. A process cannot read its own without
    /// setting another for a moment, but a child of it can.
    mask: OnceLock<Mode>,
    /// Descriptors for the workers, with the numbers that they will have there. They are kept above all of
    /// these numbers, so that none takes another's place.
    passed: Vec<(RawFd, Descriptor)>,
    /// The shared object that holds this crate.
    preload: Option<SharedObject>,
}

/// What a host is started with whose `main` is never to run: if it runs all the same, since its loader did not preload, it ends
/// with a word on its usage. Its own arguments would have it do its work once more.
const OF_AN_OBJECT: &CStr = c"--multicore-fork-server";

impl Launch {
    /// The properties of this process as it is now. `without` is a variable to leave out.
    pub(crate) fn capture(without: &str, passed: Vec<(RawFd, OwnedFd)>) -> rustix::io::Result<Self> {
        assert_may_sleep();
        let c_string = |bytes: Vec<u8>| CString::new(bytes).ok();
        let arguments = std::env::args_os().filter_map(|argument| c_string(argument.as_bytes().to_vec())).collect();
        let environment = std::env::vars_os()
            .filter(|(name, _)| name != without)
            .filter_map(|(name, value)| c_string([name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let directory = rustix::fs::open(".", flags, Mode::empty()).and_then(above_standard_streams).ok();
        let mut launch =
            Launch { arguments, environment, directory, mask: OnceLock::new(), passed: Vec::new(), preload: None };
        let beyond = passed.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        let keep = |(number, fd): (RawFd, OwnedFd)| {
            Ok((number, Descriptor::from(rustix::io::fcntl_dupfd_cloexec(&fd, beyond)?)))
        };
        launch.passed = passed.into_iter().map(keep).collect::<rustix::io::Result<_>>()?;
        Ok(launch)
    }

    /// The image is to have this object, whose constructor comes before everything of the host's own.
    pub(crate) fn with_preload(mut self, mut object: Option<SharedObject>) -> Self {
        if let Some(object) = &mut object {
            object.add_to(&mut self.environment);
            // musl tells a shared object no arguments.
            self.arguments.truncate(1);
            if self.arguments.is_empty() {
                self.arguments.push(c"multicore".to_owned());
            }
            self.arguments.push(OF_AN_OBJECT.to_owned());
        }
        self.preload = object;
        self
    }

    /// The shared object that holds this crate; `None` where that is the executable.
    pub(crate) fn preload(&self) -> Option<&SharedObject> {
        self.preload.as_ref()
    }

    /// The same descriptor under a number that no passed one needs.
    pub(crate) fn beyond_passed(&self, fd: Descriptor) -> rustix::io::Result<Descriptor> {
        let first = self.first_beyond_passed();
        if fd.as_raw_fd() < first { rustix::io::fcntl_dupfd_cloexec(&fd, first).map(Descriptor::from) } else { Ok(fd) }
    }

    /// The lowest number from which on no passed descriptor has one.
    pub(crate) fn first_beyond_passed(&self) -> RawFd {
        self.passed.iter().map(|(number, _)| number + 1).max().unwrap_or(3)
    }
}

/// What the intermediate process and the new image read, and what they report.
struct ImageStart<'a> {
    executable: &'a Executable,
    preload: Option<&'a Proven<'a>>,
    /// Arguments and environment: arrays of strings that end with a null pointer.
    arguments: *const *const c_char,
    environment: *const *const c_char,
    directory: Option<BorrowedFd<'a>>,
    mask: Option<Mode>,
    socket: BorrowedFd<'a>,
    output: &'a EarlyOutput,
    /// What it reads, where its `main` could run by mistake.
    nothing: Option<BorrowedFd<'a>>,
    passed: &'a [(RawFd, Descriptor)],
    /// The upper end of the new image's stack.
    stack: *mut c_void,
    /// Reported: the pidfd and the pid of the new image (-1 and 0: none), and the error number (0: none).
    pidfd: c_int,
    pid: c_int,
    error: c_int,
}

/// The stack of each of the two processes. Both run a few functions of this file without big locals; in test
/// builds a failpoint also writes a file. A few KiB would do, and pages that are not touched cost nothing.
const STACK_BYTES: usize = 64 * 1024;

/// Starts this program once more, with `variable` added to the environment, `socket` open under the same number, `output`
/// as its standard error, and no other descriptor above 2. `executable` and `socket` have numbers beyond the passed ones. Gives the pid and the
/// pidfd.
pub(crate) fn start_image(
    launch: &Launch,
    (executable, preload): (&Executable, Option<&Proven<'_>>),
    variable: CString,
    socket: BorrowedFd<'_>,
    output: &EarlyOutput,
) -> io::Result<(u32, Descriptor)> {
    assert_may_sleep();
    let arguments = pointers(&launch.arguments, None);
    let environment = pointers(&launch.environment, Some(&variable));
    let stacks = memmap2::MmapOptions::new().len(2 * STACK_BYTES).map_anon()?;
    // SAFETY: inside the mapping, which lives until both processes have left it: the middle.
    let middle = unsafe { stacks.as_ptr().add(STACK_BYTES) }.cast_mut();
    // SAFETY: the end of the same mapping.
    let top = unsafe { middle.add(STACK_BYTES) };
    let nothing = preload.and_then(|_| std::fs::File::open("/dev/null").ok());
    let mut start = ImageStart {
        executable,
        preload,
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        directory: launch.directory.as_ref().map(AsFd::as_fd),
        mask: launch.mask.get().copied(),
        socket,
        output,
        nothing: nothing.as_ref().map(AsFd::as_fd),
        passed: &launch.passed,
        stack: middle.cast(),
        pidfd: -1,
        pid: 0,
        error: 0,
    };
    run_intermediate(&mut start, top.cast())?;
    if start.pidfd == -1 {
        return Err(match start.error {
            0 => io::Error::other("the intermediate process was killed"),
            error => io::Error::from_raw_os_error(error),
        });
    }
    // SAFETY: the kernel put it into this process's table, and nothing else knows of it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(start.pidfd) };
    if let Some(mask) = start.mask {
        launch.mask.get_or_init(|| mask);
    }
    if start.error != 0 {
        return Err(io::Error::from_raw_os_error(start.error));
    }
    Ok((start.pid as u32, above_standard_streams(pidfd)?))
}

/// An array as execve(2) takes it.
fn pointers(strings: &[CString], last: Option<&CString>) -> Vec<*const c_char> {
    let all = strings.iter().chain(last).map(|string| string.as_ptr());
    all.chain([std::ptr::null()]).collect()
}

/// Starts the intermediate process on the stack that ends at `top`, and waits until it is gone. By then
/// the new image has its own memory, or has failed.
fn run_intermediate(start: &mut ImageStart<'_>, top: *mut c_void) -> io::Result<()> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    let signals = BlockedSignals::new();
    // SAFETY: the stack is this call's own and large enough for what `intermediate` calls; CLONE_VFORK holds
    // this thread until the child has exited, so `start` and the stack outlive it; all signals are
    // blocked, so no handler of the host runs there.
    let pid = unsafe { libc::clone(intermediate, top, flags, std::ptr::from_mut(start).cast()) };
    let failed = (pid == -1).then(io::Error::last_os_error);
    drop(signals);
    if let Some(error) = failed {
        return Err(error);
    }
    // `__WCLONE`, since the exit signal of the child is none.
    // SAFETY: waits for the child just made, whose status goes nowhere.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WCLONE) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    Ok(())
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The intermediate process. It shares memory and descriptors with the host, so the pidfd that the
/// kernel makes is the host's.
extern "C" fn intermediate(start: *mut c_void) -> c_int {
    // SAFETY: `run_intermediate` passes its `ImageStart` and waits; nothing else touches it.
    let start = unsafe { &mut *start.cast::<ImageStart<'_>>() };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let pidfd = &raw mut start.pidfd;
    failpoint!("intermediate-started");
    // SAFETY: as in `run_intermediate`, one generation further; the pidfd is written before the child runs.
    start.pid = unsafe { libc::clone(new_image, start.stack, flags, std::ptr::from_mut(start).cast(), pidfd) };
    if start.pid == -1 {
        start.error = errno();
    }
    failpoint!("intermediate-ending");
    0
}

/// The process that becomes the fork server: its memory is still the host's, its descriptors are its own.
extern "C" fn new_image(start: *mut c_void) -> c_int {
    // SAFETY: `intermediate` passes it on and waits; nothing else touches it.
    let start = unsafe { &mut *start.cast::<ImageStart<'_>>() };
    failpoint!("image-forked");
    // Three calls that can fail only in a sandbox or where the directory is gone. The image then is in the host's
    // group, stays in its directory, or ends at once because it has no socket.
    let _ = rustix::process::setpgid(None, None);
    let inherited = rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::umask(*start.mask.get_or_insert(inherited));
    if let Some(directory) = start.directory {
        let _ = rustix::process::fchdir(directory);
    }
    start.output.replace_standard_error();
    if let Some(nothing) = start.nothing {
        raw::replace_standard_stream(StandardStream::Input, nothing);
    }
    close_all_at_exec();
    let _ = rustix::io::fcntl_setfd(start.socket, FdFlags::empty());
    for (number, kept) in start.passed {
        // SAFETY: the source is open; the target is a number in this process's own table, in which nothing
        // but `start` is used later, and `start`'s descriptors lie beyond the numbers that are passed.
        unsafe { libc::dup2(kept.as_raw_fd(), *number) };
    }
    failpoint!("image-ready");
    start.error = execute((start.executable, start.preload), start.arguments, start.environment);
    raw::exit_now(127)
}

/// What a worker that is started by exec reads before that, and what it reports.
struct WorkerImage<'a> {
    executable: &'a Executable,
    preload: Option<&'a Proven<'a>>,
    /// As in [`ImageStart`].
    arguments: *const *const c_char,
    environment: *const *const c_char,
    socket: BorrowedFd<'a>,
    output: &'a EarlyOutput,
    /// The rights of this process, and those of the host that the worker takes before the exec.
    rights: Option<(&'a Rights, &'a Rights)>,
    /// Reported: the pidfd (-1: none), and the error number (0: none).
    pidfd: c_int,
    error: c_int,
}

/// Starts a worker from a fork server that cannot fork: this program once more, as a child of this process, with
/// `variable` added to the environment, `socket` open under the same number, and `output` as its standard error. It inherits what is not closed at exec.
pub(crate) fn start_worker(
    launch: &Launch,
    (executable, preload): (&Executable, Option<&Proven<'_>>),
    variable: CString,
    (socket, output): (BorrowedFd<'_>, &EarlyOutput),
    rights: Option<(&Rights, &Rights)>,
) -> io::Result<(Pid, Descriptor)> {
    assert_may_sleep();
    let arguments = pointers(&launch.arguments, None);
    let environment = pointers(&launch.environment, Some(&variable));
    let stack = memmap2::MmapOptions::new().len(STACK_BYTES).map_anon()?;
    // SAFETY: the end of the mapping, which lives until the process has left it.
    let top = unsafe { stack.as_ptr().add(STACK_BYTES) }.cast_mut().cast();
    let (arguments, environment) = (arguments.as_ptr(), environment.as_ptr());
    let mut start =
        WorkerImage { executable, preload, arguments, environment, socket, output, rights, pidfd: -1, error: 0 };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let pidfd = &raw mut start.pidfd;
    let signals = BlockedSignals::new();
    // SAFETY: as in `run_intermediate`: the stack is this call's own, this thread stands still until the child has
    // executed or ended, and no handler runs there. The pidfd is written before the child runs.
    let pid = unsafe { libc::clone(worker_image, top, flags, std::ptr::from_mut(&mut start).cast(), pidfd) };
    let failed = (pid == -1).then(io::Error::last_os_error);
    drop(signals);
    if let Some(error) = failed {
        return Err(error);
    }
    // SAFETY: the kernel put it into this process's table, and nothing else knows of it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(start.pidfd) };
    let pid = Pid::from_raw(pid).expect("clone gives a positive number");
    if start.error != 0 {
        process::kill_and_reap(pid);
        return Err(io::Error::from_raw_os_error(start.error));
    }
    let pidfd = above_standard_streams(pidfd).inspect_err(|_| process::kill_and_reap(pid))?;
    Ok((pid, pidfd))
}

/// The process that becomes a worker: its memory is still the fork server's, its descriptors and rights are its own.
extern "C" fn worker_image(start: *mut c_void) -> c_int {
    // SAFETY: `start_worker` passes its `WorkerImage` and waits; nothing else touches it.
    let start = unsafe { &mut *start.cast::<WorkerImage<'_>>() };
    process::lead_own_group();
    // Once more after it is ready, since a change of its user clears this. Until the exec the fork server stands still.
    process::end_with_parent();
    if let Some((own, rights)) = start.rights {
        if let Err((_, error)) = rights.try_take(own) {
            start.error = error.raw_os_error();
            raw::exit_now(127)
        }
        process::end_with_parent();
    }
    start.output.replace_standard_error();
    start.error = match rustix::io::fcntl_setfd(start.socket, FdFlags::empty()) {
        Ok(()) => execute((start.executable, start.preload), start.arguments, start.environment),
        Err(error) => error.raw_os_error(),
    };
    raw::exit_now(127)
}

/// Becomes the program, or gives the error number. This process has a table of descriptors of its own, so what is
/// compared here is what is executed, whatever the host does with its own table meanwhile.
fn execute(
    (executable, preload): (&Executable, Option<&Proven<'_>>),
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> c_int {
    let Executable { fd, file } = executable;
    match FileId::of(fd) {
        Ok(found) if found == *file => {}
        Ok(_) => return libc::EBADF,
        Err(error) => return error.raw_os_error(),
    }
    if let Err(error) = preload.map_or(Ok(()), Proven::is_found) {
        return error.raw_os_error();
    }
    // SAFETY: an empty path, and two arrays that the caller's parent made and keeps until this process has its own memory.
    unsafe {
        libc::syscall(libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr(), arguments, environment, libc::AT_EMPTY_PATH)
    };
    errno()
}

/// The highest descriptor that is closed one by one, where close_range(2) is missing: a million is the kernel's
/// usual limit (`fs.nr_open`). Without a limit of its own a process would make up to 2^31 calls here.
const MAX_SEARCHED_FD: u64 = 1 << 20;

/// Marks every descriptor above 2 to be closed at exec.
fn close_all_at_exec() {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: sets a flag of descriptors in this process's own table, which has no more use but the exec.
    if unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, CLOSE_RANGE_CLOEXEC) } != -1 {
        return;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    for fd in 3..limit.min(MAX_SEARCHED_FD) as c_int {
        // SAFETY: as above; for a number without a descriptor it fails with EBADF.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}
