//! A pool's figures, read in several holds of the lock: what takes long is done between them.
//!
//! Invariant: files are read, and texts made, without the lock.

use super::core::{Copied, Snapshot};
use super::report;
use super::shared::Shared;
use crate::stats::Stats;
use crate::stats::timeline::Timeline;
use crate::sys::machine;

impl Shared {
    pub(super) fn read_stats(&self) -> Stats {
        let snapshot = self.with(|core| {
            core.collect();
            core.keep_owed_attention();
            core.snapshot()
        });
        let mut snapshot = snapshot.unwrap_or_default();
        let Snapshot { stats, names, .. } = &mut snapshot;
        let files = self.with(|core| core.memory_files()).unwrap_or_default();
        let read = files.into_iter().filter_map(|(seat, generation, files)| Some((seat, generation, files.bytes()?)));
        let readings: Vec<_> = read.collect();
        self.with(|core| core.tell_memory(&readings, stats));
        stats.memory_available = machine::available_bytes();
        let mut next = Some(0);
        while let Some((waiting, rest)) = next.and_then(|slot| self.with(|core| core.count_waiting(slot, names))) {
            stats.pieces_waiting += waiting;
            next = rest;
        }
        report::complete(snapshot)
    }

    pub(super) fn read_timeline(&self) -> Timeline {
        self.with(|core| {
            core.collect();
            core.keep_owed_attention();
        });
        let (mut timeline, mut next) = (Timeline::default(), Some(0));
        let mut end = None;
        while let Some(Copied { events, first, began_ns, count, next: rest }) =
            next.and_then(|from| self.with(|core| core.copy_events(from)))
        {
            // What comes meanwhile is left to the next call: it could come as fast as it is copied.
            let end = *end.get_or_insert(count);
            // What was overwritten meanwhile is lost, too.
            timeline.lost = first - timeline.events.len() as u64;
            timeline.began_ns = began_ns;
            if timeline.events.is_empty() {
                // Once for all: a list that grows by doubling would take twice as much.
                timeline.events.reserve_exact((end - first) as usize);
            }
            timeline.events.extend(events);
            next = rest.filter(|&next| next < end);
        }
        report::name_functions(timeline)
    }
}
