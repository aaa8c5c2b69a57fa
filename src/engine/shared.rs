//! What callers, tasks and the supervisor of one pool share: the scheduler's lock, and what wakes those who
//! sleep. It is the pool as its tasks know it, a [`Backend`].
//!
//! | thread                | sleeps in                  | is woken by                                            |
//! |-----------------------|----------------------------|--------------------------------------------------------|
//! | the caller that leads | the callers' epoll         | its workers' replies, any death, the callers' eventfd  |
//! | other callers         | their own [`Unparker`]     | the thread that settles their piece or passes the lead on|
//! | supervisor            | the supervisor's epoll     | low water, a worker without room, any death, its eventfd; a reply that callers beside the leader wait for |
//!
//! Invariant: nobody sleeps with the lock held; the waiters that are to be woken are woken after it is
//! released.
//!
//! [`Unparker`]: super::unpark::Unparker

use super::core::{Closed, Core, NextFinished, Want};
use super::gone_tables::GoneTables;
#[cfg(any(feature = "log", feature = "tracing"))]
use super::outbox::Outbox;
use super::policy::pace;
use super::unpark::Wake;
use super::wire::status;
use crate::backend::counts::Last;
use crate::backend::waking::Until;
use crate::backend::{
    Backend, Counts, Feeding, Finished, Outcomes, Parts, ReadOrder, Reader, Settled, Site, Stop, TaskKey, TaskSettings,
    Wanted, Workers,
};
use crate::codec::bytes::Handed;
use crate::codec::tables::table::{Holder, Tables};
use crate::error::{Error, ErrorKind, PieceLabel};
use crate::stats::Stats;
use crate::stats::timeline::Timeline;
use crate::sys::cgroup::MemoryKills;
use crate::sys::event::{Epoll, Kick};
use crate::sys::host::HostReader;
use crate::sys::may_sleep::LockHeld;
use crate::sys::{allocator, available, process};
use crossbeam_channel::Sender;
use parking_lot::{Mutex, MutexGuard};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// At most 256 outcomes, or 64 KiB, are taken under one lock: what was taken escapes the limit on unread
/// results (usually 64 MiB), so it must be little. With a tenth, the lock would be a visible part of the cost.
const BATCH_PIECES: usize = 256;
const BATCH_BYTES: usize = 64 * 1024;

/// Pieces that are added between two looks at the workers: a look costs as much as some tiny pieces.
const BATCH_ADDED: usize = 64;

/// Results of this size that nobody read go back to the system when their task is dropped. glibc keeps up to 64 MiB of freed memory
/// at the end of its heap, and all that lies before something in use; a task that left less is not worth the walk over the heap.
const TRIM_BYTES: usize = 32 * 1024 * 1024;

/// Where the host has closed our descriptors, a supervisor that is awake answers within a millisecond, and one that sleeps
/// in its epoll never.
const LOST_SUPERVISOR: Duration = Duration::from_millis(200);

/// What the supervisor is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// The pool was closed: see it to its end, then drop the sender.
    Close { done: Sender<()> },
}

#[derive(Debug)]
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(super) callers: Arc<Epoll>,
    /// Wakes the caller that leads.
    pub(super) kick: Arc<Kick>,
    orders: Sender<Command>,
    /// What was freed and the supervisor is to give back.
    freed_bytes: AtomicUsize,
    /// Wakes the supervisor, who then reads its orders.
    pub(super) kick_supervisor: Arc<Kick>,
    /// Where the kernel counts the processes that it killed because memory ran out.
    pub(super) memory_kills: MemoryKills,
    /// Reads what new workers take from this process.
    pub(super) host: Arc<HostReader>,
    /// How many workers the pool is set to have. It changes under the lock, and is read without.
    workers: AtomicUsize,
    /// The most that it may be set to have.
    room: usize,
    limits_queue: bool,
    gone: Arc<GoneTables>,
    #[cfg(any(feature = "log", feature = "tracing"))]
    pub(super) outbox: Arc<Outbox>,
    /// The process that made it. In a child that was forked from it everything here is a copy.
    owner: process::Number,
}

/// The scheduler's lock, held. [`Shared::release`] gives it back.
pub(super) struct Guard<'a> {
    core: MutexGuard<'a, Core>,
    _held: LockHeld,
}

impl Deref for Guard<'_> {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for Guard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

impl Shared {
    pub(super) fn new(
        core: Core,
        callers: Arc<Epoll>,
        (kick, kick_supervisor): (Arc<Kick>, Arc<Kick>),
        orders: Sender<Command>,
        (memory_kills, host): (MemoryKills, Arc<HostReader>),
        workers: usize,
        limits_queue: bool,
    ) -> Self {
        let gone = Arc::new(GoneTables::new(Arc::clone(&kick_supervisor)));
        Shared {
            #[cfg(any(feature = "log", feature = "tracing"))]
            outbox: Arc::clone(core.outbox()),
            core: Mutex::new(core),
            callers,
            kick,
            orders,
            freed_bytes: AtomicUsize::new(0),
            kick_supervisor,
            memory_kills,
            host,
            workers: AtomicUsize::new(workers),
            room: status::rows(workers) - 1,
            limits_queue,
            gone,
            owner: process::number(),
        }
    }

    /// Takes the lock.
    #[inline]
    pub(super) fn lock(&self) -> Guard<'_> {
        let mut core = self.core.lock();
        debug_assert!(core.wakes().is_empty() && core.trash().is_empty(), "`release` takes both");
        core.hold().start();
        Guard { core, _held: LockHeld::new() }
    }

    /// Releases the lock; then wakes the waiters that have something to look at, and drops what nobody needs.
    #[inline]
    pub(super) fn release(&self, mut core: Guard<'_>) {
        #[cfg(any(feature = "log", feature = "tracing"))]
        let wakes_outbox = core.wakes_outbox();
        #[cfg(not(any(feature = "log", feature = "tracing")))]
        let wakes_outbox = false;
        if !core.wakes().is_empty() || !core.trash().is_empty() || core.hold().is_spent() || wakes_outbox {
            self.release_with_rest(core);
        }
    }

    fn release_with_rest(&self, mut core: Guard<'_>) {
        let (wakes, trash, was_long) = (core.wakes().take(), core.trash().take(), core.hold().is_spent());
        #[cfg(any(feature = "log", feature = "tracing"))]
        let outbox = core.take_wake_of_outbox();
        let Guard { core, _held } = core;
        if was_long {
            // This thread may want the lock again at once. Others who wait for it get it first.
            MutexGuard::unlock_fair(core);
        } else {
            drop(core);
        }
        drop(_held);
        wakes.unpark_all(&self.kick);
        #[cfg(any(feature = "log", feature = "tracing"))]
        if let Some(outbox) = outbox {
            outbox.wake_thread();
        }
        trash.clear_out();
    }

    /// Tells the workers of what nobody shares any more.
    pub(super) fn forget_tables(&self, core: &mut Core) {
        let gone = self.gone.take();
        if !gone.is_empty() {
            core.forget_tables(&gone);
        }
    }

    /// Does something with the pool's state. `None` in a process that was forked from the pool's: there it
    /// is a copy, whose lock may be held by a thread that is not there, and whose rings are the parent's.
    #[inline]
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> Option<T> {
        if !process::is_current(self.owner) {
            return None;
        }
        let mut core = self.lock();
        let value = act(&mut core);
        self.release(core);
        Some(value)
    }
}

impl Shared {
    /// Where the bytes that wait are limited: waits until another piece may be added.
    #[inline]
    fn await_room(&self, task: TaskKey) {
        if self.limits_queue && process::is_current(self.owner) {
            self.await_room_in_queue(task);
        }
    }

    #[cold]
    fn await_room_in_queue(&self, task: TaskKey) {
        if self.with(|core| core.has_room_in_queue()) != Some(false) {
            return;
        }
        self.with(|core| core.waits_for_room(true));
        self.wait(task, Want::Room, Until::Outcome, |core| core.has_room_in_queue().then_some(()));
        self.with(|core| core.waits_for_room(false));
    }

    /// Takes the pieces of a task that has ended back from the workers.
    pub(super) fn stop_task(&self, task: TaskKey, kill: bool) {
        let mut next = Some(0);
        while let Some(seat) = next {
            next = self.with(|core| core.stop_task(task, kill, seat)).flatten();
        }
    }
}

impl Backend for Shared {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn configure(&self, task: TaskKey, settings: TaskSettings) {
        self.with(|core| core.configure(task, settings));
    }

    fn add_piece(&self, task: TaskKey, site: Site, arguments: Handed<'_>) {
        self.await_room(task);
        self.with(|core| core.add_piece(task, site, arguments));
    }

    fn add_sharing_piece(&self, task: TaskKey, site: Site, arguments: Vec<u8>, tables: Tables) {
        if process::is_current(self.owner) {
            self.await_room(task);
            let holder = Arc::clone(&self.gone) as Arc<dyn Holder>;
            self.with(|core| core.add_sharing_piece(task, site, (arguments, tables), &holder));
        }
    }

    fn add_pieces(&self, task: TaskKey, site: Site, arguments: &[u8], ends: &[usize]) {
        self.await_room(task);
        self.with(|core| {
            let mut start = 0;
            for chunk in ends.chunks(BATCH_ADDED) {
                core.add_pieces(task, site, arguments, start, chunk);
                start = chunk.last().copied().unwrap_or(start);
            }
        });
    }

    fn add_failed(&self, task: TaskKey, site: Site, kind: ErrorKind, message: String) {
        self.with(|core| core.add_failed(task, site, kind, message));
    }

    fn completed(&self, task: TaskKey) -> usize {
        let completed = self.with(|core| {
            core.collect();
            core.run_timers_of_caller();
            core.keep_owed_attention();
            (core.task(task).map_or(0, |task| task.done()), core.alarm().is_lost())
        });
        match completed {
            Some((_, true)) => {
                self.lose_descriptors();
                self.with(|core| core.task(task).map_or(0, |task| task.done())).unwrap_or(0)
            }
            Some((completed, false)) => completed,
            None => 0,
        }
    }

    fn counts(&self, task: TaskKey) -> Counts {
        let counts = self.with(|core| {
            core.collect();
            core.keep_owed_attention();
            core.counts_of(task)
        });
        counts.unwrap_or_default()
    }

    fn feeding(&self, key: TaskKey) -> Feeding {
        let feeding = |core: &mut Core| {
            let task = core.task(key)?;
            Some(Feeding { pieces: pace::fed(task.cost_ns(), self.workers()), unread_bytes: task.unread_bytes() })
        };
        self.with(feeding).flatten().unwrap_or(Feeding { pieces: 1, unread_bytes: 0 })
    }

    fn label(&self, task: TaskKey, number: usize) -> Option<PieceLabel> {
        self.with(|core| core.label(task, number))?
    }

    fn take_in_order(&self, key: TaskKey, next: usize, order: ReadOrder, until: Until<'_>) -> Option<Outcomes> {
        if !process::is_current(self.owner) {
            return Some(Outcomes::One(Settled::Failed(foreign())));
        }
        let want = match order {
            ReadOrder::All => Want::InOrder(next),
            ReadOrder::Next => Want::Piece(next),
        };
        self.wait(key, want, until, |core| {
            let most = core.may_give(key, next)?;
            core.task(key)?.take_many(next, BATCH_PIECES.min(most), BATCH_BYTES)
        })
    }

    fn take_parts(&self, key: TaskKey, next: usize, spare: &mut Vec<u8>, until: Until<'_>) -> Option<Parts> {
        if !process::is_current(self.owner) {
            return Some(Parts::Rest(Outcomes::One(Settled::Failed(foreign()))));
        }
        self.wait(key, Want::Part(next), until, |core| {
            let most = core.may_give(key, next)?;
            if let Some(part) = core.take_part(key, next, spare) {
                return Some(Parts::Part(part));
            }
            core.task(key)?.take_many(next, BATCH_PIECES.min(most), BATCH_BYTES).map(Parts::Rest)
        })
    }

    fn take_finished(&self, key: TaskKey, wanted: Wanted, until: Until<'_>) -> Option<Finished> {
        if !process::is_current(self.owner) {
            let (number, settled) = (wanted.number(), Settled::Failed(foreign()));
            return Some(Finished { number, settled, attempts: 0, took_ns: 0 });
        }
        let want = match wanted {
            Wanted::First { .. } => Want::Any,
            Wanted::Piece(number) => Want::Piece(number),
        };
        // An outcome; or none, and whether there may be one.
        let look = |core: &mut Core| {
            let task = core.task(key)?;
            if task.take_interrupt() {
                return Some(Err(false));
            }
            if let Wanted::Piece(number) = wanted {
                core.may_give(key, number)?;
            }
            let task = core.task(key)?;
            let (number, settled) = match wanted {
                Wanted::Piece(number) => (number, task.take(number)?),
                Wanted::First { .. } => match task.take_finished()? {
                    NextFinished::Piece(number, settled) => (number, settled),
                    NextFinished::LookAgain => return Some(Err(true)),
                },
            };
            Some(Ok(task.told_of(number, settled)))
        };
        loop {
            match self.wait(key, want, until, look)? {
                Ok(finished) => return Some(finished),
                Err(true) => {}
                Err(false) => return None,
            }
        }
    }

    fn take_all_finished(&self, key: TaskKey) -> (Vec<Finished>, bool) {
        let take = |core: &mut Core| {
            core.collect();
            let (mut all, mut bytes, mut has_more) = (Vec::new(), 0, false);
            while let Some(task) = core.task(key)
                && let Some(next) = task.take_finished()
            {
                match next {
                    NextFinished::Piece(number, settled) => {
                        bytes += settled.bytes();
                        all.push(task.told_of(number, settled));
                    }
                    // The lock was held for long enough.
                    NextFinished::LookAgain => has_more = true,
                }
                has_more |= all.len() == BATCH_PIECES || bytes >= BATCH_BYTES;
                if has_more {
                    break;
                }
            }
            core.reader_came(key);
            core.keep_owed_attention();
            (all, has_more)
        };
        self.with(take).unwrap_or_default()
    }

    #[cfg(feature = "log")]
    fn hold_no_piece(&self, key: TaskKey) {
        self.with(|core| {
            if let Some(task) = core.task(key) {
                task.hold_no_piece();
            }
        });
    }

    fn tell_reader(&self, key: TaskKey, reader: Reader) {
        self.with(|core| {
            if let Some(task) = core.task(key) {
                task.set_reader(reader);
            }
            core.reader_came(key);
            core.keep_owed_attention();
        });
    }

    fn interrupt(&self, key: TaskKey) {
        self.with(|core| {
            let wake = core.task(key).map_or(Wake::NOBODY, |task| task.interrupt());
            core.wakes().add(wake);
        });
    }

    fn reuse(&self, buffer: Vec<u8>) {
        let kept = self.with(|core| core.buffers().put(buffer));
        let Some((unwanted, is_first)) = kept else { return };
        if is_first {
            // It sees to it that the memory goes back once there is quiet.
            let _ = self.kick_supervisor.signal();
        }
        drop(unwanted);
    }

    fn cancel(&self, task: TaskKey) {
        if self.with(|core| core.cancel_task(task)) == Some(true) {
            self.stop_task(task, true);
        }
    }

    fn abandon(&self, task: TaskKey) {
        if self.with(|core| core.cancel_task(task)) == Some(true) {
            self.stop_task(task, false);
        }
    }

    fn stop(&self, task: TaskKey, why: Stop) {
        let Some(reason) = self.with(|core| core.begin_stop(task, why)).flatten() else { return };
        let (mut begun, mut next) = (Vec::new(), Some(0));
        while let Some(seat) = next {
            next = self.with(|core| core.list_begun(task, seat, &mut begun)).flatten();
        }
        self.with(|core| core.end_stopped(task, begun, &reason));
    }

    fn keep_last(&self, task: TaskKey, last: Arc<Last>) {
        self.with(|core| core.task(task).map(|task| task.keep_last(last)));
    }

    fn detach(&self, task: TaskKey) {
        let mut next = Some(0);
        while let Some(piece) = next {
            next = self.with(|core| core.detach(task, piece)).flatten();
        }
    }

    fn close(&self, task: TaskKey, kill: bool) {
        let Some(Closed { rest, is_held }) = self.with(|core| core.close_task(task)) else { return };
        if let Some(rest) = rest {
            let bytes = rest.unread_bytes();
            // Its values are dropped here, without the lock.
            drop(rest);
            if bytes >= TRIM_BYTES {
                allocator::give_much_memory_back(bytes);
                // The supervisor has collected results too.
                self.freed_bytes.fetch_add(bytes, Ordering::Relaxed);
                let _ = self.kick_supervisor.signal();
            }
        }
        if is_held {
            self.stop_task(task, kill);
        }
    }
}

impl Shared {
    /// What the supervisor is to give back; once each time.
    pub(super) fn take_freed_bytes(&self) -> usize {
        if self.freed_bytes.load(Ordering::Relaxed) == 0 { 0 } else { self.freed_bytes.swap(0, Ordering::Relaxed) }
    }
}

impl Workers for Shared {
    fn workers(&self) -> usize {
        // It guards no other data.
        self.workers.load(Ordering::Relaxed)
    }

    fn resize(&self, workers: usize) -> Result<(), Error> {
        self.check_process()?;
        let most = self.room;
        if !(1..=most).contains(&workers) {
            let message = format!(
                "a pool cannot be resized to {workers} workers: give 1 to {most}, the larger of {} and twice the number that it was built with",
                status::LEAST_ROOM
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.with(|core| {
            core.resize(workers)?;
            self.workers.store(workers, Ordering::Relaxed);
            Ok(())
        })
        .unwrap_or_else(|| Err(foreign()))
    }

    fn open_task(&self) -> Result<TaskKey, Error> {
        self.with(|core| core.open_task()).unwrap_or_else(|| Err(foreign()))
    }

    fn stats(&self) -> Stats {
        self.read_stats()
    }

    fn timeline(&self) -> Timeline {
        self.read_timeline()
    }

    fn renew_workers(&self) {
        if !process::is_current(self.owner) {
            return;
        }
        let host = self.host.read();
        self.with(|core| {
            core.follow_host(host);
            core.retire_workers();
            core.keep_attention();
        });
        while self.with(Core::revoke_on) == Some(true) {}
    }

    fn recycle(&self) {
        self.with(Core::recycle);
    }

    fn check_process(&self) -> Result<(), Error> {
        if process::is_current(self.owner) { Ok(()) } else { Err(foreign()) }
    }

    fn check_memory(&self) -> Result<(), Error> {
        self.check_process()?;
        // Where the system does not tell, nobody waits for that.
        let Some(reading) = available::current() else { return Ok(()) };
        self.with(|core| core.admit(reading)).unwrap_or_else(|| Err(foreign()))
    }

    fn shut_down(&self, kill: bool) {
        if self.with(|core| core.close(kill)).is_none() {
            return;
        }
        while self.with(Core::sweep) == Some(true) {}
        #[cfg(any(feature = "log", feature = "tracing"))]
        self.outbox.ends_pool();
        let (done, wait) = crossbeam_channel::bounded(1);
        // If that fails, the leader finds out why when it looks: each second.
        let _ = self.kick.signal();
        // The supervisor is gone only with the pool.
        let _ = self.orders.send(Command::Close { done });
        if self.kick_supervisor.signal() {
            // Ends when the supervisor has answered, or was gone already.
            let _ = wait.recv();
        } else {
            // It may sleep for ever. The fork server has ended, and all workers, since their socket was closed.
            self.lose_descriptors();
            let _ = wait.recv_timeout(LOST_SUPERVISOR);
        }
    }
}

/// The error for everything that is asked of a pool in a process that was forked from the pool's.
fn foreign() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "the pool belongs to a process that this one was forked from: make another pool here, or use Task::new, which \
         has a global pool for each process",
    )
}
