//! An add-on for Node.js that makes JSON of a file's records in worker processes, off the event loop.
//!
//! The work is in `examples/records`, which knows no Node.js. Here a thread of libuv's waits for it, so that JavaScript goes on. What runs in a worker
//! process must not call Node.js: nothing of it runs there.

use napi::bindgen_prelude::{AsyncTask, Buffer};
use napi::{Env, Error, Result, Task};
use napi_derive::napi;
use records_to_json::Problem;
use std::path::Path;

/// All records of a file as one JSON array, made by worker processes, or on a thread of libuv's where no pool can run.
#[napi]
pub fn dump_file(path: String) -> AsyncTask<Dump> {
    AsyncTask::new(Dump { path, in_parallel: true })
}

/// The same by the same code on one thread of libuv's.
#[napi]
pub fn dump_file_serial(path: String) -> AsyncTask<Dump> {
    AsyncTask::new(Dump { path, in_parallel: false })
}

/// What a thread of libuv's does.
pub struct Dump {
    path: String,
    in_parallel: bool,
}

impl Task for Dump {
    type Output = Vec<u8>;
    type JsValue = Buffer;

    fn compute(&mut self) -> Result<Vec<u8>> {
        records_to_json::dump(Path::new(&self.path), self.in_parallel).map_err(error)
    }

    /// On the event loop: the buffer takes the memory as it is.
    fn resolve(&mut self, _: Env, json: Vec<u8>) -> Result<Buffer> {
        Ok(json.into())
    }
}

/// The number of worker processes; 0 where no pool can run.
#[napi]
pub fn workers() -> u32 {
    u32::try_from(records_to_json::workers()).unwrap_or(u32::MAX)
}

/// Why no pool can run in this process, as a sentence; `null` if one can.
#[napi]
pub fn why_no_pool() -> Option<String> {
    records_to_json::why_no_pool()
}

/// Writes a table with this number of records, to try the other functions with.
#[napi]
pub fn make_file(path: String, records: u32) -> Result<()> {
    records_to_json::make_file(Path::new(&path), records.into()).map_err(error)
}

fn error(problem: Problem) -> Error {
    Error::from_reason(problem.to_string())
}
