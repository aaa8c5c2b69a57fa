//! What is known of one worker's memory.
//!
//! | figure     | is                                                                                              |
//! |------------|-------------------------------------------------------------------------------------------------|
//! | `all`      | its anonymous memory by the last reading, with what it shares with its fork server             |
//! | `shared`   | the most of that which it can share: what the fork server had when the worker was measured first |
//! | `unshared` | what it was found to have for itself beyond `all - shared`, when that was read exactly             |
//!
//! Invariant: what it has for itself lies between [`least`](WorkerMemory::least) and `all`. A worker writes no word of it.

use crate::engine::policy::memory::{Checks, READ_EACH_NS, WorkerMemory as View};
use crate::sys::usage::{Private, Usage};
use std::sync::Arc;

/// An exact reading takes at most this part of the time: it stops the worker's mappings for up to 15 ms a GiB.
const EXACT_DIVISOR: u64 = 50;

/// Whether a process lets others look into it changes seldom; each attempt costs the supervisor a turn.
const REFUSED_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(crate) struct WorkerMemory {
    files: Files,
    /// When it was measured first: about when it was ready.
    since_ns: u64,
    at_start: u64,
    all: u64,
    shared: u64,
    unshared: u64,
    /// It was read after its start.
    is_read: bool,
    /// It gets no piece before it was measured.
    is_awaited: bool,
    /// When the scheduler reads it next, at the earliest. Other readings do not count: they may come each 10 us, and it would never
    /// judge.
    read_due_ns: u64,
    /// No exact reading before that.
    exact_after_ns: u64,
    /// The most that it had for itself, as far as anything tells.
    peak: u64,
    checks: Checks,
    high_crossing: Crossing,
    max_crossing: Crossing,
}

/// How a worker ended because of its memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TooLarge {
    /// It was killed: what it had, or all workers, and the limit.
    Killed { bytes: u64, limit: u64 },
    /// The kernel refused it more than this, and it ended of that.
    Refused { limit: u64 },
}

#[derive(Debug, Default)]
enum Files {
    #[default]
    NotOpened,
    Open(FilesOf),
    /// The system does not tell.
    Refused,
}

/// The files of a worker's process.
#[derive(Debug)]
pub(crate) struct FilesOf {
    /// For readings without the lock.
    pub(crate) shared: Arc<Usage>,
    /// For those under the lock that judge: another thread may read the one above at that moment.
    pub(crate) of_lock: Option<Usage>,
}

impl WorkerMemory {
    /// True if somebody must still open its files.
    pub(crate) fn is_unopened(&self) -> bool {
        matches!(self.files, Files::NotOpened)
    }

    /// It gets no piece before it was measured: what that takes would count as what it had when it was ready.
    pub(crate) fn must_be_opened(&mut self) {
        self.is_awaited = true;
    }

    /// It takes long to become ready.
    pub(crate) fn await_no_more(&mut self) {
        self.is_awaited = false;
    }

    /// True if it must still be measured before it gets a piece.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// True if the system does not tell of it.
    pub(crate) fn is_hidden(&self) -> bool {
        matches!(self.files, Files::Refused)
    }

    /// Its files, to be read without the lock.
    pub(crate) fn files(&self) -> Option<&Arc<Usage>> {
        match &self.files {
            Files::Open(files) => Some(&files.shared),
            Files::NotOpened | Files::Refused => None,
        }
    }

    /// It was measured for the first time. `shared`: what its fork server has.
    pub(crate) fn open(&mut self, first: Option<(FilesOf, u64)>, shared: u64, now_ns: u64) {
        self.is_awaited = false;
        let Some((files, all)) = first else {
            self.files = Files::Refused;
            return;
        };
        (self.files, self.since_ns, self.shared) = (Files::Open(files), now_ns, shared.min(all));
        self.all = all;
        self.at_start = self.least();
        self.peak = self.at_start;
    }

    pub(crate) fn at_start(&self) -> u64 {
        self.at_start
    }

    /// What it has, with all that it may share.
    pub(crate) fn all(&self) -> u64 {
        self.all
    }

    /// What was read of it, as errors tell it: last, if that was after its start, and at the start. `None` if nothing was.
    pub(crate) fn told(&self) -> Option<(Option<u64>, u64)> {
        self.files()?;
        Some((self.is_read.then(|| self.least()), self.at_start))
    }

    /// What it has for itself, at least; after an exact reading, about that.
    #[inline]
    pub(crate) fn least(&self) -> u64 {
        self.own_of(self.all)
    }

    /// What it has for itself, at least, if it has this with all that it may share.
    #[inline]
    fn own_of(&self, all: u64) -> u64 {
        all.saturating_sub(self.shared).saturating_add(self.unshared).min(all)
    }

    /// A reading.
    pub(crate) fn read(&mut self, all: u64) {
        (self.all, self.is_read) = (all, true);
        self.peak = self.peak.max(self.least());
    }

    /// The most that it had for itself, by readings and by its own word.
    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    /// It tells that it had this once, with all that it may share. Gives what it had for itself, if that is known.
    pub(crate) fn note_peak(&mut self, all: u64) -> Option<u64> {
        self.files()?;
        let own = self.own_of(all);
        self.peak = self.peak.max(own);
        Some(own)
    }

    /// Reads what it has now, if the system tells: its word goes beyond what was read before. Under the lock.
    pub(crate) fn read_for_sample(&mut self) -> u64 {
        if let Files::Open(FilesOf { shared, of_lock }) = &self.files
            && let Some(all) = of_lock.as_ref().unwrap_or(shared).bytes_at_once()
            // Without what is swapped: an earlier reading may have seen more.
            && all > self.all
        {
            self.read(all);
        }
        self.all
    }

    /// An exact reading, which took a while.
    pub(crate) fn read_exactly(&mut self, private: Private, took_ns: u64, now_ns: u64) {
        let exact = private.resident_bytes + private.swapped_bytes;
        self.unshared = exact.saturating_sub(self.all.saturating_sub(self.shared));
        self.exact_after_ns = now_ns + took_ns * EXACT_DIVISOR;
    }

    /// The system did not let it be read exactly: that may not be asked for again with each piece.
    pub(crate) fn cannot_read_exactly(&mut self, now_ns: u64) {
        self.exact_after_ns = now_ns + REFUSED_NS;
    }

    /// True if only an exact reading tells whether it is above this limit, and one may be made.
    pub(crate) fn needs_exact(&self, limit: u64, now_ns: u64) -> bool {
        self.least() <= limit && self.all > limit && now_ns >= self.exact_after_ns
    }

    /// Reads it now, unless that was done a moment ago. Under the lock.
    pub(crate) fn read_now(&mut self, now_ns: u64) -> bool {
        if now_ns < self.read_due_ns {
            return false;
        }
        let Files::Open(FilesOf { of_lock: Some(files), .. }) = &self.files else { return false };
        let Some(all) = files.bytes_at_once() else { return false };
        self.read(all);
        self.read_due_ns = now_ns + READ_EACH_NS;
        true
    }

    /// The scheduler need not read it again before that moment.
    pub(crate) fn read_again_at(&mut self, moment_ns: u64) {
        self.read_due_ns = moment_ns;
    }

    pub(crate) fn view(&self, start_ns: u64, now_ns: u64) -> View {
        let lived_ns = now_ns.saturating_sub(self.since_ns);
        View { bytes: self.least(), at_start: self.at_start, lived_ns, start_ns }
    }

    pub(crate) fn checks(&mut self) -> &mut Checks {
        &mut self.checks
    }

    pub(crate) fn high_crossing(&mut self) -> &mut Crossing {
        &mut self.high_crossing
    }

    pub(crate) fn max_crossing(&mut self) -> &mut Crossing {
        &mut self.max_crossing
    }
}

/// Whether the user was told that a limit is exceeded: once each time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Crossing {
    is_told: bool,
}

impl Crossing {
    /// `is_above`: the limit is exceeded; `acts`: something would be done about it. True if that is to be told.
    #[must_use]
    pub(crate) fn is_new(&mut self, is_above: bool, acts: bool) -> bool {
        let is_new = acts && !self.is_told;
        self.is_told = is_above && (acts || self.is_told);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossing_is_told_once_until_the_limit_is_kept_again() {
        let mut crossing = Crossing::default();
        for (number, (is_above, acts, expected)) in [
            (true, false, false),
            (true, true, true),
            (true, true, false),
            (true, false, false),
            (true, true, false),
            (false, false, false),
            (true, true, true),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(crossing.is_new(is_above, acts), expected, "check {number}");
        }
    }

    /// A program that asked for the figures all the time kept the scheduler from judging.
    #[test]
    fn readings_of_others_do_not_keep_the_scheduler_from_its_own() {
        let usage = || Usage::open(crate::sys::process::own_pidfd().unwrap(), false).unwrap();
        let mut memory = WorkerMemory::default();
        memory.open(Some((FilesOf { shared: Arc::new(usage()), of_lock: Some(usage()) }, 450)), 400, 0);
        let mut now_ns = READ_EACH_NS;
        assert!(memory.read_now(now_ns) && !memory.read_now(now_ns + READ_EACH_NS - 1));
        now_ns += READ_EACH_NS;
        memory.read(7);
        assert!(memory.read_now(now_ns) && memory.all() > 7);
    }

    #[test]
    fn what_a_worker_has_for_itself_lies_between_the_readings() {
        let usage = || Usage::open(crate::sys::process::own_pidfd().unwrap(), false).unwrap();
        let private = |resident_bytes| Private { resident_bytes, swapped_bytes: 0 };
        let mut memory = WorkerMemory::default();
        assert!(memory.is_unopened() && memory.files().is_none());
        memory.open(Some((FilesOf { shared: Arc::new(usage()), of_lock: None }, 450)), 400, 7);
        assert_eq!((memory.at_start(), memory.least(), memory.all()), (50, 50, 450));
        memory.read(520);
        assert_eq!(memory.least(), 120);
        // The limit, and whether only an exact reading tells.
        for (limit, expected) in [(119, false), (120, true), (519, true), (520, false)] {
            assert_eq!(memory.needs_exact(limit, 8), expected, "{limit}");
        }
        // It has written to 200 that it shared. That took 3 ns, so the next exact reading may come 150 ns later.
        memory.read_exactly(private(320), 3, 10);
        assert_eq!(memory.least(), 320);
        assert!(!memory.needs_exact(320, 159) && memory.needs_exact(320, 160) && !memory.needs_exact(319, 160));
        memory.read(600);
        assert_eq!(memory.least(), 400);
        memory.read(100);
        assert_eq!(memory.least(), 100, "no more than it has");
        memory.read(600);
        memory.cannot_read_exactly(1_000);
        assert!(!memory.needs_exact(450, 900_000_000) && memory.needs_exact(450, 1_000_001_000));
        // A fork server that has more than the worker shares no more than that.
        let mut small = WorkerMemory::default();
        small.open(Some((FilesOf { shared: Arc::new(usage()), of_lock: None }, 30)), 400, 7);
        assert_eq!((small.at_start(), small.least()), (0, 0));
        // It has grown between the two readings; and its own word may be any number. This one ended the program, where overflow is
        // checked.
        small.read_exactly(private(100), 3, 10);
        assert_eq!((small.note_peak(u64::MAX), small.peak()), (Some(u64::MAX), u64::MAX));
        small.open(None, 0, 8);
        assert!(!small.is_unopened() && small.files().is_none());
    }
}
