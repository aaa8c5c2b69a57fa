//! The only error type of this program: a sentence for its user, printed as one line on stderr.

use std::fmt;

/// What went wrong, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

pub type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    pub fn new(what: impl fmt::Display) -> Problem {
        Problem(what.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}
