//! When a lost piece, a worker or a fork server starts again, and when the pool gives up.

use std::time::Duration;

/// The pool ends after this many workers in a row that died before they were ready. Five
/// crashes in a row at start are very likely a permanent fault, and each costs a fork.
pub(crate) const MAX_EARLY_DEATHS: u32 = 5;

/// This many fork servers in a row may end before a piece is done; the sixth ends the pool. After one that was useful
/// the row starts at 1. As for workers: by then a permanent fault is very likely.
pub(crate) const MAX_SERVER_DEATHS: u32 = 5;

/// What could not be started (a pair, a fork, a fork server) is tried again after this: a shortage of
/// memory, descriptors or processes seldom ends sooner, and ten attempts a second cost nothing.
pub(crate) const RETRY_NS: u64 = 100_000_000;

/// A fork server whose socket was full gets further orders after this: it reads an order in about
/// 0.1 ms, so ten of them have been read.
pub(crate) const MORE_ORDERS_NS: u64 = 1_000_000;

/// Pieces fail when for this long there was no worker and none could be started. Shorter shortages
/// are common on a busy machine; a caller who waits longer wants to know the reason.
pub(crate) const NO_WORKER: Duration = Duration::from_secs(2);

/// The first pause before a lost piece starts again. It doubles with each attempt. A new worker takes about
/// 0.3 ms to start, so 1 ms delays little; 0.1 ms would spend the first retries on the same cause.
const FIRST_PAUSE_NS: u64 = 1_000_000;

/// The longest pause before a lost piece starts again. With 0.1 s a piece that always kills its worker would cost
/// ten forks a second; with 10 s it would wait long after a cause that has ended.
const MAX_PAUSE_NS: u64 = 1_000_000_000;

/// From this attempt on the pause is the longest one: 1 ms doubled ten times is more than 1 s. The limit keeps the
/// shift from overflowing.
const LAST_DOUBLED_ATTEMPT: u32 = 11;

/// What happens to a piece whose start was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Loss {
    /// It starts again after a pause.
    Again { pause_ns: u64 },
    /// It has no retries left.
    Fails,
}

/// The verdict on a piece of which `attempts` starts were lost. The pause grows, because
/// the cause may be temporary.
pub(crate) fn after_loss(attempts: u32, retries: u32) -> Loss {
    if attempts > retries {
        return Loss::Fails;
    }
    Loss::Again { pause_ns: (FIRST_PAUSE_NS << attempts.clamp(1, LAST_DOUBLED_ATTEMPT) >> 1).min(MAX_PAUSE_NS) }
}

/// A piece that its worker did not begin, by the worker's own word, may go to another as often as this without being
/// counted: any worker may be stopped. One that overwrites that word while it runs seems not to have begun either, and
/// takes a worker with each start. With ten it would take ten.
const FREE_MOVES: u32 = 1;

/// True if a piece whose worker was killed because it did not begin it, the `times`th one, is taken to have been started.
#[must_use]
pub(crate) fn counts_as_start(times: u32) -> bool {
    times > FREE_MOVES
}

/// How a worker died, as far as restarts are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// It had become ready, or its fork server took it along: nothing is wrong with its start.
    Late,
    /// Before it was ready, killed by this process for a reason of its own: that tells nothing.
    EarlyByOrder,
    /// Before it was ready.
    Early,
}

/// What happens to a seat whose worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Refill {
    Now,
    /// After a pause, so that repeated crashes do not use all CPU time.
    After {
        pause_ns: u64,
    },
    /// The pool ends.
    Never,
}

/// Counts the workers in a row that died before they were ready.
#[derive(Debug, Default)]
pub(crate) struct EarlyDeaths {
    in_a_row: u32,
    last_ns: u64,
}

impl EarlyDeaths {
    /// When the last early death was: a worker that was made after it and became ready ends the row.
    #[must_use]
    pub(crate) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// A worker that was made after the last early death was well, and has left in order.
    pub(crate) fn end_row(&mut self) {
        self.in_a_row = 0;
    }

    /// Counts a death. `one_became_ready`: a worker made after the last early death is ready.
    pub(crate) fn count(&mut self, death: Death, one_became_ready: bool, now_ns: u64) -> Refill {
        match death {
            Death::Late => self.in_a_row = 0,
            Death::EarlyByOrder => {}
            Death::Early => {
                self.last_ns = now_ns;
                self.in_a_row = if one_became_ready { 1 } else { self.in_a_row + 1 };
                if self.in_a_row >= MAX_EARLY_DEATHS {
                    return Refill::Never;
                }
                return Refill::After { pause_ns: FIRST_PAUSE_NS << self.in_a_row };
            }
        }
        Refill::Now
    }
}

/// Counts the fork servers in a row that ended before a piece was done.
#[derive(Debug, Default)]
pub(crate) struct ServerDeaths {
    in_a_row: u32,
}

impl ServerDeaths {
    /// Counts a death. `was_useful`: a piece was done while it served. False: the pool ends.
    #[must_use]
    pub(crate) fn may_restart(&mut self, was_useful: bool) -> bool {
        self.in_a_row = if was_useful { 1 } else { self.in_a_row + 1 };
        self.in_a_row <= MAX_SERVER_DEATHS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_piece_starts_again_as_often_as_it_has_retries_after_growing_pauses() {
        let again = |ms: u64| Loss::Again { pause_ns: ms * 1_000_000 };
        for (attempts, retries, expected) in [
            (1, 0, Loss::Fails),
            (1, 1, again(1)),
            (2, 1, Loss::Fails),
            (2, 2, again(2)),
            (3, 9, again(4)),
            (10, 99, again(512)),
            (11, 99, again(1_000)),
            (u32::MAX, u32::MAX, again(1_000)),
        ] {
            assert_eq!(after_loss(attempts, retries), expected, "{attempts} attempts, {retries} retries");
        }
    }

    #[test]
    fn a_piece_that_no_worker_begins_moves_once() {
        assert_eq!([1, 2, 3, u32::MAX].map(counts_as_start), [false, true, true, true]);
    }

    #[test]
    fn five_early_deaths_in_a_row_end_the_pool() {
        let after = |ms: u64| Refill::After { pause_ns: ms * 1_000_000 };
        let early = (Death::Early, false);
        type Row<'a> = (&'a [(Death, bool)], Refill);
        let rows: [Row; 7] = [
            (&[early], after(2)),
            (&[early, early], after(4)),
            (&[early, early, early, early], after(16)),
            (&[early, early, early, early, early], Refill::Never),
            (&[early, early, early, early, (Death::Late, false)], Refill::Now),
            (&[early, early, early, early, (Death::Early, true)], after(2)),
            (&[early, early, early, early, (Death::EarlyByOrder, false), early], Refill::Never),
        ];
        for (deaths, expected) in rows {
            let mut counted = EarlyDeaths::default();
            let last = deaths.iter().map(|&(death, one_became_ready)| counted.count(death, one_became_ready, 7)).last();
            assert_eq!(last, Some(expected), "{deaths:?}");
        }
    }

    #[test]
    fn the_sixth_useless_fork_server_in_a_row_ends_the_pool() {
        let mut deaths = ServerDeaths::default();
        let verdicts: Vec<bool> = (0..6).map(|_| deaths.may_restart(false)).collect();
        assert_eq!(verdicts, [true, true, true, true, true, false]);
        // One under which a piece was done begins a new row.
        assert!(deaths.may_restart(true));
        assert!(deaths.may_restart(false));
    }
}
