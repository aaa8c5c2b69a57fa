//! The only error type of this program: a sentence for its user, printed as one line on stderr.
//!
//! The text of a value is always shown with `{:?}`, which escapes line ends.

use std::fmt;
use std::path::Path;

/// What went wrong, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

pub type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    pub fn new(what: impl fmt::Display) -> Problem {
        Problem(what.to_string())
    }

    /// A problem with a file or folder as a whole.
    pub fn with_path(what: &str, path: &Path, why: impl fmt::Display) -> Problem {
        Problem(format!("cannot {what} {path:?}: {why}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

/// What SQLite says when it fails is about the database, which the user knows by its path; so it is shown as it is.
impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Problem {
        Problem(format!("SQLite: {error}"))
    }
}

/// An error with its causes. The `zip` crate's own text for a failed read does not name the cause.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
