//! Programs that use the crate, built and started as users do: what their processes have, do and leave, in every build, and in hosts
//! that lack something or change.

#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]

#[path = "../run/mod.rs"]
mod run;

mod builds;
mod closed;
mod coverage;
mod forks;
mod image;
mod lifetime;
mod loaded;
mod marker;
mod niceness;
mod objects;
mod prologue;
mod rights;
mod scarcity;
mod signals;
mod streams;
