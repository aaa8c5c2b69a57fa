//! Which worker gets the next pieces, and which one gives up some that it has not begun.

use super::pace::WORTH_WAKING_NS;

/// What is known of a worker that can take more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// The number of its seat.
    pub(crate) seat: usize,
    /// The work that it holds.
    pub(crate) backlog_ns: u64,
    pub(crate) is_idle: bool,
    /// Its process is known: it is being started no more.
    pub(crate) has_process: bool,
}

/// The worker that gets the next pieces. Of tiny ones first a worker that is awake, the fullest whose
/// work does not yet pay for waking another; else the emptiest, so that few pieces are spread over
/// many workers. One that is still being started comes last among equals: it will need a while.
#[must_use]
pub(crate) fn choose(candidates: impl Iterator<Item = Candidate>, is_tiny: bool) -> Option<usize> {
    let mut awake: Option<Candidate> = None;
    let mut emptiest: Option<Candidate> = None;
    for candidate in candidates {
        if is_tiny && !candidate.is_idle && candidate.backlog_ns < WORTH_WAKING_NS {
            // The last one of equals, as `max_by_key` has it.
            if awake.is_none_or(|best| candidate.backlog_ns >= best.backlog_ns) {
                awake = Some(candidate);
            }
        }
        let key = |it: Candidate| (it.backlog_ns, !it.has_process);
        if emptiest.is_none_or(|best| key(candidate) < key(best)) {
            emptiest = Some(candidate);
        }
    }
    awake.or(emptiest).map(|chosen| chosen.seat)
}

/// On a full machine a worker that merely waits for a core gets one within some milliseconds. With a tenth, such a wait
/// would wake one worker more, which makes it longer; with ten times, pieces could wait 0.1 s behind a long one.
pub(crate) const SILENT_NS: u64 = 10_000_000;

/// Work for which a worker is started, in place of one that ended because it was idle. A fork alone takes about as long.
pub(crate) const WORTH_STARTING_NS: u64 = 100_000;

/// How long quick pieces stay with the workers that are awake, if these are `busy` ones and as many as there are CPUs: one more
/// would share a core with them, which makes no piece quicker, and would cost its wake-up. But one that says nothing for
/// longer may sleep in a long piece, and others would wait behind that.
#[must_use]
pub(crate) fn stays_ns(busy: usize, cpus: usize) -> u64 {
    SILENT_NS * (busy / cpus.max(1)).max(1) as u64
}

/// How many pieces the fullest worker gives up to an idle one: the newer half of what it holds, if it
/// holds two at least and work for `least_ns`. `None`: it keeps all.
#[must_use]
pub(crate) fn given_up(held: usize, backlog_ns: u64, least_ns: u64) -> Option<usize> {
    (held >= 2 && backlog_ns >= least_ns).then_some(held / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(seat: usize, backlog_ns: u64, has_process: bool) -> Candidate {
        Candidate { seat, backlog_ns, is_idle: backlog_ns == 0, has_process }
    }

    #[test]
    fn the_emptiest_worker_is_chosen_unless_one_is_awake_for_tiny_pieces() {
        type Row<'a> = (&'a [(u64, bool)], bool, Option<usize>);
        let rows: [Row; 9] = [
            (&[], false, None),
            (&[(100, true), (0, true)], false, Some(1)),
            (&[(0, true), (0, true)], false, Some(0)),
            (&[(0, false), (0, true)], false, Some(1)),
            (&[(0, false), (1, true)], false, Some(0)),
            (&[(100, true), (0, true)], true, Some(0)),
            (&[(WORTH_WAKING_NS, true), (0, true)], true, Some(1)),
            (&[(100, true), (200, true), (0, true)], true, Some(1)),
            (&[(0, true), (0, false)], true, Some(0)),
        ];
        for (workers, is_tiny, expected) in rows {
            let all = workers
                .iter()
                .enumerate()
                .map(|(seat, &(backlog_ns, has_process))| candidate(seat, backlog_ns, has_process));
            assert_eq!(choose(all, is_tiny), expected, "{workers:?}, tiny: {is_tiny}");
        }
    }

    #[test]
    fn the_more_workers_share_a_core_the_longer_they_may_be_silent() {
        for (busy, cpus, times) in [(0, 0, 1), (1, 1, 1), (2, 2, 1), (3, 2, 1), (4, 2, 2), (128, 2, 64)] {
            assert_eq!(stays_ns(busy, cpus), times * SILENT_NS, "{busy} of {cpus}");
        }
    }

    #[test]
    fn half_is_given_up_if_it_is_worth_a_wake_up() {
        for (held, backlog_ns, least_ns, expected) in [
            (0, 0, 0, None),
            (1, 1_000_000, 0, None),
            (2, 19_999, 20_000, None),
            (2, 20_000, 20_000, Some(1)),
            (9, 20_000, 20_000, Some(4)),
            (2, 0, 0, Some(1)),
        ] {
            assert_eq!(
                given_up(held, backlog_ns, least_ns),
                expected,
                "{held} held, {backlog_ns} ns, least {least_ns}"
            );
        }
    }
}
