//! The first and the last steps of a worker: from the fork to its first piece, and from its last piece to its
//! end.

use super::calls::ParentCalls;
use super::hooks::run_hook;
use super::worker::Worker;
use super::{output, panics};
use crate::engine::wire::message::Settings;
use crate::engine::wire::pair::{Pair, READY};
use crate::engine::wire::record::Outcome;
use crate::engine::wire::result_limit::ResultLimit;
use crate::failpoint::failpoint;
use crate::protocol::sync::Release;
use crate::sys::event::Event;
use crate::sys::process::{self, SingleThreaded};
use crate::sys::rights::{Need, Rights};
use crate::sys::{allocator, fault, proc, signals};
use rustix::process::Pid;
use std::os::fd::OwnedFd;

/// What a new worker gets from the fork server.
pub(crate) struct WorkerStart {
    /// The worker's place in the pool.
    pub(crate) seat: u32,
    pub(crate) out: OwnedFd,
    pub(crate) back: OwnedFd,
    pub(crate) caller: OwnedFd,
    pub(crate) supervisor: OwnedFd,
    pub(crate) settings: Settings,
    pub(crate) server: Pid,
    /// The rights of the fork server, and what this worker must do to have those of the host.
    pub(crate) rights: (Rights, Need),
    pub(crate) calls: ParentCalls,
    pub(crate) single_threaded: SingleThreaded,
}

/// Runs a new worker from its fork to its end.
pub(crate) fn run(start: WorkerStart) -> ! {
    let settings = &start.settings;
    let settled = settle_process(&start);
    let Ok(pair) = Pair::open(&start.out, &start.back) else { process::exit_now(1) };
    drop((start.out, start.back));
    failpoint!("worker-mapped");
    // It lives as long as the process, and the fault handler needs it to.
    let pair: &'static Pair = Box::leak(Box::new(pair));
    fault::watch_stack(pair.note());
    panics::install_panic_hook();
    // The first call makes this process the one that later calls compare with.
    let _ = process::is_this_process();
    let events = (Event::from_fd(start.caller), Event::from_fd(start.supervisor));
    let mut worker = Worker::new(pair, events, start.calls, ResultLimit::new(settings.max_result_bytes));
    if let Err(reason) = settled.and_then(|()| prepare(settings, start.calls)) {
        worker.reply(0, Outcome::StartFailed, reason.as_bytes(), true);
        output::flush_and_end_soon();
        process::exit_now(1);
    }
    worker.flush_output();
    failpoint!("worker-started");
    // Release (worker-ready): nothing is read through it, the parent only counts.
    pair.stage().store(READY, Release);
    failpoint!("worker-ready");
    worker.work();
    failpoint!("worker-leaving");
    if let Some(hook) = &settings.on_worker_exit {
        // The parent no longer listens, so a failure is not reported.
        let _ = run_hook(hook, start.calls);
    }
    output::flush_and_end_soon();
    failpoint!("worker-left");
    process::exit_now(0)
}

/// Changes what the process inherited from the fork server: group, death signal, name, limits, rights.
fn settle_process(start: &WorkerStart) -> Result<(), String> {
    failpoint!("worker-forked");
    signals::this_process_follows_host();
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
    if !start.settings.core_files {
        process::leave_no_core_file();
    }
    signals::children_obey_terminal();
    let warm = usize::try_from(start.settings.warm_memory_bytes).unwrap_or(usize::MAX);
    allocator::keep_memory(&start.single_threaded, warm);
    take_rights(start)
}

/// Takes the host's rights, if they differ from the fork server's: after the steps that need those.
fn take_rights(start: &WorkerStart) -> Result<(), String> {
    let (own, Need::Take(rights)) = &start.rights else { return Ok(()) };
    let taken = rights.take(own);
    // Where the user changed, the kernel has cleared it.
    process::end_with_parent();
    if !process::is_child_of(start.server) {
        process::exit_now(1);
    }
    taken
}

/// The steps that must succeed before a worker is ready.
fn prepare(settings: &Settings, calls: ParentCalls) -> Result<(), String> {
    if settings.no_new_privileges {
        process::renounce_new_privileges().map_err(|error| format!("no_new_privileges cannot be had: {error}"))?;
    }
    match &settings.on_worker_start {
        Some(hook) => run_hook(hook, calls).map_err(|reason| format!("on_worker_start failed: {reason}")),
        None => Ok(()),
    }
}
