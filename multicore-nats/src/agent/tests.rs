//! The agent's machine by itself: each rule of its table, event by event.

use super::*;
use crate::frame::results::Answer;
use crate::frame::work::Given;
use crate::frame::{Limits, Results, Status, Word};
use crate::identity::{Build, ChunkId, JobId, Namespace};

const LEASE: u64 = 3 * SECOND;
const SECOND: u64 = 1_000_000_000;
const JOB: JobId = JobId([1; 16]);

struct Host {
    agent: Agent,
    now: u64,
    asked: Vec<Request>,
    run: Vec<(Holding, u32)>,
    others: Vec<Output>,
    delivery: u64,
}

impl Host {
    /// An agent that is connected, knows the lease and has asked for work.
    fn new() -> Host {
        let agent = Agent::new(Settings {
            namespace: Namespace::new("mc").unwrap(),
            build: Build([2; 32]),
            name: "a".into(),
            workers: 1,
            drain_ns: 30 * SECOND,
            incarnation: 7,
        });
        let mut host = Host { agent, now: 1, asked: vec![], run: vec![], others: vec![], delivery: 0 };
        host.hear(Event::Connected);
        let token = host.token(|request| matches!(request, Request::Lease { .. }));
        host.answer(token, Ok(Reply::Lease { lease_ns: LEASE, deliveries: 3 }));
        assert_eq!(host.count(|request| matches!(request, Request::Pull { .. })), 1);
        host
    }

    fn hear(&mut self, event: Event) {
        self.agent.handle(self.now, event);
        self.take_outputs();
    }

    fn answer(&mut self, token: Token, result: Result<Reply, Failure>) {
        self.hear(Event::Answered { token, result });
    }

    fn at(&mut self, now: u64) {
        self.now = now;
        self.agent.tick(now);
        self.take_outputs();
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.agent.next_output() {
            match output {
                Output::Ask(request) => self.asked.push(request),
                Output::Run { chunk, piece, .. } => self.run.push((chunk, piece)),
                other => self.others.push(other),
            }
        }
    }

    /// The token of the last such request.
    fn token(&self, is_it: impl Fn(&Request) -> bool) -> Token {
        let request = self.asked.iter().rev().find(|request| is_it(request)).expect("it was asked");
        crate::transport::loopback::token_of(request).expect("it is answered")
    }

    fn count(&self, is_it: impl Fn(&Request) -> bool) -> usize {
        self.asked.iter().filter(|request| is_it(request)).count()
    }

    fn marks(&self) -> Vec<(u64, Mark)> {
        let mark = |request: &Request| match request {
            Request::Mark { delivery, mark } => Some((delivery.0, *mark)),
            _ => None,
        };
        self.asked.iter().filter_map(mark).collect()
    }

    /// A chunk of these pieces comes for the pull that is open.
    fn deliver(&mut self, chunk: u8, count: u32, pieces: &[u32]) -> u64 {
        let given = pieces.iter().map(|piece| Given { piece: *piece, function: 1, bytes: b"x" });
        let payload = Work::write(JOB, ChunkId([chunk; 16]), Limits::default(), given);
        self.deliver_bytes(count, payload)
    }

    fn deliver_bytes(&mut self, count: u32, payload: Bytes) -> u64 {
        self.delivery += 1;
        let pull = self.token(|request| matches!(request, Request::Pull { .. }));
        let delivery = Delivery(self.delivery);
        self.hear(Event::Work { pull, delivery, count, payload });
        self.delivery
    }

    fn end(&mut self, at: usize) {
        let (chunk, piece) = self.run[at];
        self.agent.ended(self.now, chunk, piece, Outcome::Value(Bytes::from_static(b"y")));
        self.take_outputs();
    }

    /// The frames that were published, with their ids.
    fn frames(&self) -> Vec<(Bytes, String)> {
        let frame = |request: &Request| match request {
            Request::Publish { payload, id, .. } => Some((payload.clone(), id.clone())),
            _ => None,
        };
        self.asked.iter().filter_map(frame).collect()
    }

    fn publish_answered(&mut self, result: Result<Reply, Failure>) {
        let token = self.token(|request| matches!(request, Request::Publish { .. }));
        self.answer(token, result);
    }
}

/// The pieces of a frame, and whether it is the last one.
fn pieces(frame: &Bytes) -> (Vec<u32>, bool) {
    let frame = Results::read(frame).unwrap();
    (frame.answers().map(|answer| answer.piece).collect(), frame.head.last)
}

#[test]
fn a_chunk_is_acknowledged_when_its_last_frame_is_stored() {
    let mut host = Host::new();
    let delivery = host.deliver(1, 1, &[4, 5]);
    assert_eq!(host.run.iter().map(|(_, piece)| *piece).collect::<Vec<_>>(), [4, 5]);
    host.end(1);
    assert_eq!(host.frames().len(), 0, "the rest is awaited");
    host.end(0);
    assert_eq!(host.frames().iter().map(|(frame, _)| pieces(frame)).collect::<Vec<_>>(), [(vec![5, 4], true)]);
    // Nobody knows if it was stored: the same frame under the same id.
    host.publish_answered(Err(Failure::NoAnswer));
    let frames = host.frames();
    assert_eq!((frames.len(), &frames[0]), (2, &frames[1]));
    // A full stream is asked again after a second.
    host.publish_answered(Err(Failure::Full));
    assert_eq!((host.frames().len(), host.marks()), (2, vec![]));
    host.at(SECOND + 1);
    host.publish_answered(Ok(Reply::Stored(1)));
    assert_eq!((host.frames().len(), host.agent.held()), (3, 0));
    // A third of the lease had passed.
    assert_eq!(host.marks(), [(delivery, Mark::Progress), (delivery, Mark::Ack)]);
}

#[test]
fn a_long_chunk_sends_what_is_done_each_second_and_keeps_its_lease() {
    let mut host = Host::new();
    let delivery = host.deliver(1, 1, &[0, 1, 2]);
    host.end(0);
    for (now, frames, marks) in
        [(SECOND, 0, 0), (SECOND + 1, 1, 1), (2 * SECOND + 1, 1, 2), (3 * SECOND + 1, 1, 3), (4 * SECOND + 1, 1, 4)]
    {
        host.at(now);
        assert_eq!((host.frames().len(), host.marks().len()), (frames, marks), "at {now}");
    }
    assert_eq!(host.marks()[3], (delivery, Mark::Progress));
    assert_eq!(pieces(&host.frames()[0].0), (vec![0], false));
    // The next one waits until the first is stored: the order is kept.
    host.end(1);
    host.end(2);
    assert_eq!(host.frames().len(), 1);
    host.publish_answered(Ok(Reply::Stored(1)));
    let frames = host.frames();
    assert_eq!(pieces(&frames[1].0), (vec![1, 2], true));
    assert_ne!(frames[0].1, frames[1].1);
    assert_eq!(Results::read(&frames[1].0).unwrap().head.busy_ns, 4 * SECOND);
}

#[test]
fn a_chunk_that_was_delivered_before_waits_for_the_host_and_has_it_to_itself() {
    let mut host = Host::new();
    host.deliver(1, 1, &[0]);
    host.deliver(2, 2, &[1]);
    assert_eq!((host.run.len(), host.frames().len()), (1, 0), "another one runs");
    host.end(0);
    let first = host.token(|request| matches!(request, Request::Publish { id, .. } if id.starts_with("01")));
    // It is announced before it runs.
    assert_eq!((host.run.len(), pieces(&host.frames()[1].0)), (1, (vec![], false)));
    let pulls = host.count(|request| matches!(request, Request::Pull { .. }));
    host.publish_answered(Ok(Reply::Stored(2)));
    assert_eq!(host.run.len(), 2);
    host.answer(first, Ok(Reply::Stored(1)));
    assert_eq!(host.agent.held(), 1);
    assert_eq!(host.count(|request| matches!(request, Request::Pull { .. })), pulls, "nothing runs beside it");
    // One that comes all the same waits.
    host.deliver(3, 1, &[2]);
    assert_eq!(host.run.len(), 2);
    host.end(1);
    assert_eq!(host.run.len(), 3);
}

#[test]
fn a_chunk_that_was_delivered_too_often_is_given_up_without_a_run() {
    let mut host = Host::new();
    let delivery = host.deliver(1, 4, &[0, 1]);
    assert_eq!((host.run.len(), pieces(&host.frames()[0].0)), (0, (vec![], true)));
    assert_eq!(Results::read(&host.frames()[0].0).unwrap().head.delivery, 4);
    host.publish_answered(Ok(Reply::Stored(1)));
    assert_eq!((host.marks(), host.agent.counts().given_up), (vec![(delivery, Mark::Ack)], 1));
}

#[test]
fn no_more_than_two_chunks_are_held() {
    let mut host = Host::new();
    host.deliver(1, 1, &[0]);
    host.deliver(2, 1, &[1]);
    assert_eq!(host.count(|request| matches!(request, Request::Pull { .. })), 2);
    let third = host.deliver(3, 1, &[2]);
    assert_eq!((host.marks(), host.agent.held()), (vec![(third, Mark::Nak)], 2));
    // The same chunk again is the one that is held, with the mark of the later delivery.
    let again = host.deliver(2, 2, &[1]);
    host.end(1);
    host.publish_answered(Ok(Reply::Stored(1)));
    assert_eq!(host.marks().last(), Some(&(again, Mark::Ack)));
}

#[test]
fn a_pull_of_which_nothing_is_heard_is_given_up_after_4_s() {
    let mut host = Host::new();
    let first = host.token(|request| matches!(request, Request::Pull { .. }));
    host.at(4 * SECOND);
    assert_eq!(host.token(|request| matches!(request, Request::Pull { .. })), first);
    host.at(4 * SECOND + 1);
    let second = host.token(|request| matches!(request, Request::Pull { .. }));
    assert_ne!(second, first);
    // An expired one is asked for again at once; without a consumer, the lease is.
    host.answer(second, Ok(Reply::Done));
    let third = host.token(|request| matches!(request, Request::Pull { .. }));
    host.answer(third, Err(Failure::Missing));
    assert_eq!(host.count(|request| matches!(request, Request::Lease { .. })), 2);
}

#[test]
fn garbage_is_terminated_and_told_once() {
    let mut host = Host::new();
    for _ in 0..3 {
        host.deliver_bytes(1, Bytes::from_static(b"garbage"));
    }
    assert_eq!(host.marks(), [(1, Mark::Term), (2, Mark::Term), (3, Mark::Term)]);
    assert_eq!((host.agent.counts().garbage, host.others.len()), (3, 1));
}

#[test]
fn a_cancelled_job_is_killed_and_its_chunks_are_terminated() {
    for word in [Word::Cancel, Word::End] {
        let mut host = Host::new();
        let running = host.deliver(1, 1, &[0]);
        let payload = Control { job: JOB, word }.write();
        host.hear(Event::Heard { subject: "mc.c.x".into(), payload });
        assert_eq!(host.others, [Output::Kill { chunk: Holding(0) }]);
        let late = host.deliver(2, 1, &[1]);
        assert_eq!((host.marks(), host.run.len()), (vec![(running, Mark::Term), (late, Mark::Term)], 1));
        // A piece that was killed has no outcome.
        host.end(0);
        assert_eq!(host.frames().len(), 0);
    }
}

#[test]
fn on_a_stop_what_waits_goes_back_and_what_runs_has_its_time() {
    let mut host = Host::new();
    let running = host.deliver(1, 1, &[0, 1]);
    let waiting = host.deliver(2, 2, &[2]);
    host.end(0);
    host.agent.stop(host.now);
    host.take_outputs();
    assert_eq!(host.marks(), [(waiting, Mark::Nak)]);
    let late = host.deliver(3, 1, &[3]);
    assert_eq!(host.marks().last(), Some(&(late, Mark::Nak)));
    host.at(30 * SECOND);
    assert!(host.others.is_empty());
    host.at(30 * SECOND + 1);
    assert_eq!(host.others, [Output::Kill { chunk: Holding(0) }, Output::Stopped]);
    assert_eq!(host.marks().last(), Some(&(running, Mark::Nak)));
    assert_eq!(pieces(&host.frames()[0].0), (vec![0], false));
    assert_eq!(host.agent.next_at(), None);
}

#[test]
fn a_long_value_is_stored_before_its_frame_and_again_if_that_failed() {
    let mut host = Host::new();
    host.deliver(1, 1, &[0]);
    let value = Bytes::from(vec![3; INLINE_BYTES + 1]);
    host.now = SECOND / 2 + 1;
    host.agent.ended(host.now, Holding(0), 0, Outcome::Value(value.clone()));
    host.now = SECOND;
    host.take_outputs();
    for _ in 0..2 {
        let token = host.token(|request| matches!(request, Request::PutObject { .. }));
        assert_eq!(host.frames().len(), 0);
        host.answer(token, Err(Failure::NoAnswer));
    }
    let token = host.token(|request| matches!(request, Request::PutObject { .. }));
    host.answer(token, Ok(Reply::Done));
    let frames = host.frames();
    let frame = Results::read(&frames[0].0).unwrap();
    assert_eq!(frame.head.busy_ns, SECOND / 2, "storing it is no work");
    let answers: Vec<Answer<'_>> = frame.answers().collect();
    let object = crate::frame::results::Object::read(answers[0].bytes).unwrap();
    assert_eq!((answers[0].status, object.length), (Status::Object, value.len() as u64));
    assert_eq!(object.digest, crate::identity::sha256(&value));
}

#[test]
fn results_beyond_a_frame_go_in_several_and_only_the_last_says_so() {
    let mut host = Host::new();
    let all: Vec<u32> = (0..9).collect();
    host.deliver(1, 1, &all);
    for piece in &all {
        let value = Bytes::from(vec![1; 200 << 10]);
        host.agent.ended(host.now, Holding(0), *piece, Outcome::Value(value));
    }
    host.take_outputs();
    let mut lasts = Vec::new();
    while host.agent.held() > 0 {
        let frames = host.frames();
        assert_eq!(frames.len(), lasts.len() + 1);
        lasts.push(pieces(&frames[lasts.len()].0).1);
        host.publish_answered(Ok(Reply::Stored(1)));
    }
    assert_eq!(lasts, [false, true]);
    let told: usize = host.frames().iter().map(|(frame, _)| pieces(frame).0.len()).sum();
    assert_eq!(told, 9);
}
