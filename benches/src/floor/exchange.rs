//! Two processes that exchange a word.

use super::{Child, Shared, Signal32, Waiting};
use std::rc::Rc;

/// The other process. When the word changes, it adds two numbers and changes its own word.
pub struct Exchange {
    shared: Rc<Shared>,
    waiting: Waiting,
    turn: u32,
    _child: Child,
}

fn there(shared: &Shared) -> Signal32<'_> {
    shared.signal(0)
}

fn back(shared: &Shared) -> Signal32<'_> {
    shared.signal(256)
}

impl Exchange {
    /// Starts the other process. It calls `with` on the memory behind each word before it answers.
    pub(crate) fn with(shared: Rc<Shared>, waiting: Waiting, with: impl Fn(&Shared)) -> Self {
        let other = Rc::clone(&shared);
        let child = Child::fork(move || {
            let mut turn = 0;
            loop {
                turn = there(&other).wait(turn, waiting);
                with(&other);
                back(&other).set(turn);
            }
        });
        Exchange { shared, waiting, turn: 0, _child: child }
    }

    /// A bare exchange of numbers.
    #[must_use]
    pub fn new(waiting: Waiting) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        Exchange::with(Rc::new(Shared::new(4096)), waiting, |shared| {
            let sum = shared.word(8).load(Relaxed) + shared.word(16).load(Relaxed);
            shared.word(264).store(sum, Relaxed);
        })
    }

    pub(crate) fn turn(&mut self) {
        let old = self.turn;
        self.turn = self.turn.wrapping_add(1);
        there(&self.shared).set(self.turn);
        back(&self.shared).wait(old, self.waiting);
    }

    /// Sends two numbers and receives their sum, in one cache line each way.
    pub fn add(&mut self, a: u64, b: u64) -> u64 {
        use std::sync::atomic::Ordering::Relaxed;
        self.shared.word(8).store(a, Relaxed);
        self.shared.word(16).store(b, Relaxed);
        self.turn();
        self.shared.word(264).load(Relaxed)
    }
}
