//! The only error type of this program: a sentence for its user.
//!
//! Every problem is printed as one line on stderr. So the text of a value is always shown with `{:?}`, which escapes line ends.

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

    /// A problem with a row of a table: names the file and the row's first line, counted from 1.
    pub fn in_line(file: &Path, line: u64, what: impl fmt::Display) -> Problem {
        Problem(format!("{} line {line}: {what}", file_name(file)))
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

/// The name of a table's file, without the folder: that of a feed from a zip is temporary and will be gone when the message is
/// read.
pub fn file_name(file: &Path) -> std::borrow::Cow<'_, str> {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy()
}
