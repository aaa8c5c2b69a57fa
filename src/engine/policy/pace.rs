//! How much work a worker gets in advance, and how the cost of a piece is learnt.
//!
//! Look-ahead is a time, not a count: a worker holds the pieces that fill [`LOOK_AHEAD_NS`] at the
//! pace that was measured. The pace comes from the arrival of replies, because a clock call for
//! each piece would cost half the throughput.

/// The work that a worker gets in advance. Shorter, and the workers run out of work while the parent
/// waits for a core (100 us lost throughput on two cores); longer, and more pieces have to be revoked when
/// another worker is idle (beyond 500 us the tail of a task grew).
pub(crate) const LOOK_AHEAD_NS: u64 = 300_000;

/// The most pieces of look-ahead, however short they are: half of the state words of a pair, so that
/// as many revoked pieces can still lie in the ring.
pub(crate) const MAX_LOOK_AHEAD: usize = 1024;

/// The assumed cost of a piece while nothing is known: two of them fill the look-ahead.
pub(crate) const MAX_COST_NS: u32 = (LOOK_AHEAD_NS / 2) as u32;

/// The least assumed cost: about what a tiny piece costs in a stream of them (README: 15 million a second by
/// `run_all`, 9 million by `run`). A single trip there and back takes longer, 0.4 to 1.4 us.
const MIN_COST_NS: u32 = 80;

/// A piece is tiny up to this cost. A look at all workers reads words that other cores write, so it costs about as
/// much as some pieces of [`MIN_COST_NS`]; beside a piece of 5 us it hardly counts any more.
pub(crate) const TINY_NS: u32 = 5_000;

/// Tiny pieces that are given out together, with one look at all workers. Shared by 16 pieces, a look adds little
/// to each. With 160 the first one could wait for 0.8 ms until the last one is there (5 us each).
pub(crate) const TINY_BATCH: usize = 16;

/// The work for which it pays to wake a worker: a wake-up costs about as much (10 to 20 us).
pub(crate) const WORTH_WAKING_NS: u64 = 20_000;

/// How long a caller that wants the next outcome is woken by a worker that runs low, in place of each quick piece, where no core is left for it. Then
/// for each: one of them may take longer than was thought. A timer of 1 ms took a tenth of the throughput: it comes before the next tick, so that the
/// kernel arms the processor's timer anew for each sleep.
pub(crate) const EACH_AFTER_NS: u64 = 5_000_000;

/// `run` looks for replies once in 16 pieces while no worker is known to need work. The cost of a look is shared by
/// these pieces, as in [`TINY_BATCH`].
pub(crate) const RUNS_A_LOOK: usize = 16;

/// At most 64 waiting tasks count when the work is shared out among the hungry workers: a longer sum would cost each
/// dispatch. If more wait, the shares come out smaller, and the rest is given out when workers are hungry again. That
/// matters for tiny tasks only: 64 pieces of unknown cost (150 us) are 9.6 ms of work, far above the look-ahead.
pub(crate) const TASKS_SUMMED: usize = 64;

/// The most pieces that a caller hands out ahead of what it reads. A piece of [`MIN_COST_NS`] takes the caller longer than a
/// worker, so more would only take memory.
const MAX_FED: usize = 65_536;

/// The pieces that a caller which reads as it hands out has handed out and not read: two look-aheads for all workers, so that each
/// has one while the caller does something else; and as many as each worker needs to have another one when its first has ended.
#[must_use]
pub(crate) fn fed(cost_ns: u32, workers: usize) -> usize {
    let fill_all = 2 * LOOK_AHEAD_NS * workers as u64 / u64::from(cost_ns.max(1));
    usize::try_from(fill_all).unwrap_or(MAX_FED).max(2 * workers).clamp(1, MAX_FED)
}

/// The cost to assume from now on, after pieces took `measured_ns` each. A faster pace lowers the estimate by at most
/// half: one short piece says little about the next ones.
#[must_use]
pub(crate) fn learn(cost_ns: u32, measured_ns: u64) -> u32 {
    let measured_ns = u32::try_from(measured_ns).unwrap_or(u32::MAX);
    measured_ns.max(cost_ns / 2).clamp(MIN_COST_NS, MAX_COST_NS)
}

/// True if a worker has half of its look-ahead left, or less: it can take more.
#[must_use]
#[inline]
pub(crate) fn is_hungry(backlog_ns: u64, held: usize) -> bool {
    backlog_ns <= LOOK_AHEAD_NS / 2 && held <= MAX_LOOK_AHEAD / 2
}

/// True if the pieces that a worker holds are so short, on average below an eighth of the
/// look-ahead, that it need not signal each one: half of the look-ahead then is several pieces.
#[must_use]
pub(crate) fn is_quick(backlog_ns: u64, held: usize) -> bool {
    backlog_ns < LOOK_AHEAD_NS / 8 * held as u64
}

/// True if a worker holds quick pieces for far longer than it takes to wake a thread. It may signal sooner, when half of its look-ahead is left:
/// a thread that looked until then took a core from another worker for as long.
#[must_use]
pub(crate) fn is_long(backlog_ns: u64, held: usize) -> bool {
    is_quick(backlog_ns, held) && backlog_ns >= LOOK_AHEAD_NS / 3
}

/// The work that one of `hungry` workers gets, of `waiting_ns` in all, if it has room for `room_ns`.
#[must_use]
pub(crate) fn share(waiting_ns: u64, hungry: usize, room_ns: u64) -> u64 {
    (waiting_ns / hungry.max(1) as u64).max(WORTH_WAKING_NS).min(room_ns)
}

/// The pieces that a task may give in one turn: as many as fill the look-ahead, at least one.
#[must_use]
pub(crate) fn quantum(cost_ns: u32) -> u64 {
    (LOOK_AHEAD_NS / u64::from(cost_ns)).max(1)
}

/// The number of the piece, counted from the oldest that the worker holds, whose reply leaves it
/// with half of its work: its reply signals the parent. `left_ns` is what it gets now.
#[must_use]
pub(crate) fn half_of(held: usize, left_ns: u64, cost_ns: u32, waiting: usize) -> usize {
    let fitting = left_ns.div_ceil(u64::from(cost_ns)) as usize;
    (held + fitting.min(waiting)).min(MAX_LOOK_AHEAD).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_look_aheads_of_all_workers_are_fed() {
        for (cost_ns, workers, expected) in [
            (MIN_COST_NS, 2, 15_000),
            (10_000, 1, 60),
            (MAX_COST_NS, 3, 12),
            // Pieces that take long: each worker has one, and another one when that has ended.
            (400_000, 3, 6),
            (u32::MAX, 3, 6),
            // No more than are of use.
            (MIN_COST_NS, 8, 60_000),
            (MIN_COST_NS, 9, MAX_FED),
            (1, 128, MAX_FED),
            (0, 1, MAX_FED),
            (u32::MAX, 100_000, MAX_FED),
            (MAX_COST_NS, 0, 1),
        ] {
            assert_eq!(fed(cost_ns, workers), expected, "{workers} workers, {cost_ns} ns");
        }
    }

    #[test]
    fn a_slower_pace_is_believed_at_once_and_a_quicker_one_by_halves() {
        for (cost_ns, measured_ns, expected) in [
            (MAX_COST_NS, 1_000_000, MAX_COST_NS),
            (MAX_COST_NS, 0, MAX_COST_NS / 2),
            (MAX_COST_NS, 100_000, 100_000),
            (10_000, 100, 5_000),
            (10_000, 20_000, 20_000),
            (100, 0, MIN_COST_NS),
            (MIN_COST_NS, u64::MAX, MAX_COST_NS),
        ] {
            assert_eq!(learn(cost_ns, measured_ns), expected, "{cost_ns} after {measured_ns}");
        }
    }

    #[test]
    fn a_worker_is_hungry_at_half_of_its_look_ahead() {
        for (backlog_ns, held, expected) in [
            (0, 0, true),
            (LOOK_AHEAD_NS / 2, 2, true),
            (LOOK_AHEAD_NS / 2 + 1, 2, false),
            (0, MAX_LOOK_AHEAD / 2, true),
            (0, MAX_LOOK_AHEAD / 2 + 1, false),
        ] {
            assert_eq!(is_hungry(backlog_ns, held), expected, "{backlog_ns} ns in {held} pieces");
        }
    }

    #[test]
    fn short_pieces_need_no_signal_each() {
        for (backlog_ns, held, expected) in
            [(0, 0, false), (37_499, 1, true), (37_500, 1, false), (37_500, 2, true), (300_000, 2, false)]
        {
            assert_eq!(is_quick(backlog_ns, held), expected, "{backlog_ns} ns in {held} pieces");
        }
    }

    #[test]
    fn a_worker_works_long_with_many_quick_pieces() {
        for (backlog_ns, held, expected) in
            [(0, 0, false), (99_999, 50, false), (100_000, 50, true), (300_000, 2, false), (300_000, 9, true)]
        {
            assert_eq!(is_long(backlog_ns, held), expected, "{backlog_ns} ns in {held} pieces");
        }
    }

    #[test]
    fn a_share_is_worth_a_wake_up_and_fits_the_room() {
        for (waiting_ns, hungry, room_ns, expected) in [
            (600_000, 2, 300_000, 300_000),
            (600_000, 3, 300_000, 200_000),
            (600_000, 2, 100_000, 100_000),
            (1_000, 2, 300_000, WORTH_WAKING_NS),
            (1_000, 2, 10_000, 10_000),
            (1_000_000, 0, 300_000, 300_000),
        ] {
            assert_eq!(share(waiting_ns, hungry, room_ns), expected, "{waiting_ns} among {hungry}, room {room_ns}");
        }
    }

    #[test]
    fn a_turn_fills_the_look_ahead_and_has_one_piece_at_least() {
        for (cost_ns, expected) in [(MIN_COST_NS, 3_750), (100_000, 3), (MAX_COST_NS, 2), (1, 300_000)] {
            assert_eq!(quantum(cost_ns), expected, "{cost_ns}");
        }
        assert_eq!(quantum(u32::MAX), 1);
    }

    #[test]
    fn the_parent_is_told_when_half_is_left() {
        for (held, left_ns, cost_ns, waiting, expected) in [
            (0, 300_000, 150_000, 10, 1),
            (0, 300_000, 1_000, 1_000, 150),
            (0, 300_000, 1_000, 10, 5),
            (10, 300_000, 1_000, 10, 10),
            (0, 300_000, 80, 100_000, MAX_LOOK_AHEAD / 2),
        ] {
            assert_eq!(half_of(held, left_ns, cost_ns, waiting), expected, "{held} held, {waiting} wait");
        }
    }
}
