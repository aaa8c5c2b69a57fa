//! Which side gets a piece: every order of the two sides, and (under loom) every interleaving.

use super::*;

fn states(count: usize) -> Vec<AtomicU32> {
    (0..count).map(|_| AtomicU32::new(0)).collect()
}

#[cfg(not(loom))]
mod ordinary {
    use super::*;

    /// The last sequence number of a piece that the state word can hold: one bit of the word is the state.
    const LAST: u32 = u32::MAX >> 1;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Side {
        Worker,
        Parent,
    }
    use Side::{Parent, Worker};

    fn decide(states: &[AtomicU32], sequence: u32, side: Side) -> bool {
        match side {
            Worker => claim(states, sequence),
            Parent => revoke(states, sequence),
        }
    }

    #[test]
    fn the_first_to_decide_gets_the_piece() {
        for sequence in [1, 2, 3, 4, 5, 1000, LAST - 1, LAST] {
            for (first, second) in [(Worker, Parent), (Parent, Worker)] {
                let states = states(4);
                assert!(!is_claimed(&states, sequence), "piece {sequence} is not claimed yet");
                assert!(decide(&states, sequence, first));
                assert!(!decide(&states, sequence, second), "{second:?} comes too late for piece {sequence}");
                assert_eq!(is_claimed(&states, sequence), first == Worker);
            }
        }
    }

    #[test]
    fn what_an_older_piece_came_to_decides_nothing() {
        for older in [Worker, Parent] {
            for newer in [Worker, Parent] {
                let states = states(4);
                for sequence in (1..60).step_by(8) {
                    assert!(decide(&states, sequence, older));
                    assert!(!is_claimed(&states, sequence + 4));
                    assert!(decide(&states, sequence + 4, newer));
                    assert_eq!(is_claimed(&states, sequence + 4), newer == Worker);
                    assert!(!is_claimed(&states, sequence));
                }
            }
        }
    }

    #[test]
    fn pieces_that_are_held_together_have_words_of_their_own() {
        let count = if cfg!(miri) { 64 } else { SLOTS };
        let states = states(count);
        let start = LAST - count as u32 + 1;
        for sequence in start..=LAST {
            assert!(decide(&states, sequence, if sequence % 2 == 0 { Worker } else { Parent }));
        }
        for sequence in start..=LAST {
            assert_eq!(is_claimed(&states, sequence), sequence % 2 == 0);
        }
    }

    #[test]
    fn no_word_that_a_worker_writes_gives_both_sides_the_piece_it_named() {
        // A worker that writes garbage can lose its own piece or keep one. Nothing panics.
        for word in [0, 1, 2, 3, 10, 11, u32::MAX - 1, u32::MAX] {
            let states = states(2);
            states[1].store(word, crate::protocol::sync::Relaxed);
            let before = is_claimed(&states, 5);
            assert_eq!(before, word == 10);
            assert_eq!(revoke(&states, 5), !before);
            assert_eq!(is_claimed(&states, 5), before);
        }
    }

    #[test]
    fn threads_that_race_for_pieces_get_each_once() {
        let count = if cfg!(miri) { 30 } else { 100_000 };
        let states = states(64);
        let barrier = std::sync::Barrier::new(2);
        let race = |side| {
            let mut won = 0_u32;
            for sequence in 1..=count {
                if sequence % 64 == 1 {
                    barrier.wait();
                }
                won += u32::from(decide(&states, sequence, side));
            }
            won
        };
        let (worker, parent) = std::thread::scope(|scope| {
            let worker = scope.spawn(|| race(Worker));
            let parent = race(Parent);
            (worker.join().unwrap(), parent)
        });
        assert_eq!(worker + parent, count);
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use crate::protocol::sync::Relaxed;
    use loom::thread;
    use std::sync::Arc;

    /// Both sides try to get piece `sequence`, whose word an older piece used before.
    fn check_race(older: fn(&[AtomicU32], u32) -> bool, sequence: u32) {
        loom::model(move || {
            let states = Arc::new(states(2));
            if sequence > 2 {
                assert!(older(&states, sequence - 2));
            }
            let shared = Arc::clone(&states);
            let worker = thread::spawn(move || claim(&shared, sequence));
            let parent = revoke(&states, sequence);
            let worker = worker.join().unwrap();
            assert!(worker ^ parent, "exactly one side gets piece {sequence}");
            // The worker is dead now. This is the state that remains.
            assert_eq!(is_claimed(&states, sequence), worker);
        });
    }

    #[test]
    fn exactly_one_side_gets_a_piece() {
        check_race(claim, 1);
        check_race(claim, 3);
        check_race(revoke, 3);
    }

    #[test]
    fn what_dies_before_it_claims_leaves_the_piece() {
        loom::model(|| {
            let states = Arc::new(states(2));
            let shared = Arc::clone(&states);
            // It claims the first piece and dies before the second.
            let worker = thread::spawn(move || claim(&shared, 1));
            let second = revoke(&states, 2);
            assert!(second);
            let first = worker.join().unwrap();
            assert!(first && is_claimed(&states, 1) && !is_claimed(&states, 2));
        });
    }

    #[test]
    fn a_side_that_comes_late_sees_that_a_piece_was_revoked() {
        loom::model(|| {
            let shared = Arc::new((states(2), AtomicU32::new(0)));
            let other = Arc::clone(&shared);
            let worker = thread::spawn(move || {
                let (states, written) = &*other;
                // Acquire (decide-piece) in `claim`.
                assert!(claim(states, 1) || written.load(Relaxed) == 7);
            });
            let (states, written) = &*shared;
            written.store(7, Relaxed);
            let _ = revoke(states, 1);
            worker.join().unwrap();
        });
        loom::model(|| {
            let shared = Arc::new((states(2), AtomicU32::new(0)));
            let other = Arc::clone(&shared);
            let worker = thread::spawn(move || {
                let (states, written) = &*other;
                written.store(7, Relaxed);
                let _ = claim(states, 1);
            });
            let (states, written) = &*shared;
            assert!(revoke(states, 1) || written.load(Relaxed) == 7);
            assert!(!is_claimed(states, 1) || written.load(Relaxed) == 7);
            worker.join().unwrap();
        });
    }
}
