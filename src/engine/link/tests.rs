//! The parent's side against a worker that the test plays: one that keeps to the protocol, and one
//! that writes any value wherever it can.

use super::signals::{FLOOD, FLOOD_NS};
use super::*;
use crate::engine::wire::pair::{CHUNK_BYTES, OUT_RING_BYTES, Pair, READY};
use crate::engine::wire::record::{BEGIN, CHUNK, END, FORMAT_MASK, LEAVE, OPEN, PIECE, REPLY};
use crate::engine::wire::result_limit::ResultLimit;
use crate::protocol::claim::Standing;
use crate::protocol::sync::Release;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[cfg(feature = "log")]
mod logs;
mod samples;

/// A worker that the test plays, on its own mapping of the pair.
struct Played {
    pair: Pair,
    work: Consumer,
    replies: Producer,
}

/// The parent's side, the worker's side, and two tasks.
fn pair() -> (Link, Played, [TaskKey; 2]) {
    let (own, out, back) = Pair::create().unwrap();
    let worker = Link::new(own).unwrap();
    let pair = Pair::open(&out, &back).unwrap();
    pair.stage().store(READY, Release);
    let keys = [0, 1].map(|index| TaskKey { index, generation: 1 });
    (worker, Played { pair, work: Consumer::new(), replies: Producer::new() }, keys)
}

/// The multiples of seven.
const SEVENS: [u8; 512] = {
    let mut sevens = [0; 512];
    let mut index = 0;
    while index < sevens.len() {
        sevens[index] = (index * 7 % 256) as u8;
        index += 1;
    }
    sevens
};

/// Bytes that differ by piece and by position: `number * 31 + index * 7 + index / 256`. They are made 256 at a time: one by one takes most of the
/// time of some tests without optimisation.
fn arguments_of(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length.next_multiple_of(256));
    for block in 0..length.div_ceil(256) {
        // The multiple with which the block begins is this one: 183 * 7 is 1, modulo 256.
        let start = (number * 31 + block) * 183 % 256;
        bytes.extend_from_slice(&SEVENS[start..start + 256]);
    }
    bytes.truncate(length);
    bytes
}

/// A piece with `length` bytes of arguments.
fn piece(task: TaskKey, number: usize, length: usize) -> Given {
    let arguments = Arguments::Heap(arguments_of(number, length));
    let terms =
        Terms { cost_ns: 1, function: Function::UNKNOWN, limit_ns: None, may_run_again: false, is_timed: false };
    Given { task, number, call: 7, format: Format::Raw, terms, arguments }
}

/// Gives a piece; the worker is to signal after each odd one.
fn give(worker: &mut Link, task: TaskKey, number: usize, length: usize) -> bool {
    let given = worker.give(piece(task, number, length), number % 2 == 1).is_ok();
    worker.publish();
    given
}

/// The pieces that were answered, and the result of the look.
fn collect(worker: &mut Link) -> (Vec<usize>, Result<bool, Violation>) {
    let (mut numbers, mut buffers) = (Vec::new(), Buffers::default());
    let mut note = |arrival| match arrival {
        Arrival::Reply { piece, .. } => numbers.push(piece.number),
        Arrival::StartFailed(_) => {}
    };
    let result = loop {
        match worker.collect(&mut buffers, &mut note) {
            Ok(Left::Open) => match worker.collect_open((usize::MAX, u64::MAX, true), &mut buffers, &mut note) {
                Ok(read) if read.is_complete => {}
                Ok(_) => break Ok(false),
                Err(Violation) => break Err(Violation),
            },
            left => break left.map(|left| left == Left::Part),
        }
    };
    (numbers, result)
}

impl Played {
    /// Steps over the next record; returns its header and its payload.
    fn next(&mut self) -> Option<(Header, Vec<u8>)> {
        let record = self.work.peek(self.pair.out_ring()).unwrap()?;
        let mut bytes = Vec::new();
        record.append_to(self.pair.out_ring(), 0, &mut bytes);
        self.work.pass(&record);
        Some((record.header, bytes))
    }

    fn tell_head(&self) {
        self.pair.out_head().store(self.work.head(), Release);
    }

    fn claim(&self, sequence: u32) -> bool {
        claim::claim(self.pair.states(), sequence)
    }

    /// Writes a reply; false if there is no room.
    fn write(&mut self, kind: u8, flags: u8, sequence: u32, lead: &[u64], bytes: &[u8]) -> bool {
        self.replies.consumed_to(told::told_head(self.pair.back_head()));
        let wrote = self.replies.push(self.pair.back_ring(), Header { kind, flags, sequence }, lead, bytes).is_ok();
        self.replies.publish(self.pair.back_ring());
        wrote
    }
}

/// One record that a worker writes: kind, flags, sequence, leading words, and the number of bytes that follow.
type Line<'a> = (u8, u8, u32, &'a [u64], usize);

/// A worker that holds pieces 1 to 3 writes these records. Checks how many pieces count as answered, and whether the worker is
/// still trusted.
fn check_lines(lines: &[Line], answered: usize, trusted: bool) {
    let (mut worker, mut played, [task, _]) = pair();
    for number in 1..=3 {
        assert!(give(&mut worker, task, number, 10));
    }
    for &(kind, flags, sequence, lead, length) in lines {
        assert!(played.write(kind, flags, sequence, lead, &vec![1; length]));
    }
    let (numbers, result) = collect(&mut worker);
    assert_eq!(numbers, (1..=answered).collect::<Vec<_>>(), "{lines:?}");
    assert_eq!(result, if trusted { Ok(false) } else { Err(Violation) }, "{lines:?}");
    assert_eq!(worker.in_flight(), 3 - answered, "{lines:?}");
    let (lost, rest) = worker.leftovers(false);
    assert!(lost.is_none(), "none was claimed");
    let numbers: Vec<_> = rest.iter().map(|piece| piece.number).collect();
    assert_eq!(numbers, (answered + 1..=3).collect::<Vec<_>>(), "{lines:?}");
}

#[test]
fn answers_count_in_order_and_once() {
    let reply = |sequence| (REPLY, 0, sequence, &[][..], 5);
    check_lines(&[], 0, true);
    check_lines(&[reply(1)], 1, true);
    check_lines(&[reply(1), reply(2), reply(3)], 3, true);
    check_lines(&[(REPLY, 1, 1, &[], 0), (REPLY, 2, 2, &[], 30), (REPLY, 3, 3, &[], 31)], 3, true);
    check_lines(&[(REPLY, Outcome::Failed as u8, 1, &[], 9)], 1, true);
    for sequence in [0, 2, 3, 4, u32::MAX >> 1, u32::MAX] {
        check_lines(&[reply(sequence)], 0, false);
    }
    check_lines(&[reply(1), reply(1)], 1, false);
    check_lines(&[reply(1), reply(3)], 1, false);
    check_lines(&[reply(1), reply(2), reply(3), reply(4)], 3, false);
    check_lines(&[reply(1), reply(2), reply(3), reply(3)], 3, false);
}

#[test]
fn what_no_worker_says_ends_the_trust() {
    for kind in (1..15).filter(|kind| ![REPLY, BEGIN, OPEN].contains(kind)) {
        check_lines(&[(kind, 0, 1, &[], 5)], 0, false);
    }
    // With the feature `log` these outcomes may tell of records.
    let is_known = |flags: &u8| *flags < 6 || cfg!(feature = "log") && (8..14).contains(flags);
    for flags in (0..64).filter(|flags| !is_known(flags)) {
        check_lines(&[(REPLY, flags, 1, &[], 5)], 0, false);
        check_lines(&[(BEGIN, flags, 1, &[20], 5)], 0, false);
    }
}

#[test]
fn a_reply_that_streams_has_the_length_that_it_said() {
    const FULL: usize = CHUNK_BYTES;
    const TOTAL: &[u64] = &[FULL as u64 + 100];
    const TWICE: &[u64] = &[2 * FULL as u64 + 100];
    let begin = |total: &'static [u64], length| (BEGIN, 0, 1, total, length);
    let chunk = |length| (CHUNK, 0, 1, &[][..], length);
    // Complete.
    check_lines(&[begin(TOTAL, FULL), chunk(100)], 1, true);
    check_lines(&[begin(TWICE, FULL), chunk(FULL), chunk(100), (REPLY, 0, 2, &[], 3)], 2, true);
    // Not complete yet.
    check_lines(&[begin(TOTAL, FULL)], 0, true);
    check_lines(&[begin(TWICE, FULL), chunk(FULL)], 0, true);
    check_lines(&[begin(&[1 << 26], FULL), chunk(FULL), chunk(FULL)], 0, true);
    // Longer than any machine allows.
    check_lines(&[begin(&[1 << 60], FULL)], 0, false);
    check_lines(&[begin(&[u64::MAX], FULL)], 0, false);
    // No length, too short for a value that streams, parts that are neither full nor the last, another record in between.
    check_lines(&[begin(&[], 0)], 0, false);
    check_lines(&[begin(&[], 7)], 0, false);
    check_lines(&[begin(&[9], 10)], 0, false);
    check_lines(&[begin(&[0], 0)], 0, false);
    check_lines(&[begin(&[FULL as u64], FULL)], 0, false);
    check_lines(&[begin(TOTAL, FULL + 8)], 0, false);
    check_lines(&[begin(TOTAL, 8)], 0, false);
    check_lines(&[begin(TOTAL, FULL), chunk(101)], 0, false);
    check_lines(&[begin(TOTAL, FULL), chunk(99)], 0, false);
    check_lines(&[begin(TOTAL, FULL), chunk(0)], 0, false);
    check_lines(&[begin(TWICE, FULL), chunk(8)], 0, false);
    check_lines(&[begin(TOTAL, FULL), begin(TOTAL, FULL)], 0, false);
    check_lines(&[begin(TOTAL, FULL), (REPLY, 0, 1, &[], 90)], 0, false);
    check_lines(&[begin(TOTAL, FULL), (CHUNK, 0, 2, &[], 100)], 0, false);
    check_lines(&[begin(TOTAL, FULL), chunk(100), chunk(1)], 1, false);
    check_lines(&[chunk(10)], 0, false);
}

/// Notes the bytes that the link says it keeps.
#[derive(Default)]
struct Keeps(isize, Vec<(Outcome, Vec<u8>)>);

impl Arrivals for Keeps {
    fn result(&mut self, _: TaskKey, _: usize, bytes: Reply) {
        self.1.push((Outcome::Result, bytes.into_vec()));
    }

    fn other(&mut self, arrival: Arrival) {
        if let Arrival::Reply { outcome, bytes, .. } = arrival {
            self.1.push((outcome, bytes.into_vec()));
        }
    }

    fn sample(&mut self, _: &Told<'_>) {}

    fn keeps(&mut self, _: TaskKey, by: isize) {
        self.0 += by;
    }
}

/// Any parts make a result, in one look or in many; what is no part ends the trust. The link keeps what it says that it keeps.
#[test]
fn an_open_result_is_all_of_its_parts() {
    const LIMIT: usize = 200_000;
    let (open, chunk, end) =
        (|length| (OPEN, 0, 1, length), |length| (CHUNK, 0, 1, length), |length| (END, 0, 1, length));
    let panicked = Outcome::Panicked as u8;
    // The records; the length of the result, or of the message, or nothing if it is not complete, or the trust ends.
    type Row<'a> = (&'a [(u8, u8, u32, usize)], Result<Option<usize>, Violation>);
    let rows: [Row; 26] = [
        (&[open(1), end(0)], Ok(Some(1))),
        (&[open(7), chunk(1), chunk(CHUNK_BYTES), end(3)], Ok(Some(CHUNK_BYTES + 11))),
        (&[open(CHUNK_BYTES), end(CHUNK_BYTES), (REPLY, 0, 2, 9)], Ok(Some(2 * CHUNK_BYTES))),
        (&[open(10), (END, panicked, 1, 5)], Ok(Some(5))),
        (&[open(10), (END, panicked, 1, 0)], Ok(Some(0))),
        (&[open(10)], Ok(None)),
        (&[open(10), chunk(10)], Ok(None)),
        // Beyond the limit; a message counts by itself.
        (&[open(CHUNK_BYTES), chunk(CHUNK_BYTES), chunk(CHUNK_BYTES), end(3392)], Ok(Some(LIMIT))),
        (&[open(CHUNK_BYTES), chunk(CHUNK_BYTES), chunk(CHUNK_BYTES), end(3393)], Err(Violation)),
        (
            &[open(CHUNK_BYTES), chunk(CHUNK_BYTES), chunk(CHUNK_BYTES), (END, panicked, 1, CHUNK_BYTES)],
            Ok(Some(CHUNK_BYTES)),
        ),
        (&[open(CHUNK_BYTES), chunk(CHUNK_BYTES), chunk(CHUNK_BYTES), chunk(CHUNK_BYTES)], Err(Violation)),
        // Parts that are empty or too long, of another piece, out of order, with an outcome that there is not.
        (&[open(0)], Err(Violation)),
        (&[open(5), chunk(0)], Err(Violation)),
        (&[open(CHUNK_BYTES + 1)], Err(Violation)),
        (&[open(5), chunk(CHUNK_BYTES + 1)], Err(Violation)),
        (&[(OPEN, 0, 2, 5)], Err(Violation)),
        (&[open(5), (CHUNK, 0, 2, 5)], Err(Violation)),
        (&[open(5), (END, 0, 2, 5)], Err(Violation)),
        (&[chunk(5)], Err(Violation)),
        (&[end(5)], Err(Violation)),
        (&[open(5), open(5)], Err(Violation)),
        (&[open(5), (END, Outcome::StartFailed as u8, 1, 5)], Err(Violation)),
        (&[open(5), (END, 17, 1, 5)], Err(Violation)),
        // Nothing else answers a piece whose result is open.
        (&[open(5), (REPLY, 0, 1, 5)], Err(Violation)),
        (&[open(5), (REPLY, panicked, 1, 5)], Err(Violation)),
        (&[open(5), (BEGIN, 0, 1, CHUNK_BYTES)], Err(Violation)),
    ];
    for (lines, expected) in rows {
        for (at_a_time, keeps) in [(usize::MAX, true), (1, true), (1, false)] {
            let (mut worker, mut played, [task, _]) = pair();
            (1..=3).for_each(|number| assert!(give(&mut worker, task, number, 10)));
            let mut buffers = Buffers::new(ResultLimit::new(Some(LIMIT as u64)));
            let mut arrivals = Keeps::default();
            for &(kind, flags, sequence, length) in lines {
                let lead: &[u64] = if kind == BEGIN { &[1 << 20] } else { &[] };
                assert!(played.write(kind, flags, sequence, lead, &vec![3; length]));
            }
            let mut look = || -> Result<(), Violation> {
                loop {
                    match worker.collect(&mut buffers, &mut arrivals)? {
                        Left::Open => {
                            let read =
                                worker.collect_open((at_a_time, u64::MAX, keeps), &mut buffers, &mut arrivals)?;
                            if !read.any {
                                return Ok(());
                            }
                        }
                        Left::Part => {}
                        Left::Nothing => return Ok(()),
                    }
                }
            };
            let result = look();
            assert_eq!(result.is_err(), expected.is_err(), "{lines:?}");
            let first = arrivals.1.first().map(|(outcome, bytes)| (*outcome, bytes.len()));
            if let Ok(expected) = expected {
                let length = first.map(|(_, length)| length);
                let is_message = first.is_some_and(|(outcome, _)| outcome != Outcome::Result);
                assert_eq!(length.is_some(), expected.is_some(), "{lines:?}");
                assert!(!keeps && !is_message || length == expected, "{lines:?}: {length:?}");
            }
            let kept = worker.open_bytes().map_or(0, |(_, _, bytes)| bytes.len());
            assert_eq!(arrivals.0, kept as isize, "{lines:?}");
            let is_open = worker.open_bytes().is_some();
            assert_eq!(worker.take_open().is_some(), is_open);
            // A piece that has begun to write has begun, whatever its state word says.
            let (lost, rest) = worker.leftovers(false);
            assert_eq!(lost.map(|piece| piece.number), is_open.then_some(1), "{lines:?}");
            assert_eq!(rest.len() + arrivals.1.len() + usize::from(is_open), 3, "{lines:?}");
        }
    }
}

/// The oldest piece of a dead worker's ring that still writes: no more is read than the ring held.
#[test]
fn an_open_result_is_read_up_to_a_position() {
    let (mut worker, mut played, [task, _]) = pair();
    assert!(give(&mut worker, task, 1, 10));
    assert!(played.write(OPEN, 0, 1, &[], &[1; 80]));
    let end = played.replies.tail();
    assert!(played.write(CHUNK, 0, 1, &[], &[2; 80]));
    let (mut buffers, mut arrivals) = (Buffers::default(), Keeps::default());
    let read = worker.collect_open((usize::MAX, end, true), &mut buffers, &mut arrivals).unwrap();
    assert!(read.any && worker.has_read() == end && arrivals.0 == 80);
    let read = worker.collect_open((usize::MAX, end, true), &mut buffers, &mut arrivals).unwrap();
    assert!(!read.any);
}

/// What the worker tells of its pieces: those that are complete cost no more time, and a forged number brings no more than that.
#[test]
fn complete_pieces_cost_no_more_time() {
    // The number that is told; the pieces that have begun, of three, and those whose time is left.
    for (told, begun, left) in
        [(0, 1, 3), (1, 2, 2), (2, 3, 1), (3, 3, 0), (claim::LAST_SEQUENCE, 1, 3), (u32::MAX, 1, 3), (1000, 3, 0)]
    {
        let (mut worker, played, [task, _]) = pair();
        (1..=3).for_each(|number| assert!(give(&mut worker, task, number, 10)));
        let each_ns = worker.backlog_ns() / 3;
        told::tell_ended(played.pair.ended(), told);
        assert_eq!(worker.note_ended(), left < 3, "{told}");
        assert!(!worker.note_ended(), "{told}: nothing new");
        assert_eq!(worker.begun_pieces().count(), begun, "{told}");
        assert_eq!(worker.backlog_ns(), each_ns * left, "{told}");
    }
}

#[test]
fn a_worker_without_pieces_has_nothing_to_say() {
    for kind in [REPLY, BEGIN, CHUNK, PIECE, LEAVE, OPEN, END] {
        let (mut worker, mut played, _) = pair();
        assert!(played.write(kind, 0, 1, &[10], &[0; 2]));
        assert_eq!(collect(&mut worker), (vec![], Err(Violation)));
    }
}

/// Once a worker could say over and over that it cannot start, if it wrote that it was not ready: its ring stood full of
/// such records, and the parent read them round and round, with the lock held.
#[test]
fn a_failed_start_is_the_first_thing_that_a_worker_says() {
    let failed = Outcome::StartFailed as u8;
    // Whether piece 1 has begun, whether the worker was seen to be ready; the records, and how many of them are accepted.
    for (has_begun, was_ready, lines, accepted) in [
        (false, false, &[(REPLY, failed, 0)][..], 1),
        (true, false, &[(REPLY, failed, 0)], 0),
        (false, true, &[(REPLY, failed, 0)], 0),
        (false, false, &[(REPLY, failed, 0), (REPLY, failed, 0)], 1),
        (false, false, &[(REPLY, 0, 1), (REPLY, failed, 0)], 1),
    ] {
        let (mut worker, mut played, [task, _]) = pair();
        assert!(give(&mut worker, task, 1, 10) && give(&mut worker, task, 2, 10));
        assert!(!has_begun || played.claim(1));
        assert!(!was_ready || worker.is_ready());
        played.pair.stage().store(0, Release);
        for &(kind, flags, sequence) in lines {
            assert!(played.write(kind, flags, sequence, &[], b"again"));
        }
        let mut arrived = 0;
        let result = worker.collect(&mut Buffers::default(), &mut |_| arrived += 1);
        assert_eq!((arrived, result.is_ok()), (accepted, accepted == lines.len()), "{has_begun} {was_ready} {lines:?}");
    }
}

#[test]
fn only_a_worker_that_is_not_ready_fails_to_start() {
    let (mut worker, mut played, _) = pair();
    played.pair.stage().store(0, Release);
    assert!(played.write(REPLY, Outcome::StartFailed as u8, 0, &[], b"no \xff database"));
    let mut reasons = Vec::new();
    let result = worker.collect(&mut Buffers::default(), &mut |arrival| match arrival {
        Arrival::StartFailed(reason) => reasons.push(reason),
        Arrival::Reply { .. } => panic!("there is no piece"),
    });
    assert_eq!((result, reasons), (Ok(Left::Nothing), vec!["no \u{fffd} database".to_string()]));
    played.pair.stage().store(READY, Release);
    assert!(played.write(REPLY, Outcome::StartFailed as u8, 0, &[], b"again"));
    assert_eq!(collect(&mut worker), (vec![], Err(Violation)));
}

/// An announced length above the limit is a violation.
#[test]
fn no_result_is_longer_than_its_limit() {
    let limit = ResultLimit::new(Some(200_000));
    for (total, sent, ends_well) in [(200_000, 200_000, true), (200_001, 10, false), (u64::MAX >> 1, 10, false)] {
        let (mut worker, mut played, [task, _]) = pair();
        assert!(give(&mut worker, task, 1, 10));
        assert!(played.claim(1));
        let bytes = vec![1; sent];
        let mut chunks = bytes.chunks(CHUNK_BYTES);
        assert!(played.write(BEGIN, 0, 1, &[total], chunks.next().unwrap()));
        for chunk in chunks {
            assert!(played.write(CHUNK, 0, 1, &[], chunk));
        }
        let mut answered = false;
        let result = worker.collect(&mut Buffers::new(limit), &mut |_| answered = true);
        assert_eq!((result.is_ok(), answered), (ends_well, ends_well), "{total}");
    }
}

#[test]
fn only_a_flood_of_signals_ends_the_trust() {
    let (mut worker, _played, [task, _]) = pair();
    // Signals that it was asked for.
    for number in 1..3 * FLOOD as usize {
        worker.signals.allow_one();
        assert_eq!(worker.signalled(), Ok(()), "{number}");
    }
    assert!(give(&mut worker, task, 1, 10));
    let unexpected = (0..2 * FLOOD).take_while(|_| worker.signalled().is_ok()).count() as u32;
    assert!((FLOOD - 1..FLOOD + 2).contains(&unexpected), "{unexpected}");
    // The same number in a longer time is no flood.
    for _ in 0..3 {
        for _ in 0..FLOOD - 1 {
            assert_eq!(worker.signalled(), Ok(()));
        }
        worker.signals.make_older(FLOOD_NS);
        assert_eq!(worker.signalled(), Ok(()));
    }
}

#[test]
fn no_answer_comes_before_the_arguments_have_gone() {
    let (mut worker, mut played, [task, _]) = pair();
    assert!(give(&mut worker, task, 1, 4 * OUT_RING_BYTES));
    worker.pump();
    assert!(worker.is_streaming_out());
    assert!(played.claim(1));
    assert!(played.write(REPLY, 0, 1, &[], b"soothsayer"));
    assert_eq!(collect(&mut worker), (vec![], Err(Violation)));
    let (lost, rest) = worker.leftovers(false);
    assert_eq!((lost.map(|piece| piece.number), rest.len()), (Some(1), 0));
}

/// Once, the parent took an answer for a violation if it came while the arguments of the next piece
/// were still on their way, since both pieces streamed.
#[test]
fn an_answer_counts_while_the_next_arguments_are_on_their_way() {
    let (mut worker, mut played, [task, _]) = pair();
    assert!(give(&mut worker, task, 1, 2 * CHUNK_BYTES));
    worker.pump();
    assert!(played.claim(1));
    while played.next().is_some() {}
    played.tell_head();
    worker.pump();
    assert!(give(&mut worker, task, 2, 4 * OUT_RING_BYTES), "the first has begun");
    worker.pump();
    assert!(worker.is_streaming_out());
    assert!(played.write(REPLY, 0, 1, &[], b"done"));
    assert_eq!(collect(&mut worker), (vec![1], Ok(false)));
}

/// Once, the arguments of a piece that had streamed completely into the ring were dropped when the next piece
/// began to stream, though the worker had begun neither.
#[test]
fn arguments_that_streamed_come_back_whole_while_the_piece_has_not_begun() {
    for lengths in
        [[CHUNK_BYTES + 1, CHUNK_BYTES + 1], [2 * CHUNK_BYTES, 5], [5, 2 * CHUNK_BYTES], [4 * OUT_RING_BYTES, 1]]
    {
        let (mut worker, _played, [task, _]) = pair();
        let mut given = Vec::new();
        for (number, length) in lengths.into_iter().enumerate() {
            if give(&mut worker, task, number, length) {
                given.push((number, arguments_of(number, length)));
            }
            worker.pump();
        }
        assert!(!given.is_empty());
        let (lost, rest) = worker.leftovers(false);
        assert!(lost.is_none());
        let rest: Vec<_> = rest.into_iter().map(|piece| (piece.number, piece.arguments.into_vec())).collect();
        assert_eq!(rest, given, "{lengths:?}");
    }
}

/// Once, a look at the rings after the arguments were sent counted the records behind them as a part
/// of them; the answer then freed those records before they were read.
#[test]
fn an_answer_frees_only_its_own_records() {
    let (mut worker, mut played, [task, _]) = pair();
    assert!(give(&mut worker, task, 0, CHUNK_BYTES + 1));
    worker.pump();
    let end = worker.work.tail();
    assert!(give(&mut worker, task, 1, 9));
    worker.pump();
    assert!(played.claim(1));
    assert!(played.write(REPLY, 0, 1, &[], &[]));
    assert_eq!(collect(&mut worker), (vec![0], Ok(false)));
    assert_eq!(worker.work.consumed(), end);
    assert_eq!(worker.revoke_newest().unwrap().arguments.as_slice(), arguments_of(1, 9));
}

/// Once, a worker that reverted its claim after the parent had released the arguments made the
/// parent look for them in the ring.
#[test]
fn a_claim_of_what_streamed_is_not_reverted() {
    for forged in [0, 2 << 1, 1 << 1 | 1, u32::MAX] {
        let (mut worker, played, [task, _]) = pair();
        assert!(give(&mut worker, task, 1, CHUNK_BYTES + 1));
        worker.pump();
        assert!(played.claim(1));
        worker.pump();
        played.pair.states()[1].store(forged, Relaxed);
        assert!(worker.revoke_newest().is_none());
        worker.revoke_task(task);
        let (lost, rest) = worker.leftovers(false);
        assert_eq!((lost.map(|piece| piece.number), rest.len()), (Some(1), 0));
    }
}

/// Only the oldest piece can have begun, so a claim of another piece is forged.
#[test]
fn a_forged_claim_of_a_later_piece_keeps_no_piece_from_being_returned() {
    let (mut worker, played, [task, _]) = pair();
    assert!(give(&mut worker, task, 1, 8));
    assert!(give(&mut worker, task, 2, CHUNK_BYTES + 1));
    worker.pump();
    assert!(played.claim(2));
    worker.pump();
    let (lost, rest) = worker.leftovers(false);
    assert!(lost.is_none());
    let rest: Vec<_> = rest.into_iter().map(|piece| (piece.number, piece.arguments.into_vec())).collect();
    assert_eq!(rest, [(1, arguments_of(1, 8)), (2, arguments_of(2, CHUNK_BYTES + 1))]);
}

/// Once, with fewer state words than the ring holds records, revoking many pieces behind a long one
/// used the words twice: the long piece seemed not to have begun, and revoked pieces were run.
#[test]
fn a_ring_full_of_holes_tells_the_claimed_piece_from_the_revoked() {
    let (mut worker, mut played, [task, _]) = pair();
    assert!(give(&mut worker, task, 0, 0));
    let (first, _) = played.next().unwrap();
    assert!(played.claim(first.sequence));
    let mut holes = 0;
    while give(&mut worker, task, 1, 0) {
        assert_eq!(worker.revoke_newest().unwrap().number, 1);
        holes += 1;
    }
    assert!(holes > 1000, "only {holes} of the shortest records fitted");
    assert_eq!(claim::standing(played.pair.states(), first.sequence), Standing::Claimed);
    let mut skipped = 0;
    while let Some((header, _)) = played.next() {
        assert!(!played.claim(header.sequence), "piece {} was revoked", header.sequence);
        skipped += 1;
    }
    assert_eq!(skipped, holes);
    let (lost, rest) = worker.leftovers(false);
    assert_eq!((lost.map(|piece| piece.number), rest.len()), (Some(0), 0));
}

#[test]
fn what_is_revoked_is_what_was_given_however_far_the_worker_says_it_has_read() {
    let lies = [0, 1, 5, 8191, 8192, 8193, 1 << 32, u64::MAX / 2, u64::MAX];
    for lie in lies {
        let (mut worker, played, [task, _]) = pair();
        played.pair.out_head().store(lie, Release);
        let lengths = [0, 1, 7, 8, 9, 29, 30, 31, 32, 100, 4000, CHUNK_BYTES];
        let mut given = Vec::new();
        // More than a ring holds: some are refused.
        for number in 0..400 {
            let length = lengths[number % lengths.len()];
            if give(&mut worker, task, number, length) {
                given.push((number, arguments_of(number, length)));
            }
        }
        assert!(given.len() < 400 && given.len() > 20);
        for _ in 0..given.len() / 2 {
            let returned = worker.revoke_newest().unwrap();
            let (number, arguments) = given.pop().unwrap();
            assert_eq!(returned.number, number, "the newest goes first");
            assert_eq!(returned.arguments.as_slice(), arguments, "piece {number}, {lie}");
        }
        let (lost, rest) = worker.leftovers(false);
        assert!(lost.is_none());
        let rest: Vec<_> = rest.into_iter().map(|piece| (piece.number, piece.arguments.into_vec())).collect();
        assert_eq!(rest, given, "{lie}");
    }
}

#[test]
fn a_task_is_revoked_but_for_what_has_begun() {
    let (mut worker, played, [task, other]) = pair();
    for (number, task) in [task, other, task, other, task].into_iter().enumerate() {
        assert!(worker.give(piece(task, number, 4), number % 2 == 0).is_ok());
    }
    worker.publish();
    assert!(played.claim(1));
    worker.revoke_task(task);
    assert!(worker.holds_piece_of(task), "its first piece has begun");
    assert!(worker.has_flagged());
    let (lost, rest) = worker.leftovers(false);
    assert_eq!(lost.map(|piece| piece.number), Some(0));
    assert_eq!(rest.iter().map(|piece| piece.number).collect::<Vec<_>>(), [1, 3]);
    assert!(!worker.has_flagged() && worker.is_idle());
}

#[test]
fn sequence_numbers_wrap_without_a_clash() {
    let (mut worker, mut played, [task, _]) = pair();
    let last = claim::LAST_SEQUENCE;
    worker.next_sequence = last - 1;
    for (number, sequence) in [last - 1, last, 1, 2].into_iter().enumerate() {
        assert!(give(&mut worker, task, number, 0));
        let (header, _) = played.next().unwrap();
        assert_eq!(header.sequence, sequence);
        assert!(played.claim(sequence));
        assert!(played.write(REPLY, 0, sequence, &[], &[]));
    }
    assert_eq!(collect(&mut worker), (vec![0, 1, 2, 3], Ok(false)));
}

/// A piece with `length` bytes of arguments is answered with the same bytes; both sides take turns.
fn check_echo(length: usize) {
    let (mut worker, mut played, [task, _]) = pair();
    assert!(give(&mut worker, task, 0, length));
    // The worker's side: the claim, then the chunks as they come.
    let (header, payload) = played.next().unwrap();
    assert!(played.claim(header.sequence));
    let streams = length > CHUNK_BYTES;
    assert_eq!(header.kind, if streams { BEGIN } else { PIECE });
    assert_eq!(header.flags & FORMAT_MASK, Format::Raw.to_bits());
    assert_eq!(payload[..8], 7_u64.to_le_bytes());
    let mut arguments = payload[if streams { 16 } else { 8 }..].to_vec();
    while arguments.len() < length {
        played.tell_head();
        worker.pump();
        let mut chunks = 0;
        while let Some((chunk, bytes)) = played.next() {
            assert_eq!((chunk.kind, chunk.sequence), (CHUNK, header.sequence));
            arguments.extend(bytes);
            chunks += 1;
        }
        assert!(chunks > 0, "{} of {length} bytes came", arguments.len());
    }
    assert_eq!(arguments, arguments_of(0, length));
    assert!(!worker.is_streaming_out());
    // The reply.
    let mut answer = None;
    let mut spare = Buffers::default();
    let mut look = |worker: &mut Link| {
        let mut collect = || {
            worker.collect(&mut spare, &mut |arrival| match arrival {
                Arrival::Reply { outcome: Outcome::Result, bytes, .. } => answer = Some(bytes.into_vec()),
                other => panic!("{other:?}"),
            })
        };
        while collect().expect("the worker keeps to the protocol") == Left::Part {}
    };
    if streams {
        let mut chunks = arguments.chunks(CHUNK_BYTES);
        assert!(played.write(BEGIN, 0, header.sequence, &[length as u64], chunks.next().unwrap()));
        for chunk in chunks {
            if !played.write(CHUNK, 0, header.sequence, &[], chunk) {
                look(&mut worker);
                assert!(played.write(CHUNK, 0, header.sequence, &[], chunk), "there is room again");
            }
        }
    } else {
        assert!(played.write(REPLY, 0, header.sequence, &[], &arguments));
    }
    look(&mut worker);
    assert_eq!(answer, Some(arguments));
    assert!(worker.is_idle());
    // The whole ring is free again.
    assert!(give(&mut worker, task, 1, CHUNK_BYTES));
}

#[test]
fn values_of_every_length_go_both_ways() {
    for chunks in [0, 1, 2, 3, 4, 5, 8, 64] {
        for more in [-9, -8, -1, 0, 1, 8, 9] {
            check_echo((CHUNK_BYTES as isize * chunks + more).max(0) as usize);
        }
    }
}

/// The steps of a hostile worker and of the scheduler, in any order.
#[derive(Debug, Clone)]
enum Step {
    Give(usize),
    Collect,
    Pump,
    RevokeNewest,
    RevokeTask,
    Answer,
    ClaimNext,
    Scribble(usize, u64),
    State(usize, u32),
    OutHead(u64),
    Sleep(u32),
    Stage(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![0..40_usize, Just(CHUNK_BYTES), Just(CHUNK_BYTES + 1), 0..3 * OUT_RING_BYTES];
    // Values near the valid ones, so that more than the first look is tested.
    let header = (0..40_u64, prop_oneof![2..6_u64, 0..16_u64], 0..5_u64, 1..30_u64)
        .prop_map(|(length, kind, flags, sequence)| length | kind << 24 | flags << 28 | sequence << 32);
    let state = prop_oneof![2 => 0..80_u32, 1 => any::<u32>()];
    let head = prop_oneof![0..9000_u64, any::<u64>()];
    prop_oneof![
        6 => length.prop_map(Step::Give),
        3 => Just(Step::Collect),
        1 => Just(Step::Pump),
        3 => Just(Step::RevokeNewest),
        1 => Just(Step::RevokeTask),
        4 => Just(Step::Answer),
        3 => Just(Step::ClaimNext),
        2 => (0..6_usize, prop_oneof![header, any::<u64>()]).prop_map(|(place, word)| Step::Scribble(place, word)),
        2 => (0..40_usize, state).prop_map(|(place, value)| Step::State(place, value)),
        2 => head.prop_map(Step::OutHead),
        1 => any::<u32>().prop_map(Step::Sleep),
        1 => any::<u32>().prop_map(Step::Stage),
    ]
}

/// However the worker behaves, each piece has one end: answered, lost with the worker, or returned
/// with the arguments that were given.
fn check_steps(steps: &[Step]) {
    let (mut worker, mut played, [task, other]) = pair();
    let mut open = BTreeMap::new();
    let returned = |open: &mut BTreeMap<usize, (TaskKey, usize)>, piece: Returned| {
        let (task, length) = open.remove(&piece.number).expect("it was not returned before");
        assert_eq!(task, piece.task);
        assert_eq!(piece.arguments.as_slice(), arguments_of(piece.number, length), "piece {}", piece.number);
    };
    for (number, step) in steps.iter().enumerate() {
        let back_ring = played.pair.back_ring();
        match *step {
            Step::Give(length) => {
                let task = if number % 3 == 0 { other } else { task };
                if give(&mut worker, task, number, length) {
                    open.insert(number, (task, length));
                }
                worker.pump();
            }
            Step::Collect => {
                let (numbers, result) = collect(&mut worker);
                for number in numbers {
                    assert!(open.remove(&number).is_some(), "piece {number} was answered twice");
                }
                if result.is_err() {
                    // It is killed, and nothing more is read from it.
                    break;
                }
            }
            Step::Pump => {
                worker.pump();
            }
            Step::RevokeNewest => {
                if let Some(piece) = worker.revoke_newest() {
                    returned(&mut open, piece);
                }
            }
            Step::RevokeTask => {
                worker.revoke_task(other);
                let held: Vec<_> = worker.ledger.iter().map(|piece| piece.number).collect();
                open.retain(|number, (task, _)| *task != other || held.contains(number));
            }
            Step::Answer => {
                if let Some(front) = worker.ledger.oldest() {
                    played.write(REPLY, 0, front.sequence, &[], &[1; 20]);
                }
            }
            Step::ClaimNext => {
                while let Ok(Some(record)) = played.work.peek(played.pair.out_ring()) {
                    played.work.pass(&record);
                    if record.header.kind != CHUNK && played.claim(record.header.sequence) {
                        break;
                    }
                }
            }
            Step::Scribble(place, word) => {
                let index = (worker.replies.head() as usize + place) % back_ring.len();
                back_ring[index].store(word, Release);
            }
            Step::State(place, value) => played.pair.states()[place].store(value, Release),
            Step::OutHead(head) => played.pair.out_head().store(head, Release),
            Step::Sleep(value) => played.pair.worker_sleep().store(value, Release),
            Step::Stage(value) => played.pair.stage().store(value, Release),
        }
        assert_eq!(worker.has_flagged(), open.keys().any(|number| number % 2 == 1));
        assert_eq!(worker.in_flight(), open.len(), "no piece is lost or counted twice");
    }
    let (lost, rest) = worker.leftovers(false);
    if let Some(piece) = lost {
        assert!(open.remove(&piece.number).is_some());
    }
    assert!(rest.is_sorted_by_key(|piece| piece.number));
    for piece in rest {
        returned(&mut open, piece);
    }
    assert!(open.is_empty(), "{open:?} are lost");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_worker_does_every_piece_has_one_end(steps in prop::collection::vec(step(), 0..80)) {
        check_steps(&steps);
    }
}

/// The parent's side of tiny pieces, in functions of their own so that callgrind counts their instructions:
///
/// `cargo test --release --lib --no-run --features rustix/use-libc-auxv` (valgrind 3.19 hides the vdso that
/// rustix finds otherwise), then `valgrind --tool=callgrind --toggle-collect='*counted_give*' DRIVER --exact --ignored
/// engine::link::tests::instructions_of_tiny_pieces`, and once more with `counted_collect`. Divide by
/// [`COUNTED_PIECES`]. The driver has failpoints: two in `counted_collect`, 17 instructions each for a piece.
mod counted {
    use super::*;

    #[inline(never)]
    pub(super) fn counted_give(worker: &mut Link, task: TaskKey, numbers: std::ops::Range<usize>) {
        let terms =
            Terms { cost_ns: 80, function: Function::UNKNOWN, limit_ns: None, may_run_again: false, is_timed: false };
        for number in numbers {
            let arguments = (number as u64).to_le_bytes();
            assert!(worker.give_record(task, number, (7, Format::Raw, terms), &arguments, number % 64 == 63));
        }
        worker.publish();
    }

    #[inline(never)]
    pub(super) fn counted_collect(worker: &mut Link, spare: &mut Buffers, replies: &mut [Option<Reply>]) {
        let look = worker.collect(spare, &mut |arrival| {
            if let Arrival::Reply { piece, outcome: Outcome::Result, bytes, .. } = arrival {
                replies[piece.number % 64] = Some(bytes);
            }
        });
        assert_eq!(look, Ok(Left::Nothing));
    }
}

const COUNTED_PIECES: usize = 64 * 1000;

#[test]
#[ignore = "a driver for callgrind"]
fn instructions_of_tiny_pieces() {
    let (mut worker, mut played, [task, _]) = pair();
    let mut spare = Buffers::default();
    let mut replies = vec![None; 64];
    for first in (0..COUNTED_PIECES).step_by(64) {
        counted::counted_give(&mut worker, task, first..first + 64);
        for _ in 0..64 {
            let (header, payload) = played.next().unwrap();
            assert!(played.claim(header.sequence));
            assert!(played.write(REPLY, 0, header.sequence, &[], &payload[8..]));
        }
        counted::counted_collect(&mut worker, &mut spare, &mut replies);
        assert!(worker.is_idle() && replies.iter_mut().all(|reply| reply.take().is_some()));
    }
}
