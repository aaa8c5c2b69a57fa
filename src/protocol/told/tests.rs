//! What is told is read as it was told, and (under loom) so is everything before it.

use super::*;

#[cfg(not(loom))]
mod ordinary {
    use super::*;

    #[test]
    fn a_start_is_told_of_one_piece() {
        let (time, piece) = (AtomicU64::new(0), AtomicU32::new(0));
        assert_eq!(told_start(&time, &piece, 1), None);
        tell_start(&time, &piece, 1, 500);
        assert_eq!((told_start(&time, &piece, 1), told_start(&time, &piece, 2)), (Some(500), None));
        tell_start(&time, &piece, 2, 600);
        assert_eq!((told_start(&time, &piece, 1), told_start(&time, &piece, 2)), (None, Some(600)));
    }

    #[test]
    fn a_note_is_told_of_one_piece() {
        let (noted, noted_in) = (AtomicU64::new(0), AtomicU64::new(0));
        for sequence in [0, 1, u32::MAX] {
            assert_eq!(told_note(&noted, &noted_in, sequence), None);
            tell_note(&noted, &noted_in, sequence, 7);
            tell_note(&noted, &noted_in, sequence, 500);
            assert_eq!(told_note(&noted, &noted_in, sequence), Some(500));
            assert_eq!(told_note(&noted, &noted_in, sequence.wrapping_add(1)), None);
        }
    }

    #[test]
    fn a_cost_is_told_of_one_piece() {
        let word = AtomicU64::new(0);
        for (sequence, cost_ns, told_ns) in [(1, 0, 0), (7, 500, 500), (u32::MAX, u64::MAX, u64::from(u32::MAX))] {
            assert_eq!(told_cost(&word, sequence), None);
            tell_cost(&word, sequence, cost_ns);
            assert_eq!((told_cost(&word, sequence), told_cost(&word, sequence - 1)), (Some(told_ns), None));
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_told() {
        let word = AtomicU64::new(0);
        for head in [0, 1, u64::MAX] {
            tell_head(&word, head);
            assert_eq!(told_head(&word), head);
        }
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    #[test]
    fn what_was_done_before_a_head_was_told_is_seen_by_the_one_who_is_told() {
        loom::model(|| {
            let words = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
            let shared = Arc::clone(&words);
            let consumer = thread::spawn(move || {
                let (head, done) = &*shared;
                done.store(7, Relaxed);
                tell_head(head, 3);
            });
            let (head, done) = &*words;
            assert!(told_head(head) != 3 || done.load(Relaxed) == 7);
            consumer.join().unwrap();
        });
    }

    #[test]
    fn the_time_is_that_of_the_piece_or_of_a_later_one() {
        loom::model(|| {
            let words = Arc::new((AtomicU64::new(0), AtomicU32::new(0)));
            let shared = Arc::clone(&words);
            let worker = thread::spawn(move || {
                let (time, piece) = &*shared;
                tell_start(time, piece, 1, 500);
                tell_start(time, piece, 2, 600);
            });
            let (time, piece) = &*words;
            if let Some(told) = told_start(time, piece, 1) {
                assert!(told == 500 || told == 600, "{told}");
            }
            if let Some(told) = told_start(time, piece, 2) {
                assert_eq!(told, 600);
            }
            worker.join().unwrap();
        });
    }
}
