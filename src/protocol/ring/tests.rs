//! The ring against a queue, against peers that lie, and (under loom) against every interleaving.

use super::*;
use crate::protocol::copy::Window;
use crate::protocol::told::{tell_head, told_head};

/// A header whose sequence number identifies its record.
fn numbered(sequence: u32) -> Header {
    Header { kind: 1, flags: 0, sequence }
}

fn ring(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

/// Takes the record at the consumer's position: its number and its payload.
fn take(consumer: &mut Consumer, words: &[AtomicU64]) -> Option<(u32, Vec<u8>)> {
    let record = consumer.peek(words).expect("the producer of this crate keeps the protocol")?;
    let mut bytes = Vec::new();
    record.append_to(words, 0, &mut bytes);
    consumer.pass(&record);
    Some((record.header.sequence, bytes))
}

#[cfg(not(loom))]
mod ordinary {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// A small generator of random numbers (xorshift): a seed determines the whole test.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % end
        }

        fn bytes(&mut self, length: usize) -> Vec<u8> {
            (0..length).map(|_| self.below(256) as u8).collect()
        }
    }

    fn cases(count: u32) -> ProptestConfig {
        ProptestConfig {
            cases: if cfg!(miri) { count.div_ceil(512) } else { count },
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    /// Pushes, publishes, reads and reports the consumer's position at random, and compares with a queue.
    fn check_against_queue(seed: u64, ring_words: usize, steps: usize) {
        let mut random = Random(seed * 2 + 1);
        let words = ring(ring_words);
        let (mut producer, mut consumer) = (Producer::new(), Consumer::new());
        let mut queue = VecDeque::new();
        let (mut shown, mut next) = (0, 0);
        let sizes = [0, 1, 7, 8, 9, 15, 16, 17, ring_words, ring_words * 2, ring_words * 4 - 8, ring_words * 8 - 16];
        for _ in 0..steps {
            match random.below(10) {
                8 | 9 => {
                    let most = sizes[random.0 as usize % sizes.len()];
                    let least = random.below(most + 1);
                    let (tail, consumed) = (producer.tail(), producer.consumed());
                    match producer.reserve(&words, least, most) {
                        Ok(room) => {
                            assert!((least..=most).contains(&room.bytes), "seed {seed}");
                            // One that is not committed leaves no trace, one that is commits what was written.
                            let payload = random.bytes(random.0 as usize % (room.bytes + 1));
                            let place = &words[room.first..room.first + room.bytes.div_ceil(8)];
                            let middle = payload.len() / 3;
                            let mut window = Window::new(place, room.bytes);
                            assert!(window.append(&payload[..middle]) && window.append(&payload[middle..]));
                            if random.below(4) > 0 {
                                producer.commit(&words, room, numbered(next), payload.len());
                                queue.push_back((next, payload));
                                next += 1;
                            }
                            assert!(producer.tail() < consumed + ring_words as u64, "seed {seed}");
                        }
                        Err(Full) => {
                            assert_eq!(producer.tail(), tail, "seed {seed}");
                            let empty = consumed == tail;
                            let need = record_words(least);
                            assert!(!(empty && need * 2 <= ring_words as u64), "seed {seed}: an empty ring has room");
                        }
                    }
                }
                0..=3 => {
                    let payload = random.bytes(sizes[random.0 as usize % sizes.len()]);
                    let lead_words = random.below(3).min(payload.len() / 8);
                    let (lead, rest) = payload.split_at(lead_words * 8);
                    let lead: Vec<u64> =
                        lead.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
                    let (tail, consumed) = (producer.tail(), producer.consumed());
                    let result = producer.push(&words, numbered(next), &lead, rest);
                    let need = record_words(payload.len());
                    match result {
                        Ok(start) => {
                            assert!(start >= tail && producer.tail() == start + need, "seed {seed}");
                            assert!(producer.tail() < consumed + ring_words as u64, "seed {seed}");
                            let index = start % ring_words as u64;
                            assert!(index + need <= ring_words as u64, "seed {seed}: wraps");
                            queue.push_back((next, payload));
                            next += 1;
                        }
                        Err(Full) => {
                            assert_eq!(producer.tail(), tail, "seed {seed}");
                            let empty = consumed == tail;
                            assert!(!(empty && need * 2 <= ring_words as u64), "seed {seed}: an empty ring has room");
                        }
                    }
                }
                4 => {
                    // It may be a filler alone.
                    assert!(producer.publish(&words) || shown == queue.len(), "seed {seed}");
                    shown = queue.len();
                }
                5 | 6 => {
                    assert!(consumer.is_ready(&words) || shown == 0, "seed {seed}");
                    let expected = if shown > 0 { queue.pop_front() } else { None };
                    shown -= usize::from(expected.is_some());
                    assert_eq!(take(&mut consumer, &words), expected, "seed {seed}");
                }
                _ => producer.consumed_to(consumer.head()),
            }
        }
    }

    #[test]
    fn whatever_is_pushed_comes_out_once_in_order_and_unchanged() {
        let (seeds, steps) = if cfg!(miri) { (1, 60) } else { (300, 2000) };
        for ring_words in [4, 8, 16, 64, 512] {
            for seed in 0..seeds {
                check_against_queue(seed, ring_words, steps);
            }
        }
    }

    #[test]
    fn two_threads_pass_records_of_all_sizes() {
        let count: u32 = if cfg!(miri) { 40 } else { 50_000 };
        let words = ring(64);
        let told = AtomicU64::new(0);
        let payload = |number: u32| vec![number as u8; number as usize * 7 % 200];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut producer = Producer::new();
                for number in 0..count {
                    while producer.push(&words, numbered(number), &[], &payload(number)).is_err() {
                        producer.publish(&words);
                        producer.consumed_to(told_head(&told));
                        std::thread::yield_now();
                    }
                }
                producer.publish(&words);
            });
            let mut consumer = Consumer::new();
            for number in 0..count {
                let taken = loop {
                    match take(&mut consumer, &words) {
                        Some(taken) => break taken,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(taken, (number, payload(number)));
                tell_head(&told, consumer.head());
            }
        });
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        for kind in 1..1 << KIND_BITS {
            for flags in 0..1 << FLAG_BITS {
                for sequence in [0, 1, u32::MAX >> 1, u32::MAX] {
                    for payload_bytes in [0, 1, 8, 1 << 16, MAX_PAYLOAD_BYTES] {
                        let header = Header { kind, flags, sequence };
                        let word = header.to_word(payload_bytes);
                        assert_ne!(word, 0);
                        assert_eq!(Header::from_word(word), (header, payload_bytes));
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_seen_before_it_is_published() {
        let words = ring(16);
        let (mut producer, mut consumer) = (Producer::new(), Consumer::new());
        assert!(!producer.publish(&words), "there is nothing to show yet");
        for number in 0..3 {
            producer.push(&words, numbered(number), &[], &[1; 9]).unwrap();
            assert!(!consumer.is_ready(&words));
            assert_eq!(take(&mut consumer, &words), None);
        }
        assert!(producer.publish(&words));
        assert!(!producer.publish(&words), "all was shown");
        for number in 0..3 {
            assert_eq!(take(&mut consumer, &words), Some((number, vec![1; 9])));
        }
        assert_eq!(take(&mut consumer, &words), None);
    }

    /// Fills a ring of 8 words up to `tail`, reads all of it, and pushes `payload_bytes`. Returns where that record begins.
    fn start_after(tail: u64, payload_bytes: usize) -> Option<u64> {
        let words = ring(8);
        let (mut producer, mut consumer) = (Producer::new(), Consumer::new());
        for number in 0..tail {
            producer.push(&words, numbered(number as u32), &[], &[]).unwrap();
            producer.publish(&words);
            take(&mut consumer, &words).unwrap();
            producer.consumed_to(consumer.head());
        }
        let bytes = vec![7; payload_bytes];
        let start = producer.push(&words, numbered(99), &[], &bytes).ok()?;
        producer.publish(&words);
        assert_eq!(take(&mut consumer, &words), Some((99, bytes)));
        assert_eq!(take(&mut consumer, &words), None);
        assert_eq!(consumer.head(), producer.tail());
        Some(start)
    }

    #[test]
    fn a_record_that_would_wrap_begins_at_the_start_of_the_ring() {
        for (tail, payload_bytes, start) in [
            (0, 0, Some(0)),
            (0, 48, Some(0)),
            (0, 49, None), // with the zero after it, the record does not fit in eight words
            (7, 0, Some(7)),
            (7, 1, Some(8)),  // a filler of one word
            (4, 24, Some(4)), // ends exactly at the end
            (4, 25, None),    // a filler of four, the record of five
            (5, 24, Some(8)),
            (6, 40, None),
            (6, 32, Some(8)),
            (8, 48, Some(8)),
        ] {
            assert_eq!(start_after(tail, payload_bytes), start, "{payload_bytes} bytes after {tail} words");
        }
    }

    #[test]
    fn a_payload_beyond_what_a_header_states_is_refused() {
        // The ring could hold it; the length field could not.
        if cfg!(miri) {
            return;
        }
        let words = ring(1 << 22);
        let mut producer = Producer::new();
        assert_eq!(producer.push(&words, numbered(1), &[], &vec![0; MAX_PAYLOAD_BYTES + 1]), Err(Full));
        assert_eq!(producer.push(&words, numbered(1), &[0], &vec![0; MAX_PAYLOAD_BYTES]), Err(Full));
        assert_eq!(producer.push(&words, numbered(1), &[], &vec![0; MAX_PAYLOAD_BYTES]), Ok(0));
    }

    #[test]
    fn what_lies_unconsumed_can_be_read_back_where_it_was_pushed() {
        let words = ring(32);
        let (mut producer, mut consumer) = (Producer::new(), Consumer::new());
        for round in 0..50_u8 {
            let first = producer.push(&words, numbered(1), &[u64::from(round)], &[round; 11]).unwrap();
            let second = producer.push(&words, numbered(2), &[], &[round; 3]).unwrap();
            producer.publish(&words);
            for (position, sequence, lead_words, length) in [(first, 1, 1, 11), (second, 2, 0, 3)] {
                let record = Consumer::record_at(&words, position).unwrap().unwrap();
                assert_eq!(record.header, numbered(sequence));
                let mut bytes = Vec::new();
                record.append_to(&words, lead_words, &mut bytes);
                assert_eq!(bytes, vec![round; length]);
            }
            take(&mut consumer, &words).unwrap();
            take(&mut consumer, &words).unwrap();
            producer.consumed_to(consumer.head());
        }
    }

    #[test]
    fn what_was_consumed_never_moves_back() {
        let words = ring(8);
        let mut producer = Producer::new();
        producer.push(&words, numbered(1), &[1, 2], &[]).unwrap();
        for (told, known) in [(2, 2), (1, 2), (0, 2), (3, 3), (2, 3)] {
            producer.consumed_to(told);
            assert_eq!(producer.consumed(), known);
        }
    }

    #[test]
    fn a_word_is_read_only_if_the_payload_has_all_of_it() {
        let words = ring(16);
        let (mut producer, mut consumer) = (Producer::new(), Consumer::new());
        producer.push(&words, numbered(1), &[5, 6], &[1; 7]).unwrap();
        producer.publish(&words);
        let record = consumer.peek(&words).unwrap().unwrap();
        for (n, word) in [(0, Some(5)), (1, Some(6)), (2, None), (3, None), (usize::MAX / 8 - 1, None)] {
            assert_eq!(record.word(&words, n), word);
        }
        let mut bytes = [0; 7];
        assert_eq!(record.copy_to(&words, 2, &mut bytes), Some(7));
        assert_eq!(bytes, [1; 7]);
        assert_eq!(record.copy_to(&words, 2, &mut [0; 6]), None);
        assert_eq!(record.copy_to(&words, 4, &mut [0; 6]), Some(0));
    }

    const PEEKS: usize = if cfg!(miri) { 3 } else { 64 };

    /// Reads whatever the words contain, until the consumer refuses to go on.
    fn read_all(words: &[AtomicU64], peeks: usize) {
        let mut consumer = Consumer::new();
        for _ in 0..peeks {
            let head = consumer.head();
            let Ok(Some(record)) = consumer.peek(words) else { return };
            assert!(record.payload_bytes <= words.len() * 8 - 8);
            for lead_words in [0, 1, 2, words.len(), usize::MAX / 16] {
                let mut bytes = vec![1];
                record.append_to(words, lead_words, &mut bytes);
                assert_eq!(bytes.len() - 1, record.payload_bytes.saturating_sub(lead_words * 8));
                assert!(record.copy_to(words, lead_words, &mut [0; 30]).is_none_or(|length| length <= 30));
            }
            for n in 0..words.len() + 2 {
                assert_eq!(record.word(words, n).is_some(), (n + 1) * 8 <= record.payload_bytes);
            }
            consumer.pass(&record);
            assert!(consumer.head() > head, "every step leads on");
        }
    }

    #[test]
    fn no_header_leads_the_consumer_out_of_the_ring() {
        // Every kind, with every length near a limit, at each position in the ring.
        let lengths = |room: usize| [0, 1, 7, 8, 9, room, room + 1, room + 8, 1 << 16, MAX_PAYLOAD_BYTES];
        for place in 0..8_usize {
            for kind in (0..1_u64 << KIND_BITS).filter(|kind| !cfg!(miri) || [0, 1, 15].contains(kind)) {
                for length in lengths((7 - place) * 8) {
                    let words = ring(8);
                    for word in &words[..place] {
                        word.store(numbered(1).to_word(0), Relaxed);
                    }
                    words[place].store(kind << LENGTH_BITS | length as u64, Relaxed);
                    let mut consumer = Consumer { head: place as u64 };
                    let fits = length <= (7 - place) * 8;
                    let to_end = record_words(length) == 8 - place as u64;
                    let peeked = consumer.peek(&words);
                    match (kind, length) {
                        (0, 0) => assert_eq!(peeked, Ok(None)),
                        (0, _) => assert_eq!(peeked, Err(Violation)),
                        // The record at the beginning is then one of those above, or there is none.
                        (15, _) if fits && to_end => assert!(peeked.is_ok() || place == 0),
                        (15, _) => assert_eq!(peeked, Err(Violation)),
                        _ if fits => assert!(matches!(peeked, Ok(Some(_)))),
                        _ => assert_eq!(peeked, Err(Violation)),
                    }
                    read_all(&words, PEEKS);
                }
            }
        }
    }

    #[test]
    fn fillers_are_no_loop() {
        let words = ring(8);
        let filler = Header { kind: SKIP, flags: 0, sequence: 0 };
        words[0].store(filler.to_word(56), Relaxed);
        assert_eq!(Consumer::new().peek(&words), Err(Violation));
    }

    proptest! {
        #![proptest_config(cases(4096))]

        #[test]
        fn random_words_are_only_bytes(
            words in prop::collection::vec(prop_oneof![
                any::<u64>(),
                (0..80_u64, 0..16_u64, any::<u32>()).prop_map(|(length, kind, sequence)| {
                    length | kind << LENGTH_BITS | u64::from(sequence) << 32
                }),
            ], 8),
        ) {
            let words: Vec<AtomicU64> = words.into_iter().map(AtomicU64::new).collect();
            read_all(&words, PEEKS);
        }
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    /// A payload word that would be a valid header if it were read as one.
    fn bait() -> u64 {
        numbered(666).to_word(0)
    }

    /// What the consumer reads of a record whose payload is the number, and perhaps a false header before it.
    fn take_number(consumer: &mut Consumer, words: &[AtomicU64]) -> Option<u32> {
        let record = consumer.peek(words).expect("the producer of this crate keeps the protocol")?;
        let last = record.payload_bytes / 8 - 1;
        assert_eq!(record.word(words, last), Some(u64::from(record.header.sequence)));
        assert!(last == 0 || record.word(words, 0) == Some(bait()));
        consumer.pass(&record);
        Some(record.header.sequence)
    }

    fn push_number(producer: &mut Producer, words: &[AtomicU64], number: u32) -> bool {
        producer.push(words, numbered(number), &[bait(), u64::from(number)], &[]).is_ok()
    }

    fn push_number_alone(producer: &mut Producer, words: &[AtomicU64], number: u32) -> bool {
        producer.push(words, numbered(number), &[u64::from(number)], &[]).is_ok()
    }

    /// The same, written in place.
    fn write_number(producer: &mut Producer, words: &[AtomicU64], number: u32) -> bool {
        let Ok(room) = producer.reserve(words, 16, 16) else { return false };
        let mut window = Window::new(&words[room.first..room.first + 2], 16);
        assert!(window.append(&bait().to_le_bytes()) && window.append(&u64::from(number).to_le_bytes()));
        producer.commit(words, room, numbered(number), 16);
        true
    }

    #[test]
    fn what_is_written_in_place_is_visible_with_its_header() {
        check_laps(8, 4, write_number);
    }

    #[test]
    fn a_payload_is_visible_with_its_header() {
        loom::model(|| {
            let words = Arc::new(ring(8));
            let shared = Arc::clone(&words);
            let producer = thread::spawn(move || {
                let mut producer = Producer::new();
                assert!(push_number(&mut producer, &shared, 5));
                producer.publish(&shared);
            });
            let mut consumer = Consumer::new();
            if let Some(number) = take_number(&mut consumer, &words) {
                assert_eq!(number, 5);
                assert_eq!(take_number(&mut consumer, &words), None);
            }
            producer.join().unwrap();
        });
    }

    #[test]
    fn a_batch_is_seen_as_a_whole_or_not_at_all() {
        loom::model(|| {
            let words = Arc::new(ring(16));
            let shared = Arc::clone(&words);
            let producer = thread::spawn(move || {
                let mut producer = Producer::new();
                for number in 0..3 {
                    assert!(push_number(&mut producer, &shared, number));
                }
                producer.publish(&shared);
            });
            let mut consumer = Consumer::new();
            if let Some(number) = take_number(&mut consumer, &words) {
                assert_eq!(number, 0);
                assert_eq!(take_number(&mut consumer, &words), Some(1));
                assert_eq!(take_number(&mut consumer, &words), Some(2));
                assert_eq!(take_number(&mut consumer, &words), None);
            }
            producer.join().unwrap();
        });
    }

    /// The producer waits for room and the consumer for records, for more than one lap of the ring.
    fn check_laps(ring_words: usize, count: u32, push: fn(&mut Producer, &[AtomicU64], u32) -> bool) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(4);
        builder.check(move || {
            let words = Arc::new((ring(ring_words), AtomicU64::new(0)));
            let shared = Arc::clone(&words);
            let producer = thread::spawn(move || {
                let (words, told) = &*shared;
                let mut producer = Producer::new();
                for number in 0..count {
                    while !push(&mut producer, words, number) {
                        thread::yield_now();
                        producer.consumed_to(told_head(told));
                    }
                    producer.publish(words);
                }
            });
            let (words, told) = &*words;
            let mut consumer = Consumer::new();
            for number in 0..count {
                let taken = loop {
                    match take_number(&mut consumer, words) {
                        Some(taken) => break taken,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(taken, number);
                tell_head(told, consumer.head());
            }
            producer.join().unwrap();
            assert_eq!(consumer.peek(words), Ok(None));
        });
    }

    #[test]
    fn a_full_ring_waits_and_an_empty_one_too() {
        // Records of two words; the ring holds one at a time.
        check_laps(4, 4, push_number_alone);
    }

    #[test]
    fn a_filler_is_stepped_over() {
        // Records of three words; the third one needs a filler of two.
        check_laps(8, 4, push_number);
    }

    /// The producer dies after the first `steps` of these: push, publish, push, push, publish.
    fn check_dies_after(steps: usize) {
        loom::model(move || {
            let words = Arc::new(ring(16));
            // An earlier lap left words that look like records, except where the producer begins.
            for word in &words[1..] {
                word.store(bait(), Relaxed);
            }
            let shared = Arc::clone(&words);
            let producer = thread::spawn(move || {
                let mut producer = Producer::new();
                for step in 0..steps {
                    match step {
                        0 => assert!(push_number(&mut producer, &shared, 0)),
                        2 => assert!(push_number(&mut producer, &shared, 1)),
                        3 => assert!(push_number(&mut producer, &shared, 2)),
                        _ => assert!(producer.publish(&shared)),
                    }
                }
            });
            let published = match steps {
                0 | 1 => 0,
                2..=4 => 1,
                _ => 3,
            };
            let mut consumer = Consumer::new();
            let mut taken = 0;
            // Once while the producer lives, and then until nothing is left.
            if let Some(number) = take_number(&mut consumer, &words) {
                assert_eq!(number, taken);
                taken += 1;
            }
            producer.join().unwrap();
            while let Some(number) = take_number(&mut consumer, &words) {
                assert_eq!(number, taken);
                taken += 1;
            }
            assert_eq!(taken, published);
        });
    }

    #[test]
    fn a_producer_that_dies_leaves_whole_records_or_none() {
        for steps in 0..=5 {
            check_dies_after(steps);
        }
    }
}
