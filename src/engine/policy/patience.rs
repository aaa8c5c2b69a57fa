//! When a worker or a fork server is overdue, stopped, or ran over its time limit, and what is done.

/// A worker that has not begun its oldest piece for this long loses all that it has not begun to
/// others. A worker that merely waits for a core gets one within some milliseconds.
pub(crate) const NOT_BEGUN_NS: u64 = 50_000_000;

/// If a time limit expired more than 100 ms before this process noticed, this process was probably
/// frozen, and the worker with it. The worker then gets [`GRACE_NS`] to answer.
const NOTICED_LATE_NS: u64 = 100_000_000;

/// How long a worker that may have been frozen has to answer: a running worker replies within
/// microseconds, so 20 ms suffice on a busy machine too.
const GRACE_NS: u64 = 20_000_000;

/// After its death the cause is waited for this long. The fork server tells it within a millisecond
/// unless it is stopped or dead itself.
pub(crate) const CAUSE_WAIT_NS: u64 = 50_000_000;

/// A fork server that did not report back before its `main` within 2 s never will: no loader takes
/// that long, and its entry seems to be disabled.
pub(crate) const INTERCEPTION_DEADLINE_NS: u64 = 2_000_000_000;

/// A fork server that has not obeyed an order after 1 s is checked: a fork takes 0.1 ms.
pub(crate) const SPAWN_DEADLINE_NS: u64 = 1_000_000_000;

/// An overdue fork server is sent SIGCONT and checked again after 100 ms; if it still hangs, it is killed. A
/// process that goes on gets a core within some milliseconds and forks in 0.1 ms. After 10 ms it might not have
/// had a core on a busy machine; after 1 s the pieces would have waited for no reason.
const OVERDUE_RECHECK_NS: u64 = 100_000_000;

/// An overdue fork server that works, for instance at the fork of much memory, has 10 s more. A fork takes about
/// 9 ms for each GiB (README), so this suffices for a terabyte; 1 s would not for 200 GiB on a busy machine.
const WORKING_GRACE_NS: u64 = 10_000_000_000;

/// What a process does, as the system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// As by SIGSTOP, or under a debugger.
    Stopped,
    /// It waits for something that may never come.
    Sleeps,
    /// It computes, or the system does something for it.
    Works,
}

/// How the oldest piece of a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not begun, at least since this moment.
    Waits { since_ns: u64, limit_ns: Option<u64> },
    /// Begun, with a time limit that ends at this moment.
    Runs { sequence: u32, until_ns: u64 },
}

/// What a worker is expected to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It takes pieces.
    Works,
    /// It did not begin what it was given, and lost it to others. It gets nothing until it has read
    /// all that was written for it.
    Suspect,
    /// It was told that no more work comes.
    Leaves,
}

/// What is known of a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerView {
    pub(crate) duty: Duty,
    pub(crate) is_ready: bool,
    /// Another worker is ready and not suspect.
    pub(crate) others_are_ready: bool,
    pub(crate) progress: Option<Progress>,
    pub(crate) has_read_all: bool,
    /// What its process does; `None` where nobody looked yet, or nobody can tell.
    pub(crate) activity: Option<Activity>,
    /// The piece that had its grace already, by its sequence number.
    pub(crate) graced: Option<u32>,
}

/// What is to be done about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// Nothing; look again at that moment.
    Wait { until_ns: Option<u64> },
    /// It has read all: it gets pieces again.
    Trust,
    /// It has not begun its oldest piece: others get what it holds.
    Suspect,
    /// Whether it is stopped decides, and somebody must look; if it is not, look again at that moment.
    Look { until_ns: u64 },
    /// It is stopped, and something waits for it.
    KillStopped,
    /// Its limit passed long ago: it has until then to answer.
    Grace { sequence: u32, until_ns: u64 },
    /// It ran over its limit.
    KillOverrun { sequence: u32 },
}

/// The verdict on a worker.
pub(crate) fn judge(worker: &WorkerView, now_ns: u64) -> Verdict {
    // A stopped one is killed; of one that nobody looked at that is asked first.
    let unless_stopped = |until_ns| match worker.activity {
        Some(Activity::Stopped) => Verdict::KillStopped,
        _ => Verdict::Look { until_ns },
    };
    match (worker.duty, worker.progress) {
        (Duty::Suspect, _) if worker.has_read_all => Verdict::Trust,
        // Nothing else ends a stopped worker.
        (Duty::Suspect | Duty::Leaves, _) => unless_stopped(now_ns + NOT_BEGUN_NS),
        (Duty::Works, None) => Verdict::Wait { until_ns: None },
        (Duty::Works, Some(Progress::Waits { since_ns, limit_ns })) => {
            let is_late = since_ns + NOT_BEGUN_NS <= now_ns;
            // One that is not ready yet may take its time, unless there are others.
            if is_late && (worker.is_ready || worker.others_are_ready) {
                return Verdict::Suspect;
            }
            let due_ns = if is_late { now_ns + NOT_BEGUN_NS } else { since_ns + NOT_BEGUN_NS };
            // It may begin at any moment from now on, and then its limit counts.
            let limit_ns = limit_ns.map_or(u64::MAX, |limit_ns| now_ns.saturating_add(limit_ns));
            let until_ns = due_ns.min(limit_ns);
            if since_ns + 2 * NOT_BEGUN_NS <= now_ns {
                return unless_stopped(until_ns);
            }
            Verdict::Wait { until_ns: Some(until_ns) }
        }
        (Duty::Works, Some(Progress::Runs { sequence, until_ns })) => {
            if now_ns < until_ns {
                Verdict::Wait { until_ns: Some(until_ns) }
            } else if until_ns.saturating_add(NOTICED_LATE_NS) <= now_ns && worker.graced != Some(sequence) {
                Verdict::Grace { sequence, until_ns: now_ns + GRACE_NS }
            } else {
                Verdict::KillOverrun { sequence }
            }
        }
    }
}

/// The life of the fork server, as the parent knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerStage {
    /// It was started; nothing was heard of it.
    Starting { since_ns: u64 },
    /// It runs constructors and `preload`.
    Preparing,
    /// It serves.
    Serving { since_ns: u64 },
    /// It was sent SIGCONT at `since_ns`, because it did not do what was due at `due_ns`.
    Overdue { since_ns: u64, due_ns: u64, was_serving: bool },
}

/// What is to be done about the fork server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum ServerStep {
    /// Nothing, and nothing is expected of it.
    Nothing,
    WaitUntil(u64),
    /// SIGCONT, and look again at that moment: it may be slow, but must not stay stopped.
    Resume {
        until_ns: u64,
    },
    /// It is overdue: SIGCONT, and [`ServerStage::Overdue`] from now on.
    BecomeOverdue {
        due_ns: u64,
        until_ns: u64,
    },
    /// It has obeyed: it serves again.
    Recover {
        until_ns: Option<u64>,
    },
    /// What its process does decides, and somebody must look.
    Look,
    /// It hangs. Its death is then seen like any other.
    Kill {
        until_ns: u64,
    },
}

/// The next step with a fork server whose oldest order without an answer was given at
/// `oldest_order_ns`. `activity` is what its process does: `None` where nobody looked, and
/// `Some(None)` where nobody can tell.
pub(crate) fn next_step(
    stage: ServerStage,
    oldest_order_ns: Option<u64>,
    activity: Option<Option<Activity>>,
    now_ns: u64,
) -> ServerStep {
    let overdue = |due_ns| {
        if now_ns < due_ns {
            return ServerStep::WaitUntil(due_ns);
        }
        // The fork server may be stopped, or both processes were frozen.
        ServerStep::BecomeOverdue { due_ns, until_ns: now_ns + OVERDUE_RECHECK_NS }
    };
    match stage {
        ServerStage::Preparing => ServerStep::Resume { until_ns: now_ns + SPAWN_DEADLINE_NS },
        ServerStage::Starting { since_ns } => overdue(since_ns + INTERCEPTION_DEADLINE_NS),
        ServerStage::Serving { since_ns } => match oldest_order_ns {
            None => ServerStep::Nothing,
            Some(ordered_ns) => overdue(ordered_ns.max(since_ns) + SPAWN_DEADLINE_NS),
        },
        ServerStage::Overdue { since_ns, due_ns, was_serving } => {
            let order_due_ns = oldest_order_ns.map(|ordered_ns| ordered_ns + SPAWN_DEADLINE_NS);
            if was_serving && order_due_ns.is_none_or(|order_due_ns| now_ns < order_due_ns) {
                return ServerStep::Recover { until_ns: order_due_ns };
            }
            let recheck_ns = since_ns + OVERDUE_RECHECK_NS;
            if now_ns < recheck_ns {
                return ServerStep::WaitUntil(recheck_ns);
            }
            let Some(activity) = activity else { return ServerStep::Look };
            let until_ns = now_ns + OVERDUE_RECHECK_NS;
            let hangs = match activity {
                Some(Activity::Stopped | Activity::Sleeps) => true,
                Some(Activity::Works) | None => now_ns > due_ns + WORKING_GRACE_NS,
            };
            if hangs || !was_serving { ServerStep::Kill { until_ns } } else { ServerStep::WaitUntil(until_ns) }
        }
    }
}

#[cfg(test)]
mod tests;
