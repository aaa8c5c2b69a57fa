//! Tasks that end at a moment.
//!
//! Invariant: a task that is open and has a deadline in its settings is listed here until the supervisor has ended it, and the
//! supervisor is awake at the first of these moments.

use super::Core;
use super::reason::Reason;
use crate::backend::{TaskKey, TaskSettings};
use crate::sys::clock;
use std::collections::BTreeSet;

/// By their moments.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(u64, TaskKey)>);

impl Core {
    pub(crate) fn configure(&mut self, key: TaskKey, settings: TaskSettings) {
        let Some(task) = self.work.tasks.get_mut(key) else { return };
        let (before, after) = (task.settings().deadline_ns, settings.deadline_ns);
        task.configure(settings);
        if before == after {
            return;
        }
        self.forget_deadline(key, before);
        if let Some(due_ns) = after {
            self.deadlines.0.insert((due_ns, key));
            self.alarm.wake_by(due_ns);
        }
    }

    /// The task ends before.
    #[inline]
    pub(super) fn forget_deadline(&mut self, key: TaskKey, deadline_ns: Option<u64>) {
        if let Some(due_ns) = deadline_ns {
            self.deadlines.0.remove(&(due_ns, key));
        }
    }

    /// A piece is to be added: ends its task if the deadline has passed, which the supervisor may find out later on a busy machine.
    /// It then does the rest: the task stays listed.
    #[inline(always)]
    pub(super) fn end_if_late(&mut self, key: TaskKey) {
        if !self.deadlines.0.is_empty() {
            self.look_at_deadline(key);
        }
    }

    #[cold]
    fn look_at_deadline(&mut self, key: TaskKey) {
        let Some(task) = self.work.tasks.get(key).filter(|task| !task.is_cancelled()) else { return };
        if task.settings().deadline_ns.is_some_and(|due_ns| due_ns <= clock::now_ns()) {
            let _ = self.end_task(key, &Reason::past_deadline());
        }
    }

    /// Ends tasks of which the deadline has passed: all of it that has no outcome fails. Gives those of which workers may hold pieces:
    /// [`stop_task`](Self::stop_task) follows, and kills what runs.
    #[must_use]
    pub(crate) fn end_overdue(&mut self) -> Vec<TaskKey> {
        let mut held = Vec::new();
        while let Some(&(due_ns, key)) = self.deadlines.0.first() {
            if self.hold.is_spent() || due_ns > clock::now_ns() {
                self.alarm.wake_by(due_ns);
                break;
            }
            self.deadlines.0.pop_first();
            self.hold.spend_pieces(1);
            if self.end_task(key, &Reason::past_deadline()) {
                held.push(key);
            }
        }
        held
    }
}
