//! What is to be freed, or allocated, without the lock: to give a gigabyte back to the kernel takes a tenth of a second, and
//! to clear a large page 0.2 to 10 ms.
//!
//! Invariant: it is empty whenever the lock is free; `Shared::release` takes what is in it, and drops it after.

use super::blocks::BlockQueue;
use crate::codec::bytes::{Arguments, Reply};
use crate::engine::piece::WaitingPiece;
use crate::sys::allocator::Pages;
use std::any::Any;

/// Shorter buffers are freed where they are: as many as one hold of the lock handles take less than 0.1 ms.
const LONG_BYTES: usize = 64 * 1024;

/// Memory that nobody needs any more.
#[derive(Debug, Default)]
#[must_use = "it is to be dropped without the lock"]
pub(crate) struct Trash {
    buffers: Vec<Vec<u8>>,
    /// The waiting pieces of tasks that have ended, the memory of pieces that were taken, and more.
    rest: Vec<Box<dyn Any + Send>>,
    /// Pages that results will need which are on their way.
    pages: Vec<Pages>,
}

impl Trash {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.rest.is_empty() && self.pages.is_empty()
    }

    #[inline]
    pub(crate) fn add(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() >= LONG_BYTES {
            self.buffers.push(buffer);
        }
    }

    pub(crate) fn add_all(&mut self, buffers: impl IntoIterator<Item = Vec<u8>>) {
        buffers.into_iter().for_each(|buffer| self.add(buffer));
    }

    /// A result that nobody wants.
    #[inline]
    pub(crate) fn add_reply(&mut self, reply: Reply) {
        if let Reply::Heap(buffer) = reply {
            self.add(buffer);
        }
    }

    /// Arguments that nobody wants.
    pub(crate) fn add_arguments(&mut self, arguments: Arguments) {
        if let Arguments::Heap(buffer) = arguments {
            self.add(buffer);
        }
    }

    /// The waiting pieces of a task that has ended.
    pub(crate) fn add_waiting(&mut self, waiting: BlockQueue<WaitingPiece>) {
        if !waiting.is_empty() {
            self.rest.push(Box::new(waiting));
        }
    }

    /// Anything else.
    #[cold]
    pub(crate) fn add_rest<T: Send + 'static>(&mut self, rest: T) {
        self.rest.push(Box::new(rest));
    }

    #[inline]
    pub(crate) fn add_pages(&mut self, pages: Option<Pages>) {
        self.pages.extend(pages);
    }

    /// Frees and allocates all that is in it, without the lock.
    pub(crate) fn clear_out(self) {
        let Trash { buffers, rest, pages } = self;
        drop((buffers, rest));
        pages.into_iter().for_each(Pages::allocate);
    }

    pub(crate) fn take(&mut self) -> Trash {
        std::mem::take(self)
    }
}
