//! Every move on the ladder of a worker's life.

use super::*;
use crate::engine::core::seats::Seats;
use crate::engine::wire::pair::Pair;

fn worker() -> WorkerHandle {
    let Prepared { link, memory } = Prepared::create(Pair::create().unwrap()).unwrap();
    WorkerHandle::new(link, memory, Default::default(), 5)
}

fn running() -> WorkerHandle {
    let mut worker = worker();
    assert_eq!(worker.spawned(42, None), KillBy::ThisProcess);
    worker
}

impl WorkerHandle {
    /// It was ordered at that moment.
    pub(crate) fn was_made_at(&mut self, moment_ns: u64) {
        self.made_ns = moment_ns;
    }
}

#[test]
fn a_seat_is_occupied_and_vacated_and_its_generation_grows() {
    let mut seats = Seats::new(1, 1);
    let seat = seats.get_mut(0).unwrap();
    assert_eq!((seat.generation(), seat.vacant_until_ns()), (0, Some(0)));
    assert!(seat.vacate().is_none());
    seat.retry_at(70);
    assert_eq!(seat.vacant_until_ns(), Some(70));
    seat.occupy(worker());
    assert_eq!((seat.generation(), seat.vacant_until_ns()), (1, None));
    seat.retry_at(80);
    assert!(seat.worker().is_some(), "a worker is not moved by that");
    assert!(seats.worker_of(0, 0).is_none() && seats.worker_of(0, 1).is_some() && seats.worker_of(1, 1).is_none());
    let seat = seats.get_mut(0).unwrap();
    assert!(seat.vacate().is_some());
    assert_eq!((seat.generation(), seat.vacant_until_ns()), (1, Some(0)));
    seat.occupy(worker());
    assert_eq!(seat.generation(), 2);
}

#[test]
fn a_process_is_ordered_runs_and_ends() {
    let mut worker = worker();
    assert_eq!((worker.ordered_since_ns(), worker.pid(), worker.has_process()), (Some(5), None, false));
    worker.ended(Some(Cause::Exit(1)), 6);
    assert!(worker.end().is_none(), "nothing has started");
    assert_eq!(worker.spawned(42, None), KillBy::ThisProcess);
    assert_eq!((worker.ordered_since_ns(), worker.pid(), worker.has_process()), (None, Some(42), true));
    worker.ended(None, 7);
    assert_eq!((worker.pid(), worker.end()), (Some(42), Some((7, None))));
    // The cause may come later; the first moment and the first cause count.
    worker.ended(Some(Cause::Signal(9)), 8);
    worker.ended(Some(Cause::Exit(3)), 9);
    assert_eq!(worker.end(), Some((7, Some(Cause::Signal(9)))));
}

#[test]
fn a_kill_is_requested_until_it_can_be_sent() {
    let mut worker = worker();
    assert!(!worker.was_killed());
    assert_eq!(worker.kill(), KillBy::ThisProcess);
    assert!(worker.was_killed() && !worker.needs_kill_by_server(), "nobody knows its process");
    // Without a pidfd only the fork server can do it.
    assert_eq!(worker.spawned(42, None), KillBy::ForkServer);
    assert!(worker.needs_kill_by_server());
    worker.kill_sent();
    assert_eq!(worker.kill(), KillBy::ThisProcess);
    assert!(worker.was_killed() && !worker.needs_kill_by_server());
}

#[test]
fn a_kill_that_came_too_early_is_sent_when_the_process_is_known() {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut worker = worker();
    assert_eq!(worker.kill(), KillBy::ThisProcess);
    assert_eq!(worker.spawned(child.id(), Some(process::pidfd_of(pid).unwrap())), KillBy::ThisProcess);
    assert!(!worker.needs_kill_by_server());
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_suspect_is_trusted_again_and_one_that_leaves_never_is() {
    let mut worker = running();
    assert!(worker.is_hungry());
    worker.become_trusted();
    assert_eq!(worker.duty(), Duty::Works);
    worker.become_suspect(0);
    assert!(worker.duty() == Duty::Suspect && !worker.is_hungry());
    worker.become_trusted();
    assert_eq!(worker.duty(), Duty::Works);
    assert!(worker.dismiss(0));
    assert!(worker.duty() == Duty::Leaves && !worker.is_hungry());
    worker.become_suspect(0);
    worker.become_trusted();
    assert_eq!(worker.duty(), Duty::Leaves);
}

#[test]
fn a_suspect_can_be_dismissed() {
    let mut worker = running();
    worker.become_suspect(0);
    assert!(worker.dismiss(0));
    assert_eq!(worker.duty(), Duty::Leaves);
}

#[test]
fn the_pool_awaits_a_moment_while_a_seat_is_vacant_or_a_cause_is_untold() {
    let mut seats = Seats::new(1, 1);
    assert!(seats.await_a_moment());
    seats.get_mut(0).unwrap().occupy(worker());
    assert!(!seats.await_a_moment());
    assert_eq!((seats.oldest_order_ns(), seats.has_process()), (Some(5), false));
    let worker = seats.worker_mut(0).unwrap();
    assert_eq!(worker.spawned(42, None), KillBy::ThisProcess);
    worker.ended(None, 7);
    assert!(seats.await_a_moment());
    assert_eq!((seats.oldest_order_ns(), seats.has_process()), (None, true));
}

#[test]
fn one_that_retires_gets_no_more_and_is_no_suspect_until_it_leaves() {
    let mut worker = running();
    worker.become_suspect(6);
    worker.retire(7);
    worker.become_trusted();
    worker.become_suspect(6);
    assert!(worker.duty() == Duty::Retires && !worker.is_hungry() && worker.leaves_since_ns().is_none());
    assert!(worker.dismiss(8));
    worker.retire(7);
    assert!(worker.duty() == Duty::Leaves && worker.leaves_since_ns() == Some(8));
}
