//! Workers that die, attack their pool, or are killed at random, and what pools leave behind.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod deaths;
#[cfg(target_pointer_width = "64")]
mod hostile;
mod leaks;
mod storm;
