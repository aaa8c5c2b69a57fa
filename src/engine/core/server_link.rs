//! The connection to the fork server, and the life of the fork server as the parent knows it.
//!
//! ```text
//! Absent ─ connect ─► Starting ─ intercepted ─► Preparing ─ ready ─► Serving
//!    ▲                   │  ▲                                         │  ▲
//!    │                 overdue                                      overdue
//!    │                   ▼  (intercepted, ready)                      ▼  recover
//!    │                 Overdue                                      Overdue
//!    └─ disconnect ─ Losing ◄─ lose ─ from each; Ended ◄─ end ─ from each
//! ```
//!
//! Invariant: there is a socket in `Connected`, and only there.

use crate::engine::policy::patience::ServerStage;
use crate::sys::descriptors::Descriptor;
use crate::sys::socket;

#[derive(Debug)]
pub(crate) enum ServerLink {
    /// A new one is started at that moment.
    Absent {
        retry_ns: u64,
    },
    /// It is gone, and somebody waits for the end of its workers.
    Losing,
    /// It was let go with the pool: there is no new one.
    Ended,
    Connected {
        socket: Descriptor,
        stage: ServerStage,
    },
}

impl ServerLink {
    pub(crate) fn socket(&self) -> Option<&Descriptor> {
        match self {
            ServerLink::Absent { .. } | ServerLink::Losing | ServerLink::Ended => None,
            ServerLink::Connected { socket, .. } => Some(socket),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self, ServerLink::Connected { .. })
    }

    /// True if there is none, and nobody is busy with the end of the last one.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, ServerLink::Absent { .. } | ServerLink::Ended)
    }

    /// A fork server is being started, and is to be heard of by `due_ns`; this is our end of its socket.
    pub(crate) fn connect(&mut self, socket: Descriptor, due_ns: u64) {
        *self = ServerLink::Connected { socket, stage: ServerStage::Starting { due_ns } };
    }

    /// It has ended; its workers are yet to end.
    pub(crate) fn lose(&mut self) {
        *self = ServerLink::Losing;
    }

    /// It is let go with the pool.
    pub(crate) fn end(&mut self) {
        // A child that this process forked may hold the socket too: then its close alone would not tell.
        if let Some(socket) = self.socket().filter(|socket| socket.is_ours()) {
            socket::end(socket);
        }
        *self = ServerLink::Ended;
    }

    /// It is gone, with all its workers; a new one is started at that moment.
    pub(crate) fn disconnect(&mut self, retry_ns: u64) {
        *self = ServerLink::Absent { retry_ns };
    }

    /// It said that it was stopped before its `main`.
    pub(crate) fn intercepted(&mut self) {
        self.change(|stage| match stage {
            ServerStage::Starting { .. } | ServerStage::Overdue { was_serving: false, .. } => ServerStage::Preparing,
            other => other,
        });
    }

    /// It said that it serves.
    pub(crate) fn ready(&mut self, now_ns: u64) {
        self.change(|_| ServerStage::Serving { since_ns: now_ns });
    }

    /// It did not do what was due at `due_ns`.
    pub(crate) fn become_overdue(&mut self, due_ns: u64, now_ns: u64) {
        self.change(|stage| match stage {
            ServerStage::Starting { .. } => ServerStage::Overdue { since_ns: now_ns, due_ns, was_serving: false },
            ServerStage::Serving { .. } => ServerStage::Overdue { since_ns: now_ns, due_ns, was_serving: true },
            other => other,
        });
    }

    /// It was overdue and has obeyed.
    pub(crate) fn recover(&mut self, now_ns: u64) {
        self.change(|stage| match stage {
            ServerStage::Overdue { was_serving: true, .. } => ServerStage::Serving { since_ns: now_ns },
            other => other,
        });
    }

    fn change(&mut self, to: impl FnOnce(ServerStage) -> ServerStage) {
        if let ServerLink::Connected { stage, .. } = self {
            *stage = to(*stage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(server: &ServerLink) -> Option<ServerStage> {
        match server {
            ServerLink::Connected { stage, .. } => Some(*stage),
            _ => None,
        }
    }

    #[test]
    fn a_fork_server_moves_only_along_its_ladder() {
        let starting = ServerStage::Starting { due_ns: 1 };
        let preparing = ServerStage::Preparing;
        let serving = ServerStage::Serving { since_ns: 2 };
        let late_start = ServerStage::Overdue { since_ns: 9, due_ns: 8, was_serving: false };
        let late = ServerStage::Overdue { since_ns: 9, due_ns: 8, was_serving: true };
        let now = ServerStage::Serving { since_ns: 9 };
        type Move = fn(&mut ServerLink);
        let (intercepted, ready): (Move, Move) = (ServerLink::intercepted, |server| server.ready(9));
        let (overdue, recover): (Move, Move) = (|server| server.become_overdue(8, 9), |server| server.recover(9));
        for (from, step, to) in [
            (starting, intercepted, preparing),
            (late_start, intercepted, preparing),
            (serving, intercepted, serving),
            (late, intercepted, late),
            (preparing, ready, now),
            (late_start, ready, now),
            (starting, overdue, late_start),
            (serving, overdue, late),
            (preparing, overdue, preparing),
            (late, overdue, late),
            (late, recover, now),
            (late_start, recover, late_start),
            (serving, recover, serving),
        ] {
            let mut server = ServerLink::Connected { socket: socket::pair().unwrap().0, stage: from };
            step(&mut server);
            assert_eq!(stage(&server), Some(to), "from {from:?}");
            server.lose();
            assert!(matches!(server, ServerLink::Losing) && !server.is_absent() && !server.is_connected());
            server.disconnect(70);
            assert!(matches!(server, ServerLink::Absent { retry_ns: 70 }) && server.socket().is_none());
            step(&mut server);
            assert!(server.is_absent() && !server.is_connected());
            server.end();
            step(&mut server);
            assert!(matches!(server, ServerLink::Ended) && server.is_absent() && server.socket().is_none());
        }
    }

    #[test]
    fn a_connected_fork_server_starts() {
        let mut server = ServerLink::Absent { retry_ns: 0 };
        server.connect(socket::pair().unwrap().0, 5);
        assert!(!server.is_absent() && server.socket().is_some());
        assert_eq!(stage(&server), Some(ServerStage::Starting { due_ns: 5 }));
    }
}
