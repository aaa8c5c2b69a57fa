//! What workers told of their heaps: by how much each has grown, and which pieces it answered meanwhile.
//!
//! The samples of all workers are kept as sums in up to [`SPANS`] spans of time, so that what happened lately can be told from what
//! happened before. When all are full, neighbours are joined and a span takes twice the samples.
//!
//! Invariant: each span but the last has [`Growth::span_samples`] samples, the last has at most that number. Together
//! they have every sample that is fitted.
//!
//! All numbers come from workers, in whose memory a piece may have written at random: any of them is possible here, and wrong ones
//! spoil nothing but the figures.

use super::least_squares::{Counts, Sums};
use super::sampling::FUNCTIONS;

/// With this number the later half of a function's samples is found to an eighth of all samples. With twice as many a pool
/// with all functions would keep 160 KB instead of 80.
const SPANS: usize = 16;

/// The samples of a span at first. A verdict needs 21 samples at least; these lie in six spans, of which some are the later half. With
/// 16 samples a span, a cache that stopped growing after ten samples would be a suspect until the 32nd.
const FIRST_SPAN_SAMPLES: u64 = 4;

/// What a worker tells after a measured piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample<'a> {
    /// The pieces of each function that it has answered since its previous sample.
    pub(crate) counts: &'a Counts,
    /// By how many bytes its heap has grown since then.
    pub(crate) growth: i64,
    /// The function of the measured piece.
    pub(crate) measured: usize,
    /// Some function was called for the first time in this worker. Then it made what it keeps for good, so this growth says nothing of
    /// its later pieces: it is left out of the fit.
    pub(crate) is_first: bool,
    /// The functions that this worker ever ran, one bit each.
    pub(crate) ran: u64,
}

/// All samples of a pool. Without any it has no memory beside its own.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    /// In the order of time.
    spans: Vec<Sums>,
    span_samples: u64,
    measured: [u64; FUNCTIONS],
    /// The growth of the heaps of workers that ran a function.
    heaps: [i64; FUNCTIONS],
}

impl Default for Growth {
    fn default() -> Growth {
        Growth { spans: Vec::new(), span_samples: FIRST_SPAN_SAMPLES, measured: [0; FUNCTIONS], heaps: [0; FUNCTIONS] }
    }
}

impl Growth {
    /// Adds a sample. It takes 35 ns where three functions ran, and 0.5 us for all; a new span allocates, and to join all takes 2 us.
    pub(crate) fn add(&mut self, sample: &Sample) {
        if let Some(measured) = self.measured.get_mut(sample.measured) {
            *measured += 1;
        }
        let mut ran = sample.ran & ((1 << FUNCTIONS) - 1);
        while ran != 0 {
            let heap = &mut self.heaps[ran.trailing_zeros() as usize];
            *heap = heap.saturating_add(sample.growth);
            ran &= ran - 1;
        }
        if !sample.is_first {
            self.open_span().add(sample.counts, sample.growth);
        }
    }

    /// The span for the next sample.
    fn open_span(&mut self) -> &mut Sums {
        let is_full = self.spans.last().is_none_or(|last| last.samples() >= self.span_samples);
        if is_full {
            if self.spans.len() == SPANS {
                self.join_neighbours();
            }
            let next = self.spans.last().map_or_else(Sums::default, Sums::with_room_of);
            self.spans.push(next);
        }
        self.spans.last_mut().unwrap()
    }

    fn join_neighbours(&mut self) {
        let mut spans = std::mem::replace(&mut self.spans, Vec::with_capacity(SPANS)).into_iter();
        while let (Some(mut earlier), Some(later)) = (spans.next(), spans.next()) {
            earlier.add_all(&later);
            self.spans.push(earlier);
        }
        self.span_samples = self.span_samples.saturating_mul(2);
    }

    /// The samples from a span on.
    #[must_use]
    pub(crate) fn since(&self, span: usize) -> Sums {
        let mut all = Sums::default();
        for span in &self.spans[span..] {
            all.add_all(span);
        }
        all
    }

    /// The span with which the later half of a function's samples begins: from there on at least half of the samples are in which it ran,
    /// and as few more as spans allow.
    #[must_use]
    pub(crate) fn later_half(&self, function: usize) -> usize {
        let all: u64 = self.spans.iter().map(|span| span.samples_of(function)).sum();
        let mut later = 0;
        let start = self.spans.iter().rposition(|span| {
            later += span.samples_of(function);
            later >= all.div_ceil(2)
        });
        start.unwrap_or(0)
    }

    /// The samples after a piece of this function.
    #[must_use]
    pub(crate) fn measured(&self, function: usize) -> u64 {
        self.measured[function]
    }

    /// By how much the heaps of the workers that ran this function have grown, all together, since they first ran it.
    #[must_use]
    pub(crate) fn heaps(&self, function: usize) -> i64 {
        self.heaps[function]
    }
}

#[cfg(test)]
mod tests;
