use super::*;
use crate::codec::call::Call;
use crate::journal::earlier::{Counting, Index};
use crate::journal::format::{Ended, How, Kind};
use crate::journal::scan::Found;
use std::panic::Location;

fn site() -> Site {
    Site { call: Call::of_pair(|a: u64, b: u64| a + b), location: Location::caller() }
}

fn done(bytes: usize) -> Settled {
    Settled::Done(Reply::copy_of(&vec![1; bytes]))
}

fn failed(pieces: &Pieces, number: usize) -> Settled {
    Settled::Failed(Error::new(ErrorKind::Panicked, "no").with_piece(pieces.label(number).unwrap(), 1))
}

/// An entry of an outcome that was recorded before.
fn entry() -> Entry {
    let ended = Ended { key: [3; 16], attempts: 1, finished_ns: 0, took_ns: 0, how: How::NoResult };
    let head = crate::journal::format::Head { kind: Kind::Done, run: 1, body_bytes: 37 };
    let mut index = Index::default();
    index.add(0, &Found { offset: 32, head }, &ended.encode().unwrap());
    index.find(&[3; 16], Counting { results: true, confirmed: false, resume_failed: true }).unwrap()
}

#[test]
fn each_piece_is_taken_once_in_either_order() {
    let mut pieces = Pieces::default();
    for _ in 0..4 {
        pieces.add_open(site());
    }
    pieces.add_recorded(site(), entry(), true);
    pieces.add_recorded(site(), entry(), false);
    assert_eq!((pieces.len(), pieces.done(), pieces.resumed(), pieces.already_done()), (6, 2, 2, 1));
    pieces.settle(2, done(5));
    let error = failed(&pieces, 0);
    pieces.settle(0, error);
    assert_eq!((pieces.done(), pieces.unread_bytes()), (4, 5));
    // A second outcome counts for nothing.
    pieces.settle(2, done(7));
    assert_eq!((pieces.done(), pieces.unread_bytes()), (4, 5));
    // As they came: the one of the earlier run, 2 and 0. The other one is known to be done, and no more.
    let mut order = Vec::new();
    while let Some(number) = pieces.first_finished() {
        assert!(pieces.take(number).is_some() && pieces.take(number).is_none());
        order.push(number);
    }
    assert_eq!((order, pieces.unread_bytes()), (vec![4, 2, 0], 0));
    assert!(pieces.take_many(1, 9, 9).is_empty(), "piece 1 is open");
    for number in [1, 3] {
        pieces.settle(number, done(6));
    }
    assert_eq!(pieces.take_many(1, 9, 9).len(), 1, "piece 2 was taken");
    assert_eq!(pieces.take_many(3, 9, 9).len(), 1, "piece 4 was taken");
    assert_eq!(pieces.take_many(5, 9, 9).len(), 1, "in order it is given");
}

#[test]
fn a_batch_ends_after_a_number_of_pieces_or_bytes() {
    for (most_pieces, most_bytes, taken) in [(9, 999, 4), (2, 999, 2), (9, 10, 1), (9, 11, 2), (9, 0, 0)] {
        let mut pieces = Pieces::default();
        for number in 0..4 {
            pieces.add_open(site());
            pieces.settle(number, done(10));
        }
        assert_eq!(pieces.take_many(0, most_pieces, most_bytes).len(), taken, "{most_pieces}, {most_bytes}");
    }
}

/// What has an outcome keeps it, and all else fails: also what comes later.
#[test]
fn a_journal_that_fails_ends_what_is_open() {
    let mut pieces = Pieces::default();
    for _ in 0..3 {
        pieces.add_open(site());
    }
    pieces.settle(1, done(1));
    pieces.fail("the disk is full".into());
    pieces.fail("again".into());
    pieces.settle(0, done(1));
    pieces.add_recorded(site(), entry(), true);
    pieces.add_open(site());
    assert_eq!(pieces.done(), 5);
    let mut order = Vec::new();
    while let Some(number) = pieces.first_finished() {
        let is_recorded = match pieces.take(number).unwrap() {
            Outcome::Recorded(_) => true,
            Outcome::Settled(Settled::Done(_)) => false,
            Outcome::Settled(Settled::Failed(error)) => {
                assert_eq!((error.kind(), error.piece()), (ErrorKind::Journal, Some(number)));
                assert!(error.to_string().ends_with("has no outcome that is recorded: the disk is full"), "{error}");
                false
            }
        };
        assert_eq!(is_recorded, number == 3);
        order.push(number);
    }
    assert_eq!(order, [1, 3, 0, 2, 4]);
}

#[test]
fn how_a_piece_stands_stays_known() {
    let mut pieces = Pieces::default();
    for _ in 0..4 {
        pieces.add_open(site());
    }
    pieces.add_recorded(site(), entry(), true);
    let error = failed(&pieces, 1);
    pieces.settle(1, error);
    pieces.settle(2, done(100));
    pieces.settle(3, done(1));
    let expected =
        [Standing::Open, Standing::Failed, Standing::Done, Standing::Done, Standing::Earlier, Standing::Unknown];
    let standings = |pieces: &Pieces| std::array::from_fn::<_, 6, _>(|number| pieces.standing(number));
    assert_eq!(standings(&pieces), expected);
    assert_eq!(pieces.let_go().len(), 1, "only what has memory of its own");
    assert_eq!(standings(&pieces), expected);
    for number in 0..6 {
        pieces.take(number);
    }
    assert_eq!(standings(&pieces), expected);
}
