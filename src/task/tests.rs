//! Tasks on a played backend: what they ask of it, and what they make of its answers.

use super::*;
use crate::backend::{Outcomes, ReadOrder, Settled};
use crate::codec::bytes::Reply;
use crate::error::{Error, PieceLabel};
use parking_lot::Mutex;
use std::time::Instant;

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
struct Played {
    asked: Mutex<Vec<Asked>>,
    answers: Mutex<Vec<Result<Vec<u8>, ErrorKind>>>,
}

const KEY: TaskKey = TaskKey { index: 3, generation: 7 };

impl Played {
    fn note(&self, task: TaskKey, asked: Asked) {
        assert_eq!(task, KEY);
        self.asked.lock().push(asked);
    }

    fn settled(&self, number: usize) -> Option<Settled> {
        Some(match self.answers.lock().get(number)? {
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
    fn take_in_order(&self, _: TaskKey, next: usize, _: ReadOrder, _: Option<Instant>) -> Option<Outcomes> {
        let batch: Vec<_> = (next..next + 3).map_while(|number| self.settled(number)).collect();
        (!batch.is_empty()).then_some(Outcomes::Many(batch))
    }

    fn take_finished(&self, _: TaskKey, taken: usize) -> Option<(usize, Settled)> {
        self.settled(taken).map(|settled| (taken, settled))
    }

    fn reuse(&self, _: Vec<u8>) {}

    fn cancel(&self, _: TaskKey) {}

    fn close(&self, task: TaskKey, kill: bool) {
        self.note(task, Asked::Closed(kill));
    }
}

fn played<R>() -> (Arc<Played>, Task<R>) {
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
