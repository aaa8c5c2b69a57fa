//! What a pool promises: its workers, their number, age, memory and state, and what it tells of them.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod data_limit;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod entry;
mod figures;
#[cfg(target_env = "gnu")]
mod functions;
mod idle;
mod memory;
mod memory_gate;
mod memory_limits;
mod pools;
mod recycling;
mod resize;
mod settings;
#[cfg(feature = "signal")]
mod signal;
mod states;
mod timeline;
