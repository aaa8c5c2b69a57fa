//! The activity of an idle pool: the number of times that its threads and processes run in the second that begins 1 s after
//! their last piece, and the time for which they run from 1 ms to 11 ms after it.

use super::{add, pool, procspawn_pool, rayon_pool};
use crate::{Job, Target, Unit, Who};
use rustix::process::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folders in /proc of all threads of this process, except the calling one, and of all its descendants.
fn threads() -> Vec<PathBuf> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let pids = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let pids: Vec<u32> = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut ours = BTreeSet::from([std::process::id()]);
    // The fork server is no descendant by its parent's pid, so it is found by its process group.
    let is_fork_server =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "multicore-fork");
    ours.extend(pids.iter().copied().filter(|&pid| is_fork_server(pid)));
    loop {
        let more: Vec<u32> = pids
            .iter()
            .copied()
            .filter(|pid| !ours.contains(pid) && parent_of(*pid).is_some_and(|parent| ours.contains(&parent)))
            .collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    let me = Pid::as_raw(Some(rustix::thread::gettid()));
    let tasks = ours.into_iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let tasks = tasks.flatten().flatten().map(|entry| entry.path());
    tasks.filter(|path| path.file_name().is_none_or(|name| name.to_str() != Some(&me.to_string()))).collect()
}

/// The number of times that a thread gave up or lost a CPU.
fn switches(thread: &Path) -> Option<f64> {
    let status = fs::read_to_string(thread.join("status")).ok()?;
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    Some(lines.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok()).sum())
}

/// The microseconds that a thread has run.
fn busy(thread: &Path) -> Option<f64> {
    let stat = fs::read_to_string(thread.join("schedstat")).ok()?;
    stat.split_whitespace().next()?.parse().ok().map(|nanoseconds: f64| nanoseconds / 1e3)
}

type Measure = fn(&Path) -> Option<f64>;

fn after<P: 'static>(make: fn() -> P, work: fn(&P), quiet: Duration, span: Duration, measure: Measure) -> f64 {
    let pool = make();
    work(&pool);
    let threads = threads();
    work(&pool);
    std::thread::sleep(quiet);
    let before: Vec<Option<f64>> = threads.iter().map(|thread| measure(thread)).collect();
    std::thread::sleep(span);
    // A thread of the previous pool may still be exiting.
    let grown = threads.iter().zip(before).filter_map(|(thread, before)| Some(measure(thread)? - before?));
    grown.sum()
}

fn use_ours(pool: &multicore::Pool) {
    let task = pool.try_task::<u64>().expect("the pool is open");
    task.run_all(add, (0..1_000).map(|number| (number, 1)));
    task.get().expect("an addition cannot fail");
}

fn use_rayon(pool: &rayon::ThreadPool) {
    pool.install(|| {
        (0..1_000).for_each(|number| {
            black_box(add(number, 1));
        })
    });
}

fn use_procspawn(pool: &procspawn::Pool) {
    for _ in 0..10 {
        procspawn::spawn!(in pool, (1 => a, 2 => b) || add(a, b)).join().expect("an addition cannot fail");
    }
}

fn job(name: &'static str, quiet: Duration, span: Duration, measure: Measure) -> Job {
    Job::new(name, Unit::Count, 1, 3)
        .subject(Who::Multicore, "", move |_| after(pool, use_ours, quiet, span, measure))
        .subject(Who::Rayon, "", move |_| after(rayon_pool, use_rayon, quiet, span, measure))
        .subject(Who::Procspawn, "", move |_| after(procspawn_pool, use_procspawn, quiet, span, measure))
}

/// Wake-ups of an idle pool, and CPU time after the last piece.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let (millisecond, second) = (Duration::from_millis(1), Duration::from_secs(1));
    vec![
        job("wake-ups in a second of quiet", second, second, switches).target(Target::AtMost(0.0)),
        job("microseconds busy, 1 to 11 ms after the last piece", millisecond, 10 * millisecond, busy),
    ]
}
