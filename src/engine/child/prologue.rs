//! The first and the last steps of a worker: from the fork to its first piece, and from its last piece to its
//! end.

use super::calls::ParentCalls;
use super::hooks::{self, run_hook};
use super::tables::WorkerTables;
use super::worker::{self, Worker};
use super::{output, panics};
use crate::engine::wire::message::{self, HostSignals, Settings};
use crate::engine::wire::pair::{Pair, READY};
use crate::engine::wire::result_limit::ResultLimit;
use crate::failpoint::failpoint;
use crate::protocol::sync::{Relaxed, Release};
use crate::sys::descriptors::Descriptor;
use crate::sys::event::Event;
use crate::sys::process::{self, SingleThreaded};
use crate::sys::rights::{Need, Rights};
use crate::sys::{allocator, clock, fault, image, proc, signals};
use rustix::process::Pid;
use std::sync::Arc;

/// What a new worker gets from the fork server.
pub(crate) struct NewWorker {
    /// The worker's place in the pool.
    seat: u32,
    /// *out*, *back*, the events of caller and supervisor, and the socket.
    fds: [Descriptor; 5],
    settings: Settings,
    server: Pid,
    rights: HostRights,
    calls: ParentCalls,
    /// `None` if it was started by exec.
    single_threaded: Option<SingleThreaded>,
}

/// The rights of the host, as a new worker gets to know them.
enum HostRights {
    /// Those of the fork server, which it was forked from, and what it must do.
    Forked(Rights, Need),
    /// Those of the host, if they are not the fork server's. Users and groups were taken before the exec, which gives a
    /// root user all capabilities again, and takes from others what the kernel does not keep.
    Executed(Option<Rights>),
}

impl NewWorker {
    /// A worker that was just forked.
    pub(crate) fn forked(
        (seat, fds): (u32, [Descriptor; 5]),
        settings: Settings,
        (own, need): (Rights, Need),
        server: Pid,
        calls: ParentCalls,
        single_threaded: SingleThreaded,
    ) -> Self {
        let rights = HostRights::Forked(own, need);
        NewWorker { seat, fds, settings, server, rights, calls, single_threaded: Some(single_threaded) }
    }

    /// A worker that was started by exec, by the fork server `server`. `None` if something is missing.
    pub(crate) fn executed(
        seat: u32,
        fds: Vec<Descriptor>,
        rights: Option<Rights>,
        server: u32,
        calls: ParentCalls,
    ) -> Option<Self> {
        let [out, back, caller, supervisor, socket, settings] = <[Descriptor; 6]>::try_from(fds).ok()?;
        let fds = [out, back, caller, supervisor, socket];
        let settings = message::read_settings(&settings).ok()?;
        let server = Pid::from_raw(i32::try_from(server).ok()?)?;
        let rights = HostRights::Executed(rights);
        Some(NewWorker { seat, fds, settings, server, rights, calls, single_threaded: None })
    }

    /// The first steps of a worker that was started by exec: what a forked one inherits from the fork server.
    pub(crate) fn intercepted(&self, of_host: HostSignals) {
        worker::mark_process();
        process::end_with_parent();
        // The fork server may have died before the kernel knew that.
        if !process::is_child_of(self.server) {
            process::exit_now(1);
        }
        process::name_thread("multicore-worker");
        // All signals were blocked until here.
        signals::follow_host(of_host.host);
        signals::unblock_all();
        if of_host.ignores_children {
            signals::ignore_children();
        }
    }
}

/// Runs a new worker from its fork to its end.
pub(crate) fn run(start: NewWorker) -> ! {
    let settled = settle_process(&start);
    let NewWorker { fds: [out, back, caller, supervisor, socket], settings, calls, .. } = start;
    let Ok(pair) = Pair::open(&out, &back) else { process::exit_now(1) };
    drop((out, back));
    failpoint!("worker-mapped");
    // It lives as long as the process, and the fault handler needs it to.
    let pair: &'static Pair = Box::leak(Box::new(pair));
    fault::watch_stack(pair.note());
    panics::install_panic_hook();
    let (caller, supervisor) = (Event::from_fd(caller), Arc::new(Event::from_fd(supervisor)));
    let mut worker = Worker::new(
        pair,
        (caller, Arc::clone(&supervisor)),
        (calls, WorkerTables::begin(socket)),
        ResultLimit::new(settings.max_result_bytes),
    );
    if let Err(reason) = settled.and_then(|()| prepare(&settings, calls)) {
        worker.start_failed(&reason);
        output::write_all_and_end_soon();
        process::exit_now(1);
    }
    #[cfg(feature = "log")]
    super::logger::begin(pair, supervisor);
    #[cfg(not(feature = "log"))]
    drop(supervisor);
    worker.flush_output();
    failpoint!("worker-started");
    pair.ready_ns().store(clock::now_ns(), Relaxed);
    // Release (worker-ready): nothing is read through it, the parent only counts.
    pair.stage().store(READY, Release);
    worker.tell_ready();
    failpoint!("worker-ready");
    if let Some(hook) = settings.worker_state {
        hooks::make_state_by(hook, calls);
    }
    worker.work();
    failpoint!("worker-leaving");
    #[cfg(feature = "log")]
    super::logger::follow_level(pair);
    if let Some(hook) = &settings.on_worker_exit {
        // The parent no longer listens, so a failure is not reported.
        let _ = run_hook(hook, calls);
    }
    hooks::drop_state();
    output::write_all_and_end_soon();
    failpoint!("worker-left");
    process::exit_now(0)
}

/// Changes what the process inherited from the fork server: group, death signal, name, niceness, limits, rights.
fn settle_process(start: &NewWorker) -> Result<(), String> {
    failpoint!("worker-forked");
    signals::this_process_follows_host();
    image::start_counts();
    // When the worker is killed, its group is killed with it.
    process::lead_own_group();
    failpoint!("worker-group-made");
    process::end_with_parent();
    failpoint!("worker-bound");
    // The fork server may have died before the kernel knew that.
    if !process::is_child_of(start.server) {
        process::exit_now(1);
    }
    process::name_thread(&format!("multicore-{}", start.seat));
    proc::prefer_for_oom_kill();
    // Before the rights are taken: a low one may need more of them.
    let nice = start.settings.niceness.map_or(Ok(()), process::set_niceness);
    if !start.settings.core_files {
        process::leave_no_core_file();
    }
    signals::children_obey_terminal();
    let warm = usize::try_from(start.settings.warm_memory_bytes).unwrap_or(usize::MAX);
    if let Some(single_threaded) = &start.single_threaded {
        allocator::keep_memory(single_threaded, warm);
    }
    take_rights(start).and(nice)
}

/// Takes the host's rights, if they differ from the fork server's: after the steps that need those.
fn take_rights(start: &NewWorker) -> Result<(), String> {
    let taken = match &start.rights {
        HostRights::Forked(own, Need::Take(rights)) => rights.take(own),
        HostRights::Executed(Some(rights)) => {
            let own = Rights::of_this_process();
            match own.need(&rights.within(&own)) {
                Need::Take(rights) => rights.take(&own),
                Need::Nothing => Ok(()),
                Need::Impossible(reason) => Err(reason),
            }
        }
        HostRights::Forked(..) | HostRights::Executed(None) => return Ok(()),
    };
    // Where the user changed, the kernel has cleared it.
    process::end_with_parent();
    if !process::is_child_of(start.server) {
        process::exit_now(1);
    }
    taken
}

/// The steps that must succeed before a worker is ready.
fn prepare(settings: &Settings, calls: ParentCalls) -> Result<(), String> {
    // In a forked worker it is none: it has run in the fork server.
    if let Some(hook) = &settings.preload {
        run_hook(hook, calls).map_err(|reason| format!("preload failed: {reason}"))?;
    }
    // What was loaded until here is the same in each worker, however it was started; what comes is its own.
    if let Some(more_bytes) = settings.worker_data_limit {
        let limit =
            process::limit_data(more_bytes).map_err(|why| format!("worker_data_limit cannot be kept: {why}"))?;
        fault::watch_data(limit);
    }
    if settings.no_new_privileges {
        process::renounce_new_privileges().map_err(|error| format!("no_new_privileges cannot be had: {error}"))?;
    }
    match &settings.on_worker_start {
        Some(hook) => run_hook(hook, calls).map_err(|reason| format!("on_worker_start failed: {reason}")),
        None => Ok(()),
    }
}
