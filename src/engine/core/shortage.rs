//! Since when no worker could be started, and why.
//!
//! Invariant: while any worker's process is known the verdict is `None`: with fewer workers the pool goes on. The state
//! is kept meanwhile, and a failure then counts from its own moment.

use crate::engine::policy::restart::NO_WORKER;

#[derive(Debug, Default)]
pub(crate) struct Shortage {
    state: Option<(u64, String)>,
}

/// What follows from a shortage.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    None,
    /// It may end before that moment.
    WaitUntil(u64),
    /// What waits fails for this reason; the pool goes on trying.
    GiveUp(String),
}

impl Shortage {
    /// A worker, or its fork server, could not be started. The first moment counts, and the last reason.
    pub(crate) fn failed(&mut self, reason: String, has_workers: bool, now_ns: u64) {
        let since_ns = self.state.take().filter(|_| !has_workers).map_or(now_ns, |(since_ns, _)| since_ns);
        self.state = Some((since_ns, reason));
    }

    /// True if the last start, as far as is known, was none that failed.
    pub(crate) fn is_none(&self) -> bool {
        self.state.is_none()
    }

    /// A worker was started.
    pub(crate) fn end(&mut self) {
        self.state = None;
    }

    pub(crate) fn verdict(&self, has_workers: bool, now_ns: u64) -> Verdict {
        match &self.state {
            Some((since_ns, reason)) if !has_workers => match since_ns + NO_WORKER.as_nanos() as u64 {
                due_ns if due_ns > now_ns => Verdict::WaitUntil(due_ns),
                _ => Verdict::GiveUp(reason.clone()),
            },
            _ => Verdict::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fail_after_two_seconds_without_a_worker() {
        const SECOND: u64 = 1_000_000_000;
        let mut shortage = Shortage::default();
        assert_eq!(shortage.verdict(false, 9 * SECOND), Verdict::None);
        shortage.failed("first".into(), false, SECOND);
        shortage.failed("second".into(), false, 2 * SECOND);
        assert_eq!(shortage.verdict(false, 3 * SECOND - 1), Verdict::WaitUntil(3 * SECOND));
        assert_eq!(shortage.verdict(true, 3 * SECOND), Verdict::None);
        assert_eq!(shortage.verdict(false, 3 * SECOND), Verdict::GiveUp("second".into()));
        // While there are workers it counts from the last failure.
        shortage.failed("third".into(), true, 4 * SECOND);
        assert_eq!(shortage.verdict(false, 5 * SECOND), Verdict::WaitUntil(6 * SECOND));
        shortage.end();
        assert_eq!(shortage.verdict(false, 9 * SECOND), Verdict::None);
    }
}
