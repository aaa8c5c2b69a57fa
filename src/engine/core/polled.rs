//! Tasks whose callers do not wait, but have left a waker.
//!
//! Invariant: the wakers that tasks keep are those that [`Wakes`](crate::engine::unpark::Wakes) counts. While there is one, the supervisor
//! is signalled of replies as a caller that waits would be, or looks beside the caller that leads.

use super::{Core, Urgency, Want};
use crate::backend::TaskKey;
use crate::backend::waking::KeptWaker;
use crate::engine::unpark::{Polled, Registered};

impl Core {
    /// A caller wants that of its task, and leaves its waker, in place of an earlier one. The caller looks once more after that.
    pub(crate) fn register(&mut self, key: TaskKey, want: Want, waker: KeptWaker) {
        self.unregister(key);
        let Some(task) = self.work.tasks.get_mut(key) else { return self.work.trash.add_rest(waker) };
        let want = task.refined(want);
        let registered = Registered { waker, is_eager: want.urgency() != Urgency::Last };
        self.wakes.note(&registered);
        task.register(want, registered);
        if self.waiters.has_leader() {
            // It may sleep, and be signalled less than this caller needs.
            self.keep_attention();
        } else {
            let observer = self.unattended();
            self.attend(observer, false);
        }
        // Pieces that waited for a reader may now be given out.
        self.reader_came(key);
    }

    /// The waker of this task, if there is one, is not needed.
    #[inline]
    pub(crate) fn unregister(&mut self, key: TaskKey) {
        if let Some(registered) = self.work.tasks.get_mut(key).and_then(|task| task.take_waker()) {
            self.wakes.forget(&registered);
            self.work.trash.add_rest(registered);
        }
    }

    /// True if a task keeps a waker.
    pub(crate) fn is_polled(&self) -> bool {
        self.wakes.polled() != Polled::No
    }
}
