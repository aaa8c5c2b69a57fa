//! What the scheduler does with samples, with played workers: which growth counts, what is counted without a sample, and that a
//! worker that lies is killed.

use super::ends::held;
use super::*;
use crate::backend::Workers;
use crate::engine::policy::sampling::Experience;
use crate::engine::wire::record::{OF_HEAP, SAMPLE, SAMPLED, Sample};
use crate::stats::Stats;
use crate::sys::usage::Usage;

type Function = fn(u64, u64) -> u64;

fn other(a: u64, b: u64) -> u64 {
    a.wrapping_mul(b)
}

impl Played {
    /// A sample after the piece of this number.
    fn tell(&mut self, sequence: u32, growth: i64) {
        let header = Header { kind: SAMPLE, flags: OF_HEAP, sequence };
        let sample = Sample { growth, peak: 0, cost_ns: 0 };
        assert!(self.replies.push(self.pair.back_ring(), header, &sample.to_words(), &[]).is_ok());
        self.replies.publish(self.pair.back_ring());
    }
}

impl PlayedPool {
    /// A pool whose workers sample their pieces.
    fn sampled(workers: usize) -> PlayedPool {
        let pool = PlayedPool::new(workers);
        (0..workers).for_each(|seat| pool.sample(seat));
        pool
    }

    /// From now on this worker samples, and has as much memory as the process of the tests.
    fn sample(&self, seat: usize) {
        let usage = Usage::open(process::own_pidfd().unwrap(), false).unwrap();
        let files = FilesOf { shared: Arc::new(usage), of_lock: None };
        let mut core = self.shared.lock();
        let worker = core.seats.worker_mut(seat).unwrap();
        worker.link.sample_pieces(3, Experience::default());
        worker.memory.open(Some((files, 1 << 20)), 0, 0);
        self.shared.release(core);
    }

    /// The worker in the first seat is killed, and another one takes its place.
    fn replace_first(&mut self) {
        let newcomer = Played::make();
        let mut core = self.shared.lock();
        let generation = core.seats.get_mut(0).unwrap().generation();
        core.died_of(0, generation, Cause::Signal(process::SIGKILL));
        let played = newcomer.sit_down(core.seats.get_mut(0).unwrap());
        self.shared.release(core);
        self.workers[0] = played;
        self.sample(0);
        // As when it is ready.
        let mut core = self.shared.lock();
        core.dispatch();
        self.shared.release(core);
    }

    /// The only worker runs pieces that are long enough to be sampled until one is, and has grown by this with each. Gives their
    /// number.
    fn run_sampled(&mut self, function: Function, growth: i64) -> u64 {
        let mut core = self.shared.lock();
        (0..2).for_each(|number| core.work.functions.learn_cost(number, u64::MAX));
        self.shared.release(core);
        for pieces in 1..100 {
            let task = self.task::<u64>();
            task.run(function, 1, 2);
            let header = self.workers[0].answer().unwrap();
            if header.kind == SAMPLED {
                self.workers[0].tell(header.sequence, growth * pieces);
                return pieces as u64;
            }
        }
        panic!("none is sampled");
    }

    fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

#[test]
fn a_growth_that_the_kernel_does_not_see_is_dropped_and_later_ones_count() {
    let mut pool = PlayedPool::sampled(1);
    let growth = |number| if number % 10 == 5 { 1 << 40 } else { 40_000 };
    let pieces: u64 = (0..100).map(|number| pool.run_sampled(add, growth(number))).sum();
    let stats = pool.stats();
    let [leaks] = &stats.functions[..] else { panic!("{stats}") };
    assert_eq!((leaks.pieces, leaks.measured), (pieces, 100), "{stats}");
    assert!((leaks.growth_per_piece - 40_000.0).abs() < 1.0, "{stats}");
    assert_eq!(stats.suspects().len(), 1, "{stats}");
}

/// What a function allocates in its first call is for good: tables, a runtime. Each worker does so once.
#[test]
fn the_first_call_of_a_function_in_each_worker_says_nothing_of_the_next_ones() {
    let mut pool = PlayedPool::sampled(1);
    for _ in 0..3 {
        for first in [add as Function, other] {
            pool.run_sampled(first, 20_000_000);
            (0..10).for_each(|_| _ = pool.run_sampled(add, 0));
        }
        (0..10).for_each(|_| _ = pool.run_sampled(other, 0));
        pool.replace_first();
    }
    let stats = pool.stats();
    let figures: Vec<_> = stats.functions.iter().map(|it| (it.measured, it.growth_per_piece)).collect();
    assert_eq!(figures, [(63, 0.0), (33, 0.0)], "{stats}");
    assert_eq!(stats.suspects(), []);
}

/// A worker that dies has answered some pieces since its last sample, or its sample was still to come.
#[test]
fn pieces_of_a_dead_worker_count_without_a_sample() {
    for (answered, tells, collects) in
        [(1, false, true), (1, false, false), (1, true, false), (2, true, true), (2, true, false)]
    {
        let mut pool = PlayedPool::sampled(1);
        let task = pool.task::<u64>();
        (0..3).for_each(|_| task.run(add, 1, 2));
        for _ in 0..answered {
            let header = pool.workers[0].answer().unwrap();
            if header.kind == SAMPLED && tells {
                pool.workers[0].tell(header.sequence, 0);
            }
        }
        if collects {
            pool.shared.lock().collect();
        }
        pool.replace_first();
        let count = |pool: &PlayedPool| {
            let stats = pool.stats();
            assert_eq!(stats.functions[0].pieces, stats.pieces_done);
            stats.pieces_done
        };
        assert_eq!(count(&pool), answered, "{tells} {collects}");
        while count(&pool) < 3 {
            let header = pool.workers[0].answer().unwrap();
            if header.kind == SAMPLED {
                pool.workers[0].tell(header.sequence, 0);
            }
        }
        assert_eq!(task.get().unwrap(), [3; 3]);
    }
}

/// A sample comes without a signal after the last reply: nobody looks at a worker that has nothing to do.
#[test]
fn the_sample_of_an_idle_worker_is_read_when_somebody_asks() {
    let mut pool = PlayedPool::sampled(1);
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    let header = pool.workers[0].answer().unwrap();
    assert_eq!(task.get().unwrap(), [3]);
    let figures = |pool: &PlayedPool| {
        let stats = pool.stats();
        (stats.functions[0].pieces, stats.functions[0].measured, stats.pieces_done)
    };
    assert_eq!(figures(&pool), (1, 0, 1), "it counts before its sample");
    assert!(pool.shared.lock().seats.workers().all(|worker| worker.link.awaits_sample()));
    pool.workers[0].tell(header.sequence, 0);
    assert_eq!(figures(&pool), (1, 1, 1));
    assert!(!pool.shared.lock().seats.workers().any(|worker| worker.link.awaits_sample()));
}

#[test]
fn a_worker_that_tells_a_sample_twice_or_not_at_all_is_killed_and_others_run_its_pieces() {
    for samples in [2, 0] {
        let mut pool = PlayedPool::sampled(2);
        let task = pool.task::<u64>();
        (0..6).for_each(|_| task.run(add, 1, 2));
        assert_eq!(held(&pool), [2, 2]);
        let header = pool.workers[0].answer().unwrap();
        assert_eq!(header.kind, SAMPLED);
        (0..samples).for_each(|_| pool.workers[0].tell(header.sequence, 1 << 20));
        assert!(pool.workers[0].answer_one());
        let mut core = pool.shared.lock();
        core.collect();
        let worker = core.seats.worker(0).unwrap();
        assert!(worker.is_distrusted() && worker.was_killed(), "{samples} samples");
        assert!(!core.seats.worker(1).unwrap().was_killed());
        pool.shared.release(core);
        pool.replace_first();
        while task.completed() < 6 {
            for worker in &mut pool.workers {
                if let Some(header) = worker.answer().filter(|header| header.kind == SAMPLED) {
                    worker.tell(header.sequence, 0);
                }
            }
            pool.shared.lock().collect();
        }
        let stats = pool.stats();
        assert_eq!((stats.functions[0].pieces, stats.pieces_done, stats.workers_lost), (5, 5, 1), "{samples} samples");
        let (done, lost): (Vec<_>, Vec<_>) = task.get_each().into_iter().partition(Result::is_ok);
        assert_eq!((done.len(), lost.len()), (5, 1));
        assert_eq!(lost[0].as_ref().unwrap_err().cause(), Some(Cause::Protocol));
    }
}
