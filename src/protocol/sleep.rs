//! When a side must wake the other one: the two announcements and their order.
//!
//! | word           | in     | written by     | read by | meaning                                                 |
//! |----------------|--------|----------------|---------|---------------------------------------------------------|
//! | `worker_sleep` | *back* | worker, parent | parent  | 1: the worker sleeps on this word, or is about to sleep |
//! | `interest`     | *out*  | parent         | worker  | which replies the parent wants a signal for, and the epoch |
//!
//! Both use the same handshake. The sleeper announces, fences, checks once more, and only then sleeps. The other side
//! publishes, fences, and only then reads the announcement. One of the two fences comes first in the total order of
//! fences. So the sleeper sees what was published, or the publisher sees the announcement. (This is the store-buffering
//! pattern: without either fence both sides can miss.)
//!
//! Only the parent writes `interest`, which lies in memory that the worker cannot write. It carries an epoch, and the
//! worker signals at most once in each epoch, so that many replies cost one signal.
//!
//! Invariant: a side that sleeps has announced it, and has checked once more after the announcement.

use crate::protocol::sync::{AtomicU32, Relaxed, SeqCst, fence};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// The futex value on which the worker sleeps.
pub(crate) const SLEEPING: u32 = ASLEEP;

/// The worker sleeps, in the order in which no wake-up is lost: it announces that, looks once more with `finds`, and
/// waits only if there is nothing. `wait` returns at once unless the word is [`SLEEPING`].
pub(crate) fn sleep_unless(worker_sleep: &AtomicU32, finds: impl FnOnce() -> bool, wait: impl FnOnce()) {
    announce_sleep(worker_sleep);
    if !finds() {
        wait();
    }
    announce_awake(worker_sleep);
}

/// The worker announces that it will sleep. It must look for work once more before it sleeps.
fn announce_sleep(worker_sleep: &AtomicU32) {
    worker_sleep.store(ASLEEP, Relaxed);
    // SeqCst fence (wake-worker), partner of the one in `worker_sleeps`: the worker checks for work after this.
    fence(SeqCst);
}

/// The worker announces that it is awake: it has found work, or was woken.
fn announce_awake(worker_sleep: &AtomicU32) {
    worker_sleep.store(AWAKE, Relaxed);
}

/// Called after the parent published something for the worker: true if the parent must wake it. True at most once for
/// each sleep.
#[must_use]
pub(crate) fn worker_sleeps(worker_sleep: &AtomicU32) -> bool {
    // SeqCst fence (wake-worker), partner of the one in `announce_sleep`: what the parent published comes before this.
    fence(SeqCst);
    worker_sleep.load(Relaxed) == ASLEEP && worker_sleep.swap(AWAKE, Relaxed) == ASLEEP
}

/// The thread in the parent that a worker signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listening {
    /// The leading caller, which sleeps in `get`.
    Caller,
    /// The supervisor thread.
    Supervisor,
    /// Both: the caller leads, and others rely on that.
    Both,
}

/// The replies of a worker for which the parent wants a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// None: a thread polls the replies already, or a reply requires no action.
    Nothing,
    /// Replies to pieces with [`LOW_WATER`], and failures.
    LowWater(Listening),
    /// The next reply, of whatever kind.
    NextReply(Listening),
}

impl Interest {
    /// The number of signals that one reply causes at most.
    pub(crate) fn signals(self) -> u64 {
        match self {
            Interest::Nothing => 0,
            Interest::LowWater(Listening::Both) | Interest::NextReply(Listening::Both) => 2,
            Interest::LowWater(_) | Interest::NextReply(_) => 1,
        }
    }
}

/// The flag of a piece after which its worker has little work left.
pub(crate) const LOW_WATER: u8 = 1 << 2;

/// The number of low bits that encode the interest; the bits above are the epoch.
const INTEREST_BITS: u32 = 3;

impl Interest {
    const fn to_bits(self) -> u32 {
        match self {
            Interest::Nothing => 0,
            Interest::LowWater(Listening::Supervisor) => 1,
            Interest::LowWater(Listening::Caller) => 2,
            Interest::NextReply(Listening::Supervisor) => 3,
            Interest::NextReply(Listening::Caller) => 4,
            Interest::LowWater(Listening::Both) => 5,
            Interest::NextReply(Listening::Both) => 6,
        }
    }

    const fn from_bits(bits: u32) -> Self {
        match bits & ((1 << INTEREST_BITS) - 1) {
            1 => Interest::LowWater(Listening::Supervisor),
            2 => Interest::LowWater(Listening::Caller),
            3 => Interest::NextReply(Listening::Supervisor),
            4 => Interest::NextReply(Listening::Caller),
            5 => Interest::LowWater(Listening::Both),
            6 => Interest::NextReply(Listening::Both),
            _ => Interest::Nothing,
        }
    }
}

/// The parent's side. It remembers the word's value, since nobody else writes the word.
#[derive(Debug)]
pub(crate) struct Announcer {
    value: u32,
}

impl Announcer {
    pub(crate) fn new() -> Self {
        Announcer { value: 0 }
    }

    pub(crate) fn interest(&self) -> Interest {
        Interest::from_bits(self.value)
    }

    /// Announces an interest in a new epoch. Unless it is [`Interest::Nothing`], the parent must check the worker's
    /// replies once more before it relies on a signal.
    pub(crate) fn announce(&mut self, word: &AtomicU32, interest: Interest) {
        let epoch = (self.value >> INTEREST_BITS).wrapping_add(1);
        self.value = epoch << INTEREST_BITS | interest.to_bits();
        word.store(self.value, Relaxed);
        if interest != Interest::Nothing {
            // SeqCst fence (wake-parent), partner of those in `Listener`: the parent checks the replies after this.
            fence(SeqCst);
        }
    }
}

/// The worker's side. It remembers the word's value at its last signal, and with it the epoch.
#[derive(Debug)]
pub(crate) struct Listener {
    signalled: u32,
}

impl Listener {
    pub(crate) fn new() -> Self {
        Listener { signalled: 0 }
    }

    /// Called after the worker published a reply: the thread that it must signal, if any. Failures and replies to pieces
    /// with [`LOW_WATER`] are `notable`.
    #[must_use]
    pub(crate) fn after_reply(&mut self, word: &AtomicU32, notable: bool) -> Option<Listening> {
        // SeqCst fence (wake-parent), partner of the one in `Announcer::announce`: the reply was published before this.
        fence(SeqCst);
        let value = word.load(Relaxed);
        let whom = match Interest::from_bits(value) {
            Interest::NextReply(whom) => whom,
            Interest::LowWater(whom) if notable => whom,
            _ => return None,
        };
        if value == self.signalled {
            return None;
        }
        self.signalled = value;
        Some(whom)
    }

    /// Called when the worker cannot continue before the parent makes room: the thread that it must signal.
    #[must_use]
    pub(crate) fn when_blocked(&self, word: &AtomicU32) -> Listening {
        // SeqCst fence (wake-parent), partner of the one in `Announcer::announce`: what blocks was published before this.
        fence(SeqCst);
        match Interest::from_bits(word.load(Relaxed)) {
            Interest::NextReply(whom) | Interest::LowWater(whom) => whom,
            Interest::Nothing => Listening::Supervisor,
        }
    }
}

#[cfg(test)]
mod tests;
