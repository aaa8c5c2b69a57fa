//! What a worker logs, read by the parent: as it was written, within bounds, and nothing that no worker writes.

use super::*;
use crate::engine::outbox::Lane;
use crate::engine::wire::log::{Lead, MAX_NAME_BYTES, MAX_TEXT_BYTES};
use crate::engine::wire::pair::LOG_RING_BYTES;
use crate::engine::wire::record::LOG;
use crate::protocol::sleep::Listener;

/// The parent's side, and the worker's with its log.
fn logging_pair() -> (Link, Played, Producer, TaskKey) {
    let (mut worker, played, [task, _]) = pair();
    worker.log_into(Lane::new(3));
    (worker, played, Producer::new(), task)
}

/// Writes into the log's ring; false if there is no room.
fn log(played: &Played, ring: &mut Producer, header: Header, lead: [u64; 2], bytes: &[u8]) -> bool {
    ring.consumed_to(told::told_head(played.pair.log_head()).min(ring.tail()));
    let wrote = ring.push(played.pair.log_ring(), header, &lead, bytes).is_ok();
    ring.publish(played.pair.log_ring());
    wrote
}

const LEAD: Lead = Lead { line: Some(7), target: 3, module: None, file: Some(2) };

fn header(flags: u8, sequence: u32) -> Header {
    Header { kind: LOG, flags, sequence }
}

#[test]
fn a_record_comes_as_it_was_written_with_the_piece_that_the_parent_knows() {
    let (mut worker, mut played, mut ring, task) = logging_pair();
    (0..4).for_each(|number| assert!(give(&mut worker, task, 10 + number, 8)));
    for (sequence, piece) in [(1, Some(10)), (2, Some(11)), (4, Some(13)), (5, None), (0, None), (u32::MAX, None)] {
        assert!(log(&played, &mut ring, header(2, sequence), LEAD.to_words(), b"appio a text"));
        let read = worker.take_logs().unwrap().unwrap();
        let [record] = &read.records[..] else { panic!("{read:?}") };
        assert_eq!((record.level, record.lead, record.piece), (log::Level::Warn, LEAD, piece), "{sequence}");
        assert_eq!(record.lead.split(&record.bytes).text, b" a text");
    }
    // One that has an answer is not known any more; the others are.
    assert!(played.claim(1) && played.write(REPLY, 0, 1, &[], &[1]));
    assert_eq!(collect(&mut worker), (vec![10], Ok(false)));
    for (sequence, piece) in [(1, None), (2, Some(11)), (4, Some(13))] {
        assert!(log(&played, &mut ring, header(2, sequence), LEAD.to_words(), b"appio"));
        assert_eq!(worker.take_logs().unwrap().unwrap().records[0].piece, piece, "{sequence}");
    }
    assert!(worker.take_logs().unwrap().is_none());
}

#[test]
fn what_no_worker_logs_is_a_violation() {
    let long = vec![b'x'; 3 + MAX_TEXT_BYTES + 3];
    let lead = |target: u64| [0, target];
    let too_long_a_name = vec![b'x'; MAX_NAME_BYTES + 1];
    for (kind, flags, lead, bytes, is_violation) in [
        (LOG, 1, lead(3), &b"app"[..], false),
        (LOG, 5, lead(3), b"app", false),
        (LOG, 0, lead(3), b"app", true),
        (LOG, 6, lead(3), b"app", true),
        (LOG, 8, lead(3), b"app", true),
        (REPLY, 1, lead(3), b"app", true),
        (LOG, 1, lead(4), b"app", true),
        (LOG, 1, [u64::MAX, 3], b"app", true),
        (LOG, 1, [0, 1 << 60], b"app", true),
        (LOG, 1, lead(3), &long[..3 + MAX_TEXT_BYTES], false),
        (LOG, 1, lead(3), &long, true),
        (LOG, 1, lead(MAX_NAME_BYTES as u64 + 1), &too_long_a_name, true),
        (LOG, 1, lead(MAX_NAME_BYTES as u64), &too_long_a_name, false),
    ] {
        let (mut worker, played, mut ring, _) = logging_pair();
        assert!(log(&played, &mut ring, Header { kind, flags, sequence: 1 }, lead, bytes));
        assert_eq!(worker.take_logs().is_err(), is_violation, "{kind} {flags} {lead:?} {}", bytes.len());
    }
    // Shorter than what each has.
    let (mut worker, played, mut ring, _) = logging_pair();
    ring.push(played.pair.log_ring(), header(1, 1), &[0], &[]).unwrap();
    ring.publish(played.pair.log_ring());
    assert!(worker.take_logs().is_err());
}

#[test]
fn looks_read_all_that_the_ring_holds_and_make_room() {
    let (mut worker, played, mut ring, _) = logging_pair();
    let write = |ring: &mut Producer| {
        let mut count = 0;
        while log(&played, ring, header(3, 0), [0, 3], &[b'x'; 1000]) {
            count += 1;
        }
        count
    };
    let first = write(&mut ring);
    assert!(first >= LOG_RING_BYTES / 1100, "{first}");
    played.pair.log_lost().store(5, Relaxed);
    let take_all = |worker: &mut Link| {
        let (mut records, mut lost, mut looks) = (0, 0, 0);
        while let Some(read) = worker.take_logs().unwrap() {
            (records, lost, looks) = (records + read.records.len(), lost + read.lost, looks + 1);
            assert!(read.bytes < 80 * 1024, "a look is bounded");
        }
        (records, lost, looks > 5)
    };
    assert_eq!(take_all(&mut worker), (first, 5, true));
    let second = write(&mut ring);
    assert!(second.abs_diff(first) <= 1);
    played.pair.log_lost().store(6, Relaxed);
    assert_eq!(take_all(&mut worker), (second, 1, true));
    // A worker that counts backwards has lost nothing more.
    played.pair.log_lost().store(2, Relaxed);
    assert!(worker.take_logs().unwrap().is_none());
}

/// The worker signals the first record, and then none until it is asked again.
#[test]
fn a_record_is_signalled_once_for_each_request() {
    let (mut worker, played, mut ring, _) = logging_pair();
    let mut listener = Listener::new();
    for turn in 0..3 {
        for record in 0..3 {
            assert!(log(&played, &mut ring, header(3, 0), [0, 0], b"a"));
            let signals = listener.after_reply(played.pair.log_interest(), true).is_some();
            assert_eq!(signals, record == 0, "{turn} {record}");
        }
        assert_eq!(worker.take_logs().unwrap().unwrap().records.len(), 3);
        worker.ask_for_logs();
    }
}

/// Whatever a reply says, the records before it are read first, and only then its piece is answered.
#[test]
fn a_reply_that_tells_of_records_has_them_read_before() {
    #[derive(Default)]
    struct Order(Vec<String>);
    impl Arrivals for Order {
        fn result(&mut self, _: TaskKey, number: usize, _: Reply) {
            self.0.push(format!("result {number}"));
        }
        fn other(&mut self, arrival: Arrival) {
            let Arrival::Reply { piece, .. } = arrival else { panic!("{arrival:?}") };
            self.0.push(format!("reply {}", piece.number));
        }
        fn sample(&mut self, _: &Told<'_>) {}
        fn logged(&mut self, piece: Option<(TaskKey, usize)>, _: &std::sync::Arc<Lane>, read: Option<LogsRead>) {
            let pieces: Vec<_> = read.into_iter().flat_map(|read| read.records).map(|record| record.piece).collect();
            self.0.push(format!("logs {pieces:?} before {}", piece.unwrap().1));
        }
    }
    let (mut worker, mut played, mut ring, task) = logging_pair();
    (0..3).for_each(|number| assert!(give(&mut worker, task, number, 8)));
    for sequence in 1..=3 {
        assert!(played.claim(sequence));
        let logs = sequence != 2;
        if logs {
            assert!(log(&played, &mut ring, header(3, sequence), [0, 0], b"a"));
        }
        assert!(played.write(REPLY, if logs { record::LOGGED } else { 0 }, sequence, &[], &[1]));
    }
    let (mut order, mut buffers) = (Order::default(), Buffers::default());
    let _ = worker.collect(&mut buffers, &mut order).unwrap();
    // All three pieces are still known when the first reply is read.
    assert_eq!(order.0, ["logs [Some(0), Some(2)] before 0", "reply 0", "result 1", "logs [] before 2", "reply 2"]);
}

/// A thread of the piece goes on to log while the reply waits for what came before it.
#[test]
fn a_reply_waits_for_as_many_records_as_the_ring_holds_and_no_more() {
    let (mut worker, mut played, mut ring, task) = logging_pair();
    assert!(give(&mut worker, task, 0, 8) && played.claim(1));
    while log(&played, &mut ring, header(3, 1), [0, 0], &[b'x'; 100]) {}
    assert!(played.write(REPLY, record::LOGGED, 1, &[], &[1]));
    let (mut looks, mut answered) = (0, Vec::new());
    while answered.is_empty() {
        answered = collect(&mut worker).0;
        looks += 1;
        assert!(looks < 1000, "it is held up for ever");
        while log(&played, &mut ring, header(3, 1), [0, 0], &[b'x'; 100]) {}
    }
    assert!(looks > 5, "one look reads little of it");
}
