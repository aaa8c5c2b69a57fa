//! An error that travels as a result: its messages, without its type.

use crate::codec::messages;
use std::error::Error as StdError;
use std::fmt;

/// An error as a value, for pieces that can fail: `fn(A, B) -> Result<T, Failure>`, with `?`.
///
/// It keeps the messages of an error and of all its sources, and travels like any other result. A piece that fails so has ended
/// well for its task; with [`Task::try_run`](crate::Task::try_run) its error is the piece's.
///
/// ```
/// use multicore::Failure;
///
/// fn parse(text: String, _: ()) -> Result<u32, Failure> {
///     Ok(text.parse()?)
/// }
///
/// let task = multicore::Task::<Result<u32, Failure>>::new_or_inline();
/// task.run(parse, "12".to_string(), ());
/// task.run(parse, "twelve".to_string(), ());
/// let results = task.get().unwrap();
/// assert_eq!(results[0].as_ref().unwrap(), &12);
/// assert_eq!(results[1].as_ref().unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    messages: Vec<String>,
}

impl Failure {
    /// A failure with this message and no sources.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Failure { messages: vec![message.into()] }
    }

    /// The error's own message, then its source's message, and so on.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(String::as_str)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join(": "))
    }
}

// `Failure` does not implement `Error` itself: this `impl` would then overlap with `impl From<T> for T`.
impl<E: StdError> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut messages = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            messages.push(error.to_string());
            source = error.source();
        }
        Failure { messages }
    }
}

/// With the messages of the failure, each said once. So [`Task::try_run`](crate::Task::try_run) takes a function that
/// returns a failure.
impl From<Failure> for Box<dyn StdError + Send + Sync> {
    fn from(failure: Failure) -> Self {
        let mut text = String::new();
        failure.messages().for_each(|message| messages::add(&mut text, message));
        text.into()
    }
}
