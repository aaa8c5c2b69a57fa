use super::*;
use crate::codec::call::Call;
use std::panic::Location;

const ALL: Counting = Counting { results: true, confirmed: false, resume_failed: false };

fn note(index: &mut Index, file: u8, offset: u64, (kind, how): (Kind, How), rest: usize) {
    let ended = Ended { key: [1; 16], attempts: 2, finished_ns: 0, took_ns: 0, how };
    let head = Head { kind, run: 1, body_bytes: OUTCOME_BYTES + rest };
    let body = [&ended.encode().unwrap()[..], &vec![7; rest]].concat();
    index.add(file, &Found { offset, head }, &body);
}

#[test]
fn what_counts_depends_on_the_outcome_and_the_task() {
    let failed = How::Failed(ErrorKind::TimedOut);
    let all = [false, true].into_iter().flat_map(|results| [(results, false), (results, true)]);
    for (results, confirmed) in all {
        for resume_failed in [false, true] {
            let counting = Counting { results, confirmed, resume_failed };
            // The record, whether it counts, and whether there is more to give than that it is done.
            for (kind, how, rest, counts, has_outcome) in [
                (Kind::Done, How::Result, 5, !confirmed, results),
                (Kind::Done, How::Result, 0, !confirmed, true),
                (Kind::Done, How::NoResult, 0, !confirmed, false),
                (Kind::Confirmed, How::NoResult, 0, true, false),
                (Kind::Confirmed, How::Result, 0, true, true),
                (Kind::Failed, failed, 4, !resume_failed, true),
            ] {
                let mut index = Index::default();
                note(&mut index, 0, 32, (kind, how), rest);
                let found = index.find(&[1; 16], counting);
                assert_eq!(found.is_some(), counts, "{kind:?}, {how:?}, {counting:?}");
                if let Some(entry) = found {
                    assert_eq!(entry.has_outcome(counting), has_outcome, "{kind:?}, {how:?}, {counting:?}");
                }
                assert!(index.find(&[2; 16], counting).is_none());
            }
        }
    }
}

/// Within a file the newest counts; what another journal has done counts, though it failed here.
#[test]
fn the_newest_outcome_counts_but_done_elsewhere_beats_failed() {
    let done = (Kind::Done, How::Result);
    let failed = (Kind::Failed, How::Failed(ErrorKind::Panicked));
    // The records: file, place, outcome; and which of them counts.
    for (records, counts) in [
        (&[(0, 100, done), (0, 200, failed)][..], 200),
        (&[(0, 100, failed), (0, 200, done)], 200),
        (&[(1, 100, done), (0, 200, failed)], 100),
        (&[(1, 100, failed), (0, 200, done)], 200),
        (&[(1, 100, done), (0, 200, done)], 200),
        (&[(1, 100, failed), (0, 200, failed)], 200),
        (&[(1, 100, done), (2, 150, failed), (0, 200, failed)], 100),
    ] {
        let mut index = Index::default();
        for &(file, offset, record) in records {
            note(&mut index, file, offset, record, 1);
        }
        assert_eq!(index.find(&[1; 16], ALL).unwrap().offset(), counts, "{records:?}");
    }
}

/// Records one behind the other in a vector.
struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    /// In parts, as a file may.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len()).min(1000);
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// Outcomes of any length are read in any order; a flipped bit is told, and nothing else is given for it.
#[test]
fn outcomes_are_read_in_any_order_and_damage_is_told() {
    let id = FileId([9; 16]);
    let lengths = [0, 1, 30, 70, 5000, 70_000, 200_000, 3];
    let (mut bytes, mut places) = (vec![0; 32], Vec::new());
    for (number, &length) in lengths.iter().enumerate() {
        places.push(bytes.len() as u64);
        let ended = Ended { key: [1; 16], attempts: 3, finished_ns: 0, took_ns: 0, how: How::Result };
        let result = vec![number as u8; length];
        format::append(&mut bytes, id, (Kind::Done, 1), &[&ended.encode().unwrap(), &result]).unwrap();
    }
    let label = || {
        let call = Call::of_pair(|a: u64, b: u64| a + b);
        PieceLabel { number: 5, name: None, address: call.address(), location: Location::caller() }
    };
    let read = |files: &mut Files, number: usize| {
        files.read(Entry::new(0, places[number], What::Result, lengths[number]), label(), ALL)
    };
    let files = |bytes: &[u8]| {
        let mut files = Files::new();
        files.add(Box::new(Bytes(bytes.to_vec())), id, "played".to_string());
        files
    };
    let mut sound = files(&bytes);
    for step in [1, 3, 5, 7] {
        for number in (0..lengths.len()).map(|index| index * step % lengths.len()) {
            match read(&mut sound, number) {
                Settled::Done(reply) => assert!(reply.as_slice() == vec![number as u8; lengths[number]], "{number}"),
                Settled::Failed(error) => panic!("{number}: {error}"),
            }
        }
    }
    for (number, &place) in places.iter().enumerate() {
        for at in [4, 20, 50, HEAD_BYTES + OUTCOME_BYTES + lengths[number]] {
            let mut damaged = bytes.clone();
            damaged[place as usize + at] ^= 1;
            match read(&mut files(&damaged), number) {
                Settled::Failed(error) => assert_eq!((error.kind(), error.piece()), (ErrorKind::Journal, Some(5))),
                Settled::Done(_) => panic!("{number}, byte {at}"),
            }
        }
    }
    // The file was cut.
    match read(&mut files(&bytes[..places[7] as usize + 20]), 7) {
        Settled::Failed(error) => assert!(error.to_string().contains("cannot be read again"), "{error}"),
        Settled::Done(_) => panic!("it is not there"),
    }
}

#[test]
fn an_entry_bounds_the_length_of_its_result() {
    for bytes in [0, 1, 3, 4, 5, 37, 4096, 65_535, 65_536, 1 << 28, (1 << 30) - 38] {
        let entry = Entry::new(255, (1 << 48) - 1, What::Failed, bytes);
        assert!((bytes..=4 * bytes + 3).contains(&entry.most_bytes()), "{bytes}: {}", entry.most_bytes());
        assert_eq!((entry.offset(), entry.file(), entry.what()), ((1 << 48) - 1, 255, What::Failed));
    }
}
