//! The results of a task as a stream of bytes: what [`Task::write_to`] writes and a [`Reader`] reads.
//!
//! Invariant: bytes come once and in order, each piece's before those of the next one; parts of a piece come only where the task
//! [hands them on](Task::hands_parts_on).

use super::Task;
use crate::backend::waking::Until;
use crate::backend::{Outcomes, Parts, ReadOrder, Settled};
use crate::codec::bytes::Reply;
use crate::codec::sink::Bytes;
use crate::codec::value::Value;
use crate::codec::{self, Format};
use crate::error::{Error, ErrorKind};
use std::io::{self, BufRead, Read};

/// Memory of parts is used again up to this length: a part has 128 KiB, but what was kept until its piece came in turn
/// may have far more.
const SPARE_BYTES: usize = 256 * 1024;

impl<R: Bytes> Task<R> {
    /// Reads the results one after the other in `run` order, as a stream of bytes; parts of a piece that
    /// [writes its result](Self::run_into) while it runs, but not with [`retries`](Self::retries) or
    /// [`whole_pieces`](Self::whole_pieces): then when it has ended. Bounded as [`iter`](Self::iter).
    ///
    /// ```
    /// use std::io::BufRead;
    ///
    /// let task = multicore::Task::<String>::new_or_inline();
    /// task.run(|a: u32, b: u32| format!("{a}\n{b}"), 1, 2);
    /// task.run(|a: u32, b: u32| format!("{a}\n{b}"), 3, 4);
    /// let lines: Result<Vec<_>, _> = task.reader().lines().collect();
    /// assert_eq!(lines.unwrap(), ["1", "23", "4"]);
    /// ```
    ///
    /// # Errors
    /// An error of a piece comes from the reader as an [`io::Error`] that [holds it](std::io::Error::get_ref), after all that was
    /// read before it; then the stream is at its end. With [`Format::Json`] that is an
    /// [`Encode`](crate::ErrorKind::Encode) error.
    pub fn reader(self) -> Reader<R> {
        Reader::new(self)
    }
}

/// Where in a task's bytes its reader stands.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Outcomes that were taken and not read.
    batch: <Outcomes as IntoIterator>::IntoIter,
    /// The piece that is read.
    next: usize,
    /// How many pieces are left.
    left: usize,
    spare: Vec<u8>,
}

/// Some bytes of a task's results.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The piece.
    pub(super) number: usize,
    pub(super) bytes: Reply,
    /// More of the piece may follow.
    is_part: bool,
}

impl Cursor {
    pub(super) fn new<R: Value>(task: &Task<R>) -> Self {
        Cursor { batch: Outcomes::Many(Vec::new()).into_iter(), next: 0, left: task.left(), spare: Vec::new() }
    }

    /// The next bytes, or the error of a piece. `None` at the end, or if there are none until then.
    pub(super) fn next<R: Value>(&mut self, task: &Task<R>, until: Until<'_>) -> Option<Result<Chunk, Error>> {
        loop {
            if self.left == 0 {
                return None;
            }
            if let Some(settled) = self.batch.next() {
                (self.next, self.left) = (self.next + 1, self.left - 1);
                return Some(match settled {
                    Settled::Done(bytes) => Ok(Chunk { number: self.next - 1, bytes, is_part: false }),
                    Settled::Failed(error) => Err(error),
                });
            }
            self.next = task.next_from(self.next);
            if !task.hands_parts_on() {
                self.batch = task.take_in_order(self.next, ReadOrder::Next, until)?.into_iter();
                continue;
            }
            match task.take_parts(self.next, &mut self.spare, until)? {
                Parts::Part(bytes) => {
                    return Some(Ok(Chunk { number: self.next, bytes: Reply::Heap(bytes), is_part: true }));
                }
                Parts::Rest(outcomes) => self.batch = outcomes.into_iter(),
            }
        }
    }

    /// True if nothing more comes.
    #[cfg_attr(not(feature = "stream"), allow(dead_code))]
    pub(super) fn is_at_end(&self) -> bool {
        self.left == 0
    }

    /// Takes the memory of bytes that were read.
    pub(super) fn reuse<R: Value>(&mut self, task: &Task<R>, chunk: Chunk) {
        match chunk.bytes {
            Reply::Heap(mut buffer)
                if chunk.is_part || buffer.capacity() <= SPARE_BYTES && self.spare.capacity() == 0 =>
            {
                if buffer.capacity() <= SPARE_BYTES {
                    buffer.clear();
                    self.spare = buffer;
                }
            }
            Reply::Heap(buffer) => task.backend.reuse(buffer),
            Reply::Inline { .. } => {}
        }
    }
}

/// A task's results as they are need a type and a format that carry them so.
pub(super) fn check<R: Value>(task: &Task<R>, what: &str) -> Result<(), Error> {
    if codec::is_bytes::<R>() && task.settings.format != Format::Json {
        return Ok(());
    }
    let message = format!(
        "{what} results that travel as they are: let the pieces give a String or Vec<u8>, in Format::Bincode or Format::Raw"
    );
    Err(Error::new(ErrorKind::Encode, message))
}

/// The results of a task, one after the other, as a stream of bytes; made by [`Task::reader`].
#[derive(Debug)]
pub struct Reader<R> {
    task: Task<R>,
    cursor: Cursor,
    chunk: Option<Chunk>,
    /// The bytes of the chunk that were read.
    read: usize,
    is_checked: bool,
}

impl<R: Value> Reader<R> {
    pub(super) fn new(mut task: Task<R>) -> Self {
        task.bound_unread();
        let cursor = Cursor::new(&task);
        Reader { task, cursor, chunk: None, read: 0, is_checked: false }
    }

    /// The bytes that are there and were not read.
    fn rest(&self) -> &[u8] {
        self.chunk.as_ref().map_or(&[], |chunk| &chunk.bytes.as_slice()[self.read..])
    }

    /// Nothing more comes.
    fn end(&mut self) {
        (self.chunk, self.cursor.left) = (None, 0);
        self.task.end_progress();
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        if let Some(chunk) = self.chunk.take() {
            self.cursor.reuse(&self.task, chunk);
        }
        if !self.is_checked {
            self.is_checked = true;
            if let Err(error) = check(&self.task, "a reader gives") {
                self.end();
                return Err(io::Error::other(error));
            }
        }
        match self.cursor.next(&self.task, Until::Outcome) {
            Some(Ok(chunk)) => (self.chunk, self.read) = (Some(chunk), 0),
            Some(Err(error)) => {
                self.end();
                return Err(io::Error::other(error));
            }
            None => self.end(),
        }
        Ok(())
    }
}

impl<R: Value> BufRead for Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // A result may be empty.
        while self.rest().is_empty() && (self.cursor.left > 0 || !self.is_checked) {
            self.next_chunk()?;
        }
        Ok(self.rest())
    }

    fn consume(&mut self, bytes: usize) {
        self.read += bytes.min(self.rest().len());
    }
}

impl<R: Value> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut bytes = self.fill_buf()?;
        let read = bytes.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
