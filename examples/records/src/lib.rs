//! A file's records as one JSON array, made by worker processes or serially.
//!
//! This is the part of the modules for Python (`examples/python`) and Node.js (`examples/node`) that knows neither of them. The file is a
//! table of stop times as GTFS has it. A piece gets the file's path and a range of its bytes, and opens, reads and checks its part
//! by itself: only a path and two numbers travel to a worker, and only JSON comes back.
//!
//! A function that is handed to [`multicore::Task`] runs in a process of its own, in which the host's `main` has not run: no interpreter is
//! there. So nothing here may call Python or Node.js, and nothing here can.
//!
//! A module uses only those that stand before it here: `problem`; `table`, where records begin; `render`, the work itself; `parts`, which hands it
//! to workers; and `made`, which makes a file to try it with.

mod made;
mod parts;
mod problem;
mod render;
mod table;

pub use made::make_file;
pub use parts::{Parts, dump, parts, why_no_pool, workers};
pub use problem::Problem;

#[cfg(test)]
mod tests;
