//! When a worker or a fork server is overdue, stopped, or ran over its time limit, and what is done.

/// A worker that has not begun its oldest piece for this long is suspect, and loses all other pieces to
/// others. A worker that merely waits for a core gets one within some milliseconds.
pub(crate) const NOT_BEGUN_NS: u64 = 50_000_000;

/// A suspect that has still not begun after 1 s, and does not wait for a core, hangs: between two pieces a worker does
/// nothing that takes 1 s. With 0.1 s, one that is swapped in from a disk would be killed; with 10 s, the piece would
/// wait that long behind something that a former piece left behind.
const HANGS_NS: u64 = 1_000_000_000;

/// After six doublings it is 64 s: then a kill costs nothing any more, and a pool that recovers is found soon enough.
const MAX_DOUBLINGS: u32 = 6;

/// A suspect that computes, or waits for a core, is killed only if it has used this much processor time: then it had a core,
/// and does something else than its duty. A worker begins a piece within microseconds. The system counts in 10 ms. With
/// ten times as much, a piece that mostly sleeps is not found on a busy machine; and a worker that gives back 200 MiB at
/// that moment (20 ms) loses no piece by its kill.
const NOT_BEGUN_USED_NS: u64 = 20_000_000;

/// A worker that leaves may take its time in `on_worker_exit`, as long as it works. One that has slept there for 10 s
/// waits for something that does not come, and its pool's owner waits with it.
const HOOK_SLEEPS_NS: u64 = 10_000_000_000;

/// If a time limit expired more than 100 ms before this process noticed, this process was probably
/// frozen, and the worker with it. The worker then gets [`GRACE_NS`] to answer.
const NOTICED_LATE_NS: u64 = 100_000_000;

/// How long a worker that may have been frozen has to answer: a running worker replies within
/// microseconds, so 20 ms suffice on a busy machine too.
const GRACE_NS: u64 = 20_000_000;

/// After its death the fork server tells the cause within a millisecond. If it has not after 50 ms, it may be
/// stopped, and is sent SIGCONT.
pub(crate) const CAUSE_DUE_NS: u64 = 50_000_000;

/// The longest wait for the cause of a death. Until the fork server gets a core it cannot fork another worker either, so
/// nothing but the one error waits; and 2 s are enough on any machine that gives it one.
pub(crate) const CAUSE_WAIT_NS: u64 = 2_000_000_000;

/// A fork server must load before it can report: libraries, and their constructors, which may take any time. It gets
/// four times as long as this process took for the same, since the machine may be busier now, and 2 s more: a program
/// loads in some milliseconds, and one that only waits for a core gets one long before.
const LOADS_ALLOWED: u64 = 4;
const LOAD_RESERVE_NS: u64 = 2_000_000_000;

/// Where it is not known how long this process took, it counts as 5 s. It is not known without /proc, and in a child
/// that the host forked before its first pool.
const UNKNOWN_LOAD_NS: u64 = 5_000_000_000;

/// More than a minute counts as a minute. What is measured begins when the process was forked; a shell may wait in it
/// before it executes the program.
const LONGEST_LOAD_NS: u64 = 60_000_000_000;

/// When a fork server that is started now is overdue. `load_ns` is how long this process took from its start to the
/// crate's constructor.
#[must_use]
pub(crate) fn load_due_ns(now_ns: u64, load_ns: Option<u64>) -> u64 {
    now_ns + LOAD_RESERVE_NS + LOADS_ALLOWED * load_ns.unwrap_or(UNKNOWN_LOAD_NS).min(LONGEST_LOAD_NS)
}

/// A fork server that has not obeyed an order after 1 s is checked: a fork takes 0.1 ms.
pub(crate) const SPAWN_DEADLINE_NS: u64 = 1_000_000_000;

/// An overdue fork server is sent SIGCONT and checked again after 100 ms; if it still hangs, it is killed. A
/// process that goes on gets a core within some milliseconds and forks in 0.1 ms. After 10 ms it might not have
/// had a core on a busy machine; after 1 s the pieces would have waited for no reason.
const OVERDUE_RECHECK_NS: u64 = 100_000_000;

/// An overdue fork server that works, for instance at the fork of much memory or at loading, has 10 s more. A fork takes about
/// 9 ms for each GiB (README), so this suffices for a terabyte; 1 s would not for 200 GiB on a busy machine.
const WORKING_GRACE_NS: u64 = 10_000_000_000;

/// A worker that is replaced has 2 s to leave, its `on_worker_exit` included: most take microseconds. After 0.2 s a
/// hook that writes to a slow disk would be cut off; with 20 s one that hangs would take its place for as long.
pub(crate) const LEAVE_NS: u64 = 2_000_000_000;

/// What a process does, as the system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// As by SIGSTOP.
    Stopped,
    /// A debugger holds it.
    Traced,
    /// It waits for something that may never come.
    Sleeps,
    /// The system does something for it that no signal interrupts, as reading from a disk.
    Blocked,
    /// It computes, or waits for a core.
    Works,
}

/// What was found out about a worker's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nobody has looked.
    NotTaken,
    /// The system does not tell.
    Unknown,
    /// What it does, and the processor time that it has used since it is watched.
    Taken { activity: Activity, used_ns: u64 },
}

/// How the oldest piece of a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not begun, at least since this moment.
    Waits { since_ns: u64, limit_ns: Option<u64> },
    /// Begun, with a time limit that ends at this moment; `u64::MAX` without one.
    Runs { sequence: u32, until_ns: u64 },
}

/// What a worker is expected to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It takes pieces.
    Works,
    /// It did not begin what it was given. It gets nothing more until it has begun its oldest piece, or has read all that
    /// was written for it.
    Suspect,
    /// It gets no more pieces, and another takes its place once it has answered.
    Retires,
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
    pub(crate) sight: Sight,
    /// Since when it is suspect, or leaves and has used no processor time.
    pub(crate) watched_since_ns: u64,
    /// How long a suspect has, by [`Patience`].
    pub(crate) patience_ns: u64,
    /// The piece that had its grace already, by its sequence number.
    pub(crate) graced: Option<u32>,
}

/// What is to be done about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// Nothing; look again at that moment.
    Wait { until_ns: Option<u64> },
    /// It has begun, or has read all: it gets pieces again.
    Trust,
    /// It has not begun its oldest piece. Others get what it holds; `keeps_oldest`: but for that piece, which it may have
    /// begun without a word.
    Suspect { keeps_oldest: bool },
    /// What its process does decides, and somebody must look; if nothing follows from that, look again at that moment.
    Look { until_ns: u64 },
    /// A debugger holds it, and another worker can take its piece.
    PassOver,
    /// It is stopped, or does not do its duty for no visible reason, and something waits for it.
    Kill,
    /// Its limit passed long ago: it has until then to answer.
    Grace { sequence: u32, until_ns: u64 },
    /// It ran over its limit.
    KillOverrun { sequence: u32 },
}

/// The verdict on a worker.
pub(crate) fn judge(worker: &WorkerView, now_ns: u64) -> Verdict {
    match (worker.duty, worker.progress) {
        (Duty::Suspect, Some(Progress::Runs { .. })) => Verdict::Trust,
        (Duty::Suspect, None) if worker.has_read_all => Verdict::Trust,
        (Duty::Suspect, _) | (Duty::Retires, Some(Progress::Waits { .. })) => judge_suspect(worker, now_ns),
        (Duty::Leaves, _) => judge_leaving(worker, now_ns),
        (Duty::Works | Duty::Retires, None) => Verdict::Wait { until_ns: None },
        (Duty::Works, Some(Progress::Waits { since_ns, limit_ns })) => {
            judge_waiting(worker, since_ns, limit_ns, now_ns)
        }
        (Duty::Works | Duty::Retires, Some(Progress::Runs { sequence, until_ns })) => {
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

/// A worker whose oldest piece is not begun, by its own word.
fn judge_waiting(worker: &WorkerView, since_ns: u64, limit_ns: Option<u64>, now_ns: u64) -> Verdict {
    let is_late = since_ns + NOT_BEGUN_NS <= now_ns;
    // One that is not ready yet may take its time, unless there are others.
    if is_late && (worker.is_ready || worker.others_are_ready) {
        return Verdict::Suspect { keeps_oldest: worker.is_ready };
    }
    let due_ns = if is_late { now_ns + NOT_BEGUN_NS } else { since_ns + NOT_BEGUN_NS };
    // It may begin at any moment from now on, and then its limit counts.
    let limit_ns = limit_ns.map_or(u64::MAX, |limit_ns| now_ns.saturating_add(limit_ns));
    let until_ns = due_ns.min(limit_ns);
    match worker.sight {
        _ if now_ns < since_ns + 2 * NOT_BEGUN_NS => Verdict::Wait { until_ns: Some(until_ns) },
        Sight::Taken { activity: Activity::Stopped, .. } => Verdict::Kill,
        _ => Verdict::Look { until_ns },
    }
}

/// A worker that did not begin what it was given, or has not read that it was taken back.
fn judge_suspect(worker: &WorkerView, now_ns: u64) -> Verdict {
    let look_again = Verdict::Look { until_ns: now_ns + recheck_ns(worker, now_ns) };
    let is_overdue = worker.watched_since_ns + worker.patience_ns <= now_ns;
    match worker.sight {
        Sight::NotTaken => look_again,
        Sight::Taken { activity: Activity::Stopped, .. } => Verdict::Kill,
        Sight::Taken { activity: Activity::Traced, .. } if worker.others_are_ready => {
            if worker.progress.is_some() {
                Verdict::PassOver
            } else {
                look_again
            }
        }
        // Its start may take any time.
        _ if !worker.is_ready || !is_overdue => look_again,
        // It waits for a core, and so would its successor.
        Sight::Taken { activity: Activity::Works, used_ns } if used_ns < NOT_BEGUN_USED_NS => look_again,
        _ => Verdict::Kill,
    }
}

/// A worker that was told that no more work comes.
fn judge_leaving(worker: &WorkerView, now_ns: u64) -> Verdict {
    // One that is ready and has not read so does something else; else a hook runs.
    if worker.is_ready && !worker.has_read_all {
        return judge_suspect(&WorkerView { others_are_ready: false, ..*worker }, now_ns);
    }
    let look_again = Verdict::Look { until_ns: now_ns + recheck_ns(worker, now_ns) };
    match worker.sight {
        Sight::Taken { activity: Activity::Stopped, .. } => Verdict::Kill,
        Sight::NotTaken | Sight::Taken { activity: Activity::Works | Activity::Traced, .. } => look_again,
        _ if worker.watched_since_ns + HOOK_SLEEPS_NS <= now_ns => Verdict::Kill,
        _ => look_again,
    }
}

/// The next look at a worker that is watched: the longer that lasts, the later.
fn recheck_ns(worker: &WorkerView, now_ns: u64) -> u64 {
    (now_ns.saturating_sub(worker.watched_since_ns) / 4).clamp(NOT_BEGUN_NS, HANGS_NS)
}

/// How long suspects have before they are killed. On a machine where workers get hardly any processor time, killing them
/// only costs more of it. So the time doubles with each such kill, until a piece is done again.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    kills: u32,
    /// The pieces that were done at the last kill.
    done: u64,
}

impl Patience {
    /// The time that a suspect has, now that this many pieces are done.
    #[must_use]
    pub(crate) fn time_ns(&self, done: u64) -> u64 {
        if done == self.done { HANGS_NS << self.kills.min(MAX_DOUBLINGS) } else { HANGS_NS }
    }

    /// A suspect was killed.
    pub(crate) fn killed(&mut self, done: u64) {
        self.kills = if done == self.done { self.kills.saturating_add(1) } else { 1 };
        self.done = done;
    }
}

/// The life of the fork server, as the parent knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerStage {
    /// It was started and loads; it is to be heard of by `due_ns`.
    Starting { due_ns: u64 },
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
        ServerStage::Starting { due_ns } => overdue(due_ns),
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
                Some(Activity::Stopped | Activity::Traced | Activity::Sleeps) => true,
                Some(Activity::Blocked | Activity::Works) | None => now_ns > due_ns + WORKING_GRACE_NS,
            };
            if hangs { ServerStep::Kill { until_ns } } else { ServerStep::WaitUntil(until_ns) }
        }
    }
}

#[cfg(test)]
mod tests;
