//! Pieces that write their result: [`Task::run_into`].

use super::refusal::Refusal;
use super::{BATCH_BYTES, Batch, Task};
use crate::backend::Site;
use crate::codec::call::Call;
use crate::codec::error::guarded;
use crate::codec::sink::{Bytes, Outcome, Sink};
use crate::codec::tables::scope;
use crate::codec::value::Value;
use crate::codec::{self, Encoded, Format};
use crate::error::ErrorKind;
use std::panic::Location;

impl<R: Bytes> Task<R> {
    /// Hands out a piece that writes its result while it runs: `function(start, end, sink)`. Else as [`run`](Self::run), with
    /// whose pieces it mixes.
    ///
    /// What it writes is the piece's result: a `String` or `Vec<u8>`. It goes through the memory that worker and program share,
    /// and needs none of its own in the worker. [`write_to`](Self::write_to) and [`reader`](Self::reader) hand it on while the
    /// piece runs, but not with [`retries`](Self::retries) or [`whole_pieces`](Self::whole_pieces): then when it has ended. The other ways of
    /// collecting give it whole, and check there that a `String` is text. The format must not be JSON.
    ///
    /// The function returns nothing, or a `Result<(), E>`. An `Err` ends the piece in [`Failed`](crate::ErrorKind::Failed), as
    /// with [`try_run`](Self::try_run).
    ///
    /// ```
    /// use multicore::Sink;
    ///
    /// fn squares(start: u64, end: u64, sink: &mut Sink) -> std::io::Result<()> {
    ///     for number in start..end {
    ///         writeln!(sink, "{}", number * number)?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let task = multicore::Task::<String>::new_or_inline();
    /// task.run_into(squares, 0, 3);
    /// task.run_into(squares, 3, 5);
    /// assert_eq!(task.get().unwrap(), ["0\n1\n4\n", "9\n16\n"]);
    /// ```
    #[track_caller]
    pub fn run_into<A: Value, B: Value, O: Outcome>(&self, function: fn(A, B, &mut Sink) -> O, start: A, end: B) {
        let site = Site { call: Call::of_writing_pair(function), location: Location::caller() };
        if self.settings.format == Format::Json {
            return self.add_unwritable(site);
        }
        self.add_pair(site, &(start, end));
    }

    /// Hands out such a piece for each pair, some at a time.
    ///
    /// ```
    /// use multicore::Sink;
    ///
    /// let task = multicore::Task::<String>::new_or_inline();
    /// task.run_all_into(|start: usize, end: usize, sink: &mut Sink| sink.push_str(&"ab"[start..end]), [(0, 1), (1, 2)]);
    /// assert_eq!(task.get().unwrap(), ["a", "b"]);
    /// ```
    ///
    /// # Panics
    /// Where `pairs` does, as with [`run_all`](Self::run_all).
    #[track_caller]
    pub fn run_all_into<A: Value, B: Value, O: Outcome>(
        &self,
        function: fn(A, B, &mut Sink) -> O,
        pairs: impl IntoIterator<Item = (A, B)>,
    ) {
        let site = Site { call: Call::of_writing_pair(function), location: Location::caller() };
        if self.settings.format == Format::Json {
            return pairs.into_iter().for_each(|_| self.add_unwritable(site));
        }
        self.add_pairs(site, pairs);
    }

    #[cold]
    fn add_unwritable(&self, site: Site) {
        self.count(1);
        if matches!(self.refusal, Some(Refusal::Late(_))) {
            return self.refuse(site);
        }
        let message =
            "never began: what a piece writes travels as it is, which Format::Json does not: use another format";
        self.backend.add_failed(self.key, site, ErrorKind::Encode, message.to_string());
    }
}

impl<R> Task<R> {
    /// Hands the result of a piece on only when the piece has ended, so that a reader sees nothing of one that fails. Default: false,
    /// but true with [`retries`](Self::retries): nothing is seen twice. Before the first `run`.
    ///
    /// ```
    /// use multicore::Sink;
    ///
    /// fn halves(number: u32, _: (), sink: &mut Sink) -> Result<(), String> {
    ///     sink.push_str("first half, ");
    ///     if number == 2 {
    ///         return Err("there is no second half".to_string());
    ///     }
    ///     sink.push_str("second half\n");
    ///     Ok(())
    /// }
    ///
    /// let task = multicore::Task::<String>::new_or_inline().whole_pieces(true);
    /// task.run_all_into(halves, [(1, ()), (2, ())]);
    /// let mut file = Vec::new();
    /// assert_eq!(task.write_to(&mut file).unwrap_err().piece(), Some(1));
    /// assert_eq!(file, b"first half, second half\n");
    /// ```
    pub fn whole_pieces(mut self, whole: bool) -> Self {
        if self.is_in_time("whole_pieces") {
            self.whole_pieces = whole;
        }
        self
    }

    /// True if parts of a result are handed on while its piece runs.
    pub(super) fn hands_parts_on(&self) -> bool
    where
        R: Value,
    {
        !self.whole_pieces && self.settings.retries == 0
    }

    /// Hands out a piece for each pair.
    pub(super) fn add_pairs<A: Value, B: Value>(&self, site: Site, pairs: impl IntoIterator<Item = (A, B)>)
    where
        R: Value,
    {
        let format = self.settings.format;
        let mut batch = Batch::new(self.take_scratch());
        let refuses = self.refuses();
        let shares_nothing = codec::shares_nothing::<A>() && codec::shares_nothing::<B>();
        // The iterator may hand out pieces of this very task: nothing is borrowed.
        for (start, end) in pairs {
            let from = batch.bytes.len();
            let encode = || guarded(|| codec::append_pair(format, &(start, end), &mut batch.bytes));
            let (encoded, tables) = scope::noting_unless(shares_nothing, encode);
            match encoded {
                Ok(()) if batch.bytes.len() - from < BATCH_BYTES && !refuses && tables.is_none() => {
                    batch.ends.push(batch.bytes.len());
                    if batch.is_full() {
                        self.add_batch(site, &mut batch);
                    }
                }
                encoded => {
                    let own = batch.split_off(from);
                    self.add_batch(site, &mut batch);
                    self.add(site, (encoded.map(|()| Encoded::Own(own)), tables), &mut Vec::new());
                }
            }
        }
        self.add_batch(site, &mut batch);
        self.keep_scratch(batch.bytes);
    }
}
