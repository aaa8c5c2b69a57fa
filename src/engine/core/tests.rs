//! The scheduler with workers that are played by hand in this very thread: no processes, no clocks that
//! matter.

use super::attention::MAX_LOOKS;
use super::*;
use crate::backend::waking::Until;
use crate::backend::{Backend, MemoryLimit, MemoryLimits, ReadOrder, Site, TaskSettings};
use crate::codec::bytes::Handed;
use crate::codec::call::Call;
use crate::engine::core::seat::{Measured, Prepared, Seat};
use crate::engine::policy::restart;
use crate::engine::shared::Command;
use crate::engine::shared::Shared;
use crate::engine::wire::pair::{CHUNK_BYTES, Pair, READY};
use crate::engine::wire::record::{BEGIN, CHUNK, Outcome, REPLY};
use crate::engine::wire::result_limit::ResultLimit;
use crate::error::{Cause, Error, ErrorKind};
use crate::protocol::claim;
use crate::protocol::ring::{Consumer, Header, LENGTH_BITS, Producer};
use crate::protocol::sleep::{Listener, Listening};
use crate::protocol::sync::Release;
use crate::protocol::told;
use crate::sys::cgroup::MemoryKills;
use crate::sys::host::HostReader;
use crate::sys::process;
use crate::task::Task;
use crossbeam_channel::Receiver;

mod checks;
mod ends;
mod figures;
mod holds;
mod idle;
mod open;
mod priorities;
mod recycle;
mod resize;
mod samples;
mod spread;
mod status;
mod stops;
mod timed;
mod turns;
mod urgency;

/// The worker's side of a pair.
struct Played {
    pair: Pair,
    work: Consumer,
    replies: Producer,
    /// How the pieces that it answers end.
    outcome: Outcome,
}

/// A pool whose workers are played.
struct PlayedPool {
    shared: Arc<Shared>,
    workers: Vec<Played>,
    /// Nobody reads them.
    _orders: Receiver<Command>,
}

impl PlayedPool {
    fn new(workers: usize) -> PlayedPool {
        PlayedPool::with_cpus(workers, usize::MAX)
    }

    fn with_cpus(workers: usize, cpus: usize) -> PlayedPool {
        // As the start of a pool does: the first look at the image takes a while.
        let _ = (crate::sys::image::image(), process::number());
        let epoll = || Arc::new(Epoll::new().unwrap());
        let epolls = Epolls { callers: epoll(), supervisor: epoll() };
        let kick = |epoll| Arc::new(Kick::new(epoll, number::KICK).unwrap());
        let (kick, kick_supervisor) = (kick(&epolls.callers), kick(&epolls.supervisor));
        let callers = Arc::clone(&epolls.callers);
        let buffers = Buffers::new(ResultLimit::new(Some(1 << 30)));
        let mut core = Core::new((workers, cpus), epolls, Arc::clone(&kick_supervisor), buffers);
        core.keep_status(workers).unwrap();
        let played = (0..workers).map(|seat| Played::make().sit_down(core.seats.get_mut(seat).unwrap())).collect();
        (0..workers).for_each(|seat| core.seats.worker_mut(seat).unwrap().seat = seat);
        let (orders, received) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared::new(
            core,
            callers,
            (kick, kick_supervisor),
            orders,
            (MemoryKills::default(), Arc::new(HostReader::open())),
            workers,
            false,
        ));
        PlayedPool { shared, workers: played, _orders: received }
    }

    fn task<R: crate::Value>(&self) -> Task<R> {
        let key = self.shared.lock().open_task().unwrap();
        Task::opened(Arc::clone(&self.shared) as Arc<dyn Backend>, key)
    }

    /// Whatever the clock says: counting, or a busy machine, makes all slow.
    fn pieces_are_tiny(&self) {
        let mut core = self.shared.lock();
        for slot in 0..core.work.tasks.slots() {
            if let Some((_, task)) = core.work.tasks.in_slot(slot) {
                (0..16).for_each(|_| task.learn_cost(0));
            }
        }
    }

    /// The workers answer up to `most` of the pieces that they see, each with the sum of its two numbers.
    fn work(&mut self, most: usize) -> usize {
        let mut answered = 0;
        for worker in &mut self.workers {
            while answered < most && worker.answer_one() {
                answered += 1;
            }
        }
        answered
    }
}

/// A played worker that has no seat yet.
struct Newcomer(Played, Prepared);

impl Newcomer {
    fn sit_down(self, seat: &mut Seat) -> Played {
        let Newcomer(played, Prepared { link, memory }) = self;
        seat.occupy(WorkerHandle::new(link, memory, Default::default(), 0));
        let _ = seat.worker_mut().unwrap().spawned(1, None);
        played
    }
}

impl Played {
    /// A worker that is ready, and what the parent needs for it.
    fn make() -> Newcomer {
        let made = Pair::create().unwrap();
        let pair = Pair::open(&made.1, &made.2).unwrap();
        pair.stage().store(READY, Release);
        let prepared = Prepared::create(made).unwrap();
        let played = Played { pair, work: Consumer::new(), replies: Producer::new(), outcome: Outcome::Result };
        Newcomer(played, prepared)
    }

    fn answer_one(&mut self) -> bool {
        self.answer().is_some()
    }

    /// Answers the next piece; gives the header of its record.
    fn answer(&mut self) -> Option<Header> {
        let words = self.pair.out_ring();
        while let Ok(Some(record)) = self.work.peek(words) {
            let mut payload = Vec::new();
            record.append_to(words, 1, &mut payload);
            self.work.pass(&record);
            let Header { kind, sequence, .. } = record.header;
            if kind == CHUNK || !claim::claim(self.pair.states(), sequence) {
                continue;
            }
            self.replies.consumed_to(told::told_head(self.pair.back_head()));
            let numbers: Vec<u64> = payload.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
            let payload = numbers.iter().sum::<u64>().to_le_bytes();
            let header = Header { kind: REPLY, flags: self.outcome as u8, sequence };
            assert!(self.replies.push(self.pair.back_ring(), header, &[], &payload).is_ok());
            self.replies.publish(self.pair.back_ring());
            return Some(record.header);
        }
        None
    }
}

fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Workers that worked and then wiped their own word for being ready once counted as workers that could not start,
/// and the fifth of them ended the pool.
#[test]
fn a_worker_that_has_answered_was_ready_whatever_it_writes_later() {
    for (answers, ends_the_pool) in [(true, false), (false, true)] {
        let mut pool = PlayedPool::new(1);
        for _ in 0..restart::MAX_EARLY_DEATHS {
            let task = pool.task::<u64>();
            if answers {
                task.run(add, 1, 2);
                assert_eq!(pool.work(1), 1);
                assert_eq!(task.get().unwrap(), [3]);
            }
            pool.workers[0].pair.stage().store(0, Release);
            let newcomer = Played::make();
            let mut core = pool.shared.lock();
            let generation = core.seats.get_mut(0).unwrap().generation();
            core.died_of(0, generation, Cause::Signal(process::SIGKILL));
            let played = newcomer.sit_down(core.seats.get_mut(0).unwrap());
            drop(core);
            pool.workers[0] = played;
        }
        assert_eq!(pool.shared.lock().has_failed(), ends_the_pool);
    }
}

/// The kernel's count of kills is read without the lock by two threads, so an older count may come last. It once
/// lowered the count, and the next `kill -9` was taken for a kill because memory ran out.
#[test]
fn an_older_count_of_kills_that_comes_last_changes_nothing() {
    let mut pool = PlayedPool::new(1);
    pool.shared.lock().settle_kills(Some(1));
    let killed = Cause::Signal(process::SIGKILL);
    // The counts that are read after a death, and its cause.
    for (counts, expected) in
        [(&[2, 1][..], Cause::OomKilled), (&[2], killed), (&[3], Cause::OomKilled), (&[3], killed)]
    {
        let task = pool.task::<u64>();
        task.run(add, 1, 2);
        // Its worker's first piece, which it begins and does not end.
        assert!(claim::claim(pool.workers[0].pair.states(), 1));
        let newcomer = Played::make();
        let mut core = pool.shared.lock();
        let generation = core.seats.get_mut(0).unwrap().generation();
        core.died_of(0, generation, killed);
        assert!(core.awaits_kill_count());
        counts.iter().for_each(|&count| core.settle_kills(Some(count)));
        assert!(!core.awaits_kill_count());
        let played = newcomer.sit_down(core.seats.get_mut(0).unwrap());
        pool.shared.release(core);
        pool.workers[0] = played;
        let error = task.get_each().pop().unwrap().unwrap_err();
        assert_eq!(error.cause(), Some(expected), "{counts:?}: {error}");
    }
}

/// What a reader takes makes room for further pieces of a bounded task. Where the reader had to wait, they once
/// waited on until it read again.
#[test]
fn what_a_reader_takes_makes_room_at_once() {
    for must_wait in [true, false] {
        let mut pool = PlayedPool::new(1);
        let key = pool.shared.lock().open_task().unwrap();
        // Four results of 8 bytes, those that the worker will give included, reach the limit.
        pool.shared.configure(key, TaskSettings { max_unread_bytes: Some(25), ..TaskSettings::default() });
        let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
        let take = move |shared: &Shared, next| {
            shared.take_in_order(key, next, ReadOrder::Next, Until::Outcome).unwrap().into_iter().count()
        };
        let held =
            |pool: &PlayedPool| pool.shared.lock().seats.workers().map(|worker| worker.link.in_flight()).sum::<usize>();
        pool.shared.add_piece(key, site, Handed::Lent(&[1; 16]));
        assert_eq!(pool.work(1), 1);
        assert_eq!(take(&pool.shared, 0), 1);
        pool.pieces_are_tiny();
        for _ in 0..6 {
            pool.shared.add_piece(key, site, Handed::Lent(&[1; 16]));
        }
        assert_eq!(held(&pool), 4);
        if must_wait {
            let shared = Arc::clone(&pool.shared);
            let reader = std::thread::spawn(move || take(&shared, 1));
            while !pool.shared.lock().waiters.has_leader() {
                std::thread::yield_now();
            }
            assert_eq!(pool.work(1), 1);
            assert!(pool.shared.kick.signal());
            assert_eq!(reader.join().unwrap(), 1);
        } else {
            assert_eq!(pool.work(1), 1);
            pool.shared.lock().collect();
            assert_eq!(held(&pool), 3, "nothing is read, so nothing more may run");
            assert_eq!(take(&pool.shared, 1), 1);
        }
        assert_eq!(held(&pool), 4, "three are left, and one more has room");
    }
}

/// A worker that slept let its ring stand full, and the parent went round in it for as long as it found something, with
/// the lock held. Here the parts of a result of 512 MiB stand there.
#[test]
fn a_ring_that_stands_full_is_read_with_the_lock_given_away_in_between() {
    let mut pool = PlayedPool::new(1);
    let task = pool.task::<u64>();
    // The second one waits behind it, which makes it worth telling that the first is done.
    (0..2).for_each(|_| task.run(add, 1, 2));
    let Played { pair, replies, .. } = &mut pool.workers[0];
    assert!(claim::claim(pair.states(), 1));
    let (words, part) = (pair.back_ring(), vec![1; CHUNK_BYTES]);
    let header = |kind| Header { kind, flags: 0, sequence: 1 };
    // From `tail` on there is nothing up to the end of the ring.
    let fill_up = |tail: usize| words[tail].store(((words.len() - tail - 1) * 8) as u64 | 15 << LENGTH_BITS, Release);
    assert!(replies.push(words, header(BEGIN), &[1 << 29], &part).is_ok());
    while replies.push(words, header(CHUNK), &[], &part).is_ok() {}
    replies.publish(words);
    let mut core = pool.shared.lock();
    assert!(core.collect() && !core.trash().is_empty(), "the pages of what comes next are allocated without the lock");
    pool.shared.release(core);
    while pool.shared.with(Core::collect) == Some(true) {}
    let first_round = replies.tail() as usize;
    // All further rounds, from the beginning of the ring.
    let mut replies = Producer::new();
    while replies.push(words, header(CHUNK), &[], &part).is_ok() {}
    replies.publish(words);
    fill_up(replies.tail() as usize);
    fill_up(first_round);
    let mut core = pool.shared.lock();
    let has_read = |core: &mut Core| core.seats.worker_mut(0).unwrap().link.has_read();
    for (observer, supervisor_goes_on) in [(Observer::CallerParks, false), (Observer::SupervisorParks, true)] {
        core.alarm.supervisor_woke();
        // As if the lock had been given away in between.
        core.hold.start();
        let before = has_read(&mut core);
        assert!(core.attend(observer, true), "{observer:?} must look again");
        let ring = words.len() as u64;
        assert!((1..=MAX_LOOKS as u64 * ring).contains(&(has_read(&mut core) - before)), "{observer:?}");
        assert_eq!(core.alarm.supervisor_sleeps(None) == Some(0), supervisor_goes_on, "{observer:?}");
    }
    pool.shared.release(core);
}

/// Only the caller that leads looked at the rings. Where its thread got no core, all other callers waited as long as that:
/// 19 s beside a leader of the lowest priority. Here the leader never looks at all, asleep or awake.
#[test]
fn a_leader_that_never_looks_holds_up_no_other_caller() {
    for (observer, expected, guarded) in [
        (Observer::CallerParks, Some(Listening::Both), Some(Listening::Caller)),
        (Observer::CallerAwake, Some(Listening::Supervisor), None),
    ] {
        let mut pool = PlayedPool::new(1);
        let mut core = pool.shared.lock();
        let leader = core.waiters.enter(Waiter::new(Arc::default(), Want::Any));
        core.attend(observer, true);
        pool.shared.release(core);
        let (key, mut listener) = (pool.shared.lock().open_task().unwrap(), Listener::new());
        let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
        for _ in 0..3 {
            pool.shared.add_piece(key, site, Handed::Lent(&[1; 16]));
        }
        // It waits for the last piece, so that it does not look in between.
        let shared = Arc::clone(&pool.shared);
        let follower = std::thread::spawn(move || {
            shared.take_in_order(key, 2, ReadOrder::Next, Until::Outcome).unwrap().into_iter().count()
        });
        while !pool.shared.lock().waiters.has_followers() {
            std::thread::yield_now();
        }
        assert_eq!(pool.work(1), 1);
        assert_eq!(listener.after_reply(pool.workers[0].pair.interest(), false), expected, "{observer:?}");
        // What the supervisor does then, while it looks by itself, and at a look that finds nothing.
        for (signalled, again, listening) in
            [(true, Again::Beside, guarded), (false, Again::Instead, None), (false, Again::Off, expected)]
        {
            let mut core = pool.shared.lock();
            let found = core.collect();
            assert_eq!(core.guard_again(signalled, found), again, "{observer:?}, {signalled}");
            core.keep_attention();
            pool.shared.release(core);
            assert_eq!(pool.work(usize::from(signalled)), usize::from(signalled));
            let told = listener.after_reply(pool.workers[0].pair.interest(), false);
            assert_eq!(told, listening, "{observer:?}, {signalled}");
        }
        assert_eq!(pool.work(1), 1);
        let mut core = pool.shared.lock();
        core.collect();
        pool.shared.release(core);
        assert_eq!(follower.join().unwrap(), 1);
        assert!(pool.shared.lock().waiters.leave(leader).is_none());
    }
}

/// Of two pieces that panicked in one look, the supervisor was once to wake for the one that came last.
#[test]
fn the_supervisor_wakes_for_the_first_piece_that_starts_again() {
    let mut pool = PlayedPool::new(1);
    let task = pool.task::<u64>().retries(9).retry_panics(true);
    (0..2).for_each(|number| task.run(add, number, 1));
    pool.workers[0].outcome = Outcome::Panicked;
    pool.shared.lock().alarm.supervisor_woke();
    assert_eq!(pool.work(2), 2);
    let mut core = pool.shared.lock();
    assert!(core.collect());
    let due_ns = core.delayed.next_ns();
    assert!(due_ns.is_some());
    assert_eq!(core.alarm.supervisor_sleeps(None), due_ns);
    pool.shared.release(core);
}

/// What a function answers by an error counts, also where a panic would start again.
#[test]
fn an_error_of_a_function_ends_its_piece_and_a_panic_may_start_again() {
    for (outcome, kind) in [(Outcome::Failed, Some(ErrorKind::Failed)), (Outcome::Panicked, None)] {
        let mut pool = PlayedPool::new(1);
        let task = pool.task::<u64>().retries(9).retry_panics(true);
        task.run(add, 1, 2);
        pool.workers[0].outcome = outcome;
        assert_eq!(pool.work(1), 1);
        assert_eq!(task.completed(), usize::from(kind.is_some()));
        assert_eq!(pool.shared.lock().delayed.is_empty(), kind.is_some());
        if let Some(kind) = kind {
            let error = task.get().unwrap_err();
            assert_eq!((error.kind(), error.piece(), error.attempts()), (kind, Some(0), 1));
            assert_eq!((error.worker(), error.pid()), (Some(0), Some(1)));
        }
    }
}

/// A worker that was killed for one piece once got others until it was dead, and could begin one in its last moment.
#[test]
fn a_worker_that_is_killed_gets_no_more_pieces() {
    let mut pool = PlayedPool::new(2);
    let held = |pool: &PlayedPool| {
        let core = pool.shared.lock();
        core.seats.workers().map(|worker| worker.link.in_flight()).collect::<Vec<_>>()
    };
    let task = pool.task::<u64>();
    // From one place: pieces of another site do not take the lane.
    let run = || task.run(add, 1, 2);
    while pool.shared.lock().lane.seat().is_none() {
        run();
        pool.pieces_are_tiny();
        pool.work(usize::MAX);
    }
    let seat = pool.shared.lock().lane.seat().unwrap();
    while task.completed() < task.len() {
        pool.work(usize::MAX);
    }
    let mut core = pool.shared.lock();
    core.kill_unbegun(seat);
    pool.shared.release(core);
    for _ in 0..100 {
        run();
    }
    assert_eq!(held(&pool)[seat], 0);
    assert!(held(&pool)[1 - seat] > 0);
}

/// A tiny piece that took the short way after the pool's end lay in a ring that nobody read, and its caller
/// waited for ever.
#[test]
fn no_piece_takes_the_direct_lane_once_the_pool_has_ended() {
    let ends: [fn(&mut Core); 3] =
        [|core| core.close(true), |core| core.close(false), |core| core.fail(Error::new(ErrorKind::System, "no more"))];
    for end in ends {
        let mut pool = PlayedPool::new(1);
        let task = pool.task::<u64>();
        // From one place: pieces of another site do not take the lane.
        let run = || task.run(add, 1, 2);
        while pool.shared.lock().lane.seat().is_none() {
            run();
            pool.pieces_are_tiny();
            pool.work(usize::MAX);
        }
        let before = task.len();
        while task.completed() < before {
            pool.work(usize::MAX);
        }
        let mut core = pool.shared.lock();
        end(&mut core);
        pool.shared.release(core);
        run();
        assert_eq!(task.completed(), before + 1, "it failed at once");
        assert!(task.get_each().pop().unwrap().is_err());
    }
}

/// What the parent does for tiny pieces, in functions of their own so that valgrind can count:
///
/// ```sh
/// cargo test --release --lib --no-run
/// valgrind --tool=callgrind --toggle-collect='*::counted_*' PROGRAM --exact --ignored \
///     engine::core::tests::instructions_by_run
/// ```
///
/// and the same with `instructions_by_run_all`; divide by [`COUNTED_PIECES`]. valgrind 3.19 needs
/// `RUSTFLAGS="--cfg rustix_use_libc"`, because it hides the clock's page from rustix.
const COUNTED_PIECES: u64 = 64_000;

#[inline(never)]
fn counted_run(task: &Task<u64>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        task.run(add, number, 1);
    }
}

#[inline(never)]
fn counted_run_all(task: &Task<u64>, numbers: std::ops::Range<u64>) {
    task.run_all(add, numbers.map(|number| (number, 1)));
}

/// A look, as the caller takes while it waits.
#[inline(never)]
fn counted_look(pool: &PlayedPool) {
    pool.shared.lock().collect();
}

#[inline(never)]
fn counted_get(task: Task<u64>) -> Vec<u64> {
    task.get().unwrap()
}

/// Gives pieces in chunks, lets the workers answer each chunk, and collects them all.
fn count_instructions(give: fn(&Task<u64>, std::ops::Range<u64>), chunk: u64) {
    let mut pool = PlayedPool::new(2);
    let task = pool.task::<u64>();
    for first in (0..COUNTED_PIECES).step_by(chunk as usize) {
        pool.pieces_are_tiny();
        give(&task, first..first + chunk);
        while task.completed() < (first + chunk) as usize {
            pool.pieces_are_tiny();
            pool.work(usize::MAX);
            counted_look(&pool);
        }
    }
    assert!(counted_get(task).into_iter().eq(1..=COUNTED_PIECES));
}

#[test]
#[ignore = "a driver for callgrind"]
fn instructions_by_run() {
    count_instructions(counted_run, 64);
}

#[test]
#[ignore = "a driver for callgrind"]
fn instructions_by_run_all() {
    count_instructions(counted_run_all, 1000);
}

#[inline(never)]
fn counted_tasks(pool: &PlayedPool) {
    for _ in 0..COUNTED_PIECES {
        drop(pool.task::<u64>());
    }
}

#[test]
#[ignore = "a driver for callgrind"]
fn instructions_by_task() {
    counted_tasks(&PlayedPool::new(2));
}

#[inline(never)]
fn counted_calls(call: Call, arguments: &mut Vec<u8>, result: &mut Vec<u8>) {
    for _ in 0..COUNTED_PIECES {
        result.clear();
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            call.run(crate::Format::Bincode, arguments, &mut crate::codec::sink::Place::of_buffer(result))
        }));
        assert!(matches!(answer, Ok(Ok(_))));
    }
}

#[test]
#[ignore = "a driver for callgrind"]
fn instructions_by_call() {
    let mut arguments = 1_u64.to_le_bytes().to_vec();
    arguments.extend(2_u64.to_le_bytes());
    counted_calls(Call::of_pair(add), &mut arguments, &mut Vec::new());
}

#[test]
#[ignore = "a driver for callgrind"]
fn instructions_by_round_trip() {
    count_round_trips(PlayedPool::new(2));
}

/// With limits that are never reached.
#[test]
#[ignore = "a driver for callgrind"]
fn instructions_by_limited_round_trip() {
    let pool = PlayedPool::new(2);
    {
        let mut core = pool.shared.lock();
        let high = MemoryLimit::Growth(1 << 40);
        let limits = MemoryLimits { worker_high: Some(high), max: Some(1 << 50), checks: 2, ..MemoryLimits::default() };
        core.watched = Watched::new(limits, None);
        core.recycling = Recycling::new(LifeLimits { pieces: Some(u64::MAX), age_ns: None });
    }
    count_round_trips(pool);
}

fn count_round_trips(mut pool: PlayedPool) {
    for number in 0..COUNTED_PIECES {
        let task = pool.task::<u64>();
        counted_run(&task, number..number + 1);
        assert_eq!(pool.work(1), 1);
        assert_eq!(counted_get(task), [number + 1]);
    }
}
