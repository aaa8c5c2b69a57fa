//! Arguments that the caller lends: they are encoded as the owned value is, without a clone.
//!
//! Invariant: what is written is what the owned value would write, byte for byte.

use crate::codec::numbers;
use crate::codec::value::Value;
use std::any::{Any, TypeId};
use std::path::{Path, PathBuf};

/// What can be lent in place of an argument of type `A`: the value itself, a `str` for a `String`, a slice for a `Vec`, a `Path` for a
/// `PathBuf`. See [`Task::call_ref`](crate::Task::call_ref). Sealed.
///
/// ```
/// use multicore::{Lent, Task};
///
/// /// Takes what the caller has: a `String` or a `&str`.
/// fn add<Q: Lent<String> + ?Sized>(task: &Task<usize>, text: &Q) {
///     task.call_ref(|text: String| text.len(), text);
/// }
///
/// let task = Task::<usize>::new_or_inline();
/// add(&task, "four");
/// add(&task, &"seven".to_string());
/// assert_eq!(task.get()?, [4, 5]);
/// # Ok::<(), multicore::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be lent for an argument of type `{A}`",
    label = "the function takes `{A}`",
    note = "lend `&A` itself, a `&str` for a `String`, a `&[T]` for a `Vec<T>`, or a `&Path` for a `PathBuf`"
)]
pub trait Lent<A>: sealed::Lent<A> {}

mod sealed {
    use serde::Serialize;

    pub trait Lent<A>: Serialize + 'static {
        /// The owned value, as it is lent.
        fn lend(owned: &A) -> &Self;

        /// Appends what travels as it is. False: it does not.
        fn append_bytes(&self, buffer: &mut Vec<u8>) -> bool;
    }
}

pub(crate) use self::sealed::Lent as Lend;

impl<T: Value> Lent<T> for T {}
impl<T: Value> Lend<T> for T {
    #[inline(always)]
    fn lend(owned: &T) -> &T {
        owned
    }

    fn append_bytes(&self, buffer: &mut Vec<u8>) -> bool {
        let any: &dyn Any = self;
        let text = any.downcast_ref::<String>().map(String::as_bytes);
        let bytes = text.or_else(|| any.downcast_ref::<Vec<u8>>().map(Vec::as_slice));
        let numbers = if bytes.is_none() { numbers::bytes_of(self) } else { None };
        let bytes = bytes.or(numbers.as_deref());
        buffer.extend_from_slice(bytes.unwrap_or_default());
        bytes.is_some()
    }
}

impl Lent<String> for str {}
impl Lend<String> for str {
    fn lend(owned: &String) -> &str {
        owned
    }

    fn append_bytes(&self, buffer: &mut Vec<u8>) -> bool {
        buffer.extend_from_slice(self.as_bytes());
        true
    }
}

impl<T: Value> Lent<Vec<T>> for [T] {}
impl<T: Value> Lend<Vec<T>> for [T] {
    fn lend(owned: &Vec<T>) -> &[T] {
        owned
    }

    fn append_bytes(&self, buffer: &mut Vec<u8>) -> bool {
        let are_bytes = TypeId::of::<T>() == TypeId::of::<u8>();
        if are_bytes {
            // The type is known when this is compiled, so this is one copy.
            let byte = |item: &T| (item as &dyn Any).downcast_ref::<u8>().copied().unwrap_or_default();
            buffer.extend(self.iter().map(byte));
        }
        are_bytes || numbers::append_items(self, buffer)
    }
}

impl Lent<PathBuf> for Path {}
impl Lend<PathBuf> for Path {
    fn lend(owned: &PathBuf) -> &Path {
        owned
    }

    fn append_bytes(&self, _: &mut Vec<u8>) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
