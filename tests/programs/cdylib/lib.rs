//! A plug-in that links the crate: it must load, and report that no pool can run in it.

#![allow(unsafe_code)]

use multicore::{ErrorKind, Pool, Task};

/// Returns 0 if all checks pass, else the number of the check that failed.
// SAFETY: no other library of these tests has a function with this name.
#[unsafe(no_mangle)]
pub extern "C" fn plug_in_check() -> i32 {
    let kind = |result: Result<(), multicore::Error>| result.err().map(|error| error.kind());
    if kind(Task::<u32>::try_new().map(drop)) != Some(ErrorKind::Unsupported) {
        return 1;
    }
    if Task::<u32>::new().is_some() {
        return 2;
    }
    if kind(Pool::builder().workers(1).build().map(drop)) != Some(ErrorKind::Unsupported) {
        return 3;
    }
    let task = Task::<u32>::new_or_inline();
    task.run(|a, b| a + b, 40, 2);
    if task.get().ok() != Some(vec![42]) {
        return 4;
    }
    0
}
