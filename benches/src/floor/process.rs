//! The start and death of a bare process.

use super::{Child, Shared, Signal32, Waiting};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use std::rc::Rc;
use std::time::Instant;

/// A process that exits on request, observed by its pidfd.
pub struct ShortLived {
    shared: Rc<Shared>,
    child: Child,
    turn: u32,
}

fn end(shared: &Shared) -> Signal32<'_> {
    shared.signal(0)
}

fn started(shared: &Shared) -> Signal32<'_> {
    shared.signal(256)
}

fn make(shared: &Rc<Shared>, turn: u32) -> Child {
    let other = Rc::clone(shared);
    let child = Child::fork(move || {
        started(&other).set(turn + 1);
        end(&other).wait(turn, Waiting::Spinning);
        // SAFETY: a system call that takes no pointer.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    started(shared).wait(turn, Waiting::Spinning);
    child
}

impl Default for ShortLived {
    fn default() -> Self {
        let shared = Rc::new(Shared::new(4096));
        let child = make(&shared, 0);
        ShortLived { shared, child, turn: 0 }
    }
}

impl ShortLived {
    /// Ends the process and starts the next one. Returns the seconds until the death was observed, and until the next process
    /// has answered.
    pub fn die(&mut self) -> (f64, f64) {
        let pidfd = pidfd_open(self.child.pid(), PidfdFlags::empty()).expect("a child has a pidfd");
        self.turn += 1;
        let start = Instant::now();
        end(&self.shared).set(self.turn);
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).expect("a pidfd can be polled");
        let seen = start.elapsed().as_secs_f64();
        self.child = make(&self.shared, self.turn);
        (seen, start.elapsed().as_secs_f64())
    }
}

/// The seconds from a fork of this process, with all its memory, until the copy has answered.
#[must_use]
pub fn fork() -> f64 {
    let shared = Rc::new(Shared::new(4096));
    let start = Instant::now();
    let child = make(&shared, 0);
    let seconds = start.elapsed().as_secs_f64();
    drop(child);
    seconds
}
