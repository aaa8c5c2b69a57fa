//! The life of a pool.
//!
//! ```text
//! Open ─ fail ─► Failed ─ close ─► Closing ─ close(kill) ─► Closed
//!   └─────────────── close ──────────▲  └─ close(kill) from each ─▲
//! ```
//!
//! Invariant: a pool never moves back, and only an open one fails.

use crate::error::{Error, ErrorKind};

/// Phases only move down this list.
#[derive(Debug)]
pub(crate) enum Phase {
    Open,
    /// It ended by itself, for this reason: nothing can run any more.
    Failed(Error),
    /// Its owner ends it: running pieces may end; nothing new begins.
    Closing,
    /// Its owner ends it at once: every open piece has failed, and nothing is given out. The processes end later
    /// (`is_over`).
    Closed,
}

impl Phase {
    /// The pool ends by itself.
    pub(crate) fn fail(&mut self, error: Error) {
        if let Phase::Open = self {
            *self = Phase::Failed(error);
        }
    }

    /// Its owner ends it; with `kill` at once. False: that was done already.
    #[must_use]
    pub(crate) fn close(&mut self, kill: bool) -> bool {
        let moves = match self {
            Phase::Open | Phase::Failed(_) => true,
            Phase::Closing => kill,
            Phase::Closed => false,
        };
        if moves {
            *self = if kill { Phase::Closed } else { Phase::Closing };
        }
        moves
    }

    /// Why nothing can be run any more, if so.
    pub(crate) fn error(&self) -> Option<Error> {
        match self {
            Phase::Open => None,
            Phase::Failed(error) => Some(error.duplicate()),
            Phase::Closing | Phase::Closed => Some(Error::new(ErrorKind::Cancelled, "the pool was shut down")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters stand for the phases.
    fn letter(phase: &Phase) -> char {
        match phase {
            Phase::Open => 'o',
            Phase::Failed(_) => 'f',
            Phase::Closing => 'c',
            Phase::Closed => 'C',
        }
    }

    #[test]
    fn a_pool_never_moves_back_and_only_an_open_one_fails() {
        let phase = |letter| match letter {
            'o' => Phase::Open,
            'f' => Phase::Failed(Error::new(ErrorKind::System, "no more")),
            'c' => Phase::Closing,
            _ => Phase::Closed,
        };
        // Before; after a failure; after a close, and after one that kills: whether it moved, and where to.
        for (before, failed, closed, killed) in [
            ('o', 'f', (true, 'c'), (true, 'C')),
            ('f', 'f', (true, 'c'), (true, 'C')),
            ('c', 'c', (false, 'c'), (true, 'C')),
            ('C', 'C', (false, 'C'), (false, 'C')),
        ] {
            let mut it = phase(before);
            it.fail(Error::new(ErrorKind::WorkerLost, "another reason"));
            assert_eq!(letter(&it), failed, "{before} fails");
            for (kill, (moved, after)) in [(false, closed), (true, killed)] {
                let mut it = phase(before);
                assert_eq!((it.close(kill), letter(&it)), (moved, after), "{before}, kill: {kill}");
            }
        }
    }

    #[test]
    fn what_comes_too_late_hears_why() {
        assert!(Phase::Open.error().is_none());
        let failed = Phase::Failed(Error::new(ErrorKind::System, "no more")).error().unwrap();
        assert_eq!((failed.kind(), failed.to_string().as_str()), (ErrorKind::System, "no more"));
        for phase in [Phase::Closing, Phase::Closed] {
            assert_eq!(phase.error().unwrap().kind(), ErrorKind::Cancelled);
        }
    }
}
