//! The pool's machinery, from the parent's threads down to the worker's loop.
//!
//! Callers and the supervisor share a [`Shared`]; its one lock guards the scheduler (`core.rs`).
//! Who sleeps, sleeps outside it.
//!
//! | thread     | sleeps in                  | is woken by                                                 |
//! |------------|----------------------------|-------------------------------------------------------------|
//! | the caller that leads | the callers' watch | its workers' replies, any death, a kick                  |
//! | other callers | their own condvar       | the leader, when their piece is there or the lead is theirs |
//! | supervisor | the supervisors' watch     | low water, a worker that lacks room, any death, orders      |

mod child;
mod core;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod link;
mod shared_seam;
mod start;
mod supervisor;
mod wire;

use self::core::task_state::{Settled, Site, TaskKey};
pub(crate) use self::start::start;

use self::child::entry;
use self::core::task_state::{TaskSettings, Unparker, Want};
use self::core::{Attention, Core, Waiter};
use self::supervisor::Order;
use crate::codec::bytes::Handed;
use crate::codec::call::Call;
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::failpoint::failpoint;
use crate::protocol::lead::WaiterId;
use crate::sys::event::{Epoll, Event};
use crate::sys::image::image;
use crate::sys::spin::Spin;
use crate::sys::{clock, process};
use crossbeam_channel::Sender;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A batch of results that is taken under one lock: few enough that what was taken does not escape
/// the bound on unread results.
const BATCH_PIECES: usize = 256;
const BATCH_BYTES: usize = 64 * 1024;

/// Whoever leads looks at least so often: a piece may have wrecked what its worker signals with.
const LOOK: Duration = Duration::from_secs(1);

/// So many pieces are added between two looks at the workers.
const BATCH_ADDED: usize = 64;

/// What callers, tasks and the supervisor of one pool share.
#[derive(Debug)]
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// What the caller that leads sleeps in.
    callers: Arc<Epoll>,
    /// Wakes it.
    kick: Arc<Event>,
    orders: Sender<Order>,
    /// Wakes the supervisor, who then reads its orders.
    kick_supervisor: Arc<Event>,
    workers: usize,
}

/// A pool's figures at one moment.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) workers: Vec<(Option<u32>, usize, u64, u32)>,
    pub(crate) tasks: usize,
    pub(crate) pieces_waiting: usize,
    pub(crate) pieces_done: u64,
    pub(crate) deaths: u64,
}

/// How a piece travels, if it can.
pub(crate) fn travel_word(call: &Call) -> Option<u64> {
    if image().has_code(call.address()) { call.to_word(entry::address()) } else { None }
}

impl Shared {
    /// The pool's state. `None` in a process that was forked from the pool's: there it is a copy, whose
    /// lock may be held by a thread that is not there, and whose rings are the parent's.
    fn core(&self) -> Option<MutexGuard<'_, Core>> {
        is_this_process().then(|| self.core.lock())
    }

    pub(crate) fn open_task(&self) -> Result<TaskKey, Error> {
        self.core().ok_or_else(foreign)?.open_task()
    }

    pub(crate) fn set_up(&self, key: TaskKey, change: impl FnOnce(&mut TaskSettings)) {
        if let Some(task) = self.core().as_mut().and_then(|core| core.tasks.get_mut(key)) {
            task.set_up(change);
        }
    }

    pub(crate) fn add_piece(&self, key: TaskKey, site: Site, arguments: Handed<'_>) {
        let Some(mut core) = self.core() else { return };
        core.add_piece(key, site, arguments);
        self.pieces_added(core, key, 1);
    }

    fn pieces_added(&self, mut core: MutexGuard<'_, Core>, key: TaskKey, count: usize) {
        if core.pieces_added(key, count) {
            drop(core);
            self.kick_supervisor.signal();
        }
    }

    /// Pieces of one site, whose arguments lie one behind the other and end there.
    pub(crate) fn add_pieces(&self, key: TaskKey, site: Site, arguments: &[u8], ends: &[usize], more: usize) {
        let Some(mut core) = self.core() else { return };
        core.reserve(key, ends.len() + more);
        let mut start = 0;
        for chunk in ends.chunks(BATCH_ADDED) {
            for &end in chunk {
                core.add_piece(key, site, Handed::Lent(&arguments[start..end]));
                start = end;
            }
            if core.pieces_added(key, chunk.len()) {
                self.kick_supervisor.signal();
            }
        }
    }

    pub(crate) fn add_failed(&self, key: TaskKey, site: Site, error: impl FnOnce(PieceLabel) -> Error) {
        if let Some(task) = self.core().as_mut().and_then(|core| core.tasks.get_mut(key)) {
            task.add_failed(site, error);
        }
    }

    /// How many pieces the task has, and how many of them are done.
    pub(crate) fn progress(&self, key: TaskKey) -> (usize, usize) {
        let Some(mut core) = self.core() else { return (0, 0) };
        core.collect();
        core.run_timers();
        core.tasks.get_mut(key).map_or((0, 0), |task| (task.len(), task.done()))
    }

    pub(crate) fn label(&self, key: TaskKey, number: usize) -> Option<PieceLabel> {
        self.core()?.tasks.get_mut(key).map(|task| task.label(number))
    }

    /// What has not begun never begins; with `kill`, what runs is killed. Its values are dropped
    /// by the caller, outside the lock.
    pub(crate) fn close_task(&self, key: TaskKey, kill: bool) {
        let task = self.core().and_then(|mut core| core.close_task(key, kill));
        drop(task);
    }

    /// Cancels a task that its owner still holds.
    pub(crate) fn cancel_task(&self, key: TaskKey) {
        if let Some(mut core) = self.core() {
            core.cancel_task(key);
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let Some(mut core) = self.core() else { return Figures::default() };
        core.collect();
        let workers = core.worker_figures().collect();
        let pieces_waiting = core.tasks.iter_mut().map(|task| task.waiting.len()).sum();
        Figures { workers, tasks: core.tasks.len(), pieces_waiting, pieces_done: core.pieces_done, deaths: core.deaths }
    }

    /// Takes the outcomes that are ready from piece `next` on, in order, at least one and no more
    /// than a batch, waiting for the first if need be. `None` if the deadline passed before.
    pub(crate) fn take_in_order(
        &self,
        key: TaskKey,
        next: usize,
        patient: bool,
        deadline: Option<Instant>,
    ) -> Option<Vec<Settled>> {
        if !is_this_process() {
            return Some(vec![Settled::Failed(foreign())]);
        }
        let want = if patient { Want::InOrder(next) } else { Want::Piece(next) };
        self.wait(key, want, deadline, |core| {
            let task = core.tasks.get_mut(key)?;
            let length = |settled: &Settled| if let Settled::Done(result) = settled { result.len() } else { 0 };
            let first = task.take(next)?;
            let mut bytes = length(&first);
            let mut taken = Vec::with_capacity((task.len() - next).min(BATCH_PIECES));
            taken.push(first);
            while taken.len() < BATCH_PIECES && bytes < BATCH_BYTES {
                let Some(settled) = task.take(next + taken.len()) else { break };
                bytes += length(&settled);
                taken.push(settled);
            }
            Some(taken)
        })
    }

    /// Takes the piece that finished first, waiting for one if need be. `None` where the pool is another
    /// process's: see [`foreign`].
    pub(crate) fn take_finished(&self, key: TaskKey) -> Option<(usize, Settled)> {
        self.wait(key, Want::Any, None, |core| core.tasks.get_mut(key)?.take_finished())
    }

    /// Waits until `ready` gives something, collecting for all while this caller leads.
    fn wait<T>(
        &self,
        key: TaskKey,
        want: Want,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Core) -> Option<T>,
    ) -> Option<T> {
        let mut core = self.core()?;
        core.collect();
        if let Some(value) = ready(&mut core) {
            core.reader_came(key);
            return Some(value);
        }
        let mut spin = Spin::new();
        // What is quick comes while it would still be setting itself up to wait. Who leads needs no
        // help, and who waits already is told by whoever leads.
        if !core.waiters.has_leader() {
            while spin.pause() {
                drop(core);
                core = self.core.lock();
                if core.collect()
                    && let Some(value) = ready(&mut core)
                {
                    core.reader_came(key);
                    return Some(value);
                }
            }
        }
        let mut wait = Wait::enter(self, core, key, want);
        loop {
            if let Some(value) = wait.look(&mut ready) {
                // First, or the piece after it would count as asked for.
                wait.is_served();
                wait.core().reader_came(key);
                return Some(value);
            }
            let left = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return None,
                left => left,
            };
            if !wait.leads() {
                wait.sleep_until_told(deadline);
            } else if spin.turn() {
                wait.let_others_in();
            } else {
                // What was given may not be begun: a worker may be stopped. Before the announcement, after
                // which nothing may be done but sleep.
                let due = wait.core().run_timers();
                if wait.announce() {
                    wait.sleep_until_something(left, due);
                }
                spin = Spin::new();
            }
        }
    }

    /// Takes back the buffer of a big result that was read.
    pub(crate) fn reuse(&self, buffer: Vec<u8>) {
        let Some(mut core) = self.core() else { return };
        let (unwanted, first) = core.spare.put(buffer);
        drop(core);
        if first {
            // It sees to it that the memory goes back once there is quiet.
            self.kick_supervisor.signal();
        }
        drop(unwanted);
    }

    fn kick_supervisor(&self, order: Order) {
        // The supervisor is gone only with the pool.
        let _ = self.orders.send(order);
        self.kick_supervisor.signal();
    }

    /// Ends the pool: at once, or when what runs has ended. Returns when its processes are gone.
    pub(crate) fn shut_down(&self, kill: bool) {
        let (done, wait) = crossbeam_channel::bounded(1);
        self.core.lock().close(kill);
        self.kick.signal();
        self.kick_supervisor(Order::Close { done });
        // Ends when the supervisor has answered, or was gone already.
        let _ = wait.recv();
    }
}

thread_local! {
    /// What wakes this thread; one is enough, since a thread waits in one place at a time.
    static UNPARKER: Arc<Unparker> = Arc::default();
}

/// One caller's wait. Dropping it, in whatever way, leaves: the lead goes on.
struct Wait<'a> {
    shared: &'a Shared,
    core: Option<MutexGuard<'a, Core>>,
    id: WaiterId,
    key: TaskKey,
    bell: Arc<Unparker>,
}

impl<'a> Wait<'a> {
    fn enter(shared: &'a Shared, mut core: MutexGuard<'a, Core>, key: TaskKey, want: Want) -> Self {
        let bell = UNPARKER.with(Arc::clone);
        let id = core.waiters.enter(Waiter { bell: Arc::clone(&bell), want });
        if let Some(task) = core.tasks.get_mut(key) {
            task.wait(want, &bell);
        }
        if core.waiters.leads(id) {
            core.attend(Attention::Awake, false);
        } else {
            // The leader may sleep, told of less than this caller needs.
            core.keep_attention();
        }
        // What waited for a reader may go now.
        core.reader_came(key);
        Wait { shared, core: Some(core), id, key, bell }
    }

    fn core(&mut self) -> &mut MutexGuard<'a, Core> {
        let shared = self.shared;
        self.core.get_or_insert_with(|| shared.core.lock())
    }

    fn leads(&mut self) -> bool {
        let id = self.id;
        self.core().waiters.leads(id)
    }

    /// Its task has no waiter any more.
    fn is_served(&mut self) {
        let key = self.key;
        if let Some(task) = self.core().tasks.get_mut(key) {
            task.wait_no_more();
        }
    }

    fn look<T>(&mut self, ready: &mut impl FnMut(&mut Core) -> Option<T>) -> Option<T> {
        let leads = self.leads();
        let core = self.core();
        if leads {
            core.collect();
        }
        ready(core)
    }

    /// Gives the lock away for a moment.
    fn let_others_in(&mut self) {
        self.core = None;
    }

    /// Not the leader: sleeps until the leader says that something changed.
    fn sleep_until_told(&mut self, deadline: Option<Instant>) {
        let bell = Arc::clone(&self.bell);
        let core = self.core();
        match deadline {
            Some(deadline) => drop(bell.condvar.wait_until(core, deadline)),
            None => bell.condvar.wait(core),
        }
    }

    /// The leader: announces that it will sleep. False if there is something to look at.
    fn announce(&mut self) -> bool {
        !self.core().attend(Attention::CallerSleeps, true)
    }

    /// The leader: sleeps until a worker replies or dies, or somebody rings.
    fn sleep_until_something(&mut self, left: Option<Duration>, due: Option<u64>) {
        let until_due = due.map(|due| Duration::from_nanos(due.saturating_sub(clock::now_ns())));
        let left = [left, until_due, Some(LOOK)].into_iter().flatten().min();
        self.bell.in_watch.store(true, Ordering::Relaxed);
        self.core = None;
        failpoint!("parent-sleep-announced");
        let events = self.shared.callers.wait(left);
        failpoint!("parent-awake");
        self.core();
        self.bell.in_watch.store(false, Ordering::Relaxed);
        let shared = self.shared;
        let core = self.core();
        supervisor::handle_events(shared, core, &events);
        core.attend(Attention::Awake, false);
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.is_served();
        let id = self.id;
        let core = self.core();
        if let Some(next) = core.waiters.leave(id) {
            next.bell.condvar.notify_one();
        } else if !core.waiters.has_leader() {
            let attention = core.unattended();
            core.attend(attention, true);
        }
    }
}

/// What becomes of everything that is asked of a pool by a process that was forked from the pool's.
pub(crate) fn foreign() -> Error {
    Error::new(ErrorKind::Unsupported, "the pool belongs to the process that this one was forked from")
}

/// True in the process that made its pools, false in one that was forked from it.
pub(crate) fn is_this_process() -> bool {
    process::is_this_process()
}
