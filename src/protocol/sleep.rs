//! When to wake the other side: the two announcements and their order.
//!
//! | word           | lies in | written by      | read by | meaning                                      |
//! |----------------|---------|-----------------|---------|----------------------------------------------|
//! | `worker_sleep` | *back*  | worker, parent  | parent  | 1: the worker sleeps on this word, or is about to |
//! | `interest`     | *out*   | parent          | worker  | what the parent wants to be told, and since when |
//!
//! Both are the same handshake. The sleeper announces, fences, looks again, and only then sleeps;
//! the other side publishes, fences, and only then reads the announcement. Of two fences one comes
//! first, so either the sleeper sees what was published, or the publisher sees the announcement.
//! (Each is the store-buffering pattern; with either fence missing both sides can miss.)
//!
//! `interest` is written by the parent alone and lies in the memory that the worker cannot write.
//! So that many replies cost one signal, it carries an epoch: the worker signals once an epoch.
//!
//! Invariant: a side that sleeps has announced it, and has looked again after announcing.

use crate::protocol::sync::{AtomicU32, Relaxed, SeqCst, fence};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// The value on which the worker sleeps.
pub(crate) const SLEEPING: u32 = ASLEEP;

/// The worker says that it will sleep; it must look for work once more before it does.
pub(crate) fn announce_sleep(worker_sleep: &AtomicU32) {
    worker_sleep.store(ASLEEP, Relaxed);
    // Partner: `worker_sleeps` (wake-worker).
    fence(SeqCst);
}

/// The worker has found something to do, or was woken.
pub(crate) fn announce_awake(worker_sleep: &AtomicU32) {
    worker_sleep.store(AWAKE, Relaxed);
}

/// After the parent published something for the worker: must it be woken? Says so once a sleep.
#[must_use]
pub(crate) fn worker_sleeps(worker_sleep: &AtomicU32) -> bool {
    // Partner: `announce_sleep` (wake-worker).
    fence(SeqCst);
    worker_sleep.load(Relaxed) == ASLEEP && worker_sleep.swap(AWAKE, Relaxed) == ASLEEP
}

/// Whom a worker tells of its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listening {
    /// The caller that sleeps in `get`.
    Caller,
    /// The supervisor thread.
    Supervisor,
}

/// What the parent wants to be told of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Nothing: somebody is looking already, or there is nothing to do about a reply.
    Nothing,
    /// Replies to pieces that carry [`LOW_WATER`], and failures.
    LowWater(Listening),
    /// The next reply, whichever it is.
    NextReply(Listening),
}

/// The flag of a piece after which little is left to do for its worker.
pub(crate) const LOW_WATER: u8 = 1 << 2;

/// The bits below an interest's epoch.
const INTEREST_BITS: u32 = 3;

impl Interest {
    const fn to_bits(self) -> u32 {
        match self {
            Interest::Nothing => 0,
            Interest::LowWater(Listening::Supervisor) => 1,
            Interest::LowWater(Listening::Caller) => 2,
            Interest::NextReply(Listening::Supervisor) => 3,
            Interest::NextReply(Listening::Caller) => 4,
        }
    }

    const fn from_bits(bits: u32) -> Self {
        match bits & ((1 << INTEREST_BITS) - 1) {
            1 => Interest::LowWater(Listening::Supervisor),
            2 => Interest::LowWater(Listening::Caller),
            3 => Interest::NextReply(Listening::Supervisor),
            4 => Interest::NextReply(Listening::Caller),
            _ => Interest::Nothing,
        }
    }
}

/// The parent's side: remembers the word, which nobody else writes.
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

    /// Announces an interest, in a new epoch. Unless it is [`Interest::Nothing`], the parent must
    /// look at the worker's replies once more before it relies on being told.
    pub(crate) fn announce(&mut self, word: &AtomicU32, interest: Interest) {
        let epoch = (self.value >> INTEREST_BITS).wrapping_add(1);
        self.value = epoch << INTEREST_BITS | interest.to_bits();
        word.store(self.value, Relaxed);
        if interest != Interest::Nothing {
            // Partner: `Listener` (wake-parent).
            fence(SeqCst);
        }
    }
}

/// The worker's side: remembers the epoch in which it signalled last.
#[derive(Debug)]
pub(crate) struct Listener {
    signalled: u32,
}

impl Listener {
    pub(crate) fn new() -> Self {
        Listener { signalled: 0 }
    }

    /// After the worker published a reply: whom must it signal? `notable` replies are failures and
    /// those to pieces with [`LOW_WATER`].
    #[must_use]
    pub(crate) fn after_reply(&mut self, word: &AtomicU32, notable: bool) -> Option<Listening> {
        // Partner: `Announcer::announce` (wake-parent).
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

    /// The worker cannot go on before the parent makes room: whom must it signal?
    #[must_use]
    pub(crate) fn when_blocked(&mut self, word: &AtomicU32) -> Listening {
        // Partner: `Announcer::announce` (wake-parent).
        fence(SeqCst);
        match Interest::from_bits(word.load(Relaxed)) {
            Interest::NextReply(whom) | Interest::LowWater(whom) => whom,
            Interest::Nothing => Listening::Supervisor,
        }
    }
}

#[cfg(test)]
mod tests;
