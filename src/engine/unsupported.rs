//! The engine of the platforms where no pool can run: all but Linux on x86-64 and 64-bit Arm, and
//! under miri and loom. It refuses every pool, so a caller's own path runs, and inline tasks work.

use crate::backend::{PoolSettings, Workers};
use crate::error::{Error, ErrorKind};
use std::sync::Arc;

/// Refuses to start a pool.
pub(crate) fn start<T>(_: usize, _: &PoolSettings, _: Vec<T>) -> Result<Arc<dyn Workers>, Error> {
    Err(Error::new(
        ErrorKind::Unsupported,
        "no pool can run here: it takes Linux on x86-64 or 64-bit Arm; run the pieces here, as Task::new_or_inline does",
    )
    .for_good())
}

/// No process is a worker.
#[cfg(feature = "remote")]
pub(crate) fn check_process() -> Result<(), Error> {
    Ok(())
}

/// Nothing starts before `main`.
#[cfg(feature = "remote")]
pub(crate) fn is_plain_executable() -> bool {
    false
}
