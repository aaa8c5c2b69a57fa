//! Bare births and deaths.

use super::{Child, Shared, Signal32, Waiting};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use std::rc::Rc;
use std::time::Instant;

/// A process that dies when told, seen through its pidfd; in seconds, without and with the birth
/// and the first answer of its successor.
pub struct Mortal {
    shared: Rc<Shared>,
    child: Child,
    turn: u32,
}

fn told(shared: &Shared) -> Signal32<'_> {
    shared.signal(0)
}

fn born(shared: &Shared) -> Signal32<'_> {
    shared.signal(256)
}

fn make(shared: &Rc<Shared>, turn: u32) -> Child {
    let other = Rc::clone(shared);
    let child = Child::fork(move || {
        born(&other).set(turn + 1);
        told(&other).wait(turn, Waiting::Spinning);
        // SAFETY: a signal to this process alone.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    born(shared).wait(turn, Waiting::Spinning);
    child
}

impl Default for Mortal {
    fn default() -> Self {
        let shared = Rc::new(Shared::new(4096));
        let child = make(&shared, 0);
        Mortal { shared, child, turn: 0 }
    }
}

impl Mortal {
    /// Has it die; gives the seconds until that was seen, and until the next one has answered.
    pub fn die(&mut self) -> (f64, f64) {
        let pidfd = pidfd_open(self.child.pid(), PidfdFlags::empty()).expect("a child has a pidfd");
        self.turn += 1;
        let start = Instant::now();
        told(&self.shared).set(self.turn);
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).expect("a pidfd can be polled");
        let seen = start.elapsed().as_secs_f64();
        self.child = make(&self.shared, self.turn);
        (seen, start.elapsed().as_secs_f64())
    }
}

/// Seconds for a fork of this process, as big as it is, until its copy has answered.
#[must_use]
pub fn fork() -> f64 {
    let shared = Rc::new(Shared::new(4096));
    let start = Instant::now();
    let child = make(&shared, 0);
    let seconds = start.elapsed().as_secs_f64();
    drop(child);
    seconds
}
