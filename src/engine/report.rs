//! Works out what a pool's figures say: names, growth, suspects. It takes a while, so it is done without the lock.

use super::core::Figures;
use super::policy::memory;
use super::policy::sampling::{FUNCTIONS, OTHERS};
use super::policy::suspicion::{self, Verdict};
use super::wire::record::{HAS_PEAK, OF_HEAP};
use crate::backend::MemoryLimits;
use crate::error::PieceLabel;
use crate::stats::Stats;
use crate::stats::functions::{FunctionStats, UNKNOWN_ERROR};

/// The name of the entry of all functions that came after those that are told apart.
const OTHERS_NAME: &str = "others";

/// Fills in what `Core::snapshot` leaves out, once the memory of the workers was read. `running`: what workers run.
pub(super) fn complete(stats: &mut Stats, running: Vec<(usize, PieceLabel)>, figures: &Figures, limits: &MemoryLimits) {
    figures.find_names();
    for (worker, label) in running {
        if let Some(told) = stats.workers.iter_mut().find(|told| told.worker == worker) {
            let known = figures.known.iter().find(|known| known.site.call.address() == label.address);
            // As errors name it.
            told.function = match (&label.name, known) {
                (Some(given), _) => Some(given.to_string()),
                (None, Some(known)) => Some(known.name().to_string()),
                (None, None) => label.function_name(),
            };
        }
    }
    let verdicts = suspicion::judge(&figures.growth, &figures.totals.map(|totals| totals.pieces));
    let room = room_of(stats, limits);
    let others = (figures.totals[usize::from(OTHERS)].pieces > 0).then_some(usize::from(OTHERS));
    stats.functions =
        (0..figures.known.len()).chain(others).map(|number| function(figures, number, &verdicts, room)).collect();
    stats.unmeasured = unmeasured(stats, figures);
}

fn function(figures: &Figures, number: usize, verdicts: &[Verdict; FUNCTIONS], room: Option<u64>) -> FunctionStats {
    let totals = &figures.totals[number];
    let (function, location) = match figures.known.get(number) {
        Some(known) => {
            let location = known.site.location;
            (known.name().to_string(), format!("{}:{}", location.file(), location.line()))
        }
        None => (OTHERS_NAME.to_string(), String::new()),
    };
    let Verdict { estimate, is_suspect: grows, .. } = verdicts[number];
    FunctionStats {
        function,
        location,
        pieces: totals.pieces,
        measured: totals.samples,
        growth_per_piece: estimate.map_or(0.0, |estimate| estimate.growth),
        growth_error: estimate.map_or(UNKNOWN_ERROR, |estimate| estimate.error),
        largest_peak: totals.largest_peak,
        grows,
        pieces_left: room
            .zip(estimate)
            .filter(|_| grows)
            .map(|(room, estimate)| memory::pieces_left(room, estimate.growth)),
    }
}

/// How much all workers together can grow until the nearest limit acts, if they grow alike.
fn room_of(stats: &Stats, limits: &MemoryLimits) -> Option<u64> {
    let of_all = limits.high.or(limits.max).zip(stats.memory).map(|(limit, memory)| limit.saturating_sub(memory));
    let of_each = limits.worker_high.or(limits.worker_max).and_then(|limit| {
        let left = stats
            .workers
            .iter()
            .filter_map(|worker| Some(limit.bytes(worker.memory_at_start?).saturating_sub(worker.memory?)));
        Some(left.min()?.saturating_mul(stats.workers.len() as u64))
    });
    of_all.into_iter().chain(of_each).min()
}

/// What the system or the program does not let this pool measure.
fn unmeasured(stats: &Stats, figures: &Figures) -> Vec<String> {
    let is_sampled = figures.samples > 0;
    let texts = [
        (stats.memory.is_none() && stats.pieces_done > 0, "the memory of workers (/proc does not show it)"),
        (stats.memory_available.is_none(), "available memory"),
        (
            is_sampled && figures.flags & OF_HEAP == 0,
            "the heap (the allocator is not glibc's malloc: growth is that of resident memory)",
        ),
        (is_sampled && figures.flags & HAS_PEAK == 0, "peaks (/proc/self/clear_refs cannot be written)"),
    ];
    texts.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, text)| text.to_string()).collect()
}
