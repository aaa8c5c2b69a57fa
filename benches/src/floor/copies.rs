//! A round trip of bytes through warm shared memory, and nothing else.

use super::exchange::Exchange;
use super::{Shared, Waiting};
use std::rc::Rc;

/// The offset of the bytes, after the words of the exchange.
const START: usize = 4096;

/// Another process that copies the bytes that it receives.
pub struct Copies {
    shared: Rc<Shared>,
    exchange: Exchange,
    bytes: usize,
    /// The offset of the answer.
    answer: usize,
}

impl Copies {
    /// With `copy` there are three copies: into the shared memory, from one place in it to another by the other process, and
    /// out of it. Without there are two: in and out.
    #[must_use]
    pub fn new(bytes: usize, copy: bool) -> Self {
        let there = START;
        let back = START + bytes.next_multiple_of(4096);
        let shared = Rc::new(Shared::new(back + bytes));
        let exchange = Exchange::with(Rc::clone(&shared), Waiting::Spinning, move |shared| {
            if copy {
                // SAFETY: these are two places in one mapping that do not overlap, each of this length. The other side
                // waits for this process.
                unsafe { shared.at(there).copy_to_nonoverlapping(shared.at(back), bytes) }
            }
        });
        Copies { shared, exchange, bytes, answer: if copy { back } else { there } }
    }

    /// Sends the value and receives the answer in a new vector.
    ///
    /// # Panics
    /// If the value does not have the length that was given before.
    pub fn echo(&mut self, value: &[u8]) -> Vec<u8> {
        assert_eq!(value.len(), self.bytes);
        // SAFETY: the place is as long as the value (asserted), and the other side waits for this process.
        unsafe { self.shared.at(START).copy_from_nonoverlapping(value.as_ptr(), self.bytes) }
        self.exchange.turn();
        let mut answer = Vec::with_capacity(self.bytes);
        // SAFETY: the other side has answered and waits. The vector has room for this length, and the copy initialises it.
        unsafe {
            self.shared.at(self.answer).copy_to_nonoverlapping(answer.as_mut_ptr(), self.bytes);
            answer.set_len(self.bytes);
        }
        answer
    }
}
