//! A task that has ended leaves its memory to the next one.
//!
//! Invariant: after [`TaskState::reset`] it is as a new one, but for memory that it has in advance.

use super::TaskState;
use crate::backend::TaskSettings;
use crate::engine::policy::pace;

/// A task with no more pieces than this leaves its memory to the next task. It is the size of an
/// ordinary task (4 pieces for each of 16 workers); a larger one would keep memory for nothing.
const RECYCLED_PIECES: usize = 64;

impl TaskState {
    /// Makes it new again, with the memory that it has; false if something of it is left to be dropped,
    /// or it has too much memory.
    pub(crate) fn reset(&mut self) -> bool {
        if self.has_rest() {
            return false;
        }
        // Twice: the memory of the pieces grows by doubling, so up to half of it may be unused.
        debug_assert!(self.pieces.is_small(2 * RECYCLED_PIECES) && self.waiting.is_small(2 * RECYCLED_PIECES));
        // Field by field: to make a new one and drop this one takes longer than all else about a task.
        let TaskState {
            settings,
            last_site,
            earlier_sites: _,
            pieces,
            waiting: _,
            argument_bytes: _,
            done,
            reasons: _,
            sharing: _,
            ended,
            settles_late,
            is_detached,
            last: _,
            cost_ns,
            direct_ns,
            results,
            result_bytes,
            taken_bytes,
            first_unread,
            reader,
            parts_of,
            open: _,
            finished,
            lost_starts: _,
            retried,
            not_begun: _,
            times_ns: _,
            is_cancelled,
            is_interrupted,
            waiter,
            #[cfg(feature = "log")]
                held: _,
            #[cfg(feature = "log")]
                unseen: _,
            last_counts,
            spent,
            keeps_times,
            is_traced,
        } = self;
        *settings = TaskSettings::default();
        pieces.clear();
        (*cost_ns, *direct_ns) = (pace::MAX_COST_NS, pace::TINY_NS);
        (*done, *results, *result_bytes, *taken_bytes, *first_unread, *retried) = (0, 0, 0, 0, 0, 0);
        (*last_site, *finished, *reader, *waiter, *ended, *parts_of) = (None, None, None, None, None, None);
        (*keeps_times, *is_traced) = (false, false);
        (*last_counts, *spent) = (None, Default::default());
        (*is_cancelled, *is_interrupted, *settles_late, *is_detached) = (false, false, false, false);
        self.clear_lists();
        true
    }

    /// Something of it is left to be dropped, or it has too much memory.
    #[inline]
    fn has_rest(&self) -> bool {
        self.pieces.left() > 0
            || self.pieces.len() > RECYCLED_PIECES
            || !self.waiting.is_empty()
            || self.open.is_some()
            || self.sharing.is_some()
    }

    fn clear_lists(&mut self) {
        // To clear a list or a map costs something even if it is empty, and so does one question for each.
        let Self { earlier_sites, reasons, lost_starts, not_begun, times_ns, last, .. } = self;
        #[cfg(feature = "log")]
        if self.held.was_used() || self.unseen.was_used() {
            self.held = Default::default();
            // Told before its task was closed.
            self.unseen = Default::default();
        }
        let are_empty = earlier_sites.is_empty()
            & reasons.is_empty()
            & lost_starts.is_empty()
            & not_begun.is_empty()
            & times_ns.is_empty()
            & last.is_empty();
        if !are_empty {
            earlier_sites.clear();
            reasons.clear();
            lost_starts.clear();
            not_begun.clear();
            times_ns.clear();
            last.clear();
        }
    }
}
