//! What goes wrong, as a sentence for the user.

use std::fmt;
use std::io;
use std::path::Path;

/// What these functions return.
pub type Result<T> = std::result::Result<T, Problem>;

/// One sentence: what happened, where, and what to do about it.
#[derive(Debug)]
pub struct Problem {
    sentence: String,
    /// The number of the system's error, if it is one.
    system_error: Option<i32>,
}

impl Problem {
    /// A problem with the file.
    pub(crate) fn in_file(path: &Path, what: impl fmt::Display) -> Problem {
        Problem { sentence: format!("{}: {what}", path.display()), system_error: None }
    }

    /// The system refused to do `what` with the file.
    pub(crate) fn system(what: &str, path: &Path, error: &io::Error) -> Problem {
        Problem { sentence: format!("cannot {what} {}: {error}", path.display()), system_error: error.raw_os_error() }
    }

    /// The sentence of a lost or failed piece.
    pub(crate) fn of_piece(error: &multicore::Error) -> Problem {
        Problem { sentence: error.to_string(), system_error: None }
    }

    /// The number of the system's error where the system refused something, as `ENOENT` for a file that does not exist.
    pub fn system_error(&self) -> Option<i32> {
        self.system_error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Problem {}
