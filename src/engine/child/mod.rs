//! What runs in the other processes: the fork server and the workers.
//!
//! | file       | runs                                                                     |
//! |------------|--------------------------------------------------------------------------|
//! | `entry`    | before `main`: decides whether this process is a fork server             |
//! | `server`   | the fork server: forks workers, reaps them, ends with the parent         |
//! | `prologue` | a new worker, up to its first piece; and how a worker leaves             |
//! | `worker`   | a worker's loop: claims pieces, calls them, replies                      |
//! | `output`   | what pieces printed: flushed after each of them                          |
//! | `hooks`    | the functions of the user's that are no pieces                           |
//! | `logger`   | what pieces log, on its way to the program's logger                       |
//! | `notes`    | what a piece notes, for its error if it is lost                          |
//! | `calls`    | makes functions of the words that the parent wrote                       |
//! | `tables`   | what pieces share, received and kept                                     |
//! | `panics`   | keeps what a panic says, for the piece's error                           |

mod calls;
pub(crate) mod entry;
mod hooks;
#[cfg(feature = "log")]
mod logger;
mod notes;
mod output;
mod panics;
mod prologue;
mod replies;
mod sampler;
mod server;
mod tables;
pub(crate) mod worker;
