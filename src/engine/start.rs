//! Starting a pool: the checks before, its first fork server, the handshake.

use super::child::{entry, worker};
use super::core::{Core, Epolls, ServerLink, number};
use super::launch::{
    ENDED, ForkServerHandle, Launcher, ORDERED_AHEAD, left_out, not_preloadable, not_proven, prepare_workers,
};
use super::link::Buffers;
use super::policy::patience::{self, Activity, ServerStage, ServerStep};
use super::policy::recycle::LifeLimits;
use super::shared::Shared;
#[cfg(feature = "signal")]
use super::supervisor::RecycleSignals;
use super::supervisor::{Supervisor, activity, news};
use super::travel;
use super::wire::marker;
use super::wire::message::{self, FromServer};
use super::wire::result_limit::ResultLimit;
use crate::backend::{Hook, PoolSettings, Workers};
use crate::codec;
use crate::error::{Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::sys::cgroup::MemoryKills;
use crate::sys::descriptors::Descriptor;
use crate::sys::event::{Epoll, Kick};
use crate::sys::host::HostReader;
use crate::sys::image;
use crate::sys::launch::Launch;
use crate::sys::shared_object::SharedObject;
use crate::sys::signals::BlockedSignals;
use crate::sys::{clock, descriptors, executable, machine, memory, process, shared_object, socket};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Starts a pool. Returns when the fork server has answered; the workers are being forked by then.
pub(crate) fn start(
    workers: usize,
    pool: &PoolSettings,
    passed: Vec<(RawFd, OwnedFd)>,
) -> Result<Arc<dyn Workers>, Error> {
    check_environment()?;
    let failed = |what: &'static str| move |error: rustix::io::Errno| Error::system(what, error);
    let new_epoll = || Epoll::new().map(Arc::new).map_err(failed("cannot make an epoll"));
    let new_kick = |epoll| Kick::new(epoll, number::KICK).map(Arc::new).map_err(failed("cannot make an eventfd"));
    let epolls = Epolls { callers: new_epoll()?, supervisor: new_epoll()? };
    let (kick, kick_supervisor) = (new_kick(&epolls.callers)?, new_kick(&epolls.supervisor)?);
    #[cfg(feature = "signal")]
    let signals = RecycleSignals::watch(&pool.recycle_signals, &kick_supervisor)?;
    let launch = Launch::capture(marker::NAME.to_str().unwrap_or_default(), passed)
        .map_err(failed("cannot keep a descriptor for the workers"))?;
    let object = shared_object::open(launch.first_beyond_passed()).map_err(not_preloadable)?;
    let launch = launch.with_preload(object);
    let launcher =
        Launcher { launch, settings: settings_file(pool)?, epolls: epolls.clone(), load_ns: image::load_ns() };
    let buffers = Buffers::new(ResultLimit::new(pool.max_result_bytes));
    let limits = LifeLimits { pieces: pool.max_pieces_per_worker, age_ns: pool.max_worker_age_ns };
    let core = Core::new((workers, machine::cpus()), epolls.clone(), Arc::clone(&kick_supervisor), buffers);
    let news = pool.on_memory.map(news::start).transpose()?;
    let mut core = set_up(core.with_limits(limits, pool.memory, news), pool, workers)?;
    let host = Arc::new(HostReader::open());
    let mut server = start_server(&launcher, &mut core, &host, workers)?;
    // Both read files, which may not be done later under the lock. The fork server needs longer to answer.
    let memory_kills = MemoryKills::watch();
    if pool.max_result_bytes.is_none() {
        ResultLimit::read_memory();
    }
    // If a kill is refused, here and below: the end of its socket ends it.
    await_answer(&mut core, &server, &launcher).inspect_err(|_| _ = server.kill_hanging())?;
    failpoint!("parent-server-answered");
    server.output = None;
    let (orders, received) = crossbeam_channel::unbounded();
    let events = (kick, Arc::clone(&kick_supervisor));
    let shared = Arc::new(Shared::new(
        core,
        epolls.callers,
        events,
        orders,
        (memory_kills, host),
        workers,
        pool.max_queued_bytes.is_some(),
    ));
    let supervisor = Supervisor::new(Arc::clone(&shared), epolls.supervisor, received, server, launcher);
    #[cfg(feature = "signal")]
    let supervisor = supervisor.with_signals(signals);
    let signals = BlockedSignals::new();
    let thread = std::thread::Builder::new().name("multicore".to_string()).spawn(move || supervisor.run());
    drop(signals);
    thread.map_err(|error| Error::system("cannot start the supervisor thread", error))?;
    failpoint!("parent-supervised");
    // It handles events from before the epoll was watched. If the host has closed our descriptors meanwhile, the first
    // caller that waits finds that out.
    let _ = kick_supervisor.signal();
    Ok(shared)
}

/// What the pool's settings ask of its scheduler beside the limits.
fn set_up(core: Core, pool: &PoolSettings, workers: usize) -> Result<Core, Error> {
    let mut core = core.with_queue(pool.max_queued_bytes, pool.max_pieces_waiting);
    core.sample_pieces(!pool.unsampled);
    core.keep_timeline(pool.timeline)?;
    core.keep_status(workers)?;
    core.end_idle_after(pool.idle_timeout_ns);
    Ok(core)
}

/// Refuses a worker, which has no pool and no hosts.
pub(crate) fn check_process() -> Result<(), Error> {
    if worker::is_worker() {
        let error = Error::new(
            ErrorKind::InWorker,
            "this process is a worker, and a worker has no pool of its own: run the pieces here, as Task::new_or_inline does",
        );
        return Err(error.for_good());
    }
    Ok(())
}

/// True if this crate lies in the executable, and that has no more rights than its caller.
#[cfg(feature = "remote")]
pub(crate) fn is_plain_executable() -> bool {
    !image::image().is_object && !image::is_privileged()
}

/// Says why no pool can run in this process, if so.
fn check_environment() -> Result<(), Error> {
    check_process()?;
    let unsupported =
        |reason: &str| Err(Error::new(ErrorKind::Unsupported, format!("no pool can run here: {reason}")).for_good());
    if image::is_privileged() {
        return unsupported("the program has more rights than its caller (setuid or file capabilities)");
    }
    if std::env::var_os(marker::NAME.to_str().unwrap_or_default()).is_some() {
        return unsupported("this process was started as a fork server and not stopped before its main function");
    }
    shared_object::can_be_described().map_err(not_preloadable)?;
    if !entry::can_intercept() {
        return unsupported("the constructor of the crate is missing among those of its image");
    }
    executable::prove_once().map_err(not_proven)
}

/// The settings of the pool's processes, in a file that each fork server reads.
fn settings_file(pool: &PoolSettings) -> Result<Descriptor, Error> {
    let settings = message::Settings {
        preload: hook(&pool.preload)?,
        on_worker_start: hook(&pool.on_worker_start)?,
        on_worker_exit: hook(&pool.on_worker_exit)?,
        worker_state: hook(&pool.worker_state)?,
        warm_memory_bytes: pool.warm_memory_bytes,
        max_result_bytes: pool.max_result_bytes,
        core_files: pool.core_files,
        no_new_privileges: pool.no_new_privileges,
        niceness: pool.niceness,
        worker_data_limit: pool.memory.worker_data,
    };
    let settings =
        codec::encode_message(&settings).map_err(|reason| Error::new(ErrorKind::Encode, reason.to_string()))?;
    memory::file_of("multicore-settings", &settings).map_err(|error| Error::system("cannot make shared memory", error))
}

/// A hook in the form that travels.
fn hook(hook: &Option<Hook>) -> Result<Option<message::Hook>, Error> {
    let Some(Hook { call, value }) = hook else { return Ok(None) };
    match travel::word(call) {
        Some(call) => Ok(Some(message::Hook { call, value: value.clone() })),
        None => Err(Error::new(
            ErrorKind::Unsupported,
            "a hook must be a function of the executable or the shared object that holds this crate, not of another object",
        )),
    }
}

/// Starts the first fork server, and orders all workers.
fn start_server(
    launcher: &Launcher,
    core: &mut Core,
    host: &HostReader,
    workers: usize,
) -> Result<ForkServerHandle, Error> {
    let failed = |error| Error::system("cannot make a worker's shared memory and events", error);
    let connection = launcher.prepare()?;
    core.server().connect(connection.ours, patience::load_due_ns(clock::now_ns(), launcher.load_ns));
    let ahead = workers.min(ORDERED_AHEAD);
    prepare(core, ahead).map_err(failed)?;
    core.follow_host(host.read());
    core.fill_seats().map_err(failed)?;
    let server = launcher.execute(connection.theirs)?;
    let rest = || -> Result<(), Error> {
        if let Some(socket) = core.server().socket() {
            launcher.watch(socket, &server)?;
        }
        prepare(core, workers - ahead).map_err(failed)?;
        core.fill_seats().map_err(failed)
    };
    let done = { rest }();
    done.inspect_err(|_| _ = process::kill(&server.pidfd))?;
    Ok(server)
}

fn prepare(core: &mut Core, workers: usize) -> std::io::Result<()> {
    let (prepared, result) = prepare_workers(workers);
    core.add_prepared(prepared);
    result
}

/// Waits until the fork server is ready, or has said why it will not be, or is dead, or hangs.
fn await_answer(core: &mut Core, server: &ForkServerHandle, launcher: &Launcher) -> Result<(), Error> {
    let object = launcher.launch.preload().map(SharedObject::path);
    let began_ns = clock::now_ns();
    let mut looked = None;
    loop {
        let ServerLink::Connected { stage, .. } = core.server() else { return Ok(()) };
        let now_ns = clock::now_ns();
        let until_ns = match patience::next_step(*stage, None, looked.take(), now_ns) {
            ServerStep::Nothing => return Ok(()),
            ServerStep::WaitUntil(until_ns) => until_ns,
            ServerStep::Recover { until_ns } => until_ns.unwrap_or(now_ns),
            ServerStep::Resume { until_ns } => {
                // Where that is refused, it is waited for or killed all the same.
                let _ = process::resume(&server.pidfd);
                until_ns
            }
            ServerStep::BecomeOverdue { due_ns, until_ns } => {
                core.server().become_overdue(due_ns, now_ns);
                let _ = process::resume(&server.pidfd);
                until_ns
            }
            ServerStep::Look => {
                looked = Some(activity(&server.pidfd));
                continue;
            }
            ServerStep::Kill { .. } => {
                return Err(match (object, stage) {
                    (Some(object), ServerStage::Starting { .. } | ServerStage::Overdue { .. }) => {
                        left_out(object, "was killed, since it ran on", server.printed())
                    }
                    _ => never_heard_of(server, now_ns - began_ns, launcher.load_ns),
                });
            }
        };
        let until = Duration::from_nanos(until_ns.saturating_sub(now_ns));
        let ServerLink::Connected { socket, .. } = core.server() else { return Ok(()) };
        if descriptors::wait_readable(&[socket.as_fd(), server.pidfd.as_fd()], Some(until)) {
            hear(core, server, object)?;
        }
    }
}

/// Takes in what the fork server said, or its death. `object` is what was preloaded into it.
fn hear(core: &mut Core, server: &ForkServerHandle, object: Option<&Path>) -> Result<(), Error> {
    let ServerLink::Connected { socket, stage } = core.server() else { return Ok(()) };
    let was_intercepted = matches!(stage, ServerStage::Preparing | ServerStage::Serving { .. });
    let received = match socket::receive(socket, false) {
        Ok(Some(received)) => received,
        Err(rustix::io::Errno::AGAIN) if !process::has_ended(&server.pidfd, Duration::ZERO) => return Ok(()),
        _ => return Err(ended(object, was_intercepted, server.printed())),
    };
    match message::decode(&received) {
        Ok(FromServer::Intercepted) => {
            core.server().intercepted();
            Ok(())
        }
        Ok(FromServer::Ready { executes }) => {
            core.note_start(executes);
            core.server().ready(clock::now_ns());
            Ok(())
        }
        Ok(FromServer::Refused(reason)) => {
            Err(Error::new(ErrorKind::System, format!("the fork server cannot serve: {reason}")))
        }
        _ => Err(Error::new(ErrorKind::System, "the fork server said what none says before it is ready")),
    }
}

/// Says what is known of a fork server that has ended before it was ready.
fn ended(object: Option<&Path>, was_intercepted: bool, printed: Option<String>) -> Error {
    if let Some(object) = object.filter(|_| !was_intercepted) {
        return left_out(object, ENDED, printed);
    }
    let message = match printed {
        Some(printed) => format!("the fork server ended while it loaded, and printed: {printed}"),
        None => "the fork server ended before it was ready (a constructor or preload ended it?)".to_string(),
    };
    Error::new(ErrorKind::System, message)
}

/// Says what is known of a fork server that has not reported in `waited_ns`.
fn never_heard_of(server: &ForkServerHandle, waited_ns: u64, load_ns: Option<u64>) -> Error {
    let seconds = |ns: u64| format!("{:.1} s", ns as f64 / 1e9);
    let own = load_ns.map_or(String::new(), |ns| format!(", although this process took {} to load", seconds(ns)));
    let printed = server.printed().map_or(String::new(), |printed| format!(". It printed: {printed}"));
    let does = match activity(&server.pidfd) {
        Some(Activity::Stopped) => "It was stopped",
        Some(Activity::Sleeps) => "It slept",
        Some(Activity::Traced) => "A debugger held it",
        Some(Activity::Blocked) => "It waited for the system, as for a disk,",
        Some(Activity::Works) => "It was still working",
        None => "What it did is not known",
    };
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "no pool can run here: this program was started once more as fork server, and did not come to the \
             constructor of multicore within {}{own}. {does} when it was killed: a constructor of the program or of a \
             library, which comes first, may wait for something there{printed}",
            seconds(waited_ns)
        ),
    )
}
