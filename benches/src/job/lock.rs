//! How long one thread keeps the others from the pool: the time that a thread needs to take and release the scheduler's
//! lock, beside each load that could hold it for long.
//!
//! The thread cancels a task that has ended, again and again: that takes the lock, finds nothing, and returns.

use super::{add, pool};
use crate::{Job, Target, Unit, Who, is_large};
use multicore::{Canceller, Pool};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The time between two probes. Shorter, and the probe itself would be a load.
const PAUSE: Duration = Duration::from_micros(50);

/// The waits of the last run, in nanoseconds, in ascending order.
type Waits = Rc<RefCell<Vec<f64>>>;

fn probe(canceller: &Canceller, is_over: &AtomicBool) -> Vec<f64> {
    let mut waits = Vec::with_capacity(1 << 20);
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        canceller.cancel();
        waits.push(start.elapsed().as_nanos() as f64);
        std::thread::sleep(PAUSE);
    }
    waits.sort_by(f64::total_cmp);
    waits
}

/// Runs a load with the probe beside it.
fn beside(load: impl FnOnce(Pool)) -> Vec<f64> {
    let pool = pool();
    let canceller = pool.try_task::<u64>().expect("the pool is open").canceller();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| probe(&canceller, &is_over));
        load(pool);
        is_over.store(true, Ordering::Relaxed);
        probe.join().expect("the probe does not panic")
    })
}

fn job(name: &'static str, load: fn(Pool)) -> Job {
    let waits = Waits::default();
    let part = |share: f64| {
        let waits = Rc::clone(&waits);
        move |_| {
            let waits = waits.borrow();
            waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or(0.0)
        }
    };
    let (p99, p50) = (part(0.99), part(0.5));
    // The worst is the first subject: it is what the goal is about, and it runs the load for all three.
    let worst = move |_| {
        *waits.borrow_mut() = beside(load);
        waits.borrow().last().copied().unwrap_or(0.0)
    };
    Job::new(name, Unit::Count, 1, 1)
        .subject(Who::Multicore, "worst", worst)
        .subject(Who::Multicore, "p99", p99)
        .subject(Who::Multicore, "p50", p50)
        .target(Target::AtMost(1e6))
}

fn value_bytes() -> usize {
    if is_large() { 1_000_000_000 } else { 100_000_000 }
}

fn pieces() -> u64 {
    if is_large() { 10_000_000 } else { 1_000_000 }
}

fn tasks() -> usize {
    if is_large() { 100_000 } else { 10_000 }
}

fn make(bytes: usize) -> Vec<u8> {
    vec![1; bytes]
}

fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}

fn wait(milliseconds: u64, _: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// A task whose pieces wait behind others that take a while.
fn waiting(pool: &Pool) -> (multicore::Task<u64>, multicore::Task<u64>) {
    let before = pool.try_task::<u64>().expect("the pool is open");
    (0..4).for_each(|_| before.run(wait, 60_000, 0));
    let task = pool.try_task::<u64>().expect("the pool is open");
    task.run_all(add, (0..pieces()).map(|number| (number, 1)));
    (before, task)
}

fn quiet(_: Pool) {
    std::thread::sleep(Duration::from_secs(1));
}

fn results(pool: Pool) {
    let task = pool.try_task::<Vec<u8>>().expect("the pool is open");
    (0..4).for_each(|_| task.call(make, value_bytes()));
    drop(task.get().expect("bytes can be made"));
}

fn arguments(pool: Pool) {
    let task = pool.try_task::<usize>().expect("the pool is open");
    (0..4).for_each(|_| task.call(length, make(value_bytes())));
    drop(task.get().expect("bytes have a length"));
}

fn run_all(pool: Pool) {
    let task = pool.try_task::<u64>().expect("the pool is open");
    task.run_all(add, (0..pieces()).map(|number| (number, 1)));
    drop(task.get().expect("integers cannot fail"));
}

fn dropped(pool: Pool) {
    let (before, task) = waiting(&pool);
    drop(task);
    before.cancel();
}

fn cancelled(pool: Pool) {
    let (before, task) = waiting(&pool);
    task.canceller().cancel();
    drop(task);
    before.cancel();
}

fn pool_dropped(pool: Pool) {
    let tasks = waiting(&pool);
    drop(pool);
    drop(tasks);
}

fn shut_down(pool: Pool) {
    let (before, task) = waiting(&pool);
    before.cancel();
    pool.shutdown();
    drop(task);
}

fn many_tasks(pool: Pool) {
    let before = pool.try_task::<u64>().expect("the pool is open");
    (0..4).for_each(|_| before.run(wait, 60_000, 0));
    let open = || {
        let task = pool.try_task::<u64>().expect("the pool is open");
        task.run(add, 1, 1);
        task
    };
    let mut tasks: Vec<_> = (0..tasks()).map(|_| open()).collect();
    tasks.truncate(tasks.len() / 2);
    drop(pool);
}

/// One row for each load.
#[must_use]
pub fn jobs() -> Vec<Job> {
    vec![
        job("ns for the lock: nothing beside it", quiet),
        job("ns for the lock: long results", results),
        job("ns for the lock: long arguments", arguments),
        job("ns for the lock: `run_all` and `get`", run_all),
        job("ns for the lock: a task with waiting pieces is dropped", dropped),
        job("ns for the lock: … is cancelled", cancelled),
        job("ns for the lock: … loses its pool", pool_dropped),
        job("ns for the lock: … loses its pool by `shutdown`", shut_down),
        job("ns for the lock: tasks are opened and dropped, then the pool", many_tasks),
    ]
}
