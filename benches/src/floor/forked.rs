//! Forked processes that write their replies into their own slots in shared memory.

use super::{Child, Shared, Waiting};
use crate::WORKERS;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// The slot of one piece: its word, its length, and its bytes.
const SLOT_HEAD: usize = 4096;

/// Processes that render pieces. With `n` processes, each renders every `n`th piece.
pub struct Forked {
    shared: Rc<Shared>,
    slot_bytes: usize,
    pieces: usize,
    round: u32,
    _children: Vec<Child>,
}

impl Forked {
    /// Starts the processes. `render` makes the piece with a number.
    pub fn new(pieces: usize, most_bytes: usize, render: fn(usize) -> String) -> Self {
        let slot_bytes = SLOT_HEAD + most_bytes.next_multiple_of(4096);
        let shared = Rc::new(Shared::new(SLOT_HEAD + pieces * slot_bytes));
        let children = (0..WORKERS).map(|worker| {
            let shared = Rc::clone(&shared);
            Child::fork(move || {
                let start = shared.signal(worker * 256);
                let mut round = 0;
                loop {
                    round = start.wait(round, Waiting::Spinning);
                    for number in (worker..pieces).step_by(WORKERS) {
                        let text = render(number);
                        let slot = SLOT_HEAD + number * slot_bytes;
                        assert!(text.len() <= most_bytes);
                        // SAFETY: the slot has room for this length, and its reader waits for the word.
                        unsafe {
                            let target = shared.at(slot + SLOT_HEAD);
                            target.copy_from_nonoverlapping(text.as_ptr(), text.len());
                        }
                        shared.word(slot + 8).store(text.len() as u64, Relaxed);
                        shared.signal(slot).set(round);
                    }
                }
            })
        });
        let children = children.collect();
        Forked { shared, slot_bytes, pieces, round: 0, _children: children }
    }

    /// Renders all pieces once and lends each of them in order.
    pub fn run(&mut self, mut read: impl FnMut(&[u8])) {
        let before = self.round;
        self.round += 1;
        for worker in 0..WORKERS {
            self.shared.signal(worker * 256).set(self.round);
        }
        for number in 0..self.pieces {
            let slot = SLOT_HEAD + number * self.slot_bytes;
            let done = self.shared.signal(slot);
            done.wait(before, Waiting::Spinning);
            let bytes = self.shared.word(slot + 8).load(Relaxed) as usize;
            // SAFETY: the process wrote the bytes before the word. It writes there again only after this process has begun
            // the next round.
            read(unsafe { std::slice::from_raw_parts(self.shared.at(slot + SLOT_HEAD), bytes) });
        }
    }
}
