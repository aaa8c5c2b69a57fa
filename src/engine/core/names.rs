//! What the tasks of each name have done: those that have ended.
//!
//! Invariant: no more than [`MAX_NAMES`] names are kept, however many a program makes; what comes after them counts as `others`.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A program that names its tasks by what they do has fewer. One that puts a number into each name would fill the memory.
pub(crate) const MAX_NAMES: usize = 256;

/// What tasks have done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    /// With an outcome of their own.
    pub(crate) pieces: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) busy_ns: u64,
    pub(crate) waited_ns: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Names {
    pub(crate) known: BTreeMap<Arc<str>, Totals>,
    /// Of all other names, if there are any.
    pub(crate) others: Option<Totals>,
}

impl Names {
    pub(crate) fn add(&mut self, name: &Arc<str>, totals: Totals) {
        let has_room = self.known.len() < MAX_NAMES;
        match self.known.get_mut(name) {
            Some(sum) => sum.add(totals),
            None if has_room => _ = self.known.insert(Arc::clone(name), totals),
            None => self.others.get_or_insert_default().add(totals),
        }
    }
}

impl Totals {
    fn add(&mut self, other: Totals) {
        let Totals { pieces, failed, retried, busy_ns, waited_ns, bytes } = other;
        self.pieces += pieces;
        self.failed += failed;
        self.retried += retried;
        self.busy_ns = self.busy_ns.saturating_add(busy_ns);
        self.waited_ns = self.waited_ns.saturating_add(waited_ns);
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_nothing_is_lost() {
        let mut names = Names::default();
        let one = Totals { pieces: 1, failed: 2, retried: 3, busy_ns: 4, waited_ns: u64::MAX, bytes: 6 };
        for round in 0..2 {
            for number in 0..MAX_NAMES + 10 {
                names.add(&Arc::from(format!("{number:04}")), one);
            }
            let others = names.others.unwrap();
            assert_eq!((names.known.len(), others.pieces), (MAX_NAMES, 10 * (round + 1)));
        }
        let twice = Totals { pieces: 2, failed: 4, retried: 6, busy_ns: 8, waited_ns: u64::MAX, bytes: 12 };
        assert!(names.known.values().all(|totals| *totals == twice));
    }
}
