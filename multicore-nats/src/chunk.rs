//! How many pieces a chunk takes, and how many chunks are out at once. Numbers in, verdicts out.
//!
//! A chunk is a time of a whole host: the server carries about 10,000 chunks a second, whatever is in them, so chunks get longer with more hosts. What a
//! piece takes is learnt from chunks that have come back; until one has, chunks have one piece.

/// The bytes of the pieces of one chunk, beyond which no further piece is taken. A longer chunk costs the server 1 ms and more.
pub const MAX_CHUNK_BYTES: usize = 256 << 10;

/// How much longer a chunk gets for each host. By this 1,000 hosts ask for 5,000 chunks a second, half of what one server carries.
pub const TARGET_PER_HOST_NS: u64 = 200_000;

/// A chunk that has come back allows one of at most 4 times its length.
const STEP: u32 = 4;

/// The share of what is left that a host gets at once, so that all hosts end at about the same time.
const LEFT_SHARE: u64 = 2;

/// The time that a chunk is to take: at least what is set.
#[must_use]
pub fn target_ns(set_ns: u64, hosts: usize) -> u64 {
    set_ns.max((hosts as u64).saturating_mul(TARGET_PER_HOST_NS))
}

/// The number of chunks that are out at once: two that each host holds, one that waits for it, and some for hosts that have not been heard of.
#[must_use]
pub fn window(hosts: usize) -> usize {
    4 + 3 * hosts
}

/// What is known of the length of a piece.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// What a piece takes of a host's time, in ns, once a chunk has come back.
    piece_ns: Option<u64>,
    /// The most pieces of a chunk that has come back.
    largest: u32,
}

/// What the length of the next chunk depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// The hosts that have been heard of.
    pub hosts: usize,
    /// The workers of all of them.
    pub workers: usize,
    /// The pieces that have not been published.
    pub left: u64,
    /// The time that a chunk is to take: [`target_ns`].
    pub target_ns: u64,
}

impl Pace {
    /// A chunk of `count` pieces took a host `busy_ns`. One chunk counts a quarter of what is known: hosts and pieces differ.
    pub fn learn(&mut self, count: u32, busy_ns: u64) {
        if count == 0 {
            return;
        }
        let measured = (busy_ns / u64::from(count)).max(1);
        self.piece_ns = Some(match self.piece_ns {
            Some(known) => known - known / 4 + measured / 4,
            None => measured,
        });
        self.largest = self.largest.max(count);
    }

    /// What a piece takes of a host's time; `None` while nothing has come back.
    #[must_use]
    pub fn piece_ns(&self) -> Option<u64> {
        self.piece_ns
    }

    /// The pieces of the next chunk, at least one. A host's workers get one each, however long they take: two chunks are held, and a worker without a piece
    /// would be idle for all of it.
    #[must_use]
    pub fn next(&self, situation: Situation) -> u32 {
        let Some(piece_ns) = self.piece_ns else { return 1 };
        let hosts = situation.hosts.max(1) as u64;
        let filling = situation.target_ns / piece_ns.max(1);
        let wanted = filling.max((situation.workers as u64).div_ceil(hosts));
        let share = situation.left / (LEFT_SHARE * hosts);
        let step = u64::from(self.largest.saturating_mul(STEP));
        wanted.min(share).min(step).clamp(1, u64::from(u32::MAX)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn paced(largest: u32, piece_ns: u64) -> Pace {
        Pace { piece_ns: Some(piece_ns), largest }
    }

    #[test]
    fn chunks_take_what_is_known() {
        let situation = Situation { hosts: 2, workers: 2, left: 1_000_000, target_ns: 100 * MS };
        for (pace, changed, expected) in [
            // Nothing has come back.
            (Pace::default(), situation, 1),
            // At most 4 times what has come back.
            (paced(1, 100), situation, 4),
            (paced(4, 100), situation, 16),
            // As many as fill the time.
            (paced(1000, MS), situation, 100),
            (paced(1000, MS), Situation { target_ns: 200 * MS, ..situation }, 200),
            // Half of what is left for each host.
            (paced(1000, MS), Situation { left: 40, ..situation }, 10),
            (paced(1000, MS), Situation { left: 3, ..situation }, 1),
            (paced(1000, MS), Situation { left: 0, ..situation }, 1),
            // Each worker of a host gets a piece, however long these are.
            (paced(16, 10_000 * MS), Situation { hosts: 2, workers: 64, ..situation }, 32),
            (paced(1, 10_000 * MS), Situation { hosts: 2, workers: 64, ..situation }, 4),
            (paced(16, 10_000 * MS), Situation { hosts: 0, workers: 0, ..situation }, 1),
        ] {
            assert_eq!(pace.next(changed), expected, "{pace:?} {changed:?}");
        }
    }

    #[test]
    fn growth_takes_a_step_for_each_answer_of_the_largest() {
        let mut pace = Pace::default();
        let situation = Situation { hosts: 1, workers: 1, left: 1 << 40, target_ns: 100 * MS };
        let mut sizes = Vec::new();
        for _ in 0..8 {
            let next = pace.next(situation);
            sizes.push(next);
            pace.learn(next, u64::from(next) * 10_000);
            // An old answer of a short chunk gives no further step.
            pace.learn(1, 10_000);
        }
        assert_eq!(sizes, [1, 4, 16, 64, 256, 1024, 4096, 10_000]);
    }

    #[test]
    fn targets_and_windows_grow_with_the_hosts() {
        for (hosts, target, out) in [(0, 100, 4), (2, 100, 10), (500, 100, 1504), (1000, 200, 3004), (2000, 400, 6004)]
        {
            assert_eq!((target_ns(100 * MS, hosts), window(hosts)), (target * MS, out));
        }
    }
}
