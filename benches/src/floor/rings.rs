//! Rings of fixed records between this process and others, which return sums of two numbers in the order of the requests.

use super::{Child, Shared, Signal32, Waiting};
use crate::WORKERS;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// The number of records in each ring.
const SLOTS: u64 = 4096;
const TAIL_OUT: usize = 0;
const TAIL_BACK: usize = 128;
/// The offset of a word that changes when a round begins and ends, so that no process spins between rounds.
const ROUND: usize = 256;
const OUT: usize = 4096;
const OUT_BYTES: usize = 32;
const BACK: usize = OUT + SLOTS as usize * OUT_BYTES;
const BACK_BYTES: usize = 16;
const ALL: usize = BACK + SLOTS as usize * BACK_BYTES;

/// Two processes that add the numbers that come through their rings.
pub struct Rings {
    workers: Vec<(Rc<Shared>, u64, u64)>,
    batch: u64,
    round: u32,
    _children: Vec<Child>,
}

fn round(shared: &Shared) -> Signal32<'_> {
    shared.signal(ROUND)
}

fn serve(shared: &Shared, batch: u64) {
    let (mut done, mut published) = (0, 0);
    let mut begun = round(shared).wait(0, Waiting::Futex);
    let mut polls = 0_u32;
    loop {
        let tail = shared.word(TAIL_OUT).load(Acquire);
        if done == tail {
            polls += 1;
            if round(shared).word.load(Relaxed) != begun {
                begun = round(shared).wait(begun + 1, Waiting::Futex);
            } else if polls.is_multiple_of(200) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
            continue;
        }
        while done < tail {
            let slot = OUT + (done % SLOTS) as usize * OUT_BYTES;
            let sum = shared.word(slot).load(Relaxed) + shared.word(slot + 8).load(Relaxed);
            let slot = BACK + (done % SLOTS) as usize * BACK_BYTES;
            shared.word(slot).store(sum, Relaxed);
            shared.word(slot + 8).store(done, Relaxed);
            done += 1;
            if done - published >= batch || done == tail {
                shared.word(TAIL_BACK).store(done, Release);
                published = done;
            }
        }
    }
}

impl Rings {
    /// Rings whose tails are published once in `batch` records.
    #[must_use]
    pub fn new(batch: u64) -> Self {
        let shared: Vec<_> = (0..WORKERS).map(|_| Rc::new(Shared::new(ALL))).collect();
        let children = shared.iter().map(|shared| {
            let shared = Rc::clone(shared);
            Child::fork(move || serve(&shared, batch))
        });
        let children = children.collect();
        Rings {
            workers: shared.into_iter().map(|shared| (shared, 0, 0)).collect(),
            batch,
            round: 0,
            _children: children,
        }
    }

    /// Has `pieces` pairs added and returns the sum of the sums.
    pub fn add(&mut self, pieces: u64) -> u64 {
        let (mut sent, mut received, mut sum, mut idle) = (0, 0, 0, 0_u32);
        self.turn();
        while received < pieces {
            for (shared, tail, head) in &mut self.workers {
                let room = (SLOTS / 2).saturating_sub(*tail - *head).min(pieces - sent).min(self.batch);
                for _ in 0..room {
                    let slot = OUT + (*tail % SLOTS) as usize * OUT_BYTES;
                    shared.word(slot).store(sent, Relaxed);
                    shared.word(slot + 8).store(1, Relaxed);
                    *tail += 1;
                    sent += 1;
                }
                if room > 0 {
                    shared.word(TAIL_OUT).store(*tail, Release);
                }
                let answered = shared.word(TAIL_BACK).load(Acquire);
                idle += 1;
                while *head < answered {
                    sum += shared.word(BACK + (*head % SLOTS) as usize * BACK_BYTES).load(Relaxed);
                    *head += 1;
                    received += 1;
                    idle = 0;
                }
                if idle > 200 {
                    std::thread::yield_now();
                }
            }
        }
        self.turn();
        sum
    }

    /// Begins or ends a round.
    fn turn(&mut self) {
        self.round += 1;
        for (shared, ..) in &self.workers {
            round(shared).set(self.round);
        }
    }
}
