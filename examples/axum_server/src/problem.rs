//! What goes wrong, as a sentence for the user.

use std::fmt;

pub type Result<T> = std::result::Result<T, Problem>;

/// One sentence: what happened, and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(String);

impl Problem {
    pub fn new(message: impl fmt::Display) -> Self {
        Problem(message.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
