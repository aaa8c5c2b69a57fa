//! The values that can travel between processes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that can be an argument or a result: any type that has serde's `Serialize` and `Deserialize` and owns its
/// data.
///
/// The trait is implemented for every such type: deriving serde's traits is enough.
///
/// # What comes back
///
/// The value that was sent, or an error of kind [`Encode`](crate::ErrorKind::Encode) or
/// [`Decode`](crate::ErrorKind::Decode) that names the type, the field if it is known, and what to do.
///
/// In the default format a value travels without the names of its fields. So both halves of a type must treat the same fields
/// in the same order. serde's derived halves do, except with some attributes: `skip_serializing`,
/// `skip_serializing_if`, `skip_deserializing`, `skip` on a variant, `flatten`, `untagged`, `tag`, and `rename` with unlike
/// names. Where one of these would change a value, the value is refused, and [`Format::Json`](crate::Format::Json) carries it.
/// (A field with `skip` is not written and comes back with its default: that is what the attribute asks for.)
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order {
///     #[serde(default, skip_serializing_if = "Vec::is_empty")]
///     tags: Vec<String>,
///     customer: u64,
/// }
///
/// fn customer(order: Order, _: ()) -> u64 {
///     order.customer
/// }
///
/// let order = || Order { tags: vec![], customer: 7 };
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(customer, order(), ());
/// let error = task.get().unwrap_err();
/// assert_eq!(error.kind(), multicore::ErrorKind::Encode);
/// assert!(error.to_string().contains("`tags`"));
///
/// let task = multicore::Task::<u64>::new_or_inline().format(multicore::Format::Json);
/// task.run(customer, order(), ());
/// assert_eq!(task.get().unwrap(), [7]);
/// ```
///
/// To find this out, the process that encodes a value reads it back on the spot. It does so with the first three values of each
/// shape (the fields that are written, and the variant), or with a few elements of a long list. So a type's own `Deserialize`
/// and `Drop` run there too. Numbers, text and bytes are exempt. Halves that convert values, such as hand-written
/// ones, are tried with these values only: they must convert all others back too.
///
/// # Values that borrow
///
/// A type that borrows cannot travel. The compiler says so in one of these ways:
///
/// ```text
/// error: implementation of `Deserialize` is not general enough
/// error: implementation of `serde_core::de::Deserialize` is not general enough
/// error[E0277]: `&Vec<u64>` cannot travel to another process
/// ```
///
/// Take a `String` instead of a `&str` and a `Vec<T>` instead of a `&Vec<T>`, and borrow it inside:
///
/// ```
/// fn count(text: &str) -> usize {
///     text.split(' ').count()
/// }
///
/// let task = multicore::Task::<usize>::new_or_inline();
/// task.run(|text: String, _| count(&text), "so be it".to_string(), ());
/// assert_eq!(task.get().unwrap(), [3]);
/// ```
///
/// ```compile_fail
/// let task = multicore::Task::<usize>::new_or_inline();
/// task.run(|text: &'static str, _: ()| text.len(), "so be it", ());
/// ```
///
/// ```compile_fail
/// fn sum(numbers: &Vec<u64>, _: ()) -> u64 { numbers.iter().sum() }
/// let task = multicore::Task::<u64>::new_or_inline();
/// task.run(sum, &vec![1, 2], ());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "this type is an argument or a result of a piece",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and let it own its data",
    note = "instead of a reference take the owned value (`String` for `&str`, `Vec<T>` for `&Vec<T>` or `&[T]`) and borrow it inside: `task.run(|s: String, _| f(&s), s, ())`"
)]
pub trait Value: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Value for T {}
