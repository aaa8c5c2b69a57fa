//! Samples: which pieces are marked, and what a worker may tell after them.

use super::*;
use crate::engine::policy::sampling::{Experience, FUNCTIONS, OTHERS};
use crate::engine::wire::record::{HAS_PEAK, OF_HEAP, OF_RESIDENT, SAMPLE, SAMPLED, SAMPLED_BEGIN, Sample};

const GROWTH: Sample = Sample { growth: -112, peak: 9, cost_ns: 5_000 };

/// A sample with its flags, its function, and the functions of the pieces since the one before.
type Arrived = (Sample, u8, u8, Vec<(usize, u32)>);

/// What a look found.
#[derive(Debug, Default, PartialEq)]
struct Found {
    numbers: Vec<usize>,
    samples: Vec<Arrived>,
}

impl Arrivals for Found {
    fn result(&mut self, _: TaskKey, number: usize, _: crate::codec::bytes::Reply) {
        self.numbers.push(number);
    }

    fn other(&mut self, arrival: Arrival) {
        if let Arrival::Reply { piece, .. } = arrival {
            self.numbers.push(piece.number);
        }
    }

    fn sample(&mut self, told: &Told<'_>) {
        let answered = told.answered.iter().copied().enumerate().filter(|&(_, count)| count > 0).collect();
        self.samples.push((told.sample, told.flags, told.function, answered));
    }
}

fn look(worker: &mut Link) -> (Found, bool) {
    let mut found = Found::default();
    let is_trusted = worker.collect(&mut Buffers::default(), &mut found).is_ok();
    (found, is_trusted)
}

/// A pair whose pieces are sampled.
fn sampled_pair() -> (Link, Played, TaskKey) {
    let (mut worker, played, [task, _]) = pair();
    worker.sample_pieces(3, Experience::default());
    (worker, played, task)
}

/// Gives a piece of a function; false if there is no room.
fn give_of(worker: &mut Link, task: TaskKey, number: usize, function: Function, length: usize) -> bool {
    let mut piece = piece(task, number, length);
    piece.terms.function = function;
    let given = worker.give(piece, false).is_ok();
    worker.publish();
    given
}

const fn function(number: u8) -> Function {
    Function { number, cost_ns: 80 }
}

#[test]
fn a_sample_follows_the_reply_to_a_sampled_piece_and_comes_nowhere_else() {
    const BYTES: usize = Sample::BYTES;
    let reply = |sequence| (REPLY, 0, sequence, 5);
    let sample = |sequence| (SAMPLE, OF_HEAP, sequence, BYTES);
    // Of pieces 1 to 3 the first is sampled. The records of the worker; the pieces and samples that count, and whether the
    // worker is trusted.
    for (lines, answered, samples, is_trusted) in [
        (&[reply(1), sample(1), reply(2), reply(3)][..], 3, 1, true),
        (&[reply(1)], 1, 0, true),
        (&[reply(1), (SAMPLE, OF_HEAP | HAS_PEAK, 1, BYTES)], 1, 1, true),
        (&[reply(1), (SAMPLE, OF_RESIDENT | HAS_PEAK, 1, BYTES)], 1, 1, true),
        (&[reply(1), (SAMPLE, 0, 1, BYTES)], 1, 1, true),
        // Before the reply, twice, after another piece, none where one is due.
        (&[sample(1)], 0, 0, false),
        (&[reply(1), sample(1), sample(1)], 1, 1, false),
        (&[reply(1), sample(1), reply(2), sample(2)], 2, 1, false),
        (&[reply(1), reply(2)], 1, 0, false),
        (&[reply(1), (REPLY, 1, 2, 0)], 1, 0, false),
        (&[reply(1), (REPLY, Outcome::StartFailed as u8, 0, 5)], 1, 0, false),
        (&[reply(1), (BEGIN, 0, 2, 5)], 1, 0, false),
        // Another piece's, another length, flags that nobody writes.
        (&[reply(1), sample(2)], 1, 0, false),
        (&[reply(1), sample(0)], 1, 0, false),
        (&[reply(1), (SAMPLE, OF_HEAP, 1, BYTES - 1)], 1, 0, false),
        (&[reply(1), (SAMPLE, OF_HEAP, 1, BYTES + 1)], 1, 0, false),
        (&[reply(1), (SAMPLE, OF_HEAP, 1, 0)], 1, 0, false),
        (&[reply(1), (SAMPLE, OF_HEAP | OF_RESIDENT, 1, BYTES)], 1, 0, false),
        (&[reply(1), (SAMPLE, 8, 1, BYTES)], 1, 0, false),
    ] {
        let (mut worker, mut played, task) = sampled_pair();
        for number in 1..=3 {
            assert!(give_of(&mut worker, task, number, function(0), 10));
        }
        let kinds = [1, 2, 3].map(|_| played.next().unwrap().0.kind);
        assert_eq!(kinds, [SAMPLED, PIECE, PIECE]);
        for &(kind, flags, sequence, length) in lines {
            assert!(played.write(kind, flags, sequence, &[], &vec![1; length]));
        }
        let (found, trust) = look(&mut worker);
        assert_eq!((found.numbers.len(), found.samples.len(), trust), (answered, samples, is_trusted), "{lines:?}");
        assert_eq!(worker.awaits_sample(), answered > 0 && samples == 0, "{lines:?}");
    }
}

#[test]
fn a_sample_has_the_pieces_since_the_one_before() {
    let (mut worker, mut played, task) = sampled_pair();
    // The first piece of each function is sampled, also where its arguments stream.
    let given = [(0, 10), (0, 10), (5, CHUNK_BYTES + 1), (0, 0), (5, 0), (OTHERS, 0)];
    for (number, (index, length)) in given.into_iter().enumerate() {
        assert!(give_of(&mut worker, task, number, function(index), length));
        worker.pump();
    }
    let mut kinds = Vec::new();
    while let Some((Header { kind, sequence, .. }, _)) = played.next() {
        if kind == CHUNK {
            continue;
        }
        kinds.push(kind);
        assert!(played.claim(sequence) && played.write(REPLY, 0, sequence, &[], b"done"));
        if [SAMPLED, SAMPLED_BEGIN].contains(&kind) {
            assert!(played.write(SAMPLE, OF_HEAP, sequence, &GROWTH.to_words(), &[]));
        }
    }
    assert_eq!(kinds, [SAMPLED, PIECE, SAMPLED_BEGIN, PIECE, PIECE, SAMPLED]);
    let (found, is_trusted) = look(&mut worker);
    assert!(is_trusted && found.numbers == [0, 1, 2, 3, 4, 5], "{found:?}");
    let told = |function, answered: &[(usize, u32)]| (GROWTH, OF_HEAP, function, answered.to_vec());
    let others = usize::from(OTHERS);
    assert_eq!(
        found.samples,
        [told(0, &[(0, 1)]), told(5, &[(0, 1), (5, 1)]), told(OTHERS, &[(0, 1), (5, 1), (others, 1)])]
    );
    assert_eq!([1, 2, 3, 4].map(|_| worker.is_cost_wanted()), [false, true, false, false]);
    assert_eq!((worker.last_function(), worker.unsampled()), (OTHERS, &[0; FUNCTIONS]));
}

#[test]
fn a_mark_that_is_lost_goes_to_the_next_piece() {
    // Revoked as the newest, with its task, or not given because the ring has no room.
    for way in ["newest", "task", "no room"] {
        let (mut worker, mut played, task) = sampled_pair();
        match way {
            "newest" => {
                assert!(give_of(&mut worker, task, 1, function(0), 10));
                assert!(worker.revoke_newest().is_some());
            }
            "task" => {
                assert!(give_of(&mut worker, task, 1, function(0), 10));
                worker.revoke_task(task);
            }
            _ => {
                let mut number = 0;
                while give_of(&mut worker, task, number, function(1), CHUNK_BYTES) {
                    number += 1;
                }
                assert!(number > 1 && !give_of(&mut worker, task, number, function(0), CHUNK_BYTES));
                while let Some((Header { sequence, kind, .. }, _)) = played.next() {
                    assert!(played.claim(sequence) && played.write(REPLY, 0, sequence, &[], b""));
                    if kind == SAMPLED {
                        assert!(played.write(SAMPLE, 0, sequence, &GROWTH.to_words(), &[]));
                    }
                }
                assert!(look(&mut worker).1);
            }
        }
        assert!(give_of(&mut worker, task, 900, function(0), 10) && give_of(&mut worker, task, 901, function(0), 10));
        let mut kinds = Vec::new();
        while let Some((Header { kind, .. }, _)) = played.next() {
            kinds.push(kind);
        }
        assert!(kinds.ends_with(&[SAMPLED, PIECE]), "{way}: {kinds:?}");
        // Where it was revoked, no sample comes for it, and none is due.
        assert!(!worker.awaits_sample());
    }
}

#[test]
fn pieces_are_chosen_by_the_time_that_they_take() {
    // The cost of a piece, the samples before; how many of 20,000 are sampled at the first price.
    for (cost_ns, taken, least, most) in [
        (80, 0, 12, 20),
        (80, 1_000, 0, 1),
        (10_000, 0, 1_550, 1_900),
        (10_000, 1_000, 45, 60),
        (20_000_000, 1_000, 9_700, 10_300),
    ] {
        let mut samples = Samples::on(7, Experience { taken, ..Experience::default() });
        let chosen = (0..20_000).filter(|_| samples.choose(Function { number: 3, cost_ns })).count();
        assert!((least..=most).contains(&chosen), "{chosen} of {cost_ns} ns");
    }
    let mut off = Samples::off();
    assert!((0..20_000).all(|_| !off.choose(Function { number: 3, cost_ns: u32::MAX })));
}

/// Of two functions in strict turn the longer one was always chosen, so both had run equally often between two samples: no fit tells such
/// functions apart, and a leak was never found.
#[test]
fn of_functions_in_strict_turn_each_is_chosen() {
    for costs_ns in [[80, 10_000], [80, 20_000_000]] {
        let mut samples = Samples::on(7, Experience::default());
        let mut chosen = [0; 2];
        for turn in 0..20_000 {
            let number = turn % 2;
            chosen[number] += u32::from(samples.choose(Function { number: number as u8, cost_ns: costs_ns[number] }));
        }
        let sum = chosen[0] + chosen[1];
        assert!(sum > 500 && chosen.iter().all(|&each| each > sum / 5), "{chosen:?} of {costs_ns:?} ns");
    }
}
