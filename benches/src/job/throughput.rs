//! Many pieces that add two numbers.

use super::{add, pool, procspawn_pool, rayon_pool};
use crate::floor::Child;
use crate::floor::rings::Rings;
use crate::{Job, Target, Unit, WORKERS, Who};
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PIECES: u64 = 200_000;

/// The sender of work and the receiver of results.
type Ends = (IpcSender<(u64, u64)>, IpcReceiver<u64>);

/// Processes that add numbers from ipc-channel's channels.
pub(crate) struct Ipc {
    workers: Vec<Ends>,
    _children: Vec<Child>,
}

/// The most pairs on their way to a process, since a sender waits for room.
const WINDOW: u64 = 64;

impl Ipc {
    pub(crate) fn new(workers: usize) -> Self {
        let (mut ends, mut children) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (sender, work) = ipc::channel::<(u64, u64)>().expect("a channel can be made");
            let (answer, receiver) = ipc::channel::<u64>().expect("a channel can be made");
            children.push(Child::fork(move || {
                while let Ok((a, b)) = work.recv() {
                    let _ = answer.send(add(a, b));
                }
            }));
            ends.push((sender, receiver));
        }
        Ipc { workers: ends, _children: children }
    }

    pub(crate) fn add(&mut self, pieces: u64) -> u64 {
        let (mut sent, mut received, mut sum) = (0, 0, 0);
        let mut held = vec![0; self.workers.len()];
        while received < pieces {
            for ((sender, receiver), held) in self.workers.iter().zip(&mut held) {
                while *held < WINDOW && sent < pieces {
                    sender.send((sent, 1)).expect("the process lives");
                    *held += 1;
                    sent += 1;
                }
                for _ in 0..(*held).min(WINDOW / 2) {
                    sum += receiver.recv().expect("the process answers");
                    *held -= 1;
                    received += 1;
                }
            }
        }
        sum
    }
}

/// Pieces handed out one by one, and all in one call.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let ours = pool();
    let run = move || {
        let task = ours.try_task::<u64>().expect("the pool is open");
        for number in 0..PIECES {
            task.run(add, number, 1);
        }
        task.get().expect("an addition cannot fail").iter().sum::<u64>()
    };
    let ours = pool();
    let run_all = move || {
        let task = ours.try_task::<u64>().expect("the pool is open");
        task.run_all(add, (0..PIECES).map(|number| (number, 1)));
        task.get().expect("an addition cannot fail").iter().sum::<u64>()
    };
    let (mut singly, mut in_batches) = (Rings::new(1), Rings::new(16));
    let (jobs, work) = crossbeam_channel::unbounded::<(u64, u64)>();
    let (answers, answered) = crossbeam_channel::unbounded();
    for _ in 0..WORKERS {
        let (work, answers) = (work.clone(), answers.clone());
        std::thread::spawn(move || {
            for (a, b) in work {
                let _ = answers.send((a, add(a, b)));
            }
        });
    }
    let crossbeam = move || {
        for number in 0..PIECES {
            jobs.send((number, 1)).expect("the threads live");
        }
        let mut results = vec![0; PIECES as usize];
        for (number, result) in answered.iter().take(PIECES as usize) {
            results[number as usize] = result;
        }
        results.iter().sum::<u64>()
    };
    let threads = rayon_pool();
    let spawn = move || {
        let results: Arc<Vec<AtomicU64>> = Arc::new((0..PIECES).map(|_| AtomicU64::new(0)).collect());
        threads.scope(|scope| {
            for number in 0..PIECES {
                let results = &results;
                scope.spawn(move |_| results[number as usize].store(add(number, 1), Relaxed));
            }
        });
        results.iter().map(|result| result.load(Relaxed)).sum::<u64>()
    };
    let threads = rayon_pool();
    let leaves = move || {
        let results: Vec<u64> = threads.install(|| {
            (0..PIECES as usize).into_par_iter().with_max_len(1).map(|number| add(number as u64, 1)).collect()
        });
        results.iter().sum::<u64>()
    };
    let mut ipc = Ipc::new(WORKERS);
    let processes = procspawn_pool();
    let procspawn = move || {
        // All 200,000 pieces would take several seconds.
        let handles: Vec<_> = (0..PIECES / 50)
            .map(|number| procspawn::spawn!(in processes, (number => a, 1 => b) || add(a, b)))
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("an addition cannot fail")).sum::<u64>()
    };
    vec![
        Job::new("200,000 pieces by `run`", Unit::Pieces(PIECES), 3, 15)
            .timed(Who::Multicore, "", run)
            .timed(Who::Floor, "", move || singly.add(PIECES))
            .timed(Who::Rayon, "spawn", spawn)
            .timed(Who::Crossbeam, "", crossbeam)
            .timed(Who::IpcChannel, "", move || ipc.add(PIECES))
            .subject(Who::Procspawn, "", {
                move |iterations| {
                    let start = std::time::Instant::now();
                    std::hint::black_box(procspawn());
                    start.elapsed().as_secs_f64() * 50.0 * iterations as f64
                }
            })
            .target(Target::Times(1.0, Who::Crossbeam, ""))
            .target(Target::Times(0.4, Who::Rayon, "spawn"))
            .target(Target::AtMost(PIECES as f64 / 10e6)),
        Job::new("200,000 pieces by `run_all`", Unit::Pieces(PIECES), 3, 15)
            .timed(Who::Multicore, "", run_all)
            .timed(Who::Floor, "", move || in_batches.add(PIECES))
            .timed(Who::Rayon, "leaves", leaves)
            .target(Target::Times(2.0, Who::Rayon, "leaves")),
    ]
}
