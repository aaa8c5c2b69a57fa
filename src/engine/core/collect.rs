//! Takes what workers have said: outcomes go to their tasks, and the pace of the pieces is learnt.

use super::delayed::Delayed;
use super::functions::Sampled;
#[cfg(feature = "log")]
use super::logs::CoreLogs;
#[cfg(feature = "tracing")]
use super::outgoing::TracedPiece;
use super::seat::{Measured, WorkerHandle};
use super::task_state::TaskState;
use super::timeline::Ran;
use super::work::Work;
use super::worker_memory::WorkerMemory;
use crate::backend::TaskKey;
use crate::codec::bytes::{Arguments, Reply};
use crate::codec::tables::table::Tables;
#[cfg(feature = "log")]
use crate::engine::link::LogsRead;
use crate::engine::link::{Arrival, Arrivals, Buffers, Left, Link, Read, Told};
use crate::engine::observe::Counts;
#[cfg(feature = "log")]
use crate::engine::outbox::Lane;
use crate::engine::piece::WaitingPiece;
use crate::engine::policy::pace::MAX_COST_NS;
use crate::engine::unpark::{Wake, Wakes};
use crate::engine::wire::record::{self, Outcome};
use crate::error::{Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::protocol::ring::Violation;
use crate::stats::timeline::Ended;
use crate::sys::clock;
#[cfg(feature = "log")]
use std::sync::Arc;

/// Where arrivals go.
pub(crate) struct Destination<'a> {
    pub(crate) work: &'a mut Work,
    pub(crate) delayed: &'a mut Delayed,
    pub(crate) wakes: &'a mut Wakes,
    pub(crate) counts: &'a mut Counts,
    #[cfg(feature = "log")]
    pub(super) logs: &'a mut CoreLogs,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub(crate) enum Found {
    Nothing,
    /// It read all that was there.
    All,
    /// It may have left something: a look does not read all of a long value.
    Part,
}

/// Takes what one worker has said by now. One that wrote what no worker writes must be killed.
pub(crate) fn collect_from(
    seat: usize,
    worker: &mut WorkerHandle,
    buffers: &mut Buffers,
    to: &mut Destination<'_>,
) -> Result<(Found, Left), Violation> {
    if worker.is_distrusted() {
        return Ok((Found::Nothing, Left::Nothing));
    }
    worker.link.forget_on();
    if !worker.link.has_news() {
        let has_room = finds_room(worker);
        let has_more = worker.link.pump() || has_room;
        to.work.trash.add_all(worker.link.take_unwanted());
        return Ok((if has_more { Found::Part } else { Found::Nothing }, Left::Nothing));
    }
    read_by(seat, worker, to, |link, look| link.collect(buffers, look)).map(|(left, count)| {
        // A sample alone, or a part of a reply: no other look need follow, so this one asks.
        let has_room = count == 0 && finds_room(worker);
        let found = match left == Left::Part || has_room {
            true => Found::Part,
            false if count == 0 => Found::Nothing,
            false => Found::All,
        };
        (found, left)
    })
}

/// Reads parts of the open result of a worker's oldest piece.
pub(crate) fn collect_open_from(
    seat: usize,
    worker: &mut WorkerHandle,
    within: (usize, u64, bool),
    buffers: &mut Buffers,
    to: &mut Destination<'_>,
) -> Result<Read, Violation> {
    read_by(seat, worker, to, |link, look| link.collect_open(within, buffers, look)).map(|(read, _)| read)
}

/// One look at what a worker has said. Gives the number of pieces that were answered, too.
#[inline(always)]
fn read_by<T>(
    seat: usize,
    worker: &mut WorkerHandle,
    to: &mut Destination<'_>,
    read: impl FnOnce(&mut Link, &mut Look<'_, '_>) -> Result<T, Violation>,
) -> Result<(T, u64), Violation> {
    let pid = worker.pid();
    let WorkerHandle { link, sampled, memory, .. } = &mut *worker;
    let not_received = Vec::new();
    let (count, last_task, earlier, start_failure) = (0, None, Vec::new(), None);
    let mut look =
        Look { seat, pid, to: &mut *to, count, last_task, earlier, start_failure, not_received, sampled, memory };
    let result = read(link, &mut look);
    let Look { count, last_task, earlier, start_failure, not_received, .. } = look;
    for tables in not_received {
        worker.link.lost_tables(&tables);
        to.work.trash.add_rest(tables);
    }
    worker.link.forget_on();
    to.work.trash.add_pages(worker.link.take_pages());
    to.work.trash.add_all(worker.link.take_unwanted());
    worker.start_failure = start_failure.or(worker.start_failure.take());
    to.counts.pieces_done += count;
    worker.pieces_done += count;
    if let Some(key) = last_task {
        to.work.offer_unless_full(key);
        learn_pace(worker, to.work, key, count, &earlier);
        if let Work { status: Some(told), tasks, .. } = &mut *to.work {
            told.answered(seat, worker, tasks);
        }
    }
    result.map(|read| (read, count))
}

/// True if a piece found no room in its ring, and now there is some.
fn finds_room(worker: &mut WorkerHandle) -> bool {
    worker.link.lacks_room() && worker.link.has_read_on()
}

/// One look at one worker.
struct Look<'a, 'b> {
    seat: usize,
    pid: Option<u32>,
    to: &'a mut Destination<'b>,
    /// The pieces that were answered.
    count: u64,
    last_task: Option<TaskKey>,
    /// The tasks that had replies before the last one, and how many pieces were answered by then.
    earlier: Vec<(TaskKey, u64)>,
    start_failure: Option<String>,
    /// What a piece shares that the worker could not receive.
    not_received: Vec<Tables>,
    sampled: &'a mut Sampled,
    memory: &'a mut WorkerMemory,
}

impl Look<'_, '_> {
    /// Counts a reply to a piece of a task.
    #[inline(always)]
    fn count(&mut self, key: TaskKey) {
        self.count += 1;
        if self.last_task != Some(key)
            && let Some(previous) = self.last_task.replace(key)
        {
            self.earlier.push((previous, self.count - 1));
            self.to.work.offer_unless_full(previous);
        }
    }
}

impl Arrivals for Look<'_, '_> {
    #[inline(always)]
    fn result(&mut self, key: TaskKey, number: usize, bytes: Reply) {
        self.count(key);
        let Work { tasks, trash, .. } = &mut *self.to.work;
        // Nobody wants a piece of a task that has ended.
        let Some(task) = tasks.get_mut(key) else { return trash.add_reply(bytes) };
        self.to.wakes.add(task.settle_done(number, bytes, trash));
        failpoint!("parent-piece-settled");
    }

    fn sample(&mut self, told: &Told<'_>) {
        self.to.work.functions.sampled(told, self.sampled, self.memory);
    }

    #[cfg(feature = "log")]
    fn logged(&mut self, piece: Option<(TaskKey, usize)>, lane: &Arc<Lane>, read: Option<LogsRead>) {
        if let Some(read) = read {
            self.to.work.outgoing.add_logs(read);
        }
        if let Some(piece) = piece {
            let Work { tasks, outgoing, .. } = &mut *self.to.work;
            self.to.logs.hold(piece, tasks.get_mut(piece.0), lane, outgoing);
        }
    }

    fn keeps(&mut self, key: TaskKey, by: isize) {
        if let Some(task) = self.to.work.tasks.get_mut(key) {
            task.keeps_open(by);
        }
    }

    fn other(&mut self, arrival: Arrival) {
        let (piece, outcome, bytes, again, took_ns, began_ns) = match arrival {
            Arrival::StartFailed(reason) => {
                self.start_failure = Some(reason);
                return;
            }
            Arrival::Reply { piece, outcome, bytes, again, took_ns, began_ns } => {
                (piece, outcome, bytes, again, took_ns, began_ns)
            }
        };
        if let Work { timeline: Some(timeline), tasks, .. } = &mut *self.to.work {
            let (seat, pid, task, number) = (self.seat, self.pid, tasks.get(piece.task), piece.number);
            let (took_ns, ended) = (Some(took_ns), Ended::of(outcome));
            timeline.ran(Ran { seat, pid, task, number, began_ns, took_ns, ended });
        }
        if let Some(task) = self.to.work.tasks.get_mut(piece.task) {
            task.note_time(piece.number, took_ns);
            #[cfg(feature = "tracing")]
            {
                let piece = TracedPiece { task, number: piece.number, seat: self.seat, pid: self.pid };
                self.to.work.outgoing.piece_done(piece, took_ns, Ended::of(outcome));
            }
        }
        if outcome == Outcome::Result {
            return self.result(piece.task, piece.number, bytes);
        }
        self.count(piece.task);
        let (seat, pid, delayed) = (self.seat, self.pid, &mut *self.to.delayed);
        let Work { tasks, trash, .. } = &mut *self.to.work;
        let Some(task) = tasks.get_mut(piece.task) else { return };
        if outcome == Outcome::SystemFailed {
            self.not_received.extend(task.tables_of(piece.number).cloned());
        }
        let text = String::from_utf8_lossy(bytes.as_slice()).into_owned();
        let failure = Failure { seat, pid, outcome, text };
        let failures = task.failures();
        let wake = failure.settle(task, piece.number, again.map(|again| *again), |pause_ns, again| {
            delayed.push(clock::now_ns() + pause_ns, piece.task, again);
        });
        task.drop_released(trash);
        self.to.counts.pieces_failed += (task.failures() - failures) as u64;
        self.to.wakes.add(wake);
    }
}

fn learn_pace(worker: &mut WorkerHandle, work: &mut Work, key: TaskKey, count: u64, earlier: &[(TaskKey, u64)]) {
    let Some(measured) = worker.measured else { return };
    let now_ns = clock::now_ns();
    worker.measured = Some(Measured::FromReply(now_ns));
    let each_ns = |since_ns| now_ns.saturating_sub(since_ns) / count;
    // What to believe of the task's pieces, and of the function's.
    let (of_task_ns, of_function_ns) = match measured {
        Measured::FromReply(since_ns) => (each_ns(since_ns), each_ns(since_ns)),
        // With more workers than cores this is mostly a wait for a core. Once it counted, each worker that was
        // woken for tiny pieces made them seem long, so the next of them woke one worker more each. The worker's own
        // word on it has no such wait.
        Measured::FromIdle(since_ns, first) => {
            let told_ns = worker.link.told_cost_ns(first);
            let believed_ns = told_ns.unwrap_or_else(|| each_ns(since_ns));
            let known_ns = work.tasks.get(key).map_or(MAX_COST_NS, |task| task.cost_ns());
            let of_task_ns = believed_ns.min(u64::from(known_ns));
            // Its word goes no further than the time that has passed.
            let of_function_ns = told_ns.map_or(of_task_ns, |told_ns| told_ns.min(now_ns.saturating_sub(since_ns)));
            (of_task_ns, of_function_ns)
        }
    };
    let busy_ns = match measured {
        Measured::FromReply(since_ns) => now_ns.saturating_sub(since_ns),
        // What one piece took is known without the wait, but for one of seconds.
        Measured::FromIdle(since_ns, first) => {
            let told_ns = worker.link.told_cost_ns(first).filter(|&ns| count == 1 && ns < u64::from(u32::MAX));
            // A worker may be given pieces before it is ready. The word is its own, and moves only what figures tell.
            let passed_ns = now_ns.saturating_sub(since_ns.max(worker.link.ready_ns()));
            told_ns.map_or(passed_ns, |told_ns| told_ns.min(now_ns.saturating_sub(since_ns)))
        }
    };
    let own_ns = if earlier.is_empty() { busy_ns } else { share_busy(work, busy_ns, count, earlier) };
    if let Some(task) = work.tasks.get_mut(key) {
        task.learn_cost(of_task_ns);
        task.add_busy(own_ns);
    }
    work.functions.learn_cost(worker.link.last_function(), of_function_ns);
}

/// Several tasks had replies in one look: each gets its part of the time. Gives that of the last one.
#[cold]
fn share_busy(work: &mut Work, busy_ns: u64, count: u64, earlier: &[(TaskKey, u64)]) -> u64 {
    let (mut left_ns, mut before) = (busy_ns, 0);
    for &(key, upto) in earlier {
        let part_ns = busy_ns / count * (upto - before);
        (left_ns, before) = (left_ns - part_ns, upto);
        if let Some(task) = work.tasks.get_mut(key) {
            task.add_busy(part_ns);
        }
    }
    left_ns
}

/// A reply that is no result.
struct Failure {
    seat: usize,
    pid: Option<u32>,
    outcome: Outcome,
    text: String,
}

impl Failure {
    /// The outcome of its piece: an error, or a later start if such an answer counts as a loss, and its arguments are
    /// there for `delay`.
    fn settle(
        self,
        task: &mut TaskState,
        number: usize,
        again: Option<Arguments>,
        delay: impl FnOnce(u64, WaitingPiece),
    ) -> Wake {
        let Failure { seat, pid, outcome, text } = self;
        let error = |label, attempts| piece_error(outcome, text).with_piece(label, attempts).with_worker(seat, pid);
        match again {
            Some(arguments) if task.retries_after(outcome) => match task.lose_start(number, error) {
                Ok(pause_ns) => {
                    delay(pause_ns, WaitingPiece { number, arguments });
                    Wake::NOBODY
                }
                Err(wake) => wake,
            },
            _ => {
                let error = error(task.label(number), task.attempts(number));
                task.settle_failed(number, error)
            }
        }
    }
}

/// The error of a piece whose worker lives.
fn piece_error(outcome: Outcome, mut text: String) -> Error {
    let mut noted = None;
    if let Some((words, number)) = text.rsplit_once(record::NOTE)
        && let Ok(number) = number.parse()
    {
        (noted, text) = (Some(number), words.to_string());
    }
    let error = match outcome {
        Outcome::Panicked => match text.split_once(record::BACKTRACE) {
            Some((words, backtrace)) => Error::new(ErrorKind::Panicked, words).with_backtrace(backtrace),
            None => Error::new(ErrorKind::Panicked, text),
        },
        Outcome::Failed => Error::new(ErrorKind::Failed, text),
        Outcome::EncodeFailed => Error::new(ErrorKind::Encode, text),
        Outcome::SystemFailed => Error::new(ErrorKind::System, text),
        _ => Error::new(ErrorKind::Decode, text),
    };
    error.with_note(noted)
}
