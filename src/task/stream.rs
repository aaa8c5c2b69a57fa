//! The results of a task as streams (feature `stream`).
//!
//! Invariant: a stream gives what the iterator of the same name gives, in its order and within its bounds.

use super::Task;
use super::iter::{Iter, IterCompleted};
use super::reader::{self, Cursor};
use crate::backend::waking::Until;
use crate::codec::bytes::Reply;
use crate::codec::value::Value;
use crate::error::Error;
use futures_core::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The most bytes of one item of [`Task::stream_bytes`].
const ITEM_BYTES: usize = 1024 * 1024;

impl<R> Task<R> {
    /// The results in `run` order as a stream, each as soon as it and those before it are there: [`iter`](Self::iter) for async code,
    /// bounded as it is. Needs the feature `stream`.
    ///
    /// Dropping it is dropping the task: see [`kill_on_drop`](Self::kill_on_drop).
    ///
    /// ```
    /// use futures_util::StreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), multicore::Error> {
    /// let task = multicore::Task::<u64>::new_or_inline();
    /// task.run_all(|a: u64, b: u64| a * b, (0..5).map(|a| (a, 2)));
    /// let (mut stream, mut doubled) = (task.stream(), Vec::new());
    /// while let Some(result) = stream.next().await {
    ///     doubled.push(result?);
    /// }
    /// assert_eq!(doubled, [0, 2, 4, 6, 8]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An item is the error of its piece, if that has failed. The others go on.
    pub fn stream(self) -> Results<R>
    where
        R: Value,
    {
        Results { iter: self.iter() }
    }

    /// The results as pieces finish, each with its piece's number, as a stream: [`iter_completed`](Self::iter_completed) for async code.
    /// Needs the feature `stream`.
    ///
    /// ```
    /// use futures_util::StreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), multicore::Error> {
    /// let task = multicore::Task::<usize>::new_or_inline();
    /// task.call_all(|number: usize| number * number, 0..5);
    /// let mut stream = task.stream_completed();
    /// while let Some((number, square)) = stream.next().await {
    ///     assert_eq!(square?, number * number);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub fn stream_completed(self) -> ResultsCompleted<R>
    where
        R: Value,
    {
        ResultsCompleted { iter: self.iter_completed() }
    }

    /// The results one after the other in `run` order, as a stream of bytes, at most 1 MiB an item and none empty: what
    /// [`reader`](Self::reader) reads, for the body of an HTTP response. Of a piece that [writes its result](Self::run_into), parts come while
    /// it runs, and at once after a [`flush`](std::io::Write::flush); with [`retries`](Self::retries) or
    /// [`whole_pieces`](Self::whole_pieces) only when it has ended. Bounded as [`iter`](Self::iter). Needs the feature `stream`.
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use multicore::Sink;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), multicore::Error> {
    /// let task = multicore::Task::<String>::new_or_inline();
    /// task.run_into(|start: usize, end: usize, sink: &mut Sink| sink.push_str(&"streamed"[start..end]), 0, 6);
    /// task.run(|a: String, b: String| a + &b, "e".to_string(), "d".to_string());
    /// // axum: `Body::from_stream(task.stream_bytes())`
    /// let (mut stream, mut body) = (task.stream_bytes(), Vec::new());
    /// while let Some(bytes) = stream.next().await {
    ///     body.extend(bytes?);
    /// }
    /// assert_eq!(body, b"streamed");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first error of a piece is the last item: what came before is a result without its end. Then what has not begun never begins.
    /// With [`Format::Json`](crate::Format::Json), or where the results are neither `String` nor `Vec<u8>`, the only item is an
    /// [`Encode`](crate::ErrorKind::Encode) error.
    pub fn stream_bytes(mut self) -> ResultBytes<R>
    where
        R: Value,
    {
        self.bound_unread();
        let (cursor, is_refused) = (Cursor::new(&self), reader::check(&self, "stream_bytes gives").err());
        ResultBytes { task: Some(self), cursor, is_refused, bytes: Vec::new(), given: 0 }
    }
}

/// The results of a task in `run` order; made by [`Task::stream`].
#[derive(Debug)]
#[must_use = "a task that is dropped at once runs nothing"]
pub struct Results<R> {
    iter: Iter<R>,
}

// Nothing in it is pinned. So of the other two.
impl<R> Unpin for Results<R> {}

impl<R: Value> Stream for Results<R> {
    type Item = Result<R, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().iter.next_until(Until::Woken(context.waker()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.iter.size_hint()
    }
}

/// The results of a task as its pieces finish; made by [`Task::stream_completed`].
#[derive(Debug)]
#[must_use = "a task that is dropped at once runs nothing"]
pub struct ResultsCompleted<R> {
    iter: IterCompleted<R>,
}

impl<R> Unpin for ResultsCompleted<R> {}

impl<R: Value> Stream for ResultsCompleted<R> {
    type Item = (usize, Result<R, Error>);

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().iter.next_until(Until::Woken(context.waker()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.iter.size_hint()
    }
}

/// The results of a task as bytes; made by [`Task::stream_bytes`].
#[derive(Debug)]
#[must_use = "a task that is dropped at once runs nothing"]
pub struct ResultBytes<R> {
    /// `None` once all was taken, or after an error.
    task: Option<Task<R>>,
    cursor: Cursor,
    is_refused: Option<Error>,
    /// Bytes that were taken, and how many of them were given.
    bytes: Vec<u8>,
    given: usize,
}

impl<R> Unpin for ResultBytes<R> {}

impl<R> ResultBytes<R> {
    /// The next item of what was taken.
    fn next_item(&mut self) -> Option<Vec<u8>> {
        let left = self.bytes.len() - self.given;
        if left == 0 {
            return None;
        }
        if self.given == 0 && left <= ITEM_BYTES {
            return Some(std::mem::take(&mut self.bytes));
        }
        let item = self.bytes[self.given..][..left.min(ITEM_BYTES)].to_vec();
        self.given += item.len();
        if self.given == self.bytes.len() {
            (self.bytes, self.given) = (Vec::new(), 0);
        }
        Some(item)
    }
}

impl<R: Value> Stream for ResultBytes<R> {
    type Item = Result<Vec<u8>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(error) = this.is_refused.take() {
            this.task = None;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Some(item) = this.next_item() {
                return Poll::Ready(Some(Ok(item)));
            }
            let Some(task) = &this.task else { return Poll::Ready(None) };
            match this.cursor.next(task, Until::Woken(context.waker())) {
                Some(Ok(chunk)) => {
                    this.bytes = match chunk.bytes {
                        Reply::Heap(bytes) => bytes,
                        short => short.as_slice().to_vec(),
                    }
                }
                Some(Err(error)) => {
                    this.task = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None if this.cursor.is_at_end() => this.task = None,
                None => return Poll::Pending,
            }
        }
    }
}
