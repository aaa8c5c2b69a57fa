//! Which side gets a piece: every order of the two sides, and (under loom) every interleaving.

use super::*;

fn states(count: usize) -> Vec<AtomicU32> {
    (0..count).map(|_| AtomicU32::new(0)).collect()
}

fn is_claimed(states: &[AtomicU32], sequence: u32) -> bool {
    standing(states, sequence) == Standing::Claimed
}

#[cfg(not(loom))]
mod ordinary {
    use super::*;

    const LAST: u32 = LAST_SEQUENCE;

    /// Words as they are before piece `first` and the `count - 1` after it: each piece before was claimed.
    fn states_before(first: u32, count: usize) -> Vec<AtomicU32> {
        let states = states(count);
        for sequence in first..=first.saturating_add(count as u32 - 1).min(LAST) {
            if let Some(before @ 1..) = sequence.checked_sub(count as u32) {
                word(&states, sequence).store(claimed(before), crate::protocol::sync::Relaxed);
            }
        }
        states
    }

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
                let states = states_before(sequence, 4);
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
        let start = LAST - count as u32 + 1;
        let states = states_before(start, count);
        for sequence in start..=LAST {
            assert!(decide(&states, sequence, if sequence % 2 == 0 { Worker } else { Parent }));
        }
        for sequence in start..=LAST {
            assert_eq!(is_claimed(&states, sequence), sequence % 2 == 0);
        }
    }

    #[test]
    fn a_piece_is_revoked_only_where_its_word_is_what_the_piece_before_left() {
        use Standing::{Claimed, Damaged, Revoked, Undecided};
        // The number of words, the piece, its word, and what that says. With two words pieces 1, 3, 5, … share one.
        for (count, sequence, seen, expected) in [
            (2, 1, 0, Undecided),
            (2, 1, 2, Claimed),
            (2, 1, 3, Revoked),
            (2, 1, 6, Damaged),
            (2, 5, 6, Undecided),
            (2, 5, 7, Undecided),
            (2, 5, 10, Claimed),
            (2, 5, 11, Revoked),
            // It was reset, is of an older piece, of a later one, of one of another word.
            (2, 5, 0, Damaged),
            (2, 5, 2, Damaged),
            (2, 5, 14, Damaged),
            (2, 5, 8, Damaged),
            (2, 5, u32::MAX, Damaged),
            (2, LAST, LAST * 2 - 4, Undecided),
            (2, LAST, LAST * 2, Claimed),
            (2, LAST, LAST * 2 + 1, Revoked),
            // Piece 1 comes after the last number too, and 0 is no piece.
            (2, 1, LAST * 2, Undecided),
            (2, 2, LAST * 2 - 2, Undecided),
            (2, 2, LAST * 2, Damaged),
            (SLOTS, SLOTS as u32, 0, Undecided),
            (SLOTS, SLOTS as u32 + 1, 0, Damaged),
            (SLOTS, SLOTS as u32 + 1, 2, Undecided),
        ] {
            let states = states(count);
            word(&states, sequence).store(seen, crate::protocol::sync::Relaxed);
            assert_eq!(standing(&states, sequence), expected, "{seen} in the word of piece {sequence}");
            assert_eq!(revoke(&states, sequence), expected == Undecided, "{seen} in the word of piece {sequence}");
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
            worker.join().unwrap();
        });
        loom::model(|| {
            let shared = Arc::new((states(2), AtomicU32::new(0)));
            let other = Arc::clone(&shared);
            let parent = thread::spawn(move || {
                let (states, written) = &*other;
                assert!(!is_claimed(states, 1) || written.load(Relaxed) == 7);
            });
            let (states, written) = &*shared;
            written.store(7, Relaxed);
            let _ = claim(states, 1);
            parent.join().unwrap();
        });
    }
}
