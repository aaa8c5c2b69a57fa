//! The pool's figures: what `Pool::stats` tells, as far as it takes the lock. `engine/report.rs` works out the rest.

use super::Core;
use super::functions::Figures;
use super::names::Names;
use super::seat::{Seat, WorkerHandle};
use crate::backend::{Counts, MemoryLimits, TaskKey};
use crate::engine::link::Link;
use crate::error::PieceLabel;
use crate::stats::{Stats, WorkerStart, WorkerState, WorkerStats};
use crate::sys::clock;
use crate::sys::usage::Usage;
use std::sync::Arc;
use std::time::Duration;

/// The pool's figures at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) stats: Stats,
    /// What workers run, by their numbers.
    pub(crate) running: Vec<(usize, PieceLabel)>,
    pub(crate) functions: Figures,
    pub(crate) names: Names,
    pub(crate) limits: MemoryLimits,
    /// The system did not tell of the memory of a worker.
    pub(crate) hides_memory: bool,
}

impl Core {
    /// How far a task has come.
    pub(crate) fn counts_of(&self, key: TaskKey) -> Counts {
        let Some(task) = self.work.tasks.get(key) else { return Counts::default() };
        let runs = |worker: &&WorkerHandle| worker.link.oldest_piece().is_some_and(|(task, _)| task == key);
        Counts { running: self.seats.workers().filter(runs).count(), ..task.counts() }
    }

    /// The pool's figures now, but for the pieces that wait: those take a walk over all tasks.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.collect_samples();
        let mut functions = self.work.functions.figures();
        for worker in self.seats.workers() {
            functions.count(worker.link.unsampled());
        }
        let runs = |(seat, it): (usize, &Seat)| {
            let (task, number) = it.worker()?.link.oldest_piece()?;
            Some((seat, self.work.tasks.get(task)?.label(number)))
        };
        let running = self.seats.iter().filter_map(runs).collect();
        let hides_memory = self.seats.workers().any(|worker| worker.memory.is_hidden());
        let (limits, stats, names) = (*self.watched.limits(), self.stats(), Names::default());
        Snapshot { running, functions, names, limits, stats, hides_memory }
    }

    /// Reads the samples of workers that have nothing to do: nobody else looks at those. From all others comes what somebody must act
    /// on, and this look does not.
    fn collect_samples(&mut self) {
        let rests = |link: &Link| link.is_idle() && !link.lacks_room();
        for seat in 0..self.seats.len() {
            if self.seats.worker(seat).is_some_and(|it| it.link.awaits_sample() && rests(&it.link)) {
                let _ = self.collect_from(seat);
            }
        }
    }

    fn stats(&mut self) -> Stats {
        let now_ns = clock::now_ns();
        let mut workers = Vec::with_capacity(self.seats.len());
        for number in 0..self.seats.len() {
            let Some(seat) = self.seats.get_mut(number).filter(|seat| !seat.is_spare()) else { continue };
            let past = seat.past();
            // Of a seat that rests, all workers are over.
            let first = u32::from(seat.generation() > 0 && !seat.rests());
            let empty = if seat.rests() { WorkerState::Ended } else { WorkerState::Starting };
            let state = seat.worker_mut().map_or(empty, WorkerHandle::state);
            let worker = seat.worker();
            workers.push(WorkerStats {
                worker: number,
                pid: worker.and_then(WorkerHandle::pid),
                pieces_held: worker.map_or(0, |worker| worker.link.in_flight()),
                pieces_done: worker.map_or(0, |worker| worker.pieces_done),
                generation: past.workers + first,
                state,
                function: None,
                age: worker.map(|worker| Duration::from_nanos(now_ns.saturating_sub(worker.made_ns()))),
                memory: None,
                memory_at_start: worker.filter(|it| it.memory.files().is_some()).map(|it| it.memory.at_start()),
                memory_peak: worker.filter(|it| it.memory.files().is_some()).map(|it| it.memory.peak()),
                last_replaced: past.last,
            });
        }
        Stats {
            workers,
            tasks: self.work.tasks.len(),
            pieces_waiting: 0,
            shared_bytes: self.tables.values().sum(),
            pieces_done: self.counts.pieces_done,
            pieces_failed: self.counts.pieces_failed,
            workers_lost: self.counts.workers_lost,
            workers_recycled: self.counts.workers_recycled,
            workers_over_limit: self.counts.workers_over_limit,
            workers_idle_ended: self.counts.workers_idle_ended,
            memory: None,
            memory_high: self.watched.limits().high,
            memory_max: self.watched.limits().max,
            memory_available: None,
            functions: Vec::new(),
            by_name: Vec::new(),
            unmeasured: Vec::new(),
            start: self.start,
            start_time: self.last_start().map(Duration::from_nanos),
        }
    }

    /// The files that tell what each worker has of memory, to be read without the lock.
    pub(crate) fn memory_files(&self) -> Vec<(usize, u32, Arc<Usage>)> {
        let files = |(number, seat): (usize, &Seat)| {
            Some((number, seat.generation(), Arc::clone(seat.worker()?.memory.files()?)))
        };
        self.seats.iter().filter_map(files).collect()
    }

    /// What was read of them: seat, generation and bytes.
    pub(crate) fn tell_memory(&mut self, readings: &[(usize, u32, u64)], stats: &mut Stats) {
        for &(seat, generation, all) in readings {
            let Some(worker) = self.seats.worker_of(seat, generation) else { continue };
            worker.memory.read(all);
            let least = worker.memory.least();
            if let Some(told) = stats.workers.iter_mut().find(|told| told.worker == seat) {
                told.memory = Some(least);
                told.memory_peak = Some(worker.memory.peak());
            }
        }
        stats.memory = (!readings.is_empty()).then(|| self.sum_of_memory());
    }

    /// The number of pieces that wait in the tasks from this slot on, as far as one hold of the lock allows; and the
    /// slot with which to go on. Adds what the tasks have done, open ones and those that had ended when it began.
    pub(crate) fn count_waiting(&mut self, mut slot: usize, names: &mut Names) -> (usize, Option<usize>) {
        let (mut waiting, now_ns) = (0, clock::now_ns());
        if slot == 0 {
            // In the hold of the first tasks: one that ends meanwhile is counted once, or, beyond this hold, not yet.
            names.clone_from(&self.work.names);
        }
        while slot < self.work.tasks.slots() {
            if self.hold.is_spent() {
                return (waiting, Some(slot));
            }
            self.hold.spend_pieces(1);
            if let Some((_, task)) = self.work.tasks.in_slot(slot) {
                waiting += task.waiting();
                if let Some(name) = &task.settings().name {
                    names.add(name, task.totals(now_ns));
                }
            }
            slot += 1;
        }
        (waiting, None)
    }

    /// The fork server has said whether it starts workers by exec.
    pub(crate) fn note_start(&mut self, executes: bool) {
        self.start = if executes { WorkerStart::Executed } else { WorkerStart::Forked };
    }

    /// How long the worker took to become ready that was ordered last of those that are.
    fn last_start(&mut self) -> Option<u64> {
        let ready = self.seats.workers_mut().filter_map(|worker| worker.became_ready().then_some(&*worker));
        let newest = ready.max_by_key(|worker| worker.made_ns())?;
        // The worker wrote it, and may lie.
        Some(newest.link.ready_ns().min(clock::now_ns()).saturating_sub(newest.made_ns()))
    }
}
