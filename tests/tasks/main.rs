//! What a task promises: its pieces, how their results are collected, and how it ends. With a pool and without.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod awaited;
mod bounded;
mod by_name;
mod completed;
mod detached;
mod ended_early;
mod fairness;
mod inline;
mod limits;
mod map;
mod next;
mod priorities;
mod progress;
mod queue;
mod stopping;
#[cfg(feature = "stream")]
mod streams_async;
mod tasks;
mod threads;
mod uncollected;
mod watch;
