//! How workers follow the host: new ones take its rights and standard streams as they are at the order, and on a
//! difference older ones are replaced as soon as they are idle.
//!
//! | step                  | by                                                                                    |
//! |-----------------------|---------------------------------------------------------------------------------------|
//! | read                  | the thread that hears of a death, and the supervisor, without the lock (`sys/host.rs`)         |
//! | compared              | [`Core::follow_host`]: on a difference every worker retires                            |
//! | told                  | [`Core::tell_host`], to the fork server, before the next order and once to each new one |
//! | taken                 | the fork server takes the streams, a new worker the rights (`sys/rights.rs`)           |
//!
//! A worker that retires gets no more pieces, loses what it has not begun, and is dismissed once it has answered.
//!
//! Invariant: no worker is ordered by a state of the host that was read more than [`FRESH_NS`] ago.

use super::{Core, Phase};
use crate::engine::policy::patience::Duty;
use crate::engine::policy::restart::RETRY_NS;
use crate::engine::wire::message::{self, ToServer};
use crate::sys::host::HostState;
use crate::sys::{clock, descriptors};
use std::io;

/// The thread that orders a worker has read the host's state in the same turn. On a busy machine a turn can take as long as
/// this; after that it is read again.
const FRESH_NS: u64 = 100_000_000;

#[derive(Debug, Default)]
pub(super) struct Following {
    state: Option<HostState>,
    read_ns: u64,
    /// What the fork server was told.
    told: Option<HostState>,
    /// Workers retire.
    any_retire: bool,
}

impl Following {
    /// A new fork server was told nothing.
    pub(super) fn forget_told(&mut self) {
        self.told = None;
    }

    pub(super) fn is_fresh(&self, now_ns: u64) -> bool {
        self.state.is_some() && now_ns < self.read_ns.saturating_add(FRESH_NS)
    }

    /// True if workers retire, so that somebody must see to those that are idle.
    #[inline]
    pub(super) fn any_retire(&self) -> bool {
        self.any_retire
    }
}

impl Core {
    /// The state of the host, as it was read a moment ago. Workers of an earlier one retire.
    pub(crate) fn follow_host(&mut self, state: HostState) {
        self.following.read_ns = clock::now_ns();
        let former = self.following.state.replace(state);
        if former.is_some_and(|former| Some(&former) != self.following.state.as_ref()) {
            self.retire_workers();
        }
    }

    /// True if somebody must read the state of the host, since workers are to be ordered.
    pub(crate) fn asks_for_host(&self) -> bool {
        let now_ns = clock::now_ns();
        self.is_open() && !self.following.is_fresh(now_ns) && self.has_due_seat(now_ns)
    }

    pub(super) fn has_due_seat(&self, now_ns: u64) -> bool {
        self.seats.iter().any(|(_, seat)| seat.vacant_until_ns().is_some_and(|until_ns| until_ns <= now_ns))
    }

    /// Tells the fork server what the next workers take, if it does not know.
    pub(super) fn tell_host(&mut self) -> io::Result<()> {
        let (Some(socket), Some(state)) = (self.server.socket(), &self.following.state) else { return Ok(()) };
        if self.following.told.as_ref() == Some(state) {
            return Ok(());
        }
        let (streams, fds) = descriptors::open_streams();
        message::send(socket, &ToServer::Host { rights: state.rights.clone(), streams }, &fds)?;
        self.following.told = Some(state.clone());
        Ok(())
    }

    /// Every worker is replaced as soon as it is idle. What one has not begun by then is taken back at once, or by
    /// [`revoke_on`](Self::revoke_on).
    pub(crate) fn retire_workers(&mut self) {
        for seat in 0..self.seats.len() {
            self.retire(seat);
        }
        self.finish_retiring();
    }

    /// The worker in this seat gets no more pieces, and leaves once it is idle.
    pub(super) fn retire(&mut self, seat: usize) {
        self.lane.leave_seat(seat);
        let Some(it) = self.seats.get_mut(seat) else { return };
        let generation = it.generation();
        if let Some(worker) = it.worker_mut() {
            worker.retire(clock::now_ns());
            self.revocations.push_back((seat, generation));
        }
    }

    /// After workers were [retired](Self::retire): takes back what they have not begun, and dismisses those that are idle.
    pub(super) fn finish_retiring(&mut self) {
        self.begin_revoking();
        self.following.any_retire = true;
        self.dismiss_retired();
    }

    /// Dismisses the workers that retire and are idle.
    pub(crate) fn dismiss_retired(&mut self) {
        if !self.following.any_retire || !matches!(self.phase, Phase::Open) {
            return;
        }
        self.following.any_retire = false;
        for worker in self.seats.workers_mut().filter(|worker| worker.duty() == Duty::Retires) {
            let now_ns = clock::now_ns();
            if worker.link.is_idle() && !worker.dismiss(now_ns) {
                // It has not read yet what was taken back, and does not signal when it has.
                self.alarm.wake_by(now_ns + RETRY_NS);
            }
            self.following.any_retire |= worker.duty() == Duty::Retires;
        }
    }
}
