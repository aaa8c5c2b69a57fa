//! The functions that a pool's pieces call: how often, at what cost, and what they do to the memory of their workers.
//!
//! | figure       | from                                                                                   |
//! |--------------|----------------------------------------------------------------------------------------|
//! | pieces       | replies: each worker's link counts them, and hands them over with a sample or at its end |
//! | cost         | the time between replies, as the pace of a task                                         |
//! | growth, peak | samples: a worker's word, checked against what the kernel says of its memory            |
//!
//! Invariant: a function keeps its number, so a piece that comes back late counts where it belongs. Figures from samples go into
//! statistics alone, and no decision about a worker.

use super::worker_memory::WorkerMemory;
use crate::backend::Site;
use crate::engine::link::Told;
use crate::engine::piece::Function;
use crate::engine::policy::growth::{Growth, Sample};
use crate::engine::policy::sampling::{self, Experience, FUNCTIONS, OTHERS};
use crate::engine::wire::record;
use crate::sys::symbol;
use std::sync::{Arc, OnceLock};

/// More than the kernel sees is believed up to this: memory that was allocated and not written to yet.
const UNSEEN_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(crate) struct Functions {
    /// What their pieces are assumed to cost.
    costs_ns: [u32; FUNCTIONS],
    experience: Experience,
    figures: Figures,
}

/// What is known of the functions.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// By number, in the order in which their first pieces came.
    pub(crate) known: Vec<Known>,
    pub(crate) totals: [Totals; FUNCTIONS],
    pub(crate) growth: Growth,
    /// The flags of all samples.
    pub(crate) flags: u8,
    /// How many samples came.
    pub(crate) samples: u64,
}

/// A function, as the pieces name it that came first.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    word: u64,
    pub(crate) site: Site,
    /// The name of their task, if the user set one.
    task: Option<Arc<str>>,
    /// Its own name, once somebody has asked: that reads the executable's symbol table.
    name: Arc<OnceLock<String>>,
}

impl Known {
    /// Its name, if [`Figures::find_names`] has found one: that in the executable, or that of the task.
    pub(crate) fn name(&self) -> &str {
        self.name.get().map_or("?", String::as_str)
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) pieces: u64,
    pub(crate) samples: u64,
    pub(crate) largest_peak: Option<u64>,
}

/// What one worker has told.
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    /// A bit for each function of which it has answered a piece by its last sample.
    ran: u64,
    /// The growth that it has told and that was believed, since it had least.
    growth: i64,
}

impl Default for Functions {
    fn default() -> Self {
        let costs_ns = [sampling::UNKNOWN_COST_NS; FUNCTIONS];
        Functions { costs_ns, experience: Experience::default(), figures: Figures::default() }
    }
}

impl Default for Figures {
    fn default() -> Self {
        let totals = [Totals::default(); FUNCTIONS];
        Figures { known: Vec::new(), totals, growth: Growth::default(), flags: 0, samples: 0 }
    }
}

impl Functions {
    /// The number of a function, by its travelling word.
    pub(crate) fn number_of(&mut self, word: u64, site: &Site, task: Option<&Arc<str>>) -> u8 {
        let known = &mut self.figures.known;
        let number = known.iter().position(|known| known.word == word).unwrap_or_else(|| {
            if known.len() == usize::from(OTHERS) {
                return known.len();
            }
            known.push(Known { word, site: *site, task: task.cloned(), name: Arc::default() });
            known.len() - 1
        });
        number as u8
    }

    /// What a piece of this function is given with.
    #[inline(always)]
    pub(crate) fn of_number(&self, number: u8) -> Function {
        let cost_ns = self.costs_ns.get(usize::from(number)).copied().unwrap_or(sampling::UNKNOWN_COST_NS);
        Function { number, cost_ns }
    }

    /// Some pieces took that time each, the last of them of this function.
    pub(crate) fn learn_cost(&mut self, number: u8, measured_ns: u64) {
        if let Some(cost_ns) = self.costs_ns.get_mut(usize::from(number)) {
            *cost_ns = sampling::learn_cost(*cost_ns, measured_ns);
        }
    }

    /// Counts pieces that a worker has answered.
    pub(super) fn count(&mut self, answered: &[u32; FUNCTIONS]) {
        self.figures.count(answered);
    }

    /// A worker's sample.
    pub(crate) fn sampled(&mut self, told: &Told<'_>, worker: &mut Sampled, memory: &mut WorkerMemory) {
        let Told { sample, flags, function, answered } = *told;
        self.experience.learn_price(sample.cost_ns);
        let figures = &mut self.figures;
        let ran = figures.count(answered);
        // Its first pieces fill tables that stay.
        let is_first = ran & !worker.ran != 0;
        worker.ran |= ran;
        figures.flags |= flags;
        figures.samples += 1;
        let Some(totals) = figures.totals.get_mut(usize::from(function)) else { return };
        totals.samples += 1;
        if flags & record::HAS_PEAK != 0
            && let Some(peak) = memory.note_peak(sample.peak)
        {
            totals.largest_peak = totals.largest_peak.max(Some(peak));
        }
        let has_growth = flags & (record::OF_HEAP | record::OF_RESIDENT) != 0;
        if has_growth && worker.believes(sample.growth, memory) {
            let measured = usize::from(function);
            figures.growth.add(&Sample {
                counts: answered,
                growth: sample.growth,
                measured,
                is_first,
                ran: worker.ran,
            });
        }
    }

    /// What this number of workers have told.
    pub(crate) fn experience(&self, workers: usize) -> Experience {
        let taken = self.figures.samples / workers.max(1) as u64;
        Experience { taken: u32::try_from(taken).unwrap_or(u32::MAX), ..self.experience }
    }

    pub(crate) fn figures(&self) -> Figures {
        self.figures.clone()
    }
}

impl Figures {
    /// Finds the names of functions that nobody has asked for. Not under the lock: it reads the executable.
    pub(crate) fn find_names(&self) {
        let unnamed: Vec<&Known> = self.known.iter().filter(|known| known.name.get().is_none()).collect();
        let addresses: Vec<usize> = unnamed.iter().map(|known| known.site.call.address()).collect();
        for (known, found) in unnamed.into_iter().zip(symbol::names_of(&addresses)) {
            let name = found.as_deref().or(known.task.as_deref()).unwrap_or("?");
            // Another caller may have found it meanwhile.
            let _ = known.name.set(name.to_string());
        }
    }

    /// Counts pieces that were answered. Gives a bit for each function of which there are any.
    pub(super) fn count(&mut self, answered: &[u32; FUNCTIONS]) -> u64 {
        let mut functions = 0;
        for (number, (&count, totals)) in answered.iter().zip(&mut self.totals).enumerate() {
            if count > 0 {
                totals.pieces += u64::from(count);
                functions |= 1 << number;
            }
        }
        functions
    }
}

impl Sampled {
    /// Adds to what it has told, unless the kernel sees less memory by so far that this cannot be true.
    fn believes(&mut self, growth: i64, memory: &mut WorkerMemory) -> bool {
        let told = self.growth.saturating_add(growth);
        let most = |seen: u64| i64::try_from(seen.saturating_add(UNSEEN_BYTES)).unwrap_or(i64::MAX);
        let is_believed = told <= most(memory.all()) || told <= most(memory.read_for_sample());
        if is_believed {
            // Since it had least: what it says to have given back makes no room for what it cannot have.
            self.growth = told.max(0);
        }
        is_believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that said that it had given back a terabyte could say then that it had taken one.
    #[test]
    fn growth_is_believed_as_far_as_the_kernel_sees_memory() {
        const MIB: i64 = 1 << 20;
        let mut memory = WorkerMemory::default();
        memory.read(100 << 20);
        let mut worker = Sampled::default();
        for (number, (growth, expected)) in [
            (60 * MIB, true),
            (105 * MIB, false),
            (104 * MIB, true),
            (1, false),
            (-164 * MIB, true),
            (164 * MIB, true),
            (i64::MIN, true),
            (165 * MIB, false),
            (i64::MAX, false),
            (164 * MIB, true),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(worker.believes(growth, &mut memory), expected, "sample {number}");
        }
    }
}
