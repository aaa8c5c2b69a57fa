//! What a look at the figures must leave as it is, with played workers whose pieces are sampled: nobody looks afterwards, no
//! clock repairs what was forgotten.

use super::ends::held;
use super::*;
use crate::engine::core::reason::Reason;
use crate::engine::policy::sampling::Experience;
use crate::engine::wire::record::{OF_HEAP, SAMPLE, SAMPLED, Sample};

/// A pool of one worker, of whose pieces the first is sampled.
fn pool() -> PlayedPool {
    let pool = PlayedPool::new(1);
    pool.shared.lock().seats.worker_mut(0).unwrap().link.sample_pieces(3, Experience::default());
    pool
}

impl Played {
    /// The sample of the first piece.
    fn tell_sample(&mut self) {
        let header = Header { kind: SAMPLE, flags: OF_HEAP, sequence: 1 };
        assert!(self.replies.push(self.pair.back_ring(), header, &Sample::default().to_words(), &[]).is_ok());
        self.replies.publish(self.pair.back_ring());
    }
}

/// The figures took replies too, from a worker that wrote them while the thread was without a core. They gave nothing out, and all
/// others found nothing new: its caller waited without an end, while pieces waited and the worker idled.
#[test]
fn who_asks_for_figures_takes_no_replies_from_those_that_give_pieces_out() {
    let mut pool = pool();
    let task = pool.task::<u64>();
    (0..6).for_each(|number| task.run(add, number, 1));
    assert_eq!(pool.work(1), 1);
    let mut core = pool.shared.lock();
    assert!(core.collect() && core.seats.worker(0).unwrap().link.awaits_sample());
    pool.shared.release(core);
    let before = held(&pool)[0];
    assert!(before > 0 && before < 5, "{before}: some wait");
    pool.workers[0].tell_sample();
    assert_eq!(pool.work(before), before);
    let mut core = pool.shared.lock();
    let _ = core.snapshot();
    core.attend(Observer::SupervisorParks, true);
    pool.shared.release(core);
    assert!(held(&pool)[0] > 0, "the rest was given out");
}

/// The sample of a worker that holds nothing is read with the figures.
#[test]
fn the_sample_of_a_worker_that_idles_is_in_the_figures() {
    let mut pool = pool();
    let task = pool.task::<u64>();
    task.run(add, 1, 1);
    let Played { pair, work, .. } = &mut pool.workers[0];
    assert_eq!(work.peek(pair.out_ring()).ok().flatten().unwrap().header.kind, SAMPLED);
    assert_eq!(pool.work(1), 1);
    assert!(pool.shared.lock().collect());
    pool.workers[0].tell_sample();
    let mut core = pool.shared.lock();
    let samples = core.snapshot().functions.samples;
    assert_eq!((samples, core.seats.worker(0).unwrap().link.awaits_sample()), (1, false));
    pool.shared.release(core);
}

/// A piece found no room in the ring of a worker whose sample came in the same look as word that it had read on: the look
/// took the sample alone, and its thread slept.
#[test]
fn a_sample_hides_no_room() {
    const LENGTH: usize = 3 * CHUNK_BYTES;
    let mut pool = pool();
    let (dropped, key) = (pool.task::<u64>(), pool.shared.lock().open_task().unwrap());
    let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
    dropped.run(add, 1, 1);
    assert_eq!(pool.work(1), 1);
    let long = pool.shared.lock().open_task().unwrap();
    assert!(pool.shared.lock().collect());
    pool.shared.add_piece(long, site, Handed::Own(vec![1; LENGTH]));
    pool.shared.close(long, false);
    pool.shared.add_piece(key, site, Handed::Own(vec![1; LENGTH]));
    assert_eq!(held(&pool), [0]);
    pool.workers[0].tell_sample();
    let Played { pair, work, .. } = &mut pool.workers[0];
    while let Ok(Some(record)) = work.peek(pair.out_ring()) {
        work.pass(&record);
    }
    told::tell_head(pair.out_head(), work.head());
    // It had signalled before somebody asked for that.
    let mut core = pool.shared.lock();
    assert!(core.attend(Observer::CallerParks, true));
    pool.shared.release(core);
    assert_eq!(held(&pool), [1]);
}

#[test]
fn pieces_have_failed_where_no_worker_can_be_started_and_not_where_their_pool_is_shut_down() {
    for (reason, counts) in [(Reason::new(ErrorKind::System, "no worker"), true), (Reason::shut_down(), false)] {
        let mut pool = PlayedPool::new(1);
        let task = pool.task::<u64>();
        (0..10).for_each(|number| task.run(add, number, 0));
        let mut core = pool.shared.lock();
        core.fail_all_waiting(reason);
        while core.sweep() {}
        let waited = 10 - core.seats.worker(0).unwrap().link.in_flight() as u64;
        assert!(waited > 0);
        assert_eq!(core.counts.pieces_failed, if counts { waited } else { 0 });
        pool.shared.release(core);
        assert_eq!(pool.work(10), 10 - waited as usize);
        assert_eq!(task.get_each().iter().filter(|outcome| outcome.is_err()).count() as u64, waited);
    }
}
