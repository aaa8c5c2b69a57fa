//! All seats of a pool, and which of them a look must visit.
//!
//! Invariant: a seat that may have changed is touched, so [`sorted`](Seats::sorted) gives sets that are exact. One seat lies
//! beyond the set of workers (`core/recycle.rs`).

use super::roster::{Roster, Set};
use super::seat::{Seat, WorkerHandle};
use crate::engine::policy::{pace, placement};
use crate::stats::Replaced;
use crate::sys::clock;

#[derive(Debug)]
pub(crate) struct Seats {
    seats: Vec<Seat>,
    /// The seat beyond the set.
    beyond: usize,
    roster: Roster,
    /// The CPUs that this program may use.
    cpus: usize,
    /// How many times a seat was visited.
    #[cfg(test)]
    visits: std::cell::Cell<usize>,
}

impl Seats {
    /// Seats for this many workers, and the one beyond.
    pub(crate) fn new(workers: usize, cpus: usize) -> Self {
        Seats {
            cpus,
            seats: (0..workers).map(|_| Seat::new()).chain([Seat::spare()]).collect(),
            beyond: workers,
            roster: Roster::new(workers + 1),
            #[cfg(test)]
            visits: std::cell::Cell::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// The seats of the set, in order: a worker that is being replaced and its successor have one of them.
    pub(crate) fn set(&self) -> Vec<usize> {
        self.iter()
            .filter(|(index, seat)| *index != self.beyond && !seat.is_surplus())
            .map(|(index, _)| index)
            .collect()
    }

    /// True if it has left the set.
    pub(crate) fn is_surplus(&self, seat: usize) -> bool {
        self.seats.get(seat).is_some_and(Seat::is_surplus)
    }

    /// One more seat, of the set.
    pub(crate) fn add(&mut self) {
        self.seats.push(Seat::new());
        self.roster.grow(self.seats.len());
    }

    /// True if nobody is to sit there now.
    pub(crate) fn is_spare(&self, seat: usize) -> bool {
        self.seats.get(seat).is_some_and(Seat::is_spare)
    }

    /// The seat beyond the set.
    pub(crate) fn beyond(&self) -> usize {
        self.beyond
    }

    /// Another seat lies beyond the set from now on, and that which did takes its place.
    pub(crate) fn move_beyond(&mut self, seat: usize, why: Replaced) {
        let former = std::mem::replace(&mut self.beyond, seat);
        self.roster.touch(former);
        self.roster.touch(seat);
        if let Ok([new, old]) = self.seats.get_disjoint_mut([former, seat]) {
            new.take_place_of(old, why);
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Seat> {
        self.visited();
        self.roster.touch(index);
        self.seats.get_mut(index)
    }

    /// The worker in a seat.
    #[inline]
    pub(crate) fn worker_mut(&mut self, index: usize) -> Option<&mut WorkerHandle> {
        self.get_mut(index)?.worker_mut()
    }

    /// The same for an announcement, which changes nothing that the sets depend on.
    #[inline]
    pub(crate) fn worker_to_ask(&mut self, index: usize) -> Option<&mut WorkerHandle> {
        self.visited();
        self.seats.get_mut(index)?.worker_mut()
    }

    /// A seat for one who changes nothing that the sets depend on.
    pub(crate) fn see_mut(&mut self, index: usize) -> Option<&mut Seat> {
        self.seats.get_mut(index)
    }

    /// The same for one who only reads.
    #[inline]
    pub(crate) fn worker(&self, index: usize) -> Option<&WorkerHandle> {
        self.visited();
        self.seats.get(index)?.worker()
    }

    /// The worker in a seat, if it is of that generation.
    pub(crate) fn worker_of(&mut self, index: usize, generation: u32) -> Option<&mut WorkerHandle> {
        let seat = self.get_mut(index)?;
        if seat.generation() == generation { seat.worker_mut() } else { None }
    }

    /// The same for one who only reads.
    pub(crate) fn see_worker_of(&self, index: usize, generation: u32) -> Option<&WorkerHandle> {
        self.visited();
        self.seats.get(index).filter(|seat| seat.generation() == generation)?.worker()
    }

    /// Until when the pieces of a worker stay there although others sleep; `None`: they are shared now.
    #[inline]
    pub(crate) fn stays_until_ns(&self, seat: usize) -> Option<u64> {
        let busy = self.roster.busy_workers();
        if busy < self.cpus {
            return None;
        }
        let until_ns = self.worker(seat)?.quick_since_ns()? + placement::stays_ns(busy, self.cpus);
        (clock::now_ns() < until_ns).then_some(until_ns)
    }

    /// True if fewer workers hold pieces than there are CPUs.
    pub(crate) fn leaves_core(&mut self) -> bool {
        self.sorted().busy_workers() < self.cpus
    }

    /// True if the workers that hold pieces need all CPUs, and each has enough of them and will signal before it has none.
    pub(crate) fn all_work_long(&mut self) -> bool {
        !self.leaves_core()
            && self.of(Set::Busy).all(|(_, seat)| {
                seat.worker().is_some_and(|worker| {
                    let link = &worker.link;
                    link.has_flagged() && pace::is_long(link.backlog_ns(), link.in_flight())
                })
            })
    }

    // Walks over all seats: where something happens to all of them, or rarely.

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Seat)> {
        self.seats.iter().inspect(|_| self.visited()).enumerate()
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &WorkerHandle> {
        self.iter().filter_map(|(_, seat)| seat.worker())
    }

    /// The same where each that is visited may change.
    pub(crate) fn workers_mut(&mut self) -> impl Iterator<Item = &mut WorkerHandle> {
        let Seats { seats, roster, .. } = self;
        seats.iter_mut().enumerate().filter_map(|(index, seat)| {
            roster.touch(index);
            seat.worker_mut()
        })
    }

    /// True if any worker's process is known.
    pub(crate) fn has_process(&self) -> bool {
        self.workers().any(WorkerHandle::has_process)
    }

    /// True if a worker would be started for pieces that wait.
    pub(crate) fn any_rests(&self) -> bool {
        self.iter().any(|(_, seat)| seat.rests())
    }

    /// True if a worker is to be started, or was ordered and is not known to run.
    pub(crate) fn any_comes(&self) -> bool {
        self.iter().any(|(_, seat)| match seat.worker() {
            Some(worker) => !worker.has_process(),
            None => seat.vacant_until_ns().is_some(),
        })
    }

    // Walks over those that matter.

    /// The sets of seats, as they are now.
    #[inline(always)]
    pub(crate) fn sorted(&mut self) -> &mut Roster {
        if self.roster.next_touched().is_some() {
            self.sort_touched();
        }
        &mut self.roster
    }

    #[inline(never)]
    fn sort_touched(&mut self) {
        while let Some(index) = self.roster.next_touched() {
            self.visited();
            let traits = self.seats[index].traits(index == self.beyond);
            self.roster.sort_in(index, traits);
        }
    }

    /// The sets as they were when they were sorted last: for a walk that changes the workers that it visits.
    #[inline]
    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The seats of a set, for one who only reads.
    pub(crate) fn of(&self, set: Set) -> impl Iterator<Item = (usize, &Seat)> {
        self.roster.iter(set).inspect(|_| self.visited()).map(|index| (index, &self.seats[index]))
    }

    /// The seats about which the supervisor may have something to do.
    pub(crate) fn unsettled(&mut self) -> impl Iterator<Item = (usize, &Seat)> {
        self.sorted();
        self.of(Set::Unsettled)
    }

    /// Since when the oldest order to the fork server has had no answer.
    pub(crate) fn oldest_order_ns(&mut self) -> Option<u64> {
        self.unsettled().filter_map(|(_, seat)| seat.worker()?.ordered_since_ns()).min()
    }

    /// True if somebody must act at a moment for which nobody is woken: a cause of death that is yet to
    /// be told, or a seat that is to be filled.
    pub(crate) fn await_a_moment(&mut self) -> bool {
        self.unsettled().any(|(_, seat)| seat.worker().is_none_or(|worker| worker.end().is_some()))
    }

    /// A seat is visited: tests count what a look costs.
    #[inline]
    fn visited(&self) {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
    }

    #[cfg(test)]
    pub(crate) fn take_visits(&self) -> usize {
        self.visits.take()
    }
}
