//! The seat beyond the set, with played workers: nobody looks afterwards, no clock repairs what was forgotten.

use super::ends::{claims, held};
use super::*;
use crate::engine::policy::patience::Duty;
use crate::engine::policy::recycle::Reason;
use crate::sys::descriptors::Descriptor;

/// A pool that can order workers, and the end of its fork server's socket, which nobody reads.
pub(super) fn pool(workers: usize) -> (PlayedPool, Descriptor) {
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
    pub(super) fn successor_comes(&mut self) {
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

/// One worker, and two pieces, of which it runs the first. It has too much memory, so it gets no more.
fn too_large() -> (PlayedPool, Task<u64>, Descriptor) {
    let (pool, socket) = pool(1);
    let task = pool.task::<u64>();
    (0..2).for_each(|number| task.run(add, number, 1));
    assert!(claims(&pool, 0, 1));
    pool.shared.lock().replace_for_memory(0, 2, 1);
    assert_eq!(held(&pool), [1]);
    (pool, task, socket)
}

/// A worker that had too much memory waited for its successor for as long as this process had no descriptor left for one.
#[test]
fn a_worker_goes_on_if_no_successor_can_be_made() {
    let (pool, _task, _socket) = too_large();
    let mut core = pool.shared.lock();
    core.cannot_prepare(&std::io::Error::from_raw_os_error(libc::EMFILE));
    assert!(core.seats.is_spare(core.seats.beyond()), "it is ordered once more after a pause");
    core.collect();
    pool.shared.release(core);
    assert_eq!(held(&pool), [2]);
}

/// It waited for one that hung in its start for a minute.
#[test]
fn a_worker_goes_on_if_its_successor_is_long_in_coming() {
    for (ago_ms, expected) in [(900, 1), (1_100, 2)] {
        let (pool, _task, _socket) = too_large();
        let Newcomer(played, Prepared { link, memory }) = Played::make();
        played.pair.stage().store(0, Release);
        let made_ns = clock::now_ns() - ago_ms * 1_000_000;
        let mut core = pool.shared.lock();
        let beyond = core.seats.beyond();
        core.seats.get_mut(beyond).unwrap().occupy(WorkerHandle::new(link, memory, Default::default(), made_ns));
        assert_eq!(core.successor_due_ns(), Some(made_ns + 1_000_000_000));
        core.replace_due();
        core.collect();
        assert!(core.seats.worker(beyond).is_some_and(|worker| !worker.was_killed()));
        // That of the kill comes next.
        let next_ns = core.successor_due_ns().unwrap() - made_ns;
        assert_eq!(next_ns > 1_000_000_000, expected == 2);
        pool.shared.release(core);
        assert_eq!(held(&pool)[0], expected);
    }
}

/// After some successors that could not be started the next one came after up to 10 s. A worker whose memory had grown too
/// large meanwhile got nothing until then.
#[test]
fn a_worker_goes_on_while_no_successor_may_be_ordered() {
    let (pool, _socket) = pool(1);
    for _ in 0..15 {
        let newcomer = Played::make();
        let mut core = pool.shared.lock();
        let beyond = core.seats.beyond();
        let it = core.seats.get_mut(beyond).unwrap();
        let _played = newcomer.sit_down(it);
        let generation = it.generation();
        core.spawn_failed(beyond, generation, &std::io::Error::from_raw_os_error(libc::EAGAIN));
        pool.shared.release(core);
    }
    let task = pool.task::<u64>();
    (0..2).for_each(|number| task.run(add, number, 1));
    pool.shared.lock().replace_for_memory(0, 2, 1);
    assert_eq!(held(&pool), [2]);
}

/// Two workers had too much memory. When the first was replaced the other was given two more pieces until its own successor was
/// ready.
#[test]
fn the_next_worker_with_too_much_memory_gets_nothing_more_when_the_first_is_replaced() {
    let (mut pool, _socket) = pool(3);
    let task = pool.task::<u64>();
    (0..6).for_each(|number| task.run(add, number, 1));
    (0..3).for_each(|worker| assert!(claims(&pool, worker, 1)));
    (0..3).for_each(|seat| pool.shared.lock().replace_for_memory(seat, 2, 1));
    assert_eq!(held(&pool), [1, 1, 1]);
    let Played { pair, replies, .. } = &mut pool.workers[0];
    let header = Header { kind: REPLY, flags: Outcome::Result as u8, sequence: 1 };
    assert!(replies.push(pair.back_ring(), header, &[], &1_u64.to_le_bytes()).is_ok());
    replies.publish(pair.back_ring());
    pool.successor_comes();
    let mut core = pool.shared.lock();
    core.collect();
    assert_eq!(core.seats.beyond(), 0);
    pool.shared.release(core);
    // Of those that are left the first waits for the next successor, and the other goes on.
    assert_eq!(held(&pool)[..3], [0, 1, 2]);
}

/// A worker was due soon, and its successor waited beside the full set for the end of its piece. Its task was cancelled before it
/// had begun: both workers stayed, although nothing ran.
#[test]
fn a_successor_does_not_wait_for_the_end_of_a_piece_that_was_taken_back() {
    let (mut pool, _socket) = pool(1);
    let task = pool.task::<u64>();
    task.run(add, 1, 2);
    let mut core = pool.shared.lock();
    core.due_soon(0, Reason::Pieces);
    core.replace_due();
    pool.shared.release(core);
    pool.successor_comes();
    assert_eq!(pool.shared.lock().seats.beyond(), 1);
    task.cancel();
    let core = pool.shared.lock();
    assert_eq!((core.seats.beyond(), core.seats.worker(0).unwrap().duty()), (0, Duty::Leaves));
}

/// At each look all workers that are due were sorted into their sets anew.
#[test]
fn a_look_touches_no_worker_that_is_due() {
    let visits = |workers| {
        let (pool, _socket) = pool(workers);
        pool.shared.lock().recycle();
        let mut core = pool.shared.lock();
        core.seats.sorted();
        core.seats.take_visits();
        core.replace_due();
        core.seats.sorted();
        core.seats.take_visits()
    };
    let (few, many) = (visits(10), visits(110));
    // One is that it is still there, and one whether it has answered all that it may be given.
    assert_eq!(many - few, 2 * 100, "{few}, {many}");
}
