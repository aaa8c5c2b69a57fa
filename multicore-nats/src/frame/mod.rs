//! The frames that travel between masters and agents. All numbers are little endian.
//!
//! | frame       | file      | from, to        | what it is                                       |
//! |-------------|-----------|-----------------|--------------------------------------------------|
//! | [`Work`]    | `work`    | master, agents  | a chunk of pieces, which one host runs           |
//! | [`Results`] | `results` | agent, masters  | how pieces of one chunk ended                    |
//! | [`Record`]  | `record`  | master, masters | a named job: its key, and what its pieces are    |
//! | [`Beat`]    | `beat`    | agent, masters  | a host that is there                             |
//! | [`Control`] | `control` | master, agents  | a master that is there, or a job that is cancelled |
//!
//! A frame is read whole or refused, with the place of what is wrong. Each length is compared with what is left before it is used. To read one allocates
//! nothing: pieces are read from the frame again when they are iterated.
//!
//! Invariant: a frame that is read can be written again, to the same bytes.

pub mod beat;
pub mod control;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod input;
pub mod record;
pub mod results;
#[cfg(test)]
mod tests;
pub mod work;

pub use self::beat::Beat;
pub use self::control::{Control, Word};
pub use self::input::{Fault, HEADER_ROOM, MAX_BYTES, MAX_NAME_BYTES, MAX_WRITTEN_BYTES, Wrong, short_name};
pub use self::record::Record;
pub use self::results::{Answer, Results, Status};
pub use self::work::{Limits, Work};
