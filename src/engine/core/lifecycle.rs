//! How workers come and go: orders to the fork server, what it tells of them, and deaths.
//!
//! A worker is declared dead in one place, [`Core::reap`]. (`spawn_failed` only takes back what was never forked.)

use super::reason::Reason;
use super::reserve::Missing;
use super::roster::Set;
use super::seat::{Prepared, Seat, WorkerHandle};
use super::shortage::Verdict;
use super::worker_memory::TooLarge;
use super::{Core, Phase, number};
use crate::engine::policy::patience::{CAUSE_DUE_NS, CAUSE_WAIT_NS, Duty, SPAWN_DEADLINE_NS};
use crate::engine::policy::restart::{Death, MAX_EARLY_DEATHS, MORE_ORDERS_NS, RETRY_NS, Refill};
use crate::engine::wire::message::{self, ToServer};
use crate::error::{Cause, Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::stats::Replaced;
use crate::stats::memory::mebibytes;
use crate::stats::timeline::What;
use crate::sys::descriptors::Descriptor;
use crate::sys::{clock, process};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The memory of a worker whose pages are not allocated yet.
#[derive(Debug)]
pub(crate) struct Unallocated {
    pub(crate) seat: usize,
    pub(crate) generation: u32,
    /// *out* and *back*.
    pub(crate) memory: (Descriptor, Descriptor),
}

/// Seeds of neighbours differ in many bits.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Core {
    // Workers come.

    /// What is to be prepared for the seats that are due.
    pub(crate) fn missing(&mut self) -> Missing {
        if self.server.is_connected() { self.missing_without_server() } else { Missing::default() }
    }

    /// The same while there is no fork server: one is about to be started.
    pub(crate) fn missing_without_server(&mut self) -> Missing {
        if !self.is_open() {
            return Missing::default();
        }
        let now_ns = clock::now_ns();
        let is_due = |seat: &Seat| seat.vacant_until_ns().is_some_and(|until_ns| until_ns <= now_ns);
        let due = self.seats.unsettled().filter(|(_, seat)| is_due(seat)).count();
        self.reserve.missing(due, self.counts.workers_lost > 0 || self.expects_starts(), now_ns)
    }

    /// Takes what was prepared for further workers.
    pub(crate) fn add_prepared(&mut self, prepared: impl IntoIterator<Item = Prepared>) {
        self.reserve.add(prepared);
    }

    /// Fills every seat that is due, and for which a worker is prepared; wakes the supervisor if more must be
    /// prepared. The first error, if any. What a dead worker has left goes to others, whatever could be ordered.
    pub(crate) fn fill_seats(&mut self) -> io::Result<()> {
        if !matches!(self.phase, Phase::Open) || !self.server.is_connected() {
            return Ok(());
        }
        let result = self.order_workers();
        self.dispatch();
        result
    }

    fn order_workers(&mut self) -> io::Result<()> {
        let now_ns = clock::now_ns();
        let mut result = Ok(());
        if self.has_due_seat(now_ns) {
            if !self.following.is_fresh(now_ns) {
                // Somebody must read the host's state first, without the lock.
                self.alarm.wake_now();
                return Ok(());
            }
            if let Err(error) = self.tell_host() {
                self.retry_seats(now_ns + MORE_ORDERS_NS);
                if error.kind() == io::ErrorKind::WouldBlock {
                    return Ok(());
                }
                self.no_successor();
                return Err(error);
            }
        }
        let mut from = 0;
        while let Some(seat) = self.seats.sorted().next(Set::Unsettled, from) {
            from = seat + 1;
            let Some(it) = self.seats.get_mut(seat) else { continue };
            if it.vacant_until_ns().is_none_or(|until_ns| until_ns > now_ns) {
                continue;
            }
            let Some(prepared) = self.reserve.take() else {
                self.alarm.wake_now();
                break;
            };
            if let Err(error) = self.order(seat, prepared, now_ns) {
                if error.kind() == io::ErrorKind::WouldBlock {
                    // Its socket is full. The other orders follow after it has read some.
                    self.retry_seats(now_ns + MORE_ORDERS_NS);
                    break;
                }
                self.cannot_fill(seat, error.to_string());
                result = result.and(Err(error));
            }
        }
        result
    }

    /// No worker could be prepared: seats are tried again later.
    pub(crate) fn cannot_prepare(&mut self, error: &io::Error) {
        self.retry_seats(clock::now_ns() + RETRY_NS);
        self.start_failed(error.to_string());
        self.no_successor();
    }

    /// The worker that is to stand ready could not be prepared: that delays nothing else.
    pub(crate) fn cannot_prepare_spare(&mut self) {
        let retry_ns = self.reserve.spare_failed(clock::now_ns());
        self.alarm.wake_by(retry_ns);
    }

    /// Vacant seats are not filled before that moment.
    fn retry_seats(&mut self, moment_ns: u64) {
        let mut from = 0;
        while let Some(seat) = self.seats.sorted().next(Set::Unsettled, from) {
            from = seat + 1;
            let Some(seat) = self.seats.get_mut(seat) else { continue };
            let until_ns = seat.vacant_until_ns().unwrap_or(0);
            seat.retry_at(moment_ns.max(until_ns));
        }
        self.alarm.wake_by(moment_ns);
    }

    fn cannot_fill(&mut self, seat: usize, reason: String) {
        if let Some(it) = self.seats.get_mut(seat) {
            it.retry_at(clock::now_ns() + RETRY_NS);
        }
        self.start_failed(reason);
        if seat == self.seats.beyond() {
            self.no_successor();
        }
    }

    /// Orders a worker of the fork server.
    fn order(&mut self, seat: usize, prepared: Prepared, now_ns: u64) -> io::Result<()> {
        let experience = self.work.functions.experience(self.seats.len());
        let (Some(socket), Some(it)) = (self.server.socket(), self.seats.get_mut(seat)) else { return Ok(()) };
        let generation = it.next_generation();
        let event = number::of(number::WORKER_EVENT, seat, generation);
        let Prepared { link, memory } = &prepared;
        let order = ToServer::Spawn { worker: seat as u32, generation };
        let events = [link.caller_event.as_fd(), link.supervisor_event.as_fd()];
        let own_socket = link.socket_of_worker().map(AsFd::as_fd);
        let fds: Vec<_> = [memory.0.as_fd(), memory.1.as_fd()].into_iter().chain(events).chain(own_socket).collect();
        let watched = self.epolls.callers.add(&link.caller_event, event);
        let watched = watched.and_then(|()| self.epolls.supervisor.add(&link.supervisor_event, event));
        let ordered = watched.map_err(io::Error::from).and_then(|()| message::send(socket, &order, &fds));
        if let Err(error) = ordered {
            self.epolls.callers.remove(&link.caller_event);
            self.epolls.supervisor.remove(&link.supervisor_event);
            // Nothing of it has left this process: it is as good as new.
            self.reserve.add([prepared]);
            return Err(error);
        }
        failpoint!("parent-worker-ordered");
        let Prepared { mut link, memory } = prepared;
        link.ordered();
        #[cfg(feature = "log")]
        self.logs.begin(&mut link, seat);
        if self.samples {
            // Workers that are ordered together have the same time.
            link.sample_pieces(now_ns.wrapping_add((seat as u64).wrapping_mul(SEED_STEP)), experience);
        }
        let limits = self.recycling.next_limits();
        let mut worker = WorkerHandle::new(link, memory, limits, now_ns);
        worker.seat = seat;
        if self.watched.limits().any() {
            worker.memory.must_be_opened();
        }
        it.occupy(worker);
        self.alarm.wake_by(now_ns + SPAWN_DEADLINE_NS);
        Ok(())
    }

    /// The fork server has forked a worker. Where the descriptors of this process are used up, its pidfd does
    /// not come: then the fork server tells of its death, and kills it if asked.
    pub(crate) fn spawned(&mut self, seat: usize, generation: u32, pid: u32, pidfd: Option<Descriptor>) {
        let Some(worker) = self.seats.worker_of(seat, generation) else { return };
        if let Some(pidfd) = &pidfd {
            let event = number::of(number::WORKER_DEATH, seat, generation);
            // If it cannot be watched, the fork server still tells of its death.
            let _ = self.epolls.callers.add(pidfd, event).and(self.epolls.supervisor.add(pidfd, event));
        }
        let hides_memory = pidfd.is_none();
        let kill_by = worker.spawned(pid, pidfd);
        if worker.memory.is_awaited() && worker.became_ready() {
            // The supervisor has heard that it is ready, and could not measure it without its pidfd.
            self.alarm.wake_now();
        }
        self.see_to_kill(seat, kill_by);
        self.note_worker(seat, Some(pid), What::Started);
        if hides_memory {
            self.cannot_be_measured(seat, generation);
        }
        self.shortage.end();
        failpoint!("parent-spawn-heard");
    }

    /// The fork server could not fork a worker.
    pub(crate) fn spawn_failed(&mut self, seat: usize, generation: u32, error: &io::Error) {
        if self.seats.worker_of(seat, generation).is_none() {
            return;
        }
        // A failed fork is not counted as an early death.
        if let Some(mut worker) = self.take_dead(seat) {
            self.return_pieces_of(seat, &mut worker, Cause::Unknown);
            self.reaped.push(worker);
        }
        if seat == self.seats.beyond() {
            return self.beyond_is_empty(seat, true);
        }
        if self.is_not_filled(seat) {
            return;
        }
        self.cannot_fill(seat, format!("it could not be forked: {error}"));
        let _ = self.give_up_without_workers();
    }

    /// A worker, or its fork server, could not be started. With fewer workers the pool goes on; with none for
    /// long its pieces fail, while it goes on trying.
    pub(crate) fn start_failed(&mut self, reason: String) {
        let now_ns = clock::now_ns();
        self.shortage.failed(reason, self.seats.has_process(), now_ns);
        self.alarm.wake_by(now_ns + RETRY_NS);
        if self.work.queue.is_full() {
            // Callers that wait for room wait for no worker now.
            self.wake_all();
        }
    }

    /// Fails what waits if there has been no worker for too long. Gives the moment to look again.
    #[must_use]
    pub(crate) fn give_up_without_workers(&mut self) -> Option<u64> {
        let reason = match self.shortage.verdict(self.seats.has_process(), clock::now_ns()) {
            Verdict::None => return None,
            Verdict::WaitUntil(due_ns) => return Some(due_ns),
            Verdict::GiveUp(reason) => reason,
        };
        let limit = crate::engine::policy::restart::NO_WORKER;
        let message = format!("never began: for {limit:?} no worker could be started: {reason}");
        self.fail_all_waiting(Reason::new(ErrorKind::System, message));
        None
    }

    /// The memory of workers whose pages are not allocated yet; the caller must allocate them.
    pub(crate) fn unallocated(&mut self) -> Vec<Unallocated> {
        let (mut from, mut taken) = (0, Vec::new());
        while let Some(seat) = self.seats.sorted().next(Set::Unsettled, from) {
            from = seat + 1;
            let Some(it) = self.seats.get_mut(seat) else { continue };
            let generation = it.generation();
            let memory = it.worker_mut().and_then(WorkerHandle::take_memory);
            taken.extend(memory.map(|memory| Unallocated { seat, generation, memory }));
        }
        taken
    }

    /// There is no memory for a worker: it is killed, and its seat is filled once more.
    pub(crate) fn no_memory(&mut self, seat: usize, generation: u32) {
        if let Some(worker) = self.seats.worker_of(seat, generation) {
            let kill_by = worker.kill();
            self.see_to_kill(seat, kill_by);
        }
    }

    /// A worker has woken this process.
    pub(crate) fn signalled(&mut self, seat: usize, generation: u32) {
        if let Some(worker) = self.seats.worker_of(seat, generation)
            && worker.link.signalled().is_err()
        {
            let kill_by = worker.distrust();
            self.see_to_kill(seat, kill_by);
        }
        #[cfg(feature = "log")]
        self.read_log_of(seat);
    }

    // Workers go.

    /// A worker's pidfd says that it is dead; why is yet to be told.
    pub(crate) fn died(&mut self, seat: usize, generation: u32) {
        if let Some(worker) = self.seats.worker_of(seat, generation) {
            worker.ended(None, clock::now_ns());
            failpoint!("parent-death-seen");
            // Who tells why may be slow: that holds up only the piece that it may have run.
            self.lane.leave_seat(seat);
            self.revocations.push_back((seat, generation));
            self.begin_revoking();
        }
    }

    /// Nobody can kill a worker: neither this process nor the fork server. Its piece fails, and another worker gets
    /// its place. It ends with the fork server, or by itself.
    pub(crate) fn kill_failed(&mut self, seat: usize, generation: u32, error: &io::Error) {
        let Some(worker) = self.seats.worker_of(seat, generation) else { return };
        worker.give_up(error.to_string());
        self.withdraw_all(seat);
        self.reap(seat, generation, Cause::Unknown);
    }

    /// A worker that was started by exec ended while it loaded: what it printed says why.
    pub(crate) fn did_not_load(&mut self, seat: usize, generation: u32, cause: Cause, printed: &str) {
        if let Some(worker) = self.seats.worker_of(seat, generation) {
            worker.start_failure = Some(format!("{} while it loaded, and printed: {printed}", before_any_piece(cause)));
        }
    }

    /// The fork server says how a worker ended.
    pub(crate) fn died_of(&mut self, seat: usize, generation: u32, cause: Cause) {
        let asks_kernel = self.memory_kills.is_some();
        let Some(worker) = self.seats.worker_of(seat, generation) else { return };
        if cause == Cause::Signal(process::SIGKILL) && !worker.was_killed() && asks_kernel && worker.has_process() {
            // The kernel may have killed it because memory ran out: its count is in a file.
            worker.ended(Some(cause), clock::now_ns());
            return;
        }
        self.reap(seat, generation, cause);
    }

    /// True if somebody must read the kernel's count of kills, without the lock, and then call
    /// [`settle_kills`](Self::settle_kills).
    pub(crate) fn awaits_kill_count(&mut self) -> bool {
        let mut unsettled = self.seats.unsettled();
        unsettled.any(|(_, seat)| matches!(seat.worker().and_then(WorkerHandle::end), Some((_, Some(_)))))
    }

    /// The kernel's count of kills because memory ran out. Reaps those that may have been among them.
    pub(crate) fn settle_kills(&mut self, count: Option<u64>) {
        let has_grown = matches!((self.memory_kills, count), (Some(before), Some(now)) if now > before);
        // Two threads may read it, and the one that read first may come here last.
        self.memory_kills = count.max(self.memory_kills);
        let mut from = 0;
        while let Some(seat) = self.seats.sorted().next(Set::Unsettled, from) {
            from = seat + 1;
            let Some(worker) = self.seats.worker_mut(seat) else { continue };
            if let Some((_, Some(cause))) = worker.end() {
                let cause = if has_grown { Cause::OomKilled } else { cause };
                self.reap_now(seat, cause);
            }
        }
    }

    /// Reaps those whose cause of death nobody told in time. Gives the moment to look again.
    #[must_use]
    pub(crate) fn reap_unexplained(&mut self) -> Option<u64> {
        let now_ns = clock::now_ns();
        let mut next_ns: Option<u64> = None;
        let mut from = 0;
        while let Some(seat) = self.seats.sorted().next(Set::Unsettled, from) {
            from = seat + 1;
            let end = self.seats.worker_mut(seat).and_then(|worker| worker.end());
            if let Some((since_ns, cause)) = end
                && since_ns + CAUSE_WAIT_NS <= now_ns
            {
                self.reap_now(seat, cause.unwrap_or(Cause::Unknown));
            }
            let Some(it) = self.seats.get_mut(seat) else { continue };
            let may_fill = matches!(self.phase, Phase::Open) && self.server.is_connected();
            let end_ns = it.worker().and_then(WorkerHandle::end).map(|(since_ns, _)| match since_ns + CAUSE_DUE_NS {
                due_ns if due_ns > now_ns => due_ns,
                _ => since_ns + CAUSE_WAIT_NS,
            });
            let due_ns = end_ns.or_else(|| it.vacant_until_ns().filter(|_| may_fill));
            next_ns = next_ns.into_iter().chain(due_ns).min();
        }
        next_ns
    }

    /// True if the fork server should have told the cause of a death by now: it may be stopped.
    pub(crate) fn is_cause_due(&self) -> bool {
        let now_ns = clock::now_ns();
        let is_due = |end: Option<(u64, Option<Cause>)>| matches!(end, Some((since_ns, None)) if since_ns + CAUSE_DUE_NS <= now_ns);
        self.seats.workers().any(|worker| is_due(worker.end()))
    }

    /// The fork server is gone. Kills its workers, and gives the pidfds of those that must have ended before
    /// [`server_lost`](Self::server_lost) may follow.
    #[must_use]
    pub(crate) fn server_going(&mut self) -> Vec<Arc<Descriptor>> {
        self.server.lose();
        self.lane.use_seat(None);
        for seat in 0..self.seats.len() {
            if let Some(worker) = self.seats.worker_mut(seat) {
                // One that this process may not kill dies of its parent-death signal.
                let _ = worker.kill();
            }
        }
        self.pidfds()
    }

    /// The fork server is gone, and its workers with it: what they had said before counts. A new one is
    /// started at that moment.
    pub(crate) fn server_lost(&mut self, retry_ns: u64) {
        self.server.disconnect(retry_ns);
        self.following.forget_told();
        for seat in 0..self.seats.len() {
            let end = self.seats.worker_mut(seat).and_then(|worker| worker.end());
            // One that nobody may kill can live on for a while.
            self.withdraw_all(seat);
            self.reap_now(seat, end.and_then(|(_, cause)| cause).unwrap_or(Cause::ForkServerLost));
        }
    }

    /// Since when the oldest order to the fork server has had no answer.
    pub(crate) fn oldest_order_ns(&mut self) -> Option<u64> {
        self.seats.oldest_order_ns()
    }

    /// The pidfds of all workers that live, as far as is known.
    pub(crate) fn pidfds(&self) -> Vec<Arc<Descriptor>> {
        self.seats.workers().filter_map(|worker| worker.pidfd().cloned()).collect()
    }

    /// The dead workers whose memory is to be given back, without the lock.
    #[must_use]
    pub(crate) fn take_reaped(&mut self) -> Vec<WorkerHandle> {
        std::mem::take(&mut self.reaped)
    }

    /// Declares the worker in a seat dead, whichever it is.
    fn reap_now(&mut self, seat: usize, cause: Cause) {
        if let Some(generation) = self.seats.get_mut(seat).map(|seat| seat.generation()) {
            self.reap(seat, generation, cause);
        }
    }

    /// Declares a worker dead, the one place where that happens: what it had replied counts, the piece that it
    /// had begun is lost, and the others go to other workers.
    fn reap(&mut self, seat: usize, generation: u32, cause: Cause) {
        if self.seats.worker_of(seat, generation).is_none() {
            return;
        }
        self.collect_rest_from(seat);
        #[cfg(feature = "log")]
        self.take_last_logs_of(seat);
        let Some(mut worker) = self.take_dead(seat) else { return };
        let cause = final_cause(&worker, cause);
        self.note_refusal(&mut worker, cause);
        self.return_pieces_of(seat, &mut worker, cause);
        failpoint!("parent-worker-reaped");
        let death = death_of(&mut worker, cause);
        let reason = end_before_ready(&mut worker, cause);
        let (was_leaving, last_ns) = (worker.duty() == Duty::Leaves, self.early_deaths.last_ns());
        let why = worker.life.due().map(super::recycle::replaced_for);
        let (is_too_large, is_unneeded) = (worker.too_large.is_some(), worker.is_unneeded());
        if !was_leaving {
            self.note_worker(seat, worker.pid(), What::Lost(cause));
        } else if worker.made_ns() >= last_ns && worker.became_ready() {
            self.early_deaths.end_row();
        }
        self.reaped.push(worker);
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        self.counts.workers_recycled += u64::from(was_leaving && why.is_some() && !self.seats.is_surplus(seat));
        self.counts.workers_over_limit += u64::from(is_too_large);
        if seat == self.seats.beyond() {
            self.beyond_is_empty(seat, !was_leaving);
            let _ = self.fill_seats();
            return;
        }
        self.counts.workers_lost += u64::from(!is_too_large && !was_leaving);
        if was_leaving || self.seats.is_surplus(seat) {
            self.seat_was_left(seat, why, is_unneeded);
            // An error is tried again by the supervisor.
            let _ = self.fill_seats();
            return;
        }
        let why = if is_too_large { Replaced::MemoryMax } else { Replaced::Died };
        let one_became_ready =
            self.seats.workers_mut().any(|worker| worker.made_ns() > last_ns && worker.became_ready());
        let now_ns = clock::now_ns();
        match self.early_deaths.count(death, one_became_ready, now_ns) {
            Refill::Now => {}
            Refill::After { pause_ns } => {
                if let Some(seat) = self.seats.get_mut(seat) {
                    seat.retry_at(now_ns + pause_ns);
                }
            }
            Refill::Never => return self.fail(too_many_early_deaths(seat, &reason, cause)),
        }
        self.seat_is_vacant(seat, why);
        // An error is tried again by the supervisor, later.
        let _ = self.fill_seats();
    }

    /// Whether a dead worker ended because it was refused more than its data limit.
    fn note_refusal(&self, worker: &mut WorkerHandle, cause: Cause) {
        if let Some(limit) = self.watched.limits().worker_data
            && !worker.was_killed()
            && worker.link.lacked_memory(cause)
        {
            worker.too_large = Some(TooLarge::Refused { limit });
        }
    }

    /// The worker in a seat of the set has left in order, which is no loss, or has left a seat that is not of the set any more.
    fn seat_was_left(&mut self, seat: usize, why: Option<Replaced>, is_unneeded: bool) {
        if self.is_not_filled(seat) {
            return;
        }
        if !is_unneeded {
            return self.seat_is_vacant(seat, why.unwrap_or(Replaced::Asked));
        }
        self.counts.workers_idle_ended += 1;
        if let Some(seat) = self.seats.get_mut(seat) {
            seat.replaced(Replaced::Idle);
            seat.rest();
        }
    }

    /// The worker in a seat of the set is gone.
    fn seat_is_vacant(&mut self, seat: usize, why: Replaced) {
        if !self.use_successor_for(seat, why)
            && let Some(seat) = self.seats.get_mut(seat)
        {
            seat.replaced(why);
        }
    }

    /// Takes a dead worker from its seat: nobody is told of it any more.
    fn take_dead(&mut self, seat: usize) -> Option<WorkerHandle> {
        let worker = self.seats.get_mut(seat)?.vacate()?;
        self.lane.leave_seat(seat);
        for epoll in [&self.epolls.callers, &self.epolls.supervisor] {
            if let Some(pidfd) = worker.pidfd() {
                epoll.remove(pidfd);
            }
        }
        self.epolls.callers.remove(&worker.link.caller_event);
        self.epolls.supervisor.remove(&worker.link.supervisor_event);
        self.work.functions.count(worker.link.unsampled());
        // The worker has left its seat. If it had run, its last replies were collected before.
        failpoint!("parent-rest-collected");
        Some(worker)
    }
}

fn too_many_early_deaths(seat: usize, reason: &str, cause: Cause) -> Error {
    let message = format!(
        "the pool ended: {MAX_EARLY_DEATHS} workers in a row died before they were ready, the last one (worker {seat}): {reason}"
    );
    Error::new(ErrorKind::WorkerLost, message).with_cause(cause)
}

/// Why a dead worker never became ready, if it did not: as it said, or by the cause of its death.
fn end_before_ready(worker: &mut WorkerHandle, cause: Cause) -> String {
    let said = worker.start_failure.take();
    said.unwrap_or_else(|| match worker.too_large {
        Some(TooLarge::Refused { limit }) => {
            format!("{}: it asked for more than its data limit of {}", before_any_piece(cause), mebibytes(limit))
        }
        _ => before_any_piece(cause),
    })
}

/// A cause of death where there was no piece yet, as the cause's own sentence has it.
fn before_any_piece(cause: Cause) -> String {
    match cause {
        Cause::Exit(code) => format!("it exited with code {code}"),
        other => other.to_string(),
    }
}

/// The cause that counts. The order: what the parent saw, the worker's note, the fork server's message.
fn final_cause(worker: &WorkerHandle, told: Cause) -> Cause {
    if worker.is_distrusted() { Cause::Protocol } else { worker.link.explain(told).unwrap_or(told) }
}

/// What a death tells of the start of workers.
fn death_of(worker: &mut WorkerHandle, cause: Cause) -> Death {
    if worker.became_ready() || cause == Cause::ForkServerLost {
        Death::Late
    } else if worker.was_killed() && cause != Cause::Protocol {
        Death::EarlyByOrder
    } else {
        Death::Early
    }
}
