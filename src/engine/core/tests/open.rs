//! Open results, with workers that are played: who is held back, and that nobody is held back for ever.
//!
//! The simulation is seeded. In each step one of the actors moves: a worker begins a piece, writes a part or ends; it dies, and another
//! takes its place; a caller takes what is there; the supervisor looks. Some tasks have a time limit. Afterwards all move in turn, and each piece must come to
//! its end. Without the rule that nothing is held back while the piece in turn is at work nowhere, some seeds in a hundred end
//! in a deadlock.

use super::*;
use crate::backend::{Parts, Settled, Wanted};
use crate::engine::wire::record::{self, END, OPEN};
use proptest::prelude::RngCore;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

struct Writer {
    played: Played,
    /// The piece that runs.
    piece: Option<Piece>,
}

#[derive(Debug)]
struct Piece {
    sequence: u32,
    number: u8,
    left: usize,
    is_open: bool,
}

impl Writer {
    /// One step. False if there is nothing that it can do.
    fn step(&mut self, part: usize) -> bool {
        let Played { pair, work, replies, .. } = &mut self.played;
        replies.consumed_to(told::told_head(pair.back_head()));
        let Some(piece) = &mut self.piece else {
            let Ok(Some(record)) = work.peek(pair.out_ring()) else { return false };
            let [number, length] = [1, 2].map(|word| record.word(pair.out_ring(), word).unwrap());
            work.pass(&record);
            let sequence = record.header.sequence;
            if claim::claim(pair.states(), sequence) {
                if record.header.flags & record::LIMITED != 0 {
                    told::tell_start(pair.started_ns(), pair.started(), sequence, clock::now_ns());
                }
                self.piece = Some(Piece { sequence, number: number as u8, left: length as usize, is_open: false });
            }
            return true;
        };
        let (sequence, bytes) = (piece.sequence, vec![piece.number; piece.left.min(part)]);
        let ends = bytes.len() == piece.left;
        let kind = match (piece.is_open, ends) {
            (false, true) => REPLY,
            (false, false) => OPEN,
            (true, false) => CHUNK,
            (true, true) => END,
        };
        let has_room = replies.push(pair.back_ring(), Header { kind, flags: 0, sequence }, &[], &bytes).is_ok();
        if has_room {
            replies.publish(pair.back_ring());
            piece.left -= bytes.len();
            piece.is_open = true;
        }
        told::tell_tail(pair.back_tail(), replies.tail());
        if has_room && ends {
            told::tell_ended(pair.ended(), sequence);
            self.piece = None;
        }
        has_room
    }
}

/// How a task is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Parts,
    InOrder,
    AsFinished,
}

struct Caller {
    key: TaskKey,
    way: Way,
    lengths: Vec<usize>,
    /// What came of each piece; `true` once it has its end.
    came: Vec<(usize, bool)>,
    spare: Vec<u8>,
    may_fail: bool,
}

impl Caller {
    fn add(&mut self, number: usize, bytes: &[u8]) {
        // At once: byte by byte takes most of the time of this test without optimisation.
        assert!(bytes == vec![number as u8; bytes.len()], "{number}: another piece's bytes");
        self.came[number].0 += bytes.len();
    }

    fn settle(&mut self, number: usize, settled: Settled) {
        assert!(!self.came[number].1, "{number}: twice");
        self.came[number].1 = true;
        match settled {
            Settled::Done(reply) => {
                self.add(number, reply.as_slice());
                assert_eq!(self.came[number].0, self.lengths[number], "{number}");
            }
            Settled::Failed(error) => {
                assert!(self.may_fail && error.kind() != ErrorKind::TimedOut, "{error}");
                assert!(self.came[number].0 <= self.lengths[number]);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.came.iter().all(|(_, ended)| *ended)
    }

    /// Takes what is there; true if that is anything.
    fn take(&mut self, shared: &Shared) -> bool {
        let Some(next) = self.came.iter().position(|(_, ended)| !ended) else { return false };
        let now = Some(Instant::now());
        let outcomes = match self.way {
            Way::Parts => match shared.take_parts(self.key, next, &mut self.spare, Until::at(now)) {
                Some(Parts::Part(bytes)) => {
                    self.add(next, &bytes);
                    self.spare = bytes;
                    return true;
                }
                Some(Parts::Rest(outcomes)) => outcomes,
                None => return false,
            },
            Way::InOrder => match shared.take_in_order(self.key, next, ReadOrder::Next, Until::at(now)) {
                Some(outcomes) => outcomes,
                None => return false,
            },
            Way::AsFinished => {
                let Some(it) = shared.take_finished(self.key, Wanted::First { lowest: next }, Until::at(now)) else {
                    return false;
                };
                self.settle(it.number, it.settled);
                return true;
            }
        };
        for (number, settled) in (next..).zip(outcomes) {
            self.settle(number, settled);
        }
        true
    }
}

struct Simulation {
    shared: Arc<Shared>,
    writers: Vec<Writer>,
    callers: Vec<Caller>,
    random: TestRng,
    kept_most: usize,
    _orders: Receiver<Command>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut below = |end: u32| (random.next_u32() % end) as usize;
        let pool = PlayedPool::new(1 + below(3));
        let PlayedPool { shared, workers, _orders } = pool;
        let writers = workers.into_iter().map(|played| Writer { played, piece: None }).collect();
        let site = Site { call: Call::of_pair(add), location: std::panic::Location::caller() };
        let callers = (0..1 + below(2)).map(|_| {
            let key = shared.lock().open_task().unwrap();
            let way = [Way::Parts, Way::InOrder, Way::AsFinished][below(3)];
            let retries = if way != Way::Parts && below(2) == 0 { u32::MAX } else { 0 };
            let max_unread_bytes = Some([0, 100_000, 1_000_000, 3_000_000, 100_000_000][below(5)]);
            // An hour: the clock of a piece that is held back stops, goes on and must not run over.
            let limit_ns = NonZeroU64::new(3_600_000_000_000).filter(|_| below(2) == 0);
            shared.configure(key, TaskSettings { max_unread_bytes, retries, limit_ns, ..TaskSettings::default() });
            let lengths: Vec<usize> =
                (0..1 + below(10)).map(|_| [30, 300_000, 1_500_000, 2_500_000][below(4)] + below(300)).collect();
            for (number, length) in lengths.iter().enumerate() {
                let arguments = [number.to_le_bytes(), length.to_le_bytes()].concat();
                shared.add_piece(key, site, Handed::Lent(&arguments));
            }
            let came = vec![(0, false); lengths.len()];
            Caller { key, way, lengths, came, spare: Vec::new(), may_fail: retries == 0 }
        });
        let callers = callers.collect();
        Simulation { shared, writers, callers, random, kept_most: 0, _orders }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.next_u32() as usize % end
    }

    /// The supervisor looks.
    fn look(&mut self) -> bool {
        let found = self.shared.with(|core| {
            let _ = core.run_timers(&[]);
            core.collect()
        });
        found == Some(true)
    }

    fn kill(&mut self, seat: usize) {
        let newcomer = Played::make();
        let mut core = self.shared.lock();
        let generation = core.seats.get_mut(seat).unwrap().generation();
        core.died_of(seat, generation, Cause::Signal(process::SIGKILL));
        let played = newcomer.sit_down(core.seats.get_mut(seat).unwrap());
        core.dispatch();
        self.shared.release(core);
        self.writers[seat] = Writer { played, piece: None };
    }

    fn step(&mut self) {
        let (who, part) = (self.below(30), 1 + self.below(CHUNK_BYTES));
        let (writers, callers) = (self.writers.len(), self.callers.len());
        match who {
            0 => self.kill(part % writers),
            1 => {
                // The worker of a piece in turn: it starts again when other workers are busy.
                let turns = self.callers.iter().map(|caller| (caller.key, caller.came.iter().position(|it| !it.1)));
                let turns: Vec<_> = turns.filter_map(|(key, next)| Some((key, next?))).collect();
                let runs =
                    |core: &mut Core, seat| core.seats.worker(seat).and_then(|worker| worker.link.oldest_piece());
                let seat = (0..writers).find(|&seat| {
                    self.shared.with(|core| runs(core, seat)).flatten().is_some_and(|piece| turns.contains(&piece))
                });
                seat.into_iter().for_each(|seat| self.kill(seat));
            }
            2..4 => _ = self.look(),
            4..10 => {
                let shared = Arc::clone(&self.shared);
                self.callers[part % callers].take(&shared);
            }
            _ => _ = (0..4).all(|_| self.writers[part % writers].step(part)),
        }
        for caller in &self.callers {
            let unread = self.shared.with(|core| core.task(caller.key).map_or(0, |task| task.unread_bytes())).unwrap();
            self.kept_most = self.kept_most.max(unread);
        }
    }

    /// All move in turn, until all is done.
    fn finish(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut stuck: Option<Instant> = None;
        while !self.callers.iter().all(Caller::is_done) {
            let mut moved = self.look();
            for writer in &mut self.writers {
                while writer.step(CHUNK_BYTES) {
                    moved = true;
                }
            }
            // One after the other: those that nobody reads keep no worker from the others.
            if let Some(caller) = self.callers.iter_mut().rev().find(|caller| !caller.is_done()) {
                while caller.take(&shared) {
                    moved = true;
                }
            }
            // What waits for its time comes within a second: a later start, or the moment from which others have waited.
            let since = *stuck.get_or_insert_with(Instant::now);
            assert!(since.elapsed() < Duration::from_secs(10), "nobody moves: {self:?}");
            if moved {
                stuck = None;
            }
        }
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for caller in &self.callers {
            writeln!(f, "{:?}: {:?} of {:?}", caller.way, caller.came, caller.lengths)?;
        }
        for (seat, writer) in self.writers.iter().enumerate() {
            let held: Vec<_> = self
                .shared
                .with(|core| {
                    core.seats.worker_mut(seat).map(|worker| worker.link.begun_pieces().collect()).unwrap_or_default()
                })
                .unwrap();
            writeln!(f, "worker {seat} runs {:?}, the parent: {held:?}", writer.piece)?;
        }
        Ok(())
    }
}

#[test]
fn each_piece_that_is_held_back_goes_on() {
    let seeds = std::env::var("MULTICORE_OPEN_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    for seed in 0..seeds {
        let mut simulation = Simulation::new(seed);
        let steps = simulation.below(400);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..steps).for_each(|_| simulation.step());
            simulation.finish();
        }));
        if let Err(payload) = run {
            eprintln!("seed {seed}: {simulation:?}");
            std::panic::resume_unwind(payload);
        }
    }
}
