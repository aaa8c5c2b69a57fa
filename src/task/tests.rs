//! Tasks on a played backend: what they ask of it, and what they make of its answers.

use super::*;
use crate::backend::waking::Until;
use crate::backend::{Counts, Feeding, Finished, Outcomes, ReadOrder, Settled, Stop, Wanted};
use crate::codec::Format;
use crate::codec::bytes::Reply;
use crate::codec::tables::table::Tables;
use crate::error::{Error, PieceLabel};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

/// What was asked of the backend.
#[derive(Debug, PartialEq)]
enum Asked {
    Configured(Option<u64>, Option<usize>),
    Piece(Vec<u8>),
    Pieces(usize, Vec<u8>),
    Failed(ErrorKind, String),
    Closed(bool),
}

/// Writes down what it is asked, and answers with the arguments: each piece is the identity of bytes.
#[derive(Debug, Default)]
pub(super) struct Played {
    asked: Mutex<Vec<Asked>>,
    answers: Mutex<Vec<Result<Vec<u8>, ErrorKind>>>,
    /// The pieces that finish first; then come the others, the lowest one first.
    finish: Mutex<Vec<usize>>,
    taken: Mutex<BTreeSet<usize>>,
}

const KEY: TaskKey = TaskKey { index: 3, generation: 7 };

impl Played {
    fn note(&self, task: TaskKey, asked: Asked) {
        assert_eq!(task, KEY);
        self.asked.lock().push(asked);
    }

    fn settled(&self, number: usize) -> Option<Settled> {
        let answers = self.answers.lock();
        let answer = answers.get(number).filter(|_| self.taken.lock().insert(number))?;
        Some(match answer {
            Ok(bytes) => Settled::Done(Reply::copy_of(bytes)),
            Err(kind) => Settled::Failed(Error::new(*kind, "failed")),
        })
    }
}

impl Backend for Played {
    fn name(&self) -> &'static str {
        "played"
    }

    fn configure(&self, task: TaskKey, settings: TaskSettings) {
        self.note(task, Asked::Configured(settings.limit_ns.map(NonZeroU64::get), settings.max_unread_bytes));
    }

    fn add_piece(&self, task: TaskKey, _: Site, arguments: Handed<'_>) {
        self.answers.lock().push(Ok(arguments.as_slice().to_vec()));
        self.note(task, Asked::Piece(arguments.as_slice().to_vec()));
    }

    fn add_sharing_piece(&self, task: TaskKey, site: Site, arguments: Vec<u8>, _: Tables) {
        self.add_piece(task, site, Handed::Own(arguments));
    }

    fn add_pieces(&self, task: TaskKey, _: Site, arguments: &[u8], ends: &[usize]) {
        let mut start = 0;
        for &end in ends {
            self.answers.lock().push(Ok(arguments[start..end].to_vec()));
            start = end;
        }
        self.note(task, Asked::Pieces(ends.len(), arguments.to_vec()));
    }

    fn add_failed(&self, task: TaskKey, _: Site, kind: ErrorKind, message: String) {
        self.answers.lock().push(Err(kind));
        self.note(task, Asked::Failed(kind, message));
    }

    fn completed(&self, _: TaskKey) -> usize {
        self.answers.lock().len()
    }

    fn label(&self, _: TaskKey, number: usize) -> Option<PieceLabel> {
        Some(PieceLabel { number, name: None, address: 0, location: Location::caller() })
    }

    /// Batches of at most three.
    fn take_in_order(&self, _: TaskKey, next: usize, _: ReadOrder, _: Until<'_>) -> Option<Outcomes> {
        let batch: Vec<_> = (next..next + 3).map_while(|number| self.settled(number)).collect();
        (!batch.is_empty()).then_some(Outcomes::Many(batch))
    }

    fn take_finished(&self, _: TaskKey, wanted: Wanted, _: Until<'_>) -> Option<Finished> {
        let number = self.finish.lock().pop().unwrap_or(wanted.number());
        self.settled(number).map(|settled| Finished { number, settled, attempts: 1, took_ns: 0 })
    }

    fn take_all_finished(&self, _: TaskKey) -> (Vec<Finished>, bool) {
        (Vec::new(), false)
    }

    fn interrupt(&self, _: TaskKey) {}

    fn feeding(&self, _: TaskKey) -> Feeding {
        Feeding { pieces: 4, unread_bytes: 0 }
    }

    fn detach(&self, _: TaskKey) {}

    fn counts(&self, _: TaskKey) -> Counts {
        Counts { total: self.answers.lock().len(), ..Counts::default() }
    }

    fn reuse(&self, _: Vec<u8>) {}

    fn cancel(&self, _: TaskKey) {}

    fn abandon(&self, _: TaskKey) {}

    fn stop(&self, _: TaskKey, _: Stop) {}

    fn close(&self, task: TaskKey, kill: bool) {
        self.note(task, Asked::Closed(kill));
    }
}

pub(super) fn played<R>() -> (Arc<Played>, Task<R>) {
    let backend = Arc::new(Played::default());
    (Arc::clone(&backend), Task::opened(backend, KEY))
}

/// The sizes of the calls that handed out pieces.
fn calls(backend: &Played) -> Vec<usize> {
    let sizes = |asked: &Asked| match asked {
        Asked::Piece(_) | Asked::Failed(..) => Some(1),
        Asked::Pieces(pieces, _) => Some(*pieces),
        _ => None,
    };
    backend.asked.lock().iter().filter_map(sizes).collect()
}

/// Encoded as a number; the number 13 panics as it is encoded, and 14 as it is decoded.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Unlucky(u64);

impl serde::Serialize for Unlucky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != 13, "13 as argument");
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Unlucky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        assert!(number != 14, "14 as result");
        Ok(Unlucky(number))
    }
}

fn same(number: Unlucky, _: ()) -> Unlucky {
    number
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of kilobytes through the codec take miri minutes")]
fn run_all_hands_out_by_the_batch_and_long_pieces_alone() {
    let check = |lengths: &[usize], expected: &[usize]| {
        let (backend, task) = played::<()>();
        task.run_all(|_: Vec<u8>, (): ()| (), lengths.iter().map(|&length| (vec![1; length], ())));
        assert_eq!(task.len(), lengths.len());
        assert_eq!(calls(&backend), expected, "{lengths:?}");
        // A vector's bytes come behind its length.
        let answers = backend.answers.lock();
        assert!(answers.iter().zip(lengths).all(|(bytes, length)| bytes.as_ref().unwrap().len() == 8 + length));
    };
    check(&[], &[]);
    check(&[5], &[1]);
    check(&[0; 600], &[256, 256, 88]);
    check(&[40_000; 3], &[2, 1]);
    check(&[100_000; 2], &[1, 1]);
    check(&[1, 1, 100_000, 1], &[2, 1, 1]);
    check(&[100_000, 1, 100_000], &[1, 1, 1]);
    let (backend, task) = played::<()>();
    task.run_all(|(): (), (): ()| (), [((), ()); 3]);
    assert_eq!(*backend.asked.lock(), [Asked::Pieces(3, Vec::new())]);
}

#[test]
fn a_pair_that_cannot_be_encoded_fails_alone_and_in_its_place() {
    let (backend, task) = played::<Unlucky>();
    task.run_all(same, [1, 13, 2, 13].map(|number| (Unlucky(number), ())));
    task.run(same, Unlucky(13), ());
    assert_eq!(calls(&backend), [1, 1, 1, 1, 1]);
    let each: Vec<_> = task.get_each().into_iter().map(|result| result.map_err(|error| error.kind())).collect();
    let failed = Err(ErrorKind::Encode);
    assert_eq!(each, [Ok(Unlucky(1)), failed, Ok(Unlucky(2)), failed, failed]);
}

#[test]
fn a_result_that_cannot_be_decoded_has_its_own_number() {
    let task_of = |numbers: &[u64]| {
        let (_, task) = played::<Unlucky>();
        task.run_all(same, numbers.iter().map(|&number| (Unlucky(number), ())));
        task
    };
    for numbers in [&[1, 2, 3, 4, 14, 5][..], &[14], &[1, 2, 14], &[1, 14, 14]] {
        let place = numbers.iter().position(|&number| number == 14);
        let error = task_of(numbers).get().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Decode, place), "{numbers:?}");
        assert!(error.to_string().contains("14 as result"), "{error}");
        let each = task_of(numbers).get_each();
        assert!(each.iter().zip(numbers).all(|(result, &number)| result.is_err() == (number == 14)));
        let iterated: Vec<_> = task_of(numbers).iter().map(|result| result.is_ok()).collect();
        assert_eq!(iterated, each.iter().map(Result::is_ok).collect::<Vec<_>>());
    }
    assert_eq!(task_of(&[1, 2, 3, 4]).get().unwrap(), [1, 2, 3, 4].map(Unlucky));
}

/// The numbers of a task whose piece `n` gives `n`, and piece 14 something that cannot be decoded. Some were taken as they
/// finished.
fn partly_taken(pieces: u64, taken: &[usize]) -> Task<Unlucky> {
    let (backend, mut task) = played::<Unlucky>();
    backend.finish.lock().extend(taken.iter().rev());
    for number in 0..pieces {
        task.run(same, Unlucky(if number == 13 { 0 } else { number }), ());
    }
    for &number in taken {
        let (found, result) = task.next_completed().unwrap();
        assert_eq!((found, result.is_err()), (number, number == 14));
    }
    task
}

#[test]
fn what_was_taken_as_it_finished_is_left_out_of_what_is_collected_later() {
    for taken in [&[][..], &[0], &[3, 1], &[0, 1, 2, 3, 4], &[4, 5, 11], &[11, 10, 0], &[2, 4, 6, 8, 10]] {
        let left: Vec<u64> = (0..12).filter(|number| !taken.contains(&(*number as usize))).collect();
        let task = || partly_taken(12, taken);
        let numbers = |results: Vec<Result<Unlucky, Error>>| -> Vec<u64> {
            results.into_iter().map(|result| result.unwrap().0).collect()
        };
        assert_eq!(task().get().unwrap().into_iter().map(|it| it.0).collect::<Vec<_>>(), left, "{taken:?}");
        assert_eq!(numbers(task().get_each()), left, "{taken:?}");
        let iter = task().iter();
        assert_eq!(iter.len(), left.len());
        assert_eq!(numbers(iter.collect()), left, "{taken:?}");
        let iter = task().iter_completed();
        assert_eq!(iter.len(), left.len());
        let found: Vec<u64> = iter.map(|(number, result)| number as u64 + result.unwrap().0).collect();
        assert_eq!(found, left.iter().map(|number| 2 * number).collect::<Vec<_>>(), "{taken:?}");
        let (backend, mut task) = played::<Vec<u8>>();
        backend.finish.lock().extend(taken.iter().rev());
        (0..12).for_each(|number| task.call(|bytes: Vec<u8>| bytes, vec![number]));
        taken.iter().for_each(|_| drop(task.next_completed()));
        let mut written = Vec::new();
        assert_eq!(task.write_to(&mut written).unwrap(), left.len() as u64);
        assert!(written.iter().map(|&byte| u64::from(byte)).eq(left.iter().copied()), "{taken:?}");
    }
}

#[test]
fn errors_after_some_pieces_were_taken_have_their_own_numbers() {
    for taken in [&[][..], &[0, 1], &[3, 13, 15], &[15, 16, 17]] {
        let error = partly_taken(20, taken).get().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Decode, Some(14)), "{taken:?}");
        let failed = |results: Vec<Result<Unlucky, Error>>| -> Vec<_> {
            results.into_iter().filter_map(|result| result.err()?.piece()).collect()
        };
        assert_eq!(failed(partly_taken(20, taken).get_each()), [14], "{taken:?}");
        assert_eq!(failed(partly_taken(20, taken).iter().collect()), [14], "{taken:?}");
        assert_eq!(partly_taken(20, &[14]).get().unwrap().len(), 19);
    }
}

#[test]
fn a_task_that_is_read_as_it_finishes_takes_more_pieces() {
    let (backend, mut task) = played::<u64>();
    assert!(task.next_completed().is_none());
    assert_eq!(*backend.asked.lock(), [Asked::Configured(None, Some(64 * 1024 * 1024))]);
    for round in 0..100 {
        (0..2).for_each(|number: u64| task.call(|number| number, 2 * round + number));
        backend.finish.lock().push(2 * round as usize + 1);
        let found: Vec<_> =
            std::iter::from_fn(|| task.next_completed()).map(|(it, value)| (it, value.unwrap())).collect();
        assert_eq!(found, [2 * round + 1, 2 * round].map(|number| (number as usize, number)));
    }
    assert_eq!(task.len(), 200);
    assert!(task.next_completed().is_none() && task.get().unwrap().is_empty());
    // A bound of its own stays.
    let (backend, task) = played::<u64>();
    let mut task = task.max_unread(7);
    assert!(task.next_completed().is_none());
    assert_eq!(*backend.asked.lock(), [Asked::Configured(None, Some(7))]);
}

#[test]
fn pieces_that_cannot_begin_are_refused_whatever_their_arguments() {
    let check = |set: fn(Task<Unlucky>) -> Task<Unlucky>, kind: ErrorKind, words: &str| {
        let (backend, task) = played::<Unlucky>();
        let task = set(task);
        backend.asked.lock().clear();
        task.run(same, Unlucky(1), ());
        task.call(|number: Unlucky| number, Unlucky(13));
        task.run_all(same, [1, 13].map(|number| (Unlucky(number), ())));
        let asked = backend.asked.lock();
        assert_eq!((asked.len(), task.len()), (4, 4));
        for asked in &*asked {
            assert!(matches!(asked, Asked::Failed(found, text) if *found == kind && text.contains(words)), "{asked:?}");
        }
    };
    check(|task| task.timeout(Duration::ZERO), ErrorKind::TimedOut, "its time limit is zero");
    check(|task| task.format(Format::Raw), ErrorKind::Encode, "Format::Raw carries only");
    check(|task| task.format(Format::Raw).timeout(Duration::ZERO), ErrorKind::Encode, "Format::Raw carries only");
}

#[test]
fn settings_reach_the_backend_whole() {
    let (backend, task) = played::<u64>();
    let task = task.timeout(Duration::from_nanos(5)).max_unread(7).timeout(Duration::MAX).format(Format::Json);
    assert!(format!("{task:?}").contains("played"));
    drop(task.iter());
    let (other, task) = played::<u64>();
    drop(task.iter_completed());
    assert_eq!(
        *backend.asked.lock(),
        [
            Asked::Configured(Some(5), None),
            Asked::Configured(Some(5), Some(7)),
            Asked::Configured(None, Some(7)),
            Asked::Configured(None, Some(7)),
            Asked::Closed(false),
        ]
    );
    // Reading bounds a task that has no bound.
    assert_eq!(*other.asked.lock(), [Asked::Configured(None, Some(64 * 1024 * 1024)), Asked::Closed(false)]);
}
