//! What this worker's memory does, told after pieces that are sampled.
//!
//! Nothing is prepared before the end of the first such piece, so a start costs no more. That piece's sample has no growth, and for
//! a peak what there is after it: its function ran for the first time here, and what it allocates then is often for good.
//!
//! Invariant: between two samples nothing of this file allocates or frees, so the growth is that of the pieces.

use crate::engine::wire::record::{HAS_PEAK, OF_HEAP, OF_RESIDENT, Sample};
use crate::sys::clock;
use crate::sys::heap::{Allocated, Heap, Peak};
use crate::sys::usage::OwnUsage;

/// The means of a worker to measure itself, once it has sampled a piece.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    tools: Option<Tools>,
    /// What the time before the piece has cost.
    spent_ns: u64,
    /// The kernel counts the peak of this piece.
    counts_peak: bool,
}

#[derive(Debug)]
struct Tools {
    heap: Option<Heap>,
    peak: Option<Peak>,
    usage: Option<OwnUsage>,
    before: Before,
}

/// What there was at the last sample.
#[derive(Debug, Clone, Copy)]
enum Before {
    Heap(Allocated),
    Resident(u64),
    NotKnown,
}

impl Tools {
    fn new() -> Tools {
        let (heap, peak, usage) = (Heap::probe(), Peak::open(), OwnUsage::open());
        let mut tools = Tools { heap, peak, usage, before: Before::NotKnown };
        tools.before = tools.now();
        tools
    }

    fn now(&self) -> Before {
        if let Some(heap) = &self.heap {
            return Before::Heap(heap.look());
        }
        let usage = self.usage.as_ref().and_then(OwnUsage::read);
        usage.map_or(Before::NotKnown, |usage| Before::Resident(usage.anonymous_bytes))
    }

    /// The growth since the last sample, with its flag.
    fn growth(&mut self) -> (u8, i64) {
        let now = self.now();
        match (std::mem::replace(&mut self.before, now), now) {
            (Before::Heap(before), Before::Heap(now)) => (OF_HEAP, now.growth_since(before)),
            (Before::Resident(before), Before::Resident(now)) => {
                (OF_RESIDENT, now.cast_signed().wrapping_sub(before.cast_signed()))
            }
            _ => (0, 0),
        }
    }

    /// The most anonymous memory since the kernel was told to count anew.
    fn peak(&self) -> Option<u64> {
        let most = self.peak.as_ref()?.bytes()?;
        // What the files and the shared memory have now they had then too, nearly.
        let of_files = self.usage.as_ref()?.read()?.other_bytes;
        Some(most.saturating_sub(of_files))
    }
}

impl Sampler {
    /// A piece that is sampled begins.
    pub(crate) fn begin(&mut self) {
        let Some(tools) = &self.tools else { return };
        let used_ns = clock::used_ns();
        self.counts_peak = tools.peak.as_ref().is_some_and(Peak::count_anew);
        self.spent_ns = clock::used_ns().saturating_sub(used_ns);
    }

    /// It has ended: the flags of its sample, and the sample.
    pub(crate) fn sample(&mut self) -> (u8, Sample) {
        let used_ns = clock::used_ns();
        let Some(tools) = &mut self.tools else {
            let tools = self.tools.insert(Tools::new());
            let flags = match tools.before {
                Before::Heap(_) => OF_HEAP,
                Before::Resident(_) => OF_RESIDENT,
                Before::NotKnown => 0,
            };
            let peak = tools.peak.as_ref().and(tools.usage.as_ref()).and_then(OwnUsage::read);
            let flags = flags | if peak.is_some() { HAS_PEAK } else { 0 };
            // What it cost is spent once, and says nothing of the next one.
            return (flags, Sample { peak: peak.map_or(0, |now| now.anonymous_bytes), ..Sample::default() });
        };
        let peak = if std::mem::take(&mut self.counts_peak) { tools.peak() } else { None };
        let (flags, growth) = tools.growth();
        let flags = flags | if peak.is_some() { HAS_PEAK } else { 0 };
        let cost_ns = self.spent_ns + clock::used_ns().saturating_sub(used_ns);
        (flags, Sample { growth, peak: peak.unwrap_or(0), cost_ns })
    }
}
