//! Frames: what is written is read, and what is cut, lengthened or forged is refused at its place.

use super::results::{Head, Object};
use super::work::Given;
use super::*;
use crate::identity::{Build, ChunkId, JobId, JobKey};
use bytes::Bytes;
use proptest::prelude::*;

fn work(pieces: &[(u32, u64, Vec<u8>)]) -> Bytes {
    let limits = Limits { timeout_ns: 5, retries: 2, retry_panics: true, retry_failures: true, format: 2 };
    let given = pieces.iter().map(|(piece, function, bytes)| Given { piece: *piece, function: *function, bytes });
    Work::write(JobId([1; 16]), ChunkId([2; 16]), limits, given)
}

fn head(host: &str) -> Head<'_> {
    Head { job: JobId([1; 16]), chunk: ChunkId([2; 16]), delivery: 3, last: true, busy_ns: 4, host }
}

fn results(host: &str, pieces: &[(u32, u8, Vec<u8>)]) -> Bytes {
    let status = |status| [Status::Value, Status::Error, Status::Object][usize::from(status) % 3];
    let answers = pieces.iter().map(|(piece, kind, bytes)| Answer { piece: *piece, status: status(*kind), bytes });
    Results::write(&head(host), answers)
}

/// One of each, with two pieces where there are pieces.
fn examples() -> Vec<Bytes> {
    vec![
        work(&[(0, 7, b"abc".to_vec()), (9, 8, Vec::new())]),
        results("n1", &[(0, 0, b"abc".to_vec()), (9, 1, Vec::new())]),
        Record { key: JobKey([1; 32]), pieces: 2, digest: [3; 32], master: [4; 16], beat_ns: 5 }.write(),
        Beat { name: "n1", workers: 2, busy: 1, build: Build([6; 32]) }.write(),
        Control { job: JobId([1; 16]), word: Word::Cancel }.write(),
    ]
}

fn fault(which: usize, bytes: &[u8]) -> Option<Fault> {
    match which {
        0 => Work::read(bytes).err(),
        1 => Results::read(bytes).err(),
        2 => Record::read(bytes).err(),
        3 => Beat::read(bytes).err(),
        _ => Control::read(bytes).err(),
    }
}

#[test]
fn the_layout_is_that_of_the_tables() {
    let frame = work(&[(9, 8, b"abc".to_vec())]);
    assert_eq!(&frame[..4], b"MCW1");
    assert_eq!((&frame[4..20], &frame[20..36]), (&[1; 16][..], &[2; 16][..]));
    assert_eq!(&frame[36..49], [5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0b1101]);
    assert_eq!(&frame[49..53], [1, 0, 0, 0]);
    assert_eq!(&frame[53..], [9, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, b'a', b'b', b'c']);
    let frame = results("n1", &[(9, 2, b"abc".to_vec())]);
    assert_eq!(&frame[..4], b"MCR1");
    assert_eq!(&frame[36..55], [3, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'n', b'1']);
    assert_eq!(&frame[55..], [1, 0, 0, 0, 9, 0, 0, 0, 2, 3, 0, 0, 0, b'a', b'b', b'c']);
    let lengths: Vec<usize> = examples()[2..].iter().map(Bytes::len).collect();
    assert_eq!(lengths, [100, 50, 21]);
}

#[test]
fn each_frame_is_read_by_its_own_reader_alone() {
    for (at, frame) in examples().iter().enumerate() {
        fuzz::read_all(frame);
        for which in 0..5 {
            assert_eq!(fault(which, frame).map(|fault| fault.what), (which != at).then_some(Wrong::Magic));
        }
    }
}

#[test]
fn a_frame_that_is_cut_at_any_byte_is_refused() {
    for (which, frame) in examples().iter().enumerate() {
        for length in 0..frame.len() {
            let fault = fault(which, &frame[..length]).expect("a part is missing");
            assert!(matches!(fault.what, Wrong::Cut { .. }) && fault.at <= length, "{fault}");
        }
        let longer = [frame, &[0][..]].concat();
        let fault = fault(which, &longer).expect("a byte follows");
        assert_eq!((fault.what, fault.at), (Wrong::Trailing(1), frame.len()));
    }
}

#[test]
fn forged_counts_and_lengths_are_refused_at_their_place() {
    let greatest = u32::MAX.to_le_bytes();
    // Which frame, where its count or length stands, and what follows there.
    for (which, place, needed) in [
        (0, 49, 16 * u64::from(u32::MAX)),
        (0, 65, u64::from(u32::MAX)),
        (1, 55, 9 * u64::from(u32::MAX)),
        (1, 64, u64::from(u32::MAX)),
    ] {
        let mut frame = examples()[which].to_vec();
        frame[place..place + 4].copy_from_slice(&greatest);
        let fault = fault(which, &frame).expect("it is forged");
        let left = frame.len() - place - 4;
        assert_eq!((fault.at, fault.what), (place + 4, Wrong::Cut { needed, left }), "{fault}");
    }
    for (which, place) in [(1, 49), (3, 4)] {
        let mut frame = examples()[which].to_vec();
        frame[place..place + 4].copy_from_slice(&greatest);
        assert_eq!(fault(which, &frame).unwrap().what, Wrong::Name(u32::MAX));
        frame[place..place + 4].copy_from_slice(&2u32.to_le_bytes());
        frame[place + 4] = 0xff;
        let text = fault(which, &frame).unwrap();
        assert_eq!((text.at, text.what), (place + 4, Wrong::Text));
    }
}

#[test]
fn values_without_a_meaning_are_refused() {
    for (which, place, value) in [(0, 48, 0x10), (0, 48, 0x80), (1, 40, 2), (1, 63, 3), (4, 20, 3)] {
        let mut frame = examples()[which].to_vec();
        frame[place] = value;
        let fault = fault(which, &frame).expect("it has no meaning");
        assert_eq!((fault.at, fault.what), (place, Wrong::Value(value)));
    }
    assert_eq!(fault(0, &work(&[])).unwrap().what, Wrong::Empty);
    let long = vec![0; MAX_BYTES + 1];
    let text = fault(0, &long).unwrap().to_string();
    assert_eq!(text, "this is no frame MCW1: at byte 0, it has 1048577 bytes, and at most 1048576 are read");
}

#[test]
fn long_names_are_cut_between_characters() {
    for (name, expected) in [("ä".repeat(127), 254), ("ä".repeat(128), 254), (format!("x{}", "ä".repeat(127)), 255)]
    {
        let frame = Beat { name: &name, workers: 0, busy: 0, build: Build([0; 32]) }.write();
        assert_eq!(Beat::read(&frame).unwrap().name.len(), expected);
    }
}

#[test]
fn objects_are_40_bytes() {
    let object = Object { length: 1 << 40, digest: [7; 32] };
    let bytes = object.to_bytes();
    assert_eq!(Object::read(&bytes), Some(object));
    assert_eq!((Object::read(&bytes[..39]), Object::read(&[&bytes[..], &[0]].concat())), (None, None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_of_any_bytes(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz::frame(&data);
    }

    #[test]
    fn frames_with_one_changed_byte(which in 0..5usize, place in any::<u16>(), value in any::<u8>()) {
        let mut frame = examples()[which].to_vec();
        let place = usize::from(place) % frame.len();
        frame[place] = value;
        fuzz::read_all(&frame);
    }

    #[test]
    fn pieces_come_back(
        pieces in proptest::collection::vec((any::<u32>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..20),
    ) {
        let frame = work(&pieces);
        let read = Work::read(&frame).unwrap();
        let back: Vec<_> = read.pieces().map(|given| (given.piece, given.function, given.bytes.to_vec())).collect();
        prop_assert_eq!(read.count() as usize, back.len());
        prop_assert_eq!(back, pieces);
    }

    #[test]
    fn answers_come_back(
        host in "[a-zä]{0,20}",
        pieces in proptest::collection::vec((any::<u32>(), 0..3u8, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
    ) {
        let frame = results(&host, &pieces);
        let read = Results::read(&frame).unwrap();
        let back: Vec<_> = read.answers().map(|answer| (answer.piece, answer.status as u8, answer.bytes.to_vec())).collect();
        prop_assert_eq!((read.head, read.count() as usize), (head(&host), back.len()));
        prop_assert_eq!(back, pieces);
    }
}
