//! The crate's own constructor, and the fork server that it becomes.
//!
//! Every program that links the crate runs [`entry`] before `main`. Without the marker it returns
//! at once. With one that fits it never returns: it runs the constructors that would have come
//! after it, then `preload`, and then forks workers on demand, single-threaded to its end, and
//! reaps them. It watches a pidfd of the parent; when the parent is gone, by whatever way, it kills
//! its workers with all that they started, and goes.
//!
//! Invariant: from the first fork on this process has one thread, so a forked worker is whole.

#![allow(unsafe_code)]

use super::worker;
use crate::engine::wire::marker::{self, Marker};
use crate::engine::wire::message::{self, FromServer, Hello, Settings, ToServer};
use crate::failpoint::failpoint;
use crate::sys::image::{self, Constructor, image};
use crate::sys::process::{self, DeathTimer, Forked};
use crate::sys::{memory, socket};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Pid;
use std::ffi::c_int;
use std::time::Duration;

/// In the list that the loader works off before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: Constructor = entry;

/// The address of the entry: the symbol that all offsets of this copy of the crate start from.
pub(crate) fn address() -> usize {
    // SAFETY: a static of our own. Volatile, so that the linker must keep what it points to.
    let entry = unsafe { (&raw const ENTRY).read_volatile() };
    entry as *const () as usize
}

/// True if a child that this process starts will be stopped before its `main`.
pub(crate) fn is_in_executable() -> bool {
    image().has_code(address()) && image::constructors_after(entry).is_some()
}

/// The offset of the entry in the image, which tells two copies of the crate apart.
pub(crate) fn offset() -> u64 {
    (address() - image().base) as u64
}

unsafe extern "C" fn entry(argument_count: c_int, arguments: *const *const u8, environment: *const *const u8) {
    let Some(value) = process::early_variable(marker::NAME) else { return };
    // With more rights than its caller, a program takes no orders from the environment.
    if image::is_privileged() {
        return;
    }
    failpoint!("server-entered");
    let Some((socket, hello)) = intercept(value) else { return };
    process::unset_variable(marker::NAME);
    let Ok(mut server) = Server::new(socket, hello) else { process::exit_now(1) };
    failpoint!("server-intercepted");
    let timer = DeathTimer::start(&server.parent);
    for constructor in image::constructors_after(entry).unwrap_or_default() {
        // SAFETY: the loader would call it now, with these arguments (musl passes none, and there
        // no constructor reads any).
        unsafe { constructor(argument_count, arguments, environment) };
    }
    server.prepare(timer);
    server.serve()
}

/// The socket and the first message, if the marker is meant for this copy of the crate and true.
/// One that nobody can be meant by leaves the environment.
fn intercept(value: &[u8]) -> Option<(OwnedFd, socket::Received)> {
    let Some((marker, of_this_version)) = Marker::parse(value) else {
        process::unset_variable(marker::NAME);
        return None;
    };
    // A number that is no socket made by that parent is not ours to close, nor to change.
    let maker = process::borrow_inherited(marker.socket).and_then(socket::maker);
    if maker != Some(marker.parent) {
        process::unset_variable(marker::NAME);
        return None;
    }
    if !of_this_version || marker.entry != offset() || image::constructors_after(entry).is_none() {
        return None;
    }
    let first = process::borrow_inherited(marker.socket).map(|socket| socket::receive(socket, false));
    let hello = match first {
        Some(Ok(Some(received))) if received.fds.len() == 2 => received,
        _ => {
            process::unset_variable(marker::NAME);
            return None;
        }
    };
    match message::decode::<Hello>(&hello) {
        Ok(Hello { nonce, .. }) if nonce == marker.nonce => {
            let socket = process::inherited(marker.socket)?;
            Some((socket, hello))
        }
        _ => {
            process::unset_variable(marker::NAME);
            None
        }
    }
}

/// A killed worker ends within this time, unless the system holds it.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// A worker, as its fork server knows it.
struct Child {
    worker: u32,
    generation: u32,
    pid: Pid,
    pidfd: OwnedFd,
}

struct Server {
    socket: OwnedFd,
    parent: OwnedFd,
    settings: Settings,
    children: Vec<Child>,
    /// The host ignores SIGCHLD, and so shall its workers; we must not, or we could not reap.
    ignores_children: bool,
}

impl Server {
    fn new(socket: OwnedFd, hello: socket::Received) -> std::io::Result<Server> {
        let identity = message::decode::<Hello>(&hello)?.identity;
        let mut fds = hello.fds.into_iter();
        let (Some(parent), Some(settings)) = (fds.next(), fds.next()) else {
            return Err(std::io::ErrorKind::InvalidData.into());
        };
        let settings = crate::codec::decode_message(&memory::read_file(&settings)?).map_err(std::io::Error::other)?;
        let ignores_children = process::stop_ignoring_children();
        let server = Server { socket, parent, settings, children: Vec::new(), ignores_children };
        if identity != image().identity {
            server.refuse("the started program is not the image that started it");
        }
        worker::enter();
        process::continue_on_news(&server.socket);
        process::name_thread("multicore-fork");
        process::settle_standard_streams();
        process::unblock_signals();
        // In the background of the host's terminal, writing to it must not stop us.
        process::ignore_signal(libc::SIGTTOU);
        process::ignore_signal(libc::SIGTTIN);
        server.tell(&FromServer::Intercepted, &[]);
        Ok(server)
    }

    /// Runs `preload` and makes sure that forking is safe. Until then a timer looks for the parent.
    fn prepare(&mut self, timer: Option<DeathTimer>) {
        if let Some(hook) = self.settings.preload.take() {
            worker::install_panic_hook();
            if let Err(reason) = worker::run_hook(&hook) {
                self.refuse(&format!("preload failed: {reason}"));
            }
        }
        drop(timer);
        let threads = process::thread_count();
        if let Some(threads) = threads.filter(|&threads| threads != 1) {
            let others = threads - 1;
            self.refuse(&format!(
                "the fork server has {threads} threads, {others} of them made by preload or by a constructor of the \
                 program; workers can only be forked from a process with one: start threads in on_worker_start instead"
            ));
        }
        failpoint!("server-prepared");
        self.tell(&FromServer::Ready, &[]);
        failpoint!("server-ready");
    }

    fn tell(&self, what: &FromServer, fds: &[rustix::fd::BorrowedFd<'_>]) {
        while let Err(error) = message::send(&self.socket, what, fds) {
            if error.kind() != std::io::ErrorKind::WouldBlock {
                self.end();
            }
            // The parent does not read; perhaps it never will again.
            let mut fds = [PollFd::new(&self.socket, PollFlags::OUT), PollFd::new(&self.parent, PollFlags::IN)];
            let _ = rustix::event::poll(&mut fds, None);
            if !fds[1].revents().is_empty() {
                self.end();
            }
        }
    }

    fn refuse(&self, reason: &str) -> ! {
        self.tell(&FromServer::Refused(reason.chars().take(4000).collect()), &[]);
        self.end()
    }

    fn serve(&mut self) -> ! {
        loop {
            let (orders, orphaned, ended) = self.wait();
            if orphaned {
                self.end();
            }
            for index in ended.into_iter().rev() {
                self.bury(index);
            }
            if orders {
                match socket::receive(&self.socket, false) {
                    Ok(Some(order)) => self.obey(order),
                    Err(rustix::io::Errno::AGAIN) => {}
                    // The parent closed its end: the pool is gone.
                    _ => self.end(),
                }
            }
        }
    }

    /// Sleeps until there are orders, the parent is gone, or some children (by index) have ended.
    fn wait(&self) -> (bool, bool, Vec<usize>) {
        let fds = [self.socket.as_fd(), self.parent.as_fd()].into_iter();
        let fds = fds.chain(self.children.iter().map(|child| child.pidfd.as_fd()));
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        if rustix::event::poll(&mut fds, None).is_err() {
            return (false, false, Vec::new());
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ended = fds[2..].iter().enumerate().filter(|(_, fd)| ready(fd)).map(|(index, _)| index);
        (ready(&fds[0]), ready(&fds[1]), ended.collect())
    }

    /// A child has ended. What it started dies with it, before its number can be used again.
    fn bury(&mut self, index: usize) {
        let pid = self.children[index].pid;
        failpoint!("server-death-seen");
        process::kill_group(pid);
        failpoint!("server-group-killed");
        if let Some(ending) = process::reap(pid) {
            let Child { worker, generation, .. } = self.children.swap_remove(index);
            failpoint!("server-reaped");
            self.tell(&FromServer::Died { worker, generation, ending }, &[]);
            failpoint!("server-death-told");
        }
    }

    fn obey(&mut self, order: socket::Received) {
        let (worker, generation) = match message::decode(&order) {
            Ok(ToServer::Spawn { worker, generation }) => (worker, generation),
            Ok(ToServer::Kill { worker, generation }) => {
                let is_it = |child: &&Child| (child.worker, child.generation) == (worker, generation);
                if let Some(child) = self.children.iter().find(is_it) {
                    process::kill(&child.pidfd);
                }
                return;
            }
            Err(_) => self.end(),
        };
        let Ok([out, back, caller, supervisor]) = <[OwnedFd; 4]>::try_from(order.fds) else {
            // There was no room for them.
            return self.tell(&FromServer::SpawnFailed { worker, generation, errno: libc::EMFILE }, &[]);
        };
        failpoint!("server-order-read");
        let server = rustix::process::getpid();
        let forked = process::fork().and_then(|forked| match forked {
            Forked::Child => Ok(None),
            Forked::Parent(pid) => {
                failpoint!("server-forked");
                match process::pidfd_of(pid) {
                    Ok(pidfd) => Ok(Some((pid, pidfd))),
                    Err(error) => {
                        process::kill_and_reap(pid);
                        Err(error.into())
                    }
                }
            }
        });
        match forked {
            Ok(None) => {
                let settings = std::mem::take(&mut self.settings);
                // What is the fork server's is no worker's.
                self.children.clear();
                // SAFETY: this process leaves the frame of `serve` for ever; both are closed once.
                unsafe {
                    std::ptr::drop_in_place(&raw mut self.socket);
                    std::ptr::drop_in_place(&raw mut self.parent);
                }
                if self.ignores_children {
                    process::ignore_signal(libc::SIGCHLD);
                }
                worker::main(worker::Start { worker, out, back, caller, supervisor, settings, server })
            }
            Ok(Some((pid, pidfd))) => {
                let told = FromServer::Spawned { worker, generation, pid: pid.as_raw_nonzero().get() as u32 };
                self.tell(&told, &[pidfd.as_fd()]);
                failpoint!("server-birth-told");
                self.children.push(Child { worker, generation, pid, pidfd });
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                self.tell(&FromServer::SpawnFailed { worker, generation, errno }, &[]);
            }
        }
    }

    /// Kills all workers with what they started, and goes.
    fn end(&self) -> ! {
        failpoint!("server-ending");
        for child in &self.children {
            process::kill_group(child.pid);
            process::kill(&child.pidfd);
        }
        // Who waits for our end shall find none of them.
        for child in &self.children {
            process::has_ended(&child.pidfd, LAST_WAIT);
            process::reap(child.pid);
        }
        failpoint!("server-ended");
        process::end_with_group()
    }
}
