//! Which database the user names: a file.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The place of a database.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Target {
    File(PathBuf),
}

impl Target {
    /// The journal's path if none is given.
    pub fn journal(&self) -> PathBuf {
        let Target::File(path) = self;
        let mut name = path.clone().into_os_string();
        name.push(".journal");
        name.into()
    }
}

/// What is told of a database.
impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target::File(path) = self;
        write!(formatter, "{path:?}")
    }
}
