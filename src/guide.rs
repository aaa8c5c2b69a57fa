//! Pages for people who come with a question, beside the reference. There is no code here: each page is a text in `docs/`, and its
//! programs run with the documentation's tests.

#[doc = include_str!("../docs/memory.md")]
///
/// # The items
///
/// Limits: [`Memory`](crate::Memory), [`memory_high`](crate::PoolBuilder::memory_high), [`memory_max`](crate::PoolBuilder::memory_max),
/// [`worker_memory_high`](crate::PoolBuilder::worker_memory_high), [`worker_memory_max`](crate::PoolBuilder::worker_memory_max),
/// [`memory_checks`](crate::PoolBuilder::memory_checks), [`worker_data_limit`](crate::PoolBuilder::worker_data_limit),
/// [`min_available_memory`](crate::PoolBuilder::min_available_memory), [`max_queued_bytes`](crate::PoolBuilder::max_queued_bytes),
/// [`warm_memory`](crate::PoolBuilder::warm_memory).
///
/// Replacement: [`max_pieces_per_worker`](crate::PoolBuilder::max_pieces_per_worker),
/// [`max_worker_age`](crate::PoolBuilder::max_worker_age), [`Pool::recycle`](crate::Pool::recycle).
///
/// News and figures: [`on_memory`](crate::PoolBuilder::on_memory), [`memory_advisory`](crate::PoolBuilder::memory_advisory),
/// [`MemoryEvent`](crate::MemoryEvent), [`Stats`](crate::Stats), [`suspects`](crate::Stats::suspects),
/// [`FunctionStats`](crate::FunctionStats), [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit).
pub mod memory {}

#[doc = include_str!("../docs/coming-from-parallel.md")]
pub mod commands {}
