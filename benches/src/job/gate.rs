//! Opening and dropping a task.

use crate::{Job, Target, Unit, WORKERS, Who};
use multicore::{Pool, Task};

/// With and without a load limit.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let global = || {
        if std::env::var_os("MULTICORE_WORKERS").is_none() {
            // Only the first call has an effect, and only one is needed.
            let _ = Pool::builder().workers(WORKERS).build_global();
        }
        Task::<u64>::new().expect("there is no limit")
    };
    drop(global());
    let limited = Pool::builder().workers(WORKERS).max_load_average(1e9).build().expect("a pool runs here");
    vec![
        Job::new("`Task::new()`", Unit::Seconds, 100_000, 15)
            .timed(Who::Multicore, "", || Task::<u64>::new().is_some())
            .timed(Who::Multicore, "load limit", move || limited.task::<u64>().is_some())
            .target(Target::AtMost(0.1e-6)),
    ]
}
