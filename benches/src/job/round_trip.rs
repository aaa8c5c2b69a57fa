//! A round trip of one piece that adds two numbers, with a new task each time.

use super::{add, pool, procspawn_pool, rayon_pool};
use crate::floor::Waiting;
use crate::floor::exchange::Exchange;
use crate::{Job, Target, Unit, Who};
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

const QUIET: Duration = Duration::from_millis(1);

type Trip = Rc<std::cell::RefCell<dyn FnMut() -> u64>>;

fn trip(make: impl FnMut() -> u64 + 'static) -> Trip {
    Rc::new(std::cell::RefCell::new(make))
}

/// All subjects. Each is measured back to back and after a quiet time.
fn trips() -> Vec<(Who, &'static str, Trip, bool)> {
    let ours = pool();
    let multicore = move || {
        let task = ours.try_task::<u64>().expect("the pool is open");
        task.run(add, black_box(1), black_box(2));
        task.get().expect("an addition cannot fail")[0]
    };
    let floor = |waiting| {
        let mut exchange = Exchange::new(waiting);
        trip(move || exchange.add(black_box(1), black_box(2)))
    };
    let install = rayon_pool();
    let spawn = rayon_pool();
    let (sender, receiver) = crossbeam_channel::unbounded();
    let rayon_spawn = move || {
        let sender = sender.clone();
        let (a, b) = (black_box(1), black_box(2));
        spawn.spawn(move || sender.send(add(a, b)).expect("the caller waits"));
        receiver.recv().expect("the piece answers")
    };
    let (jobs, work) = crossbeam_channel::unbounded::<(u64, u64)>();
    let (answers, answered) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        for (a, b) in work {
            let _ = answers.send(add(a, b));
        }
    });
    let crossbeam = move || {
        jobs.send((black_box(1), black_box(2))).expect("the thread lives");
        answered.recv().expect("the piece answers")
    };
    let mut ipc = super::throughput::Ipc::new(1);
    let processes = procspawn_pool();
    let procspawn = move || {
        let handle = procspawn::spawn!(in processes, (black_box(1) => a, black_box(2) => b) || add(a, b));
        handle.join().expect("an addition cannot fail")
    };
    vec![
        (Who::Multicore, "", trip(multicore), true),
        (Who::Floor, "spin", floor(Waiting::Spinning), true),
        (Who::Floor, "futex", floor(Waiting::Futex), true),
        (Who::Rayon, "spawn", trip(rayon_spawn), true),
        (Who::Rayon, "install", trip(move || install.install(|| add(black_box(1), black_box(2)))), true),
        (Who::Crossbeam, "", trip(crossbeam), true),
        (Who::IpcChannel, "", trip(move || ipc.add(1)), true),
        (Who::Procspawn, "", trip(procspawn), false),
    ]
}

/// Back to back, its 99th percentile, and after a millisecond of quiet.
#[must_use]
pub fn jobs() -> Vec<Job> {
    let mut quick = Job::new("round trip", Unit::Seconds, 20_000, 15);
    let mut tail = Job::new("round trip, 99th percentile", Unit::Seconds, 5_000, 15);
    let mut late = Job::new("round trip after 1 ms of quiet", Unit::Seconds, 100, 15);
    for (who, how, trip, is_quick) in trips() {
        // A slow subject needs fewer repetitions.
        let share = if is_quick { 1 } else { 20 };
        let mean = move |trip: &Trip, iterations: u64| {
            let iterations = iterations.div_ceil(share);
            let mut trip = trip.borrow_mut();
            let start = Instant::now();
            for _ in 0..iterations {
                trip();
            }
            start.elapsed().as_secs_f64() / iterations as f64
        };
        let percentile = move |trip: &Trip, iterations: u64| {
            let mut trip = trip.borrow_mut();
            let mut once = || {
                let start = Instant::now();
                trip();
                start.elapsed().as_secs_f64()
            };
            let mut all: Vec<f64> = (0..iterations.div_ceil(share).max(100)).map(|_| once()).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() * 99 / 100]
        };
        let after_quiet = move |trip: &Trip, iterations: u64| {
            let mut trip = trip.borrow_mut();
            let mut once = || {
                std::thread::sleep(QUIET);
                let start = Instant::now();
                trip();
                start.elapsed().as_secs_f64()
            };
            let mut all: Vec<f64> = (0..iterations).map(|_| once()).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let one = Rc::clone(&trip);
        quick = quick.subject(who, how, move |iterations| mean(&one, iterations) * iterations as f64);
        let one = Rc::clone(&trip);
        tail = tail.subject(who, how, move |iterations| percentile(&one, iterations) * iterations as f64);
        late = late.subject(who, how, move |iterations| after_quiet(&trip, iterations) * iterations as f64);
    }
    vec![
        quick
            .target(Target::Times(1.5, Who::Floor, "spin"))
            .target(Target::Times(1.0, Who::Crossbeam, ""))
            .target(Target::Times(0.1, Who::Rayon, "install")),
        tail.target(Target::AtMost(5e-6)),
        late.target(Target::Times(1.5, Who::Floor, "spin")).target(Target::Times(0.8, Who::Rayon, "spawn")),
    ]
}
