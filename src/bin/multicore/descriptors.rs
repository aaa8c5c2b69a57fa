//! The limit of open descriptors: the runner lifts its own for many slots, and jobs keep what they had.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a pool needs for one worker, and what all else needs. Generous: it only says when to lift the limit.
const EACH: u64 = 8;
const OTHERS: u64 = 64;

/// Lifts the limit of this process as far as it may, if that number of workers might need it. Gives the limit before.
pub fn lift_for(workers: usize) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let before = limit.current.filter(|&before| before < workers as u64 * EACH + OTHERS)?;
    // Where it fails, the pool says what it lacks.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok().map(|()| before)
}

/// Lifts the limit of this process as far as it may, until what it gives is dropped: then the limit is that number again.
pub fn raise_from(limit: u64) -> Raised {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it fails, the limit is what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    Raised(limit)
}

#[must_use]
#[derive(Debug)]
pub struct Raised(u64);

impl Drop for Raised {
    fn drop(&mut self) {
        let _ = limit_to(self.0);
    }
}

/// Sets the limit of this process, and of what it starts.
pub fn limit_to(current: u64) -> Result<(), Errno> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum })
}
