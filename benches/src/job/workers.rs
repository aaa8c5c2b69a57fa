//! What the number of workers costs the parent: its CPU time for one piece, with few workers and with many.
//!
//! The workers are other processes, so the CPU time of this process is the cost of giving, collecting and reading. Most
//! workers of a large pool sleep here, as they do on a host whose cores are enough.

use super::add;
use crate::{Job, Target, Unit, Who, is_large};
use multicore::Pool;
use rustix::time::{ClockId, clock_gettime};
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Computes for 50 us.
fn short(number: u64, _: u64) -> u64 {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(50) {
        std::hint::spin_loop();
    }
    number
}

/// The CPU time of this process, in seconds.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// How the pieces are handed out.
#[derive(Clone, Copy)]
enum How {
    Run,
    RunAll,
    Short,
}

/// The CPU time of this process for this number of pieces.
fn measure(pool: &Pool, how: How, pieces: u64) -> f64 {
    let start = cpu();
    let task = pool.try_task::<u64>().expect("the pool is open");
    match how {
        How::Run => (0..pieces).for_each(|number| task.run(add, number, 1)),
        How::RunAll => task.run_all(add, (0..pieces).map(|number| (number, 1))),
        How::Short => (0..pieces).for_each(|number| task.run(short, number, 1)),
    }
    task.get().expect("integers cannot fail");
    cpu() - start
}

/// A pool that is made when the first subject needs it, and ends with the job.
fn lazily(workers: usize) -> impl Fn() -> Rc<Pool> + Clone {
    let made: Rc<OnceCell<Rc<Pool>>> = Rc::default();
    let make = move || {
        let pool = Pool::builder().workers(workers).build().expect("a pool runs here");
        while pool.stats().workers.iter().any(|worker| worker.pid.is_none()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Rc::new(pool)
    };
    move || Rc::clone(made.get_or_init(&make))
}

/// The subjects for one number of workers. 2 workers stand beside it, as what it is compared with.
fn job(name: &'static str, workers: usize, how: How, pieces: u64, most: Option<f64>) -> Job {
    let (few, many) = (lazily(2), lazily(workers));
    let job = Job::new(name, Unit::Seconds, pieces, 5)
        .subject(Who::Multicore, "", move |pieces| measure(&many(), how, pieces))
        .subject(Who::Multicore, "2 workers", move |pieces| measure(&few(), how, pieces));
    match most {
        Some(most) => job.target(Target::Times(most, Who::Multicore, "2 workers")),
        None => job,
    }
}

/// Tiny pieces and pieces of 50 us.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let mut jobs = vec![
        job("parent's CPU, `run`, 16 workers", 16, How::Run, 200_000, None),
        job("parent's CPU, `run`, 128 workers", 128, How::Run, 200_000, Some(1.5)),
        job("parent's CPU, `run_all`, 128 workers", 128, How::RunAll, 200_000, Some(1.5)),
        job("parent's CPU, `run` of 50 us, 128 workers", 128, How::Short, 10_000, Some(1.5)),
    ];
    if is_large() {
        jobs.extend([
            job("parent's CPU, `run`, 512 workers", 512, How::Run, 200_000, Some(2.0)),
            job("parent's CPU, `run_all`, 512 workers", 512, How::RunAll, 200_000, Some(2.0)),
            job("parent's CPU, `run` of 50 us, 512 workers", 512, How::Short, 10_000, Some(2.0)),
        ]);
    }
    jobs
}
