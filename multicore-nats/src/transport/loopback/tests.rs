//! The server in memory does what the machines rely on.

use super::*;
use crate::transport::{Delivery, Mark, Reply};
use bytes::Bytes;

const BUILD: Build = Build([1; 32]);
const SECOND: u64 = 1_000 * MS;

/// A client that waits for each answer.
struct Caller {
    net: Loopback,
    client: ClientId,
    token: u64,
}

impl Caller {
    fn new() -> Caller {
        let mut net = Loopback::new(1);
        let client = net.connect(BUILD);
        assert_eq!(net.advance(SECOND), [(client, Event::Connected)]);
        let mut caller = Caller { net, client, token: 0 };
        assert!(matches!(caller.ask(|token| Request::Streams { token }), Ok(Reply::Created(_))));
        let consumer = |token| Request::Consumer { token, lease_ns: 3 * SECOND, deliveries: 5 };
        assert_eq!(caller.ask(consumer), Ok(Reply::Done));
        caller
    }

    fn hear(&mut self, for_ns: u64) -> Vec<Event> {
        let heard = self.net.advance(self.net.now + for_ns);
        heard.into_iter().filter(|(client, _)| *client == self.client).map(|(_, event)| event).collect()
    }

    fn ask(&mut self, request: impl FnOnce(Token) -> Request) -> Result<Reply, Failure> {
        self.token += 1;
        let token = Token(self.token);
        self.net.send(self.client, request(token));
        let heard = self.hear(MS);
        let answer = heard.into_iter().find_map(|event| match event {
            Event::Answered { token: answered, result } if answered == token => Some(result),
            _ => None,
        });
        answer.expect("it is answered")
    }

    fn publish(&mut self, subject: &str, id: &str, expected: Option<u64>) -> Result<Reply, Failure> {
        let (subject, payload, id) = (subject.into(), Bytes::from_static(b"x"), id.into());
        self.ask(|token| Request::Publish { token, subject, payload, id, expected })
    }

    fn work(&mut self, id: &str) -> Result<Reply, Failure> {
        self.publish(&format!("mc.w.{BUILD}.j"), id, None)
    }

    /// Pulls; gives the delivery and its count, or `None` once the pull has expired.
    fn pull(&mut self) -> Option<(Delivery, u32)> {
        self.token += 1;
        let token = Token(self.token);
        self.net.send(self.client, Request::Pull { token, expires_ns: SECOND / 10 });
        let heard = self.hear(SECOND / 5);
        heard.into_iter().find_map(|event| match event {
            Event::Work { pull, delivery, count, .. } if pull == token => Some((delivery, count)),
            _ => None,
        })
    }

    fn mark(&mut self, delivery: Delivery, mark: Mark) {
        self.net.send(self.client, Request::Mark { delivery, mark });
        self.hear(MS);
    }

    fn count(&mut self) -> u64 {
        let (stream, subject) = (Stream::Work, format!("mc.w.{BUILD}.j"));
        match self.ask(|token| Request::Count { token, stream, subject }) {
            Ok(Reply::Count(count)) => count,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_delivery_is_leased_and_comes_again_before_new_ones() {
    let mut caller = Caller::new();
    caller.work("a").unwrap();
    caller.work("b").unwrap();
    let (first, count) = caller.pull().unwrap();
    assert_eq!((count, caller.count()), (1, 2));
    caller.hear(2 * SECOND);
    caller.mark(first, Mark::Progress);
    caller.hear(2 * SECOND);
    // Its lease began anew, so the other one comes.
    let (second, count) = caller.pull().unwrap();
    assert_eq!((count, caller.pull()), (1, None));
    caller.mark(second, Mark::Nak);
    let (again, count) = caller.pull().unwrap();
    assert_eq!(count, 2);
    caller.hear(4 * SECOND);
    // Both leases have passed. An ack of an earlier delivery counts.
    caller.mark(second, Mark::Ack);
    let (third, count) = caller.pull().unwrap();
    assert_eq!((count, caller.count(), caller.pull()), (2, 1, None));
    caller.mark(again, Mark::Progress);
    caller.mark(third, Mark::Term);
    assert_eq!(caller.count(), 0);
    caller.hear(4 * SECOND);
    assert_eq!(caller.pull(), None);
}

#[test]
fn an_id_is_stored_once_in_two_minutes_even_after_a_purge() {
    let mut caller = Caller::new();
    assert_eq!(caller.work("a"), Ok(Reply::Stored(1)));
    assert_eq!((caller.work("a"), caller.work("")), (Ok(Reply::Stored(1)), Ok(Reply::Stored(2))));
    let subject = format!("mc.w.{BUILD}.j");
    caller.ask(|token| Request::Purge { token, stream: Stream::Work, subject }).unwrap();
    assert_eq!((caller.work("a"), caller.count()), (Ok(Reply::Stored(1)), 0));
    caller.hear(121 * SECOND);
    assert_eq!((caller.work("a"), caller.count()), (Ok(Reply::Stored(3)), 1));
}

#[test]
fn patterns_stand_for_parts() {
    for (pattern, subject, expected) in [
        ("a.b", "a.b", true),
        ("a.b", "a.b.c", false),
        ("a.*.c", "a.b.c", true),
        ("a.*.c", "a.b.d", false),
        ("a.*", "a.b.c", false),
        ("a.>", "a.b.c", true),
        ("a.>", "a", false),
    ] {
        assert_eq!(super::stream::matches(pattern, subject), expected, "{pattern} {subject}");
    }
}

#[test]
fn a_record_takes_only_who_knows_the_last_one() {
    let mut caller = Caller::new();
    assert_eq!(caller.publish("mc.j.a", "", Some(0)), Ok(Reply::Stored(1)));
    assert_eq!(caller.publish("mc.j.b", "", Some(0)), Ok(Reply::Stored(2)));
    assert_eq!(caller.publish("mc.j.a", "", Some(0)), Err(Failure::WrongSequence));
    assert_eq!(caller.publish("mc.j.a", "", Some(1)), Ok(Reply::Stored(3)));
    assert_eq!(caller.net.messages(Stream::Records), 2, "only the last of each subject is kept");
    caller.hear(SECOND);
    let last = caller.ask(|token| Request::Last { token, stream: Stream::Records, subject: "mc.j.a".into() });
    let Ok(Reply::Last(Some(last))) = last else { panic!("{last:?}") };
    assert_eq!((last.sequence, last.age_ns / SECOND), (3, 1));
}

#[test]
fn a_full_stream_refuses_what_is_new() {
    let mut caller = Caller::new();
    caller.net.set_most(Some(1));
    caller.work("a").unwrap();
    assert_eq!((caller.work("b"), caller.work("a")), (Err(Failure::Full), Ok(Reply::Stored(1))));
    caller.net.set_most(None);
    assert_eq!(caller.work("b"), Ok(Reply::Stored(2)));
    assert_eq!(caller.publish("mc.x.y", "", None), Err(Failure::Missing));
}

#[test]
fn a_reader_is_sent_each_message_once_and_none_of_other_subjects() {
    let mut caller = Caller::new();
    for subject in ["mc.r.a", "mc.r.b", "mc.r.a"] {
        caller.publish(subject, "", None).unwrap();
    }
    let token = Token(99);
    caller.net.send(caller.client, Request::Read { token, subject: "mc.r.a".into(), from: 1 });
    let heard = caller.hear(MS);
    let numbers: Vec<_> = heard.iter().filter_map(stored).collect();
    assert_eq!(numbers, [(99, 1, 1), (99, 3, 2)]);
    caller.publish("mc.r.a", "", None).unwrap();
    // A lost message is not sent again.
    caller.net.faults.lost = 1_000_000;
    caller.hear(MS);
    caller.net.faults.lost = 0;
    caller.net.send(caller.client, Request::Read { token: Token(100), subject: "mc.r.a".into(), from: 4 });
    let numbers: Vec<_> = caller.hear(MS).iter().filter_map(stored).collect();
    assert_eq!(numbers, [(100, 4, 1)]);
}

fn stored(event: &Event) -> Option<(u64, u64, u64)> {
    match event {
        Event::Stored { reader, sequence, number, .. } => Some((reader.0, *sequence, *number)),
        _ => None,
    }
}

#[test]
fn a_server_that_dies_fails_what_is_open_and_keeps_its_store_or_not() {
    for keep_store in [true, false] {
        let mut caller = Caller::new();
        caller.work("a").unwrap();
        let (delivery, _) = caller.pull().unwrap();
        caller.net.send(caller.client, Request::Pull { token: Token(99), expires_ns: SECOND });
        caller.net.kill_server(Some(SECOND), keep_store);
        let heard = caller.hear(2 * SECOND);
        let failed = Event::Answered { token: Token(99), result: Err(Failure::Disconnected) };
        assert_eq!(heard, [Event::Disconnected, failed, Event::Connected]);
        // A delivery survives with the store, and its count with it.
        caller.mark(delivery, Mark::Nak);
        let again = caller.pull().map(|(_, count)| count);
        assert_eq!(again, keep_store.then_some(2));
        let created = caller.ask(|token| Request::Streams { token });
        assert_eq!(matches!(created, Ok(Reply::Created(created)) if created.work < 2 * SECOND), keep_store);
    }
}

#[test]
fn a_cut_link_is_noticed_and_mended() {
    let mut caller = Caller::new();
    caller.net.send(caller.client, Request::Listen { subject: "mc.c.>".into() });
    caller.net.cut(caller.client, 4 * SECOND);
    caller.net.send(caller.client, Request::Streams { token: Token(99) });
    let failed = Event::Answered { token: Token(99), result: Err(Failure::Disconnected) };
    assert_eq!(caller.hear(6 * SECOND), [Event::Disconnected, failed, Event::Connected]);
    // What was listened to still is.
    let (subject, payload) = (String::from("mc.c.a"), Bytes::from_static(b"x"));
    caller.net.send(caller.client, Request::Say { subject: subject.clone(), payload: payload.clone() });
    assert_eq!(caller.hear(MS), [Event::Heard { subject, payload }]);
}
