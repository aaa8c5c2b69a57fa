//! The settings of the global pool that the environment gives.

use crate::error::{Error, ErrorKind};

/// A pool can have at most 4096 workers, more than machines have cores. A greater number is a mistake: each costs a
/// process, 1.3 MiB of shared memory and five descriptors, 5 GiB and 20,480 descriptors for these.
pub(super) const MAX_WORKERS: usize = 4096;

/// How many workers the global pool has.
const WORKERS_VARIABLE: &str = "MULTICORE_WORKERS";

/// The global pool's load limit, in percent.
const LOAD_VARIABLE: &str = "MULTICORE_MAX_LOAD_AVERAGE";

pub(super) fn workers() -> Result<Option<usize>, Error> {
    let what = format!("a number of workers from 1 to {MAX_WORKERS}, such as 4");
    from_variable(WORKERS_VARIABLE, &what, |workers| (1..=MAX_WORKERS).contains(workers))
}

pub(super) fn max_load_percent() -> Result<Option<f64>, Error> {
    from_variable(LOAD_VARIABLE, "a load limit of 0 percent or more, such as 85", |percent: &f64| {
        percent.is_finite() && *percent >= 0.0
    })
}

/// A number from the environment. A value that is no number, or one that makes no sense, is an
/// error: it never counts as another value.
fn from_variable<T: std::str::FromStr>(name: &str, what: &str, fits: impl Fn(&T) -> bool) -> Result<Option<T>, Error> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    match value.to_str().and_then(|value| value.trim().parse().ok()).filter(fits) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::new(
            ErrorKind::Config,
            format!("{name} is {value:?}, which is not {what}; correct it or unset it"),
        )),
    }
}
