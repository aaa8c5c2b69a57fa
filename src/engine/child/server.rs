//! The fork server: runs `preload`, then forks workers on demand and reaps them, to its end.
//!
//! It watches a pidfd of the parent. When the parent is gone, in whatever way, it kills its workers with
//! everything that they started, and ends.
//!
//! Invariant: a process that forks workers has one thread from the first fork on, so a forked worker is whole. The token
//! [`SingleThreaded`] carries that. Where constructors have made threads, it starts each worker by exec ([`Way`]).

use super::calls::ParentCalls;
use super::hooks::run_hook;
use super::output::Output;
use super::prologue::{self, NewWorker};
use super::{panics, worker};
use crate::engine::wire::marker::{self, Marker};
use crate::engine::wire::message::{self, FromServer, Hello, HostSignals, Known, Settings, ToServer};
use crate::failpoint::failpoint;
use crate::sys::descriptors::Descriptor;
use crate::sys::descriptors::{self, Readiness};
use crate::sys::early_output::EarlyOutput;
use crate::sys::image::{self, image};
use crate::sys::launch::{self, Launch};
use crate::sys::process::{self, Forked, LastWait, Lowered, NotConfirmed, SingleThreaded};
use crate::sys::raw::{self, StandardStream};
use crate::sys::rights::{Need, Rights};
use crate::sys::shared_object::{NOT_FOUND, SharedObject};
use crate::sys::signals::{self, DeathTimer};
use crate::sys::{executable, random, socket};
use rustix::io::Errno;
use rustix::process::Pid;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Killed workers end within 500 ms, unless the kernel holds it up: to free much memory takes a while. The
/// parent waits 2 s for the fork server itself (`FAREWELL`), so this must be less.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// A dead worker that a debugger holds is tried again this often: its pidfd stays readable, and nothing tells when it is let
/// go. With 1 ms that would cost a visible part of a core; with 10 s the group's number would be kept as long.
const HELD_EACH: Duration = Duration::from_millis(100);

/// A reason is cut at 4,000 characters of up to 4 bytes, so that it fits into a message of 16 KiB.
const MAX_REASON_CHARS: usize = 4000;

/// A worker, as its fork server knows it.
struct Child {
    seat: u32,
    generation: u32,
    pid: Pid,
    pidfd: Descriptor,
    /// It has ended and cannot be reaped: a debugger holds it.
    is_held: bool,
    /// What it prints while it loads, if it was executed; `None` once that is known to be over.
    output: Option<EarlyOutput>,
}

/// What the fork server may find when it wakes.
#[derive(Default)]
struct News {
    has_order: bool,
    parent_is_gone: bool,
    /// The indices of the children that have ended, in rising order.
    ended: Vec<usize>,
}

pub(crate) struct ForkServer {
    socket: Descriptor,
    parent: Descriptor,
    settings: Settings,
    /// For workers that are started by exec.
    settings_file: Descriptor,
    children: Vec<Child>,
    /// The host ignores SIGCHLD, and its workers are to ignore it too. The fork server must not, since the
    /// kernel would then reap its workers.
    ignores_children: bool,
    /// Its own rights, which a worker has when it is forked.
    own: Rights,
    /// What a worker must do to have those of the host.
    need: Need,
}

impl ForkServer {
    /// Makes this process, which has not reached `main`, a fork server. It does not return if the parent runs
    /// another image.
    pub(crate) fn new(socket: Descriptor, identity: u64, fds: Vec<Descriptor>) -> io::Result<ForkServer> {
        let [parent, settings_file] = <[Descriptor; 2]>::try_from(fds).map_err(|_| io::ErrorKind::InvalidData)?;
        let settings = message::read_settings(&settings_file)?;
        let ignores_children = signals::stop_ignoring_children();
        let (own, need) = (Rights::default(), Need::Nothing);
        let children = Vec::new();
        let server = ForkServer { socket, parent, settings, settings_file, children, ignores_children, own, need };
        if identity != image().identity {
            server.refuse("the started program is not the image that started it");
        }
        worker::mark_process();
        signals::continue_on_news(&server.socket);
        process::name_thread("multicore-fork");
        descriptors::settle_standard_streams();
        // Before any of these signals can come: while this process started, all were blocked.
        signals::follow_host(socket::maker(&server.socket));
        signals::unblock_all();
        // It is in the background of the host's terminal, and is not to be stopped when it writes there.
        signals::ignore_terminal();
        server.tell(&FromServer::Intercepted, &[]);
        Ok(server)
    }

    /// Starts the timer that ends this process if the parent is gone, for the time before [`serve`](Self::serve).
    pub(crate) fn death_timer(&self) -> Option<DeathTimer<'_>> {
        DeathTimer::start(self.parent.as_fd())
    }

    /// Finds out how workers can be started, while the timer runs. If they are forked, `preload` runs here. `entry` is the
    /// mark of the crate's own constructor, `object` the shared object that has it.
    pub(crate) fn prepare(
        &self,
        timer: Option<DeathTimer<'_>>,
        calls: ParentCalls,
        (entry, object): (u64, Option<SharedObject>),
    ) -> Way {
        // Whether workers can have it. This process keeps its own, so that it tells of deaths in time.
        if let Err(reason) = self.lower_niceness() {
            self.refuse(&reason);
        }
        let way = match SingleThreaded::confirm() {
            Ok(_) => {
                drop(object);
                Way::Fork(self.preload(timer, calls))
            }
            // A constructor made them, as that of a library that is linked or preloaded.
            Err(NotConfirmed::Threads(_)) => {
                drop(timer);
                match Launch::capture(marker::NAME.to_str().unwrap_or_default(), Vec::new()) {
                    Ok(launch) => Way::Execute { launch: Box::new(launch.with_preload(object)), entry },
                    Err(error) => self.refuse(&format!("it has threads, and cannot start workers by exec: {error}")),
                }
            }
            Err(why) => self.refuse(&describe_threads(why)),
        };
        failpoint!("server-prepared");
        self.tell(&FromServer::Ready { executes: matches!(way, Way::Execute { .. }) }, &[]);
        failpoint!("server-ready");
        way
    }

    /// Until this is dropped, this thread has the niceness of the workers, if that is lower than its own.
    fn lower_niceness(&self) -> Result<Option<Lowered>, String> {
        self.settings.niceness.map_or(Ok(None), Lowered::to)
    }

    /// Runs `preload`, and makes sure that forking is safe afterwards.
    fn preload(&self, timer: Option<DeathTimer<'_>>, calls: ParentCalls) -> SingleThreaded {
        if let Some(hook) = &self.settings.preload {
            panics::install_panic_hook();
            if let Err(reason) = run_hook(hook, calls) {
                self.refuse(&format!("preload failed: {reason}"));
            }
        }
        drop(timer);
        let single_threaded = SingleThreaded::confirm().unwrap_or_else(|why| self.refuse(&describe_threads(why)));
        // What preload printed would else be printed by each worker once more.
        Output::new().flush();
        single_threaded
    }

    /// Sends a message to the parent, and waits for room if there is none.
    fn tell(&self, what: &FromServer, fds: &[BorrowedFd<'_>]) {
        while let Err(error) = message::send(&self.socket, what, fds) {
            if error.kind() != io::ErrorKind::WouldBlock {
                self.end();
            }
            // The parent does not read now, and may never read again.
            let watched = [(self.socket.as_fd(), Readiness::Writable), (self.parent.as_fd(), Readiness::Readable)];
            if descriptors::wait_any(&watched, None).is_some_and(|ready| ready[1]) {
                self.end();
            }
        }
    }

    fn refuse(&self, reason: &str) -> ! {
        self.tell(&FromServer::Refused(reason.chars().take(MAX_REASON_CHARS).collect()), &[]);
        self.end()
    }

    /// Obeys the parent until it is gone or closes the socket. A worker that is forked leaves this function
    /// too, and never returns.
    pub(crate) fn serve(mut self, calls: ParentCalls, way: Way) -> ! {
        // It has run, or workers read it from the file.
        self.settings.preload = None;
        // A constructor or `preload` may have given some up.
        self.own = Rights::of_this_process();
        loop {
            let news = self.wait();
            if news.parent_is_gone {
                self.end();
            }
            for index in news.ended.into_iter().rev() {
                self.reap(index);
            }
            if !news.has_order {
                continue;
            }
            let order = match socket::receive(&self.socket, false) {
                Ok(Some(order)) => order,
                Err(Errno::AGAIN) => continue,
                // The parent closed its end: the pool has ended.
                _ => self.end(),
            };
            if let Some(spawn) = self.obey(order, &way)
                && let Way::Fork(single_threaded) = way
            {
                self.become_worker(spawn, calls, single_threaded);
            }
        }
    }

    /// Sleeps until there is an order, the parent is gone, or children have ended.
    fn wait(&self) -> News {
        let is_held = |&index: &usize| self.children[index].is_held;
        let (held, others): (Vec<_>, Vec<_>) = (0..self.children.len()).partition(is_held);
        let fds = [self.socket.as_fd(), self.parent.as_fd()].into_iter();
        let fds = fds.chain(others.iter().map(|&index| self.children[index].pidfd.as_fd()));
        let watched: Vec<_> = fds.map(|fd| (fd, Readiness::Readable)).collect();
        let timeout = (!held.is_empty()).then_some(HELD_EACH);
        let Some(ready) = descriptors::wait_any(&watched, timeout) else { return News::default() };
        let others = others.into_iter().zip(&ready[2..]).filter(|(_, ready)| **ready).map(|(index, _)| index);
        let mut ended: Vec<_> = others.chain(held).collect();
        ended.sort_unstable();
        News { has_order: ready[0], parent_is_gone: ready[1], ended }
    }

    /// Reaps a child that has ended. What it started is killed before, while its number cannot be used again.
    fn reap(&mut self, index: usize) {
        let pid = self.children[index].pid;
        failpoint!("server-death-seen");
        // Refused where all that is left of it has changed its user: that is beyond reach.
        let _ = process::kill_group(pid);
        failpoint!("server-group-killed");
        if let Some(ending) = process::reap(pid) {
            let Child { seat, generation, output, .. } = self.children.swap_remove(index);
            failpoint!("server-reaped");
            let printed = output.and_then(|output| output.printed());
            self.tell(&FromServer::Died { worker: seat, generation, ending, printed }, &[]);
            failpoint!("server-death-told");
        } else {
            self.children[index].is_held = true;
        }
    }

    /// Carries out an order of the parent's. In a worker that it forks it gives that worker's order.
    fn obey(&mut self, order: socket::Received, way: &Way) -> Option<Spawn> {
        let (seat, generation) = match message::decode(&order) {
            Ok(ToServer::Spawn { worker, generation }) => (worker, generation),
            Ok(ToServer::Host { rights, streams }) => {
                self.follow(&rights, streams, order.fds, way);
                return None;
            }
            Ok(ToServer::Kill { worker, generation }) => {
                let is_it = |child: &&Child| (child.seat, child.generation) == (worker, generation);
                if let Some(child) = self.children.iter().find(is_it)
                    && let Err(error) = process::kill_child(child.pid, &child.pidfd)
                {
                    let errno = error.raw_os_error();
                    self.tell(&FromServer::KillFailed { worker, generation, errno }, &[]);
                }
                return None;
            }
            Err(_) => self.end(),
        };
        let Ok(fds) = <[Descriptor; 5]>::try_from(order.fds) else {
            // This process has reached its limit of descriptors.
            self.tell(&FromServer::SpawnFailed { worker: seat, generation, errno: Errno::MFILE.raw_os_error() }, &[]);
            return None;
        };
        failpoint!("server-order-read");
        self.spawn(Spawn { seat, generation, fds, server: process::own_pid() }, way)
    }

    /// The host's rights and streams, which the next workers have.
    fn follow(&mut self, rights: &Rights, streams: [bool; 2], fds: Vec<Descriptor>, way: &Way) {
        descriptors::replace_streams(streams, fds);
        self.need = self.own.need(rights);
        if matches!((way, &self.need), (Way::Execute { .. }, Need::Take(_)))
            && let Some(why) = why_not_executed(rights)
        {
            self.need = Need::Impossible(format!("this process has changed its rights since its pool was made: {why}"));
        }
        if let Need::Impossible(reason) = &self.need {
            self.tell(&FromServer::CannotFollow(reason.clone()), &[]);
        }
    }

    /// Starts a worker and tells the parent; in a worker that it forks it gives its order.
    fn spawn(&mut self, order: Spawn, way: &Way) -> Option<Spawn> {
        let (seat, generation) = (order.seat, order.generation);
        if matches!(self.need, Need::Impossible(_)) {
            // The parent was told, and ends the pool.
            return None;
        }
        let started = match way {
            Way::Execute { launch, entry } => self.execute(&order, launch, *entry),
            Way::Fork(proof) => match process::fork(proof) {
                Ok(Forked::Child) => return Some(order),
                Ok(Forked::Parent(pid)) => {
                    failpoint!("server-forked");
                    let pidfd = process::pidfd_of(pid).inspect_err(|_| process::kill_and_reap(pid));
                    pidfd.map(|pidfd| (pid, pidfd, None)).map_err(io::Error::from)
                }
                Err(error) => Err(error),
            },
        };
        match started {
            Ok((pid, pidfd, output)) => {
                let told = FromServer::Spawned { worker: seat, generation, pid: pid.as_raw_nonzero().get() as u32 };
                self.tell(&told, &[pidfd.as_fd()]);
                failpoint!("server-spawn-told");
                self.children.push(Child { seat, generation, pid, pidfd, is_held: false, output });
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
                self.tell(&FromServer::SpawnFailed { worker: seat, generation, errno }, &[]);
            }
        }
        None
    }

    /// Starts a worker by exec: what it needs waits in a socket, as for the fork server itself.
    fn execute(&mut self, order: &Spawn, launch: &Launch, entry: u64) -> io::Result<Started> {
        // So the descriptors that this process may have are enough for the pidfds of as many workers.
        for child in &mut self.children {
            child.output.take_if(|output| output.is_taken());
        }
        let output = EarlyOutput::new(0)?;
        let errors = raw::standard_stream(StandardStream::Error);
        let (ours, theirs) = socket::pair()?;
        let nonce = random::number()?;
        let rights = match &self.need {
            Need::Take(rights) => Some(rights),
            Need::Nothing | Need::Impossible(_) => None,
        };
        let hello = Hello::Worker {
            known: Known { nonce, identity: image().identity },
            has_errors: errors.is_some(),
            preload: launch.preload().map(SharedObject::told),
            worker: order.seat,
            rights: rights.cloned(),
            signals: HostSignals { host: socket::maker(&self.socket), ignores_children: self.ignores_children },
        };
        let [out, back, caller, supervisor, socket] = &order.fds;
        let fds = [out, back, caller, supervisor, socket, &self.settings_file].map(AsFd::as_fd);
        let fds: Vec<_> = fds.into_iter().chain(errors).collect();
        message::send(&ours, &hello, &fds)?;
        // What was sent stays in the other end.
        drop(ours);
        let parent = order.server.as_raw_nonzero().get() as u32;
        let marker = Marker { entry, nonce, socket: theirs.as_raw_fd(), parent };
        let program = executable::open(0).map_err(|_| io::Error::from(Errno::NOEXEC))?;
        let preload = launch.preload().map(SharedObject::prove).transpose().map_err(|_| io::Error::from(NOT_FOUND))?;
        let rights = rights.map(|rights| (&self.own, rights));
        // With the host's rights, or after its exec, the worker may not be able to take it.
        let _lowered = self.lower_niceness().map_err(io::Error::other)?;
        let (pid, pidfd) = launch::start_worker(
            launch,
            (&program, preload.as_ref()),
            marker.to_variable(),
            (theirs.as_fd(), &output),
            rights,
        )?;
        Ok((pid, pidfd, Some(output)))
    }

    /// In a process that was just forked: lets go of everything that belongs to the fork server, and runs the
    /// worker.
    fn become_worker(self, spawn: Spawn, calls: ParentCalls, single_threaded: SingleThreaded) -> ! {
        let ForkServer { socket, parent, settings, settings_file, children, ignores_children, own, need } = self;
        drop((socket, parent, settings_file, children));
        if ignores_children {
            signals::ignore_children();
        }
        let Spawn { seat, generation: _, fds, server } = spawn;
        prologue::run(NewWorker::forked((seat, fds), settings, (own, need), server, calls, single_threaded))
    }

    /// Kills all workers with everything that they started, and ends.
    fn end(&self) -> ! {
        failpoint!("server-ending");
        for child in &self.children {
            // Where both are refused, the worker's parent-death signal is left.
            let _ = process::kill_group(child.pid);
            let _ = process::kill_child(child.pid, &child.pidfd);
        }
        // A process that waits for the end of this one is to find no worker left.
        let wait = LastWait::new(LAST_WAIT);
        for child in &self.children {
            process::has_ended(&child.pidfd, wait.left());
            process::reap(child.pid);
        }
        // Constructors and preload were counted here. Workers begin at 0.
        image::write_counts();
        failpoint!("server-ended");
        process::end_with_group()
    }
}

/// Says why a worker that is executed with these rights would run its `main`, if so.
fn why_not_executed(rights: &Rights) -> Option<&'static str> {
    if rights.are_distrusted_at_exec() {
        return Some("its effective user or group is not its real one, and no worker can be started by exec with both");
    }
    let gains = executable::open(0).is_ok_and(|program| program.would_gain_rights(rights.user_and_group()));
    gains.then_some(
        "its file is setuid or has capabilities, and a worker that is started by exec would have these rights again",
    )
}

/// A worker that was started; see [`Child`].
type Started = (Pid, Descriptor, Option<EarlyOutput>);

/// How workers are started.
pub(crate) enum Way {
    /// By fork: this process has one thread.
    Fork(SingleThreaded),
    /// By exec, each as this process was: constructors have made threads, whose locks and state a forked worker would
    /// inherit without the threads.
    Execute {
        launch: Box<Launch>,
        /// For the marker: that of the crate's own constructor.
        entry: u64,
    },
}

/// The order to fork a worker, with the descriptors *out*, *back*, the events of caller and supervisor, and the socket.
struct Spawn {
    seat: u32,
    generation: u32,
    fds: [Descriptor; 5],
    /// The fork server, which gives the order on.
    server: Pid,
}

/// Why workers cannot be forked from this process.
fn describe_threads(why: NotConfirmed) -> String {
    let rule = "workers can only be forked from a process with one: start threads in on_worker_start instead";
    match why {
        NotConfirmed::Threads(Some(threads)) => {
            let others = threads - 1;
            format!(
                "the fork server has {threads} threads, {others} of them made by preload or by a constructor of the \
                 program; {rule}"
            )
        }
        NotConfirmed::Threads(None) => {
            format!(
                "the fork server has more than one thread, made by preload or by a constructor of the program; {rule}"
            )
        }
        NotConfirmed::Unknown(errno) => format!(
            "it cannot count its threads, and workers can only be forked from a process with one: there is no /proc, \
             and unshare(CLONE_THREAD) fails: {}",
            io::Error::from_raw_os_error(errno)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_threads_or_what_keeps_them_unknown() {
        for (why, words) in [
            (NotConfirmed::Threads(Some(3)), ["3 threads", "2 of them"]),
            (NotConfirmed::Threads(None), ["more than one thread", "on_worker_start"]),
            (NotConfirmed::Unknown(libc::EPERM), ["there is no /proc", "Operation not permitted"]),
        ] {
            let text = describe_threads(why);
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }
}
