//! The states of pieces, without a pool.

use super::*;
use crate::backend::{Outcomes, Settled};
use crate::codec::call::Call;
use crate::engine::core::blocks::BLOCK;
use crate::engine::unpark::Unparker;
use crate::engine::unpark::Wakes;
use crate::error::ErrorKind;
use std::panic::Location;

#[track_caller]
fn site() -> Site {
    fn nothing() {}
    Site { call: Call::of_hook(nothing), location: Location::caller() }
}

/// A piece has a result of this length.
fn done(task: &mut TaskState, number: usize, bytes: usize) -> Wake {
    task.settle_done(number, Reply::copy_of(&vec![0; bytes]), &mut Trash::default())
}

fn taken(task: &mut TaskState) -> impl Iterator<Item = usize> {
    std::iter::from_fn(|| {
        loop {
            match task.take_finished()? {
                NextFinished::Piece(number, _) => return Some(number),
                NextFinished::LookAgain => {}
            }
        }
    })
}

/// A task with this many waiting pieces.
fn task(pieces: usize) -> TaskState {
    let mut task = TaskState::default();
    task.add_site(site(), 7, 0);
    for _ in 0..pieces {
        task.add_waiting(Arguments::copy_of(&[]));
    }
    task
}

fn failed(label: PieceLabel) -> Error {
    Error::new(ErrorKind::Cancelled, "was cancelled").with_piece(label, 0)
}

#[test]
fn a_piece_is_settled_once_and_taken_once() {
    let mut task = task(2);
    assert!(task.take(0).is_none() && task.take(9).is_none());
    let _ = done(&mut task, 0, 3);
    let _ = task.settle_failed(0, Error::new(ErrorKind::Cancelled, "too late"));
    assert_eq!((task.done(), task.unread_bytes()), (1, 3));
    assert!(matches!(task.take(0), Some(Settled::Done(bytes)) if bytes.len() == 3));
    assert!(task.take(0).is_none());
    assert_eq!((task.done(), task.unread_bytes(), task.first_unread), (1, 0, 1));
}

#[test]
fn outcomes_in_a_row_are_taken_up_to_the_first_gap_or_limit() {
    // Four pieces of which the third is open, with results of 3 bytes: from where, the most pieces and bytes; how many.
    for (next, pieces, bytes, expected, is_one) in [
        (0, 9, 99, Some(2), false),
        (1, 9, 99, Some(1), true),
        (2, 9, 99, None, false),
        (3, 9, 99, Some(1), true),
        (4, 9, 99, None, false),
        (0, 1, 99, Some(1), true),
        (0, 9, 3, Some(1), false),
        (0, 9, 4, Some(2), false),
    ] {
        let mut task = task(4);
        for number in [0, 1, 3] {
            let _ = done(&mut task, number, 3);
        }
        let outcomes = task.take_many(next, pieces, bytes);
        let case = format!("from {next}, at most {pieces} of {bytes} bytes");
        assert_eq!(outcomes.as_ref().is_some_and(|it| matches!(it, Outcomes::One(_))), is_one, "{case}");
        let taken = outcomes.map(|outcomes| outcomes.into_iter().count());
        assert_eq!(taken, expected, "{case}");
        assert_eq!(task.unread_bytes(), 9 - 3 * taken.unwrap_or(0), "{case}");
        assert!(taken.is_none_or(|taken| (next..next + taken).all(|number| task.take(number).is_none())), "{case}");
    }
}

#[test]
fn pieces_that_come_back_wait_in_their_order() {
    let mut task = task(5);
    let mut pieces: Vec<_> = (0..4).map(|_| task.pop_waiting().unwrap()).collect();
    let _ = done(&mut task, 1, 0);
    // Newest first, as they are revoked; one of them has an outcome.
    while let Some(piece) = pieces.pop() {
        let number = piece.number;
        assert_eq!(task.take_back(piece).is_some(), number == 1, "{number}");
    }
    let mut first: Vec<_> = (0..3).map(|_| task.pop_waiting().unwrap()).collect();
    let third = first.remove(2);
    first.into_iter().for_each(|piece| assert!(task.take_back(piece).is_none()));
    assert!(task.take_back(third).is_none());
    let numbers: Vec<_> = std::iter::from_fn(|| task.pop_waiting()).map(|piece| piece.number).collect();
    assert_eq!(numbers, [0, 2, 3, 4]);
}

#[test]
fn only_the_waiter_that_wants_the_piece_is_woken_and_only_if_it_sleeps() {
    for (want, number, sleeps, expected) in [
        (Want::InOrder(1), 1, true, true),
        (Want::Piece(1), 1, true, true),
        (Want::Piece(1), 0, true, false),
        (Want::Any, 0, true, true),
        (Want::Any, 0, false, false),
    ] {
        let mut task = task(2);
        let unparker = Arc::new(Unparker::default());
        if sleeps {
            unparker.will_park();
        }
        task.wait(want, &unparker);
        assert_eq!(done(&mut task, number, 0).0.is_some(), expected, "{want:?}, piece {number}");
        task.wait_no_more();
        assert!(done(&mut task, 1 - number, 0).0.is_none());
    }
}

#[test]
fn lost_starts_are_counted_and_the_last_one_fails_the_piece() {
    let mut task = task(1);
    task.configure(TaskSettings { retries: 1, ..TaskSettings::default() });
    let error = |label, attempts| Error::new(ErrorKind::WorkerLost, "").with_piece(label, attempts);
    assert_eq!(task.attempts(0), 1);
    assert_eq!(task.lose_start(0, error).unwrap(), 1_000_000);
    assert_eq!(task.attempts(0), 2);
    assert!(task.lose_start(0, error).is_err());
    assert!(matches!(task.take(0), Some(Settled::Failed(error)) if error.attempts() == 2));
    // It has its outcome.
    assert!(task.lose_start(0, error).is_err());
    assert_eq!(task.done(), 1);
}

#[test]
fn a_bounded_task_is_full_by_what_is_unread_and_what_workers_hold() {
    let mut task = task(4);
    assert!(!task.is_full());
    task.configure(TaskSettings { max_unread_bytes: Some(100), ..TaskSettings::default() });
    assert!(!task.is_full());
    let _ = task.pop_waiting();
    let _ = done(&mut task, 0, 60);
    assert!(!task.is_full());
    let _ = task.pop_waiting();
    assert!(task.is_full(), "piece 1 will be as long as piece 0");
    let _ = done(&mut task, 1, 0);
    assert!(!task.is_full());
    let _ = (task.pop_waiting(), done(&mut task, 2, 60));
    assert!(task.is_full());
    // The piece that the caller waits for never has to wait.
    let unparker = Arc::new(Unparker::default());
    task.wait(Want::InOrder(0), &unparker);
    assert!(task.is_full(), "it waits for piece 0 first");
    task.wait(Want::InOrder(3), &unparker);
    assert!(!task.is_full());
    task.wait(Want::Any, &unparker);
    assert!(task.is_full(), "others are there for it");
    for number in 0..3 {
        let _ = task.take(number);
    }
    task.configure(TaskSettings { max_unread_bytes: Some(0), ..TaskSettings::default() });
    assert!(!task.is_full());
}

/// Of pieces that were taken as they finished, the lowest one that was not is found in steps. So a caller that then waited for
/// a piece far behind it waited for ever, if the piece was lost and too much was unread.
#[test]
fn the_piece_that_is_waited_for_never_has_to_wait_whatever_was_taken_before() {
    let wanted = 3 * BLOCK;
    let mut task = task(wanted + 2);
    task.configure(TaskSettings { max_unread_bytes: Some(10), ..TaskSettings::default() });
    let pieces: Vec<_> = std::iter::from_fn(|| task.pop_waiting()).collect();
    for number in (0..wanted).rev() {
        let _ = done(&mut task, number, 0);
        assert!(task.take(number).is_some());
    }
    assert!(task.first_unread < wanted);
    let _ = done(&mut task, wanted + 1, 100);
    for piece in pieces.into_iter().filter(|piece| piece.number == wanted) {
        assert!(task.take_back(piece).is_none());
    }
    assert!(task.is_full());
    task.wait(Want::InOrder(wanted), &Arc::new(Unparker::default()));
    assert!(!task.is_full());
}

#[test]
fn only_plain_tiny_pieces_take_the_direct_lane() {
    let mut task = task(1);
    assert!(!task.goes_directly(), "nothing is known");
    while !task.is_tiny() {
        task.learn_cost(0);
    }
    assert!(task.goes_directly());
    let limit_ns = std::num::NonZeroU64::new(5);
    task.configure(TaskSettings { limit_ns, ..TaskSettings::default() });
    assert!(!task.goes_directly() && task.is_tiny());
    task.configure(TaskSettings::default());
    assert!(task.goes_directly());
    task.cancel();
    assert!(!task.goes_directly());
    task.configure(TaskSettings::default());
    assert!(!task.goes_directly());
}

#[test]
fn a_piece_knows_its_site() {
    let mut task = task(2);
    let other = site();
    assert_eq!(task.known_word(&other), None);
    task.add_site(other, 8, 1);
    assert_eq!(task.known_word(&other), Some((8, 1)));
    task.add_waiting(Arguments::copy_of(&[]));
    assert_eq!([0, 1, 2].map(|number| task.word(number)), [(7, 0), (7, 0), (8, 1)]);
    assert_eq!(task.label(2).location.line(), other.location.line());
}

#[test]
fn a_piece_that_failed_before_it_could_travel_leaves_no_word_for_the_next_one() {
    // Once the next piece of that site travelled with the word 0, and its worker jumped there.
    let mut task = TaskState::default();
    let site = site();
    let _ = task.add_failed(site, failed);
    assert_eq!(task.known_word(&site), None);
    task.add_site(site, 9, 0);
    task.add_waiting(Arguments::copy_of(&[]));
    let _ = task.add_failed(site, failed);
    task.add_waiting(Arguments::copy_of(&[]));
    assert_eq!([1, 3].map(|number| task.word(number)), [(9, 0); 2]);
    assert_eq!(task.earlier_sites.len() + 1, 2);
}

#[test]
fn outcomes_come_in_the_order_in_which_pieces_finished() {
    let mut task = task(4);
    let _ = (done(&mut task, 2, 0), done(&mut task, 1, 0));
    // Those that finished before anybody asked come by number.
    assert_eq!(taken(&mut task).next(), Some(1));
    let _ = (done(&mut task, 3, 0), done(&mut task, 0, 0));
    assert_eq!(taken(&mut task).collect::<Vec<_>>(), [2, 3, 0]);
}

#[test]
fn what_waits_fails_in_steps_and_the_rest_at_once() {
    let (mut wakes, mut trash) = (Wakes::default(), Trash::default());
    let (no_worker, cancelled) = (Reason::new(ErrorKind::System, "no worker"), Reason::cancelled());
    let mut task = task(6);
    let _ = (task.pop_waiting(), done(&mut task, 0, 3), task.pop_waiting());
    assert_eq!(task.fail_waiting(&no_worker, 2, &mut wakes, &mut trash), 2);
    assert_eq!((task.done(), task.waits(), task.held()), (3, true, 1));
    assert_eq!(task.fail_waiting(&no_worker, 9, &mut wakes, &mut trash), 2);
    assert_eq!((task.done(), task.waits(), task.held()), (5, false, 1));
    task.end(&cancelled, &mut wakes, &mut trash);
    task.end(&no_worker, &mut wakes, &mut trash);
    assert_eq!((task.done(), task.held()), (6, 0));
    // What comes now comes too late.
    let _ = done(&mut task, 1, 3);
    assert!(task.lose_start(1, |label, _| failed(label)).is_err());
    assert!(task.take_back(WaitingPiece { number: 1, arguments: Arguments::copy_of(&[]) }).is_some());
    assert_eq!(task.done(), 6);
    let outcomes = task.take_many(0, 9, 9).unwrap();
    assert!(matches!(outcomes, Outcomes::One(Settled::Done(_))), "up to the first one that shares its reason");
    let outcomes = task.take_many(1, 9, 9).unwrap();
    let line = task.label(1).location.line();
    for (number, outcome) in (1..6).zip(outcomes) {
        let Settled::Failed(error) = outcome else { panic!("{number}") };
        let kind = if number == 1 { ErrorKind::Cancelled } else { ErrorKind::System };
        assert_eq!((error.kind(), error.piece(), error.attempts()), (kind, Some(number), 0));
        assert_eq!(error.location().map(|location| location.line()), Some(line), "{number}");
    }
    assert!(task.take_many(5, 9, 9).is_none() && task.take(2).is_none());
    assert_eq!(task.first_unread, 6);
}

#[test]
fn a_task_that_is_stopped_ends_but_for_what_workers_have_begun() {
    let (mut wakes, mut trash) = (Wakes::default(), Trash::default());
    let mut task = task(8);
    task.configure(TaskSettings { retries: 9, ..TaskSettings::default() });
    let mut given: Vec<_> = (0..6).filter_map(|_| task.pop_waiting()).collect();
    let _ = done(&mut task, 0, 3);
    task.stop(&Reason::cancelled(), &mut trash);
    assert_eq!((task.waits(), task.done(), task.is_cancelled()), (false, 1, true));
    assert!(task.take(7).is_none(), "nothing is known yet");
    // What is taken back waits nowhere; what comes until the end counts.
    assert!(task.take_back(given.pop().unwrap()).is_some() && !task.waits());
    let _ = done(&mut task, 1, 5);
    task.end_but(vec![1, 2, 3, 4], &Reason::cancelled(), &mut wakes);
    assert_eq!((task.done(), task.held(), task.unread_bytes()), (5, 3, 8));
    assert!((2..5).all(|number| task.take(number).is_none()));
    // The second time nothing follows.
    task.end_but(vec![5], &Reason::cancelled(), &mut wakes);
    assert_eq!(task.held(), 3);
    let _ = done(&mut task, 2, 7);
    let lost = |label, attempts| Error::new(ErrorKind::WorkerLost, "").with_piece(label, attempts);
    assert!(task.lose_start(3, lost).is_err(), "it starts no more");
    let _ = task.settle_failed(4, failed(task.label(4)));
    for number in 0..8 {
        // Too late, or the second time.
        let _ = (done(&mut task, number, 100), task.settle_failed(number, failed(task.label(number))));
    }
    assert_eq!((task.done(), task.held(), task.unread_bytes(), task.last.len()), (8, 0, 15, 0));
    for number in 0..8 {
        let kind = match task.take(number).unwrap() {
            Settled::Done(_) => None,
            Settled::Failed(error) => Some((error.kind(), error.attempts())),
        };
        let expected = match number {
            0..3 => None,
            3 => Some((ErrorKind::WorkerLost, 1)),
            _ => Some((ErrorKind::Cancelled, 0)),
        };
        assert_eq!(kind, expected, "{number}");
    }
}

#[test]
fn a_task_that_was_stopped_is_cancelled_with_what_runs() {
    let mut task = task(4);
    let _ = (0..3).filter_map(|_| task.pop_waiting()).count();
    let (mut wakes, mut trash) = (Wakes::default(), Trash::default());
    task.stop(&Reason::cancelled(), &mut trash);
    task.end_but(vec![0, 2], &Reason::cancelled(), &mut wakes);
    assert_eq!(task.done(), 2);
    task.end(&Reason::shut_down(), &mut wakes, &mut trash);
    assert_eq!((task.done(), task.held()), (4, 0));
    let _ = done(&mut task, 2, 1);
    let texts: Vec<_> = (0..4)
        .map(|number| match task.take(number) {
            Some(Settled::Failed(error)) => error.to_string().contains("its pool was shut down"),
            other => panic!("{number}: {other:?}"),
        })
        .collect();
    assert_eq!(texts, [true, false, true, false]);
    // Cancelled before it is known what has begun.
    let mut task = self::task(2);
    let _ = task.pop_waiting();
    task.stop(&Reason::cancelled(), &mut trash);
    task.end(&Reason::cancelled(), &mut wakes, &mut trash);
    task.end_but(vec![0], &Reason::cancelled(), &mut wakes);
    assert_eq!((task.done(), task.held()), (2, 0));
}

#[test]
fn a_task_that_is_stopped_while_it_is_read_as_it_finishes_is_read_to_its_end() {
    for asked_before in [true, false] {
        let pieces = 2 * BLOCK;
        let mut task = task(pieces);
        let _ = (0..9).filter_map(|_| task.pop_waiting()).count();
        let mut order = Vec::new();
        if asked_before {
            let _ = (done(&mut task, 5, 0), done(&mut task, 1, 0));
            order.extend(taken(&mut task).next());
            assert_eq!(order, [1]);
        }
        task.stop(&Reason::cancelled(), &mut Trash::default());
        task.end_but(vec![2, 8], &Reason::cancelled(), &mut Wakes::default());
        let _ = done(&mut task, 8, 0);
        order.extend(taken(&mut task));
        assert_eq!(order.len(), pieces - 1);
        let unparker = Arc::new(Unparker::default());
        unparker.will_park();
        task.wait(Want::Any, &unparker);
        assert!(done(&mut task, 2, 0).0.is_some());
        order.extend(taken(&mut task));
        order.sort_unstable();
        assert!(order.into_iter().eq(0..pieces), "each once");
    }
}

/// Each cancelled piece once had an error of its own at once: 200 bytes and 130 ns each, under the lock.
#[test]
fn a_task_of_any_length_ends_without_memory_for_its_pieces() {
    let (mut wakes, mut trash) = (Wakes::default(), Trash::default());
    let mut task = task(5 * BLOCK);
    let capacity = task.pieces.capacity();
    task.end(&Reason::cancelled(), &mut wakes, &mut trash);
    assert_eq!((task.done(), task.pieces.capacity(), task.waiting.capacity()), (5 * BLOCK, capacity, 0));
    assert!(!trash.is_empty(), "the arguments are freed elsewhere");
    assert!(task.pieces.get(0).is_some_and(|state| matches!(state, State::Open)), "nothing was written");
    assert!(matches!(task.take(5 * BLOCK - 1), Some(Settled::Failed(error)) if error.piece() == Some(5 * BLOCK - 1)));
}

#[test]
fn a_task_that_ends_while_it_is_read_as_it_finishes_is_read_to_its_end() {
    let pieces = 3 * BLOCK;
    let mut task = task(pieces);
    let first: Vec<_> = (0..pieces).rev().step_by(2).collect();
    let mut order = Vec::new();
    for &number in &first {
        let _ = done(&mut task, number, 0);
        order.extend(taken(&mut task).next());
    }
    // Two that nobody took before it ended.
    let (_, _) = (done(&mut task, 4, 0), done(&mut task, 2, 0));
    task.end(&Reason::cancelled(), &mut Wakes::default(), &mut Trash::default());
    order.extend(taken(&mut task));
    order.sort_unstable();
    assert!(order.into_iter().eq(0..pieces), "each once");
}

#[test]
fn a_look_for_what_finished_is_cut() {
    let mut task = task(3 * BLOCK);
    let _ = done(&mut task, 3 * BLOCK - 1, 0);
    let looks = std::iter::from_fn(|| task.take_finished()).take_while(|it| matches!(it, NextFinished::LookAgain));
    assert_eq!(looks.count(), 2);
}

#[test]
fn a_small_task_leaves_its_memory_when_all_is_taken() {
    let mut task = task(2);
    assert!(!task.reset());
    for number in 0..2 {
        let _ = (task.pop_waiting(), done(&mut task, number, 0), task.take(number));
    }
    task.cancel();
    assert!(task.reset());
    assert_eq!((task.len(), task.done(), task.is_cancelled()), (0, 0, false));
    assert!(task.pieces.capacity() > 0);
}

/// Each piece left 24 bytes, and its site, its lost starts and its place in the order of ends up to 100 more.
#[test]
fn a_task_that_is_fed_while_it_is_read_keeps_what_is_unread() {
    const PIECES: usize = if cfg!(miri) { 6 * BLOCK } else { 100 * BLOCK };
    let mut task = TaskState::default();
    task.configure(TaskSettings { retries: 1, is_timed: true, ..TaskSettings::default() });
    let (first, second, mut trash) = (site(), site(), Trash::default());
    for number in 0..PIECES {
        task.add_site(if number % 2 == 0 { first } else { second }, number as u64, 0);
        task.add_waiting(Arguments::copy_of(&[]));
        if number % 16 == 0 {
            assert!(task.lose_start(number, |label, _| failed(label)).is_ok());
            let _ = task.counts_as_start(number);
        }
        let _ = task.pop_waiting();
        task.note_time(number, 5);
        let _ = done(&mut task, number, 1);
        if number == 0 {
            assert_eq!(taken(&mut task).collect::<Vec<_>>(), [0]);
        } else if number % 100 == 99 {
            // In order, those from the last hundred on; what was asked for before goes on to note what finishes.
            let from = (number - 99).max(1);
            assert!(task.take_many(from, 256, 256).is_some());
            while task.take_many(task.first_unread, 256, 256).is_some() {}
            assert_eq!(task.first_unread, number + 1);
            assert_eq!(task.word(number), (number as u64, 0));
        }
        task.drop_taken(&mut trash);
        assert!(task.pieces.capacity() <= 8 * BLOCK && task.earlier_sites.len() <= 6 * BLOCK, "{number}");
        let maps = task.lost_starts.len() + task.not_begun.len() + task.times_ns.len();
        assert!(
            maps <= 6 * BLOCK && task.finished.as_ref().is_none_or(|finished| finished.queue.len() <= 256),
            "{maps}"
        );
    }
    assert_eq!((task.counts().retried, task.counts().total), (PIECES.div_ceil(16), PIECES));
    assert_eq!(task.label(PIECES - 1).number, PIECES - 1);
}
