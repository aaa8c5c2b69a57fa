//! How workers come and go: orders to the fork server, what it says, and deaths.

use super::*;

impl Core {
    /// Fills every place that is due. The first error, if any.
    pub(crate) fn fill_vacancies(&mut self) -> Result<(), io::Error> {
        self.fill_some(usize::MAX)
    }

    /// Fills those of the first places that are due. The first error, if any.
    pub(crate) fn fill_some(&mut self, most: usize) -> Result<(), io::Error> {
        if self.phase != Phase::Open || self.failure.is_some() || self.server.is_none() {
            return Ok(());
        }
        let mut result = Ok(());
        let now = clock::now_ns();
        let mut reason = None;
        for index in 0..self.seats.len().min(most) {
            if matches!(self.seats[index].place, Place::Vacant { retry_ns } if retry_ns <= now)
                && let Err(error) = self.spawn(index)
            {
                if error.kind() == io::ErrorKind::WouldBlock {
                    // It has orders enough: the rest when it has read some.
                    let retry_ns = now + MORE_ORDERS_NS;
                    for seat in &mut self.seats[index..] {
                        if matches!(seat.place, Place::Vacant { .. }) {
                            seat.place = Place::Vacant { retry_ns };
                        }
                    }
                    self.wake_supervisor_by(retry_ns);
                    break;
                }
                self.seats[index].place = Place::Vacant { retry_ns: now + RETRY_NS };
                reason = Some(error.to_string());
                result = result.and(Err(error));
            }
        }
        if let Some(reason) = reason {
            self.no_birth(reason);
        }
        self.dispatch();
        result
    }

    /// The memory of workers whose pages are not all there yet; whoever takes it must see to that.
    pub(crate) fn unallocated(&mut self) -> Vec<(usize, u32, (OwnedFd, OwnedFd))> {
        let seats = self.seats.iter_mut().enumerate();
        let taken = seats.filter_map(|(index, seat)| {
            let generation = seat.generation;
            Some((index, generation, seat.worker_mut()?.memory.take()?))
        });
        taken.collect()
    }

    /// There is no memory for a worker: it goes, and its place is filled once more.
    pub(crate) fn starve(&mut self, index: usize, generation: u32) {
        if let Some(worker) = self.seat(index, generation).and_then(|seat| seat.worker_mut()) {
            worker.kill();
        }
    }

    /// True if a spare pair should be made.
    pub(crate) fn wants_pair(&self) -> bool {
        self.deaths > 0 && self.spare_pair.is_none() && self.phase == Phase::Open && self.failure.is_none()
    }

    fn spawn(&mut self, index: usize) -> io::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        let seat = &mut self.seats[index];
        let generation = seat.generation.wrapping_add(1);
        failpoint!("parent-makes-pair", return Err(rustix::io::Errno::NOMEM.into()));
        let made = self.spare_pair.take().map_or_else(Pair::create, Ok)?;
        let worker = WorkerHandle::create(index, made)?;
        let number = event::number(event::WORKER_EVENT, index, generation);
        self.callers.add(&worker.caller_event, number)?;
        self.supervisors.add(&worker.supervisor_event, number)?;
        let order = ToServer::Spawn { worker: index as u32, generation };
        if let Some((out, back)) = &worker.memory {
            let fds = [out.as_fd(), back.as_fd(), worker.caller_event.as_fd(), worker.supervisor_event.as_fd()];
            message::send(server, &order, &fds)?;
            failpoint!("parent-worker-ordered");
        }
        *seat = Seat { place: Place::Filled(Box::new(worker)), generation, ..Seat::vacant() };
        self.wake_supervisor_by(clock::now_ns() + SPAWN_DEADLINE_NS);
        Ok(())
    }

    /// The fork server has forked a worker. Where the descriptors of this process are used up its
    /// pidfd does not come: then the fork server tells of its death, and kills it if need be.
    pub(crate) fn born(&mut self, index: usize, generation: u32, pid: u32, pidfd: Option<OwnedFd>) {
        let (callers, supervisors) = (Arc::clone(&self.callers), Arc::clone(&self.supervisors));
        let Some(seat) = self.seat(index, generation) else { return };
        let Some(worker) = seat.worker_mut() else { return };
        let number = event::number(event::WORKER_DEATH, index, generation);
        if let Some(pidfd) = &pidfd {
            // If it cannot be watched, the fork server still tells of its death.
            let _ = callers.add(pidfd, number).and(supervisors.add(pidfd, number));
        }
        worker.is_born(pid, pidfd);
        self.unborn = None;
        failpoint!("parent-birth-heard");
    }

    /// The fork server could not fork a worker.
    pub(crate) fn stillborn(&mut self, index: usize, generation: u32, error: &io::Error) {
        if self.seat(index, generation).is_some() {
            self.no_birth(format!("it could not be forked: {error}"));
            // It says nothing of what workers do when they start.
            let early_deaths = std::mem::take(&mut self.early_deaths);
            self.bury(index, generation, Cause::Unknown);
            self.early_deaths = early_deaths;
            self.seats[index].place = Place::Vacant { retry_ns: clock::now_ns() + RETRY_NS };
            self.give_up_without_workers();
        }
    }

    /// A worker, or its fork server, could not be started. With fewer workers the pool goes on; with none
    /// for long its pieces fail, while it goes on trying.
    pub(crate) fn no_birth(&mut self, reason: String) {
        let now = clock::now_ns();
        // While there are others it is no matter.
        let others = self.workers().any(|worker| worker.pid.is_some());
        let since = self.unborn.take().filter(|_| !others).map_or(now, |(since, _)| since);
        self.unborn = Some((since, reason));
        self.wake_supervisor_by(now + RETRY_NS);
    }

    /// Fails what waits if there has been no worker for too long. Says when to look again.
    pub(crate) fn give_up_without_workers(&mut self) -> Option<u64> {
        let (since, reason) = self.unborn.as_ref()?;
        if self.workers().any(|worker| worker.pid.is_some()) {
            return None;
        }
        let due_ns = since + NO_WORKER.as_nanos() as u64;
        if due_ns > clock::now_ns() {
            return Some(due_ns);
        }
        let message = format!("never began: for {NO_WORKER:?} no worker could be started: {reason}");
        for (_, key, piece) in std::mem::take(&mut self.delayed) {
            if let Some(task) = self.tasks.get_mut(key) {
                task.take_back(piece);
            }
        }
        for task in self.tasks.iter_mut() {
            task.fail_waiting(|label| Error::new(ErrorKind::System, message.clone()).with_piece(label, 0));
        }
        None
    }

    /// Since when the oldest order to the fork server has had no answer, if any has none.
    pub(crate) fn oldest_order_ns(&self) -> Option<u64> {
        let unborn = self.workers().filter(|worker| worker.pid.is_none());
        unborn.map(|worker| worker.made_ns).min()
    }

    /// Asks the fork server to kill the workers that cannot be killed from here.
    pub(crate) fn kill_by_server(&mut self) {
        let Some(server) = &self.server else { return };
        let mut again = false;
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let generation = seat.generation;
            if let Some(worker) = seat.worker_mut()
                && worker.wants_kill_by_server()
            {
                let order = ToServer::Kill { worker: index as u32, generation };
                // If that fails the fork server is gone, and its workers with it, or has orders enough.
                if message::send(server, &order, &[]).is_err() {
                    worker.kill_ordered = false;
                    again = true;
                }
            }
        }
        if again {
            self.wake_supervisor_by(clock::now_ns() + RETRY_NS);
        }
    }

    /// A worker has woken this process.
    pub(crate) fn signalled(&mut self, index: usize, generation: u32) {
        if let Some(seat) = self.seat(index, generation)
            && let Place::Filled(worker) = &mut seat.place
            && worker.signalled().is_err()
        {
            seat.blame = Some(Cause::Protocol);
            worker.kill();
        }
    }

    /// A worker's pidfd says that it is dead; why is yet to be told.
    pub(crate) fn died(&mut self, index: usize, generation: u32) {
        if let Some(seat) = self.seat(index, generation) {
            seat.dead_since_ns.get_or_insert_with(clock::now_ns);
            failpoint!("parent-death-seen");
        }
    }

    /// True if something is due at a moment for which only the supervisor wakes: a cause of death
    /// that is yet to be told, or a place that is to be filled.
    pub(crate) fn awaits_a_moment(&self) -> bool {
        self.seats.iter().any(|seat| seat.dead_since_ns.is_some() || matches!(seat.place, Place::Vacant { .. }))
    }

    /// How a worker ended, as the fork server saw it.
    pub(crate) fn reaped(&mut self, index: usize, generation: u32, ending: Ending) {
        self.bury(
            index,
            generation,
            match ending {
                Ending::Exit(code) => Cause::Exit(code),
                Ending::Signal(signal) => Cause::Signal(signal),
            },
        );
    }

    /// Buries those whose cause of death nobody told in time, and says when to look again.
    pub(crate) fn bury_unexplained(&mut self) -> Option<u64> {
        let now = clock::now_ns();
        let mut next: Option<u64> = None;
        for index in 0..self.seats.len() {
            if self.seats[index].dead_since_ns.is_some_and(|since| since + CAUSE_WAIT_NS <= now) {
                self.bury(index, self.seats[index].generation, Cause::Unknown);
            }
            let due = match (&self.seats[index].place, self.seats[index].dead_since_ns) {
                (Place::Filled(_), Some(since)) => since + CAUSE_WAIT_NS,
                (Place::Vacant { retry_ns }, _) if self.phase == Phase::Open && self.server.is_some() => *retry_ns,
                _ => continue,
            };
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        next
    }

    /// The one place where a worker is declared dead: it is dead, and this is why. What it had
    /// replied counts, the piece that it had begun is lost, and the others go to other workers.
    pub(crate) fn bury(&mut self, index: usize, generation: u32, cause: Cause) {
        if self.seat(index, generation).is_none() {
            return;
        }
        self.collect_rest_from(index);
        let Place::Filled(mut worker) = std::mem::replace(&mut self.seats[index].place, Place::Vacant { retry_ns: 0 })
        else {
            return;
        };
        let seat = &mut self.seats[index];
        seat.dead_since_ns = None;
        let kernel_killed =
            cause == Cause::Signal(libc::SIGKILL) && !worker.was_killed() && self.memory_kills.has_grown();
        let explained = if kernel_killed { Some(Cause::OomKilled) } else { worker.explain(cause) };
        let cause = seat.blame.take().or(explained).unwrap_or(cause);
        let start_failure = seat.start_failure.take();
        for watch in [&self.callers, &self.supervisors] {
            if let Some(pidfd) = &worker.pidfd {
                watch.remove(pidfd);
            }
        }
        self.callers.remove(&worker.caller_event);
        self.supervisors.remove(&worker.supervisor_event);
        let overran = seat.overran.take();
        failpoint!("parent-rest-collected");
        let (lost, rest) = worker.leftovers(cause == Cause::Protocol);
        if let Some(piece) = lost
            && let Some(task) = self.tasks.get_mut(piece.task)
        {
            let limit = task.settings.limit_ns.filter(|_| overran == Some(piece.sequence));
            let pid = worker.pid;
            let error = |label, attempts| {
                let error = match limit {
                    Some(limit) => {
                        let limit = Duration::from_nanos(limit.get());
                        Error::new(
                            ErrorKind::TimedOut,
                            format!("ran longer than its limit of {limit:?}, and was killed"),
                        )
                    }
                    None => Error::new(ErrorKind::WorkerLost, String::new()),
                };
                error.with_cause(cause).with_piece(label, attempts).with_worker(index, pid)
            };
            match piece.arguments {
                Some(arguments) => {
                    if let Some(attempt) = task.lose_start(piece.number, error) {
                        let due_ns = clock::now_ns() + pause_ns(attempt);
                        self.delayed.push((due_ns, piece.task, WaitingPiece { number: piece.number, arguments }));
                        self.wake_supervisor_by(due_ns);
                    }
                }
                None => {
                    let error = error(task.label(piece.number), task.attempts(piece.number));
                    task.settle(piece.number, Settled::Failed(error));
                }
            }
        }
        for piece in rest {
            if let Some(task) = self.tasks.get_mut(piece.task) {
                task.take_back(WaitingPiece { number: piece.number, arguments: piece.arguments });
                self.queue(piece.task);
            }
        }
        failpoint!("parent-worker-buried");
        let (leaving, was_ready, was_killed) = (worker.leaving, worker.is_ready(), worker.was_killed());
        self.buried.push(*worker);
        if leaving || self.phase != Phase::Open {
            return;
        }
        self.deaths += 1;
        if was_ready || cause == Cause::ForkServerLost {
            self.early_deaths = 0;
        } else if !was_killed || cause == Cause::Protocol {
            let now = clock::now_ns();
            let since = std::mem::replace(&mut self.last_early_death_ns, now);
            let one_was_ready = self.workers().any(|worker| worker.made_ns > since && worker.is_ready());
            self.early_deaths = if one_was_ready { 1 } else { self.early_deaths + 1 };
            if self.early_deaths >= MAX_EARLY_DEATHS {
                let reason = start_failure.unwrap_or_else(|| cause.to_string());
                self.fail(Error::new(
                    ErrorKind::WorkerLost,
                    format!("the pool ended: {MAX_EARLY_DEATHS} workers in a row died before they were ready, the last one (worker {index}): {reason}"),
                ).with_cause(cause));
                return;
            }
            // A little longer each time, so that a crash at start does not take the machine.
            self.seats[index].place = Place::Vacant { retry_ns: now + (1_000_000 << self.early_deaths) };
        }
        // An error is tried again by the supervisor, later.
        let _ = self.fill_vacancies();
    }

    /// Kills all workers whose fork server is gone, and waits until they are.
    pub(crate) fn end_workers(&mut self, within: Duration) {
        for worker in self.workers_mut() {
            worker.kill();
            if let Some(pidfd) = &worker.pidfd {
                process::has_ended(pidfd, within);
            }
        }
    }

    /// The fork server is gone, and its workers with it.
    pub(crate) fn server_lost(&mut self) {
        self.server = None;
        self.server_stage = ServerStage::Ready { since_ns: 0 };
        for index in 0..self.seats.len() {
            self.bury(index, self.seats[index].generation, Cause::ForkServerLost);
        }
    }

    /// The pidfds of all workers that live, as far as is known.
    pub(crate) fn pidfds(&self) -> Vec<OwnedFd> {
        self.workers().filter_map(|worker| worker.pidfd.as_ref()?.try_clone().ok()).collect()
    }
}
