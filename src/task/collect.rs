//! Collecting a task's results: waiting for them, decoding them, writing them.

use crate::backend::waking::Until;
use crate::backend::{Finished, Outcomes, Parts, ReadOrder, Settled, Wanted};
use crate::codec::bytes::Reply;
use crate::codec::error::{CodecError, guarded};
use crate::codec::value::Value;
use crate::codec::{self, Format};
use crate::error::{Error, ErrorKind};
use crate::task::Task;
use crate::task::early::Early;
use crate::task::reader::{self, Cursor};
use std::io;
use std::time::{Duration, Instant};

/// While a task is read piece by piece, pieces wait once 64 MiB of results are unread. That is the longest
/// result that is always allowed. With a tenth, a few big results would stop the workers; with ten times, a
/// slow reader would hold most of a gigabyte.
const MAX_UNREAD_BYTES: usize = 64 * 1024 * 1024;

impl<R> Task<R> {
    /// Waits for all pieces and gives their results in `run` order, but for those that [`next`](Self::next) or
    /// [`next_completed`](Self::next_completed) has given before.
    ///
    /// ```
    /// let task = multicore::Task::<u64>::new_or_inline();
    /// task.call_all(|n: u64| n * n, 1..=4);
    /// assert_eq!(task.get()?, [1, 4, 9, 16]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of the failed piece with the lowest number; what has not begun then never begins.
    pub fn get(self) -> Result<Vec<R>, Error>
    where
        R: Value,
    {
        self.get_until(None).unwrap_or_else(|read| Err(self.unfinished(read)))
    }

    /// As [`get`](Self::get), but waits no longer than `timeout` for all of it.
    ///
    /// # Errors
    /// As [`get`](Self::get); and [`TimedOut`](ErrorKind::TimedOut), without a piece, if the time
    /// has passed: then what has not begun never begins, and what runs is killed with its worker.
    /// [`Duration::ZERO`] gives what is there, [`Duration::MAX`] waits for ever.
    pub fn get_timeout(mut self, timeout: Duration) -> Result<Vec<R>, Error>
    where
        R: Value,
    {
        let deadline = Instant::now().checked_add(timeout);
        self.get_until(deadline).unwrap_or_else(|read| {
            let pieces = self.len();
            self.kill();
            let message =
                format!("the task was not done within {timeout:?}: {read} of its {pieces} pieces were read by then");
            Err(Error::new(ErrorKind::TimedOut, message))
        })
    }

    /// Waits for all pieces and gives each one's own outcome, in `run` order.
    #[must_use]
    pub fn get_each(self) -> Vec<Result<R, Error>>
    where
        R: Value,
    {
        let left = self.left();
        let (mut results, mut next) = (Vec::with_capacity(left), 0);
        while results.len() < left {
            next = self.next_from(next);
            let Some(batch) = self.take_in_order(next, ReadOrder::All, Until::Outcome) else { break };
            for settled in batch {
                results.push(self.decode(next, settled));
                next += 1;
            }
        }
        results
    }

    /// Writes the results one after the other in `run` order, as they come, and gives the number of
    /// bytes written. `R` must be `String` or `Vec<u8>`, and the format not JSON; bounded as
    /// [`iter`](Self::iter). Of a piece that [writes its result](Self::run_into), parts are written while it runs, but not with
    /// [`retries`](Self::retries) or [`whole_pieces`](Self::whole_pieces): then when it has ended.
    ///
    /// ```
    /// let task = multicore::Task::<String>::new_or_inline();
    /// task.call_all(|n: u32| format!("{n}\n"), 0..3);
    /// let mut file = Vec::new(); // or a BufWriter of a File
    /// assert_eq!(task.write_to(&mut file)?, 6);
    /// assert_eq!(file, b"0\n1\n2\n");
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get), with what came before the failed piece written, and perhaps a first part of what that piece wrote;
    /// [`Encode`](ErrorKind::Encode) if the results are not bytes; [`System`](ErrorKind::System)
    /// if writing fails.
    pub fn write_to(mut self, writer: &mut (impl io::Write + ?Sized)) -> Result<u64, Error>
    where
        R: Value,
    {
        reader::check(&self, "write_to writes")?;
        self.bound_unread();
        let (mut cursor, mut written) = (Cursor::new(&self), 0);
        while let Some(chunk) = cursor.next(&self, Until::Outcome) {
            let chunk = chunk?;
            let (bytes, number) = (chunk.bytes.as_slice(), chunk.number);
            writer.write_all(bytes).map_err(|error| {
                Error::system(&format!("cannot write the result of piece {number}, {} bytes", bytes.len()), error)
            })?;
            written += bytes.len() as u64;
            cursor.reuse(&self, chunk);
        }
        Ok(written)
    }

    /// All results, or the error of the first piece that failed. If the deadline passes before: the
    /// number of results that were read by then.
    fn get_until(&self, deadline: Option<Instant>) -> Result<Result<Vec<R>, Error>, usize>
    where
        R: Value,
    {
        let left = self.left();
        let (mut results, mut next) = (Vec::with_capacity(left), 0);
        while results.len() < left {
            next = self.next_from(next);
            let Some(batch) = self.take_in_order(next, ReadOrder::All, Until::at(deadline)) else {
                return Err(self.taken() + results.len());
            };
            let before = results.len();
            if let Err(error) = self.decode_all(next, batch, &mut results) {
                return Ok(Err(error));
            }
            next += results.len() - before;
        }
        Ok(Ok(results))
    }

    /// A wait without a deadline ends with an outcome. This is the error of one that did not.
    pub(super) fn unfinished(&self, read: usize) -> Error
    where
        R: Value,
    {
        Error::new(ErrorKind::Cancelled, format!("the task ended after {read} of its {} pieces", self.len()))
    }

    pub(super) fn bound_unread(&mut self)
    where
        R: Value,
    {
        if self.settings.max_unread_bytes.is_none() {
            self.configure(|settings| settings.max_unread_bytes = Some(MAX_UNREAD_BYTES));
        }
    }

    #[inline(always)]
    pub(super) fn take_in_order(&self, next: usize, order: ReadOrder, until: Until<'_>) -> Option<Outcomes>
    where
        R: Value,
    {
        if let Some(kept) = self.take_kept() {
            return Some(kept);
        }
        let taken = self.backend.take_in_order(self.key, next, order, until);
        self.tell_progress();
        taken
    }

    #[inline]
    fn take_kept(&self) -> Option<Outcomes>
    where
        R: Value,
    {
        self.cells.borrow_mut().early.as_mut()?.take_kept()
    }

    /// What the caller takes before it collects the task.
    #[inline]
    pub(super) fn early(&mut self) -> &mut Early
    where
        R: Value,
    {
        self.cells.get_mut().early.get_or_insert_default()
    }

    pub(super) fn take_parts(&self, next: usize, spare: &mut Vec<u8>, until: Until<'_>) -> Option<Parts>
    where
        R: Value,
    {
        if let Some(kept) = self.take_kept() {
            return Some(Parts::Rest(kept));
        }
        let taken = self.backend.take_parts(self.key, next, spare, until);
        self.tell_progress();
        taken
    }

    pub(super) fn take_finished(&mut self, until: Until<'_>) -> Option<(usize, Settled)>
    where
        R: Value,
    {
        let wanted = Wanted::First { lowest: self.next_from(0) };
        let Finished { number, settled, .. } = self.backend.take_finished(self.key, wanted, until)?;
        self.tell_progress();
        Some(self.takes(number, settled))
    }

    /// The caller takes this outcome.
    #[inline]
    pub(super) fn takes(&mut self, number: usize, settled: Settled) -> (usize, Settled)
    where
        R: Value,
    {
        self.early().taken.add(number);
        (number, settled)
    }

    /// Some of the outcomes that are there, without waiting for one.
    pub(super) fn take_all_finished(&self) -> Vec<Finished>
    where
        R: Value,
    {
        let (all, _) = self.backend.take_all_finished(self.key);
        self.tell_progress();
        all
    }

    /// How many pieces the caller has taken before it collects the task.
    #[inline]
    fn taken(&self) -> usize
    where
        R: Value,
    {
        self.cells.borrow().early.as_ref().map_or(0, |early| early.taken.count())
    }

    /// How many pieces the caller has not taken.
    #[inline]
    pub(super) fn left(&self) -> usize
    where
        R: Value,
    {
        self.len() - self.taken()
    }

    /// How many pieces are left for a caller that takes them as they finish.
    #[inline]
    pub(super) fn left_to_finish(&self) -> usize
    where
        R: Value,
    {
        let taken = self.cells.borrow().early.as_ref().map_or(0, |early| early.already_done);
        self.left() - (self.backend.already_done(self.key) - taken)
    }

    /// The lowest piece from this one on that the caller has not taken.
    #[inline]
    pub(super) fn next_from(&self, number: usize) -> usize
    where
        R: Value,
    {
        self.cells.borrow().early.as_ref().map_or(number, |early| early.taken.next_from(number))
    }

    /// Decodes the results from piece `first` on behind those that are there, up to the first error.
    pub(super) fn decode_all(&self, first: usize, batch: Outcomes, results: &mut Vec<R>) -> Result<(), Error>
    where
        R: Value,
    {
        let (format, before) = (self.settings.format, results.len());
        // One guard for all: a guard for each result takes longer than to decode a number.
        let (one, many) = batch.into_parts();
        let decoded = guarded(|| {
            // One place that decodes: with two, the compiler calls what it would inline.
            let mut many = many.into_iter();
            let mut next = one.or_else(|| many.next());
            while let Some(settled) = next {
                match settled {
                    Settled::Done(reply) => results.push(decode_reply(format, reply)?),
                    Settled::Failed(error) => return Ok(Err(error)),
                }
                next = many.next();
            }
            Ok(Ok(()))
        });
        decoded.unwrap_or_else(|reason| Err(self.decode_error(first + results.len() - before, &reason)))
    }

    /// Each one's own result, from piece `first` on.
    pub(super) fn decode_each(&self, first: usize, batch: Outcomes) -> Vec<Result<R, Error>>
    where
        R: Value,
    {
        let format = self.settings.format;
        let mut results = Vec::with_capacity(batch.len());
        let mut left = batch.into_iter();
        loop {
            // One guard for all, and another one after each result that cannot be decoded.
            let decoded = guarded(|| {
                for settled in left.by_ref() {
                    results.push(match settled {
                        Settled::Done(reply) => Ok(decode_reply(format, reply)?),
                        Settled::Failed(error) => Err(error),
                    });
                }
                Ok(())
            });
            let Err(reason) = decoded else { return results };
            results.push(Err(self.decode_error(first + results.len(), &reason)));
        }
    }

    pub(super) fn decode(&self, number: usize, settled: Settled) -> Result<R, Error>
    where
        R: Value,
    {
        match settled {
            Settled::Done(reply) => guarded(|| decode_reply(self.settings.format, reply))
                .map_err(|reason| self.decode_error(number, &reason)),
            Settled::Failed(error) => Err(error),
        }
    }

    #[cold]
    fn decode_error(&self, number: usize, reason: &CodecError) -> Error
    where
        R: Value,
    {
        let error = Error::new(ErrorKind::Decode, format!("returned a result that could not be decoded: {reason}"));
        match self.backend.label(self.key, number) {
            Some(label) => error.with_piece(label, 1),
            None => error,
        }
    }
}

#[inline(always)]
fn decode_reply<R: Value>(format: Format, reply: Reply) -> Result<R, CodecError> {
    match reply {
        Reply::Heap(bytes) => codec::decode_result_owned(format, bytes),
        reply => codec::decode_result(format, reply.as_slice()),
    }
}
