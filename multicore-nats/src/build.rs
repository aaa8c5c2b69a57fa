//! The identity of this program: which hosts may run its functions.
//!
//! Types and ids agree without a schema if both sides are the same file. So the file is hashed, once in a process.

use crate::identity::Build;
use std::io::Read;
use std::sync::OnceLock;

/// The build of this program.
///
/// # Errors
/// Why its file cannot be read.
pub(crate) fn own() -> Result<Build, String> {
    static BUILD: OnceLock<Result<Build, String>> = OnceLock::new();
    BUILD
        .get_or_init(|| {
            let mut bytes = Vec::new();
            let file = multicore::remote::own_file().map_err(|error| error.to_string())?;
            let mut file = std::io::BufReader::new(file);
            file.read_to_end(&mut bytes).map_err(|error| format!("the program's own file cannot be read: {error}"))?;
            Ok(Build::of(&bytes))
        })
        .clone()
}
