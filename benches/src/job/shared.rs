//! One read-only table for all workers.

use super::pool;
use crate::{Job, Target, Unit, WORKERS, Who, is_large};
use multicore::{Pool, Shared, Task};
use std::sync::OnceLock;

/// 64 MiB.
const ITEMS: usize = 8 << 20;

fn number(index: usize) -> f64 {
    (index % 1000) as f64
}

fn sum(items: &[f64]) -> f64 {
    // Eight sums at once: one alone would wait for each addition.
    let (chunks, rest) = items.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for chunk in chunks {
        for (sum, item) in sums.iter_mut().zip(chunk) {
            *sum += item;
        }
    }
    sums.iter().chain(rest).sum()
}

/// A table of this process's own.
fn own_sum(items: usize) -> f64 {
    static OWN: OnceLock<Vec<f64>> = OnceLock::new();
    sum(OWN.get_or_init(|| (0..items).map(number).collect()))
}

fn task<R>(pool: &Pool) -> Task<R>
where
    R: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    pool.try_task().expect("the pool is open")
}

/// One piece that goes over all of the table, when its worker has done so before.
fn pass() -> Job {
    let one = || Pool::builder().workers(1).build().expect("a pool runs here");
    let (shared, own, sent) = (one(), one(), one());
    let table = Shared::<[f64]>::build(ITEMS, fill).expect("there is memory");
    let list: Vec<f64> = (0..ITEMS).map(number).collect();
    Job::new("a pass over 64 MiB that all workers share, one piece", Unit::Seconds, 4, 15)
        .timed(Who::Multicore, "Shared", move || {
            let task = task::<f64>(&shared);
            task.call(|table: Shared<[f64]>| sum(&table), table.clone());
            task.get().expect("the piece runs")
        })
        .timed(Who::Multicore, "memory of its own", move || {
            let task = task::<f64>(&own);
            task.call(own_sum, ITEMS);
            task.get().expect("the piece runs")
        })
        .timed(Who::Multicore, "as an argument", move || {
            let task = task::<f64>(&sent);
            task.call_ref(|list: Vec<f64>| sum(&list), &list[..]);
            task.get().expect("the piece runs")
        })
        .timed(Who::Serial, "", || own_sum(ITEMS))
        .target(Target::Times(1.1, Who::Multicore, "memory of its own"))
}

fn fill(items: &mut [f64]) {
    items.iter_mut().enumerate().for_each(|(index, item)| *item = number(index));
}

/// What a table takes to be made, and each worker's first piece with it.
fn make() -> Job {
    let (first, second) = (pool(), pool());
    let list: Vec<f64> = (0..ITEMS).map(number).collect();
    let again = list.clone();
    let use_all = |pool: &Pool, table: &Shared<[f64]>| {
        let task = task::<f64>(pool);
        task.call_all(|table: Shared<[f64]>| sum(&table), (0..WORKERS).map(|_| table.clone()));
        task.get().expect("the pieces run")
    };
    Job::new("64 MiB are shared, used once by each worker, and gone", Unit::Seconds, 1, 15)
        .timed(Who::Multicore, "from_slice", move || {
            use_all(&first, &Shared::from_slice(&list).expect("there is memory"))
        })
        .timed(Who::Multicore, "build", move || {
            let build = |items: &mut [f64]| items.copy_from_slice(&again);
            use_all(&second, &Shared::build(again.len(), build).expect("there is memory"))
        })
}

/// The memory of these processes, each page by its share, in bytes.
fn proportional_bytes(processes: &[u32]) -> u64 {
    let of = |process: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    processes.iter().map(of).sum()
}

/// How much memory all processes take for a table, in percent of its length.
fn copies() -> Job {
    Job::new("% of 256 MiB (`--large`: 2 GiB) that eight workers share, taken in all processes", Unit::Count, 1, 1)
        .subject(Who::Multicore, "", |_| {
            let pool = Pool::builder().workers(8).build().expect("a pool runs here");
            let items = if is_large() { 32 * ITEMS } else { 4 * ITEMS };
            let mut processes = Vec::new();
            while processes.len() < 8 {
                processes = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
                std::thread::yield_now();
            }
            processes.push(std::process::id());
            let before = proportional_bytes(&processes);
            let table = Shared::<[f64]>::build(items, fill).expect("there is memory");
            // As many pieces as take each worker some time.
            let task = task::<(u32, f64)>(&pool);
            for _ in 0..64 {
                task.call(|table: Shared<[f64]>| (std::process::id(), sum(&table)), table.clone());
            }
            let results = task.get().expect("the pieces run");
            let mut used: Vec<u32> = results.iter().map(|(process, _)| *process).collect();
            used.sort_unstable();
            used.dedup();
            assert_eq!(used.len(), 8, "all workers have used it");
            let taken = proportional_bytes(&processes).saturating_sub(before);
            100.0 * taken as f64 / size_of_val(&*table) as f64
        })
        .target(Target::AtMost(105.0))
}

/// Each of them.
#[must_use]
pub fn jobs() -> Vec<Job> {
    vec![pass(), make(), copies()]
}
