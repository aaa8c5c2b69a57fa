//! Pieces that are awaited under tokio, beside what else an async program would use.

use super::{add, pool, rayon_pool};
use crate::{Job, Target, Unit, WORKERS, Who};
use multicore::Pool;
use std::future::{Future, IntoFuture};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// The pieces that are awaited at once.
const MANY: u64 = 64;

/// A tenth of a millisecond of work.
const SHORT: Duration = Duration::from_micros(100);

#[derive(Clone, Copy)]
enum Kind {
    CurrentThread,
    MultiThread,
}

impl Kind {
    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Kind::CurrentThread => Builder::new_current_thread(),
            Kind::MultiThread => Builder::new_multi_thread(),
        };
        // Its threads for what blocks are as many as it likes, as in most programs: with two of them it is several times as fast.
        builder.worker_threads(WORKERS).build().expect("threads can be made")
    }

    /// Awaits it repeatedly on a thread of the runtime.
    fn time<F: Future<Output = u64> + Send>(
        self,
        runtime: &Runtime,
        iterations: u64,
        once: impl Fn() -> F + Send + 'static,
    ) -> f64 {
        let all = async move {
            let start = Instant::now();
            for _ in 0..iterations {
                black_box(once().await);
            }
            start.elapsed().as_secs_f64()
        };
        runtime.block_on(async {
            match self {
                Kind::CurrentThread => all.await,
                Kind::MultiThread => tokio::spawn(all).await.expect("nothing panics"),
            }
        })
    }
}

/// Spins for this number of nanoseconds.
fn work(nanoseconds: u64, number: u64) -> u64 {
    let start = Instant::now();
    while (start.elapsed().as_nanos() as u64) < nanoseconds {
        std::hint::spin_loop();
    }
    add(number, 1)
}

async fn by_multicore(pool: Arc<Pool>, nanoseconds: u64, number: u64) -> u64 {
    let task = pool.try_task::<u64>().expect("the pool is open");
    task.run(work, nanoseconds, number);
    task.await.expect("no piece fails")[0]
}

async fn by_tokio(nanoseconds: u64, number: u64) -> u64 {
    tokio::task::spawn_blocking(move || work(nanoseconds, number)).await.expect("no piece fails")
}

async fn by_rayon(threads: Arc<rayon::ThreadPool>, nanoseconds: u64, number: u64) -> u64 {
    let (sender, receiver) = oneshot::channel();
    threads.spawn(move || _ = sender.send(work(nanoseconds, number)));
    receiver.await.expect("no piece fails")
}

fn one(name: &'static str, kind: Kind, work: Duration) -> Job {
    let nanoseconds = work.as_nanos() as u64;
    let (ours, threads) = (Arc::new(pool()), Arc::new(rayon_pool()));
    let (first, second, third) = (kind.runtime(), kind.runtime(), kind.runtime());
    Job::new(name, Unit::Seconds, if nanoseconds > 0 { 1000 } else { 5000 }, 7)
        .subject(Who::Multicore, "", move |iterations| {
            let ours = Arc::clone(&ours);
            kind.time(&first, iterations, move || by_multicore(Arc::clone(&ours), nanoseconds, black_box(1)))
        })
        .subject(Who::Tokio, "spawn_blocking", move |iterations| {
            kind.time(&second, iterations, move || by_tokio(nanoseconds, black_box(1)))
        })
        .subject(Who::Rayon, "oneshot", move |iterations| {
            let threads = Arc::clone(&threads);
            kind.time(&third, iterations, move || by_rayon(Arc::clone(&threads), nanoseconds, black_box(1)))
        })
        .target(Target::Times(1.25, Who::Tokio, "spawn_blocking"))
}

/// Awaits all of them, each in a task of the runtime.
async fn all<F: Future<Output = u64> + Send + 'static>(each: impl Fn(u64) -> F) -> u64 {
    let handles: Vec<_> = (0..MANY).map(|number| tokio::spawn(each(number))).collect();
    let mut sum = 0;
    for handle in handles {
        sum += handle.await.expect("no piece fails");
    }
    sum
}

fn many(name: &'static str, kind: Kind) -> Job {
    let (ours, threads) = (Arc::new(pool()), Arc::new(rayon_pool()));
    let (first, second, third) = (kind.runtime(), kind.runtime(), kind.runtime());
    Job::new(name, Unit::Pieces(MANY), 200, 7)
        .subject(Who::Multicore, "", move |iterations| {
            let ours = Arc::clone(&ours);
            kind.time(&first, iterations, move || {
                let ours = Arc::clone(&ours);
                async move { all(|number| by_multicore(Arc::clone(&ours), 0, number)).await }
            })
        })
        .subject(Who::Tokio, "spawn_blocking", move |iterations| {
            kind.time(&second, iterations, || all(|number| by_tokio(0, number)))
        })
        .subject(Who::Rayon, "oneshot", move |iterations| {
            let threads = Arc::clone(&threads);
            kind.time(&third, iterations, move || {
                let threads = Arc::clone(&threads);
                async move { all(|number| by_rayon(Arc::clone(&threads), 0, number)).await }
            })
        })
        // Seconds for a piece: a third of them is three times the rate.
        .target(Target::Times(0.334, Who::Tokio, "spawn_blocking"))
}

/// Tells its process, and never ends.
fn endless(file: PathBuf) -> u64 {
    std::fs::write(file, std::process::id().to_string()).expect("the file can be written");
    work(u64::MAX, 1)
}

/// From the drop of a future to the end of the process that runs its piece.
fn dropped() -> Job {
    let pool = multicore::Pool::builder().workers(1).build().expect("a pool runs here");
    Job::new("a dropped future, until its piece is killed", Unit::Seconds, 5, 9)
        .subject(Who::Multicore, "kill_on_drop", move |iterations| {
            let mut total = 0.0;
            for _ in 0..iterations {
                let task = pool.try_task::<u64>().expect("the pool is open").kill_on_drop(true);
                let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
                task.call(endless, file.path().to_path_buf());
                let pid = loop {
                    if let Ok(pid) = std::fs::read_to_string(file.path()).unwrap_or_default().parse() {
                        break pid;
                    }
                    std::thread::yield_now();
                };
                let future = task.into_future();
                let start = Instant::now();
                drop(future);
                while is_running(pid) {
                    std::thread::yield_now();
                }
                total += start.elapsed().as_secs_f64();
            }
            total
        })
        .target(Target::AtMost(5e-3))
}

fn is_running(pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = text.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// One at a time, of nothing and of 100 us, and 64 at once; and a drop that kills.
#[must_use]
pub fn jobs() -> Vec<Job> {
    vec![
        one("one awaited piece, current_thread", Kind::CurrentThread, Duration::ZERO),
        one("one awaited piece, multi_thread", Kind::MultiThread, Duration::ZERO),
        one("one awaited piece of 100 us, current_thread", Kind::CurrentThread, SHORT),
        one("one awaited piece of 100 us, multi_thread", Kind::MultiThread, SHORT),
        many("64 awaited at once, current_thread", Kind::CurrentThread),
        many("64 awaited at once, multi_thread", Kind::MultiThread),
        dropped(),
    ]
}
