//! The tasks of `multicore` over many hosts, through a NATS server.
//!
//! This crate is being built: it has the protocol, and no connection yet. A master hands out the pieces of a job in chunks, agents run them, and whatever
//! dies meanwhile, each piece gets exactly one outcome.
//!
//! | module       | what it is                                                                              |
//! |--------------|-----------------------------------------------------------------------------------------|
//! | `master`     | the state machine of a master: pieces in, one outcome for each                          |
//! | `agent`      | the state machine of an agent: chunks in, frames of results out                         |
//! | `transport`  | what both ask of a server and hear from it; `transport::loopback` is a server in memory |
//! | `chunk`      | how many pieces a chunk takes                                                           |
//! | `frame`      | what travels, byte by byte                                                              |
//! | `identity`   | ids of builds, jobs and chunks, and the names of subjects                               |
//! | `simulation` | hosts, masters and their faults in virtual time, for tests                              |
//!
//! A module uses only those below it. The machines read no clock and make no system call: each call brings the time, in ns since any moment, and what they
//! want done is fetched from them.
//!
//! What drives a machine owns the sockets and the timers, and decides nothing. It repeats: take all outputs and carry them out; sleep until the
//! time of `next_at`, or until something is heard; tell it, or call `tick`. `simulation` does so in virtual time.

#[doc(hidden)]
pub mod agent;
#[doc(hidden)]
pub mod chunk;
#[doc(hidden)]
pub mod frame;
#[doc(hidden)]
pub mod identity;
#[doc(hidden)]
pub mod master;
#[doc(hidden)]
pub mod simulation;
#[doc(hidden)]
pub mod transport;

mod agent_mode;
mod build;
mod driver;
mod hosts;
mod job;
mod nats;
mod serve;
mod settings;

pub use self::hosts::{HostInfo, Hosts, HostsBuilder, Job, JobCounts, task, try_task};
pub use self::serve::{Agent, serve};
