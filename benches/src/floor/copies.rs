//! Bytes there and back through warm shared memory, and nothing else.

use super::exchange::Exchange;
use super::{Shared, Waiting};
use std::rc::Rc;

/// Where the words of the exchange end and the bytes begin.
const START: usize = 4096;

/// Another process that copies what it is sent.
pub struct Copies {
    shared: Rc<Shared>,
    exchange: Exchange,
    bytes: usize,
    /// Where the answer lies.
    answer: usize,
}

impl Copies {
    /// Three copies in all with `copy`: in, from one place to another by the other process, and
    /// out. Without, two: in and out.
    #[must_use]
    pub fn new(bytes: usize, copy: bool) -> Self {
        let there = START;
        let back = START + bytes.next_multiple_of(4096);
        let shared = Rc::new(Shared::new(back + bytes));
        let exchange = Exchange::with(Rc::clone(&shared), Waiting::Spinning, move |shared| {
            if copy {
                // SAFETY: two places of one mapping that do not overlap, each of that length; the
                // other side waits for us.
                unsafe { shared.at(there).copy_to_nonoverlapping(shared.at(back), bytes) }
            }
        });
        Copies { shared, exchange, bytes, answer: if copy { back } else { there } }
    }

    /// There and back, into a fresh vector.
    ///
    /// # Panics
    /// For a value of another length than was said.
    pub fn echo(&mut self, value: &[u8]) -> Vec<u8> {
        assert_eq!(value.len(), self.bytes);
        // SAFETY: the place is as long as the value (asserted), and the other side waits for us.
        unsafe { self.shared.at(START).copy_from_nonoverlapping(value.as_ptr(), self.bytes) }
        self.exchange.turn();
        let mut answer = Vec::with_capacity(self.bytes);
        // SAFETY: the other side has answered and waits; the vector has that much room, which is
        // initialised by the copy.
        unsafe {
            self.shared.at(self.answer).copy_to_nonoverlapping(answer.as_mut_ptr(), self.bytes);
            answer.set_len(self.bytes);
        }
        answer
    }
}
