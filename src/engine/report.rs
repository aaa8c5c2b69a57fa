//! Works out what a pool's figures say: names, growth, suspects. It takes a while, so it is done without the lock.

use super::core::{Figures, Snapshot, Totals};
use super::policy::memory;
use super::policy::sampling::{FUNCTIONS, OTHERS};
use super::policy::suspicion::{self, Verdict};
use super::wire::record::{HAS_PEAK, OF_HEAP, OF_RESIDENT};
use crate::backend::MemoryLimits;
use crate::stats::Stats;
use crate::stats::functions::{FunctionStats, UNKNOWN_ERROR};
use crate::stats::tasks::TaskStats;
use crate::stats::timeline::{Timeline, What};
use crate::sys::symbol;
use std::collections::BTreeSet;
use std::time::Duration;

/// The name of the entry of all functions that came after those that are told apart.
const OTHERS_NAME: &str = "others";

/// Fills in what `Core::snapshot` leaves out, once the memory of the workers was read.
pub(super) fn complete(snapshot: Snapshot) -> Stats {
    let Snapshot { mut stats, running, functions, names, limits, hides_memory } = snapshot;
    let figures = &functions;
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
    let room = room_of(&stats, &limits);
    let others = (figures.totals[usize::from(OTHERS)].pieces > 0).then_some(usize::from(OTHERS));
    stats.functions =
        (0..figures.known.len()).chain(others).map(|number| function(figures, number, &verdicts, room)).collect();
    let known = names.known.iter().map(|(name, totals)| task(name, totals));
    stats.by_name = known.chain(names.others.iter().map(|totals| task(OTHERS_NAME, totals))).collect();
    stats.unmeasured = unmeasured(&stats, figures, hides_memory);
    stats
}

/// Fills in the names of the functions that ran, and the process.
pub(super) fn name_functions(mut timeline: Timeline) -> Timeline {
    let unnamed = timeline.events.iter().filter_map(|event| match event.what {
        What::Piece { name: None, function, .. } if function != 0 => Some(function),
        _ => None,
    });
    let addresses: Vec<usize> = unnamed.collect::<BTreeSet<_>>().into_iter().collect();
    let names = symbol::names_of(&addresses).into_iter();
    let named = addresses.into_iter().zip(names).filter_map(|(address, name)| Some((address, name?.to_string())));
    timeline.functions = named.collect();
    timeline.process = std::process::id();
    timeline
}

fn task(name: &str, totals: &Totals) -> TaskStats {
    let Totals { pieces, failed, retried, busy_ns, waited_ns, bytes } = *totals;
    let (busy, waited) = (Duration::from_nanos(busy_ns), Duration::from_nanos(waited_ns));
    TaskStats { name: name.to_string(), pieces, failed, retried, busy, waited, bytes }
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
        let acts_at = |at_start| match limits.worker_high {
            Some(_) => memory::high_of(limit.bytes(at_start), at_start),
            None => limit.bytes(at_start),
        };
        let workers = stats.workers.iter();
        let left = workers.filter_map(|worker| Some(acts_at(worker.memory_at_start?).saturating_sub(worker.memory?)));
        Some(left.min()?.saturating_mul(stats.workers.len() as u64))
    });
    of_all.into_iter().chain(of_each).min()
}

/// What the system or the program does not let this pool measure. `hides_memory`: the system did not tell of a worker.
fn unmeasured(stats: &Stats, figures: &Figures, hides_memory: bool) -> Vec<String> {
    let is_sampled = figures.samples > 0;
    let growth = figures.flags & (OF_HEAP | OF_RESIDENT);
    let texts = [
        (stats.memory.is_none() && hides_memory, "the memory of workers (/proc does not show it)"),
        (stats.memory_available.is_none(), "available memory"),
        (
            is_sampled && growth == OF_RESIDENT,
            "the heap (the allocator is not glibc's malloc: growth is that of resident memory)",
        ),
        (is_sampled && growth == 0, "growth (neither the allocator nor /proc tells of it)"),
        (is_sampled && figures.flags & HAS_PEAK == 0, "peaks (/proc/self/clear_refs cannot be written)"),
    ];
    texts.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, text)| text.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::MemoryLimit;
    use crate::stats::WorkerStats;

    const MIB: u64 = 1 << 20;

    fn worker(memory: Option<u64>, at_start: Option<u64>) -> WorkerStats {
        WorkerStats {
            worker: 0,
            pid: None,
            pieces_held: 0,
            pieces_done: 0,
            generation: 1,
            state: crate::stats::WorkerState::Idle,
            function: None,
            age: None,
            memory: memory.map(|mib| mib * MIB),
            memory_at_start: at_start.map(|mib| mib * MIB),
            memory_peak: None,
            last_replaced: None,
        }
    }

    /// A worker that was above its limit when it was ready is replaced at twice that size, and it was said that no piece is left.
    #[test]
    fn the_room_is_what_is_left_until_the_nearest_limit_acts() {
        let (of_each, grows) = (|mib| Some(MemoryLimit::Bytes(mib * MIB)), |mib| Some(MemoryLimit::Growth(mib * MIB)));
        let workers = [worker(Some(40), Some(10)), worker(Some(60), Some(10)), worker(None, None)];
        let large = [worker(Some(200), Some(150))];
        // The workers, the limits of each and of all, and the room in MiB.
        for (workers, worker_high, worker_max, high, expected) in [
            (&workers[..], None, None, None, None),
            (&workers, of_each(100), None, None, Some(120)),
            (&workers, grows(100), of_each(1), None, Some(150)),
            (&workers, None, of_each(100), None, Some(120)),
            (&workers, of_each(100), None, Some(110), Some(10)),
            (&workers, of_each(100), None, Some(90), Some(0)),
            (&large, of_each(100), None, None, Some(100)),
            (&large, None, of_each(100), None, Some(0)),
        ] {
            let stats = Stats { workers: workers.to_vec(), memory: Some(100 * MIB), ..Stats::default() };
            let limits =
                MemoryLimits { worker_high, worker_max, high: high.map(|mib| mib * MIB), ..Default::default() };
            assert_eq!(room_of(&stats, &limits), expected.map(|mib| mib * MIB), "{limits:?}");
        }
    }

    /// While no worker had been measured yet, as after the only one had died, it was said that the system does not tell.
    #[test]
    fn only_what_the_system_does_not_tell_is_unmeasured() {
        let stats = Stats { pieces_done: 9, memory_available: Some(1), ..Stats::default() };
        for (is_hidden, expected) in [(false, 0), (true, 1)] {
            assert_eq!(unmeasured(&stats, &Figures::default(), is_hidden).len(), expected);
        }
        // The flags of all samples, and what each text begins with.
        for (flags, expected) in [
            (OF_HEAP | HAS_PEAK, &[][..]),
            (OF_HEAP, &["peaks"]),
            (OF_RESIDENT | HAS_PEAK, &["the heap"]),
            (HAS_PEAK, &["growth"]),
            (0, &["growth", "peaks"]),
        ] {
            let figures = Figures { samples: 1, flags, ..Figures::default() };
            let texts = unmeasured(&stats, &figures, false);
            let begins =
                texts.len() == expected.len() && texts.iter().zip(expected).all(|(text, word)| text.starts_with(word));
            assert!(begins, "{flags}: {texts:?}");
        }
    }
}
