//! Plain functions in a fixed pool of persistent worker processes, fed through shared memory.

#[cfg(not(loom))]
mod bounded;
#[cfg(not(loom))]
mod bytes;
#[cfg(not(loom))]
mod call;
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
mod lead;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod ranges;
mod ring;
mod sleep;
#[cfg(not(loom))]
mod spin;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod symbol;
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
