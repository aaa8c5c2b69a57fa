//! Which of a worker's pieces are sampled, and what its samples are compared with: the pieces of each function that it has
//! answered.
//!
//! | state    | the next record in *back*                             | what ends it            |
//! |----------|-------------------------------------------------------|-------------------------|
//! | no sample is due (`due` is 0) | a reply to the oldest piece      | the reply to a piece that is sampled |
//! | a sample is due | the sample of the piece that was answered last | that sample             |
//!
//! A piece is chosen when it is given; so one that is revoked takes its mark with it, and no sample follows. The worker writes
//! the sample after the reply and signals nobody: it is read with what comes next. Its death leaves it unread.
//!
//! Invariant: after each reply to a sampled piece one sample is due, and at no other time. All words here are the parent's.

use super::Link;
use crate::engine::piece::Function;
use crate::engine::policy::sampling::{self, Beginning, Experience, FUNCTIONS, OTHERS};
use crate::engine::wire::record::{self, Sample};
use crate::failpoint::failpoint;
use crate::protocol::ring::{Record, Violation};

/// Of the pieces that are given alone after a sample the second one is measured: the first may wait until the worker has
/// taken the sample. One that is sampled itself takes longer.
const COST_AFTER: u8 = 3;

#[derive(Debug)]
pub(super) struct Samples {
    /// The assumed work until the next piece that is sampled.
    left_ns: u64,
    /// A bit for each function of which a piece was chosen, or need not be: the first one in a worker that is sampled at once is.
    chosen: u64,
    /// The pieces of each function that were answered since the last sample.
    answered: [u32; FUNCTIONS],
    /// The function of the piece that was answered last.
    last: u8,
    /// The sequence number of the piece whose sample is due, or 0.
    due: u32,
    /// The samples so far, those of workers before it included.
    taken: u32,
    price_ns: u64,
    random: u64,
    /// Counts pieces that are given alone: at 1 the piece is measured, and 0 waits for the next sample.
    cost_wanted_in: u8,
}

/// A worker's sample, and the pieces since the one before.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) sample: Sample,
    pub(crate) flags: u8,
    /// The function of the piece that was sampled.
    pub(crate) function: u8,
    /// The pieces of each function that were answered since the sample before.
    pub(crate) answered: &'a [u32; FUNCTIONS],
}

impl Samples {
    /// Nothing is sampled.
    pub(super) fn off() -> Samples {
        Samples {
            left_ns: u64::MAX,
            chosen: u64::MAX,
            answered: [0; FUNCTIONS],
            last: OTHERS,
            due: 0,
            taken: 0,
            price_ns: 0,
            random: 1,
            cost_wanted_in: 0,
        }
    }

    /// `seed` makes the choice differ from that of other workers.
    pub(super) fn on(seed: u64, experience: Experience) -> Samples {
        let (random, price_ns) = (sampling::next_random(seed | 1), experience.new_price_ns());
        let (chosen, left_ns, taken) = match experience.begin(random) {
            Beginning::AtOnce { taken } => (0, sampling::interval_ns(price_ns, taken, random), taken),
            Beginning::After { interval_ns } => (u64::MAX, interval_ns, experience.taken),
        };
        Samples { left_ns, chosen, taken, price_ns, random, ..Samples::off() }
    }

    /// Whether a piece that is given now is sampled.
    #[inline(always)]
    pub(super) fn choose(&mut self, function: Function) -> bool {
        let (left_ns, is_over) = self.left_ns.overflowing_sub(u64::from(function.cost_ns));
        if is_over || self.chosen >> (function.number & 63) & 1 == 0 {
            return self.choose_at_random(function);
        }
        self.left_ns = left_ns;
        false
    }

    /// A piece is due, this one or one of the next: of functions that run in strict turn the longest would be the only one chosen, the
    /// counts between samples would be the same for each, and the fit could not tell them apart.
    #[cold]
    fn choose_at_random(&mut self, function: Function) -> bool {
        let bit = 1 << (function.number & 63);
        self.random = sampling::next_random(self.random);
        if self.chosen & bit != 0 && self.random >> 63 == 0 {
            self.left_ns = 0;
            return false;
        }
        self.chosen |= bit;
        self.left_ns = sampling::interval_ns(self.price_ns, self.taken, self.random);
        true
    }

    /// A piece was revoked, or found no room. If it was chosen, the next one of its function is chosen in its place.
    #[inline(always)]
    pub(super) fn not_given(&mut self, is_sampled: bool, function: u8) {
        if is_sampled {
            self.chosen &= !(1 << (function & 63));
        }
    }

    /// A piece was answered.
    #[inline(always)]
    pub(super) fn answered(&mut self, function: u8) {
        self.last = function;
        if let Some(count) = self.answered.get_mut(usize::from(function)) {
            *count = count.wrapping_add(1);
        }
    }

    /// The reply to a sampled piece was read.
    pub(super) fn expect(&mut self, sequence: u32) {
        self.due = sequence;
    }

    #[inline(always)]
    pub(super) fn is_due(&self) -> bool {
        self.due != 0
    }

    /// Checks a sample.
    pub(super) fn read(&mut self, record: &Record, words: [u64; 3]) -> Result<(Sample, u8), Violation> {
        let flags = record.header.flags;
        let is_sound = self.is_due()
            && record.header.sequence == self.due
            && record.payload_bytes == Sample::BYTES
            && flags & !(record::OF_HEAP | record::OF_RESIDENT | record::HAS_PEAK) == 0
            && flags & (record::OF_HEAP | record::OF_RESIDENT) != record::OF_HEAP | record::OF_RESIDENT;
        if !is_sound {
            return Err(Violation);
        }
        let sample = Sample::from_words(words);
        self.due = 0;
        self.taken = self.taken.saturating_add(1);
        self.cost_wanted_in = COST_AFTER;
        self.price_ns = sampling::learn_price(self.price_ns, sample.cost_ns);
        Ok((sample, flags))
    }
}

impl Link {
    /// From now on pieces are sampled, chosen by this seed, after what other workers have told.
    pub(crate) fn sample_pieces(&mut self, seed: u64, experience: Experience) {
        self.samples = Samples::on(seed, experience);
    }

    /// True if a sample comes, or has come, that nobody has read.
    pub(crate) fn awaits_sample(&self) -> bool {
        self.samples.is_due()
    }

    /// A piece is given alone. True if it is to be measured what it costs: one after each sample is.
    #[inline]
    pub(crate) fn is_cost_wanted(&mut self) -> bool {
        let wait = &mut self.samples.cost_wanted_in;
        *wait = wait.saturating_sub(1);
        *wait == 1
    }

    /// The function of the piece that was answered last.
    pub(crate) fn last_function(&self) -> u8 {
        self.samples.last
    }

    /// The pieces of each function that were answered since the last sample.
    pub(crate) fn unsampled(&self) -> &[u32; FUNCTIONS] {
        &self.samples.answered
    }

    /// Reads a sample, and counts the pieces anew after `arrive`.
    #[cold]
    pub(super) fn read_sample(&mut self, record: &Record, arrive: impl FnOnce(&Told<'_>)) -> Result<(), Violation> {
        let words = [0, 1, 2].map(|number| record.word(self.pair.back_ring(), number).unwrap_or_default());
        let (sample, flags) = self.samples.read(record, words)?;
        let Samples { last, answered, .. } = &self.samples;
        failpoint!("parent-sample-read");
        arrive(&Told { sample, flags, function: *last, answered });
        self.samples.answered = [0; FUNCTIONS];
        Ok(())
    }
}
