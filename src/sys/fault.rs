//! Telling a stack overflow from any other bad access, and a failed allocation from any other abort or access to null.
//!
//! std installs a handler for stack overflows at the start of `main`, which a worker never ran. Ours runs on
//! a stack of its own, compares the address of the fault with the end of the main thread's stack, leaves a
//! note in shared memory, and lets the signal do what it does by default.
//!
//! Where an allocation fails, std calls `handle_alloc_error`, which aborts. The return addresses on the
//! stack tell who aborted: that function never returns, so its frame is still there.
//!
//! Code in C that gets no memory aborts, or writes to the null pointer that it did not look at. Whether that happened in a worker
//! with a limit is told by what the C library leaves in `errno`, or by how close the process is to its limit.
//!
//! Invariant: the handlers make no call but signal(2), raise(3), open(2), read(2) and close(2), and take no lock.

#![allow(unsafe_code)]

use crate::protocol::sync::{AtomicU32, AtomicU64, Relaxed};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

/// The note of a worker that overflowed its stack.
pub(crate) const STACK_OVERFLOW: u32 = 1;

/// The note of a worker that aborts because it got no memory.
pub(crate) const ALLOCATION_FAILED: u32 = 2;

/// The note of a worker with a data limit that was refused memory, as far as that can be told, and crashed.
pub(crate) const MEMORY_REFUSED: u32 = 3;

/// An access below this address is one to null, or to a field or an early entry behind it: no process maps anything there.
const NULL_BYTES: usize = 64 * 1024;

/// A process that could allocate no more than this was refused memory. Allocators ask the kernel for 128 KiB or more at once.
const REFUSED_WITHIN_BYTES: u64 = 1024 * 1024;

/// The most bytes of data that this process may have; 0: it has no limit of ours.
static DATA_LIMIT: AtomicU64 = AtomicU64::new(0);

/// Between the frame of `raise` and that of `handle_alloc_error` the stack holds fewer words than this.
const SEARCHED_WORDS: usize = 512;

/// The code of `handle_alloc_error` up to its call is shorter than this.
const HANDLER_BYTES: usize = 128;

/// An access this far below the stack still is an overflow: the kernel keeps a gap of 1 MiB.
const GAP_BYTES: usize = 1024 * 1024;

/// An access this far above the computed end still is an overflow: the kernel's own end may lie some pages higher,
/// since both round and count differently. A wild pointer seldom hits these 64 KiB.
const END_SLACK_BYTES: usize = 64 * 1024;

/// The stack of the handlers beyond what the kernel needs for a signal's frame. They have few locals; 16 KiB suffice
/// for unoptimised builds too, and pages that are not touched cost nothing.
const HANDLER_STACK_BYTES: usize = 16 * 1024;

/// What the handlers need. They only read it, which is one atomic load.
struct Watch {
    note: &'static AtomicU32,
    /// The lowest address that the first thread's stack may grow to.
    stack_end: usize,
    /// Where the stack stood when the watch began: what pieces use of it lies below.
    stack_begin: usize,
}

static WATCH: OnceLock<Watch> = OnceLock::new();

type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Installs the handlers for this thread, which must be the process's first. `note` is written before the
/// process dies.
pub(crate) fn watch_stack(note: &'static AtomicU32) {
    let Some(stack_end) = stack_end() else { return };
    let stack_begin = ptr::from_ref(&stack_end) as usize;
    if WATCH.set(Watch { note, stack_end, stack_begin }).is_err() {
        return;
    }
    use_alternate_stack();
    install(libc::SIGABRT, on_abort, libc::SA_RESETHAND as c_int);
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        install(signal, on_fault, libc::SA_ONSTACK | libc::SA_NODEFER);
    }
}

/// This process was given a limit of its data: from now on a crash that comes of it is noted.
pub(crate) fn watch_data(limit_bytes: u64) {
    DATA_LIMIT.store(limit_bytes, Relaxed);
}

/// A piece begins: what an earlier one was refused does not explain its crash.
#[inline]
pub(crate) fn forget_refusals() {
    if DATA_LIMIT.load(Relaxed) != 0 {
        // SAFETY: the C library gives the address of this thread's own word.
        unsafe { *libc::__errno_location() = 0 };
    }
}

/// Gives this thread's handlers a stack of their own, since the usual one may be full.
fn use_alternate_stack() {
    // SAFETY: reads the auxiliary vector, which is never written; 0 if the entry is not there.
    let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let bytes = least.max(libc::SIGSTKSZ) + HANDLER_STACK_BYTES;
    let stack: &'static mut [MaybeUninit<u8>] = Box::leak(Box::new_uninit_slice(bytes));
    let alternate = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: bytes };
    // SAFETY: the memory is leaked, so it lives as long as the thread, and nothing else uses it.
    unsafe { libc::sigaltstack(&alternate, ptr::null_mut()) };
}

/// Installs a handler of this file, unless `preload` or a constructor has installed one: that one knows
/// better.
fn install(signal: c_int, handler: Handler, flags: c_int) {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the action is valid for writing.
    unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the type consists of integers and of pointers that may be null.
    let mut action = unsafe { action.assume_init() };
    if action.sa_sigaction != libc::SIG_DFL {
        return;
    }
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | flags;
    // SAFETY: the handler has the type that SA_SIGINFO asks for and does only what a handler may.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

/// The lowest address that this thread's stack may grow to.
#[cfg(target_env = "gnu")]
fn stack_end() -> Option<usize> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    // SAFETY: this thread lives, and the attributes are valid for writing.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut address, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: the attributes were filled by the call above, and both results are valid for writing.
    let found = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &mut address, &mut bytes) } == 0;
    // SAFETY: as above; they are not used later.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    found.then_some(address as usize)
}

/// The lowest address that this thread's stack may grow to. musl tells how far the first thread's stack
/// has grown by now; the kernel lets it grow by the limit, from where its mapping ends.
#[cfg(not(target_env = "gnu"))]
fn stack_end() -> Option<usize> {
    let local = 0_u8;
    let top = super::proc::mapping_end(ptr::from_ref(&local) as usize)?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current?;
    top.checked_sub(usize::try_from(limit).ok()?)
}

unsafe extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid description of the signal (SA_SIGINFO).
    let info = unsafe { &*info };
    // A process sent it, perhaps this one: then there is no address, and no access to fault again.
    let is_sent = info.si_code <= 0;
    if !is_sent && let Some(watch) = WATCH.get() {
        // SAFETY: a fault that the kernel found has an address.
        let address = unsafe { info.si_addr() } as usize;
        let end = watch.stack_end;
        if (end.saturating_sub(GAP_BYTES)..end.saturating_add(END_SLACK_BYTES)).contains(&address) {
            watch.note.store(STACK_OVERFLOW, Relaxed);
        } else if has_address(info.si_code) && address < NULL_BYTES && (was_refused() || is_at_data_limit()) {
            watch.note.store(MEMORY_REFUSED, Relaxed);
        }
    }
    // SAFETY: signal(2) is allowed in a handler, and SIG_DFL calls no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    if is_sent {
        raise(signal);
    }
    // Else the access faults again on return, and this time the signal does what it does by default.
}

unsafe extern "C" fn on_abort(signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the context of what it interrupted (SA_SIGINFO).
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    // First, while nothing here can have changed it.
    let was_refused = was_refused();
    if let Some(watch) = WATCH.get() {
        if stack_has_alloc_error(watch, stack_pointer(context)) {
            watch.note.store(ALLOCATION_FAILED, Relaxed);
        } else if was_refused {
            watch.note.store(MEMORY_REFUSED, Relaxed);
        }
    }
    // The default is in place again (SA_RESETHAND). abort(3) raises the signal once more by itself, but a
    // process that only sent it does not.
    raise(signal);
}

/// True if the kernel knows the address of an access. Of one without a canonical form it tells 0.
fn has_address(code: c_int) -> bool {
    const MAPERR: c_int = 1;
    const ACCERR: c_int = 2;
    [MAPERR, ACCERR].contains(&code)
}

/// True if this process has a data limit, and the last call that failed in this thread did so for lack of memory.
fn was_refused() -> bool {
    // SAFETY: the C library gives the address of this thread's own word, in a handler too.
    DATA_LIMIT.load(Relaxed) != 0 && unsafe { *libc::__errno_location() } == libc::ENOMEM
}

/// True if this process has a data limit, and nearly as much memory.
fn is_at_data_limit() -> bool {
    let limit = DATA_LIMIT.load(Relaxed);
    limit != 0 && data_bytes().is_some_and(|bytes| bytes.saturating_add(REFUSED_WITHIN_BYTES) >= limit)
}

/// What this process has of writable memory, its first thread's stack included, with calls that a handler may make.
fn data_bytes() -> Option<u64> {
    let mut text = [0_u8; 128];
    // SAFETY: the name ends with a zero byte.
    let file = unsafe { libc::open(c"/proc/self/statm".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    // SAFETY: the buffer is valid for writing as many bytes. Without a file the call fails.
    let length = unsafe { libc::read(file, text.as_mut_ptr().cast(), text.len()) };
    // SAFETY: the descriptor was just opened, and nothing else uses it. Without a file the call fails.
    unsafe { libc::close(file) };
    data_in(text.get(..usize::try_from(length).ok()?)?)?.checked_mul(rustix::param::page_size() as u64)
}

/// The sixth number in the text of a `statm` file, in pages.
fn data_in(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.split_ascii_whitespace().nth(5)?.parse().ok()
}

/// True if a return address into `handle_alloc_error` lies near the top of the first thread's stack. Of
/// another thread's stack, or of one that the piece made, the end is not known.
fn stack_has_alloc_error(watch: &Watch, top: usize) -> bool {
    if !(watch.stack_end..watch.stack_begin).contains(&top) {
        return false;
    }
    let handler = std::alloc::handle_alloc_error as *const () as usize;
    let words = (top.next_multiple_of(size_of::<usize>())..watch.stack_begin).step_by(size_of::<usize>());
    words.take(SEARCHED_WORDS).any(|address| {
        // SAFETY: between the first thread's stack pointer and where its stack stood before it ran
        // any piece (checked above) all of it is mapped, and the pointer is aligned to words.
        let word = unsafe { (address as *const usize).read_volatile() };
        (handler + 1..handler + HANDLER_BYTES).contains(&word)
    })
}

/// Sends a signal to this thread.
fn raise(signal: c_int) {
    // SAFETY: raise(3) is allowed in a handler; the signal has its default action by now.
    unsafe { libc::raise(signal) };
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_a_process_is_the_sixth_number() {
        assert_eq!(data_in(b"1 2 3 4 5 66 7\n"), Some(66));
        for text in [&b""[..], b"1 2 3 4 5", b"1 2 3 4 5 x 7", b"\xff 2 3 4 5 6 7"] {
            assert_eq!(data_in(text), None);
        }
        let (all, own) = (data_bytes().unwrap(), super::super::proc::own_data_bytes().unwrap());
        // Beside the stack, what other tests allocate meanwhile.
        assert!(all.abs_diff(own) < 512 << 20, "{all} {own}");
    }

    #[test]
    fn only_a_process_with_a_limit_was_refused_anything() {
        // SAFETY: this thread's own word.
        unsafe { *libc::__errno_location() = libc::ENOMEM };
        assert!(!was_refused() && !is_at_data_limit());
        forget_refusals();
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, libc::ENOMEM);
    }
}
