//! The seat beyond the set, with played workers: nobody looks afterwards, no clock repairs what was forgotten.

use super::ends::held;
use super::*;
use crate::engine::policy::patience::Duty;
use crate::sys::descriptors::Descriptor;

/// A pool that can order workers, and the end of its fork server's socket, which nobody reads.
fn pool(workers: usize) -> (PlayedPool, Descriptor) {
    let pool = PlayedPool::new(workers);
    let (socket, theirs) = crate::sys::socket::pair().unwrap();
    let host = HostReader::open().read();
    let mut core = pool.shared.lock();
    core.server.connect(socket, u64::MAX);
    core.follow_host(host);
    pool.shared.release(core);
    (pool, theirs)
}

impl PlayedPool {
    /// A successor that is ready takes the seat beyond the set.
    fn successor_comes(&mut self) {
        let newcomer = Played::make();
        let mut core = self.shared.lock();
        let beyond = core.seats.beyond();
        assert!(core.seats.get_mut(beyond).unwrap().vacant_until_ns().is_some(), "it was ordered");
        let played = newcomer.sit_down(core.seats.get_mut(beyond).unwrap());
        core.replace_due();
        self.shared.release(core);
        if beyond < self.workers.len() {
            self.workers[beyond] = played;
        } else {
            self.workers.push(played);
        }
    }
}

/// A successor was ready, and the worker that was due had begun nothing: all its pieces were taken back, and then it waited
/// for the end of a piece. No piece ran any more.
#[test]
fn a_worker_that_has_begun_nothing_is_replaced_at_once() {
    let (mut pool, _socket) = pool(1);
    let task = pool.task::<u64>();
    (0..2).for_each(|number| task.run(add, number, 1));
    pool.shared.lock().recycle();
    pool.shared.lock().alarm.supervisor_woke();
    pool.successor_comes();
    let mut core = pool.shared.lock();
    assert_eq!((core.seats.beyond(), core.seats.worker(0).unwrap().duty()), (0, Duty::Leaves));
    assert_eq!(core.alarm.supervisor_sleeps(None), Some(0), "somebody must give out what was taken back");
    core.collect();
    pool.shared.release(core);
    assert_eq!(held(&pool), [0, 2]);
    while pool.workers[1].answer_one() {}
    assert_eq!(task.get().unwrap(), [1, 2]);
}
