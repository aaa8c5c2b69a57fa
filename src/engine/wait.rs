//! How a caller waits: it looks, spins a little, and sleeps; while it leads, it collects for all.

use super::core::{Core, Observer, Urgency, Waiter, Want, number};
use super::policy::pace;
use super::shared::{Guard, Shared};
use super::unpark::{Sleeper, Unparker, Wake};
use crate::backend::TaskKey;
use crate::backend::waking::Until;
use crate::failpoint::failpoint;
use crate::protocol::lead::WaiterId;
use crate::sys::spin::Spin;
use crate::sys::{clock, process};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The leader looks at least this often: a piece may have destroyed what its worker signals with.
/// A wait of up to one second is acceptable in this rare case.
const LOOK: Duration = Duration::from_secs(1);

thread_local! {
    /// What unparks this thread, and the process that made it: a thread that forked may have been about to be unparked
    /// by one that the child does not have. It is gone where a destructor of an older thread-local waits, and in atexit(3).
    static UNPARKER: RefCell<Option<(process::Number, Arc<Unparker>)>> = const { RefCell::new(None) };
}

/// What unparks this thread.
fn unparker() -> Arc<Unparker> {
    let own = UNPARKER.try_with(|own| match &mut *own.borrow_mut() {
        Some((process, unparker)) if process::is_current(*process) => Arc::clone(unparker),
        own => Arc::clone(&own.insert((process::number(), Arc::default())).1),
    });
    // Without the thread's own, one for this wait: nobody needs to find it later.
    own.unwrap_or_default()
}

impl Shared {
    /// Waits until `ready` gives something, collecting for all while this caller leads. `None` at the
    /// deadline, or if a waker is kept instead.
    pub(super) fn wait<T>(
        &self,
        key: TaskKey,
        want: Want,
        until: Until<'_>,
        mut ready: impl FnMut(&mut Core) -> Option<T>,
    ) -> Option<T> {
        if let Some(waker) = until.waker() {
            return self.poll(key, want, waker, ready);
        }
        let mut core = self.lock();
        core.collect();
        let mut value = ready(&mut core);
        let mut spin = Spin::new();
        if value.is_none() && !core.will_wait_long(want) {
            (core, value) = self.look_briefly(core, || spin.pause(), &mut ready);
        }
        if value.is_some() {
            core.reader_came(key);
            core.keep_owed_attention();
            self.release(core);
            return value;
        }
        Wait::enter(self, core, key, want).until(spin, until.deadline(), ready)
    }
}

/// One caller's wait. Dropping it, in whatever way, leaves: the lead goes on.
struct Wait<'a> {
    shared: &'a Shared,
    core: Option<Guard<'a>>,
    id: WaiterId,
    key: TaskKey,
    unparker: Arc<Unparker>,
    /// Until when it sleeps until a worker runs low, although it wants the next outcome.
    put_off_until_ns: Option<u64>,
}

impl<'a> Wait<'a> {
    fn enter(shared: &'a Shared, mut core: Guard<'a>, key: TaskKey, want: Want) -> Self {
        core.unregister(key);
        let unparker = unparker();
        let id = core.waiters().enter(Waiter::new(Arc::clone(&unparker), want));
        if want != Want::Room
            && let Some(task) = core.task(key)
        {
            task.wait(want, &unparker);
        }
        if core.waiters().leads(id) {
            core.attend(Observer::CallerAwake, false);
        } else {
            // The leader may sleep, and be signalled less than this caller needs.
            core.keep_attention();
        }
        // Pieces that waited for a reader may now be given out.
        core.reader_came(key);
        Wait { shared, core: Some(core), id, key, unparker, put_off_until_ns: None }
    }

    fn until<T>(
        mut self,
        mut spin: Spin,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Core) -> Option<T>,
    ) -> Option<T> {
        loop {
            if let Some(value) = self.look(&mut ready) {
                // What this caller took may have made room for pieces that waited because too much was unread; and
                // it is no waiter any more, for whom the next piece may always run.
                let key = self.key;
                self.wait_no_more();
                self.core().reader_came(key);
                return Some(value);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            if !self.leads() {
                self.park(deadline);
                continue;
            }
            let waits_long = self.core().waits_long();
            // A turn may yield the core, so not with the lock held.
            self.let_others_in();
            if waits_long || !spin.turn() {
                // What was given may not be begun: a worker may be stopped. Before the announcement, after
                // which nothing may be done but sleep.
                let due_ns = self.core().run_timers_of_caller();
                if self.announce() {
                    self.poll(left, due_ns);
                }
                spin = Spin::new();
            }
        }
    }

    fn core(&mut self) -> &mut Guard<'a> {
        let shared = self.shared;
        self.core.get_or_insert_with(|| shared.lock())
    }

    /// Its task has no waiter any more.
    fn wait_no_more(&mut self) {
        let key = self.key;
        if let Some(task) = self.core().task(key) {
            task.wait_no_more();
        }
    }

    fn leads(&mut self) -> bool {
        let id = self.id;
        self.core().waiters().leads(id)
    }

    fn look<T>(&mut self, ready: &mut impl FnMut(&mut Core) -> Option<T>) -> Option<T> {
        let leads = self.leads();
        let core = self.core();
        if leads {
            core.collect_for_all();
        }
        ready(core)
    }

    /// Gives the lock away for a moment.
    fn let_others_in(&mut self) {
        if let Some(core) = self.core.take() {
            self.shared.release(core);
        }
    }

    /// Not the leader: sleeps until the leader says that something changed.
    fn park(&mut self, deadline: Option<Instant>) {
        self.unparker.will_park();
        self.let_others_in();
        self.unparker.park(deadline);
        self.core();
        self.unparker.woke();
    }

    /// The leader: announces that it will sleep. False if there is something to look at.
    fn announce(&mut self) -> bool {
        !self.core().attend(Observer::CallerParks, true)
    }

    /// The leader: sleeps until a worker replies or dies, or somebody kicks it.
    fn poll(&mut self, left: Option<Duration>, due_ns: Option<u64>) {
        let due_ns = due_ns.into_iter().chain(self.core().take_stays_until_ns()).chain(self.put_off()).min();
        let until_due = due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(clock::now_ns())));
        let left = [left, until_due, Some(LOOK)].into_iter().flatten().min();
        self.unparker.will_poll();
        self.let_others_in();
        failpoint!("parent-sleep-announced");
        let events = self.shared.callers.wait(left).unwrap_or_else(|_| {
            self.shared.lose_descriptors();
            Vec::new()
        });
        failpoint!("parent-awake");
        // A worker's place will be filled, by the host's state as it is now.
        let host = number::tell_of_death(&events).then(|| self.shared.host.read());
        self.core();
        self.unparker.woke();
        if let Some(host) = host {
            self.core().follow_host(host);
        }
        self.core().handle_events(&events);
        if self.core().awaits_kill_count() {
            self.let_others_in();
            let count = self.shared.memory_kills.read();
            self.core().settle_kills(count);
        }
        self.end_delay();
        self.core().attend(Observer::CallerAwake, false);
    }

    /// Until when this caller, which wants the next outcome, sleeps although it may be there. What the workers hold does not matter: while it
    /// sleeps, another thread may give them quick pieces, and have them signal less.
    fn put_off(&mut self) -> Option<u64> {
        let id = self.id;
        if self.core().waiters().get_mut(id).is_none_or(|waiter| waiter.urgency != Urgency::Soon) {
            return None;
        }
        Some(*self.put_off_until_ns.get_or_insert_with(|| clock::now_ns() + pace::EACH_AFTER_NS))
    }

    /// From some time on it is woken for each piece.
    fn end_delay(&mut self) {
        let id = self.id;
        if self.put_off_until_ns.is_some_and(|until_ns| clock::now_ns() >= until_ns)
            && let Some(waiter) = self.core().waiters().get_mut(id)
        {
            waiter.urgency = Urgency::Each;
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.wait_no_more();
        let id = self.id;
        let core = self.core();
        let (next, has_leader) =
            (core.waiters().leave(id).map(|next| Arc::clone(&next.unparker)), core.waiters().has_leader());
        if let Some(next) = next {
            core.wakes().add(Wake(Some(Sleeper::Thread(next))));
        } else if !has_leader {
            let observer = core.unattended();
            core.attend(observer, true);
        }
        self.let_others_in();
    }
}
