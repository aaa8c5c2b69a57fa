//! Plain functions in a fixed pool of persistent worker processes, fed through shared memory.

// Where no pool can run, only the inline tasks are left, and much is unused; under miri and loom
// only tests use the rest.
#![cfg_attr(
    any(miri, loom, not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))),
    allow(dead_code)
)]

#[cfg(not(loom))]
mod bounded;
#[cfg(not(loom))]
mod bytes;
#[cfg(not(loom))]
mod call;
#[cfg(any(loom, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod claim;
#[cfg(not(loom))]
mod codec;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(any(miri, loom))))]
mod engine;
#[cfg(not(loom))]
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(any(miri, loom)))))]
#[path = "unsupported.rs"]
mod engine;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod gate;
#[cfg(not(loom))]
mod inline;
#[cfg(any(loom, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod lead;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod ranges;
#[cfg(any(loom, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod ring;
#[cfg(any(loom, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod sleep;
#[cfg(not(loom))]
mod spin;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod symbol;
#[cfg(any(loom, all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod sync;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(any(miri, loom))))]
mod sys;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod value;

#[cfg(not(loom))]
pub use crate::{
    codec::Format,
    error::{Cause, Error, ErrorKind, Failure},
    pool::{Pool, PoolBuilder, ranges},
    ranges::Ranges,
    stats::{Stats, WorkerStats},
    task::{Iter, IterCompleted, Task},
    value::Value,
};
