//! The pool's machinery, from the parent's threads down to the worker's loop. Its face is [`start()`], which
//! gives a pool as a backend of tasks.
//!
//! | module       | what it is                                                                    |
//! |--------------|-------------------------------------------------------------------------------|
//! | `start`      | the checks, the first fork server, the handshake                              |
//! | `launch`     | how a fork server is started, the first and every later one                   |
//! | `supervisor` | the parent's thread for what has no waiter                                    |
//! | `shared`     | the pool as its tasks know it: the scheduler's lock                           |
//! | `wait`, `poll` | how a caller waits, or leaves its waker                                     |
//! | `core`       | the scheduler, under the lock                                                 |
//! | `policy`     | decisions: numbers in, verdicts out                                           |
//! | `link`       | one worker as the parent sees it: its rings and the pieces that it holds      |
//! | `unpark`, `piece`, `travel`, `observe`, `outbox`, `logs` | small things that these share                       |
//! | `child`      | what runs in the fork server and in the workers                               |
//! | `wire`       | what lies between the processes: memory, messages, limits                     |

mod child;
mod core;
mod figures;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gone_tables;
mod launch;
mod link;
#[cfg(any(feature = "log", feature = "tracing"))]
mod log_thread;
#[cfg(feature = "log")]
mod logs;
mod lost_descriptors;
mod observe;
#[cfg(any(feature = "log", feature = "tracing"))]
mod outbox;
mod piece;
mod policy;
mod poll;
mod report;
mod shared;
mod start;
mod supervisor;
mod travel;
mod unpark;
mod wait;
pub(crate) mod wire;

#[cfg(feature = "remote")]
pub use self::child::entry::run_constructors_after;
pub(crate) use self::start::start;
#[cfg(feature = "remote")]
pub(crate) use self::start::{check_process, is_plain_executable};
