//! Telling a stack overflow from any other bad access, and a failed allocation from any other abort.
//!
//! std installs such a handler at the start of `main`, which a worker never ran. Ours runs on a
//! stack of its own, compares the fault's address with the end of the main thread's stack, leaves a
//! note in shared memory, and lets the signal take its course.
//!
//! Where an allocation fails, std calls `handle_alloc_error`, which aborts. Who aborted is told by the
//! return addresses on the stack: that function never returns, so its frame lies there still.

#![allow(unsafe_code)]

use crate::protocol::sync::{AtomicU32, Relaxed};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize};

/// The note that a worker leaves when it overflowed its stack.
pub(crate) const STACK_OVERFLOW: u32 = 1;

/// The note that a worker leaves when it aborts since it got no memory.
pub(crate) const ALLOCATION_FAILED: u32 = 2;

/// Between the abort and its cause there is less on the stack.
const SEARCHED_WORDS: usize = 512;

/// No longer is the code of `handle_alloc_error` before it calls on.
const HANDLER_BYTES: usize = 128;

/// An address this far outside the stack still is an overflow: the kernel keeps a gap of 1 MiB.
const GAP_BYTES: usize = 1024 * 1024;

static NOTE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
static STACK_END: AtomicUsize = AtomicUsize::new(0);
/// Where the stack stood when the watch began: what pieces use of it lies below.
static STACK_BEGIN: AtomicUsize = AtomicUsize::new(0);

/// Installs the handler for this thread, which must be the process's first. `note` is written when
/// the stack overflows.
pub(crate) fn watch_stack(note: &'static AtomicU32) {
    let Some(end) = stack_end() else { return };
    STACK_END.store(end, Relaxed);
    STACK_BEGIN.store(ptr::from_ref(&end) as usize, Relaxed);
    NOTE.store(ptr::from_ref(note).cast_mut(), Relaxed);
    watch_aborts();
    // SAFETY: the alternate stack is leaked, so it lives as long as the thread; the handler has the
    // type that SA_SIGINFO asks for and does only what is allowed in one.
    unsafe {
        let bytes = (libc::getauxval(libc::AT_MINSIGSTKSZ) as usize).max(libc::SIGSTKSZ) + 16 * 1024;
        let stack: &'static mut [MaybeUninit<u8>] = Box::leak(Box::new_uninit_slice(bytes));
        let alternate = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: bytes };
        libc::sigaltstack(&alternate, ptr::null_mut());
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, ptr::null(), &mut action);
            // A handler that `preload` or a constructor installed knows better.
            if action.sa_sigaction == libc::SIG_DFL {
                action.sa_sigaction = on_fault as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                libc::sigaction(signal, &action, ptr::null_mut());
            }
        }
    }
}

/// The lowest address that this thread's stack may grow to.
#[cfg(target_env = "gnu")]
fn stack_end() -> Option<usize> {
    // SAFETY: the attributes are filled by the first call and destroyed by the last.
    unsafe {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let (mut address, mut bytes) = (ptr::null_mut(), 0);
        let found = libc::pthread_attr_getstack(attributes.as_ptr(), &mut address, &mut bytes) == 0;
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        found.then_some(address as usize)
    }
}

/// The lowest address that this thread's stack may grow to. musl tells how far the first thread's
/// has grown by now; the kernel lets it grow by the limit, from where its mapping ends.
#[cfg(not(target_env = "gnu"))]
fn stack_end() -> Option<usize> {
    let local = 0_u8;
    let here = ptr::from_ref(&local) as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let top = maps.lines().find_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (start..end).contains(&here).then_some(end)
    })?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current?;
    top.checked_sub(usize::try_from(limit).ok()?)
}

unsafe extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid description of the signal.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Some process sent it, maybe this one: then there is no address, and no access to fault again.
    let sent = code <= 0;
    let end = STACK_END.load(Relaxed);
    let note = NOTE.load(Relaxed);
    let overflow = (end.saturating_sub(GAP_BYTES)..end.saturating_add(64 * 1024)).contains(&address);
    if !sent && overflow && !note.is_null() {
        // SAFETY: `watch_stack` was given a reference for ever.
        unsafe { (*note).store(STACK_OVERFLOW, Relaxed) };
    }
    // SAFETY: always allowed.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    if sent {
        // SAFETY: always allowed.
        unsafe { libc::raise(signal) };
    }
    // Else the access faults again on return, and this time the signal does what it does by default.
}

/// Installs the handler that tells a failed allocation, unless there is one already.
fn watch_aborts() {
    // SAFETY: the handler has the type that SA_SIGINFO asks for and does only what is allowed in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGABRT, ptr::null(), &mut action);
        if action.sa_sigaction == libc::SIG_DFL {
            action.sa_sigaction = on_abort as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND as c_int;
            libc::sigaction(libc::SIGABRT, &action, ptr::null_mut());
        }
    }
}

unsafe extern "C" fn on_abort(signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    let note = NOTE.load(Relaxed);
    let handler = std::alloc::handle_alloc_error as *const () as usize;
    // SAFETY: the kernel passes the context of what it interrupted.
    let top = unsafe { stack_pointer(&*context.cast::<libc::ucontext_t>()) };
    let (end, begin) = (STACK_END.load(Relaxed), STACK_BEGIN.load(Relaxed));
    // Of another thread's stack, or of one that the piece made, nobody knows where it ends.
    if (end..begin).contains(&top) && !note.is_null() {
        for address in
            (top.next_multiple_of(size_of::<usize>())..begin).step_by(size_of::<usize>()).take(SEARCHED_WORDS)
        {
            // SAFETY: between the first thread's stack pointer and where its stack stood before it ran
            // any piece (checked above) all of it is mapped, and the pointer is aligned to words.
            let word = unsafe { (address as *const usize).read_volatile() };
            if (handler + 1..handler + HANDLER_BYTES).contains(&word) {
                // SAFETY: `watch_stack` was given a reference for ever.
                unsafe { (*note).store(ALLOCATION_FAILED, Relaxed) };
                break;
            }
        }
    }
    // The default is in place again; abort raises once more by itself, and who sent it does not.
    // SAFETY: always allowed.
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
