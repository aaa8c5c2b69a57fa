//! Decisions: numbers in, verdicts out. Nothing here reads a clock, takes a lock or makes a system call.
//!
//! | file        | decides                                                                   |
//! |-------------|---------------------------------------------------------------------------|
//! | `gate`      | whether pieces may begin, by the memory that is available                 |
//! | `growth`    | what is kept of the samples of workers                                    |
//! | `hold`      | how much is done in one hold of the scheduler's lock                      |
//! | `least_squares` | how much each function adds to a heap with each piece                 |
//! | `looking`   | whether a caller that does not wait looks longer before it leaves its waker |
//! | `memory`    | what follows from the memory that workers use                             |
//! | `pace`      | how much work a worker gets in advance, and what a piece costs            |
//! | `placement` | which worker gets the next pieces, and which one gives some up            |
//! | `patience`  | when a worker or fork server is overdue, stopped, or ran over its limit   |
//! | `recycle`   | when a worker is replaced, and when its successor is ordered              |
//! | `restart`   | when a lost piece, a worker or a fork server starts again, and when no more |
//! | `sampling`  | which pieces are sampled for what they do to memory                       |
//! | `suspicion` | which functions leak                                                      |
//!
//! The parts of `core` and `supervisor` ask, and act on the verdict.

pub(crate) mod gate;
pub(crate) mod growth;
pub(crate) mod hold;
pub(crate) mod least_squares;
pub(crate) mod looking;
pub(crate) mod memory;
pub(crate) mod pace;
pub(crate) mod patience;
pub(crate) mod placement;
pub(crate) mod recycle;
pub(crate) mod restart;
pub(crate) mod sampling;
pub(crate) mod suspicion;
