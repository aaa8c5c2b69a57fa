//! What pieces are given and what comes back: values of all types and sizes, results that are written, what is shared, and errors.

#![cfg(target_os = "linux")]

#[path = "../compiler/mod.rs"]
mod compiler;
#[path = "../support/mod.rs"]
mod support;

#[cfg(target_env = "gnu")]
mod dropped;
mod errors;
mod fallible;
mod messages;
#[cfg(target_arch = "x86_64")]
mod names;
mod notes;
mod shared;
mod sinks;
mod values;
