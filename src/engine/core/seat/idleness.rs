//! Since when a worker has had nothing to do, as those know who look at it now and then.
//!
//! Invariant: no moment is told before which the worker may have had something to do.

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Idleness {
    /// Of the worker's pieces, this number was answered …
    pieces_done: u64,
    /// … when it was first seen idle, at this moment.
    since_ns: Option<u64>,
    /// It was dismissed for that.
    pub(super) is_unneeded: bool,
}

impl Idleness {
    /// Somebody looks: it is idle or not, and has answered this number of pieces. Gives since when it has been idle without an end.
    pub(super) fn see(&mut self, is_idle: bool, pieces_done: u64, now_ns: u64) -> Option<u64> {
        let has_worked = std::mem::replace(&mut self.pieces_done, pieces_done) != pieces_done;
        self.since_ns = match self.since_ns {
            _ if !is_idle => None,
            Some(since_ns) if !has_worked => Some(since_ns),
            _ => Some(now_ns),
        };
        self.since_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_between_two_looks_counts_although_nobody_saw_it() {
        let mut idleness = Idleness::default();
        for (is_idle, pieces_done, now_ns, expected) in [
            (false, 0, 1, None),
            (true, 0, 2, Some(2)),
            (true, 0, 3, Some(2)),
            (true, 1, 4, Some(4)),
            (true, 1, 5, Some(4)),
            (false, 1, 6, None),
            (true, 1, 7, Some(7)),
        ] {
            assert_eq!(idleness.see(is_idle, pieces_done, now_ns), expected, "at {now_ns}");
        }
    }
}
