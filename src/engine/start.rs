//! Starting a pool's processes: the checks before, the fork server, the handshake.

use crate::backend::{self, PoolSettings, Workers};
use crate::codec;
use crate::engine::child::entry;
use crate::engine::core::{Core, ServerStage, event};
use crate::engine::link::Buffers;
use crate::engine::supervisor::{INTERCEPTION_DEADLINE, Supervisor};
use crate::engine::wire::marker::{self, Marker};
use crate::engine::wire::message::{self, FromServer, Hello, Hook, Settings};
use crate::engine::wire::result_limit::ResultLimit;
use crate::engine::{Shared, child::worker};
use crate::error::{Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::sys::event::{Epoll, Event};
use crate::sys::image::{self, image};
use crate::sys::process::{self, BlockedSignals, Launch};
use crate::sys::{clock, memory, random, socket};
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// A fork server, as its parent holds it; the socket lies in the [`Core`].
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// The pool's count when it was started: if it has not grown since, nothing came of it.
    pub(crate) pieces_done_before: u64,
}

/// Starts fork servers that are all alike, the first and every later one.
pub(crate) struct Launcher {
    launch: Launch,
    settings: OwnedFd,
    callers: Arc<Epoll>,
    supervisors: Arc<Epoll>,
}

/// So many workers are ordered before the fork server is there to read it: they fit into the socket.
const ORDERED_AHEAD: usize = 8;

/// Says why no pool can run in this process, if so.
pub(crate) fn check_environment() -> Result<(), Error> {
    if worker::is_worker() {
        return Err(Error::new(
            ErrorKind::InWorker,
            "this process is a worker, and a worker has no pool of its own: run the pieces here, as Task::new_or_inline does",
        ));
    }
    let unsupported = |reason: &str| Err(Error::new(ErrorKind::Unsupported, format!("no pool can run here: {reason}")));
    if image::is_privileged() {
        return unsupported("the program has more rights than its caller (setuid or file capabilities)");
    }
    if std::env::var_os(marker::NAME.to_str().unwrap_or_default()).is_some() {
        return unsupported("this process was started as a fork server and not stopped before its main function");
    }
    if !entry::is_in_executable() {
        return unsupported(
            "the crate lies in a shared library, and only the executable's own code is the same in a worker",
        );
    }
    if !process::is_this_process() {
        return unsupported("this process was forked from one that had pools");
    }
    Ok(())
}

/// The settings in the form that travels.
fn travelling(settings: &PoolSettings) -> Result<Settings, Error> {
    let hook = |hook: &Option<backend::Hook>| hook.as_ref().map(travelling_hook).transpose();
    Ok(Settings {
        preload: hook(&settings.preload)?,
        on_worker_start: hook(&settings.on_worker_start)?,
        on_worker_exit: hook(&settings.on_worker_exit)?,
        warm_memory_bytes: settings.warm_memory_bytes,
        max_result_bytes: settings.max_result_bytes,
        core_files: settings.core_files,
        no_new_privileges: settings.no_new_privileges,
    })
}

/// A hook in the form that travels.
fn travelling_hook(hook: &backend::Hook) -> Result<Hook, Error> {
    match crate::engine::travel_word(&hook.call) {
        Some(call) => Ok(Hook { call, value: hook.value.clone() }),
        None => Err(Error::new(
            ErrorKind::Unsupported,
            "a hook must be a function of the executable, not of a shared library",
        )),
    }
}

impl Launcher {
    /// Starts a fork server and orders the workers; what it answers is yet to come. Says too what came of
    /// the orders.
    pub(crate) fn launch(&self, core: &mut Core) -> Result<(Server, std::io::Result<()>), Error> {
        let failed = |what: &'static str| move |error: rustix::io::Errno| Error::system(what, error);
        let (ours, theirs) = socket::pair().map_err(failed("cannot make the socket to the fork server"))?;
        let theirs = self.launch.beyond_passed(theirs).map_err(failed("cannot make the socket to the fork server"))?;
        let nonce = random::number().map_err(failed("cannot get random numbers"))?;
        let parent = process::own_pidfd()
            .map_err(failed("cannot open a pidfd of this process (pidfd_open, in Linux 5.3 or later)"))?;
        let hello = Hello { nonce, identity: image().identity };
        message::send(&ours, &hello, &[parent.as_fd(), self.settings.as_fd()])
            .map_err(|error| Error::system("cannot write to the fork server", error))?;
        core.server = Some(ours);
        core.server_stage = ServerStage::Started { since_ns: clock::now_ns() };
        // Orders that wait for it: it need not wait for us, who may not run before it sleeps.
        let ordered = core.fill_some(ORDERED_AHEAD);
        failpoint!("parent-orders-ahead");
        let marker = Marker { entry: entry::offset(), nonce, socket: theirs.as_raw_fd(), parent: std::process::id() };
        let (pid, pidfd) = process::start_image(&self.launch, marker.to_variable(), theirs.as_fd())
            .map_err(|error| Error::system("cannot start this program once more as fork server", error))?;
        failpoint!("parent-server-started");
        if let Some(ours) = &core.server {
            let add = |watch: &Epoll| {
                watch.add(ours, event::number(event::SERVER_SOCKET, 0, 0))?;
                watch.add(&pidfd, event::number(event::SERVER_DEATH, 0, 0))
            };
            add(&self.callers).and(add(&self.supervisors)).map_err(failed("cannot watch the fork server"))?;
        }
        let ordered = ordered.and(core.fill_vacancies());
        Ok((Server { pid, pidfd, pieces_done_before: 0 }, ordered))
    }
}

/// Starts a pool. Returns when the fork server has answered; the workers are being forked by then.
pub(crate) fn start(
    workers: usize,
    settings: &PoolSettings,
    passed: Vec<(RawFd, OwnedFd)>,
) -> Result<Arc<dyn Workers>, Error> {
    check_environment()?;
    let settings = &travelling(settings)?;
    let failed = |what: &'static str| move |error: rustix::io::Errno| Error::system(what, error);
    let callers = Arc::new(Epoll::new().map_err(failed("cannot make an epoll"))?);
    let supervisors = Arc::new(Epoll::new().map_err(failed("cannot make an epoll"))?);
    let kick = Arc::new(Event::new().map_err(failed("cannot make an eventfd"))?);
    let kick_supervisor = Arc::new(Event::new().map_err(failed("cannot make an eventfd"))?);
    callers.add(&*kick, event::KICK).map_err(failed("cannot watch an eventfd"))?;
    supervisors.add(&*kick_supervisor, event::KICK).map_err(failed("cannot watch an eventfd"))?;
    let bound = ResultLimit::new(settings.max_result_bytes);
    let settings =
        codec::encode_message(settings).map_err(|reason| Error::new(ErrorKind::Encode, reason.to_string()))?;
    let settings = memory::file_of("multicore-settings", &settings)
        .map_err(|error| Error::system("cannot make shared memory", error))?;
    let launch = Launch::capture(marker::NAME.to_str().unwrap_or_default(), passed)
        .map_err(failed("cannot keep a descriptor for the workers"))?;
    let launcher = Launcher { launch, settings, callers: Arc::clone(&callers), supervisors: Arc::clone(&supervisors) };
    let watches = (Arc::clone(&callers), Arc::clone(&supervisors));
    let mut core = Core::new(workers, watches, (Arc::clone(&kick), Arc::clone(&kick_supervisor)));
    core.spare = Buffers::new(bound);
    let (server, ordered) = launcher.launch(&mut core)?;
    let answered = ordered
        .map_err(|error| Error::system("cannot make a worker's shared memory and events", error))
        .and_then(|()| await_answer(&mut core, &server));
    answered.inspect_err(|_| process::kill(&server.pidfd))?;
    failpoint!("parent-server-answered");
    let (orders, received) = crossbeam_channel::unbounded();
    let shared =
        Arc::new(Shared { core: parking_lot::Mutex::new(core), callers, kick, orders, kick_supervisor, workers });
    let supervisor = Supervisor {
        shared: Arc::clone(&shared),
        watch: supervisors,
        orders: received,
        server: Some(server),
        launcher,
        server_deaths: 0,
        relaunch_ns: 0,
        overdue_since_ns: None,
    };
    let signals = BlockedSignals::new();
    let thread = std::thread::Builder::new().name("multicore".to_string()).spawn(move || supervisor.run());
    drop(signals);
    thread.map_err(|error| Error::system("cannot start the supervisor thread", error))?;
    failpoint!("parent-supervised");
    // What came before it watched.
    shared.kick_supervisor.signal();
    Ok(shared)
}

/// Waits until the fork server is ready, or has said why it will not be, or is dead.
fn await_answer(core: &mut Core, server: &Server) -> Result<(), Error> {
    let Some(socket) = &core.server else { return Ok(()) };
    let mut is_intercepted = false;
    loop {
        if !process::wait_readable(&[socket.as_fd(), server.pidfd.as_fd()], Some(INTERCEPTION_DEADLINE)) {
            if is_intercepted {
                // It may take its time, but not stand still.
                process::resume(&server.pidfd);
                continue;
            }
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "no pool can run here: the started program did not report back within {INTERCEPTION_DEADLINE:?}; its entry seems to be disabled"
                ),
            ));
        }
        let received = match socket::receive(socket, false) {
            Ok(Some(received)) => received,
            Err(rustix::io::Errno::AGAIN) if !process::has_ended(&server.pidfd, Duration::ZERO) => continue,
            _ => {
                return Err(Error::new(
                    ErrorKind::System,
                    "the fork server ended before it was ready (a constructor or preload ended it?)",
                ));
            }
        };
        match message::decode(&received) {
            Ok(FromServer::Intercepted) => is_intercepted = true,
            Ok(FromServer::Ready) => {
                core.server_stage = ServerStage::Ready { since_ns: clock::now_ns() };
                return Ok(());
            }
            Ok(FromServer::Refused(reason)) => {
                return Err(Error::new(ErrorKind::System, format!("the fork server cannot serve: {reason}")));
            }
            _ => return Err(Error::new(ErrorKind::System, "the fork server said what none says before it is ready")),
        }
    }
}
