//! The values that can travel between processes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that can be an argument or a result: any type that has serde's `Serialize` and `Deserialize` and owns its
/// data.
///
/// The trait is implemented for every such type: deriving serde's traits is enough. A type that borrows cannot travel.
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
