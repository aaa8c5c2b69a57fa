//! How a caller that does not wait takes what is there: it looks, and leaves its waker.
//!
//! Invariant: a waker is left only under the lock, and the caller looks once more after that before the lock is released. So each
//! outcome is found either by that look, or by a thread that finds the waker. Wakers are cloned before the lock is taken, and woken and
//! dropped after it is released.

use super::core::{Core, Want};
use super::shared::{Guard, Shared};
use crate::backend::TaskKey;
use crate::backend::waking::KeptWaker;
use crate::sys::spin::Spin;
use std::task::Waker;

impl Shared {
    /// What `ready` gives, at once, or after a while where a core is left for this caller. Else the waker is kept, and woken once `ready` may
    /// give something.
    pub(super) fn poll<T>(
        &self,
        key: TaskKey,
        want: Want,
        waker: &Waker,
        mut ready: impl FnMut(&mut Core) -> Option<T>,
    ) -> Option<T> {
        let mut core = self.lock();
        core.collect();
        let mut value = ready(&mut core);
        if value.is_none() && core.leaves_core() {
            let mut spin = Spin::new();
            (core, value) = self.look_briefly(core, || spin.pause(), &mut ready);
            let may_look = value.is_none() && !core.waiters().has_leader();
            if may_look && Spin::is_near() && core.long_looks().begins() {
                (core, value) = self.look_briefly(core, || spin.turn(), &mut ready);
                core.long_looks().ended(value.is_some());
            }
        }
        let mut is_lost = false;
        if value.is_none() {
            self.release(core);
            let waker = KeptWaker::of(waker);
            core = self.lock();
            core.collect();
            core.register(key, want, waker);
            value = ready(&mut core);
            if value.is_some() {
                core.unregister(key);
            }
            is_lost = core.alarm().is_lost();
        }
        if value.is_some() {
            core.reader_came(key);
        }
        core.keep_owed_attention();
        self.release(core);
        if is_lost {
            // The supervisor may sleep for ever. All that is open fails, so the waker is woken.
            self.lose_descriptors();
        }
        value
    }

    /// What is quick comes while the caller would still be setting itself up to wait. Each turn is one of `goes_on`. A leader needs no help: it
    /// wakes callers that already wait.
    pub(super) fn look_briefly<'a, T>(
        &'a self,
        mut core: Guard<'a>,
        mut goes_on: impl FnMut() -> bool,
        ready: &mut impl FnMut(&mut Core) -> Option<T>,
    ) -> (Guard<'a>, Option<T>) {
        let mut value = None;
        while value.is_none() && !core.waiters().has_leader() {
            self.release(core);
            let looks_on = goes_on();
            core = self.lock();
            if !looks_on {
                break;
            }
            if core.collect() {
                value = ready(&mut core);
            }
        }
        (core, value)
    }
}
