//! The crate's own constructor, which makes a process the fork server before its `main`.
//!
//! Every program that links the crate runs [`entry`] before `main`. Without the marker it returns
//! at once. With a marker that is meant for this copy of the crate it never returns: it runs the constructors
//! that would have come after it, then `preload`, and then serves as fork server (`server.rs`). In a shared object it does so
//! where that was preloaded, so before anything of the host but its libraries. Where constructors make
//! threads, the fork server cannot fork: then each worker is started in the same way, by a marker of the fork server's.

#![allow(unsafe_code)]

use super::calls::ParentCalls;
use super::prologue::{self, NewWorker};
use super::server::ForkServer;
use crate::engine::wire::marker::{self, Marker};
use crate::engine::wire::message::{self, Hello};
use crate::failpoint::failpoint;
use crate::sys::descriptors::Descriptor;
use crate::sys::image::{self, Constructor, image};
use crate::sys::raw::{self, BeforeMain};
use crate::sys::shared_object::{self, SharedObject};
use crate::sys::{descriptors, early_output, process, socket};
use std::ffi::c_int;

/// In the list of functions that the loader calls before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: Constructor = entry;

/// The address of the entry: the symbol that all offsets of this copy of the crate start from.
pub(crate) fn address() -> usize {
    // SAFETY: a static of our own, which is never written. The read is volatile, so that the linker must keep
    // the function that it points to.
    let entry = unsafe { (&raw const ENTRY).read_volatile() };
    entry as *const () as usize
}

/// True if a child that this process starts will be stopped before its `main`.
pub(crate) fn can_intercept() -> bool {
    image().has_code(address()) && image::constructors_after(entry).is_some()
}

/// A number for the entry and its image, which tells two copies of the crate apart, also in two objects.
pub(crate) fn mark() -> u64 {
    image().mark((address() - image().base) as u64)
}

/// Runs the constructors that stand after `own` in the array of this image, as the loader would next.
///
/// # Safety
/// The loader must have called `own` with these arguments, and `own` must not return: the loader would run them once more.
pub unsafe fn run_constructors_after(
    own: Constructor,
    argument_count: c_int,
    arguments: *const *const u8,
    environment: *const *const u8,
) {
    for constructor in image::constructors_after(own).unwrap_or_default() {
        // SAFETY: the loader would call it now, with these arguments (musl passes none, and there
        // no constructor reads any).
        unsafe { constructor(argument_count, arguments, environment) };
    }
}

unsafe extern "C" fn entry(argument_count: c_int, arguments: *const *const u8, environment: *const *const u8) {
    image::note_loaded();
    // An object that `main` has loaded serves nobody, and leaves the marker there, by which no pool is made. (If the marker is ours,
    // the loader did not preload the object.)
    if image::has_variable(marker::NAME) && image().is_object && !image::is_preloaded() {
        return;
    }
    // SAFETY: the loader calls this constructor before `main`, and the token is gone when this statement ends.
    let intercepted = intercept(&unsafe { BeforeMain::new() });
    let Some(Intercepted { socket, hello, mut fds, parent, object }) = intercepted else { return };
    early_output::pass_on(if hello.has_errors() { fds.pop() } else { None });
    let identity = hello.known().identity;
    // SAFETY: the marker proved that the socket comes from the parent, or from its fork server. That the parent runs this
    // image is checked before the token is used: in `ForkServer::new`, or just below. The parent makes its words from
    // `address`, too.
    let calls = unsafe { ParentCalls::new(address()) };
    // SAFETY: the loader called this constructor with these arguments, and it does not return.
    let run_constructors = || unsafe { run_constructors_after(entry, argument_count, arguments, environment) };
    match hello {
        Hello::Server { .. } => {
            let Ok(server) = ForkServer::new(socket, identity, fds) else { process::exit_now(1) };
            failpoint!("server-intercepted");
            let timer = server.death_timer();
            run_constructors();
            let way = server.prepare(timer, calls, (mark(), object));
            server.serve(calls, way)
        }
        Hello::Worker { worker, rights, signals, .. } => {
            // Nothing comes by them any more.
            drop((socket, object));
            if identity != image().identity {
                process::exit_now(1);
            }
            let Some(start) = NewWorker::executed(worker, fds, rights, parent, calls) else { process::exit_now(1) };
            start.intercepted(signals);
            run_constructors();
            prologue::run(start)
        }
    }
}

/// What an intercepted process was started with.
struct Intercepted {
    socket: Descriptor,
    hello: Hello,
    fds: Vec<Descriptor>,
    /// The process that started it.
    parent: u32,
    /// This shared object, as it was preloaded.
    object: Option<SharedObject>,
}

/// The socket and the first message, if there is a marker that is true and meant for this copy of the crate.
/// Such a marker is removed from the environment, and so is one that cannot be meant for any copy.
fn intercept(before_main: &BeforeMain) -> Option<Intercepted> {
    let value = raw::variable(before_main, marker::NAME)?;
    // With more rights than its caller, a program takes no orders from the environment.
    if image::is_privileged() {
        return None;
    }
    failpoint!("server-entered");
    let verdict = judge(before_main, value);
    if !matches!(verdict, Verdict::AnotherCopys) {
        raw::set_variable(before_main, marker::NAME, None);
    }
    match verdict {
        Verdict::Ours(intercepted) => Some(*intercepted),
        Verdict::AnotherCopys | Verdict::Nobodys => None,
    }
}

/// Whom a marker is meant for.
enum Verdict {
    Ours(Box<Intercepted>),
    AnotherCopys,
    Nobodys,
}

fn judge(before_main: &BeforeMain, value: &[u8]) -> Verdict {
    let Some((marker, is_of_this_version)) = Marker::parse(value) else { return Verdict::Nobodys };
    // A descriptor that is no socket made by that parent is not ours: it is neither closed nor changed.
    let Some(socket) = raw::inherited(before_main, marker.socket) else { return Verdict::Nobodys };
    if socket::maker(socket) != Some(marker.parent) {
        return Verdict::Nobodys;
    }
    if !is_of_this_version || marker.entry != mark() || image::constructors_after(entry).is_none() {
        return Verdict::AnotherCopys;
    }
    let Ok(Some(received)) = socket::receive(socket, false) else { return Verdict::Nobodys };
    let Ok(mut hello) = message::decode::<Hello>(&received) else { return Verdict::Nobodys };
    if hello.known().nonce != marker.nonce || received.fds.len() != hello.descriptors() {
        return Verdict::Nobodys;
    }
    if descriptors::close_at_exec(socket).is_err() {
        return Verdict::AnotherCopys;
    }
    // SAFETY: the nonce shows that the parent made the socket for this copy of the crate alone.
    let socket = unsafe { raw::take_inherited(socket) }.into();
    let fds = received.fds;
    let object = hello.take_preload().and_then(|(number, name, former)| {
        raw::set_variable(before_main, shared_object::PRELOAD, former.as_deref());
        // SAFETY: as above: the parent opened this descriptor for this process alone.
        let fd = unsafe { raw::take_inherited(raw::inherited(before_main, number)?) };
        SharedObject::preloaded(fd.into(), name)
    });
    Verdict::Ours(Box::new(Intercepted { socket, hello, fds, parent: marker.parent, object }))
}
