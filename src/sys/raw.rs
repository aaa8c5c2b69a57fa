//! System calls and C functions that no crate wraps safely, one to a function.
//!
//! Each function is safe to call, or says in `# Safety` what its caller must see to. Where a call is
//! sound only at a certain time, a token proves that it is that time: [`BeforeMain`], [`SingleThreaded`].

#![allow(unsafe_code)]

use super::may_sleep::assert_may_sleep;
use super::proc;
use rustix::process::Pid;
use std::ffi::{CStr, c_int};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Proof that this process has not reached `main`: it runs its constructors, in the loader's thread.
///
/// So nothing closes descriptors or changes the environment but the constructor that has the token.
/// (A constructor that leaves behind a thread which does either would break every later constructor,
/// std's included.)
pub(crate) struct BeforeMain(PhantomData<*const ()>);

impl BeforeMain {
    /// # Safety
    /// Only a constructor of the executable, or of an object that is loaded before it, may make one, and it must drop it before it calls other
    /// constructors or returns.
    pub(crate) unsafe fn new() -> Self {
        BeforeMain(PhantomData)
    }
}

/// A variable's bytes, read without an allocation or a lock: before `main` neither need work yet.
pub(crate) fn variable<'a>(_: &'a BeforeMain, name: &CStr) -> Option<&'a [u8]> {
    // SAFETY: the name ends in NUL, and nothing changes the environment meanwhile (the token).
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: not null, so it is a string of the environment block, which ends in NUL and is not freed
    // or changed while the token lives (`unset_variable` only removes the pointer to it).
    Some(unsafe { CStr::from_ptr(value) }.to_bytes())
}

/// Sets a variable of the environment, or removes it.
pub(crate) fn set_variable(_: &BeforeMain, name: &CStr, value: Option<&CStr>) {
    match value {
        // SAFETY: both end in NUL, and nothing else uses the environment meanwhile (the token).
        Some(value) => unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) },
        // SAFETY: as above.
        None => unsafe { libc::unsetenv(name.as_ptr()) },
    };
}

/// A descriptor that may have been inherited under this number, to look at; `None` if there is none,
/// and for the standard streams.
pub(crate) fn inherited<'a>(_: &'a BeforeMain, number: RawFd) -> Option<BorrowedFd<'a>> {
    if number < 3 || !is_open(number) {
        return None;
    }
    // SAFETY: it is open (just asked), and nothing closes descriptors while the token lives.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Takes an inherited descriptor over.
///
/// # Safety
/// Nothing else in this process may use that descriptor from here on.
pub(crate) unsafe fn take_inherited(fd: BorrowedFd<'_>) -> OwnedFd {
    // SAFETY: it is open, as it is borrowed; that nothing else uses it is the caller's duty.
    unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) }
}

/// True if a descriptor has this number.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD only reads a flag; for a number without a descriptor it fails with EBADF.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

/// One of the three descriptors that belong to no object of Rust's: a program may replace them as a
/// whole at any time, and std expects no more of them than that they are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandardStream {
    Input = 0,
    Output = 1,
    Error = 2,
}

/// Puts a copy of `fd` in the place of a standard stream; it stays open at exec.
pub(crate) fn replace_standard_stream(stream: StandardStream, fd: impl AsFd) {
    // SAFETY: the source is open, as it is borrowed; the target may be replaced (see `StandardStream`).
    unsafe { libc::dup2(fd.as_fd().as_raw_fd(), stream as c_int) };
}

/// If the descriptor of this number is a copy of `was`, which was the standard error of this process and nothing else: puts a
/// copy of `now` in its place, which is closed at exec if that was.
pub(crate) fn replace_copy_of_standard_error(number: RawFd, was: impl AsFd, now: impl AsFd) {
    let file_of = |number: RawFd| {
        // SAFETY: a valid value of the type, which the next call writes.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: writes a description; for a number without a descriptor it fails.
        (unsafe { libc::fstat(number, &mut stat) } == 0).then_some((stat.st_dev, stat.st_ino))
    };
    if file_of(number).is_none_or(|file| Some(file) != file_of(was.as_fd().as_raw_fd())) {
        return;
    }
    // SAFETY: only reads a flag.
    let is_closed_at_exec = unsafe { libc::fcntl(number, libc::F_GETFD) } & libc::FD_CLOEXEC != 0;
    let flags = if is_closed_at_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: the source is open, as it is borrowed; a copy of the standard error is to its owner what that is.
    unsafe { libc::dup3(now.as_fd().as_raw_fd(), number, flags) };
}

/// A standard stream as it is now; `None` if it is closed.
pub(crate) fn standard_stream(stream: StandardStream) -> Option<BorrowedFd<'static>> {
    // SAFETY: it is open (just asked). A program that closes it later is one that std's own streams do not allow for
    // either; then the calls that are made with it fail.
    is_open(stream as c_int).then(|| unsafe { BorrowedFd::borrow_raw(stream as c_int) })
}

/// The real, the effective and the saved user of this thread.
pub(crate) fn user_ids() -> [u32; 3] {
    let mut ids = [0; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: writes three numbers.
    unsafe { libc::getresuid(real, effective, saved) };
    ids
}

/// The real, the effective and the saved group of this thread.
pub(crate) fn group_ids() -> [u32; 3] {
    let mut ids = [0; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: writes three numbers.
    unsafe { libc::getresgid(real, effective, saved) };
    ids
}

/// Sets the users of this thread alone: real, effective, saved, and that for files.
pub(crate) fn set_user_ids([real, effective, saved, files]: [u32; 4]) -> rustix::io::Result<()> {
    // SAFETY: takes numbers, here and below. The C library's functions would change other threads too, which needs its
    // locks; these calls work in any process.
    result_of(unsafe { libc::syscall(libc::SYS_setresuid, real, effective, saved) })?;
    // It gives the former number, and tells of no error: who takes rights reads them back.
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_setfsuid, files) };
    Ok(())
}

/// Sets the groups of this thread alone, in the same way.
pub(crate) fn set_group_ids([real, effective, saved, files]: [u32; 4]) -> rustix::io::Result<()> {
    // SAFETY: as in `set_user_ids`.
    result_of(unsafe { libc::syscall(libc::SYS_setresgid, real, effective, saved) })?;
    // SAFETY: as in `set_user_ids`.
    unsafe { libc::syscall(libc::SYS_setfsgid, files) };
    Ok(())
}

/// Sets the supplementary groups of this thread alone.
pub(crate) fn set_groups(groups: &[u32]) -> rustix::io::Result<()> {
    // SAFETY: reads as many numbers as the list has.
    result_of(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

fn result_of(returned: libc::c_long) -> rustix::io::Result<()> {
    match returned {
        -1 => Err(rustix::io::Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(rustix::io::Errno::IO)),
        _ => Ok(()),
    }
}

/// Proof that this process has one thread.
///
/// It stays true because the holder of the token makes no thread and calls no code that could: after
/// [`confirm`](Self::confirm) the fork server runs no code of the user's, and the token cannot leave
/// its thread. (A signal handler or a handler of pthread_atfork(3) that `preload` installed could still make a
/// thread; they are the exception that is not guarded against.) A process that is forked with the
/// token has one thread too, so the token holds there as well, until code of the user's runs.
#[derive(Debug)]
pub(crate) struct SingleThreaded(PhantomData<*const ()>);

/// Why a process may not be forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotConfirmed {
    /// It has more threads than one: how many, where /proc can tell.
    Threads(Option<usize>),
    /// /proc cannot tell, and the system refuses unshare(2) with this error number.
    Unknown(i32),
}

impl SingleThreaded {
    /// Counts the threads of this process.
    ///
    /// /proc is asked first, although unshare(2) is quicker: a sandbox may kill a process that makes
    /// a system call which it does not expect, and every sandbox lets a process read.
    pub(crate) fn confirm() -> Result<Self, NotConfirmed> {
        Self::judge(proc::thread_count(), unshare_threads)
    }

    fn judge(
        counted: Option<usize>,
        unshare: impl FnOnce() -> Result<(), rustix::io::Errno>,
    ) -> Result<Self, NotConfirmed> {
        match counted {
            Some(1) => Ok(SingleThreaded(PhantomData)),
            Some(threads) => Err(NotConfirmed::Threads(Some(threads))),
            None => match unshare() {
                Ok(()) => Ok(SingleThreaded(PhantomData)),
                Err(rustix::io::Errno::INVAL) => Err(NotConfirmed::Threads(None)),
                Err(errno) => Err(NotConfirmed::Unknown(errno.raw_os_error())),
            },
        }
    }
}

/// Succeeds, and does nothing, in a process with one thread; fails with EINVAL in one with more.
fn unshare_threads() -> Result<(), rustix::io::Errno> {
    // SAFETY: the flag stands for no resource that could be unshared: the kernel only checks that this
    // thread is alone in its thread group (check_unshare_flags in its kernel/fork.c).
    match unsafe { libc::unshare(libc::CLONE_THREAD) } {
        0 => Ok(()),
        _ => Err(rustix::io::Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(rustix::io::Errno::IO)),
    }
}

/// Which process this is after a fork.
pub(crate) enum Forked {
    Child,
    Parent(Pid),
}

/// Forks this process.
pub(crate) fn fork(_: &SingleThreaded) -> io::Result<Forked> {
    assert_may_sleep();
    // SAFETY: this process has one thread (the token), so no lock is held by a thread that the child
    // lacks, and the child may do all that this process may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(Pid::from_raw(pid).expect("fork gives a positive number"))),
    }
}

/// Nanoseconds since the machine started, those in which it slept included; 0 where the system does not tell. Through
/// the C library, since the crate's constructor calls it, when little else may be used.
pub(crate) fn boot_time_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one value, which is valid for that.
    match unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) } {
        0 => time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
        _ => 0,
    }
}

/// Ends this process at once and runs nothing more of it: no destructor, no handler of atexit(3).
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: exit_group(2) needs nothing of the process, in whatever state it is; memory that other
    // threads or processes rely on is not touched.
    unsafe { libc::_exit(code) }
}

/// Writes out the buffers of all streams of C's stdio. Waits for streams that other threads hold, and for their readers.
pub(crate) fn flush_c_streams() {
    assert_may_sleep();
    // SAFETY: null stands for all open output streams; each is locked while it is flushed.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// A value that is made once or seldom and then shared by all threads, without a lock: a process that is forked while
/// another thread makes the value has a whole one or none, and never waits for a thread that it does not have.
///
/// Two threads may make one each; then one of the two is dropped. A value that was published is never freed.
#[derive(Debug)]
pub(crate) struct Published<T: Send + Sync + 'static>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Published<T> {
    pub(crate) const fn new() -> Self {
        Published(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// The value, if there is one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // Acquire (published): seeing the pointer means seeing the value.
        let value = self.0.load(Ordering::Acquire);
        // SAFETY: null, or a box that `publish` gave up and that nobody frees or changes.
        unsafe { value.as_ref() }
    }

    /// Puts `new` in the place of `old`, unless another thread was quicker. Gives what is there then.
    pub(crate) fn publish(&self, old: Option<&'static T>, new: T) -> &'static T {
        let old = old.map_or(std::ptr::null_mut(), |old| std::ptr::from_ref(old).cast_mut());
        let new = Box::into_raw(Box::new(new));
        // Release (published): the value becomes visible before the pointer. Acquire (published): so does another's.
        match self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: the box just made, which nobody frees or changes from here on.
            Ok(_) => unsafe { &*new },
            Err(other) => {
                // SAFETY: the box just made, which nobody else has seen.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: not null, since it is not `old` and never becomes null again; published as above.
                unsafe { &*other }
            }
        }
    }
}

/// C's standard output.
///
/// Invariant: the stream lies in memory that is never freed. It is the one that `stdout` stands for before code of the
/// user's runs, which is a static of the C library; closing it does not free it.
#[derive(Clone, Copy)]
pub(crate) struct COutput(*mut libc::FILE);

unsafe extern "C" {
    #[link_name = "stdout"]
    static mut C_OUTPUT: *mut libc::FILE;
    fn __fpending(stream: *mut libc::FILE) -> libc::size_t;
    fn ftrylockfile(stream: *mut libc::FILE) -> c_int;
    fn funlockfile(stream: *mut libc::FILE);
}

impl COutput {
    /// The stream that `stdout` stands for now.
    pub(crate) fn new() -> Self {
        // SAFETY: an aligned variable of the C library, of the size of a pointer. glibc lets programs assign to it, which
        // is one store; none is expected before pieces run.
        COutput(unsafe { (&raw const C_OUTPUT).read_volatile() })
    }

    /// True if text waits in its buffer. While another thread prints, the answer is a guess.
    #[inline]
    pub(crate) fn has_pending(self) -> bool {
        // SAFETY: a valid stream (the invariant); the call reads two of its words and takes no lock.
        unsafe { __fpending(self.0) != 0 }
    }

    /// Locks the stream; `None` if another thread holds it, or has ended while it did.
    pub(crate) fn try_lock(self) -> Option<LockedCOutput> {
        // SAFETY: a valid stream (the invariant); a lock that is held elsewhere makes it fail at once.
        let is_locked = unsafe { ftrylockfile(self.0) } == 0;
        is_locked.then(|| LockedCOutput { stream: self.0, _this_thread: PhantomData })
    }
}

/// C's standard output, locked by this thread: the lock counts, so other calls may lock it once more.
pub(crate) struct LockedCOutput {
    stream: *mut libc::FILE,
    _this_thread: PhantomData<*const ()>,
}

impl LockedCOutput {
    /// True if its descriptor is a regular file, to which a write does not wait for a reader.
    pub(crate) fn is_regular_file(&self) -> bool {
        // SAFETY: a valid stream (the invariant of `COutput`).
        let fd = unsafe { libc::fileno(self.stream) };
        let mut status = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: valid for writing; for a number without a descriptor the call fails and leaves zeroes.
        unsafe { libc::fstat(fd, status.as_mut_ptr()) };
        // SAFETY: the type consists of integers, so it is valid zeroed and as the call left it.
        let status = unsafe { status.assume_init() };
        status.st_mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Writes its text out. False if a signal ended the write: what was not written by then is lost. That error is not left
    /// on the stream.
    pub(crate) fn flush(&mut self) -> bool {
        assert_may_sleep();
        // SAFETY: a valid stream (the invariant of `COutput`).
        let was_broken = unsafe { libc::ferror(self.stream) } != 0;
        // SAFETY: as above.
        let failed = unsafe { libc::fflush(self.stream) } != 0;
        let interrupted = failed && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if interrupted && !was_broken {
            // SAFETY: as above.
            unsafe { libc::clearerr(self.stream) };
        }
        !interrupted
    }
}

impl Drop for LockedCOutput {
    fn drop(&mut self) {
        // SAFETY: a valid stream (the invariant of `COutput`), which this thread has locked once for this value.
        unsafe { funlockfile(self.stream) };
    }
}

const PAGE_BYTES: usize = 4096;

/// A zeroed word that lives as long as this process and that the kernel sets to zero in every child
/// forked from it; `None` where the kernel has no such memory (before 4.14).
pub(crate) fn word_wiped_by_fork() -> Option<&'static AtomicU32> {
    assert_may_sleep();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice replaces no other.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE_BYTES, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page just mapped, of which there is no reference yet.
    if unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: as above; nothing refers to it later either.
        unsafe { libc::munmap(page, PAGE_BYTES) };
        return None;
    }
    // SAFETY: mapped for reading and writing, zeroed, never unmapped, and used through this atomic alone.
    Some(unsafe { &*page.cast::<AtomicU32>() })
}

/// Tells the allocator to keep up to `bytes` of freed memory, and to take big blocks from its heap too
/// instead of a mapping each.
pub(crate) fn keep_freed_memory(_: &SingleThreaded, bytes: usize) {
    #[cfg(target_env = "gnu")]
    {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        for (setting, value) in [(libc::M_TRIM_THRESHOLD, bytes), (libc::M_MMAP_MAX, 0), (libc::M_TOP_PAD, 0)] {
            // SAFETY: valid settings of the allocator; no other thread allocates meanwhile (the token).
            unsafe { libc::mallopt(setting, value) };
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

/// Gives the freed memory that the allocator keeps back to the system.
pub(crate) fn give_freed_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches free memory alone, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Locks a file against all others that open it for writing by this function; false if one of them has it. The lock belongs to the open
/// file, not to the process: it ends when the last descriptor of it is closed.
#[cfg(feature = "journal")]
pub(crate) fn lock_open_file(file: impl AsFd) -> io::Result<bool> {
    set_lock(file, libc::F_WRLCK as libc::c_short)
}

/// Unlocks a file that [`lock_open_file`] has locked, also where a child that was forked has a copy of its descriptor.
#[cfg(feature = "journal")]
pub(crate) fn unlock_open_file(file: impl AsFd) -> io::Result<()> {
    set_lock(file, libc::F_UNLCK as libc::c_short).map(drop)
}

#[cfg(feature = "journal")]
fn set_lock(file: impl AsFd, kind: libc::c_short) -> io::Result<bool> {
    assert_may_sleep();
    let whole = libc::flock { l_type: kind, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 0, l_pid: 0 };
    // SAFETY: the descriptor is open for as long as the file is borrowed, and the kernel only reads the structure.
    let done = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// How many bytes this program has allocated from glibc's malloc and not freed, modulo 2^32. What a thread keeps for its next
/// allocations counts as not freed. `None` with another C library.
pub(crate) fn allocated_bytes() -> Option<u32> {
    assert_may_sleep();
    #[cfg(target_env = "gnu")]
    {
        // glibc 2.33 has `mallinfo2` with wider fields, and older ones must do too.
        // SAFETY: takes no pointer, and reads the allocator's state under its own locks.
        let told = unsafe { libc::mallinfo() };
        Some(told.uordblks.cast_unsigned().wrapping_add(told.hblkhd.cast_unsigned()))
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// The most memory that was resident in this process at once since the kernel was told to count anew, and at least what its
/// process had when it executed this program.
pub(crate) fn peak_resident_bytes() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: valid for writing; if the call fails, it leaves zeroes.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: the type consists of integers, so it is valid zeroed and as the call left it.
    let usage = unsafe { usage.assume_init() };
    usage.ru_maxrss.cast_unsigned().saturating_mul(1024)
}

/// Maps a file of its own that no other thread or process knows, for writing.
pub(crate) fn map_new(file: impl AsFd, bytes: usize) -> io::Result<memmap2::MmapMut> {
    assert_may_sleep();
    // SAFETY: nobody else has the file, so nothing changes it beside this mapping, and it has its length.
    unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(&file.as_fd()) }
}

/// Maps a file that is sealed against every change of its bytes and its length, for reading. Where the kernel refuses a shared mapping of
/// what nobody may write (before Linux 6.7) it is a private one, whose pages are the file's all the same.
pub(crate) fn map_sealed(file: impl AsFd, bytes: usize) -> io::Result<memmap2::Mmap> {
    assert_may_sleep();
    let mut options = memmap2::MmapOptions::new();
    options.len(bytes);
    // SAFETY: the caller's file is sealed (`sys/sealed.rs`), so what is mapped stays as it is.
    let shared = unsafe { options.map(&file.as_fd()) };
    or_private(shared, file, &options)
}

/// The shared mapping of a file, or a private one where that was refused. The caller's file is sealed, as for [`map_sealed`].
pub(super) fn or_private(
    shared: io::Result<memmap2::Mmap>,
    file: impl AsFd,
    options: &memmap2::MmapOptions,
) -> io::Result<memmap2::Mmap> {
    match shared {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            // SAFETY: as in `map_sealed`.
            unsafe { options.map_copy_read_only(&file.as_fd()) }
        }
        other => other,
    }
}

/// Asks for large pages under a range of memory, whose contents stay as they are; without them, or where
/// the range is not whole pages, only the time differs.
pub(crate) fn advise_large_pages(memory: &mut [std::mem::MaybeUninit<u8>]) {
    let start = memory.as_mut_ptr().cast();
    // SAFETY: the range is borrowed mutably, and this advice changes no byte of it.
    let _ = unsafe { rustix::mm::madvise(start, memory.len(), rustix::mm::Advice::LinuxHugepage) };
}

/// Gives the whole pages of a range of memory that has no contents back to the system.
pub(crate) fn discard(memory: &mut [std::mem::MaybeUninit<u8>]) {
    assert_may_sleep();
    let page_bytes = rustix::param::page_size();
    let before = memory.as_ptr().align_offset(page_bytes).min(memory.len());
    let pages = &mut memory[before..];
    let bytes = pages.len() / page_bytes * page_bytes;
    // SAFETY: the range is borrowed mutably, and nobody may rely on what uninitialized bytes contain.
    let _ = unsafe { rustix::mm::madvise(pages.as_mut_ptr().cast(), bytes, rustix::mm::Advice::LinuxDontNeed) };
}

/// Allocates the pages of a range of memory. Its contents stay as they are; where there is no such memory, where it cannot be written, or
/// where the system does not know the request (before Linux 5.14), nothing happens.
pub(crate) fn allocate_pages(address: usize, bytes: usize) {
    assert_may_sleep();
    let start = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: the call changes no byte of any memory.
    let _ = unsafe { rustix::mm::madvise(start, bytes, rustix::mm::Advice::LinuxPopulateWrite) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn one_thread_is_confirmed_and_nothing_else() {
        let verdict =
            |counted, unshared: Option<Errno>| SingleThreaded::judge(counted, || unshared.map_or(Ok(()), Err)).err();
        for (counted, unshared, expected) in [
            (Some(1), None, None),
            // A sandbox may refuse unshare, which is not asked then.
            (Some(1), Some(Errno::PERM), None),
            (Some(3), None, Some(NotConfirmed::Threads(Some(3)))),
            (None, None, None),
            (None, Some(Errno::INVAL), Some(NotConfirmed::Threads(None))),
            (None, Some(Errno::PERM), Some(NotConfirmed::Unknown(libc::EPERM))),
            (None, Some(Errno::NOSYS), Some(NotConfirmed::Unknown(libc::ENOSYS))),
        ] {
            assert_eq!(verdict(counted, unshared), expected, "{counted:?} {unshared:?}");
        }
    }

    #[test]
    fn threads_that_publish_at_once_share_one_value_and_drop_the_others() {
        static VALUE: Published<std::sync::Arc<usize>> = Published::new();
        let made: Vec<_> = (0..16).map(std::sync::Arc::new).collect();
        std::thread::scope(|scope| {
            for one in &made {
                scope.spawn(|| VALUE.publish(None, std::sync::Arc::clone(one)));
            }
        });
        let first = VALUE.get().unwrap();
        let counts: usize = made.iter().map(std::sync::Arc::strong_count).sum();
        assert_eq!((counts, std::sync::Arc::strong_count(&made[**first])), (17, 2));
        let second = VALUE.publish(Some(first), std::sync::Arc::new(99));
        assert_eq!((**second, **first, **VALUE.get().unwrap()), (99, **first, 99));
    }

    #[test]
    fn a_process_with_more_threads_is_not_confirmed() {
        // The test itself runs in a second thread.
        let counted = SingleThreaded::confirm().unwrap_err();
        assert!(matches!(counted, NotConfirmed::Threads(Some(2..))), "{counted:?}");
        let refused = unshare_threads().unwrap_err();
        assert!([Errno::INVAL, Errno::PERM, Errno::NOSYS].contains(&refused), "{refused}");
    }
}
