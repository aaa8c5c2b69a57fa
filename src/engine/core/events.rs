//! What the epolls and the fork server tell.
//!
//! An event carries a number: its kind, and the seat and generation of the worker.

use super::roster::Set;
use super::seat::KillBy;
use super::{Core, ServerLink};
use crate::engine::wire::message::{self, FromServer};
use crate::error::{Cause, Error, ErrorKind};
use crate::sys::process::Ending;
use crate::sys::{clock, socket};

/// The numbers of events.
pub(crate) mod number {
    pub(crate) const KICK: u64 = 0;
    pub(crate) const SERVER_SOCKET: u64 = 1;
    pub(crate) const SERVER_DEATH: u64 = 2;
    pub(crate) const WORKER_EVENT: u64 = 3;
    pub(crate) const WORKER_DEATH: u64 = 4;

    /// The number of an event of a worker.
    pub(crate) fn of(kind: u64, seat: usize, generation: u32) -> u64 {
        kind | (seat as u64 & 0x00ff_ffff) << 8 | u64::from(generation) << 32
    }

    /// True if one of them may tell of a worker's death, after which another is ordered: its pidfd does, or the fork
    /// server, whose word may come first.
    pub(crate) fn tell_of_death(events: &[u64]) -> bool {
        events.iter().any(|&event| matches!(parts(event).0, WORKER_DEATH | SERVER_SOCKET))
    }

    /// True if one of them is a worker's signal.
    pub(crate) fn tell_of_signal(events: &[u64]) -> bool {
        events.iter().any(|&event| parts(event).0 == WORKER_EVENT)
    }

    /// Kind, seat and generation.
    pub(crate) fn parts(number: u64) -> (u64, usize, u32) {
        (number & 0xff, (number >> 8 & 0x00ff_ffff) as usize, (number >> 32) as u32)
    }
}

impl Core {
    /// Does what the events of either epoll ask for.
    pub(crate) fn handle_events(&mut self, events: &[u64]) {
        let (mut hears_server, mut has_death) = (false, false);
        for &event in events {
            let (kind, seat, generation) = number::parts(event);
            match kind {
                number::SERVER_SOCKET => hears_server = true,
                number::WORKER_EVENT => {
                    self.signalled(seat, generation);
                    if seat == self.seats.beyond() {
                        // The successor may be ready.
                        self.replace_due();
                    }
                }
                number::WORKER_DEATH => {
                    self.died(seat, generation);
                    has_death = true;
                }
                // Only the supervisor starts a new one.
                number::SERVER_DEATH => self.alarm.wake_now(),
                _ => {}
            }
        }
        // After a death that the pidfd told of, the fork server's word comes at the same moment.
        if hears_server || has_death {
            self.hear_server();
            if self.seats.await_a_moment() {
                self.alarm.wake_now();
            }
        }
    }

    /// Reads what the fork server has said.
    fn hear_server(&mut self) {
        loop {
            let Some(socket) = self.server.socket() else { return };
            let received = match socket::receive(socket, false) {
                Ok(Some(received)) => received,
                // The end of the connection: its pidfd tells of its death.
                Ok(None) | Err(_) => return,
            };
            match message::decode::<FromServer>(&received) {
                Ok(FromServer::Spawned { worker, generation, pid }) => {
                    self.spawned(worker as usize, generation, pid, received.fds.into_iter().next());
                }
                Ok(FromServer::SpawnFailed { worker, generation, errno }) => {
                    self.spawn_failed(worker as usize, generation, &std::io::Error::from_raw_os_error(errno));
                }
                Ok(FromServer::Died { worker, generation, ending, printed }) => {
                    let cause = match ending {
                        Ending::Exit(code) => Cause::Exit(code),
                        Ending::Signal(signal) => Cause::Signal(signal),
                    };
                    if let Some(printed) = printed {
                        self.did_not_load(worker as usize, generation, cause, &printed);
                    }
                    self.died_of(worker as usize, generation, cause);
                }
                Ok(FromServer::KillFailed { worker, generation, errno }) => {
                    self.kill_failed(worker as usize, generation, &std::io::Error::from_raw_os_error(errno));
                }
                Ok(FromServer::CannotFollow(reason)) => {
                    self.fail(Error::new(ErrorKind::Unsupported, format!("the pool ended: {reason}")));
                }
                Ok(FromServer::Refused(reason)) => {
                    let message = format!("the pool ended: its new fork server cannot serve: {reason}");
                    self.fail(Error::new(ErrorKind::System, message));
                }
                Ok(FromServer::Intercepted) => self.server.intercepted(),
                Ok(FromServer::Ready { executes }) => {
                    self.note_start(executes);
                    self.server.ready(clock::now_ns());
                }
                Err(_) => {}
            }
        }
    }

    /// A worker was killed, or must be by the fork server.
    pub(super) fn see_to_kill(&mut self, seat: usize, kill_by: KillBy) {
        self.lane.leave_seat(seat);
        if kill_by == KillBy::ForkServer {
            self.kill_by_server();
        }
    }

    /// Asks the fork server to kill the workers that cannot be killed from here.
    pub(crate) fn kill_by_server(&mut self) {
        let ServerLink::Connected { socket, .. } = &self.server else { return };
        let mut again = false;
        let mut from = 0;
        while let Some(seat) = self.seats.sorted().next(Set::Unsettled, from) {
            from = seat + 1;
            let Some(it) = self.seats.get_mut(seat) else { continue };
            let generation = it.generation();
            let Some(worker) = it.worker_mut().filter(|worker| worker.needs_kill_by_server()) else { continue };
            let order = message::ToServer::Kill { worker: seat as u32, generation };
            // If that fails the fork server is gone, and its workers with it, or has orders enough.
            match message::send(socket, &order, &[]) {
                Ok(()) => worker.kill_sent(),
                Err(_) => again = true,
            }
        }
        if again {
            self.alarm.wake_by(clock::now_ns() + crate::engine::policy::restart::RETRY_NS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number::{WORKER_DEATH, of, parts};

    #[test]
    fn a_number_keeps_its_parts() {
        for (seat, generation) in [(0, 0), (4095, u32::MAX), (0x00ff_ffff, 1)] {
            assert_eq!(parts(of(WORKER_DEATH, seat, generation)), (WORKER_DEATH, seat, generation));
        }
    }
}
