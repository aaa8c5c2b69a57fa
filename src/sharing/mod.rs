//! Read-only values that all workers share: one copy in the machine.
//!
//! A handle points into its table (`codec/tables/table.rs`): to the value in its content, or to the bytes of its memory. What travels is
//! the table's number, and only in the arguments of a piece (`codec/tables/scope.rs`).
//!
//! Invariant: what a handle points to lies in its own table, lives as long as that, and is never written.

#![allow(unsafe_code)]

pub(crate) mod plain;

use self::plain::Plain;
use crate::codec::error::{CodecError, guarded};
use crate::codec::tables::scope;
use crate::codec::tables::table::{Encoding, Table, TableId};
use crate::codec::value::Value;
use crate::codec::{self, Format};
use crate::error::{Error, ErrorKind};
use crate::sys::sealed::Sealed;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

/// A read-only value that all workers use, of which the machine has one copy.
///
/// It is made once, in memory that nobody can change any more, and is an argument like any other: what travels with a piece is a number,
/// whatever the size. A clone is another handle to the same value. In the worker it is a `&T` by [`Deref`].
///
/// ```
/// use multicore::{Shared, Task};
///
/// fn sum((table, start): (Shared<[f64]>, usize), end: usize) -> f64 {
///     table[start..end].iter().sum()
/// }
///
/// let table = Shared::from_slice(&vec![0.5; 100_000])?;
/// let task = Task::<f64>::new_or_inline();
/// for (start, end) in multicore::ranges(table.len()) {
///     task.run(sum, (table.clone(), start), end);
/// }
/// assert_eq!(task.get()?.iter().sum::<f64>(), 50_000.0);
/// # Ok::<(), multicore::Error>(())
/// ```
///
/// | made by                                        | of                                      | in a worker it costs             |
/// |------------------------------------------------|-----------------------------------------|----------------------------------|
/// | [`from_slice`](Self::from_slice), [`build`](Self::build), [`from_str`](Self::from_str) | numbers and other [`Plain`] items; text | nothing: it is mapped |
/// | [`new`](Self::new)                             | any value that can travel and is `Sync` | it is decoded once, and the worker keeps its own |
///
/// # How long it lives
///
/// A piece keeps what its arguments share until it has its outcome. With the last handle in this process the workers let go of
/// theirs; one that a piece has kept, in a static for instance, stays valid. A worker is sent a value before its first piece that has it, and
/// a worker that takes the place of another one too. All handles of a value together keep one file descriptor in this process, and none in a worker. The memory has no
/// name and belongs to no file system: when the last process that has it ends, however that ends, it is gone.
///
/// # Where it can travel
///
/// In the arguments of a piece, at any depth. In a result, in the values of hooks and of
/// [`worker_state`](crate::PoolBuilder::worker_state), in another `Shared`, and wherever else serde writes it, it is an error that says so:
/// [`Encode`](ErrorKind::Encode) for a piece. In the key of a [journal](crate::guide)'s piece it counts by what it contains.
///
/// A worker that can have no further descriptor ends the piece in [`System`](ErrorKind::System). Without a pool the pieces use the
/// same value.
pub struct Shared<T: ?Sized + 'static> {
    table: Arc<Table>,
    value: NonNull<T>,
}

// SAFETY: a handle gives `&T` to its thread, as an `Arc<T>` does, and drops the value with the last handle, on any thread. The table
// itself is `Send` and `Sync`.
unsafe impl<T: ?Sized + Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Shared<T> {}

// What a handle leads to is never changed by way of the handle itself.
impl<T: ?Sized + RefUnwindSafe> UnwindSafe for Shared<T> {}
impl<T: ?Sized + RefUnwindSafe> RefUnwindSafe for Shared<T> {}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared { table: Arc::clone(&self.table), value: self.value }
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `Share::find` made the pointer of a reference into this table: to its content, which is never moved, replaced or given out
        // mutably, or to its memory, which is mapped as long as the table lives and never changes (`sys/sealed.rs`).
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> AsRef<T> for Shared<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// What a [`Shared`] can be of: a value that can travel and is `Sync`, a slice of [`Plain`] items, or a `str`. Sealed.
pub trait Share: sealed::Share {}

impl<T: sealed::Share + ?Sized> Share for T {}

mod sealed {
    use super::*;

    pub trait Share: 'static {
        /// What a table contains, if it is of this type.
        #[doc(hidden)]
        fn find(table: &Found<'_>) -> Option<NonNull<Self>>;
    }

    /// A table, and why it is not of the type.
    pub struct Found<'a> {
        pub(super) table: &'a Table,
        pub(super) error: std::cell::Cell<Option<CodecError>>,
    }

    impl<'a> Found<'a> {
        fn give<T>(&self, found: Result<T, CodecError>) -> Option<T> {
            found.map_err(|error| self.error.set(Some(error))).ok()
        }
    }

    impl<T: Value + Sync> Share for T {
        fn find(found: &Found<'_>) -> Option<NonNull<T>> {
            let decode = |encoding, bytes: &[u8]| guarded(|| codec::decode_result(format_of(encoding), bytes));
            found.give(found.table.value::<T>(decode)).map(NonNull::from)
        }
    }

    impl<T: Plain> Share for [T] {
        fn find(found: &Found<'_>) -> Option<NonNull<[T]>> {
            const { assert!(align_of::<T>() <= 4096, "the alignment of what is shared can be at most 4,096 bytes") };
            let length = found.give(found.table.items_of::<T>())?;
            // The items lie from the beginning of a page on, or there are none with bytes.
            let start = found.table.memory().start().map_or(NonNull::dangling(), NonNull::cast::<T>);
            Some(NonNull::slice_from_raw_parts(start, length))
        }
    }

    impl Share for str {
        fn find(found: &Found<'_>) -> Option<NonNull<str>> {
            let bytes = found.give(found.table.text_bytes())?;
            // SAFETY: a table of this kind is made of a `str` alone, here or in the parent, whose image is this one.
            Some(NonNull::from(unsafe { std::str::from_utf8_unchecked(bytes) }))
        }
    }
}

impl<T: Share + ?Sized> Shared<T> {
    fn of(table: Arc<Table>) -> Result<Self, CodecError> {
        let found = sealed::Found { table: &table, error: std::cell::Cell::new(None) };
        match T::find(&found) {
            Some(value) => Ok(Shared { value, table }),
            None => Err(found.error.take().unwrap_or(CodecError::OtherTable)),
        }
    }
}

fn format_of(encoding: Encoding) -> Format {
    match encoding {
        Encoding::Binary => Format::Bincode,
        Encoding::Json => Format::Json,
    }
}

/// A handle of a table that was made for it.
fn made<T: Share + ?Sized>(table: Arc<Table>) -> Result<Shared<T>, Error> {
    Shared::of(table).map_err(|error| Error::new(ErrorKind::Encode, error.to_string()))
}

fn no_memory(error: io::Error) -> Error {
    Error::system("cannot make shared memory", error)
}

impl<T: Value + Sync> Shared<T> {
    /// Shares a value that can travel and that is `Sync`, since handles may be on several threads. It is encoded now, and each worker decodes
    /// it once, before the first piece that has it. The value itself is dropped with its last handle, on whatever thread that is: if a piece
    /// has it, on one that uses the pool.
    ///
    /// ```
    /// use multicore::{Shared, Task};
    /// use std::collections::HashMap;
    ///
    /// fn length((names, key): (Shared<HashMap<u32, String>>, u32), _: ()) -> usize {
    ///     names.get(&key).map_or(0, String::len)
    /// }
    ///
    /// let names = Shared::new(HashMap::from([(7, "seven".to_string())]))?;
    /// let task = Task::<usize>::new_or_inline();
    /// task.run(length, (names, 7), ());
    /// assert_eq!(task.get()?, [5]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Encode`](ErrorKind::Encode) if it cannot travel as it is; [`System`](ErrorKind::System), or
    /// [`Unsupported`](ErrorKind::Unsupported) where the kernel has no memfd_create or no seals, if there is no memory for it. A piece whose
    /// worker cannot decode it ends in [`Decode`](ErrorKind::Decode).
    pub fn new(value: T) -> Result<Self, Error> {
        let cannot = |why: CodecError| {
            let message = format!("the value to be shared could not be encoded: {why}");
            Error::new(ErrorKind::Encode, message)
        };
        let (encoding, bytes) = match guarded(|| codec::encode_table(Format::Bincode, &value)) {
            Ok(bytes) => (Encoding::Binary, bytes),
            // As JSON it may come back.
            Err(why) => match guarded(|| codec::encode_table(Format::Json, &value)) {
                Ok(bytes) => (Encoding::Json, bytes),
                Err(_) => return Err(cannot(why)),
            },
        };
        let memory = Sealed::of_bytes(&bytes).map_err(no_memory)?;
        drop(bytes);
        made(Table::of_value(value, encoding, memory))
    }
}

impl<T: Plain> Shared<[T]> {
    /// Shares a copy of these items.
    ///
    /// ```
    /// use multicore::{Shared, Task};
    ///
    /// let weights = Shared::from_slice(&[0.25, 0.5, 0.25])?;
    /// let task = Task::<f64>::new_or_inline();
    /// for row in [[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]] {
    ///     task.call(
    ///         |(weights, row): (Shared<[f64]>, [f64; 3])| weights.iter().zip(row).map(|(weight, value)| weight * value).sum(),
    ///         (weights.clone(), row),
    ///     );
    /// }
    /// assert_eq!(task.get()?, [2.0, 4.0]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Shared::new), but for `Encode`.
    pub fn from_slice(items: &[T]) -> Result<Self, Error> {
        // SAFETY: a `Plain` type has no padding, so all its bytes are initialized; the items stay borrowed.
        let bytes = unsafe { std::slice::from_raw_parts(items.as_ptr().cast::<u8>(), size_of_val(items)) };
        let memory = Sealed::of_bytes(bytes).map_err(no_memory)?;
        made(Table::of_items::<T>(items.len(), memory))
    }

    /// Shares `length` items that `fill` writes in place: they are zeroed before. So a large table is never there twice.
    ///
    /// ```
    /// let squares = multicore::Shared::<[u64]>::build(1000, |items| {
    ///     for (number, item) in items.iter_mut().enumerate() {
    ///         *item = (number * number) as u64;
    ///     }
    /// })?;
    /// assert_eq!(squares[12], 144);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if the items take more bytes than there are addresses. Else as [`from_slice`](Self::from_slice).
    ///
    /// # Panics
    ///
    /// Where `fill` does: then there is no table.
    pub fn build(length: usize, fill: impl FnOnce(&mut [T])) -> Result<Self, Error> {
        const { assert!(align_of::<T>() <= 4096, "the alignment of what is shared can be at most 4,096 bytes") };
        let bytes = length.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
        let Some(bytes) = bytes else {
            let message = format!("{length} items of {} bytes are more than a process can address", size_of::<T>());
            return Err(Error::new(ErrorKind::Config, message));
        };
        let fill = |memory: &mut [u8]| {
            let start = if bytes == 0 { NonNull::dangling().as_ptr() } else { memory.as_mut_ptr().cast::<T>() };
            // SAFETY: the memory has the bytes of this many items, begins at a page or has none, is borrowed mutably, and every value of
            // bytes is a value of a `Plain` type.
            fill(unsafe { std::slice::from_raw_parts_mut(start, length) });
        };
        let memory = Sealed::built(bytes, fill).map_err(no_memory)?;
        made(Table::of_items::<T>(length, memory))
    }
}

impl Shared<str> {
    /// Shares a copy of this text.
    ///
    /// ```
    /// use multicore::{Shared, Task};
    ///
    /// let text = Shared::from_str("so be it")?;
    /// let task = Task::<usize>::new_or_inline();
    /// for word in ["be", "or"] {
    ///     task.run(|text: Shared<str>, word: String| text.matches(&word).count(), text.clone(), word.to_string());
    /// }
    /// assert_eq!(task.get()?, [1, 0]);
    /// # Ok::<(), multicore::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Shared::new), but for `Encode`.
    // Of the trait's name, but its error and its argument are others.
    #[allow(clippy::should_implement_trait)]
    pub fn from_str(text: &str) -> Result<Self, Error> {
        let memory = Sealed::of_bytes(text.as_bytes()).map_err(no_memory)?;
        made(Table::of_text(memory))
    }
}

/// Why a handle cannot be written or read here.
const ELSEWHERE: &str =
    "a Shared travels in the arguments of a piece alone, and this is none: return or store what it contains";

impl<T: ?Sized> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !scope::note(&self.table) {
            return Err(S::Error::custom(ELSEWHERE));
        }
        let id = self.table.id();
        if serializer.is_human_readable() {
            serializer.serialize_str(&id.to_text())
        } else {
            id.0.serialize(serializer)
        }
    }
}

impl<'de, T: Share + ?Sized> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            TableId::from_text(&text).ok_or_else(|| D::Error::custom(ELSEWHERE))?
        } else {
            TableId(<[u8; 16]>::deserialize(deserializer)?)
        };
        let table = scope::find(id).ok_or_else(|| D::Error::custom(ELSEWHERE))?;
        Shared::of(table).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
