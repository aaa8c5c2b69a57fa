//! The tasks of `multicore` over many hosts, through a NATS server with JetStream.
//!
//! A master hands out the pieces of a job in chunks, agents run them in their pools, and whatever dies meanwhile, each piece gets exactly one
//! outcome. Pieces run at least once: a function must bear being run twice.
//!
//! ```no_run
//! use multicore::remote;
//!
//! fn sum(start: u64, end: u64) -> u64 {
//!     (start..end).sum()
//! }
//!
//! # fn main() -> Result<(), multicore::Error> {
//! // Where MULTICORE_HOSTS is not set, the pool of this machine.
//! let task = multicore_nats::try_task::<u64>()?;
//! task.run_all(remote!(sum), (0..1000).map(|n| (n * 1000, (n + 1) * 1000)));
//! println!("{}", task.get()?.iter().sum::<u64>());
//! # Ok(())
//! # }
//! ```
//!
//! - [`task()`] and [`try_task()`] make tasks where the environment says; [`Hosts`] is a connection with settings of its own, and [`Hosts::job`] a job that
//!   another program can attach to.
//! - A program becomes an agent by `MULTICORE_AGENT=1`, before its `main`, or calls [`serve()`].
//!
//! All methods of a [`Task`](multicore::Task) do what they do with a pool, but for these: [`Shared`](multicore::Shared) in arguments and a worker's state
//! end in [`Unsupported`](multicore::ErrorKind::Unsupported), and so does a function that did not come from [`remote!`](multicore::remote!). What a
//! piece of `run_into` writes comes whole, at its end. A task that ends takes a moment to remove what it has left on the server, at most 2.5 s, also where it is dropped in async code.
//!
//! # Inside
//!
//! | module       | what it is                                                                              |
//! |--------------|-----------------------------------------------------------------------------------------|
//! | `agent_mode` | what makes a program an agent before `main`: the only unsafe code                       |
//! | `hosts`, `serve` | a master's and an agent's process, as their programs use them                       |
//! | `job`        | carries one job between its task, its machine and the server                            |
//! | `nats`       | carries out what machines ask of a server: the only module that knows NATS              |
//! | `settings`, `build`, `driver` | servers and secrets; this program's identity; clock, chance and lines for people |
//! | `master`     | the state machine of a master: pieces in, one outcome for each                          |
//! | `agent`      | the state machine of an agent: chunks in, frames of results out                         |
//! | `transport`  | what both ask of a server and hear from it; `transport::loopback` is a server in memory |
//! | `chunk`      | how many pieces a chunk takes                                                           |
//! | `frame`      | what travels, byte by byte                                                              |
//! | `identity`   | ids of builds, jobs and chunks, and the names of subjects                               |
//! | `simulation` | hosts, masters and their faults in virtual time, for tests                              |
//!
//! The machines (`master`, `agent` and what is below them) read no clock and make no system call: each call brings the time, in ns since any moment, and what they
//! want done is fetched from them.

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
