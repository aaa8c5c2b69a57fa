//! The master's machine by itself: what it reads, in which order, and what it does when nothing comes.

use super::*;
use crate::frame::results::{Answer, Head};
use crate::frame::{Record, Results, Status, Work};
use crate::identity::ChunkId;
use crate::transport::{Failure, Last, Reply};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

struct Desk {
    master: Master,
    now: u64,
    asked: Vec<Request>,
    outcomes: Vec<(u32, Outcome)>,
    over: Option<Result<(), Trouble>>,
    sequence: u64,
    number: u64,
}

impl Desk {
    /// A master of this number of pieces without a name, which has come to its server.
    fn new(pieces: u32) -> Desk {
        let mut desk = Desk::connected(pieces, JobId([1; 16]));
        desk.master.seal(0);
        desk.take_outputs();
        desk.come(1);
        desk
    }

    fn connected(pieces: u32, job: JobId) -> Desk {
        let settings = Settings {
            namespace: Namespace::new("mc").unwrap(),
            build: Build([2; 32]),
            job,
            key: JobKey([3; 32]),
            master: [4; 16],
            limits: Limits::default(),
            lease_ns: 3 * SECOND,
            deliveries: 3,
            chunk_ns: 100 * MS,
            give_up_ns: 60 * SECOND,
            max_result: 100,
            epoch_ns: 0,
        };
        let mut master = Master::new(settings, 0);
        for piece in 0..pieces {
            assert_eq!(master.add(1, Bytes::from_static(b"x")), Ok(piece));
        }
        let mut desk = Desk { master, now: 0, asked: vec![], outcomes: vec![], over: None, sequence: 0, number: 0 };
        desk.hear(Event::Connected);
        desk
    }

    /// Answers the steps that lead to the server.
    fn come(&mut self, created: u64) {
        let created = Created { work: created, results: created, records: created };
        self.answer(|request| matches!(request, Request::Streams { .. }), Ok(Reply::Created(created)));
        self.answer(|request| matches!(request, Request::Consumer { .. }), Ok(Reply::Done));
        if self.master.settings.job.is_named() {
            return;
        }
        self.answer(|request| matches!(request, Request::Read { .. }), Ok(Reply::Done));
        self.number = 0;
    }

    fn hear(&mut self, event: Event) {
        self.master.handle(self.now, event);
        self.take_outputs();
    }

    fn at(&mut self, now: u64) {
        self.now = now;
        self.master.tick(now);
        self.take_outputs();
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.master.next_output() {
            match output {
                Output::Ask(request) => self.asked.push(request),
                Output::Outcome { piece, outcome, .. } => self.outcomes.push((piece, outcome)),
                Output::Notice(_) => {}
                Output::Over(result) => self.over = Some(result),
            }
        }
    }

    /// Answers the last request of a kind.
    fn answer(&mut self, is_it: impl Fn(&Request) -> bool, result: Result<Reply, Failure>) {
        let request = self.asked.iter().rev().find(|request| is_it(request)).expect("it was asked");
        let token = crate::transport::loopback::token_of(request).expect("it is answered");
        self.hear(Event::Answered { token, result });
    }

    /// The chunks that were published so far: their tokens, message ids and frames.
    fn published(&self) -> Vec<(Token, String, Bytes)> {
        let chunk = |request: &Request| match request {
            Request::Publish { token, id, payload, subject, .. } if subject.starts_with("mc.w.") => {
                Some((*token, id.clone(), payload.clone()))
            }
            _ => None,
        };
        self.asked.iter().filter_map(chunk).collect()
    }

    /// The records that were written, with the sequences that they expect.
    fn records(&self) -> Vec<(Record, Option<u64>)> {
        let record = |request: &Request| match request {
            Request::Publish { payload, subject, expected, .. } if subject.starts_with("mc.j.") => {
                Some((Record::read(payload).unwrap(), *expected))
            }
            _ => None,
        };
        self.asked.iter().filter_map(record).collect()
    }

    /// The server stores all chunks that it has not.
    fn store_chunks(&mut self) {
        for (token, ..) in self.published() {
            self.hear(Event::Answered { token, result: Ok(Reply::Stored(1)) });
        }
    }

    /// Where the last reader was to begin.
    fn reads_from(&self) -> (Token, u64) {
        let read = |request: &Request| match request {
            Request::Read { token, from, .. } => Some((*token, *from)),
            _ => None,
        };
        self.asked.iter().rev().find_map(read).expect("there is a reader")
    }

    fn frame(&mut self, chunk: ChunkId, (delivery, last): (u32, bool), pieces: &[u32]) -> Bytes {
        let head = Head { job: JobId([1; 16]), chunk, delivery, last, busy_ns: MS, host: "a" };
        let answer = |piece: &u32| Answer { piece: *piece, status: Status::Value, bytes: b"y" };
        Results::write(&head, pieces.iter().map(answer))
    }

    /// A frame comes in R.
    fn read(&mut self, payload: Bytes) {
        (self.sequence, self.number) = (self.sequence + 1, self.number + 1);
        let event =
            Event::Stored { reader: self.reads_from().0, sequence: self.sequence, number: self.number, payload };
        self.hear(event);
    }
}

fn chunk_of(payload: &Bytes) -> (ChunkId, Vec<u32>) {
    let work = Work::read(payload).unwrap();
    (work.chunk, work.pieces().map(|given| given.piece).collect())
}

#[test]
fn what_was_lost_on_its_way_is_read_anew_behind_what_was_read() {
    let mut desk = Desk::new(4);
    desk.store_chunks();
    let chunks: Vec<_> = desk.published().iter().map(|(_, _, payload)| chunk_of(payload)).collect();
    assert_eq!(chunks.iter().map(|(_, pieces)| pieces.clone()).collect::<Vec<_>>(), [[0], [1], [2], [3]]);
    let first = desk.frame(chunks[0].0, (1, true), &[0]);
    desk.read(first.clone());
    // The second message does not come, and the third does.
    (desk.sequence, desk.number) = (desk.sequence + 1, desk.number + 1);
    let third = desk.frame(chunks[2].0, (1, true), &[2]);
    desk.read(third.clone());
    assert_eq!((desk.outcomes.len(), desk.reads_from().1), (1, 2));
    // The new reader brings both. What the old one still sends is ignored.
    let old = Event::Stored { reader: Token(0), sequence: 9, number: 4, payload: first.clone() };
    desk.hear(old);
    (desk.sequence, desk.number) = (1, 0);
    let second = desk.frame(chunks[1].0, (1, true), &[1]);
    desk.read(second);
    desk.read(third);
    assert_eq!(desk.outcomes.iter().map(|(piece, _)| *piece).collect::<Vec<_>>(), [0, 1, 2]);
    // A message that comes twice counts once.
    desk.number -= 1;
    desk.sequence -= 1;
    desk.read(first);
    assert_eq!(desk.master.counts().duplicates, 0);
}

#[test]
fn when_nothing_comes_back_the_open_chunks_are_published_under_new_ids() {
    let mut desk = Desk::new(2);
    desk.store_chunks();
    desk.at(3 * SECOND - 1);
    let is_count = |request: &Request| matches!(request, Request::Count { .. });
    assert!(!desk.asked.iter().any(is_count));
    // The server has all of them: nothing is done.
    desk.at(3 * SECOND);
    desk.answer(is_count, Ok(Reply::Count(2)));
    assert_eq!(desk.published().len(), 2);
    for round in 1..=3 {
        desk.at((3 + 3 * round) * SECOND);
        desk.answer(is_count, Ok(Reply::Count(1)));
        let published = desk.published();
        assert_eq!(published.len() as u64, 2 + 2 * round);
        let mut ids: Vec<_> = published.iter().map(|(_, id, _)| id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), published.len(), "each publication has its own id");
        desk.store_chunks();
    }
    desk.at(15 * SECOND);
    desk.answer(is_count, Ok(Reply::Count(1)));
    let expected = "2 chunks were published 3 times more, and no outcome came back";
    assert_eq!(desk.over, Some(Err(Trouble::Host(expected.into()))));
}

#[test]
fn a_publish_of_which_nobody_knows_is_repeated_under_its_id() {
    let mut desk = Desk::new(1);
    let (token, id, payload) = desk.published().remove(0);
    desk.hear(Event::Answered { token, result: Err(Failure::NoAnswer) });
    let again = desk.published().remove(1);
    assert_eq!((&again.1, &again.2), (&id, &payload));
}

#[test]
fn a_chunk_that_is_given_up_is_split_and_one_piece_that_is_given_up_is_lost() {
    let mut desk = Desk::new(60);
    desk.store_chunks();
    let first = chunk_of(&desk.published()[0].2);
    let whole = desk.frame(first.0, (1, true), &first.1);
    desk.read(whole);
    desk.store_chunks();
    let (chunk, pieces) = chunk_of(&desk.published()[4].2);
    assert_eq!(pieces, [4, 5, 6, 7]);
    // One of its pieces has an outcome; the others were given up.
    let partial = desk.frame(chunk, (1, false), &[5]);
    desk.read(partial);
    let begun = desk.frame(chunk, (2, false), &[]);
    desk.read(begun);
    let before = desk.published().len();
    let given_up = desk.frame(chunk, (4, true), &[]);
    desk.read(given_up);
    desk.store_chunks();
    let split: Vec<_> = desk.published()[before..].iter().map(|(_, _, payload)| chunk_of(payload)).collect();
    assert_eq!(split[0].1, [4], "the window has room for one");
    let begun = desk.frame(split[0].0, (3, false), &[]);
    desk.read(begun);
    let given_up = desk.frame(split[0].0, (4, true), &[]);
    desk.read(given_up);
    let lost = Outcome::Lost { deliveries: 3, hosts: vec!["a".into()] };
    assert_eq!(desk.outcomes.last(), Some(&(4, lost)));
    // A late outcome of the chunk that was split counts for what has none.
    let late = desk.frame(chunk, (1, true), &[4, 6]);
    desk.read(late);
    assert_eq!(desk.outcomes.last(), Some(&(6, Outcome::Value(Bytes::from_static(b"y")))));
    assert_eq!(desk.master.counts().duplicates, 1);
}

#[test]
fn other_streams_are_read_from_their_beginning_and_filled_again() {
    let mut desk = Desk::new(3);
    desk.store_chunks();
    let (chunk, pieces) = chunk_of(&desk.published()[0].2);
    let frame = desk.frame(chunk, (1, true), &pieces);
    desk.read(frame);
    for (created, from, published) in [(1, 2, 3), (2, 1, 5)] {
        desk.hear(Event::Disconnected);
        desk.hear(Event::Connected);
        desk.come(created);
        assert_eq!((desk.reads_from().1, desk.published().len()), (from, published));
    }
}

#[test]
fn a_first_connection_that_is_refused_ends_the_job_and_a_later_one_is_waited_for() {
    let refused = Event::Refused(Failure::Other("connection refused".into()));
    let mut desk = Desk::new(1);
    desk.hear(Event::Disconnected);
    desk.hear(refused.clone());
    assert_eq!(desk.over, None);
    desk.at(60 * SECOND);
    let text = "no use of the server for 60 s: connection refused";
    assert_eq!(desk.over, Some(Err(Trouble::Host(text.into()))));

    let mut master = Master::new(desk.master.settings.clone(), 0);
    master.handle(1, refused);
    let over = std::iter::from_fn(|| master.next_output()).last();
    assert_eq!(over, Some(Output::Over(Err(Trouble::Host("connection refused".into())))));
    assert_eq!(master.add(1, Bytes::new()), Err(Refused::Closed));
}

#[test]
fn a_job_that_is_over_purges_its_subjects() {
    let mut desk = Desk::new(1);
    desk.store_chunks();
    let (chunk, pieces) = chunk_of(&desk.published()[0].2);
    let frame = desk.frame(chunk, (1, true), &pieces);
    desk.read(frame);
    assert_eq!((desk.outcomes.len(), desk.over.clone()), (1, None));
    let purges: Vec<Token> = desk
        .asked
        .iter()
        .filter(|request| matches!(request, Request::Purge { .. }))
        .filter_map(crate::transport::loopback::token_of)
        .collect();
    assert_eq!(purges.len(), 2);
    for token in purges {
        desk.hear(Event::Answered { token, result: Ok(Reply::Done) });
    }
    assert_eq!((desk.over.clone(), desk.master.next_at()), (Some(Ok(())), None));
}

#[test]
fn no_piece_is_published_before_the_record_counts_it() {
    let mut desk = Desk::connected(1, JobId::named("import").unwrap());
    let is_last = |request: &Request| matches!(request, Request::Last { .. });
    let is_record =
        |request: &Request| matches!(request, Request::Publish { subject, .. } if subject.starts_with("mc.j."));
    desk.come(1);
    desk.answer(is_last, Ok(Reply::Last(None)));
    assert_eq!(desk.records().iter().map(|(record, at)| (record.pieces, *at)).collect::<Vec<_>>(), [(1, Some(0))]);
    desk.answer(is_record, Ok(Reply::Stored(7)));
    desk.answer(|request| matches!(request, Request::Read { .. }), Ok(Reply::Done));
    assert_eq!(desk.published().len(), 1);
    // Two more: the record comes first.
    for _ in 0..2 {
        desk.master.add(1, Bytes::from_static(b"z")).unwrap();
    }
    desk.at(MS);
    assert_eq!((desk.published().len(), desk.records().len()), (1, 2));
    assert_eq!((desk.records()[1].0.pieces, desk.records()[1].1), (3, Some(7)));
    desk.answer(is_record, Ok(Reply::Stored(8)));
    assert_eq!(desk.published().len(), 3);
    // It is written each second. Nobody knows if the next one was stored: it was, and is found to be this master's own.
    desk.at(SECOND + MS);
    desk.answer(is_record, Err(Failure::NoAnswer));
    assert_eq!(desk.records().len(), 4);
    desk.answer(is_record, Err(Failure::WrongSequence));
    desk.come(1);
    let own = desk.records()[2].0.write();
    desk.answer(is_last, Ok(Reply::Last(Some(Last { sequence: 9, age_ns: 0, payload: own }))));
    desk.answer(|request| matches!(request, Request::Read { .. }), Ok(Reply::Done));
    desk.at(3 * SECOND);
    assert_eq!(desk.records().last().unwrap().1, Some(9));
    // Another master's record ends the job.
    desk.answer(is_record, Err(Failure::WrongSequence));
    desk.come(1);
    let other = Record { master: [9; 16], ..desk.records()[0].0 };
    desk.answer(is_last, Ok(Reply::Last(Some(Last { sequence: 10, age_ns: 0, payload: other.write() }))));
    assert_eq!(desk.over, Some(Err(Trouble::Taken)));
}

#[test]
fn a_value_that_is_not_what_its_frame_says_is_refused_and_its_piece_runs_again() {
    let value = Bytes::from_static(b"a long value");
    let digest = crate::identity::sha256(&value);
    let is_get = |request: &Request| matches!(request, Request::GetObject { .. });
    let forged = Bytes::from_static(b"a long valuE");
    let short = Bytes::from_static(b"a long valu");
    for (answers, is_right) in [
        (vec![Ok(Reply::Object(value.clone()))], true),
        (vec![Err(Failure::NoAnswer), Err(Failure::NoAnswer), Ok(Reply::Object(value.clone()))], true),
        (vec![Ok(Reply::Object(forged))], false),
        (vec![Ok(Reply::Object(short))], false),
        (vec![Err(Failure::NoObject)], false),
        (vec![Err(Failure::NoAnswer); 3], false),
    ] {
        let mut desk = Desk::new(1);
        desk.store_chunks();
        let (chunk, _) = chunk_of(&desk.published()[0].2);
        let head = Head { job: JobId([1; 16]), chunk, delivery: 1, last: true, busy_ns: MS, host: "a" };
        let object = crate::frame::results::Object { length: value.len() as u64, digest }.to_bytes();
        let answer = Answer { piece: 0, status: Status::Object, bytes: &object };
        let frame = Results::write(&head, std::iter::once(answer));
        desk.read(frame);
        assert_eq!((desk.outcomes.len(), desk.over.clone()), (0, None));
        for answer in answers {
            desk.answer(is_get, answer);
        }
        let expected = is_right.then(|| (0, Outcome::Value(value.clone())));
        assert_eq!(desk.outcomes.first(), expected.as_ref());
        assert_eq!((desk.published().len(), desk.master.counts().lost_objects), if is_right { (1, 0) } else { (2, 1) });
    }
}

#[test]
fn a_value_over_the_limit_is_not_fetched() {
    let mut desk = Desk::new(1);
    desk.store_chunks();
    let (chunk, _) = chunk_of(&desk.published()[0].2);
    let head = Head { job: JobId([1; 16]), chunk, delivery: 1, last: true, busy_ns: MS, host: "a" };
    let object = crate::frame::results::Object { length: 101, digest: [0; 32] }.to_bytes();
    let frame = Results::write(&head, std::iter::once(Answer { piece: 0, status: Status::Object, bytes: &object }));
    desk.read(frame);
    assert_eq!(desk.outcomes, [(0, Outcome::TooLong { bytes: 101 })]);
    assert!(!desk.asked.iter().any(|request| matches!(request, Request::GetObject { .. })));
}

#[test]
fn a_job_whose_outcomes_are_all_there_needs_no_server() {
    let mut desk = Desk::connected(1, JobId([1; 16]));
    desk.come(1);
    desk.store_chunks();
    let (chunk, pieces) = chunk_of(&desk.published()[0].2);
    let frame = desk.frame(chunk, (1, true), &pieces);
    desk.read(frame);
    desk.hear(Event::Disconnected);
    assert_eq!(desk.over, None, "another piece may come");
    desk.master.seal(desk.now);
    desk.take_outputs();
    assert_eq!(desk.over, Some(Ok(())));
}
