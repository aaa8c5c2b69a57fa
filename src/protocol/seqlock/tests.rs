//! A content is read as it was written, wherever the writer stops; under loom also while it writes.

use super::*;

#[cfg(not(loom))]
mod ordinary {
    use super::*;

    fn row(words: &[AtomicU64; 4]) -> Row<'_, 3> {
        Row { sequence: &words[0], content: words[1..].try_into().unwrap() }
    }

    #[test]
    fn what_was_written_is_read() {
        let words: [AtomicU64; 4] = Default::default();
        assert_eq!(read(row(&words)), Read::Whole([0; 3]), "a row that nobody wrote");
        for content in [[1, 2, 3], [u64::MAX; 3], [0; 3]] {
            write(row(&words), &content);
            assert_eq!(read(row(&words)), Read::Whole(content));
        }
        assert_eq!(words[0].load(Relaxed), 6, "two steps for each write");
    }

    /// As if the writer was killed before each of its stores.
    #[test]
    fn where_the_writer_stops_the_row_is_torn_until_another_writes_it() {
        let words: [AtomicU64; 4] = Default::default();
        write(row(&words), &[7, 8, 9]);
        words[0].store(3, Relaxed);
        assert_eq!(read(row(&words)), Read::Torn([7, 8, 9]));
        words[1].store(70, Relaxed);
        assert_eq!(read(row(&words)), Read::Torn([70, 8, 9]));
        write(row(&words), &[1, 2, 3]);
        assert_eq!((read(row(&words)), words[0].load(Relaxed)), (Read::Whole([1, 2, 3]), 4));
    }

    #[test]
    fn the_numbers_begin_anew_behind_the_last_one() {
        let words: [AtomicU64; 4] = Default::default();
        words[0].store(u64::MAX - 1, Relaxed);
        write(row(&words), &[4, 5, 6]);
        assert_eq!((read(row(&words)), words[0].load(Relaxed)), (Read::Whole([4, 5, 6]), 0));
    }

    #[test]
    fn a_reader_beside_the_writer_gets_one_content() {
        let words: [AtomicU64; 4] = Default::default();
        let (rounds, mut whole) = (if cfg!(miri) { 200 } else { 200_000 }, 0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..=rounds).for_each(|number| write(row(&words), &[number; 3])));
            while !writer.is_finished() {
                if let Read::Whole([first, second, third]) = read(row(&words)) {
                    assert!(first == second && second == third, "{first}, {second}, {third}");
                    whole += 1;
                }
            }
        });
        assert_eq!(read(row(&words)), Read::Whole([rounds; 3]), "after {whole} looks");
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    type Words = (AtomicU64, [AtomicU64; 2]);

    fn row(words: &Words) -> Row<'_, 2> {
        Row { sequence: &words.0, content: &words.1 }
    }

    fn words() -> Arc<Words> {
        Arc::new((AtomicU64::new(0), [AtomicU64::new(0), AtomicU64::new(0)]))
    }

    #[test]
    fn a_content_that_is_whole_is_of_one_write() {
        loom::model(|| {
            let words = words();
            let shared = Arc::clone(&words);
            let writer = thread::spawn(move || {
                write(row(&shared), &[1, 1]);
                write(row(&shared), &[2, 2]);
            });
            if let Read::Whole([first, second]) = read(row(&words)) {
                assert_eq!(first, second);
            }
            writer.join().unwrap();
            assert_eq!(read(row(&words)), Read::Whole([2, 2]));
        });
    }

    /// The writer stops after its first word.
    #[test]
    fn what_was_begun_and_not_ended_is_never_whole() {
        loom::model(|| {
            let words = words();
            let shared = Arc::clone(&words);
            let writer = thread::spawn(move || {
                shared.0.store(1, Relaxed);
                fence(Release);
                shared.1[0].store(1, Relaxed);
            });
            assert_ne!(read(row(&words)), Read::Whole([1, 0]));
            writer.join().unwrap();
            assert_eq!(read(row(&words)), Read::Torn([1, 0]));
        });
    }
}
