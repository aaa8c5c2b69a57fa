//! Pieces whose argument the caller keeps: [`Task::call_ref`].

use super::Task;
use crate::backend::Site;
use crate::codec;
use crate::codec::call::Call;
use crate::codec::error::guarded;
use crate::codec::lent::Lent;
use crate::codec::tables::scope;
use crate::codec::value::Value;
use std::panic::Location;

impl<R> Task<R> {
    /// Hands out a piece for an argument that the caller keeps: as [`call`](Self::call), without a clone. A `String` may be lent as a
    /// `&str`, a `Vec<T>` as a `&[T]`, a `PathBuf` as a `&Path`, and every value as itself.
    ///
    /// ```
    /// let text = "what a word".to_string();
    /// let task = multicore::Task::<usize>::new_or_inline();
    /// for word in text.split(' ') {
    ///     task.call_ref(|word: String| word.len(), word);
    /// }
    /// task.call_ref(|words: Vec<u32>| words.len(), &[1, 2, 3][1..]);
    /// assert_eq!(task.get()?, [4, 1, 4, 2]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    #[track_caller]
    pub fn call_ref<A: Value, Q: Lent<A> + ?Sized>(&self, function: fn(A) -> R, argument: &Q)
    where
        R: Value,
    {
        let site = Site { call: Call::of_argument(function), location: Location::caller() };
        let mut scratch = self.take_scratch();
        let encode = || guarded(|| codec::encode_lent::<A, Q>(self.settings.format, argument, &mut scratch));
        let encoded = scope::noting_unless(codec::shares_nothing::<A>(), encode);
        self.add(site, encoded, &mut scratch);
        self.keep_scratch(scratch);
    }
}
